"""Painting by rule: what lies between two slices, what a neighbour has, another shape of what is there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..texts import count
from .desk import Desk
from .keys import ANNOTATE, shown
from .shapes import SHAPES, reshape
from .slices import fill_gaps


class Filling:
    """Paints on the case on the desk, each time as one step for undo.

    Parameters
    ----------
    say
        Shows a sentence beside the buttons.
    """

    def __init__(self, desk: Desk, say: Callable[[str], None]) -> None:
        self.desk, self._say = desk, say
        self._preview: dict[int, np.ndarray] = {}
        self._asked = False  # whether what the slice on the screen leaves open is to be background
        desk.slice_changed.connect(self._ask_anew)

    def forget(self) -> None:
        """Another case is on the desk: there is no preview any more."""
        self._preview = {}
        self._ask_anew()

    def _ask_anew(self) -> None:
        self._asked = False

    def may_finish(self) -> bool:
        """Whether the slice on the screen may be finished now; if it is, and leaves voxels open, the second time."""
        if not self.on_a_slice():
            return False
        left_open = int(self.desk.left_open(self.desk.z).sum())
        if left_open and not self._asked:
            self._asked = True
            voxels, on = count(left_open, "voxel"), shown(ANNOTATE, "worth_a_look")
            self._say(f"Not annotated here: {voxels}, in pale violet. The same again makes that background; "
                      f"{on} goes on and leaves it so.")  # fmt: skip
            return False
        return True

    def on_a_slice(self) -> bool:
        """Whether the person sees the slice that would be changed, and may change it; says what is in the way."""
        seen = self.desk.count > 0 and self.desk.layers.on_a_slice
        if self.desk.count and not seen:
            self._say("Another plane, 3D, or no slice of this case is on the screen. Turn back to the slices first.")
        return seen and not self.desk.session.refuses()

    def interpolate(self) -> None:
        """Show what would be painted between painted slices; the second time, paint it."""
        if self.desk.count and self.desk.session.refuses():
            return
        if self._preview:
            done = self.desk.done
            self.desk.write({z: labels for z, labels in self._preview.items() if z not in done})
            self.drop_preview()
            return
        filled = fill_gaps(self.desk.labels, self.desk.z, self.desk.done) if self.desk.count else {}
        if not filled:
            self._say("Paint two slices with a gap between them first: the slices in the gap get filled.")
            return
        self._preview = filled
        self.desk.layers.show_proposal(
            {self.desk.shown(z): self.desk.flip.to_view(labels) for z, labels in filled.items()}
        )
        key = shown(ANNOTATE, "interpolate")
        self._say(f"{count(len(filled), 'slice')} would be filled as outlined: {key} once more paints them.")

    def drop_preview(self) -> None:
        """Whatever else happens takes the preview away, and the question."""
        self._ask_anew()
        if self._preview:
            self._preview = {}
            self._say("")
            self.desk.show_proposal(None)

    def reshape(self, name: str) -> None:
        """Smooth, clean, grow or shrink the chosen class on this slice."""
        if self.on_a_slice():
            z = self.desk.z
            fresh = reshape(self.desk.labels[z], self.desk.layers.chosen_class, SHAPES[name][1])
            self.desk.write({z: fresh})

    def copy_from(self, by: int) -> None:
        """Copy the mask of the neighbour as it follows on the screen."""
        if not self.on_a_slice():
            return
        there = self.desk.shown(self.desk.z) + by
        if 0 <= there < self.desk.count:
            self.desk.write({self.desk.z: self.desk.labels[self.desk.from_shown(there)].copy()})
