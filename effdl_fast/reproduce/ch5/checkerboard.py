"""Figures 5.15 and 5.16 (sec. 5.4.2): an MLP on a checkerboard, with all of the points and after k-filtering."""

from __future__ import annotations

import math
import statistics
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from effdl_fast.metrics import k_filter
from effdl_fast.reproduce import plots
from effdl_fast.reproduce.ch5.parts.layers import mlp
from effdl_fast.reproduce.ch5.parts.points import checkerboard, distance_to_diagonals
from effdl_fast.reproduce.experiment import Claim, Experiment, Number, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table
from effdl_fast.reproduce.train import Recipe, build, make_optimizer

SQUARES = 8
BATCH = 100
NETWORKS = {"two layers": (256,), "four layers": (128, 128, 128)}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "SGD": {"optimizer": "sgd", "lr": 0.3},
    "momentum": {"optimizer": "sgd", "lr": 0.03, "momentum": 0.9},
    "Adam": {"optimizer": "adam", "lr": 0.001},
}
KEPT = {"all": None, "filtered": 20}  # k
SHOWN = ("two layers, SGD, all", "two layers, SGD, filtered")  # whose gradients Fig. 5.16 shows
SETTINGS: dict[str, dict[str, Any]] = {
    (label := f"{network}, {optimizer}, {points}"): {
        **{"hidden": list(hidden), "k": k, **how},
        **({"field": True} if label in SHOWN else {}),
    }
    for network, hidden in NETWORKS.items()
    for optimizer, how in OPTIMIZERS.items()
    for points, k in KEPT.items()
}
BAND = 0.04  # points nearer to a diagonal than this count as on it
ARROWS = 800  # points whose gradients are stored for the plot
STUCK = 60.0  # percent: the thesis's 51-53 % and a margin for chance


def run(trial: Trial) -> dict[str, Any]:
    """Accuracy (percent) after each epoch on the points trained on, on all points and on fresh ones; gradients."""
    options, setting = trial.plan.options, trial.setting
    x, y = checkerboard(options["samples"], SQUARES, trial.seed)
    kept = k_filter(x, y, setting["k"]) if setting["k"] else torch.arange(len(x))
    fresh = checkerboard(options["samples"], SQUARES, trial.seed + 1_000_003)
    places = {"trained": (x[kept], y[kept]), "all": (x, y), "fresh": fresh}
    model = build(lambda: mlp((2,), setting["hidden"], 2), trial.seed)
    recipe = Recipe(
        trial.plan.epochs, setting["lr"], BATCH, setting.get("momentum", 0.0), optimizer=setting["optimizer"]
    )
    optimizer = make_optimizer(model, recipe)
    generator = torch.Generator().manual_seed(trial.seed)
    accuracy: dict[str, list[float]] = {name: [] for name in places}
    gradients: list[dict[str, Any]] = []
    steps = max(1, len(x) // BATCH)  # in every epoch, of whatever points: equal numbers of updates
    for epoch in range(trial.plan.epochs + 1):
        if epoch:
            for pick in _batches(kept, steps, generator):
                optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(model(x[pick]), y[pick]).backward()
                optimizer.step()
        for name, (points, colours) in places.items():
            accuracy[name].append(round(_accuracy(model, points, colours), 2))
        if epoch in _looked_at(trial.plan.epochs):
            gradients.append({"epoch": epoch, **_on_diagonals(model, x[kept], y[kept])})
        if epoch:
            trial.tick(f"epoch {epoch}, {accuracy['all'][-1]:.1f} % of all points")
    arrows = {"arrows": _arrows(model, x[kept], y[kept])} if setting.get("field") else {}
    return {"accuracy": accuracy, "kept": len(kept), "gradients": gradients, **arrows}


def _looked_at(epochs: int) -> set[int]:
    """Epochs after which gradients are measured: at the start, and at a hundredth, a tenth, ... of the run."""
    return {0, *(math.ceil(epochs * part) for part in (0.01, 0.1, 0.3, 1.0))}


def _batches(kept: Tensor, steps: int, generator: torch.Generator) -> list[Tensor]:
    """`steps` mini-batches: random permutations of `kept`, one after the other as long as needed."""
    needed = steps * BATCH
    parts: list[Tensor] = []
    while len(parts) * len(kept) < needed:
        parts.append(kept[torch.randperm(len(kept), generator=generator)])
    return list(torch.cat(parts)[:needed].split(BATCH))


def _accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return 100.0 * float((model(x).argmax(1) == y).float().mean())


def input_gradients(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The derivative (n, 2) of each sample's own loss with respect to its coordinates."""
    x = x.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), x)[0]


def _on_diagonals(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, float | None]:
    """The share of the points that lie on the diagonals, and of the squared gradients in input space that do.

    None where there is no gradient, or none that is finite, in a network that has run off.
    """
    square = input_gradients(model, x, y).double().square().sum(dim=1)
    near = distance_to_diagonals(x) < BAND
    share = float(square[near].sum() / square.sum())
    return {
        "points": round(float(near.double().mean()), 5),
        "square": round(share, 5) if math.isfinite(share) else None,
    }


def _arrows(model: nn.Module, x: Tensor, y: Tensor) -> list[list[float]]:
    """[x, y, dx, dy, colour] of the first points: the negative gradient, over the largest of those shown."""
    x, y = x[:ARROWS], y[:ARROWS]
    down = -input_gradients(model, x, y)
    down = (down / down.norm(dim=1).max().clamp(min=1e-30)).nan_to_num()
    return [[*(round(v, 3) for v in row), int(c)] for row, c in zip(torch.cat([x, down], 1).tolist(), y, strict=True)]


def table(result: Result) -> Table:
    rows: list[list[str | float | None]] = []
    for label in result.settings:
        runs = result.of(label)
        kept = statistics.fmean(run["kept"] for run in runs) / result.plan["options"]["samples"]
        values = [[run["accuracy"][place][-1] for run in runs] for place in ("trained", "all", "fresh")]
        spread = f"{min(values[0]):.1f}-{max(values[0]):.1f}"
        rows.append([label, 100 * kept, statistics.fmean(values[0]), spread, *map(statistics.fmean, values[1:])])
    columns = ["Network, optimizer, points", "Kept %", "Trained on %", "Range", "All points %", "Fresh points %"]
    caption = (
        "Accuracy after the last epoch, mean over trials, on the points trained on, on all points and on as many new "
        "ones. The same number of updates everywhere."
    )
    return Table(columns, rows, caption)


def figures(result: Result) -> list[Plot]:
    x, y = checkerboard(result.plan["options"]["samples"], SQUARES, 0)
    kept = k_filter(x, y, KEPT["filtered"] or 1)
    boards = {
        f"all {len(x)} points": plots.Scene(x.tolist(), y.tolist()),
        f"filtered, k = {KEPT['filtered']}: {len(kept)} points": plots.Scene(x[kept].tolist(), y[kept].tolist()),
    }
    caption = "Fig. 5.15: the points of the checkerboard, and those that k-filtering keeps (seed 0)."
    out = [plots.scenes("figure_5_15", caption, boards, columns=2)]
    fields = {}
    for label in SHOWN:
        arrows = result.of(label)[0]["arrows"]
        fields[label] = _field(arrows)
        if label == SHOWN[0]:
            middle = [row for row in arrows if max(abs(row[0] - 0.125), abs(row[1] - 0.125)) < 0.125]
            fields["detail at (0.125, 0.125)"] = _field(middle)
    caption = (
        "Fig. 5.16: negative gradients of each sample's loss in input space after the last epoch, scaled to the "
        "largest one (seed 0)."
    )
    out.append(plots.scenes("figure_5_16", caption, fields))
    lines = {
        network: {
            f"{optimizer}, {points}": _mean_curve(result, f"{network}, {optimizer}, {points}")
            for optimizer in OPTIMIZERS
            for points in KEPT
        }
        for network in NETWORKS
    }
    caption = "Accuracy on the points trained on, mean over trials."
    out.append(plots.curves("accuracy", caption, lines, x="epoch", y="accuracy, %", columns=2))
    return out


def _field(arrows: list[list[float]]) -> plots.Scene:
    return plots.Scene(
        [row[:2] for row in arrows], [int(row[4]) for row in arrows], arrows=[row[2:4] for row in arrows]
    )


def _mean_curve(result: Result, label: str) -> tuple[list[int], list[float]]:
    curves = [run["accuracy"]["trained"] for run in result.of(label)]
    return list(range(len(curves[0]))), [statistics.fmean(values) for values in zip(*curves, strict=True)]


def claims(result: Result) -> list[Claim]:
    out = []
    for network in NETWORKS:
        for optimizer in OPTIMIZERS:
            name = f"{network}, {optimizer}"
            whole = [max(run["accuracy"]["trained"]) for run in result.of(f"{name}, all")]
            part = [run["accuracy"]["trained"][-1] for run in result.of(f"{name}, filtered")]
            told = f"best {min(whole):.1f} to {max(whole):.1f} %"
            out.append(Claim(f"{name}: stuck on all points", "51-53 %", told, max(whole) < STUCK))
            told = f"{min(part):.1f} to {max(part):.1f} % of the points trained on"
            out.append(Claim(f"{name}: learned after k-filtering", "to arbitrary precision", told, min(part) > 95))
    for label in SHOWN:
        seen = [row for run in result.of(label) for row in run["gradients"] if row["square"] is not None]
        epochs = sorted({row["epoch"] for row in seen})
        shares = [statistics.fmean(row["square"] for row in seen if row["epoch"] == epoch) for epoch in epochs]
        points = statistics.fmean(row["points"] for row in seen)
        told = ", ".join(f"{100 * share:.0f} % (epoch {e})" for e, share in zip(epochs, shares, strict=True))
        told = f"{told} on {100 * points:.0f} % of the points"
        dominant = max(shares) > 2 * points
        filtered = label == SHOWN[1]
        out.append(
            Claim(
                f"{label}: squared gradients within {BAND} of the diagonals",
                "less dominant" if filtered else "dominant",
                told,
                dominant != filtered,
            )
        )
    return out


EXPERIMENT = Experiment(
    title="The checkerboard",
    thesis="Figs. 5.15 and 5.16, sec. 5.4.2",
    about=(
        "Points drawn uniformly from [-0.5, 0.5]^2 in the colours of an 8x8 board, without noise. Fully connected "
        "networks with ReLU (2-256-2 and 2-128-128-128-2), softmax with cross-entropy, mini-batches of 100, PyTorch's "
        "own initialisation, coordinates as they are; plain SGD, SGD with momentum 0.9, and Adam, each with a fixed "
        "learning rate. The thesis tells none of this, nor k. Filtered networks see fewer points, but make as many "
        "updates. k-filtering is global, k = 20."
    ),
    settings=SETTINGS,
    full=Plan(trials=5, epochs=1000, options={"samples": 5000}),
    quick=Plan(trials=1, epochs=2, options={"samples": 1000}, smoke=True),
    run=run,
    table=table,
    plots=figures,
    claims=claims,
    options={"samples": Number(int, BATCH, 100_000)},
    threads=1,
)
