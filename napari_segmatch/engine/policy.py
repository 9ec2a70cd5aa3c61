"""How strong views are drawn. A policy has four methods: draw (all randomness), matrix and apply (none), and learn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .geometry import affine, identity
from .intensity import OPERATIONS, Frequencies, Slices, apply_each

GEOMETRIC = ("rotate", "scale", "shear-x", "shear-y", "move-x", "move-y")
ALL = (*GEOMETRIC, *OPERATIONS)


@dataclass(frozen=True)
class Drawn:
    """What was drawn for n samples: operation numbers, levels from 0 to 1 and signs, each (n, depth)."""

    operations: Tensor
    levels: Tensor
    signs: Tensor
    seed: int

    def joined(self, other: Drawn) -> Drawn:
        """Return what was drawn for both."""
        return Drawn(
            torch.cat([self.operations, other.operations]), torch.cat([self.levels, other.levels]),
            torch.cat([self.signs, other.signs]), self.seed,
        )  # fmt: skip


class Policy(Protocol):
    state: dict[str, Tensor]
    """What the policy has learnt; part of a checkpoint."""

    def draw(self, n: int, generator: torch.Generator, probe: bool = False) -> Drawn:
        """Draw for n samples; with ``probe`` over the whole range of levels, to learn from the outcome."""

    def matrix(self, drawn: Drawn) -> Tensor:
        """Return the geometric part, (n, 3, 3)."""

    def apply(self, images: Tensor, drawn: Drawn) -> Tensor:
        """Return the photometric part applied to images (n, c, h, w)."""

    def learn(self, drawn: Drawn, proximity: Tensor) -> None:
        """Take up how well (n,), from 0 to 1, the model did on probes; NaN where that cannot be said."""


class RandAugment:
    """A few operations for each slice, each at a random level (Cubuk et al. 2020, as FixMatch uses it)."""

    def __init__(self, depth: int = 2) -> None:
        self.depth = depth
        self.state: dict[str, Tensor] = {}

    def draw(self, n: int, generator: torch.Generator, probe: bool = False) -> Drawn:
        shape = (n, self.depth)
        operations = torch.randint(len(ALL), shape, generator=generator)
        return Drawn(
            operations=operations,
            levels=torch.rand(shape, generator=generator) if probe else self.levels(operations, generator),
            signs=torch.randint(2, shape, generator=generator) * 2.0 - 1,
            seed=int(torch.randint(2**31, (1,), generator=generator)),
        )

    def levels(self, operations: Tensor, generator: torch.Generator) -> Tensor:
        return torch.rand(operations.shape, generator=generator)

    def learn(self, drawn: Drawn, proximity: Tensor) -> None:
        pass

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
        changed = self._apply_at_once(images, drawn) if images.is_cuda else self._apply_in_turn(images, drawn)
        there = images.flatten(2).any(2)[:, :, None, None]
        return torch.where(there, changed, images)  # a sequence that a case lacks is all zeros, and stays so

    def _apply_in_turn(self, images: Tensor, drawn: Drawn) -> Tensor:
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
                images[rows] = OPERATIONS[ALL[number]](Slices(images[rows]), level, sign, generator)
        return images

    def _apply_at_once(self, images: Tensor, drawn: Drawn) -> Tensor:
        """Do the same on a GPU, where ``drawn`` is too; chance is its own there."""
        frequencies = Frequencies(images)
        for column in range(self.depth):
            wide = (part[:, column].view(-1, 1, 1, 1) for part in (drawn.operations, drawn.levels, drawn.signs))
            chosen, level, sign = wide
            images = apply_each(Slices(images, frequencies), chosen - len(GEOMETRIC), level, sign)
        return images


class CTAugment(RandAugment):
    """Operations whose levels are learnt: only those at which the model still finds the truth are drawn.

    Berthelot et al. 2020, as FixMatch uses it, with four changes for short runs on slices that are mostly
    background. Proximity is the soft Dice of the structures: over all pixels it never falls, however much is missed.
    Fewer bins and a shorter memory, so that a harmful operation is found within a hundred steps rather than
    thousands. And the labelled batch, seen in its strong view anyway, is the probe: it costs no further pass.
    And proximity counts relative to the usual one of the moment: while the model is still poor everywhere, no
    operation is to blame.
    """

    BINS, DECAY, THRESHOLD = 7, 0.95, 0.85

    def __init__(self, depth: int = 2) -> None:
        super().__init__(depth)
        self.rates, self.usual = torch.ones(len(ALL), self.BINS), torch.zeros(1)
        self.state = {"rates": self.rates, "usual": self.usual}

    def weights(self) -> Tensor:
        """Return how likely each bin of each operation is to be drawn, (operations, bins); 0 for harmful ones."""
        relative = self.rates / self.rates.amax(1, keepdim=True)
        return torch.where(relative < self.THRESHOLD, 0.0, relative)

    def levels(self, operations: Tensor, generator: torch.Generator) -> Tensor:
        bins = torch.multinomial(self.weights()[operations.flatten()], 1, generator=generator).view_as(operations)
        return (bins + torch.rand(operations.shape, generator=generator)) / self.BINS

    def learn(self, drawn: Drawn, proximity: Tensor) -> None:
        bins = (drawn.levels * self.BINS * 0.999).long()
        for row, value in enumerate(proximity.tolist()):
            if value == value:
                self.usual += (1 - self.DECAY if self.usual else 1.0) * (value - self.usual)
                told = min(1.0, value / max(float(self.usual), 1e-3))
                for operation, level in zip(drawn.operations[row].tolist(), bins[row].tolist(), strict=True):
                    self.rates[operation, level] += (1 - self.DECAY) * (told - self.rates[operation, level])


POLICIES = {"randaugment": RandAugment, "ctaugment": CTAugment}
