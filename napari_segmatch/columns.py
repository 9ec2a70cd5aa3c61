"""Many proposals as one table of numbers: half a million are sorted and counted without an object for each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, get_args, overload

import numpy as np

from .types import HumanVerdict, Proposal, Region

WORDS: tuple[HumanVerdict | None, ...] = (None, *get_args(HumanVerdict))
"""A person's word, by its number in the table."""

ROW = np.dtype(
    [("id", "i8"), ("run", "i8"), ("case", "i8"), ("z", "i8"), ("score", "f8"), ("accepted", "?"), ("step", "i8"),
     ("pool_version", "i8"), ("decision", "i1"), ("area", "i8"), ("agreement", "f8")], align=True
)  # fmt: skip
"""``case`` is a place in :attr:`Columns.cases`, ``decision`` one in :data:`WORDS`; an unknown area is -1, an unknown
agreement NaN."""


class Columns(Sequence[Proposal]):
    """A sequence of proposals that makes each one when it is asked for.

    Attributes
    ----------
    cases
        Ids of cases, sorted, so that sorting their places sorts the ids.
    rows
        An array of :data:`ROW`.
    """

    def __init__(self, cases: Sequence[str] = (), rows: np.ndarray | None = None) -> None:
        self.cases = cases
        self.rows = np.zeros(0, ROW) if rows is None else rows

    @classmethod
    def of(cls, items: Iterable[Proposal]) -> Columns:
        """Put proposals into a table, in their order; what has one in ``columns`` gives that."""
        known = getattr(items, "columns", items)
        if isinstance(known, Columns):
            return known
        items = list(items)
        cases = sorted({item.case for item in items})
        place = {case: index for index, case in enumerate(cases)}
        return cls(cases, np.array([_row(item, place) for item in items], ROW))

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Proposal: ...
    @overload
    def __getitem__(self, index: slice) -> Columns: ...
    def __getitem__(self, index: int | slice) -> Proposal | Columns:
        return Columns(self.cases, self.rows[index]) if isinstance(index, slice) else self._item(self.rows[index])

    def __iter__(self) -> Iterator[Proposal]:
        return map(self._item, self.rows)

    def _item(self, row: Any) -> Proposal:
        id, run, case, z, score, accepted, step, pool_version, decision, area, agreement = row.item()
        return Proposal(
            id, run, Region(self.cases[case], z), score, "accepted" if accepted else "rejected", step, pool_version,
            WORDS[decision], area if area >= 0 else None, agreement if agreement == agreement else None,
        )  # fmt: skip

    def take(self, chosen: np.ndarray) -> Columns:
        """Return a table of some rows, by their places or a mask of them."""
        return Columns(self.cases, self.rows[chosen])

    def turned(self, cases: Iterable[str]) -> Columns:
        """Return a table to sort by, in which the slices of these cases come in the reverse order."""
        rows = self.rows.copy()
        rows["z"][np.isin(rows["case"], [self.code[case] for case in cases])] *= -1
        return Columns(self.cases, rows)

    @cached_property
    def ids(self) -> np.ndarray:
        """The proposals' numbers."""
        return np.ascontiguousarray(self.rows["id"])

    def by_id(self) -> Columns:
        """Return the table in the order of the proposals' numbers, as all that follows needs it."""
        return self if (self.ids[1:] > self.ids[:-1]).all() else self.take(np.argsort(self.ids, kind="stable"))

    def places(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return where the proposals with these numbers stand, -1 for those that do not."""
        ids = np.asarray(ids, np.int64)
        order = np.argsort(ids)  # many are found faster one after the other
        found = np.empty(len(ids), np.int64)
        found[order] = np.searchsorted(self.ids, ids[order])
        found[found == len(self.ids)] = 0
        return np.where(self.ids[found] == ids, found, -1) if len(self.ids) else np.full(len(ids), -1)

    def get(self, id: int) -> Proposal | None:
        """Return the proposal with a number."""
        place = int(np.searchsorted(self.ids, id))
        return self[place] if place < len(self.ids) and self.ids[place] == id else None

    def known(self, id: int) -> Proposal:
        """Return the proposal with a number that is in the table."""
        return self[int(np.searchsorted(self.ids, id))]

    @cached_property
    def code(self) -> dict[str, int]:
        """The place of each case in :attr:`cases`."""
        return {case: index for index, case in enumerate(self.cases)}

    def having(self, items: Sequence[Proposal]) -> Columns:
        """Return a table that has these proposals: this one, changed, if it knows their numbers, else another."""
        places = self.places([item.id for item in items])
        if (places < 0).any():
            return self.joined(items)
        for place, item in zip(places, items, strict=True):
            self.rows[place] = _row(item, self.code)
        return self

    def joined(self, items: Sequence[Proposal]) -> Columns:
        """Return a table with these proposals as well, in the place of those that have the same numbers."""
        cases: Sequence[str] = self.cases
        rows = self.rows[~np.isin(self.ids, [item.id for item in items])]
        if not all(item.case in self.code for item in items):
            cases = sorted({*self.cases, *(item.case for item in items)})
            place = {case: index for index, case in enumerate(cases)}
            rows["case"] = np.array([place[case] for case in self.cases], np.int64)[rows["case"]]
        else:
            place = self.code
        fresh = np.array([_row(item, place) for item in items], ROW)
        return Columns(cases, np.concatenate((rows, fresh))).by_id()


class Some(Sequence[Proposal]):
    """Some proposals of a table in an order of their own; the table is in that of their numbers."""

    def __init__(self, table: Columns, ids: np.ndarray) -> None:
        self.table, self.ids = table, ids

    @classmethod
    def of(cls, items: Iterable[Proposal]) -> Some:
        if isinstance(items, Some):
            return items
        columns = Columns.of(items)
        return cls(columns.by_id(), columns.rows["id"].copy())

    @property
    def columns(self) -> Columns:
        """These proposals, in their order, as a table of their own."""
        return self.table.take(self.table.places(self.ids))

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> Proposal: ...
    @overload
    def __getitem__(self, index: slice) -> Some: ...
    def __getitem__(self, index: int | slice) -> Proposal | Some:
        if isinstance(index, slice):
            return Some(self.table, self.ids[index])
        return self.table.known(self.ids[index])

    def place_of(self, id: int) -> int:
        """Return where the proposal with a number stands, -1 if it does not."""
        return next(iter(np.flatnonzero(self.ids == id).tolist()), -1)

    def first_open(self, but: Collection[int] = ()) -> Proposal | None:
        """Return the first that nobody has judged and whose number is none of ``but``; no object is made of others."""
        for start in range(0, len(self), 1000):
            part = self[start : start + 1000].columns
            waiting = (part.rows["decision"] == 0) & ~np.isin(part.ids, list(but))
            if waiting.any():
                return part[int(waiting.argmax())]
        return None


def _row(item: Proposal, place: dict[str, int]) -> tuple[Any, ...]:
    return (
        item.id, item.run, place[item.case], item.z, item.score, item.verdict == "accepted", item.step,
        item.pool_version, WORDS.index(item.decision), -1 if item.area is None else item.area,
        np.nan if item.agreement is None else item.agreement,
    )  # fmt: skip
