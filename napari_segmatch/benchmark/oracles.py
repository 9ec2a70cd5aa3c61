"""SegMatch that is told the truth of unlabelled slices: bounds for what any discriminator could give."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..config import TrainConfig
from ..engine.discriminator import GOOD, dice_of
from ..engine.geometry import identity, warp
from ..engine.learner import Labelled, Learner
from ..engine.losses import one_hot
from ..engine.selectors import Look, Selection, gated
from ..engine.step import Outcome, Selector, Teacher, Views, algorithm_1
from ..types import NOT_ANNOTATED

Unlabelled = tuple[Tensor, Views] | None


class Oracle(Learner):
    """Its discriminator knows whether a whole mask's Dice is at least 0.8."""

    truth: Tensor
    """Labels (rows, size, size) of the whole pool; only a benchmark has them."""

    def truth_seen(self, unlabelled: Unlabelled) -> Tensor:
        """Return the labels (n, h, w) of the unlabelled slices of this step in their weak views."""
        frames = unlabelled[1].weak if unlabelled else identity(len(self.drawn))
        return warp(self.truth[self.drawn, None].float(), frames, mode="nearest")[:, 0].long()

    def outcome(self, labelled: Labelled, unlabelled: Unlabelled) -> Outcome:
        def select(images: Tensor, look: Look) -> Selection:
            truth = self.truth_seen(unlabelled)
            known = truth != NOT_ANNOTATED
            score = dice_of((look.labels > 0) & known, (truth > 0) & known)
            good = score >= GOOD
            chances = good.float()[:, None].expand(-1, self.classes + 1)
            return Selection(gated(chances, look, self.config.gate, GOOD), score, good)

        return self.losses(self.look, select, labelled, unlabelled)

    def losses(self, look: Teacher, select: Selector, labelled: Labelled, unlabelled: Unlabelled) -> Outcome:
        """Compute the losses of a step with another teacher or selector."""
        config = self.config
        return algorithm_1(
            self.student, look, select, self.policy, labelled, unlabelled, config.labelled_strong, config.dice,
            blend=self.softly,
        )  # fmt: skip


class PixelOracle(Oracle):
    """Its pseudo masks are soft, and their probabilities hold.

    Of all pixels to which the teacher gives about the same probability of a class, a pixel trains towards the share
    that *is* of the class. Where that is in the image it is not told.
    """

    BINS = 24
    SPAN = 9.3
    """Bins are even in the logit, between minus and plus this much."""
    KEPT = 0.99
    """How much of what was counted stays at each step."""
    TRUSTED = 20.0
    """For so many pixels in each bin the teacher's own probability counts."""

    def __init__(self, config: TrainConfig, channels: int, classes: int) -> None:
        super().__init__(config, channels, classes)
        middle = (torch.arange(self.BINS, device=self.device) + 0.5) / self.BINS * 2 - 1
        self.own = torch.sigmoid(self.SPAN * middle).repeat(classes + 1)
        self.met, self.right = torch.zeros_like(self.own), torch.zeros_like(self.own)

    def outcome(self, labelled: Labelled, unlabelled: Unlabelled) -> Outcome:
        def look(images: Tensor) -> Look:
            seen = self.look(images)
            return replace(seen, probabilities=self.held(seen.probabilities, self.truth_seen(unlabelled)))

        return self.losses(look, self.select, labelled, unlabelled)

    def held(self, probabilities: Tensor, truth: Tensor) -> Tensor:
        """Return what probabilities (n, k, h, w) have been worth until now, this truth (n, h, w) included."""
        k = probabilities.shape[1]
        level = (torch.logit(probabilities.float(), eps=1e-4) / self.SPAN + 1) / 2 * self.BINS
        place = level.long().clamp(0, self.BINS - 1) + self.BINS * torch.arange(k, device=level.device).view(1, k, 1, 1)
        known = (truth != NOT_ANNOTATED)[:, None].expand_as(place).float()
        self.met = self.KEPT * self.met + torch.bincount(place.flatten(), known.flatten(), len(self.own))
        hits = one_hot(truth, k).flatten()
        self.right = self.KEPT * self.right + torch.bincount(place.flatten(), hits, len(self.own))
        worth = ((self.right + self.TRUSTED * self.own) / (self.met + self.TRUSTED))[place].float()
        return worth / worth.sum(1, keepdim=True)
