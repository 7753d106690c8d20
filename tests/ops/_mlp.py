"""What mlp_forward and mlp_moments both must do. Imported by the test modules of both."""

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._pytree import tree_map_only

from effdl_fast import _C
from effdl_fast.ops import _mlp
from effdl_fast.testing.backends import backends, forced
from effdl_fast.testing.cases import load


@pytest.fixture(autouse=True)
def one_thread(_global_state):
    torch.set_num_threads(1)


def on(backend, op, kernel=True):
    """On this backend, with proof, unless no kernel runs; on CUDA both ops are composed of torch's."""
    return forced(backend, op.name if kernel and backend.device.type == "cpu" else None)


def named(op, name):
    (case,) = [c for c in load(op.name) if c.name == name]
    return case


def unchanged(args, before):
    """No input was changed."""
    for a, b in zip(args, before, strict=True):
        for p, q in zip(*((t if isinstance(t, list) else [t]) for t in (a, b)), strict=True):
            assert not isinstance(p, Tensor) or torch.equal(p.nan_to_num(), q.nan_to_num())


def only_once(op, backend):
    if backend.device.type == "cpu" and backend != backends(op.name)[0]:
        pytest.skip("the same Python for every kernel")


@pytest.fixture
def first(op, backend):
    return named(op, "celu_two_layers").call(backend.device, backend.dtypes[0])


@pytest.mark.parametrize("name", ["threads", "threads_wide"])
def test_thread_counts_give_the_same_bits(op, backend, dtype, name):
    if backend.device.type == "cuda":
        pytest.skip("CPU threads")
    for suffix in ("", "_precise") if op.name == "mlp_moments" else ("",):
        call = named(op, name + suffix).call(backend.device, dtype)
        wanted = op.run(*call.args, **call.kwargs)
        for threads in (2, 3):
            torch.set_num_threads(threads)
            with on(backend, op):
                assert torch.equal(op.run(*call.args, **call.kwargs), wanted)


@pytest.mark.parametrize("dtype_of_x", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", ["celu_two_layers", "no_layers", "many_rows", "rows_0", "nan_relu"])
def test_blocks_of_torch(op, name, dtype_of_x, monkeypatch):
    """What runs on CUDA, here on the CPU."""
    monkeypatch.setattr(_mlp, "_BLOCK_ROWS", 7)
    monkeypatch.setattr(_mlp, "SUM_ROWS", 50)
    x, weights, *rest = named(op, name).call("cpu", dtype_of_x).args
    wanted = op.ref(x, weights, *rest)
    found = torch.zeros_like(wanted)
    if op.name == "mlp_forward":
        _mlp.forward_by_blocks(x, weights, *rest, found)
    else:
        for precise in (False, True):
            _mlp.moments_by_blocks(x, weights, *rest, precise, found.zero_())
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-3, equal_nan=True)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-3, equal_nan=True)


def registered(op, call):
    """The arguments of the dispatcher's op."""
    return (*call.args, False) if op.name == "mlp_moments" else call.args


@pytest.mark.parametrize("name", ["celu_two_layers", "no_layers", "rows_0"])
def test_opcheck(op, backend, name):
    only_once(op, backend)
    call = named(op, name).call(backend.device)
    torch.library.opcheck(getattr(torch.ops.effdl_fast, op.name), registered(op, call))


@pytest.mark.parametrize("name", ["celu_two_layers", "no_layers", "rows_0"])
def test_fake_tensors(op, backend, dtype, name):
    only_once(op, backend)
    call = named(op, name).call(backend.device, dtype)
    real = op.run(*call.args, **call.kwargs)
    with FakeTensorMode(shape_env=ShapeEnv()) as mode:
        fake = op.run(*tree_map_only(Tensor, mode.from_tensor, call.args), **call.kwargs)
    assert (fake.shape, fake.dtype, fake.device) == (real.shape, real.dtype, real.device)


@pytest.mark.parametrize("compiler", ["aot_eager", "inductor"])
def test_compile_fullgraph(op, backend, first, compiler):
    only_once(op, backend)
    torch._dynamo.reset()

    def step(*args):
        return op.run(*args, **first.kwargs) * 2

    with on(backend, op):
        result = torch.compile(step, fullgraph=True, backend=compiler)(*first.args)
    assert torch.equal(result, step(*first.args))


def test_dispatch_modes_see_the_op(op, backend, first):
    found = []

    class Record(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            found.append(function.name())
            return function(*args, **(kwargs or {}))

    with on(backend, op), Record():
        seen = op.run(*first.args)
    assert f"effdl_fast::{op.name}" in found and torch.equal(seen, op.run(*first.args))


def test_forward_mode_and_vmap_run_the_reference(op, backend, first):
    from torch.autograd import forward_ad

    x, weights, *rest = first.args
    wanted = op.run(*first.args)
    before = _C.last_kernel()
    with forward_ad.dual_level():
        torch.testing.assert_close(op.run(*first.args), wanted, rtol=1e-4, atol=1e-3)
    several = torch.func.vmap(lambda x: op.run(x, weights, *rest))(torch.stack([x, x]))
    torch.testing.assert_close(several[1], wanted, rtol=1e-4, atol=1e-3)
    assert _C.last_kernel() == before


def test_inputs_are_constants(op, backend, first):
    x, weights, *rest = first.args
    wanted = op.run(*first.args)
    for grad in (x.clone().requires_grad_(), torch.nn.Parameter(x), x.clone().requires_grad_() * 1):
        for run in (op.run, op.ref):
            found = run(grad, [torch.nn.Parameter(w) for w in weights], *rest)
            assert not found.requires_grad
        assert torch.equal(op.run(grad, [torch.nn.Parameter(w) for w in weights], *rest), wanted)
    assert torch.equal(op.run(x, tuple(weights), *rest), wanted)


def test_subclasses_of_tensor(op, backend, first):
    class Sub(Tensor):
        pass

    wanted = op.run(*first.args)
    with on(backend, op):
        found = op.run(*tree_map_only(Tensor, lambda t: t.as_subclass(Sub), first.args))
    assert torch.equal(found.as_subclass(Tensor), wanted)


def test_one_argument_of_a_subclass(op, backend, first):
    class Sub(Tensor):
        pass

    x, weights, *rest = first.args
    wanted = op.run(x, weights, *rest)
    sub = tree_map_only(Tensor, lambda t: t.as_subclass(Sub), first.args)
    for args in ((sub[0], weights, *rest), (x, [sub[1][0], *weights[1:]], *rest), (x, weights, *sub[2:])):
        with on(backend, op):
            assert torch.equal(op.run(*args).as_subclass(Tensor), wanted)


def test_fake_tensors_among_plain_ones(op, first):
    """Their memory is nobody's, so no kernel reads it."""
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = mode.from_tensor(first.args[1][0].cpu())
    x, weights, *rest = tree_map_only(Tensor, Tensor.cpu, first.args)
    found = op.run(x, [fake, *weights[1:]], *rest)
    assert found.shape == op.run(x, weights, *rest).shape and type(found) is type(fake)


def test_wrong_layers(op):
    """`y` of mlp_moments is None here."""
    x, w = torch.zeros(4, 3), torch.zeros(4, 2)
    rest = (None,) if op.name == "mlp_moments" else ()
    for run in (op.run, op.ref):

        def call(x=x, weights=(w,), *more, run=run):
            return run(x, weights, *rest, *more)

        def refused(error, message, *args, call=call):
            with pytest.raises(error, match=f"{op.name}: {message}"):
                call(*args)

        for dtype in (torch.int64, torch.bool, torch.complex64):
            refused(TypeError, f"x must be float32, float64, float16 or bfloat16, got {str(dtype)[6:]}", x.to(dtype))
        for shape in ((4,), (4, 3, 1), ()):
            refused(ValueError, r"x must have shape \(m, d\), got", torch.zeros(shape))
        refused(TypeError, "x must be a dense tensor", x.to_sparse())
        refused(TypeError, "weights must be a sequence of tensors, got Tensor", x, w)
        refused(TypeError, "weights must be a sequence of tensors, got NoneType", x, None)
        refused(TypeError, r"weights\[1\] must be a torch\.Tensor, got list", x, [w, [1.0]])
        refused(TypeError, r"weights\[0\] must be float32 for x of float32, got float64", x, [w.double()])
        refused(
            TypeError, r"weights\[0\] must be float32 for x of bfloat16, got bfloat16", x.bfloat16(), [w.bfloat16()]
        )
        refused(TypeError, r"weights\[0\] must be float64 for x of float64, got float32", x.double(), [w])
        refused(ValueError, r"weights\[0\] must have shape \(4, w\), .* got \(3, 2\)", x, [w[1:]])
        refused(ValueError, r"weights\[1\] must have shape \(3, w\), .* got \(4, 2\)", x, [w, w])
        refused(ValueError, r"weights\[0\] must have shape \(4, w\), .* got \(4, 0\)", x, [w[:, :0]])
        refused(ValueError, r"weights\[0\] must have shape \(4, w\), .* got \(4,\)", x, [w[:, 0]])
        refused(ValueError, "weights.0. must be on the device of x", x, [w.to("meta")])
        refused(ValueError, "activation must be one of identity, relu, .* got 'gelu'", x, (w,), "gelu")
        refused(ValueError, "activation must be one of identity, relu, .* got None", x, (w,), None)
    with pytest.raises(TypeError, match=rf"{op.name}: x must be a torch\.Tensor, got list"):
        op.run([[1.0]], [w], *rest)
