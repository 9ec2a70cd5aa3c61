"""``segmatch status``: where a project stands, on one screen."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from statistics import fmean

from ..errors import ProjectError
from ..events import Failed
from ..project import Project, Run
from ..texts import count
from ..types import Case, RunState
from .common import Folder, app, say, typed
from .steps import kind_of, next_step

SHOWN = 10
"""Runs that are listed; there may be a hundred before them."""


@app.command()
def status(project: Folder) -> None:
    """Say on one screen where a project stands, and what comes next. Nothing is changed."""
    with Project.look_at(project) as opened:
        cases, runs, name = opened.cases, opened.runs(), typed(project)
        waiting, asides = opened.waiting(cases), len(opened.aside_versions)
        say(f"classes    {', '.join(opened.classes)}")
        say(f"sequences  {', '.join(opened.sequences)}")
        say(f"cases      {_kinds(cases, len(opened.removed_cases))}")
        say(f"slices     {sum(len(case.labelled) for case in cases)} of {sum(case.shape[0] for case in cases)} done")
        say(f"proposals  {sum(waiting.values())} to be judged, of {count(len(waiting), 'case')}")
        if asides:
            say(f"versions   {asides} beside the masks, to choose from: segmatch asides {name}")
        for run, state in runs[-SHOWN:]:
            say(_line(run, state, opened.run_begin(run.id)))
        if len(runs) > SHOWN:
            say(f"           {count(len(runs) - SHOWN, 'run')} before these")
        if runs and isinstance(last := runs[-1][0].newest(), Failed):
            say(f"           {last.message}")
        say(next_step(opened, name))


def _kinds(cases: Sequence[Case], removed: int) -> str:
    """Count the cases by what they are there for."""
    kinds = [*map(kind_of, cases), *["removed"] * removed]
    order = ("labelled", "for validation", "without labels", "with a problem", "removed")
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in order if kind in kinds) or "none yet"


def _line(run: Run, state: RunState, begin: str) -> str:
    """Tell a run: how far it came, what it is, and how good it was when that was last measured."""
    try:
        config = run.config
        length = f"{config.minutes:g} min" if config.minutes else f"{config.steps}"
        about = f"{config.selector}, {config.size} pixels"
    except ProjectError:
        length, about = "?", "settings cannot be read"
    looked = run.evaluated()
    dice = f", Dice {fmean(looked.dice.values()):.3f}" if looked is not None and looked.dice else ""
    when = datetime.fromisoformat(begin).astimezone().strftime("%Y-%m-%d %H:%M")
    step = getattr(run.newest(), "step", 0)
    return f"run {run.id:<6} {state} at step {step} of {length}{dice}; {about}; begun {when}"
