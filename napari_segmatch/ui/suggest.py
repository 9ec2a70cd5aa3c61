"""Which case to open next, and why."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..errors import SegmatchError
from ..io import first_present
from ..ranking import Pace, gain_in, labelled_in
from ..session import Session
from ..types import Case, Proposal, Region

FIRST, COMPARED = 6, 40
"""So many cases are chosen to differ from each other, out of so many, before the model's doubts decide."""


def features(pixels: np.ndarray, side: int = 8) -> np.ndarray:
    """Describe a volume (channel, z, y, x) by the grey values of three slices, each shrunk to ``side`` squared."""
    first = first_present(pixels)
    found = []
    for share in (0.35, 0.5, 0.65):
        image = first[int(share * (len(first) - 1))]
        rows = np.array_split(image, side)
        small = np.array([[part.mean() for part in np.array_split(row, side, 1)] for row in rows])
        found.append((small - small.mean()) / (small.std() + 1e-6))
    return np.concatenate(found).ravel()


def most_different(known: Mapping[str, np.ndarray], taken: Sequence[str], free: Sequence[str]) -> str | None:
    """Return the free case that is farthest from every case that is taken (farthest-first traversal)."""
    free = [case for case in free if case in known]
    if not free:
        return None
    taken = [case for case in taken if case in known]
    if not taken:
        middle = np.mean([known[case] for case in free], 0)
        return min(free, key=lambda case: float(np.linalg.norm(known[case] - middle)))
    return max(free, key=lambda case: min(float(np.linalg.norm(known[case] - known[other])) for other in taken))


def next_case(
    cases: Sequence[Case], proposals: Sequence[Proposal], known: Mapping[str, np.ndarray], here: str, pace: Pace
) -> tuple[str, str] | None:
    """Return a case and the reason in words; None when every case has its labels.

    Parameters
    ----------
    known
        Features of the cases that have been read.
    here
        The case on the screen, which is never the answer.
    """
    usable = [case for case in cases if case.problem is None and not case.validation and case.id != here]
    free = [case.id for case in usable if len(case.labelled) < case.shape[0]]
    taken = [case.id for case in cases if case.labelled and not case.validation] + ([here] if here else [])
    waiting = gain_in(proposals, pace, labelled_in(cases))
    if len(set(taken)) >= FIRST or not known:
        unsure = max((case for case in free if case in waiting), key=lambda case: waiting[case], default=None)
        if unsure is not None:
            return unsure, "the model has the most to learn here"
    untouched = [case.id for case in usable if not case.labelled]
    different = most_different(known, taken, untouched)
    if different is not None:
        return different, "it looks least like the cases that you have labelled"
    return (free[0], "it is not finished yet") if free else None


class Suggester:
    """Reads cases in the session's reading thread as long as they have to be compared, and keeps what it saw."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._known: dict[str, np.ndarray] = {}
        self._chance = np.random.default_rng()

    def forget(self) -> None:
        """Another project is open."""
        self._known.clear()

    def forget_case(self, case: str) -> None:
        """A case has other images."""
        self._known.pop(case, None)

    def at_random(self) -> Region | None:
        """Draw one of all unfinished slices of cases that may train; None if there is none."""
        free = [
            Region(case.id, z)
            for case in self.session.cases
            if case.problem is None and not case.validation
            for z in sorted({*range(case.shape[0])} - {*case.labelled})
        ]
        return free[self._chance.integers(len(free))] if free else None

    def ask(self, here: str, then: Callable[[tuple[str, str] | None], None]) -> None:
        """Choose a case other than ``here``; ``then`` gets it and the reason, at once or from ``poll``."""
        cases = [case for case in self.session.cases if case.problem is None and not case.validation]
        unread = [case.id for case in cases if case.id not in self._known][:COMPARED]

        def look() -> dict[str, np.ndarray]:
            found = {}
            for id in unread:
                with contextlib.suppress(SegmatchError):
                    found[id] = features(self.session.volume(id).pixels)
            return found

        def choose(found: dict[str, np.ndarray]) -> None:
            self._known.update(found)
            session = self.session
            then(next_case(session.cases, session.proposals, self._known, here, session.pace))

        if unread and sum(bool(case.labelled) for case in cases) < FIRST:
            self.session.read(look, choose)
        else:
            choose({})
