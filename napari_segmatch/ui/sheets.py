"""Many proposals with one word: which of them come on a contact sheet, and when it lies over the window."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from qtpy.QtWidgets import QWidget

from ..ranking import is_blind
from ..session import Session
from ..texts import count
from ..types import Proposal
from .contact_sheet import ContactSheet
from .desk import Desk
from .queue import QueueModel
from .reviewer import Reviewer
from .slices import painted
from .style import stylesheet
from .thumbnails import Thumbnails


class Sheets:
    """Opens one sheet at a time, over the window of ``panel``."""

    def __init__(
        self,
        session: Session,
        desk: Desk,
        thumbnails: Thumbnails,
        model: QueueModel,
        reviewer: Reviewer,
        panel: QWidget,
    ) -> None:
        self.session, self.desk, self.thumbnails = session, desk, thumbnails
        self.model, self.reviewer, self._panel = model, reviewer, panel
        self.sheet: ContactSheet | None = None

    def close(self) -> None:
        if self.sheet is not None:
            self.sheet.close_sheet()

    def accept_case(self, case: str = "") -> None:
        """Put all open proposals of a case that are in the list on a sheet."""
        current = self.reviewer.current
        case = case or (current.case if current is not None else "")
        self._ask(f"All of {case}", sorted(self.model.of_cases({case}), key=self.model.number))

    def accept_above(self) -> None:
        """Put the proposal on the screen and all above it in the list on a sheet."""
        current = self.reviewer.current
        here = self.model.place_of(current.id) if current is not None else -1
        self._ask("From the top of the list to here", self.model.items[: here + 1])

    def _ask(self, title: str, items: Iterable[Proposal]) -> None:
        """Show those that are open and no spot checks, once it is known what somebody has painted on their cases."""
        items = [item for item in items if item.decision is None and not is_blind(item)]
        here, saves = {self.desk.case_id: self.desk.drawn}, self.session.last_save()
        known = {item.case for item in items if saves is not None or self.session.case(item.case).version is not None}
        others = known - set(here)

        def show(read: Mapping[str, np.ndarray]) -> None:
            drawn = {**read, **here, self.desk.case_id: self.desk.drawn}
            now = filter(None, (self.session.proposals.get(item.id) for item in items))  # time has passed
            self._open(title, [item for item in now if item.decision is None and not self._is_draft(item, drawn)])

        if others:
            self.session.read(lambda: {case: painted(self.session.mask(case)) for case in others}, show, after=saves)
        else:
            show({})

    def _is_draft(self, item: Proposal, drawn: Mapping[str, np.ndarray]) -> bool:
        """Whether somebody has painted on the slice and not finished it: no sheet may take what it does not show."""
        painted_on = item.case in drawn and bool(drawn[item.case][item.z])
        return painted_on and item.z not in self.session.case(item.case).labelled

    def _open(self, title: str, items: list[Proposal]) -> None:
        if self.reviewer.correcting or self.sheet is not None or not self._panel.isVisible():
            return
        if not items:
            words = "There is nothing open to accept at once: only spot checks, slices that you painted on, or nothing."
            self.session.message.emit(words, False)
            return
        window, look = self._panel.window(), stylesheet(self.desk.viewer.theme)
        self.sheet = ContactSheet(window, look, f"{title}: {count(len(items), 'proposal')}", items, self.model,
                                  self.thumbnails, self.reviewer.decide_all)  # fmt: skip
        self.sheet.closed.connect(self._closed)
        self.sheet.open_over(window.rect().adjusted(40, 40, -40, -40))

    def _closed(self) -> None:
        self.sheet = None
