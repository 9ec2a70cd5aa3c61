"""By what images are known again: a case's by its voxels, a file's by its bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..errors import ImportProblem
from ..types import Volume


def fingerprint(volume: Volume) -> str:
    """Return by what a case's images are known: the files' own voxels, however they are resampled."""
    return volume.stored or _of_pixels(volume)


def is_known_by(volume: Volume, known: str) -> bool:
    """Whether a case's images are those of a fingerprint; older projects took the voxels as they were resampled."""
    return fingerprint(volume) == known or _of_pixels(volume) == known


def _of_pixels(volume: Volume) -> str:
    return hashlib.sha256(volume.pixels.data).hexdigest()


def file_hash(path: Path) -> str | None:
    """Return a file's SHA-256, by which it is found again after a move; None for a folder of slices."""
    if path.is_dir():
        return None
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImportProblem(f"{path.name} cannot be read ({error.strerror}).") from error
