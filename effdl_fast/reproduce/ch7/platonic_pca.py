"""Figures 7.12 and 7.13 (sec. 7.8.1): principal components of the augmented space beside the optimal solution."""

from __future__ import annotations

import statistics
from typing import Any

import torch
from torch import Tensor

from effdl_fast.reproduce import plots
from effdl_fast.reproduce.ch5.parts.points import sinusoid
from effdl_fast.reproduce.ch7.parts.plain import with_ones
from effdl_fast.reproduce.ch7.parts.toys import separable, signs
from effdl_fast.reproduce.experiment import Claim, Experiment, Number, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table

LINEAR, SINUSOID = "linear", "sinusoid"
SETTINGS: dict[str, dict[str, Any]] = {LINEAR: {"boundary": "line"}, SINUSOID: {"boundary": "0.5 sin(pi x)"}}
SHOWN = 500  # points of a picture
VIEWS = ((20.0, -60.0), (15.0, 30.0), (65.0, -90.0))
PARALLEL = 0.99  # |cosine| from which on directions are called parallel


def problem(label: str, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """X (m, 2) float64, centred, and labels 0 and 1."""
    x, labels = separable(count, seed) if label == LINEAR else sinusoid(count, 1.0, seed)
    return x.double() - x.double().mean(dim=0), labels


def components(x: Tensor, y: Tensor) -> Tensor:
    """The principal components of A = [X y], a row each, of largest variance first; the y part of each is positive.

    Where that is (nearly) 0, the sign is that of the first element.
    """
    a = torch.cat([x, y[:, None]], dim=1)
    found = torch.linalg.eigh((a - a.mean(0)).mT @ (a - a.mean(0)))[1].flip(1).mT
    sign = torch.where(found[:, 2].abs() > 1e-6, found[:, 2], found[:, 0]).sign()
    return found * sign[:, None]


def solution(x: Tensor, labels: Tensor) -> tuple[Tensor, str]:
    """The weights w* of X w = y as a unit vector, and how they were found: by a linear SVM, or by least squares where
    scikit-learn is not installed."""
    try:
        from sklearn.svm import SVC
    except ImportError:
        z = with_ones(x)
        w, way = (torch.linalg.pinv(z) @ signs(labels).double())[1:], "least squares"
    else:
        w = torch.tensor(SVC(kernel="linear", C=1.0).fit(x.numpy(), labels.numpy()).coef_[0])
        way = "SVM"
    return w / w.norm(), way


def run(trial: Trial) -> dict[str, Any]:
    """Each component's cosine with w* in the plane of X, its part in that plane and its share of the variance."""
    label = LINEAR if trial.setting["boundary"] == "line" else SINUSOID
    x, labels = problem(label, trial.plan.options["samples"], trial.seed)
    y = signs(labels).double()
    w, way = solution(x, labels)
    found = components(x, y)
    a = torch.cat([x, y[:, None]], dim=1)
    variance = ((a - a.mean(0)) @ found.mT).var(dim=0, correction=0)
    inside = found[:, :2].norm(dim=1)
    cosines = (found[:, :2] @ w) / inside.clamp(min=1e-12)
    by_first = (x @ found[0, :2] > 0) == (labels > 0)
    trial.tick(label)
    return {
        "way": way,
        "solution": [round(v, 6) for v in w.tolist()],
        "components": [[round(v, 6) for v in row] for row in found.tolist()],
        "cosine": [round(v, 6) for v in cosines.tolist()],
        "label_part": [round(v, 6) for v in found[:, 2].tolist()],
        "variance": [round(v, 6) for v in (variance / variance.sum()).tolist()],
        "accuracy_by_first": round(100 * float(by_first.double().mean()), 4),
    }


def _mean(result: Result, label: str, key: str, index: int) -> float:
    return statistics.fmean(run[key][index] for run in result.of(label))


def table(result: Result) -> Table:
    rows: list[list[str | float | None]] = []
    for label in result.settings:
        for i in range(3):
            values = [_mean(result, label, key, i) for key in ("cosine", "label_part", "variance")]
            right = result.median(label, "accuracy_by_first") if i == 0 else None
            rows.append([label, result.of(label)[0]["way"], i + 1, *values, right])
    columns = [
        "Problem",
        "w* by",
        "Component",
        "Cosine with w*",
        "a3 part",
        "Variance",
        "sign(X w) right %",
    ]
    caption = (
        "Means over trials. The cosine is that of the component's part in the plane of X; the last column: labels that "
        "the first component's part in this plane, taken as w, gives."
    )
    return Table(columns, rows, caption)


def figures(result: Result) -> list[Plot]:
    out = []
    for label, number in ((LINEAR, "12"), (SINUSOID, "13")):
        run = result.of(label)[0]
        x, labels = problem(label, SHOWN, 0)
        a = torch.cat([x, signs(labels).double()[:, None]], dim=1)
        names = ("w*", "first component", "second", "third")
        vectors = [[*run["solution"], 0.0], *run["components"]]
        arrows = dict(zip(names, vectors, strict=True))
        panels = {f"angle {i + 1}": plots.Space(a.tolist(), labels.tolist(), arrows, v) for i, v in enumerate(VIEWS)}
        caption = f"Fig. 7.{number}: the augmented space, its principal components, and w* by {run['way']} (seed 0)."
        out.append(plots.spaces(f"figure_7_{number}", caption, panels))
    return out


def claims(result: Result) -> list[Claim]:
    linear = [_mean(result, LINEAR, "cosine", i) for i in range(3)]
    parts = [abs(_mean(result, LINEAR, "label_part", i)) for i in range(3)]
    bent = [_mean(result, SINUSOID, "cosine", i) for i in range(3)]
    told = ", ".join(f"{v:+.3f}" for v in linear)
    parallel = sum(abs(v) > PARALLEL for v in linear)
    right = result.median(LINEAR, "accuracy_by_first")
    shown = ", ".join(f"{v:+.3f}" for v in bent)
    return [
        Claim("linear: two components are parallel to w* in the plane", "two", f"cosines {told}", parallel == 2),
        Claim(
            "linear: one component is orthogonal to a3",
            "the second",
            ", ".join(f"{v:.3f}" for v in parts),
            min(parts) < 0.1 and parts.index(min(parts)) == 1,
        ),
        Claim("linear: the first component solves sign(X w) = sign(y)", "yes", f"{right:.1f} %", right > 99.5),
        Claim(
            "sinusoid: the first component is positively correlated with w*, but not parallel",
            "yes",
            f"cosines {shown}",
            0 < bent[0] < PARALLEL,
        ),
        Claim("sinusoid: the third is negatively correlated", "yes", f"{bent[2]:+.3f}", bent[2] < 0),
    ]


EXPERIMENT = Experiment(
    title="Platonic PCA illustrated",
    thesis="Figs. 7.12 and 7.13, sec. 7.8.1",
    about=(
        "A = [X y] with beta = 1, y = -1 or 1; X uniform in the square [-1, 1]^2, on two sides of a line with a "
        "margin, or of 0.5 sin(pi x). Components about the mean; their signs are such that the a3 part is positive. "
        "w* by a linear SVM (C = 1) where scikit-learn is installed, else by least squares."
    ),
    settings=SETTINGS,
    full=Plan(trials=20, epochs=1, options={"samples": 1000}),
    quick=Plan(trials=1, epochs=1, options={"samples": 200}, smoke=True),
    run=run,
    table=table,
    plots=figures,
    claims=claims,
    options={"samples": Number(int, 50, 20_000)},
    threads=1,
)
