"""layer_moments on every backend: against plain PyTorch and float64, activations one by one, bits for all threads."""

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._pytree import tree_map_only

from effdl_fast import _C
from effdl_fast.ops import layer_moments, layer_moments_ref
from effdl_fast.ops._activations import ACTIVATIONS
from effdl_fast.testing.backends import backends, forced
from effdl_fast.testing.cases import load
from effdl_fast.testing.tolerance import assert_as_accurate

OP = "layer_moments"


@pytest.fixture(autouse=True)
def one_thread(_global_state):
    torch.set_num_threads(1)


def named(name):
    (case,) = [c for c in load(OP) if c.name == name]
    return case


def exact(call):
    """The reference in float64, and how large the terms are whose roundings are in the moments and in the output."""
    wide = call.to(torch.float64)
    z, weights, y, activation = wide.args
    truth = layer_moments_ref(z, weights, y, activation, **call.kwargs)
    if weights is None:
        return truth, layer_moments_ref(z.abs(), None, y.abs())
    sizes = weights.abs()
    if activation == "sigmoid":  # of size 1 whatever its argument
        sizes[..., 0, :] += 1
    return truth, layer_moments_ref(z.abs(), sizes, y.abs(), "identity", **call.kwargs)


def assert_moments(ours, reference, truth, size, dtype, what=""):
    """Within twice plain PyTorch's own error of float64, or a unit in the last place of what is computed in.

    Float64 has no wider truth: a sum of m terms in another order may be off by some units of each.
    """
    assert (ours.dtype, ours.shape, ours.device) == (reference.dtype, reference.shape, reference.device), what
    assert torch.equal(ours.isnan(), reference.isnan()) and torch.equal(ours.isinf(), reference.isinf()), what
    assert torch.equal(ours.nan_to_num(), ours.mT.nan_to_num()), what
    finite = truth.isfinite() & size.isfinite() & (size > 0)
    if not finite.any():
        return
    ours_off, plain_off = (((x - truth).abs() / size)[finite].max().item() for x in (ours, reference))
    rows = float(truth.reshape(-1)[0])
    floor = (16 + rows / 8) * 2.0**-52 if dtype is torch.float64 else 2.0**-23
    assert ours_off <= max(2 * plain_off, floor), f"{what}: off by {ours_off}, plain PyTorch by {plain_off}"


@pytest.mark.cuda_small
def test_moments_and_output(op, case, backend):
    for dtype in case.dtypes:
        if dtype not in backend.dtypes:
            continue
        call = case.call(backend.device, dtype)
        before = tree_map_only(Tensor, torch.clone, call.args)
        with forced(backend, None if case.name == "tries_0" else op.name):
            ours = op.run(*call.args, **call.kwargs)
        for a, b in zip(call.args, before, strict=True):
            assert not isinstance(a, Tensor) or torch.equal(a.nan_to_num(), b.nan_to_num())
        reference = op.ref(*call.args, **call.kwargs)
        truth, size = exact(call)
        assert_moments(ours.moments, reference.moments, truth.moments, size.moments, dtype, f"{case} {dtype}")
        assert (ours.output is None) == (reference.output is None) == ("keep" not in call.kwargs)
        if ours.output is not None:
            assert min(ours.output.shape) < 2 or ours.output.stride() == reference.output.stride()
            # Three units where terms are few: the activation itself may be off by two, as exp is.
            assert_as_accurate(ours.output, reference.output, truth.output, size.output.nan_to_num(1.0), str(case), 3.0)


def test_keep_changes_no_moment(op, backend, dtype):
    call = named("tanh_12_12").call(backend.device, dtype)
    with forced(backend, op.name):
        kept, without = op.run(*call.args, keep=True), op.run(*call.args)
    assert without.output is None and torch.equal(kept.moments, without.moments)
    assert kept.output.dtype is dtype and kept.output.stride() == (1, call.args[0].shape[0])


def test_a_try_is_what_it_is_alone(op, backend, dtype):
    z, weights, y, activation = named("tries_50").call(backend.device, dtype).args
    with forced(backend, op.name):
        together = op.run(z, weights, y, activation).moments
        for t in (0, 7, 8, 49):
            assert torch.equal(op.run(z, weights[t], y, activation).moments, together[t])
            assert torch.equal(op.run(z, weights[t : t + 1], y, activation).moments[0], together[t])


@pytest.mark.parametrize("name", ["threads", "threads_one_try", "tries_50", "largest"])
def test_thread_counts_give_the_same_bits(op, backend, dtype, name):
    if backend.device.type == "cuda":
        pytest.skip("CPU threads")
    call = named(name).call(backend.device, dtype)
    wanted = op.run(*call.args, **call.kwargs)
    for threads in (2, 3):
        torch.set_num_threads(threads)
        with forced(backend, op.name):
            again = op.run(*call.args, **call.kwargs)
        assert torch.equal(again.moments, wanted.moments)
        assert wanted.output is None or torch.equal(again.output, wanted.output)


def test_many_rows_and_tries(op, backend):
    """More groups of rows, and more sums than are kept at a time."""
    torch.set_num_threads(2)
    g = torch.Generator().manual_seed(3)
    z, y = torch.randn(9000, 3, generator=g).to(backend.device), torch.randn(9000, 60, generator=g).to(backend.device)
    weights = torch.randn(40, 4, 60, generator=g).to(backend.device)
    with forced(backend, op.name):
        ours = op.run(z, weights, y, "relu").moments
    wanted = op.ref(z, weights, y, "relu").moments
    torch.testing.assert_close(ours, wanted, rtol=1e-6, atol=1e-2)


def test_nothing_is_summed_in_float32(op, backend):
    """Sums of a million terms of like size are right to float64."""
    z = torch.full((1, 1), 1.1, device=backend.device).expand(1_000_001, 1)
    with forced(backend, op.name):
        found = op.run(z, None, z).moments
    value = float(z[0])
    wanted = 1_000_001 * torch.tensor([[1, value, value], [value, value**2, value**2], [value, value**2, value**2]],
                                      dtype=torch.float64, device=backend.device)  # fmt: skip
    torch.testing.assert_close(found, wanted, rtol=1e-11, atol=0)


# ---- activations ----


def through(op, backend, activation, x):
    """activation(x) by the kernel."""
    x = x.to(backend.device)
    weights = torch.tensor([[0.0], [1.0]], dtype=x.dtype, device=backend.device)
    with forced(backend, op.name):
        return op.run(x[:, None], weights, x.new_empty((len(x), 0)), activation, keep=True).output[:, 0].cpu()


def sweep(dtype):
    """Numbers of every size and sign, and what lies around the bounds of the kernels."""
    sizes = torch.logspace(-40, 3, 40_000, dtype=torch.float64)
    near = torch.cat([torch.linspace(-9, 9, 40_000, dtype=torch.float64), torch.linspace(-110, 110, 20_000).double()])
    return torch.cat([sizes, -sizes, near, torch.zeros(1).double()]).to(dtype)


WORST = {"celu": 2.0, "tanh": 3.0, "sigmoid": 3.0}  # units in the last place; exp itself is within 2


@pytest.mark.parametrize("activation", WORST)
def test_activations_are_accurate(op, backend, activation):
    x = sweep(torch.float32)
    ours, wanted = through(op, backend, activation, x).double(), ACTIVATIONS[activation](x.double())
    unit = torch.ldexp(torch.ones_like(wanted), torch.frexp(wanted.abs().clamp(min=2.0**-126)).exponent - 24)
    off = ((ours - wanted).abs() / unit).max().item()
    assert off <= WORST[activation], off


@pytest.mark.parametrize("activation", WORST)
def test_activations_are_accurate_in_float64(op, backend, activation):
    x = sweep(torch.float64)
    if activation == "sigmoid":
        x = x[x > -700]  # where it is below the normal range, it is 0
    ours, wanted = through(op, backend, activation, x), ACTIVATIONS[activation](x)
    torch.testing.assert_close(ours, wanted, rtol=5 * 2.0**-52, atol=2.0**-1022)


def test_activations_at_their_ends(op, backend):
    x = torch.tensor([-torch.inf, -1e30, -2.0, -0.0, 0.0, 3.0, 1e30, torch.inf, torch.nan])
    for dtype in (torch.float32, torch.float64):
        for activation, function in ACTIVATIONS.items():
            ours = through(op, backend, activation, x.to(dtype))
            torch.testing.assert_close(ours, function(x.to(dtype)), equal_nan=True, msg=activation)


# ---- registration ----


@pytest.fixture
def first(backend):
    return named("tries_9").call(backend.device, backend.dtypes[0])


def only_once(backend):
    if backend.device.type == "cpu" and backend != backends(OP)[0]:
        pytest.skip("the same Python for every kernel")


@pytest.mark.parametrize("name", ["tries_9", "tanh_12_12", "no_layer_12_by_columns"])
def test_opcheck(op, backend, name):
    only_once(backend)
    call = named(name).call(backend.device)
    keep = call.kwargs.get("keep", False)
    torch.library.opcheck(torch.ops.effdl_fast.layer_moments, (*call.args, keep))


@pytest.mark.parametrize("name", ["tries_9", "tanh_12_12", "no_layer_12_by_columns"])
def test_fake_tensors(op, backend, name):
    only_once(backend)
    call = named(name).call(backend.device)
    real = op.run(*call.args, **call.kwargs)
    with FakeTensorMode(shape_env=ShapeEnv()) as mode:
        fake = op.run(*tree_map_only(Tensor, mode.from_tensor, call.args), **call.kwargs)
    for f, r in zip(fake, real, strict=True):
        assert (f is None) == (r is None)
        if r is not None:
            assert (f.shape, f.dtype, f.device, f.stride()) == (r.shape, r.dtype, r.device, r.stride())


@pytest.mark.parametrize("compiler", ["aot_eager", "inductor"])
def test_compile_fullgraph(op, backend, compiler):
    only_once(backend)
    torch._dynamo.reset()
    call = named("tanh_12_12").call(backend.device)

    def step(*args):
        found = op.run(*args, **call.kwargs)
        return found.moments + 1, found.output * 2

    with forced(backend, op.name):
        result = torch.compile(step, fullgraph=True, backend=compiler)(*call.args)
    for a, b in zip(result, step(*call.args), strict=True):
        assert torch.equal(a, b)


def test_forward_mode_and_vmap_run_the_reference(op, backend, first):
    from torch.autograd import forward_ad

    wanted = op.run(*first.args).moments
    before = _C.last_kernel()
    with forward_ad.dual_level():
        torch.testing.assert_close(op.run(*first.args).moments, wanted, rtol=1e-5, atol=1e-4)
    z, weights, y, activation = first.args
    several = torch.func.vmap(lambda w: op.run(z, w, y, activation).moments)(weights)
    torch.testing.assert_close(several, wanted, rtol=1e-5, atol=1e-4)
    assert _C.last_kernel() == before


def test_inputs_are_constants(op, backend, first):
    z, weights, y, activation = first.args
    wanted = op.run(*first.args).moments
    for grad in (z.clone().requires_grad_(), torch.nn.Parameter(z)):
        with forced(backend, op.name):
            found = op.run(grad, weights.clone().requires_grad_(), y, activation).moments
        assert torch.equal(found, wanted) and not found.requires_grad
        assert not op.ref(grad, weights, y, activation).moments.requires_grad
    with FakeTensorMode() as mode:
        assert not op.run(mode.from_tensor(grad), None, mode.from_tensor(y)).moments.requires_grad


def test_weights_are_rounded_to_what_is_computed_in(op, backend, first):
    z, weights, y, activation = first.args
    wide = weights.double() * (1 + 2.0**-30)
    assert torch.equal(op.run(z, wide, y, activation).moments, op.run(z, wide.float(), y, activation).moments)
    narrow = op.run(z.double(), weights, y, activation).moments
    assert torch.equal(narrow, op.run(z.double(), weights.double(), y, activation).moments)


def test_negative_and_strided_arguments(op, backend, first):
    z, weights, y, activation = first.args
    wanted = op.run(-z, -weights, -y, activation).moments
    negative = [torch.imag(torch.complex(torch.zeros_like(t), t).conj()) for t in (z, weights, y)]
    assert all(t.is_neg() for t in negative)
    assert torch.equal(op.run(*negative, activation).moments, wanted)
    assert torch.equal(op.run(-z, -weights.mT.contiguous().mT, -y, activation).moments, wanted)


# ---- errors ----


@pytest.mark.parametrize("function", [layer_moments, layer_moments_ref])
def test_errors(function):
    z, weights, y = torch.zeros(4, 3), torch.zeros(4, 2), torch.zeros(4, 1)

    def wrong(error, message, *args, **kwargs):
        with pytest.raises(error, match="layer_moments: " + message):
            function(*args, **kwargs)

    kinds = "float32, float64, float16 or bfloat16"
    for dtype in (torch.int64, torch.bool, torch.complex64, torch.uint8):
        wrong(TypeError, f"z must be {kinds}, got {str(dtype)[6:]}", z.to(dtype), weights, y)
        wrong(TypeError, f"y must be {kinds}, got {str(dtype)[6:]}", z, weights, y.to(dtype))
        wrong(TypeError, f"weights must be float32 or float64, got {str(dtype)[6:]}", z, weights.to(dtype), y)
    wrong(TypeError, "weights must be float32 or float64, got bfloat16", z, weights.bfloat16(), y)
    wrong(TypeError, "y must be a torch.Tensor, got list", z, weights, [1.0])
    wrong(TypeError, "weights must be a torch.Tensor or None, got float", z, 1.0, y)
    wrong(TypeError, "z must be a dense tensor", z.to_sparse(), weights, y)
    wrong(ValueError, r"z must have shape \(m, d\) with d up to 64, got \(4,\)", z[:, 0], weights, y)
    wrong(ValueError, r"z must have shape .*, got \(4, 65\)", torch.zeros(4, 65), torch.zeros(66, 2), y)
    wrong(ValueError, r"y must have shape .* m = 4 .*, got \(3, 1\)", z, weights, y[:3])
    wrong(ValueError, r"y must have shape .*, got \(4,\)", z, weights, y[:, 0])
    wrong(ValueError, r"y must have shape .*, got \(4, 65\)", z, weights, torch.zeros(4, 65))
    for shape in ((3, 2), (4, 0), (4, 65), (4,), (1, 2, 4, 2)):
        wrong(ValueError, r"weights must have shape \(t, 4, w\) or \(4, w\)", z, torch.zeros(shape), y)
    wrong(ValueError, "activation must be one of identity, relu, .*, got 'gelu'", z, weights, y, "gelu")
    wrong(ValueError, "activation must be one of .*, got None", z, weights, y, None)
    wrong(ValueError, "activation must be identity without weights, got 'relu'", z, None, y, "relu")
    for keep in ("no", 1, None):
        wrong(TypeError, "keep must be True or False, got", z, weights, y, keep=keep)
    wrong(ValueError, "keep must be False without weights", z, None, y, keep=True)
    wrong(ValueError, "keep must be False for several weights, got 2", z, torch.zeros(2, 4, 2), y, keep=True)
    wrong(ValueError, "y must be on the device of z, cpu, got meta", z, weights, y.to("meta"))
    wrong(ValueError, "weights must be on the device of z, cpu, got meta", z, weights.to("meta"), y)


def test_the_registered_op_checks_its_arguments():
    run, z, weights, y = torch.ops.effdl_fast.layer_moments, torch.zeros(4, 3), torch.zeros(4, 2), torch.zeros(4, 1)
    with pytest.raises(ValueError, match=r"layer_moments: activation must be one of .*, got 'gelu'"):
        run(z, weights, y, "gelu", False)
    with pytest.raises(ValueError, match=r"layer_moments: weights must have shape \(t, 4, w\)"):
        run(z, weights[:3], y, "relu", False)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_argument_of_a_subclass(op, backend, place):
    class Sub(Tensor):
        pass

    args = [x.to(backend.device) for x in (torch.rand(50, 3), torch.rand(4, 2), torch.rand(50, 1))]
    wanted = op.run(*args, "tanh", keep=True)
    args[place] = args[place].as_subclass(Sub)
    with forced(backend, op.name):
        found = op.run(*args, "tanh", keep=True)
    for a, b in zip(found, wanted, strict=True):
        assert torch.equal(a.as_subclass(Tensor), b)


def test_not_a_tensor():
    with pytest.raises(TypeError, match=r"layer_moments: z must be a torch\.Tensor, got list"):
        layer_moments([[1.0]], None, torch.zeros(1, 1))


def test_raw_kernel_checks_its_arguments():
    z, weights, y, out = torch.zeros(4, 3), torch.zeros(4, 2), torch.zeros(4, 1), torch.zeros(4, 4).double()
    for args, message in (
        ((z, weights, y[:3], out, None, None, 0), "y must have as many rows"),
        ((z, weights.double(), y, out, None, None, 0), "weights must be float32"),
        ((z, weights.t(), y, out, None, None, 0), "weights must be contiguous"),
        ((z, weights[:3], y, out, None, None, 0), "weights must have shape"),
        ((z, weights, y, out[:3], None, None, 0), "moments must have 16 elements"),
        ((z, weights, y, out.float(), None, None, 0), "moments must be float64"),
        ((z, weights, y, out, torch.zeros(2, 3), None, 0), "output must have 8 elements"),
        ((z, weights, y, out, None, None, 6), "activation must be 0 to 5"),
        ((torch.zeros(4, 65), None, y, out, None, None, 0), "z must have shape"),
    ):
        with pytest.raises((TypeError, ValueError), match="layer_moments: " + message):
            _C.layer_moments(*args)
