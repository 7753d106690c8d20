"""Metrics of a representation and of weights, against their definitions in NumPy and float64."""

import math

import numpy as np
import pytest
import torch

import effdl_fast as ef
from effdl_fast.metrics import (
    conditional_entropy,
    gradient_rms,
    k_redundancy,
    least_squares_distance,
    numerical_rank,
    representational_entropy,
    selections,
    softmax_normaliser,
    stable_rank,
)
from effdl_fast.metrics import least_squares as least_squares_module

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def one_hot(y):
    return torch.nn.functional.one_hot(y.unique(return_inverse=True)[1]).double()


def lsd(z, y):
    """Equation 5.3 as it stands."""
    z, y = np.asarray(z, dtype=np.float64), np.asarray(y, dtype=np.float64)
    return np.square(y - z @ (np.linalg.pinv(z, rcond=max(z.shape) * 2.2e-16) @ y)).sum() / len(z)


def entropy(counts):
    p = np.asarray(counts, dtype=np.float64)
    p = p[p > 0] / p.sum()
    return float(-(p * np.log2(p)).sum())


# ---- least squares distance ----


def representations():
    g = seeded(1)
    tall = torch.randn(300, 12, generator=g)
    yield "moments", tall
    yield "relu with dead units", torch.cat([tall.relu(), torch.zeros(300, 3)], dim=1)
    yield "square", torch.randn(40, 40, generator=g)
    yield "a little tall", torch.randn(45, 30, generator=g)
    yield "wide", torch.randn(20, 50, generator=g)
    yield "wide, low rank", (torch.randn(20, 6, generator=g).double() @ torch.randn(6, 50, generator=g).double())
    yield "duplicate columns", torch.cat([tall, tall[:, :5]], dim=1)
    yield "constant columns", torch.cat([tall, torch.ones(300, 2), torch.full((300, 1), -3.0)], dim=1)
    yield "duplicate rows", tall[:150].repeat(2, 1)
    yield "badly scaled", tall.double() * torch.logspace(-6, 6, 12, dtype=torch.float64)
    yield (
        "nearly dependent",
        torch.cat([tall.double(), tall[:, :1].double() + 1e-7 * torch.randn(300, 1, generator=g)], 1),
    )
    yield "one column", tall[:, :1]
    yield "zero", torch.zeros(30, 4)


@pytest.mark.parametrize(("name", "z"), list(representations()), ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.parametrize("bias", [False, True])
def test_least_squares_distance_is_that_of_the_pseudo_inverse(name, z, bias):
    y = torch.randint(0, 5, (len(z),), generator=seeded(2))
    full = torch.cat([z.double(), torch.ones(len(z), 1, dtype=torch.float64)], dim=1) if bias else z
    got = least_squares_distance(z, y, bias=bias)
    assert got.dtype is torch.float64 and got.shape == ()
    assert float(got) == pytest.approx(lsd(full, one_hot(y)), rel=1e-8, abs=1e-12)


def test_least_squares_distance_takes_the_quick_way_only_where_it_is_exact(monkeypatch):
    answers = []
    quick = least_squares_module._moment_residual
    monkeypatch.setattr(
        least_squares_module, "_moment_residual", lambda *args: answers.append(quick(*args)) or answers[-1]
    )
    g = seeded(3)
    y = torch.randint(0, 4, (500,), generator=g)
    z = torch.randn(500, 20, generator=g, dtype=torch.float64)
    least_squares_distance(z, y)
    assert answers.pop() is not None
    # The columns of Y lie in the range of Z: what is left is far below the rounding of Y'Y.
    reachable = torch.cat([z, one_hot(y) + 1e-9 * torch.randn(500, 4, generator=g, dtype=torch.float64)], dim=1)
    got = least_squares_distance(reachable, y)
    assert answers.pop() is None
    assert float(got) == pytest.approx(lsd(reachable, one_hot(y)), rel=1e-4) and 0 < float(got) < 1e-15
    least_squares_distance(torch.cat([z, z[:, :1] + 1e-6 * z[:, 1:2]], dim=1), y)
    assert answers.pop() is None


def test_least_squares_distance_drops_small_columns_as_the_pseudo_inverse_does():
    g = seeded(4)
    y = torch.randint(0, 2, (200,), generator=g)
    z = torch.randn(200, 4, generator=g, dtype=torch.float64)
    z[:, 3] = (y - 0.5) * 1e-18  # all that is known of y, in a column that does not count
    expected = lsd(z, one_hot(y))
    assert expected > 0.9
    assert float(least_squares_distance(z, y)) == pytest.approx(expected, rel=1e-9)
    assert float(least_squares_distance(z, y, rtol=200 * 2.2e-16)) == pytest.approx(expected, rel=1e-9)
    z[:, 3] *= 1e14  # now it does
    assert float(least_squares_distance(z, y)) == pytest.approx(lsd(z, one_hot(y)), rel=1e-8)


@pytest.mark.parametrize("scale", [1e-140, 1e-147, 1e-160, 1e-170, 1e150])
def test_least_squares_distance_of_any_magnitude(scale):
    g = seeded(4)
    y = torch.randint(0, 3, (200,), generator=g)
    z = torch.randn(200, 5, generator=g, dtype=torch.float64)
    z[:, 2] = 0
    expected = float(least_squares_distance(z, y))
    assert float(least_squares_distance(z * scale, y)) == pytest.approx(expected, rel=1e-9)


def test_least_squares_distance_of_rows_that_are_independent_is_zero():
    z = torch.randn(30, 80, generator=seeded())
    assert float(least_squares_distance(z, torch.arange(30) % 7)) == 0


def test_least_squares_distance_of_a_low_rank_with_rtol():
    g = seeded(5)
    z = (torch.randn(200, 6, generator=g) @ torch.randn(6, 30, generator=g)).float()  # rank 6 but for rounding
    y = torch.randint(0, 3, (200,), generator=g)
    left, values, _ = np.linalg.svd(z.double().numpy(), full_matrices=False)
    assert values[6] < 1e-5 * values[0]
    target = one_hot(y).numpy()
    expected = np.square(target - left[:, :6] @ (left[:, :6].T @ target)).sum() / 200
    assert float(least_squares_distance(z, y, rtol=1e-5)) == pytest.approx(expected, rel=1e-10)
    assert float(least_squares_distance(z.T[:, :20], y[:30], rtol=1e-5)) == pytest.approx(
        float(least_squares_distance(z.T[:, :20].double(), y[:30], rtol=1e-5)), rel=1e-10
    )


def test_least_squares_distance_of_dense_targets():
    g = seeded(6)
    z, y = torch.randn(100, 7, generator=g), torch.randn(100, 3, generator=g)
    assert float(least_squares_distance(z, y)) == pytest.approx(lsd(z, y), rel=1e-10)
    assert float(least_squares_distance(z, y[:, 0])) == pytest.approx(lsd(z, y[:, :1]), rel=1e-10)
    labels = torch.randint(0, 3, (100,), generator=g)
    dense = least_squares_distance(z, one_hot(labels))
    assert float(dense) == pytest.approx(float(least_squares_distance(z, labels)), rel=1e-12)
    assert float(least_squares_distance(z[:, :0], labels)) == 1  # nothing to predict from


def test_least_squares_distance_in_blocks(monkeypatch):
    g = seeded(7)
    y = torch.randint(0, 4, (257,), generator=g)
    # by moments, by rows, by columns
    inputs = [torch.randn(257, 20, generator=g), torch.randn(257, 120, generator=g), torch.randn(257, 900, generator=g)]
    inputs[2][:, 5:] = inputs[2][:, :5].repeat(1, 179)
    whole = [float(least_squares_distance(z, y)) for z in inputs]
    monkeypatch.setattr(
        least_squares_module, "blocks", lambda rows, width: [(b, min(rows, b + 13)) for b in range(0, rows, 13)]
    )
    for z, expected in zip(inputs, whole, strict=True):
        assert float(least_squares_distance(z, y)) == pytest.approx(expected, rel=1e-10)
        assert expected == pytest.approx(lsd(z, one_hot(y)), rel=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
def test_metrics_read_any_dtype_as_its_values(dtype):
    g = seeded(8)
    z = torch.randint(0, 9, (60, 3, 2, 2), generator=g).to(dtype)
    y = torch.randint(0, 3, (60,), generator=g)
    wide = z.double()
    for metric in (
        least_squares_distance,
        lambda z, y: k_redundancy(z, y, 2),
        lambda z, y: conditional_entropy(z, y).mean,
        lambda z, y: representational_entropy(z),
        lambda z, y: representational_entropy(z, kernel="gaussian"),
    ):
        assert float(metric(z, y)) == pytest.approx(float(metric(wide, y)), rel=1e-12)
        assert float(metric(z, y.to(torch.int16))) == float(metric(z, y))
        assert float(metric(z.transpose(1, 3).contiguous().transpose(1, 3), y)) == pytest.approx(float(metric(z, y)))
    assert float(least_squares_distance(wide.numpy(), y.numpy())) == float(least_squares_distance(wide, y))


# ---- k-redundancy ----


def test_k_redundancy_counts_neighbours():
    g = seeded(9)
    z = torch.randn(120, 4, generator=g)
    y = (z[:, 0] > 0.3).long() + 2 * (z[:, 1] > 0).long()
    distance = torch.cdist(z.double(), z.double()).fill_diagonal_(torch.inf)
    order = distance.argsort(dim=1)
    shares = {k: float((y[order[:, :k]] == y[:, None]).all(dim=1).double().mean()) for k in (1, 3, 10)}
    assert 0 < shares[10] < shares[1] < 1
    got = k_redundancy(z, y, [1, 3, 10])
    assert got.dtype is torch.float64 and got.tolist() == pytest.approx(list(shares.values()))
    one = k_redundancy(z, y, 3)
    assert one.shape == () and float(one) == pytest.approx(shares[3])
    assert k_redundancy(z, y, torch.tensor([3])).shape == (1,)


def test_k_redundancy_in_mini_batches_is_what_k_filter_removes():
    g = seeded(10)
    z = torch.rand(300, 2, generator=g)
    y = (z[:, 0] > 0.5).long()
    kept = ef.metrics.k_filter(z, y, 4, 100, generator=3)
    assert float(k_redundancy(z, y, 4, batch_size=100, generator=3)) == pytest.approx(1 - len(kept) / 300)
    assert float(k_redundancy(z, y, 4, batch_size=100, generator=3)) < float(k_redundancy(z, y, 4))


# ---- selections and conditional entropy ----


def test_selections():
    z = torch.tensor([[-1.0, 0.0, 0.5], [2.0, 7.0, -0.0]])
    assert selections(z).tolist() == [[False, False, True], [True, True, False]]
    assert selections(z, 0.5).tolist() == [[False, False, False], [True, True, False]]
    assert selections(z, (0, 6)).tolist() == [[False, False, True], [True, False, False]]
    maps = torch.tensor([[[[0.0, 1.0]], [[0.0, 0.0]]]])  # (1, 2, 1, 2)
    assert selections(maps).tolist() == [[False, True, False, False]]
    assert selections(maps, maps="channels").tolist() == [[True, False]]
    assert selections(z[:, 0]).shape == (2, 1) and selections(z[:0]).shape == (0, 3)


@pytest.mark.parametrize("maps", ["units", "channels"])
def test_conditional_entropy_is_that_of_the_selected_classes(maps, monkeypatch):
    g = seeded(11)
    z = torch.randn(200, 4, 3, 2, generator=g).relu()
    z[:, 1] = 0  # dead
    y = torch.randint(0, 5, (200,), generator=g) * 7 - 3
    selected = selections(z, maps=maps)
    expected = [entropy(np.bincount(y[s].numpy() + 3, minlength=40)) if s.any() else math.nan for s in selected.T]
    got = conditional_entropy(z, y, maps=maps)
    assert got.per_feature.tolist() == pytest.approx(expected, nan_ok=True)
    assert got.sizes.tolist() == selected.sum(dim=0).tolist()
    alive = [(h, int(n)) for h, n in zip(expected, got.sizes, strict=True) if n]
    assert len(alive) < len(expected)
    assert float(got.mean) == pytest.approx(np.mean([h for h, _ in alive]))
    assert float(got.weighted_mean) == pytest.approx(np.average([h for h, _ in alive], weights=[n for _, n in alive]))
    monkeypatch.setattr(
        "effdl_fast.metrics.selection.blocks", lambda rows, width: [(b, min(rows, b + 7)) for b in range(0, rows, 7)]
    )
    assert torch.equal(conditional_entropy(z, y, maps=maps).sizes, got.sizes)


def test_conditional_entropy_of_known_selections():
    y = torch.arange(8) % 4
    one_class, everything, two = (y == 2).float(), torch.ones(8), (y < 2).float()
    got = conditional_entropy(torch.stack([one_class, everything, two], dim=1), y)
    assert got.per_feature.tolist() == [0, 2, 1] and float(got.mean) == 1
    dead = conditional_entropy(torch.zeros(8, 2), y)
    assert math.isnan(float(dead.mean)) and math.isnan(float(dead.weighted_mean)) and dead.sizes.tolist() == [0, 0]


# ---- representational entropy ----


def test_representational_entropy_of_known_representations():
    y = torch.tensor([0] * 40 + [1] * 20 + [2] * 4)
    classes = torch.eye(3)[y] * torch.tensor([5.0, 1.0, 0.1])[y][:, None]
    assert float(representational_entropy(classes)) == pytest.approx(entropy([40, 20, 4]))
    assert float(representational_entropy(torch.eye(3)[y] * 1e3, kernel="gaussian", width=0.05)) == pytest.approx(
        entropy([40, 20, 4])
    )
    for kernel in ("cosine", "gaussian"):
        assert float(representational_entropy(torch.ones(50, 4), kernel=kernel)) == pytest.approx(0, abs=1e-9)
        assert float(representational_entropy(torch.zeros(50, 4), kernel=kernel)) == pytest.approx(0, abs=1e-9)
    assert float(representational_entropy(torch.eye(16))) == pytest.approx(4)
    assert float(representational_entropy(torch.eye(16), kernel="gaussian", width=0.05)) == pytest.approx(4)
    # zero samples are a direction of their own, whichever side of the Gram matrix is smaller
    some = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).repeat(10, 1)
    assert float(representational_entropy(some)) == pytest.approx(1)
    assert float(representational_entropy(torch.cat([some, torch.zeros(20, 60)], dim=1))) == pytest.approx(1)


def test_representational_entropy_is_that_of_the_gram_matrix():
    z = torch.randn(50, 9, generator=seeded(12))
    unit = torch.nn.functional.normalize(z.double(), dim=1)
    values = np.linalg.eigvalsh((unit @ unit.T / 50).numpy()).clip(0)
    assert float(representational_entropy(z)) == pytest.approx(entropy(values), rel=1e-9)
    assert float(representational_entropy(z * 1e18)) == pytest.approx(entropy(values), rel=1e-6)
    assert float(representational_entropy(z, alpha=2)) == pytest.approx(-math.log2(np.square(values).sum()), rel=1e-9)
    squares = torch.cdist(z.double(), z.double()).square()
    gaussian = np.linalg.eigvalsh(torch.exp(-squares / (2 * 0.3**2 * squares.mean())).numpy() / 50).clip(0)
    got = representational_entropy(z, kernel="gaussian", width=0.3)
    assert float(got) == pytest.approx(entropy(gaussian), rel=1e-9)
    several = [float(representational_entropy(z, alpha=a)) for a in (0.5, 0.999, 1, 1.001, 3)]
    assert several == sorted(several, reverse=True) and several[1] == pytest.approx(several[3], rel=1e-2)


def test_representational_entropy_of_orders_near_1_and_large():
    z = torch.randn(50, 9, generator=seeded(12))
    one = float(representational_entropy(z))
    for alpha in (1 - 1e-12, 1 + 1e-15, 1 + 1e-9, 1 + 2e-6, 1 - 2e-6):
        assert float(representational_entropy(z, alpha=alpha)) == pytest.approx(one, rel=1e-5)
    unit = torch.nn.functional.normalize(z.double(), dim=1)
    least = -math.log2(np.linalg.eigvalsh((unit @ unit.T / 50).numpy()).max())
    for alpha in (400.0, 1e4, 1e8):
        assert float(representational_entropy(z, alpha=alpha)) == pytest.approx(least * alpha / (alpha - 1), rel=1e-6)
    assert float(representational_entropy(torch.eye(16), alpha=1e4)) == pytest.approx(4)


@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e200, 1e307])
@pytest.mark.parametrize("kernel", ["cosine", "gaussian"])
def test_representational_entropy_of_any_magnitude(kernel, scale):
    for shape in ((30, 4), (5, 40)):
        z = torch.randn(*shape, generator=seeded(12), dtype=torch.float64)
        expected = float(representational_entropy(z, kernel=kernel))
        assert float(representational_entropy(z * scale, kernel=kernel)) == pytest.approx(expected, rel=1e-9)


def test_representational_entropy_of_many_samples_draws_some():
    z = torch.randn(300, 4, generator=seeded(13))
    state = torch.random.get_rng_state()
    first, again = (representational_entropy(z, max_samples=50) for _ in range(2))
    assert torch.equal(first, again) and torch.equal(state, torch.random.get_rng_state())
    assert not torch.equal(first, representational_entropy(z, max_samples=50, generator=1))
    assert float(first) == pytest.approx(float(representational_entropy(z)), abs=0.1)


# ---- weights, logits, gradients ----


def test_ranks():
    g = seeded(14)
    w = torch.randn(20, 5, generator=g) @ torch.randn(5, 30, generator=g)
    values = np.linalg.svd(w.double().numpy(), compute_uv=False)
    assert float(stable_rank(w)) == pytest.approx(np.square(values).sum() / values[0] ** 2, rel=1e-10)
    assert int(numerical_rank(w)) == 5 and int(numerical_rank(w.double())) > 5 and int(numerical_rank(w, 0.9)) < 5
    conv = torch.randn(6, 3, 2, 2, generator=g)
    assert float(stable_rank(conv)) == pytest.approx(float(stable_rank(conv.flatten(1))))
    assert float(stable_rank(torch.eye(7).bfloat16())) == pytest.approx(7)
    assert int(numerical_rank(torch.diag(torch.tensor([1.0, 0.5, 1e-3])), 1e-2)) == 2
    assert float(stable_rank(torch.full((3, 4), 1e-30))) == pytest.approx(1)
    for zero in (torch.zeros(3, 4), torch.zeros(0, 4), torch.zeros(4, 0)):
        assert float(stable_rank(zero)) == 0 and int(numerical_rank(zero)) == 0
    assert float(stable_rank(w.numpy())) == float(stable_rank(w)) and int(numerical_rank(w.numpy())) == 5
    assert float(stable_rank(torch.randn(9, generator=g))) == pytest.approx(1)


def test_softmax_normaliser():
    logits = torch.randn(50, 10, generator=seeded(15))
    s = logits.double().exp().sum(dim=1)
    got = softmax_normaliser(logits)
    assert float(got.mean) == pytest.approx(float(s.mean())) and float(got.log_mean) == pytest.approx(
        float(s.mean().log())
    )
    assert float(got.mean_log) == pytest.approx(float(s.log().mean()))
    assert (float(got.log_min), float(got.log_max)) == pytest.approx((float(s.log().min()), float(s.log().max())))
    assert softmax_normaliser(logits.numpy()) == got
    huge = softmax_normaliser(logits + 2000)
    assert float(huge.mean) == math.inf and float(huge.log_mean) == pytest.approx(float(got.log_mean) + 2000)
    maps = torch.randn(4, 10, 3, 2, generator=seeded(16))
    flat = maps.movedim(1, -1).reshape(-1, 10)
    assert float(softmax_normaliser(maps).log_mean) == pytest.approx(float(softmax_normaliser(flat).log_mean))


def test_gradient_rms():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3), torch.nn.Linear(3, 3))
    net[3].requires_grad_(False)
    net(torch.randn(20, 5)).square().sum().backward()
    got = gradient_rms(net)
    assert got == {
        name: pytest.approx(float(p.grad.double().square().mean().sqrt()))
        for name, p in net.named_parameters()
        if p.grad is not None
    }
    assert set(got) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    both = torch.cat([net[0].weight.grad.flatten(), net[0].bias.grad])
    by_module = gradient_rms(net, by="module")
    assert list(by_module) == ["0", "2"] and by_module["0"] == pytest.approx(
        float(both.double().square().mean().sqrt())
    )
    assert gradient_rms(torch.nn.Linear(2, 2)) == {}
    table = torch.nn.Embedding(10, 3, sparse=True)
    table(torch.tensor([1, 1, 4])).sum().backward()
    assert gradient_rms(table)["weight"] == pytest.approx(math.sqrt((3 * 4 + 3) / 30))
    tiny = torch.nn.Linear(2, 1, bias=False)
    tiny.weight.grad = torch.full_like(tiny.weight, 1e-30)  # its square is no float32
    assert gradient_rms(tiny)["weight"] == pytest.approx(1e-30, rel=1e-6)


# ---- errors ----

OF_Z_AND_Y = [
    least_squares_distance,
    conditional_entropy,
    lambda z, y: k_redundancy(z, y, 2),
    ef.metrics.pure_voronoi,
    ef.metrics.condensed_nearest_neighbour,
]


@pytest.mark.parametrize("metric", OF_Z_AND_Y)
def test_errors_of_representations_and_labels(metric):
    z, y = torch.randn(6, 3), torch.arange(6) % 2
    bad = z.clone()
    bad[4, 1] = math.nan
    for broken in (bad, bad.half(), bad.nan_to_num(nan=math.inf)):
        with pytest.raises(ValueError, match=r"row 4 of [zx] holds NaN or infinity"):
            metric(broken, y)
    with pytest.raises(ValueError, match="has no samples"):
        metric(z[:0], y[:0])
    with pytest.raises(ValueError, match="y must"):
        metric(z, y[:5])
    with pytest.raises(TypeError, match=r"[zx] must be"):
        metric(z.to(torch.complex64), y)
    with pytest.raises(TypeError, match=r"[zx] must be"):
        metric([[1.0]], y)
    with pytest.raises(TypeError, match="y must be"):
        metric(z, y.tolist())
    with pytest.raises(ValueError, match="scalar"):
        metric(torch.tensor(1.0), y)


def test_errors_of_options():
    z, y = torch.randn(6, 3), torch.arange(6) % 2
    for call, message in [
        (lambda: least_squares_distance(z, y, rtol=1), "rtol must be at least 0"),
        (lambda: least_squares_distance(z, torch.full((6, 2), math.nan)), "row 0 of y holds NaN"),
        (lambda: k_redundancy(z, y, 0), "k must be from 1"),
        (lambda: k_redundancy(z, y, 2, metric="l1"), "metric must be one of"),
        (lambda: selections(z, (1, 0)), "low < high"),
        (lambda: selections(z, (1, 2, 3)), "a number or two"),
        (lambda: selections(z, maps="pixels"), "maps must be one of"),
        (lambda: selections(z, math.nan), "threshold must be finite"),
        (lambda: representational_entropy(z, alpha=0), "alpha must be above 0"),
        (lambda: representational_entropy(z, width=-1), "width must be above 0"),
        (lambda: representational_entropy(z, kernel="rbf"), "kernel must be one of"),
        (lambda: representational_entropy(z, max_samples=0), "max_samples must be from 1"),
        (lambda: representational_entropy(z, generator=-1), "generator, where it is a seed, must be from 0"),
        (lambda: numerical_rank(z, 1.5), "rtol must be at least 0"),
        (lambda: stable_rank(z * math.inf), "w holds NaN or infinity"),
        (lambda: softmax_normaliser(z[:0]), "not empty"),
        (lambda: softmax_normaliser(z[0]), "samples, classes"),
        (lambda: softmax_normaliser(z * math.nan), "logits hold NaN or infinity"),
        (lambda: gradient_rms(torch.nn.Linear(1, 1), by="layer"), "by must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    for call, message in [
        (lambda: least_squares_distance(z, y.to(torch.complex64)), "y must be"),
        (lambda: conditional_entropy(z, z[:, 0]), "y must be integers"),
        (lambda: k_redundancy(z, y, 2.0), "k must be an integer"),
        (lambda: stable_rank(y), "w must be"),
        (lambda: representational_entropy(z, generator="0"), "generator must be a torch.Generator, a seed or None"),
        (lambda: representational_entropy(z, generator=True), "generator must be a torch.Generator, a seed or None"),
        (lambda: ef.metrics.condensed_nearest_neighbour(z, y, generator=0.5), "generator must be a torch.Generator"),
        (lambda: stable_rank(torch.ones(2, 2, dtype=torch.uint8)), "w must be float32"),
        (lambda: gradient_rms([z]), "module must be"),
    ]:
        with pytest.raises(TypeError, match=message):
            call()


def test_nothing_is_recorded_for_autograd():
    z = torch.randn(30, 4, requires_grad=True)
    y = torch.arange(30) % 3
    results = [
        least_squares_distance(z, y),
        conditional_entropy(z, y).mean,
        representational_entropy(z),
        stable_rank(z),
    ]
    assert not any(r.requires_grad for r in (*results, softmax_normaliser(z).mean, k_redundancy(z, y, 2)))


@pytest.mark.cuda
def test_metrics_on_a_gpu_are_those_of_the_cpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    g = seeded(17)
    z, y = torch.randn(200, 10, generator=g).relu(), torch.randint(0, 4, (200,), generator=g)
    for metric in (
        least_squares_distance,
        lambda z, y: k_redundancy(z, y, [1, 3]),
        lambda z, y: conditional_entropy(z, y).per_feature,
        lambda z, y: representational_entropy(z),
        lambda z, y: representational_entropy(z, kernel="gaussian"),
        lambda z, y: stable_rank(z),
    ):
        got = metric(z.cuda(), y.cuda())
        assert got.is_cuda
        torch.testing.assert_close(got.cpu(), metric(z, y), rtol=1e-9, atol=1e-12)
    found = ef.metrics.pure_voronoi(z.cuda(), y.cuda())
    assert torch.equal(found.predict(z.cuda()), y.cuda())
