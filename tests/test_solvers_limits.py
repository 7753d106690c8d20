"""PlatonicMLP on data that is hardly to be fitted, with parameters that cannot be, and widths that grow."""

import math

import pytest
import torch

from effdl_fast.solvers import ELM, Grow, PlatonicMLP

from ._platonic import F64, Batches, blobs, close, values

# ---- bad data ----


def test_float32_moments_that_are_ill_conditioned_are_taken_anew():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(3000, 70, generator=g)
    x = torch.cat([x, x[:, :5] + 1e-4 * torch.randn(3000, 5, generator=g)], 1)
    y = x[:, 70:75].double().sum(1, keepdim=True).float() - x[:, :5].sum(1, keepdim=True)
    model = PlatonicMLP((), l2=0.0).fit(x, y)
    z = torch.cat([torch.ones(3000, 1, dtype=F64), x.double()], 1)
    best = float((y - z @ torch.linalg.lstsq(z, y.double()).solution).square().sum() / 3000)
    assert model.history_[0].lsd <= 1.01 * best + 1e-12


def test_a_nearly_singular_representation_goes_by_its_triangular_factor():
    x, _ = values(m=300)
    x = torch.cat([x, x[:, :1] + 1e-9 * x[:, 1:2].sin()], 1)
    y = x[:, 1:2].sin()
    model = PlatonicMLP((), l2=0.0).fit(x, y)
    assert model.history_[0].route == "triangle"
    z = torch.cat([torch.ones(300, 1, dtype=F64), x], 1)
    reference = torch.linalg.lstsq(z, y, driver="gelsd").solution
    assert float((model.predict(x) - z @ reference).norm()) < 1e-6 * float(y.norm())


@pytest.mark.parametrize("width", [8, 80])
@pytest.mark.parametrize("solver", ["ridge", "pinv", "lstsq"])
@pytest.mark.parametrize("kind", ["constant", "duplicates", "few", "one", "zero", "wide"])
def test_degenerate_data_have_a_finite_network(kind, solver, width):
    x, y = values(m=100)
    x = {
        "constant": torch.cat([x, torch.full((100, 1), 3.0, dtype=F64)], 1),
        "duplicates": torch.cat([x, x], 1),
        "few": x[:4],
        "one": x[:1],
        "zero": torch.zeros_like(x),
        "wide": torch.randn(5, 90, generator=torch.Generator().manual_seed(0), dtype=F64),
    }[kind]
    y = y[: len(x)]
    for l2 in (0.0, 1e-3):
        model = PlatonicMLP((width, 6), solver=solver, l2=l2, seed=0).fit(x, y)
        out = model.predict(x)
        assert bool(torch.isfinite(out).all())
        if kind in ("few", "one", "wide") and l2 == 0 and width == 80 and solver != "lstsq":
            hidden = PlatonicMLP((80,), solver=solver, l2=0.0, seed=0, activation="tanh").fit(x, y)
            torch.testing.assert_close(hidden.predict(x), y, rtol=1e-6, atol=1e-6)  # as many units as samples
        if kind == "zero":
            torch.testing.assert_close(out, y.mean(0).expand_as(y), rtol=1e-4, atol=1e-4)


def test_one_class():
    x, _ = blobs()
    for make in (PlatonicMLP, ELM):
        model = make((5,), seed=0).fit(x, torch.full((400,), 7))
        assert set(model.predict(x).tolist()) == {7} and model.score(x, torch.full((400,), 7)) == 1.0


def test_what_overflows_names_its_layer():
    x, y = values(dtype=torch.float32)
    with pytest.raises(ValueError, match=r"^layer [2-9]: NaN or infinity; smaller alpha, beta"):
        PlatonicMLP((8,) * 9, activation="identity", alpha=1e12, beta=1.0).fit(x, y)


@pytest.mark.parametrize("streamed", [False, True])
def test_nan_names_its_row(streamed):
    x, y = values()
    x[17, 2] = math.nan
    with pytest.raises(ValueError, match="X contains NaN or infinity, in row 17"):
        PlatonicMLP((4,)).fit(Batches(x, y, 500)) if streamed else PlatonicMLP((4,)).fit(x, y)
    x, y = values()
    y[3] = math.inf
    with pytest.raises(ValueError, match="y contains NaN or infinity, in row 3"):
        PlatonicMLP((4,)).fit(x, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": (0,)}, "hidden must be from 1"),
        ({"hidden": (2.5,)}, "hidden must be an integer"),
        ({"hidden": "12"}, "hidden must be a width"),
        ({"activation": "rule"}, "activation must be one of"),
        ({"activation": 3}, "activation must be a name"),
        ({"projection": "svd"}, "projection must be one of"),
        ({"first": "pca"}, "first must be one of"),
        ({"solver": "qr"}, "solver must be one of"),
        ({"alpha": math.inf}, "alpha must be finite"),
        ({"beta": "x"}, "beta must be a number"),
        ({"l2": -1}, "l2 must be at least 0"),
        ({"l2": "cv"}, "l2 must be one of"),
        ({"tries": 0}, "tries must be from 1"),
        ({"ema": 1.5}, "ema must be from 0 to 1"),
        ({"mixing": -1.0}, "mixing must be at least 0"),
        ({"atol": -1.0}, "atol must be at least 0"),
        ({"task": "ranking"}, "task must be one of"),
        ({"seed": -1}, "seed must be from 0"),
        ({"dtype": torch.int64}, "dtype must be"),
    ],
    ids=str,
)
def test_wrong_parameters_are_named(options, message):
    x, y = values(m=20)
    with pytest.raises((TypeError, ValueError), match=message):
        PlatonicMLP(**{"hidden": (3,), **options}).fit(x, y)


def test_wrong_loaders():
    x, y = values(m=20)
    with pytest.raises(TypeError, match="several times"):
        PlatonicMLP((3,)).fit(iter([(x, y)]))
    with pytest.raises(ValueError, match="gave no samples"):
        PlatonicMLP((3,)).fit(type("Nothing", (), {"__iter__": lambda self: iter(())})())

    class Fewer(Batches):
        passes = 0

        def __iter__(self):
            self.passes += 1
            return ((self.x[i], self.y[i]) for i in torch.arange(len(self.x) - 3 * (self.passes > 3)).split(7))

    with pytest.raises(ValueError, match="samples, but 20 in an earlier pass"):
        PlatonicMLP((3, 3, 3)).fit(Fewer(x, y))
    with pytest.raises(AttributeError, match="partial_fit: ema, first"):
        PlatonicMLP((3,), first="sorted_pca").partial_fit(x, y)
    with pytest.raises(ValueError, match="call partial_fit first"):
        PlatonicMLP((3,)).next_layer()


# ---- widths that grow ----


@pytest.mark.parametrize("options", [{}, {"first": "sorted_pca"}, {"projection": "pca"}, {"tries": 3}], ids=str)
def test_a_layer_grows_until_its_distance_stops_falling(options):
    x, y = blobs(m=600)
    grow = Grow(start=4, most=128, tol=0.1)
    model = PlatonicMLP((grow, 6), seed=0, **options).fit(x, y)
    width = model.layers_.weights[0].shape[1]
    assert width in (4, 8, 16, 32, 64, 128) and model.layers_.weights[1].shape == (width + 1, 6)
    assert [r.width for r in model.history_] == [6, width, 6]
    assert PlatonicMLP((Grow(4, 2.0, 128, 0.0),), seed=0, **options).fit(x, y).layers_.weights[0].shape[1] >= width
    assert PlatonicMLP((Grow(4, 2.0, 128, 0.9),), seed=0, **options).fit(x, y).layers_.weights[0].shape[1] == 4
    close(PlatonicMLP((grow, 6), seed=0, **options).fit(Batches(x, y)), model, 1e-8)


def test_how_widths_grow():
    assert list(Grow(3, 1.5, 10).widths()) == [3, 5, 8, 10]
    for wrong, message in ((Grow(0), "start"), (Grow(9, most=8), "most"), (Grow(factor=1.0), "factor"),
                           (Grow(tol=1.0), "tol")):  # fmt: skip
        with pytest.raises(ValueError, match=f"{message} of Grow"):
            PlatonicMLP((wrong,)).fit(*values(m=20))


@pytest.mark.parametrize("solver", ["ridge", "pinv"])
def test_tries_where_moments_are_singular(solver):
    x, y = values(m=60)
    model = PlatonicMLP((100, 90), solver=solver, l2=0.0, tries=3, seed=0).fit(x, y)
    torch.testing.assert_close(model.predict(x), y, rtol=1e-5, atol=1e-5)
