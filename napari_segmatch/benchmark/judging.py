"""How good is the discriminator's word? Its scores against the truth, beside what costs nothing: three baselines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ..engine.calibration import auroc, calibration_error
from ..engine.device import at_once
from ..engine.discriminator import GOOD, dice_of
from ..engine.evidence import signs
from ..engine.learner import Learner
from ..engine.prepare import Frame, with_neighbours
from ..engine.selectors import DiscriminatorSelector, Look, Selection
from ..types import NOT_ANNOTATED

SIGNALS = ("score", "confidence", "agreement", "certainty")


def judged_slices(learner: Learner, slices: Tensor, frame: Frame, truth: np.ndarray) -> list[dict[str, float]]:
    """Return what is known and what is true of each mask of a case, and whether its slice shows that class at all.

    Of several classes each is judged by itself, and a slice may have several rows.

    Parameters
    ----------
    slices
        Prepared slices (z, c, size, size).
    truth
        Labels (z, y, x) on the case's own grid.
    """
    rows, selector = [], cast(DiscriminatorSelector, learner.selector)
    images = with_neighbours(slices, learner.neighbours, frame)
    wanted = frame.shrink_labels(torch.from_numpy(np.ascontiguousarray(truth)), learner.classes)
    together = at_once(learner.device, learner.looks_twice)
    for part, target in zip(images.split(together), wanted.split(together), strict=True):
        look = learner.look(part.to(learner.device))
        said = learner.select(part.to(learner.device), look)
        for label in range(1, learner.classes + 1):
            rows += _judged_masks(look, said, target, label, float(selector.threshold))
    return rows


def _judged_masks(look: Look, said: Selection, target: Tensor, label: int, tau: float) -> list[dict[str, float]]:
    """Return what is known and what is true of each mask of one class, where somebody has annotated it."""
    target = target.to(look.labels.device)
    mask, true = (look.labels == label) & (target != NOT_ANNOTATED), target == label
    score = said.score if said.class_scores is None else said.class_scores[:, label - 1]
    signals = {
        **signs(look, mask, label), "score": score, "accepted": (score > tau).float(),
        "dice": dice_of(mask, true), "lesion": true.flatten(1).any(1).float(),
    }  # fmt: skip
    return [
        {name: float(values[index]) for name, values in signals.items()}
        for index in mask.flatten(1).any(1).nonzero()[:, 0].tolist()
    ]


def summary(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Summarise judged masks, those of a class that is there and (``all_``) false alarms among them."""
    lesions = _figures([row for row in rows if row["lesion"]])
    return lesions | {f"all_{name}": value for name, value in _figures(rows).items()}


def _figures(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """For each signal AUROC, AUPRC and Spearman; of the score also how it is calibrated and what it accepts."""
    from scipy.stats import spearmanr

    table = {name: np.array([row[name] for row in rows]) for name in (*SIGNALS, "dice", "accepted")} if rows else {}
    if not table:
        return {"slices": 0}
    good, accepted = table["dice"] >= GOOD, table["accepted"] > 0
    found: dict[str, float] = {"slices": len(good), "good": float(good.mean())}
    for name in SIGNALS:
        found[f"auroc_{name}"] = auroc(table[name], good)
        found[f"auprc_{name}"] = auprc(table[name], good)
        varied = len(set(table[name])) > 1 and len(set(table["dice"])) > 1
        found[f"spearman_{name}"] = float(spearmanr(table[name], table["dice"]).statistic) if varied else np.nan
    found["calibration_error"] = calibration_error(table["score"], good)
    found["calibration_by_chance"] = calibration_by_chance(table["score"])
    found["accepted"] = float(accepted.mean())
    found["precision"] = float(good[accepted].mean()) if accepted.any() else np.nan
    for share in (0.3, 0.5, 0.8):
        best = np.argsort(-table["score"], kind="stable")[: max(1, round(share * len(good)))]
        found[f"precision_at_{share:.0%}"] = float(good[best].mean())
    return found


def auprc(scores: np.ndarray, good: np.ndarray) -> float:
    """Average precision of good ones ranked by score."""
    if not good.any():
        return float("nan")
    ranked = good[np.argsort(-scores, kind="stable")]
    return float((np.cumsum(ranked) / np.arange(1, len(ranked) + 1))[ranked].mean())


def calibration_by_chance(scores: np.ndarray, draws: int = 200) -> float:
    """Return the calibration error that chances which hold show on so few masks in the mean: 0.06 on 270 of them."""
    chance = np.random.default_rng(0)
    return float(np.mean([calibration_error(scores, chance.random(len(scores)) < scores) for _ in range(draws)]))
