"""Masks of every quality, made from true ones: what teaches the discriminator what a bad mask looks like."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .chance import Source, uniform
from .geometry import affine, inverse, warp


def corrupted(truth: Tensor, source: Source) -> Tensor:
    """Spoil true masks (n, h, w) bool in three ways: returns (3, n, h, w) bool.

    In order: moved and deformed, grown or shrunk, another slice's.
    """
    return torch.stack([deformed(truth, source), grown_or_shrunk(truth, source), truth.roll(1, 0)])


def deformed(masks: Tensor, source: Source) -> Tensor:
    """Turn, scale, lean and move each mask about its own centre; Dice with the original from about 0.4 to 1."""
    n, size, device = len(masks), masks.shape[-1], masks.device
    drawn = uniform((n, 6), source, device) * 2 - 1
    place = (torch.arange(size, device=device) + 0.5) * (2 / size) - 1
    mass = masks.float()
    total = mass.sum((1, 2)).clamp_min(1)
    centre = torch.stack([(mass.sum(1) * place).sum(1) / total, (mass.sum(2) * place).sum(1) / total], 1)
    still = torch.zeros(n, device=device)
    with torch.autocast(device.type, enabled=False):  # half precision is too little for where pixels go
        to_centre = affine(still, still + 1, torch.zeros_like(centre), centre)
        change = affine(
            angle=drawn[:, 0] * math.radians(25),
            scale=1 + 0.25 * drawn[:, 1],
            shear=0.2 * drawn[:, 2:4],
            move=0.08 * drawn[:, 4:6],
        )
        matrix = to_centre @ change @ inverse(to_centre)
    return warp(mass[:, None], matrix, padding="zeros")[:, 0] > 0.5


def grown_or_shrunk(masks: Tensor, source: Source) -> Tensor:
    """Grow or shrink each mask by its own number of pixels, 1 to 5 at a size of 128."""
    n, device = len(masks), masks.device
    most = 5 * masks.shape[-1] / 128
    pixels = (uniform((n,), source, device) * most).ceil().clamp_min(1)
    shrinks = (uniform((n,), source, device) >= 0.5)[:, None, None]
    changed = masks ^ shrinks  # what is outside grows instead
    for step in range(math.ceil(most)):
        changed |= wider(changed) & (pixels > step)[:, None, None]
    return changed ^ shrinks


def wider(masks: Tensor) -> Tensor:
    """Grow masks (n, h, w) bool by a pixel on all sides, corners too; thirty times faster on a CPU than max-pooling."""
    for axis in (1, 2):
        last = masks.shape[axis] - 1
        grown = masks.clone()
        grown.narrow(axis, 1, last).logical_or_(masks.narrow(axis, 0, last))
        grown.narrow(axis, 0, last).logical_or_(masks.narrow(axis, 1, last))
        masks = grown
    return masks
