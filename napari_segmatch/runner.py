"""One training run in the foreground, in a thread or in a process of its own: always the same function.

Torch is imported inside the functions, so the window opens without it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal

from .config import TrainConfig
from .errors import FAILED, REFUSED, DiskProblem, ProjectError, SegmatchError
from .events import Failed, Finished, Noted, Paused, Proposed, Step, Stopped, TrainEvent
from .project import Project, ProjectPool, Run
from .types import RunState

Mode = Literal["thread", "process"]

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
            give_way()
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
            log.write(project.without_names(traceback.format_exc()))
        failed = Failed(step, project.without_names(_sentence(error)))
        with contextlib.suppress(OSError):
            run.record(failed)
        yield failed


def _sentence(error: Exception) -> str:
    if isinstance(error, SegmatchError):
        return str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "Training stopped because the disk is full: free some space, then resume from the last checkpoint."
    from .engine.device import is_lost, is_out_of_memory

    if is_out_of_memory(error):
        return "Training stopped because memory ran out: close other programs, then resume from the last checkpoint."
    if is_lost(error):
        return (
            "Training stopped because the graphics processor was lost: restart the program, then resume from the last "
            "checkpoint; viewing, painting and reviewing go on without it."
        )
    return f"Training stopped on an internal error ({type(error).__name__}: {error})."


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
                event = _kept(project, run, event)
            if not isinstance(event, Step):
                run.record(event)
            elif time.monotonic() - recorded > _QUIET_SECONDS:
                run.record(event)
                recorded = time.monotonic()
            yield event
            if isinstance(event, Finished):
                continue  # nothing is left to pause or stop
            if run.wish() == "pause":
                yield from _pause(project, run, step)
            if run.wish() == "stop":
                break
        else:
            return
    stopped = Stopped(step)
    run.record(stopped)
    yield stopped


def _kept(project: Project, run: Run, event: Proposed) -> Proposed | Noted:
    """Store proposals. A disk that refuses is a sentence and no more: the run goes on, and proposes again."""
    try:
        project.add_proposals(run, event.step, event.pool_version, event.masks)
    except DiskProblem as error:
        return Noted(
            event.step, f"What was proposed at step {event.step} is not kept, and the training goes on: {error}"
        )
    return event


def _pause(project: Project, run: Run, step: int) -> Iterator[TrainEvent]:
    project.set_run_state(run.id, "paused")
    paused = Paused(step)
    run.record(paused)
    yield paused
    while run.wish() == "pause":
        time.sleep(0.05)
    project.set_run_state(run.id, "running")


NICENESS = 10
"""How far the window goes first. With 19 a training stands nearly still beside a program that takes all cores."""


def give_way() -> None:
    """Let the window's thread go first: on Linux niceness belongs to a thread, and its children inherit it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def check_settings(config: TrainConfig) -> None:
    """Raise if the device or the network of a configuration cannot be had: better now than in a run's first second."""
    from .engine.device import choose_device
    from .engine.networks import build

    choose_device(config.device)
    build(config.network, 1, 2, config.features)


class Background:
    """A run that trains beside the window. ``join`` waits for its end; stopping is a wish in its folder."""

    def __init__(self, project_path: Path, run_id: int, *, mode: Mode = "thread", resume: bool = False) -> None:
        self.problem = ""
        """Why it could not even start, or died without a word, if so."""
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None  # by the process, until it has been read
        self._thread: threading.Thread | None = None
        if mode == "process":
            command = [sys.executable, "-m", "napari_segmatch.cli", "resume" if resume else "start",
                       str(project_path), "--run", str(run_id), "--quiet", "--courteous"]  # fmt: skip
            self._said = tempfile.TemporaryFile()  # noqa: SIM115  read when the process has ended
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._said
            )
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
            code = self._process.poll()
            if code is not None and self._said is not None:
                self._hear_out(self._said, code)
            return code is None
        return self._thread is not None and self._thread.is_alive()

    def _hear_out(self, said: IO[bytes], code: int) -> None:
        """Learn why the process could not start, or died. What went wrong in a run that has begun, its events say."""
        with said:
            said.seek(0)
            lines = said.read().decode(errors="replace").split("\n")
        self._said = None
        last = next((line for line in reversed(lines) if line), f"exit code {code}")
        if code == REFUSED:
            self.problem = last.removeprefix("segmatch: ")
        elif code not in (0, FAILED):
            why = last if code > 0 else f"signal {-code}"
            self.problem = f"The process that trained has died ({why}): try again, or let it run in a thread."

    def join(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds; True when the run has ended."""
        if self._thread is not None:
            self._thread.join(timeout)
        elif self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        return not self.is_alive()
