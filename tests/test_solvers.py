"""PlatonicMLP and ELM: what thesis chapter 7 says of them, in memory and streamed."""

import math

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from effdl_fast.solvers import ELM, PlatonicMLP

from ._platonic import F64, Batches, blobs, close, values

# ---- the recipe ----


def plain(x, y, projections, activation, alpha, beta):
    """Fig. 7.3 with the scaling factors of section 7.5.2."""
    z, weights = torch.cat([torch.ones(len(x), 1, dtype=x.dtype), x], 1), []
    for p in projections:
        w = torch.linalg.pinv(z) @ (alpha * torch.cat([z, beta * y], 1) @ p)
        weights.append(w)
        z = torch.cat([torch.ones(len(x), 1, dtype=x.dtype), activation(z @ w)], 1)
    weights.append(torch.linalg.pinv(z) @ y)
    return weights, z @ weights[-1]


@pytest.mark.parametrize("solver", ["ridge", "pinv", "lstsq"])
@pytest.mark.parametrize("activation", ["relu", "celu", "tanh", "sigmoid", "identity", "gelu", "elu"])
def test_it_is_the_thesis_recipe(solver, activation):
    x, y = values()
    function = getattr(torch.nn.functional, activation, None) or (lambda z: z)
    g = torch.Generator().manual_seed(5)
    projections = [torch.randn(1 + 3 + 2, 9, generator=g, dtype=F64), torch.randn(1 + 9 + 2, 7, generator=g, dtype=F64)]
    weights, output = plain(x, y, projections, function, 0.5, 2.0)
    model = PlatonicMLP((9, 7), activation=activation, solver=solver, alpha=0.5, beta=2.0, l2=0.0, seed=5).fit(x, y)
    if activation == "identity":  # columns depend on each other from the second layer on, so weights are not unique
        torch.testing.assert_close(model.predict(x), output, rtol=1e-8, atol=1e-8)
        return
    for ours, theirs in zip([*model.layers_.weights, model.output_], weights, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(model.predict(x), output, rtol=1e-8, atol=1e-8)


def test_wide_layers_are_the_same_recipe():
    x, y = values(m=900)
    g = torch.Generator().manual_seed(1)
    projections = [torch.randn(6, 90, generator=g, dtype=F64), torch.randn(93, 70, generator=g, dtype=F64)]
    _, output = plain(x, y, projections, torch.tanh, 0.2, 1.0)
    model = PlatonicMLP((90, 70), activation="tanh", alpha=0.2, beta=1.0, l2=0.0, seed=1).fit(x, y)
    torch.testing.assert_close(model.predict(x), output, rtol=1e-6, atol=1e-6)


def test_ridge_weights_solve_the_normal_equations():
    x, y = blobs()
    model = PlatonicMLP((70,), l2=3.0, seed=0, beta=1.0).fit(x, y)
    z = torch.cat([torch.ones(400, 1, dtype=F64), x], 1)
    one_hot = torch.nn.functional.one_hot(y).to(F64)
    p = torch.randn(1 + 6 + 4, 70, generator=torch.Generator().manual_seed(0), dtype=F64)
    t = torch.cat([z, one_hot], 1) @ p
    expected = torch.linalg.solve(z.mT @ z + 3.0 * torch.eye(7, dtype=F64), z.mT @ t)
    torch.testing.assert_close(model.layers_.weights[0], expected, rtol=1e-10, atol=1e-10)
    a = torch.cat([torch.ones(400, 1, dtype=F64), torch.relu(z @ expected)], 1)
    last = torch.linalg.solve(a.mT @ a + 3.0 * torch.eye(71, dtype=F64), a.mT @ one_hot)
    torch.testing.assert_close(model.output_, last, rtol=1e-8, atol=1e-8)


def test_history_has_the_least_squares_distance_of_each_representation():
    from effdl_fast.metrics import least_squares_distance

    x, y = blobs()
    model = PlatonicMLP((20, 10), l2=0.0, seed=0, track_accuracy=True).fit(x, y)
    assert [r.width for r in model.history_] == [6, 20, 10]
    z = x
    for record, w in zip(model.history_, [*model.layers_.weights, None], strict=True):
        assert record.lsd == pytest.approx(float(least_squares_distance(z, y, bias=True)), rel=1e-8)
        assert record.condition > 1 and 0.25 < record.accuracy <= 1 and record.l2 == 0
        z = z if w is None else torch.relu(torch.addmm(w[0], z, w[1:]))
    assert model.history_[-1].accuracy == pytest.approx(model.score(x, y))


def test_the_best_try_is_kept():
    x, y = values()
    one = [PlatonicMLP((8,), seed=3, beta=1.0).fit(x, y).history_[-1].lsd]
    many = PlatonicMLP((8,), seed=3, tries=12, beta=1.0).fit(x, y)
    g = torch.Generator().manual_seed(3)
    p = torch.randn(12, 6, 8, generator=g, dtype=F64)
    each = []
    for single in p:
        z = torch.cat([torch.ones(500, 1, dtype=F64), x], 1)
        w = torch.linalg.pinv(z) @ (torch.cat([z, y], 1) @ single)
        a = torch.cat([torch.ones(500, 1, dtype=F64), torch.relu(z @ w)], 1)
        each.append(float((y - a @ torch.linalg.pinv(a) @ y).square().sum() / 500))
    assert many.history_[-1].lsd == pytest.approx(min(each), rel=1e-4)  # by the default ridge, not by pinv
    assert many.history_[-1].lsd <= min(one) and max(each) > 1.01 * min(each)


def test_a_sinusoid():
    """Fig. 7.4: 1-16-16-1 with CELU; MSE 2e-5 there."""
    x = torch.linspace(-1, 1, 5000, dtype=F64)[:, None]
    y = torch.sin(2 * math.pi * x)
    errors = [
        PlatonicMLP((16, 16), activation="celu", beta=1.0, l2=0.0, seed=s).fit(x, y).history_[-1].lsd for s in range(9)
    ]
    assert sorted(errors)[4] < 1e-3 and min(errors) < 2e-4


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_ten_thousand_layers(dtype):
    x, y = values(m=60, dtype=dtype)
    model = PlatonicMLP((5,) * 10_000, activation="celu", alpha=0.1, beta=10.0, l2=1e-3, seed=0).fit(x, y)
    assert len(model.layers_.weights) == 10_000 and len(model.history_) == 10_001
    assert bool(torch.isfinite(model.predict(x)).all())


# ---- streamed ----

STREAMED = [
    {"hidden": (9, 7)},
    {"hidden": (80, 70)},
    {"hidden": (9, 7), "tries": 4},
    {"hidden": (80,), "tries": 3},
    {"hidden": (11, 9), "projection": "pca", "mixing": 0.0, "beta": 50.0},
    {"hidden": (20, 30, 12), "projection": "pca", "first": "sorted_pca", "ema": 0.2},
    {"hidden": (70, 80), "projection": "pca", "first": "sorted_pca", "ema": 0.2},
    {"hidden": (9, 7), "l2": "gcv"},
    {"hidden": (9, 7), "l2": "loo"},
    {"hidden": (9, 7), "activation": "gelu"},
    {"hidden": (9, 7), "solver": "pinv"},
    {"hidden": (9, 7), "solver": "lstsq"},
]


@pytest.mark.parametrize("options", STREAMED, ids=str)
def test_a_loader_gives_the_network_of_all_samples(options):
    x, y = blobs(m=700)
    model = PlatonicMLP(activation=options.pop("activation", "tanh"), seed=2, **{"beta": 2.0, **options})
    whole = PlatonicMLP(**model.get_params()).fit(x, y)
    close(PlatonicMLP(**model.get_params()).fit(Batches(x, y)), whole)
    loader = DataLoader(TensorDataset(x, y), batch_size=64)
    again = PlatonicMLP(**model.get_params()).fit(loader)
    close(again, whole)
    assert [r.width for r in again.history_] == [r.width for r in whole.history_]
    assert again.score(loader) == whole.score(x, y)


@pytest.mark.parametrize("first", [None, "sorted_pca"])
def test_the_order_of_a_loader_does_not_matter(first):
    x, y = blobs(m=300)
    model = PlatonicMLP((12, 8), first=first, seed=2, activation="tanh").fit(x, y)

    class Shuffled(Batches):
        def __iter__(self):
            self.order = torch.randperm(len(self.x))
            return super().__iter__()

    other = PlatonicMLP(**model.get_params()).fit(Shuffled(x, y))
    close(other, model, 1e-9)


def test_wide_nets_in_memory_store_no_representation(monkeypatch):
    from effdl_fast.solvers import _closed_form

    x, y = blobs(m=500)
    model = PlatonicMLP((70, 66), first="sorted_pca", projection="pca", ema=0.2, seed=1).fit(x, y)
    monkeypatch.setattr(_closed_form, "BUDGET", 0)
    close(PlatonicMLP(**model.get_params()).fit(x, y), model)


@pytest.mark.parametrize("options", [{}, {"projection": "pca"}, {"l2": "gcv"}], ids=str)
def test_partial_fit_and_next_layer_give_the_network_of_fit(options):
    x, y = blobs()
    whole = PlatonicMLP((9, 7), seed=4, activation="tanh", **options).fit(x, y)
    model = PlatonicMLP((9, 7), seed=4, activation="tanh", **options)
    for layer in range(3):
        for x_, y_ in Batches(x, y):
            model.partial_fit(x_, y_, classes=[0, 1, 2, 3])
            assert model.predict(x).shape == (400,) and len(model.history_) == layer + 1
        if layer < 2:
            model.next_layer()
    close(model, whole, 1e-7 if "l2" in options else 1e-10)  # the ridge of gcv lets the condition number be 1e9
    with pytest.raises(ValueError, match="next_layer: all 2 hidden layers are fitted"):
        model.next_layer()


def test_further_batches_improve_the_last_layer_exactly():
    x, y = values(m=600)
    model = PlatonicMLP((8,), seed=0).partial_fit(x[:300], y[:300]).next_layer().partial_fit(x[:300], y[:300])
    model.partial_fit(x[300:], y[300:])
    z = torch.cat([torch.ones(600, 1, dtype=F64), model.transform(x)], 1)
    expected = torch.linalg.solve(z.mT @ z + 1e-3 * torch.eye(9, dtype=F64), z.mT @ y)
    torch.testing.assert_close(model.output_, expected, rtol=1e-9, atol=1e-9)


def test_augmented_views_average_into_the_moments():
    x, y = values(m=200)
    views = torch.cat([x, x + 0.01])
    both = torch.cat([y, y])
    close(PlatonicMLP((6,), seed=0).fit(Batches(views, both, 200)), PlatonicMLP((6,), seed=0).fit(views, both))


# ---- the choice of l2 ----


def test_leave_one_out_is_exact():
    from effdl_fast.solvers._activation import resolve
    from effdl_fast.solvers._penalty import choose_l2, grid_of
    from effdl_fast.solvers._representation import Group, Stored

    x, y = values(m=40)
    y = y + torch.randn(40, 2, generator=torch.Generator().manual_seed(1), dtype=F64)
    z = torch.cat([torch.ones(40, 1, dtype=F64), x, x**2, x**3], 1)
    grid = grid_of(torch.linalg.eigvalsh(z.mT @ z))
    errors = []
    for l2 in grid:
        total = 0.0
        for i in range(40):
            keep = torch.arange(40) != i
            a = z[keep].mT @ z[keep] + l2 * torch.eye(10, dtype=F64)
            total += float((y[i] - z[i] @ torch.linalg.solve(a, z[keep].mT @ y[keep])).square().sum())
        errors.append(total)
    found = choose_l2(Stored(z[:, 1:], y, resolve("relu"), Group(), weigh=None), 2, "loo", "layer 1")
    assert found == pytest.approx(float(grid[torch.tensor(errors).argmin()]))


def test_cross_validation_takes_more_ridge_where_there_is_more_noise():
    x, y = values(m=80)
    noise = torch.randn(80, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    for how in ("gcv", "loo"):
        calm, noisy = (PlatonicMLP((60,), l2=how, seed=0).fit(x, y + s * noise).history_[-1].l2 for s in (0.0, 2.0))
        assert noisy > 10 * calm
        test_x, test_y = values(m=500, seed=9)
        chosen = PlatonicMLP((60,), l2=how, seed=0).fit(x, y + 0.5 * noise).score(test_x, test_y)
        assert chosen > PlatonicMLP((60,), l2=1e-9, seed=0).fit(x, y + 0.5 * noise).score(test_x, test_y)


# ---- PCA ----


def test_platonic_pca_are_the_components_of_the_augmented_matrix():
    from effdl_fast.solvers._projection import platonic_pca

    x, y = blobs()
    a = torch.cat([torch.ones(400, 1, dtype=F64), x, torch.nn.functional.one_hot(y).to(F64)], 1)
    scaled = torch.cat([a[:, :7], 30.0 * a[:, 7:]], 1)
    found = platonic_pca(a.mT @ a, 4, 30.0, 11)
    _, values_, vh = torch.linalg.svd(scaled, full_matrices=False)
    torch.testing.assert_close((found.mT @ vh.mT).abs(), torch.eye(11, dtype=F64), rtol=1e-6, atol=1e-6)
    t = scaled @ found
    assert bool((t.sum(0) >= 0).all())
    torch.testing.assert_close(t.norm(dim=0), values_, rtol=1e-8, atol=1e-8)
    with pytest.raises(ValueError, match="layer 1: Platonic PCA gives 11 units at most"):
        PlatonicMLP((12,), projection="pca", mixing=0.0).fit(x, y)


def test_mixed_pca_has_the_classes_first_and_the_share_of_y_that_was_asked_for():
    from effdl_fast.solvers._projection import mixed_pca

    x, y = blobs(m=3000)
    a = torch.cat([torch.ones(3000, 1, dtype=F64), x, torch.nn.functional.one_hot(y).to(F64)], 1)
    p = mixed_pca(a.mT @ a, 4, 1e7, 60, 3.0, torch.Generator().manual_seed(0))
    assert p.shape == (11, 60)
    t = a[:, 7:] @ p[7:, :4]
    assert sorted(t.argmax(1).unique().tolist()) == [0, 1, 2, 3] and bool((t >= -1e-12).all())
    z, own = (a[:, :7] @ p[:7, 4:]).square().mean(0).sqrt(), (1e7 * a[:, 7:] @ p[7:, 4:]).square().mean(0).sqrt()
    assert float((own / z).mean()) == pytest.approx(3.0, rel=0.25)


def test_sorted_pca_takes_the_samples_of_the_listing():
    """Fig. 7.14."""
    x, y = blobs(m=300)
    centred = x - x.mean(0)
    component = torch.linalg.svd(centred, full_matrices=False)[2][0]
    component = component * component[component.abs().argmax()].sign()
    order = torch.argsort(x @ component)
    picked = torch.arange(0, 299, 300 / 20).round().long()
    model = PlatonicMLP((20,), first="sorted_pca").fit(x, y)
    torch.testing.assert_close(model.layers_.weights[0][1:].mT, x[order[picked]], rtol=0, atol=0)
    assert bool((model.layers_.weights[0][0] == 0).all())


def test_deterministic_networks_do_not_depend_on_the_seed():
    x, y = blobs()
    options = {"projection": "pca", "first": "sorted_pca", "mixing": 0.0, "ema": 0.2}
    close(PlatonicMLP((12, 9), seed=0, **options).fit(x, y), PlatonicMLP((12, 9), seed=1, **options).fit(x, y), 0.0)


def test_seeds():
    x, y = blobs()
    same, other = (PlatonicMLP((6,), seed=s).fit(x, y) for s in (0, 1))
    close(PlatonicMLP((6,), seed=0).fit(x, y), same, 0.0)
    assert float((same.layers_.weights[0] - other.layers_.weights[0]).norm()) > 0.1


# ---- as a module ----


@pytest.mark.parametrize("activation", ["relu", "celu", torch.nn.Hardswish(), lambda z: z.clamp(-1, 1)])
def test_to_module(activation):
    x, y = blobs(dtype=torch.float32)
    model = PlatonicMLP((9, 7), activation=activation, seed=0).fit(x, y)
    module = model.to_module()
    torch.testing.assert_close(module(x), model.decision_function(x), rtol=1e-4, atol=1e-4)
    module(x).square().sum().backward()
    assert all(p.grad is not None for p in module.parameters()) and len(list(module.parameters())) == 6


def test_elm_has_random_hidden_weights_and_a_fitted_last_layer():
    x, y = blobs(m=2000)
    model = ELM((300,), seed=0, l2=1.0).fit(x, y)
    w = model.layers_.weights[0]
    assert w.shape == (7, 300) and abs(float(w.mean())) < 0.1 and float(w.std()) == pytest.approx(1.0, rel=0.05)
    z = torch.cat([torch.ones(2000, 1, dtype=F64), torch.relu(torch.addmm(w[0], x, w[1:]))], 1)
    one_hot = torch.nn.functional.one_hot(y).to(F64)
    torch.testing.assert_close(model.output_, torch.linalg.solve(z.mT @ z + torch.eye(301, dtype=F64), z.mT @ one_hot),
                               rtol=1e-6, atol=1e-8)  # fmt: skip
    assert PlatonicMLP((20,), seed=0).fit(x, y).score(x, y) > ELM((20,), seed=0).fit(x, y).score(x, y) - 0.02


def test_elm_by_batches():
    x, y = blobs()
    model = ELM((9, 8), seed=1)
    for layer in range(3):
        for x_, y_ in Batches(x, y):
            model.partial_fit(x_, y_, classes=range(4))
        assert len(model.history_) == layer + 1
        if layer < 2:
            model.next_layer()
    close(model, ELM((9, 8), seed=1).fit(x, y))
    assert len(ELM((9, 8)).fit(x, y).history_) == 1
