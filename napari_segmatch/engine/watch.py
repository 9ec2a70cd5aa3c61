"""Steps that go wrong: memory that runs out, and losses that are not numbers. Masks are never at stake in here."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import TrainingProblem
from .data import ResidentPool
from .device import is_out_of_memory
from .learner import Learner
from .schedule import peak_rate
from .step import Outcome

PATIENCE = 3
"""So many bad steps in a row, and the run goes back to where it was last good."""

MOST_PARTS = 8
"""A batch is cut into at most so many parts."""


class Watch:
    """Takes the learner's steps and keeps the run alive.

    Out of memory: the batch is computed in twice as many parts, whose gradients add up to nearly the same step. A
    gradient that is not a number: the step is skipped; after three in a row the run goes back to the last good weights
    at half the learning rate, and if that happens again it ends. What people have just labelled waits in line for a
    step that teaches it, and after going back it comes once more.
    """

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._bad, self._went_back, self._told, self._cramped = 0, False, False, False
        self.notes: list[str] = []
        self.remember()

    def remember(self) -> None:
        """Take the learner's state as good."""
        self._good = self._learner.step, self._learner.tensors()
        self._since: list[int] = []  # rows that people had just labelled, learnt since then

    def learn(self, data: ResidentPool, progress: float) -> tuple[Outcome, float] | None:
        """Take a step; None if it taught nothing. What there is to say of it is in ``notes``."""
        learner = self._learner
        while (result := self._attempt(data, progress)) is None:
            self._halve()
        if learner.missed:
            self._make_room()
        self._tell_of_launches()
        if not learner.skipped:
            self._bad = 0
            self._since += data.turns.learnt()
            return result
        self._bad += 1
        self.notes.append(f"Step {learner.step} was skipped: its gradient is not a number.")
        if self._bad >= PATIENCE:
            self._go_back(data, progress)
        return None

    def _attempt(self, data: ResidentPool, progress: float) -> tuple[Outcome, float] | None:
        """Take a step; None if the memory ran out (what it held is free when this has returned)."""
        try:
            return self._learner.learn(data, progress)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _tell_of_launches(self) -> None:
        why = self._learner.recorder.refused
        if why and not self._told:
            self._told = True
            self.notes.append(f"Steps take longer than they need: this GPU cannot have them recorded ({why}).")

    def _make_room(self) -> None:
        """Halve for the discriminator, which missed an update. Where that cannot be, the model trains all the same."""
        if not self._in_most_parts:
            self._halve(" The discriminator missed one update.")
        elif not self._cramped:
            self._cramped = True
            self.notes.append(
                "Memory ran out: the discriminator misses updates and judges masks as it did before. Close other "
                "programs, or choose a smaller size or fewer features in the next run."
            )

    @property
    def _in_most_parts(self) -> bool:
        return self._learner.parts >= min(MOST_PARTS, self._learner.config.batch)

    def _halve(self, more: str = "") -> None:
        learner = self._learner
        if self._in_most_parts:
            raise TrainingProblem(
                "The memory does not suffice for a single step: choose a smaller size or fewer features, or close "
                "other programs."
            )
        learner.parts = min(2 * learner.parts, learner.config.batch)
        learner.optimiser.zero_grad(set_to_none=True)
        learner.recorder.forget()
        if learner.device.type == "cuda":
            torch.cuda.empty_cache()
        self.notes.append(
            f"Memory ran out: a batch is now computed in {learner.parts} parts. It takes longer and teaches nearly the "
            f"same.{more}"
        )

    def _go_back(self, data: ResidentPool, progress: float) -> None:
        learner, (step, tensors) = self._learner, self._good
        rate, broken_at, learner.step = peak_rate(learner.config, learner.step, progress), learner.step, step
        learner.load_tensors(tensors)
        data.turns.queue(self._since)
        suspects = _suspects(learner, data)
        if self._went_back or suspects:
            where = f" Look at {', '.join(suspects)}: its images give no numbers." if suspects else ""
            raise TrainingProblem(
                f"The loss is not a number any more at step {broken_at}, several times in a row: lower the learning "
                f"rate; the last checkpoint is whole.{where}"
            )
        learner.config = learner.config.replace(learning_rate=rate / 2)
        self._bad, self._went_back = 0, True
        self.notes.append(f"Went back to step {step}, with half the learning rate: the loss was not a number any more.")


@torch.no_grad()
def _suspects(learner: Learner, data: ResidentPool) -> list[str]:
    """Return the cases on which even good weights do not give numbers."""
    found: set[str] = set()
    for rows in torch.cat([data.labelled, data.unlabelled]).split(16):
        images = data.slices(rows.to(learner.device))
        sound: Tensor = torch.isfinite(images).flatten(1).all(1)
        sound &= torch.isfinite(learner.student(images)).flatten(1).all(1)
        found |= {data.regions[row].case for row, good in zip(rows.tolist(), sound.tolist(), strict=True) if not good}
    return sorted(found) if found < {region.case for region in data.regions} else []  # all: it is the network's fault
