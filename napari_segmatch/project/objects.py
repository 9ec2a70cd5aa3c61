"""Mask files named by the hash of their bytes. Written once, never changed; any viewer opens them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from ..errors import ImportProblem, ProjectError
from ..fsio import write_atomic
from ..io import encode_labels, read_mask
from ..types import Geometry


class ObjectStore:
    """The ``objects`` folder of a project."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, name: str) -> Path:
        return self._root / name[:2] / f"{name}.nii.gz"

    def put(self, labels: np.ndarray, geometry: Geometry) -> str:
        """Store a mask (z, y, x) and return its name. When this returns, the mask is on disk and reads back."""
        data = encode_labels(labels, geometry)
        name = hashlib.sha256(data).hexdigest()
        path = self.path(name)
        if not path.exists():
            write_atomic(path, data)
        if path.read_bytes() != data:
            raise ProjectError(f"The mask {path.name} did not read back as it was written: check the disk.")
        return name

    def get(self, name: str) -> np.ndarray:
        """Return labels (z, y, x), uint8."""
        try:
            return read_mask(self.path(name)).labels
        except ImportProblem as error:
            raise ProjectError(f"A saved mask cannot be read: {error} Run `segmatch doctor`.") from error

    def intact(self, name: str) -> bool:
        """Whether the file exists and still has the hash in its name."""
        path = self.path(name)
        return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == name
