"""Figure 3.4 (secs. 3.8 and 3.9): accuracy and convergence against the floor c and the entropy's bits M."""

from __future__ import annotations

import statistics
from typing import Any

from effdl_fast.reproduce import plots
from effdl_fast.reproduce.ch3.parts.training import EXCHANGE, FULL, NETWORK, OPTIONS, QUICK, SMALL, SMALL_START, train
from effdl_fast.reproduce.ch3.parts.views import best, gain, mean_rate, peaks
from effdl_fast.reproduce.experiment import Claim, Experiment, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table

BASELINE = "baseline"
CEILING = 10  # c + M in Figs. 3.4a and c
RANGE = 4  # M in Figs. 3.4b and d
FLOORS = range(2, 11)


def name(floor: int, entropy_bits: int) -> str:
    return f"c={floor} M={entropy_bits}"


def _setting(floor: int, entropy_bits: int) -> dict[str, Any]:
    return {**SMALL, "floor": floor, "entropy_bits": entropy_bits, "rounding": "ceil"}


CEILED = {name(c, CEILING - c): _setting(c, CEILING - c) for c in FLOORS}
RANGED = {name(c, RANGE): _setting(c, RANGE) for c in FLOORS}
SETTINGS: dict[str, dict[str, Any]] = {BASELINE: SMALL, **CEILED, **RANGED}


def run(trial: Trial) -> dict[str, Any]:
    return train(trial)


def table(result: Result) -> Table:
    rows: list[list[str | float | None]] = []
    for label in result.settings:
        difference, error = gain(best(result, label), best(result, BASELINE))
        told = "" if label == BASELINE else f"{difference:+.2f} ± {error:.2f}"
        rate = [mean_rate(result, label, key) for key in ("bits", "huffman", "record")]
        epochs = [f(peaks(result, label)) for f in (statistics.fmean, statistics.median)]
        rows.append([label, statistics.fmean(best(result, label)), told, *epochs, *rate])
    columns = ["Setting", "Best %", "Against baseline", "Epoch of best", "Median", "Raw bits", "Huffman", "Record"]
    caption = (
        "Each network's largest test accuracy, its mean over networks, the difference to the same networks without "
        "quantization with its standard error; the epoch of that accuracy; mean bits per weight over epochs."
    )
    return Table(columns, rows, caption)


def figures(result: Result) -> list[Plot]:
    panels: dict[str, dict[str, list[float]]] = {}
    axis = {}
    for what, values in (("accuracy, %", best), ("epoch of best accuracy", peaks)):
        for part, settings in ((f"c + M = {CEILING}", CEILED), (f"M = {RANGE}", RANGED)):
            title = f"({'abcd'[len(panels)]}) {part}"
            axis[title] = what
            panels[title] = {"none": list(values(result, BASELINE))}
            for label, s in settings.items():
                panels[title][f"{s['floor'] + s['entropy_bits']}:{s['floor']}"] = list(values(result, label))
    caption = (
        "Fig. 3.4: best test accuracy and the epoch where it was seen, by ceiling:floor (c + M : c); leftmost without "
        "quantization. Dots: networks; box: one standard deviation around the mean; red: median."
    )
    return [plots.spreads("figure_3_4", caption, panels, x="ceiling : floor", y=axis)]


def claims(result: Result) -> list[Claim]:
    baseline, usual = best(result, BASELINE), statistics.fmean(peaks(result, BASELINE))
    gains = {label: gain(best(result, label), baseline) for label in {**CEILED, **RANGED}}
    show = {label: f"{difference:+.2f} ± {error:.2f} points" for label, (difference, error) in gains.items()}
    epochs = {label: statistics.fmean(peaks(result, label)) for label in gains}
    sweet, proposed, rival = name(5, 4), name(6, 4), name(5, 5)
    winner = max(CEILED, key=lambda label: gains[label][0])
    equals = [label for label in CEILED if label != winner and _equal(best(result, winner), best(result, label))]
    faster = [label for label in gains if epochs[label] < usual]
    saved = 100 * (1 - epochs[proposed] / usual)
    return [
        Claim(
            "Best of c + M = 10",
            proposed,
            f"{winner} ({show[winner]} to the baseline), {len(equals)} others within two standard errors of it",
            winner == proposed and not equals,
        ),
        Claim("c=5 M=4 is marginally below the baseline", "yes", f"{show[sweet]}", -0.3 < gains[sweet][0] < 0),
        Claim("c=6 M=4 is above the baseline", "yes", show[proposed], gains[proposed][0] > 2 * gains[proposed][1]),
        Claim(
            "c=5 M=4 is better than c=5 M=5",
            "yes",
            f"{show[sweet]} against {show[rival]}",
            gains[sweet][0] > gains[rival][0],
        ),
        Claim(
            "Compression always makes convergence faster",
            "in all cases",
            f"in {len(faster)} of {len(gains)} (mean epoch of best accuracy, {usual:.1f} without)",
            len(faster) == len(gains),
        ),
        Claim(
            "c=6 M=4 converges in fewer epochs",
            "20 % fewer",
            f"{abs(saved):.0f} % {'fewer' if saved >= 0 else 'more'} ({epochs[proposed]:.1f} against {usual:.1f})",
            saved >= 10,
        ),
    ]


def _equal(values: list[float], others: list[float]) -> bool:
    difference, error = gain(values, others)
    return difference <= 2 * error


EXPERIMENT = Experiment(
    title="Floor and range of the dynamic bits",
    thesis="Fig. 3.4, secs. 3.8 and 3.9",
    about=(
        f"{NETWORK} {EXCHANGE} {SMALL_START} It is used here. N = H + c is rounded up. With M = 0 there is no "
        "estimate: N = c, “10:10” in the thesis's figure."
    ),
    settings=SETTINGS,
    full=Plan(trials=5, epochs=100, data="torchvision:MNIST", options=FULL),
    quick=Plan(trials=1, epochs=3, data="digits", options=QUICK, smoke=True),
    run=run,
    table=table,
    plots=figures,
    claims=claims,
    options=OPTIONS,
)
