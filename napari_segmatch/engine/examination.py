"""What the quality critic is examined on: masks that nothing of it has learnt from, and what is true of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .answers import Answers, Held
from .calibration import OWN_WORTH
from .data import ResidentPool
from .device import at_once
from .evidence import evidence, look_with
from .selectors import Look, rows_of

if TYPE_CHECKING:
    from .judge import Judge

COMPARED = 64
"""Unlabelled slices on which teacher and understudies are compared in one examination."""


class Examination:
    """What a judge meets in one examination, and what it says of that.

    Parameters
    ----------
    teacher
        Whose masks the judge will be asked about.
    mirror
        Whether a slice is looked at twice.
    """

    def __init__(
        self, judge: Judge, pool: ResidentPool, teacher: nn.Module, mirror: bool, generator: torch.Generator
    ) -> None:
        self._judge, self._pool, self._teacher, self._mirror = judge, pool, teacher, mirror
        self._generator, self._together = generator, at_once(pool.device, mirror)
        self._his = self._teacher_looks()

    def of_teacher(self, held: Held | None) -> Answers:
        """Let the teacher and both critics judge slices of validation cases."""
        classes = self._judge.classes
        if held is None:
            return Answers(classes, 0)
        met = Answers(classes, held.patients, OWN_WORTH * classes)
        for part, labels in zip(held.images.split(self._together), held.labels.split(self._together), strict=True):
            images, truth = part.to(self._pool.device), labels.to(self._pool.device)
            met.ask(images, truth, self._look(self._teacher, images), self._judge.opinion)
        return met

    def of_understudies(self, most: int) -> Answers:
        """Let understudy and critic of a fold judge slices of the other fold, at most so many of both."""
        pool, judge = self._pool, self._judge
        met = Answers(judge.classes, pool.patients_labelled)
        for fold in (0, 1):
            rows = pool.labelled[pool.folds[pool.labelled] == 1 - fold]
            rows = rows[torch.randperm(len(rows), generator=self._generator)[: most // 2]]
            lead = self._lead(fold) if len(rows) else 0.0
            opinion = partial(judge.opinion, critics=[judge.critics[fold]])
            for part in rows.split(self._together) if len(rows) else ():
                images = pool.slices(part)
                met.ask(images, pool.labels_of(part), self._look(judge.understudies[fold], images), opinion, lead)
        return met

    def for_teacher(self) -> list[Tensor]:
        """Return what speaks for the teacher's masks of unlabelled slices, a few of them at a time."""
        return [self._evidence(images, look).cpu() for images, look in self._his]

    def _teacher_looks(self) -> list[tuple[Tensor, Look]]:
        """Return unlabelled slices on which the teacher sees something, and how he sees them."""
        pool = self._pool
        rows = pool.unlabelled[torch.randperm(len(pool.unlabelled), generator=self._generator)[:COMPARED]]
        looks = []
        for part in rows.split(self._together) if len(rows) else ():
            images = pool.slices(part)
            his = self._look(self._teacher, images)
            if his.shown.any():
                looks.append((images[his.shown], rows_of(his, his.shown)))
        return looks

    def _lead(self, fold: int) -> float:
        """Return by how much more speaks for the teacher's masks than for an understudy's, on unlabelled slices.

        He is surer of all that he does. What an understudy's masks have for them counts as so much more.
        """
        understudy, critic = self._judge.understudies[fold], self._judge.critics[fold]
        gaps = [torch.zeros(0)]
        for images, his in self._his:
            theirs = self._look(understudy, images)
            both = theirs.shown
            if both.any():
                gap = self._evidence(images[both], rows_of(his, both))
                gaps.append((gap - self._evidence(images[both], rows_of(theirs, both), [critic])).cpu())
        gap = torch.cat(gaps)
        return float(gap.mean()) if len(gap) >= 8 else 0.0

    def _look(self, network: nn.Module, images: Tensor) -> Look:
        return look_with(network, images, self._mirror)

    def _evidence(self, images: Tensor, look: Look, critics: Sequence[nn.Module] | None = None) -> Tensor:
        """Return what speaks for all that is segmented, (n,), with the opinion of some critics or of all."""
        masks = look.labels > 0
        return evidence(self._judge.opinion(images, masks, critics), masks, look, 0)
