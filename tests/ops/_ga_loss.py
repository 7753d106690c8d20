"""Values and gradients of a separable loss, on every backend. Imported by the test module of each such op."""

import functools
import math
import mmap
from types import SimpleNamespace

import pytest
import torch

import effdl_fast as ef
from effdl_fast.ops._ga_loss_ref import spread_alpha
from effdl_fast.testing.backends import forced, simd
from effdl_fast.testing.tolerance import assert_as_accurate

REDUCTIONS = ("none", "mean", "sum")
# The gradient is kept in the dtype of the logits from forward to backward and there multiplied by the upstream
# gradient, so it is rounded twice; plain PyTorch rounds 16-bit gradients once.
TWO_ROUNDINGS = 2.0
# A kernel adds up to 64 terms one after another in float32 before double takes over: half an ulp each, in random
# directions. Plain PyTorch adds in pairs.
SUM_IN_FLOAT = 8.0


def upstream_for(loss, seed=1):
    """Non-uniform, of either sign, in memory that is not contiguous."""
    values = torch.rand((*loss.shape, 2), generator=torch.Generator().manual_seed(seed)) * 2 - 0.5
    return values.to(loss.device, loss.dtype)[..., 1]


def loss_and_grad(function, call, upstream=None):
    call = call.with_grad()
    loss = function(*call.args, **call.kwargs)
    upstream = torch.ones_like(loss) if upstream is None else upstream.to(loss.dtype)
    (grad,) = torch.autograd.grad(loss, call.leaves(), upstream)
    return loss.detach(), grad


def _terms(op, call):
    """How large the terms are of which each element's loss and gradient are made: (loss, gradient), shaped as logits.

    Every logit becomes a sample of its own, once with its target and once with target 0 (and beta 0); the parts may
    cancel against each other, but neither is larger than what is returned.
    """
    (x, target), options = call.args, dict(call.kwargs)
    if x.dim() == 1:
        x, target = x[None], target[None]
    classes = torch.arange(x.shape[1], device=x.device).view(1, -1, *(1,) * (x.dim() - 2))
    factor = torch.ones_like(x)
    weight = options.pop("weight", None)
    values = options.pop("target_value", op.target_value), options.pop("negative_value", 0.0)
    if target.is_floating_point():
        t = target
        if weight is not None:
            factor = factor * weight.view(classes.shape)
    else:
        ignored = target == options.get("ignore_index", -100)
        t = torch.where(target.unsqueeze(1) == classes, *values).to(x.dtype)
        x = x.masked_fill(ignored.unsqueeze(1), 0.0)
        rows = (~ignored).to(x.dtype)
        if weight is not None:
            rows = rows * weight[target.long().clamp(0, x.shape[1] - 1)]
        factor = factor * rows.unsqueeze(1)
    options = {k: v for k, v in options.items() if k not in ("ignore_index", "reduction")}
    if isinstance(options.get("alpha"), torch.Tensor):
        options["alpha"] = spread_alpha(op.name, options["alpha"], x.shape).expand(x.shape).reshape(-1)

    def alone(t, **more):
        leaf = x.reshape(-1, 1).detach().requires_grad_()
        loss = op.ref(leaf, t.reshape(-1, 1), reduction="none", **{**options, **more})
        return torch.stack([loss.detach(), torch.autograd.grad(loss.sum(), leaf)[0].flatten()])

    with_target, without = alone(t), alone(torch.zeros_like(t), **({"beta": 0.0} if "beta" in options else {}))
    loss, grad = (without.abs() + (with_target - without).abs()).view(2, *x.shape) * factor.abs()
    return loss, grad, float(x[:, :1].numel() if target.is_floating_point() else rows.sum())


@functools.lru_cache(maxsize=64)
def expected(name, case, device, dtype, reduction):
    """Call, upstream gradient, reference, truth and magnitudes, for all backends of a device alike."""
    op = SimpleNamespace(name=name, ref=getattr(ef.ops, f"{name}_ref"), target_value=TARGET_VALUE[name])
    call = with_reduction(case.call(device, dtype), reduction)
    with torch.no_grad():
        upstream = upstream_for(op.ref(*call.args, **call.kwargs)) if reduction != "mean" else None
    wide = call.to(torch.float64)
    loss_size, grad_size, denominator = _terms(op, wide)
    loss_size = loss_size.sum(1)
    up = torch.ones((), dtype=torch.float64, device=device) if upstream is None else upstream.double().abs()
    if reduction == "none":
        grad_size = grad_size * up.unsqueeze(1 if up.dim() else 0)
    else:
        scale = 1.0 / denominator if reduction == "mean" and denominator else 1.0
        loss_size, grad_size = loss_size.sum() * scale, grad_size * up * scale
    vector = call.args[0].dim() == 1
    sizes = (loss_size.reshape(()), grad_size[0]) if vector else (loss_size, grad_size)
    return call, upstream, loss_and_grad(op.ref, call, upstream), loss_and_grad(op.ref, wide, upstream), sizes


TARGET_VALUE = {"exp_ga_loss": 1.0, "pow3_ga_loss": 10.0, "linear_ga_loss": 1.0}  # the ops' defaults


def with_reduction(call, reduction):
    return call._replace(kwargs={**call.kwargs, "reduction": reduction})


@pytest.mark.cuda_small
def test_values_and_gradients(op, case, backend, dtype):
    """Loss and gradient on this backend against the reference, as accurate as plain PyTorch in the same dtype."""
    for reduction in REDUCTIONS:
        if reduction == "sum" and dtype in (torch.bfloat16, torch.float16):
            continue  # as for none and float32: nothing that those two do not show
        call, upstream, reference, truth, sizes = expected(op.name, case, backend.device, dtype, reduction)
        with forced(backend, op.name):
            loss, grad = loss_and_grad(op.run, call, upstream)
        floor = SUM_IN_FLOAT if dtype == torch.float32 else 1.0
        assert_as_accurate(loss, reference[0], truth[0], sizes[0], f"{reduction} loss", floor)
        assert_as_accurate(grad, reference[1], truth[1], sizes[1], f"{reduction} gradient", TWO_ROUNDINGS)
        logits, target = call.args
        if logits.dim() > 1 and not target.is_floating_point():
            ignored = target == call.kwargs.get("ignore_index", -100)
            assert torch.all(grad.movedim(1, -1)[ignored] == 0)


def test_loss_without_gradient_is_the_same_and_inputs_are_left_alone(op, case, backend):
    call = with_reduction(case.call(backend.device, backend.dtypes[0]), "none")
    before = [a.clone() for a in call.args]
    with forced(backend, op.name):
        with_grad, _ = loss_and_grad(op.run, call)
        with torch.no_grad():
            plain = op.run(*call.args, **call.kwargs)
    assert plain.grad_fn is None
    torch.testing.assert_close(plain, with_grad, rtol=0, atol=0, equal_nan=True)
    for a, b in zip(call.args, before, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def test_thread_counts_give_the_same_bits(op, case, backend):
    if backend.device.type == "cuda":
        pytest.skip("CPU threads")
    results = []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        with forced(backend, op.name):
            results.append(loss_and_grad(op.run, case.call(dtype=backend.dtypes[0])))
    for loss, grad in results[1:]:
        torch.testing.assert_close(loss, results[0][0], rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(grad, results[0][1], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("shape", [(700, 331), (3, 21, 97, 101)])
def test_many_work_items_on_threads(op, backend, dtype, shape):
    """Large enough that every thread gets work; the cases of the list are mostly too small for a second thread."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(shape, generator=generator).to(dtype).to(backend.device)
    target = torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator).to(backend.device)
    results = []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        with forced(backend, op.name):
            leaf = x.clone().requires_grad_()
            loss = op.run(leaf, target)
            loss.backward()
            results.append((loss.detach(), leaf.grad))
    for loss, grad in results[1:]:
        assert torch.equal(loss, results[0][0])
        assert torch.equal(grad, results[0][1])
    leaf = x.double().requires_grad_()
    op.ref(leaf, target).backward()
    tolerance = 16 * torch.finfo(dtype).eps
    torch.testing.assert_close(
        results[0][1].double(), leaf.grad, rtol=tolerance, atol=tolerance * float(leaf.grad.abs().max())
    )


@pytest.mark.parametrize("shape", [(2100, 1024), (9, 21, 112, 112), (1100, 2051)])
def test_large_gradients_that_bypass_the_cache(op, backend, shape):
    """Above 8 MiB the CPU kernels stream; rows that do not start at a vector boundary have a head of their own."""
    dtype = backend.dtypes[0]
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(shape, generator=generator).to(backend.device, dtype)
    target = torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator).to(backend.device)
    with forced(backend, op.name):
        leaf = x.clone().requires_grad_()
        op.run(leaf, target, reduction="sum").backward()
    exact = x.double().requires_grad_()
    op.ref(exact, target, reduction="sum").backward()
    torch.testing.assert_close(leaf.grad.double(), exact.grad, rtol=1e-6, atol=1e-6)


def test_vectors_match_a_batch_of_one(op, backend, dtype):
    x = torch.randn(13, generator=torch.Generator().manual_seed(2)).to(backend.device, dtype)
    target = torch.tensor(4, device=backend.device)
    with forced(backend, op.name):
        for reduction in REDUCTIONS:
            single, batch = op.run(x, target, reduction=reduction), op.run(x[None], target[None], reduction=reduction)
            assert single.shape == ()
            assert torch.equal(single, batch.reshape(()))


def test_empty_batch(op, backend, dtype):
    x = torch.empty(0, 5, device=backend.device, dtype=dtype, requires_grad=True)
    target = torch.empty(0, device=backend.device, dtype=torch.int64)
    assert op.run(x, target, reduction="none").shape == (0,)
    assert op.run(x, target, reduction="sum").item() == 0
    mean = op.run(x, target)
    assert math.isnan(mean.item())
    mean.backward()
    assert x.grad.shape == (0, 5)


def test_mean_over_nothing_is_nan_and_its_gradient_zero(op, backend, dtype):
    x = torch.full((3, 5), float("nan"), device=backend.device, dtype=dtype, requires_grad=True)
    target = torch.full((3,), -100, device=backend.device)
    with forced(backend, op.name):
        loss = op.run(x, target)
        loss.backward()
    assert math.isnan(loss.item())
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_nan_logits_propagate_to_their_sample_only(op, backend, dtype):
    for layout in ("rows", "planes"):
        x = torch.ones(4, 37, device=backend.device, dtype=dtype)
        x[2, 20] = float("nan")
        target = torch.zeros(4, dtype=torch.int64, device=backend.device)
        if layout == "planes":
            x, target = x.t().contiguous()[None], target[None]
        x.requires_grad_()
        with forced(backend, op.name):
            loss = op.run(x, target, reduction="none")
            loss.sum().backward()
        assert loss.flatten().isnan().tolist() == [False, False, True, False]
        grad = x.grad[0].t() if layout == "planes" else x.grad
        assert grad.isnan().nonzero().tolist() == [[2, 20]]


def test_under_autocast_the_loss_is_float32(op, backend, dtype):
    x = torch.randn(4, 5, device=backend.device, dtype=dtype, requires_grad=True)
    target = torch.arange(4, device=backend.device)
    with torch.autocast(backend.device.type, dtype=torch.bfloat16), forced(backend, op.name):
        for reduction in REDUCTIONS:
            loss = op.run(x, target, reduction=reduction)
            assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
            (grad,) = torch.autograd.grad(loss, x, torch.full_like(loss, 0.3))
            assert grad.dtype == dtype
            expected = loss_and_grad_f64(op, x, target, reduction, 0.3)
            torch.testing.assert_close(grad.double(), expected, rtol=2 * torch.finfo(dtype).eps, atol=1e-6)


def loss_and_grad_f64(op, x, target, reduction, upstream):
    leaf = x.detach().double().requires_grad_()
    loss = op.ref(leaf, target, reduction=reduction)
    return torch.autograd.grad(loss, leaf, torch.full_like(loss, upstream))[0]


def test_float16_mean_keeps_small_gradients_for_a_loss_scale(op, backend):
    """Divided by the denominator before it is multiplied by the loss scale, such a gradient would flush to zero."""
    if torch.float16 not in backend.dtypes:
        pytest.skip("this backend has no float16 kernels")
    n = 4096
    x = torch.full((n, 4), 0.01, device=backend.device, dtype=torch.float16, requires_grad=True)
    target = torch.zeros(n, dtype=torch.int64, device=backend.device)
    with forced(backend, op.name):
        (op.run(x, target, target_value=1e-3, negative_value=0.009) * float(2**14)).backward()
    exact = x.detach().double().requires_grad_()
    (op.ref(exact, target, target_value=1e-3, negative_value=0.009) * float(2**14)).backward()
    torch.testing.assert_close(x.grad.double(), exact.grad, rtol=2e-2, atol=0)


def _reserve(elements, dtype):
    """Address space without memory: pages exist once touched."""
    size = elements * dtype.itemsize
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
    return torch.frombuffer(mmap.mmap(-1, size, flags=flags), dtype=dtype)


_FAR = 2**31 + 17


@pytest.mark.parametrize(
    ("shape", "strides"),
    [((2, 33), (_FAR, 1)), ((33, 2), (1, _FAR)), ((2, 3, 65), (_FAR, 70, 1)), ((1, 2, 65), (0, _FAR, 1)),
     ((1, 3, 2), (0, 1, _FAR))],
    ids=["rows", "packed", "planes_samples", "planes_classes", "rows_positions"],
)  # fmt: skip
def test_offsets_past_two_billion_elements(op, backend, shape, strides):
    """In place, so that reads and writes both land there; less than a megabyte of the 4 to 16 GiB is ever touched."""
    if backend.device.type == "cuda":
        pytest.skip("would need 4 GiB of device memory")
    dtype = torch.bfloat16 if backend.simd else torch.float64
    far = torch.as_strided(_reserve(2 * _FAR, dtype), shape, strides)
    near = torch.randn(shape, generator=torch.Generator().manual_seed(3)).to(dtype)
    far.copy_(near)
    target = torch.zeros((shape[0], *shape[2:]), dtype=torch.int64)
    with forced(backend, op.name):
        loss = op.run(far, target, inplace=True)
        leaf = near.clone().requires_grad_()
        expected = op.run(leaf, target)
        expected.backward()
    # Rows that adjoin are summed as one, distant ones each by itself.
    torch.testing.assert_close(loss, expected, rtol=64 * torch.finfo(dtype).eps, atol=0)
    assert torch.equal(far, leaf.grad)


def test_simd_levels_agree_to_rounding(op, case):
    """Kernels of different widths sum in different orders; float32 gradients still agree to a few ulp."""
    from effdl_fast import _C

    results = []
    for level in _C.build_info()["simd_levels"]:
        with simd(level):
            results.append(loss_and_grad(op.run, case.call()))
    for loss, grad in results[1:]:
        torch.testing.assert_close(loss, results[0][0], rtol=2e-6, atol=1e-5, equal_nan=True)
        torch.testing.assert_close(grad, results[0][1], rtol=2e-6, atol=1e-6, equal_nan=True)
