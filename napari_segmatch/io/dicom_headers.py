"""What the header of a DICOM file says of its image planes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ImportProblem
from .source import FilePath

MAGIC = b"DICM"
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_LARGEST_DEFLATED = 4 * 2**20  # bytes; deflating saves a factor of a thousand at most
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")

_NOBODY = {"anon", "anonym", "anonymous", "anonymized", "anonymised", "case", "patient", "study", "subject", "test"}
"""Words that stand in the place of a name."""
_UMLAUTS = {ord(letter): two for letter, two in {"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"}.items()}

_TAGS = (
    "SOPClassUID", "SOPInstanceUID", "Modality", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber",
    "SeriesDescription", "ProtocolName", "ImageType", "InstanceNumber", "AcquisitionNumber", "AcquisitionTime",
    "ContentTime", "TriggerTime", "EchoTime", "EchoNumbers", "DiffusionBValue", "TemporalPositionIdentifier",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "PhotometricInterpretation", "RescaleSlope",
    "RescaleIntercept", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "ReferencedSeriesSequence", (0x0019, 0x100C), (0x0043, 0x1039),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Slice:
    """One image plane: a file, or one frame of it.

    Attributes
    ----------
    frame
        Number of the frame, from 0.
    position, orientation
        ImagePositionPatient (3,) and ImageOrientationPatient (6,), or None.
    spacing
        Millimetres between rows and between columns.
    gap
        Millimetres to the next slice as the header states it; what counts are the positions.
    order
        What tells two slices at one position apart: temporal position, acquisition, time, number.
    rescale
        Slope and intercept.
    """

    path: Path
    uid: str
    frame: int
    size: tuple[int, int]
    position: np.ndarray | None
    orientation: np.ndarray | None
    spacing: tuple[float, float] | None
    gap: float
    order: tuple[float, ...]
    rescale: tuple[float, float]


def pydicom() -> Any:
    """Import pydicom, which not everybody needs."""
    try:
        import pydicom
        import pydicom.config
        import pydicom.pixels
    except ImportError as error:
        raise ImportProblem('Reading DICOM needs another package: pip install "napari-segmatch[dicom]".') from error
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    return pydicom


def is_dicom(path: FilePath) -> bool:
    """Whether a file begins like DICOM, with or without the preamble."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(132)
    except OSError:
        return False
    first = head[:2] in (b"\2\0", b"\x08\0") and len(head) == 132  # the group of a data set's first element
    return head[128:] == MAGIC or (first and (head[4:6].isalpha() or int.from_bytes(head[4:8], "little") < 256))


def read_header(path: Path, tags: Iterable[Any] | None = _TAGS) -> Any:
    """Read a file's header, or only some tags of it, without pixels."""
    return read_dataset(path, stop_before_pixels=True, specific_tags=tags and list(tags))


def read_dataset(path: Path, **how: Any) -> Any:
    """Read a file with or without the preamble; a deflated one that could fill the memory is refused."""
    with path.open("rb") as file:
        head = file.read(1024)
    if _DEFLATED in head and path.stat().st_size > _LARGEST_DEFLATED:
        raise ImportProblem(f"{path.name} is deflated and large: export it uncompressed.")
    return pydicom().dcmread(path, force=head[128:132] != MAGIC, **how)


def names_patient(text: str, path: Path) -> bool:
    """Whether a text has a part of the name in it that a file gives its patient; one with digits is a pseudonym."""
    header = read_header(path, ["SpecificCharacterSet", "PatientName", "PatientIdentityRemoved"])
    name = str(header.get("PatientName") or "")
    if re.search(r"\d", name) or header.get("PatientIdentityRemoved") == "YES":
        return False
    for plain in (_without_accents, _spelt_out):
        there = plain(text)
        words = set(re.findall(r"[^\W\d_]+", there))
        for word in re.findall(r"[^\W\d_]{2,}", plain(name)):
            if word not in _NOBODY and (word in words or (len(word) > 3 and word in there)):
                return True
    return False


def _without_accents(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def _spelt_out(text: str) -> str:
    """Write umlauts as two letters, as names of files often have them."""
    letters = unicodedata.normalize("NFC", text.casefold())
    return _without_accents(letters.translate(_UMLAUTS))


def slices_of(path: Path, data: Any) -> Iterator[tuple[Slice, str]]:
    """Yield each plane of a file, and in words what makes it another contrast than the rest of its series."""
    shared = (data.get("SharedFunctionalGroupsSequence") or [{}])[0]
    frames = data.get("PerFrameFunctionalGroupsSequence") or [{}] * max(1, int(data.get("NumberOfFrames") or 1))
    for index, own in enumerate(frames):

        def find(sequence: str, tag: str, own: Any = own, fallback: str = "") -> Any:
            for group in (own, shared):
                if (items := group.get(sequence)) and (value := items[0].get(tag)) is not None:
                    return value
            return data.get(fallback or tag)

        yield _slice(path, data, index, find), _kind(data, find)


def _slice(path: Path, data: Any, index: int, find: Callable[..., Any]) -> Slice:
    order = (
        _number(find("FrameContentSequence", "TemporalPositionIndex", fallback="TemporalPositionIdentifier")),
        _number(data.get("AcquisitionNumber")), _number(data.get("TriggerTime")), _number(data.get("AcquisitionTime")),
        _number(data.get("ContentTime")), _number(data.get("InstanceNumber")), float(index),
    )  # fmt: skip
    spacing = _numbers(find("PixelMeasuresSequence", "PixelSpacing"), 2)
    position = _numbers(find("PlanePositionSequence", "ImagePositionPatient"), 3)
    if "PerFrameFunctionalGroupsSequence" not in data and int(data.get("NumberOfFrames") or 1) > 1:
        position = None  # one position for many frames places none of them
    gap = find("PixelMeasuresSequence", "SpacingBetweenSlices") or find("PixelMeasuresSequence", "SliceThickness")
    transform = [find("PixelValueTransformationSequence", tag) for tag in ("RescaleSlope", "RescaleIntercept")]
    return Slice(
        path=path,
        uid=str(data.get("SOPInstanceUID") or path),  # one that does not say is no other's copy
        frame=index,
        size=(int(data.Rows), int(data.Columns)),
        position=position,
        orientation=_numbers(find("PlaneOrientationSequence", "ImageOrientationPatient"), 6),
        spacing=None if spacing is None else (float(spacing[0]), float(spacing[1])),
        gap=abs(_number(gap)) or 1.0,
        order=order,
        rescale=(_number(transform[0], 1.0) or 1.0, _number(transform[1])),
    )


def _kind(data: Any, find: Callable[..., Any]) -> str:
    """Say echo, b-value and complex part, as far as the header tells."""
    echo = find("MREchoSequence", "EffectiveEchoTime", fallback="EchoTime")
    b = find("MRDiffusionSequence", "DiffusionBValue")
    for private in ((0x0019, 0x100C), (0x0043, 0x1039)):  # Siemens, GE
        if b is None and private in data:
            values = data[private].value
            b = values if isinstance(values, str | int | float) else next(iter(values or ()), None)
    kind = image_type(data)
    part = next((p for p in ("PHASE", "REAL", "IMAGINARY") if p in kind or p[0] in kind[2:3]), "")
    words = [
        f"echo {round(_number(echo), 1):g} ms" if echo not in (None, "") else "",
        f"b={_number(b):g}" if b not in (None, "") and np.isfinite(_number(b, np.nan)) else "",
        part.lower(),
    ]
    return ", ".join(word for word in words if word)


def image_type(data: Any) -> list[str]:
    """Return the words of a header's ImageType, which may be one or many."""
    kind = data.get("ImageType") or ()
    return [str(word) for word in ([kind] if isinstance(kind, str) else kind)]


def _number(value: Any, default: float = 0.0) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return default
    return number if np.isfinite(number) else default


def _numbers(value: Any, count: int) -> np.ndarray | None:
    try:
        array = np.array([float(item) for item in value])
    except (TypeError, ValueError):
        return None
    return array if array.shape == (count,) and np.isfinite(array).all() else None
