"""What leaves a project: masks on the source files' own grid, their volumes, and who decided what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ProjectError, SegmatchError
from ..events import CANNOT_TELL, could_tell
from ..fsio import write_atomic
from ..io import DECISION_TABLE, PARTLY, SLICE_TABLE, UNCHECKED, Code
from ..texts import csv_text, some
from ..types import NOT_ANNOTATED, Case, Proposal
from .checks import check_target
from .layouts import LAYOUTS, Finished, descriptions

if TYPE_CHECKING:
    from . import Project

DECISION_COLUMNS = ("decision", "proposal", "case", "slice", "z", "verdict", "score", "said by discriminator",
                    "run", "by", "at", "seconds", "reason")  # fmt: skip


def export_project(
    project: Project,
    folder: Path,
    include_accepted: bool = False,
    layout: str = "nifti",
    codes: Mapping[str, Code] | None = None,
) -> list[Path]:
    """Write a mask of each case, ``slices.csv``, ``volumes.csv`` and ``decisions.csv``.

    Each mask has its source file's shape, axis order and affine, and a fresh header. Slices that nobody finished and
    voxels that are not annotated are 0 in it, or what the layout has for them; ``slices.csv`` says of every slice where
    its labels are from. Tables count slices as the window does, from 1 and the head, and have the file's index as z.

    Parameters
    ----------
    include_accepted
        Also fill slices that nobody checked with the proposals that the discriminator accepted.
    layout
        One of :data:`napari_segmatch.project.layouts.LAYOUTS`.
    codes
        Of DICOM segmentations: class to SNOMED CT code.

    Raises
    ------
    ProjectError
        If a case cannot be written in this layout, when all others and the tables are written; or at once, if a mask
        would take the place of an image, of another mask, or of a file that no export has written.
    """
    if layout not in LAYOUTS:
        raise ProjectError(f"{layout!r} cannot be written; choose one of {', '.join(LAYOUTS)}.")
    images, ids = project.all_image_paths(), tuple(case.id for case in project.cases)
    written, exported, slices, volumes, left_out = list[Path](), [], [], [], dict[str, str]()
    decisions = folder / DECISION_TABLE
    finished_cases, decided = [*_finished_cases(project, include_accepted)], _decision_rows(project)  # as they are now
    for case, mine in finished_cases:
        labels, note = _labels(project, case, mine), _note(case, bool(mine))
        finished = Finished(case, labels, f"SegMatch: {note}; research use only", bool(mine), ids)
        try:
            files = list(LAYOUTS[layout](project, finished, codes or {}))
        except SegmatchError as error:
            left_out[case.id] = str(error)
            continue
        written += _written(folder, files, images, written, decisions)
        exported.append(case.id)
        slices += _slices(case, labels, mine)
        volumes += _volumes(case, labels, project.classes, note + _open_voxels(case, labels))
    if not written:
        nothing = "There is nothing to export yet: mark a slice as done, or accept a proposal, first."
        raise ProjectError(next(iter(left_out.values()), nothing))
    for name, text in descriptions(project, layout, exported).items():
        write_atomic(folder / name, text.encode())
        written.append(folder / name)
    tables = [
        _write_csv(folder / SLICE_TABLE, ("case", "slice", "z", "labels"), slices),
        _write_csv(folder / "volumes.csv", ("case", "class", "ml", "from"), volumes),
        _write_csv(decisions, DECISION_COLUMNS, decided),  # the last one: it tells a whole export
    ]
    if left_out:
        raise ProjectError(_about_left_out(left_out, len(exported) + len(left_out), folder))
    return [*written, *tables]


def _finished_cases(project: Project, include_accepted: bool) -> Iterator[tuple[Case, dict[int, Proposal]]]:
    """Return the cases that something is to be written of, and of each the accepted proposals that nobody checked."""
    unchecked = defaultdict[str, dict[int, Proposal]](dict)
    for item in project.proposals("accepted", undecided=True) if include_accepted else ():
        unchecked[item.case][item.z] = item
    for case in project.cases:  # somebody may have finished a slice since
        mine = {z: item for z, item in unchecked[case.id].items() if z not in case.labelled}
        if case.problem is None and (case.labelled or mine):
            yield case, mine


def _written(
    folder: Path, files: Sequence[tuple[str, bytes]], images: Collection[Path], before: Collection[Path], table: Path
) -> list[Path]:
    """Write all files of a case, or none if one of them would take the place of something that must stay."""
    targets = [_target(folder / name, images, before, table) for name, _ in files]
    for target, (_, data) in zip(targets, files, strict=True):
        write_atomic(target, data)
    return targets


def _target(path: Path, images: Collection[Path], written: Collection[Path], table: Path) -> Path:
    if path in written:
        raise ProjectError(f"Two cases would be {path.name}: remove one, or add it again under another name.")
    return check_target(path, images, table)


def _labels(project: Project, case: Case, proposals: Mapping[int, Proposal]) -> np.ndarray:
    """Return what leaves the project of a case: finished slices, proposals, and 255 in all other slices."""
    labels = project.newest_labels(case)  # of the version whose finished slices we know: somebody may go on painting
    labels[[z for z in range(case.shape[0]) if z not in set(case.labelled)]] = NOT_ANNOTATED
    for z, item in proposals.items():
        labels[z] = project.proposal_mask(item)
    return labels


def _about_left_out(left_out: Mapping[str, str], total: int, folder: Path) -> str:
    reason = next(iter(left_out.values()))
    many = f"{len(left_out)} of {total} cases could not be exported ({some([*left_out])})"
    return f"{many}: {reason} The others are in {folder.name}."


def _note(case: Case, unchecked: bool) -> str:
    """Return what stands behind a case's mask and volumes, in a few words: a header holds 80 characters."""
    if unchecked:
        return "checked + unchecked proposals"
    return "all slices checked" if len(case.labelled) == case.shape[0] else "checked slices only"


def _open_voxels(case: Case, labels: np.ndarray) -> str:
    """Return what a volume lacks that is summed over checked slices of which some voxels were left open."""
    return ", some voxels not annotated" if (labels[list(case.labelled)] == NOT_ANNOTATED).any() else ""


def _slices(case: Case, labels: np.ndarray, proposals: Collection[int]) -> list[tuple[Any, ...]]:
    """Return of each slice of a case where its labels are from."""
    partly, words = (labels == NOT_ANNOTATED).any((1, 2)), [UNCHECKED] * case.shape[0]
    for z in proposals:
        words[z] = "accepted proposal, not checked"
    for z in case.labelled:
        words[z] = PARTLY if partly[z] else "checked"
    return [(case.id, case.geometry.slice_number(z), z, word) for z, word in enumerate(words)]


def _volumes(case: Case, labels: np.ndarray, classes: Sequence[str], note: str) -> list[tuple[Any, ...]]:
    return [
        (case.id, name, f"{np.count_nonzero(labels == label) * case.geometry.millilitre:.3f}", note)
        for label, name in enumerate(classes, 1)
    ]


def _decision_rows(project: Project) -> list[tuple[Any, ...]]:
    rows, grids = [], {case.id: case.geometry for case in project.cases}
    judges = {run.id: (run.examinations(), run.judged) for run, _ in project.runs()}
    for item in project.decisions():
        about = project.proposal(item.proposal)
        examinations, judged = judges.get(about.run, ([], False))
        said = about.verdict if could_tell(examinations, judged, about.step) else CANNOT_TELL
        number = grids[about.case].slice_number(about.z) if about.case in grids else ""  # of a removed case
        rows.append(
            (item.id, about.id, about.case, number, about.z, item.verdict or "taken back", f"{about.score:.3f}",
             said, about.run, item.actor, item.at, item.seconds, item.reason or "")
        )  # fmt: skip
    return rows


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    write_atomic(path, csv_text(columns, rows).encode())
    return path
