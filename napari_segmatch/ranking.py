"""Which proposals a person sees, and in which order. Pure functions; the window and the simulation share them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Literal, TypeVar

import numpy as np

from .columns import WORDS, Columns, Some
from .types import Case, Decision, HumanVerdict, Proposal, Verdict

Which = Literal["all", "accepted", "rejected", "mine"]
Order = Literal["best use of time", "worth a look", "disagreement", "surest first", "least sure first", "by case",
                "random"]  # fmt: skip
ORDERS: dict[Order, str] = {
    "best use of time": "What the model would learn, for each second of yours; a few slices of a case, then another's",
    "worth a look": "Closest to the threshold first",
    "disagreement": "Where the score and the model's own mirrored view disagree most",
    "surest first": "The most likely to be right first: quick accepts",
    "least sure first": "The least likely to be right first",
    "by case": "Case after case, slice after slice, under headings",
    "random": "In no order: a fair sample",
}

BLIND = 5
"""One proposal in this many is put before the person without its verdict and score."""

VISIT = 3
"""Slices of a case that a person judges before going on to another one."""

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
    another_case: float = 3.0
    """To open another case and to find one's way in it: an assumption in any case."""

    @classmethod
    def of(cls, decisions: Iterable[Decision], few: int = 5) -> Pace:
        """Take the medians of what this person's decisions took, once there are a few of each kind."""
        took: dict[str | None, list[float]] = {"accepted": [], "corrected": []}
        for item in decisions:
            if item.seconds is not None and item.verdict in took:
                took[item.verdict].append(max(0.5, item.seconds))
        if any(len(values) < few for values in took.values()):
            return cls()
        return cls(median(took["accepted"]), median(took["corrected"]))


Labelled = Mapping[str, int]
"""How many slices of each case have a label, drawn by hand or judged; cases without may be left out."""


def labelled_in(cases: Iterable[Case]) -> Labelled:
    return {case.id: len(case.labelled) for case in cases if case.labelled}


def gain_in(proposals: Iterable[Proposal], pace: Pace = Pace(), labelled: Labelled | None = None) -> dict[str, float]:
    """Return the sum over the open proposals of each case that segment something; cases without are left out."""
    items = Columns.of(proposals)
    rows = items.rows[(items.rows["decision"] == 0) & (items.rows["area"] != 0)]
    teaches, seconds = _worth(rows["area"], rows["score"], pace)
    gain = teaches / seconds
    gain = gain / (1 + _visits(gain, rows, _judged(items, labelled)))
    total = np.bincount(rows["case"], gain, len(items.cases))
    return {items.cases[code]: float(total[code]) for code in np.unique(rows["case"]).tolist()}


def _judged(items: Columns, labelled: Labelled | None) -> np.ndarray:
    """Return how many slices of each case a person has judged or drawn; what is put off is not.

    Of proposals those count that segment something.
    """
    rows = items.rows
    judged = ~np.isin(rows["decision"], (0, WORDS.index("deferred"))) & (rows["area"] != 0)
    counts = np.bincount(rows["case"][judged], minlength=len(items.cases))
    if not labelled:
        return counts
    return np.maximum(counts, [labelled.get(case, 0) for case in items.cases])


def _visits(gain: np.ndarray, rows: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """Return in which visit to its case a person would judge each proposal, from 0; (n,).

    Of each case the :data:`VISIT` that teach most are one visit, the next so many another. What is judged, or was drawn
    by hand, came before.
    """
    waiting = np.flatnonzero(rows["decision"] == 0)
    case = rows["case"][waiting]
    order, many = np.lexsort((-gain[waiting], case)), np.bincount(case, minlength=len(judged))
    place = np.empty(len(waiting), np.int64)
    place[order] = np.arange(len(waiting))
    visits = np.zeros(len(rows), np.int64)
    visits[waiting] = (place - (np.cumsum(many) - many)[case]) // VISIT + judged[case] // VISIT
    return visits


def _worth(area: np.ndarray, score: np.ndarray, pace: Pace) -> tuple[np.ndarray, np.ndarray]:
    """Return what judging proposals is expected to teach, and the seconds that it is expected to take.

    The first is taken as the chance of being wrong times the square root of the area, as large mistakes teach more; the
    other as the time of an accept or of a correction, by the same chance, the latter longer for a longer edge.
    """
    area = np.where(area < 0, ROUGH_AREA, area)
    wrong = 1 - score
    edge = 2 * np.sqrt(np.pi * area)
    seconds = (1 - wrong) * pace.accept + wrong * (pace.accept + pace.correct + edge / 25)
    return np.asarray((0.05 + wrong) * np.sqrt(1 + area)), np.asarray(seconds)


def is_blind(proposal: Proposal) -> bool:
    """Whether this is a spot check: judged before the machine's word is shown."""
    return proposal.decision is None and is_spot_check(proposal)


def is_spot_check(proposal: Proposal) -> bool:
    return _shuffle(proposal.id) % BLIND == 0


def spot_checks(ids: np.ndarray) -> np.ndarray:
    """Return :func:`is_spot_check` of the proposals with these numbers."""
    return np.asarray(_shuffle(ids.astype(np.uint64)) % BLIND == 0)


Number = TypeVar("Number", int, np.ndarray)


def _shuffle(number: Number) -> Number:
    """Turn a number into one that looks drawn by chance, always the same (Knuth's multiplicative hash)."""
    return (number * 2654435761 % 2**32) >> 8


def threshold(proposals: Iterable[Proposal]) -> float:
    """Return where between rejected and accepted the selector seems to draw the line."""
    rows = Columns.of(proposals).rows
    lowest = rows["score"][rows["accepted"]].min(initial=math.inf)
    highest = rows["score"][~rows["accepted"]].max(initial=-math.inf)
    return float(lowest + highest) / 2 if math.isfinite(lowest + highest) else 0.5


def nearest(proposals: Columns, line: float, but: int | None = None) -> Proposal | None:
    """Return the open proposal whose score is closest to a line, other than the one with the number ``but``."""
    waiting = np.flatnonzero((proposals.rows["decision"] == 0) & (proposals.rows["id"] != (-1 if but is None else but)))
    if not len(waiting):
        return None
    return proposals[int(waiting[np.argmin(np.abs(proposals.rows["score"][waiting] - line))])]


def _inside(choice: Choice, said: Verdict, word: HumanVerdict | None, spot: bool) -> bool:
    """Whether proposals of that kind are in the list. A spot check is in none that would give its verdict away."""
    if choice.which == "mine":
        return word is not None
    if choice.undecided_only and word is not None:
        return False
    return choice.which == "all" or (said == choice.which and not (spot and word is None))


def belongs(item: Proposal, choice: Choice) -> bool:
    """Whether a proposal is in the list."""
    return _inside(choice, item.verdict, item.decision, is_spot_check(item))


def select(
    proposals: Iterable[Proposal], choice: Choice, pace: Pace = Pace(), labelled: Labelled | None = None
) -> list[Proposal]:
    """Filter and sort."""
    columns = Columns.of(proposals)
    return list(columns.take(_arranged(columns, choice, pace, labelled)))


def selected(proposals: Iterable[Proposal], choice: Choice, pace: Pace = Pace(), labelled: Labelled | None = None,
             turned: Iterable[str] = ()) -> Some:  # fmt: skip
    """Do so, and make an object of none; ``turned`` are the cases whose last slice comes first on the screen."""
    table = Columns.of(proposals).by_id()
    return Some(table, table.ids[_arranged(table.turned(turned), choice, pace, labelled)])


def _arranged(items: Columns, choice: Choice, pace: Pace, labelled: Labelled | None) -> np.ndarray:
    """Return the places of the proposals that belong to a list, in its order."""
    kinds = np.array([[[_inside(choice, said, word, spot) for spot in (False, True)] for word in WORDS]
                      for said in ("rejected", "accepted")])  # fmt: skip
    rows = items.rows
    spot = spot_checks(items.ids)
    places = np.flatnonzero(kinds[rows["accepted"].astype(int), rows["decision"], spot.astype(int)])
    line = threshold(items) if choice.order == "worth a look" else 0.5
    if choice.order == "best use of time":
        return places[_by_gain(items.take(places), spot[places], _judged(items, labelled), pace)]
    return places[_sorted(items.take(places), spot[places], choice.order, line)]


def _by_gain(items: Columns, spot: np.ndarray, judged: np.ndarray, pace: Pace) -> np.ndarray:
    """Return the places of proposals, those visits first in which the model learns most for each second.

    To open a case takes time as well. Slices of one case are alike, so that the next visit to it counts half, the one
    after it a third. In a visit slices keep their order.
    """
    rows = items.rows
    teaches, seconds = _worth(rows["area"], _shown_score(rows, spot), pace)
    visits = _visits(teaches / seconds, rows, judged)
    place = np.lexsort((-teaches / seconds, rows["decision"] != 0, visits, rows["case"]))
    case, visits, waits = rows["case"][place], visits[place], rows["decision"][place] == 0
    fresh = (np.diff(visits, prepend=-1) != 0) | (np.diff(case, prepend=-1) != 0) | ~waits
    first, worth = _together(teaches[place], seconds[place], fresh, pace.another_case)
    return place[np.lexsort((rows["z"][place], first, -worth / (1 + visits)))]


def _together(
    teaches: np.ndarray, seconds: np.ndarray, fresh: np.ndarray, opening: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return with which first one each slice is worth seeing, and what all of them teach a second.

    Slices (n,) come visit by visit, the best first, which is ``fresh``. Another joins while it teaches more a second
    than those before it with the opening of the case; one that does not would be a visit of its own.
    """
    first = np.arange(len(fresh))
    rank = first - np.maximum.accumulate(np.where(fresh, first, 0))
    total, spent = teaches.copy(), opening + seconds
    for number in range(1, VISIT):
        at = np.flatnonzero(rank == number)
        at = at[teaches[at] / seconds[at] > (total / spent)[first[at - 1]]]
        first[at] = first[at - 1]
        total[first[at]] += teaches[at]
        spent[first[at]] += seconds[at]
    return first, (total / spent)[first]


def _shown_score(rows: np.ndarray, spot: np.ndarray) -> np.ndarray:
    """Return scores to sort by; for an open spot check one that says nothing of its own."""
    blind = spot & (rows["decision"] == 0)
    return np.where(blind, _shuffle((rows["id"] + 104729).astype(np.uint64)) % 1000 / 1000, rows["score"])


def _sorted(items: Columns, spot: np.ndarray, order: Order, line: float) -> np.ndarray:
    """Return the places of proposals in their order; an open spot check takes one that says nothing of its score."""
    rows = items.rows
    if order == "by case":
        return np.lexsort((rows["z"], rows["case"]))
    score, blind = _shown_score(rows, spot), spot & (rows["decision"] == 0)
    apart = np.abs(score - np.where(blind, np.nan, rows["agreement"]))
    keys: dict[Order, np.ndarray] = {
        "worth a look": np.abs(score - line),
        "disagreement": np.where(np.isnan(apart), 1, -apart),
        "surest first": -score,
        "least sure first": score,
        "random": _shuffle((rows["id"] + 7919).astype(np.uint64)),
    }
    return np.argsort(keys[order], kind="stable")


Counts = Mapping[tuple[Verdict, HumanVerdict | None, bool], int]
"""How many proposals there are by the discriminator's verdict, the person's word, and whether it is a spot check."""


def how_many(counts: Counts, choice: Choice) -> int:
    """Return the length of the list that :func:`select` would give."""
    return sum(n for key, n in counts.items() if _inside(choice, *key))


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
    from scipy.special import betaincinv  # scipy.stats takes a second to import

    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, 0.025))
    high = 1.0 if k == n else float(betaincinv(k + 1, n - k, 0.975))
    return low, high
