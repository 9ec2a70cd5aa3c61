"""What the tables of an export say of its masks, for those that come back."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from ..errors import ImportProblem
from .reading import strip_suffix
from .source import FilePath

SLICE_TABLE, DECISION_TABLE = "slices.csv", "decisions.csv"
"""Tables that every export has at its top."""
UNCHECKED = "not annotated"
"""What the first of them says of a slice that nobody had checked."""
_DEEPEST = 4
"""Folders from a mask up to the top of its export, that of BIDS with sessions."""


def slice_index(row: dict[str, str]) -> int:
    """Return a slice's index from a row of our tables: *slice* itself was, until it was counted as on the screen."""
    return int(row["z"] if "z" in row else row["slice"])


def unchecked_slices(folder: Path) -> dict[str, set[int]]:
    """Return which slices of each case nobody had checked when they were exported; of other masks nothing is known.

    Raises
    ------
    ImportProblem
        If ``slices.csv`` is not as an export writes it.
    """
    path, slices = folder / SLICE_TABLE, dict[str, set[int]]()
    if not path.exists():
        return slices
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # a spreadsheet may have saved it
            for row in csv.DictReader(file):
                if row["labels"] == UNCHECKED:
                    slices.setdefault(row["case"], set()).add(slice_index(row))
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise ImportProblem(
            f"{path} is not as export writes it: export anew, or move it away to take the masks as they are."
        ) from error
    return slices


def unchecked_in(mask: FilePath) -> set[int]:
    """Return which slices of a mask nobody had checked, if it lies in an export of any layout."""
    for folder in Path(mask).absolute().parents[:_DEEPEST]:
        if all((folder / table).is_file() for table in (SLICE_TABLE, DECISION_TABLE)):
            name = strip_suffix(Path(mask).name).removesuffix(".seg")
            return _of_case(unchecked_slices(folder), name.partition("_desc-")[0])
    return set()


def _of_case(slices: dict[str, set[int]], name: str) -> set[int]:
    """Find a case by the name of its mask, of which BIDS keeps the letters and digits."""
    alike = [case for case in slices if _plain(case) == _plain(name)]
    return slices[name] if name in slices else slices[alike[0]] if len(alike) == 1 else set()


def _plain(name: str) -> str:
    return re.sub("[^a-zA-Z0-9]", "", name.removeprefix("sub-"))
