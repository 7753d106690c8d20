"""Figure 3.1 (sec. 3.2): test accuracy when every weight is sent with a fixed number of bits."""

from __future__ import annotations

import statistics
from typing import Any

from effdl_fast.reproduce import plots
from effdl_fast.reproduce.ch3.parts.training import (
    EXCHANGE,
    FULL,
    NETWORK,
    OPTIONS,
    QUICK,
    SMALL_START,
    STARTS,
    train,
)
from effdl_fast.reproduce.ch3.parts.views import gain, last, mean_rate
from effdl_fast.reproduce.experiment import Claim, Experiment, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table

BITS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 30)
NEGLIGIBLE = 0.1  # points of accuracy that are taken for no difference


def name(bits: int | None, start: str) -> str:
    return f"{'baseline' if bits is None else f'{bits} bits'}{start}"


SETTINGS: dict[str, dict[str, Any]] = {
    name(bits, start): {**how, **({} if bits is None else {"bits": bits})}
    for start, how in STARTS.items()
    for bits in (*BITS, None)
}


def run(trial: Trial) -> dict[str, Any]:
    return train(trial)


def gains(result: Result, start: str) -> dict[int, tuple[float, float]]:
    """Points of accuracy above the same networks without quantization, and the standard error, by bits."""
    baseline = last(result, name(None, start))
    return {bits: gain(last(result, name(bits, start)), baseline) for bits in BITS}


def table(result: Result) -> Table:
    rows: list[list[str | float | None]] = []
    for start in STARTS:
        above = gains(result, start)
        for bits in (*BITS, None):
            label = name(bits, start)
            values = last(result, label)
            told = "" if bits is None else _points(above[bits])
            rates = [mean_rate(result, label, kind) for kind in ("huffman", "record")]
            rows.append([label, statistics.fmean(values), statistics.pstdev(values), told, *rates])
    columns = ["Sent", "Accuracy %", "SD", "Against baseline", "Huffman bits", "Record bits"]
    caption = (
        "Mean test accuracy of all networks after the last epoch; the difference to the same networks without "
        "quantization, with its standard error; mean bits per weight over epochs."
    )
    return Table(columns, rows, caption)


def figures(result: Result) -> list[Plot]:
    panels: dict[str, dict[str, list[float]]] = {}
    for start in STARTS:
        values = {str(bits or "none"): last(result, name(bits, start)) for bits in (*BITS, None)}
        shown = start.strip() or "standard start"
        panels[shown] = values
        panels[f"{shown}, from 6 bits"] = {key: v for key, v in values.items() if key not in ("2", "3", "4", "5")}
    caption = (
        "Fig. 3.1: test accuracy after the last epoch against bits per weight. Dots: networks; box: one standard "
        "deviation around the mean; red: median."
    )
    return [plots.spreads("figure_3_1", caption, panels, x="bits per weight", y=dict.fromkeys(panels, "accuracy, %"))]


def claims(result: Result) -> list[Claim]:
    return [claim for start in STARTS for claim in claims_of(result, start)]


def claims_of(result: Result, start: str) -> list[Claim]:
    above = gains(result, start)
    enough = next((bits for bits in BITS if all(above[b][0] >= -NEGLIGIBLE for b in BITS if b >= bits)), None)
    top = max((bits for bits in BITS if 6 <= bits <= 16), key=lambda bits: above[bits][0])
    fine = max(abs(above[bits][0]) for bits in BITS if bits > 16)
    where = f",{start}" if start else ""
    return [
        Claim(
            f"8 bits are as good as no quantization{where}",
            "comparable",
            f"{_points(above[8])} points to the baseline",
            above[8][0] >= -NEGLIGIBLE,
        ),
        Claim(
            f"Bits from which on nothing is gained{where}",
            "6 to 7",
            f"{enough}: from there on within {NEGLIGIBLE} points of the baseline",
            enough in (6, 7),
        ),
        Claim(
            f"Slightly more bits than needed do better than none{where}",
            "yes",
            f"{_points(above[top])} points with {top} bits, the best of 6 to 16",
            above[top][0] > 2 * above[top][1],
        ),
        Claim(
            f"More than 16 bits are the same as no quantization{where}",
            "as from 8 bits on",
            f"at most {fine:.2f} points apart",
            fine <= NEGLIGIBLE,
        ),
    ]


def _points(difference: tuple[float, float]) -> str:
    return f"{difference[0]:+.2f} ± {difference[1]:.2f}"


EXPERIMENT = Experiment(
    title="Fixed numbers of bits",
    thesis="Fig. 3.1, sec. 3.2",
    about=(
        f"{NETWORK} {EXCHANGE} {SMALL_START} Here each layer has its own range; the thesis speaks of the largest and "
        "smallest of all weights. Up to 16 bits the weights go through ops.compress_weights; finer grids are computed "
        "in float64 and rounded to float32."
    ),
    settings=SETTINGS,
    full=Plan(trials=150, epochs=100, data="torchvision:MNIST", options=FULL),
    quick=Plan(trials=1, epochs=3, data="digits", options=QUICK, smoke=True),
    run=run,
    table=table,
    plots=figures,
    claims=claims,
    options=OPTIONS,
)
