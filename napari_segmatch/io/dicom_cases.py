"""Cases from a folder of DICOM: which series is which sequence of which study, and what was left out and why."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..errors import ImportProblem
from .dicom_files import Scan, Stack, scan_dicom, stacks_of_file
from .patterns import Found, FoundCase


def find_dicom(
    root: Path,
    sequences: Sequence[str],
    series: Mapping[str, str] | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> Found:
    """Sort the MR volumes under a folder into cases, one a study.

    Parameters
    ----------
    sequences
        The project's. A series belongs to the one whose name is in its description; in a project of one sequence a
        study's only volume does.
    series
        Sequence to the description of its series, with ``*`` for anything.
    progress
        Is told how many files have been looked at.
    """
    scan = scan_dicom(root, progress)
    lines = [f"{count} files left out: {reason}." for reason, count in sorted(scan.skipped.items())]
    usable = [stack for stack in scan.stacks if stack.modality == "MR"]
    lines += [f"Left out: {stack.title} (not MR)." for stack in scan.stacks if stack.modality != "MR"]
    studies: dict[tuple[str, str], list[Stack]] = {}
    for stack in usable:
        studies.setdefault((stack.patient, stack.study), []).append(stack)
    if not studies:
        found = f" ({' '.join(lines)})" if lines else ""
        raise ImportProblem(
            f"{root.name} holds no DICOM MR volume{found}: of other files say where they lie, as "
            "--image 'flair={case}/flair.nii.gz'."
        )
    ids = _ids(root, list(studies.values()))
    cases = []
    for id, stacks in sorted(zip(ids, studies.values(), strict=True), key=lambda pair: pair[0]):
        chosen, said = _sequences(stacks, sequences, series or {})
        lines += [f"{id}: {line}" for line in said]
        if chosen:
            images = {name: stack.path for name, stack in chosen.items()}
            mask = _mask(scan, list(chosen.values()))
            cases.append(FoundCase(id, images, mask, _numbers(stacks, chosen), stacks[0].patient or None))
    if not cases:
        raise ImportProblem(" ".join(["No series could be told to be one of the project's sequences.", *lines]))
    return Found(tuple(cases), tuple(lines))


def _ids(root: Path, studies: Sequence[Sequence[Stack]]) -> list[str]:
    """Name each study after its folder in ``root`` if that is its alone, else by number; never after the patient."""
    places = [{stack.path.relative_to(root).parts[0] for stack in stacks} for stacks in studies]
    ids: list[str] = []
    for number, place in enumerate(places, 1):
        folder = next(iter(place))
        alone = len(place) == 1 and sum(bool(place & other) for other in places) == 1 and (root / folder).is_dir()
        name = re.sub(r"[^\w.-]+", "-", folder).strip("-. ") if alone else ""
        ids.append(name if name and name not in ids else f"study-{number:02d}")
    return ids


def _sequences(
    stacks: Sequence[Stack], sequences: Sequence[str], series: Mapping[str, str]
) -> tuple[dict[str, Stack], list[str]]:
    """Return the volume of each sequence, and what is to be said."""
    chosen: dict[str, Stack] = {}
    said, taken = [], set()
    for name in sequences:
        fitting = [stack for stack in stacks if _is(name, stack, series)]
        if not fitting and len(sequences) == 1 and len(stacks) == 1 and name not in series:
            fitting = list(stacks)
        taken |= {id(stack) for stack in fitting}
        if len(fitting) > 1:
            found = "; ".join(stack.title for stack in fitting)
            said.append(
                f"{len(fitting)} series could be {name} ({found}): say which with --series '{name}=DESCRIPTION'."
            )
        elif fitting:
            chosen[name] = fitting[0]
            said.append(f"{name} is {fitting[0].title}.")
    said += [f"left out {stack.title}: fits no sequence of the project." for stack in stacks if id(stack) not in taken]
    return chosen, said


def _numbers(stacks: Sequence[Stack], chosen: Mapping[str, Stack]) -> dict[str, str]:
    """Answer which of the volumes of a file with several frames each sequence is, as reading it will ask."""
    framed = {item.path for stack in stacks for item in stack.slices if item.frame}
    numbers = {}
    for name, stack in chosen.items():
        there = stacks_of_file(stack.path) if stack.path in framed else []
        if len(there) > 1:
            first = stack.slices[0]
            own = [any((item.path, item.frame) == (first.path, first.frame) for item in each.slices) for each in there]
            numbers[f"stack:{name}"] = str(own.index(True) + 1)
    return numbers


def _is(name: str, stack: Stack, series: Mapping[str, str]) -> bool:
    if name in series:
        wanted = series[name].lower()
        return any(fnmatch.fnmatchcase(text.lower(), wanted) for text in (stack.description, stack.label))
    return _plain(name) in _plain(stack.description)


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.lower())


def _mask(scan: Scan, chosen: Sequence[Stack]) -> Path | None:
    """Return the one segmentation that refers to these series."""
    series = {stack.series for stack in chosen}
    found = [path for path, referenced in scan.segmentations if referenced in series]
    return found[0] if len(found) == 1 else None
