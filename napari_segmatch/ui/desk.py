"""The desk on which a case is opened. Annotate and Review share it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal
from qtpy.QtCore import QObject, QTimer

from ..session import Session
from ..types import Proposal, Volume
from .display import Flip
from .editing import Editing
from .links import Links

if TYPE_CHECKING:
    from napari.viewer import Viewer

HURRY_MS = 15
"""How often the session is asked while somebody waits for a case."""


class Desk(Editing):
    """Opens cases, one at a time, and shows proposals over them; the person's work on one is :class:`Editing`."""

    opened = Signal()
    """Another case is on the desk, or none."""
    opening = Signal(str)
    """This case is being read; "" when it could not be."""

    def __init__(self, viewer: Viewer, session: Session, parent: QObject) -> None:
        super().__init__(viewer, session, parent)
        self._wanted = ""
        self._left_at: dict[str, int] = {}  # the slices on which cases were left
        self._then: list[Any] = [None, None, None]
        self._hurry = QTimer(self, interval=HURRY_MS)
        self._hurry.timeout.connect(session.poll)
        self._links = Links(
            (self.layers.painted, self._on_painted),
            (self.layers.restored, self._on_restored),
            (session.mask_saved, self._on_saved),
            (session.project_changed, self.clear),
            (session.asides_changed, self._on_asides),
            (session.replaced, self._on_replaced),
            (session.colours_changed, lambda: self.layers.recolour(session.colours)),
            (viewer.dims.events.current_step, self._on_step),
            (viewer.dims.events.order, self._show_left_open),
            (viewer.dims.events.ndisplay, self._show_left_open),
            (self.slice_changed, self._show_left_open),
            (self.labels_changed, self._show_left_open),
        )

    def close(self) -> None:
        """Save what is not saved and let go of everything; a case that is still being read is not shown any more."""
        self._hurry.stop()
        self._look_timer.stop()
        self._wanted = ""
        self.save()
        self._links.cut()
        self.layers.close()

    # opening ---------------------------------------------------------------------------------------------

    def open(self, case: str, z: int | None = None, then: Any = None, failed: Any = None) -> None:
        """Open a case and go to a slice, else to the one on which it was left, or the middle one.

        ``then()`` is called once it is on the screen, ``failed()`` if it cannot be.

        Only the last wish counts: a case that arrives after another was asked for is dropped.
        """
        if case == self.case_id:
            if self._wanted:
                self.stay()
                self.opening.emit("")
            self.z = self.z if z is None else z
            if then is not None:
                then()
            return
        self.save()
        self._then = [z, then, failed]
        if case == self._wanted:
            return
        self._wanted = case
        self._hurry.start()
        self.opening.emit(case)
        self.session.load_case(case, partial(self._show, case), partial(self._forget, case))

    @property
    def coming(self) -> str:
        """The case that somebody wants to see: the one that is being read, else the one on the desk."""
        return self._wanted or self.case_id

    def _forget(self, case: str) -> None:
        """A case cannot be read: what lies on the desk stays there, and whoever wants it may try again."""
        if case == self._wanted:
            failed = self._then[2]
            self.stay()
            self.opening.emit("")
            if failed is not None:
                failed()

    def stay(self) -> None:
        """Keep the case that is on the desk: one that is still being read is not shown any more."""
        self._wanted, self._then = "", [None, None, None]
        self._hurry.stop()

    def _show(self, case: str, volume: Volume, labels: np.ndarray) -> None:
        if case != self._wanted:
            return
        known = self.session.known(case)
        if known is None:  # it was taken out of the project when it had just been read
            self._forget(case)
            return
        z, then, _ = self._then
        self.stay()
        self._note_strokes()
        self._changed(self.strokes.note())  # somebody may have gone on painting while this one was read
        self.save()
        self._left_at[self.case_id] = self.z
        self.case_id, self.flip = case, Flip.of(volume.geometry)
        self._lay(labels)
        project = self.session.project
        names, classes = (project.sequences, project.classes) if project is not None else ((), ("",))
        self.layers.show(volume, names, known.sequences, self.flip, labels, classes, self.session.colours)
        if self.layers.mask is not None:
            self.layers.mask.editable = project is None or not project.readonly
        middle = known.shape[0] // 2  # the ends of a stack are empty
        self.z = self._left_at.get(case, middle) if z is None else z
        self.opened.emit()
        self.labels_changed.emit()
        self.draft_changed.emit()
        if then is not None:
            then()

    def clear(self) -> None:
        """Empty the desk and forget where cases were left. What is unsaved must have been saved before."""
        self._timer.stop()
        self._hurry.stop()
        self._heard.clear()
        self._left_at.clear()
        self._wanted, self.case_id = "", ""
        self._lay(np.zeros((0, 0, 0), np.uint8))
        self.layers.clear()
        self.opened.emit()
        self.labels_changed.emit()
        self.draft_changed.emit()

    def _on_saved(self, case: str) -> None:
        if case == self.case_id:
            self.labels_changed.emit()
            self.draft_changed.emit()

    def _on_replaced(self, case: str) -> None:
        """Show the images that a case has now. What was drawn a moment ago is saved on them if they are as large."""
        if case in (self.case_id, self._wanted):
            self.save()
            mask, z = self.layers.mask, self.z if case == self.case_id else None
            mode = "pan_zoom" if mask is None else str(mask.mode)

            def go_on() -> None:  # on the same slice, if there is one, with the same tool
                self.z = self.z if z is None else min(z, self.count - 1)
                self.layers.set_mode(mode)

            self.clear()
            self.open(case, then=go_on)

    def _on_asides(self) -> None:
        """Show the slices about which somebody has to choose as the mask has them."""
        for item in self.session.asides:
            if item.case == self.case_id:
                self.refetch(item.slices)

    def refetch(self, slices: Sequence[int]) -> None:
        """Read some slices again once every save under way is done. One that is drawn on meanwhile stays as drawn."""
        case, before = self.case_id, {z: self._known[z].copy() for z in slices}

        def arrived(_: Volume, labels: np.ndarray) -> None:
            for z, known in before.items() if case == self.case_id else ():
                drawn_on = z in self._dirty or self.strokes.differs(z) or not np.array_equal(self._known[z], known)
                if not drawn_on and not np.array_equal(labels[z], self.labels[z]):
                    self.put(z, labels[z])

        self.session.load_case(case, arrived)

    @property
    def volumes(self) -> np.ndarray:
        """How much is painted of each label, (256,) in ml, on slices that are not done too."""
        return self._sizes.sum(0) * (0.0 if self.case is None else self.case.geometry.millilitre)

    # proposals -------------------------------------------------------------------------------------------

    def show_proposal(self, proposal: Proposal | None, labels: np.ndarray | None = None) -> None:
        """Draw a proposal's mask (y, x, as stored) over its slice, or none."""
        if proposal is None or labels is None or proposal.case != self.case_id:
            self.layers.show_proposal({})
        else:
            self.show_labels(proposal.z, labels)

    def show_labels(self, z: int, labels: np.ndarray) -> None:
        """Draw labels (y, x, as stored) over a slice."""
        self.layers.show_proposal({self.shown(z): self.flip.to_view(labels)})

    def _on_restored(self, name: str) -> None:
        self.session.message.emit(f"The layer {name} belongs to SegMatch and is back; hide it with its eye.", False)

    def _show_left_open(self, *_: object) -> None:
        """Show which voxels a finished slice leaves open, while it is on the screen."""
        self.layers.show_left_open(self.layers.on_a_slice and bool(self.left_open(self.z).any()))
