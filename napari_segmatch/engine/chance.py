"""Chance from a generator, or on the device itself.

On the processor every draw comes from a generator with a seed of its own. A GPU would have to wait for such numbers:
there, the source is None and stands for the device's own, which :meth:`Learner.learn` seeds at each step.
"""

from __future__ import annotations

import torch
from torch import Tensor

Source = torch.Generator | None


def uniform(shape: tuple[int, ...], source: Source, device: torch.device) -> Tensor:
    """Draw between 0 and 1."""
    return torch.rand(shape, device=device) if source is None else torch.rand(shape, generator=source).to(device)


def normal(shape: tuple[int, ...], source: Source, device: torch.device) -> Tensor:
    """Draw with mean 0 and spread 1."""
    return torch.randn(shape, device=device) if source is None else torch.randn(shape, generator=source).to(device)


def whole(low: int, high: int, shape: tuple[int, ...], source: Source, device: torch.device) -> Tensor:
    """Draw whole numbers from ``low`` to less than ``high``."""
    if source is None:
        return torch.randint(low, high, shape, device=device)
    return torch.randint(low, high, shape, generator=source).to(device)
