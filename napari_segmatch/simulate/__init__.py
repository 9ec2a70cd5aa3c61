"""A simulated annotator: how many seconds of a person's work a Dice costs, by several ways of working.

The annotator acts on a real project while a real run trains on it, as people do in the window: at every round of
proposals they work for a number of seconds, and the trainer takes up what they did.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ..config import TrainConfig
from ..errors import ConfigError
from ..events import Evaluated, Failed, Proposed
from ..io import FoundCase, read_truth
from ..project import Project
from ..runner import training
from .annotator import Annotator
from .ways import work

ALL = 10_000
"""More slices than any pool here holds."""


@dataclass(frozen=True)
class Setup:
    """Who is in the pool, who is unseen, who is labelled at the start."""

    pool: Sequence[FoundCase]
    unseen: Sequence[FoundCase]
    start: Sequence[str]


def divide(found: Sequence[FoundCase], pool: int, unseen: int, start: int, seed: int) -> Setup:
    """Draw unseen cases, then a pool, and in it those that are labelled at the start; only cases with masks."""
    usable = [item for item in found if item.mask is not None]
    if len(usable) < unseen + pool or not 1 <= start < pool or unseen < 1:
        raise ConfigError(
            f"{len(usable)} cases with masks were found; {unseen} unseen and a pool of {pool} of which {start} are "
            "labelled need as many, at least one of each, and some of the pool without labels."
        )
    order = np.random.default_rng(seed).permutation(len(usable))
    chosen = [usable[index] for index in order]
    members = chosen[unseen : unseen + pool]
    return Setup(members, chosen[:unseen], [item.id for item in members[:start]])


def make_project(
    folder: Path, setup: Setup, classes: Sequence[str], sequences: Sequence[str], everything: bool
) -> None:
    """Make the project of one experiment; unseen cases are its validation cases, which never train."""
    with Project.create(folder, classes, sequences) as project:
        for item in (*setup.pool, *setup.unseen):
            held_out, choices = item in setup.unseen, item.choices or None
            labelled: Literal["all", "none"] = "all" if everything or held_out or item.id in setup.start else "none"
            project.add_case(item.id, item.images, item.mask, labelled, validation=held_out, choices=choices)


def simulate(
    folder: Path, setup: Setup, strategy: str, config: TrainConfig, budget: float, lead: int, classes: Sequence[str],
    sequences: Sequence[str],
) -> Iterator[dict[str, object]]:  # fmt: skip
    """Run one way of working; yields a row at every look at the unseen cases.

    Parameters
    ----------
    folder
        A new folder for the project.
    config
        Of the run; its seed is the annotator's too. Every slice of the pool is proposed to ways of working that look
        at proposals, so that a random order is random.
    budget
        Seconds of work at each round of proposals.
    lead
        Steps of training before the first round.
    """
    config = config.replace(proposals=ALL if strategy in ("correct", "cases", "queue") else 0)
    make_project(folder, setup, classes, sequences, everything=strategy == "full")
    with Project.open(folder) as project:
        truths = {
            item.id: read_truth(item.mask, project.case(item.id).geometry, classes, item.choices).labels
            for item in setup.pool if item.mask is not None
        }  # fmt: skip
        annotator = Annotator(truths, np.random.default_rng(config.seed))
        run = project.new_run(config)
        for event in training(folder, run.id):
            if isinstance(event, Failed):
                raise ConfigError(event.message)
            if isinstance(event, Evaluated):
                yield _row(strategy, event, annotator, project)
            elif isinstance(event, Proposed) and lead <= event.step < config.steps:
                work(project, annotator, strategy, budget)


def _row(strategy: str, event: Evaluated, annotator: Annotator, project: Project) -> dict[str, object]:
    labelled = sum(len(case.labelled) for case in project.cases if not case.validation)
    return {
        "strategy": strategy, "step": event.step, "seconds": round(annotator.seconds, 1),
        "dice": round(float(np.mean(list(event.cases.values()))), 4), "labelled_slices": labelled, **annotator.counts,
    }  # fmt: skip


def seconds_to_reach(rows: Sequence[Mapping[str, object]], wanted: float) -> float | None:
    """Return the seconds after which Dice first was ``wanted`` and, between two looks, on the straight line."""
    before = None
    for row in rows:
        seconds, found = float(str(row["seconds"])), float(str(row["dice"]))
        if found >= wanted:
            if before is None:
                return seconds
            share = (wanted - before[1]) / (found - before[1])
            return round(before[0] + share * (seconds - before[0]), 1)
        before = seconds, found
    return None
