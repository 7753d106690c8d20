"""What `effdl demo` does: the network of Table 4.1 with four output layers on real data, the op benchmarks, one report.

Networks, settings, training and views are those of `effdl reproduce ch4 table_4_1`; only the choice and the report are
made here.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from effdl_fast.data import Dataset
from effdl_fast.reproduce import plots, store
from effdl_fast.reproduce.ch4 import table_4_1
from effdl_fast.reproduce.ch4.parts.classify import error_curves, error_table
from effdl_fast.reproduce.environment import environment
from effdl_fast.reproduce.experiment import Plan, Result, Trial
from effdl_fast.reproduce.report import Section, Table, Text, page
from effdl_fast.reproduce.runner import Progress, measured_on
from effdl_fast.reproduce.train import cpu_threads

OUTPUTS = ("softmax", "linear", "exp-GA", "pow3-GA")
MAX_EPOCHS, MIN_EPOCHS = 100, 5
SAMPLES_PER_RUN = 300_000  # training samples seen by one run at most, so that the demo stays one of minutes
BUSY = 1.5  # load per core above which timings are called unreliable

Row = Mapping[str, Any]  # a benchmark row: op, case, what, role, median_us, p10_us, p90_us, ratio


def default_epochs(data: Dataset) -> int:
    """100 as in the thesis, fewer for large data: 5 for MNIST."""
    return max(MIN_EPOCHS, min(MAX_EPOCHS, SAMPLES_PER_RUN // len(data.x_train)))


def total_epochs(seeds: int, epochs: int) -> int:
    """What `train_all` reports as progress."""
    return seeds * epochs * len(OUTPUTS)


def train_all(data: Dataset, seeds: int, epochs: int, progress: Progress = lambda epochs, text: None) -> Result:
    """Train every output layer with seeds 0..seeds-1 on the CPU; a Result as `effdl reproduce` makes it, but kept in
    memory.
    """
    settings = {label: table_4_1.SETTINGS[label] for label in OUTPUTS}
    plan, device = Plan(trials=seeds, epochs=epochs, data=data.name), torch.device("cpu")
    trials = []
    for seed in range(seeds):
        for label, setting in settings.items():
            done: list[str] = []

            def tick(text: str, label: str = label, seed: int = seed, done: list[str] = done) -> None:
                done.append(text)
                progress(1, f"{label} seed {seed}: {text}")

            with cpu_threads(1):  # as table_4_1 runs its trials
                raw = table_4_1.run(Trial(setting, plan, seed, data, device, tick))
                trials.append({"setting": label, "seed": seed, "result": raw, "environment": environment(device)})
            progress(epochs - len(done), f"{label} seed {seed}: done")
    return Result("ch4", "demo", plan.as_dict(), data.describe(), settings, trials)


def accuracy_table(result: Result) -> Table:
    """Median smallest test error and epochs to converge of each output layer."""
    return error_table(result, {}, "Median over seeds of the smallest test error, and of the epoch where it was seen.")


def curves_table(result: Result) -> Table:
    """Every test error measured: one row per output, seed and epoch."""
    rows: list[list[str | float | None]] = [
        [trial["setting"], trial["seed"], epoch, error]
        for trial in result.trials
        for epoch, error in enumerate(trial["result"]["test_error"], 1)
    ]
    return Table(["output", "seed", "epoch", "test_error_percent"], rows)


def benchmark_table(rows: Sequence[Row]) -> Table:
    """The harness's rows as a table."""
    columns = ["op", "case", "what", "median_us", "p10_us", "p90_us", "ratio"]
    caption = "Microseconds per call. “ratio” is the time relative to ours: above 1, ours is faster."
    return Table(columns, [[row[column] for column in columns] for row in rows], caption)


def write_report(result: Result, rows: Sequence[Row] | None, out: Path) -> Path:
    """Write index.html, accuracy.csv, curves.csv and, where there are rows, benchmark.csv into `out`; returns the
    page's path.
    """
    sections = [_training_section(result)]
    store.write_text(out / "accuracy.csv", accuracy_table(result).to_csv())
    store.write_text(out / "curves.csv", curves_table(result).to_csv())
    if rows is None:
        (out / "benchmark.csv").unlink(missing_ok=True)  # an older run's figures do not belong to this report
    else:
        sections.append(_benchmark_section(rows))
        store.write_text(out / "benchmark.csv", benchmark_table(rows).to_csv())
    sections.append(Section("Machine", [Text(line) for line in measured_on(result.trials)]))
    store.write_text(out / "index.html", page("effdl_fast demo", headline(result, rows), sections))
    return out / "index.html"


def headline(result: Result, rows: Sequence[Row] | None) -> str:
    """The page's first lines: what came out, from the measurements."""
    errors = {label: result.median(label, "best_error") for label in result.settings}
    best = min(errors, key=errors.__getitem__)
    text = (
        "Compiled gradient-amplifying losses (thesis “Efficient Deep Learning”, chapter 4) on real data. Lowest median "
        f"test error: {best} with {errors[best]:.2f} %."
    )
    if best != "softmax":
        text += f" Softmax has {errors['softmax']:.2f} %."
    return text + benchmark_summary(rows or ()) + busy_warning(result)


def benchmark_summary(rows: Sequence[Row]) -> str:
    """A sentence with each peer's time relative to ours, peer by peer: median and range over the cases measured."""
    peers: dict[str, list[float]] = {}
    for row in rows:
        if row["role"] == "peer":
            peers.setdefault(row["what"], []).append(row["ratio"])
    if not peers:
        return ""
    told = [
        f"{what} {statistics.median(r):.2f} ({min(r):.2f} to {max(r):.2f} in {len(r)} case{'s' * (len(r) > 1)})"
        for what, r in peers.items()
    ]
    return f" Time relative to ours, median over the cases (above 1, ours is faster): {'; '.join(told)}."


def busy_warning(result: Result) -> str:
    """A sentence where the machine had more to do than its cores allow when the run began, else nothing."""
    machine = result.trials[0]["environment"]
    load, cores = machine["load"], machine["cores"]
    if load is None or cores is None or load <= BUSY * cores:
        return ""
    return f" The machine was busy (load {load} on {cores} cores): the timings cannot be trusted."


def _training_section(result: Result) -> Section:
    data = result.data or {}
    text = (
        f"Data: {data['name']}, {data['train']} training and {data['test']} test samples. The network is that of "
        f"Table 4.1 (392-50 ReLU units), plain SGD for {result.plan['epochs']} epochs, {result.plan['trials']} seed(s) "
        "per output layer; learning rates were tuned on MNIST for each output, as docs/reproduce.md tells. linear, "
        "exp-GA and pow3-GA train through the compiled ops, softmax through PyTorch's cross-entropy."
    )
    curve = error_curves(
        result, "error", "Median test error over the seeds.", from_epoch=3 if result.plan["epochs"] > 10 else 1
    )
    return Section("Training: test error and epochs to converge", [Text(text), accuracy_table(result), curve])


def _benchmark_section(rows: Sequence[Row]) -> Section:
    text = (
        "Every op was checked against its reference before it was timed; a copy of the same bytes shows what the "
        "memory allows."
    )
    plot = plots.benchmark("benchmark", rows)
    return Section("Benchmarks: compiled ops against PyTorch", [Text(text), plot, benchmark_table(rows)])
