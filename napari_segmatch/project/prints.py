"""By what images are known again: a case's by its voxels, a file's by its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from ..errors import ImportProblem
from ..types import Volume


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
