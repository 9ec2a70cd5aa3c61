"""What may go into a project. Each check passes a value on or raises one sentence."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np

from ..errors import ProjectError
from ..io import SUFFIXES
from ..texts import FORBIDDEN, good_name, some
from ..types import MAX_CLASSES, NOT_ANNOTATED, Case, Geometry
from .layouts import BIDS_MASK


def check_names(what: str, names: Sequence[str]) -> None:
    """Check the names of a project's classes or sequences; after those of sequences, options go on with “=”."""
    forbidden = FORBIDDEN | {"="} if what == "sequence" else FORBIDDEN
    good = not isinstance(names, str) and all(good_name(name) and not set(name) & forbidden for name in names)
    if not good or not names or len({name.casefold() for name in names}) < len(names):
        raise ProjectError(
            f"A project needs one or more {what} names, each different by more than capital letters, without any of "
            f"{' '.join(sorted(forbidden))}; given was {names!r}."
        )


def check_classes(names: Sequence[str], known: Sequence[str] = ()) -> None:
    """Check the names of a project's classes, of which label values leave room for so many; some it has already."""
    check_names("class", names)
    ground = [name for name in names if name.casefold() == "background" and name not in known]
    if ground:
        raise ProjectError(f"{ground[0]!r} is no class: it is what nobody has painted, so leave it out.")
    if len(names) > MAX_CLASSES:
        raise ProjectError(f"{len(names)} classes are too many; at most {MAX_CLASSES} are possible.")


def check_patient(id: str, of_another: bool, project: str) -> None:
    """Check that files that are to be a project's case are not of another patient than the case that has the name."""
    if of_another:
        raise ProjectError(
            f"{project} has a case {id!r} of another patient: put these files into a folder that is called as their "
            "case is to be, and add the folder above it."
        )


def own_place(path: Path) -> Path:
    """Return where a file stands. Links to folders are followed; a link in its own place is the file.

    Its name tells the format, and the files beside it are the other slices of its series: what the link leads to may
    lie in a store under a name that tells nothing.
    """
    return Path(os.path.normpath(path.parent.resolve() / path.name))


def both_places(path: Path) -> set[Path]:
    """Return where a file stands and, if that is a link, where it leads: writing to either would harm it."""
    return {own_place(path), path.resolve()}


def check_target(target: Path, images: Collection[Path], table: Path) -> Path:
    """Return a file to be written if it takes the place of nothing that must stay.

    Parameters
    ----------
    images
        Given with all their places.
    table
        Where it is, what lies beside it was written by the same command before, and may be written anew.

    Raises
    ------
    ProjectError
        If an image is there, or a file that is somebody else's: a source mask is called as the case is.
    """
    if not both_places(target).isdisjoint(images):
        raise ProjectError(f"{target.name} would take the place of an image: choose another folder to write to.")
    if target.exists() and not table.exists():
        raise ProjectError(
            f"{target.name} is in {target.parent.name} already, and without {table.name} nobody knows from where: "
            "choose another folder to write to."
        )
    return target


def left_over(written: Collection[Path], by: str) -> str:
    """Name the images and masks beside files that were written now: no table tells of them. Empty if there are none.

    In BIDS, where each case has a folder, the masks of an earlier export are looked for in those of other cases.
    """
    masks = f"sub-*/**/*{BIDS_MASK}.nii.gz"
    folders = {file.parent for file in written}
    beside = {path for folder in folders for path in (*folder.iterdir(), *folder.glob(masks))} - {*written}
    names = sorted(path.name for path in beside if path.name.lower().endswith(SUFFIXES))
    if not names:
        return ""
    return f"Also there, but not of this {by}: {some(names)}."


def check_labels(labels: np.ndarray, case: Case, classes: int) -> np.ndarray:
    """Return labels (z, y, x) as uint8 if they fit a case and the project's classes."""
    labels = np.asarray(labels)
    if labels.shape != case.shape:
        raise ProjectError(f"A mask for {case.id} must have the shape {case.shape}; it has {labels.shape}.")
    return check_values(labels, case, classes)


def check_values(labels: np.ndarray, case: Case, classes: int) -> np.ndarray:
    """Return labels of any shape as uint8 if they are the project's."""
    if labels.dtype.kind not in "iub":
        raise ProjectError(f"A mask for {case.id} must hold whole numbers; it holds {labels.dtype}.")
    wrong = labels[(labels != NOT_ANNOTATED) & ((labels < 0) | (labels > classes))]
    if wrong.size:
        raise ProjectError(
            f"A mask for {case.id} holds label {int(wrong.flat[0])}; allowed are 0 to {classes} and 255."
        )
    return labels.astype(np.uint8)


def check_slices(slices: Iterable[int], geometry: Geometry) -> tuple[int, ...]:
    """Return slice numbers sorted and without doubles if all lie in the volume."""
    found = tuple(sorted({int(z) for z in slices}))
    if found and not 0 <= found[0] <= found[-1] < geometry.shape[0]:
        raise ProjectError(f"Slices run from 0 to {geometry.shape[0] - 1}; given were {found[0]} to {found[-1]}.")
    return found
