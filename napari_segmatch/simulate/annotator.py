"""The simulated annotator: knows the true masks, acts as people do in the window, and counts the seconds.

What an action costs is an assumption (:class:`Costs`), not a measurement, and a robot is a kinder user than any person.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion, distance_transform_edt, gaussian_filter, label

from ..project import Project
from ..types import NOT_ANNOTATED, Proposal, Region


@dataclass(frozen=True)
class Costs:
    """Seconds for each action of a person. Assumed."""

    look: float = 2.0
    another_case: float = 3.0
    """The case was not on the screen before: it opens, and the eye finds its way."""
    accept: float = 1.0
    reject: float = 1.0
    component: float = 3.0
    corrected_pixels_a_second: float = 25.0
    redraw: float = 8.0
    drawn_pixels_a_second: float = 15.0
    empty: float = 2.0
    too_long: float = 20.0
    """A correction that takes longer is not begun: the proposal is rejected."""


def edge(inside: np.ndarray) -> np.ndarray:
    """Return the outermost pixels of a mask (y, x)."""
    return inside & ~binary_erosion(inside)


def drawing_seconds(truth: np.ndarray, costs: Costs) -> float:
    """Return how long a mask takes from nothing; an empty one is one key."""
    if not truth.any():
        return costs.empty
    return costs.redraw * label(truth)[1] + edge(truth).sum() / costs.drawn_pixels_a_second


def correcting_seconds(proposal: np.ndarray, truth: np.ndarray, costs: Costs) -> float:
    """Return how long it takes to make a proposal right: pieces to remove or to add, and edge to move."""
    false = _pieces_without(proposal, truth)
    missing = _pieces_without(truth, proposal)
    moved = edge(truth) & ~binary_dilation(edge(proposal))
    mended = costs.component * (false + missing) + moved.sum() / costs.corrected_pixels_a_second
    return min(mended, drawing_seconds(truth, costs))


def _pieces_without(one: np.ndarray, other: np.ndarray) -> int:
    pieces, n = label(one)
    return n - len(set(np.unique(pieces[other & one])) - {0})


def dice(one: np.ndarray, other: np.ndarray) -> float:
    total = one.sum() + other.sum()
    return 1.0 if not total else float(2 * (one & other).sum() / total)


@dataclass
class Annotator:
    """Knows the truth, draws it with an unsteady hand, and counts the seconds.

    Parameters
    ----------
    truths
        Labels (z, y, x) by case.
    jitter
        Standard deviation of a drawn edge from the true one, in pixels.
    mistaken
        Share of proposals that are accepted although they are not good enough.
    """

    truths: Mapping[str, np.ndarray]
    rng: np.random.Generator
    costs: Costs = Costs()
    jitter: float = 1.0
    mistaken: float = 0.02
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("drawn", "accept", "correct", "reject"), 0))
    here: str = ""

    def look_at(self, region: Region) -> None:
        """Bring a slice on the screen."""
        self.seconds += self.costs.look + (self.costs.another_case if region.case != self.here else 0.0)
        self.here = region.case

    def truth(self, region: Region) -> np.ndarray:
        return self.truths[region.case][region.z]

    def drawn(self, region: Region) -> np.ndarray:
        """Return a slice's labels as this hand draws them."""
        truth = self.truth(region)
        result = np.zeros_like(truth)
        for value in np.unique(truth[_shows(truth)]):
            inside = truth == value
            depth = distance_transform_edt(inside) - distance_transform_edt(~inside)
            wave = gaussian_filter(self.rng.normal(size=truth.shape), 4)
            result[depth + self.jitter * wave / wave.std() > 0] = value
        result[truth == NOT_ANNOTATED] = NOT_ANNOTATED
        return result

    def knows(self, region: Region) -> bool:
        """Whether anything of a slice is annotated: of others there is nothing to draw, nor to judge by."""
        return bool((self.truth(region) != NOT_ANNOTATED).any())

    def draw(self, project: Project, region: Region) -> None:
        """Label a slice from nothing."""
        self.look_at(region)
        self.seconds += drawing_seconds(_shows(self.truth(region)), self.costs)
        self.counts["drawn"] += 1
        labels = project.mask(region.case)
        labels[region.z] = self.drawn(region)
        project.save_mask(region.case, labels, done=[region.z])

    def judge(self, project: Project, item: Proposal, may_reject: bool) -> None:
        """Accept what is good enough to this person's eye, else correct it, or reject what would take too long."""
        truth = self.truth(item.region)
        proposal = np.where(truth == NOT_ANNOTATED, np.uint8(0), project.proposal_mask(item))
        classes = sorted({*np.unique(proposal[_shows(proposal)]), *np.unique(truth[_shows(truth)])})
        likeness = min((dice(proposal == label, truth == label) for label in classes), default=1.0)
        good = likeness >= self.rng.uniform(0.78, 0.88)
        self.look_at(item.region)
        if good or self.rng.random() < self.mistaken:
            self.seconds += self.costs.accept
            self.counts["accept"] += 1
            project.decide(item, "accepted")
            return
        cost = sum(correcting_seconds(proposal == label, truth == label, self.costs) for label in classes)
        if may_reject and cost > self.costs.too_long:
            self.seconds += self.costs.reject
            self.counts["reject"] += 1
            project.decide(item, "rejected")
            return
        self.seconds += cost + self.costs.accept
        self.counts["correct"] += 1
        project.decide(item, "corrected", self.drawn(item.region))


def _shows(labels: np.ndarray) -> np.ndarray:
    return (labels > 0) & (labels != NOT_ANNOTATED)
