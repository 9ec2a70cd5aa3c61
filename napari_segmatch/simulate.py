"""A simulated annotator: how many seconds of a person's work a Dice costs, by three ways of working.

The annotator knows the true masks and acts on a real project while a real run trains on it, as people do in the
window: at every round of proposals they work for a number of seconds, and the trainer takes up what they did. What an
action costs is an assumption (:class:`Costs`), not a measurement, and a robot is a kinder user than any person.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion, distance_transform_edt, gaussian_filter, label

from .config import TrainConfig
from .errors import ConfigError
from .events import Evaluated, Failed, Proposed
from .io import FoundCase, read_truth
from .project import Project
from .ranking import Choice, Pace, labelled_in, select
from .runner import training
from .types import NOT_ANNOTATED, Proposal, Region

ALL = 10_000
"""More slices than any pool here holds."""


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


# ways of working -----------------------------------------------------------------------------------------


def _scratch(project: Project, annotator: Annotator) -> Iterator[None]:
    free = [
        Region(case.id, z)
        for case in project.cases
        if not case.validation
        for z in range(case.shape[0])
        if z not in case.labelled and annotator.knows(Region(case.id, z))
    ]
    for index in annotator.rng.permutation(len(free)):
        annotator.draw(project, free[index])
        yield


def _correct(project: Project, annotator: Annotator) -> Iterator[None]:
    items = [item for item in project.proposals(undecided=True) if annotator.knows(item.region)]
    for index in annotator.rng.permutation(len(items)):
        annotator.judge(project, items[index], may_reject=False)
        yield


def _queue(project: Project, annotator: Annotator) -> Iterator[None]:
    for item in select(project.proposals(), Choice(), Pace(), labelled_in(project.cases)):
        if annotator.knows(item.region):
            annotator.judge(project, item, may_reject=True)
            yield


STRATEGIES: dict[str, Callable[[Project, Annotator], Iterator[None]]] = {
    "scratch": _scratch, "correct": _correct, "queue": _queue, "full": lambda *_: iter(()),
}  # fmt: skip
"""Draw random slices from nothing; correct the prediction on random slices; the review queue; everything labelled."""


def work(project: Project, annotator: Annotator, strategy: str, budget: float) -> None:
    """Let the annotator work for ``budget`` seconds; what has been begun is finished."""
    until = annotator.seconds + budget
    for _ in itertools.takewhile(lambda _: annotator.seconds < until, STRATEGIES[strategy](project, annotator)):
        pass


# the experiment ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setup:
    """Who is in the pool, who is unseen, who is labelled at the start."""

    pool: Sequence[FoundCase]
    unseen: Sequence[FoundCase]
    start: Sequence[str]


def divide(found: Sequence[FoundCase], pool: int, unseen: int, start: int, seed: int) -> Setup:
    """Draw unseen cases, then a pool, and in it those that are labelled at the start; only cases with masks."""
    usable = [item for item in found if item.mask is not None]
    if len(usable) < unseen + pool or not 1 <= start < pool or unseen < 1:
        raise ConfigError(
            f"{len(usable)} cases with masks were found; {unseen} unseen and a pool of {pool} of which {start} are "
            "labelled need as many, at least one of each, and some of the pool without labels."
        )
    order = np.random.default_rng(seed).permutation(len(usable))
    chosen = [usable[index] for index in order]
    members = chosen[unseen : unseen + pool]
    return Setup(members, chosen[:unseen], [item.id for item in members[:start]])


def make_project(
    folder: Path, setup: Setup, classes: Sequence[str], sequences: Sequence[str], everything: bool
) -> None:
    """Make the project of one experiment; unseen cases are its validation cases, which never train."""
    with Project.create(folder, classes, sequences) as project:
        for item in (*setup.pool, *setup.unseen):
            held_out, choices = item in setup.unseen, item.choices or None
            labelled: Literal["all", "none"] = "all" if everything or held_out or item.id in setup.start else "none"
            project.add_case(item.id, item.images, item.mask, labelled, validation=held_out, choices=choices)


def simulate(
    folder: Path, setup: Setup, strategy: str, config: TrainConfig, budget: float, lead: int, classes: Sequence[str],
    sequences: Sequence[str],
) -> Iterator[dict[str, object]]:  # fmt: skip
    """Run one way of working; yields a row at every look at the unseen cases.

    Parameters
    ----------
    folder
        A new folder for the project.
    config
        Of the run; its seed is the annotator's too. Every slice of the pool is proposed to ways of working that look
        at proposals, so that a random order is random.
    budget
        Seconds of work at each round of proposals.
    lead
        Steps of training before the first round.
    """
    config = config.replace(proposals=ALL if strategy in ("correct", "queue") else 0)
    make_project(folder, setup, classes, sequences, everything=strategy == "full")
    with Project.open(folder) as project:
        truths = {
            item.id: read_truth(item.mask, project.case(item.id).geometry, classes, item.choices).labels
            for item in setup.pool if item.mask is not None
        }  # fmt: skip
        annotator = Annotator(truths, np.random.default_rng(config.seed))
        run = project.new_run(config)
        for event in training(folder, run.id):
            if isinstance(event, Failed):
                raise ConfigError(event.message)
            if isinstance(event, Evaluated):
                yield _row(strategy, event, annotator, project)
            elif isinstance(event, Proposed) and lead <= event.step < config.steps:
                work(project, annotator, strategy, budget)


def _row(strategy: str, event: Evaluated, annotator: Annotator, project: Project) -> dict[str, object]:
    labelled = sum(len(case.labelled) for case in project.cases if not case.validation)
    return {
        "strategy": strategy, "step": event.step, "seconds": round(annotator.seconds, 1),
        "dice": round(float(np.mean(list(event.cases.values()))), 4), "labelled_slices": labelled, **annotator.counts,
    }  # fmt: skip


def seconds_to_reach(rows: Sequence[Mapping[str, object]], wanted: float) -> float | None:
    """Return the seconds after which Dice first was ``wanted`` and, between two looks, on the straight line."""
    before = None
    for row in rows:
        seconds, found = float(str(row["seconds"])), float(str(row["dice"]))
        if found >= wanted:
            if before is None:
                return seconds
            share = (wanted - before[1]) / (found - before[1])
            return round(before[0] + share * (seconds - before[0]), 1)
        before = seconds, found
    return None
