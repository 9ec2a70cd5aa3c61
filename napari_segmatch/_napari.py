"""What the plugin manifest offers napari besides the panel: open and save NIfTI, and a sample."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import sample
from .errors import ImportProblem
from .io import read_mask, read_volume, unknown_geometry
from .io import write_labels as write_nifti
from .types import MAX_CLASSES, Geometry

LayerData = tuple[np.ndarray, dict[str, Any], str]

_KEY = "segmatch"  # where a layer's metadata keeps the geometry of its file
_SUFFIXES = (".nii", ".nii.gz")
_MASK_NAME = re.compile(r"mask|label|seg", re.IGNORECASE)


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Return what reads ``path``, or None if it is not all NIfTI."""
    return _read if all(name.lower().endswith(_SUFFIXES) for name in _listed(path)) else None


def write_labels(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Save a labels layer on the grid of the file that it was opened from.

    Parameters
    ----------
    path
        Where to save it; ``.nii`` or ``.nii.gz``.
    data
        Labels 0 to 255 (z, y, x), or (y, x) for a single slice.
    meta
        The layer's attributes. Without a geometry in its metadata, scale and translate place the layer.
    """
    labels = np.asarray(data)
    labels = labels[None] if labels.ndim == 2 else labels
    if labels.ndim != 3:
        raise ImportProblem(f"The layer has {labels.ndim} dimensions: only a volume or a slice becomes NIfTI.")
    if labels.min(initial=0) < 0 or labels.max(initial=0) > 255:
        raise ImportProblem("The layer has labels below 0 or above 255: renumber them before saving.")
    write_nifti(path, labels.astype(np.uint8), _layer_geometry(labels.shape, meta))
    return [path]


def sample_data() -> list[LayerData]:
    """Return a synthetic FLAIR image and its lesion mask."""
    image, labels = sample.phantom(seed=33)
    attributes = _attributes(sample.geometry(image.shape))
    return [
        (image, {**attributes, "name": "phantom"}, "image"),
        (labels, {**attributes, "name": "phantom mask"}, "labels"),
    ]


def _listed(path: str | Sequence[str]) -> list[str]:
    return [str(name) for name in ([path] if isinstance(path, str | Path) else path)]


def _read(path: str | Sequence[str]) -> list[LayerData]:
    return [_layer(Path(name)) for name in _listed(path)]


def _layer(path: Path) -> LayerData:
    """Read one file: as labels if both its name and its values say so, else as an image."""
    name = re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)
    labels = _few_labels(path) if _MASK_NAME.search(name) else None
    if labels is not None:
        return labels.labels, {**_attributes(labels.geometry), "name": name}, "labels"
    volume = read_volume(path)
    return volume.pixels[0], {**_attributes(volume.geometry), "name": name}, "image"


def _few_labels(path: Path):
    """Return the file's mask, or None if its values are no handful of whole numbers."""
    try:
        mask = read_mask(path)
    except ImportProblem:
        return None
    return mask if np.count_nonzero(np.bincount(mask.labels.ravel())) <= MAX_CLASSES else None


def _attributes(geometry: Geometry) -> dict[str, Any]:
    """Layer attributes of a grid: millimetres on screen, and in the metadata all that is needed to write it."""
    kept = {"affine": geometry.affine.tolist(), "axes": list(geometry.axes), "known": geometry.known}
    return {
        "scale": geometry.spacing,
        "units": ("mm", "mm", "mm"),
        "axis_labels": ("z", "y", "x"),
        "metadata": {_KEY: {**kept, "shape": list(geometry.shape)}},
    }


def _layer_geometry(shape: tuple[int, ...], meta: dict[str, Any]) -> Geometry:
    """Geometry that a layer was opened with, if it still has that shape; else its scale alone."""
    z, y, x = shape
    kept = (meta.get("metadata") or {}).get(_KEY)
    if kept and tuple(kept["shape"]) == shape:
        return Geometry((z, y, x), np.array(kept["affine"], float), tuple(kept["axes"]), kept["known"])
    spacing = _last_three(meta.get("scale"), 1.0)
    return unknown_geometry((z, y, x), (spacing[0], spacing[1], spacing[2]))


def _last_three(values: Sequence[float] | None, default: float) -> np.ndarray:
    """Return a layer's (z, y, x) values; a flat layer's z gets the default."""
    return np.array([default, *(values if values is not None else (default, default))], float)[-3:]
