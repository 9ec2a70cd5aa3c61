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
    """Four strided convolutions, pooled over the image and over the mask; about 0.2 M parameters."""

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
        both = _reduced(torch.cat([images, masks[:, None].to(images.dtype) * 2 - 1], 1))
        maps = self.features(both)
        part = F.interpolate((both[:, -1:] + 1) / 2, maps.shape[2:], mode="bilinear", align_corners=False)
        under = (maps * part).sum((2, 3)) / part.sum((2, 3)).clamp_min(1e-3)
        return self.head(torch.cat([maps.mean((2, 3)), maps.amax((2, 3)), under], 1))[:, 0]

    @torch.no_grad()
    def score(self, images: Tensor, labels: Tensor, classes: int) -> Tensor:
        """Return the chance (n,) that a mask (n, h, w) is good.

        Of several classes, the lowest of that of everything segmented and those of the classes that are there.
        Whether a class that is not there should be is a question that cannot be asked without naming it.
        """
        score = torch.sigmoid(self(images, labels > 0))
        for label in range(1, classes + 1) if classes > 1 else ():
            there = (labels == label).flatten(1).any(1)
            if there.any():
                score[there] = score[there].minimum(torch.sigmoid(self(images[there], labels[there] == label)))
        return score


def _reduced(images: Tensor) -> Tensor:
    """Shrink to at most ``SIDE`` pixels, by means of operations that every device has."""
    while images.shape[-1] >= 2 * SIDE:
        images = F.avg_pool2d(images, 2)
    if images.shape[-1] > SIDE:
        images = F.interpolate(images, (SIDE, SIDE), mode="bilinear", align_corners=False)
    return images


def dice_of(masks: Tensor, truth: Tensor) -> Tensor:
    """Dice (n,) of binary masks (n, h, w); two empty masks agree fully."""
    masks, truth = masks.float().flatten(1), truth.float().flatten(1)
    total = masks.sum(1) + truth.sum(1)
    return torch.where(total > 0, 2 * (masks * truth).sum(1) / total.clamp_min(1), torch.ones_like(total))


def one_question(truth: Tensor, predicted: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Choose what to ask of each slice: everything segmented, or a class that is in its truth or its prediction.

    Parameters
    ----------
    truth, predicted
        Labels (n, h, w); pixels that nobody has judged belong to neither mask.

    Returns
    -------
    tuple
        Binary masks (n, h, w) bool of both.
    """
    known = truth != NOT_ANNOTATED
    truth, predicted = torch.where(known, truth, 0), torch.where(known, predicted, 0)
    wish = torch.rand(len(truth), classes + 1, generator=generator).to(truth.device)
    for label in range(1, classes + 1):
        there = ((truth == label) | (predicted == label)).flatten(1).any(1)
        wish[:, label] = torch.where(there & (classes > 1), wish[:, label], -1.0)
    chosen = wish.argmax(1)[:, None, None]
    everything = chosen == 0
    return (
        torch.where(everything, truth > 0, truth == chosen),
        torch.where(everything, predicted > 0, predicted == chosen),
    )


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

    In order: the truth, the prediction, the truth moved and deformed twice, the truth grown or shrunk twice,
    another slice's truth, nothing.
    """
    return torch.stack(
        [
            truth,
            predicted,
            *(_deformed(truth, generator) for _ in range(2)),
            *(_grown_or_shrunk(truth, generator) for _ in range(2)),
            truth.roll(1, 0),
            torch.zeros_like(truth),
        ]
    )


def _deformed(masks: Tensor, generator: torch.Generator) -> Tensor:
    """Turn, scale, lean and move each mask about its own centre; Dice with the original from about 0.4 to 1."""
    n, size = len(masks), masks.shape[-1]
    drawn = torch.rand(n, 6, generator=generator) * 2 - 1
    place = (torch.arange(size) + 0.5) * (2 / size) - 1
    mass = masks.float().cpu()
    total = mass.sum((1, 2)).clamp_min(1)
    centre = torch.stack([(mass.sum(1) * place).sum(1) / total, (mass.sum(2) * place).sum(1) / total], 1)
    still = torch.zeros(n)
    to_centre = affine(still, still + 1, torch.zeros(n, 2), centre)
    change = affine(
        angle=drawn[:, 0] * math.radians(25),
        scale=1 + 0.25 * drawn[:, 1],
        shear=0.2 * drawn[:, 2:4],
        move=0.08 * drawn[:, 4:6],
    )
    return (
        warp(mass[:, None], to_centre @ change @ torch.linalg.inv(to_centre), padding="zeros")[:, 0].to(masks.device)
        > 0.5
    )


def _grown_or_shrunk(masks: Tensor, generator: torch.Generator) -> Tensor:
    """Grow or shrink each mask by its own number of pixels, 1 to 5 at a size of 128."""
    n = len(masks)
    pixels = (torch.rand(n, generator=generator) * 5 * masks.shape[-1] / 128).ceil().clamp_min(1).to(masks.device)
    grows = (torch.rand(n, generator=generator) < 0.5).to(masks.device)[:, None, None]
    changed = torch.where(grows, masks, ~masks)
    for step in range(int(pixels.max())):
        wider = F.max_pool2d(changed.float()[:, None], 3, 1, 1)[:, 0] > 0.5
        changed = torch.where((pixels > step)[:, None, None], wider, changed)
    return torch.where(grows, changed, ~changed)


def quality_loss(network: Discriminator, images: Tensor, truth: Tensor, candidates: Tensor) -> Tensor:
    """Cross-entropy of "Dice is at least 0.8" over candidate masks (k, n, h, w) for n images.

    Equal candidates of a slice count once. Otherwise an empty slice, whose truth cannot be deformed, would say
    six times that nothing is right, and the discriminator would learn that an empty mask is a good one.
    """
    k, n = candidates.shape[:2]
    quality = dice_of(candidates.flatten(0, 1), truth.repeat(k, 1, 1))
    target = (quality >= GOOD).float() * 0.95 + 0.025
    flat = candidates.flatten(2)
    fresh = torch.ones(k, n, device=truth.device)
    for later in range(1, k):
        fresh[later] = 1 - (flat[:later] == flat[later]).all(2).any(0).float()
    logits = network(images.repeat(k, 1, 1, 1), candidates.flatten(0, 1))
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (losses * fresh.flatten()).sum() / fresh.sum()


def annotated(labels: Tensor) -> Tensor:
    """Mark slices (n,) of labels (n, h, w) that are judged for the most part: they can teach the discriminator."""
    return (labels != NOT_ANNOTATED).flatten(1).float().mean(1) > 0.5
