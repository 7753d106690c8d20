"""init_platonic_: closed-form weights inside of modules."""

import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from effdl_fast.solvers import PlatonicMLP, init_platonic_


def images(m=400, dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    y = torch.randint(3, (m,), generator=g)
    x = torch.randn(m, 1, 6, 6, generator=g, dtype=torch.float64)
    x[torch.arange(m), 0, y] += 1.0
    return x.to(dtype), y


def loader(x, y, size=64):
    return DataLoader(TensorDataset(x, y), batch_size=size)


@pytest.mark.parametrize("projection", ["random", "pca"])
def test_an_mlp_gets_the_weights_of_platonic_mlp(projection):
    x, y = images()
    model = PlatonicMLP((20, 10), activation="tanh", projection=projection, seed=3).fit(x, y)
    module = nn.Sequential(
        nn.Flatten(), nn.Linear(36, 20), nn.Tanh(), nn.Linear(20, 10), nn.Tanh(), nn.Linear(10, 3)
    ).double()
    assert init_platonic_(module, loader(x, y), projection=projection, gain=None, seed=3) is module
    for ours, theirs in zip(module.parameters(), model.to_module().parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-8)


def test_a_convolutional_network_keeps_what_is_not_linear():
    x, y = images(dtype=torch.float32)
    module = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 30), nn.Dropout(0.5), nn.ReLU(),
        nn.Linear(30, 3),
    )  # fmt: skip
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module.train()
    module[1].eval()
    init_platonic_(module, loader(x, y), seed=0)
    assert module.training and not module[1].training
    changed = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"4.weight", "4.bias", "7.weight", "7.bias"}
    module.eval()
    with torch.no_grad():
        assert float((module(x).argmax(1) == y).float().mean()) > 0.75
        hidden = module[:5](x)
    assert float(hidden.square().mean().sqrt()) == pytest.approx(1.0, rel=1e-3)


def test_values_as_targets():
    x, _ = images(dtype=torch.float32)
    x = x.flatten(1)
    y = x[:, :2].sin()
    module = init_platonic_(nn.Sequential(nn.Linear(36, 60), nn.CELU(), nn.Linear(60, 2)), loader(x, y), seed=0)
    with torch.no_grad():
        assert float((module(x) - y).square().mean()) < 0.5 * float(y.square().mean())
    single = init_platonic_(nn.Sequential(nn.Linear(36, 1)), loader(x, y[:, 0]), seed=0)
    with torch.no_grad():
        z = torch.cat([torch.ones(400, 1), x], 1).double()
        best = torch.linalg.lstsq(z, y[:, :1].double()).solution
        torch.testing.assert_close(single(x).double(), z @ best, rtol=1e-3, atol=1e-3)


def test_seeds():
    x, y = images(dtype=torch.float32)

    def make(seed):
        module = nn.Sequential(nn.Flatten(), nn.Linear(36, 9), nn.ReLU(), nn.Linear(9, 3))
        return init_platonic_(module, loader(x, y), seed=seed)[1].weight

    assert torch.equal(make(0), make(0)) and not torch.equal(make(0), make(1))
    torch.manual_seed(5)
    a = make(None)
    torch.manual_seed(5)
    assert torch.equal(a, make(None))


def test_arrays_bytes_empty_batches_and_columns_of_labels():
    x, y = images(dtype=torch.float32)
    flat = (x.flatten(1) * 20 + 100).to(torch.uint8)
    linear = nn.Linear(36, 3)
    batches = [(flat[:0], y[:0]), (flat[:200], y[:200, None]), (flat[200:].numpy(), y[200:].numpy())]
    init_platonic_(linear, batches)
    expected = init_platonic_(nn.Linear(36, 3), loader(flat.float(), y))
    torch.testing.assert_close(linear.weight, expected.weight, rtol=1e-3, atol=1e-5)


def test_layers_that_are_not_the_last_or_not_their_own_are_named():
    x, y = images(dtype=torch.float32)
    batches = loader(x.flatten(1), y)
    for end in (nn.ReLU(), nn.ReLU(inplace=True), nn.Softmax(1), nn.Unflatten(1, (3, 1))):
        with pytest.raises(ValueError, match="goes on after layer 0"):
            init_platonic_(nn.Sequential(nn.Linear(36, 3), end), batches)
    init_platonic_(nn.Sequential(nn.Linear(36, 3), nn.Dropout(0.5)), batches)
    a, b = nn.Linear(36, 36), nn.Linear(36, 36)
    b.weight = a.weight
    with pytest.raises(ValueError, match="layer 0 shares a parameter with layer 1"):
        init_platonic_(nn.Sequential(a, b, nn.Linear(36, 3)), batches)
    for norm in (nn.utils.parametrizations.weight_norm, nn.utils.spectral_norm):
        with pytest.raises(ValueError, match="parameters of layer 0 are computed from others"):
            init_platonic_(nn.Sequential(norm(nn.Linear(36, 3))), batches)
    with pytest.raises(ValueError, match="the loader gave no samples"):
        init_platonic_(nn.Linear(36, 3), [])
    with pytest.raises(ValueError, match="no Linear layer was used"):
        init_platonic_(nn.Flatten(), batches)
    with pytest.raises(ValueError, match="the module has no bias"):
        init_platonic_(nn.Linear(36, 3, bias=False), batches)
    values = x.flatten(1)[:, :3].clone()
    values[70, 1] = math.inf
    with pytest.raises(ValueError, match="y contains NaN or infinity, in row 6 of batch 1"):
        init_platonic_(nn.Linear(36, 3), loader(x.flatten(1), values))


def test_what_does_not_fit_is_named():
    x, y = images(dtype=torch.float32)
    flat = x.flatten(1)
    batches = loader(flat, y)
    with pytest.raises(ValueError, match="no Linear layer was used"):
        init_platonic_(nn.Conv2d(1, 3, 6), loader(x, y))
    shared = nn.Linear(36, 36)
    with pytest.raises(ValueError, match="layer 0 is used several times"):
        init_platonic_(nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(36, 3)), batches)
    with pytest.raises(ValueError, match="layer 0 has no bias"):
        init_platonic_(nn.Sequential(nn.Linear(36, 3, bias=False)), batches)
    with pytest.raises(ValueError, match=r"layer 0 takes inputs of shape \(64, 1, 6, 6\)"):
        init_platonic_(nn.Sequential(nn.Linear(6, 3)), loader(x, y))
    with pytest.raises(ValueError, match="class indices from 0 to 1"):
        init_platonic_(nn.Sequential(nn.Linear(36, 2)), batches)
    with pytest.raises(ValueError, match=r"y must have shape \(64, 3\)"):
        init_platonic_(nn.Sequential(nn.Linear(36, 3)), loader(flat, flat[:, :2]))
    with pytest.raises(TypeError, match="several times"):
        init_platonic_(nn.Sequential(nn.Linear(36, 3)), iter(batches))
    with pytest.raises(ValueError, match="projection must be one of"):
        init_platonic_(nn.Sequential(nn.Linear(36, 3)), batches, projection="svd")
    bad = flat.clone()
    bad[3, 3] = math.nan
    with pytest.raises(ValueError, match="X contains NaN or infinity, in row 3 of batch 0"):
        init_platonic_(nn.Sequential(nn.Linear(36, 3)), loader(bad, y))
    with pytest.raises(ValueError, match="layer 0: Platonic PCA gives"):
        init_platonic_(nn.Sequential(nn.Linear(36, 99), nn.Linear(99, 3)), batches, projection="pca", mixing=0.0)
