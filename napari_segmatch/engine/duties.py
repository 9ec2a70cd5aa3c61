"""What is due after a step: validation, an examination of the discriminator, proposals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..events import Examined, Noted, Proposed, TrainEvent
from .clock import Clock
from .data import ResidentPool
from .device import is_out_of_memory
from .learner import Learner
from .predict import propose
from .validation import Validation

EXAMINE_EVERY, YOUNG = 200, 600
"""Steps from one examination of the discriminator to the next; half as many while a run is young."""

FINAL_PROPOSALS = 4
"""At the end of a run this many times the usual number of slices is proposed."""


def is_examined_at(step: int) -> bool:
    """Whether the discriminator is examined after so many steps. It takes as long as ten of them."""
    return step % (EXAMINE_EVERY if step > YOUNG else EXAMINE_EVERY // 2) == 0


def is_due(step: int, every: int, clock: Clock) -> bool:
    """Whether something comes after this step that comes every so many steps, and at the end of a run."""
    return step % every == 0 or clock.progress >= 1


class Duties:
    """What is due and not done yet: a run that is stopped in between does it when it goes on.

    Attributes
    ----------
    left
        The names of what is left to do, in order.
    """

    def __init__(
        self, learner: Learner, data: ResidentPool, validation: Validation, classes: Sequence[str], clock: Clock,
        left: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self._learner, self._data, self._validation, self._classes = learner, data, validation, classes
        self._clock, self.left = clock, list(left)

    def fall_due(self) -> None:
        """Take note of what is to be done after the step that was just taken."""
        step, config = self._learner.step, self._learner.config
        wanted = {
            "evaluate": is_due(step, config.evaluate_every, self._clock),
            "examine": is_examined_at(step) or self._clock.progress >= 1,
            "propose": is_due(step, config.propose_every, self._clock),
        }
        self.left = [name for name, due in wanted.items() if due]

    def fulfil(self) -> Iterator[TrainEvent]:
        """Do all of it, and say what came of it. It is done when all is said: whoever listens may stop the run then."""
        while self.left:
            events = self._done(self.left[0])
            yield from events[:-1]
            self.left.pop(0)
            yield from events[-1:]

    def _done(self, name: str) -> list[TrainEvent]:
        """Do one thing. For want of memory it is left out: the model is as good without it."""
        do, what = {
            "evaluate": (self._evaluate, "validation"),
            "examine": (self._examine, "an examination of the discriminator"),
            "propose": (self._propose, "proposals"),
        }[name]
        try:
            return do()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return [Noted(self._learner.step, f"Memory ran out: step {self._learner.step} goes without {what}.")]

    def _evaluate(self) -> list[TrainEvent]:
        return list(self._validation.hold(self._learner))

    def _examine(self) -> list[TrainEvent]:
        notes: list[TrainEvent] = [*self._validation.read(self._learner)]
        report = self._learner.examine(self._data, self._validation.held(self._learner))
        if report is None:
            return notes
        area = report.auroc if report.auroc == report.auroc else None
        words = 0 if self._data.lessons is None else self._data.lessons.words
        told = report.slices, report.good, area, report.tau, report.bound, report.proven, words
        return [*notes, Examined(self._learner.step, *told)]

    def _propose(self) -> list[TrainEvent]:
        count = self._learner.config.proposals * (FINAL_PROPOSALS if self._clock.progress >= 1 else 1)
        masks = propose(self._learner, self._data, count)
        by_class = {}
        for label, name in enumerate(self._classes, 1):
            passed = [mask.verdict == "accepted" for mask in masks if (mask.labels == label).any()]
            by_class[name] = [sum(passed), len(passed)]
        accepted = sum(mask.verdict == "accepted" for mask in masks)
        return [Proposed(self._learner.step, self._data.version, accepted, len(masks) - accepted, by_class, masks)]
