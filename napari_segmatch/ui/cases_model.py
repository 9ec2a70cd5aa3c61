"""The table of cases: what each row says. No drawing in here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSortFilterProxyModel, Qt
from qtpy.QtGui import QColor

from ..types import Case
from .style import BAD, GOOD, OWN, count

COLUMNS = ("Case", "State", "Review")
SORT_ROLE = int(Qt.ItemDataRole.UserRole)
CASE_ROLE = SORT_ROLE + 1
KIND_ROLE = SORT_ROLE + 2


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
        return f"{case.problem} The case is set aside; add it again once the file is in order."
    size = " × ".join(str(n) for n in case.shape)
    spacing = " × ".join(f"{mm:.2g}" for mm in case.geometry.spacing)
    words = f"{case.id}: {size} voxels of {spacing} mm (z, y, x); {', '.join(case.sequences)}."
    if case.validation:
        words += " Held out: it judges the model and never trains it."
    return words + " Double click to open it."


class CasesModel(QAbstractTableModel):
    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.cases: list[Case] = []
        self._open: Counter[str] = Counter()

    def show(self, cases: Sequence[Case], open_: Counter[str]) -> None:
        if [case.id for case in cases] != [case.id for case in self.cases]:
            self.beginResetModel()
            self.cases, self._open = list(cases), open_
            self.endResetModel()
            return
        self.cases, self._open = list(cases), open_
        if self.cases:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self.cases) - 1, len(COLUMNS) - 1))

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008  Qt's own signature
        return 0 if parent.isValid() else len(self.cases)

    def columnCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        if role == int(Qt.ItemDataRole.DisplayRole) and orientation == Qt.Orientation.Horizontal:
            return COLUMNS[section]
        return None

    def data(self, index: QModelIndex, role: int = int(Qt.ItemDataRole.DisplayRole)) -> Any:
        if not index.isValid() or index.row() >= len(self.cases):
            return None
        case = self.cases[index.row()]
        if role == CASE_ROLE:
            return case.id
        if role == KIND_ROLE:
            return kind(case, self._open[case.id])
        if role == SORT_ROLE:
            share = len(case.labelled) / max(1, case.shape[0])
            rank = f"{case.problem is None:d}{case.validation:d}{share:.4f}"
            return (case.id, rank, self._open[case.id])[index.column()]
        if role == int(Qt.ItemDataRole.DisplayRole):
            waiting = self._open[case.id]
            return (case.id, state(case, waiting), str(waiting) if waiting else "")[index.column()]
        if role == int(Qt.ItemDataRole.ToolTipRole):
            return explain(case)
        if role == int(Qt.ItemDataRole.DecorationRole) and index.column() == 1:
            return _dot(case)
        return None


class CasesFilter(QSortFilterProxyModel):
    """Rows with some words in them, in one state or in every."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._kind = STATES[0]
        self.setSortRole(SORT_ROLE)
        self.setFilterKeyColumn(-1)
        self.setFilterCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)

    def show_kind(self, kind: str) -> None:
        self._kind = kind
        self.invalidateFilter()

    def filterAcceptsRow(self, row: int, parent: QModelIndex) -> bool:
        wanted = self._kind in (STATES[0], self.sourceModel().index(row, 0, parent).data(KIND_ROLE))
        return wanted and super().filterAcceptsRow(row, parent)


def _dot(case: Case) -> QColor | None:
    if case.problem is not None:
        return QColor(BAD)
    return QColor(OWN) if case.validation else QColor(GOOD) if case.labelled else None


def summary(cases: Sequence[Case]) -> str:
    """One line about all cases."""
    labelled = sum(bool(case.labelled) and not case.validation for case in cases)
    parts = [count(len(cases), "case"), f"{labelled} with labels"]
    validation = sum(case.validation for case in cases)
    broken = sum(case.problem is not None for case in cases)
    parts += [f"{validation} for validation"] if validation else []
    parts += [f"{broken} broken"] if broken else []
    return ", ".join(parts)
