"""What people's decisions on proposals teach the discriminator."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import SegmatchError
from ..types import NOT_ANNOTATED, Pool, Reviewed
from .calibration import Judged, weight_of
from .discriminator import GOOD, dice_of

if TYPE_CHECKING:
    from .data import ResidentPool


@dataclass(frozen=True)
class Lessons:
    """Proposals that people have judged.

    Attributes
    ----------
    rows
        (m,): their slices in the pool.
    masks
        m labels (size, size): what each segments. Few of many are drawn: see :meth:`drawn`.
    targets
        (m,) float: 1 where all of that is good, else 0.
    good
        (m, classes) bool: which of its classes are.
    margins
        (m, classes): see :meth:`Judge.margin`; NaN where a class is not there, or the word is not to move the chances.
    weights
        (m, classes): for how many independent masks each counts; those of a class in one case resemble each other.
    """

    rows: Tensor
    masks: Sequence[Tensor]
    targets: Tensor
    good: Tensor
    margins: Tensor
    weights: Tensor

    @property
    def words(self) -> int:
        """How many proposals' decisions move the chances."""
        return int((~self.margins.isnan()).any(1).sum())

    def drawn(self, taken: Tensor) -> Tensor:
        """Return all that some of them segment, (n, size, size) bool."""
        return torch.stack([self.masks[index] for index in taken.tolist()]) > 0

    def said(self, half: float) -> Judged:
        """Return the masks that have a margin.

        ``half`` is the evidence of a mask that is expected to be good with even chance, of the model as it is now.
        """
        known = ~self.margins.isnan()
        return Judged(self.margins[known] + half, self.good[known], self.weights[known])


@dataclass(frozen=True)
class Lesson:
    """A decision, its slice's row, the labels (size, size), whether all of that is good, and which classes are."""

    item: Reviewed
    row: int
    labels: Tensor
    all_good: bool
    good: tuple[bool, ...]

    @property
    def margins(self) -> list[float]:
        """NaN for None. Of several classes nobody knows which one was wrong, if the word is all there is."""
        margins = [math.nan if margin is None else margin for margin in self.item.margins]
        known = sum(margin == margin for margin in margins)
        return margins if known < 2 or self.good else [math.nan] * len(margins)


class LessonBook:
    """Turns decisions into pairs of image and mask whose quality a person has told. Each mask is read once."""

    def __init__(self, pool: Pool, classes: int) -> None:
        self._pool, self._classes = pool, classes
        self._proposals: dict[int, Tensor] = {}
        self._unread: set[int] = set()
        self._quality: dict[int, tuple[int, tuple[bool, ...]]] = {}

    def read(self, data: ResidentPool) -> tuple[Lessons | None, list[str]]:
        """Return the lessons of a pool as it is now, None if there are none, and what went wrong."""
        told: list[Lesson] = []
        problems: list[SegmatchError] = []
        labelled = set(data.labelled.tolist())
        for item in data.snapshot.reviewed:
            if item.region.case not in data.frames or item.verdict == "deferred" or item.proposal in self._unread:
                continue
            row = data.row(item.region)
            if item.verdict != "rejected" and row not in labelled:
                continue  # the slice was reopened: nobody knows what the proposal's Dice would be
            try:
                labels = self._labels(item, data)
            except SegmatchError as error:
                self._unread.add(item.proposal)
                problems.append(error)
                continue
            good = self._quality_of(item, row, labels, data) if row in labelled else ()
            told.append(Lesson(item, row, labels, bool(good) and good[0], good[1:]))
        return (_lessons(told, self._classes, data.device) if told else None), _told_of(problems)

    def _labels(self, item: Reviewed, data: ResidentPool) -> Tensor:
        """Return a judged proposal, (size, size) uint8, in the processor's memory: there may be thousands."""
        if item.proposal not in self._proposals:
            labels = torch.from_numpy(self._pool.proposal_mask(item.proposal))[None]
            small = data.frames[item.region.case].shrink_labels(labels, self._classes)[0]
            self._proposals[item.proposal] = torch.where(small == NOT_ANNOTATED, 0, small)
        return self._proposals[item.proposal]

    def _quality_of(self, item: Reviewed, row: int, labels: Tensor, data: ResidentPool) -> tuple[bool, ...]:
        """Hold a proposal against its slice's label; once for each version of the case's mask."""
        version = data.snapshot.masks.get(item.region.case, 0)
        before = self._quality.get(item.proposal)
        if before is None or before[0] != version:
            truth = data.labels_of(torch.tensor([row]))[0]
            before = version, quality_of(labels.to(truth.device), truth, self._classes)
            self._quality[item.proposal] = before
        return before[1]


def _told_of(problems: Sequence[SegmatchError]) -> list[str]:
    """Say in one sentence that decisions teach nothing, however many they are."""
    if len(problems) > 1:
        return [f"{len(problems)} decisions teach nothing. The first of them: {problems[0]}"]
    return [f"A decision teaches nothing: {error}" for error in problems]


def quality_of(proposal: Tensor, truth: Tensor, classes: int) -> tuple[bool, ...]:
    """Say of labels (size, size) whether all that they show is good, and whether each class is, where it was judged."""
    judged, labels = truth != NOT_ANNOTATED, range(1, classes + 1)
    masks = torch.stack([proposal > 0, *(proposal == label for label in labels)]) & judged
    truths = [(truth > 0) & judged, *(truth == label for label in labels)]
    return tuple((dice_of(masks, torch.stack(truths)) >= GOOD).tolist())


def _lessons(told: list[Lesson], classes: int, device: torch.device) -> Lessons:
    blank = [math.nan] * classes
    margins = torch.tensor([(lesson.margins + blank)[:classes] for lesson in told])  # there may be more since
    return Lessons(
        torch.tensor([lesson.row for lesson in told]),
        [lesson.labels for lesson in told],
        torch.tensor([float(lesson.all_good) for lesson in told], device=device),
        torch.tensor([lesson.good or [False] * classes for lesson in told]),
        margins,
        weights_of(margins, [lesson.item.region.case for lesson in told]),
    )


def weights_of(margins: Tensor, cases: Sequence[str]) -> Tensor:
    """Return for how many independent masks each of (m, classes) counts: a class in one case for two at most."""
    of_class = Counter((case, label) for row, case in zip(margins.tolist(), cases, strict=True)
                       for label, margin in enumerate(row) if margin == margin)  # fmt: skip
    return torch.tensor([[weight_of(of_class[case, label], 1) for label in range(margins.shape[1])] for case in cases])
