"""What speaks for a mask: how a model sees a slice, how sure it is of it, and what a critic says."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .discriminator import dice_of
from .losses import hard
from .selectors import Look, mask_certainty, mask_confidence

OPINION = 0.18
"""Weight of the critic's opinion beside the model's own sureness, both on the scale of logits."""


def self_agreement(look: Look) -> Tensor:
    """Dice (n,) of a model's two looks, class by class at once; 0 where either sees nothing."""
    same = ((look.first == look.second) & (look.first > 0)).flatten(1).sum(1)
    both = (look.first > 0).flatten(1).sum(1) + (look.second > 0).flatten(1).sum(1)
    return 2 * same / both.clamp_min(1)


def evidence(opinion: Tensor, masks: Tensor, look: Look, label: int) -> Tensor:
    """Return what speaks for masks (n, h, w) of one class, or of everything (label 0): (n, 1).

    The model's own confidence, certainty and agreement with itself, and the critic's opinion, in fixed shares: a
    handful of labelled patients says how far to trust them together, not each.
    """
    first, second = (look.first == label, look.second == label) if label else (look.first > 0, look.second > 0)
    confidence, certainty = mask_confidence(look.probabilities, masks), mask_certainty(look.probabilities)
    sureness = 0.4 * logit(confidence) + 0.4 * logit(certainty) + 0.2 * logit(dice_of(first, second))
    return (sureness + OPINION * opinion.float())[:, None]


def logit(share: Tensor) -> Tensor:
    return torch.logit(share.float().clamp(0.005, 0.995))


def look_with(network: nn.Module, images: Tensor, mirror: bool) -> Look:
    """Look at slices (n, c, h, w) with a network, and at their mirror images if left and right do not matter."""
    once = network(images).float().softmax(1)
    if not mirror:
        labels = hard(once)
        return Look(once, labels, labels)
    again = network(images.flip(-1)).float().softmax(1).flip(-1)
    return Look((once + again) / 2, hard(once), hard(again))
