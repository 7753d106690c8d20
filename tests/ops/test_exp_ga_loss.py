"""exp_ga_loss on every backend: the tests of every separable loss, and what is its own."""

import math

import pytest
import torch
import torch.nn.functional as F

from effdl_fast.ops import exp_ga_loss
from effdl_fast.testing.backends import forced

from ._ga_loss import *  # noqa: F403
from ._ga_loss import upstream_for
from ._ga_loss_errors import *  # noqa: F403
from ._ga_loss_errors import AlphaErrors
from ._ga_loss_torch import *  # noqa: F403

OP = "exp_ga_loss"


class TestAlpha(AlphaErrors):
    pass


# ---- what exp_ga_loss is: the Poisson loss, and cross-entropy plus one ----


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_equals_the_poisson_loss(op, alpha):
    x = torch.randn(7, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    target = torch.arange(7)
    one_hot = F.one_hot(target, 11).double()
    pairs = []
    for function in (
        lambda v: op.run(v, target, alpha=alpha, reduction="sum"),
        lambda v: F.poisson_nll_loss(v + math.log(alpha), one_hot, log_input=True, full=False, reduction="sum"),
    ):
        leaf = x.clone().requires_grad_()
        loss = function(leaf)
        loss.backward()
        pairs.append((loss.detach(), leaf.grad))
    torch.testing.assert_close(pairs[0], pairs[1], rtol=1e-12, atol=1e-12)


def cross_entropy(x, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """F.cross_entropy by way of exp_ga_loss: alpha_i = exp(-logsumexp(x_i)) makes it cross-entropy plus 1."""
    alpha = torch.exp(-torch.logsumexp(x.detach(), 1, keepdim=True))
    classes = x.shape[1]
    ones = torch.ones(target.shape, dtype=x.dtype) if not target.is_floating_point() else torch.ones_like(alpha[:, 0])
    if not target.is_floating_point():
        ones = torch.where(target == ignore_index, 0.0, ones)
        if weight is not None:
            ones = ones * weight[target.clamp(min=0)]
    if label_smoothing:
        hot = F.one_hot(target, classes).movedim(-1, 1).to(x.dtype)
        target = hot * (1 - label_smoothing) + label_smoothing / classes
    loss = exp_ga_loss(x, target, alpha=alpha, weight=weight, ignore_index=ignore_index, reduction=reduction)
    return loss - (ones if reduction == "none" else 1.0 if reduction == "mean" else ones.sum())


@pytest.mark.parametrize("shape", [(6, 5), (5, 5), (1, 5), (3, 1), (4, 7, 3), (2, 21, 5, 6), (2, 3, 4, 5, 2)], ids=str)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("options", [{}, {"weight": True}, {"ignore_index": 0}, {"weight": True, "ignore_index": 0},
                                     {"label_smoothing": 0.1}, {"probabilities": True}], ids=str)  # fmt: skip
def test_equals_cross_entropy(shape, reduction, options):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(shape, generator=generator, dtype=torch.float64) * 3
    target = torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator)
    options = dict(options)
    if options.pop("probabilities", False):
        target = torch.softmax(torch.randn(shape, generator=generator, dtype=torch.float64), 1)
    if options.pop("weight", False):
        options["weight"] = torch.rand(shape[1], generator=generator, dtype=torch.float64) + 0.1
    if "ignore_index" in options and shape[1] == 1:
        pytest.skip("every sample would be ignored")
    results = []
    for function in (cross_entropy, F.cross_entropy):
        leaf = x.clone().requires_grad_()
        loss = function(leaf, target, reduction=reduction, **options)
        (grad,) = torch.autograd.grad(loss, leaf, upstream_for(loss))
        results.append((loss.detach(), grad))
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-12)


# ---- range ----


def test_minus_infinity_is_probability_zero(op, backend, dtype):
    """A masked class (target 0) costs nothing; the positive class at -inf costs everything, as in cross-entropy."""
    x = torch.zeros(2, 37, device=backend.device, dtype=dtype)
    x[:, 20] = -math.inf
    x.requires_grad_()
    target = torch.tensor([3, 20], device=backend.device)
    with forced(backend, op.name):
        loss = op.run(x, target, reduction="none")
        (grad,) = torch.autograd.grad(loss, x, torch.ones_like(loss))
    assert loss.tolist() == [36.0, math.inf]
    assert grad[:, 20].tolist() == [0.0, -1.0]


def test_where_it_overflows(op, backend):
    """float32 at x + ln(alpha) > 88.7, a float16 gradient at > 11.09; the clamp keeps both finite."""
    edges = {torch.float32: 88.72, torch.float64: 709.78, torch.float16: 11.085}
    target = torch.zeros(1, dtype=torch.int64, device=backend.device)
    for dtype, edge in edges.items():
        if dtype not in backend.dtypes:
            continue
        for x, finite in ((edge, True), (edge * 1.001, False)):
            leaf = torch.full((1, 1), x, device=backend.device, dtype=dtype, requires_grad=True)
            with forced(backend, op.name):
                (grad,) = torch.autograd.grad(op.run(leaf, target, reduction="sum"), leaf)
                clamped = op.run(leaf * 2, target, clamp=10.0, reduction="sum")
                (kept,) = torch.autograd.grad(clamped, leaf)
            assert bool(torch.isfinite(grad)) == finite, (dtype, x)
            assert torch.isfinite(kept) and kept > 0


def test_clamp_is_a_tangent(op, backend, dtype):
    """Equal below, straight above: value exp(c) (1 + z - c), slope exp(c)."""
    x = torch.tensor([[-1.0, 1.0, 1.5, 4.0]], device=backend.device, dtype=dtype, requires_grad=True)
    target = torch.zeros(1, 4, device=backend.device, dtype=dtype)
    with forced(backend, op.name):
        loss = op.run(x, target, clamp=1.0, reduction="sum")
        loss.backward()
    slope = [math.exp(-1), math.e, math.e, math.e]
    value = math.exp(-1) + math.e * (1 + 1.5 + 4)
    eps = 2 * torch.finfo(dtype).eps
    torch.testing.assert_close(x.grad[0].double().cpu(), torch.tensor(slope, dtype=torch.float64), rtol=eps, atol=0)
    torch.testing.assert_close(loss.item(), value, rtol=eps, atol=0)


def test_large_logit_with_small_alpha(op, backend):
    """x + ln(alpha) is rounded once, not amplified by the exponential: 80 + ln(1e-34) keeps its digits."""
    dtype = backend.dtypes[0]
    x = torch.linspace(70, 90, 501, device=backend.device, dtype=dtype)[:, None].requires_grad_()
    target = torch.zeros_like(x)
    with forced(backend, op.name):
        op.run(x, target, alpha=1e-34, reduction="sum").backward()
    exact = torch.exp(x.detach().double() + math.log(1e-34))
    torch.testing.assert_close(x.grad.double(), exact, rtol=4e-7 if dtype == torch.float32 else 1e-13, atol=0)
