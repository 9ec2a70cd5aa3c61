"""The discriminator: a CNN that is given an image and a mask and says whether the mask fits the image.

It is class-agnostic: it sees the binary mask of one class at a time and never which class it is. It sees hard
masks only, people's and predicted ones alike, by the same path: a soft mask would give away that it was predicted.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..types import NOT_ANNOTATED
from .chance import Source, uniform
from .device import rows_that

SIDE = 64
"""The discriminator looks at squares of this side: the whole slice, and what lies about the mask."""

GOOD = 0.8
"""Dice from which a mask counts as good."""


class Discriminator(nn.Module):
    """Four strided convolutions over two views, pooled over the image and over the mask; about 0.1 M parameters."""

    def __init__(self, channels: int, width: int = 16) -> None:
        super().__init__()
        widths = [channels + 1, width, 2 * width, 4 * width, 6 * width]
        blocks: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            blocks += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(8, after), nn.LeakyReLU(0.2, inplace=True)]
        self.features = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.Linear(6 * widths[-1], 64), nn.LeakyReLU(0.2, inplace=True), nn.Dropout(0.2), nn.Linear(64, 1)
        )

    def forward(self, images: Tensor, masks: Tensor) -> Tensor:
        """Return logits (n,) for images (n, c, h, w) and binary masks (n, h, w)."""
        return self.judge(views_of(images, masks))

    def judge(self, views: Tensor) -> Tensor:
        """Return logits (n,) for :func:`views_of` n slices."""
        whole, near = self._pooled(views).chunk(2)
        return self.head(torch.cat([whole, near], 1))[:, 0]

    def _pooled(self, views: Tensor) -> Tensor:
        """Return the mean and the maximum of the features, and their mean under the mask."""
        maps = self.features(views).float()
        part = F.adaptive_avg_pool2d((views[:, -1:].float() + 1) / 2, maps.shape[2:])
        under = (maps * part).sum((2, 3)) / part.sum((2, 3)).clamp_min(1e-3)
        return torch.cat([maps.mean((2, 3)), maps.amax((2, 3)), under], 1)


def views_of(images: Tensor, masks: Tensor) -> Tensor:
    """Return what discriminators look at, (2 n, c + 1, 64, 64): whole slices with their masks, then close-ups."""
    both = torch.cat([images, masks[:, None].to(images.dtype) * 2 - 1], 1)
    return torch.cat([_reduced(both), close_up(both, masks)])


def _reduced(images: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(images, SIDE) if images.shape[-1] > SIDE else images


def close_up(images: Tensor, masks: Tensor) -> Tensor:
    """Cut out what lies about each mask (n, h, w), half as large again, scaled to ``SIDE``; all if it is empty."""
    size = masks.shape[-1]
    side = min(size, SIDE)
    place = ((torch.arange(size, device=masks.device) + 0.5) * (2 / size) - 1).expand(len(masks), size)
    theta = torch.zeros(len(masks), 2, 3, device=images.device)
    for axis, shown in enumerate((masks.any(1), masks.any(2))):
        low = torch.where(shown, place, 1.0).amin(1)
        high = torch.where(shown, place, -1.0).amax(1)
        some = shown.any(1)
        theta[:, axis, 2] = torch.where(some, (low + high) / 2, 0.0)
        theta[:, axis, axis] = torch.where(some, ((high - low) * 0.75 + 8 / size).clamp_max(1), 1.0)
    widest = torch.maximum(theta[:, 0, 0], theta[:, 1, 1])
    theta[:, 0, 0] = theta[:, 1, 1] = widest
    with torch.autocast(masks.device.type, enabled=False):  # half precision is too little for where pixels go
        grid = F.affine_grid(theta, [len(masks), 1, side, side], align_corners=False)
    return F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)


def dice_of(masks: Tensor, truth: Tensor) -> Tensor:
    """Dice (n,) of binary masks (n, h, w); two empty masks agree fully."""
    masks, truth = masks.float().flatten(1), truth.float().flatten(1)
    total = masks.sum(1) + truth.sum(1)
    return torch.where(total > 0, 2 * (masks * truth).sum(1) / total.clamp_min(1), torch.ones_like(total))


def one_question(truth: Tensor, predicted: Tensor, classes: int, source: Source) -> tuple[Tensor, Tensor]:
    """Choose what to ask of each slice: everything segmented, or a class that is in its truth or its prediction.

    Parameters
    ----------
    truth, predicted
        Labels (n, h, w) and (k, n, h, w); pixels that nobody has judged belong to no mask.

    Returns
    -------
    tuple
        Binary masks, bool, of the shapes given.
    """
    known = truth != NOT_ANNOTATED
    truth, predicted = torch.where(known, truth, 0), torch.where(known, predicted, 0)
    wish = uniform((len(truth), classes + 1), source, truth.device)
    for label in range(1, classes + 1):
        there = (truth == label).flatten(1).any(1) | (predicted == label).flatten(2).any(2).any(0)
        wish[:, label] = torch.where(there & (classes > 1), wish[:, label], -1.0)
    chosen = wish.argmax(1)[:, None, None].to(truth.dtype)
    everything = chosen == 0
    return (
        torch.where(everything, truth > 0, truth == chosen),
        torch.where(everything, predicted > 0, predicted == chosen),
    )


def equation_1_loss(network: nn.Module, images: Tensor, masks: Tensor, unlabelled: Tensor, predicted: Tensor) -> Tensor:
    """Equation 1 as cross-entropy: -log D(x_l, y_l) - log(1 - D(x_u, M(x_u))).

    The text minimises log(1 - D(x_l, y_l)) + log D(x_u, M(x_u)), which has the same optimum for each term and
    no lower bound.
    """
    real, fake = network(images, masks), network(unlabelled, predicted)
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def quality_loss(
    network: nn.Module, images: Tensor, truth: Tensor, candidates: Tensor, counted: Tensor | None = None
) -> Tensor:
    """Cross-entropy of "Dice is at least 0.8" over candidate masks (k, n, h, w) bool for n images.

    Empty candidates are not asked about, and equal candidates of a slice count once. ``counted`` (n,) bool says which
    images are there at all; every one by default.
    """
    flat = candidates.flatten(2)
    fresh = flat.any(2)
    for later in range(1, len(candidates)):
        fresh[later] &= ~(flat[:later] == flat[later]).all(2).any(0)
    if counted is not None:
        fresh &= counted
    rows = rows_that(fresh.flatten())
    if not len(rows):
        return images.new_zeros(())
    slices, masks = rows % len(images), candidates.flatten(0, 1)[rows]
    return verdict_loss(network(images[slices], masks), dice_of(masks, truth[slices]) >= GOOD, fresh.flatten()[rows])


def verdict_loss(logits: Tensor, good: Tensor, counted: Tensor) -> Tensor:
    """Cross-entropy of opinions (n,) with whether masks are good (n,), of which nothing is quite certain.

    ``counted`` (n,) says which of them are there at all; 0 if none is.
    """
    loss = F.binary_cross_entropy_with_logits(logits, good.float() * 0.95 + 0.025, reduction="none")
    return (loss * counted.float()).sum() / counted.float().sum().clamp_min(1e-3)


def annotated(labels: Tensor) -> Tensor:
    """Mark slices (n,) of labels (n, h, w) that are judged for the most part: they can teach the discriminator."""
    return (labels != NOT_ANNOTATED).flatten(1).float().mean(1) > 0.5
