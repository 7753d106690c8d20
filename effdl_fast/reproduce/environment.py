"""What a result was measured on: machine, versions, commit, threads. One record for experiments and benchmarks."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

import effdl_fast
from effdl_fast import _C

PACKAGE = Path(__file__).resolve().parents[1]
MOMENTARY = ("date", "load")  # what differs between two measurements in one environment


def environment(device: torch.device | str) -> dict[str, Any]:
    """Enough to judge a figure later; nothing that names a host or a user.

    To be called where the work ran: `threads` is torch's number at this moment.
    """
    device = torch.device(device)
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "effdl_fast": effdl_fast.__version__,
        "commit": commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "simd": _C.simd_level(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "device": device.type,
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
    }


def describe(facts: dict[str, Any]) -> str:
    """An environment as one line; what is None is left out."""
    return ", ".join(f"{key} {value}" for key, value in facts.items() if value is not None)


def commit(package: Path = PACKAGE) -> str | None:
    """The commit of the source tree that holds `package`, with "-dirty" where tracked files are changed.

    The variable EFFDL_COMMIT names it where there is only a copy. None for an installed package, whatever repository
    may surround it, and without git.
    """
    if given := os.environ.get("EFFDL_COMMIT"):
        return given
    tree = package.parent
    if not (tree / ".git").exists() or not (tree / "csrc" / "module.cpp").is_file():
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def cpu_name() -> str:
    """The processor's model name where the system tells it, its architecture otherwise."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
