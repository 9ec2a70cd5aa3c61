"""The training loop: a generator of events. It knows no window, no project, no thread.

::

    for event in train(pool, config, folder):
        ...

Closing the generator writes a checkpoint and ends the run; that is how it is stopped.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from ..config import TrainConfig, learnt_way
from ..errors import ConfigError, DiskProblem, TrainingProblem
from ..events import (
    Checkpointed,
    Finished,
    Noted,
    PoolChanged,
    Started,
    Step,
    TrainEvent,
)
from ..types import Pool
from .checkpoint import checkpoints, load_newest, save_checkpoint
from .clock import Clock
from .data import Change, ResidentPool
from .device import device_name
from .duties import Duties, is_due
from .foreign import take_weights
from .lacking import mirrored
from .learner import Learner
from .reading import AT_ONCE
from .shelf import Shelf, memory_budget
from .step import Outcome
from .validation import Validation
from .watch import Watch

CHECKPOINT_SECONDS = 180
"""A checkpoint is written after this much work even if its number of steps is not over."""

OTHER_DEVICE = "The device that this run was made on is not here: it goes on with what there is."

Memory = Mapping[str, Any]
"""What a run remembered when a checkpoint was written; nothing in one that begins."""


def train(
    pool: Pool, config: TrainConfig, folder: Path, *, resume: bool = False, spare_core: bool = False
) -> Generator[TrainEvent, None, None]:
    """Train SegMatch on a pool and say what happens.

    Parameters
    ----------
    pool
        Where slices and labels come from. It is asked at every step whether it has changed.
    folder
        For checkpoints.
    resume
        Go on from the newest whole checkpoint in ``folder``, with the settings that it was made with; from the
        start if there is none yet.
    spare_core
        Leave one processor core to others.

    Yields
    ------
    TrainEvent
        One :class:`Step` for every step; the others when there is something to say.

    Raises
    ------
    TrainingProblem
        If there is nothing to learn from, or the loss is not a number any more.
    """
    torch.set_num_threads(_threads(spare_core))
    learner, notes, memory, score = _start(pool, config, folder, resume)
    clock = Clock(learner)
    with contextlib.closing(_events(pool, folder, learner, clock, notes, memory, score)) as events:
        for event in events:
            with clock.stopped():
                yield event


def _events(
    pool: Pool, folder: Path, learner: Learner, clock: Clock, notes: list[str], memory: Memory, score: float | None
) -> Generator[TrainEvent, None, None]:
    config = learner.config
    folder.mkdir(parents=True, exist_ok=True)
    shelf = Shelf(learner.device, memory_budget(learner.device, config.pool_gib), folder)
    data = ResidentPool(pool, config.size, learner.device, learner.neighbours, learner.fold_of, shelf, AT_ONCE,
                        config.directions)  # fmt: skip
    yield from _begin(learner, data, shelf, notes, memory)
    validation = Validation(pool, data.snapshot, (learner.step, score))
    duties = Duties(learner, data, validation, pool.classes, clock, memory.get("due", ()))
    keeper = Checkpoints(pool, folder, learner, data, duties)
    clock.start()
    try:
        if duties.left:  # of the step on which the run was stopped
            yield from duties.fulfil()
            yield keeper.save(validation.news(learner.step))
        watch = Watch(learner)
        while clock.progress < 1:
            yield from _take_up(learner, data, shelf)
            result = watch.learn(data, clock.progress)
            clock.tick()
            skipped = result is None and clock.progress < 1
            if not skipped:
                duties.fall_due()
            yield from (Noted(learner.step, watch.notes.pop(0)) for _ in range(len(watch.notes)))
            if skipped:
                continue
            if result is not None:
                yield _step(learner, clock, data, *result)
            yield from duties.fulfil()
            score = validation.news(learner.step)
            if keeper.is_late() or keeper.is_best(score) or is_due(learner.step, config.checkpoint_every, clock):
                _refuse_broken_weights(learner)
                yield keeper.save(score)
                watch.remember()
        yield Finished(learner.step)
    finally:
        if keeper.saved != learner.step and _is_whole(learner):
            keeper.save(validation.news(learner.step))


def _begin(
    learner: Learner, data: ResidentPool, shelf: Shelf, notes: list[str], memory: Memory
) -> Iterator[Noted | Started]:
    """Read what the first step needs, and say what it starts with."""
    many = False
    for left in data.read_first(memory.get("read", ())):
        if left and left % 10 == 0:
            many = True
            yield Noted(learner.step, f"{left} cases are to be read before the first step.")
    change = data.update()
    if memory:
        data.recall(memory)
        learner.sweep.recall(memory.get("sweep"))
    yield Started(
        step=learner.step,
        device=device_name(learner.device),
        parameters=sum(parameter.numel() for parameter in learner.model.parameters()),
        labelled=len(data.labelled),
        unlabelled=data.unlabelled_slices,
        pool_version=data.version,
        classes=learner.classes,
    )
    if data.waiting:
        notes = [*notes, f"{len(data.waiting)} cases are read while it trains, one at each step."]
    notes = ["The training has begun.", *notes] if many else notes
    for note in [*notes, *(change.problems if change else []), *_spilled(data, shelf)]:
        yield Noted(learner.step, note)


def _take_up(learner: Learner, data: ResidentPool, shelf: Shelf) -> Iterator[Noted | PoolChanged]:
    """Take up what people have done, read the next case that waits, and say what there is to say of either."""
    change = data.update()
    if change is not None:
        yield _pool_changed(learner, data, change)
        yield from (Noted(learner.step, note) for note in change.problems)
    if data.waiting:
        notes = data.read_on()
        if not data.waiting:
            notes += ["All cases are read.", *_spilled(data, shelf)]
        yield from (Noted(learner.step, note) for note in notes)


def _spilled(data: ResidentPool, shelf: Shelf) -> list[str]:
    if data.waiting or not shelf.spilled:
        return []
    return [f"{shelf.spilled} of {len(shelf)} slices do not fit into memory and are read from disk."]


class Checkpoints:
    """When a run's state was last written, and how good the best one is."""

    def __init__(self, pool: Pool, folder: Path, learner: Learner, data: ResidentPool, duties: Duties) -> None:
        self._pool, self._folder, self._learner, self._data, self._duties = pool, folder, learner, data, duties
        self.saved = -1 if duties.left else learner.step  # a resumed run is on disk, and one that begins knows nothing
        self._saved_at, self._best = learner.elapsed, 0.0

    def is_late(self) -> bool:
        return self._learner.elapsed - self._saved_at > CHECKPOINT_SECONDS

    def is_best(self, score: float | None) -> bool:
        """Whether the model is better on the validation cases than ever in this run."""
        return score is not None and score > self._best

    def save(self, score: float | None = None) -> TrainEvent:
        """Write a checkpoint. A disk that refuses is a sentence and no more: the run goes on without."""
        step, self._saved_at = self._learner.step, self._learner.elapsed
        memory = self._data.memory() | {"due": self._duties.left, "sweep": self._learner.sweep.memory()}
        try:
            path = save_checkpoint(
                self._folder, self._learner, self._pool.classes, self._pool.sequences, score=score,
                pool_version=self._data.version, memory=memory,
            )  # fmt: skip
        except DiskProblem as error:
            return Noted(step, str(error))
        self.saved, self._best = step, max(self._best, score or 0.0)
        return Checkpointed(step, path.name)


def _start(
    pool: Pool, config: TrainConfig, folder: Path, resume: bool
) -> tuple[Learner, list[str], Memory, float | None]:
    if not resume or not checkpoints(folder):
        return *_anew(pool, config, resume), {}, None
    notes = []
    try:
        loaded = load_newest(folder)
    except ConfigError:  # its device is not here, as on another machine, or its network is not
        loaded = load_newest(folder, "auto")
        notes.append(OTHER_DEVICE)
    if len(loaded.classes) != len(pool.classes):
        learnt, now = (", ".join(names) for names in (loaded.classes, pool.classes))
        raise TrainingProblem(f"This run learnt {learnt}; the project has {now} now: start a new run.")
    notes += [f"Checkpoint {name} is damaged; the one before it was used." for name in loaded.skipped]
    return loaded.learner, notes, loaded.memory or {}, loaded.score


def _anew(pool: Pool, config: TrainConfig, resume: bool) -> tuple[Learner, list[str]]:
    """Begin at the first step; a run that was made elsewhere, if its device is not here, on what there is."""
    channels, classes, notes = len(pool.sequences), len(pool.classes), mirrored(pool.classes, config.flip)
    try:
        learner = Learner(config, channels, classes)
    except ConfigError:
        if not resume:
            raise
        learner = Learner(config.replace(device="auto"), channels, classes)
        notes.append(OTHER_DEVICE)
    if config.weights:
        said = [take_weights(network, Path(config.weights)) for network in (learner.model, learner.teacher)]
        notes += said[0]
        if config.directions and not learnt_way(config.weights):
            notes.append(
                f"The weights {Path(config.weights).name} do not say which way round their network saw slices: here it "
                f"is {config.directions}. If it was another, start anew with it as the setting directions."
            )
    return learner, notes


def _threads(spare_core: bool) -> int:
    """All cores, or all but one; OMP_NUM_THREADS overrules."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked):
        return int(asked)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - int(spare_core))


def _step(learner: Learner, clock: Clock, data: ResidentPool, outcome: Outcome, judged: float) -> Step:
    supervised = float(outcome.supervised.detach())
    consistency = float(outcome.consistency.detach())
    accepted = None if outcome.selection is None else float(outcome.selection.accepted.float().mean())
    return Step(
        step=learner.step, progress=clock.progress, seconds_left=clock.seconds_left, supervised=supervised,
        consistency=consistency, discriminator=judged, accepted=accepted, pool_version=data.version,
    )  # fmt: skip


def _pool_changed(learner: Learner, data: ResidentPool, change: Change) -> PoolChanged:
    return PoolChanged(
        step=learner.step,
        pool_version=data.version,
        labelled=len(data.labelled),
        unlabelled=data.unlabelled_slices,
        added=[[region.case, region.z] for region in change.added],
        removed=[[region.case, region.z] for region in change.removed],
        reviewed=len(data.snapshot.reviewed),
    )


def _is_whole(learner: Learner) -> bool:
    """Whether every weight, the discriminator's too, is a number."""
    weights = [*learner.model.parameters(), *learner.model.buffers(), *learner.selector.parameters()]
    return all(bool(torch.isfinite(weight).all()) for weight in weights)


def _refuse_broken_weights(learner: Learner) -> None:
    if not _is_whole(learner):
        raise TrainingProblem(
            f"The model's weights are not numbers any more at step {learner.step}: lower the learning rate; the last "
            "checkpoint is whole."
        )
