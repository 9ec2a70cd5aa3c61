"""Rows of the database, turned into the project's nouns and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from sqlite3 import Row
from typing import TypeVar

import numpy as np

from ..columns import ROW, WORDS
from ..errors import ProjectError
from ..types import NOT_ANNOTATED, Case, Decision, Geometry, Proposal, Region, Reviewed

CASES = """
SELECT c.*, v.id AS version, v.done AS done, v.author AS editor,
       (SELECT group_concat(sequence, char(31)) FROM image WHERE case_id = c.id) AS names
FROM "case" c LEFT JOIN mask_version v ON v.id = (
    SELECT id FROM mask_version WHERE case_id = c.id AND origin NOT IN ('conflict', 'recovered')
    ORDER BY id DESC LIMIT 1)
WHERE c.removed_at IS NULL
"""
"""Every case with its current mask: the newest version that was not put beside it."""
ASIDE = """
SELECT v.* FROM mask_version v JOIN "case" c ON c.id = v.case_id
WHERE v.origin IN ('conflict', 'recovered') AND v.id NOT IN (SELECT version FROM choice) AND c.removed_at IS NULL
ORDER BY v.id
"""
"""Versions beside the current mask about which nobody has decided yet."""
PROPOSALS = """
SELECT p.case_id, p.z, p.id, p.run, p.score, p.verdict, p.step, p.pool_version,
       (SELECT verdict FROM decision WHERE proposal = p.id ORDER BY id DESC LIMIT 1) AS decision, p.area, p.agreement
FROM proposal p
"""
TABLE = """
SELECT id, run, case_id, z, score, verdict = 'accepted', step, pool_version, coalesce(area, -1), agreement FROM proposal
"""
"""All proposals, in these fields of :data:`napari_segmatch.columns.ROW`; of the case its id."""
FIELDS = tuple(name for name in ROW.names or () if name != "decision")
_NUMBERS = np.dtype([(name, "O" if name == "case" else ROW[name]) for name in FIELDS], align=True)


_NO_GEOMETRY = Geometry((0, 0, 0), np.eye(4), known=False)

Rows = TypeVar("Rows")
Noun = TypeVar("Noun")


def _whole(read: Callable[[Rows], Noun]) -> Callable[[Rows], Noun]:
    """Turn what a damaged row does to its reader into a sentence."""

    @wraps(read)
    def reading(rows: Rows) -> Noun:
        try:
            return read(rows)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise ProjectError(
                f"The project's database is damaged ({type(error).__name__}: {error}): `segmatch doctor --repair` "
                "makes it anew; the masks in objects/ are not affected."
            ) from error

    return reading


@_whole
def to_meta(rows: Sequence[Row]) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, str], bytes]:
    """Return a project's classes, sequences, colours and its own secret."""
    meta = {row["key"]: row["value"] for row in rows}
    classes, sequences, own = (json.loads(meta[name]) for name in ("classes", "sequences", "uuid"))
    return tuple(classes), tuple(sequences), dict(json.loads(meta.get("colours", "{}"))), own.encode()


@_whole
def to_case(row: Row) -> Case:
    return Case(
        id=row["id"],
        patient=row["patient"],
        sequences=tuple(sorted((row["names"] or "").split("\x1f"))) if row["names"] else (),
        geometry=_read_geometry(row["geometry"]) if row["geometry"] else _NO_GEOMETRY,
        validation=bool(row["validation"]),
        labelled=tuple(json.loads(row["done"])) if row["done"] else (),
        version=row["version"],
        problem=row["problem"],
        editor=row["editor"],
    )


def to_proposal(row: Row) -> Proposal:
    """By position, not by name: there may be many."""
    case, z, id, run, *rest = row
    return Proposal(id, run, Region(case, z), *rest)


@_whole
def to_numbers(rows: Sequence[tuple[object, ...]]) -> np.ndarray:
    """Turn rows of :data:`TABLE` into an array with :data:`FIELDS`."""
    return np.array(rows, _NUMBERS)


@_whole
def to_words(rows: Sequence[Row]) -> dict[int, int]:
    """Return the last word on each proposal, as its place in :data:`napari_segmatch.columns.WORDS`."""
    return {proposal: WORDS.index(word) for proposal, word in rows}


@_whole
def to_reviewed(rows: Sequence[Row]) -> tuple[Reviewed, ...]:
    """Read proposals with a word on them: number, case, slice, verdict, and the margins of its classes as JSON."""
    return tuple(
        Reviewed(
            id,
            Region(case, z),
            verdict,
            tuple(None if each is None else float(each) for each in json.loads(margins or "[]")),
        )
        for id, case, z, verdict, margins in rows
    )


@_whole
def to_decision(row: Row) -> Decision:
    fields = ("id", "proposal", "verdict", "actor", "at", "mask_version", "seconds", "reason", "batch", "reverts")
    return Decision(**{name: row[name] for name in fields})


def as_drafts(labels: np.ndarray, done: Collection[int]) -> np.ndarray:
    """On slices that are not done, unpainted voxels are unknown, not background."""
    open_slices = np.ones(labels.shape[0], bool)
    open_slices[list(done)] = False
    return np.where(open_slices[:, None, None] & (labels == 0), np.uint8(NOT_ANNOTATED), labels)


def geometry_text(geometry: Geometry) -> str:
    return json.dumps(
        {"shape": geometry.shape, "affine": geometry.affine.tolist(), "axes": geometry.axes, "known": geometry.known}
    )


def _read_geometry(text: str) -> Geometry:
    raw = json.loads(text)
    return Geometry(tuple(raw["shape"]), np.array(raw["affine"]), tuple(raw["axes"]), raw["known"])


@dataclass(frozen=True)
class Reading:
    """How a case's files are read.

    Attributes
    ----------
    choices
        Topic to the answer that a person gave.
    notes
        Sentences about what is worth knowing of the files.
    """

    choices: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def reading_key(case: str) -> str:
    """Return under which key of the table meta a case's reading stands."""
    return f"reading:{case}"


@_whole
def to_reading(row: Row | None) -> Reading:
    if row is None:
        return Reading()
    raw = json.loads(row["value"])
    return Reading(raw["choices"], tuple(raw["notes"]))
