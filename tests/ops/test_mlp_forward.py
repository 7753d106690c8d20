"""mlp_forward on every backend: against plain PyTorch and float64, its memory, its `out`."""

import sys

import pytest
import torch
from torch.utils._pytree import tree_map

from effdl_fast.ops import mlp_forward
from effdl_fast.ops._activations import ACTIVATIONS
from effdl_fast.testing.cases._mlp import LAYOUTS, term_sizes
from effdl_fast.testing.tolerance import assert_as_accurate

from ._memory import rise_in_a_process
from ._mlp import *  # noqa: F403
from ._mlp import named, on, unchanged

OP = "mlp_forward"


def test_last_layer(op, case, backend):
    for dtype in case.dtypes:
        if dtype not in backend.dtypes:
            continue
        x, weights, activation = args = case.call(backend.device, dtype).args
        before = tree_map(lambda a: a.clone() if isinstance(a, torch.Tensor) else a, args)
        with on(backend, op, bool(weights)):
            ours = op.run(*args)
        unchanged(args, before)
        assert ours.is_contiguous()
        truth = op.ref(x.double(), [w.double() for w in weights], activation)
        size = term_sizes(x, weights, activation).nan_to_num(1.0)
        # Three units where terms are few: the activation itself may be off by two, as exp is.
        assert_as_accurate(ours, op.ref(*args), truth, size, f"{case} {dtype}", 3.0)


def test_activations(op, backend, dtype):
    """Through one weight of 1, at all sizes and the ends."""
    grid = torch.cat([torch.logspace(-30, 30, 500), torch.linspace(0, 20, 500), torch.tensor([0.0, torch.inf])])
    x = torch.cat([grid, -grid, torch.tensor([torch.nan])]).to(dtype)[:, None].to(backend.device)
    real = torch.float64 if dtype is torch.float64 else torch.float32
    one = torch.tensor([[0.0], [1.0]], dtype=real, device=backend.device)
    for activation, function in ACTIVATIONS.items():
        with on(backend, op):
            ours = op.run(x, [one], activation)
        torch.testing.assert_close(ours, function(x.to(real)), equal_nan=True, msg=activation)


def test_a_row_is_what_it_is_alone(op, backend, dtype):
    x, weights, activation = named(op, "threads").call(backend.device, dtype).args
    together = op.run(x, weights, activation)
    if backend.device.type == "cpu":
        for rows in (slice(0, 1), slice(3, 12), slice(70, 700), slice(4990, 5000)):
            with on(backend, op):
                assert torch.equal(op.run(x[rows], weights, activation), together[rows])


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "expanded"])
@pytest.mark.parametrize("name", ["x_contiguous", "no_layers", "width_97", "rows_0"])
def test_out(op, backend, dtype, layout, name):
    args = named(op, name).call(backend.device, dtype).args
    wanted = op.run(*args)
    for run in (op.run, op.ref):
        out = LAYOUTS[layout](torch.full_like(wanted, 7.0))
        found = run(*args, out=out)
        assert found is out
        torch.testing.assert_close(out, wanted, rtol=0 if run is op.run else 1e-4, atol=0 if run is op.run else 1e-4)
    if layout == "every_other" and wanted.numel():  # what lies between is not touched
        room = torch.full((*wanted.shape, 2), 7.0, dtype=wanted.dtype, device=wanted.device)
        op.run(*args, out=room[..., 0])
        assert torch.equal(room[..., 0], wanted) and (room[..., 1] == 7).all()


def test_out_of_one_row_or_column(op, backend):
    """Any stride goes where there is nothing to step to."""
    for shape, strides in (((4, 1), (1, 1)), ((4, 1), (2, 0)), ((1, 4), (0, 1)), ((1, 1), (0, 0)), ((0, 3), (1, 1))):
        out = torch.zeros(9, device=backend.device).as_strided(shape, strides)
        x, w = (torch.ones(s, device=backend.device) for s in ((shape[0], 2), (3, shape[1])))
        assert op.run(x, [w], out=out) is out and (out == 3).all()


def test_out_that_is_no_plain_memory(op, backend, first):
    """A negative view, whose memory holds the negatives; a subclass, also with plain inputs."""

    class Sub(torch.Tensor):
        pass

    wanted = op.run(*first.args)
    for make in (lambda t: torch._neg_view(t), lambda t: t.as_subclass(Sub)):
        for run in (op.run, op.ref):
            out = make(torch.zeros_like(wanted))
            assert run(*first.args, out=out) is out
            torch.testing.assert_close(out.as_subclass(torch.Tensor), wanted)


def test_out_is_written_under_compile(op):
    x, weights, activation = named(op, "celu_two_layers").call().args
    out = torch.zeros(x.shape[0], weights[-1].shape[1])
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda x, out: op.run(x, weights, activation, out=out), fullgraph=True, backend="aot_eager"
    )
    compiled(x, out)
    assert torch.equal(out, op.run(x, weights, activation))


def test_wrong_out(op):
    x, w = torch.zeros(4, 3), torch.zeros(4, 2)
    for run in (op.run, op.ref):
        for out, error, message in (
            ([1.0], TypeError, "out must be a torch.Tensor, got list"),
            (torch.zeros(4, 2).double(), TypeError, "out must be float32, got float64"),
            (torch.zeros(4, 3), ValueError, r"out must have shape \(4, 2\), got \(4, 3\)"),
            (torch.zeros(4, 2, device="meta"), ValueError, "out must be on the device of x"),
            (torch.zeros(4, 2, requires_grad=True), ValueError, "out must not require grad"),
            (torch.zeros(1, 2).expand(4, 2), ValueError, "out must have an element of its own"),
            (torch.zeros(4, 1).expand(4, 2), ValueError, "out must have an element of its own"),
            (torch.zeros(9).as_strided((4, 2), (1, 1)), ValueError, "out must have an element of its own"),
            (torch.zeros(9).as_strided((4, 2), (1, 3)), ValueError, "out must have an element of its own"),
        ):
            with pytest.raises(error, match=f"mlp_forward: {message}"):
                run(x, [w], out=out)


def _forward_rise():
    x, weights = torch.rand(20_000, 300), [torch.rand(301, 3000), torch.rand(3001, 5)]
    mlp_forward(x[:600], weights)
    return lambda: mlp_forward(x, weights)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_representation_is_held():
    """Its 240 MB would be seen."""
    assert rise_in_a_process(__name__, "_forward_rise") < 60 << 20
