"""Ask the model for masks of the case on the screen, and know whether somebody still waits for them."""

from __future__ import annotations

from ..errors import SegmatchError
from ..session import Session
from .desk import Desk


class Asking:
    """Who asks and then does nothing else is shown the masks when they have come; who paints on is not interrupted."""

    def __init__(self, session: Session, desk: Desk) -> None:
        self.session, self.desk = session, desk
        self.waits_for = ""

    def ask(self) -> None:
        """Have the newest model segment the case on the screen."""
        if not self.desk.case_id:
            self.session.message.emit("Open a case first.", False)
            return
        self.desk.save()
        try:
            self.session.propose(self.desk.case_id)
        except SegmatchError as error:
            self.session.message.emit(str(error), True)
        else:
            self.waits_for = self.desk.case_id

    def wait_no_more(self, *_: object) -> None:
        self.waits_for = ""
