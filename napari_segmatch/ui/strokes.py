"""Undo and redo for one case's mask. Steps outlive a change of slice, and cover what buttons do as well."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from ..types import NOT_ANNOTATED

STEPS = 200


@dataclass(frozen=True, eq=False)
class Change:
    """One slice (y, x) before and after a step, and whether that step marked it as done."""

    z: int
    before: np.ndarray
    after: np.ndarray
    finished: bool = False


class Strokes:
    """Watches an array that others paint into; :meth:`note` records what changed since it was last called.

    Attributes
    ----------
    finished
        Slices that the step which was undone or made again last had marked as done.
    """

    def __init__(self, labels: np.ndarray) -> None:
        self.labels = labels
        self._seen = labels.copy()
        self._undo: deque[list[Change]] = deque(maxlen=STEPS)
        self._redo: list[list[Change]] = []
        self.finished: list[int] = []

    def note(self, slices: Iterable[int] | None = None, finished: Collection[int] = ()) -> list[int]:
        """Record changes as one step and return its slices; None looks at all of them.

        ``finished`` are those of them that it marks as done: they belong to the step even if nothing is painted.
        """
        candidates = range(len(self.labels)) if slices is None else sorted(set(slices))
        changes = [
            Change(z, self._seen[z].copy(), self.labels[z].copy(), z in finished)
            for z in candidates
            if z in finished or self.differs(z)
        ]
        for change in changes:
            self._seen[change.z] = change.after
        if changes:
            self._undo.append(changes)
            self._redo.clear()
        return [change.z for change in changes]

    def differs(self, z: int) -> bool:
        """Whether a slice holds something that no step has recorded: a stroke that is being drawn, or a script's."""
        return not np.array_equal(self._seen[z], self.labels[z])

    def steps(self, z: int) -> list[Change]:
        """Return what has been done to a slice and not undone, the oldest first."""
        return [change for changes in self._undo for change in changes if change.z == z]

    @property
    def last(self) -> list[Change] | None:
        """The step that undo would take back."""
        return self._undo[-1] if self._undo else None

    def protect(self, slices: Iterable[int] | None, label: int) -> bool:
        """Give voxels back to classes other than ``label`` that a stroke has taken; returns whether any was."""
        taken = False
        for z in range(len(self.labels)) if slices is None else slices:
            before, now = self._seen[z], self.labels[z]
            others = (before != now) & (before != 0) & (before != NOT_ANNOTATED) & (before != label)
            if others.any():
                now[others] = before[others]
                taken = True
        return taken

    def accept(self, z: int, slice_: np.ndarray) -> None:
        """Take over a slice that was changed elsewhere; this person's steps on it led to what is gone, and go too."""
        self._set(z, slice_)
        for steps in (self._undo, self._redo):
            left = [[change for change in step if change.z != z] for step in steps]
            steps.clear()
            steps.extend(step for step in left if step)

    def _set(self, z: int, slice_: np.ndarray) -> None:
        self.labels[z] = slice_
        self._seen[z] = slice_

    def undo(self) -> list[int]:
        """Take back the last step and return its slices."""
        return self._replay(self._undo, self._redo, "before")

    def redo(self) -> list[int]:
        return self._replay(self._redo, self._undo, "after")

    def _replay(self, source: deque | list, target: deque | list, state: str) -> list[int]:
        changes = source.pop() if source else []
        if changes:
            target.append(changes)
        for change in changes:
            self._set(change.z, getattr(change, state))
        self.finished = [change.z for change in changes if change.finished]
        return [change.z for change in changes]

    @property
    def can_undo(self) -> bool:
        return bool(self._undo)

    @property
    def can_redo(self) -> bool:
        return bool(self._redo)


def touched(atoms: Iterable[object]) -> list[int] | None:
    """Return the slices that napari's paint event speaks of; None when it speaks another language.

    An atom is either an object with a ``slice_key`` (brush, fill, polygon) or a tuple (indices, old, new).
    """
    slices: set[int] = set()
    try:
        for atom in atoms:
            key = atom.slice_key if hasattr(atom, "slice_key") else atom[0]  # type: ignore[index]
            first = key[0]
            if isinstance(first, slice):
                if first.start is None or first.stop is None:
                    return None
                slices.update(range(first.start, first.stop))
            else:
                slices.update(int(z) for z in np.unique(first))
    except (TypeError, IndexError, AttributeError, ValueError):
        return None
    return sorted(slices)
