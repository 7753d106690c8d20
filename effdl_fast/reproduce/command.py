"""What `effdl reproduce` does: choose experiments, shape their plans, run them and say what came out."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from effdl_fast.data import Dataset, load
from effdl_fast.errors import UserError
from effdl_fast.reproduce import plots, runner, store
from effdl_fast.reproduce.experiment import Experiment, Plan, Result, chapters, experiments, find
from effdl_fast.reproduce.train import cpu_threads

Say = Callable[[str], object]


@dataclass(frozen=True)
class Overrides:
    """What the user changes in a plan; None leaves it."""

    quick: bool = False
    trials: int | None = None
    epochs: int | None = None
    data: str | None = None
    options: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Source:
    """Where torchvision's data lie, and whether they may be fetched."""

    root: Path
    download: bool


def listing(chapter: str | None = None) -> str:
    """Chapters and experiments, one a line."""
    lines = []
    for name in [chapter] if chapter else chapters():
        names = experiments(name)
        lines.append(f"{name}  {chapters()[name]}")
        lines += [f"  {stem:<16} {find(name, stem).title}: {find(name, stem).thesis}" for stem in names]
    return "\n".join(lines)


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """{"width": 0.25} from ["width=0.25"]; values are JSON, or text where they are not."""
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UserError(f"--set: expected KEY=VALUE, got {pair!r}")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    return options


def pick_device(name: str) -> torch.device:
    """The torch device called `name`; "auto" is CUDA where there is a device. UserError for one that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"--device: {name!r} is no torch device") from error
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"--device: expected cpu or cuda, got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device: there is no {name}; torch sees {torch.cuda.device_count()} CUDA devices")
    return device


def make_plan(experiment: Experiment, overrides: Overrides) -> Plan:
    """The experiment's plan with the user's changes. UserError for an option that it does not have or cannot be."""
    plan = experiment.quick if overrides.quick else experiment.full
    options = dict(overrides.options or {})
    unknown = sorted(set(options) - set(experiment.full.options))
    if unknown:
        known = ", ".join(experiment.full.options) or "none"
        raise UserError(f"--set: {experiment.title} has no option {', '.join(unknown)}; its options: {known}")
    for key, value in options.items():
        experiment.options[key].check(key, value)
    return replace(
        plan,
        trials=overrides.trials or plan.trials,
        epochs=overrides.epochs or plan.epochs,
        data=(overrides.data or plan.data) if plan.data is not None else None,
        options={**plan.options, **options},
    )


def run_chapter(
    chapter: str, name: str | None, overrides: Overrides, source: Source, out: Path, device: torch.device, say: Say
) -> None:
    """Run one experiment or a whole chapter, with progress bars; `say` gets the tables and claims."""
    plots.require()
    store.require_folder(out)
    names = [name] if name is not None else experiments(chapter)
    plans = {stem: make_plan(find(chapter, stem), overrides) for stem in names}
    loaded: dict[str, Dataset] = {}
    for stem, plan in plans.items():
        experiment = find(chapter, stem)
        if experiment.heavy and name is None and not overrides.quick and device.type == "cpu":
            say(
                f"\n{stem}: left out, at full size it needs a GPU; `effdl reproduce {chapter} {stem}` runs it all the "
                "same"
            )
            continue
        if plan.data is not None and plan.data not in loaded:
            loaded[plan.data] = load(plan.data, root=source.root, download=source.download)
        data = loaded[plan.data] if plan.data is not None else None
        # A smoke run's work is too small to share: on a busy machine waiting for a second thread only slows it down.
        threads = cpu_threads(1) if overrides.quick else contextlib.nullcontext()
        with threads, tqdm(total=runner.total_epochs(chapter, stem, plan), unit="epoch", desc=stem) as bar:
            result = runner.run(chapter, stem, plan, data, out, device=device, progress=advance(bar))
        say_result(experiment, result, say)
    say(f"\nresults: {out / chapter / 'index.html'}")


def say_result(experiment: Experiment, result: Result, say: Say) -> None:
    """The table, how the run was reduced and, unless it is a smoke run, the thesis's claims beside our figures."""
    reductions = experiment.reductions(result)
    say(f"\n{experiment.title} ({experiment.thesis})\n{experiment.table(result).to_text()}")
    say(f"  reduced run: {'; '.join(reductions)}" if reductions else "  at the thesis's size")
    if experiment.is_smoke(result):
        say("  a smoke run, too small to be compared with the thesis")
        return
    for claim in experiment.claims(result):
        say(f"  {claim}")


def advance(bar: tqdm) -> runner.Progress:
    """A progress function that moves `bar` and shows the text beside it."""

    def move(epochs: int, text: str) -> None:
        bar.set_postfix_str(text, refresh=False)
        bar.update(epochs)

    return move
