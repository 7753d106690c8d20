"""Times ours against its peers, and says how far from the floor both are.

A benchmark of an op is a module `benchmarks/ops/bench_<op>.py` (of a solver, in `benchmarks/solvers`) with a function
`races(device, quick)` that yields `Race` objects one at a time, so that only one race's tensors exist at once. For each
race the harness

1. checks: `Race.check` raises if our result is wrong, and nothing is timed then;
2. warms every contestant up with an untimed call, which may compile, and finds how many calls make one sample (at least
   `MIN_SAMPLE_US`; exactly one where a contestant needs an untimed setup);
3. takes samples in rounds: every contestant once per round, starting with another one each time, so that a slow moment
   of the machine hits all of them; for races that move at least `FLUSH_FROM_BYTES` caches are flushed before each
   sample;
4. reports per contestant the median, the 10th and 90th percentile, GB/s, elements per second where the race says how
   many there are, and the ratio to ours: the median over the rounds of its time divided by our time in the same round.
   Above 1, ours is faster. Contestants that say how are also measured for their peak memory.

Times are wall clock on the CPU and CUDA events on the GPU. Threads, dtype and inputs are the same for all contestants.
"""

import gc
import importlib
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from effdl_fast import _C
from effdl_fast.errors import UserError
from effdl_fast.reproduce import plots, store
from effdl_fast.reproduce.environment import environment

Row = dict[str, Any]

OURS = "ours"
FLUSH_FROM_BYTES = 4 << 20  # smaller inputs stay in the cache between a layer and its loss; larger ones do not
FLUSH_BYTES = 128 << 20  # more than most last-level caches
MIN_SAMPLE_US = {False: 1000.0, True: 300.0}  # by quick; long beside the resolution of the clock
ROUNDS = {False: 60, True: 15}
MAX_RACE_S = {False: 25.0, True: 3.0}  # then the rounds so far must do, but never fewer than MIN_ROUNDS
MIN_ROUNDS = {False: 7, True: 3}
RESULTS = Path("results")


@dataclass
class Contestant:
    what: str
    run: Callable[[], Any]
    setup: Callable[[], Any] | None = None  # before every call, not timed
    peak_bytes: Callable[[], int] | None = None  # measures the memory that one call adds at its peak


@dataclass
class Target:
    """ours must be at least `ratio` times as fast as `against`. Below 1: at most 1/ratio times as slow.

    With of="memory", the peak memory of `against` must be at least `ratio` times ours.
    """

    against: str
    ratio: float
    of: str = "time"


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
    elements: int = 0  # that one call works on; 0: nobody asks
    notes: Sequence[str] = ()  # what a reader of the table should know


def modules() -> dict[str, str]:
    """The modules of all benchmarks, of ops first, by name."""
    here = Path(__file__).parent
    found = [p for folder in ("ops", "solvers") for p in sorted((here / folder).glob("bench_*.py"))]
    return {p.stem.removeprefix("bench_"): f".{p.parent.name}.{p.stem}" for p in found}


def names() -> list[str]:
    """What has a benchmark: ops and solvers."""
    return list(modules())


def default_device() -> str:
    return "cuda" if _C.build_info()["cuda"] and torch.cuda.is_available() else "cpu"


def run(
    op: str | None = None,
    quick: bool = False,
    threads: int | None = None,
    device: str | None = None,
    after_race: Callable[[list[Row]], object] = lambda rows: None,
) -> list[Row]:
    """Benchmarks one op or solver, or all; returns a row per contestant. after_race gets the rows of a race when done.

    A row has op, case, what, role (ours, peer or floor), median_us, p10_us, p90_us, ratio (this row's time over ours),
    bytes, gb_per_s, elements, floor (the floor's median_us, or None), peak_bytes and peak_ratio (this row's over ours;
    None where it was not measured), targets (list of {of, ratio, reached}), rounds, calls (per sample), device,
    threads, skipped, notes.
    """
    if op is not None and op not in names():
        raise UserError(f"bench: no benchmark of {op!r}; there are {', '.join(names())}")
    where = torch.device(device or default_device())
    before = torch.get_num_threads()
    rows: list[Row] = []
    try:
        torch.set_num_threads(threads or before)
        for name in [op] if op else names():
            module = importlib.import_module(modules()[name], package=__package__)
            for race in module.races(where, quick):
                done = measure(race, quick)
                after_race(done)
                rows += done
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
    peaks = [c.peak_bytes() if c.peak_bytes else None for c in race.contestants]
    return [_row(race, i, samples, calls[i], peaks) for i in range(len(samples))]


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

    def once() -> float:
        if contestant.setup:
            contestant.setup()
        return clock(contestant.run, 1)

    once()  # compiles and allocates: its time tells nothing
    taken, calls = once(), 1
    if contestant.setup or taken > 100 * sample_us:
        return 1
    while (taken := clock(contestant.run, calls)) < sample_us / 2 and calls < 1 << 16:
        calls *= 2
    return max(1, round(calls * sample_us / max(taken, 1e-3)))


def _flusher(race: Race) -> Callable[[], Any]:
    if race.bytes < FLUSH_FROM_BYTES:
        return lambda: None
    junk = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device=race.device)
    return junk.random_ if race.device.type == "cuda" else lambda: junk.add_(1)


def _row(race: Race, i: int, samples: list[list[float]], calls: int, peaks: list[int | None]) -> Row:
    own, ours = samples[i], samples[0]
    what = race.contestants[i].what
    median = statistics.median(own)
    tenths = statistics.quantiles(own, n=10, method="inclusive")
    ratio = statistics.median(a / b for a, b in zip(own, ours, strict=True))
    floor = next(
        (statistics.median(s) for c, s in zip(race.contestants, samples, strict=True) if c.what == race.floor), None
    )
    role = OURS if i == 0 else "floor" if what == race.floor else "peer"
    peak, our_peak = peaks[i], peaks[0]
    peak_ratio = peak / our_peak if peak is not None and our_peak else None
    found = {"time": ratio, "memory": peak_ratio}
    targets = [
        {"of": t.of, "ratio": t.ratio, "reached": value >= t.ratio}
        for t in race.targets
        if t.against == what and (value := found[t.of]) is not None
    ]
    return {
        "op": race.op, "case": race.case, "what": what, "role": role, "median_us": median, "p10_us": tenths[0],
        "p90_us": tenths[-1],
        "ratio": ratio, "bytes": race.bytes, "gb_per_s": race.bytes / median / 1e3, "floor": floor,
        "peak_bytes": peak, "peak_ratio": peak_ratio, "targets": targets,
        "rounds": len(own), "calls": calls, "device": str(race.device), "threads": torch.get_num_threads(),
        "elements": race.elements, "skipped": list(race.skipped) if i == 0 else [],
        "notes": list(race.notes) if i == 0 else [],
    }  # fmt: skip


# ---- report ----


def append_history(rows: list[Row], folder: Path) -> Path:
    """One JSON object per row of one device, with the environment, at the end of folder/history.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    path, common = folder / "history.jsonl", environment(rows[0]["device"])
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
            lines += [f"  {note}" for note in row["notes"]]
            rate = "1e9/s" if row["elements"] else ""
            lines.append(f"  {'':<44}{'median us':>11}{'p10':>11}{'p90':>11}{'GB/s':>8}{rate:>8}{'ratio':>10}  target")
        last = key
        rate = f"{row['elements'] / row['median_us'] / 1e3:.2f}" if row["elements"] else ""
        lines.append(
            f"  {row['what']:<44}{row['median_us']:>11.1f}{row['p10_us']:>11.1f}{row['p90_us']:>11.1f}"
            f"{row['gb_per_s']:>8.1f}{rate:>8}{row['ratio']:>9.2f}x  {_verdict(row, 'time')}".rstrip()
        )
        if row["peak_bytes"] is not None:
            ratio = f"{row['peak_ratio']:.2f}x" if row["peak_ratio"] is not None else ""
            lines.append(
                f"  {'':<44}{row['peak_bytes'] / 1e6:>11.1f} MB peak memory added{ratio:>34}  "
                f"{_verdict(row, 'memory')}".rstrip()
            )
    return "\n".join(lines)


def _verdict(row: Row, of: str) -> str:
    found = [t for t in row["targets"] if t["of"] == of]
    return ", ".join(f"{t['ratio']:.2f}x {'met' if t['reached'] else 'MISSED'}" for t in found)


def main(
    op: str | None, quick: bool, out: Path | None, plot: bool, device: str | None = None, strict: bool = False
) -> int:
    """Runs; prints each race's table and appends it to out/history.jsonl (default folder: results) as it is done, so
    that nothing measured is lost to a time limit or Ctrl-C; draws plots there.

    Returns 0; with `strict`, 1 where a target was missed.
    """
    folder = out or RESULTS
    store.require_folder(folder)
    if plot:
        plots.require()
    about = environment(device or default_device())
    print(f"{about['gpu'] or about['cpu']}, torch {about['torch']}, SIMD {about['simd']}, {about['cores']} cores, load "
          f"{about['load']}, commit {about['commit']}; ratio: time relative to ours; target: what it must be at least",
          flush=True)  # fmt: skip

    def keep(done: list[Row]) -> None:
        append_history(done, folder)
        print(table(done), flush=True)

    rows = run(op, quick, device=device, after_race=keep)
    missed = sum(not target["reached"] for row in rows for target in row["targets"])
    print(f"\ntargets missed: {missed}. Appended to {folder / 'history.jsonl'}")
    if plot:
        for name in dict.fromkeys(row["op"] for row in rows):
            image = plots.benchmark(f"bench_{name}", [row for row in rows if row["op"] == name])
            path = folder / f"{image.name}.png"
            store.write_bytes(path, image.png)
            print(f"plot: {path}")
    return int(strict and missed > 0)
