"""Supervised and consistency losses. Both ignore pixels of weight 0."""

from __future__ import annotations

import torch
from monai.losses import DiceLoss
from torch import Tensor

from ..types import NOT_ANNOTATED

_dice = DiceLoss(batch=True, smooth_nr=1.0, smooth_dr=1.0)


def hard(scores: Tensor) -> Tensor:
    """Argmax over the classes of (n, k, h, w), as (n, h, w) uint8; many times faster on a CPU than torch's own."""
    best, *others = scores.unbind(1)
    label = torch.zeros_like(best, dtype=torch.uint8)
    for index, other in enumerate(others, 1):
        label = torch.maximum(label, (other > best).byte() * index)
        best = torch.maximum(best, other)
    return label


def one_hot(labels: Tensor, count: int) -> Tensor:
    """Return 1 where a pixel of (n, h, w) has a label less than ``count``, (n, count, h, w) float32."""
    kinds = torch.arange(count, dtype=labels.dtype, device=labels.device)
    return (labels[:, None] == kinds.view(1, -1, 1, 1)).float()


def supervised_loss(logits: Tensor, labels: Tensor, dice: bool = True, counted: Tensor | None = None) -> Tensor:
    """Cross-entropy plus Dice against people's labels.

    Parameters
    ----------
    logits
        (n, classes + 1, h, w).
    labels
        (n, h, w) whole numbers; 255 is ignored.
    counted
        (n,) bool: slices that are there at all; every one by default.
    """
    weight = (labels != NOT_ANNOTATED).float()
    if counted is not None:
        weight = weight * counted[:, None, None]
    return weighted_loss(logits, labels, weight, weight.sum(), dice, _share(counted))


def consistency_loss(
    logits: Tensor, pseudo: Tensor, weight: Tensor, dice: bool = True, counted: Tensor | None = None
) -> Tensor:
    """Loss of an aligned prediction against a pseudo mask (line 6 of Algorithm 1).

    The denominator counts all pixels of the batch, rejected ones too: when little is accepted, little is learnt.

    Parameters
    ----------
    logits
        (n, classes + 1, h, w), in the weak view's frame.
    pseudo
        (n, h, w) whole numbers, or probabilities (n, classes + 1, h, w).
    weight
        (n, h, w); 0 where the selector said no or the strong view saw nothing.
    counted
        (n,) bool: slices that are there at all; every one by default.
    """
    share = _share(counted)
    if counted is not None:
        weight = weight * counted[:, None, None]
    return weighted_loss(logits, pseudo, weight, weight.numel() * share, dice, share)


def _share(counted: Tensor | None) -> Tensor | float:
    """Return which share of slices is there; a little if none is, for what is divided by it is 0 then."""
    return 1.0 if counted is None else counted.float().mean().clamp_min(1e-3)


def weighted_loss(
    logits: Tensor, target: Tensor, weight: Tensor, total: Tensor | float, dice: bool, share: Tensor | float
) -> Tensor:
    """Cross-entropy over ``total`` pixels, plus (``dice``) soft Dice where there is weight.

    ``share`` is that of the slices which are there at all.
    """
    likely, weight = logits.float().log_softmax(1), weight[:, None]
    hot = (target if target.ndim == 4 else one_hot(target, likely.shape[1])) * weight
    total = total.clamp_min(1) if isinstance(total, Tensor) else max(total, 1.0)
    entropy = -(hot * likely).sum() / total
    if not dice:
        return entropy
    return entropy + _dice(likely[:, 1:].exp() * weight, hot[:, 1:]) * (weight.mean() / share)


def foreground_dice(logits: Tensor, labels: Tensor) -> Tensor:
    """Soft Dice (n,) of all structures together; NaN on slices that show none.

    Parameters
    ----------
    logits
        (n, classes + 1, h, w).
    labels
        (n, h, w) whole numbers; 255 is ignored.
    """
    known = (labels != NOT_ANNOTATED).float()
    truth = ((labels > 0) * known).flatten(1)
    guess = ((1 - logits.float().softmax(1)[:, 0]) * known).flatten(1)
    total = truth.sum(1)
    return torch.where(total > 0, 2 * (truth * guess).sum(1) / (total + guess.sum(1)), torch.nan)
