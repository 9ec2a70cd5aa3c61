"""Small questions about the slices of one case: which are painted, which comes next, what lies between two."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise

import numpy as np
from scipy.ndimage import distance_transform_edt

from ..ranking import VISIT
from ..types import NOT_ANNOTATED, Case
from .keys import ANNOTATE, shown


def in_structure(labels: np.ndarray) -> np.ndarray:
    """Return for each voxel, of labels of any shape, whether it belongs to a class."""
    return (labels > 0) & (labels != NOT_ANNOTATED)


def painted(labels: np.ndarray) -> np.ndarray:
    """Return for each slice of (z, y, x) whether something is painted on it."""
    return np.asarray(in_structure(labels).any(axis=(1, 2)))


def sizes(labels: np.ndarray) -> np.ndarray:
    """Return how many voxels of each class each slice of (z, y, x) has, (z, 256) by label."""
    found = np.zeros((len(labels), 256), np.int64)
    for count, slice_ in zip(found, labels, strict=True):
        shown = slice_[in_structure(slice_)]  # few voxels, as a rule: counting all of them takes four times as long
        if shown.size:
            count[:] = np.bincount(shown, minlength=256)
    return found


def state_of(labels: np.ndarray, done: bool) -> str:
    """Return in words how far a slice (y, x) is."""
    if done:
        return "done, pale violet is not annotated" if (labels == NOT_ANNOTATED).any() else "done"
    return "draft, not done yet" if in_structure(labels).any() else "not annotated"


def between(low: np.ndarray, high: np.ndarray, share: float) -> np.ndarray:
    """Blend two label slices by shape: where the blend of signed distances is positive, there is structure.

    Parameters
    ----------
    low, high
        Labels (y, x); 0 and 255 count as background.
    share
        0 gives ``low``, 1 gives ``high``.
    """
    best = np.zeros(low.shape)
    result = np.zeros(low.shape, np.uint8)
    for label in sorted(({*np.unique(low)} | {*np.unique(high)}) - {0, NOT_ANNOTATED}):
        depth = (1 - share) * _depth(low == label) + share * _depth(high == label)
        inside = depth > best
        result[inside], best[inside] = label, depth[inside]
    return result


def _depth(inside: np.ndarray) -> np.ndarray:
    """Signed distance to the edge in pixels: positive inside. A structure that is absent is far away."""
    if not inside.any():
        return np.full(inside.shape, -float(max(inside.shape)))
    return distance_transform_edt(inside) - distance_transform_edt(~inside)


def fill_gaps(labels: np.ndarray, z: int, done: Collection[int]) -> dict[int, np.ndarray]:
    """Interpolate the gap between painted slices that ``z`` lies in, or all gaps if it lies in none.

    Returns
    -------
    New labels (y, x) by slice; finished and painted slices are left alone.
    """
    drawn = [int(i) for i in np.flatnonzero(painted(labels))]
    gaps = [(a, b) for a, b in pairwise(drawn) if b - a > 1]
    here = [(a, b) for a, b in gaps if a < z < b]
    return {
        i: between(labels[a], labels[b], (i - a) / (b - a))
        for a, b in here or gaps
        for i in range(a + 1, b)
        if i not in done
    }


def worth_a_look(
    z: int, labels: np.ndarray, done: Collection[int], proposals: Mapping[int, float]
) -> tuple[int, str] | None:
    """Choose the slice to look at next, and say why; None when every slice is finished.

    Painted but unfinished slices come first, then open proposals (the unsure ones first), then neighbours of what is
    painted, then the middle of the largest stretch that nobody has looked at. That middle comes before neighbours where
    the first few slices that are finished all show a structure.

    Parameters
    ----------
    z
        The slice on the screen; it is never the answer while there is another.
    proposals
        How sure the selector is, by slice, for proposals that nobody has judged.
    """
    count = len(labels)
    open_ = [i for i in range(count) if i not in done]
    open_ = [i for i in open_ if i != z] or open_
    if not open_:
        return None
    drawn = painted(labels)
    drafts = [i for i in open_ if drawn[i]]
    if drafts:
        return _after(z, drafts, count), "painted, but not marked as done"
    offered = [i for i in open_ if i in proposals]
    if offered:
        return min(offered, key=lambda i: abs(proposals[i] - 0.5)), "a proposal waits here"
    lesions, far = np.flatnonzero(drawn), max(open_, key=lambda i: _loneliness(i, done, count))
    if 1 < len(done) < 5 and all(drawn[i] for i in done):
        return far, "far from what you painted: a slice that shows nothing teaches too"
    if lesions.size:
        near = [i for i in open_ if np.abs(lesions - i).min() == 1]
        if near:
            return min(near, key=lambda i: abs(i - z)), "next to a slice that you painted"
    return far, "far from every finished slice"


def advice(case: Case, cases: Iterable[Case], done: Collection[int], drawn: np.ndarray) -> str:
    """Say what would teach the trainer most, after so many finished slices of a case; empty if there is nothing to say.

    ``drawn`` (z,) bool says on which slices something is painted.
    """
    if case.validation:
        return "Held out for validation: its labels judge the model and never train it."
    others = [other for other in cases if other.id != case.id and not other.validation]
    if not done and not any(other.labelled for other in others):
        return "The trainer needs at least one; two or three in each of several cases are a good start."
    if not VISIT <= len(done) < len(drawn):
        return ""
    shown_on = sum(bool(drawn[z]) for z in done)
    if not shown_on:
        return "Slices that show something to segment teach most."
    if shown_on == len(done) < 2 * VISIT:
        return f"Mark one that shows nothing as well, if there is one ({shown(ANNOTATE, 'no_lesion')})."
    if not all(other.labelled for other in others):
        return f"Another case now teaches more than the rest of this one ({shown(ANNOTATE, 'suggest')})."
    return ""


def without(case: Case, sequences: Iterable[str]) -> str:
    """Say which sequences of the project a case has no image of; empty if it has all."""
    lacking = [name for name in sequences if name not in case.sequences]
    return f"; this case has no {' and no '.join(lacking)}" if lacking else ""


def _after(z: int, candidates: list[int], count: int) -> int:
    return min(candidates, key=lambda i: (i - z - 1) % count)


def _loneliness(z: int, done: Collection[int], count: int) -> float:
    """Distance to the nearest finished slice or end of the stack; the middle of the stack breaks a tie."""
    return min((abs(z - i) for i in (*done, -1, count)), default=0) - abs(z - count / 2) / count / 2
