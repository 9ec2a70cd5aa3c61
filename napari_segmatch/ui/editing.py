"""The person's work on the case that lies on the desk: its labels, and what of them is not saved yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal
from qtpy.QtCore import QObject, Qt, QTimer
from qtpy.QtWidgets import QApplication

from ..session import Session
from ..types import NOT_ANNOTATED, Case
from .display import Flip
from .layers import Layers
from .slices import sizes
from .strokes import Strokes, touched

if TYPE_CHECKING:
    from napari.viewer import Viewer

AUTOSAVE_MS = 1000
LOOK_MS = 1000
"""How often the desk looks for changes of which napari says nothing: a stroke in progress, a script, napari's undo."""
LOOKS = 10
"""After so many looks every slice has been looked at."""


class Editing(QObject):
    """Takes strokes and saves them.

    Policy: a stroke is in the journal within a moment; it is a draft and is saved one second after the last one,
    before another case is opened and before the window closes. Only slices that changed are written, so a decision
    made meanwhile is never overwritten. Slices are numbered as stored; :meth:`shown` is the same
    number as it stands on the slider.
    """

    slice_changed = Signal()
    labels_changed = Signal()
    """Labels, or which slices are done, are not what they were."""
    edited = Signal()
    """The person has painted, undone or redone something."""
    draft_changed = Signal()
    """There is something unsaved, or no longer."""

    def __init__(self, viewer: Viewer, session: Session, parent: QObject) -> None:
        super().__init__(parent)
        self.viewer, self.session = viewer, session
        self.layers = Layers(viewer)
        self.flip = Flip()
        self.case_id = ""
        self._lay(np.zeros((0, 0, 0), np.uint8))
        self.lock = False
        """Whether a stroke leaves what belongs to another class as it is."""
        self.lifted = False
        """Whether it takes that all the same: a correction is under way, in which a wrong class is what one repairs."""
        self._timer = QTimer(self, singleShot=True, interval=AUTOSAVE_MS)
        self._timer.timeout.connect(self._save_in_time)
        self._heard: list[Any] = []
        self._soon = QTimer(self, singleShot=True, interval=0)
        self._soon.timeout.connect(self._note_heard)
        self._looks = 0
        self._look_timer = QTimer(self, interval=LOOK_MS)
        self._look_timer.timeout.connect(self._look)
        self._look_timer.start()

    def _lay(self, labels: np.ndarray) -> None:
        """Begin with these labels (z, y, x), as they are on disk; painting writes into this very array."""
        self.labels, self.strokes, self._sizes = labels, Strokes(labels), sizes(labels)
        self._known = labels.copy()  # what the disk holds, as far as this window has heard
        self._dirty: set[int] = set()
        self._going: set[int] = set()  # of which the journal has a stroke that was not over
        self._finished: set[int] = set()  # on which done was pressed, and nothing has been changed since
        self._left_open: dict[int, np.ndarray] = {}  # what (y, x) a finished slice leaves open, as a data set may

    @property
    def case(self) -> Case | None:
        """What is known of the case on the desk."""
        return self.session.known(self.case_id)

    # where we are ----------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        return len(self.labels)

    @property
    def z(self) -> int:
        """Slice on the screen, numbered as stored."""
        return self.flip.z_from_view(self.layers.z, self.count) if self.count else 0

    @z.setter
    def z(self, value: int) -> None:
        if self.count:
            self.layers.z = self.flip.z_to_view(int(np.clip(value, 0, self.count - 1)), self.count)

    def shown(self, z: int) -> int:
        """Return the number of a slice on napari's slider."""
        return self.flip.z_to_view(z, self.count)

    def from_shown(self, z: int) -> int:
        return self.flip.z_from_view(z, self.count)

    def _on_step(self) -> None:
        if self.count:
            self.layers.end_stroke()
            self.session.remember_place(self.case_id, self.z)
            self.slice_changed.emit()

    # editing ---------------------------------------------------------------------------------------------

    @property
    def done(self) -> tuple[int, ...]:
        """Slices that somebody finished."""
        return self.case.labelled if self.case is not None else ()

    @property
    def drawn(self) -> np.ndarray:
        """Whether something is painted on each slice, (z,) bool."""
        return np.asarray(self._sizes.any(1))

    @property
    def dirty(self) -> bool:
        return bool(self._dirty) or self.layers.stroke_goes_on

    def _on_painted(self, atoms: Any) -> None:
        """Put the stroke into the journal at once, before anything is redrawn, and take note in the loop's next turn.

        Napari speaks of a fill before it has written it: what is not there yet goes into the journal then.
        """
        slices = self._touched(atoms)
        if slices is not None:
            found = {z: self.labels[z] for z in slices if self.strokes.differs(z)}
            if found:
                self.session.journal(self.case_id, found)
        self._heard.append(slices)
        self._soon.start()

    def _touched(self, atoms: Any) -> list[int] | None:
        """Return the slices of a stroke, numbered as stored; None if napari does not tell."""
        slices = touched(atoms) if atoms is not None else None
        return None if slices is None else [self.from_shown(z) for z in slices if 0 <= z < self.count]

    def _note_strokes(self) -> None:
        """End the stroke that is under way, if one is, and take note of all that was drawn."""
        self.layers.end_stroke()
        self._stroke_is_over()
        self._note_heard()

    def _note_heard(self) -> None:
        """Take note of strokes that are over; on a busy machine the next one may have begun."""
        heard, self._heard = self._heard, []
        for slices in heard:
            if self.lock and not self.lifted and self.strokes.protect(slices, self.layers.chosen_class):
                self.layers.refresh_mask()
                if slices:  # the journal has heard of more
                    self.session.journal(self.case_id, {z: self.labels[z] for z in slices})
            self._changed(self.strokes.note(slices))

    def _look(self) -> None:
        """Compare the slice on the screen, and a tenth of the others, with what is known of them."""
        if not self.count:
            return
        self._looks += 1
        slices = {self.z, *range(self._looks % LOOKS, self.count, LOOKS)}
        found = {z: self.labels[z] for z in slices if self.strokes.differs(z)}
        if QApplication.mouseButtons() == Qt.MouseButton.NoButton and not self.layers.stroke_goes_on:
            self._stroke_is_over()
            self._changed(self.strokes.note(found))
        elif found:
            self.session.journal(self.case_id, found)  # the stroke is not over: no step for undo yet
            self._going.update(found)

    def _stroke_is_over(self) -> None:
        """Tell the journal how a stroke that it heard of ended: Esc takes back what has been encircled."""
        if self._going:
            self.session.journal(self.case_id, {z: self.labels[z] for z in self._going})
            self._going.clear()

    def write(self, slices: dict[int, np.ndarray]) -> None:
        """Replace whole slices; one step for undo. What is not drawn on a finished one is background, as on disk."""
        self._note_strokes()
        for z, labels in slices.items():
            self.labels[z] = self._closed(z, labels, just_done=False) if z in self.done else labels
        self._changed(self.strokes.note(slices))
        self.layers.refresh_mask()

    def finish(self, z: int, labels: np.ndarray | None = None) -> None:
        """Mark a slice as done, with these labels (y, x) if not with its own; one step for undo, which reopens it."""
        self._note_strokes()
        self.left_open(z)  # is known from now on: undo brings it back
        labels = self.labels[z] if labels is None else labels
        self.labels[z] = np.where(labels == NOT_ANNOTATED, np.uint8(0), labels)
        self._changed(self.strokes.note([z], finished={z} - set(self.done)))
        self.layers.refresh_mask()
        self.save(done=(z,))

    def undo(self) -> bool:
        self._note_strokes()
        return self._replayed(self.strokes.undo(), reopen=True)

    def redo(self) -> bool:
        self._note_strokes()
        return self._replayed(self.strokes.redo(), reopen=False)

    def _replayed(self, slices: list[int], reopen: bool) -> bool:
        if slices and self.z not in slices:
            self.z = slices[0]
        self._changed(slices)
        self.layers.refresh_mask()
        if marked := tuple(self.strokes.finished):
            self.save(reopen=marked) if reopen else self.save(done=marked)
        return bool(slices)

    def _changed(self, slices: list[int]) -> None:
        if slices:
            self._sizes[slices] = sizes(self.labels[slices])
            self._dirty.update(slices)
            self._finished.difference_update(slices)
            self._timer.start()
            self.session.journal(self.case_id, {z: self.labels[z] for z in slices})
            self.session.remember_place(self.case_id, self.z)
            self.edited.emit()
            self.labels_changed.emit()
            self.draft_changed.emit()

    def put(self, z: int, labels: np.ndarray) -> np.ndarray:
        """Show a slice as somebody else has saved it, or a decision: not a step that undo could take back here.

        Returns the slice (y, x) as the disk held it before, as far as this window has heard.
        """
        known = self._known[z].copy()
        self.strokes.accept(z, labels)
        self._known[z] = labels
        self._left_open.pop(z, None)
        self._sizes[[z]] = sizes(self.labels[[z]])
        self._dirty.discard(z)
        self._finished.discard(z)
        self.layers.refresh_mask()
        self.labels_changed.emit()
        self.draft_changed.emit()
        return known

    # saving ----------------------------------------------------------------------------------------------

    def _save_in_time(self) -> None:
        """Save, unless a stroke goes on that this would end: the journal has what there is of it."""
        if self.layers.stroke_goes_on:
            self._timer.start()
        else:
            self.save()

    def save(self, done: tuple[int, ...] = (), reopen: tuple[int, ...] = ()) -> None:
        """Save what changed, in the background; finish or reopen slices on the way.

        Slices whose save was refused go along, as done if they were to be.
        """
        self._note_strokes()
        self._timer.stop()
        if not self.case_id or self.session.project is None:
            return
        self._finished = {*self._finished, *done} - set(reopen)
        slices = {z: self.labels[z].copy() for z in {*self._dirty, *done}}  # somebody goes on painting meanwhile
        done = tuple(self._finished & slices.keys())
        finished = {*self.done, *done} - set(reopen)
        slices = {z: self._closed(z, s, z in done) if z in finished else s for z, s in slices.items()}
        if slices or reopen:
            self._dirty.clear()
            known, before = self._known, {z: self._known[z].copy() for z in slices}

            def refused() -> None:
                for z, labels in slices.items():
                    if np.array_equal(known[z], labels):  # nothing later stands for it: the disk holds what it held
                        known[z] = before[z]
                        self._dirty |= {z} if known is self._known else set()  # the next save takes it along

            if said := {*done, *reopen}:  # the word, too, is in the journal until it is saved
                self.session.journal(self.case_id, {z: slices.get(z, self.labels[z]) for z in said}, done)
            self.session.save_slices(self.case_id, slices, done, reopen, before, refused)
            for z, labels in slices.items():
                self._known[z] = labels
            self.draft_changed.emit()

    def _closed(self, z: int, labels: np.ndarray, just_done: bool) -> np.ndarray:
        """Return a finished slice (y, x), background where nothing is drawn; what it left open before stays open."""
        closed = labels == NOT_ANNOTATED
        if not just_done:
            closed &= ~self._opening(z)
        return np.where(closed, np.uint8(0), labels)

    def left_open(self, z: int) -> np.ndarray:
        """Return which voxels (y, x) a slice leaves open, or did until it was reopened; of another draft none."""
        return (self.labels[z] == NOT_ANNOTATED) & self._opening(z)

    def _opening(self, z: int) -> np.ndarray:
        """Return what (y, x) a finished slice may leave open: what it left open when this window first heard of it."""
        if z in self.done:
            self._left_open.setdefault(z, self._known[z] == NOT_ANNOTATED)
        return self._left_open.get(z, np.zeros(self.labels[z].shape, bool))
