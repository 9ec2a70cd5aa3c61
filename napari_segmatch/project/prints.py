"""By what images are known again: a case's by its voxels, a file's by its bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ImportProblem
from ..io import ask
from ..types import Volume

if TYPE_CHECKING:
    from .folder import ProjectFolder


def fingerprints(volume: Volume) -> Iterator[str]:
    """Yield by what a case's images are known: the files' own voxels, however they are resampled.

    What older projects hold comes second: the voxels as they were resampled.
    """
    if volume.stored:
        yield volume.stored
    yield hashlib.sha256(volume.pixels.data).hexdigest()


def file_hash(path: Path) -> str | None:
    """Return a file's SHA-256, by which it is found again after a move; None for a folder of slices."""
    if path.is_dir():
        return None
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImportProblem(f"{path.name} cannot be read ({error.strerror}).") from error


def twins(
    project: ProjectFolder,
    id: str,
    known_by: Sequence[str],
    rows: Sequence[Mapping[str, str | None]],
    choices: Mapping[str, str],
) -> tuple[str, ...]:
    """Ask whether images may come twice; a copy in both training and validation would flatter the model."""
    voxels = 'SELECT id FROM "case" WHERE fingerprint IN (SELECT value FROM json_each(?)) AND id <> ?'
    files = "SELECT case_id AS id FROM image WHERE sha256 IN (SELECT value FROM json_each(?)) AND case_id <> ?"
    hashes = [row["sha256"] for row in rows]
    if twin := project.store.row(voxels, json.dumps(known_by), id):
        sentence = f"The images of case {id} are those of case {twin['id']}, voxel for voxel"
    elif twin := project.store.row(files, json.dumps(hashes), id):
        sentence = f"An image of case {id} is a file of case {twin['id']}, too"
    else:
        return ()
    ask(choices, "twin", sentence, {"add": "add them all the same"})
    return (f"{sentence}.",)
