"""The slices of a DICOM volume in space. Geometry is computed here, from positions; pydicom only decodes pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ImportProblem
from .apart import run_apart
from .dicom_files import Stack, scan_dicom, stacks_of_file, why_unusable
from .dicom_headers import Slice, pydicom, read_dataset, read_header
from .source import Choices, Source, ask, check_size

_STRAIGHT = 0.02  # share of the distance between slices by which one may lie off its place
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Sorted:
    """A volume's slices from first to last, and where they lie.

    ``affine`` maps (column, row counted from the bottom, slice, 1) to RAS+ mm: the order that dcm2niix writes.
    """

    slices: tuple[Slice, ...]
    affine: np.ndarray
    known: bool
    notes: tuple[str, ...] = ()


def load_dicom(path: Path, choices: Choices) -> Source:
    """Read the one volume of a folder, or the volume that a file has a part in."""
    stack = find_stack(path, choices)
    placed = sort_slices(stack, path.name, choices)
    rows, columns = placed.slices[0].size
    check_size((columns, rows, len(placed.slices)), 4, path.name)
    planes = read_planes(placed.slices)
    stored = np.stack([plane[::-1].T for plane in planes], axis=2)
    rescales = {item.rescale for item in placed.slices}
    if len(rescales) > 1:  # a scale for each slice
        stored = stored * np.array([item.rescale[0] for item in placed.slices], np.float32)
        stored = stored + np.array([item.rescale[1] for item in placed.slices], np.float32)
        rescales = {(1.0, 0.0)}
    ((slope, inter),) = rescales
    return Source(path.name, stored, placed.affine, placed.known, slope, inter, placed.notes)


def find_stack(path: Path, choices: Choices) -> Stack:
    """Return the volume that a path stands for, unsorted."""
    if path.is_dir():
        scan = scan_dicom(path)
        stacks = [stack for stack in scan.stacks if stack.modality == "MR"] or list(scan.stacks)
        told = f" ({' '.join(scan.left_out).rstrip('.')})" if scan.left_out else ""
        trouble = f"{path.name} holds no DICOM image{told}: give a folder with one series"
    else:
        stacks = stacks_of_file(path)
        reason = (None if stacks else why_unusable(path)) or "holds no grey DICOM image"
        trouble = f"{path.name} {reason}{'' if ':' in reason else ': give a file of an MR series'}"
    if not stacks:
        raise ImportProblem(f"{trouble}.")
    if len(stacks) == 1:
        return stacks[0]
    options = {str(index): stack.title for index, stack in enumerate(stacks, 1)}
    sentence = f"{path.name} holds {len(stacks)} volumes, and one is wanted"
    return stacks[int(ask(choices, "stack", sentence, options)) - 1]


def sort_slices(stack: Stack, name: str, choices: Choices) -> Sorted:
    """Sort slices along their normal and check that they make up a volume.

    Raises
    ------
    ImportProblem
        If slices are missing or unevenly spaced, with the places.
    Question
        If two different slices lie at one place.
    """
    first = stack.slices[0]
    if any(item.position is None for item in stack.slices) or first.orientation is None or first.spacing is None:
        return _without_place(stack)
    right, down = first.orientation[:3], first.orientation[3:]
    lengths = np.linalg.norm([right, down], axis=1)
    if np.abs(lengths - 1).max() > 0.01 or abs(right @ down) > 0.01:
        raise ImportProblem(f"{name} states directions that are not at right angles: export the series again.")
    right, down = right / lengths[0], down / lengths[1]
    normal = np.cross(right, down)
    placed = sorted(stack.slices, key=lambda item: (float(normal @ _position(item)), item.order))
    placed, notes = _without_doubles(placed, normal, name, choices)
    placed = _without_gaps(placed, normal, name, choices)
    positions = np.array([_position(item) for item in placed])
    step = (positions[-1] - positions[0]) / (len(placed) - 1) if len(placed) > 1 else normal * first.gap
    rows = first.size[0]
    affine = np.eye(4)
    affine[:3, 0] = right * first.spacing[1]
    affine[:3, 1] = -down * first.spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = positions[0] + down * first.spacing[0] * (rows - 1)
    return Sorted(tuple(placed), _LPS @ affine, True, (*notes, *_about(placed)))


def _position(item: Slice) -> np.ndarray:
    if item.position is None:
        raise ValueError("a slice without a position")
    return item.position


def _without_place(stack: Stack) -> Sorted:
    """Order slices that state no position by their numbers; only the voxel size is known then."""
    placed = sorted(stack.slices, key=lambda item: item.order)
    rows, columns = placed[0].spacing or (1.0, 1.0)
    size = np.array([placed[0].size[1], placed[0].size[0], len(placed)])
    step = np.array([columns, rows, placed[0].gap])
    affine = np.diag([*(step * (-1, 1, 1)), 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((size - 1) / 2)
    return Sorted(tuple(placed), affine, False, _about(placed))


def _about(placed: Sequence[Slice]) -> tuple[str, ...]:
    header = read_header(placed[0].path, ["PhotometricInterpretation"])
    if header.get("PhotometricInterpretation") == "MONOCHROME1":
        return (f"{placed[0].path.name} is stored with black for high values (MONOCHROME1); the values are kept.",)
    return ()


def _without_doubles(
    placed: list[Slice], normal: np.ndarray, name: str, choices: Choices
) -> tuple[list[Slice], tuple[str, ...]]:
    """Leave out slices at places that are taken; two that differ are asked about."""
    kept: list[Slice] = []
    dropped = 0
    for item in placed:
        if not kept or np.linalg.norm(_position(item) - _position(kept[-1])) > 1e-3:
            kept.append(item)
            continue
        dropped += 1
        one, other = read_planes([kept[-1], item])
        if np.array_equal(one, other) and kept[-1].rescale == item.rescale:
            continue
        place = f"{normal @ _position(item):.4g} mm"
        sentence = f"{name} has two different slices at {place} along the stack"
        answer = ask(choices, "slice", sentence, {"first": "keep the earlier", "last": "keep the later"})
        kept[-1] = item if answer == "last" else kept[-1]
    return kept, ((f"{name} has {dropped} slices twice; one of each is used.",) if dropped else ())


def _without_gaps(placed: list[Slice], normal: np.ndarray, name: str, choices: Choices) -> list[Slice]:
    """Check that slices lie evenly on one line; of a stack with gaps the longest even part can be taken."""
    if len(placed) < 3:
        return placed
    positions = np.array([_position(item) for item in placed])
    even = np.linspace(positions[0], positions[-1], len(placed))
    along = positions @ normal
    steps = np.diff(along)
    usual = float(np.median(steps))
    if np.linalg.norm(positions - even, axis=1).max() <= max(_STRAIGHT * usual, 1e-2):
        return placed
    if np.abs(steps - usual).max() <= max(2 * _STRAIGHT * usual, 1e-2):
        raise ImportProblem(f"{name} has slices that do not lie on one line: import its parts one by one.")
    wide = steps > 1.5 * usual
    ratio = steps / usual
    if wide.any() and np.abs(ratio - np.rint(ratio)).max() < 0.1:
        missing = [
            along[index] + usual * number
            for index in np.flatnonzero(wide)
            for number in range(1, int(np.rint(ratio[index])))
        ]
        places = ", ".join(f"{place:.4g}" for place in missing[:8]) + (" and more" if len(missing) > 8 else "")
        sentence = (
            f"{name} misses {len(missing)} of {len(placed) + len(missing)} slices, at {places} mm along the stack"
        )
    else:
        sentence = (
            f"{name} has slices {steps.min():.4g} to {steps.max():.4g} mm apart, and evenly spaced ones are needed"
        )
    longest = _longest_even(steps, usual)
    meaning = f"use the longest even part, {longest[1] - longest[0]} slices, or export the series again"
    ask(choices, "gap", sentence, {"longest": meaning})
    return placed[longest[0] : longest[1]]


def _longest_even(steps: np.ndarray, usual: float) -> tuple[int, int]:
    """Return the first slice and the one behind the last of the longest run with steps of the usual width."""
    good = np.abs(steps - usual) <= max(_STRAIGHT * usual, 1e-2)
    best, start = (0, 1), 0
    for index, fine in enumerate([*good, False]):
        if not fine:
            best = max(best, (start, index + 1), key=lambda part: part[1] - part[0])
            start = index + 1
    return best


# Pixels


def read_planes(slices: Sequence[Slice]) -> list[np.ndarray]:
    """Return the stored numbers (row, column) of each slice.

    Packed pixels are unpacked in a process of their own: a broken stream can end the process of its decoder.
    """
    pydicom()
    wanted = [(item.path, item.frame, item.size) for item in slices]
    if any(_is_packed(path) for path in {item.path for item in slices}):
        return run_apart(_planes, wanted, name=slices[0].path.name, seconds=30 + 0.5 * len(slices))
    return _planes(wanted)


def read_file_pixels(path: Path) -> np.ndarray:
    """Return all stored numbers of one file, unpacked like those of slices."""
    return run_apart(_decoded, path, name=path.name, seconds=60) if _is_packed(path) else _decoded(path)


def _is_packed(path: Path) -> bool:
    syntax = read_header(path, ["Rows"]).file_meta.get("TransferSyntaxUID")
    return bool(syntax is not None and syntax.is_compressed and not syntax.is_deflated)


def _planes(wanted: Sequence[tuple[Path, int, tuple[int, int]]]) -> list[np.ndarray]:
    opened: dict[Path, Any] = {}
    planes = []
    for path, frame, size in wanted:
        if path not in opened:
            opened = {path: _decoded(path)}
        plane = opened[path].reshape(-1, *size)[frame]
        planes.append(plane)
    return planes


def _decoded(path: Path) -> np.ndarray:
    """Decode all frames of a file, (frame, row, column), and clear what is no part of a stored number."""
    data = read_dataset(path)
    syntax = data.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        data.file_meta.TransferSyntaxUID = pydicom().uid.ImplicitVRLittleEndian
    try:
        pixels = data.pixel_array
    except (RuntimeError, NotImplementedError) as error:
        kind = syntax.name if syntax is not None else "an unknown syntax"
        raise ImportProblem(
            f"{path.name} has pixels packed as {kind} that cannot be unpacked here: export the series uncompressed, or "
            'pip install "napari-segmatch[dicom]" pylibjpeg-libjpeg.'
        ) from error
    except (ValueError, AttributeError, KeyError) as error:
        raise ImportProblem(
            f"{path.name} has pixels that are cut off or broken: send this slice from the scanner or archive again."
        ) from error
    return _stored_bits(
        pixels, int(data.BitsAllocated), int(data.BitsStored), int(data.get("HighBit", data.BitsStored - 1))
    )


def _stored_bits(pixels: np.ndarray, allocated: int, stored: int, high: int) -> np.ndarray:
    """Drop overlay and other bits outside of the stored number, keeping its sign."""
    if pixels.dtype.kind not in "iu" or stored >= allocated or allocated > 8 * pixels.dtype.itemsize:
        return pixels
    unused = 8 * pixels.dtype.itemsize - stored
    lowest = max(0, high + 1 - stored)
    return (pixels >> lowest << unused) >> unused
