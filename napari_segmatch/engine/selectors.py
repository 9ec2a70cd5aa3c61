"""Who decides which pseudo masks may train the model: the paper's D and the simpler choices beside it.

A selector is an ``nn.Module`` that is given weak views and how the teacher sees them, and returns a
:class:`Selection`. It never sends a gradient into the segmentation network.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch
from torch import Tensor, nn

from ..config import TrainConfig
from .device import rows_that
from .discriminator import Discriminator, verdict_loss, views_of
from .losses import hard

SURE, SURE_OF_FEW = 0.95, 0.75
"""From this probability on a pixel is sure; the second below five labelled patients, who make a model seldom sure."""


@dataclass(frozen=True)
class Look:
    """How a model sees n slices.

    Attributes
    ----------
    probabilities
        (n, classes + 1, h, w); of two looks, at the slice and at its mirror image, the mean.
    first, second
        Labels (n, h, w) of either look; the same where it looked once. How far they agree says how sure it is.
    twice
        Whether there were two looks.
    sure
        From which probability on a pixel is sure.
    """

    probabilities: Tensor
    first: Tensor
    second: Tensor
    twice: bool = True
    sure: float = SURE

    @cached_property
    def labels(self) -> Tensor:
        return hard(self.probabilities)

    @cached_property
    def shown(self) -> Tensor:
        """Whether anything is segmented, (n,) bool."""
        return (self.labels > 0).flatten(1).any(1)


@dataclass(frozen=True)
class Selection:
    """What a selector says of n slices.

    Attributes
    ----------
    believed
        (n, h, w): how far each pixel of the pseudo mask is believed, between 0 and 1.
    score
        (n,) between 0 and 1, for people to sort by.
    accepted
        (n,) bool: the verdict on the whole mask.
    class_scores
        (n, classes), NaN where a class is not segmented; None from selectors that judge the slice alone.
    """

    believed: Tensor
    score: Tensor
    accepted: Tensor
    class_scores: Tensor | None = None


def mask_confidence(best: Tensor, mask: Tensor) -> Tensor:
    """Mean confidence (n,) inside and outside of masks (n, h, w) bool, the smaller of both.

    ``best`` (n, h, w) is the probability of each pixel's likeliest class. Over all pixels nearly every mask has 0.99,
    for most of an image is easy background.
    """
    best, mask = best.flatten(1), mask.flatten(1).float()
    inside = mask.sum(1)
    inner = (best * mask).sum(1) / inside.clamp_min(1)
    outer = (best * (1 - mask)).sum(1) / (mask.shape[1] - inside).clamp_min(1)
    return torch.minimum(inner, outer)


def emptiness(probabilities: Tensor) -> Tensor:
    """How sure (n,) it is that nothing is there: 1 less the mean of the hundredth that looks most like a lesion."""
    doubt = (1 - probabilities[:, 0]).flatten(1)
    return 1 - doubt.topk(max(1, doubt.shape[1] // 100), 1).values.mean(1)


def balanced_confidence(look: Look) -> Tensor:
    """Mean confidence of a whole mask (n,), or how sure it is that there is nothing."""
    return torch.where(
        look.shown, mask_confidence(look.probabilities.amax(1), look.labels > 0), emptiness(look.probabilities)
    )


class NoSelector(nn.Module):
    """No pixel is believed. The score is the mean confidence, for review."""

    default_tau = 0.9

    def __init__(self, tau: float | None = None) -> None:
        super().__init__()
        self.given_tau, self.tau = tau, self.default_tau if tau is None else tau

    def forward(self, images: Tensor, look: Look) -> Selection:
        score = balanced_confidence(look)
        accepted = score >= self.tau
        return Selection(self.believed(look, accepted), score, accepted)

    def believed(self, look: Look, accepted: Tensor) -> Tensor:
        return torch.zeros_like(look.probabilities[:, 0])


class Identity(NoSelector):
    """Every pixel of every pseudo mask is believed: plain consistency."""

    def believed(self, look: Look, accepted: Tensor) -> Tensor:
        return torch.ones_like(look.probabilities[:, 0])


class MeanConfidence(NoSelector):
    """Whole masks whose mean confidence passes tau: FixMatch for segmentation."""

    def believed(self, look: Look, accepted: Tensor) -> Tensor:
        return accepted.float()[:, None, None].expand_as(look.probabilities[:, 0])


class ConfidenceMap(NoSelector):
    """Single pixels that pass tau, or that are sure if there is none."""

    default_tau = SURE

    def believed(self, look: Look, accepted: Tensor) -> Tensor:
        return sure_ones(look, self.given_tau)


class DiscriminatorSelector(nn.Module):
    """Whole masks that a CNN, given image *and* hard mask, passes at tau: SegMatch as the paper has it.

    Class by class: the pixels of a class whose mask is not accepted are not believed, and the background is where
    everything segmented is accepted. Whether a class that is *not* there should be cannot be asked without naming it.
    """

    def __init__(self, tau: float, channels: int, classes: int) -> None:
        super().__init__()
        self.tau, self.classes = tau, classes
        self.critics = nn.ModuleList([Discriminator(channels)])

    @torch.no_grad()
    def forward(self, images: Tensor, look: Look) -> Selection:
        asked = self.class_chances(images, look)
        chances = torch.where(asked.isnan(), 1.0, asked)
        score = chances.amin(1)
        return Selection(self.believed(chances, look), score, score > self.threshold, asked[:, 1:])

    @property
    def threshold(self) -> Tensor | float:
        """Above which score a mask is accepted."""
        return self.tau

    def believed(self, chances: Tensor, look: Look) -> Tensor:
        """Return how far each pixel is believed (n, h, w), from the chances (n, classes + 1) of the masks."""
        return gated(chances, look, "hard", self.threshold)

    def class_chances(self, images: Tensor, look: Look) -> Tensor:
        """Return the chance that everything segmented is right and that each class is, (n, classes + 1).

        NaN where a class is not segmented.
        """
        chances = torch.full((len(images), self.classes + 1), torch.nan, device=images.device)
        chances[:, 0] = self.mask_chance(images, look.labels > 0, look, 0)
        if self.classes == 1:
            chances[:, 1] = torch.where(look.shown, chances[:, 0], torch.nan)
            return chances
        for label in range(1, self.classes + 1):
            mask = look.labels == label
            there = mask.flatten(1).any(1)
            rows = rows_that(there)
            if len(rows):
                asked = self.mask_chance(images[rows], mask[rows], rows_of(look, rows), label)
                chances[rows, label] = torch.where(there[rows], asked, torch.nan)
        return chances

    def mask_chance(self, images: Tensor, masks: Tensor, look: Look, label: int) -> Tensor:
        return torch.sigmoid(self.opinion(images, masks))

    def opinion(self, images: Tensor, masks: Tensor, critics: Iterable[nn.Module] | None = None) -> Tensor:
        """Return the mean logit (n,) of the critics, or of some of them, on binary masks."""
        views, asked = views_of(images, masks), self.critics if critics is None else critics
        return torch.stack([cast(Discriminator, critic).judge(views) for critic in asked]).float().mean(0)

    def lesson_loss(self, images: Tensor, masks: Tensor, targets: Tensor, folds: Tensor) -> Tensor:
        """Return the loss on binary masks (n, h, w) that people have judged; targets (n,)."""
        return verdict_loss(self.critics[0](images, masks), targets, torch.ones_like(targets))


def gated(chances: Tensor, look: Look, gate: str, tau: Tensor | float) -> Tensor:
    """Return how far each pixel is believed (n, h, w), from the chances (n, classes + 1) that whole masks are good.

    Parameters
    ----------
    gate
        ``soft`` or ``hard``: a mask is believed by its chance, or as yes and no at ``tau``. With ``-and-sure`` only its
        sure pixels are; with ``-or-sure`` sure pixels are in any case.
    """
    kind, _, sureness = gate.partition("-")
    of_masks = (chances > tau).float() if kind == "hard" else chances
    believed = of_masks.gather(1, look.labels.flatten(1).long()).view_as(look.labels)
    sure = sure_ones(look)
    return {"": believed, "and-sure": believed * sure, "or-sure": torch.maximum(believed, sure)}[sureness]


def sure_ones(look: Look, tau: float | None = None) -> Tensor:
    """Mark the pixels of which the teacher is sure, or as sure as ``tau``, (n, h, w) of 0 and 1."""
    return (look.probabilities.amax(1) >= (look.sure if tau is None else tau)).float()


def rows_of(look: Look, rows: Tensor) -> Look:
    """Return how some of the slices are seen: (n,) bool, or their numbers."""
    return Look(look.probabilities[rows], look.first[rows], look.second[rows], look.twice, look.sure)


_SIMPLE: dict[str, type[NoSelector]] = {
    "none": NoSelector,
    "identity": Identity,
    "identity-soft": NoSelector,
    "mean-confidence": MeanConfidence,
    "confidence-map": ConfidenceMap,
}


def build_selector(config: TrainConfig, channels: int, classes: int) -> nn.Module:
    """Build the selector that a configuration names."""
    if config.selector == "discriminator":
        from .judge import Judge

        if config.objective == "equation-1":
            return DiscriminatorSelector(0.5 if config.tau is None else config.tau, channels, classes)
        return Judge(config, channels, classes)
    return _SIMPLE[config.selector](config.tau)
