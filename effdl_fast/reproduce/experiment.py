"""What an experiment is: named settings, a plan, a function for one trial, and functions that show the results.

The registry is the folder: every `chN/<name>.py` whose name does not begin with an underscore holds one `EXPERIMENT`.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from effdl_fast.data import Dataset
from effdl_fast.errors import UserError
from effdl_fast.reproduce.report import Plot, Table

PACKAGE = "effdl_fast.reproduce"
Setting = Mapping[str, Any]


@dataclass(frozen=True)
class Number:
    """What an option of a plan may be: a number of `kind` in [low, high], or None where it is optional."""

    kind: type[int] | type[float]
    low: float
    high: float
    optional: bool = False

    def check(self, key: str, value: Any) -> None:
        """UserError unless `value` is allowed for the option called `key`."""
        if value is None and self.optional:
            return
        allowed = (int, float) if self.kind is float else (int,)
        if isinstance(value, bool) or not isinstance(value, allowed) or not self.low <= value <= self.high:
            name = "a whole number" if self.kind is int else "a number"
            null = ", or null" if self.optional else ""
            raise UserError(f"--set: {key} must be {name} from {self.low:g} to {self.high:g}{null}; got {value!r}")


@dataclass(frozen=True)
class Plan:
    """How large a run is.

    data: what `effdl_fast.data.load` takes, or None where no data is needed; options: the experiment's own; smoke: the
    plan is, or was derived from, one of seconds that only shows that everything runs.
    """

    trials: int
    epochs: int
    data: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    smoke: bool = False

    def as_dict(self) -> dict[str, Any]:
        """As stored in result.json: of a data file only the name, so that no private path is published."""
        name = Path(self.data).name if self.data is not None and self.data.endswith(".npz") else self.data
        return {**asdict(self), "data": name}


@dataclass(frozen=True)
class Trial:
    """One run of one setting.

    seed fixes initialisation, shuffles and augmentation; tick(text) is to be called after every epoch.
    """

    setting: Setting
    plan: Plan
    seed: int
    data: Dataset | None
    device: torch.device
    tick: Callable[[str], None]

    @property
    def dataset(self) -> Dataset:
        """The data set of an experiment that has one."""
        if self.data is None:
            raise RuntimeError("this experiment was started without data")
        return self.data


@dataclass(frozen=True)
class Claim:
    """A statement of the thesis beside what was measured; holds: whether the measurement agrees."""

    text: str
    thesis: str
    measured: str
    holds: bool

    def __str__(self) -> str:
        return f"{self.text}: thesis {self.thesis}, measured {self.measured} ({'agrees' if self.holds else 'differs'})"


@dataclass(frozen=True)
class Result:
    """Everything a run left behind, as stored in result.json. trials: dicts with setting, seed, result, environment."""

    chapter: str
    experiment: str
    plan: Mapping[str, Any]
    data: Mapping[str, Any] | None
    settings: Mapping[str, Setting]
    trials: Sequence[Mapping[str, Any]]

    def of(self, setting: str) -> list[Mapping[str, Any]]:
        """The raw results of the trials of `setting`, in order of their seeds."""
        chosen = [trial for trial in self.trials if trial["setting"] == setting]
        return [trial["result"] for trial in sorted(chosen, key=lambda trial: trial["seed"])]

    def median(self, setting: str, key: str) -> float:
        """The median of the number `key` over the trials of `setting`."""
        return statistics.median(result[key] for result in self.of(setting))

    def as_dict(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True)
class Experiment:
    """One table or figure of the thesis.

    title, thesis (where it stands), about (what is done and which choices are ours); settings by name; full: the
    thesis's size, or, where `original` is that, a smaller one; quick: a smoke run of seconds; run(trial) -> JSON-able
    raw result; table, plots, claims: views of a Result; options: what the values of the plans' options may be; threads:
    CPU threads for a trial (None: as many as torch has); heavy: at full size it is work for a GPU, so a whole chapter
    leaves it out on a CPU.
    """

    title: str
    thesis: str
    about: str
    settings: Mapping[str, Setting]
    full: Plan
    quick: Plan
    run: Callable[[Trial], dict[str, Any]]
    table: Callable[[Result], Table]
    plots: Callable[[Result], list[Plot]] = lambda result: []
    claims: Callable[[Result], list[Claim]] = lambda result: []
    options: Mapping[str, Number] = field(default_factory=dict)
    threads: int | None = None
    heavy: bool = False
    original: Plan | None = None

    def is_smoke(self, result: Result) -> bool:
        """Whether `result` comes from the quick plan, with or without changes: it proves nothing."""
        return bool(result.plan.get("smoke", False))

    def reductions(self, result: Result) -> list[str]:
        """How the run behind `result` was smaller than, or different from, the thesis's plan; empty for a full run."""
        full, ran = (self.original or self.full).as_dict(), result.plan
        notes = [f"{key}: {ran[key]} instead of {full[key]}" for key in ("trials", "epochs") if ran[key] != full[key]]
        if full["data"] is not None and result.data is not None and full["data"] != ran["data"]:
            notes.append(
                f"data: {result.data['name']} ({result.data['train']} training, {result.data['test']} test samples)"
            )
        for key, value in {**full["options"], **ran["options"]}.items():
            usual = full["options"].get(key)
            if value != usual:
                notes.append(f"{key}: {value}" if usual is None else f"{key}: {value} instead of {usual}")
        return notes


def chapters() -> dict[str, str]:
    """Chapters that have experiments, with the first line of their package's description."""
    package = importlib.import_module(PACKAGE)
    names = [m.name for m in pkgutil.iter_modules(package.__path__) if m.ispkg and re.fullmatch(r"ch\d+", m.name)]
    titles = {name: importlib.import_module(f"{PACKAGE}.{name}").__doc__ or name for name in names}
    return {name: titles[name].strip().splitlines()[0].rstrip(".") for name in sorted(names, key=lambda n: int(n[2:]))}


def experiments(chapter: str) -> list[str]:
    """Names of the experiments of `chapter` ("ch4"), sorted. UserError for an unknown chapter."""
    if chapter not in chapters():
        raise UserError(f"chapter: {chapter!r} has no experiments; there are {', '.join(chapters())}")
    package = importlib.import_module(f"{PACKAGE}.{chapter}")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.ispkg and not m.name.startswith("_"))


def find(chapter: str, name: str) -> Experiment:
    """The experiment `chN/<name>.py`. UserError for an unknown one."""
    if name not in experiments(chapter):
        raise UserError(f"experiment: {chapter} has no {name!r}; there are {', '.join(experiments(chapter))}")
    experiment = getattr(importlib.import_module(f"{PACKAGE}.{chapter}.{name}"), "EXPERIMENT", None)
    if not isinstance(experiment, Experiment):
        raise TypeError(f"{PACKAGE}.{chapter}.{name} must define EXPERIMENT, an instance of Experiment")
    return experiment
