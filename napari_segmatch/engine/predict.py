"""From pixels to masks: probabilities of slices, and whole cases on their own grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..events import PseudoMask
from ..types import Region
from .data import ResidentPool
from .learner import Learner
from .losses import hard
from .prepare import Frame, to_network

CHUNK = 16


@dataclass(frozen=True)
class Prediction:
    """Labels (z, y, x) uint8, and for each slice the selector's score and verdict."""

    labels: np.ndarray
    scores: np.ndarray
    accepted: np.ndarray


@torch.no_grad()
def probabilities(learner: Learner, images: Tensor, flips: bool = False) -> Tensor:
    """Return the teacher's class probabilities (n, k, size, size) float32 for slices (n, c, size, size).

    With ``flips`` the left-right mirrored prediction is averaged in.
    """
    chance = learner.mean_teacher(images).float().softmax(1)
    if flips:
        mirrored = learner.mean_teacher(images.flip(-1)).float().softmax(1).flip(-1)
        chance = (chance + mirrored) / 2
    return chance


@torch.no_grad()
def predict_slices(learner: Learner, images: Tensor, frame: Frame, flips: bool = True) -> Prediction:
    """Predict prepared slices of one case (z, c, size, size) on the case's own grid.

    ``flips`` averages the mirrored prediction in, unless the run was told that left and right differ (``flip`` 0).
    """
    flips = flips and learner.config.flip > 0
    labels, scores, accepted = [], [], []
    for part in images.split(CHUNK):
        part = part.to(learner.device)
        chance = probabilities(learner, part, flips)
        selection = learner.selector(part, chance)
        labels.append(hard(frame.restore(chance)).to(torch.uint8).cpu())
        scores.append(selection.score.float().cpu())
        accepted.append(selection.accepted.cpu())
    return Prediction(torch.cat(labels).numpy(), torch.cat(scores).numpy(), torch.cat(accepted).numpy())


def predict_volume(learner: Learner, pixels: np.ndarray, flips: bool = True) -> Prediction:
    """Predict a whole case from its pixels (channel, z, y, x), channels in the order of training."""
    images, frame = to_network(pixels, learner.config.size)
    return predict_slices(learner, images, frame, flips)


@torch.no_grad()
def propose(learner: Learner, pool: ResidentPool, count: int) -> tuple[PseudoMask, ...]:
    """Make pseudo masks for review from the unlabelled pool.

    Three times as many slices as wanted are looked at, and those on which something is segmented go first:
    empty slices are most of any MRI and least of the work.
    """
    if not count or not len(pool.unlabelled):
        return ()
    order = torch.randperm(len(pool.unlabelled), generator=learner.generator(2))[: 3 * count]
    rows = pool.unlabelled[order]
    found, shows = [], []
    for part in rows.split(CHUNK):
        images = pool.images[part.to(learner.device)]
        chance = probabilities(learner, images)
        selection = learner.selector(images, chance)
        for index, row in enumerate(part.tolist()):
            region = pool.regions[row]
            labels = hard(pool.frames[region.case].restore(chance[index : index + 1]))[0].to(torch.uint8).cpu()
            found.append(_pseudo_mask(region, labels, selection.score[index], selection.accepted[index]))
            shows.append(bool(labels.any()))
    ranked = sorted(range(len(found)), key=lambda index: not shows[index])[:count]
    return tuple(found[index] for index in sorted(ranked))


def _pseudo_mask(region: Region, labels: Tensor, score: Tensor, accepted: Tensor) -> PseudoMask:
    return PseudoMask(region, labels.numpy(), float(score), "accepted" if bool(accepted) else "rejected")


def scores_rows(case: str, prediction: Prediction) -> Sequence[tuple[str, int, str, str]]:
    """Return a line for each slice: case, slice, score, verdict."""
    return [
        (case, z, f"{score:.4f}", "accepted" if accepted else "rejected")
        for z, (score, accepted) in enumerate(zip(prediction.scores, prediction.accepted, strict=True))
    ]
