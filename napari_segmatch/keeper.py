"""What keeps one window's work: its lock, the stroke journal, the reserve, and saves that outlast a full disk.

The methods say on which thread they run; nothing here waits on the window's thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from .errors import Conflict, DiskProblem, SegmatchError
from .fsio import Reserve, free_bytes, move, read_file, write_atomic
from .locks import WINDOW, FileLock
from .project import Project
from .project.audit import actor
from .project.journal import Journal, journals, read_place, recover, write_place
from .project.sources import note_home

T = TypeVar("T")
Slices = Mapping[int, np.ndarray]

RETRY_SECONDS, LONGEST_RETRY = 1.0, 20.0
"""How long a refused save waits before it tries again: twice as long each time, up to a limit."""

PLACE_SECONDS = 1.0

OWNER, OLD_OWNER = ".window-owner.json", "owner.json"
"""Who has a project open: what the file is called, and was called once."""


class WindowLock:
    """One window writes to a project. The system frees the lock when the window dies, however it dies."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / WINDOW
        self._lock = FileLock(self._file)
        self._owner = folder / OWNER
        self._name = folder.resolve().name
        self.crashed = False
        """Whether the window before this one died without a word."""

    def take(self) -> str:
        """Return an empty string, or a sentence that says who has the project open."""
        if not os.access(self._owner.parent, os.W_OK):
            return ""  # a project that nobody can write to needs no lock
        if not self._lock.acquire(patience=0.2):
            if not self._file.exists():
                return (
                    f"{self._name} lies on a disk that takes no new file: free some space and open it again; until "
                    "then it can be looked at, but not changed."
                )
            return f"{self._name} is open in another window{self._who()}: here it can be looked at, but not changed."
        self.crashed = self._owner.exists() or self._had_old_owner()
        facts = {"user": actor(), "host": platform.node(), "pid": os.getpid(),
                 "since": datetime.now().astimezone().isoformat(timespec="minutes")}  # fmt: skip
        with contextlib.suppress(DiskProblem):
            write_atomic(self._owner, json.dumps(facts).encode())
        return ""

    def _had_old_owner(self) -> bool:
        """Whether an earlier version of this program died here; somebody's own file of that name is left alone."""
        old = self._owner.with_name(OLD_OWNER)
        with contextlib.suppress(OSError, ValueError, TypeError):
            if set(json.loads(read_file(old))) == {"user", "host", "pid", "since"}:
                old.unlink()
                return True
        return False

    def _who(self) -> str:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            facts = json.loads(read_file(self._owner))
            return f" ({facts['user']} on {facts['host']} since {str(facts['since'])[:16].replace('T', ' ')})"
        return ""

    def release(self) -> None:
        if self._lock.held:
            with contextlib.suppress(OSError):
                self._owner.unlink(missing_ok=True)
        self._lock.release()


class Keeper:
    """Keeps the work of one window on one project that it may write to.

    Attributes
    ----------
    trouble
        Why something that a person did is not on disk yet; empty when everything is or will be in a moment.
    place
        Case and slice that were on the screen when the last window died.
    left_over
        Why strokes of a window before this one are not offered yet; empty as a rule.
    """

    def __init__(self, project: Project, crashed: bool) -> None:
        self._project = project
        self._folder = project.path / "journal"
        self.trouble = self.left_over = ""
        self.place = read_place(self._folder) if crashed else None
        self._given_up = threading.Event()
        self._placed = 0.0
        self._refused: dict[tuple[str, int], dict[bytes, np.ndarray]] = {}
        """Of slices that could not be saved, what the project holds in place of what the next save knows."""
        self._reserve = Reserve(project.path / "reserve.bin")
        with contextlib.suppress(DiskProblem):
            note_home(project)
        self._recover()
        self._journal = Journal(self._folder)
        self._reserve.fill()

    def _recover(self) -> None:
        """Keep what dead windows left behind beside the masks; only then put their journals away."""
        for path in journals(self._folder):
            try:
                whole = recover(self._project, path)[1]
                if whole:
                    path.unlink()
                else:  # something in it is torn, damaged or nobody's: keep it for whoever wants to look
                    move(path, self._project.path / "backups" / path.name)
            except (OSError, SegmatchError) as error:  # the next window tries again
                self.left_over = str(error) if isinstance(error, SegmatchError) else self.left_over

    # the journal's thread --------------------------------------------------------------------------------

    def stroke(self, case: str, slices: Mapping[int, np.ndarray], done: Collection[int] = ()) -> None:
        """Put slices on disk, and which of them are done, if need be in the reserve's place."""
        try:
            self._journal.stroke(case, slices, done)
        except DiskProblem as error:
            self.trouble = str(error)
            if self._reserve.release():
                self._journal.flush()

    def saved(self, case: str, strokes: int) -> None:
        self._journal.saved(case, strokes)

    def unsaved(self, case: str, strokes: int) -> None:
        self._journal.unsaved(case, strokes)

    def remember(self, case: str, z: int) -> None:
        with contextlib.suppress(DiskProblem):
            write_place(self._folder, case, z)

    # the saving thread -----------------------------------------------------------------------------------

    def insist(self, save: Callable[[], T]) -> T:
        """Save, and go on trying as long as the disk refuses; later saves wait behind, in their order."""
        wait = RETRY_SECONDS
        while True:
            try:
                result = save()
            except DiskProblem as error:
                self.trouble = str(error)
                if not self._reserve.release() and self._given_up.wait(wait):
                    raise
                wait = min(2 * wait, LONGEST_RETRY)
            else:
                if self.trouble:
                    self.trouble = ""
                    self._refill()
                return result

    def _save_slices(
        self, case: str, slices: Slices, done: Collection[int], reopen: Collection[int], before: Slices
    ) -> None:
        """Save slices, also in the place of those that a save before could not save."""
        held = {z: self._refused.get((case, z), {}).get(known.tobytes(), known) for z, known in before.items()}
        try:
            self._project.save_slices(case, slices, done, reopen=reopen, before=held or None)
        except Conflict:  # both are on disk
            self._forget_refused(case, slices)
            raise
        except Exception:
            for z, known in before.items():  # the next one was drawn upon this, or upon what this was drawn upon
                self._refused[case, z] = dict.fromkeys((known.tobytes(), slices[z].tobytes()), held[z])
            raise
        self._forget_refused(case, slices)

    def _forget_refused(self, case: str, slices: Slices) -> None:
        for z in slices:
            self._refused.pop((case, z), None)

    def _refill(self) -> None:
        with contextlib.suppress(OSError):
            if free_bytes(self._project.path) > 2**26:
                self._reserve.fill()

    # the window's thread ---------------------------------------------------------------------------------

    def saving(
        self, case: str, slices: Slices, done: Iterable[int], reopen: Iterable[int], before: Slices | None
    ) -> Callable[[], None]:
        """Return what the saving thread does to save slices as they are now; see :meth:`Project.save_slices`."""
        mine, known = ({z: labels.copy() for z, labels in each.items()} for each in (slices, before or {}))
        return partial(self._save_slices, case, mine, tuple(done), tuple(reopen), known)

    def wants_place(self) -> bool:
        """Whether it is time to remember what is on the screen."""
        due = time.monotonic() - self._placed > PLACE_SECONDS
        if due:
            self._placed = time.monotonic()
        return due

    def give_up(self) -> Path | None:
        """Stop insisting; write what is not saved somewhere else and return the file.

        Raises
        ------
        DiskProblem
            If no other place takes it either.
        """
        self._given_up.set()
        for folder in (Path.home(), Path(tempfile.gettempdir())):
            with contextlib.suppress(DiskProblem):
                return self._journal.rescue(folder)
        raise DiskProblem(f"{self.trouble} No other folder could be written to either.")

    def close(self) -> None:
        """Let go of the journal: by now everything is saved, or left in it for the next window."""
        self._journal.close()
        self._reserve.release()
