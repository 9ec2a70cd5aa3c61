"""Which DICOM files of a folder make up which volume."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ImportProblem
from .dicom_headers import SEGMENTATIONS, Slice, image_type, is_dicom, pydicom, read_header, slices_of
from .patterns import bad_name
from .source import FilePath

NO_DICOM = "is no DICOM file"
_COPY = "is a copy of another file"
_INDEX = "1.2.840.10008.1.3.10"
_SAME_DIRECTION = 2e-3  # how far apart two cosines may be and count as one orientation


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

    @property
    def path(self) -> Path:
        """One of its files, which stands for the volume: if there is one, a file whose name can be written down."""
        return min((item.path for item in self.slices), key=lambda path: (bad_name(str(path)) != "", path))

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
    """What a folder holds: volumes, segmentations with their UIDs and images' series, what was left out and why."""

    stacks: tuple[Stack, ...] = ()
    segmentations: tuple[tuple[Path, str, str], ...] = ()
    skipped: dict[str, int] = field(default_factory=dict)

    @property
    def left_out(self) -> list[str]:
        """A sentence for each reason why files were left out."""
        return [
            f"1 file left out: it {reason}." if count == 1 else f"{count} files left out: each {reason}."
            for reason, count in sorted(self.skipped.items())
        ]


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
    gone: set[Stack] = set()
    for members in places.values():
        for reason, some in _left_out(members):
            gone.update(some)
            skipped[reason] = skipped.get(reason, 0) + sum(len(stack.slices) for stack in some)
    stacks = [stack for stack in stacks if stack not in gone]
    segmentations: dict[str, tuple[Path, str, str]] = {}
    for item in (item for scan in scans for item in scan.segmentations):
        segmentations.setdefault(item[1], item)
    if copies := sum(len(scan.segmentations) for scan in scans) - len(segmentations):
        skipped[_COPY] = skipped.get(_COPY, 0) + copies
    return Scan(tuple(stacks), tuple(segmentations.values()), skipped)


def _left_out(members: Sequence[Stack]) -> Iterator[tuple[str, list[Stack]]]:
    """Yield which stacks of one series are not taken, each time with the reason."""
    if copies := _copies(members):
        yield _COPY, copies
    group = [stack for stack in members if stack not in copies]
    if len({stack.path.parent for stack in group}) > 1 and _one_orientation(group):
        title = group[0].title.rpartition(",")[0]
        yield f"is of {title}, which lies in several folders: put its files into one", group


def _copies(stacks: Sequence[Stack]) -> list[Stack]:
    """Return the stacks all of whose slices an earlier one has: a study was exported twice."""
    copies: list[Stack] = []
    known: list[set[tuple[str, int]]] = []
    for stack in stacks if len(stacks) > 1 else ():
        own = {(item.uid, item.frame) for item in stack.slices}
        if any(own <= other for other in known):
            copies.append(stack)
        known.append(own)
    return copies


def _one_orientation(group: list[Stack]) -> bool:
    return all(_fits(group[0].slices[0], stack.slices[0]) for stack in group)


def study_of(path: Path) -> str:
    """Return the study that a DICOM file belongs to, or nothing if it is none or does not say."""
    if not path.is_file() or not is_dicom(path):
        return ""
    try:
        return str(read_header(path, ["StudyInstanceUID"]).get("StudyInstanceUID", ""))
    except Exception:  # a broken header can fail anywhere in pydicom, with any type; reading the file says how
        return ""


def stacks_of_file(path: Path) -> list[Stack]:
    """Return the volumes that a file has a part in; its folder is looked through."""
    place = str(path.parent)
    names = [entry.name for entry in os.scandir(place) if entry.is_file()]
    stacks = _scan_folder(place, _stamp(place, names)).stacks
    return [stack for stack in stacks if any(item.path == path for item in stack.slices)]


def _stamp(place: str, names: Iterable[str]) -> tuple[tuple[str, int, int], ...]:
    """What changes when a file of a folder does; one that may not be read has a size of -1."""
    found = []
    for name in sorted(names):
        if name.startswith("."):
            continue
        try:
            status = os.stat(os.path.join(place, name))  # noqa: PTH116, PTH118  there may be thousands of files
        except OSError:
            continue
        size = status.st_size if os.access(os.path.join(place, name), os.R_OK) else -1  # noqa: PTH118
        found.append((name, status.st_mtime_ns, size))
    return tuple(found)


@lru_cache(maxsize=16)
def _scan_folder(place: str, stamp: tuple[tuple[str, int, int], ...]) -> Scan:
    """Sort the files of one folder into volumes. Remembered until a file changes."""
    groups: dict[tuple[Any, ...], list[Stack]] = {}
    segmentations: list[tuple[Path, str, str]] = []
    skipped: dict[str, int] = {}
    seen: set[tuple[str, int]] = set()
    for name, _, size in stamp:
        path = Path(place) / name
        reason = None
        if size < 0 or not is_dicom(path):
            reason = NO_DICOM if size >= 0 else "cannot be opened: check its permissions"
        else:
            pydicom()  # says so at once if it is missing
            try:
                reason = _take(path, groups, segmentations, seen)
            except ImportProblem as problem:
                reason = str(problem).removeprefix(f"{name} ").partition(":")[0]
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
    segmentations: list[tuple[Path, str, str]],
    seen: set[tuple[str, int]],
) -> str | None:
    """Put a file's slices with those that they belong to; returns why not, if not."""
    data = read_header(path)
    if data.get("SOPClassUID") in SEGMENTATIONS:
        referenced = data.get("ReferencedSeriesSequence") or [{}]
        uid = str(data.get("SOPInstanceUID") or path)  # one that does not say is no other's copy
        segmentations.append((path, uid, str(referenced[0].get("SeriesInstanceUID", ""))))
        return None
    if reason := _unusable(data):
        return reason
    for item, kind in slices_of(path, data):
        if (item.uid, item.frame) in seen:
            return _COPY
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
            number, modality = int(data.get("SeriesNumber") or 0), str(data.get("Modality", "?"))
            members.append(Stack(patient, study, series, number, text, modality, kind, (item,)))
    return None


def why_unusable(path: Path) -> str | None:
    """Return why a file has no part in any volume, if its header tells."""
    try:
        return _unusable(read_header(path))
    except Exception:  # a broken header can fail anywhere in pydicom, with any type
        return None


def _unusable(data: Any) -> str | None:
    if data.get("Modality") == "RTSTRUCT":
        return (
            "holds contours (RTSTRUCT), no voxels: turn it into a DICOM segmentation or NIfTI, as 3D Slicer does with "
            "its extension SlicerRT"
        )
    if data.file_meta.get("MediaStorageSOPClassUID") == _INDEX:
        return "is the index of a disc (DICOMDIR)"
    if "Rows" not in data or "Columns" not in data:
        return f"holds no image ({data.get('Modality') or 'no modality'})"
    if int(data.get("SamplesPerPixel") or 1) > 1:
        return "holds colours"
    kind = image_type(data)
    if "LOCALIZER" in kind:
        return "is a localizer"
    if "MOSAIC" in kind:
        return "is a Siemens mosaic, with all slices tiled into one picture: turn it into NIfTI with dcm2niix"
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


def _by_time(stack: Stack) -> list[Stack]:
    """Split a stack in which each position stands equally often, more than once: it is a series in time."""
    places: dict[tuple[float, ...], list[Slice]] = {}
    for item in sorted(stack.slices, key=lambda item: item.order):
        if item.position is None:
            return [stack]
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
