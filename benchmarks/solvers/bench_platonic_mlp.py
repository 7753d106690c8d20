"""PlatonicMLP and ELM against the thesis's recipes in plain PyTorch and against other packages."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from effdl_fast.solvers import ELM, PlatonicMLP
from effdl_fast.testing import peak_memory

from ..harness import OURS, Contestant, Race, Target
from ..peers import elms
from . import plain

NAME = "platonic_mlp"
PLAIN, BARE, ONE_TRY = "plain PyTorch", "its bare matrix products (torch.mm)", "one try"
LSTSQ = "plain PyTorch, lstsq"
DEEP = {"alpha": 0.1, "beta": 10.0}


def races(device: torch.device, quick: bool) -> Iterator[Race]:
    yield _deterministic(device, quick)
    yield _deep(device, quick)
    for activation, width in (("relu", 4), ("relu", 16), ("tanh", 16)):
        yield _tries(device, activation, width, quick)
    if device.type == "cpu":
        yield _elm(quick)


def images(m: int, device: torch.device, d: int = 784) -> tuple[Tensor, Tensor]:
    """Of MNIST's shape: ten noisy classes, standardised."""
    g = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (m,), generator=g)
    x = torch.randn(10, d, generator=g)[labels] + 2.0 * torch.randn(m, d, generator=g)
    return ((x - x.mean(0)) / (x.std(0) + 0.01)).to(device), labels.to(device)


def sine(device: torch.device) -> tuple[Tensor, Tensor]:
    """Section 7.5: 5,000 samples of two periods."""
    x = torch.linspace(-1.0, 1.0, 5000)[:, None]
    return x.to(device), torch.sin(2.0 * torch.pi * x).to(device)


# ---- 784-392, deterministic (section 7.9.3) ----


def _fit(x: Tensor, labels: Tensor, widths: tuple[int, ...]) -> PlatonicMLP:
    return PlatonicMLP(widths, first="sorted_pca", projection="pca", ema=0.2, l2=0.03).fit(x, labels)


def _recipe(x: Tensor, labels: Tensor, widths: tuple[int, ...]) -> list[Tensor]:
    y = torch.nn.functional.one_hot(labels, 10).to(x.dtype)
    return plain.deterministic(x, y, widths, 0.03, 1e7, 0.2)


def _deterministic(device: torch.device, quick: bool) -> Race:
    m, widths = (2_000, (98, 49)) if quick else (60_000, (784, 392))
    x, labels = images(m, device)
    y = torch.nn.functional.one_hot(labels, 10).to(x.dtype)
    model = _fit(x, labels, widths)
    weights = [w[1:].contiguous() for w in [*model.layers_.weights, model.output_]]

    def check() -> None:
        score = model.score(x, labels)
        first = PlatonicMLP(widths[:1], first="sorted_pca", l2=0.03).fit(x, labels).score(x, labels)
        if not score >= first - 0.01:
            raise AssertionError(f"two layers classify {score:.3f} of the samples, the first alone {first:.3f}")

    contestants = [
        Contestant(OURS, lambda: _fit(x, labels, widths)),
        Contestant(PLAIN, lambda: _recipe(x, labels, widths)),
        Contestant(BARE, lambda: plain.products(x, y, weights)),
    ]
    if device.type == "cpu" and peak_memory.AVAILABLE and not quick:
        for contestant, fit in zip(contestants, (_fit, _recipe), strict=False):
            contestant.peak_bytes = lambda fit=fit: _peak(fit, m, widths)
    targets = [] if quick else [Target(PLAIN, 2.5), Target(BARE, 1 / 1.5), Target(PLAIN, 4.0, of="memory")]
    case = f"{m} x 784, {'-'.join(map(str, widths))} deterministic"
    notes = ["synthetic samples of MNIST's shape"]
    return Race(NAME, case, contestants, x.nbytes, check, None, targets, device, notes=notes)


def _peak(fit: Callable[..., object], m: int, widths: tuple[int, ...]) -> int:
    """Bytes that a fit adds to the process at its peak, beyond its samples, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_rise, (fit, m, widths))


def _rise(fit: Callable[..., object], m: int, widths: tuple[int, ...]) -> int:
    x, labels = images(m, torch.device("cpu"))
    fit(x[:256].clone(), labels[:256], (8, 4))  # libraries allocate on their first call
    return peak_memory.rise_of(lambda: fit(x, labels, widths))


# ---- narrow and deep (section 7.6.2) ----


def _deep(device: torch.device, quick: bool) -> Race:
    x, y = sine(device)
    depth = 20 if quick else 5_000
    widths = (12,) * depth

    def run() -> PlatonicMLP:
        return PlatonicMLP(widths, activation="tanh", **DEEP).fit(x, y)

    def check() -> None:
        lsd = PlatonicMLP((12,) * 20, activation="tanh", **DEEP).fit(x, y).history_[-1].lsd
        if not lsd < 0.05:
            raise AssertionError(f"the least squares distance is {lsd}")

    contestants = [
        Contestant(OURS, run),
        Contestant(LSTSQ, lambda: plain.loop(x, y, widths, torch.tanh, **DEEP)),
    ]
    targets = [] if quick else [Target(LSTSQ, 6.0)]
    return Race(NAME, f"5000 samples, {depth} layers of 12 units, tanh", contestants, x.nbytes, check, None, targets,
                device, elements=depth, notes=["elements: layers"])  # fmt: skip


def _tries(device: torch.device, activation: str, width: int, quick: bool) -> Race:
    """How much longer fifty tries take than one."""
    x, y = sine(device)
    n = 5 if quick else 50

    def run(tries: int) -> PlatonicMLP:
        return PlatonicMLP((width,) * 4, activation=activation, tries=tries).fit(x, y)

    def check() -> None:
        one, many = (run(t).history_[1].lsd for t in (1, n))
        if not many <= one:
            raise AssertionError(f"the best of {n} tries has the distance {many}, the first {one}")

    function = {"relu": torch.relu, "tanh": torch.tanh}[activation]
    contestants = [
        Contestant(f"ours, {n} tries", lambda: run(n)),
        Contestant(ONE_TRY, lambda: run(1)),
        Contestant(f"plain PyTorch, one layer, {n} tries", lambda: plain.tries(x, y, width, n, function, 10.0)),
    ]
    targets = [] if quick else [Target(ONE_TRY, 1 / 5)]
    return Race(NAME, f"5000 samples, 4 layers of {width} units, {activation}, {n} tries", contestants, x.nbytes, check,
                None, targets, device)  # fmt: skip


# ---- wide: the extreme learning machine ----


def _elm(quick: bool) -> Race:
    m, width, l2 = (500, 128, 1.0) if quick else (60_000, 4_096, 100.0)
    x, labels = images(m, torch.device("cpu"))
    y = torch.nn.functional.one_hot(labels, 10).to(x.dtype)

    def run() -> ELM:
        return ELM((width,), activation="tanh", l2=l2).fit(x, y)

    model = run()
    weights = model.layers_.weights[0]
    peers, missing = elms.contestants(x, y, weights, l2)

    def check() -> None:
        z = plain.ones(model.transform(x)).double()
        left = z.T @ (z @ model.output_.double() - y.double()) + l2 * model.output_.double()
        if not float(left.norm()) < 1e-3 * float((z.T @ y.double()).norm()):
            raise AssertionError("the normal equations do not hold")

    contestants = [Contestant(OURS, run), *(Contestant(name, fit) for name, fit in peers)]
    targets = [] if quick else [Target(name, 2.0) for name, _ in peers]
    notes = [
        "synthetic samples of MNIST's shape",
        "hpelm computes in float64, scikit-elm draws weights of its own, Ridge fits an intercept of its own",
    ]
    return Race(NAME, f"{m} x 784, random layer of {width} tanh units", contestants, x.nbytes, check, None, targets,
                x.device, missing, notes=notes)  # fmt: skip
