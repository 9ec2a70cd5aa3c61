"""Which proposals of a project are to be looked at: of each slice one, all of them read as one table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from ..columns import ROW, WORDS, Columns
from ..types import Case
from .classes import OUTDATED
from .records import CASES, FIELDS, TABLE, to_numbers, to_words
from .store import Store

_JUDGED = np.array([word in ("accepted", "rejected", "corrected") for word in WORDS])

_PROPOSED = "SELECT case_id, count(DISTINCT z) AS n FROM proposal WHERE id > ? GROUP BY case_id"
_SETTLED = f"""
WITH settled AS (
    SELECT c.id AS case_id, s.value AS z FROM ({CASES}) c, json_each(c.done) s
    UNION SELECT p.case_id, p.z FROM decision d JOIN proposal p ON p.id = d.proposal
    WHERE d.id IN (SELECT max(id) FROM decision GROUP BY proposal) AND CASE d.verdict
        WHEN 'rejected' THEN 1
        WHEN 'deferred' THEN p.id = (SELECT max(id) FROM proposal WHERE case_id = p.case_id AND z = p.z)
        ELSE d.verdict IS NOT NULL AND p.id > ?1 END)
SELECT case_id, count(*) AS n FROM settled s
WHERE EXISTS (SELECT 1 FROM proposal p WHERE p.case_id = s.case_id AND p.z = s.z AND p.id > ?1) GROUP BY case_id
"""  # noqa: S608  our own text
"""Of each case the slices with proposals later than one, and how many of these somebody has finished or judged."""


def listed(store: Store, cases: Sequence[Case], one: str | None = None) -> Columns:
    """Return of each slice the proposal that a person has judged, else the newest.

    Those of slices that somebody has finished by hand are left out, and of open slices those by models that did not
    know all classes. ``cases`` are all of the project's, sorted by id; or just the ``one`` that is asked for.
    """
    rows = _read(store, cases, *([] if one is None else [one]))
    _put_words(store, rows, one)
    rows = _without_outdated(store, rows, cases)
    rows = rows[_last_of_slices(rows)]
    return Columns([case.id for case in cases], rows[(rows["decision"] > 0) | ~_finished(rows, cases)])


def waiting(store: Store, cases: Sequence[Case]) -> dict[str, int]:
    """Return of how many slices of each case the proposal that is :func:`listed` waits for a person's word.

    Counted where they lie: half a million rows take seconds to read.
    """
    last = _outdated(store)
    settled = {row["case_id"]: row["n"] for row in store.rows(_SETTLED, last)}
    left = {row["case_id"]: row["n"] - settled.get(row["case_id"], 0) for row in store.rows(_PROPOSED, last)}
    return {case.id: left[case.id] for case in cases if left.get(case.id)}


def _outdated(store: Store) -> int:
    """Return the number of the last proposal by a model that did not know all classes; 0 if there is none."""
    row = store.row("SELECT value FROM meta WHERE key = ?", OUTDATED)
    return 0 if row is None else int(row["value"])


def _without_outdated(store: Store, rows: np.ndarray, cases: Sequence[Case]) -> np.ndarray:
    """Leave out what nobody rejected of open slices before a class was added: accepted, it would deny that class."""
    last = _outdated(store)
    if not last:
        return rows
    rejected = rows["decision"] == WORDS.index("rejected")
    return rows[(rows["id"] > last) | rejected | _finished(rows, cases)]


def _read(store: Store, cases: Sequence[Case], *one: str) -> np.ndarray:
    """Read the proposals of these cases; those of cases that were removed fall out."""
    place = defaultdict(lambda: -1, {case.id: index for index, case in enumerate(cases)})
    parts = [np.zeros(0, ROW)]
    for part in store.parts(f"{TABLE}{'WHERE case_id = ?' if one else ''} ORDER BY id", *one):
        read, rows = to_numbers(part), np.zeros(len(part), ROW)
        for name in FIELDS:
            rows[name] = read[name] if name != "case" else [place[case] for case in read["case"].tolist()]
        parts.append(rows)
    rows = np.concatenate(parts)
    return rows if (rows["case"] >= 0).all() else rows[rows["case"] >= 0]


def _put_words(store: Store, rows: np.ndarray, one: str | None) -> None:
    """Note the last thing that a person said of each."""
    said = "SELECT proposal, verdict FROM decision {} ORDER BY id"
    of_one = said.format("WHERE proposal IN (SELECT id FROM proposal WHERE case_id = ?)")
    words = to_words(store.rows(said.format("")) if one is None else store.rows(of_one, one))
    places = Columns((), rows).places(list(words))
    rows["decision"][places[places >= 0]] = np.array(list(words.values()), np.int8)[places >= 0]


def _last_of_slices(rows: np.ndarray) -> np.ndarray:
    """Return the places of what is listed, in their order: rows stand in the order of their numbers."""
    slices = rows["case"] << 32 | rows["z"]
    order = np.argsort(slices << 1 | _JUDGED[rows["decision"]], kind="stable")
    slices = slices[order]
    last = np.append(slices[1:] != slices[:-1], True) if len(rows) else np.zeros(0, bool)
    return np.sort(order[last])


def _finished(rows: np.ndarray, cases: Sequence[Case]) -> np.ndarray:
    """Whether somebody has finished the slice."""
    some = np.array([bool(case.labelled) for case in cases], bool)
    found = some[rows["case"]]
    done = [place << 32 | z for place, case in enumerate(cases) for z in case.labelled]
    found[found] = np.isin((rows["case"] << 32 | rows["z"])[found], done)
    return found
