"""The rows of the review queue: proposals, and headings where they are grouped by case. No drawing in here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from qtpy.QtCore import QAbstractListModel, QModelIndex, Qt

from ..columns import Columns, Some
from ..events import CANNOT_TELL
from ..ranking import is_blind
from ..types import Proposal

PROPOSAL_ROLE = int(Qt.ItemDataRole.UserRole)
NUMBER_ROLE = PROPOSAL_ROLE + 1
HEADING_ROLE = PROPOSAL_ROLE + 2
PROVEN_ROLE = PROPOSAL_ROLE + 3

VERDICT_WORDS = {"accepted": "sure", "rejected": "unsure"}
SCORE_TIP = (
    "A number for this mask. Of the discriminator, with the objective “quality”: its chance that the Dice with a true "
    "mask is at least 0.8, only as good as the labels and decisions that it has seen. Of a run with another selector: "
    "the model's mean confidence."
)


@dataclass(frozen=True)
class Heading:
    """Stands above the proposals of one case."""

    case: str
    count: int


Row = Proposal | Heading


def verdict_words(item: Proposal, proven: bool = True) -> str:
    """``sure``, ``unsure``, or that the discriminator cannot tell yet."""
    return VERDICT_WORDS[item.verdict] if proven else CANNOT_TELL


def score_words(item: Proposal) -> str:
    """Write a score as a percentage; nothing if there is none."""
    return f"{100 * item.score:.0f} %" if math.isfinite(item.score) else ""


class QueueModel(QAbstractListModel):
    """Rows for a view that asks only for what it shows. Rows stay where they are until :meth:`show`.

    A row is a proposal's number, or below 0 that of a heading: half a million rows are one array.
    Their table may be the session's own, so :meth:`change` and :meth:`insert` take only what the session says.
    """

    def __init__(
        self, number: Callable[[Proposal], int], proven: Callable[[Proposal], bool], parent: Any = None
    ) -> None:
        super().__init__(parent)
        self.number, self.proven = number, proven
        self._table = Columns()
        self._rows = self._ids = np.zeros(0, np.int64)
        self._headings: list[Heading] = []

    @property
    def items(self) -> Some:
        """The proposals, in order, without headings."""
        return Some(self._table, self._ids)

    def show(self, items: Iterable[Proposal], grouped: bool = False) -> None:
        """Show other rows."""
        self.beginResetModel()
        some = Some.of(items)
        self._table, self._rows, self._headings = some.table, some.ids, []
        if grouped:
            self._group()
        self._index()
        self.endResetModel()

    def _group(self) -> None:
        """Put a heading before each run of proposals of one case."""
        case = self._table.rows["case"][self._table.places(self._rows)]
        first = np.flatnonzero(np.append(True, case[1:] != case[:-1])[: len(case)])
        many = np.diff(np.append(first, len(case)))
        names = [self._table.cases[code] for code in case[first].tolist()]
        self._headings = [Heading(name, n) for name, n in zip(names, many.tolist(), strict=True)]
        self._rows = np.insert(self._rows, first, -1 - np.arange(len(first)))

    def _index(self) -> None:
        self._ids = self._rows[self._rows >= 0] if self._headings else self._rows

    def row(self, row: int) -> Row:
        """Return what stands in a row."""
        number = int(self._rows[row])
        return self._headings[-1 - number] if number < 0 else self._table.known(number)

    def _rows_of(self, ids: Iterable[int]) -> dict[int, int]:
        """Return the rows in which proposals with these numbers stand, in order, and which stands there."""
        rows = np.flatnonzero(np.isin(self._rows, list(ids)))
        return dict(zip(rows.tolist(), self._rows[rows].tolist(), strict=True))

    def change(self, fresh: Iterable[tuple[int, Proposal]]) -> None:
        """Put proposals in the place of those with these numbers, without moving a row."""
        given = dict(fresh)
        rows = self._rows_of(given)
        self._table = self._table.having([given[id] for id in rows.values()])
        for row, id in rows.items():
            self._rows[row] = given[id].id
        self._index()
        for row in rows:
            self.dataChanged.emit(self.index(row), self.index(row))

    def remove(self, ids: Iterable[int]) -> None:
        """Take rows out; a heading that has nothing under it any more goes with them."""
        going = list(self._rows_of(ids))
        if len(going) > 40:
            self.beginResetModel()
            left = np.delete(self._rows, going)
            empty = (left < 0) & np.append(left[1:] < 0, True)
            self._rows = left[~empty]
            self._index()
            self.endResetModel()
            return
        for row in reversed(going):
            first = row - 1 if self._is_only_one(row) else row
            self.beginRemoveRows(QModelIndex(), first, row)
            self._rows = np.delete(self._rows, slice(first, row + 1))
            self._index()
            self.endRemoveRows()

    def _is_only_one(self, row: int) -> bool:
        return row > 0 and self._rows[row - 1] < 0 and (row + 1 == len(self._rows) or self._rows[row + 1] < 0)

    def insert(self, items: Sequence[Proposal], row: int) -> None:
        """Put proposals before a row."""
        known = set(self._rows_of(item.id for item in items).values())
        items = [item for item in items if item.id not in known]
        if not items:
            return
        self._table = self._table.having(items)
        self.beginInsertRows(QModelIndex(), row, row + len(items) - 1)
        self._rows = np.insert(self._rows, row, [item.id for item in items])
        self._index()
        self.endInsertRows()

    def of_cases(self, cases: Iterable[str]) -> list[Proposal]:
        """Return the proposals of some cases, in order."""
        codes = [self._table.code[case] for case in cases if case in self._table.code]
        mine = self._table.ids[np.isin(self._table.rows["case"], codes)]
        return list(Some(self._table, self._ids[np.isin(self._ids, mine)]))

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008  Qt's own signature
        return 0 if parent.isValid() else len(self._rows)

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        if index.isValid() and index.row() < len(self._rows) and self._rows[index.row()] < 0:
            return Qt.ItemFlag.ItemIsEnabled
        return super().flags(index)

    def data(self, index: QModelIndex, role: int = int(Qt.ItemDataRole.DisplayRole)) -> Any:
        if not index.isValid() or index.row() >= len(self._rows):
            return None
        item = self.row(index.row())
        if isinstance(item, Heading):
            return self._heading(item, role)
        if role == PROPOSAL_ROLE:
            return item
        if role == NUMBER_ROLE:
            return self.number(item)
        if role == PROVEN_ROLE:
            return self.proven(item)
        if role == int(Qt.ItemDataRole.ToolTipRole):
            return f"{describe(item, self.number(item), self.proven(item))}.\n{SCORE_TIP}"
        if role in (int(Qt.ItemDataRole.DisplayRole), int(Qt.ItemDataRole.AccessibleTextRole)):
            return describe(item, self.number(item), self.proven(item))
        return None

    def _heading(self, heading: Heading, role: int) -> Any:
        if role == HEADING_ROLE:
            return heading
        if role == int(Qt.ItemDataRole.ToolTipRole):
            return "Click to see all of this case on one sheet, and accept them at once"
        if role in (int(Qt.ItemDataRole.DisplayRole), int(Qt.ItemDataRole.AccessibleTextRole)):
            return f"{heading.case}, {heading.count} proposals"
        return None

    def row_of(self, id: int) -> int | None:
        return next(iter(np.flatnonzero(self._rows == id).tolist()), None)

    def place_of(self, id: int) -> int:
        """Return where a proposal stands among :attr:`items`, -1 if it does not."""
        return self.items.place_of(id)

    def group_of(self, id: int) -> Some:
        """Return the proposals under the same heading as one, none where there are no headings."""
        row = self.row_of(id)
        if row is None or not self._headings:
            return Some(self._table, self._ids[:0])
        heads = np.append(np.flatnonzero(self._rows < 0), len(self._rows))
        last = int(np.searchsorted(heads, row))
        return Some(self._table, self._rows[heads[last - 1] + 1 : heads[last]])

    def repaint(self, ids: Iterable[int]) -> None:
        for row in self._rows_of(ids):
            self.dataChanged.emit(self.index(row), self.index(row))


def describe(item: Proposal, number: int, proven: bool) -> str:
    """One line about a proposal, for screen readers and tests."""
    words = [item.case, f"slice {number}"]
    words.append("spot check" if is_blind(item) else " ".join((verdict_words(item, proven), score_words(item))).strip())
    if item.decision:
        words.append(f"you {item.decision} it")
    return ", ".join(words)
