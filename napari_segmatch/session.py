"""What the window is doing now: verbs for people, and signals that say what changed. No Qt in here.

Slow work goes to four threads, each of which takes its jobs in order: one writes the stroke journal, one saves, one
imports, one reads, so that an import of a hundred cases keeps nobody from painting. Training goes to its own. Nothing
of theirs touches a listener: the window calls :meth:`Session.poll` ten times a second on its own thread, and all
signals are emitted from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from psygnal import Signal

from .config import TrainConfig
from .errors import Conflict, DiskProblem, ProjectError, SegmatchError
from .events import Proposed
from .history import History, sentence
from .io import FoundCase
from .jobs import Jobs, Lane, VolumeCache
from .keeper import Keeper, WindowLock
from .project import Project, Run
from .runner import Background, Mode
from .types import Aside, Case, HumanVerdict, Proposal, RunState, Verdict, Volume

T = TypeVar("T")


class Session:
    """One window's work on one project.

    Policy: closing asks a running training to stop (it writes a checkpoint), waits for it and for every
    save that is under way, and only then lets go. A verb that fails says so through ``message`` and changes
    nothing.
    """

    project_changed = Signal()
    """Another project is open, or none."""
    cases_changed = Signal()
    """Cases were added, or what is known of one changed."""
    proposals_changed = Signal()
    """The list ``proposals`` is new or a decision in it is."""
    run_changed = Signal()
    """The run's state or history changed."""
    mask_saved = Signal(str)
    """A mask of this case is on disk."""
    asides_changed = Signal()
    """The list ``asides`` is new: versions that wait for somebody to choose."""
    exported = Signal(list)
    """These files were written."""
    message = Signal(str, bool)
    """A sentence for the status line; True when something is wrong."""

    def __init__(self) -> None:
        self.project: Project | None = None
        self.cases: list[Case] = []
        self.proposals: list[Proposal] = []
        self.asides: list[Aside] = []
        self.run: Run | None = None
        self.run_state: RunState | None = None
        self.history = History()
        self.saved_at: float | None = None
        self._background: Background | None = None
        self._offset = 0
        self._stale = False
        self._jobs = Jobs(self._failed)
        self._lock: WindowLock | None = None
        self._keeper: Keeper | None = None
        self._strokes: dict[str, int] = {}  # of each case, those in the journal that no save has taken along
        self._trouble = ""
        self._last_save: dict[str, Future[Any]] = {}
        self._volumes = VolumeCache(lambda case: self._open().volume(case))

    # project ---------------------------------------------------------------------------------------------

    def create_project(self, path: Path, classes: Iterable[str], sequences: Iterable[str]) -> None:
        Project.create(path, list(classes), list(sequences)).close()
        self.open_project(path)

    def open_project(self, path: Path) -> None:
        """Open a project; if another window has it open, only to look at."""
        if self.project is not None and self.project.path.resolve() == path.resolve():
            self.close_project()
        lock = WindowLock(path)
        reason = lock.take() if path.is_dir() else ""
        try:
            project = Project.open(path, reason)
        except BaseException:
            lock.release()
            raise
        self._use(project, lock)

    def _use(self, project: Project, lock: WindowLock) -> None:
        self.close_project()
        self.project, self._lock = project, lock
        if not project.readonly:
            self._keeper = Keeper(project, lock.crashed)
        runs = project.runs()
        self._watch(runs[-1][0] if runs else None)
        self._reload()
        self.project_changed.emit()
        if project.readonly:
            self.message.emit(project.readonly, True)

    def close_project(self, timeout: float = 30) -> None:
        """Stop training, finish saving, close the project."""
        if self._background is not None and self._background.is_alive() and self.run is not None:
            self.stop_training()
            self._background.join(timeout)
        self._jobs.cancel("import", "read")
        if self._keeper is not None and self.trouble:
            self._jobs.finish("journal")
            self._rescue(self._keeper)
        self.wait()
        if self._keeper is not None:
            self._keeper.close()
        if self.project is not None:
            self.project.close()
        if self._lock is not None:
            self._lock.release()
        self._keeper, self._lock, self._strokes, self.asides = None, None, {}, []
        self.project, self.run, self.run_state, self._background = None, None, None, None
        self.cases, self.proposals, self.saved_at, self.history = [], [], None, History()
        self._volumes.clear()
        self._last_save.clear()

    def _rescue(self, keeper: Keeper) -> None:
        try:
            rescued = keeper.give_up()
        except DiskProblem as error:
            self.message.emit(str(error), True)
        else:
            self.message.emit(f"What is not saved lies in {rescued}: `segmatch recover` brings it in.", True)

    def close(self) -> None:
        """End the session: see the class's policy."""
        self.close_project()
        self._jobs.close()

    def _open(self) -> Project:
        if self.project is None:
            raise ProjectError("No project is open: create one or open one first.")
        return self.project

    def _reload(self) -> None:
        project = self._open()
        self.cases = project.cases
        self.proposals = project.proposals()
        self.cases_changed.emit()
        self.proposals_changed.emit()
        self._renew_asides()

    # cases -----------------------------------------------------------------------------------------------

    def add_cases(
        self,
        found: Iterable[FoundCase],
        labelled: Iterable[str] | None = None,
        validation: Iterable[str] = (),
    ) -> None:
        """Import cases one after another; a broken one is set aside with its sentence and the rest goes on.

        ``labelled`` are the ids whose masks are finished labels; None means every case that has a mask.
        ``validation`` are the ids that are held out: never trained on.
        """
        if self._refuses():
            return
        chosen = None if labelled is None else set(labelled)
        held_out = set(validation)
        for item in found:
            finished = item.mask is not None and (chosen is None or item.id in chosen)
            job = partial(self._add, item, finished, item.id in held_out)
            self._jobs.submit("import", job, self._added)

    def _add(self, item: FoundCase, finished: bool, validation: bool) -> str | None:
        project = self._open()
        try:
            project.add_case(item.id, item.images, item.mask, "all" if finished else "none", validation=validation)
        except SegmatchError as error:
            if item.id not in {case.id for case in project.cases}:
                project.set_aside(item.id, str(error))
            return str(error)
        return None

    def _added(self, problem: str | None) -> None:
        self.cases = self._open().cases
        self.cases_changed.emit()
        if problem:
            self.message.emit(problem, True)

    def case(self, id: str) -> Case:
        return next(case for case in self.cases if case.id == id)

    def volume(self, case: str) -> Volume:
        """Read a case's pixels, or take them from those read lately. Any thread may ask."""
        return self._volumes.get(case)

    def load_volume(self, case: str, then: Callable[[Volume], None]) -> None:
        """Read pixels off the window's thread; ``then`` is called from :meth:`poll`."""
        self.read(lambda: self.volume(case), then)

    def load_case(self, case: str, then: Callable[[Volume, np.ndarray], None]) -> None:
        """Read pixels and labels off the window's thread, the labels after every save of this case."""
        saved = self._last_save.get(case)

        def job() -> tuple[Volume, np.ndarray]:
            if saved is not None:
                wait([saved])
            return self.volume(case), self._open().mask(case)

        self.read(job, lambda both: then(*both))

    def read(self, job: Callable[[], T], then: Callable[[T], None]) -> None:
        """Run a job that only reads in the reading thread; ``then`` gets its result from :meth:`poll`."""
        self._jobs.submit("read", job, then)

    def mask(self, case: str) -> np.ndarray:
        return self._open().mask(case)

    # annotating ------------------------------------------------------------------------------------------

    def save_mask(self, case: str, labels: np.ndarray, done: Iterable[int] = (), reopen: Iterable[int] = ()) -> None:
        """Save in the background; ``mask_saved`` follows once it is on disk. The array is copied."""
        labels, done, reopen = labels.copy(), tuple(done), tuple(reopen)
        self._submit_save(case, lambda: self._open().save_mask(case, labels, done, reopen=reopen))

    def save_slices(
        self,
        case: str,
        slices: Mapping[int, np.ndarray],
        done: Iterable[int] = (),
        reopen: Iterable[int] = (),
        before: Mapping[int, np.ndarray] | None = None,
    ) -> None:
        """Save these slices (y, x) in the background and leave the others as the disk has them.

        ``before`` are the same slices as the window knew them: if somebody else has changed one since, theirs stays
        and this one is kept beside (``asides``).
        """
        slices = {z: labels.copy() for z, labels in slices.items()}
        before = None if before is None else {z: labels.copy() for z, labels in before.items()}
        done, reopen = tuple(done), tuple(reopen)
        self._submit_save(case, lambda: self._open().save_slices(case, slices, done, reopen=reopen, before=before))

    def journal(self, case: str, slices: Mapping[int, np.ndarray]) -> None:
        """Put slices (y, x) on disk as they are after a stroke, beside the window's thread and within a moment."""
        if self._keeper is not None:
            copies = {z: labels.copy() for z, labels in slices.items()}
            self._strokes[case] = self._strokes.get(case, 0) + 1
            self._jobs.submit("journal", partial(self._keeper.stroke, case, copies), lambda _: None)

    def remember_place(self, case: str, z: int) -> None:
        """Remember what is on the screen, for the day when the window dies."""
        if self._keeper is not None and self._keeper.wants_place():
            self._jobs.submit("journal", partial(self._keeper.remember, case, z), lambda _: None)

    @property
    def place(self) -> tuple[str, int] | None:
        """Case and slice at which the last window died."""
        return self._keeper.place if self._keeper is not None else None

    def _renew_asides(self) -> None:
        before, self.asides = self.asides, self._open().asides()
        if self.asides != before:
            self.asides_changed.emit()

    def aside_labels(self, aside: Aside) -> np.ndarray:
        """Return the labels (z, y, x) of a version beside the mask."""
        return self._open().aside_labels(aside.version)

    def take_aside(self, aside: Aside) -> None:
        """Make the slices of a version beside the mask part of the mask."""
        self._submit_save(aside.case, lambda: self._open().take_aside(aside.version))

    def leave_aside(self, aside: Aside) -> None:
        self._submit_save(aside.case, lambda: self._open().leave_aside(aside.version))

    @property
    def trouble(self) -> str:
        """Why something that a person did is not on disk; empty if it is, or will be in a moment."""
        return self._keeper.trouble if self._keeper is not None else ""

    @property
    def is_saving(self) -> bool:
        """Whether something that a person did is not on disk yet."""
        return self._jobs.pending("save")

    def _saved(self, case: str) -> None:
        self.saved_at = time.time()
        fresh = self._open().case(case)
        before = self.case(case)
        self.cases = [fresh if item.id == case else item for item in self.cases]
        self.mask_saved.emit(case)
        self._renew_asides()
        if fresh.labelled != before.labelled:
            self.cases_changed.emit()
            self._renew_proposals()

    # training --------------------------------------------------------------------------------------------

    def start_training(self, config: TrainConfig, mode: Mode = "thread") -> None:
        project = self._open()
        if project.readonly:
            raise ProjectError(project.readonly)
        if self.is_training:
            raise ProjectError("Training is already running: stop it first.")
        if not any(case.labelled and not case.validation for case in self.cases):
            raise ProjectError("Training needs labels: mark at least one slice of a case as done first.")
        self._train(project.new_run(config), mode, resume=False)

    def resume_training(self, mode: Mode = "thread") -> None:
        """Go on with a paused, stopped or interrupted run."""
        if self.run is None:
            raise ProjectError("There is no run to resume: start one.")
        if self._open().readonly:
            raise ProjectError(self._open().readonly)
        if self.is_training:
            self.run.ask("run")
        else:
            self._train(self.run, mode, resume=True)

    def _train(self, run: Run, mode: Mode, resume: bool) -> None:
        if self.trouble:
            raise ProjectError(self.trouble)
        self.wait()
        run.ask("run")
        self._watch(run)
        self._background = Background(self._open().path, run.id, mode=mode, resume=resume)
        self.run_state = "running"
        self.run_changed.emit()

    def pause_training(self) -> None:
        self._ask("pause")

    def stop_training(self) -> None:
        """Ask the run to write a checkpoint and end."""
        self._ask("stop")

    def _ask(self, wish: Any) -> None:
        if self.run is not None and self.is_training:
            try:
                self.run.ask(wish)
            except DiskProblem as error:
                self.message.emit(str(error), True)

    def runs(self) -> list[tuple[Run, RunState]]:
        return self._open().runs() if self.project is not None else []

    def show_run(self, id: int) -> None:
        """Show the history of an older run; :meth:`resume_training` would go on with it."""
        if self.is_training:
            raise ProjectError("Training is running: stop it before you look at another run.")
        self._watch(self._open().run(id))
        self.run_changed.emit()

    @property
    def is_training(self) -> bool:
        return self._background is not None and self._background.is_alive()

    def _watch(self, run: Run | None) -> None:
        self.run, self.history, self._offset = run, History(), 0
        self.run_state = self._open().run_state(run.id) if run else None
        if run is not None:
            self._read_events(quiet=True)

    def _read_events(self, quiet: bool = False) -> None:
        if self.run is None:
            return
        fresh = []
        for event, offset in self.run.events(self._offset):
            self.history.add(event)
            fresh.append(event)
            self._offset = offset
        if not fresh or quiet:
            return
        self.run_state = self._open().run_state(self.run.id)
        if any(isinstance(event, Proposed) for event in fresh):
            self._renew_proposals()
        for event in fresh:
            words, wrong = sentence(event)
            if words:
                self.message.emit(words, wrong)
        self.run_changed.emit()

    # review ----------------------------------------------------------------------------------------------

    def proposal_mask(self, proposal: Proposal) -> np.ndarray:
        return self._open().proposal_mask(proposal)

    def decide(self, proposal: Proposal, verdict: HumanVerdict, mask: np.ndarray | None = None,
               seconds: float | None = None) -> None:  # fmt: skip
        """Record a decision in the background; the list shows it at once."""
        if self._refuses():
            return
        said: HumanVerdict = "corrected" if mask is not None else verdict
        mask = None if mask is None else mask.copy()
        self._mark(proposal, said)
        self._submit_save(proposal.case, lambda: self._open().decide(proposal, verdict, mask, seconds=seconds))

    def take_back(self) -> Proposal | None:
        """Take back the last decision that stands, at any depth, and return its proposal."""
        if self._refuses():
            return None
        if self.trouble:
            self.message.emit(self.trouble, True)
            return None
        self._jobs.finish("save")
        last = self._open().last_decided()
        if last is None:
            self.message.emit("There is no decision to take back.", False)
            return None
        self._mark(last, None)
        self._submit_save(last.case, lambda: self._open().take_back(last))
        return replace(last, decision=None)

    def agreement(self) -> dict[tuple[Verdict, HumanVerdict], int]:
        """Count proposals by what the discriminator said and what the person said."""
        table: dict[tuple[Verdict, HumanVerdict], int] = {}
        for item in self.proposals:
            if item.decision is not None:
                key = (item.verdict, item.decision)
                table[key] = table.get(key, 0) + 1
        return table

    def _renew_proposals(self) -> None:
        """Read the list anew; if decisions on their way to the disk are ahead of it, as soon as they are there."""
        self._stale = self.is_saving
        if not self._stale:
            self.proposals = self._open().proposals()
            self.proposals_changed.emit()

    def _mark(self, proposal: Proposal, verdict: HumanVerdict | None) -> None:
        self.proposals = [
            replace(item, decision=verdict) if item.id == proposal.id else item for item in self.proposals
        ]
        self.proposals_changed.emit()

    # export ----------------------------------------------------------------------------------------------

    def export(self, folder: Path, include_accepted: bool = False) -> None:
        self._jobs.submit(
            "save",
            lambda: self._open().export(folder, include_accepted=include_accepted),
            lambda files: self._exported(folder, files),
        )

    def _exported(self, folder: Path, files: list[Path]) -> None:
        self.exported.emit(files)
        self.message.emit(f"{len(files)} files written to {folder.name}.", False)

    # the window's heartbeat ------------------------------------------------------------------------------

    def poll(self) -> None:
        """Bring in what the threads have finished. Call this on the window's thread, ten times a second."""
        self._jobs.poll()
        if self.project is not None:
            self._read_events()
            self._notice_silent_end()
            self._notice_trouble()
            if self._stale:
                self._renew_proposals()

    def _failed(self, lane: Lane, error: BaseException) -> None:
        words = str(error) if isinstance(error, SegmatchError) else f"Something went wrong: {error!r}."
        self.message.emit(words, True)
        if self.project is not None and lane not in ("journal", "read"):
            self._reload()

    def _notice_trouble(self) -> None:
        """Masks come first: while the disk refuses them, training ends."""
        before, self._trouble = self._trouble, self.trouble
        if self._trouble and not before:
            self.message.emit(
                f"Not saved yet. {self._trouble} Your strokes are kept, and saving goes on by itself.", True
            )
            self.stop_training()
        elif before and not self._trouble:
            self.message.emit("The disk takes files again: everything is saved.", False)

    def _notice_silent_end(self) -> None:
        if self._background is not None and self._background.problem:
            self.message.emit(self._background.problem, True)
            self._background.problem = ""
        if self.run is not None and self.run_state in ("running", "paused") and not self.is_training:
            self.run_state = self._open().run_state(self.run.id)
            if self.run_state not in ("running", "paused"):
                self.run_changed.emit()

    def wait(self) -> None:
        """Finish everything that is under way, then poll."""
        self._jobs.finish()
        self.poll()

    def _refuses(self) -> bool:
        """Whether the project is open for looking only; says so."""
        reason = self._open().readonly
        if reason:
            self.message.emit(reason, True)
        return bool(reason)

    def _submit_save(self, case: str, job: Callable[[], Any]) -> None:
        keeper, strokes = self._keeper, self._strokes.pop(case, 0)
        if self._refuses() or keeper is None:
            return

        def save() -> Conflict | None:
            try:
                keeper.insist(job)
            except Conflict as conflict:
                return conflict
            return None

        def saved(conflict: Conflict | None) -> None:
            if strokes:
                self._jobs.submit("journal", partial(keeper.saved, case, strokes), lambda _: None)
            self._saved(case)
            if conflict is not None:
                self.message.emit(str(conflict), True)

        self._last_save[case] = self._jobs.submit("save", save, saved)


__all__ = ["History", "Mode", "Session"]
