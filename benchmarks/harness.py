"""Times ours against its peers, and says how far from the floor both are.

A benchmark of an op is a module `benchmarks/ops/bench_<op>.py` with a function `races(device, quick)` that yields
`Race` objects one at a time, so that only one race's tensors exist at once. For each race the harness

1. checks: `Race.check` raises if our result is wrong, and nothing is timed then;
2. warms every contestant up and finds how many calls make one sample (at least `MIN_SAMPLE_US`; exactly one where a
   contestant needs an untimed setup);
3. takes samples in rounds: every contestant once per round, starting with another one each time, so that a slow moment
   of the machine hits all of them; for races that move at least `FLUSH_FROM_BYTES` caches are flushed before each
   sample;
4. reports per contestant the median, the 10th and 90th percentile, GB/s, and the ratio to ours: the median over the
   rounds of its time divided by our time in the same round. Above 1, ours is faster.

Times are wall clock on the CPU and CUDA events on the GPU. Threads, dtype and inputs are the same for all contestants.
"""

import datetime
import gc
import importlib
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import effdl_fast
from effdl_fast import _C

Row = dict[str, Any]

OURS = "ours"
FLUSH_FROM_BYTES = 4 << 20  # smaller inputs stay in the cache between a layer and its loss; larger ones do not
FLUSH_BYTES = 128 << 20  # more than the last-level cache of the machines at hand
MIN_SAMPLE_US = {False: 1000.0, True: 300.0}  # by quick; perf_counter itself costs less than 0.1 us
ROUNDS = {False: 60, True: 15}
MAX_RACE_S = {False: 25.0, True: 3.0}  # then the rounds so far must do, but never fewer than MIN_ROUNDS
MIN_ROUNDS = {False: 7, True: 3}
RESULTS = Path("results")


@dataclass
class Contestant:
    what: str
    run: Callable[[], Any]
    setup: Callable[[], Any] | None = None  # before every call, not timed


@dataclass
class Target:
    """ours must be at least `ratio` times as fast as `against`. Below 1: at most 1/ratio times as slow."""

    against: str
    ratio: float


@dataclass
class Race:
    """One case of one op: what is compared, on what, and what is to be reached."""

    op: str
    case: str
    contestants: list[Contestant]  # the first is ours
    bytes: int  # that no implementation can avoid moving
    check: Callable[[], None]
    floor: str | None = None  # the contestant that moves these bytes and does nothing else
    targets: Sequence[Target] = ()
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    skipped: Sequence[str] = ()  # contestants that cannot run here, with the reason


def names() -> list[str]:
    """The ops that have a benchmark."""
    folder = Path(__file__).parent / "ops"
    return sorted(p.stem.removeprefix("bench_") for p in folder.glob("bench_*.py"))


def default_device() -> str:
    return "cuda" if _C.build_info()["cuda"] and torch.cuda.is_available() else "cpu"


def run(op: str | None = None, quick: bool = False, threads: int | None = None, device: str | None = None) -> list[Row]:
    """Benchmarks one op or all; returns a row per contestant.

    A row has op, case, what, role (ours, peer or floor), median_us, p10_us, p90_us, ratio (this row's time over ours),
    bytes, gb_per_s, floor (the floor's median_us, or None), targets (list of {ratio, reached}), rounds, calls (per
    sample), device, threads, skipped.
    """
    if op is not None and op not in names():
        raise ValueError(f"bench: no benchmark of {op!r}; there are {', '.join(names())}")
    where = torch.device(device or default_device())
    before = torch.get_num_threads()
    rows: list[Row] = []
    try:
        torch.set_num_threads(threads or before)
        for name in [op] if op else names():
            module = importlib.import_module(f".ops.bench_{name}", package=__package__)
            for race in module.races(where, quick):
                rows += measure(race, quick)
    finally:
        torch.set_num_threads(before)
    return rows


def measure(race: Race, quick: bool) -> list[Row]:
    race.check()
    clock = _cuda_us if race.device.type == "cuda" else _wall_us
    flush = _flusher(race)
    calls = [_calls(c, clock, MIN_SAMPLE_US[quick]) for c in race.contestants]
    samples: list[list[float]] = [[] for _ in race.contestants]
    order = list(range(len(race.contestants)))
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = time.perf_counter()
        for index in range(ROUNDS[quick]):
            if index >= MIN_ROUNDS[quick] and time.perf_counter() - start > MAX_RACE_S[quick]:
                break
            for i in order:
                contestant = race.contestants[i]
                if contestant.setup:
                    contestant.setup()
                flush()
                samples[i].append(clock(contestant.run, calls[i]) / calls[i])
            order = order[1:] + order[:1]
    finally:
        if collecting:
            gc.enable()
    return [_row(race, i, samples, calls[i]) for i in range(len(samples))]


def _wall_us(function: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter_ns()
    for _ in range(calls):
        function()
    return (time.perf_counter_ns() - start) / 1e3


def _cuda_us(function: Callable[[], Any], calls: int) -> float:
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    for _ in range(calls):
        function()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) * 1e3


def _calls(contestant: Contestant, clock: Callable[[Callable[[], Any], int], float], sample_us: float) -> int:
    """Warms up, and finds how many calls take sample_us; one where each needs its setup."""
    if contestant.setup:
        contestant.setup()
    taken, calls = clock(contestant.run, 1), 1
    if contestant.setup or taken > 100 * sample_us:  # a call this long is as warm as it gets
        return 1
    while (taken := clock(contestant.run, calls)) < sample_us / 2 and calls < 1 << 16:
        calls *= 2
    return max(1, round(calls * sample_us / max(taken, 1e-3)))


def _flusher(race: Race) -> Callable[[], Any]:
    if race.bytes < FLUSH_FROM_BYTES:
        return lambda: None
    junk = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device=race.device)
    return junk.random_ if race.device.type == "cuda" else lambda: junk.add_(1)


def _row(race: Race, i: int, samples: list[list[float]], calls: int) -> Row:
    own, ours = samples[i], samples[0]
    what = race.contestants[i].what
    median = statistics.median(own)
    tenths = statistics.quantiles(own, n=10, method="inclusive")
    ratio = statistics.median(a / b for a, b in zip(own, ours, strict=True))
    floor = next(
        (statistics.median(s) for c, s in zip(race.contestants, samples, strict=True) if c.what == race.floor), None
    )
    role = OURS if i == 0 else "floor" if what == race.floor else "peer"
    targets = [{"ratio": t.ratio, "reached": ratio >= t.ratio} for t in race.targets if t.against == what]
    return {
        "op": race.op, "case": race.case, "what": what, "role": role, "median_us": median, "p10_us": tenths[0],
        "p90_us": tenths[-1],
        "ratio": ratio, "bytes": race.bytes, "gb_per_s": race.bytes / median / 1e3, "floor": floor, "targets": targets,
        "rounds": len(own), "calls": calls, "device": str(race.device), "threads": torch.get_num_threads(),
        "skipped": list(race.skipped) if i == 0 else [],
    }  # fmt: skip


# ---- report ----


def machine() -> dict[str, Any]:
    """Where and with what a result was measured."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(),
        "effdl_fast": effdl_fast.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "simd": _C.simd_level(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _commit() -> str | None:
    """Of the source tree, or of the variable EFFDL_COMMIT where there is only a copy of it."""
    if given := os.environ.get("EFFDL_COMMIT"):
        return given
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def append_history(rows: list[Row], folder: Path) -> Path:
    """One JSON object per row, with the machine, at the end of folder/history.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    path, common = folder / "history.jsonl", machine()
    with path.open("a") as file:
        file.writelines(json.dumps({**common, **row}) + "\n" for row in rows)
    return path


def table(rows: list[Row]) -> str:
    """The rows as text, a block per case."""
    lines: list[str] = []
    last = None
    for row in rows:
        key = (row["op"], row["case"])
        if key != last:
            lines += ["", f"{row['op']}  {row['case']}  ({row['device']}, {row['threads']} threads)"]
            lines += [f"  not measured: {reason}" for reason in row["skipped"]]
            lines.append(f"  {'':<44}{'median us':>11}{'p10':>11}{'p90':>11}{'GB/s':>8}{'ratio':>8}  target")
        last = key
        verdict = ", ".join(f"{t['ratio']:.2f}x {'met' if t['reached'] else 'MISSED'}" for t in row["targets"])
        lines.append(
            f"  {row['what']:<44}{row['median_us']:>11.1f}{row['p10_us']:>11.1f}{row['p90_us']:>11.1f}"
            f"{row['gb_per_s']:>8.1f}{row['ratio']:>7.2f}x  {verdict}".rstrip()
        )
    return "\n".join(lines)


def _plot(rows: list[Row], folder: Path) -> Iterator[Path]:
    """One PNG per op: ratios to ours, a group of bars per case."""
    from matplotlib.figure import Figure

    for op in dict.fromkeys(row["op"] for row in rows):
        mine = [row for row in rows if row["op"] == op]
        labels = [f"{row['case']}: {row['what']}" for row in mine]
        figure = Figure(figsize=(9, 1 + 0.28 * len(mine)), layout="constrained")
        axes = figure.add_subplot()
        colors = ["tab:blue" if row["ratio"] == 1 else "tab:gray" for row in mine]
        axes.barh(labels, [row["ratio"] for row in mine], color=colors)
        axes.axvline(1, color="black", linewidth=0.8)
        axes.invert_yaxis()
        axes.set_xlabel("time relative to ours (log scale; right of 1: ours is faster)")
        axes.set_xscale("log")
        path = folder / f"bench_{op}.png"
        figure.savefig(path, dpi=120)
        yield path


def main(op: str | None, quick: bool, out: Path | None, plot: bool, device: str | None = None) -> int:
    """Runs, prints the table, appends to out/history.jsonl (default folder: results) and draws plots there."""
    folder = out or RESULTS
    if plot:
        importlib.import_module("matplotlib")  # before minutes of measuring, not after
    rows = run(op, quick, device=device)
    about = machine()
    print(f"{about['gpu'] if rows and rows[0]['device'] != 'cpu' else about['cpu']}, torch {about['torch']}, "
          f"SIMD {about['simd']}, {about['cores']} cores, load {about['load']}, commit {about['commit']}")  # fmt: skip
    print(table(rows))
    print(
        f"\nratio: time relative to ours; target: what it must be at least. Appended to {append_history(rows, folder)}"
    )
    if plot:
        for path in _plot(rows, folder):
            print(f"plot: {path}")
    return 0
