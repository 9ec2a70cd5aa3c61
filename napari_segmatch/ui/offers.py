"""A bar that offers versions beside the mask: strokes that were not saved, or what two people drew on one slice."""

from __future__ import annotations

from datetime import datetime

from qtpy.QtWidgets import QFrame

from ..session import Session
from ..types import Aside, Case
from .desk import Desk
from .links import Links
from .style import button, column, row, text


class OfferBar(QFrame):
    """One offer at a time. Nothing is replaced before somebody says so, and both versions stay on disk."""

    def __init__(self, session: Session, desk: Desk) -> None:
        super().__init__()
        self.session, self.desk = session, desk
        self.setProperty("role", "banner")
        self.setProperty("calm", "true")
        self._text = text()
        show = button("Show", "Go there and see the other version as an outline over your mask", self.show_offer)
        take = button("Use it", "It becomes part of the mask; the version before stays on disk", self.take)
        leave = button("Keep the mask", "The mask stays as it is; the other version stays on disk", self.leave)
        layout = column(self._text, row(show, take, leave))
        layout.setContentsMargins(8, 4, 4, 4)
        self.setLayout(layout)
        self._links = Links((session.asides_changed, self.redraw), (session.project_changed, self.redraw))
        self.redraw()

    def unlink(self) -> None:
        self._links.cut()

    @property
    def offer(self) -> Aside | None:
        known = {case.id for case in self.session.cases}
        return next((item for item in self.session.asides if item.case in known), None)

    @property
    def sentence(self) -> str:
        return self._text.text() if self.offer is not None else ""

    def redraw(self) -> None:
        offer = self.offer
        self.setVisible(offer is not None)
        if offer is not None:
            self._text.setText(_words(offer, self.session.case(offer.case), len(self.session.asides) - 1))

    def show_offer(self) -> None:
        if (offer := self.offer) is not None and offer.slices:
            z = offer.slices[0]
            labels = self.session.aside_labels(offer)[z]
            self.desk.open(offer.case, z, lambda: self.desk.show_labels(z, labels))

    def take(self) -> None:
        if (offer := self.offer) is not None:
            self.desk.save()
            self.session.take_aside(offer)
            self._done(offer)

    def leave(self) -> None:
        if (offer := self.offer) is not None:
            self.session.leave_aside(offer)
            self._done(offer)

    def _done(self, offer: Aside) -> None:
        self.desk.show_proposal(None)
        if offer.case == self.desk.case_id:
            self.desk.refetch(offer.slices)


def _words(offer: Aside, case: Case, more: int) -> str:
    one = len(offer.slices) == 1
    numbers = sorted(map(case.geometry.slice_number, offer.slices))
    where = f"{'slice' if one else 'slices'} {', '.join(map(str, numbers[:6]))}"
    where += " …" if len(offer.slices) > 6 else ""
    if offer.origin == "recovered":
        words = f"Not saved the last time, and found again: your work on {where} of {offer.case}."
    else:
        at = datetime.fromisoformat(offer.at).astimezone().strftime("%H:%M")
        words = f"Two versions of {where} of {offer.case}: the other one, of {at}, is kept beside the mask."
    return words + (f" {more} more after this." if more else "")
