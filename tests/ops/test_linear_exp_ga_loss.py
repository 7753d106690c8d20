"""linear_exp_ga_loss against F.linear and the reference loss: values, gradients, memory, torch.compile, errors."""

import pytest
import torch
import torch.nn.functional as F

import effdl_fast as ef
from effdl_fast.ops import exp_ga_loss, linear_exp_ga_loss, linear_exp_ga_loss_ref
from effdl_fast.testing import peak_memory
from effdl_fast.testing.backends import forced
from effdl_fast.testing.tolerance import assert_as_accurate

OP = "linear_exp_ga_loss"
# Logits, their gradient and the products are each rounded to 16 bits by ours and by the reference, in other places.
FLOOR = 8.0


def run(function, call, upstream=None):
    call = call.with_grad()
    loss = function(*call.args, **call.kwargs)
    if upstream is None:
        upstream = torch.linspace(0.5, 2.0, max(loss.numel(), 1)).to(loss.device)[: loss.numel()].view(loss.shape)
    return [loss.detach(), *torch.autograd.grad(loss, call.leaves(), upstream.to(loss.dtype))]


@pytest.mark.cuda_small
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_values_and_gradients(op, case, backend, dtype, reduction):
    call = case.call(backend.device, dtype).with_grad(reduction=reduction)
    truth = run(op.ref, call.to(torch.float64))
    with forced(backend, "exp_ga_loss" if call.args[0].numel() else None):  # the kernel that works on the tiles
        ours = run(op.run, call)
    reference = run(op.ref, call)
    for name, a, r, t in zip(("loss", "input", "weight", "bias"), ours, reference, truth, strict=False):
        if case.name == "empty_batch" and name != "loss":
            assert a.shape == t.shape and not a.any()  # the reference's mean over nothing has NaN gradients
            continue
        size = t.abs().max().expand(t.shape) if t.numel() else None
        assert_as_accurate(a, r, t, size, name, FLOOR)


def test_gradcheck(op, tiny):
    call = tiny.call(dtype=torch.float64).with_grad()
    for reduction in ("mean", "none"):
        fixed = list(call.args)
        if not fixed[2].is_floating_point() and (fixed[2] < 0).any():
            fixed[0] = fixed[0].detach().nan_to_num(0.0, 0.0, 0.0).requires_grad_()  # NaN has no finite differences

        def function(*leaves, fixed=fixed, reduction=reduction):
            bias = leaves[2] if len(leaves) > 2 else None
            return op.run(leaves[0], leaves[1], fixed[2], bias, **{**call.kwargs, "reduction": reduction})

        assert torch.autograd.gradcheck(function, [fixed[i] for i in call.differentiable])


def problem(rows=19, features=7, classes=301, dtype=torch.float32, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, features, generator=g).to(dtype).requires_grad_()
    w = (torch.randn(classes, features, generator=g) * 0.3).to(dtype).requires_grad_()
    b = torch.randn(classes, generator=g).to(dtype).requires_grad_()
    return x, w, torch.randint(classes, (rows,), generator=g), b


@pytest.mark.parametrize("shape", [(19, 301), (301, 19), (65, 64), (7, 2100)])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_chunk_size_changes_only_rounding(shape, reduction):
    x, w, t, b = problem(shape[0], 7, shape[1], torch.float64)
    t[::4] = -100

    def result(chunk_bytes):
        loss = linear_exp_ga_loss(x, w, t, b, reduction=reduction, chunk_bytes=chunk_bytes)
        return [loss, *torch.autograd.grad(loss.sum(), (x, w, b))]

    whole = result(1 << 24)
    for chunk_bytes in (1, 8, 40, 1000, 4096, 40000):
        torch.testing.assert_close(result(chunk_bytes), whole, rtol=1e-12, atol=1e-12)


def test_16_bit_sums_are_float32():
    """1 + 4096 * 2^-9 in bfloat16 stays 1 if every addend is rounded in."""
    rows = 4096
    x = torch.full((rows, 1), 1.0, dtype=torch.bfloat16, requires_grad=True)
    w = torch.zeros(1, 1, dtype=torch.bfloat16, requires_grad=True)
    dense = torch.full((rows, 1), 1 - 2.0**-7, dtype=torch.bfloat16)  # gradient of each logit: 2^-7
    linear_exp_ga_loss(x, w, dense, reduction="sum", chunk_bytes=2).backward()
    assert w.grad.item() == rows * 2.0**-7


def test_float16_gradients_meet_the_loss_scale_before_they_are_rounded():
    """A gradient of 2^-14 / 4096 is below float16's range; times a loss scale of 2^12 it is 2^-14."""
    x = torch.full((4096, 1), 1.0, dtype=torch.float16, requires_grad=True)
    w = torch.zeros(1, 1, dtype=torch.float16, requires_grad=True)
    target = torch.ones(4096, 1, dtype=torch.float16)
    target[0] = 0.5
    for chunk_bytes in (1 << 20, 64):
        w.grad = None
        (linear_exp_ga_loss(x, w, target, chunk_bytes=chunk_bytes).float() * 2.0**12).backward()
        assert w.grad.item() == 0.5


def test_poisoned_ignored_rows_add_nothing():
    x, w, t, b = problem()
    with torch.no_grad():
        x[3], x[5] = float("nan"), float("inf")
    t[3] = t[5] = -100
    keep = torch.arange(19)
    keep = keep[(keep != 3) & (keep != 5)]
    for reduction in ("mean", "sum", "none"):
        loss = linear_exp_ga_loss(x, w, t, b, reduction=reduction)
        grads = torch.autograd.grad(loss.sum(), (x, w, b))
        clean = x.detach()[keep].requires_grad_()
        expected = linear_exp_ga_loss(clean, w, t[keep], b, reduction=reduction)
        expected_grads = torch.autograd.grad(expected.sum(), (clean, w, b))
        torch.testing.assert_close((grads[0][keep], *grads[1:]), expected_grads, rtol=1e-4, atol=1e-5)
        assert not grads[0][[3, 5]].any()
        assert reduction != "none" or not loss[[3, 5]].any()


def test_only_what_needs_a_gradient_gets_one():
    x, w, t, b = problem()
    full = torch.autograd.grad(linear_exp_ga_loss(x, w, t, b), (x, w, b))
    for needed in [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2)]:
        leaves = [v.detach().requires_grad_(i in needed) for i, v in enumerate((x, w, b))]
        for reduction in ("mean", "none"):
            loss = linear_exp_ga_loss(leaves[0], leaves[1], t, leaves[2], reduction=reduction)
            grads = torch.autograd.grad(loss.mean(), [leaves[i] for i in needed])
            torch.testing.assert_close(grads, tuple(full[i] for i in needed), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_backward_twice(reduction, dtype):
    x, w, t, b = problem(dtype=dtype)
    for factor in (1.0, 2.5):
        loss = linear_exp_ga_loss(x, w, t, b, reduction=reduction).mean() * factor
        first = torch.autograd.grad(loss, (x, w, b), retain_graph=True)
        copies = [g.clone() for g in first]
        for g in first:
            g.mul_(3)
        torch.testing.assert_close(torch.autograd.grad(loss, (x, w, b)), tuple(copies), rtol=0, atol=0)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_double_backward_raises(reduction):
    x, w, t, b = problem()
    loss = linear_exp_ga_loss(x, w, t, b, reduction=reduction).sum()
    with pytest.raises(RuntimeError, match="second derivatives"):
        torch.autograd.grad(loss, x, create_graph=True)


def test_functorch_runs_the_reference():
    x, w, t, b = problem(dtype=torch.float64)
    grad = torch.func.grad(lambda v: linear_exp_ga_loss(v, w.detach(), t, b.detach()))(x.detach())
    torch.testing.assert_close(grad, torch.autograd.grad(linear_exp_ga_loss(x, w, t, b), x)[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_casts_as_linear_does(dtype):
    x, w, t, b = problem()
    with torch.autocast("cpu", dtype=dtype):
        ours, plain = linear_exp_ga_loss(x, w, t, b), exp_ga_loss(F.linear(x, w, b), t)
    assert ours.dtype == plain.dtype == torch.float32
    torch.testing.assert_close(ours, plain, rtol=2e-2, atol=2e-2)
    for a, r in zip(torch.autograd.grad(ours, (x, w, b)), torch.autograd.grad(plain, (x, w, b)), strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, r, rtol=3e-2, atol=3e-2 * r.abs().max().item())


# ---- torch.compile, export, opcheck ----


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_compile(reduction, dtype):
    x, w, t, b = problem(dtype=dtype)

    def step(x, w, b):
        return linear_exp_ga_loss(x, w, t, b, reduction=reduction, alpha=0.5, chunk_bytes=4096).sum()

    expected = [step(x, w, b), *torch.autograd.grad(step(x, w, b), (x, w, b))]
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    got = [compiled(x, w, b), *torch.autograd.grad(compiled(x, w, b), (x, w, b))]
    torch.testing.assert_close(got, expected)


def test_export():
    class Head(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = ef.nn.LinearExpGALoss(7, 31)

        def forward(self, x, t):
            return self.head(x, t)

    x, t = torch.randn(5, 7), torch.randint(31, (5,))
    head = Head()
    program = torch.export.export(head, (x, t))
    assert any("linear_exp_ga_loss" in str(n.target) for n in program.graph.nodes)
    torch.testing.assert_close(program.module()(x, t), head(x, t))


@pytest.mark.parametrize("reduction", [0, 1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_opcheck(reduction, dtype):
    x, w, t, b = problem(classes=31, dtype=dtype)
    constants = (None, 1.0, 1.0, 0.0, None, -100, reduction, None, None, 0, 31, 1024)
    torch.library.opcheck(torch.ops.effdl_fast.linear_exp_ga_loss.default, (x, w, t, b, *constants, True, True, True))
    if reduction == 0:
        args = (torch.ones(19), *(v.detach() for v in (x, w, t, b)), *constants, True, False, True)
        torch.library.opcheck(torch.ops.effdl_fast.linear_exp_ga_loss_backward.default, args)


# ---- the module ----


def test_module():
    torch.manual_seed(0)
    head = ef.nn.LinearExpGALoss(7, 31, alpha=torch.full((1, 31), 0.5), reduction="sum")
    x, t = torch.randn(5, 7), torch.randint(31, (5,))
    expected = exp_ga_loss(head.logits(x), t, alpha=0.5, reduction="sum")
    torch.testing.assert_close(head(x, t), expected)
    assert "classes=31" in repr(head)
    linear = torch.nn.Linear(7, 31)
    assert head.load_state_dict(linear.state_dict(), strict=False).unexpected_keys == []
    assert {n for n, _ in head.named_parameters()} == {"weight", "bias"}
    with pytest.raises(TypeError, match="alhpa"):
        ef.nn.LinearExpGALoss(7, 31, alhpa=1.0)


# ---- errors ----

BAD = [
    ({"input": torch.zeros(5, 7, dtype=torch.int64)}, TypeError, "input must be float32"),
    ({"input": torch.tensor(1.0)}, ValueError, "input must be"),
    ({"weight": torch.zeros(31, 8)}, ValueError, "weight must be"),
    ({"weight": torch.zeros(0, 7)}, ValueError, "weight must be"),
    ({"weight": torch.zeros(31, 7, dtype=torch.float64)}, TypeError, "weight must have the dtype"),
    ({"weight": torch.zeros(31, 7, device="meta")}, ValueError, "weight must be on the device"),
    ({"bias": torch.zeros(30)}, ValueError, "bias must be"),
    ({"bias": torch.zeros(31, dtype=torch.float16)}, TypeError, "bias must have the dtype"),
    ({"target": torch.zeros(4, dtype=torch.int64)}, ValueError, "target must hold"),
    ({"target": torch.zeros(5, dtype=torch.bool)}, TypeError, "target must be integer"),
    ({"target": torch.zeros(5, 30)}, ValueError, "dense target"),
    ({"target": torch.zeros(5, 31, dtype=torch.float64)}, TypeError, "dense target"),
    ({"target": torch.zeros(5, 31, requires_grad=True)}, ValueError, "target gets no gradient"),
    ({"target": torch.tensor([0, 1, 31, 2, 3])}, ValueError, r"target at position 2 is 31, outside \[0, 31\)"),
    ({"target": torch.tensor([0, 1, 3, -1, 3])}, ValueError, "target at position 3 is -1"),
    ({"alpha": 0.0}, ValueError, "alpha must be positive"),
    ({"alpha": "1"}, TypeError, "alpha must be a number"),
    ({"alpha": torch.zeros(31)}, ValueError, "alpha must be positive"),
    ({"alpha": torch.ones(4)}, ValueError, "alpha must be"),
    ({"alpha": torch.ones(31, dtype=torch.int64)}, TypeError, "alpha must be a floating-point"),
    ({"alpha": torch.ones(31, requires_grad=True)}, ValueError, "alpha is a constant"),
    ({"class_weight": torch.ones(30)}, ValueError, "class_weight must hold"),
    ({"class_weight": torch.ones(31, dtype=torch.int64)}, TypeError, "class_weight must be"),
    ({"target_value": float("nan")}, ValueError, "target_value must be finite"),
    ({"negative_value": "0"}, TypeError, "negative_value must be a number"),
    ({"clamp": float("inf")}, ValueError, "clamp must be finite"),
    ({"reduction": "max"}, ValueError, "reduction must be"),
    ({"chunk_bytes": 0}, ValueError, "chunk_bytes must be positive"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD, ids=[f"{m}-{i}" for i, (_, _, m) in enumerate(BAD)])
def test_errors(change, error, message):
    arguments = {"input": torch.zeros(5, 7), "weight": torch.zeros(31, 7), "target": torch.arange(5), "bias": None}
    with pytest.raises(error, match=f"linear_exp_ga_loss: {message}|linear_exp_ga_loss: a {message}"):
        linear_exp_ga_loss(**(arguments | change))


def test_alpha_that_could_mean_either():
    with pytest.raises(ValueError, match=r"\(1, C\) or \(N, 1\)"):
        linear_exp_ga_loss(torch.zeros(5, 7), torch.zeros(5, 7), torch.arange(5), alpha=torch.ones(5))


# ---- memory ----


@pytest.mark.slow
@pytest.mark.skipif(not peak_memory.AVAILABLE, reason="reads /proc")
def test_peak_memory_is_a_tenth_of_eager():
    ours, eager = (peak_memory.head_peak_bytes(kind) for kind in (peak_memory.OURS, peak_memory.EAGER_CE))
    assert ours < eager / 10


def test_reference_has_the_same_result_as_linear_and_loss():
    x, w, t, b = problem(dtype=torch.float64)
    torch.testing.assert_close(linear_exp_ga_loss_ref(x, w, t, b), exp_ga_loss(F.linear(x, w, b), t))
