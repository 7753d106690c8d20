"""linear_exp_ga_loss with its classes split over gloo processes, against one process that holds them all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from effdl_fast import ops

pytestmark = pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="needs gloo")

ROWS, FEATURES, CLASSES = 13, 6, 23
SPLITS = {2: (7, 16), 3: (11, 1, 11)}

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "bias": {"bias": True},
    "alpha_class": {"bias": True, "alpha": "class"},
    "alpha_sample": {"alpha": "sample"},
    "weight_ignore": {"bias": True, "class_weight": True, "ignore": True},
    "dense_weight": {"bias": True, "class_weight": True, "dense": True},
    "explicit_slice": {"explicit": True, "ignore": True, "clamp": 0.5},
    "small_tiles": {"bias": True, "ignore": True, "chunk_bytes": 256},
    "bfloat16": {"bias": True, "dtype": torch.bfloat16},
    "float16": {"bias": True, "dtype": torch.float16, "chunk_bytes": 256},
    "frozen_input": {"bias": True, "frozen": True},
}


def _inputs(case: dict[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and options of the whole problem, the same on every rank."""
    g = torch.Generator().manual_seed(0)
    dtype = case.get("dtype", torch.float64)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64)

    tensors = {"input": draw(ROWS, FEATURES).to(dtype), "weight": (draw(CLASSES, FEATURES) * 0.3).to(dtype)}
    tensors["target"] = torch.randint(CLASSES, (ROWS,), generator=g)
    if case.get("dense"):
        tensors["target"] = draw(ROWS, CLASSES).abs().to(dtype)
    if case.get("ignore"):
        tensors["target"][::3] = 5
        tensors["input"][::3] = float("nan")
    if case.get("bias"):
        tensors["bias"] = draw(CLASSES).to(dtype)
    options: dict[str, Any] = {"ignore_index": 5, "target_value": 2.0, "negative_value": -0.5}
    options |= {name: case[name] for name in ("clamp", "chunk_bytes") if name in case}
    if case.get("class_weight"):
        options["class_weight"] = draw(CLASSES).abs() + 0.1
    if "alpha" in case:
        options["alpha"] = draw(1, CLASSES).exp() if case["alpha"] == "class" else draw(ROWS, 1).exp()
    return tensors, options


def _loss_and_grads(op: Callable, tensors: dict[str, torch.Tensor], options: dict, frozen: bool) -> list[torch.Tensor]:
    names = [n for n in ("input", "weight", "bias") if n in tensors and not (frozen and n == "input")]
    leaves = {n: tensors[n].clone().requires_grad_() for n in names}
    loss = op(**(tensors | leaves), **options)
    upstream = torch.linspace(0.5, 2.0, loss.numel(), dtype=loss.dtype).view(loss.shape)
    first = torch.autograd.grad(loss, list(leaves.values()), upstream, retain_graph=True)
    second = torch.autograd.grad(loss, list(leaves.values()), upstream)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True)), "a second backward differs"
    return [loss.detach(), *first]


def _compare(rank: int, sizes: tuple[int, ...], op: Callable, case: dict[str, Any], reduction: str) -> None:
    tensors, options = _inputs(case)
    options["reduction"] = reduction
    frozen = case.get("frozen", False)
    wide = {n: x.double() if x.is_floating_point() else x for n, x in tensors.items()}
    whole = _loss_and_grads(ops.linear_exp_ga_loss_ref, wide, options, frozen)
    start, stop = sum(sizes[:rank]), sum(sizes[: rank + 1])
    local = dict(tensors)
    for name in ("weight", "bias", *(("target",) if case.get("dense") else ())):
        if name in local:
            local[name] = local[name][..., start:stop] if name == "target" else local[name][start:stop]
    options["class_group"] = dist.group.WORLD
    if case.get("alpha") == "class":
        options["alpha"] = options["alpha"][:, start:stop]
    if case.get("explicit"):
        options |= {"class_start": start, "class_total": CLASSES}
    got = _loss_and_grads(op, local, options, frozen)
    expected = [whole[0], *([] if frozen else [whole[1]]), *(g[start:stop] for g in whole[1 if frozen else 2 :])]
    # 16-bit logits and gradients are rounded where the float64 result is not: eps of the sums of up to 23 terms.
    eps = torch.finfo(tensors["input"].dtype).eps
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a.double(), b.double(), rtol=8 * eps, atol=8 * eps * float(b.abs().max()))


def _all_cases(rank: int, sizes: tuple[int, ...]) -> None:
    for name, case in CASES.items():
        for reduction in ("mean", "sum", "none"):
            for op in (ops.linear_exp_ga_loss, ops.linear_exp_ga_loss_ref):
                try:
                    _compare(rank, sizes, op, case, reduction)
                except Exception as error:
                    raise AssertionError(f"rank {rank}, {op.__name__}, {name}, {reduction}: {error}") from error


def _disagreements(rank: int, sizes: tuple[int, ...]) -> None:
    """Ranks that do not fit together are told so, every one of them."""
    group = dist.group.WORLD
    x, target = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3])
    overlap = {"class_start": 0, "class_total": 8}
    gap = {"class_start": 5 * rank, "class_total": 9}
    totals = {"class_start": 4 * rank, "class_total": 8 + rank}
    for options in (overlap, gap, totals):
        for reduction in ("mean", "none"):
            with pytest.raises(ValueError, match="disagree"):
                ops.linear_exp_ga_loss(x, torch.zeros(4, 3), target, class_group=group, reduction=reduction, **options)
    fits = {"class_start": 4 * rank, "class_total": 8}
    with pytest.raises(ValueError, match="disagree"):
        ops.linear_exp_ga_loss(x, torch.zeros(4, 3), target + rank, class_group=group, **fits)
    with pytest.raises(ValueError, match="class_weight"):
        ops.linear_exp_ga_loss(x, torch.zeros(4, 3), target, class_group=group, class_weight=torch.ones(4))
    with pytest.raises(ValueError, match="both class_start and class_total"):
        ops.linear_exp_ga_loss(x, torch.zeros(4, 3), target, class_group=group, class_start=0)
    with pytest.raises(ValueError, match="do not fit"):
        ops.linear_exp_ga_loss(x, torch.zeros(4, 3), target, class_group=group, class_start=5, class_total=8)
    with pytest.raises(ValueError, match=r"position 1 is 8, outside \[0, 8\)"):
        ops.linear_exp_ga_loss(x, torch.zeros(4, 3), torch.tensor([0, 8, 1, 1]), class_group=group, **fits)


def _compiled(rank: int, sizes: tuple[int, ...]) -> None:
    group = dist.group.WORLD
    g = torch.Generator().manual_seed(0)
    x, weight = torch.randn(5, 3, generator=g).requires_grad_(), torch.randn(4, 3, generator=g).requires_grad_()
    target = torch.tensor([0, 7, 3, 4, 1])

    def run(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return ops.linear_exp_ga_loss(x, weight, target, class_group=group)

    expected = torch.autograd.grad(run(x, weight), (x, weight))
    got = torch.autograd.grad(torch.compile(run, fullgraph=True, backend="aot_eager")(x, weight), (x, weight))
    torch.testing.assert_close(got, expected)


def _worker(rank: int, body: Callable, sizes: tuple[int, ...], store: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=len(sizes))
    try:
        body(rank, sizes)
    finally:
        dist.destroy_process_group()


def _run(body: Callable, sizes: tuple[int, ...], folder: Path) -> None:
    mp.spawn(_worker, (body, sizes, str(folder / "store")), nprocs=len(sizes))


@pytest.mark.parametrize("ranks", SPLITS)
def test_equals_one_process(ranks: int, tmp_path: Path) -> None:
    _run(_all_cases, SPLITS[ranks], tmp_path)


def test_ranks_that_disagree(tmp_path: Path) -> None:
    _run(_disagreements, (4, 4), tmp_path)


def test_compiled(tmp_path: Path) -> None:
    _run(_compiled, (4, 4), tmp_path)


def test_slice_arguments_without_a_group() -> None:
    x, weight, target = torch.zeros(2, 3), torch.zeros(4, 3), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match="need a class_group"):
        ops.linear_exp_ga_loss(x, weight, target, class_start=0, class_total=4)
    with pytest.raises(TypeError, match="class_group must be"):
        ops.linear_exp_ga_loss(x, weight, target, class_group="world")
