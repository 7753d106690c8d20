"""The steps of `effdl filter`: what it refuses, what it computes, what it writes."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from effdl_fast import metrics
from effdl_fast.errors import UserError
from effdl_fast.filter.source import Source
from effdl_fast.ops._neighbours import METRICS
from effdl_fast.reproduce import store
from effdl_fast.reproduce.environment import environment

KEPT, DEPTH, FILES, JSON, HTML = "kept.npy", "depth.npy", "kept.txt", "report.json", "report.html"


@dataclass(frozen=True)
class Settings:
    k: int
    metric: str = "l2"
    batch_size: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Filtered:
    """depth: int32 (N,), of each sample; seconds: what finding it took; batches: how many mini-batches there were."""

    source: Source
    settings: Settings
    depth: np.ndarray
    batches: int
    seconds: float
    environment: dict[str, Any]

    @cached_property
    def kept(self) -> np.ndarray:
        """int64, ascending: the samples that are not redundant."""
        return np.flatnonzero(self.depth < self.settings.k)

    @property
    def labels(self) -> dict[int, str]:
        """The names of the classes that occur, by label."""
        return {int(label): self.source.stored.class_name(int(label)) for label in np.unique(self.source.stored.y)}


def require(out: Path, metric: str, force: bool) -> None:
    """UserError for what can be said before the work."""
    if metric not in METRICS:
        raise UserError(f"--metric: expected {', '.join(METRICS)}, got {metric!r}")
    store.require_folder(out)
    taken = [name for name in (KEPT, DEPTH, FILES, JSON, HTML) if (out / name).exists()]
    if taken and not force:
        raise UserError(f"--out: {out} holds {', '.join(taken)} already; --force replaces them")


def run(
    source: Source, settings: Settings, device: torch.device, progress: Callable[[int], Any] = lambda done: None
) -> Filtered:
    """The depth of every sample, from which the kept ones follow for any k."""
    stored, begin = source.stored, time.perf_counter()
    depth = metrics.redundancy_depths(
        torch.from_numpy(np.require(stored.x, requirements=["C", "W"])).to(device),
        stored.y,
        settings.batch_size,
        metric=settings.metric,
        generator=settings.seed,
        progress=progress,
    )
    found = depth.cpu().numpy()
    seconds = time.perf_counter() - begin
    batches = len(metrics.mini_batches(len(found), settings.batch_size, settings.seed))
    return Filtered(source, settings, found, batches, seconds, environment(device))


def write(filtered: Filtered, out: Path, html: str, facts: dict[str, Any]) -> None:
    """All files, each whole or not at all; report.json last, and an old one goes first, so that it belongs to all."""
    (out / JSON).unlink(missing_ok=True)
    store.write_bytes(out / KEPT, _npy(filtered.kept))
    store.write_bytes(out / DEPTH, _npy(filtered.depth))
    if filtered.source.files is None:
        (out / FILES).unlink(missing_ok=True)  # of an older run
    else:
        store.write_text(out / FILES, "".join(f"{filtered.source.files[i]}\n" for i in filtered.kept))
    store.write_text(out / HTML, html)
    store.write_json(out / JSON, facts)


def summary(filtered: Filtered) -> str:
    n, kept, settings = len(filtered.depth), len(filtered.kept), filtered.settings
    among = "among all samples"
    if filtered.batches > 1:
        among = f"in {filtered.batches} random mini-batches of about {n // filtered.batches:,}"
    return (
        f"{filtered.source.stored.name}: {kept:,} of {n:,} samples kept ({kept / n:.1%}) at k = {settings.k}; "
        f"neighbours {among}, metric {settings.metric}; {filtered.seconds:.1f} s"
    )


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
