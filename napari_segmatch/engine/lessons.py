"""What people's decisions on proposals teach the discriminator."""

from __future__ import annotations

from collections import Counter
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
        (m, size, size) bool: all that each segments.
    targets
        (m,) float: 1 where all of that is good, else 0.
    each_good
        (m,) bool: whether each class that it shows is good as well.
    margins
        (m,): see :meth:`Judge.margin`; NaN where the word is not to move the chances.
    weights
        (m,): for how many independent masks each counts; those of one case resemble each other.
    """

    rows: Tensor
    masks: Tensor
    targets: Tensor
    each_good: Tensor
    margins: Tensor
    weights: Tensor

    @property
    def words(self) -> int:
        """How many of them move the chances."""
        return int((~self.margins.isnan()).sum())

    def said(self, half: float) -> Judged:
        """Return the proposals that have a margin.

        ``half`` is the evidence of a mask that is expected to be good with even chance, of the model as it is now.
        """
        known = ~self.margins.isnan()
        return Judged(self.margins[known] + half, self.each_good[known], self.weights[known])


Lesson = tuple[Reviewed, int, Tensor, bool, bool]
"""A decision, its slice's row, the mask, whether that is good, and whether each class is as well."""


class LessonBook:
    """Turns decisions into pairs of image and mask whose quality a person has told. Each mask is read once."""

    def __init__(self, pool: Pool, classes: int) -> None:
        self._pool, self._classes = pool, classes
        self._proposals: dict[int, Tensor] = {}
        self._quality: dict[int, tuple[int, tuple[bool, bool]]] = {}

    def read(self, data: ResidentPool) -> tuple[Lessons | None, list[str]]:
        """Return the lessons of a pool as it is now, None if there are none, and what went wrong."""
        told: list[Lesson] = []
        problems = []
        labelled = set(data.labelled.tolist())
        for item in data.snapshot.reviewed:
            if item.region.case not in data.frames or item.verdict == "deferred":
                continue
            row = data.row(item.region)
            if item.verdict != "rejected" and row not in labelled:
                continue  # the slice was reopened: nobody knows what the proposal's Dice would be
            try:
                labels = self._labels(item, data)
            except SegmatchError as error:
                problems.append(f"A decision teaches nothing: {error}")
                continue
            quality = self._known_quality(item, row, labels, data) if row in labelled else (False, False)
            told.append((item, row, labels > 0, *quality))
        return (_lessons(told, data.device) if told else None), problems

    def _labels(self, item: Reviewed, data: ResidentPool) -> Tensor:
        """Return a judged proposal, (size, size) uint8."""
        if item.proposal not in self._proposals:
            labels = torch.from_numpy(self._pool.proposal_mask(item.proposal))[None]
            small = data.frames[item.region.case].shrink_labels(labels, self._classes)[0]
            self._proposals[item.proposal] = torch.where(small == NOT_ANNOTATED, 0, small).to(data.device)
        return self._proposals[item.proposal]

    def _known_quality(self, item: Reviewed, row: int, labels: Tensor, data: ResidentPool) -> tuple[bool, bool]:
        """Hold a proposal against its slice's label; once for each version of the case's mask."""
        version = data.snapshot.masks.get(item.region.case, 0)
        before = self._quality.get(item.proposal)
        if before is None or before[0] != version:
            before = version, quality_of(labels, data.labels_of(torch.tensor([row]))[0], self._classes)
            self._quality[item.proposal] = before
        return before[1]


def quality_of(proposal: Tensor, truth: Tensor, classes: int) -> tuple[bool, bool]:
    """Say of labels (size, size) whether all that they show is good, and whether each of their classes is as well."""
    shown = [label for label in range(1, classes + 1) if bool((proposal == label).any())]
    masks = torch.stack([proposal > 0, *(proposal == label for label in shown)])
    truths = torch.stack([(truth > 0) & (truth != NOT_ANNOTATED), *(truth == label for label in shown)])
    good = dice_of(masks, truths) >= GOOD
    return bool(good[0]), bool(good.all())


def _lessons(told: list[Lesson], device: torch.device) -> Lessons:
    items, rows, masks, targets, each_good = zip(*told, strict=True)
    of_case = Counter(item.region.case for item in items if item.margin is not None)
    return Lessons(
        torch.tensor(rows),
        torch.stack(masks),
        torch.tensor(targets, device=device).float(),
        torch.tensor(each_good),
        torch.tensor([torch.nan if item.margin is None else item.margin for item in items]),
        torch.tensor([weight_of(of_case[item.region.case], 1) for item in items]),
    )
