"""The rows of the review queue: proposals, and headings where they are grouped by case. No drawing in here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from qtpy.QtCore import QAbstractListModel, QModelIndex, Qt

from ..ranking import is_blind
from ..types import Proposal

PROPOSAL_ROLE = int(Qt.ItemDataRole.UserRole)
NUMBER_ROLE = PROPOSAL_ROLE + 1
HEADING_ROLE = PROPOSAL_ROLE + 2
PROVEN_ROLE = PROPOSAL_ROLE + 3

VERDICT_WORDS = {"accepted": "sure", "rejected": "unsure"}
SCORE_TIP = (
    "The discriminator's number for this mask: for the objective “quality”, its chance that the Dice with a true mask "
    "is at least 0.8. It is only as good as the labels that the discriminator has seen."
)


@dataclass(frozen=True)
class Heading:
    """Stands above the proposals of one case."""

    case: str
    count: int


Row = Proposal | Heading


def verdict_words(item: Proposal, proven: bool = True) -> str:
    """``sure``, ``unsure``, or that the discriminator cannot tell yet."""
    return VERDICT_WORDS[item.verdict] if proven else "cannot tell yet"


def score_words(item: Proposal) -> str:
    """Write a score as a percentage; nothing if there is none."""
    return f"{100 * item.score:.0f} %" if math.isfinite(item.score) else ""


def with_headings(items: Sequence[Proposal]) -> list[Row]:
    """Put a heading before each run of proposals of one case."""
    rows: list[Row] = []
    for case, group in groupby(items, key=lambda item: item.case):
        mine = list(group)
        rows += [Heading(case, len(mine)), *mine]
    return rows


class QueueModel(QAbstractListModel):
    """Rows for a list view that asks only for what it shows. Rows stay where they are until :meth:`show`.

    Attributes
    ----------
    items
        The proposals, in order, without headings.
    """

    def __init__(
        self, number: Callable[[Proposal], int], proven: Callable[[Proposal], bool], parent: Any = None
    ) -> None:
        super().__init__(parent)
        self.number, self.proven = number, proven
        self.rows: list[Row] = []
        self.items: list[Proposal] = []
        self._row_of: dict[int, int] = {}
        self._place_of: dict[int, int] = {}

    def show(self, items: Sequence[Proposal], grouped: bool = False) -> None:
        """Show other rows."""
        self.beginResetModel()
        self.rows = with_headings(items) if grouped else list(items)
        self._index()
        self.endResetModel()

    def _index(self) -> None:
        self._row_of = {row.id: i for i, row in enumerate(self.rows) if isinstance(row, Proposal)}
        self.items = [row for row in self.rows if isinstance(row, Proposal)]
        self._place_of = {item.id: i for i, item in enumerate(self.items)}

    def change(self, fresh: Iterable[tuple[int, Proposal]]) -> None:
        """Put proposals in the place of those with these numbers, without moving a row."""
        rows = [(self._row_of[id], id, item) for id, item in fresh if id in self._row_of]
        for row, id, item in rows:
            self.rows[row] = item
            self.items[self._place_of[id]] = item
        for row, id, item in rows:
            if item.id != id:
                self._row_of[item.id], self._place_of[item.id] = self._row_of.pop(id), self._place_of.pop(id)
            self.dataChanged.emit(self.index(row), self.index(row))

    def remove(self, ids: Iterable[int]) -> None:
        """Take rows out; a heading that has nothing under it any more goes with them."""
        going = sorted((self._row_of[id] for id in ids if id in self._row_of), reverse=True)
        if len(going) > 40:
            gone = set(going)
            self.beginResetModel()
            self.rows = _without_empty_headings([row for i, row in enumerate(self.rows) if i not in gone])
            self._index()
            self.endResetModel()
            return
        for row in going:
            first = row - 1 if self._is_only_one(row) else row
            self.beginRemoveRows(QModelIndex(), first, row)
            del self.rows[first : row + 1]
            self.endRemoveRows()
        if going:
            self._index()

    def _is_only_one(self, row: int) -> bool:
        follows = self.rows[row + 1] if row + 1 < len(self.rows) else None
        return row > 0 and isinstance(self.rows[row - 1], Heading) and not isinstance(follows, Proposal)

    def insert(self, items: Sequence[Proposal], row: int) -> None:
        """Put proposals before a row."""
        items = [item for item in items if item.id not in self._row_of]
        if not items:
            return
        self.beginInsertRows(QModelIndex(), row, row + len(items) - 1)
        self.rows[row:row] = items
        self._index()
        self.endInsertRows()

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008  Qt's own signature
        return 0 if parent.isValid() else len(self.rows)

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        if index.isValid() and index.row() < len(self.rows) and isinstance(self.rows[index.row()], Heading):
            return Qt.ItemFlag.ItemIsEnabled
        return super().flags(index)

    def data(self, index: QModelIndex, role: int = int(Qt.ItemDataRole.DisplayRole)) -> Any:
        if not index.isValid() or index.row() >= len(self.rows):
            return None
        item = self.rows[index.row()]
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
        return self._row_of.get(id)

    def place_of(self, id: int) -> int:
        """Return where a proposal stands among :attr:`items`, -1 if it does not."""
        return self._place_of.get(id, -1)

    def repaint(self, ids: Iterable[int]) -> None:
        for row in sorted(self._row_of[id] for id in ids if id in self._row_of):
            self.dataChanged.emit(self.index(row), self.index(row))


def _without_empty_headings(rows: Sequence[Row]) -> list[Row]:
    following = [*rows[1:], Heading("", 0)]
    return [
        row
        for row, after in zip(rows, following, strict=True)
        if isinstance(row, Proposal) or isinstance(after, Proposal)
    ]


def describe(item: Proposal, number: int, proven: bool) -> str:
    """One line about a proposal, for screen readers and tests."""
    words = [item.case, f"slice {number}"]
    words.append("spot check" if is_blind(item) else " ".join((verdict_words(item, proven), score_words(item))).strip())
    if item.decision:
        words.append(f"you {item.decision} it")
    return ", ".join(words)
