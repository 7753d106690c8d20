"""ridge_solve on every backend: against plain PyTorch, exact arithmetic, and least squares of the data themselves."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._pytree import tree_map_only

from effdl_fast import _C
from effdl_fast.ops import layer_moments, ridge_solve, ridge_solve_ref
from effdl_fast.testing.backends import forced
from effdl_fast.testing.cases import load

from ._weights import integers

OP = "ridge_solve"
EPS = 2.0**-52


class Sub(Tensor):
    pass


@pytest.fixture(autouse=True)
def one_thread(_global_state):
    torch.set_num_threads(1)


def named(name):
    (case,) = [c for c in load(OP) if c.name == name]
    return case


def moments_of(z, y):
    both = torch.cat([z, y], -1)
    return both.mT @ both


def data(m=400, n=13, c=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(m, n, generator=g, dtype=torch.float64)
    z[:, 0] = 1.0
    return z, torch.randn(m, c, generator=g, dtype=torch.float64)


@pytest.mark.cuda_small
def test_solutions_of_the_reference(op, case, backend):
    call = case.call(backend.device, torch.float64)
    before = tree_map_only(Tensor, torch.clone, call.args)
    with forced(backend, op.name):
        ours = op.run(*call.args, **call.kwargs)
    for a, b in zip(call.args, before, strict=True):
        assert not isinstance(a, Tensor) or torch.equal(a, b)
    wanted = op.ref(*call.args, **call.kwargs)
    assert (ours.weights is None) == (wanted.weights is None)
    for name, a, b in zip(ours._fields, ours, wanted, strict=True):
        if b is None:
            continue
        assert (a.shape, a.dtype, a.device) == (b.shape, b.dtype, b.device), name
        # Both are off by the condition of a unit-diagonal matrix times some units in the last place; 1000 is the worst
        # of the cases. Elements belong to columns of sizes 1e-10 to 1e10.
        torch.testing.assert_close(a, b, rtol=1000 * 64 * EPS, atol=1e-13, msg=f"{case} {name}")


def test_least_squares_of_the_data(op, backend):
    z, y = data()
    with forced(backend, op.name):
        found = op.run(moments_of(z, y).to(backend.device), 2)
    wanted = torch.linalg.lstsq(z, y).solution
    torch.testing.assert_close(found.solution.cpu(), wanted, rtol=1e-12, atol=1e-14)
    error = (z @ wanted - y).square().mean(0).sum()
    torch.testing.assert_close(found.residual.cpu(), error, rtol=1e-12, atol=0)


@pytest.mark.parametrize("free_bias", [False, True])
@pytest.mark.parametrize("l2", [0.0, 3.0])
def test_weights_of_a_hidden_layer(op, backend, l2, free_bias):
    """W = (G + l2 I)^-1 Z'T with T = alpha [Z, beta Y] P, formed."""
    z, y = data()
    p = torch.randn(4, 15, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    moments, p_there = moments_of(z, y).to(backend.device), p.to(backend.device)
    with forced(backend, op.name):
        found = op.run(moments, 2, l2, p_there, alpha=0.3, beta=7.0, free_bias=free_bias)
        alone = op.run(moments, 2, l2, p_there[2], alpha=0.3, beta=7.0, free_bias=free_bias)
    ridge = torch.full((13,), l2, dtype=torch.float64)
    ridge[0] *= not free_bias
    targets = 0.3 * torch.cat([z, 7.0 * y], 1) @ p
    wanted = torch.linalg.solve(z.T @ z + torch.diag(ridge), z.T @ targets)
    torch.testing.assert_close(found.weights.cpu(), wanted, rtol=1e-11, atol=1e-12)
    assert torch.equal(alone.weights, found.weights[2])


# ---- conditioning ----


def exactly(moments, c):
    """B and the condition of the scaled Gram matrix, of these float64 moments taken as exact, in 80 digits."""
    mpmath = pytest.importorskip("mpmath")
    n = len(moments) - c
    with mpmath.workdps(80):
        gram = mpmath.matrix(moments[:n, :n].tolist())
        b = mpmath.lu_solve(gram, mpmath.matrix(moments[:n, n:].tolist()))
        scale = mpmath.diag([1 / mpmath.sqrt(gram[i, i]) for i in range(n)])
        scaled = scale * gram * scale
        condition = mpmath.mnorm(scaled, 1) * mpmath.mnorm(scaled**-1, 1)
        solution = torch.tensor([[float(b[i, t]) for t in range(b.cols)] for i in range(n)], dtype=torch.float64)
        return solution, float(1 / condition)


def ill_conditioned(n):
    """Powers of x on [0, 1]: a Gram matrix like Hilbert's."""
    x = torch.linspace(0, 1, 257, dtype=torch.float64)[:, None]
    return moments_of(x ** torch.arange(n), torch.cos(5 * x))


@pytest.mark.parametrize("n", [2, 4, 6, 8, 10])
def test_accuracy_where_the_gram_matrix_is_ill_conditioned(op, backend, n):
    """Refined with a residual of twice the precision: the error of a factorisation, squared."""
    moments = ill_conditioned(n)
    wanted, rcond = exactly(moments, 1)
    with forced(backend, op.name):
        found = op.run(moments.to(backend.device), 1)
    error = (found.solution.cpu() - wanted).abs().max() / wanted.abs().max()
    assert error <= EPS + (EPS / rcond) ** 2
    assert float(found.rcond) == pytest.approx(rcond, rel=16 * EPS / rcond)


def test_refinement_leaves_no_error_in_large_systems(op, backend):
    """The equations hold to a unit in the last place of their terms, as those of correctly rounded solutions do."""
    pytest.importorskip("mpmath")
    moments = moments_of(*data(80, 40, 1))
    moments = moments.tril() + moments.tril(-1).mT  # a product by BLAS need not be symmetric to the last bit
    with forced(backend, op.name):
        found = op.run(moments.to(backend.device), 1).solution.cpu()
    wanted, _ = exactly(moments, 1)
    assert ((found - wanted).abs() <= EPS * wanted.abs()).all()


def test_scale_of_columns_does_not_matter(op, backend):
    """Powers of two change no bit of the fit."""
    z, y = data()
    powers = 2.0 ** torch.tensor([0, *range(-60, 60, 10)], dtype=torch.float64)
    plain, scaled = moments_of(z, y).to(backend.device), moments_of(z * powers, y).to(backend.device)
    with forced(backend, op.name):
        a, b = op.run(plain, 2), op.run(scaled, 2)
    assert torch.equal(a.rcond, b.rcond)
    torch.testing.assert_close(a.solution.cpu(), b.solution.cpu() * powers[:, None], rtol=1e-12, atol=1e-14)


# ---- columns that are left out ----


def test_dependent_columns_have_weight_zero(op, backend):
    """Those before them are used as if they were alone."""
    z, y = data(c=1)
    z[:, 3], z[:, 6], z[:, 8], z[:, 12] = z[:, 1], 4.0, z[:, 2] - 3 * z[:, 7], 0.0
    kept = [i for i in range(13) if i not in (3, 6, 8, 12)]
    with forced(backend, op.name):
        found = op.run(moments_of(z, y).to(backend.device), 1)
        alone = op.run(moments_of(z[:, kept], y).to(backend.device), 1)
    assert not found.solution[[3, 6, 8, 12]].any() and float(found.rcond) == 0.0
    torch.testing.assert_close(found.solution[kept], alone.solution, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(found.residual, alone.residual, rtol=1e-12, atol=0)
    assert float(alone.rcond) > 0.05


def test_fewer_rows_than_columns(op, backend):
    z, y = data(m=5, n=13, c=1)
    with forced(backend, op.name):
        found = op.run(moments_of(z, y).to(backend.device), 1)
    assert found.solution[:, 0].count_nonzero() == 5 and float(found.rcond) == 0.0
    torch.testing.assert_close(z @ found.solution.cpu(), y, rtol=1e-9, atol=1e-9)
    assert float(found.residual) < 1e-12


def test_where_dependence_begins(op, backend):
    """A pivot of 16 n 2^-52 of a unit diagonal: two columns at an angle of sqrt(32) 2^-26."""
    for angle, rank in ((2.0**-24.4, 1), (2.0**-22.6, 2)):
        z = torch.tensor([[1.0, math.cos(angle)], [0.0, math.sin(angle)]], dtype=torch.float64)
        moments = moments_of(z, torch.tensor([[1.0], [1.0]], dtype=torch.float64))
        moments[1, 1] = 1.0
        moments[0, 1] = moments[1, 0] = 1 - angle**2 / 2
        for function in (op.run, op.ref):
            found = function(moments.to(backend.device), 1)
            assert found.solution.count_nonzero() == rank and (float(found.rcond) > 0) == (rank == 2)


def test_a_ridge_keeps_dependent_columns(op, backend):
    z, y = data(c=1)
    z[:, 3] = z[:, 1]
    with forced(backend, op.name):
        found = op.run(moments_of(z, y).to(backend.device), 1, 1.0)
    torch.testing.assert_close(found.solution[3], found.solution[1], rtol=1e-12, atol=0)
    assert float(found.rcond) > 1e-4


def test_no_rows(op, backend):
    with forced(backend, op.name):
        found = op.run(torch.zeros(4, 4, dtype=torch.float64, device=backend.device), 1)
    assert not found.solution.any() and float(found.residual) == 0.0 and float(found.rcond) == 0.0


def test_residual_is_never_negative(op, backend):
    z, _ = data(n=6)
    for seed in range(20):
        y = z @ torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        with forced(backend, op.name):
            residual = op.run(moments_of(z, y).to(backend.device), 2).residual
        assert 0.0 <= float(residual) < 1e-12


# ---- values ----


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nonfinite_moments_spoil_their_entry_only(op, backend, bad):
    call = named("batch_2").call(backend.device)
    moments = torch.cat([call.args[0]] * 3)
    for place in ((0, 0), (3, 2), (2, 3), (13, 13), (13, 0)):
        spoilt = moments.clone()
        spoilt[3][place] = bad
        with forced(backend, op.name):
            found, clean = op.run(spoilt, 1), op.run(moments, 1)
        for a, b in zip(found[:3], clean[:3], strict=True):
            assert a[3].isnan().all()
            a, b = (torch.cat([x[:3], x[4:]]) for x in (a, b))
            assert torch.equal(a, b)
        projection = torch.ones(2, 14, 3, dtype=torch.float64, device=backend.device)
        with forced(backend, op.name):
            found = op.run(spoilt[3], 1, 0.5, projection)
        assert all(x.isnan().all() for x in found)
        assert all(x.isnan().all() for x in op.ref(spoilt[3], 1, 0.5, projection))


def test_a_ridge_beyond_float64(op, backend):
    moments = torch.eye(3, dtype=torch.float64, device=backend.device) * 1.7e308
    for function in (op.run, op.ref):
        assert all(x.isnan().all() for x in function(moments, 1, 1.7e308)[:3])


def test_a_residual_that_overflows_is_no_perfect_fit(op, backend):
    moments = torch.tensor([[4.0, 1e160], [1e160, 1.0]], dtype=torch.float64, device=backend.device)
    for function in (op.run, op.ref):
        assert function(moments, 1).residual.isnan()


def test_rows_of_a_projection_without_a_factor(op, backend):
    """NaN in a row of P_Z comes to its own row only; without beta none comes from P_Y."""
    moments = moments_of(*data(n=3)).to(backend.device)
    projection = torch.ones(5, 2, dtype=torch.float64, device=backend.device)
    projection[1, 0] = projection[3, 1] = torch.nan
    with forced(backend, op.name):
        weights = op.run(moments, 2, 0.0, projection, beta=0.0).weights
    assert weights.isnan().tolist() == [[False, False], [True, False], [False, False]]


def test_a_projection_of_a_subclass(op, backend):
    moments = moments_of(*data(n=3)).to(backend.device)
    projection = torch.ones(5, 2, dtype=torch.float64, device=backend.device)
    wanted = op.run(moments, 2, 0.1, projection)
    with forced(backend, op.name):
        found = op.run(moments, 2, 0.1, projection.as_subclass(Sub))
    for a, b in zip(found, wanted, strict=True):
        assert torch.equal(a.as_subclass(Tensor), b)


def test_extreme_sizes(op, backend):
    for size in (1e-300, 1e-290, 1e300):
        moments = size * torch.tensor([[4.0, 2.0, 2.0], [2.0, 3.0, 2.0], [2.0, 2.0, 5.0]], dtype=torch.float64)
        with forced(backend, op.name):
            found = op.run(moments.to(backend.device), 1)
        torch.testing.assert_close(found.solution.cpu(), torch.tensor([[0.25], [0.5]]).double(), rtol=1e-14, atol=0)


def test_thread_counts_give_the_same_bits(op, backend):
    if backend.device.type == "cuda":
        pytest.skip("CPU threads")
    for name in ("batch_50", "largest", "largest_projected", "tries_50_ridge"):
        call = named(name).call()
        wanted = op.run(*call.args, **call.kwargs)
        for threads in (2, 3):
            torch.set_num_threads(threads)
            for a, b in zip(op.run(*call.args, **call.kwargs), wanted, strict=True):
                assert b is None or torch.equal(a, b)


def test_fits_what_layer_moments_gives(op, backend):
    """Of the tries the best layer, by its least squares distance."""
    g = torch.Generator().manual_seed(0)
    z, y = torch.randn(500, 4, generator=g).to(backend.device), torch.randn(500, 2, generator=g).to(backend.device)
    weights = torch.randn(6, 5, 8, generator=g).to(backend.device)
    found = op.run(layer_moments(z, weights, y, "tanh").moments, 2)
    for t in range(6):
        a = torch.cat([torch.ones(500, 1), torch.tanh(z.cpu() @ weights[t, 1:].cpu() + weights[t, 0].cpu())], 1)
        solution = torch.linalg.lstsq(a.double(), y.cpu().double()).solution
        torch.testing.assert_close(found.solution[t].cpu(), solution, rtol=1e-4, atol=1e-5)
        error = (a.double() @ solution - y.cpu().double()).square().mean(0).sum()
        torch.testing.assert_close(found.residual[t].cpu(), error, rtol=1e-6, atol=0)


# ---- registration ----

REGISTERED = ["batch_2", "tries_0", "tries_50_ridge"]


@pytest.mark.parametrize("name", REGISTERED)
def test_opcheck(op, backend, name):
    moments, c, l2, projection = named(name).call(backend.device).args
    torch.library.opcheck(torch.ops.effdl_fast.ridge_solve, (moments, c, l2, projection, 0.5, 2.0, False))


@pytest.mark.parametrize("name", REGISTERED)
def test_fake_tensors(op, backend, name):
    call = named(name).call(backend.device)
    real = op.run(*call.args, **call.kwargs)
    with FakeTensorMode(shape_env=ShapeEnv()) as mode:
        fake = op.run(*tree_map_only(Tensor, mode.from_tensor, call.args), **call.kwargs)
    for f, r in zip(fake, real, strict=True):
        assert (f is None) == (r is None)
        assert r is None or (f.shape, f.dtype, f.device, f.stride()) == (r.shape, r.dtype, r.device, r.stride())


@pytest.mark.parametrize("compiler", ["aot_eager", "inductor"])
def test_compile_fullgraph(op, backend, compiler):
    torch._dynamo.reset()
    moments, c, l2, projection = named("tries_50_ridge").call(backend.device).args

    def step(moments, projection):
        found = op.run(moments, c, l2, projection, beta=3.0)
        return found.weights * 2, found.residual

    with forced(backend, op.name):
        result = torch.compile(step, fullgraph=True, backend=compiler)(moments, projection)
    for a, b in zip(result, step(moments, projection), strict=True):
        assert torch.equal(a, b)


def test_forward_mode_and_vmap_run_the_reference(op, backend):
    from torch.autograd import forward_ad

    moments, c, _, _ = named("batch_2").call(backend.device).args
    wanted = op.run(moments, c)
    before = _C.last_kernel()
    with forward_ad.dual_level():
        torch.testing.assert_close(op.run(moments, c).solution, wanted.solution, rtol=1e-11, atol=1e-13)
    each = torch.func.vmap(lambda m: op.run(m, c).solution)(moments)
    torch.testing.assert_close(each, wanted.solution, rtol=1e-11, atol=1e-13)
    assert _C.last_kernel() == before


def test_inputs_are_constants(op, backend):
    moments, c, l2, projection = named("tries_50_ridge").call(backend.device).args
    wanted = op.run(moments, c, l2, projection)
    leaves = moments.clone().requires_grad_(), projection.clone().requires_grad_()
    for function in (op.run, op.ref):
        found = function(leaves[0], c, l2, leaves[1])
        assert not any(x.requires_grad for x in found)
        torch.testing.assert_close(found.weights, wanted.weights, rtol=1e-11, atol=1e-12)


def test_layouts(op, backend):
    moments, c, l2, projection = named("tries_50_ridge").call(backend.device).args
    wanted = op.run(moments, c, l2, projection)
    wide = torch.full((14, 28), torch.nan, dtype=torch.float64, device=backend.device)
    wide[:, ::2] = moments
    negative = torch.imag(torch.complex(torch.zeros_like(projection), -projection).conj())
    assert negative.is_neg()
    for strided, other in (
        (wide[:, ::2], projection),
        (moments.t(), projection.mT.contiguous().mT),
        (moments, negative),
    ):
        for a, b in zip(op.run(strided, c, l2, other), wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_only_the_lower_triangle_of_the_gram_matrix_is_read(op, backend):
    moments = moments_of(*data()).to(backend.device)
    other = moments.clone()
    other[:13, :13] = moments[:13, :13].tril()
    for function in (op.run, op.ref):
        for a, b in zip(function(moments, 2, 0.1)[:3], function(other, 2, 0.1)[:3], strict=True):
            assert torch.equal(a, b)


# ---- errors ----


@pytest.mark.parametrize("function", [ridge_solve, ridge_solve_ref])
def test_errors(function):
    moments, projection = torch.eye(6, dtype=torch.float64), torch.zeros(2, 6, 3, dtype=torch.float64)

    def wrong(error, message, *args, **kwargs):
        with pytest.raises(error, match="ridge_solve: " + message):
            function(*args, **kwargs)

    for dtype in (torch.float32, torch.int64, torch.complex128, torch.bfloat16):
        wrong(TypeError, f"moments must be float64, got {str(dtype)[6:]}", moments.to(dtype), 1)
        wrong(TypeError, f"projection must be float64, got {str(dtype)[6:]}", moments, 1, 0.0, projection.to(dtype))
    wrong(TypeError, "moments must be a dense tensor", moments.to_sparse(), 1)
    wrong(TypeError, "projection must be a torch.Tensor or None, got list", moments, 1, 0.0, [1.0])
    for shape in ((6,), (6, 5), (1, 2, 6, 6)):
        wrong(ValueError, r"moments must have shape \(b, n \+ c, n \+ c\)", torch.zeros(shape).double(), 1)
    for size, c in ((6, 6), (3, 4), (67, 1)):
        wrong(ValueError, f"moments must have 1 to 65 columns and {c} targets", torch.zeros(size, size).double(), c)
    wrong(ValueError, "l2 must be at least 0, got -1.0", moments, 1, -1)
    for free_bias in ("no", 1, None):
        wrong(TypeError, "free_bias must be True or False, got", moments, 1, free_bias=free_bias)
    for name in ("l2", "alpha", "beta"):
        wrong(TypeError, f"{name} must be a number, got True", moments, 1, **{name: True})
        wrong(TypeError, f"{name} must be a number, got an array of 1 dimensions", moments, 1, **{name: np.ones(3)})
        wrong(TypeError, f"{name} must be a number, got ndarray", moments, 1, **{name: np.array("x")})
        wrong(ValueError, f"{name} must be a number that float64 holds", moments, 1, **{name: 10**400})
        wrong(TypeError, f"{name} must be a number, got 'x'", moments, 1, **{name: "x"})
        wrong(ValueError, f"{name} must be finite, got nan", moments, 1, **{name: math.nan})
    wrong(ValueError, r"projection must be None for a batch of moments, got moments of shape \(1, 6, 6\)",
          moments[None], 1, 0.0, projection)  # fmt: skip
    for shape in ((5, 3), (6,), (1, 2, 6, 3)):
        wrong(ValueError, r"projection must have shape \(t, 6, w\) or \(6, w\)", moments, 1, 0.0,
              torch.zeros(shape).double())  # fmt: skip
    wrong(
        ValueError, "projection must be on the device of moments, cpu, got meta", moments, 1, 0.0, projection.to("meta")
    )


def test_the_registered_op_checks_its_arguments(op):
    run, eye = torch.ops.effdl_fast.ridge_solve, torch.eye(3, dtype=torch.float64)
    with pytest.raises(ValueError, match="ridge_solve: targets must be from 1 to 64, got 70"):
        run(eye, 70, 0.0, None, 1.0, 1.0, False)
    with pytest.raises(ValueError, match="ridge_solve: moments must have 1 to 65 columns and 3 targets"):
        run(eye, 3, 0.0, None, 1.0, 1.0, False)
    with pytest.raises(ValueError, match="ridge_solve: l2 must be finite"):
        run(eye, 1, math.nan, None, 1.0, 1.0, False)


def test_targets(op):
    integers(op, "targets", lambda c: op.run(torch.eye(70, dtype=torch.float64), c), 1, 64)
    with pytest.raises(TypeError, match=r"ridge_solve: moments must be a torch\.Tensor, got list"):
        op.run([[1.0]], 1)


def test_raw_kernel_checks_its_arguments():
    def new(*shape):
        return torch.zeros(shape, dtype=torch.float64)

    good = (new(6, 6), None, new(5, 1), new(), new(), None, None, 1, 0.0, False, 1.0, 1.0)
    for changed, message in (
        ({0: new(6, 5)}, "moments must have shape"),
        ({0: torch.zeros(6, 6)}, "moments must be float64"),
        ({0: new(67, 67)}, "moments must have 1 to 65 columns"),
        ({2: new(4, 1)}, "solution must have 5 elements"),
        ({3: new(2)}, "residual must have 1 elements"),
        ({4: torch.zeros(())}, "rcond must be float64"),
        ({7: 0}, "targets must be from 1 to 64"),
        ({8: -1.0}, "l2 must be at least 0"),
        ({1: new(5, 2), 5: new(5, 2)}, "projection must have shape"),
        ({1: new(6, 2), 5: new(5, 1)}, "weights must have 10 elements"),
        ({0: new(1, 6, 6), 1: new(6, 2), 5: new(5, 2)}, "projection must be None"),
    ):
        with pytest.raises((TypeError, ValueError), match="ridge_solve: " + message):
            _C.ridge_solve(*[changed.get(i, value) for i, value in enumerate(good)])
