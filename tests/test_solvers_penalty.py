"""The choice of l2 for data of any scale."""

import pytest
import torch

from effdl_fast.solvers import PlatonicMLP

F64 = torch.float64


def samples():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(300, 6, generator=g, dtype=F64)
    y = x[:, :2] + 2.0 + 0.5 * torch.randn(300, 2, generator=g, dtype=F64)
    return x, y


@pytest.mark.parametrize("how", ["gcv", "loo"])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("scales", [[1e6] * 6, [1, 1e7, 1, 1, 1, 1], [1e-6, 1, 1, 1, 1, 1e3], [1e-6] * 6])
def test_data_of_large_or_mixed_scales_are_not_regularised_away(how, dtype, scales):
    x, y = samples()
    plain = PlatonicMLP((), l2=how).fit(x, y).history_[-1].lsd
    scaled = (x * torch.tensor(scales, dtype=F64)).to(dtype)
    assert PlatonicMLP((), l2=how).fit(scaled, y.to(dtype)).history_[-1].lsd == pytest.approx(plain, rel=5e-3)


@pytest.mark.parametrize("how", ["gcv", "loo"])
def test_columns_that_depend_on_others_and_columns_of_zeros(how):
    x, y = samples()
    plain = PlatonicMLP((), l2=how).fit(x, y).history_[-1].lsd
    more = torch.cat([x, x[:, :3] + x[:, 3:], torch.zeros(300, 2, dtype=F64)], 1)
    assert PlatonicMLP((), l2=how).fit(more, y).history_[-1].lsd == pytest.approx(plain, rel=5e-3)


@pytest.mark.parametrize("how", ["gcv", "loo"])
def test_more_columns_than_samples(how):
    """Interpolation is not chosen only because what is left of it is rounding."""
    g = torch.Generator().manual_seed(1)
    x, y = torch.randn(30, 80, generator=g, dtype=F64), torch.randn(30, 2, generator=g, dtype=F64)
    assert PlatonicMLP((), l2=how).fit(x, y).history_[-1].l2 > 10.0
