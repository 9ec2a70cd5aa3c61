"""Any file to a volume or a mask."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..errors import ImportProblem
from ..texts import count
from ..types import NOT_ANNOTATED, Geometry, Mask, Volume
from . import mgh, nifti, nrrd
from .dicom_headers import is_dicom
from .dicom_seg import is_segmentation, load_segmentation
from .dicom_stack import load_dicom
from .labels import by_name, check_classes, emptied, labels_of, whole_numbers
from .orientation import is_sheared, onto_grid
from .source import Choices, FilePath, Source, ask, grey_values, guarded, one_frame

SUFFIXES = (*nifti.SUFFIXES, *mgh.SUFFIXES, *nrrd.SUFFIXES, ".dcm")


def read_volume(path: FilePath, choices: Choices | None = None) -> Volume:
    """Read an image as float32 (1, z, y, x); NaN and infinity become 0.

    Parameters
    ----------
    path
        NIfTI, Analyze, MGH, NRRD, a folder with one DICOM volume, or any file of a DICOM volume.
    choices
        Answers to questions that were asked before.

    Raises
    ------
    Question
        If the file can be read in more than one way.
    ImportProblem
        For whatever is wrong with it.
    """
    return guarded(partial(_volume, choices=choices or {}), Path(path))


def read_mask(
    path: FilePath,
    grid: Geometry | None = None,
    classes: int | Sequence[str] | None = None,
    choices: Choices | None = None,
    unchecked: Collection[int] = (),
) -> Mask:
    """Read labels as uint8 (z, y, x).

    Parameters
    ----------
    path
        A file of whole numbers 0 to 254, or 255 for "not annotated", or a DICOM segmentation.
    grid
        The image's geometry. A mask of the same voxels in another order is reordered, exactly.
    classes
        The largest label allowed, besides 255; or the names of labels 1, 2, ..., by which the labels of a file that
        has names too are found.
    choices
        Answers to questions that were asked before.
    unchecked
        Slices that an export left empty because nobody had checked them. Where they still are, they are not annotated.

    Raises
    ------
    Question
        If the labels can be read in more than one way, or lie on another grid.
    ImportProblem
        For whatever is wrong with the file.
    """
    path, choices = Path(path), choices or {}
    names = classes if isinstance(classes, Sequence) else ()
    mask, source = guarded(partial(_mask, classes=names, choices=choices, grid=grid), path)
    if classes is not None:
        check_classes(mask.labels, classes if isinstance(classes, int) else len(classes), choices, path.name)
    if not source.cropped:
        mask = _opened(mask, unchecked, path.name)
    if grid is not None:
        mask = onto_grid(mask, grid, path.name, choices, source.cropped)
    return _opened(mask, unchecked, path.name) if source.cropped else mask


def _opened(mask: Mask, unchecked: Collection[int], name: str) -> Mask:
    """Return a mask that is not annotated on slices that nobody has checked; elsewhere somebody has drawn since."""
    empty = [z for z in sorted(unchecked) if z < len(mask.labels) and not mask.labels[z].any()]
    if not empty:
        return mask
    mask.labels[empty] = NOT_ANNOTATED
    note = f"{count(len(empty), 'slice')} of {name} had not been checked when it was exported (slices.csv)."
    return replace(mask, notes=(*mask.notes, note))


def _volume(path: Path, choices: Choices) -> Volume:
    source = one_frame(load(path, choices), choices)
    geometry = source.geometry
    if not geometry.known:
        sentence = f"{path.name} does not state where left and right are"
        ask(choices, "orientation", sentence, {"unknown": "go on, and show neither"}, lambda _: True)
    if is_sheared(geometry.affine):
        sentence = f"{path.name} has axes at other than right angles, as after a gantry tilt"
        ask(choices, "shear", sentence, {"keep": "keep this grid; some programs cannot show it rightly"})
    values, notes = grey_values(source, choices)
    return Volume(source.permuted(values)[None], geometry, notes)


def _mask(path: Path, classes: Sequence[str], choices: Choices, grid: Geometry | None) -> tuple[Mask, Source]:
    source = one_frame(load_segmentation(path, grid) if is_segmentation(path) else load(path, choices), choices)
    values = whole_numbers(source, choices)
    choices, notes = by_name(source, values, classes, choices)
    notes = (*source.notes, *emptied(source, values), *notes)
    return Mask(source.permuted(labels_of(source, values, choices)), source.geometry, notes), source


def load(path: Path, choices: Choices) -> Source:
    """Read a file of any format that is known by its name or, for DICOM, by its first bytes."""
    name = path.name.lower()
    loaders: dict[tuple[str, ...], Callable[[], Source]] = {
        nifti.SUFFIXES: lambda: nifti.load_nifti(path, choices),
        mgh.SUFFIXES: lambda: mgh.load_mgh(path),
        nrrd.SUFFIXES: lambda: nrrd.load_nrrd(path),
    }
    for suffixes, loader in loaders.items():
        if name.endswith(suffixes):
            return loader()
    if not path.exists():
        raise ImportProblem(f"{path.name} does not exist: check its name and folder.")
    if path.is_dir() or is_dicom(path):
        return load_dicom(path, choices)
    path.open("rb").close()  # what may not be read is of no known format either, and that is said by its own name
    raise ImportProblem(f"{path.name} is of no known format: give NIfTI, NRRD, MGZ or DICOM.")


def looks_like_mask(name: str) -> bool:
    """Whether a file's name says that it holds labels."""
    return re.search(r"mask|label|seg", name, re.IGNORECASE) is not None


def strip_suffix(name: str) -> str:
    """Return a file's name without the ending that tells its format."""
    ending = max((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), key=len, default="")
    return name[: len(name) - len(ending)]
