"""From what is known of a mask to the chance that it is good: a small logistic rule, and how far to trust it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

BOUND = 0.85
"""At least this share of accepted masks is to be good: the lower bound on the slices of an examination."""

ENOUGH = 0.75
"""A mask that is good with this chance is accepted, even if labels are too few to state the bound."""

FEW = 5
"""Below this number of labelled patients a threshold cannot be stated."""

MET = 3
"""So many good masks, and so many bad ones, have to be met before anything is said of a judge,"""

APART = 0.7
"""and so well it has to tell them apart (AUROC) before its verdicts are used."""


@dataclass(frozen=True)
class Prior:
    """What is thought of a rule before anything was examined.

    Attributes
    ----------
    slope, half
        How steeply chances grow with the evidence, and the evidence at which one in two is right.
    slope_spread, half_spread
        How far a run may be from that: standard deviations of the slope's logarithm and of ``half``.
    """

    slope: float
    half: float
    slope_spread: float
    half_spread: float

    @property
    def rule(self) -> Tensor:
        return torch.tensor([self.slope, -self.slope * self.half])


OF_EMPTY_SLICES = Prior(1.0, 0.0, 2.0, 5.0)
"""That nothing is there has the chance that the model gives it, until an examination says otherwise."""


def of_masks(usual: float) -> Prior:
    """Say what is thought of the rule for masks, given the evidence that a model's masks usually have.

    Runs with other patients differ little in what evidence a good mask has; but a model that is surer of all it does,
    as every model is after more steps, is also surer of its bad masks.
    """
    return Prior(3.0, 1.9 + 0.3 * usual, 0.35, 0.25)


WORTH = 2.0
"""For so many independent masks the slices of one labelled patient count: they resemble each other."""


OWN_WORTH = 5.0
"""The same of a class in a patient's validation cases, where the masks are the teacher's own."""


def weight_of(masks: int, cases: float, worth: float = WORTH) -> float:
    """Return for how many independent masks each of some counts that come from so many patients or cases."""
    return min(1.0, worth * cases / max(masks, 1))


class Judged(NamedTuple):
    """Masks of which it is known whether they are good.

    Attributes
    ----------
    evidence
        (n,), what speaks for each.
    good
        (n,) bool.
    weights
        (n,): for how many independent masks each counts.
    """

    evidence: Tensor
    good: Tensor
    weights: Tensor

    @classmethod
    def of_cases(cls, parts: Sequence[tuple[Tensor, Tensor]], cases: float, worth: float = WORTH) -> Judged:
        """Put evidence and truth of masks together that come from so many patients."""
        evidence = torch.cat([torch.zeros(0), *(evidence for evidence, _ in parts)])
        good = torch.cat([torch.zeros(0, dtype=torch.bool), *(good for _, good in parts)])
        return cls(evidence, good, torch.full((len(good),), weight_of(len(good), cases, worth)))

    @property
    def independent(self) -> float:
        """For how many independent masks all of them count; that their shares round off makes them no fewer."""
        return round(float(self.weights.sum()), 3)

    @classmethod
    def together(cls, *several: Judged) -> Judged:
        return cls(*(torch.cat(parts) for parts in zip(*several, strict=True)))


def fit_rule(masks: Judged, prior: Prior) -> Tensor:
    """Fit a logistic rule: slope and constant, (2,). What a few masks say moves the prior, many overrule it."""
    from scipy.optimize import minimize
    from scipy.special import expit

    x, y, share = (part.double().numpy() for part in masks)
    expected = np.array([np.log(prior.slope), prior.half])
    spread = np.array([prior.slope_spread, prior.half_spread])

    def loss(rule: np.ndarray) -> tuple[float, np.ndarray]:
        slope, off = np.exp(rule[0]), (rule - expected) / spread
        said = slope * (x - rule[1])
        wrong = share * (expit(said) - y)
        value = np.sum(share * (np.logaddexp(0, said) - y * said)) + 0.5 * off @ off
        return value, np.array([wrong @ said, -slope * wrong.sum()]) + off / spread

    bounds = [(expected[0] - 5, expected[0] + 5), (None, None)]  # a search that tries more only overflows
    log_slope, half = minimize(loss, expected, jac=True, method="L-BFGS-B", bounds=bounds).x
    return torch.tensor([np.exp(log_slope), -np.exp(log_slope) * half], dtype=torch.float32)


def chance(evidence: Tensor, rule: Tensor) -> Tensor:
    """Return the chance (n,) that a rule gives to what speaks for masks (n,)."""
    return torch.sigmoid(evidence * rule[0] + rule[1])


def auroc(scores: np.ndarray, good: np.ndarray) -> float:
    """Chance that a good one is scored above a bad one; NaN if there is only one kind."""
    from scipy.stats import rankdata

    positive = int(good.sum())
    negative = len(good) - positive
    if not positive or not negative:
        return float("nan")
    return float((rankdata(scores)[good].sum() - positive * (positive + 1) / 2) / (positive * negative))


def calibration_error(scores: np.ndarray, good: np.ndarray, bins: int = 10) -> float:
    """Mean distance between the promised and the found share of good ones, over equal bins of the score."""
    which = np.clip((scores * bins).astype(int), 0, bins - 1)
    return float(
        sum(abs(scores[which == b].mean() - good[which == b].mean()) * (which == b).mean() for b in np.unique(which))
    )


def precision_bound(good: int, accepted: int, level: float = 0.8) -> float:
    """Lower bound of the share of good ones (Clopper and Pearson, one-sided)."""
    from scipy.stats import beta

    return float(beta.ppf(1 - level, good, accepted - good + 1)) if good else 0.0


def threshold(scores: np.ndarray, good: np.ndarray, bound: float) -> float | None:
    """Return the smallest threshold above which the share of good ones is at least ``bound``, by its lower bound."""
    order = np.argsort(-scores, kind="stable")
    found = None
    for count, right in enumerate(np.cumsum(good[order]), 1):
        last_of_equals = count == len(scores) or scores[order[count]] < scores[order[count - 1]]
        if last_of_equals and precision_bound(int(right), count) >= bound:
            found = float(scores[order[count - 1]]) - 1e-6
    return found


def verdict_threshold(scores: np.ndarray, good: np.ndarray, cases: int) -> float:
    """Return the threshold for a verdict: less than ``ENOUGH`` if enough labels state that it keeps the bound."""
    stated = threshold(scores, good, BOUND) if cases >= FEW else None
    return ENOUGH if stated is None else min(stated, ENOUGH)


@dataclass(frozen=True)
class Report:
    """What an examination has shown on labelled slices that a judge had not seen, or on masks that people judged.

    Attributes
    ----------
    slices, good
        How many masks it met, and how many of them have a Dice of at least 0.8.
    auroc
        How well the scores tell good from bad; NaN if only one kind was met.
    tau
        Score from which masks are accepted once the judge is :attr:`proven`; None while none was met.
    bound
        Lower bound of the share of good masks among those accepted, at that threshold.
    """

    slices: int
    good: int
    auroc: float
    tau: float | None
    bound: float

    @property
    def proven(self) -> bool:
        """Whether the verdicts may be used."""
        return self.met_both and self.auroc >= APART

    @property
    def met_both(self) -> bool:
        """Whether there were enough good and bad masks to say anything."""
        return min(self.good, self.slices - self.good) >= MET

    def after(self, before: Report) -> Report:
        """Return what holds now: one that met too few to say anything takes no proof of before back."""
        if self.met_both or not before.proven:
            return self
        return replace(self, slices=before.slices, good=before.good, auroc=before.auroc)

    @staticmethod
    def proven_in(numbers: Tensor) -> Tensor:
        """Return :attr:`proven` of :attr:`numbers`, as a tensor: where they are, without waiting for them."""
        slices, good, area, _, _ = numbers.unbind()
        return (torch.minimum(good, slices - good) >= MET) & (area >= APART)

    @staticmethod
    def tau_in(numbers: Tensor) -> Tensor:
        """Return :attr:`tau` likewise; infinite while there is none."""
        return torch.where(numbers[3] >= 0, numbers[3], torch.inf)

    @property
    def numbers(self) -> Tensor:
        """All of it as a tensor (5,); -1 where there is nothing to tell."""
        area = -1.0 if np.isnan(self.auroc) else self.auroc
        return torch.tensor([self.slices, self.good, area, -1.0 if self.tau is None else self.tau, self.bound])

    @classmethod
    def of(cls, numbers: Tensor) -> Report:
        slices, good, area, tau, bound = numbers.tolist()
        return cls(int(slices), int(good), area if area >= 0 else float("nan"), tau if tau >= 0 else None, bound)


def report_on(masks: Judged, rule: Tensor, cases: int = 0, tau: float | None = None) -> Report:
    """Say how well a rule tells good masks from bad ones, at a threshold that is given.

    Drawn by chance from so many labelled patients they may also state the threshold.
    """
    scores, good = chance(masks.evidence, rule).numpy(), masks.good.numpy()
    tau = verdict_threshold(scores, good, cases) if tau is None else tau
    accepted = scores > tau
    bound = precision_bound(int(good[accepted].sum()), int(accepted.sum()))
    return Report(len(good), int(good.sum()), auroc(scores, good), tau, bound)
