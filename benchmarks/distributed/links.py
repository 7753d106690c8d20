"""Two network namespaces joined by a virtual cable whose speed is limited: needs Linux, root, and iproute2."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DEVICE = "link0"  # in both namespaces
ADDRESSES = ("10.99.0.1", "10.99.0.2")
BURST_S, LEAST_BURST = 1e-3, 32 << 10  # of the token bucket: short beside an exchange, more than a packet of 64 KB / 2
QUEUE_MS = 50  # what may wait in front of the link


def why_not() -> str | None:
    """Why namespaces cannot be made here, or None."""
    if not Path("/proc/net/dev").exists() or any(shutil.which(tool) is None for tool in ("ip", "tc")):
        return "network namespaces need Linux and the commands ip and tc of iproute2"
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        with Cable() as cable:
            cable.limit(100)
    except subprocess.CalledProcessError as error:
        return f"network namespaces cannot be made here: {' '.join(error.cmd)}: {error.stderr.strip()}"
    return None


class Cable:
    """Two namespaces, one for each of two processes, and the cable between them; all of it goes with the block."""

    def __init__(self) -> None:
        self.names = [f"effdl-{os.getpid()}-{rank}" for rank in (0, 1)]

    def __enter__(self) -> Cable:
        try:
            for name in self.names:
                _run("ip", "netns", "add", name)
            ends = [f"ef{os.getpid() % 100_000}{end}" for end in "ab"]
            _run("ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
            for name, end, address in zip(self.names, ends, ADDRESSES, strict=True):
                _run("ip", "link", "set", end, "netns", name, "name", DEVICE)
                _run("ip", "-n", name, "address", "add", f"{address}/24", "dev", DEVICE)
                _run("ip", "-n", name, "link", "set", DEVICE, "up")
                _run("ip", "-n", name, "link", "set", "lo", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        for name in self.names:  # the cable goes with its ends
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def limit(self, megabits: float | None) -> None:
        """Limit both directions to so many 10^6 bits per second; None: as fast as memory."""
        for name in self.names:
            subprocess.run(["tc", "-n", name, "qdisc", "del", "dev", DEVICE, "root"], capture_output=True, check=False)
            if megabits is not None:
                burst = max(int(megabits * 1e6 / 8 * BURST_S), LEAST_BURST)
                limits = ("rate", f"{megabits:g}mbit", "burst", str(burst), "latency", f"{QUEUE_MS}ms")
                _run("tc", "-n", name, "qdisc", "add", "dev", DEVICE, "root", "tbf", *limits)

    def start(self, rank: int, command: Sequence[str], **options: Any) -> subprocess.Popen:
        return subprocess.Popen(["ip", "netns", "exec", self.names[rank], *command], **options)


def sent_bytes() -> int:
    """What this process's end has sent since it was made: Ethernet frames without preamble and checksum.

    Packets that the kernel hands over in one piece, to be cut by the card, count with one header. That is up to 3% less
    than on a wire, for every exchange alike.
    """
    for line in Path("/proc/self/net/dev").read_text().splitlines():
        device, _, figures = line.partition(":")
        if device.strip() == DEVICE:
            return int(figures.split()[8])
    raise RuntimeError(f"this process has no network device {DEVICE}")


def _run(*command: str) -> None:
    subprocess.run(command, capture_output=True, text=True, check=True)
