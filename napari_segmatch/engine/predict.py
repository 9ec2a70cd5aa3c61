"""From pixels to masks: probabilities of slices, and whole cases on their own grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..events import PseudoMask
from ..types import Region, Verdict, watched
from .data import ResidentPool
from .device import at_once
from .discriminator import dice_of
from .learner import Learner
from .prepare import Frame, to_network, with_neighbours
from .selectors import Look, rows_of


@dataclass(frozen=True)
class Prediction:
    """Labels (z, y, x) uint8, and for each slice the selector's score and verdict.

    ``class_scores`` (z, classes) has the score of each class; NaN where it is not segmented, or not judged by itself.
    """

    labels: np.ndarray
    scores: np.ndarray
    accepted: np.ndarray
    class_scores: np.ndarray


@torch.no_grad()
def predict_slices(learner: Learner, images: Tensor, frame: Frame) -> Prediction:
    """Predict all prepared slices of one case, (z, c, size, size), on the case's own grid."""
    images = with_neighbours(images, learner.config.neighbours)
    labels, scores, accepted, by_class = [], [], [], []
    for part in images.split(at_once(learner.device, learner.looks_twice)):
        part = part.to(learner.device)
        look = learner.look(part)
        selection = learner.select(part, look)
        labels.append(restored(look, frame))
        scores.append(selection.score.float().cpu())
        accepted.append(selection.accepted.cpu())
        nobody = torch.full((len(part), learner.classes), torch.nan)
        by_class.append(nobody if selection.class_scores is None else selection.class_scores.float().cpu())
    return Prediction(*(torch.cat(parts).numpy() for parts in (labels, scores, accepted, by_class)))


def restored(look: Look, frame: Frame) -> Tensor:
    """Return labels (n, height, width) uint8 on the case's own grid; a slice without any gets none by scaling."""
    labels = torch.zeros(len(look.labels), frame.height, frame.width, dtype=torch.uint8)
    if look.shown.any():
        labels[look.shown.cpu()] = frame.restore(look.probabilities[look.shown]).cpu()
    return labels


def predict_volume(learner: Learner, pixels: np.ndarray) -> Prediction:
    """Predict a whole case from its pixels (channel, z, y, x), channels in the order of training."""
    images, frame = to_network(pixels, learner.config.size)
    return predict_slices(learner, images, frame)


@torch.no_grad()
def propose(learner: Learner, pool: ResidentPool, count: int) -> tuple[PseudoMask, ...]:
    """Make pseudo masks for review from the unlabelled pool.

    Three times as many slices as wanted are looked at, and those on which something is segmented go first:
    empty slices are most of any MRI and least of the work. A few slices are proposed each time, so that people can
    watch them change.
    """
    if not count or not len(pool.unlabelled):
        return ()
    order = torch.randperm(len(pool.unlabelled), generator=learner.generator(2))[: 3 * count]
    seen = [pool.row(region) for region in watched(pool.snapshot.unlabelled) if region.case in pool.frames]
    rows = torch.tensor([*seen, *(row for row in pool.unlabelled[order].tolist() if row not in set(seen))])
    found: list[PseudoMask] = []
    for part in rows.split(at_once(learner.device, learner.looks_twice)):
        regions = [pool.regions[row] for row in part.tolist()]
        found += _pseudo_masks(learner, pool.slices(part), regions, [pool.frames[region.case] for region in regions])
    ranked = sorted(range(len(found)), key=lambda index: (index >= len(seen), not found[index].labels.any()))[:count]
    return tuple(found[index] for index in sorted(ranked))


@torch.no_grad()
def propose_case(learner: Learner, case: str, pixels: np.ndarray, slices: Sequence[int]) -> Iterator[PseudoMask]:
    """Make pseudo masks of some slices of a case, from its pixels (channel, z, y, x): a few slices at a time."""
    images, frame = to_network(pixels, learner.config.size)
    del pixels  # as large as the case is
    images = with_neighbours(images, learner.config.neighbours)
    for part in torch.tensor(slices, dtype=torch.long).split(at_once(learner.device, learner.looks_twice)):
        regions = [Region(case, z) for z in part.tolist()]
        yield from _pseudo_masks(learner, images[part].to(learner.device), regions, [frame] * len(regions))


def _pseudo_masks(
    learner: Learner, images: Tensor, regions: Sequence[Region], frames: Sequence[Frame]
) -> Iterator[PseudoMask]:
    """Segment and judge prepared slices (n, c, size, size); masks are on the grids of their own cases."""
    look = learner.look(images)
    selection = learner.select(images, look)
    margins = learner.margins(selection)
    agreement = dice_of(look.first > 0, look.second > 0) if learner.looks_twice else None
    for index, (region, frame) in enumerate(zip(regions, frames, strict=True)):
        labels = restored(rows_of(look, torch.tensor([index], device=images.device)), frame)[0]
        verdict: Verdict = "accepted" if bool(selection.accepted[index]) else "rejected"
        agreed = None if agreement is None else round(float(agreement[index]), 4)
        yield PseudoMask(region, labels.numpy(), float(selection.score[index]), verdict, agreed, margins[index])


def scores_rows(case: str, prediction: Prediction) -> Sequence[tuple[str | int, ...]]:
    """Return a line for each slice: case, slice, score, verdict, and the score of each class that is there."""
    return [
        (case, z, f"{score:.4f}", "accepted" if accepted else "rejected",
         *("" if each != each else f"{each:.4f}" for each in by_class))
        for z, (score, accepted, by_class) in enumerate(
            zip(prediction.scores, prediction.accepted, prediction.class_scores, strict=True)
        )
    ]  # fmt: skip
