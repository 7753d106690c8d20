"""mlp_moments on every backend: against plain PyTorch and float64, its precision, its memory."""

import sys

import pytest
import torch
from torch.utils._pytree import tree_map

from effdl_fast.ops import mlp_forward, mlp_moments
from effdl_fast.testing.cases._mlp import LAYOUTS, term_sizes
from effdl_fast.testing.tolerance import assert_as_accurate

from ._memory import rise_in_a_process
from ._mlp import *  # noqa: F403
from ._mlp import on, unchanged

OP = "mlp_moments"


def products(z, y):
    """r' r in float64."""
    parts = [z.new_ones((z.shape[0], 1)), z] + ([] if y is None else [y.to(z.dtype)])
    r = torch.cat(parts, 1).double()
    return r.t() @ r


def test_moments(op, case, backend):
    for dtype in case.dtypes:
        if dtype not in backend.dtypes:
            continue
        call = case.call(backend.device, dtype)
        x, weights, y, activation = call.args
        before = tree_map(lambda a: a.clone() if isinstance(a, torch.Tensor) else a, call.args)
        with on(backend, op):
            ours = op.run(*call.args, **call.kwargs)
        unchanged(call.args, before)
        assert ours.dtype is torch.float64 and torch.equal(ours.nan_to_num(), ours.t().nan_to_num())
        reference = op.ref(*call.args, **call.kwargs)
        wide_y = None if y is None else y.double()
        truth = op.ref(x.double(), [w.double() for w in weights], wide_y, activation)
        size = products(term_sizes(x, weights, activation), None if y is None else wide_y.abs()).nan_to_num(1.0)
        if dtype is not torch.float64:  # what is rounded is float32, in z at least
            ours, reference = ours.float(), reference.float()
        assert_as_accurate(ours, reference, truth, size, f"{case} {dtype}", 3.0)


@pytest.mark.parametrize("dtype_of_y", [torch.float32, torch.bfloat16])
def test_precise_sums_are_float64(op, backend, dtype, dtype_of_y):
    """Of the z that mlp_forward gives, which is the same to the bit; and of x without layers."""
    g = torch.Generator().manual_seed(1)
    x = torch.randn(1500, 60, generator=g).to(dtype).to(backend.device)
    y = torch.randn(1500, 3, generator=g).to(dtype_of_y).to(backend.device)
    real = torch.float64 if dtype is torch.float64 else torch.float32
    weights = [torch.randn(61, 50, generator=g).to(real).to(backend.device)]
    for layers in (weights, []):
        z = mlp_forward(x, layers, "tanh")
        with on(backend, op):
            ours = op.run(x, layers, y, "tanh", precise=True)
        truth, size = products(z, y), products(z.abs(), y.abs())
        assert_as_accurate(ours, truth, truth, size, f"{len(layers)} layers")
        if real is torch.float32:  # ... and float32 sums are not
            assert (op.run(x, layers, y, "tanh") - truth).abs().max() > 1e-9 * truth.abs().max()


def test_sums_of_many_rows_keep_their_digits(op, backend):
    """A float32 sum of as many would stand still."""
    x = torch.full((1, 1), 1.0, device=backend.device).expand(1 << 25 if backend.simd == "avx512" else 1 << 18, 1)
    with on(backend, op):
        assert op.run(x, [], None).tolist() == [[x.shape[0]] * 2] * 2


def test_y_none_is_no_targets(op, backend, dtype):
    x = torch.randn(40, 9, generator=torch.Generator().manual_seed(0)).to(dtype).to(backend.device)
    assert torch.equal(op.run(x, [], None), op.run(x, [], x[:, :0]))


@pytest.mark.parametrize("precise", [False, True])
def test_no_rows_give_zeros(op, backend, dtype, precise):
    x = torch.empty(0, 5, dtype=dtype, device=backend.device)
    with on(backend, op):
        found = op.run(x, [], x[:, :2], precise=precise)
    assert found.shape == (8, 8) and not found.any()


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_a_bad_target_spoils_only_its_moments(op, backend, dtype, layout):
    x, y = torch.ones(70, 49, dtype=dtype, device=backend.device), torch.ones(70, 3, device=backend.device)
    y[:, 1] = torch.nan
    found = op.run(x, [], LAYOUTS[layout](y))
    assert found[51].isnan().all() and found[:, 51].isnan().all()
    keep = [i for i in range(53) if i != 51]
    assert (found[keep][:, keep] == 70).all()


def test_wrong_targets(op):
    x = torch.zeros(4, 3)
    for run in (op.run, op.ref):
        for y, error, message in (
            ([1.0], TypeError, r"y must be a torch\.Tensor or None, got list"),
            (torch.zeros(4, 1).long(), TypeError, "y must be float32, float64, float16 or bfloat16, got int64"),
            (torch.zeros(4), ValueError, r"y must have shape \(4, c\) as x has rows, got \(4,\)"),
            (torch.zeros(5, 1), ValueError, r"y must have shape \(4, c\) as x has rows, got \(5, 1\)"),
            (torch.zeros(4, 1, device="meta"), ValueError, "y must be on the device of x"),
        ):
            with pytest.raises(error, match=f"mlp_moments: {message}"):
                run(x, [], y)
        with pytest.raises(TypeError, match="mlp_moments: precise must be True or False, got int"):
            run(x, [], None, precise=1)


def _moments_rise():
    x, weights = torch.rand(20_000, 300), [torch.rand(301, 2000)]
    mlp_moments(x[:600], weights, None)
    return lambda: mlp_moments(x, weights, None)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_representation_is_held():
    """Its 160 MB would be seen beside the 32 MB of moments."""
    assert rise_in_a_process(__name__, "_moments_rise") < 60 << 20
