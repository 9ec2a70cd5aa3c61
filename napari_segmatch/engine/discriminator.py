"""The discriminator: a CNN that is given an image and a mask and says whether the mask fits the image.

It is class-agnostic: it sees the binary mask of one class at a time and never which class it is. It sees hard
masks only, people's and predicted ones alike, shrunk by the same path: a soft mask would give away that it
was predicted. Two objectives share the network:

``equation-1``
    The paper's equation 1 as binary cross-entropy: people's masks 1, predictions on unlabelled images 0.
``quality``
    Is the Dice with the truth at least 0.8? Learnt where the truth is known: people's masks, predictions on
    labelled slices, and people's masks moved, grown, shrunk, swapped or emptied. Accepted and rejected
    proposals are lessons too.
"""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..types import NOT_ANNOTATED
from .geometry import affine, warp

SIDE = 96
"""The discriminator looks at slices of this side at most."""

GOOD = 0.8
"""Dice from which a mask counts as good."""


class Discriminator(nn.Module):
    """Five strided convolutions, pooled over the image and over the mask; about 0.4 M parameters."""

    def __init__(self, channels: int, width: int = 24) -> None:
        super().__init__()
        widths = [channels + 1, width, 2 * width, 4 * width, 6 * width]
        blocks: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            blocks += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(8, after), nn.LeakyReLU(0.2, inplace=True)]
        self.features = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.Linear(3 * widths[-1], 64), nn.LeakyReLU(0.2, inplace=True), nn.Linear(64, 1))

    def forward(self, images: Tensor, masks: Tensor) -> Tensor:
        """Return logits (n,) for images (n, c, h, w) and binary masks (n, h, w)."""
        both = torch.cat([images, masks[:, None].to(images.dtype) * 2 - 1], 1)
        if both.shape[-1] > SIDE:
            both = F.interpolate(both, (SIDE, SIDE), mode="area")
        maps = self.features(both)
        part = F.adaptive_avg_pool2d((both[:, -1:] + 1) / 2, maps.shape[2:])
        under = (maps * part).sum((2, 3)) / part.sum((2, 3)).clamp_min(1e-3)
        return self.head(torch.cat([maps.mean((2, 3)), maps.amax((2, 3)), under], 1))[:, 0]

    @torch.no_grad()
    def score(self, images: Tensor, labels: Tensor, classes: int) -> Tensor:
        """Return the chance (n,) that a mask is good; of several classes, that of the worst one."""
        each = [torch.sigmoid(self(images, labels == label)) for label in range(1, classes + 1)]
        return torch.stack(each).amin(0)


def dice_of(masks: Tensor, truth: Tensor) -> Tensor:
    """Dice (n,) of binary masks (n, h, w); two empty masks agree fully."""
    masks, truth = masks.float().flatten(1), truth.float().flatten(1)
    total = masks.sum(1) + truth.sum(1)
    return torch.where(total > 0, 2 * (masks * truth).sum(1) / total.clamp_min(1), torch.ones_like(total))


def one_class(labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Choose a class for each slice and return its binary masks and the choices, (n, h, w) bool and (n,)."""
    chosen = torch.randint(1, classes + 1, (len(labels),), generator=generator).to(labels.device)
    return labels == chosen[:, None, None], chosen


def equation_1_loss(
    network: Discriminator, images: Tensor, masks: Tensor, unlabelled: Tensor, predicted: Tensor
) -> Tensor:
    """Equation 1 as cross-entropy: -log D(x_l, y_l) - log(1 - D(x_u, M(x_u))).

    The text minimises log(1 - D(x_l, y_l)) + log D(x_u, M(x_u)), which has the same optimum for each term and
    no lower bound.
    """
    real, fake = network(images, masks), network(unlabelled, predicted)
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def quality_pairs(truth: Tensor, predicted: Tensor, generator: torch.Generator) -> Tensor:
    """Make masks of every quality from true ones (n, h, w) bool: returns (k, n, h, w) bool.

    In order: the truth, the prediction, the truth moved and deformed, the truth grown or shrunk, another
    slice's truth, nothing.
    """
    n = len(truth)
    drawn = torch.rand(n, 6, generator=generator) * 2 - 1
    moved = affine(
        angle=drawn[:, 0] * math.radians(40),
        scale=1 + 0.35 * drawn[:, 1],
        shear=0.3 * drawn[:, 2:4],
        move=0.16 * drawn[:, 4:6],
    )
    deformed = warp(truth.float()[:, None], moved, padding="zeros")[:, 0] > 0.5
    radius = int(torch.randint(1, 6, (1,), generator=generator))
    grows = torch.rand(n, generator=generator).to(truth.device) < 0.5
    grown = _grow(truth, radius)
    shrunk = ~_grow(~truth, radius)
    other = truth.roll(1, 0)
    return torch.stack(
        [truth, predicted, deformed, torch.where(grows[:, None, None], grown, shrunk), other, torch.zeros_like(truth)]
    )


def _grow(mask: Tensor, radius: int) -> Tensor:
    return F.max_pool2d(mask.float()[:, None], 2 * radius + 1, 1, radius)[:, 0] > 0.5


def quality_loss(network: Discriminator, images: Tensor, truth: Tensor, candidates: Tensor) -> Tensor:
    """Cross-entropy of "Dice is at least 0.8" over candidate masks (k, n, h, w) for n images."""
    k = len(candidates)
    masks = candidates.flatten(0, 1)
    quality = dice_of(masks, truth.repeat(k, 1, 1))
    target = (quality >= GOOD).float() * 0.95 + 0.025
    return F.binary_cross_entropy_with_logits(network(images.repeat(k, 1, 1, 1), masks), target)


def annotated(labels: Tensor) -> Tensor:
    """Mark slices (n,) of labels (n, h, w) that are judged for the most part: they can teach the discriminator."""
    return (labels != NOT_ANNOTATED).flatten(1).float().mean(1) > 0.5
