"""Figure 3.5 (secs. 3.8 and 3.9): bits per weight, raw and Huffman-coded, for three readings of N = H + c."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from effdl_fast.reproduce import plots
from effdl_fast.reproduce.ch3.parts.exchange import ROUNDINGS
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
from effdl_fast.reproduce.ch3.parts.views import UNCOMPRESSED, best, mean_layer_rate, mean_rate, rates
from effdl_fast.reproduce.experiment import Claim, Experiment, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table

THESIS: dict[int, tuple[float | None, float]] = {5: (6.8, 3.55), 6: (None, 3.78)}  # c: bits per weight, raw and Huffman
KINDS = ("bits", "huffman")  # of THESIS
TOLERANCE = 0.1  # relative: what is taken for agreement


def name(floor: int, rounding: str, start: str = "") -> str:
    return f"c={floor} {rounding}{start}"


SETTINGS: dict[str, dict[str, Any]] = {
    name(c, rounding, start): {**how, "floor": c, "entropy_bits": 4, "rounding": rounding}
    for start, how in STARTS.items()
    for c in THESIS
    for rounding in ROUNDINGS
}


def run(trial: Trial) -> dict[str, Any]:
    return train(trial)


def table(result: Result) -> Table:
    rows: list[list[str | float | None]] = []
    for label, setting in result.settings.items():
        raw, huffman, record = (mean_rate(result, label, kind) for kind in ("bits", "huffman", "record"))
        by_layer = [mean_layer_rate(result, label, kind) for kind in ("bits", "huffman")]
        thesis_raw, thesis_huffman = THESIS[setting["floor"]]
        factor = UNCOMPRESSED / huffman if huffman else None
        accuracy = statistics.fmean(best(result, label))
        rows.append([label, thesis_raw, raw, thesis_huffman, huffman, factor, record, *by_layer, accuracy])
    columns = ["Setting", "Thesis raw", "Raw", "Thesis Huffman", "Huffman", "Factor", "Record", "Raw, by layer",
               "Huffman, by layer", "Accuracy %"]  # fmt: skip
    caption = (
        "Bits per weight, means over all epochs (M = 4, F = 0.03). Every weight counts the same; under “by layer” "
        "every layer does. Factor: 32 bits to Huffman's. Record: everything that is sent, codebook and header among it."
    )
    return Table(columns, rows, caption)


def figures(result: Result) -> list[Plot]:
    panels: dict[str, dict[str, tuple[Sequence[float], Sequence[float]]]] = {}
    for start in STARTS:
        for c in THESIS:
            lines: dict[str, tuple[Sequence[float], Sequence[float]]] = {}
            for kind in ("bits", "huffman", "record"):
                values = rates(result, name(c, "ceil", start), kind)
                if values is not None:
                    shown = {"bits": "raw", "huffman": "Huffman-coded", "record": "everything sent"}[kind]
                    lines[shown] = (list(range(1, len(values) + 1)), values)
            panels[f"c = {c}, M = 4{',' if start else ''}{start}"] = lines
    caption = (
        "Fig. 3.5: bits per weight by epoch, N rounded up: raw, Huffman-coded, and with everything that decoding needs."
    )
    return [plots.curves("figure_3_5", caption, panels, x="epoch", y="bits per weight", columns=2)]


def claims(result: Result) -> list[Claim]:
    out = []
    for start in STARTS:
        for c, (raw, huffman) in THESIS.items():
            label = name(c, "ceil", start)
            for kind, thesis in zip(KINDS, (raw, huffman), strict=True):
                found = mean_rate(result, label, kind)
                if thesis is None or found is None:
                    continue
                text = f"{label}: bits per weight, {'raw' if kind == 'bits' else 'Huffman'}"
                told, measured = (f"{v:.2f} ({UNCOMPRESSED / v:.2f}x)" for v in (thesis, found))
                out.append(Claim(text, told, measured, abs(found - thesis) <= TOLERANCE * thesis))
    return [*out, *(nearest_reading(result, start) for start in STARTS)]


def nearest_reading(result: Result, start: str) -> Claim:
    """Which rounding of N comes nearest to the thesis's two rates at c = 5, by the sum of the distances."""
    thesis = [rate for rate in THESIS[5] if rate is not None]
    found = {
        name(5, rounding, start): [mean_rate(result, name(5, rounding, start), kind) or 0.0 for kind in KINDS]
        for rounding in ROUNDINGS
    }
    distance = {label: sum(abs(a - b) for a, b in zip(pair, thesis, strict=True)) for label, pair in found.items()}
    nearest = min(distance, key=distance.__getitem__)
    told, measured = (" raw, ".join(f"{rate:.2f}" for rate in pair) + " Huffman" for pair in (thesis, found[nearest]))
    text = f"Rounding of N nearest to the thesis's rates,{start or ' standard start'}"
    return Claim(text, told, f"{nearest}: {measured}", distance[nearest] <= TOLERANCE * sum(thesis))


EXPERIMENT = Experiment(
    title="Bit rates",
    thesis="Fig. 3.5, secs. 3.8 and 3.9",
    about=(
        f"{NETWORK} {EXCHANGE} {SMALL_START} N = H + c (M = 4) is rounded up (ceil), to the nearest number (nearest), "
        "or not at all (fractional: the range has 2^N levels, rounded to a whole number of them)."
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
