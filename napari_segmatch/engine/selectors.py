"""Who decides which pseudo masks may train the model: the paper's D and the simpler choices beside it.

A selector is an ``nn.Module`` that is given weak views and the teacher's probabilities on them, and returns a
:class:`Selection`. It never sends a gradient into the segmentation network.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..config import TrainConfig
from .discriminator import Discriminator
from .losses import hard


@dataclass(frozen=True)
class Selection:
    """What a selector says of n slices.

    Attributes
    ----------
    weight
        (n, h, w): how much each pixel of the pseudo mask counts in the consistency loss.
    score
        (n,) between 0 and 1, for people to sort by.
    accepted
        (n,) bool: the verdict on the whole mask.
    """

    weight: Tensor
    score: Tensor
    accepted: Tensor


def balanced_confidence(probabilities: Tensor) -> Tensor:
    """Mean confidence of a mask (n,), the smaller of foreground and background.

    Over all pixels nearly every mask has 0.99, for most of an image is easy background. Where nothing is
    segmented, the hundredth of the pixels that look most like a lesion stands for the foreground.
    """
    best, foreground = probabilities.amax(1), hard(probabilities) > 0
    doubt = (1 - probabilities[:, 0]).flatten(1)
    top = doubt.topk(max(1, doubt.shape[1] // 100), 1).values.mean(1)
    count = foreground.flatten(1).sum(1)
    inner = (best * foreground).flatten(1).sum(1) / count.clamp_min(1)
    outer = (best * ~foreground).flatten(1).sum(1) / (~foreground).flatten(1).sum(1).clamp_min(1)
    return torch.where(count > 0, torch.minimum(inner, outer), 1 - top)


class NoSelector(nn.Module):
    """Supervised only: no pseudo mask trains. The score is the mean confidence, for review."""

    default_tau = 0.9

    def __init__(self, tau: float) -> None:
        super().__init__()
        self.tau = tau

    def forward(self, images: Tensor, probabilities: Tensor) -> Selection:
        score = balanced_confidence(probabilities)
        return Selection(torch.zeros_like(probabilities[:, 0]), score, score >= self.tau)


class Identity(NoSelector):
    """Every pixel of every pseudo mask trains: plain consistency."""

    def forward(self, images: Tensor, probabilities: Tensor) -> Selection:
        score = balanced_confidence(probabilities)
        return Selection(torch.ones_like(probabilities[:, 0]), score, score >= self.tau)


class MeanConfidence(NoSelector):
    """Whole masks whose mean confidence passes tau: FixMatch for segmentation."""

    def forward(self, images: Tensor, probabilities: Tensor) -> Selection:
        score = balanced_confidence(probabilities)
        accepted = score >= self.tau
        return Selection(accepted.float()[:, None, None].expand_as(probabilities[:, 0]), score, accepted)


class ConfidenceMap(NoSelector):
    """Single pixels that pass tau."""

    default_tau = 0.95

    def forward(self, images: Tensor, probabilities: Tensor) -> Selection:
        score = balanced_confidence(probabilities)
        return Selection((probabilities.amax(1) >= self.tau).float(), score, score >= self.tau)


class DiscriminatorSelector(nn.Module):
    """Whole masks that a CNN, given image *and* hard mask, passes at tau: SegMatch."""

    default_tau = 0.5

    def __init__(self, tau: float, pixel_tau: float, channels: int, classes: int) -> None:
        super().__init__()
        self.tau, self.pixel_tau = tau, pixel_tau
        self.network = Discriminator(channels)
        self.classes = classes

    @torch.no_grad()
    def forward(self, images: Tensor, probabilities: Tensor) -> Selection:
        score = self.network.score(images, hard(probabilities), self.classes)
        accepted = score > self.tau
        sure = (probabilities.amax(1) >= self.pixel_tau).float()
        return Selection(accepted.float()[:, None, None] * sure, score, accepted)


_SIMPLE: dict[str, type[NoSelector]] = {
    "none": NoSelector,
    "identity": Identity,
    "mean-confidence": MeanConfidence,
    "confidence-map": ConfidenceMap,
}


def build_selector(config: TrainConfig, channels: int, classes: int) -> nn.Module:
    """Build the selector that a configuration names."""
    if config.selector == "discriminator":
        tau = DiscriminatorSelector.default_tau if config.tau is None else config.tau
        return DiscriminatorSelector(tau, config.pixel_tau, channels, classes)
    simple = _SIMPLE[config.selector]
    return simple(simple.default_tau if config.tau is None else config.tau)
