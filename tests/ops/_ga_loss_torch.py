"""A separable loss inside PyTorch: autograd, in place, torch.compile, export, fake tensors, functorch, opcheck."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from effdl_fast.testing.backends import forced
from effdl_fast.testing.cases import load

from ._ga_loss import REDUCTIONS, loss_and_grad, upstream_for, with_reduction

hypothesis = None
try:
    import hypothesis
    from hypothesis import strategies as st
except ImportError:  # a bare GPU machine; the property test below says so when it is skipped
    pass


def sample(backend, shape=(6, 9), seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator).to(backend.device, backend.dtypes[0])
    target = torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator).to(backend.device)
    return x, target


def test_gradcheck(op, tiny):
    for reduction in REDUCTIONS:
        call = with_reduction(tiny.call(dtype=torch.float64), reduction).with_grad()
        assert torch.autograd.gradcheck(lambda x: op.run(x, call.args[1], **call.kwargs), call.leaves())  # noqa: B023


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_reference_has_second_derivatives_and_the_op_refuses(op, backend, reduction):
    x, target = sample(backend)
    x.requires_grad_()
    loss = op.run(x, target, reduction=reduction)
    with pytest.raises(RuntimeError, match=f"{op.name}: no second derivatives .* {op.name}_ref"):
        torch.autograd.grad(loss.sum(), x, create_graph=True)
    small = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([0, 2])
    assert torch.autograd.gradgradcheck(lambda x: op.ref(x, index, reduction=reduction), small)


@pytest.mark.parametrize("upstream", [1.0, -2.5])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_retained_graph_gives_the_same_gradient_twice(op, backend, dtype, reduction, upstream):
    for inplace in (False, True):
        x, target = sample(backend)
        leaf = x.to(dtype).requires_grad_()
        loss = op.run(leaf * 1, target, reduction=reduction, inplace=inplace)
        up = torch.full_like(loss, upstream)
        first = torch.autograd.grad(loss, leaf, up, retain_graph=True)[0].clone()
        second = torch.autograd.grad(loss, leaf, up, retain_graph=True)[0].clone()
        last = torch.autograd.grad(loss, leaf, up)[0]
        expected = loss_and_grad(op.run, load(op.name)[0].call()._replace(args=(x.to(dtype), target),
                                 kwargs={"reduction": reduction}), up)[1]  # fmt: skip
        for grad in (first, second, last):
            assert torch.equal(grad, expected)


def test_two_losses_on_the_same_logits(op, backend):
    """Neither backward may write into memory that the other still needs."""
    x, target = sample(backend)
    leaf = x.clone().requires_grad_()
    hidden = leaf * 1
    (op.run(hidden, target) * 2 + op.run(hidden, target, reduction="sum") * 3).backward()
    single = x.clone().requires_grad_()
    (one,) = torch.autograd.grad(op.run(single, target, reduction="sum"), single)
    torch.testing.assert_close(leaf.grad, one * (2 / len(x) + 3))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(6, 9), (2, 3, 5, 7)])
def test_inplace_overwrites_logits_with_the_gradient(op, backend, dtype, shape, reduction):
    x, target = sample(backend, shape)
    x = x.to(dtype)
    leaf = x.clone().requires_grad_()
    expected_loss = op.run(leaf, target, reduction=reduction)
    upstream = upstream_for(expected_loss)
    (expected,) = torch.autograd.grad(expected_loss, leaf, upstream)

    leaf = x.clone().requires_grad_()
    hidden = leaf * 1
    version = hidden._version
    with forced(backend, op.name):
        loss = op.run(hidden, target, reduction=reduction, inplace=True)
    assert hidden._version == version + 1
    assert not torch.equal(hidden, x)
    (grad,) = torch.autograd.grad(loss, leaf, upstream)
    assert torch.equal(loss, expected_loss)
    assert torch.equal(grad, expected)


def test_inplace_without_autograd(op, backend):
    x, target = sample(backend)
    leaf = x.clone().requires_grad_()
    expected = op.run(leaf, target)
    expected.backward()
    y = x.clone()
    with torch.no_grad():
        assert torch.equal(op.run(y, target, inplace=True), expected)
    assert torch.equal(y, leaf.grad)


def test_inplace_use_of_the_old_values_raises(op, backend):
    x, target = sample(backend)
    leaf = x.clone().requires_grad_()
    hidden = leaf.exp()  # exp's backward needs its output
    loss = op.run(hidden, target, inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_gradient_overwritten_before_backward_raises(op, backend):
    x, target = sample(backend)
    hidden = x.clone().requires_grad_() * 1
    loss = op.run(hidden, target, inplace=True)
    with torch.no_grad():
        hidden.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_inplace_errors(op, backend):
    x, target = sample(backend)
    leaf = x.clone().requires_grad_()
    with pytest.raises(ValueError, match="inplace=True would overwrite a leaf"):
        op.run(leaf, target, inplace=True)
    with pytest.raises(ValueError, match="inplace=True would overwrite a leaf"):
        op.run(leaf[:], target, inplace=True)
    assert torch.equal(leaf, x)
    with pytest.raises(ValueError, match="expanded"):
        op.run(x[:1].expand(x.shape), target, inplace=True)
    image = torch.zeros(2, 3, 4, 5, device=x.device).transpose(2, 3)
    with pytest.raises(ValueError, match="spatial dimensions can be merged"):
        op.run(image, torch.zeros(2, 5, 4, dtype=torch.int64, device=x.device), inplace=True)


def _opcheck_args(op, x, target, reduction, need_grad):
    return (x, target, None, 1.0, 0.0, None, 1.0, 0.0, None, -100, reduction, need_grad)


@pytest.mark.parametrize("shape", [(6, 9), (2, 3, 4, 5)])
def test_opcheck(op, backend, shape):
    x, target = sample(backend, shape)
    registered = getattr(torch.ops.effdl_fast, op.name).default
    for reduction in range(3):
        torch.library.opcheck(registered, _opcheck_args(op, x, target, reduction, False))
    torch.library.opcheck(registered, _opcheck_args(op, x.clone().requires_grad_(), target, 0, True),
                          test_utils=("test_schema", "test_autograd_registration", "test_faketensor"))  # fmt: skip


def test_fake_tensors_have_the_shapes_and_dtypes_of_real_ones(op, case):
    for reduction in REDUCTIONS:
        call = with_reduction(case.call(dtype=torch.bfloat16), reduction)
        real_loss, real_grad = loss_and_grad(op.run, call)
        with FakeTensorMode() as mode:
            args = tuple(mode.from_tensor(a) for a in call.args)
            kwargs = {k: mode.from_tensor(v) if isinstance(v, torch.Tensor) else v for k, v in call.kwargs.items()}
            loss, grad = loss_and_grad(op.run, call._replace(args=args, kwargs=kwargs))
        assert (loss.shape, loss.dtype) == (real_loss.shape, real_loss.dtype)
        assert (grad.shape, grad.dtype) == (real_grad.shape, real_grad.dtype)


@pytest.mark.parametrize("compiler", ["aot_eager", "inductor"])
def test_compile_fullgraph(op, backend, compiler):
    if backend.name not in ("avx2", "f64", "cuda:0"):
        pytest.skip("compiled code calls the same kernels on every SIMD level")
    if compiler == "inductor" and op.name != "exp_ga_loss":
        pytest.skip("one op through inductor is enough: they share their registration")
    x, target = sample(backend)

    def step(logits, reduction):
        return op.run(logits * 2, target, reduction=reduction, weight=weight) * 3

    weight = torch.rand(x.shape[1], device=x.device)
    torch._dynamo.reset()
    compiled = torch.compile(step, fullgraph=True, backend=compiler)
    for reduction in ("mean", "none"):
        results = []
        for function in (step, compiled):
            leaf = x.clone().requires_grad_()
            with forced(backend, op.name):
                loss = function(leaf, reduction)
                loss.sum().backward()
            results.append((loss.detach(), leaf.grad))
        torch.testing.assert_close(results[0], results[1])


def test_export(op, backend):
    if backend.name not in ("avx2", "cuda:0"):
        pytest.skip("one backend is enough")
    x, target = sample(backend)

    class Model(torch.nn.Module):
        def forward(self, x, target):
            return op.run(x, target)

    exported = torch.export.export(Model(), (x, target))
    assert f"effdl_fast.{op.name}" in str(exported.graph)
    torch.testing.assert_close(exported.module()(x, target), op.run(x, target))


def test_functorch(op, backend):
    x, target = sample(backend)
    leaf = x.clone().requires_grad_()
    op.run(leaf, target).backward()
    torch.testing.assert_close(torch.func.grad(lambda v: op.run(v, target))(x), leaf.grad)
    each = torch.func.vmap(lambda v, t: op.run(v, t))(x, target)
    torch.testing.assert_close(each, op.run(x, target, reduction="none"))
    per_sample = torch.func.vmap(torch.func.grad(lambda v, t: op.run(v, t)))(x, target)
    torch.testing.assert_close(per_sample / len(x), leaf.grad)
    jacobian = torch.func.jacrev(lambda v: op.run(v, target, reduction="none"))(x)
    torch.testing.assert_close(jacobian.sum(0) / len(x), leaf.grad)


def test_reference_and_op_agree_in_the_dispatcher(op, backend):
    """torch.ops.effdl_fast.<op> is what a compiled model runs: same numbers as the direct route."""
    x, target = sample(backend)
    loss, grad, norm = getattr(torch.ops.effdl_fast, op.name)(*_opcheck_args(op, x, target, 1, True))
    leaf = x.clone().requires_grad_()
    expected = op.run(leaf, target, target_value=1.0, **({"alpha": 1.0} if op.name != "linear_ga_loss" else {}))
    expected.backward()
    assert torch.equal(loss, expected)
    torch.testing.assert_close(grad * norm.to(grad.dtype), leaf.grad)


if hypothesis is None:

    def test_random_shapes_and_strides(op):
        pytest.skip("hypothesis is not installed")

else:

    @hypothesis.settings(
        max_examples=40,
        deadline=None,
        derandomize=True,
        suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
    )
    @hypothesis.given(data=st.data())
    def test_random_shapes_and_strides(op, backend, data):
        """Any shape up to three spatial dimensions, any order of the dimensions in memory, any step along each."""
        dims = data.draw(st.integers(2, 5), "dims")
        shape = [data.draw(st.integers(1, 9 if d != 1 else 40), f"size {d}") for d in range(dims)]
        steps = [data.draw(st.integers(1, 2), f"step {d}") for d in range(dims)]
        order = data.draw(st.permutations(range(dims)), "order")
        generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000), "seed"))
        memory = torch.full([shape[d] * steps[d] for d in order], float("nan"))
        x = memory[tuple(slice(None, None, steps[d]) for d in order)].permute([order.index(d) for d in range(dims)])
        x.copy_(torch.randn(shape, generator=generator))
        x = x.to(backend.device) if backend.device.type == "cuda" else x
        if backend.dtypes[0] != torch.float32:
            x = x.to(backend.dtypes[0])
        target = torch.randint(-1, shape[1], (shape[0], *shape[2:]), generator=generator).to(x.device)
        call = load(op.name)[0].call()._replace(args=(x, target), kwargs={"ignore_index": -1, "reduction": "none"})
        with forced(backend, op.name):
            loss, grad = loss_and_grad(op.run, call, upstream := upstream_for(target.to(x.dtype)))
        expected = loss_and_grad(op.ref, call.to(torch.float64), upstream)
        torch.testing.assert_close(loss.double(), expected[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(grad.double(), expected[1], rtol=1e-5, atol=1e-5)


# ---- what is 0 for ignored samples, whatever comes from above ----


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_ignored_samples_get_no_gradient_from_a_bad_upstream(op, backend, dtype, reduction, bad):
    for spatial in ((), (3, 2)):
        x, target = sample(backend, (4, 5, *spatial))
        target[1] = -100
        leaf = x.to(dtype).requires_grad_()
        loss = op.run(leaf, target, reduction=reduction)
        up = torch.full_like(loss, bad)
        loss.backward(up)
        assert (leaf.grad[1] == 0).all()
        assert not torch.isfinite(leaf.grad[0]).all()


def test_mean_over_weightless_samples_has_no_gradient(op, backend, dtype):
    x, target = sample(backend, (4, 5))
    weight = torch.zeros(5, device=backend.device)
    leaf = x.to(dtype).requires_grad_()
    loss = op.run(leaf, target, weight=weight)
    loss.backward()
    assert torch.isnan(loss)
    assert (leaf.grad == 0).all()


# ---- routes around the kernel ----


def test_forward_mode_goes_through_the_reference(op, backend):
    from torch.autograd import forward_ad

    x, target = sample(backend)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(5)).to(x)
    leaf = x.clone().requires_grad_()
    op.run(leaf, target).backward()
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(op.run(forward_ad.make_dual(x, direction), target)).tangent
    torch.testing.assert_close(tangent, (leaf.grad * direction).sum(), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
def test_trace_records_the_op(op, backend):
    x, target = sample(backend)
    traced = torch.jit.trace(lambda a, b: op.run(a, b), (x, target))
    other, index = sample(backend, seed=1)
    torch.testing.assert_close(traced(other, index), op.run(other, index))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_batch_of_upstream_gradients(op, backend, reduction):
    x, target = sample(backend)
    leaf = x.requires_grad_()
    loss = op.run(leaf, target, reduction=reduction)
    ups = torch.randn((3, *loss.shape), generator=torch.Generator().manual_seed(2)).to(loss)
    batched = torch.autograd.grad(loss, leaf, ups, is_grads_batched=True, retain_graph=True)[0]
    single = [torch.autograd.grad(loss, leaf, up, retain_graph=True)[0] for up in ups]
    torch.testing.assert_close(batched, torch.stack(single))


def test_gradient_of_a_kept_graph_is_the_callers_own(op, backend):
    x, target = sample(backend)
    loss = op.run(x.requires_grad_(), target)
    first = torch.autograd.grad(loss, x, retain_graph=True)[0]
    kept = first.clone()
    first.mul_(2)
    assert torch.equal(torch.autograd.grad(loss, x)[0], kept)


def test_dense_targets_of_another_dtype_under_autocast(op, backend):
    x, _ = sample(backend)
    dense = torch.softmax(torch.randn(x.shape, generator=torch.Generator().manual_seed(3)).to(x), 1)
    half = x.bfloat16()
    with pytest.raises(TypeError, match="dense target must have the dtype of logits"):
        op.run(half, dense)
    with torch.autocast(backend.device.type, dtype=torch.bfloat16):
        loss = op.run(half, dense)
    assert loss.dtype is torch.float32
    torch.testing.assert_close(loss, op.ref(half.float(), dense.bfloat16().float()), rtol=1e-5, atol=1e-6)
