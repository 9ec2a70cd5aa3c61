"""The table of cases: what each row says. No drawing in here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSortFilterProxyModel, Qt

from ..session import Ledger
from ..texts import count
from ..types import Case

COLUMNS = ("Case", "Open", "Score", "By")
TIPS = ("What the case is called, and where it stands", "Proposals that nobody has judged",
        "Mean score of these proposals", "Who made the current mask")  # fmt: skip
CASE_ROLE = int(Qt.ItemDataRole.UserRole)
KIND_ROLE = CASE_ROLE + 1
_ANSWERS = re.compile(r": choose \w+=.*")
"""The answers to a question, as a shell takes them; the window asks once more."""


STATES = ("every state", "new", "proposed", "draft", "done", "validation", "broken")
"""What the table can be narrowed down to."""


def kind(case: Case, waiting: int) -> str:
    """Return which of :data:`STATES` a case is in."""
    if case.problem is not None:
        return "broken"
    if case.validation:
        return "validation"
    if case.labelled:
        return "done"
    return "proposed" if waiting else "draft" if case.version is not None else "new"


def state(case: Case, waiting: int = 0) -> str:
    """Say in a few words where a case stands; ``waiting`` proposals are open."""
    if case.problem is not None:
        return "broken"
    done, slices = len(case.labelled), case.shape[0]
    if case.validation:
        return "validation" if done else "validation, no labels"
    if case.version is not None and not done:
        return "draft"
    return f"{done} of {slices} done" if 0 < done < slices else "labelled" if done else "proposed" if waiting else "new"


def explain(case: Case) -> str:
    """Return the sentence behind the state."""
    if case.problem is not None:
        said = _ANSWERS.sub(".", case.problem)
        then = "once the file is in order" if said == case.problem else "to say how it is to be read"
        return f"{said} The case is set aside; add it again {then}."
    size = " × ".join(str(n) for n in case.shape)
    spacing = " × ".join(f"{mm:.2g}" for mm in case.geometry.spacing)
    words = f"{case.id}: {size} voxels of {spacing} mm (z, y, x); {', '.join(case.sequences)}."
    if case.editor:
        words += f" Mask by {case.editor}."
    if case.validation:
        words += " Held out: it judges the model and never trains it."
    return words + " Double click to open it."


class CasesModel(QAbstractTableModel):
    """``picture`` gives a case's thumbnail, or None while it is made."""

    def __init__(self, picture: Callable[[Case], Any], parent: Any = None) -> None:
        super().__init__(parent)
        self.cases: list[Case] = []
        self._picture = picture
        self._book = Ledger()
        self._by, self._falling = 0, False

    def show(self, cases: Sequence[Case], book: Ledger) -> None:
        """Show these cases, and what a book says of their proposals; what is selected stays selected, if it can."""
        known = {case.id for case in self.cases}
        fresh = [case for case in cases if case.id not in known]
        self._book = book
        if not known or len(known) + len(fresh) != len(cases):
            self.beginResetModel()
            self.cases = self._sorted(cases)
            self.endResetModel()
            return
        self._append(fresh)
        self._arrange(self._sorted(cases))
        if self.cases:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self.cases) - 1, len(COLUMNS) - 1))

    def _append(self, cases: Sequence[Case]) -> None:
        if cases:
            self.beginInsertRows(QModelIndex(), len(self.cases), len(self.cases) + len(cases) - 1)
            self.cases = [*self.cases, *cases]
            self.endInsertRows()

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort here, in one go: a proxy would ask for two values at each comparison."""
        self._by, self._falling = column, order == Qt.SortOrder.DescendingOrder
        self._arrange(self._sorted(self.cases))

    def _sorted(self, cases: Sequence[Case]) -> list[Case]:
        return sorted(cases, key=lambda case: self._value(case)[self._by], reverse=self._falling)

    def _value(self, case: Case) -> tuple[Any, ...]:
        """Return what a case is sorted by in each column."""
        score = self._book.mean_score(case.id)
        return case.id, self._book.open_in[case.id], -1.0 if score is None else score, case.editor or ""

    def _arrange(self, cases: list[Case]) -> None:
        """Put the same cases into another order; what is selected stays selected."""
        if [case.id for case in cases] == [case.id for case in self.cases]:
            self.cases = cases
            return
        self.layoutAboutToBeChanged.emit()
        before, place = self.persistentIndexList(), {case.id: row for row, case in enumerate(cases)}
        after = [self.index(place[self.cases[index.row()].id], index.column()) for index in before]
        self.cases = cases
        self.changePersistentIndexList(before, after)
        self.layoutChanged.emit()

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008  Qt's own signature
        return 0 if parent.isValid() else len(self.cases)

    def columnCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        if orientation != Qt.Orientation.Horizontal:
            return None
        return {int(Qt.ItemDataRole.DisplayRole): COLUMNS, int(Qt.ItemDataRole.ToolTipRole): TIPS}.get(
            role, (None,) * len(COLUMNS)
        )[section]

    def data(self, index: QModelIndex, role: int = int(Qt.ItemDataRole.DisplayRole)) -> Any:
        if not index.isValid() or index.row() >= len(self.cases):
            return None
        case = self.cases[index.row()]
        if role == CASE_ROLE:
            return case.id
        if role == KIND_ROLE:
            return kind(case, self._book.open_in[case.id])
        if role == int(Qt.ItemDataRole.DisplayRole):
            return self._words(case)[index.column()]
        if role == int(Qt.ItemDataRole.ToolTipRole):
            return explain(case)
        if role == int(Qt.ItemDataRole.DecorationRole) and index.column() == 0 and case.problem is None:
            return self._picture(case)
        if role == int(Qt.ItemDataRole.TextAlignmentRole) and index.column():
            return Qt.AlignmentFlag.AlignCenter
        return None

    def _words(self, case: Case) -> tuple[str, ...]:
        waiting, score = self._book.open_in[case.id], self._book.mean_score(case.id)
        percent = "" if score is None else f"{100 * score:.0f} %"
        return f"{case.id}\n{state(case, waiting)}", str(waiting or ""), percent, case.editor or ""

    def repaint(self, case: str) -> None:
        """A case's picture has come in."""
        for row in (row for row, item in enumerate(self.cases) if item.id == case):
            self.dataChanged.emit(self.index(row, 0), self.index(row, 0), [int(Qt.ItemDataRole.DecorationRole)])


class CasesFilter(QSortFilterProxyModel):
    """Rows with some words in them, in one state or in every; the model itself sorts them."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._kind = STATES[0]
        self.setFilterKeyColumn(-1)
        self.setFilterCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        self.sourceModel().sort(column, order)

    def show_kind(self, kind: str) -> None:
        self._kind = kind
        self.invalidateFilter()

    def filterAcceptsRow(self, row: int, parent: QModelIndex) -> bool:
        wanted = self._kind == STATES[0] or self._kind == self.sourceModel().index(row, 0, parent).data(KIND_ROLE)
        return wanted and super().filterAcceptsRow(row, parent)


def elision(names: Iterable[str], shorten: Callable[[str, Qt.TextElideMode], str]) -> Qt.TextElideMode:
    """Choose where names lose what has no room: as many as can be stay told apart, by their beginning if that does it.

    ``shorten`` gives what is seen of a name that is cut there.
    """
    ways = Qt.TextElideMode.ElideRight, Qt.TextElideMode.ElideMiddle, Qt.TextElideMode.ElideLeft
    names = list(names)
    return max(ways, key=lambda way: len({shorten(name, way) for name in names}))


def summary(cases: Sequence[Case]) -> str:
    """One line about all cases."""
    labelled = sum(bool(case.labelled) and not case.validation for case in cases)
    parts = [count(len(cases), "case"), f"{labelled} with labels"]
    validation = sum(case.validation for case in cases)
    broken = sum(case.problem is not None for case in cases)
    parts += [f"{validation} for validation"] if validation else []
    parts += [f"{broken} broken"] if broken else []
    return ", ".join(parts)
