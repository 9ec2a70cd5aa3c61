"""How much memory a run will take, roughly; the constants are measured (benchmarks/memory.py)."""

from __future__ import annotations

import psutil

from ..config import TrainConfig

BYTES = 60
"""Of working memory for each pixel of a batch (labelled and unlabelled) and feature of the first level."""


def mebibytes(config: TrainConfig, slices: int, channels: int) -> int:
    """Return what a run keeps: every slice at the network's size, and what one step works with."""
    pixels = config.size**2
    pool = slices * pixels * (4 * channels + 1)
    step = round(config.batch * (1 + config.mu)) * pixels * config.features * BYTES
    return round((pool + step) / 2**20)


def sentence(config: TrainConfig, slices: int, channels: int) -> str:
    amount = mebibytes(config, slices, channels)
    words = f"{amount / 1024:.1f} GB" if amount >= 1024 else f"{max(100, round(amount, -2))} MB"
    rest = " What does not fit is read from disk." if amount * 2**20 > psutil.virtual_memory().available // 2 else ""
    return f"Needs roughly {words} of memory besides PyTorch itself.{rest}"
