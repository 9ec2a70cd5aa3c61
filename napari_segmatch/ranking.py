"""Which proposals a person sees, and in which order. Pure functions; the window and the simulation share them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from .types import Decision, HumanVerdict, Proposal, Verdict

Which = Literal["all", "accepted", "rejected", "mine"]
Order = Literal["best use of time", "worth a look", "disagreement", "surest first", "least sure first", "by case",
                "random"]  # fmt: skip
ORDERS: dict[Order, str] = {
    "best use of time": "What the model would learn from it, for each second of yours; among equals, case by case",
    "worth a look": "Closest to the discriminator's threshold first",
    "disagreement": "Where the discriminator and the model's own mirrored view disagree most",
    "surest first": "The most likely to be right first: quick accepts",
    "least sure first": "The least likely to be right first",
    "by case": "Case after case, slice after slice, under headings",
    "random": "In no order: a fair sample",
}

BLIND = 5
"""One proposal in this many is put before the person without its verdict and score."""

ROUGH_AREA = 200
"""Voxels to assume for a proposal whose size was not written down."""


@dataclass(frozen=True)
class Choice:
    """What the person wants to see."""

    which: Which = "all"
    undecided_only: bool = True
    order: Order = "best use of time"


@dataclass(frozen=True)
class Pace:
    """Seconds that a person takes to accept and to correct; the defaults are assumptions, until there is a log."""

    accept: float = 3.0
    correct: float = 5.0
    measured: bool = False

    @classmethod
    def of(cls, decisions: Iterable[Decision], few: int = 5) -> Pace:
        """Take the medians of what this person's decisions took, once there are a few of each kind."""
        took: dict[str | None, list[float]] = {"accepted": [], "corrected": []}
        for item in decisions:
            if item.seconds is not None and item.verdict in took:
                took[item.verdict].append(max(0.5, item.seconds))
        if any(len(values) < few for values in took.values()):
            return cls()
        return cls(median(took["accepted"]), median(took["corrected"]), measured=True)


def gain_per_second(item: Proposal, pace: Pace = Pace()) -> float:
    """Return what judging a proposal is expected to teach, for each second that it is expected to take.

    What it teaches is taken as its chance of being wrong times the square root of its area, as large mistakes teach
    more; the time as that of an accept or of a correction, by the same chance, the latter longer for a longer edge.
    """
    area = ROUGH_AREA if item.area is None else item.area
    wrong = 1 - item.score
    edge = 2 * math.sqrt(math.pi * area)
    seconds = (1 - wrong) * pace.accept + wrong * (pace.accept + pace.correct + edge / 25)
    return (0.05 + wrong) * math.sqrt(1 + area) / seconds


def disagreement(item: Proposal) -> float:
    """Return how far the discriminator's score and the mirrored view's agreement are apart, 0 to 1; -1 if unknown."""
    return -1.0 if item.agreement is None else abs(item.score - item.agreement)


def is_blind(proposal: Proposal) -> bool:
    """Whether this is a spot check: judged before the machine's word is shown."""
    return proposal.decision is None and is_spot_check(proposal)


def is_spot_check(proposal: Proposal) -> bool:
    return _shuffle(proposal.id) % BLIND == 0


def _shuffle(number: int) -> int:
    """Turn a number into one that looks drawn by chance, always the same (Knuth's multiplicative hash)."""
    return (number * 2654435761 % 2**32) >> 8


def threshold(proposals: Iterable[Proposal]) -> float:
    """Return where between rejected and accepted the selector seems to draw the line."""
    lowest, highest = math.inf, -math.inf
    for item in proposals:
        if item.verdict == "accepted":
            lowest = min(lowest, item.score)
        else:
            highest = max(highest, item.score)
    return (lowest + highest) / 2 if math.isfinite(lowest + highest) else 0.5


def belongs(item: Proposal, choice: Choice) -> bool:
    """Whether a proposal is in the list. A spot check is in no list that would give its verdict away."""
    if choice.which == "mine":
        return item.decision is not None
    if choice.undecided_only and item.decision is not None:
        return False
    return choice.which == "all" or (item.verdict == choice.which and not is_blind(item))


def select(proposals: Sequence[Proposal], choice: Choice, pace: Pace = Pace()) -> list[Proposal]:
    """Filter and sort."""
    found = [item for item in proposals if belongs(item, choice)]
    return sorted(found, key=_key(choice.order, proposals, pace))


def _key(order: Order, proposals: Sequence[Proposal], pace: Pace) -> Callable[[Proposal], Any]:
    line = threshold(proposals) if order == "worth a look" else 0.5
    keys: dict[Order, Callable[[Proposal], Any]] = {
        # a spot check takes a place that says nothing of its score
        "best use of time": lambda item: (-_band(gain_per_second(_veiled(item), pace)), item.case, item.z),
        "worth a look": lambda item: abs(_veiled(item).score - line),
        "disagreement": lambda item: -disagreement(_veiled(item)),
        "surest first": lambda item: -_veiled(item).score,
        "least sure first": lambda item: _veiled(item).score,
        "by case": lambda item: (item.case, item.z),
        "random": lambda item: _shuffle(item.id + 7919),
    }
    return keys[order]


def _band(gain: float) -> int:
    """Put gains within about a quarter of each other into one band: inside it the person stays in a case."""
    return round(3 * math.log2(gain))


def _veiled(item: Proposal) -> Proposal:
    """Return a spot check with a score drawn by chance: its place in the list must not tell."""
    if not is_blind(item):
        return item
    chance = _shuffle(item.id + 104729) % 1000 / 1000
    return Proposal(item.id, item.run, item.region, chance, item.verdict, item.step, item.pool_version, area=item.area)


Counts = Mapping[tuple[Verdict, HumanVerdict | None, bool], int]
"""How many proposals there are by the discriminator's verdict, the person's word, and whether it is a spot check."""


def how_many(counts: Counts, choice: Choice) -> int:
    """Return the length of the list that :func:`select` would give."""

    def inside(said: Verdict, word: HumanVerdict | None, spot: bool) -> bool:
        if choice.which == "mine":
            return word is not None
        if choice.undecided_only and word is not None:
            return False
        return choice.which == "all" or (said == choice.which and not (spot and word is None))

    return sum(n for key, n in counts.items() if inside(*key))


def overturned(counts: Counts) -> tuple[int, int]:
    """Of the spot checks that the discriminator accepted: how many a person overturned, of how many judged."""
    judged = {
        word: n
        for (said, word, spot), n in counts.items()
        if said == "accepted" and spot and word not in (None, "deferred")
    }
    return sum(n for word, n in judged.items() if word != "accepted"), sum(judged.values())


def interval(k: int, n: int) -> tuple[float, float]:
    """Clopper and Pearson's 95 % confidence interval for k of n."""
    from scipy.stats import beta

    low = 0.0 if k == 0 else float(beta.ppf(0.025, k, n - k + 1))
    high = 1.0 if k == n else float(beta.ppf(0.975, k + 1, n - k))
    return low, high
