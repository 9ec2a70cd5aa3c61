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


def expected_dice(shown: Tensor, masks: Tensor) -> Tensor:
    """Dice (n,) of masks (n, h, w) with the truth if every pixel belongs to it with the chance ``shown`` (n, h, w)."""
    shown, masks = shown.float().flatten(1), masks.float().flatten(1)
    return 2 * (shown * masks).sum(1) / (shown.sum(1) + masks.sum(1)).clamp_min(1)


def evidence(opinion: Tensor, masks: Tensor, look: Look, label: int) -> Tensor:
    """Return what speaks for masks (n, h, w) of one class, or of everything (label 0): (n,).

    How sure the model is of this class against all else, in four ways that count alike, and the critic's opinion, in
    fixed shares: a handful of labelled patients says how far to trust them together, not each. Which class it is, where
    two touch, does not make everything that is segmented less sure.
    """
    shown = look.probabilities[:, label] if label else 1 - look.probabilities[:, 0]
    one_or_other = torch.stack([1 - shown, shown], 1)
    first, second = (look.first == label, look.second == label) if label else (look.first > 0, look.second > 0)
    sureness = torch.stack([
        mask_confidence(one_or_other, masks), mask_certainty(one_or_other), expected_dice(shown, masks),
        dice_of(first, second),
    ])  # fmt: skip
    return logit(sureness).mean(0) + OPINION * opinion.float()


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
