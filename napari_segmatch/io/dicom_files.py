"""Which DICOM files of a folder make up which volume. Only headers are read, and of them only what is named here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ImportProblem
from .source import FilePath

MAGIC = b"DICM"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"

_TAGS = (
    "SOPClassUID", "SOPInstanceUID", "Modality", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber",
    "SeriesDescription", "ProtocolName", "ImageType", "InstanceNumber", "AcquisitionNumber", "AcquisitionTime",
    "ContentTime", "TriggerTime", "EchoTime", "EchoNumbers", "DiffusionBValue", "TemporalPositionIdentifier",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "PhotometricInterpretation", "RescaleSlope",
    "RescaleIntercept", "FrameOfReferenceUID", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "ReferencedSeriesSequence", (0x0019, 0x100C), (0x0043, 0x1039),
)  # fmt: skip
_SAME_DIRECTION = 2e-3  # how far apart two cosines may be and count as one orientation


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


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices that belong to one volume, not yet sorted or checked. ``patient`` is never stored or shown."""

    patient: str
    study: str
    series: str
    number: int
    description: str
    modality: str
    kind: str
    slices: tuple[Slice, ...]
    reference: str = ""

    @property
    def path(self) -> Path:
        """One of its files, which stands for the volume."""
        return min(item.path for item in self.slices)

    @property
    def label(self) -> str:
        """Description and contrast, which tell the volumes of one series apart."""
        return ", ".join(filter(None, (self.description, self.kind)))

    @property
    def title(self) -> str:
        words = f"series {self.number} “{self.description}”" if self.description else f"series {self.number}"
        return f"{words}{f' {self.kind}' if self.kind else ''}, {self.modality}, {len(self.slices)} slices"


@dataclass(frozen=True, eq=False)
class Scan:
    """What a folder holds: volumes, segmentations and their files' series, and what was left out and why."""

    stacks: tuple[Stack, ...] = ()
    segmentations: tuple[tuple[Path, str], ...] = ()
    skipped: dict[str, int] = field(default_factory=dict)


def pydicom() -> Any:
    """Import pydicom, which not everybody needs."""
    try:
        import pydicom
        import pydicom.config
        import pydicom.pixels
    except ImportError as error:
        raise ImportProblem("Reading DICOM needs another package: pip install 'napari-segmatch[dicom]'.") from error
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


def holds_dicom(folder: Path, look: int = 20) -> bool:
    """Whether one of the first files in a folder or below it is DICOM."""
    for place, _, names in os.walk(folder):
        for name in sorted(names):
            if is_dicom(Path(place) / name):
                return True
            look -= 1
            if look <= 0:
                return False
    return False


def scan_dicom(folder: FilePath, progress: Callable[[int], None] = lambda count: None) -> Scan:
    """Look through a folder and all below it.

    Parameters
    ----------
    progress
        Is told how many files have been looked at; what it raises stops the scan.
    """
    scans, count = [], 0
    for place, _, names in sorted(os.walk(folder)):
        count += len(names)
        progress(count)
        scans.append(_scan_folder(place, _stamp(place, names)))
    skipped: dict[str, int] = {}
    for scan in scans:
        for reason, files in scan.skipped.items():
            skipped[reason] = skipped.get(reason, 0) + files
    stacks = [stack for scan in scans for stack in scan.stacks]
    places: dict[tuple[str, str, str], list[Stack]] = {}
    for stack in stacks:
        places.setdefault((stack.series, stack.kind, stack.description), []).append(stack)
    for group in places.values():
        if len({stack.path.parent for stack in group}) > 1 and _one_orientation(group):
            reason = f"{group[0].title.rpartition(',')[0]}: lies in several folders; put its files into one"
            skipped[reason] = skipped.get(reason, 0) + sum(len(stack.slices) for stack in group)
            stacks = [stack for stack in stacks if stack not in group]
    return Scan(tuple(stacks), tuple(item for scan in scans for item in scan.segmentations), skipped)


def _one_orientation(group: list[Stack]) -> bool:
    return all(_fits(group[0].slices[0], stack.slices[0]) for stack in group)


def stacks_of_file(path: Path) -> list[Stack]:
    """Return the volumes that a file has a part in; its folder is looked through."""
    place = str(path.parent)
    names = [entry.name for entry in os.scandir(place) if entry.is_file()]
    stacks = _scan_folder(place, _stamp(place, names)).stacks
    return [stack for stack in stacks if any(item.path == path for item in stack.slices)]


def _stamp(place: str, names: Iterable[str]) -> tuple[tuple[str, int, int], ...]:
    """What changes when a file of a folder does."""
    found = []
    for name in sorted(names):
        if name.startswith("."):
            continue
        try:
            status = os.stat(os.path.join(place, name))  # noqa: PTH116, PTH118  one call for each of thousands of files
        except OSError:
            continue
        found.append((name, status.st_mtime_ns, status.st_size))
    return tuple(found)


@lru_cache(maxsize=16)
def _scan_folder(place: str, stamp: tuple[tuple[str, int, int], ...]) -> Scan:
    """Sort the files of one folder into volumes. Remembered until a file changes."""
    groups: dict[tuple[Any, ...], list[Stack]] = {}
    segmentations: list[tuple[Path, str]] = []
    skipped: dict[str, int] = {}
    seen: set[tuple[str, int]] = set()
    for name, _, _ in stamp:
        path = Path(place) / name
        reason = None
        if not is_dicom(path):
            reason = "is no DICOM file"
        else:
            try:
                reason = _take(path, groups, segmentations, seen)
            except ImportProblem:
                raise
            except Exception:  # a broken file can fail anywhere in pydicom, with any type
                reason = "has a broken header"
        if reason:
            skipped[reason] = skipped.get(reason, 0) + 1
    stacks = [part for members in groups.values() for stack in members for part in _by_time(stack)]
    stacks.sort(key=lambda stack: (stack.number, stack.label, -len(stack.slices), str(stack.path)))
    return Scan(tuple(stacks), tuple(segmentations), skipped)


def _take(
    path: Path,
    groups: dict[tuple[Any, ...], list[Stack]],
    segmentations: list[tuple[Path, str]],
    seen: set[tuple[str, int]],
) -> str | None:
    """Put a file's slices with those that they belong to; returns why not, if not."""
    data = read_header(path)
    if data.get("SOPClassUID") == SEGMENTATION:
        referenced = data.get("ReferencedSeriesSequence") or [{}]
        segmentations.append((path, str(referenced[0].get("SeriesInstanceUID", ""))))
        return None
    if reason := _unusable(data):
        return reason
    for item, kind in _slices(path, data):
        if (item.uid, item.frame) in seen:
            return "is a copy of another file"
        seen.add((item.uid, item.frame))
        text = " ".join(str(data.get("SeriesDescription") or data.get("ProtocolName") or "").split())
        patient, study, series = (
            str(data.get(tag, "")) for tag in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")
        )
        members = groups.setdefault((patient, study, series, kind, item.size), [])
        for index, stack in enumerate(members):
            if _fits(stack.slices[0], item):
                members[index] = replace(stack, slices=(*stack.slices, item))
                break
        else:
            number = int(data.get("SeriesNumber") or 0)
            reference = str(data.get("FrameOfReferenceUID", ""))
            modality = str(data.get("Modality", "?"))
            members.append(Stack(patient, study, series, number, text, modality, kind, (item,), reference))
    return None


def read_header(path: Path, tags: Iterable[Any] | None = _TAGS) -> Any:
    """Read a file's header, or only some tags of it, without pixels."""
    with path.open("rb") as file:
        file.seek(128)
        forced = file.read(4) != MAGIC
    return pydicom().dcmread(path, stop_before_pixels=True, specific_tags=tags and list(tags), force=forced)


def _unusable(data: Any) -> str | None:
    if "Rows" not in data or "Columns" not in data:
        return f"holds no image ({data.get('Modality') or 'no modality'})"
    if int(data.get("SamplesPerPixel") or 1) > 1:
        return "holds colours"
    if "LOCALIZER" in (data.get("ImageType") or ()):
        return "is a localizer"
    return None


def _fits(one: Slice, other: Slice) -> bool:
    """Whether two slices lie in parallel planes and have pixels of one size."""
    for mine, theirs, tolerance in (
        (one.orientation, other.orientation, _SAME_DIRECTION),
        (one.spacing, other.spacing, 1e-3 * min(one.spacing or (1,))),
    ):
        if (mine is None) != (theirs is None):
            return False
        if mine is not None and theirs is not None and not np.allclose(mine, theirs, rtol=0, atol=tolerance):
            return False
    return True


def _slices(path: Path, data: Any) -> Iterator[tuple[Slice, str]]:
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
        uid=str(data.get("SOPInstanceUID", path.name)),
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
    if b is None and (private := data.get((0x0019, 0x100C))) is not None:  # Siemens
        b = private.value
    if b is None and (private := data.get((0x0043, 0x1039))) is not None:  # GE
        b = (
            private.value[0]
            if isinstance(private.value, list | tuple) or hasattr(private.value, "__getitem__")
            else None
        )
    part = next((p for p in ("PHASE", "REAL", "IMAGINARY") if p in _words(data) or f"{p[0]}" in _words(data)[2:3]), "")
    words = [
        f"echo {round(_number(echo), 1):g} ms" if echo not in (None, "") else "",
        f"b={_number(b):g}" if b not in (None, "") and np.isfinite(_number(b, np.nan)) else "",
        part.lower(),
    ]
    return ", ".join(word for word in words if word)


def _words(data: Any) -> list[str]:
    kind = data.get("ImageType") or ()
    return [str(word) for word in ([kind] if isinstance(kind, str) else kind)]


def _by_time(stack: Stack) -> list[Stack]:
    """Split a stack in which each position stands equally often, more than once: it is a series in time."""
    if any(item.position is None for item in stack.slices):
        return [stack]
    places: dict[tuple[float, ...], list[Slice]] = {}
    for item in sorted(stack.slices, key=lambda item: item.order):
        assert item.position is not None  # noqa: S101  for the type checker
        places.setdefault(tuple(np.round(item.position, 2)), []).append(item)
    times = {len(items) for items in places.values()}
    if len(times) > 1 or times == {1} or len(places) == 1:
        return [stack] if len(times) > 1 or times == {1} else [replace(stack, slices=(item,)) for item in stack.slices]
    (count,) = times
    width = len(str(count))
    return [
        replace(
            stack,
            slices=tuple(items[time] for items in places.values()),
            kind=", ".join(filter(None, (stack.kind, f"time {time + 1:0{width}d} of {count}"))),
        )
        for time in range(count)
    ]


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
