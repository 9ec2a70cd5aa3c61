"""Mend what can be mended, and delete what nothing refers to any more, on request only."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ..errors import ProjectError, SegmatchError
from ..fsio import TEMPORARY, move
from ..locks import WINDOW, FileLock
from ..types import Case
from . import Project
from .audit import TRAIL
from .doctor import checkpoint_is_whole, database_problems, trail_problems
from .folder import DATABASE
from .rebuild import rebuild, renew_trail
from .sources import find_moved

KEEP_DAYS = 30
"""So long the masks of a removed case survive ``segmatch gc``."""

BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def repair(path: str | Path, search: Sequence[Path] = ()) -> list[str]:
    """Mend a project; returns a sentence for each thing that was done. What cannot be mended is left as it is.

    Images that have moved are looked for in the folders ``search``, beside the project and where it lay before.

    Raises
    ------
    ProjectError
        If there is no project, nothing can be written to it, or somebody is using it: a window, or a command that is
        writing. Their database must not be replaced under their hands.
    """
    path = Path(path)
    if not path.is_dir():
        raise ProjectError(f"There is no project folder {path.name}: check the path.")
    if not any((path / name).exists() for name in (DATABASE, TRAIL, "objects")):  # a lock would be left in it
        raise ProjectError(
            f"{path.resolve().name} holds neither an audit trail nor masks of SegMatch: check the path, or restore a "
            "backup."
        )
    with without_window(path, "repair the project"):
        return _mended(path, search)


@contextmanager
def without_window(path: Path, what: str) -> Iterator[None]:
    """Keep windows from writing to a project as long as ``what`` somebody does there takes.

    Raises
    ------
    ProjectError
        If one has it open.
    """
    window = FileLock(path / WINDOW)
    if not window.acquire(patience=1.0) and os.access(path / WINDOW, os.W_OK):
        raise ProjectError(f"{path.resolve().name} is open in a window: close it there, then {what}.")
    try:
        yield
    finally:
        window.release()


def _mended(path: Path, search: Sequence[Path]) -> list[str]:
    done = [rebuild(path, DATABASE)] if _needs_rebuilding(path) else []
    with Project.open(path) as project:
        if project.readonly:
            raise ProjectError(project.readonly)
        if trail_problems(project):
            renew_trail(path, DATABASE)
            done.append("The audit trail beside the database was written anew.")
        for case in project.cases:
            done += _mend_mask(project, case)
        done += find_moved(project, search)
        for run, _ in project.runs():
            for folder in sorted(run.checkpoints.glob("[0-9]*")):
                if not checkpoint_is_whole(folder):
                    move(folder, folder.with_name(f".damaged-{folder.name}"))
                    done.append(f"The damaged checkpoint {folder.name} of run {run.id} was put aside.")
    return done


def _needs_rebuilding(path: Path) -> bool:
    """Whether the database is missing, unreadable, or not what its own audit trail says."""
    try:
        with Project.open(path) as project:
            problems = database_problems(project) + trail_problems(project)
            return any("audit.jsonl" not in problem for problem in problems)
    except (SegmatchError, sqlite3.DatabaseError) as error:
        if "newer version" in str(error) or "another program" in str(error) or isinstance(error.__cause__, OSError):
            raise
        if getattr(error.__cause__ or error, "sqlite_errorcode", None) in BUSY:  # says nothing of the database itself
            raise ProjectError(
                f"{path.resolve().name} is being written to by another process: let it finish, or end it, then repair."
            ) from error
        return True


def _mend_mask(project: Project, case: Case) -> list[str]:
    """If a case's current mask is damaged, go back to its newest whole version: as a new one, nothing is removed."""
    if case.version is None:
        return []
    rows = project.store.rows("SELECT * FROM mask_version WHERE case_id = ? ORDER BY id DESC", case.id)
    current = next(row for row in rows if row["id"] == case.version)
    if project.objects.intact(current["object"]):
        return []
    for row in rows:
        if row["origin"] not in ("conflict", "recovered") and project.objects.intact(row["object"]):
            with project.store.atomic():
                project.save_version(case, project.objects.get(row["object"]), project.done_in(row), "undo")
            return [f"The mask of {case.id} went back to version {row['id']}: the later ones are damaged."]
    return [f"No version of the mask of {case.id} is whole: restore objects/ from a backup."]


def garbage(project: Project, days: int = KEEP_DAYS) -> list[Path]:
    """Return the files that nothing refers to: masks of saves that never ended, and of cases removed long ago."""
    limit = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    rows = project.store.rows(
        'SELECT DISTINCT v.object FROM mask_version v JOIN "case" c ON c.id = v.case_id '
        "WHERE c.removed_at IS NULL OR c.removed_at > ?",
        limit,
    )
    wanted = {row["object"] for row in rows}
    unknown = [project.objects.path(name) for name in project.objects.names() if name not in wanted]
    hour_ago = time.time() - 3600
    half_written = [
        file for file in project.path.rglob("*")
        if any(part.startswith(TEMPORARY) for part in file.relative_to(project.path).parts)  # of a checkpoint a folder
        and file.is_file() and file.stat().st_mtime < hour_ago
    ]  # fmt: skip
    return [*unknown, *half_written]


def collect_garbage(project: Project, days: int = KEEP_DAYS) -> int:
    """Delete what :func:`garbage` names, while nobody else writes. Returns how many files are gone."""
    with project.store.atomic():
        files = [file for file in garbage(project, days) if file.is_file()]
        project.store.tell("gc", {"files": [file.name for file in files], "days": days})
    for file in files:
        file.unlink(missing_ok=True)
    return len(files)
