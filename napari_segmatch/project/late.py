"""Sequences that come later: a case takes what it lacks, and keeps what it has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ImportProblem, ProjectError
from ..io import bad_name, read_apart, read_sequences, study_of
from ..types import Case
from .checks import own_place
from .prints import file_hash, fingerprints

if TYPE_CHECKING:
    from .cases import CaseFolder


def with_known(
    project: CaseFolder, id: str, images: Mapping[str, str | Path], choices: Mapping[str, str]
) -> tuple[Mapping[str, str | Path], Mapping[str, str]]:
    """Return images and choices of a case, with those that it has and that are not given anew.

    What is said now is said of the new images alone.

    Raises
    ------
    ImportProblem
        If these and those are of two DICOM studies: one may have been given the other's name.
    """
    known = {} if project.find_case(id) is None else project.image_paths(id)
    kept = [path for name, path in known.items() if name not in images]
    if not kept:
        return images, choices
    if len({*map(study_of, map(Path, (*kept, *images.values())))} - {""}) > 1:
        raise ImportProblem(
            f"Case {id} has images of another DICOM study, and two studies are never made one case: put each study "
            "into a folder with a name of its own, and add the folder above them."
        )
    said = {
        topic if ":" in topic or topic == "sequences" else f"{topic}:{name}": answer
        for topic, answer in choices.items()
        for name in images
        if topic != "twin"
    }
    return {**known, **images}, {**project.reading(id).choices, **said}


def replaced(project: CaseFolder, id: str, images: Mapping[str, str | Path]) -> tuple[str, ...]:
    """Say it of a case that is there if it loses files: another study may have been given the same name."""
    known = {} if project.find_case(id) is None else project.image_paths(id)
    lost = {*known.values()} - {own_place(Path(path)) for path in images.values()}
    return ("A case of that name was in the project: these files took the place of its own.",) if lost else ()


def add_sequences(
    project: CaseFolder, id: str, images: Mapping[str, Path], choices: Mapping[str, str], with_mask: bool = False
) -> Case:
    """Give a case sequences that it lacks. Its masks, decisions and other images stay.

    The grid of the images that it has is that of its masks: the new ones may be resampled onto it.

    Parameters
    ----------
    images
        Sequence name to image file, for sequences that the case has no image of.
    choices
        Answers to questions that were asked before; kept with those of the case.
    with_mask
        Whether labels came along. They are not taken, and that is said.

    Raises
    ------
    Question
        If a file can be read in more than one way, or lies on another grid.
    ImportProblem
        If a file cannot be used, or those that the case has are not what they were; the project is unchanged.
    ProjectError
        If somebody has changed the case while the files were read.
    """
    for path in images.values():
        if trouble := bad_name(project.relative(path)):
            raise ImportProblem(trouble)
    project.volume(id)  # they are the images on which its masks were drawn
    grid = next(name for name in project.sequences if name in project.image_paths(id))
    together, choices = with_known(project, id, images, choices)
    choices = {"onto": grid, **choices}
    volume = read_apart(read_sequences, together, project.sequences, choices, files=together.values())
    rows = [
        {"case_id": id, "sequence": name, "path": project.relative(path), "sha256": file_hash(path)}
        for name, path in images.items()
    ]
    fingerprint = next(fingerprints(volume))
    words = [f"{' and '.join(images)} came later; masks and other images stayed as they were."]
    words += ["The mask file that came along was not taken."] * with_mask
    with project.store.atomic():
        if {*project.late_sequences(id, images)} != images.keys():
            raise ProjectError(f"Case {id} was changed by somebody else meanwhile: add it once more.")
        number = project.next_number()
        about = {"id": id, "number": number, "fingerprint": fingerprint}
        project.store.tell("sequences", {"case": about, "images": rows})
        project.keep_reading(id, choices, [*volume.notes, *words])
    return project.case(id)
