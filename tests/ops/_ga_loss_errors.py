"""What a separable loss refuses, and that its messages say what was wrong."""

import pytest
import torch

N, C = 4, 5


@pytest.fixture
def x(backend):
    return torch.randn(N, C, device=backend.device, generator=None)


@pytest.fixture
def y(backend):
    return torch.arange(N, device=backend.device)


def only_cpu(backend):
    if backend.device.type != "cpu":
        pytest.skip("values are not looked at before a CUDA kernel runs")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (torch.zeros(N + 1, dtype=torch.int64), r"target must hold one class index per sample.*\(5,\).*\(4, 5\)"),
        (torch.zeros(N, 1, dtype=torch.int64), "target must hold one class index per sample"),
        (torch.zeros((), dtype=torch.int64), "target must hold one class index per sample"),
        (torch.zeros(N, C + 1), "dense target must have the shape of logits"),
        (torch.zeros(C, N), "dense target must have the shape of logits"),
    ],
)
def test_target_shapes(op, backend, x, target, message):
    with pytest.raises(ValueError, match=f"{op.name}: .*{message}"):
        op.run(x, target.to(backend.device))


@pytest.mark.parametrize("wrong", [torch.bool, torch.complex64])
def test_target_dtypes(op, backend, x, wrong):
    with pytest.raises(TypeError, match=f"{op.name}: target must be integer class indices"):
        op.run(x, torch.zeros(N, dtype=wrong, device=backend.device))


def test_dense_target_of_another_dtype(op, x):
    with pytest.raises(TypeError, match="dense target must have the dtype of logits, got float64"):
        op.run(x, x.double())


def test_target_must_not_require_grad(op, x):
    with pytest.raises(ValueError, match="target gets no gradient"):
        op.run(x, torch.rand_like(x, requires_grad=True))


@pytest.mark.parametrize("bad", [C, -1, -101, 2**40])
def test_target_out_of_range_names_the_first_position(op, backend, x, bad):
    only_cpu(backend)
    x.requires_grad_()
    target = torch.tensor([0, -100, bad, bad - 1])
    with pytest.raises(ValueError, match=rf"{op.name}: target at position 2 is {bad}, outside \[0, {C}\)"):
        op.run(x, target)


def test_target_out_of_range_in_a_large_batch(op, backend):
    """Several threads look; the first position wins."""
    only_cpu(backend)
    x, target = torch.zeros(200_000, 2), torch.zeros(200_000, dtype=torch.int64)
    target[[70_001, 150_000]] = 7
    with pytest.raises(ValueError, match="position 70001 is 7"):
        op.run(x, target)


def test_target_out_of_range_leaves_logits_alone_when_inplace(op, backend, x):
    only_cpu(backend)
    before = x.clone()
    with pytest.raises(ValueError, match="position 3 is 5"):
        op.run(x, torch.tensor([0, 1, 2, C]), inplace=True)
    assert torch.equal(x, before)


def test_target_out_of_range_is_nan_on_cuda(op, backend, x):
    if backend.device.type != "cuda":
        pytest.skip("CUDA only")
    x.requires_grad_()
    loss = op.run(x, torch.tensor([0, C, 2, 3], device=x.device), reduction="none")
    loss.sum().backward()
    assert loss.isnan().tolist() == [False, True, False, False]
    assert x.grad.isnan().all(1).tolist() == [False, True, False, False]


def test_spatial_target_position_is_flat(op, backend):
    only_cpu(backend)
    target = torch.zeros(2, 3, 4, dtype=torch.int64)
    target[1, 2, 3] = 9
    with pytest.raises(ValueError, match="position 23 is 9"):
        op.run(torch.zeros(2, C, 3, 4), target)


@pytest.mark.parametrize("shape", [(), (4, 0)])
def test_logits_shapes(op, backend, shape):
    with pytest.raises(ValueError, match="logits must"):
        op.run(
            torch.zeros(shape, device=backend.device), torch.zeros(shape[:1], dtype=torch.int64, device=backend.device)
        )


@pytest.mark.parametrize("wrong", [torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_logits_dtypes(op, backend, y, wrong):
    with pytest.raises(TypeError, match=f"{op.name}: logits"):
        op.run(torch.zeros(N, C, device=backend.device).to(wrong), y)


@pytest.mark.parametrize("reduction", ["Mean", "avg", "", None, 1])
def test_reduction(op, x, y, reduction):
    for function in (op.run, op.ref):
        with pytest.raises(
            ValueError, match=f"{op.name}: reduction must be 'none', 'mean' or 'sum', got {reduction!r}"
        ):
            function(x, y, reduction=reduction)


@pytest.mark.parametrize("size", [C - 1, C + 1])
def test_weight_shape(op, backend, x, y, size):
    with pytest.raises(ValueError, match=r"weight must hold one number per class, shape \(5,\)"):
        op.run(x, y, weight=torch.ones(size, device=backend.device))


def test_weight_dtype_and_gradient(op, backend, x, y):
    with pytest.raises(TypeError, match="weight must be a floating-point tensor"):
        op.run(x, y, weight=torch.ones(C, dtype=torch.int64, device=backend.device))
    with pytest.raises(ValueError, match="weight is a constant of the loss"):
        op.run(x, y, weight=torch.ones(C, device=backend.device, requires_grad=True))


@pytest.mark.parametrize("name", ["target_value", "negative_value"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_must_be_finite(op, x, y, name, value):
    with pytest.raises(ValueError, match=f"{op.name}: {name} must be finite"):
        op.run(x, y, **{name: value})


def test_numbers_must_be_numbers(op, x, y):
    with pytest.raises(TypeError, match="target_value must be a number, got str"):
        op.run(x, y, target_value="1")


def test_other_devices(op, x, y):
    if torch.cuda.is_available():
        other = "cpu" if x.is_cuda else "cuda"
        with pytest.raises(ValueError, match="target must be on the device of logits"):
            op.run(x, y.to(other))
        with pytest.raises(ValueError, match="weight must be on the device of logits"):
            op.run(x, y, weight=torch.ones(C, device=other))
    with pytest.raises(TypeError, match=f"{op.name}: target must be a dense tensor .* device meta"):
        op.run(x, torch.zeros(N, dtype=torch.int64, device="meta"))


def test_meta_logits(op):
    """Only shapes exist there: no kernel for it, and never memory."""
    with pytest.raises((NotImplementedError, TypeError), match=r"[Mm]eta"):
        op.run(torch.zeros(N, C, device="meta"), torch.zeros(N, dtype=torch.int64, device="meta"))


def test_sparse_logits(op, backend, y):
    with pytest.raises(TypeError, match=f"{op.name}: logits must be a dense tensor .* layout torch.sparse_coo"):
        op.run(torch.zeros(N, C, device=backend.device).to_sparse(), y)


@pytest.mark.parametrize("shape", [(2, 5, 4), (2, 20), (2,), (2, 4, 5, 1), (2, 3, 5, 4)])
def test_spatial_target_shapes(op, backend, shape):
    x = torch.zeros(2, 3, 4, 5, device=backend.device)
    index = torch.zeros(shape, dtype=torch.int64, device=backend.device)
    with pytest.raises(ValueError, match=f"{op.name}: target must hold one class index per sample"):
        op.run(x, index)
    with pytest.raises(ValueError, match=f"{op.name}: a dense target must have the shape of logits"):
        op.run(x, index.float())
    with pytest.raises(ValueError, match=f"{op.name}: target must hold one class index per sample"):
        op.ref(x, index)


@pytest.mark.parametrize("value", [None, -100.0, "x"])
def test_ignore_index_must_be_an_integer(op, x, y, value):
    with pytest.raises(TypeError, match=f"{op.name}: ignore_index must be an integer"):
        op.run(x, y, ignore_index=value)
    with pytest.raises(ValueError, match=f"{op.name}: ignore_index must fit 64 bits"):
        op.run(x, y, ignore_index=2**70)


def test_constants_must_not_be_tensors(op, x, y):
    with pytest.raises(TypeError, match="target_value must be a number, got a tensor"):
        op.run(x, y, target_value=torch.tensor(1.0, requires_grad=True))


def test_negative_view(op, backend, y):
    x = torch.imag(torch.randn(N, C, dtype=torch.complex64, device=backend.device).conj())
    assert x.is_neg()
    with pytest.raises(ValueError, match=r"logits has its negative bit set: call .resolve_neg\(\) first"):
        op.run(x, y)
    assert torch.isfinite(op.run(x.resolve_neg(), y))


def test_subclasses_keep_working(op, x, y):
    class Sub(torch.Tensor):
        pass

    expected = op.run(x, y)
    torch.testing.assert_close(op.run(x.as_subclass(Sub), y).as_subclass(torch.Tensor), expected)
    torch.testing.assert_close(op.run(torch.nn.Parameter(x), y).detach(), expected)


def test_not_a_tensor(op, x, y):
    with pytest.raises(TypeError, match=f"{op.name}: logits must be a torch.Tensor, got list"):
        op.run([[1.0, 2.0]], y)
    with pytest.raises(TypeError, match=f"{op.name}: target must be a torch.Tensor, got list"):
        op.run(x, [0, 1, 2, 3])
    with pytest.raises(ValueError, match=f"{op.name}: reduction must be"):
        op.run(x, y, reduction=["mean"])


def test_target_of_a_plain_subclass(op, x, y):
    class Mask(torch.Tensor):
        pass

    assert torch.equal(op.run(x, y.as_subclass(Mask)), op.run(x, y))


# ---- alpha; for the ops that have one, imported by their test modules through ALPHA ----


class AlphaErrors:
    """Subclassed as TestAlpha by the modules of ops that take alpha."""

    @pytest.mark.parametrize("alpha", [0.0, -1.0, 0, -3])
    def test_number_must_be_positive(self, op, x, y, alpha):
        with pytest.raises(ValueError, match=f"{op.name}: alpha must be positive"):
            op.run(x, y, alpha=alpha)

    @pytest.mark.parametrize("alpha", [float("nan"), float("inf")])
    def test_number_must_be_finite(self, op, x, y, alpha):
        with pytest.raises(ValueError, match="alpha must be finite"):
            op.run(x, y, alpha=alpha)

    @pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
    def test_elements_must_be_positive_and_finite(self, op, backend, x, y, bad):
        only_cpu(backend)
        alpha = torch.ones(C)
        alpha[3] = bad
        with pytest.raises(ValueError, match="alpha must be positive and finite: element 3 is not"):
            op.run(x, y, alpha=alpha)

    def test_shape_that_fits_nothing(self, op, backend, x, y):
        for function in (op.run, op.ref):
            with pytest.raises(ValueError, match=f"{op.name}: alpha"):
                function(x, y, alpha=torch.ones(C + 7, device=backend.device))

    def test_per_class_and_per_sample_at_once(self, op, backend, x, y):
        with pytest.raises(ValueError, match="alpha varies per class or per sample, not both"):
            op.run(x, y, alpha=torch.ones(N, C, device=backend.device))

    def test_square_logits_are_ambiguous(self, op, backend):
        x, y = torch.zeros(C, C, device=backend.device), torch.arange(C, device=backend.device)
        with pytest.raises(ValueError, match=r"could be per class or per sample .* give it as \(1, C\) or \(N, 1\)"):
            op.run(x, y, alpha=torch.ones(C, device=backend.device))

    def test_dtype_and_gradient(self, op, backend, x, y):
        with pytest.raises(TypeError, match="alpha must be a floating-point tensor"):
            op.run(x, y, alpha=torch.ones(C, dtype=torch.int64, device=backend.device))
        with pytest.raises(ValueError, match="alpha is a constant of the loss"):
            op.run(x, y, alpha=torch.ones(C, device=backend.device, requires_grad=True))

    def test_half_precision_alpha(self, op, backend, x, y):
        alpha = torch.full((C,), 0.5, device=backend.device)
        assert torch.equal(op.run(x, y, alpha=alpha.half()), op.run(x, y, alpha=alpha))
