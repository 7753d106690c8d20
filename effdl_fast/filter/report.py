"""The report of `effdl filter`: how much is kept for every k, of every class, and samples from both ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from effdl_fast import metrics
from effdl_fast.filter import command, pictures
from effdl_fast.filter.command import Filtered
from effdl_fast.reproduce.environment import describe
from effdl_fast.reproduce.report import Block, Section, Table, Text, page

SHOWN_K = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
EVERY_K, STEP = 100, 1.02  # the curve has every k up to here, then steps of 2%
MAX_LINES = 20  # classes in the plot
ROWS, PER_ROW = 10, 8  # of pictures


def curve_ks(depth: np.ndarray, k: int) -> list[int]:
    """1, 2, ... to the first k that keeps everything, thinned out beyond EVERY_K, and k itself."""
    last, ks = int(depth.max()) + 1, [1]
    while ks[-1] < last:
        ks.append(min(last, max(ks[-1] + 1, int(ks[-1] * STEP) if ks[-1] >= EVERY_K else 0)))
    return sorted({*ks, k})


def facts(filtered: Filtered) -> dict[str, Any]:
    """What report.json holds. Counts are exact; curve.kept[i] samples are kept at k = curve.k[i]."""
    stored, settings, depth = filtered.source.stored, filtered.settings, filtered.depth
    ks = curve_ks(depth, settings.k)
    return {
        "name": stored.name,
        "samples": len(depth),
        "sample_shape": list(stored.x.shape[1:]),
        "dtype": str(stored.x.dtype),
        "k": settings.k,
        "metric": settings.metric,
        "batch_size": settings.batch_size,
        "mini_batches": filtered.batches,
        "seed": settings.seed,
        "kept": len(filtered.kept),
        "kept_share": len(filtered.kept) / len(depth),
        "classes": [_class_facts(filtered, label, name, ks) for label, name in filtered.labels.items()],
        "curve": {"k": ks, "kept": _counts(depth, ks), "kept_counting_self": _counts(depth, ks, counting_self=True)},
        "seconds": filtered.seconds,
        "environment": filtered.environment,
    }


def html(filtered: Filtered, told: dict[str, Any]) -> str:
    """The page; `told` is what `facts` returned."""
    intro = (
        f"{command.summary(filtered)}. A sample is redundant, and left out, if all of its k nearest neighbours have "
        "its own class (thesis “Efficient Deep Learning”, section 5.4). Its depth is the largest k for which it is "
        "redundant, 0 if there is none."
    )
    sections = [
        Section("How much is kept", [_share_table(filtered), _curve_plot(filtered, told), _class_table(told)]),
        Section("Most and least redundant", _ends(filtered)),
        Section("Files", [Text(_files(filtered))]),
        Section("Machine", [Text(describe(told["environment"]))]),
    ]
    return page(f"k-filtering of {filtered.source.stored.name}", intro, sections)


def _counts(depth: np.ndarray, ks: Sequence[int], *, counting_self: bool = False) -> list[int]:
    shares = metrics.kept_curve(torch.from_numpy(depth), ks, counting_self=counting_self)
    return [round(share * len(depth)) for share in shares.tolist()]


def _class_facts(filtered: Filtered, label: int, name: str, ks: Sequence[int]) -> dict[str, Any]:
    depth = filtered.depth[filtered.source.stored.y == label]
    kept = int((depth < filtered.settings.k).sum())
    return {
        "label": label,
        "name": name,
        "samples": len(depth),
        "kept": kept,
        "kept_share": kept / len(depth),
        "median_depth": float(np.median(depth)),
        "curve": _counts(depth, ks),
    }


def _share_table(filtered: Filtered) -> Table:
    ks = sorted({*(k for k in SHOWN_K if k <= filtered.depth.max() + 1), filtered.settings.k})
    n = len(filtered.depth)
    rows: list[list[str | float | None]] = [
        [k, kept, 100 * kept / n, 100 * counted / n]
        for k, kept, counted in zip(
            ks, _counts(filtered.depth, ks), _counts(filtered.depth, ks, counting_self=True), strict=True
        )
    ]
    caption = "The last column counts a sample as the nearest of its own k neighbours; the first ones do not."
    return Table(["k", "kept", "kept %", "kept %, counting itself"], rows, caption)


def _curve_plot(filtered: Filtered, told: dict[str, Any]) -> Block:
    ks, n = told["curve"]["k"], told["samples"]
    lines = {"all": (ks, [100 * kept / n for kept in told["curve"]["kept"]], True)}
    classes = sorted(told["classes"], key=lambda c: (c["kept_share"], c["label"]))
    caption = f"Kept samples of all and of each class; k = {filtered.settings.k} is marked."
    if len(classes) > MAX_LINES:
        half = MAX_LINES // 2
        classes = classes[:half] + classes[-half:]
        caption += f" Of the classes the {half} that keep least and the {half} that keep most are shown."
    if len(told["classes"]) > 1:
        for c in sorted(classes, key=lambda c: c["label"]):
            lines[f"{c['name']} ({c['label']})" if c["name"] != str(c["label"]) else c["name"]] = (
                ks,
                [100 * kept / c["samples"] for kept in c["curve"]],
                False,
            )
    return pictures.curves(caption, filtered.settings.k, lines)


def _class_table(told: dict[str, Any]) -> Table:
    rows: list[list[str | float | None]] = [
        [c["name"], c["samples"], c["kept"], 100 * c["kept_share"], c["median_depth"]] for c in told["classes"]
    ]
    return Table(["class", "samples", "kept", "kept %", "median depth"], rows, f"Of each class, at k = {told['k']}.")


def _ends(filtered: Filtered) -> list[Block]:
    """Pictures of images, a scatter plot of points, a table of all else."""
    stored, x = filtered.source.stored, pictures.as_images(filtered.source.stored.x)
    if x is None and stored.x.ndim == 2 and stored.x.shape[1] == 2:
        caption = "Points are coloured by class. What is kept lies along the boundaries between classes."
        return [pictures.scatter(caption, stored.x, stored.y, filtered.kept, filtered.labels)]
    captions = {
        "most_redundant": "The most redundant samples: deepest inside their class.",
        "least_redundant": "The least redundant samples: at depth 0 the nearest neighbour has another class.",
    }
    groups = dict(zip(captions, (_rows(filtered, deepest) for deepest in (True, False)), strict=True))
    if x is not None:
        return [pictures.images(name, f"{captions[name]} Below each: its index and depth.", x, rows)
                for name, rows in groups.items()]  # fmt: skip
    return [
        Table(
            ["class", "samples (index: depth)"],
            [
                [label, ", ".join(f"{sample}: {filtered.depth[sample]}" for sample, _ in row)]
                for label, row in rows.items()
            ],
            captions[name],
        )
        for name, rows in groups.items()
    ]


def _rows(filtered: Filtered, deepest: bool) -> dict[str, list[tuple[int, str]]]:
    """PER_ROW samples of every class; where there are many classes, ROWS times as many of all of them."""
    depth, y, names = filtered.depth.astype(np.int64), filtered.source.stored.y, filtered.labels
    order = np.argsort(-depth if deepest else depth, kind="stable")
    if len(names) <= ROWS:
        groups = {name: order[y[order] == label][:PER_ROW] for label, name in names.items()}
        return {name: [(int(i), f"{i}: {depth[i]}") for i in group] for name, group in groups.items()}
    rows = [order[begin : begin + PER_ROW] for begin in range(0, min(len(order), ROWS * PER_ROW), PER_ROW)]
    return {
        f"{place * PER_ROW + 1} to {place * PER_ROW + len(row)}": [
            (int(i), f"{i}: {depth[i]}\n{names[int(y[i])][:14]}") for i in row
        ]
        for place, row in enumerate(rows)
    }


def _files(filtered: Filtered) -> str:
    text = (
        f"{command.KEPT}: indices of the kept samples, int64, ascending. {command.DEPTH}: the depth of every sample, "
        f"int32; the samples kept for another k are those where depth < k. {command.JSON}: the figures of this page."
    )
    if filtered.source.files is not None:
        text += f" {command.FILES}: the files of the kept samples, one a line; indices count all files in that order."
    return text
