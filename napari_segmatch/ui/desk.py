"""The case on the desk: its labels, what of them is not saved yet, and its layers. Annotate and Review share it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal
from qtpy.QtCore import QObject, Qt, QTimer
from qtpy.QtWidgets import QApplication

from ..session import Session
from ..types import NOT_ANNOTATED, Case, Proposal, Volume
from .display import Flip
from .layers import Layers
from .slices import painted
from .strokes import Strokes, touched

if TYPE_CHECKING:
    from napari.viewer import Viewer

AUTOSAVE_MS = 1000
LOOK_MS = 1000
"""How often the desk looks for changes of which napari says nothing: a stroke in progress, a script, napari's undo."""
LOOKS = 10
"""After so many looks every slice has been looked at."""
HURRY_MS = 15
"""How often the session is asked while somebody waits for a case."""


class Desk(QObject):
    """Opens a case, takes strokes, saves.

    Policy: a stroke is in the journal within a moment; it is a draft and is saved one second after the last one,
    before another case is opened and before the window closes. Only slices that changed are written, so a decision
    made meanwhile is never overwritten. Slices are numbered as stored; :attr:`shown` is the same
    number as it stands on the slider.
    """

    opened = Signal()
    """Another case is on the desk, or none."""
    opening = Signal(str)
    """This case is being read."""
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
        self.labels = np.zeros((0, 0, 0), np.uint8)
        self.strokes = Strokes(self.labels)
        self.drawn = painted(self.labels)
        self._known = self.labels.copy()  # what the disk holds, as far as this window has heard
        self.lock = False
        """Whether a stroke leaves what belongs to another class as it is."""
        self._dirty: set[int] = set()
        self._wanted = ""
        self._then: list[Any] = []
        self._timer = QTimer(self, singleShot=True, interval=AUTOSAVE_MS)
        self._timer.timeout.connect(self.save)
        self._heard: list[Any] = []
        self._soon = QTimer(self, singleShot=True, interval=0)
        self._soon.timeout.connect(self._note_strokes)
        self._looks = 0
        self._look_timer = QTimer(self, interval=LOOK_MS)
        self._look_timer.timeout.connect(self._look)
        self._look_timer.start()
        self._hurry = QTimer(self, interval=HURRY_MS)
        self._hurry.timeout.connect(session.poll)
        self._links = [
            (self.layers.painted, self._on_painted),
            (self.layers.restored, self._on_restored),
            (session.mask_saved, self._on_saved),
            (session.project_changed, self.clear),
            (session.asides_changed, self._on_asides),
            (session.colours_changed, lambda: self.layers.recolour(session.colours)),
            (viewer.dims.events.current_step, self._on_step),
        ]
        for signal, slot in self._links:
            signal.connect(slot)

    def close(self) -> None:
        """Save what is not saved and let go of everything; a case that is still being read is not shown any more."""
        self._hurry.stop()
        self._look_timer.stop()
        self._wanted = ""
        self.save()
        for signal, slot in self._links:
            signal.disconnect(slot)
        self._links = []
        self.layers.close()

    # opening ---------------------------------------------------------------------------------------------

    @property
    def case(self) -> Case | None:
        """What is known of the case on the desk."""
        return next((case for case in self.session.cases if case.id == self.case_id), None)

    def open(self, case: str, z: int | None = None, then: Any = None) -> None:
        """Open a case and go to a slice; ``then()`` is called once it is on the screen.

        Only the last wish counts: a case that arrives after another was asked for is dropped.
        """
        if case == self.case_id and not self._wanted:
            self.z = self.z if z is None else z
            if then is not None:
                then()
            return
        self.save()
        self._then = [z, then]
        if case == self._wanted:
            return
        self._wanted = case
        self._hurry.start()
        self.opening.emit(case)
        self.session.load_case(case, lambda volume, labels: self._show(case, volume, labels))

    def _show(self, case: str, volume: Volume, labels: np.ndarray) -> None:
        if case != self._wanted:
            return
        self._wanted = ""
        self._hurry.stop()
        (z, then), self._then = self._then, [None, None]
        known = self.session.case(case)
        self.case_id, self.flip = case, Flip.of(volume.geometry)
        self.labels, self.strokes, self.drawn = labels, Strokes(labels), painted(labels)
        self._known = labels.copy()
        self._dirty.clear()
        project = self.session.project
        names, classes = (project.sequences, project.classes) if project is not None else ((), ("",))
        self.layers.show(volume, names, known.sequences, self.flip, labels, classes, self.session.colours)
        if self.layers.mask is not None:
            self.layers.mask.editable = project is None or not project.readonly
        self.z = self._first_slice(known) if z is None else z
        self.opened.emit()
        self.labels_changed.emit()
        self.draft_changed.emit()
        if then is not None:
            then()

    def _first_slice(self, case: Case) -> int:
        """Start in the middle: the ends of a stack are empty."""
        return case.shape[0] // 2

    def clear(self) -> None:
        """Empty the desk. What is unsaved must have been saved before."""
        self._timer.stop()
        self._hurry.stop()
        self._heard.clear()
        self._wanted, self.case_id = "", ""
        self.labels = np.zeros((0, 0, 0), np.uint8)
        self.strokes = Strokes(self.labels)
        self.drawn = painted(self.labels)
        self._known = self.labels.copy()
        self._dirty.clear()
        self.layers.clear()
        self.opened.emit()
        self.labels_changed.emit()
        self.draft_changed.emit()

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

    def step(self, by: int) -> None:
        """Go by so many slices as they follow on the screen."""
        self.z = self.from_shown(int(np.clip(self.shown(self.z) + by, 0, self.count - 1)))

    def _on_step(self) -> None:
        if self.count:
            self.session.remember_place(self.case_id, self.z)
            self.slice_changed.emit()

    # editing ---------------------------------------------------------------------------------------------

    @property
    def done(self) -> tuple[int, ...]:
        """Slices that somebody finished."""
        return self.case.labelled if self.case is not None else ()

    @property
    def dirty(self) -> bool:
        return bool(self._dirty)

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
        heard, self._heard = self._heard, []
        for slices in heard:
            if self.lock and self.strokes.protect(slices, self.layers.chosen_class):
                self.layers.refresh_mask()
            self._changed(self.strokes.note(slices))

    def _look(self) -> None:
        """Compare the slice on the screen, and a tenth of the others, with what is known of them."""
        if not self.count:
            return
        self._looks += 1
        slices = {self.z, *range(self._looks % LOOKS, self.count, LOOKS)}
        found = {z: self.labels[z] for z in slices if self.strokes.differs(z)}
        if not found:
            return
        if QApplication.mouseButtons() != Qt.MouseButton.NoButton:
            self.session.journal(self.case_id, found)  # the stroke is not over: no step for undo yet
        else:
            self._changed(self.strokes.note(found))

    def write(self, slices: dict[int, np.ndarray]) -> None:
        """Replace whole slices; one step for undo."""
        self._note_strokes()
        for z, labels in slices.items():
            self.labels[z] = labels
        self._changed(self.strokes.note(slices))
        self.layers.refresh_mask()

    def undo(self) -> bool:
        self._note_strokes()
        return self._replayed(self.strokes.undo())

    def redo(self) -> bool:
        self._note_strokes()
        return self._replayed(self.strokes.redo())

    def _replayed(self, slices: list[int]) -> bool:
        if slices and self.z not in slices:
            self.z = slices[0]
        self._changed(slices)
        self.layers.refresh_mask()
        return bool(slices)

    def _changed(self, slices: list[int]) -> None:
        if slices:
            self.drawn[slices] = painted(self.labels[slices])
            self._dirty.update(slices)
            self._timer.start()
            self.session.journal(self.case_id, {z: self.labels[z] for z in slices})
            self.session.remember_place(self.case_id, self.z)
            self.edited.emit()
            self.labels_changed.emit()
            self.draft_changed.emit()

    def forget(self, z: int) -> None:
        """Do not save what was painted on a slice: somebody else takes care of it."""
        self._dirty.discard(z)
        self.draft_changed.emit()

    def put(self, z: int, labels: np.ndarray) -> None:
        """Show a slice as somebody else has saved it; not a step of this person's hand."""
        self.strokes.accept(z, labels)
        self._known[z] = labels
        self.drawn[[z]] = painted(self.labels[[z]])
        self._dirty.discard(z)
        self.layers.refresh_mask()
        self.labels_changed.emit()
        self.draft_changed.emit()

    # saving ----------------------------------------------------------------------------------------------

    def save(self, done: tuple[int, ...] = (), reopen: tuple[int, ...] = ()) -> None:
        """Save what changed, in the background; finish or reopen slices on the way."""
        self._note_strokes()
        self._timer.stop()
        if not self.case_id or self.session.project is None:
            return
        for z in done:
            self.labels[z][self.labels[z] == NOT_ANNOTATED] = 0
            self.strokes.accept(z, self.labels[z])
        finished = {*self.done, *done} - set(reopen)
        slices = {z: self.labels[z] for z in {*self._dirty, *done}}
        slices = {z: np.where((s == NOT_ANNOTATED) & (z in finished), np.uint8(0), s) for z, s in slices.items()}
        if slices or reopen:
            self._dirty.clear()
            self.session.save_slices(self.case_id, slices, done, reopen, {z: self._known[z] for z in slices})
            for z, labels in slices.items():
                self._known[z] = labels
            self.draft_changed.emit()

    def _on_saved(self, case: str) -> None:
        if case == self.case_id:
            self.labels_changed.emit()
            self.draft_changed.emit()

    def _on_asides(self) -> None:
        """Show the slices about which somebody has to choose as the mask has them."""
        for item in self.session.asides:
            if item.case == self.case_id:
                self.refetch(item.slices)

    def refetch(self, slices: Sequence[int]) -> None:
        """Read some slices again once every save under way is done."""
        case = self.case_id

        def arrived(_: Volume, labels: np.ndarray) -> None:
            if case == self.case_id:
                for z in set(slices) - self._dirty:
                    self.put(z, labels[z])

        self.session.load_case(case, arrived)

    # proposals -------------------------------------------------------------------------------------------

    def show_proposal(self, proposal: Proposal | None, labels: np.ndarray | None = None) -> None:
        """Draw a proposal's mask (y, x, as stored) over its slice, or none."""
        if proposal is None or labels is None or proposal.case != self.case_id:
            self.layers.show_proposal(None, None)
        else:
            self.show_labels(proposal.z, labels)

    def show_labels(self, z: int, labels: np.ndarray) -> None:
        """Draw labels (y, x, as stored) over a slice."""
        self.layers.show_proposal(self.shown(z), self.flip.to_view(labels))

    def _on_restored(self, name: str) -> None:
        self.session.message.emit(f"The layer {name} belongs to SegMatch and is back; hide it with its eye.", False)
