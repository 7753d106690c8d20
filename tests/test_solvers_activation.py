"""Activations of one's own: modules and functions."""

import pytest
import torch
from torch import nn

from effdl_fast.solvers import ELM, PlatonicMLP


def samples(dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(60, 4, generator=g, dtype=torch.float64)
    return x.to(dtype), x[:, :2].sin().to(dtype)


@pytest.mark.parametrize("activation", [nn.RReLU(), nn.Sequential(nn.Tanh(), nn.Dropout(0.5)), nn.Dropout(0.3)])
def test_modules_are_used_in_evaluation_mode(activation):
    x, y = samples()
    a, b = (PlatonicMLP((6,), activation=activation, seed=0).fit(x, y) for _ in range(2))
    assert activation.training, "the user's own is left as it is"
    assert torch.equal(a.predict(x), b.predict(x)) and torch.equal(a.predict(x), a.predict(x))
    with torch.no_grad():
        torch.testing.assert_close(a.to_module()(x), a.predict(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_parameters_take_the_dtype_of_the_network(dtype):
    x, y = samples(dtype)
    activation = nn.PReLU(init=0.3)
    model = PlatonicMLP((6, 5), activation=activation, seed=0).fit(x, y)
    same = PlatonicMLP((6, 5), activation=nn.LeakyReLU(0.3), seed=0).fit(x, y)
    torch.testing.assert_close(model.predict(x), same.predict(x), rtol=1e-4, atol=1e-4)
    assert activation.weight.dtype is torch.float32 and not model.predict(x).requires_grad
    before = model.predict(x)
    with torch.no_grad():
        activation.weight.fill_(9.0)
    assert torch.equal(model.predict(x), before), "it has a copy"
    module = model.to_module()
    module(x).sum().backward()
    assert all(p.grad is not None and p.dtype is dtype for p in module.parameters())


@pytest.mark.parametrize(("activation", "error", "message"), [
    (nn.ReLU, TypeError, r"activation must be an instance, ReLU\(...\), got the class"),
    (nn.Softmax(0), ValueError, "element by element"),
    (nn.Softmax(1), ValueError, "element by element"),
    (lambda z: z - z.mean(), ValueError, "element by element"),
    (lambda z: z + torch.rand_like(z), ValueError, "or on chance"),
    (lambda z: z.sum(1), ValueError, r"keep shapes, but gives \(4,\)"),
    (lambda z: z[:1], ValueError, r"keep shapes, but gives \(1, 3\)"),
    (lambda z: (z, z), TypeError, "activation must give a tensor, got tuple"),
])  # fmt: skip
@pytest.mark.parametrize("cls", [PlatonicMLP, ELM])
def test_what_is_no_activation_is_told(cls, activation, error, message):
    x, y = samples()
    with pytest.raises(error, match=message):
        cls((6,), activation=activation).fit(x, y)


@pytest.mark.parametrize("activation", [nn.PReLU(6), nn.ReLU(inplace=True), torch.relu_])
def test_those_that_need_the_width_or_write_in_place(activation):
    x, y = samples()
    assert PlatonicMLP((6,), activation=activation, seed=0).fit(x, y).predict(x).shape == y.shape


def test_nan_of_an_activation_is_told():
    x, y = samples()
    with pytest.raises(ValueError, match="layer 2: NaN or infinity"):
        PlatonicMLP((6,), activation=torch.log).fit(x, y)
