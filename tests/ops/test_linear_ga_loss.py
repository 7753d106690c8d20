"""linear_ga_loss on every backend: the tests of every separable loss, and what is its own."""

import pytest
import torch

from effdl_fast.testing.backends import forced

from ._ga_loss import *  # noqa: F403
from ._ga_loss_errors import *  # noqa: F403
from ._ga_loss_torch import *  # noqa: F403

OP = "linear_ga_loss"


def test_is_half_the_squared_error(op, backend, dtype):
    x, t = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(0)).to(backend.device, dtype)
    with forced(backend, op.name):
        loss = op.run(x, t, reduction="sum")
    expected = torch.nn.functional.mse_loss(x.double(), t.double(), reduction="sum") / 2
    torch.testing.assert_close(loss.double(), expected, rtol=4 * torch.finfo(dtype).eps, atol=0)


def test_has_no_alpha(op):
    with pytest.raises(TypeError, match="alpha"):
        op.run(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), alpha=1.0)
