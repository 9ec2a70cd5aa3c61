"""The lowest part of a session: the project, its cases, what is drawn on them, and the threads that do the work."""

from __future__ import annotations

import time
from bisect import insort
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from psygnal import Signal

from ..errors import ProjectError, SegmatchError
from ..io import end_child
from ..jobs import Lane, VolumeCache
from ..keeper import WindowLock
from ..ledger import Ledger
from ..project import Project
from ..project.checks import left_over
from ..project.place import place_warning
from ..types import Aside, Case, Proposal, Volume
from .keeping import KeepingSession

Facts = Mapping[str, tuple[Case, list[Proposal]]]
"""What the project says of some cases and their proposals at one moment."""


class CaseSession(KeepingSession):
    """Opens a project, adds cases to it, saves masks. See :class:`napari_segmatch.session.Session`."""

    project_changed = Signal()
    """Another project is open, or none."""
    cases_changed = Signal()
    """Cases were added, or what is known of one changed."""
    proposals_changed = Signal(object)
    """Proposals of these cases, a set of ids, came or went."""
    decided = Signal(object)
    """The proposals with these numbers have another word of a person, or none any more."""
    mask_saved = Signal(str)
    """A mask of this case is on disk."""
    exported = Signal(list)
    """An export has ended and these files were written; none if it was refused."""

    def __init__(self) -> None:
        super().__init__()
        self._cases: list[Case] = []
        self._place: dict[str, int] = {}
        self.proposals = Ledger()
        self.saved_at: float | None = None
        self._last_save: dict[str, Future[Any]] = {}
        self._clock = 0
        self._saved_at_tick: dict[str, int] = {}
        self._volumes = VolumeCache(lambda case: self._open().volume(case))

    # project ---------------------------------------------------------------------------------------------

    def create_project(self, path: Path, classes: Iterable[str], sequences: Iterable[str]) -> None:
        Project.create(path, list(classes), list(sequences)).close()
        self.open_project(path)

    def open_project(self, path: Path) -> None:
        """Open a project; if another window has it open, only to look at. One that opens by half is closed again."""
        if self.project is not None and self.project.path.resolve() == path.resolve():
            self._leave()
        project, lock = self._hold(path)
        if self.project is not None:
            self._leave()
        try:
            self._use(project, lock)
        except BaseException:
            self._leave()
            raise

    def _leave(self) -> None:
        self.close_project()
        self.project_changed.emit()  # nobody is to ask about its cases while another is read, or where none opens

    def _use(self, project: Project, lock: WindowLock) -> None:
        self._keep(project, lock)
        self._opened(project)
        self._reload()
        self.project_changed.emit()
        if warnings := " ".join(filter(None, (project.readonly, self.left_over, place_warning(project.path)))):
            self.message.emit(" ".join(filter(None, (self.farewell, warnings))), True)

    def _opened(self, project: Project) -> None:
        """Read what is to be known of a project before anybody hears of it."""

    def close_project(self, timeout: float = 30) -> None:
        """Finish saving, close the project. ``timeout`` is for a training that has to stop first."""
        self._jobs.cancel("import", "read")
        self._here = None  # nobody needs the place of a window that closes, and writing it would outlast the lock
        self._finish()
        self.poll()
        self._let_go()
        self.saved_at = None
        self.cases, self.proposals = [], Ledger()
        self._volumes.clear()
        self._last_save.clear()
        self._saved_at_tick.clear()

    def close(self) -> None:
        """End the session, as :class:`napari_segmatch.session.Session` says."""
        self.close_project()
        self._jobs.close()
        end_child()

    def _reload(self) -> None:
        project = self._open()
        self.cases = project.cases
        before = set(self.proposals.columns.cases)
        self.proposals = Ledger(project.proposal_table(self.cases))
        self.cases_changed.emit()
        self.proposals_changed.emit(before.union(self.proposals.columns.cases))
        self._renew_asides()

    # cases -----------------------------------------------------------------------------------------------

    @property
    def cases(self) -> list[Case]:
        """All cases by id."""
        return self._cases

    @cases.setter
    def cases(self, cases: list[Case]) -> None:
        self._cases, self._place = cases, {case.id: place for place, case in enumerate(cases)}

    def _put(self, case: Case) -> None:
        """Take up one case that was added, or is known otherwise now."""
        if case.id in self._place:
            self._cases[self._place[case.id]] = case
        else:
            insort(self._cases, case, key=attrgetter("id"))
            self.cases = self._cases

    def case(self, id: str) -> Case:
        return self._cases[self._place[id]]

    def known(self, id: str) -> Case | None:
        """Return a case, or None if there is none of that name."""
        return self._cases[self._place[id]] if id in self._place else None

    def volume(self, case: str) -> Volume:
        """Read a case's pixels, or take them from those read lately. Any thread may ask."""
        return self._volumes.get(case)

    def load_case(
        self, case: str, then: Callable[[Volume, np.ndarray], None], failed: Callable[[], None] = lambda: None
    ) -> None:
        """Read pixels and labels off the window's thread, the labels after every save of this case."""

        def job() -> tuple[Volume, np.ndarray]:
            try:
                return self.volume(case), self._open().mask(case)
            except SegmatchError as error:
                raise ProjectError(f"{case} cannot be shown: {error}") from error

        self.read(job, lambda both: then(*both), failed, after=self._last_save.get(case))

    def mask(self, case: str) -> np.ndarray:
        return self._open().mask(case)

    # annotating ------------------------------------------------------------------------------------------

    def save_slices(
        self,
        case: str,
        slices: Mapping[int, np.ndarray],
        done: Iterable[int] = (),
        reopen: Iterable[int] = (),
        before: Mapping[int, np.ndarray] | None = None,
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        """Save these slices (y, x) in the background and leave the others as the disk has them.

        ``before`` are the same slices as the window knew them: if somebody else has changed one since, theirs stays
        and this one is kept beside (``asides``). ``refused`` is called if nothing could be saved.
        """
        if not self.refuses() and self._keeper is not None:
            self._save([case], self._keeper.saving(case, slices, done, reopen, before), refused)

    def take_aside(self, aside: Aside) -> None:
        """Make the slices of a version beside the mask part of the mask."""
        self._save([aside.case], lambda: self._open().take_aside(aside.version))

    def leave_aside(self, aside: Aside) -> None:
        self._save([aside.case], lambda: self._open().leave_aside(aside.version))

    @property
    def is_saving(self) -> bool:
        """Whether something that a person did is not on disk yet."""
        return self._jobs.pending("save")

    def _save(self, cases: Iterable[str], job: Callable[[], Any], refused: Callable[[], None] = lambda: None) -> None:
        """Change cases in the saving thread, and take up what the project says of them afterwards."""
        if self.refuses():
            return
        cases, now = sorted(set(cases)), self._tick()
        insisting, ended, failed = self._kept(cases, job, refused)

        def work() -> Facts:
            insisting()
            return self._facts(cases)

        def done(facts: Facts) -> None:
            self._learn(facts, now)
            ended()

        future = self._jobs.submit("save", work, done, failed)
        self._last_save.update(dict.fromkeys(cases, future))
        self._saved_at_tick.update(dict.fromkeys(cases, now))

    def _tick(self) -> int:
        """Count what begins and ends in the saving thread, so that facts of before are told from those of after."""
        self._clock += 1
        return self._clock

    def _facts(self, cases: Iterable[str]) -> Facts:
        project = self._open()
        found = filter(None, map(project.find_case, cases))  # one may have been taken out of the project
        return {case.id: (case, project.proposals(case=case.id)) for case in found}

    def _learn(self, facts: Facts, then: int) -> None:
        """Take up what a save of that tick has left; of a case that a later save concerns, that one will tell."""
        self._tick()
        self.saved_at = time.time()
        self._take_up({case: what for case, what in facts.items() if self._saved_at_tick.get(case, 0) <= then})
        for case in facts:
            self.mask_saved.emit(case)

    def _refresh(self, cases: Iterable[str], then: Callable[[], None] = lambda: None) -> None:
        """Read these cases and their proposals again, in the reading thread; ``then`` comes when they are taken up."""
        cases, before = list(cases), self._clock

        def learn(facts: Facts) -> None:
            if self._clock == before and not self.is_saving:
                self._take_up(facts)
                then()
            else:  # something was saved meanwhile: before or after the reading, who knows
                self._refresh(cases, then)

        self.read(lambda: self._facts(cases), learn)

    def _take_up(self, facts: Facts) -> None:
        facts = {id: what for id, what in facts.items() if id in self._place}  # the others have left the project
        relabelled = any(self.case(id).labelled != case.labelled for id, (case, _) in facts.items())
        for case, _ in facts.values():
            self._put(case)
        renewed = self.proposals.renew({id: proposals for id, (_, proposals) in facts.items()})
        if relabelled:
            self.cases_changed.emit()
        if renewed:
            self.proposals_changed.emit(renewed)

    # export ----------------------------------------------------------------------------------------------

    def export(self, folder: Path, include_accepted: bool = False, layout: str = "nifti") -> None:
        """Export in a thread of its own, with all that was saved before; what is saved later need not wait for it."""
        saved = self._jobs.submit("save", lambda: None, lambda _: None)

        def job() -> tuple[list[Path], str]:
            wait([saved])
            files = self._open().export(folder, include_accepted=include_accepted, layout=layout)
            return files, left_over(files, "export")

        def done(both: tuple[list[Path], str]) -> None:
            self.exported.emit(both[0])
            self.message.emit(f"{len(both[0])} files written to {folder.name}. {both[1]}".strip(), False)

        def refused(error: BaseException) -> None:
            self.exported.emit([])
            self._failed("export", error)

        self._jobs.submit("export", job, done, refused)

    # the window's heartbeat ------------------------------------------------------------------------------

    def poll(self) -> None:
        """Bring in what the threads have finished. Call this on the window's thread, ten times a second."""
        self._jobs.poll()
        self._read_behind_saves()
        self._note_place()

    def wait(self) -> None:
        """Finish everything that is under way, then poll."""
        self._jobs.finish()
        self.poll()
        self._jobs.finish("read")  # what has waited for a save
        self.poll()

    def _failed(self, lane: Lane, error: BaseException) -> None:
        super()._failed(lane, error)
        if self.project is not None and lane not in ("journal", "read", "segment", "export"):
            self._reload()
