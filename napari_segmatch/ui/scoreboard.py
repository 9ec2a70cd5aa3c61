"""The model against the person: a 2 x 2 table, how often spot checks were overturned, what was seen."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

from ..ranking import interval, overturned
from ..session import Session
from ..texts import count
from .style import column, holder, text

_KEPT, _CHANGED = ("accepted",), ("rejected", "corrected")


class Scoreboard(QWidget):
    def __init__(self) -> None:
        super().__init__()
        self._cells: dict[tuple[str, bool], QLabel] = {}
        self._audit = text("", "hint")
        self._seen = text("", "hint")
        self.setLayout(column(text("The model against you", "section"), holder(self._table()), self._audit,
                              self._seen, spacing=3))  # fmt: skip

    def _table(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(12)
        for column_, words in enumerate(("you kept it", "you did not"), 1):
            grid.addWidget(QLabel(words), 0, column_, Qt.AlignmentFlag.AlignHCenter)
        for place, (verdict, words) in enumerate((("accepted", "it was sure"), ("rejected", "it was not sure")), 1):
            grid.addWidget(QLabel(words), place, 0)
            for column_, kept in enumerate((True, False), 1):
                cell = self._cells[verdict, kept] = QLabel("0")
                cell.setToolTip(f"Proposals where {words} and you {'accepted' if kept else 'changed or rejected'}")
                grid.addWidget(cell, place, column_, Qt.AlignmentFlag.AlignHCenter)
        return grid

    def show_session(self, session: Session) -> None:
        table = session.agreement()
        for (verdict, kept), cell in self._cells.items():
            wanted = _KEPT if kept else _CHANGED
            cell.setText(str(sum(n for (said, mine), n in table.items() if said == verdict and mine in wanted)))
        self._audit.setText(audit_sentence(*overturned(session.proposals.counts)))
        self._seen.setText(seen_sentence(session))
        self._seen.setVisible(bool(self._seen.text()))


def audit_sentence(changed: int, judged: int) -> str:
    """Say how often the person overturned what the model was sure of, without having been told."""
    if not judged:
        return "Spot checks: none judged yet."
    low, high = interval(changed, judged)
    return (
        f"Spot checks: you overturned {changed} of {judged} sure ones: {100 * changed / judged:.1f} %, "
        f"95 % CI {100 * low:.1f} to {100 * high:.1f} %."
    )


def seen_sentence(session: Session) -> str:
    """Say when the trainer last took up what people did."""
    seen = session.history.pool
    if seen is None:
        return ""
    labelled = count(seen.labelled, "labelled slice")
    taken = f"The trainer took up your work at step {seen.step}: since then it learns from {labelled}."
    examined = session.history.examined
    words = examined.words if examined is not None else 0
    return f"{taken} What people said of {count(words, 'proposal')} moves its chances." if words else taken
