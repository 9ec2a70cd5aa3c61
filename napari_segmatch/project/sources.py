"""Find images again that have moved, by their hash: a mask must never meet another patient's image."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ImportProblem
from ..io import bad_name
from ..texts import count
from .prints import file_hash

if TYPE_CHECKING:
    from sqlite3 import Row

    from . import Project
    from .cases import CaseFolder

MOST_FILES = 200_000
"""So many files of a folder are looked at: a project may lie beside anything."""


def note_home(project: Project) -> list[str]:
    """Remember where the project lies; if it was moved without its images, find them where they still are.

    Where it lay before is kept until no image is missing: the drive with the others may come back.
    """
    here, before = project.path.resolve().as_posix(), _homes(project)
    if before == [here]:
        return []
    found = find_moved(project, quick=True)
    homes = [here, *(home for home in before if home != here)] if _missing(project) else [here]
    if homes != before:
        project.store.tell("meta", {"key": "home", "value": "\n".join(homes)})
    return found


def _homes(project: Project) -> list[str]:
    """Return where the project lies, as far as that was noted, and where it lay before: the latest place first."""
    row = project.store.row("SELECT value FROM meta WHERE key = 'home'")
    return [] if row is None else row["value"].split("\n")


def _missing(project: Project) -> list[Row]:
    """Return the images that are not where they were, those of removed cases too: somebody may bring them back."""
    return [row for row in project.store.rows("SELECT * FROM image") if not (project.path / row["path"]).exists()]


def find_moved(project: Project, search: Sequence[Path] = (), *, quick: bool = False) -> list[str]:
    """Point the project to images that are not where they were; returns a sentence for each case found again.

    Parameters
    ----------
    search
        Folders to look in, with all that is below them, besides the one in which the project lies.
    quick
        Look only where the images were when the project lay elsewhere.
    """
    missing, homes = _missing(project), _homes(project)
    if not missing:
        return []
    wanted = {Path(row["path"]).name for row in missing}
    nearby = {} if quick else _by_name([*search, project.path.resolve().parent], wanted)
    hashed = {name: _Hashed(files) for name, files in nearby.items()}
    moved: dict[str, list[dict[str, object]]] = {}
    for row in missing:
        places = (Path(os.path.normpath(Path(home, row["path"]))) for home in homes)
        before = [place for place in places if place.exists()]
        for files in (_Hashed(before), hashed.get(Path(row["path"]).name)):
            if files is not None and (place := files.find(row["sha256"])) is not None:
                moved.setdefault(row["case_id"], []).append({**dict(row), "path": project.relative(place)})
                break
    if moved:
        with project.store.atomic():
            for images in moved.values():
                project.store.tell("images", {"images": images})
    return [f"Found again: {count(len(images), 'image')} of case {case}." for case, images in moved.items()]


def find_case_again(project: CaseFolder, id: str, images: Mapping[str, str | Path]) -> bool:
    """Point a case's images that are not where they were to the same files, which are added anew; tell if there are."""
    if project.find_case(id) is None:
        return False
    found = []
    for row in project.store.rows("SELECT * FROM image WHERE case_id = ?", id):
        if row["sequence"] not in images or row["sha256"] is None or (project.path / row["path"]).exists():
            continue
        place = Path(images[row["sequence"]])
        if file_hash(place) == row["sha256"]:
            if trouble := bad_name(project.relative(place)):
                raise ImportProblem(trouble)
            found.append({**dict(row), "path": project.relative(place)})
    if found:
        with project.store.atomic():
            project.store.tell("images", {"images": found})
    return bool(found)


class _Hashed:
    """Files to be found by their hash. Each is read once, and only as many as it takes."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._waiting = iter(files)
        self._known: dict[str | None, Path] = {}

    def find(self, sha256: str | None) -> Path | None:
        """Without a hash (of a project from before version 3) the first is taken: opened, its pixels are compared."""
        if sha256 is None:
            return next((path for path in self._files if path.exists()), None)
        while sha256 not in self._known and (path := next(self._waiting, None)) is not None:
            with contextlib.suppress(ImportProblem):
                self._known.setdefault(file_hash(path), path)
        return self._known.get(sha256)


def _by_name(folders: Sequence[Path], wanted: set[str]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for folder in folders:
        for path in _files(folder):
            if path.name in wanted:
                found.setdefault(path.name, []).append(path)
    return found


def _files(folder: Path) -> Iterator[Path]:
    walk = (Path(root, name) for root, _, names in os.walk(folder) for name in names)
    yield from islice(walk, MOST_FILES)
