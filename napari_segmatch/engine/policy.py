"""How strong views are drawn. A policy has three methods: draw (all randomness), matrix and apply (none)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .geometry import affine, identity
from .intensity import OPERATIONS

GEOMETRIC = ("rotate", "scale", "shear-x", "shear-y", "move-x", "move-y")
ALL = (*GEOMETRIC, *OPERATIONS)


@dataclass(frozen=True)
class Drawn:
    """What was drawn for n samples: operation numbers, levels from 0 to 1 and signs, each (n, depth)."""

    operations: Tensor
    levels: Tensor
    signs: Tensor
    seed: int


class Policy(Protocol):
    def draw(self, n: int, generator: torch.Generator) -> Drawn: ...

    def matrix(self, drawn: Drawn) -> Tensor:
        """Return the geometric part, (n, 3, 3)."""

    def apply(self, images: Tensor, drawn: Drawn) -> Tensor:
        """Return the photometric part applied to images (n, c, h, w)."""


class RandAugment:
    """A few operations for each slice, each at a random level (Cubuk et al. 2020, as FixMatch uses it)."""

    def __init__(self, depth: int = 2) -> None:
        self.depth = depth

    def draw(self, n: int, generator: torch.Generator) -> Drawn:
        shape = (n, self.depth)
        return Drawn(
            operations=torch.randint(len(ALL), shape, generator=generator),
            levels=torch.rand(shape, generator=generator),
            signs=torch.randint(2, shape, generator=generator) * 2.0 - 1,
            seed=int(torch.randint(2**31, (1,), generator=generator)),
        )

    def matrix(self, drawn: Drawn) -> Tensor:
        n = len(drawn.operations)
        matrix = identity(n)
        signed = drawn.levels * drawn.signs
        for column in range(self.depth):
            amount = {
                name: torch.where(drawn.operations[:, column] == number, signed[:, column], torch.zeros(n))
                for number, name in enumerate(GEOMETRIC)
            }
            matrix = (
                affine(
                    angle=amount["rotate"] * math.radians(30),
                    scale=1 + 0.2 * amount["scale"],
                    shear=0.2 * torch.stack([amount["shear-x"], amount["shear-y"]], 1),
                    move=0.2 * torch.stack([amount["move-x"], amount["move-y"]], 1),
                )
                @ matrix
            )
        return matrix

    def apply(self, images: Tensor, drawn: Drawn) -> Tensor:
        generator = torch.Generator().manual_seed(drawn.seed)
        images = images.clone()
        for column in range(self.depth):
            for number in drawn.operations[:, column].unique().tolist():
                if number < len(GEOMETRIC):
                    continue
                rows = (drawn.operations[:, column] == number).nonzero()[:, 0]
                level = drawn.levels[rows, column].view(-1, 1, 1, 1).to(images.device)
                sign = drawn.signs[rows, column].view(-1, 1, 1, 1).to(images.device)
                rows = rows.to(images.device)
                images[rows] = OPERATIONS[ALL[number]](images[rows], level, sign, generator)
        return images
