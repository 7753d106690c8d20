"""Runs an experiment trial by trial. Every finished trial is a file, so a run can be interrupted and resumed.

<out>/<chapter>/<experiment>/trials/<setting>-s<seed>-<digest>.json   one trial; the digest covers all that shaped it
<out>/<chapter>/<experiment>/result.json, *.png                       the collected run
<out>/<chapter>/index.html                                            the chapter's experiments that have a result
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import effdl_fast
from effdl_fast.data import Dataset
from effdl_fast.errors import UserError
from effdl_fast.reproduce import store
from effdl_fast.reproduce.environment import MOMENTARY, describe, environment
from effdl_fast.reproduce.experiment import Experiment, Plan, Result, Trial, chapters, experiments, find
from effdl_fast.reproduce.report import Block, Section, Table, Text, page
from effdl_fast.reproduce.train import cpu_threads

Progress = Callable[[int, str], None]  # (epochs done since the last call, what happened)


def run(
    chapter: str,
    name: str,
    plan: Plan,
    data: Dataset | None,
    out: Path,
    *,
    device: torch.device | str = "cpu",
    progress: Progress = lambda epochs, text: None,
) -> Result:
    """Run what is missing of `plan`; write result.json, the plots and the chapter's index.html under `out`."""
    experiment, device = find(chapter, name), torch.device(device)
    folder = out / chapter / name
    described = data.describe() if data is not None else None
    data_on_device = data.to(device) if data is not None else None
    trials = []
    for seed in range(plan.trials):
        for label, setting in experiment.settings.items():
            path = folder / "trials" / f"{label}-s{seed}-{digest(label, setting, plan, described, seed, device)}.json"
            if path.is_file():
                progress(plan.epochs, f"{label} seed {seed}: stored")
            else:
                done = [0]
                trial = Trial(
                    setting, plan, seed, data_on_device, device, _ticker(progress, f"{label} seed {seed}", done)
                )
                with cpu_threads(experiment.threads) if experiment.threads else contextlib.nullcontext():
                    raw = experiment.run(trial)
                    where = environment(device)  # in here, so that it tells the threads of the trial
                record = {"setting": label, "seed": seed, "result": raw, "environment": where}
                store.write_json(path, record)
                progress(plan.epochs - done[0], f"{label} seed {seed}: done")
            trials.append(read_trial(path, label, seed))
    result = Result(chapter, name, plan.as_dict(), described, experiment.settings, trials)
    store.write_json(folder / "result.json", result.as_dict())
    for plot in experiment.plots(result):
        store.write_bytes(folder / f"{plot.name}.png", plot.png)
    write_chapter(chapter, out)
    return result


def total_epochs(chapter: str, name: str, plan: Plan) -> int:
    """The sum of what `run` reports as progress."""
    return plan.trials * plan.epochs * len(find(chapter, name).settings)


def digest(
    label: str, setting: Any, plan: Plan, data: Mapping[str, Any] | None, seed: int, device: torch.device
) -> str:
    """Twelve hex digits that change with whatever shapes a trial; the number of trials does not.

    data: what Dataset.describe says, a checksum of the samples among it.
    """
    shape = [label, setting, plan.epochs, plan.options, data, seed, device.type, effdl_fast.__version__]
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:12]


def _ticker(progress: Progress, label: str, done: list[int]) -> Callable[[str], None]:
    def tick(text: str) -> None:
        done[0] += 1
        progress(1, f"{label}: {text}")

    return tick


def read_trial(path: Path, label: str, seed: int) -> dict[str, Any]:
    """The trial in a file. UserError, with the file's name, where it holds anything else."""
    record = store.read_json(path)
    if not _is_trial(record) or (record["setting"], record["seed"]) != (label, seed):
        raise UserError(f"{path}: not a trial of {label} with seed {seed}; delete it to run again")
    return record


def _is_trial(record: Any) -> bool:
    kinds = {"setting": str, "seed": int, "result": dict, "environment": dict}
    return isinstance(record, dict) and all(isinstance(record.get(key), kind) for key, kind in kinds.items())


def load_result(path: Path) -> Result:
    """The result in a result.json. UserError, with the file's name, where it holds anything else."""
    try:
        result = Result(**store.read_json(path))
    except TypeError as error:
        raise UserError(f"{path}: not a result of this version ({error}); delete it") from error
    if not result.trials or not all(map(_is_trial, result.trials)):
        raise UserError(f"{path}: not a result of this version (its trials); delete it")
    return result


def write_chapter(chapter: str, out: Path) -> Path:
    """Render every result found under out/chapter into one index.html and return its path."""
    found = [name for name in experiments(chapter) if (out / chapter / name / "result.json").is_file()]
    sections = [section(find(chapter, name), load_result(out / chapter / name / "result.json")) for name in found]
    path = out / chapter / "index.html"
    intro = "Results of effdl_fast beside those of the thesis “Efficient Deep Learning” (A. Oland, CMU-CS-24-147)."
    store.write_text(path, page(f"{chapter}: {chapters()[chapter]}", intro, sections))
    return path


def section(experiment: Experiment, result: Result) -> Section:
    """One experiment's part of the page: what it is, how it was reduced, claims, table, plots, settings, machine."""
    reductions = experiment.reductions(result)
    size = "Run at the thesis's size." if not reductions else "Reduced run: " + "; ".join(reductions) + "."
    if experiment.is_smoke(result):
        size = f"A smoke run, too small to be compared with the thesis. {size}"
    blocks: list[Block] = [Text(experiment.about), Text(size), experiment.table(result)]
    claims = [] if experiment.is_smoke(result) else experiment.claims(result)
    if claims:
        rows = [[c.text, c.thesis, c.measured, "agrees" if c.holds else "differs"] for c in claims]
        blocks.append(
            Table(["Claim", "Thesis", "Measured here", ""], rows, "What the thesis says and what came out here.")
        )
    blocks += experiment.plots(result)
    keys = sorted({key for setting in result.settings.values() for key in setting})
    rows = [[label, *(_show(setting.get(key, "")) for key in keys)] for label, setting in result.settings.items()]
    blocks.append(Table(["Setting", *keys], rows, "Settings, as stored in result.json."))
    blocks += [Text(line) for line in measured_on(result.trials)]
    return Section(f"{experiment.title} ({experiment.thesis})", blocks)


def measured_on(trials: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line per distinct environment of `trials`: how many trials, between which dates, on what."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for trial in trials:
        facts = {key: value for key, value in trial["environment"].items() if key not in MOMENTARY}
        groups.setdefault(describe(facts), []).append(trial["environment"])
    lines = []
    for text, environments in groups.items():
        dates = sorted(e.get("date", "") for e in environments)
        loads = [e["load"] for e in environments if e.get("load") is not None]
        load = f", load {min(loads)} to {max(loads)}" if loads else ""
        lines.append(f"Measured in {len(environments)} trial(s), {dates[0]} to {dates[-1]}: {text}{load}")
    return lines


def _show(value: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
