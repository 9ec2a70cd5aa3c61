"""What happens in a review: one proposal on the screen, a verdict, the next one. No widgets in here."""

from __future__ import annotations

import time

import numpy as np

from ..types import NOT_ANNOTATED, HumanVerdict, Proposal
from .showing import Showing
from .slices import in_structure
from .strokes import Change


class Reviewer(Showing):
    """Judges the proposals of a list that somebody else sorts.

    Nobody can accept what is not on the screen yet. A correction is painted on *your mask* and saved as a draft
    like any other stroke; it becomes a label when it is saved as a correction, and is undone when it is cancelled.
    """

    _copied: list[Change] | None = None
    """The step before the first stroke of a correction."""
    _stroke_undone: int | None = None
    """On which proposal a stroke was undone last, not a decision."""
    _was_done = False
    """Whether the slice was finished when its correction began."""

    # deciding --------------------------------------------------------------------------------------------

    def accept(self) -> None:
        item = self._seen()
        if item is None:
            return
        self.desk.save()
        preview = self.thumbnails.preview(item)
        labels = preview.labels if preview is not None else None
        if self._painted_over(item) is not None:
            self.hint.emit("You painted on this slice: C corrects the proposal with it, Ctrl+Z undoes it.")
        elif (self._draft(item) & (self.desk.labels[item.z] != labels)).any():
            self.hint.emit("You painted on this slice before: C corrects the proposal with it.")
        else:
            self._decide("accepted", labels)

    def _draft(self, item: Proposal) -> np.ndarray:
        """Return where (y, x) the person has painted on the slice, as far as it is not done."""
        return in_structure(self.desk.labels[item.z]) & (not self._is_done(item))

    def _is_done(self, item: Proposal) -> bool:
        return item.z in self.desk.done or item.decision in ("accepted", "corrected")

    def _painted_over(self, item: Proposal) -> np.ndarray | None:
        """Return the slice as it was when the proposal came, if the person has painted on it since."""
        known = self._begun.get(item.id, [])
        later = [step for step in self.desk.strokes.steps(item.z) if step not in known]
        if self.desk.case_id != item.case or not later:
            return None
        return None if np.array_equal(later[0].before, self.desk.labels[item.z]) else later[0].before

    def reject(self, reason: str | None = None) -> None:
        if self._seen() is not None:
            self._decide("rejected", reason=reason)

    def defer(self) -> None:
        if self._seen() is not None:
            self._decide("deferred")

    def _seen(self) -> Proposal | None:
        """Return what somebody can judge now; says what is in the way: nobody may, or it is not on the screen."""
        item = self.current
        if item is None or self.correcting or self.session.refuses():
            return None
        if not self.on_screen:
            self._awaited = True
            self.hint.emit("This proposal is not on the screen: wait for it, or skip it (J).")
            return None
        return item

    def enter(self) -> None:
        """Accept, or save the correction that is under way."""
        if self.correcting:
            self._save_correction()
        else:
            self.accept()

    def _decide(self, verdict: HumanVerdict, labels: np.ndarray | None = None, reason: str | None = None) -> None:
        """Record a verdict and go on; ``labels`` is what the slice's label becomes."""
        item = self.current
        if item is None:
            return
        if item.decision is not None and item.decision == verdict and verdict != "corrected":
            self.go(1)
            return
        following = self._following(item)
        known = labels
        if self.desk.case_id == item.case and labels is not None:
            known = self.desk.put(item.z, labels)
        mask = labels if verdict == "corrected" else None
        seconds = round(time.monotonic() - self._since, 1)
        if following is not None:
            self.show(following)
        else:
            self.current = None
            self.desk.show_proposal(None)

        def refused() -> None:
            if mask is None or known is None:
                self._refetch([item])
            else:  # what a person drew is no label, but theirs: a draft, or beside what somebody else has saved
                self.session.save_slices(item.case, {item.z: mask}, before={item.z: known})

        self.session.decide(item, verdict, mask, seconds, reason, refused)
        if labels is None and item.decision in ("accepted", "corrected"):
            self._refetch([item])  # what it had brought in is out again
        self.moved.emit()

    def decide_all(self, items: list[Proposal], seconds: float) -> None:
        """Accept what somebody has looked at on a contact sheet; one step for undo."""
        if not items or self.correcting:
            return
        self.desk.save()
        chosen = {item.id for item in items}
        if self.current is not None and self.current.id in chosen:
            listed = self.items()
            below = listed[self._place(self.current) + 1 :]
            self.current = below.first_open(chosen) or listed.first_open(chosen)
        self.session.decide_all(items, "accepted", seconds)
        self._refetch(items)
        if self.current is not None:
            self.show(self.current)
        else:
            self.desk.show_proposal(None)
        self.moved.emit()

    def _following(self, item: Proposal) -> Proposal | None:
        """Return the next open proposal: under the same heading, else in the list; at the end of each, from its top."""
        for items in (self.group_of(item.id), self.items()):
            here = items.place_of(item.id)
            found = items[here + 1 :].first_open() or items[: max(0, here)].first_open()
            if found is not None:
                return found
        return None

    # correcting ------------------------------------------------------------------------------------------

    def correct(self) -> None:
        """Copy the proposal into *your mask*, below what was painted on it already; it stays there as an outline."""
        item = self._seen()
        preview = self.thumbnails.preview(item) if item is not None else None
        if item is None or preview is None:
            return
        self.desk.z = item.z
        self.desk.save()
        mine, own = self.desk.labels[item.z].copy(), self._draft(item)
        shown = self._painted_over(item)
        if shown is not None:
            own |= mine != shown
        self._before, self.correcting, self._was_done = mine, True, self._is_done(item)
        self.hint.emit("")
        self.desk.write({item.z: np.where(own, mine, preview.labels)})
        self._copied = self.desk.strokes.last
        self.desk.layers.set_mode("paint")
        self.mode_changed.emit()

    def cancel_correction(self) -> None:
        """Put the slice back as it was before."""
        if self.correcting and self.current is not None and self._before is not None:
            self.desk.write({self.current.z: self._before})
            self._leave_correction()

    def leave(self) -> None:
        """Somebody goes elsewhere: the desk is theirs, and what they painted for a correction stays, as a draft."""
        if self.active:
            self.active = False
            self.desk.stay()
        if self.correcting:
            self._leave_correction()
            self.session.message.emit("The correction is not finished; what you painted is kept as a draft.", False)

    def refresh(self) -> None:
        """Take the current proposal anew; a correction ends if its slice is finished elsewhere or its case is gone."""
        item = self.current
        super().refresh()
        if not self.correcting or item is None:
            return
        case = self.session.known(item.case)
        if case is None or (item.z in case.labelled and not self._was_done):
            self._leave_correction()
            self.desk.save()
            what = "The slice was finished" if case is not None else f"{item.case} was taken out of the project"
            words = f"{what} elsewhere meanwhile: your correction has ended, and what you painted is kept."
            self.session.message.emit(words, False)

    def _save_correction(self) -> None:
        if words := self.desk.layers.call_brush_back():
            self.session.message.emit(words, True)
        elif self.current is not None:
            labels = self.desk.labels[self.current.z]
            self._leave_correction()
            self._decide("corrected", np.where(labels == NOT_ANNOTATED, np.uint8(0), labels))

    def _leave_correction(self) -> None:
        self.correcting, self._before = False, None
        self.hint.emit("")
        self.desk.layers.set_mode("pan_zoom")
        self.mode_changed.emit()

    # taking back -----------------------------------------------------------------------------------------

    def take_back(self) -> None:
        """Take back the last decision, or all of one contact sheet, and go there."""
        if not self.correcting:
            self.session.undo(self._went_back)

    def _went_back(self, items: list[Proposal]) -> None:
        self._refetch(items)
        if items and not self.correcting:
            self.show(items[0])

    def _refetch(self, items: list[Proposal]) -> None:
        """Show on the desk what the disk will say of these slices."""
        mine = [item.z for item in items if item.case == self.desk.case_id]
        if mine:
            self.desk.refetch(mine)

    def undo(self) -> None:
        """Undo a stroke; before the first one of a correction this, and without any stroke the last decision."""
        self.desk.save()
        if self.correcting and self.desk.strokes.last is self._copied:
            self.cancel_correction()
        elif self.correcting or (self.current is not None and self._painted_over(self.current) is not None):
            self._stroke_undone = self._current_id
            self.hint.emit("")
            self.desk.undo()
        else:
            self._stroke_undone = None
            self.take_back()

    @property
    def _current_id(self) -> int | None:
        return None if self.current is None else self.current.id

    def redo(self) -> None:
        """Redo a stroke, or say again what was taken back last."""
        if self.correcting or (self._stroke_undone is not None and self._stroke_undone == self._current_id):
            self.desk.redo()
        else:
            self.session.redo(self._went_on)

    def _went_on(self, items: list[Proposal]) -> None:
        self._refetch(items)
        if items and not self.correcting and self.current is not None and self.current.id in {i.id for i in items}:
            following = self._following(self.current)
            if following is not None:
                self.show(following)
