"""What every compression op must do. Imported by the test module of each of them."""

import functools

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._pytree import tree_map_only

import effdl_fast as ef
from effdl_fast import _C
from effdl_fast.testing.backends import backends, forced
from effdl_fast.testing.cases import load

# The entropy is a sum of up to 65536 float64 terms, whose order differs; everything else is equal to the bit.
ENTROPY_ATOL = 1e-12
DYNAMIC = {"huffman_encode", "compress_weights"}  # whose first result has a size that depends on values


def leaves(result):
    if isinstance(result, tuple | list):
        return [leaf for part in result for leaf in leaves(part)]
    return [result]


def assert_same(ours, expected, what=""):
    """The same dtypes, shapes and bits."""
    ours, expected = leaves(ours), leaves(expected)
    assert len(ours) == len(expected)
    for a, b in zip(ours, expected, strict=True):
        if not isinstance(b, Tensor):
            assert a == b, what
            continue
        assert (a.dtype, a.shape, a.device) == (b.dtype, b.shape, b.device), what
        if b.dtype is torch.float64 and b.dim() == 0:
            torch.testing.assert_close(a, b, rtol=0, atol=ENTROPY_ATOL, equal_nan=True, msg=what or None)
        else:
            bits_a, bits_b = (t.reshape(-1).contiguous().view(torch.uint8) for t in (a, b))
            assert torch.equal(bits_a, bits_b), what


@functools.cache
def expected(op, case, device, dtype):
    """The call and what the reference gives, for all backends of a device alike."""
    call = case.call(device, dtype)
    return call, getattr(ef.ops, f"{op}_ref")(*call.args, **call.kwargs)


@pytest.fixture(autouse=True)
def one_thread(_global_state):
    """References are many small steps, for which a second thread is a burden; tests of threads ask for them."""
    torch.set_num_threads(1)


@pytest.mark.cuda_small
def test_same_bits_as_the_reference(op, case, backend):
    for dtype in case.dtypes:
        if dtype not in backend.dtypes:
            continue
        call, wanted = expected(op.name, case, backend.device, dtype)
        before = tree_map_only(Tensor, torch.clone, call.args)
        with forced(backend, op.name):
            result = op.run(*call.args, **call.kwargs)
        assert_same(result, wanted, f"{case} {dtype}")
        assert_same(call.args, before, "an input was changed")


def test_thread_counts_give_the_same_bits(op, backend):
    """Large enough that every thread gets work."""
    if backend.device.type == "cuda":
        pytest.skip("CPU threads")
    (case,) = [c for c in load(op.name) if c.name == "threads"]
    call, wanted = expected(op.name, case, backend.device, backend.dtypes[0])
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        with forced(backend, op.name):
            assert_same(op.run(*call.args, **call.kwargs), wanted, f"{threads} threads")


@pytest.fixture
def first(op, backend):
    """A call of middle size."""
    (case,) = [c for c in load(op.name) if c.name == "gaussian_1000"]
    return case.call(backend.device, backend.dtypes[0])


def only_once(op, backend):
    if backend.device.type == "cpu" and backend != backends(op.name)[0]:
        pytest.skip("the same Python for every kernel")


def test_opcheck(op, backend, first):
    only_once(op, backend)
    if op.name == "decompress_weights":
        pytest.skip("has a test of its own")
    for registered, arguments in dispatcher_calls(op, first):
        torch.library.opcheck(registered, arguments)


def dispatcher_calls(op, call):
    """(overload, arguments) of the ops that are registered with the dispatcher."""
    found = []

    class Record(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function.namespace == "effdl_fast":
                found.append((function, args))
            return function(*args, **(kwargs or {}))

    with Record():
        op.run(*call.args, **call.kwargs)
    assert len(found) == 1
    return found


def test_dispatch_modes_see_the_op(op, backend, first):
    wanted = op.run(*first.args, **first.kwargs)
    ((registered, arguments),) = dispatcher_calls(op, first)
    assert registered.name() == f"effdl_fast::{op.name}"
    with forced(backend, op.name):
        assert_same(leaves(registered(*arguments))[0], getattr(wanted, "codes", leaves(wanted)[0]))


def test_fake_tensors_have_the_shapes_and_dtypes_of_real_ones(op, backend, first):
    only_once(op, backend)
    if op.name == "decompress_weights":
        pytest.skip("has a test of its own")
    real = op.run(*first.args, **first.kwargs)
    with FakeTensorMode(shape_env=ShapeEnv()) as mode:
        args = tree_map_only(Tensor, mode.from_tensor, first.args)
        fake = op.run(*args, **first.kwargs)
    for i, (f, r) in enumerate(zip(leaves(fake), leaves(real), strict=True)):
        if isinstance(r, Tensor):
            assert (f.dtype, f.device, f.dim()) == (r.dtype, r.device, r.dim())
            assert (i == 0 and op.name in DYNAMIC) or f.shape == r.shape


@pytest.mark.parametrize("compiler", ["aot_eager", "inductor"])
def test_compile_fullgraph(op, backend, first, compiler):
    only_once(op, backend)
    if op.name == "decompress_weights":
        pytest.skip("has a test of its own")
    if compiler == "inductor" and op.name not in ("quantize", "compress_weights"):
        pytest.skip("two ops through inductor are enough: they share their registration")
    torch._dynamo.reset()

    def step(*args):
        return op.run(*args, **first.kwargs)

    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(step, fullgraph=True, backend=compiler)
        with forced(backend, op.name):
            result = compiled(*first.args)
    assert_same(result, step(*first.args))


def test_forward_mode_runs_the_reference(op, backend, first):
    from torch.autograd import forward_ad

    wanted = op.run(*first.args, **first.kwargs)
    before = _C.last_kernel()
    with forward_ad.dual_level():
        assert_same(op.run(*first.args, **first.kwargs), wanted)
    assert _C.last_kernel() == before


def test_subclasses_of_tensor(op, backend, first):
    class Sub(Tensor):
        pass

    wanted = op.run(*first.args, **first.kwargs)
    args = tree_map_only(Tensor, lambda t: t.as_subclass(Sub), first.args)
    result = op.run(*args, **first.kwargs)
    assert_same(tree_map_only(Tensor, lambda t: t.as_subclass(Tensor), leaves(result)), leaves(wanted))


# ---- for ops that take weights ----


class ReadsWeights:
    """Subclassed as TestWeights by the modules of ops whose first argument is a tensor of weights."""

    def call(self, op, x):
        return op.run(x, *self.arguments)

    arguments = ()

    def test_inputs_that_require_grad_are_constants(self, op, backend):
        x = torch.randn(100, device=backend.device, dtype=backend.dtypes[0])
        wanted = self.call(op, x)
        for leaf in (x.clone().requires_grad_(), torch.nn.Parameter(x.clone()), x.clone().requires_grad_() * 1):
            with forced(backend, op.name):
                result = self.call(op, leaf)
            assert_same(result, wanted)
            assert not any(t.requires_grad for t in leaves(result) if isinstance(t, Tensor))

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
    def test_nonfinite_elements_raise(self, op, backend, dtype, bad):
        """Wherever they stand: in a vector's body, its rest, or another thread's part."""
        if backend.device.type == "cuda":
            pytest.skip("values are not looked at before a CUDA kernel runs")
        torch.set_num_threads(2)
        for n, places in ((1, [0]), (67, [0, 13, 63, 66]), (200_000, [0, 150_001, 199_999])):
            for place in places:
                x = torch.linspace(-1, 1, n).to(dtype)
                x[place] = bad
                with pytest.raises(ValueError, match=f"{op.name}: x must be finite"):
                    self.call(op, x)
        with pytest.raises(ValueError, match=f"{op.name}: x must be finite"):
            self.reference(op, x)

    def reference(self, op, x):
        return op.ref(x, *self.arguments)

    @pytest.mark.parametrize("wrong", [torch.int64, torch.bool, torch.complex64, torch.uint8, torch.float8_e4m3fn])
    def test_dtypes(self, op, backend, wrong):
        x = torch.zeros(4, device=backend.device).to(wrong)
        for function in (self.call, self.reference):
            message = f"{op.name}: x must be float32, float64, float16 or bfloat16, got {str(wrong)[6:]}"
            with pytest.raises(TypeError, match=message):
                function(op, x)

    def test_not_a_tensor(self, op):
        with pytest.raises(TypeError, match=f"{op.name}: x must be a torch.Tensor, got list"):
            self.call(op, [1.0])

    def test_sparse_tensors(self, op):
        for function in (self.call, self.reference):
            with pytest.raises(TypeError, match=f"{op.name}: x must be a dense tensor, got layout torch.sparse_coo"):
                function(op, torch.zeros(4).to_sparse())

    def test_tensors_without_memory(self, op):
        with pytest.raises((NotImplementedError, TypeError, ValueError, RuntimeError)):
            self.call(op, torch.zeros(4, device="meta"))

    def test_negative_views(self, op):
        """They share memory with what they negate."""
        x = torch.imag(torch.randn(8, dtype=torch.complex64).conj())
        assert x.is_neg()
        assert_same(self.call(op, x), self.call(op, x.resolve_neg()))


# ---- errors that several ops share ----


def integers(op, name, call, least, most):
    """`call(value)` refuses what is no integer from least to most, in words that name `name`."""
    for value in (None, 4.0, "4", True, torch.tensor(4)):
        with pytest.raises(TypeError, match=f"{op.name}: {name} must be an integer, got {type(value).__name__}"):
            call(value)
    for value in (least - 1, most + 1, -(2**70), 2**70):
        with pytest.raises(ValueError, match=f"{op.name}: {name} must be from {least} to {most}, got {value}"):
            call(value)


def wrong_codes(op, call):
    """`call(codes)` refuses other dtypes than uint8 and uint16."""
    for dtype in (torch.int32, torch.int64, torch.int8, torch.float32, torch.bool, torch.int16):
        message = f"{op.name}: codes must be uint8 or uint16, got {str(dtype)[6:]}"
        with pytest.raises(TypeError, match=message):
            call(torch.zeros(4).to(dtype))
    with pytest.raises(TypeError, match=f"{op.name}: codes must be a torch.Tensor, got list"):
        call([1, 2])
