"""What a review shows: one proposal on the screen, and the next one. Who judges it stands in ``reviewer``."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from psygnal import Signal

from ..columns import Some
from ..ranking import nearest, threshold
from ..session import Session
from ..types import Proposal
from .desk import Desk
from .slices import in_structure
from .strokes import Change, Strokes
from .thumbnails import Thumbnails

_PREFETCH = 4


class Showing:
    """Goes through a list that somebody else sorts.

    Parameters
    ----------
    items
        Gives the proposals to go through, in order.
    group_of
        Gives those under the same heading as the proposal of a number, none where there are no headings.

    Attributes
    ----------
    active
        Whether the desk is the review's; else it only remembers which proposal is current.
    """

    moved = Signal()
    """Another proposal is current, or it is on the screen now."""
    drawn = Signal(object)
    """A proposal is on the screen: its labels (y, x) as stored are above 0 where it segments something."""
    hint = Signal(str)
    """A sentence about the proposal on the screen; "" when it holds no more."""
    mode_changed = Signal()
    """A correction has begun or ended."""

    def __init__(
        self,
        session: Session,
        desk: Desk,
        thumbnails: Thumbnails,
        items: Callable[[], Some],
        group_of: Callable[[int], Some],
    ) -> None:
        self.session, self.desk, self.thumbnails, self.items = session, desk, thumbnails, items
        self.group_of = group_of
        self.current: Proposal | None = None
        self.active = False
        self.correcting = False
        self.outlined = True
        self._before: np.ndarray | None = None
        self._awaited = False  # somebody has tried to judge what was not on the screen yet
        self._strokes: Strokes | None = None
        self._begun: dict[int, list[Change]] = {}  # what had been done to a proposal's slice when it first came
        self._since = time.monotonic()
        thumbnails.arrived.connect(self._previews_arrived)

    def close(self) -> None:
        self.thumbnails.arrived.disconnect(self._previews_arrived)

    def forget(self) -> None:
        """Another project is open."""
        self.current, self.correcting, self._before = None, False, None
        self.mode_changed.emit()

    def refresh(self) -> None:
        """Take the current proposal anew from the session, whose list has changed.

        The trainer may have proposed another mask for the slice meanwhile. The person goes on judging the one
        they see; only when somebody has labelled the slice by hand, or its case is gone, is nothing left to judge.
        """
        shown = self.current
        if shown is None:
            return
        found = self.session.proposals.get(shown.id)
        case = self.session.known(shown.case)
        if found is not None:
            self.current = found
        elif case is None or (shown.decision is None and shown.z in case.labelled):
            self.current = None

    # showing ---------------------------------------------------------------------------------------------

    def show(self, item: Proposal) -> None:
        """Bring a proposal to the screen."""
        if self.correcting and (self.current is None or item.id != self.current.id):
            self.hint.emit("Save or cancel the correction first.")
            self.moved.emit()
            return
        self.current = item
        self.hint.emit("")
        self._since = time.monotonic()
        self.moved.emit()
        if not self.active:
            return
        self.desk.open(item.case, item.z, then=lambda: self._begin(item), failed=self._cannot_show)
        self._look_ahead(item)

    def _cannot_show(self) -> None:
        """Leave nobody's pictures under the name of a case that cannot be read."""
        if self.active:
            self.desk.save()
            self.desk.clear()
            self.moved.emit()

    @property
    def is_empty(self) -> bool:
        """Whether the proposal says that there is nothing on this slice."""
        if self.current is None or not self.thumbnails.has(self.current):
            return False
        preview = self.thumbnails.preview(self.current)
        return preview is not None and not in_structure(preview.labels).any()

    @property
    def on_screen(self) -> bool:
        """Whether the person can see what a verdict would be about."""
        item = self.current
        return item is not None and self.desk.case_id == item.case and self.thumbnails.has(item)

    def _begin(self, item: Proposal) -> None:
        """The case of a proposal is on the desk."""
        if self._strokes is not self.desk.strokes:
            self._strokes, self._begun = self.desk.strokes, {}
        self._begun.setdefault(item.id, self.desk.strokes.steps(item.z))
        self._draw(item)

    def _draw(self, item: Proposal) -> None:
        if not self.active or self.current is None or item.id != self.current.id:
            return
        preview = self.thumbnails.preview(item)  # if None it is on its way; _previews_arrived draws it
        self.desk.layers.set_proposal_outline(self.outlined)
        self.desk.show_proposal(item, preview.labels if preview is not None else None)
        if not self.correcting:
            self.desk.layers.set_mode("pan_zoom")
        if self._awaited and self.on_screen:
            self._awaited = False
            self.hint.emit("")
        if preview is not None:
            self.drawn.emit(in_structure(preview.labels))
        self.moved.emit()

    def _previews_arrived(self, ids: set[int]) -> None:
        if self.current is not None and self.current.id in ids and self.desk.case_id == self.current.case:
            self._draw(self.current)

    def _look_ahead(self, item: Proposal) -> None:
        """Fetch what comes next while the person looks at this one; reading its preview reads its case as well."""
        here = self._place(item)
        for follower in reversed(self.items()[here + 1 : here + 1 + _PREFETCH]):
            self.thumbnails.preview(follower)

    def _place(self, item: Proposal | None) -> int:
        return self.items().place_of(item.id) if item is not None else -1

    # moving ----------------------------------------------------------------------------------------------

    def go(self, by: int) -> None:
        """Show the next or previous proposal; no decision."""
        items = self.items()
        if items and not self.correcting:
            here = self._place(self.current)
            self.show(items[0 if here < 0 else (here + by) % len(items)])

    def worth_a_look(self) -> None:
        """Show the open proposal that lies closest to the threshold."""
        mine = self.current.id if self.current is not None else None
        found = nearest(self.items().columns, threshold(self.session.proposals), mine)
        if found is not None and not self.correcting:
            self.show(found)

    def toggle_outline(self) -> None:
        self.outlined = not self.outlined
        self.desk.layers.set_proposal_outline(self.outlined)
