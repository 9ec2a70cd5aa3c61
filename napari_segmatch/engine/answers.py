"""What a judge answers on labelled slices that nothing of it has learnt from, and what is true there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ..types import NOT_ANNOTATED
from .calibration import WORTH, Judged
from .discriminator import GOOD, annotated, dice_of
from .evidence import evidence, logit
from .selectors import Look, emptiness, rows_of

Answer = tuple[Tensor, Tensor]
"""What speaks for masks, or for an empty slice, and whether that is right, (n,) each."""


class Held(NamedTuple):
    """Slices of validation cases, which train nothing: what a teacher makes of them is what he makes of any other.

    Attributes
    ----------
    images
        (n, channels, size, size), prepared, with their neighbours.
    labels
        (n, size, size) uint8.
    patients
        How many patients they are of.
    """

    images: Tensor
    labels: Tensor
    patients: int


@dataclass
class Answers:
    """Answers about masks of each of some classes, and about slices on which nothing is seen.

    Attributes
    ----------
    patients
        Of how many patients the slices are.
    worth
        For how many independent masks all those of a patient count.
    """

    classes: int
    patients: int
    worth: float = WORTH
    masks: list[Answer] = field(default_factory=list)
    blanks: list[Answer] = field(default_factory=list)

    @property
    def of_masks(self) -> Judged:
        return Judged.of_cases(self.masks, self.patients, self.worth)

    @property
    def of_blanks(self) -> Judged:
        return Judged.of_cases(self.blanks, self.patients, self.worth)

    def ask(self, images: Tensor, labels: Tensor, look: Look, opinion: Callable[[Tensor, Tensor], Tensor],
            lead: float = 0.0) -> None:  # fmt: skip
        """Note what speaks for what a model sees on slices (n, c, h, w), and what is true by labels (n, h, w).

        Of several classes everything is a mask of its own only where more than one is there: else it would count twice.

        Parameters
        ----------
        opinion
            Of the critic, or of the critics, on images and masks.
        lead
            What more would speak for the teacher's masks.
        """
        judged, usable = labels != NOT_ANNOTATED, annotated(labels)
        for label in range(self.classes + 1) if self.classes > 1 else (0,):
            mask = (look.labels == label if label else look.labels > 0) & judged
            truth = (labels == label if label else labels > 0) & judged
            shown = mask.flatten(1).any(1) & usable
            asked = shown if label or self.classes == 1 else shown & self._several(look.labels, labels)
            if asked.any():
                known = evidence(opinion(images[asked], mask[asked]), mask[asked], rows_of(look, asked), label) + lead
                self.masks.append((known.cpu(), (dice_of(mask[asked], truth[asked]) >= GOOD).cpu()))
            if not label:
                blank = ~shown & usable
                sure = logit(emptiness(look.probabilities))[blank]
                self.blanks.append((sure.cpu(), ~truth.flatten(1).any(1)[blank].cpu()))

    def _several(self, predicted: Tensor, labels: Tensor) -> Tensor:
        """Whether labels (n, h, w) of a slice, predicted or true, show more than one class, (n,) bool."""
        shown = [((predicted == label) | (labels == label)).flatten(1).any(1) for label in range(1, self.classes + 1)]
        return torch.stack(shown).sum(0) > 1
