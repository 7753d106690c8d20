"""The tensor view of the compiled module: what it reads, what it refuses, and what it says then."""

import os
import subprocess
import sys

import pytest
import torch

import effdl_fast as ef
from effdl_fast import _C
from effdl_fast.testing import backends


def raw(logits, target, loss=None, grad=None, **changes):
    """_C.linear_ga_loss with a mean over int64 targets unless told otherwise."""
    loss = torch.empty((), dtype=torch.float32) if loss is None else loss
    arguments = {"norm": None, "workspace": None, "alpha": None, "beta": None, "clamp": None, "target_value": 1.0,
                 "negative_value": 0.0, "weight": None, "ignore_index": -100, "reduction": 1, "class_start": 0,
                 "class_total": -1, **changes}  # fmt: skip
    _C.linear_ga_loss(logits, target, loss, grad, **arguments)
    return loss


X, T = torch.randn(4, 5), torch.arange(4)


def test_reads_storage_offsets_and_strides():
    base = torch.randn(9, 20)
    view = base[3:7, 2:12:2]
    expected = ((view - torch.nn.functional.one_hot(T, 5)) ** 2).sum(1).mean() / 2
    torch.testing.assert_close(raw(view, T), expected)
    targets = torch.tensor([9, 0, 9, 1, 9, 2, 9, 3])[1::2]
    torch.testing.assert_close(raw(view, targets), expected)


@pytest.mark.parametrize("value", [None, 1.0, "x", [1.0], pytest.param(object(), id="object")])
def test_not_a_tensor(value):
    with pytest.raises(TypeError, match=f"linear_ga_loss: logits must be a torch.Tensor, got {type(value).__name__}"):
        raw(value, T)


def test_subclasses_are_refused_by_the_raw_form():
    class Sub(torch.Tensor):
        pass

    with pytest.raises(TypeError, match=r"logits must be a torch\.Tensor, got"):
        raw(X.as_subclass(Sub), T)
    assert torch.isfinite(raw(torch.nn.Parameter(X), T))


def test_fake_tensors_are_refused_by_the_raw_form():
    """They have no memory; reading them would crash."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode() as mode:
        fake = mode.from_tensor(X)
    with pytest.raises(TypeError, match=r"logits must be a torch\.Tensor, got FakeTensor"):
        raw(fake, T)


@pytest.mark.parametrize("make", [lambda: X.to("meta"), lambda: X.to_sparse(), lambda: torch.quantize_per_tensor(
    X, 0.1, 0, torch.qint8)], ids=["meta", "sparse", "quantized"])  # fmt: skip
def test_tensors_without_plain_memory(make):
    with pytest.raises((TypeError, ValueError, RuntimeError, BufferError)):
        raw(make(), T)


def test_negative_and_conjugate_views():
    negative = torch.imag(torch.randn(4, 5, dtype=torch.complex64).conj())
    with pytest.raises(ValueError, match="logits has its negative bit set"):
        raw(negative, T)
    with pytest.raises((TypeError, RuntimeError, BufferError)):
        raw(torch.randn(4, 5, dtype=torch.complex64).conj(), T)


def test_tensors_that_require_grad_are_read():
    """The op's own autograd.Function calls the raw form with them."""
    assert torch.isfinite(raw(X.clone().requires_grad_(), T))


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (torch.empty(2), ValueError, "loss has the wrong size: got float32 tensor of shape"),
        (torch.empty((), dtype=torch.float64), TypeError, "loss must have the dtype of logits or float32, got float64"),
        (torch.empty((), dtype=torch.int64), TypeError, "loss must have the dtype"),
    ],
)
def test_loss_outputs(loss, error, message):
    with pytest.raises(error, match=message):
        raw(X, T, loss)


def test_loss_of_each_sample_must_be_contiguous():
    with pytest.raises(ValueError, match="loss must be contiguous"):
        raw(X, T, torch.empty(8)[::2], reduction=0)


@pytest.mark.parametrize(
    ("grad", "error"),
    [(torch.empty(4, 6), ValueError), (torch.empty(20), TypeError), (torch.empty(4, 5).double(), TypeError)],
)
def test_gradient_outputs(grad, error):
    with pytest.raises(error, match="grad must"):
        raw(X, T, grad=grad)


def test_gradient_must_not_overlap_itself():
    with pytest.raises(ValueError, match="share memory"):
        raw(X, T, grad=torch.empty(1, 5).expand(4, 5))


def test_class_range_of_a_sharded_head():
    """Each part of the classes alone: the losses add up, the gradients stand side by side."""
    whole = torch.empty_like(X)
    total = raw(X, T, grad=whole, reduction=2)
    parts, sums = [], 0.0
    for start, stop in ((0, 2), (2, 5)):
        x = X[:, start:stop].contiguous()
        parts.append(torch.empty_like(x))
        sums = sums + raw(x, T, grad=parts[-1], reduction=2, class_start=start, class_total=5)
    assert torch.equal(torch.cat(parts, 1), whole)
    torch.testing.assert_close(sums, total)


def test_dense_targets_have_no_class_range():
    with pytest.raises(ValueError, match="dense targets cannot be combined with a class range"):
        raw(X, torch.zeros_like(X), class_start=1, class_total=9)


def test_upstream_factor_reads_every_float_type():
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        assert _C.ga_loss_cpu_factor(torch.tensor(-2.5, dtype=dtype), None) == -2.5
    assert _C.ga_loss_cpu_factor(torch.tensor(3.0), torch.tensor(0.5)) == 1.5
    with pytest.raises(ValueError, match="upstream must be one number on the CPU"):
        _C.ga_loss_cpu_factor(torch.ones(2), None)
    with pytest.raises(TypeError, match="upstream must be floating point"):
        _C.ga_loss_cpu_factor(torch.tensor(1), None)


def test_build_info():
    info = _C.build_info()
    assert info["version"] == ef.__version__
    assert info["simd_levels"][0] == "scalar"
    assert isinstance(info["cuda"], bool) and isinstance(info["cuda_archs"], list)


def test_simd_levels_are_chosen_and_refused():
    for level in _C.build_info()["simd_levels"]:
        _C.set_simd_level(level)
        assert _C.simd_level() == level
    _C.set_simd_level("auto")
    assert _C.simd_level() == _C.build_info()["simd_levels"][-1]
    with pytest.raises(ValueError, match="level 'sse' is not available here"):
        _C.set_simd_level("sse")


@pytest.mark.parametrize("level", ["scalar", "sse9"])
def test_environment_variable_forces_a_level(level):
    code = "import effdl_fast._C as c; print(c.simd_level())"
    run = subprocess.run([sys.executable, "-c", code], env={**os.environ, "EFFDL_SIMD": level}, capture_output=True,
                         text=True, timeout=120)  # fmt: skip
    if level == "scalar":
        assert run.stdout.strip() == "scalar", run.stderr
    else:
        assert run.returncode != 0 and "sse9" in run.stderr and "Traceback" in run.stderr


def test_forcing_a_backend_notices_when_another_runs():
    """The proof that every other test relies on."""
    backend = backends.cpu_backends()[0]
    with backends.forced(backend, "exp_ga_loss"):
        ef.ops.exp_ga_loss(X, T)
    with pytest.raises(backends.WrongBackendError, match=r"expected kernel exp_ga_loss.scalar"), \
            backends.forced(backend, "exp_ga_loss"):  # fmt: skip
        ef.ops.exp_ga_loss_ref(X, T)
    with pytest.raises(backends.WrongBackendError), backends.forced(backend, "exp_ga_loss"):
        ef.ops.exp_ga_loss(X.double(), T)
