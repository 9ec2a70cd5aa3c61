"""What a training run says, one JSON line each. The window, the shell and the tests read nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .types import Region, Verdict


@dataclass(frozen=True)
class TrainEvent:
    """Base of all events. ``kind`` is the name under which an event is written."""

    kind: ClassVar[str] = ""


@dataclass(frozen=True)
class Started(TrainEvent):
    kind: ClassVar[str] = "started"
    step: int
    device: str
    parameters: int
    labelled: int
    unlabelled: int
    pool_version: int
    classes: int = 0


@dataclass(frozen=True)
class PoolChanged(TrainEvent):
    """The trainer has taken up what people did; ``added`` are the slices that joined the labelled pool."""

    kind: ClassVar[str] = "pool_changed"
    step: int
    pool_version: int
    labelled: int
    unlabelled: int
    added: list[list[Any]] = field(default_factory=list)
    removed: list[list[Any]] = field(default_factory=list)
    reviewed: int = 0


@dataclass(frozen=True)
class Step(TrainEvent):
    """One step is done.

    Attributes
    ----------
    progress, seconds_left
        Share of the run that is over, and the time that the rest will take.
    accepted
        Share of the unlabelled batch whose pseudo masks the selector accepted; None during warm-up.
    """

    kind: ClassVar[str] = "step"
    step: int
    progress: float
    seconds_left: float
    supervised: float
    consistency: float
    discriminator: float
    accepted: float | None
    pool_version: int


@dataclass(frozen=True)
class Evaluated(TrainEvent):
    """Volumetric Dice on the frozen validation cases, by class name and by case."""

    kind: ClassVar[str] = "evaluated"
    step: int
    dice: dict[str, float]
    cases: dict[str, float]


@dataclass(frozen=True)
class Examined(TrainEvent):
    """The discriminator has met labelled slices that it had not learnt from, or if that proves nothing people's words.

    Attributes
    ----------
    slices, good
        Masks that it met, and how many of them have a Dice of at least 0.8; if those say nothing, of its proof before.
    auroc
        Chance that it scores a good mask above a bad one; None if only one kind was met.
    tau
        Score from which it accepts a mask; None while it has met none.
    bound
        Lower bound (80 %, one-sided) of the share of good masks among those accepted in the examination.
    proven
        Whether its verdicts are used; until then it cannot tell.
    words
        So many proposals move its chances, by what people said of them or drew in their place.
    """

    kind: ClassVar[str] = "examined"
    step: int
    slices: int
    good: int
    auroc: float | None
    tau: float | None
    bound: float
    proven: bool
    words: int = 0


CANNOT_TELL = "cannot tell yet"
"""Stands in place of a verdict that means nothing: the discriminator had not been proven when it judged."""


def could_tell(examinations: Sequence[Examined], judged: bool, step: int) -> bool:
    """Whether a run's discriminator could tell good masks from bad ones at a step, by what its examinations had shown.

    Others than those that are examined at all (``judged``) are taken at their word.
    """
    before = [item for item in examinations if item.step <= step]
    return before[-1].proven if before else not judged


@dataclass(frozen=True, eq=False)
class PseudoMask:
    """A mask (y, x) for one slice with the selector's score and verdict.

    ``agreement`` is its Dice with the model's mask for the mirrored slice; None if that was not asked. ``margins`` are
    by how much more speaks for each class than an even chance was expected to need (:meth:`Judge.margin`), in logits;
    None for one that is not there, and nothing if nobody can say.
    """

    region: Region
    labels: np.ndarray
    score: float
    verdict: Verdict
    agreement: float | None = None
    margins: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Proposed(TrainEvent):
    """Pseudo masks for review. In the event file only how many; the masks go to the project's store.

    ``by_class`` says of how many masks that show a class how many were accepted: [accepted, all].
    """

    kind: ClassVar[str] = "proposed"
    step: int
    pool_version: int
    accepted: int
    rejected: int
    by_class: dict[str, list[int]] = field(default_factory=dict)
    masks: tuple[PseudoMask, ...] = ()


@dataclass(frozen=True)
class Checkpointed(TrainEvent):
    kind: ClassVar[str] = "checkpointed"
    step: int
    path: str


@dataclass(frozen=True)
class Noted(TrainEvent):
    """A sentence for the person who watches ("case 12 is left out: its file is truncated")."""

    kind: ClassVar[str] = "noted"
    step: int
    message: str


@dataclass(frozen=True)
class Paused(TrainEvent):
    kind: ClassVar[str] = "paused"
    step: int


@dataclass(frozen=True)
class Stopped(TrainEvent):
    kind: ClassVar[str] = "stopped"
    step: int


@dataclass(frozen=True)
class Finished(TrainEvent):
    kind: ClassVar[str] = "finished"
    step: int


@dataclass(frozen=True)
class Failed(TrainEvent):
    kind: ClassVar[str] = "failed"
    step: int
    message: str


KINDS: dict[str, type[TrainEvent]] = {
    cls.kind: cls
    for cls in (
        Started, PoolChanged, Step, Evaluated, Examined, Proposed, Checkpointed, Noted, Paused, Stopped, Finished,
        Failed,
    )
}  # fmt: skip


def encode(event: TrainEvent) -> str:
    """Write an event as one line of JSON, without pixels."""
    fields = {name: value for name, value in vars(event).items() if name != "masks"}
    return json.dumps({"kind": event.kind, **fields})


def decode(line: str) -> TrainEvent | None:
    """Read a line that :func:`encode` wrote; None for a line that is torn or from a newer version."""
    try:
        fields = json.loads(line)
        return KINDS[fields.pop("kind")](**fields)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
