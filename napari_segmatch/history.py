"""The story of one run as the window tells it: what the plots show, and a sentence for what happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from .events import (
    Evaluated,
    Examined,
    Failed,
    Finished,
    Noted,
    PoolChanged,
    Proposed,
    Started,
    Step,
    Stopped,
    TrainEvent,
    could_tell,
)


def called_now(event: TrainEvent, classes: Sequence[str]) -> TrainEvent:
    """Return an event that speaks of classes by the names that they have now; their order never changes."""
    if isinstance(event, Evaluated):
        return replace(event, dice=dict(zip(classes, event.dice.values(), strict=False)))
    if isinstance(event, Proposed):
        return replace(event, by_class=dict(zip(classes, event.by_class.values(), strict=False)))
    return event


@dataclass
class History:
    """What the plots of one run show; rebuilt from its event file."""

    judged: bool = False
    """Whether the run's discriminator is examined at all; until it was, it can tell nothing."""
    selector: str = "discriminator"
    """Who decides which pseudo masks train the run's model."""
    steps: list[Step] = field(default_factory=list)
    evaluations: list[Evaluated] = field(default_factory=list)
    proposed: list[Proposed] = field(default_factory=list)
    examinations: list[Examined] = field(default_factory=list)
    started: Started | None = None
    pool: PoolChanged | None = None
    last: TrainEvent | None = None

    @property
    def judge(self) -> str:
        """Whose score says whether a proposal passes: only the discriminator has one of its own."""
        return "the discriminator" if self.selector == "discriminator" else "the model's mean confidence"

    @property
    def examined(self) -> Examined | None:
        """The latest examination of the discriminator."""
        return self.examinations[-1] if self.examinations else None

    def proven_at(self, step: int) -> bool:
        return could_tell(self.examinations, self.judged, step)

    def add(self, event: TrainEvent) -> None:
        self.last = event
        if isinstance(event, Step):
            self.steps.append(event)
        elif isinstance(event, Evaluated):
            self.evaluations.append(event)
        elif isinstance(event, Proposed):
            self.proposed.append(replace(event, masks=()))
        elif isinstance(event, Examined):
            self.examinations.append(event)
        elif isinstance(event, Started):
            self.started = event
            self._go_back_to(event.step)
        elif isinstance(event, PoolChanged):
            self.pool = event

    def _go_back_to(self, step: int) -> None:
        """Forget what a kill has undone: a run that is resumed takes the steps after its checkpoint anew.

        Its examinations stay: proposals of those steps do, and were judged by what these had shown.
        """
        self.steps = [item for item in self.steps if item.step <= step]
        self.evaluations = [item for item in self.evaluations if item.step <= step]
        self.proposed = [item for item in self.proposed if item.step <= step]


def sentence(event: TrainEvent) -> tuple[str, bool]:
    """Return what the status line says of an event, and whether it is bad news."""
    if isinstance(event, PoolChanged) and event.added:
        n = len(event.added)
        return f"The trainer has seen your {n} new {'slice' if n == 1 else 'slices'}.", False
    if isinstance(event, PoolChanged):
        return "The trainer has seen what you changed.", False
    if isinstance(event, Noted):
        return event.message, False
    if isinstance(event, Stopped):
        return "The training has stopped; it can go on from here.", False
    if isinstance(event, Finished):
        return "The training has finished; what it proposed is in the tab Review.", False
    if isinstance(event, Failed):
        return event.message, True
    return "", False
