"""Pure Voronoi maps: purity by brute force in float64, few cells on the thesis's toy problems, what cannot be pure."""

import math

import pytest
import torch

from effdl_fast.metrics import PureVoronoi, condensed_nearest_neighbour, pure_entropy, pure_voronoi
from effdl_fast.metrics import _purity as purity_module


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def toy(name, n, seed=0, dtype=torch.float32):
    """The problems of Figures 5.11, 5.12 and 5.15, and two spirals."""
    g = seeded(seed)
    x = torch.rand(n, 2, generator=g, dtype=torch.float64)
    kind, _, size = name.partition(" ")
    if kind == "sinus":
        y = (x[:, 1] > 0.5 + 0.25 * torch.sin(2 * math.pi * int(size) * x[:, 0])).long()
    elif kind == "checkerboard":
        y = (x * int(size)).floor().long().sum(dim=1) % 2
    else:
        turn = torch.rand(n, generator=g, dtype=torch.float64).sqrt() * 3 * math.pi + 0.5
        y = torch.arange(n) % 2
        x = turn[:, None] * torch.stack([turn.cos(), turn.sin()], dim=1) * (1 - 2 * y)[:, None]
        x = x + 0.2 * torch.randn(n, 2, generator=g, dtype=torch.float64)
    return x.to(dtype), y


def check(found, x, y):
    """Definition 6 with strict inequality between labels, by differences in float64."""
    assert isinstance(found, PureVoronoi)
    x, centroids = x.flatten(1).double(), found.centroids.double()
    distance = torch.stack([(centroids - row).square().sum(dim=1) for row in x])
    same = y[:, None] == found.labels
    own = distance.masked_fill(~same, torch.inf).min(dim=1)
    assert bool((own.values < distance.masked_fill(same, torch.inf).min(dim=1).values).all())
    assert torch.equal(distance.gather(1, found.assignment[:, None])[:, 0], own.values)
    assert torch.equal(found.labels[found.assignment], y) and found.labels.dtype is y.dtype
    assert torch.equal(found.predict(x), y)
    assert torch.equal(found.labels, found.labels.sort().values)
    assert found.sizes.tolist() == torch.bincount(found.assignment, minlength=len(found)).tolist()
    assert int(found.sizes.min()) > 0 and int(found.sizes.sum()) == len(x)
    share = found.sizes.double() / len(x)
    assert float(found.entropy) == pytest.approx(float(-(share * share.log2()).sum()), abs=1e-12)


# The most cells that may come out; by Hart's rule there are 51, 94, 88 or more of them.
@pytest.mark.parametrize(
    ("name", "n", "most"),
    [
        ("sinus 1", 600, 9),
        ("sinus 2", 600, 13),
        ("sinus 4", 600, 22),
        ("checkerboard 4", 800, 18),
        ("spirals", 400, 13),
    ],
)
def test_few_cells_on_toy_problems(name, n, most):
    x, y = toy(name, n)
    found, greedy = pure_voronoi(x, y), condensed_nearest_neighbour(x, y)
    check(found, x, y)
    check(greedy, x, y)
    assert len(found) <= most and 2 * len(found) < len(greedy)
    assert float(found.entropy) < float(greedy.entropy) - 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("name", "most"), [("sinus 8", 60), ("checkerboard 8", 70)])
def test_few_cells_where_the_boundary_is_long(name, most):
    x, y = toy(name, 1000)
    found, greedy = pure_voronoi(x, y), condensed_nearest_neighbour(x, y)
    check(found, x, y)
    assert len(found) <= most and 3 * len(found) < len(greedy) and float(found.entropy) < float(greedy.entropy) - 1


def test_complexity_grows_with_the_frequency_of_the_boundary():
    found = [pure_voronoi(*toy(f"sinus {f}", 300), effort=1) for f in (1, 2, 4)]
    assert [len(v) for v in found] == sorted({len(v) for v in found})
    assert [float(v.entropy) for v in found] == sorted(float(v.entropy) for v in found)


def test_effort_takes_cells_away_and_restarts_keep_the_best():
    x, y = toy("sinus 1", 300)
    plain, less = pure_voronoi(x, y, effort=0), pure_voronoi(x, y)
    check(plain, x, y)
    assert len(less) < len(plain)
    several = pure_voronoi(x, y, effort=0, restarts=4, seed=3)
    check(several, x, y)
    assert len(several) < len(plain)
    assert torch.equal(several.centroids, pure_voronoi(x, y, effort=0, restarts=4, seed=3).centroids)
    assert float(pure_entropy(x, y)) == float(less.entropy)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8])
def test_any_dtype_any_labels(dtype):
    g = seeded(1)
    x = torch.randint(0, 200, (150, 3, 2), generator=g).to(dtype)
    y = (x.flatten(1).double().mean(dim=1) / 40).to(torch.int16) * 100 - 300
    for found in (pure_voronoi(x, y), condensed_nearest_neighbour(x, y, generator=0)):
        check(found, x, y)
        assert found.centroids.dtype is (torch.float64 if dtype is torch.float64 else torch.float32)
    state = torch.random.get_rng_state()
    assert torch.equal(pure_voronoi(x, y).centroids, pure_voronoi(x, y).centroids)
    assert torch.equal(state, torch.random.get_rng_state())


def test_labels_at_random():
    x = torch.rand(80, 2, generator=seeded(2))
    y = torch.randint(0, 4, (80,), generator=seeded(3))
    found = pure_voronoi(x, y)
    check(found, x, y)
    assert len(found) < len(condensed_nearest_neighbour(x, y))
    check(line := pure_voronoi(x[:, :1], y % 2, effort=0), x[:, :1], y % 2)
    assert len(line) <= len(condensed_nearest_neighbour(x[:, :1], y % 2))


def test_duplicates_and_few_samples():
    x = torch.randint(0, 4, (100, 1), generator=seeded(4)).float()
    check(pure_voronoi(x, (x[:, 0] > 1).long()), x, (x[:, 0] > 1).long())
    check(pure_voronoi(x, x[:, 0].long()), x, x[:, 0].long())
    one = pure_voronoi(x, torch.full((100,), 7))
    assert len(one) == 1 and one.labels.tolist() == [7] and float(one.entropy) == 0
    single = pure_voronoi(torch.ones(1, 3), torch.tensor([True]))
    assert len(single) == 1 and single.labels.tolist() == [True]
    two = pure_voronoi(torch.tensor([[0.0], [1.0]]), torch.tensor([5, 2]))
    check(two, torch.tensor([[0.0], [1.0]]), torch.tensor([5, 2]))
    ring = torch.tensor([[-1.0], [0.0], [1.0]])  # the mean of the one class is the sample of the other
    check(pure_voronoi(ring, torch.tensor([0, 1, 0])), ring, torch.tensor([0, 1, 0]))
    far = torch.tensor([[1e6], [1e6 + 1], [1e6 + 2], [-1e6]])
    check(pure_voronoi(far, torch.tensor([0, 1, 0, 1])), far, torch.tensor([0, 1, 0, 1]))
    scales = torch.tensor([[0.0], [1e-30], [1e-20], [1.0], [1e15]], dtype=torch.float64)
    check(pure_voronoi(scales, torch.arange(5) % 2), scales, torch.arange(5) % 2)


@pytest.mark.parametrize("find", [pure_voronoi, condensed_nearest_neighbour])
@pytest.mark.parametrize(
    ("scale", "dtype"), [(1e-60, torch.float64), (1e140, torch.float64), (1e-30, torch.float32), (1e30, torch.float32)]
)
def test_any_magnitude(find, scale, dtype):
    x, y = toy("sinus 1", 60, dtype=torch.float64)
    x = ((x + 0.5) * scale).to(dtype)
    found = find(x, y)
    check(found, x, y)
    assert len(found) < 30


@pytest.mark.parametrize("find", [pure_voronoi, condensed_nearest_neighbour])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_near_the_largest_of_float32(find, dtype):
    x, y = toy("sinus 1", 60, dtype=torch.float64)
    for shift in (0.0, 0.5, 1.0):  # one sign, both signs
        large = ((x - shift) * 3e38).to(dtype)
        found = find(large, y)
        check(found, large, y)
        assert len(found) < 30 and bool(torch.isfinite(found.centroids).all())
        one = find(large, torch.zeros_like(y))
        if find is pure_voronoi:
            torch.testing.assert_close(one.centroids[0].double(), large.double().mean(0), rtol=1e-5, atol=0)
        assert len(one) == 1 and bool(torch.isfinite(one.centroids).all())


@pytest.mark.parametrize("find", [pure_voronoi, condensed_nearest_neighbour])
def test_what_cannot_be_pure(find):
    x = torch.tensor([[1.0, 0.0], [2.0, 2.0], [1.0, -0.0], [2.0, 2.0]])
    with pytest.raises(ValueError, match=r"rows 0 and 2 of x are equal, but their labels are 3 and 4"):
        find(x, torch.tensor([3, 9, 4, 9]))
    with pytest.raises(ValueError, match=r"must not be larger than"):
        find(x.double() * 1e151, torch.tensor([3, 9, 3, 9]))
    with pytest.raises(ValueError, match=r"rows 1 and 3"):
        find(x.bfloat16(), torch.tensor([3, 9, 3, 8]))
    near = torch.tensor([[0.0], [1e-170], [1.0]], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"too near to one of another label"):
        find(near, torch.tensor([0, 1, 1]))


def test_a_tie_between_labels_is_impure():
    x = torch.tensor([[0.0], [3.0]])
    centroids = torch.tensor([[-1.0], [1.0], [5.0]])
    owner = torch.tensor([0, 1])
    assert purity_module.impure(x, owner, centroids, torch.tensor([0, 1, 1])).tolist() == [True, False]
    assert purity_module.impure(x, owner, centroids, torch.tensor([0, 0, 1])).tolist() == [False, True]
    assert purity_module.assign(x, centroids).tolist() == [0, 1]


def test_near_ties_are_decided_by_differences(monkeypatch):
    """Far from the origin the products cannot tell which centroid is nearer."""
    g = seeded(5)
    x = 1e7 + torch.rand(200, 3, generator=g, dtype=torch.float64)
    centroids = 1e7 + torch.rand(20, 3, generator=g, dtype=torch.float64)
    centroids = torch.cat([centroids, centroids + 1e-9 * torch.randn(20, 3, generator=g, dtype=torch.float64)])
    distance = torch.stack([(centroids - row).square().sum(dim=1) for row in x])
    assert torch.equal(purity_module.assign(x, centroids), distance.argmin(dim=1))
    monkeypatch.setattr(purity_module, "blocks", lambda rows, width: [(b, min(rows, b + 3)) for b in range(0, rows, 3)])
    assert torch.equal(purity_module.assign(x, centroids), distance.argmin(dim=1))


def test_condensed_is_the_rule_of_hart():
    x, y = toy("sinus 2", 150, dtype=torch.float64)
    kept = [0]
    changed = True
    while changed:
        changed = False
        for i in range(len(x)):
            distance = (x[kept] - x[i]).square().sum(dim=1)
            if i not in kept and y[kept][distance.argmin()] != y[i]:
                kept.append(i)
                changed = True
    found = condensed_nearest_neighbour(x, y)
    assert sorted(map(tuple, found.centroids.tolist())) == sorted(map(tuple, x[kept].tolist()))
    assert not torch.equal(found.centroids, condensed_nearest_neighbour(x, y, generator=1).centroids)


def test_options_and_predict():
    x, y = toy("sinus 1", 50)
    for call, message in [
        (lambda: pure_voronoi(x, y, effort=-1), "effort must not be negative"),
        (lambda: pure_voronoi(x, y, effort=math.nan), "effort must be finite"),
        (lambda: pure_voronoi(x, y, restarts=0), "restarts must be from 1"),
        (lambda: pure_voronoi(x, y, seed=-1), "seed must be from 0"),
        (lambda: pure_voronoi(x, y).predict(torch.zeros(1, 3)), "must have 2 features"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
