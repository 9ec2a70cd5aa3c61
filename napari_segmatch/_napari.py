"""What the plugin manifest offers napari besides the panel: open and save NIfTI, and a sample."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import sample
from .errors import ImportProblem, Question, SegmatchError
from .io import (
    SUFFIXES,
    holds_dicom,
    is_segmentation,
    looks_like_mask,
    read_apart,
    read_mask,
    read_volume,
    scan_dicom,
    strip_suffix,
    unknown_geometry,
)
from .io import write_image as write_pixels
from .io import write_labels as write_mask
from .types import MAX_CLASSES, Geometry

LayerData = tuple[np.ndarray, dict[str, Any], str]

_KEY = "segmatch"  # where a layer's metadata keeps the geometry of its file


class SaveProblem(SegmatchError):
    """A layer cannot be saved. No ValueError, of which napari says that no plugin was found."""


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Return what reads ``path``, or None if not all of it is of a format that we read."""
    return _read if all(_readable(Path(name)) for name in _listed(path)) else None


def _readable(path: Path) -> bool:
    return holds_dicom(path) if path.is_dir() else path.name.lower().endswith(SUFFIXES)


def write_labels(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Save a labels layer on the grid of the file that it was opened from.

    Parameters
    ----------
    path
        Where to save it; ``.nii``, ``.nii.gz`` or ``.nrrd``.
    data
        Labels 0 to 255 (z, y, x), or (y, x) for a single slice.
    meta
        The layer's attributes. Without a geometry in its metadata, scale and translate place the layer.
    """
    labels = _volume(data)
    if labels.min(initial=0) < 0 or labels.max(initial=0) > 255:
        raise SaveProblem("The layer has labels below 0 or above 255: renumber them before saving.")
    write_mask(path, labels.astype(np.uint8), _layer_geometry(labels.shape, meta))
    return [path]


def write_image(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Save an image layer (z, y, x) or (y, x) as float32 on the grid of the file that it was opened from."""
    pixels = _volume(data).astype(np.float32)
    write_pixels(path, pixels, _layer_geometry(pixels.shape, meta))
    return [path]


def _volume(data: Any) -> np.ndarray:
    array = np.asarray(data)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3:
        raise SaveProblem(f"The layer has {array.ndim} dimensions: only a volume or a slice can be saved.")
    return array


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
    return [layer for name in _listed(path) for layer in _layers(Path(name))]


def _layers(path: Path) -> list[LayerData]:
    """Read one file, or every DICOM volume of a folder."""
    if not path.is_dir():
        return [_layer(path, strip_suffix(path.name))]
    scan = scan_dicom(path)
    masks = [_layer(file, file.stem) for file, *_ in scan.segmentations]
    return [_layer(stack.path, stack.label or path.name) for stack in scan.stacks] + masks


def _layer(path: Path, name: str) -> LayerData:
    """Read one file: as labels if both its name and its values say so, else as an image."""
    labels = _few_labels(path) if looks_like_mask(path.name) or is_segmentation(path) else None
    if labels is not None:
        return labels.labels, {**_attributes(labels.geometry), "name": name}, "labels"
    volume = _answered(read_volume, path)
    for note in volume.notes:
        warnings.warn(note, stacklevel=2)
    return volume.pixels[0], {**_attributes(volume.geometry), "name": name}, "image"


def _few_labels(path: Path):
    """Return the file's mask, or None if its values are no handful of whole numbers."""
    try:
        mask = read_apart(read_mask, path, files=[path])
    except ImportProblem:
        return None
    return mask if np.count_nonzero(np.bincount(mask.labels.ravel())) <= MAX_CLASSES else None


def _answered(read: Callable[..., Any], path: Path) -> Any:
    """Read a file; where it can be read in several ways take the most careful one, and say so."""
    choices: dict[str, str] = {}
    while True:
        try:
            return read_apart(read, path, choices, files=[path])
        except Question as question:
            if question.topic in choices:
                raise
            choices[question.topic] = next(iter(question.options))
            warnings.warn(f"{question} Here it is {question.topic}={choices[question.topic]}.", stacklevel=2)


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
