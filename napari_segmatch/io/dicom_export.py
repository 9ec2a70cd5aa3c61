"""DICOM segmentations that are written: masks for an archive, tied to the images that they were drawn on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import ImportProblem
from ..types import Geometry
from .dicom_files import stacks_of_file
from .dicom_headers import pydicom, read_header
from .dicom_stack import Sorted, find_stack, sort_slices
from .orientation import source_geometry
from .source import Choices, FilePath

VERSION = version("napari-segmatch")
Algorithm = Literal["MANUAL", "SEMIAUTOMATIC", "AUTOMATIC"]
_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
_REPEATED = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
             "AccessionNumber", "ReferringPhysicianName")  # fmt: skip
"""What a segmentation says of patient and study as its images do; it may be empty."""
_UTF8 = "ISO_IR 192"


@dataclass(frozen=True)
class Code:
    """A structure's SNOMED CT code and meaning, and those of the category that it belongs to."""

    value: str = "85756007"
    meaning: str = "Tissue"
    category: str = "85756007"
    category_meaning: str = "Tissue"


def encode_segmentation(
    image: FilePath,
    labels: np.ndarray,
    geometry: Geometry,
    names: Sequence[str],
    algorithm: Algorithm,
    codes: Mapping[str, Code] | None = None,
    choices: Choices | None = None,
    creator: str = "",
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
    creator
        The person whose labels they are.

    Raises
    ------
    ImportProblem
        If the images are not there any more, do not lie where the labels do, or lack what must be said of them.
    """
    placed, grid = _placed(Path(image), choices or {})
    if not grid.same_grid(geometry):
        raise ImportProblem(
            f"{Path(image).name} does not lie on the grid that the mask was drawn on, so no DICOM segmentation can "
            "refer to it: export NIfTI, or put the old files back if they were changed."
        )
    stored = labels.transpose(grid.back)
    planes = np.stack([stored[:, ::-1, index].T for index in range(stored.shape[2])])
    gap = float(np.linalg.norm(placed.affine[:3, 2]))
    segments = [(name, (codes or {}).get(name, Code())) for name in names]
    try:
        headers = [_whole_header(path, gap) for path in dict.fromkeys(item.path for item in placed.slices)]
        if len(headers) == 1:
            planes = _as_frames(planes, placed, headers[0])
        return _segmentation(headers, planes, gap, segments, algorithm, creator)
    except ImportProblem:
        raise
    except Exception as error:  # a broken header can fail anywhere in a library; what it says may name the patient
        raise ImportProblem(
            f"{placed.slices[0].path.name} has a header that no DICOM segmentation can repeat "
            f"({type(error).__name__}): export NIfTI."
        ) from error


def _as_frames(planes: np.ndarray, placed: Sorted, header: Any) -> np.ndarray:
    """Bring planes (slice, row, column) into the order of the frames of the one file that they were drawn on."""
    name = placed.slices[0].path.name
    if len(stacks_of_file(placed.slices[0].path)) > 1:
        raise ImportProblem(
            f"{name} holds several volumes, and a DICOM segmentation refers to all frames of a file: export NIfTI."
        )
    frames = np.zeros((int(header.get("NumberOfFrames", 1)), *planes.shape[1:]), np.uint8)
    frames[[item.frame for item in placed.slices]] = planes
    return frames


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
    segments: Sequence[tuple[str, Code]],
    algorithm: Algorithm,
    creator: str,
) -> bytes:
    try:
        import highdicom
    except ImportError as error:
        raise ImportProblem('Writing DICOM needs another package: pip install "napari-segmatch[dicom]".') from error
    now = datetime.now()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = highdicom.seg.Segmentation(
            source_images=headers,
            pixel_array=planes,
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[
                _segment(highdicom, number, name, algorithm, code) for number, (name, code) in enumerate(segments, 1)
            ],
            series_instance_uid=highdicom.UID(),
            series_number=int(headers[0].get("SeriesNumber") or 0) % 10_000 + 90_000,
            series_date=now.date(), series_time=now.time(), content_date=now.date(), content_time=now.time(),
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer="napari-segmatch",
            manufacturer_model_name="SegMatch",
            software_versions=VERSION,
            device_serial_number="1",
            content_label="SEGMATCH",
            content_description="Research use only",
            content_creator_name=creator.replace("\\", " ")[:64],
            series_description="SegMatch, research use only",
            specific_character_set=_letters(highdicom, headers[0], segments, creator),
            omit_empty_frames=bool(planes.any()),
        )  # fmt: skip
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


def _letters(highdicom: Any, header: Any, segments: Sequence[tuple[str, Code]], creator: str) -> str:
    """Return the character set of the images if our own words can be written in it, else UTF-8, which holds all."""
    own = header.get("SpecificCharacterSet")
    words = creator + "".join(name + code.meaning + code.category_meaning for name, code in segments)
    known = {item.value for item in highdicom.SpecificCharacterSetValues}
    try:
        words.encode(pydicom().charset.python_encoding[own])
    except (KeyError, TypeError, UnicodeError):  # none, several of them, or too small a one
        return _UTF8
    return own if own in known else _UTF8


def _whole_header(path: Path, gap: float) -> Any:
    """Read a header with all that a segmentation repeats: empty where it is missing or wrong, as anonymisers leave it.

    Raises
    ------
    ImportProblem
        If it does not say which image it is, or in which space.
    """
    header = read_header(path, None)
    for keyword in _NEEDED:
        if not header.get(keyword):
            raise ImportProblem(
                f"{path.name} has no {keyword}, without which no DICOM segmentation can refer to it: export NIfTI."
            )
    for keyword in _REPEATED:
        if not _is_valid(keyword, header.get(keyword)):
            setattr(header, keyword, None)
    if "SliceThickness" not in header:
        header.SliceThickness = f"{gap:.8g}"
    return header


def _is_valid(keyword: str, value: Any) -> bool:
    """Whether a date, a time or a sex is one; all other text is taken as it is."""
    kinds = pydicom().valuerep
    check = {"PatientBirthDate": kinds.DA, "StudyDate": kinds.DA, "StudyTime": kinds.TM}.get(keyword, str)
    try:
        check(value)
    except (TypeError, ValueError):
        return False
    return value is not None and (keyword != "PatientSex" or value in ("M", "F", "O"))
