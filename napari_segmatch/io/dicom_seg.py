"""DICOM segmentations: masks for an archive, tied to the images that they were drawn on, and back."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import ImportProblem
from ..types import Geometry
from .dicom_files import stacks_of_file
from .dicom_headers import SEGMENTATIONS, is_dicom, read_header
from .dicom_stack import Sorted, find_stack, read_file_pixels, sort_slices
from .orientation import source_geometry
from .source import Choices, FilePath, Source, check_size

LABELMAP = SEGMENTATIONS[1]
VERSION = version("napari-segmatch")
Algorithm = Literal["MANUAL", "SEMIAUTOMATIC", "AUTOMATIC"]
_OFF = 0.05  # share of the distance between slices by which one may lie off its place
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Code:
    """A structure's SNOMED CT code and meaning, and those of the category that it belongs to."""

    value: str = "85756007"
    meaning: str = "Tissue"
    category: str = "85756007"
    category_meaning: str = "Tissue"


def is_segmentation(path: Path) -> bool:
    """Whether a file is a DICOM segmentation."""
    return path.is_file() and is_dicom(path) and read_header(path, ["SOPClassUID"]).get("SOPClassUID") in SEGMENTATIONS


# Out


def encode_segmentation(
    image: FilePath,
    labels: np.ndarray,
    geometry: Geometry,
    names: Sequence[str],
    algorithm: Algorithm,
    codes: Mapping[str, Code] | None = None,
    choices: Choices | None = None,
) -> bytes:
    """Return the bytes of a DICOM segmentation of uint8 labels (z, y, x) drawn on a DICOM volume.

    Parameters
    ----------
    image
        A file of the volume, or its folder. The segmentation refers to its slices, and names the same patient.
    geometry
        Of the labels: the volume's own grid.
    names
        Of labels 1, 2, ...
    algorithm
        Who made the labels.
    codes
        Class name to SNOMED CT code; a class without one is coded as tissue.

    Raises
    ------
    ImportProblem
        If the images are not there any more, or do not lie where the labels do.
    """
    placed, grid = _placed(Path(image), choices or {})
    if not grid.same_grid(geometry):
        raise ImportProblem(
            f"{Path(image).name} does not lie on the grid that the mask was drawn on, so no DICOM segmentation can "
            "refer to it: export NIfTI, or put the old files back if they were changed."
        )
    rows, columns = placed.slices[0].size
    stored = labels.transpose(grid.back)
    planes = np.stack([stored[:, ::-1, index].T for index in range(stored.shape[2])])
    headers = [_whole_header(path) for path in dict.fromkeys(item.path for item in placed.slices)]
    if len(headers) == 1:  # frames of one file, in the file's order
        if len(stacks_of_file(placed.slices[0].path)) > 1:
            raise ImportProblem(
                f"{placed.slices[0].path.name} holds several volumes, and a DICOM segmentation refers to all frames of "
                "a file: export NIfTI."
            )
        frames = np.zeros((int(headers[0].get("NumberOfFrames", 1)), rows, columns), np.uint8)
        frames[[item.frame for item in placed.slices]] = planes
        planes = frames
    gap = float(np.linalg.norm(placed.affine[:3, 2]))
    return _segmentation(headers, planes, gap, names, algorithm, codes or {})


def lies_on(image: FilePath, geometry: Geometry, choices: Choices | None = None) -> bool:
    """Whether a DICOM volume has the grid of a mask, so that a segmentation of its slices can hold the mask."""
    return _placed(Path(image), choices or {})[1].same_grid(geometry)


def _placed(path: Path, choices: Choices) -> tuple[Sorted, Geometry]:
    placed = sort_slices(find_stack(path, choices), path.name, choices)
    rows, columns = placed.slices[0].size
    return placed, source_geometry((columns, rows, len(placed.slices)), placed.affine, placed.known, path.name)


def _segmentation(
    headers: list[Any],
    planes: np.ndarray,
    gap: float,
    names: Sequence[str],
    algorithm: Algorithm,
    codes: Mapping[str, Code],
) -> bytes:
    try:
        import highdicom
    except ImportError as error:
        raise ImportProblem('Writing DICOM needs another package: pip install "napari-segmatch[dicom]".') from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = highdicom.seg.Segmentation(
            source_images=headers,
            pixel_array=planes,
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[
                _segment(highdicom, number, name, algorithm, codes.get(name, Code()))
                for number, name in enumerate(names, 1)
            ],
            series_instance_uid=highdicom.UID(),
            series_number=int(headers[0].get("SeriesNumber") or 0) % 10_000 + 90_000,
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer="napari-segmatch",
            manufacturer_model_name="SegMatch",
            software_versions=VERSION,
            device_serial_number="1",
            content_label="SEGMATCH",
            content_description="Research use only",
            series_description="SegMatch, research use only",
        )
        for measures in made.SharedFunctionalGroupsSequence[0].get("PixelMeasuresSequence") or ():
            measures.SpacingBetweenSlices = f"{gap:.8g}"  # empty slices are left out, so that positions do not tell it
        buffer = BytesIO()
        made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _segment(highdicom: Any, number: int, name: str, algorithm: Algorithm, code: Code) -> Any:
    coded = highdicom.sr.CodedConcept
    made_by = None
    if algorithm != "MANUAL":
        made_by = highdicom.AlgorithmIdentificationSequence(
            name="SegMatch", family=coded("123110", "DCM", "Artificial Intelligence"), version=VERSION
        )
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
        segmented_property_category=coded(code.category, "SCT", code.category_meaning[:64]),
        segmented_property_type=coded(code.value, "SCT", code.meaning[:64]),
        algorithm_type=algorithm,
        algorithm_identification=made_by,
    )


def _whole_header(path: Path) -> Any:
    header = read_header(path, None)
    for keyword in ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
                    "StudyID", "ReferringPhysicianName", "PatientID"):  # fmt: skip
        if keyword not in header:  # required, but anonymised files often lack them
            setattr(header, keyword, None)
    return header


# In


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
