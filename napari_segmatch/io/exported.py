"""What the tables of an export say of its masks, for those that come back."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..errors import ImportProblem
from ..types import NOT_ANNOTATED, Geometry, Mask
from .reading import read_mask, strip_suffix
from .source import Choices, FilePath, ask

SLICE_TABLE, DECISION_TABLE = "slices.csv", "decisions.csv"
"""Tables that every export has at its top."""
UNCHECKED, PARTLY = "not annotated", "checked, some voxels not annotated"
"""What the first of them says of a slice that nobody had checked, and of one of which voxels had been left open."""
_DEEPEST = 4
"""Folders from a mask up to the top of its export, that of BIDS with sessions."""


def slice_index(row: dict[str, str]) -> int:
    """Return a slice's index from a row of our tables: *slice* itself was, until it was counted as on the screen."""
    return int(row["z"] if "z" in row else row["slice"])


def unchecked_slices(folder: Path, word: str = UNCHECKED) -> dict[str, set[int]]:
    """Return which slices of each case nobody had checked when they were exported; of other masks nothing is known.

    With :data:`PARTLY` as ``word`` those of which voxels had been left open.

    Raises
    ------
    ImportProblem
        If ``slices.csv`` is not as an export writes it.
    """
    path = folder / SLICE_TABLE
    if not path.exists():
        return {}
    try:
        stamp = path.stat()
        return _unchecked(path, stamp.st_mtime_ns, stamp.st_size)[word]
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise ImportProblem(
            f"{path} is not as export writes it: export anew, or move it away to take the masks as they are."
        ) from error


@lru_cache(maxsize=2)
def _unchecked(path: Path, changed: int, size: int) -> dict[str, dict[str, set[int]]]:
    """Read a table once, not once for each of its thousands of cases, until it is written anew."""
    told = {word: dict[str, set[int]]() for word in (UNCHECKED, PARTLY)}
    with path.open(newline="", encoding="utf-8-sig") as file:  # a spreadsheet may have saved it
        for row in csv.DictReader(file):
            for word, slices in told.items():
                mine = slices.setdefault(row["case"], set())
                if row["labels"] == word:
                    mine.add(slice_index(row))
    return told


def unchecked_in(mask: FilePath, choices: Choices, word: str = UNCHECKED) -> set[int]:
    """Return what :func:`unchecked_slices` does of a mask's slices, if it lies in an export of any layout.

    Raises
    ------
    Question
        If it lies where an export has masks, but its table says nothing of one by that name.
    """
    mask = Path(mask).absolute()
    for folder in mask.parents[:_DEEPEST]:
        if all((folder / table).is_file() for table in (SLICE_TABLE, DECISION_TABLE)):
            slices = unchecked_slices(folder, word)
            found = _of_case(slices, strip_suffix(mask.name))
            if found is None and any(slices.values()) and _is_place(mask.parent.relative_to(folder).parts):
                sentence = f"{mask.name} lies in an export whose {SLICE_TABLE} has no case of that name"
                ask(choices, "export", sentence, {"checked": "take its empty slices as checked: nothing is on them"})
            return found or set()
    return set()


def closed(labels: np.ndarray, partly: Collection[int]) -> list[int]:
    """Return which slices of labels (z, y, x) have become background where voxels had been left open.

    Most layouts have no label for these; where there is one, as nnU-Net's, a slice still has it.
    """
    return [z for z in sorted(partly) if z < len(labels) and not (labels[z] == NOT_ANNOTATED).any()]


def read_truth(path: FilePath, grid: Geometry, classes: int | Sequence[str], choices: Choices) -> Mask:
    """Read a mask that others are judged by, as :func:`read_mask` does.

    Of one that lies in an export, slices that nobody had checked, or not all of, are not annotated.
    """
    truth = read_mask(path, grid, classes, choices, unchecked_in(path, choices))
    truth.labels[closed(truth.labels, unchecked_in(path, choices, PARTLY))] = NOT_ANNOTATED
    return truth


def _is_place(folders: tuple[str, ...]) -> bool:
    """Whether a layout that leaves unchecked slices empty has its masks there, from an export's top."""
    return folders in ((), ("labels", "final")) or folders[-1] == "anat"


def _of_case(slices: dict[str, set[int]], stem: str) -> set[int] | None:
    """Find a case by its mask's name: with what layouts add to it, and as BIDS has it, in letters and digits alone."""
    names = (stem, stem.removesuffix(".seg"), stem.rpartition("_desc-")[0])
    if known := [slices[name] for name in names if name in slices]:
        return known[0]
    alike = [case for case in slices if _plain(case) == _plain(names[2] or names[1])]
    return slices[alike[0]] if len(alike) == 1 else None


def _plain(name: str) -> str:
    return re.sub("[^a-zA-Z0-9]", "", name.removeprefix("sub-"))
