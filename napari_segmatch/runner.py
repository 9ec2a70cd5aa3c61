"""One training run in the foreground, in a thread or in a process of its own: always the same function.

Also the other jobs that need torch (prediction, evaluation). Torch is imported inside the functions, so the
window opens without it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .config import TrainConfig
from .errors import ImportProblem, ProjectError, SegmatchError
from .events import Checkpointed, Failed, Finished, Paused, Proposed, Step, Stopped, TrainEvent
from .fsio import csv_text, write_atomic
from .io import FoundCase, encode_labels, read_mask, read_sequences
from .project import Project, ProjectPool, Run
from .types import NOT_ANNOTATED, Mask, RunState, Volume

Mode = Literal["thread", "process"]

MAX_LABEL = NOT_ANNOTATED - 1

_QUIET_SECONDS = 0.2
"""Step events closer together than this are not written down; every other event is."""


def training(project_path: Path, run_id: int, *, resume: bool = False, courteous: bool = False) -> Iterator[TrainEvent]:
    """Train one run and yield its events, recording them in the run's folder on the way.

    Stop and pause are wishes that anyone may write into the run's folder. Whatever goes wrong inside ends as
    a :class:`Failed` event with a sentence; the traceback goes to ``log.txt`` in the run's folder.

    Parameters
    ----------
    resume
        Go on from the newest checkpoint rather than from the start.
    courteous
        Leave a core to the window and step behind it in the scheduler's queue.
    """
    with Project.open(project_path) as project, project.run(run_id).lock():
        run = project.run(run_id)
        project.set_run_state(run_id, "running")
        if courteous:
            _give_way()
        state: RunState = "stopped"  # unless it says how it ended
        try:
            for event in _guarded(project, run, resume, courteous):
                if isinstance(event, Finished | Failed):
                    state = "finished" if isinstance(event, Finished) else "failed"
                yield event
        finally:
            with contextlib.suppress(ProjectError):  # a full disk: the lock is freed, so the run reads "interrupted"
                project.set_run_state(run_id, state)


def _guarded(project: Project, run: Run, resume: bool, courteous: bool) -> Iterator[TrainEvent]:
    step = 0
    try:
        for event in _obedient(project, run, resume, courteous):
            step = getattr(event, "step", step)
            yield event
    except Exception as error:  # whatever it is, the person gets a sentence and the run an ending
        with contextlib.suppress(OSError), (run.folder / "log.txt").open("a", encoding="utf-8") as log:
            log.write(traceback.format_exc())
        known = isinstance(error, SegmatchError)
        message = str(error) if known else f"Training stopped on an internal error ({type(error).__name__}: {error})."
        failed = Failed(step, message)
        with contextlib.suppress(OSError):
            run.record(failed)
        yield failed


def _obedient(project: Project, run: Run, resume: bool, courteous: bool) -> Iterator[TrainEvent]:
    """Turn the trainer's crank; record what it says; stop and pause when asked."""
    from .engine.trainer import train

    pool = ProjectPool(project)
    events = train(pool, run.config, run.checkpoints, resume=resume, spare_core=courteous)
    recorded, step = 0.0, 0
    with contextlib.closing(events):
        for event in events:
            step = getattr(event, "step", step)
            if isinstance(event, Proposed):
                project.add_proposals(run, event.step, event.pool_version, event.masks)
            if not isinstance(event, Step) or time.monotonic() - recorded > _QUIET_SECONDS:
                run.record(event)
                recorded = time.monotonic()
            yield event
            if run.wish() == "pause":
                yield from _pause(project, run, step)
            if run.wish() == "stop":
                break
        else:
            return
    for path in _newest_checkpoint(run):
        run.record(Checkpointed(step, path))
    stopped = Stopped(step)
    run.record(stopped)
    yield stopped


def _pause(project: Project, run: Run, step: int) -> Iterator[TrainEvent]:
    project.set_run_state(run.id, "paused")
    paused = Paused(step)
    run.record(paused)
    yield paused
    while run.wish() == "pause":
        time.sleep(0.05)
    project.set_run_state(run.id, "running")


def _newest_checkpoint(run: Run) -> list[str]:
    found = sorted(path.name for path in run.checkpoints.glob("[0-9]*") if path.is_dir())
    return found[-1:]


def _give_way() -> None:
    """Let the window's thread go first: on Linux niceness belongs to a thread, and its children inherit it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)


def check_settings(config: TrainConfig) -> None:
    """Raise if the device or the network of a configuration cannot be had: better now than in a run's first second."""
    from .engine.learner import choose_device
    from .engine.networks import build

    choose_device(config.device)
    build(config.network, 1, 2, config.features)


class Background:
    """A run that trains beside the window. ``join`` waits for its end; stopping is a wish in its folder."""

    def __init__(self, project_path: Path, run_id: int, *, mode: Mode = "thread", resume: bool = False) -> None:
        self.problem = ""
        """Why it could not even start, if so."""
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        if mode == "process":
            command = [sys.executable, "-m", "napari_segmatch.cli", "resume" if resume else "start",
                       str(project_path), "--run", str(run_id), "--quiet", "--courteous"]  # fmt: skip
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        else:
            self._thread = threading.Thread(
                target=self._exhaust, args=(project_path, run_id, resume), name=f"segmatch-run-{run_id}", daemon=True
            )
            self._thread.start()

    def _exhaust(self, project_path: Path, run_id: int, resume: bool) -> None:
        try:
            for _ in training(project_path, run_id, resume=resume, courteous=True):
                pass
        except SegmatchError as error:
            self.problem = str(error)

    def is_alive(self) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        return self._thread is not None and self._thread.is_alive()

    def join(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds; True when the run has ended."""
        if self._thread is not None:
            self._thread.join(timeout)
        elif self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        return not self.is_alive()


def predict_cases(
    project_path: Path,
    found: Sequence[FoundCase] | None,
    out: Path,
    run_id: int | None = None,
    device: str | None = None,
) -> Iterator[tuple[str, str | None, int]]:
    """Segment cases with a run's newest checkpoint; writes ``{case}.nii.gz`` and ``scores.csv`` into ``out``.

    Parameters
    ----------
    found
        New cases, or None for the project's own cases without labels.

    Yields
    ------
    tuple
        Case, what was wrong with it or None, and how many cases there are.
    """
    from .engine.checkpoint import load_newest
    from .engine.predict import predict_volume, scores_rows

    with Project.open(project_path) as project:
        loaded = load_newest(_trained(project, run_id).checkpoints, device, optimisers=False)
        jobs = _reading_jobs(project, found, loaded.sequences)
        _refuse_overwriting([out / f"{name}.nii.gz" for name, _ in jobs], project, found)
        rows: list[tuple[object, ...]] = []
        for name, read in jobs:
            try:
                volume = read()
                prediction = predict_volume(loaded.learner, volume.pixels)
                note = "SegMatch prediction, not reviewed; research use only"
                write_atomic(out / f"{name}.nii.gz", encode_labels(prediction.labels, volume.geometry, note))
                rows += scores_rows(name, prediction)
                problem = None
            except ImportProblem as error:
                problem = str(error)
            yield name, problem, len(jobs)
    if not rows:
        raise ImportProblem("No case could be segmented; the reasons stand above.")
    write_atomic(out / "scores.csv", csv_text(("case", "slice", "score", "verdict"), rows).encode())


def _trained(project: Project, run_id: int | None) -> Run:
    """Return the run asked for, or the newest that has a checkpoint."""
    runs = [run for run, _ in project.runs() if any(run.checkpoints.glob("[0-9]*"))]
    return runs[-1] if run_id is None and runs else project.run(run_id)


def _refuse_overwriting(targets: Sequence[Path], project: Project, found: Sequence[FoundCase] | None) -> None:
    """Raise if a mask would take the place of somebody's image."""
    files = [path for item in found or () for path in item.images.values()]
    sources = {path.resolve() for path in files} | project.all_image_paths()
    for target in targets:
        if target.resolve() in sources:
            raise ProjectError(f"{target.name} would take the place of an image: choose another folder for the masks.")


def _reading_jobs(
    project: Project, found: Sequence[FoundCase] | None, sequences: Sequence[str]
) -> list[tuple[str, Callable[[], Volume]]]:
    if found is not None:
        return [(item.id, partial(read_sequences, item.images, sequences)) for item in found]
    cases = [case.id for case in project.cases if case.problem is None and not case.labelled]
    if not cases:
        raise ProjectError(f"Every case of {project.path.name} is labelled: name a folder of new cases.")
    return [(case, partial(project.volume, case)) for case in cases]


COLUMNS = ("dice", "lesion-slice dice", "hd95 mm", "empty-slice fp")


def evaluate_folder(folder: Path, truths: Mapping[str, Path]) -> Iterator[str]:
    """Compare ``{case}.nii.gz`` in ``folder`` with true masks; yields a table's lines.

    Also writes ``evaluation.csv`` and ``evaluation_means.csv``. A case that has no prediction, or whose masks cannot
    be compared, is named and left out of the means.

    Raises
    ------
    ImportProblem
        If no case could be compared.
    """
    from .engine.metrics import score_case

    pairs: dict[str, tuple[Mask, Mask]] = {}
    for case, path in sorted(truths.items()):
        try:
            prediction = read_mask(folder / f"{case}.nii.gz")
            pairs[case] = prediction, read_mask(path, prediction.geometry, MAX_LABEL)
        except ImportProblem as error:
            yield f"{case}: left out. {error}"
    if not pairs:
        raise ImportProblem(f"{folder.name} holds no mask of a case that can be compared with a true one.")
    labels = _labels_in(*(mask.labels for pair in pairs.values() for mask in pair))
    rows: list[tuple[object, ...]] = []
    yield f"{'case':<28} {'class':>5}  " + "  ".join(f"{column:>17}" for column in COLUMNS)
    for case, (prediction, truth) in pairs.items():
        for label in labels:
            scores = score_case(prediction.labels, truth.labels, label, truth.geometry.spacing)
            values = (scores.dice, scores.slice_dice, scores.hd95, scores.false_positive)
            rows.append((case, label, *values))
            yield f"{case:<28} {label:>5}  " + "  ".join(_cell(value) for value in values)
    header = ("case", "class", "dice", "lesion_slice_dice", "hd95_mm", "empty_slice_fp")
    write_atomic(folder / "evaluation.csv", csv_text(header, rows).encode())
    yield from _means(folder, rows, labels)


def _means(folder: Path, rows: Sequence[tuple[Any, ...]], labels: Sequence[int]) -> Iterator[str]:
    from .engine.metrics import confidence_interval

    means: list[tuple[object, ...]] = []
    for label in labels:
        for index, column in enumerate(COLUMNS, 2):
            known = [row[index] for row in rows if row[1] == label and row[index] is not None]
            if known:
                mean, low, high = confidence_interval(known)
                means.append((label, column, mean, low, high, len(known)))
                yield f"class {label}: mean {column} {mean:.3f} (95 % CI {low:.3f} to {high:.3f}, n={len(known)})"
    header = ("class", "metric", "mean", "ci95_low", "ci95_high", "cases")
    write_atomic(folder / "evaluation_means.csv", csv_text(header, means).encode())


def _labels_in(*masks: np.ndarray) -> list[int]:
    found = {int(label) for mask in masks for label in np.unique(mask)} - {0, NOT_ANNOTATED}
    return sorted(found) or [1]


def _cell(value: float | None) -> str:
    return f"{'-' if value is None else format(value, '.3f'):>17}"
