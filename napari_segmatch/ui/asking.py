"""Ask the model for masks of the case on the screen, and know whether somebody still waits for them."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from ..session import Session
from .desk import Desk


class Asking:
    """Who asks and then does nothing else is shown the masks when they have come; who paints on is not interrupted."""

    def __init__(self, session: Session, desk: Desk) -> None:
        self.session, self.desk = session, desk
        self._waits_for = ""

    def ask(self) -> None:
        """Have the case on the screen segmented; asked once more while that is under way, leave it."""
        case = self.desk.case_id
        if not case:
            self.session.message.emit("Open a case first.", False)
        elif case in self.session.segmenting:
            self.session.stop_segmenting(case)
            self.session.message.emit(f"{case}: stopped, nothing was proposed.", False)
        else:
            self.desk.save()
            if self.session.attempt(self.session.segment, case):
                self._waits_for = case

    def wait_no_more(self, *_: object) -> None:
        self._waits_for = ""

    def waits_for(self, case: str) -> bool:
        """Whether somebody asked for this case and has not begun anything else since."""
        idle = QApplication.mouseButtons() == Qt.MouseButton.NoButton
        return idle and self._waits_for == self.desk.case_id == case
