"""What a right click on a case offers: to open it, to take it out of the project, and to bring others back."""

from __future__ import annotations

from functools import partial

from qtpy.QtCore import QPoint
from qtpy.QtWidgets import QMenu, QTableView

from ..session import Session
from .cases_model import CASE_ROLE
from .desk import Desk

SHOWN = 20
"""So many removed cases are offered; `segmatch restore` brings any back."""


class CaseMenu:
    """The context menu of the table of cases."""

    def __init__(self, session: Session, desk: Desk, table: QTableView) -> None:
        self.session, self.desk, self.table = session, desk, table

    def ask(self, place: QPoint) -> None:
        """Show the menu at a place in the table."""
        index = self.table.indexAt(place)
        case = index.siblingAtColumn(0).data(CASE_ROLE) if index.isValid() else None
        menu = self.offers(case)
        if not menu.isEmpty():
            menu.exec(self.table.viewport().mapToGlobal(place))

    def offers(self, case: str | None) -> QMenu:
        """Return what can be done with a case, or where there is none."""
        menu, project = QMenu(self.table), self.session.project
        if project is None or project.readonly:
            return menu
        if case is not None:
            menu.addAction(f"Take {case} out of the project", partial(self._remove, case))
        removed = project.removed_cases[:SHOWN]
        if removed:
            back = menu.addMenu("Bring back")
            for name in removed:
                back.addAction(name, partial(self.session.restore_case, name))
        return menu

    def _remove(self, case: str) -> None:
        self.desk.save()
        if self.desk.case_id == case:
            self.desk.clear()
        self.session.remove_case(case)
