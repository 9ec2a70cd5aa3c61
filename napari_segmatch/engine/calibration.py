"""From what is known of a mask to the chance that it is good: a small logistic rule, and how far to trust it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

RIDGE = 0.001
"""Pull of the coefficients towards 0, as a share of the mean loss: more of it makes every chance too modest."""

BOUND = 0.85
"""At least this share of accepted masks is to be good: the lower bound on the slices of an examination."""

ENOUGH = 0.7
"""A mask that is good with this chance is accepted, even if labels are too few to state the bound."""

FEW = 5
"""Below this number of labelled cases a threshold cannot be stated: the better half of the masks is accepted."""


def fit_rule(features: Tensor, good: Tensor) -> Tensor:
    """Fit a logistic rule: coefficients (f + 1,), the constant last.

    Parameters
    ----------
    features
        (n, f), each a reason to believe in a mask: no coefficient is negative.
    good
        (n,) bool.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    centre, spread = features.mean(0), features.std(0, correction=0).clamp_min(1e-3)
    x = torch.cat([(features - centre) / spread, torch.ones(len(features), 1)], 1).double().numpy()
    y = good.double().numpy() * (1 - 2 / (len(good) + 4)) + 1 / (len(good) + 4)  # Platt's targets: never quite 0 or 1
    pull = np.full(x.shape[1], RIDGE)
    pull[-1] = 0

    def loss(rule: np.ndarray) -> tuple[float, np.ndarray]:
        said = x @ rule
        value = np.mean(np.logaddexp(0, said) - y * said) + 0.5 * float(pull @ rule**2)
        return value, x.T @ (expit(said) - y) / len(y) + pull * rule

    bounds = [(0, None)] * features.shape[1] + [(None, None)]
    rule = torch.from_numpy(minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds).x)
    slopes = rule[:-1].float() / spread
    return torch.cat([slopes, (rule[-1].float() - (slopes * centre).sum())[None]])


def chance(features: Tensor, rule: Tensor) -> Tensor:
    """Return the chance (n,) that a rule gives to features (n, f)."""
    return torch.sigmoid((features * rule[:-1]).sum(1) + rule[-1])  # a product would be rounded to bfloat16


def auroc(scores: np.ndarray, good: np.ndarray) -> float:
    """Chance that a good one is scored above a bad one; NaN if there is only one kind."""
    from scipy.stats import rankdata

    positive = int(good.sum())
    negative = len(good) - positive
    if not positive or not negative:
        return float("nan")
    return float((rankdata(scores)[good].sum() - positive * (positive + 1) / 2) / (positive * negative))


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
    """Return the threshold for a verdict: the one that keeps the bound, if labels suffice to state it and it is low."""
    tau = threshold(scores, good, BOUND) if cases >= FEW else None
    return min(max(0.5, float(np.median(scores))) if tau is None else tau, ENOUGH)


@dataclass(frozen=True)
class Report:
    """What an examination on labelled slices that a judge had not seen has shown.

    Attributes
    ----------
    slices, good
        How many masks were judged, and how many of them have a Dice of at least 0.8.
    auroc
        How well the scores tell good from bad; NaN if only one kind was met.
    tau
        Score from which masks are accepted; None while the labels do not suffice to state one.
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
        return min(self.good, self.slices - self.good) >= 3 and self.auroc >= 0.7
