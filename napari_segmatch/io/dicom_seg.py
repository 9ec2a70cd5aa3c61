"""DICOM segmentations that are read: labels on their own grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ImportProblem
from ..types import Geometry
from .dicom_headers import SEGMENTATIONS, is_dicom, read_header
from .dicom_stack import read_file_pixels
from .source import Source, check_size

LABELMAP = SEGMENTATIONS[1]
_OFF = 0.05  # share of the distance between slices by which one may lie off its place
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def is_segmentation(path: Path) -> bool:
    """Whether a file is a DICOM segmentation."""
    return path.is_file() and is_dicom(path) and read_header(path, ["SOPClassUID"]).get("SOPClassUID") in SEGMENTATIONS


def load_segmentation(path: Path, grid: Geometry | None = None) -> Source:
    """Read a segmentation as labels on its own grid; slices that it leaves out are empty.

    Parameters
    ----------
    grid
        The image's geometry: frames that lie on its slices are as far apart as these.
    """
    header = read_header(path, None)
    frames = header.get("PerFrameFunctionalGroupsSequence") or []
    if not frames:
        raise ImportProblem(f"{path.name} is a segmentation without any slice: export it again.")
    positions, right, down, measures = _planes_of(header, frames, path.name)
    normal = np.cross(right, down)
    along = positions @ normal
    offsets = along - along.min()
    stated, thickness = (abs(float(measures.get(name) or 0)) for name in ("SpacingBetweenSlices", "SliceThickness"))
    gap = _gap(offsets, sorted([_step(grid, positions[0], normal), stated], reverse=True), thickness or 1.0)
    if gap is None:
        raise ImportProblem(f"{path.name} has unevenly spaced slices: export it again on the image's own slices.")
    index = np.rint(offsets / gap).astype(int)
    gap = float(offsets.max() / index.max()) if index.any() else gap
    rows, columns = int(header.Rows), int(header.Columns)
    check_size((columns, rows, int(index.max()) + 1), 1, path.name)
    labels = _labels(path, header, frames, index)
    height, width = map(float, measures.PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = right * width, -down * height, normal * gap
    affine[:3, 3] = positions[index.argmin()] + down * height * (rows - 1)
    names = {int(item.SegmentNumber): str(item.get("SegmentLabel", "")) for item in header.get("SegmentSequence") or []}
    stored = labels[:, ::-1].transpose(2, 1, 0)
    return Source(path.name, stored, _LPS @ affine, names=names, cropped=True)


def _planes_of(header: Any, frames: Sequence[Any], name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, Any]:
    """Return the positions (n, 3), the directions of a row and a column, and what is said of the pixels' size."""
    positions = np.array(
        [_group(header, frame, "PlanePositionSequence", name).ImagePositionPatient for frame in frames], float
    )
    orientation = np.array(_group(header, frames[0], "PlaneOrientationSequence", name).ImageOrientationPatient, float)
    return positions, orientation[:3], orientation[3:], _group(header, frames[0], "PixelMeasuresSequence", name)


def _step(grid: Geometry | None, position: np.ndarray, normal: np.ndarray) -> float:
    """Return how far apart an image's slices lie along a direction, in mm; 0 if none of them lies at a position."""
    if grid is None:
        return 0.0
    affine = _LPS @ grid.affine
    steps = np.abs(normal @ affine[:3, :3])
    axis = int(steps.argmax())
    place = np.linalg.solve(affine, [*position, 1])[axis]
    parallel = steps[axis] > 0.999 * np.linalg.norm(affine[:3, axis])
    return float(steps[axis]) if parallel and abs(place - np.rint(place)) <= _OFF else 0.0


def _gap(offsets: np.ndarray, known: Sequence[float], thickness: float) -> float | None:
    """Return the first distance between slices, in mm, of which all offsets are multiples; None if there is none.

    A file that states a larger one than its image's was drawn on thicker slices. The smallest offset of two frames is
    the last that is tried: of slices that are left out it knows nothing.
    """
    steps = np.diff(np.unique(np.round(offsets, 3)))
    for gap in (*known, float(steps.min()) if len(steps) else thickness):
        if gap > 0 and np.abs(offsets - np.rint(offsets / gap) * gap).max() <= _OFF * gap:
            return gap
    return None


def _group(header: Any, frame: Any, sequence: str, name: str) -> Any:
    """Return what is said of one frame, or of all of them at once."""
    shared = (header.get("SharedFunctionalGroupsSequence") or [{}])[0]
    found = frame.get(sequence) or shared.get(sequence)
    if not found:
        raise ImportProblem(f"{name} does not say enough of its slices (no {sequence}): export it again.")
    return found[0]


def _labels(path: Path, header: Any, frames: Sequence[Any], index: np.ndarray) -> np.ndarray:
    """Return labels (slice, row, column); segments must exclude each other."""
    pixels = read_file_pixels(path).reshape(-1, int(header.Rows), int(header.Columns))
    labels = np.zeros((int(index.max()) + 1, *pixels.shape[1:]), np.uint16)
    if header.SOPClassUID == LABELMAP:
        labels[index] = pixels
        return labels
    least = (int(header.get("MaximumFractionalValue") or 1) + 1) // 2
    for plane, frame, z in zip(pixels, frames, index, strict=True):
        number = int(_group(header, frame, "SegmentIdentificationSequence", path.name).ReferencedSegmentNumber)
        inside = plane >= least
        if (labels[z][inside] > 0).any():
            raise ImportProblem(f"{path.name} has segments that overlap: make them exclude each other.")
        labels[z][inside] = number
    return labels
