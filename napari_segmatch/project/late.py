"""A sequence that comes later: a case that people have worked on takes what it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ImportProblem
from ..io import bad_name, read_apart, read_sequences
from ..types import Case
from .prints import file_hash, fingerprints

if TYPE_CHECKING:
    from .cases import CaseFolder


def add_sequences(project: CaseFolder, id: str, images: Mapping[str, Path], choices: Mapping[str, str]) -> Case:
    """Give a case sequences that it lacks. Its masks, decisions and other images stay.

    The grid of the images that it has is that of its masks: the new ones may be resampled onto it.

    Parameters
    ----------
    images
        Sequence name to image file, for sequences that the case has no image of.
    choices
        Answers to questions that were asked before; kept with those of the case.

    Raises
    ------
    Question
        If a file can be read in more than one way, or lies on another grid.
    ImportProblem
        If a file cannot be used, or those that the case has are not what they were; the project is unchanged.
    """
    for path in images.values():
        if trouble := bad_name(project.relative(path)):
            raise ImportProblem(trouble)
    has, read = project.image_paths(id), project.reading(id)
    project.volume(id)  # they are the images on which its masks were drawn
    grid = read.choices.get("onto") or next(name for name in project.sequences if name in has)
    said = {  # of the new images alone: what was said of the others stays
        topic if ":" in topic or topic == "sequences" else f"{topic}:{name}": answer
        for topic, answer in choices.items()
        for name in images
        if topic != "twin"
    }
    choices = {**read.choices, **said, "onto": grid}
    together = {**has, **images}
    volume = read_apart(read_sequences, together, project.sequences, choices, files=together.values())
    rows = [
        {"case_id": id, "sequence": name, "path": project.relative(path), "sha256": file_hash(path)}
        for name, path in images.items()
    ]
    fingerprint = next(fingerprints(volume))
    words = f"{' and '.join(images)} came later; masks and other images stayed as they were."
    with project.store.atomic():
        number = project.next_number()
        about = {"id": id, "number": number, "fingerprint": fingerprint}
        project.store.tell("sequences", {"case": about, "images": rows})
        project.keep_reading(id, choices, [*volume.notes, words])
    return project.case(id)
