"""Section 4.14: second derivatives of the error in one output unit, analytically.

Under the sum-of-squares error E = 1/2 (y - t)^2 (a square without the 1/2 in the thesis's formulas, whose results are
those with it), eqs. 4.1-4.4:

    linear   1                                 softmax  e^2x/s^2 - e^x/s (t - e^x/s), s held constant
    exp      e^2x - e^x (t - e^x)              pow3     9x^4 - 6x (t - x^3)

Under gradient amplification the gradient is y - t itself, so its derivative is y': e^x, 3x^2, and for the softmax with
cross-entropy the thesis says 1. The exact value there is y (1 - y) <= 1/4; both are shown.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from effdl_fast.reproduce import plots
from effdl_fast.reproduce.experiment import Claim, Experiment, Number, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table

Curve = Callable[[float, float, float], float]  # (x, target t, softmax normaliser s) -> second derivative


def squared_linear(x: float, t: float, s: float) -> float:
    return 1.0


def squared_softmax(x: float, t: float, s: float) -> float:
    y = math.exp(x) / s
    return y * y - y * (t - y)


def squared_exp(x: float, t: float, s: float) -> float:
    y = math.exp(x)
    return y * y - y * (t - y)


def squared_pow3(x: float, t: float, s: float) -> float:
    return 9 * x**4 - 6 * x * (t - x**3)


def amplified_linear(x: float, t: float, s: float) -> float:
    return 1.0


def amplified_exp(x: float, t: float, s: float) -> float:
    return math.exp(x)


def amplified_pow3(x: float, t: float, s: float) -> float:
    return 3 * x * x


def cross_entropy_softmax(x: float, t: float, s: float) -> float:
    """y (1 - y) with y = e^x / (e^x + s): here s is the sum over the *other* units, which do not move with x."""
    y = math.exp(x) / (math.exp(x) + s)
    return y * (1 - y)


SQUARED: dict[str, Curve] = {
    "linear": squared_linear,
    "softmax": squared_softmax,
    "exp-GA": squared_exp,
    "pow3-GA": squared_pow3,
}
AMPLIFIED: dict[str, Curve] = {
    "linear": amplified_linear,
    "softmax + CE, exact": cross_entropy_softmax,
    "exp-GA": amplified_exp,
    "pow3-GA": amplified_pow3,
}


def run(trial: Trial) -> dict[str, Any]:
    """Both families on a grid of x."""
    option = trial.plan.options
    count, limit = option["points"], option["limit"]
    xs = [-limit + 2 * limit * i / (count - 1) for i in range(count)]
    t, s = trial.setting["target"], trial.setting["s"]
    values = {
        family: {label: [curve(x, t, s) for x in xs] for label, curve in members.items()}
        for family, members in (("squared", SQUARED), ("amplified", AMPLIFIED))
    }
    trial.tick("computed")
    return {"x": xs, **values}


def table(result: Result) -> Table:
    """The curvatures at a few points, t = 0 and s as recorded at the start of the thesis's Fig. 4.5."""
    s = result.settings["t0"]["s"]
    rows: list[Sequence[str | float]] = []
    for family, members in (("E = 1/2 (y-t)^2", SQUARED), ("gradient y - t", AMPLIFIED)):
        for label, curve in members.items():
            rows.append([family, label, *(curve(x, 0.0, s) for x in (-2.0, 0.0, 2.0, 4.0))])
    return Table(
        ["Error", "Output", "x = -2", "x = 0", "x = 2", "x = 4"], rows, f"Second derivatives at t = 0, s = {s:g}."
    )


def figures(result: Result) -> list[Plot]:
    raw = {label: result.of(label)[0] for label in result.settings}
    panels = {
        f"{title}, t = {result.settings[label]['target']:g}": {
            name: (raw[label]["x"], [max(v, 1e-4) for v in values]) for name, values in raw[label][family].items()
        }
        for family, title in (("squared", "squared error (eqs. 4.1-4.4)"), ("amplified", "gradient y - t"))
        for label in raw
    }
    caption = (
        "Second derivative of the error with respect to one output x, logarithmic; values at or below 0 (the error is "
        f"concave there) are drawn at 0.0001. Softmax with normaliser s = {result.settings['t0']['s']:g}."
    )
    return [plots.curves("curvature", caption, panels, x="x", y="second derivative", log_y=True, columns=2)]


def claims(result: Result) -> list[Claim]:
    """The order that sec. 4.14 reads off the first terms, and its value for softmax with cross-entropy."""
    s = result.settings["t0"]["s"]
    grid = [i / 100 for i in range(-1000, 1001)]
    left, middle, right = _sign_changes(grid, [9 * x**4 - math.exp(2 * x) for x in grid])
    above_linear = next(x for x in grid if math.exp(2 * x) / s**2 > 1)
    top = max(cross_entropy_softmax(i / 10, 0.0, 1.0) for i in range(-100, 101))
    return [
        Claim(
            "First terms: 9x^4 (pow3) against e^2x (exp)",
            "pow3 larger as x goes to either infinity",
            f"for x below {left:.2f} and from {middle:.2f} to {right:.2f}; beyond that exp is larger",
            False,
        ),
        Claim(
            "First terms: e^2x/s^2 (softmax) against 1 (linear)",
            "softmax larger for all s > 1",
            f"only for x > ln s, with s = {s:g} from x = {above_linear:.2f} on",
            False,
        ),
        Claim(
            "First terms: e^2x (exp) against e^2x/s^2 (softmax)",
            "exp larger for s > 1",
            "exp larger by the factor s^2",
            True,
        ),
        Claim("Curvature of softmax with cross-entropy in one unit", "1", f"y (1 - y), at most {top:.3g}", False),
    ]


def _sign_changes(xs: list[float], values: list[float]) -> list[float]:
    """The x at which `values` changes its sign, to the resolution of the grid."""
    pairs = itertools.pairwise(zip(xs, values, strict=True))
    return [after for (_, low), (after, high) in pairs if (low > 0) != (high > 0)]


EXPERIMENT = Experiment(
    title="Curvature of the error surfaces",
    thesis="sec. 4.14, eqs. 4.1-4.4",
    about=__doc__.split("\n\n", 1)[0]
    + " Amplified: e^x for exp-GA, 3x^2 for pow3-GA (alpha = 1). s = 2342 is where Fig. 4.5 begins.",
    settings={"t0": {"target": 0.0, "s": 2342.0}, "t1": {"target": 1.0, "s": 2342.0}},
    full=Plan(trials=1, epochs=1, options={"points": 241, "limit": 6.0}),
    quick=Plan(trials=1, epochs=1, options={"points": 241, "limit": 6.0}),
    run=run,
    table=table,
    plots=figures,
    claims=claims,
    options={"points": Number(int, 2, 100_000), "limit": Number(float, 0.1, 100)},
)
