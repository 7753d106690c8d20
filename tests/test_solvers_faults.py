"""PlatonicMLP where calls fail or come in an odd order, and where float32 or rounding has to be reckoned with."""

import copy
import math

import pytest
import torch

from effdl_fast.solvers import Grow, PlatonicMLP

from ._platonic import F64, Batches, blobs, close, values


@pytest.mark.parametrize("beta", [None, 1e4])
def test_exact_pca_does_not_depend_on_how_the_samples_come(beta):
    x, y = blobs(m=500)
    model = PlatonicMLP((9,), projection="pca", mixing=0.0, beta=beta).fit(x, y)
    other = PlatonicMLP((9,), projection="pca", mixing=0.0, beta=beta).fit(Batches(x, y))
    torch.testing.assert_close(model.decision_function(x), other.decision_function(x), rtol=1e-8, atol=1e-8)


def test_score_wants_a_target_for_each_sample():
    for x, y in (blobs(m=50), values(m=50)):
        model = PlatonicMLP((4,)).fit(x, y)
        for samples, targets in ((x, y[:1]), (x[:1], y), (x, y[:10])):
            with pytest.raises(ValueError, match="inconsistent numbers of samples"):
                model.score(samples, targets)
        with pytest.raises(ValueError, match="there are no samples"):
            model.score(type("Nothing", (), {"__iter__": lambda self: iter(())})())


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_r2_of_values_far_from_zero(offset):
    x, _ = values(m=400)
    y = x[:, 0] + 0.5 * torch.randn(400, generator=torch.Generator().manual_seed(0), dtype=F64) + offset
    model = PlatonicMLP((), l2=0.0).fit(x, y)
    left = (y - model.predict(x)).square().sum()
    assert model.score(x, y) == pytest.approx(float(1 - left / (y - y.mean()).square().sum()), abs=1e-6)
    assert 0.7 < model.score(Batches(x, y)) < 0.9


def test_a_float32_network_has_the_distance_that_it_says():
    x, y = blobs(m=500)
    x = torch.cat([x, x[:, :1] * 1e6 + 1e8], 1).float()
    for options in ({}, {"projection": "pca"}, {"l2": 0.0}):
        model = PlatonicMLP((100,), **options).fit(x, y)
        wanted = torch.nn.functional.one_hot(y, 4).float()
        true = float((model.decision_function(x) - wanted).double().square().sum() / 500)
        assert model.history_[-1].lsd == pytest.approx(true, rel=0.02)
        assert true < 1.0, "no worse than 0 everywhere"


def test_a_batch_that_raises_changes_nothing():
    x, y = blobs()
    fresh = PlatonicMLP((5,))
    for bad, classes in (((x[:10], y[:9]), range(4)), ((x[:10], y[:10]), [5, 6])):
        with pytest.raises(ValueError):
            fresh.partial_fit(*bad, classes=classes)
        assert not hasattr(fresh, "output_")
    fresh.partial_fit(x, y, classes=range(4))
    fitted = PlatonicMLP((5,)).fit(x, y)
    before = fitted.decision_function(x)
    with pytest.raises(ValueError):
        fitted.partial_fit(x[:10], y[:9])
    assert torch.equal(fitted.decision_function(x), before)
    x, y = values()
    model = PlatonicMLP((5,)).partial_fit(x, y)
    before = model.predict(x)
    with pytest.raises(ValueError, match="partial_fit: layer 1: NaN or infinity"):
        model.partial_fit(x, y * 1e200)
    assert torch.equal(model.predict(x), before)
    close(model.partial_fit(x, y), PlatonicMLP((5,)).partial_fit(torch.cat([x, x]), torch.cat([y, y])))


def test_between_a_layer_and_the_next_batch_the_network_is_whole(tmp_path):
    x, y = blobs()
    model = PlatonicMLP((20, 5)).partial_fit(x, y)
    before = model.decision_function(x)
    twin = copy.copy(model)
    model.next_layer()
    assert torch.equal(model.decision_function(x), before) and torch.equal(twin.decision_function(x), before)
    torch.testing.assert_close(model.to_module()(x), before)
    model.save(tmp_path / "m.safetensors")
    assert torch.equal(PlatonicMLP.load(tmp_path / "m.safetensors").decision_function(x), before)
    with pytest.raises(ValueError, match="no samples since the last layer"):
        model.next_layer()


def test_batches_that_hold_labels_and_values():
    x, y = blobs(m=60)

    class Mixed:
        def __iter__(self):
            return iter([(x[:30], y[:30]), (x[30:], y[30:].double())])

    with pytest.raises(ValueError, match="some of the loader's batches hold labels, others values"):
        PlatonicMLP((3,)).fit(Mixed())
    with pytest.raises(ValueError, match="not a list"):
        PlatonicMLP((3,)).fit([(x, y)])


def test_empty_batches_are_passed_over():
    x, y = blobs(m=60)

    class Gaps:
        def __iter__(self):
            return iter([(x[:0], y[:0]), (x[:30], y[:30]), (x[30:30], y[30:30]), (x[30:], y[30:])])

    close(PlatonicMLP((3,)).fit(Gaps()), PlatonicMLP((3,)).fit(x, y))


def test_partial_fit_is_there_where_it_can_be():
    for options in ({"ema": 0.2, "projection": "pca"}, {"tries": 3}, {"l2": "loo"}, {"solver": "pinv"},
                    {"first": "sorted_pca"}, {"hidden": (Grow(),)}):  # fmt: skip
        assert not hasattr(PlatonicMLP(**options), "partial_fit")
    assert hasattr(PlatonicMLP(projection="pca", tries=3), "partial_fit") and hasattr(
        PlatonicMLP(ema=0.2), "partial_fit"
    )
    with pytest.raises(ValueError, match="labels of a classifier"):
        PlatonicMLP((3,)).partial_fit(*blobs(), classes=[])
    with pytest.raises(ValueError, match="labels of a classifier"):
        PlatonicMLP((3,), task="regression").partial_fit(*values(), classes=[1, 2])


def test_exact_pca_grows_as_far_as_it_can():
    x, y = blobs()
    model = PlatonicMLP((Grow(2, most=64, tol=0.0),), projection="pca", mixing=0.0).fit(x[:, :2], y)
    assert model.layers_.weights[0].shape[1] <= 3 + 4


def test_overflow_of_float32_products_is_taken_up_in_float64():
    x = torch.randn(500, 70, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    assert PlatonicMLP((), l2=0.0).fit(x * 1e18, y).score(x * 1e18, y) == PlatonicMLP((), l2=0.0).fit(x, y).score(x, y)


def test_values_that_float32_cannot_hold():
    x, y = values(dtype=torch.float32)
    y = y.double()
    y[5, 0] = 1e39
    with pytest.raises(ValueError, match="y contains NaN or infinity, in row 5"):
        PlatonicMLP((3,)).fit(x, y)
    assert math.isfinite(PlatonicMLP((3,)).fit(x.double(), y).history_[-1].lsd)


def test_solvers_without_a_ridge_say_so():
    x, y = values()
    for solver in ("pinv", "lstsq"):
        assert {r.l2 for r in PlatonicMLP((4,), solver=solver, l2="gcv").fit(x, y).history_} == {0.0}
