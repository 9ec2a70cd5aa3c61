"""The ground of a session: one window's lock on its project, the stroke journal, saves that outlast a full disk."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from psygnal import Signal

from ..errors import Conflict, DiskProblem, ProjectError, SegmatchError
from ..jobs import Jobs, Lane
from ..keeper import Keeper, WindowLock
from ..project import Project
from ..project.folder import DATABASE
from ..types import Aside

T = TypeVar("T")

LOOK_SECONDS = 0.2
"""How often somebody who waits for the last saves looks whether the disk refuses them."""


class KeepingSession:
    """Holds a project open and keeps what is drawn in it. See :class:`napari_segmatch.session.Session`."""

    asides_changed = Signal()
    """The list ``asides`` is new: versions that wait for somebody to choose."""
    message = Signal(str, bool)
    """A sentence for the status line; True when something is wrong."""

    def __init__(self) -> None:
        self.project: Project | None = None
        self.asides: list[Aside] = []
        self._beside: list[int] = []  # the numbers of these versions, and of those that cannot be read
        self._jobs = Jobs(self._failed)
        self._lock: WindowLock | None = None
        self._keeper: Keeper | None = None
        self._behind: list[tuple[Future[Any], Callable[[], None]]] = []  # readings, each with the save before it
        self._strokes: dict[str, int] = {}  # of each case, those in the journal that no save has taken along
        self.trouble_told = ""
        """Of :attr:`trouble` what the last message about it said."""
        self._here: tuple[str, int] | None = None
        self.farewell = ""
        """Where that lies which the project closed last could not keep; empty as a rule."""

    def _failed(self, lane: Lane, error: BaseException) -> None:
        words = str(error) if isinstance(error, SegmatchError) else f"Something went wrong: {error!r}."
        self.message.emit(words, True)

    def attempt(self, verb: Callable[..., object], *arguments: object) -> bool:
        """Do what may be refused; returns whether it was done. A refusal is said through ``message``."""
        try:
            verb(*arguments)
        except SegmatchError as error:
            self.message.emit(str(error), True)
            return False
        return True

    def _open(self) -> Project:
        if self.project is None:
            raise ProjectError("No project is open: create one or open one first.")
        return self.project

    def read(
        self,
        job: Callable[[], T],
        then: Callable[[T], None],
        failed: Callable[[], None] = lambda: None,
        after: Future[Any] | None = None,
    ) -> None:
        """Run a job that only reads in the reading thread; ``then`` gets its result from :meth:`poll`.

        ``failed`` is called instead when there is none, after a message has said why. What comes of it when its project
        has been left reaches nobody: the same names and numbers mean others now. A job that has to come ``after`` a
        save keeps no other from the thread meanwhile: the disk may refuse that one for hours.
        """
        if after is not None and not after.done():
            self._behind.append((after, partial(self.read, job, then, failed)))
            return
        mine = self.project

        def concluded(found: T) -> None:
            if self.project is mine:
                then(found)

        def refused(error: BaseException) -> None:
            if self.project is mine:
                self._failed("read", error)
                failed()

        self._jobs.submit("read", job, concluded, refused)

    def _read_behind_saves(self) -> None:
        for item in [item for item in self._behind if item[0].done()]:
            self._behind.remove(item)
            item[1]()

    # coming and going ------------------------------------------------------------------------------------

    def _hold(self, path: Path) -> tuple[Project, WindowLock]:
        """Open a project, if another window has it open only to look at."""
        lock = WindowLock(path)
        reason = lock.take() if (path / DATABASE).is_file() else ""  # nothing is left in a folder that is no project
        try:
            return Project.open(path, reason), lock
        except BaseException:
            lock.release()
            raise

    def _keep(self, project: Project, lock: WindowLock) -> None:
        self.project, self._lock = project, lock
        if not project.readonly:
            self._keeper = Keeper(project, lock.crashed)

    def _finish(self) -> None:
        """Finish everything that is under way; what the disk refuses, now or in the meantime, is put somewhere else."""
        self._behind.clear()
        if self.project is not None:
            self.farewell = ""
        done = False
        while not done:
            done = self._jobs.finish(timeout=LOOK_SECONDS)
            if self._keeper is not None and self.trouble and not self.farewell:
                self._rescue(self._keeper)

    def _rescue(self, keeper: Keeper) -> None:
        self._jobs.finish("journal")
        try:
            rescued = keeper.give_up()
        except DiskProblem as error:
            self.farewell = str(error)
        else:
            self.farewell = (
                f"What is not saved lies in {rescued}: `segmatch recover` brings it in."
                if rescued is not None
                else f"The last slices marked as done or decisions are not saved. {self.trouble}"
            )
        self.message.emit(self.farewell, True)

    def _let_go(self) -> None:
        if self._keeper is not None:
            while self._jobs.pending("journal"):  # the last saves, heard of just now, have told it what they hold
                self._jobs.finish("journal")
            self._keeper.close()
        if self.project is not None:
            self.project.close()
        if self._lock is not None:
            self._lock.release()
        self.project, self._keeper, self._lock = None, None, None
        self._strokes, self.asides, self._beside, self.trouble_told, self._here = {}, [], [], "", None

    # strokes ---------------------------------------------------------------------------------------------

    def journal(self, case: str, slices: Mapping[int, np.ndarray], done: Collection[int] = ()) -> None:
        """Put slices (y, x) on disk as they are after a stroke, beside the window's thread and within a moment.

        ``done`` are those of them that are to be finished by the next save.
        """
        if self._keeper is not None:
            copies = {z: labels.copy() for z, labels in slices.items()}
            self._strokes[case] = self._strokes.get(case, 0) + 1
            self._jobs.submit("journal", partial(self._keeper.stroke, case, copies, done), lambda _: None)

    def remember_place(self, case: str, z: int) -> None:
        """Remember what is on the screen, for the day when the window dies; once a second, the last one always."""
        self._here = case, z
        self._note_place()

    def _note_place(self) -> None:
        if self._here is not None and self._keeper is not None and self._keeper.wants_place():
            self._jobs.submit("journal", partial(self._keeper.remember, *self._here), lambda _: None)
            self._here = None

    @property
    def left_over(self) -> str:
        """Why strokes of a window before this one are not offered yet; empty as a rule."""
        return self._keeper.left_over if self._keeper is not None else ""

    @property
    def place(self) -> tuple[str, int] | None:
        """Case and slice at which the last window died."""
        return self._keeper.place if self._keeper is not None else None

    # saving ----------------------------------------------------------------------------------------------

    def refuses(self) -> bool:
        """Whether the project is open for looking only; says so."""
        reason = self._open().readonly
        if reason:
            self.message.emit(reason, True)
        return bool(reason)

    def _kept(
        self, cases: Iterable[str], job: Callable[[], Any], refused: Callable[[], None] = lambda: None
    ) -> tuple[Callable[[], Any], Callable[[], None], Callable[[BaseException], None]]:
        """Return a job that waits for the disk and survives conflicts, and what to do when it has ended or failed."""
        keeper, strokes = self._keeper, {case: self._strokes.pop(case, 0) for case in cases}
        conflicts: list[Conflict] = []

        def insisting() -> Any:
            try:
                return keeper.insist(job) if keeper is not None else job()
            except Conflict as conflict:
                return conflicts.append(conflict)

        def ended() -> None:
            self._tell_journal(strokes, saved=True)
            self._renew_asides()
            for conflict in conflicts:
                self.message.emit(str(conflict), True)

        def failed(error: BaseException) -> None:
            self._tell_journal(strokes, saved=False)
            refused()
            self._failed("save", error)

        return insisting, ended, failed

    def _tell_journal(self, strokes: Mapping[str, int], saved: bool) -> None:
        """Say of the oldest strokes of each case whether a mask version holds them: the others stay in the journal."""
        for case, many in strokes.items():
            if many and self._keeper is not None:
                tell = self._keeper.saved if saved else self._keeper.unsaved
                self._jobs.submit("journal", partial(tell, case, many), lambda _: None)

    def last_save(self) -> Future[Any] | None:
        """Return what is done when all is that was saved until now; None if it is already."""
        return self._jobs.submit("save", lambda: None, lambda _: None) if self._jobs.pending("save") else None

    @property
    def trouble(self) -> str:
        """Why something that a person did is not on disk; empty if it is, or will be in a moment."""
        return self._keeper.trouble if self._keeper is not None else ""

    def _notice_trouble(self) -> bool:
        """Say when the disk begins to refuse and when it takes files again; True when it has just begun."""
        before, self.trouble_told = self.trouble_told, self.trouble
        if self.trouble_told and not before:
            self.message.emit(f"Not saved yet. {self.trouble_told} Your strokes are kept; saving tries again.", True)
        elif before and not self.trouble_told:
            self.message.emit("The disk takes files again: everything is saved.", False)
        return bool(self.trouble_told and not before)

    # versions beside the mask ----------------------------------------------------------------------------

    def _renew_asides(self) -> None:
        """Take up which versions wait, if they are others than before: to know its slices, each is read whole."""
        versions = self._open().aside_versions
        if versions != self._beside:
            self._beside, self.asides = versions, self._open().asides()
            self.asides_changed.emit()

    def aside_labels(self, aside: Aside) -> np.ndarray:
        """Return the labels (z, y, x) of a version beside the mask."""
        return self._open().aside_labels(aside.version)
