"""What speaks for a mask: how a model sees a slice, how sure it is of it, and what a critic says."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .losses import hard
from .selectors import SURE, Look, mask_confidence

OPINION = 0.18
"""Weight of the critic's opinion beside the model's own sureness, both on the scale of logits."""


def self_agreement(look: Look) -> Tensor:
    """Dice (n,) of a model's two looks, class by class at once; 0 where either sees nothing."""
    same = ((look.first == look.second) & (look.first > 0)).flatten(1).sum(1)
    both = (look.first > 0).flatten(1).sum(1) + (look.second > 0).flatten(1).sum(1)
    return 2 * same / both.clamp_min(1)


def overlap(one: Tensor, other: Tensor) -> Tensor:
    """Dice (n,) of masks, or of chances, (n, h, w) each; 0 where both are empty."""
    one, other = one.float().flatten(1), other.float().flatten(1)
    return 2 * (one * other).sum(1) / (one.sum(1) + other.sum(1)).clamp_min(1e-3)


def certainty(inside: Tensor) -> Tensor:
    """1 less the mean entropy (n,), in bits, of pixels whose chance (n, h, w) to be inside is a tenth at least."""
    outside = 1 - inside
    near = (outside < 0.9).float().flatten(1)
    doubt = inside * inside.clamp_min(1e-6).log() + outside * outside.clamp_min(1e-6).log()
    entropy = -doubt.flatten(1) / math.log(2)
    return 1 - (entropy * near).sum(1) / near.sum(1).clamp_min(1)


def signs(look: Look, masks: Tensor, label: int) -> dict[str, Tensor]:
    """Say how sure a model is of masks (n, h, w) of one class, or of everything (label 0), in four ways, (n,) each.

    It is asked about this class against all else: which class it is, where two touch, does not make everything that is
    segmented less sure. ``expected_dice`` is the mask's Dice if the probability of every pixel holds.
    """
    shown = look.probabilities[:, label] if label else 1 - look.probabilities[:, 0]
    inside = torch.where(masks, shown.clamp_min(0.5), shown)  # of three classes the likeliest may have less than half
    first, second = (look.first == label, look.second == label) if label else (look.first > 0, look.second > 0)
    return {
        "confidence": mask_confidence(torch.maximum(inside, 1 - inside), masks),
        "certainty": certainty(inside),
        "expected_dice": overlap(shown, masks),
        "agreement": overlap(first, second),
    }


def evidence(opinion: Tensor, masks: Tensor, look: Look, label: int) -> Tensor:
    """Return what speaks for masks (n, h, w) of one class, or of everything (label 0): (n,).

    The mean of its signs, and the critic's opinion, in fixed shares: a handful of labelled patients says how far to
    trust them together, not each. A model that looked once cannot disagree with itself, and is not asked.
    """
    found = signs(look, masks, label)
    if not look.twice:
        del found["agreement"]
    return logit(torch.stack(list(found.values()))).mean(0) + OPINION * opinion.float()


def logit(share: Tensor) -> Tensor:
    return torch.logit(share.float().clamp(0.005, 0.995))


def look_with(network: nn.Module, images: Tensor, mirror: bool, sure: float = SURE) -> Look:
    """Look at slices (n, c, h, w) with a network, and at their mirror images if left and right do not matter.

    Both looks are one pass: two of half the size take longer.
    """
    if not mirror:
        once = network(images).float().softmax(1)
        labels = hard(once)
        return Look(once, labels, labels, twice=False, sure=sure)
    once, again = network(torch.cat([images, images.flip(-1)])).float().softmax(1).chunk(2)
    again = again.flip(-1)
    return Look((once + again) / 2, hard(once), hard(again), sure=sure)
