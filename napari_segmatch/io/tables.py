"""Names and colours of labels, in the files that other programs keep them in."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ImportProblem
from ..palette import palette
from .dicom_export import Code
from .labels import IGNORE

LABEL_TABLE = "labels-itksnap.txt"
"""The table of names and colours that every export has."""


@dataclass(frozen=True)
class LabelTable:
    """Names of labels 1, 2, ... and "#rrggbb" colours by name."""

    names: tuple[str, ...]
    colours: Mapping[str, str] = field(default_factory=dict)


def read_label_table(path: Path) -> LabelTable:
    """Read ITK-SNAP's label descriptions, 3D Slicer's colour table, a BIDS dseg.tsv or nnU-Net's dataset.json.

    A label that is called *ignore* is no class.

    Raises
    ------
    ImportProblem
        If the file is none of these, or its labels do not run from 1 without a gap.
    """
    rows = [row for row in _rows_of(path) if row[1].casefold() != IGNORE]
    rows = sorted({number: (number, name, colour) for number, name, colour in rows if number}.values())
    if not rows or [number for number, _, _ in rows] != list(range(1, len(rows) + 1)):
        found = ", ".join(str(number) for number, _, _ in rows) or "none"
        raise ImportProblem(f"{path.name} has the labels {found}: they must run from 1 without a gap.")
    return LabelTable(tuple(name for _, name, _ in rows), {name: colour for _, name, colour in rows if colour})


def label_names(path: Path) -> dict[int, str]:
    """Return label to name of any of these files, whatever the labels are.

    Raises
    ------
    ImportProblem
        If the file is none of these.
    """
    return {number: name for number, name, _ in _rows_of(path)}


def _rows_of(path: Path) -> list[tuple[int, str, str]]:
    """Read number, name and colour of each label, or raise one sentence."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise ImportProblem(f"{path.name} is no readable text: check its name, and save it as UTF-8.") from error
    try:
        return list(_rows(path.name, text))
    except ImportProblem:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ImportProblem(f"{path.name} is no label table that can be read: export it again.") from error


def _rows(name: str, text: str) -> Iterable[tuple[int, str, str]]:
    """Yield number, name and colour of each label."""
    if name.lower().endswith(".json"):
        for key, value in json.loads(text)["labels"].items():
            number, label = (key, value) if str(key).isdigit() else (value, key)
            if not str(number).isdigit():
                raise ImportProblem(f"{name} makes {label} of several labels: write one number for each label.")
            yield int(number), str(label), ""
    elif name.lower().endswith(".tsv"):
        for row in csv.DictReader(text.splitlines(), delimiter="\t"):
            if (number := row.get("index") or "").isdigit() and (label := row.get("name")):
                yield int(number), label, _checked(row.get("color") or "")
    else:
        for line in text.splitlines():
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            if snap := re.fullmatch(r'(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+[\d.]+\s+\d+\s+\d+\s+"(.*)"', line):
                yield int(snap[1]), snap[5], _colour(snap.groups()[1:4])
            else:  # 3D Slicer: number, name, red, green, blue, alpha
                number, label, *rest = line.split()
                yield int(number), label.replace("_", " "), _colour(rest[:3])


def _colour(parts: Sequence[str]) -> str:
    red, green, blue = (int(part) & 255 for part in parts)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _checked(colour: str) -> str:
    return colour.lower() if re.fullmatch(r"#[0-9a-fA-F]{6}", colour) else ""


def coloured(names: Sequence[str], colours: Mapping[str, str]) -> list[tuple[int, str, str]]:
    """Return number, name and colour of labels 1, 2, ...: those of the window."""
    return list(zip(range(1, len(names) + 1), names, palette(names, colours)[0], strict=True))


def itksnap_table(names: Sequence[str], colours: Mapping[str, str]) -> str:
    """Write label descriptions for ITK-SNAP."""
    lines = ['    0     0    0    0        0  0  0    "Clear Label"']
    for number, name, colour in coloured(names, colours):
        red, green, blue = _parts(colour)
        name = name.replace('"', "'")
        lines.append(f'{number:5d} {red:5d} {green:4d} {blue:4d}        1  1  1    "{name}"')
    return "\n".join([*lines, ""])


def slicer_table(names: Sequence[str], colours: Mapping[str, str]) -> str:
    """Write a colour table for 3D Slicer."""
    lines = ["# Color table", "0 background 0 0 0 0"]
    for number, name, colour in coloured(names, colours):
        lines.append(f"{number} {'_'.join(name.split())} {' '.join(map(str, _parts(colour)))} 255")
    return "\n".join([*lines, ""])


def bids_table(names: Sequence[str], colours: Mapping[str, str]) -> str:
    """Write BIDS's table of a dseg file."""
    rows = [f"{number}\t{name}\t{colour}" for number, name, colour in coloured(names, colours)]
    return "\n".join(["index\tname\tcolor", "0\tbackground\t#000000", *rows, ""])


def _parts(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def read_codes(path: Path) -> dict[str, Code]:
    """Read SNOMED CT codes from a table with the columns class, code, meaning and, if wanted, category and its meaning.

    Raises
    ------
    ImportProblem
        If the file is no such table.
    """
    try:
        rows = list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))
        return {
            row["class"]: Code(
                row["code"], row["meaning"], *filter(None, (row.get("category"), row.get("category meaning")))
            )
            for row in rows
        }
    except (OSError, UnicodeError, KeyError, TypeError) as error:
        raise ImportProblem(f"{path.name} is no table with the columns class, code and meaning.") from error
