"""Masks and images onto the very voxels that they came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..fsio import write_atomic
from ..types import Geometry
from .nifti import encode_nifti, packed
from .nrrd import encode_nrrd
from .source import FilePath
from .tables import coloured

WRITABLE = (".nii.gz", ".nii", ".nrrd")


def encode_labels(labels: np.ndarray, geometry: Geometry, description: str = "", comment: str = "") -> bytes:
    """Return the bytes of a .nii.gz of uint8 labels (z, y, x): the same arguments always give the same bytes.

    ``comment`` is any text; it travels in a header extension.
    """
    return packed(encode_nifti(_as_labels(labels), geometry, description, comment), 1)


def encode_segments(labels: np.ndarray, geometry: Geometry, names: Sequence[str], colours: Mapping[str, str]) -> bytes:
    """Return the bytes of an .nrrd that 3D Slicer opens as a segmentation with names and colours."""
    return encode_nrrd(_as_labels(labels), geometry, coloured(names, colours))


def encode_image(pixels: np.ndarray, geometry: Geometry) -> bytes:
    """Return the bytes of a .nii.gz of float32 or int16 pixels (z, y, x)."""
    return packed(encode_nifti(pixels, geometry), 1)


def write_labels(path: FilePath, labels: np.ndarray, geometry: Geometry, description: str = "") -> None:
    """Write uint8 labels (z, y, x) on the source's own grid, under a fresh header that names nobody."""
    _write(Path(path), _as_labels(labels), geometry, description)


def write_image(path: FilePath, pixels: np.ndarray, geometry: Geometry) -> None:
    """Write float32 or int16 pixels (z, y, x) on the source's own grid, under a fresh header."""
    if pixels.dtype not in (np.float32, np.int16):
        raise ValueError(f"images are written as float32 or int16, not {pixels.dtype}")
    _write(Path(path), pixels, geometry)


def _as_labels(labels: np.ndarray) -> np.ndarray:
    if labels.dtype != np.uint8:
        raise ValueError(f"labels are written as uint8, not {labels.dtype}")
    return labels


def _write(path: Path, array: np.ndarray, geometry: Geometry, description: str = "") -> None:
    """Write a whole file or none: it lies beside ``path`` until it is complete."""
    name = path.name.lower()
    if not name.endswith(WRITABLE):
        raise ValueError(f"{path.name} must end in {', '.join(WRITABLE)}")
    if name.endswith(".nrrd"):
        write_atomic(path, encode_nrrd(array, geometry))
        return
    data = encode_nifti(array, geometry, description)
    write_atomic(path, packed(data) if name.endswith(".gz") else data)
