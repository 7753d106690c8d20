"""Bytes on the wire and time per exchange: all-reduce, PowerSGD and compressed exchanges over links of several speeds.

Needs Linux and root, as two processes are put in network namespaces of their own; says so and does nothing otherwise.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from effdl_fast.reproduce import store
from effdl_fast.reproduce.environment import describe, environment
from effdl_fast.reproduce.report import Table

from . import links, workload

LINKS = (100.0, 1000.0, 2500.0, 5000.0, 10000.0)  # 10^6 bits per second
SECONDS = 6.0  # about, for the rounds of one exchange
PLAIN, GRADIENTS = "float32 all-reduce", "DDP, float32"  # what each exchange is compared with
TARGET_BYTES, TARGET_TIME, TARGET_LINK = 7.0, 4.0, 100.0
Rows = dict[str, dict[str, Any]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.distributed", description=__doc__)
    parser.add_argument("--data", default="digits", help="what the network is trained on: digits or an .npz file")
    parser.add_argument("--epochs", type=int, default=20, help="of that training")
    parser.add_argument("--weights", type=Path, help="a .safetensors file instead")
    parser.add_argument("--links", type=float, nargs="+", default=LINKS, help="10^6 bits per second")
    parser.add_argument("--only", nargs="+", default=[], help="names of exchanges; all without it")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="about, for each exchange")
    parser.add_argument("--out", type=Path, default=Path("results/distributed"), help="folder of the result")
    arguments = parser.parse_args()
    if reason := links.why_not():
        print(f"skipped: {reason}")
        return 0
    store.require_folder(arguments.out)
    load = (
        workload.stored(arguments.weights)
        if arguments.weights
        else workload.trained(arguments.data, arguments.epochs, lambda line: print(line, flush=True))
    )
    result: dict[str, Any] = {"environment": environment("cpu"), "workload": load["what"], "elements": load["elements"]}
    result["links"] = {}
    with tempfile.TemporaryDirectory() as folder, links.Cable() as cable:
        torch.save(load, f"{folder}/workload.pt")
        for megabits in arguments.links:
            cable.limit(megabits)
            rows = measure(cable, Path(folder), arguments.seconds, arguments.only)
            result["links"][f"{megabits:g}"] = rows
            print(table(megabits, rows).to_text(), flush=True)
    result["break_even"] = {name: break_even(result["links"], name) for name in rows if "ours" in name}
    for name, text in result["break_even"].items():
        print(f"{name}: {text}")
    print(describe(result["environment"]))
    store.write_json(arguments.out / "result.json", result)
    return 0


def measure(cable: links.Cable, folder: Path, seconds: float, only: list[str]) -> Rows:
    """Both processes, each in its namespace; the rows that the first one wrote."""
    worker, result = Path(__file__).with_name("worker.py"), folder / "rows.json"
    for rank in (0, 1):
        (folder / f"done{rank}").unlink(missing_ok=True)
    package = Path(sys.modules["effdl_fast"].__file__ or "").parents[1]
    variables = {**os.environ, "PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"}
    command = [links.ADDRESSES[0], f"{folder}/workload.pt", str(result), str(seconds), *only]
    processes = [cable.start(r, [sys.executable, str(worker), str(r), *command], env=variables) for r in (0, 1)]
    try:
        while None in (codes := [p.poll() for p in processes]) and not any(codes):
            time.sleep(0.1)
        if any(codes):  # the other process would wait for ever
            raise subprocess.CalledProcessError(max(c or 0 for c in codes), "worker.py")
    finally:
        for p in processes:
            p.kill()
            p.wait()
    return json.loads(result.read_text())


def peer(name: str) -> str:
    return GRADIENTS if name.startswith("DDP") else PLAIN


def table(megabits: float, rows: Rows) -> Table:
    """Bytes and times, and how many times smaller and quicker than float32 each is."""
    cells: list[list[str | float | None]] = []
    for name, row in rows.items():
        plain = rows.get(peer(name))
        fewer = plain["sent_bytes"] / row["sent_bytes"] if plain else math.nan
        faster = plain["seconds"] / row["seconds"] if plain else math.nan
        spread = f"{1e3 * row['p10']:.1f} to {1e3 * row['p90']:.1f}"
        missed = "ours" in name and megabits == TARGET_LINK and (fewer < TARGET_BYTES or faster < TARGET_TIME)
        size, time = f"{row['sent_bytes']:,.0f}", f"{1e3 * row['seconds']:.1f}"
        marks = (f"{row['relative_error']:.1e}", "below 7x or 4x" if missed else "")
        cells.append([name, size, f"{fewer:.2f}", time, spread, f"{faster:.2f}", *marks])
    columns = ["exchange", "bytes sent", "fewer", "ms", "10% to 90%", "faster", "rel. error", "target"]
    return Table(columns, cells, f"{megabits:g} Mb/s, {len(rows)} exchanges")


def break_even(by_link: dict[str, Rows], name: str) -> str:
    """Up to which link speed an exchange is quicker than float32, between two measured speeds on a log scale."""
    points = []
    for megabits, rows in by_link.items():
        if name in rows and peer(name) in rows:
            points.append((float(megabits), rows[peer(name)]["seconds"] / rows[name]["seconds"]))
    points.sort()
    for (a, fast), (b, slow) in pairwise(points):
        if fast > 1 >= slow:
            share = math.log(fast) / (math.log(fast) - math.log(slow))
            return f"quicker up to about {a * (b / a) ** share:.0f} Mb/s (measured: {a:g} quicker, {b:g} not)"
    if not points:
        return "not compared"
    return f"quicker at all of {points[0][0]:g} to {points[-1][0]:g} Mb/s" if points[-1][1] > 1 else "never quicker"


if __name__ == "__main__":
    sys.exit(main())
