"""Mask files named by the hash of their bytes. Written once, never changed; any viewer opens them.

Each carries, in a header extension, what the database says of it: a lost database can be made anew from them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ImportProblem, ProjectError
from ..fsio import inside, read_file, write_atomic
from ..io import decode_labels, encode_labels
from ..types import Geometry, Mask


class ObjectStore:
    """The ``objects`` folder of a project."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, name: str) -> Path:
        if len(name) != 64 or not set(name) <= set("0123456789abcdef"):
            raise ProjectError(f"{name[:80]!r} is no name of a mask: the project folder was tampered with.")
        return inside(self._root, f"{name[:2]}/{name}.nii.gz")

    def put(self, labels: np.ndarray, geometry: Geometry, about: dict[str, Any]) -> str:
        """Store a mask (z, y, x) and return its name. When this returns, the mask is on disk and reads back."""
        data = encode_labels(labels, geometry, comment=json.dumps(about, sort_keys=True))
        name = hashlib.sha256(data).hexdigest()
        write_atomic(self.path(name), data)
        return name

    def get(self, name: str) -> np.ndarray:
        """Return labels (z, y, x), uint8."""
        return self.read(name)[0].labels

    def read(self, name: str) -> tuple[Mask, dict[str, Any]]:
        """Return a mask and what it says of itself; every read compares the hash.

        Raises
        ------
        ProjectError
            If the file is missing or is not what was written.
        """
        path = self.path(name)
        try:
            data = read_file(path)
        except OSError as error:
            raise ProjectError(
                f"A saved mask is missing ({path.name[:12]}…: {error.strerror}): `segmatch doctor --repair` goes back "
                "to the newest whole version."
            ) from error
        if hashlib.sha256(data).hexdigest() != name:
            raise ProjectError(
                f"A saved mask is damaged ({path.name[:12]}…): `segmatch doctor --repair` goes back to the newest "
                "whole version."
            )
        try:
            mask, about = decode_labels(data, path.name)
            return mask, json.loads(about) if about else {}
        except (ImportProblem, ValueError, RecursionError) as error:
            raise ProjectError(f"A saved mask cannot be read: {error}") from error

    def intact(self, name: str) -> bool:
        """Whether the file exists and still has the hash in its name."""
        with contextlib.suppress(OSError, ProjectError):
            return hashlib.sha256(read_file(self.path(name))).hexdigest() == name
        return False

    def names(self) -> Iterator[str]:
        """Yield the names of all masks that are there."""
        for path in sorted(self._root.glob("[0-9a-f][0-9a-f]/*.nii.gz")):
            yield path.name.removesuffix(".nii.gz")
