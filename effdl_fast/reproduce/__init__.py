"""The thesis's experiments, one small file each: `effdl reproduce [chapter] [experiment]`.

    experiment.py   what an experiment is, and the registry that finds them
    runner.py       runs trials, stores each one, resumes
    store.py        atomic files, and the record of machine and versions
    report.py       tables and plots to one self-contained HTML page
    plots.py        the few kinds of plot (matplotlib, object interface)
    train.py        the training loop
    chN/            one file per experiment of chapter N; chN/parts/ holds what several of them share

A new experiment is a new file `chN/<name>.py` that defines `EXPERIMENT`; nothing else has to know of it.
"""

from effdl_fast.reproduce.experiment import Claim, Experiment, Plan, Result, Trial, chapters, experiments, find

__all__ = ["Claim", "Experiment", "Plan", "Result", "Trial", "chapters", "experiments", "find"]
