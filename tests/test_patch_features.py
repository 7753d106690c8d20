"""PatchFeatures: a convolutional first layer of patches."""

import copy
import math

import pytest
import torch
from torch import nn

from effdl_fast.solvers import PatchFeatures, PlatonicMLP
from effdl_fast.solvers.patches import CONTRAST


def images(m=120, channels=2, side=12, dtype=torch.float64):
    """Two classes: stripes along the one or the other direction, at places of their own."""
    g = torch.Generator().manual_seed(0)
    y = torch.arange(m) % 2
    x = 0.3 * torch.rand(m, channels, side, side, generator=g, dtype=torch.float64)
    stripes = torch.sin(torch.arange(side) * 1.5 + 6.28 * torch.rand(m, 1, generator=g)).double()
    x += torch.where((y == 0)[:, None, None, None], stripes[:, None, None, :], stripes[:, None, :, None])
    return x.to(dtype), y


def by_hand(features, x):
    """Patch by patch, in float64."""
    k, size = features.kernel.double().flatten(1), features.size
    side = x.shape[2] - size + 1
    rows = []
    for image in x.double():
        grid = torch.empty(side, side, len(k), dtype=torch.float64)
        for i in range(side):
            for j in range(side):
                p = image[:, i : i + size, j : j + size].flatten()
                p = (p - p.mean()) / (p.var() + CONTRAST * features.range.double().square()).sqrt()
                grid[i, j] = k @ p + features.bias.double()
        both = torch.cat([grid.clamp(min=0), (-grid).clamp(min=0)], 2)
        half = -(-side // 2)
        cells = [both[a, b].reshape(-1, 2 * len(k)).mean(0) for a in (slice(0, half), slice(side - half, side))
                 for b in (slice(0, half), slice(side - half, side))]  # fmt: skip
        rows.append(torch.stack(cells, 1).flatten())
    return torch.stack(rows)


@pytest.mark.parametrize("side", [12, 11])
def test_features_are_those_of_the_definition(side):
    x, _ = images(m=6, side=side)
    features = PatchFeatures(5, size=4).fit(x)
    expected = by_hand(features, x)
    expected = (expected - expected.mean(0)) / (expected.std(0, unbiased=False) + 0.01)
    torch.testing.assert_close(features(x), expected, rtol=1e-6, atol=1e-6)


def test_filters_are_whitened_patches():
    x, _ = images()
    features = PatchFeatures(7, size=3, whiten=0.0, seed=2).fit(x)
    contrast = CONTRAST * features.range.square()
    patches = x.unfold(2, 3, 1).unfold(3, 3, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 18)
    patches = (patches - patches.mean(1, keepdim=True)) / (patches.var(1, keepdim=True) + contrast).sqrt()
    answers = patches @ features.kernel.flatten(1).mT + features.bias
    assert float(answers.mean(0).abs().max()) < 0.05  # whitened answers of unit filters: mean 0, variance 1
    torch.testing.assert_close(answers.var(0), torch.ones(7, dtype=torch.float64), rtol=0.1, atol=0)


def test_they_separate_what_pixels_do_not():
    x, y = images(m=400)
    train, test = slice(0, 300), slice(300, 400)
    pixels = PlatonicMLP((), l2=1.0).fit(x[train], y[train]).score(x[test], y[test])
    features = PatchFeatures(16, size=4).fit(x[train])
    model = PlatonicMLP((), l2=1.0).fit(features(x[train]), y[train])
    assert model.score(features(x[test]), y[test]) > 0.97 > pixels + 0.2
    whole = nn.Sequential(features, model.to_module())
    torch.testing.assert_close(whole(x[test])[:, 0], model.decision_function(features(x[test])), rtol=1e-6, atol=1e-8)


def test_state_seeds_and_dtypes():
    x, _ = images(m=20, dtype=torch.float32)
    a, b, c = PatchFeatures(4, size=3).fit(x), PatchFeatures(4, size=3).fit(x), PatchFeatures(4, size=3, seed=1).fit(x)
    assert torch.equal(a(x), b(x)) and not torch.equal(a(x), c(x)) and a(x).dtype is torch.float32
    assert a(x).shape == (20, 4 * 2 * 4) and float(a(x).mean().abs()) < 1e-4
    assert torch.equal(copy.deepcopy(a)(x), a(x)) and len(a.state_dict()) == 5 and not list(a.parameters())
    bytes_ = (x * 50 + 100).to(torch.uint8)
    features = PatchFeatures(4, size=3).fit(bytes_)
    assert bool(torch.isfinite(features(bytes_)).all())
    assert torch.equal(features.transform(bytes_[:3]), features(bytes_[:3]))
    single = PatchFeatures(4, size=3).fit(x[:, 0])
    torch.testing.assert_close(single(x[:, 0]), single(x[:, :1]))


def test_constant_images():
    x = torch.ones(10, 1, 8, 8)
    assert bool(torch.isfinite(PatchFeatures(3, size=3).fit(x)(x)).all())


@pytest.mark.parametrize("scale", [1e30, 1e-20, 1e-35])
def test_features_do_not_depend_on_the_scale(scale):
    x, _ = images(m=40, dtype=torch.float32)
    expected = PatchFeatures(4, size=3).fit(x)(x)
    scaled = (x.double() * scale).float()
    torch.testing.assert_close(PatchFeatures(4, size=3).fit(scaled)(scaled), expected, rtol=1e-3, atol=1e-3)


def test_a_state_restores_what_was_fitted():
    x, y = images(m=60)
    fitted = PatchFeatures(8, size=4).fit(x)
    model = PlatonicMLP((5,)).fit(fitted(x), y)
    other = PatchFeatures(8, size=4)
    assert other.load_state_dict(fitted.state_dict()) == ([], [])
    assert torch.equal(other(x), fitted(x)) and other.kernel.dtype is torch.float64
    whole = nn.Sequential(PatchFeatures(8, size=4), model.to_module())
    whole.load_state_dict(nn.Sequential(fitted, model.to_module()).state_dict())
    assert torch.equal(whole(x), model.to_module()(fitted(x)))
    for options in ({"filters": 7, "size": 4}, {"filters": 8, "size": 3}, {"filters": 8, "size": 4, "pool": 3}):
        with pytest.raises(RuntimeError, match="size mismatch"):
            PatchFeatures(**options).load_state_dict(fitted.state_dict())
    with pytest.raises(RuntimeError, match="Missing key"):
        PatchFeatures(8, size=4).load_state_dict({"kernel": fitted.kernel})


def test_no_images_and_nan():
    x, _ = images(m=20)
    features = PatchFeatures(4, size=3).fit(x)
    assert features(x[:0]).shape == (0, 32)
    x[1, 0, 0, 0] = math.nan
    assert torch.isfinite(features(x)).all(1).logical_not().nonzero().tolist() == [[1]]
    assert not features(x.requires_grad_()).requires_grad


def test_what_does_not_fit_is_named():
    x, _ = images(m=5)
    with pytest.raises(ValueError, match="fit it first"):
        PatchFeatures(3)(x)
    with pytest.raises(ValueError, match=r"must have shape \(m, channels, height, width\)"):
        PatchFeatures(3).fit(x.flatten(1))
    with pytest.raises(ValueError, match="no 2 x 2 cells"):
        PatchFeatures(3, size=12).fit(x)
    with pytest.raises(ValueError, match="images of 2 channels"):
        PatchFeatures(3, size=3).fit(x)(x[:, :1])
    bad = x.clone()
    bad[0, 0, 0, 0] = math.nan
    with pytest.raises(ValueError, match="NaN or infinity"):
        PatchFeatures(3, size=3).fit(bad)
    with pytest.raises(ValueError, match="a patch needs two values"):
        PatchFeatures(3, size=1).fit(x[:, :1])
    assert bool(torch.isfinite(PatchFeatures(3, size=1).fit(x)(x)).all())
    with pytest.raises(ValueError, match="X has no images"):
        PatchFeatures(3, size=3).fit(x[:0])
    with pytest.raises(ValueError, match="too far from each other"):
        PatchFeatures(3, size=3).fit(torch.linspace(-3e38, 3e38, 720).view(5, 1, 12, 12))
    for options in ({"filters": 0}, {"size": 0}, {"pool": 0}, {"whiten": -1.0}, {"seed": -1}):
        with pytest.raises(ValueError, match=next(iter(options))):
            PatchFeatures(**options)
