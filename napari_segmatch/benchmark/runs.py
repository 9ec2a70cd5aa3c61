"""One run of a benchmark: a method trains on a few labelled patients, and is measured on patients it never met."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..config import TrainConfig, configure, fitted, suited
from ..engine.data import ResidentPool
from ..engine.duties import is_examined_at
from ..engine.judge import Judge
from ..engine.learner import Learner
from ..engine.metrics import class_dice
from ..engine.predict import predict_slices
from ..engine.prepare import Frame, to_network
from ..types import Geometry, Volume
from .cases import BenchmarkPool, Material, Split
from .judging import judged_slices, summary
from .oracles import Oracle
from .rivals import METHODS


@dataclass(frozen=True)
class Task:
    """What one run is to do. Two tasks that are equal would give the same figures.

    Attributes
    ----------
    settings
        Changes to the configuration, as ``name=value`` words that a shell would take apart.
    marks
        Steps at which it is measured; the last is the length of the run.
    """

    method: str
    labelled: int
    seed: int
    marks: tuple[int, ...]
    settings: str = ""

    @property
    def fields(self) -> dict[str, str]:
        """What names the task in a table."""
        marks = " ".join(map(str, self.marks))
        return {"method": self.method, "labelled": str(self.labelled), "seed": str(self.seed), "marks": marks,
                "settings": self.settings}  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """What all runs share."""

    cases: Mapping[str, Material]
    split: Split
    sequences: tuple[str, ...]
    classes: tuple[str, ...]
    strata: str
    device: str
    tuning: bool = False
    """Measure on validation patients alone: what is chosen by them must not have seen the others."""
    choices: tuple[str, ...] = ()
    """How the files were read, where they can be read in more than one way."""

    @property
    def name(self) -> str:
        """A short name of the material: rows of other patients, classes, devices or choices are never beside these."""
        told = repr((self.split, self.sequences, self.classes, self.strata, self.device, *self.choices))
        return hashlib.sha256(told.encode()).hexdigest()[:8]

    @property
    def grids(self) -> list[Geometry]:
        return [case.volume.geometry for case in self.cases.values()]

    @property
    def test(self) -> tuple[str, ...]:
        return () if self.tuning else self.split.test


def run(bench: Bench, task: Task, changes: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Train as the task says; yields a row at every mark.

    Slices are scaled to fit the side that is told, or as in a project: small ones are not enlarged.

    Time is processor time of this process, measuring left out: it hardly depends on what else the machine does. On
    a GPU it is time by the clock.
    """
    kind, needs = METHODS[task.method]
    config = configure(**{"device": bench.device, "seed": task.seed, **changes, **needs})
    if "size" not in changes:
        config = fitted(config, bench.grids)
    labelled = bench.split.labelled(task.labelled, task.seed, bench.strata)
    learner, data = prepared(bench, kind, config, labelled)
    exams = {name: _prepared(bench.cases[name].volume, learner.config) for name in
             (*bench.split.validation, *bench.test)}  # fmt: skip
    clock = time.process_time if bench.device == "cpu" else time.perf_counter  # a GPU works beside the process
    spent, since, accepted = 0.0, clock(), []
    while learner.step < task.marks[-1]:
        outcome, _ = learner.learn(data, learner.step / task.marks[-1])
        if outcome.selection is not None:
            accepted.append(outcome.selection.accepted.float().mean())
        if is_examined_at(learner.step) or learner.step in task.marks:
            learner.examine(data)
        if learner.step in task.marks:
            spent += clock() - since
            share = float(torch.stack(accepted[-200:]).mean()) if accepted else None
            yield _row(bench, task, learner, exams, spent, share)
            since = clock()


def prepared(
    bench: Bench, kind: type[Learner], config: TrainConfig, labelled: Sequence[str]
) -> tuple[Learner, ResidentPool]:
    rest = [name for name in bench.split.pool if name not in labelled]
    pool = BenchmarkPool(bench.cases, labelled, rest, bench.sequences, bench.classes)
    config = suited(config, bench.grids)
    learner = kind(config, len(bench.sequences), len(bench.classes))
    data = ResidentPool(pool, config.size, learner.device, learner.neighbours, directions=config.directions)
    data.update()
    if isinstance(learner, Oracle):
        parts = []
        for name in dict.fromkeys(region.case for region in data.regions):
            truth = torch.from_numpy(np.ascontiguousarray(bench.cases[name].truth))
            parts.append(data.frames[name].shrink_labels(truth, learner.classes))
        learner.truth = torch.cat(parts).to(learner.device)
    return learner, data


def _prepared(volume: Volume, config: TrainConfig) -> tuple[torch.Tensor, Frame]:
    return to_network(volume.pixels, config.size, volume.geometry, config.directions)


def _row(
    bench: Bench, task: Task, learner: Learner, exams: Mapping[str, Any], seconds: float, accepted: float | None
) -> dict[str, Any]:
    dice, judged = {}, []
    for name, (slices, frame) in exams.items():
        truth = bench.cases[name].truth
        labels = predict_slices(learner, slices, frame).labels
        dice[name] = class_dice(labels, truth, learner.classes)
        if (name in bench.test or bench.tuning) and task.method in ("segmatch", "equation-1"):
            judged += judged_slices(learner, slices, frame, truth)
    test = [float(np.mean(dice[name])) for name in bench.test]
    report = learner.selector.report if isinstance(learner.selector, Judge) else None
    return {"material": bench.name} | task.fields | {
        "size": learner.config.size, "step": learner.step, "cpu_seconds": round(seconds, 2),
        "accepted": "" if accepted is None else round(accepted, 3),
        "proven": "" if report is None else report.proven,
        "validation_dice": _mean([np.mean(dice[name]) for name in bench.split.validation]),
        "test_dice": _mean(test), "test_median": round(float(np.median(test)), 4) if test else "",
        "class_dice": " ".join(f"{v:.4f}" for v in np.mean([dice[name] for name in bench.test], 0)) if test
        else "", "cases": " ".join(f"{value:.4f}" for value in test),
        "judge": " ".join(f"{name}={value:.4f}" for name, value in summary(judged).items()) if judged else "",
    }  # fmt: skip


def _mean(values: Sequence[Any]) -> float | str:
    return round(float(np.mean(values)), 4) if len(values) else ""
