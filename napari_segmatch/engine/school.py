"""How the discriminator learns: lines 8 and 9 of Algorithm 1."""

from __future__ import annotations

import torch
from torch import Tensor

from ..config import TrainConfig
from .chance import Source
from .data import ResidentPool
from .descent import adam, descend, switch
from .device import autocast
from .discriminator import equation_1_loss
from .judge import Judge
from .losses import hard
from .recorder import Recorder, moved, sent
from .selectors import DiscriminatorSelector, Look

RATE = 1e-3
"""Learning rate of the discriminator."""

UNDERSTUDY_HASTE = 3.0
"""How many times faster its understudies learn: they have to keep up with the teacher."""

LESSONS = 8
"""People's decisions that the discriminator is reminded of in one update."""

Known = tuple[Tensor, Tensor, Tensor, Tensor]
"""Labelled views, their labels, folds, and the student's logits."""

Seen = tuple[Tensor, Look, Tensor]
"""Weak views of unlabelled slices, how the teacher sees them, and their folds."""

Said = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""Slices, masks on them, whether people called these good, their folds, and how much all of it counts."""


class School:
    """A discriminator and its optimiser. No gradient from here reaches the model."""

    def __init__(
        self, discriminator: DiscriminatorSelector, config: TrainConfig, device: torch.device, recorder: Recorder
    ) -> None:
        self._discriminator, self._config, self._device, self._recorder = discriminator, config, device, recorder
        self.optimiser = adam(discriminator.critics.parameters(), RATE, 1e-2, device)
        if isinstance(discriminator, Judge):
            quick = adam(discriminator.understudies.parameters(), RATE * UNDERSTUDY_HASTE, 1e-2, device)
            self.optimiser.add_param_group(quick.param_groups[0])

    def judging(
        self, judge: Judge, known: Known, seen: Seen | None, said: Said | None, twice: bool, chance: torch.Generator
    ) -> Tensor:
        """Teach the quality critic, on labelled slices, on unlabelled ones, and by people's words; returns its loss.

        ``twice`` says whether the teacher looked twice: where it agrees with itself its masks are taken for true.
        """
        switch(judge, training=True)
        source = None if self._device.type == "cuda" else chance

        def lesson(known: Known, seen: Seen | None, said: Said | None) -> Tensor:
            return self._judge_on(judge, known, seen, said, twice, source)

        return self._recorder(("lesson", seen is None, said is None, twice, len(known[0])), lesson, known, seen, said)

    def _judge_on(
        self, judge: Judge, known: Known, seen: Seen | None, said: Said | None, twice: bool, source: Source
    ) -> Tensor:
        images, labels, folds, logits = known
        with autocast(self._device):
            scores, *others = judge.understudies_on(*((images,) if seen is None else (images, seen[0])))
            loss = judge.loss(images, labels, folds, scores, hard(logits), source, self._config.dice)
            if seen is not None:
                views, look, folds = seen
                loss = loss + judge.following_loss(others[0], look, folds)
                loss = loss + judge.unlabelled_loss(views, others[0], look, folds, source) if twice else loss
            loss = loss + self._loss_on(said)
        return self._follow(loss)

    def equation_1(self, real: tuple[Tensor, Tensor], fake: tuple[Tensor, Tensor], said: Said | None) -> Tensor:
        """Teach by the paper's equation 1, on images and masks of both kinds; returns its loss."""
        switch(self._discriminator, training=True)
        with autocast(self._device):
            loss = equation_1_loss(self._discriminator.critics[0], *real, *fake)
            loss = loss + self._loss_on(moved(said, self._device))
        return self._follow(loss)

    def _loss_on(self, said: Said | None) -> Tensor | float:
        if said is None:
            return 0.0
        *masks, weight = said
        return weight * self._discriminator.lesson_loss(*masks)

    def _follow(self, loss: Tensor) -> Tensor:
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        descend(self.optimiser)
        return loss.detach()


def said_in(pool: ResidentPool, chance: torch.Generator) -> Said | None:
    """Return some of people's decisions on proposals, and their weight: the more of them there are the more."""
    if pool.lessons is None:
        return None
    book = pool.lessons
    taken = torch.randint(len(book.rows), (LESSONS,), generator=chance)
    here, rows = sent(taken, pool.device), book.rows[taken]
    weight = torch.tensor(0.5 * min(1.0, len(book.rows) / 20))
    return pool.slices(rows), book.drawn(taken), book.targets[here], pool.folds[rows], weight
