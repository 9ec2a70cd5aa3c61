"""From pixels to masks: probabilities of slices, and whole cases on their own grid."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..events import CANNOT_TELL, PseudoMask
from ..types import NOT_ANNOTATED, Geometry, Region, Verdict, watched
from .data import ResidentPool
from .device import at_once
from .discriminator import dice_of
from .learner import Learner
from .parts import Part, in_doubt, is_believed, strays
from .prepare import Frame, to_network, with_neighbours
from .selectors import Look, rows_of


@dataclass(frozen=True)
class Prediction:
    """Labels (z, y, x) uint8, and for each slice the selector's score and verdict.

    ``class_scores`` (z, classes) has the score of each class; NaN where it is not segmented, or not judged by itself.
    ``left_out`` (z,) counts the voxels of parts that were left out.
    """

    labels: np.ndarray
    scores: np.ndarray
    accepted: np.ndarray
    class_scores: np.ndarray
    left_out: np.ndarray


@torch.no_grad()
def predict_slices(learner: Learner, images: Tensor, frame: Frame, single: Collection[int] = ()) -> Prediction:
    """Predict all prepared slices of one case, (z, c, size, size), on the case's own grid.

    Of ``single`` structures, which come in one part, smaller parts are left out unless the selector accepts them.
    """
    images = with_neighbours(images, learner.neighbours, frame)
    labels, said = [], []
    for part in images.split(at_once(learner.device, learner.looks_twice)):
        part = part.to(learner.device)
        look = learner.look(part)
        labels.append(restored(look, frame))
        said.append(_said(learner, part, look))
    whole = torch.cat(labels).numpy()
    scores, accepted, by_class = (torch.cat(parts) for parts in zip(*said, strict=True))
    stray = strays(whole, single, partial(_believed, learner, images, frame))
    for rows, part, look in _looked_again(learner, images, frame, stray):
        scores[rows], accepted[rows], by_class[rows] = _said(learner, part, look)
    whole[stray] = 0
    return Prediction(whole, scores.numpy(), accepted.numpy(), by_class.numpy(), stray.sum((1, 2)))


def _said(learner: Learner, images: Tensor, look: Look) -> tuple[Tensor, Tensor, Tensor]:
    """Return the selector's score, verdict (n,) and score of each class (n, classes)."""
    selection = learner.select(images, look)
    by_class = selection.class_scores
    if by_class is None:
        by_class = torch.full((len(images), learner.classes), torch.nan)
    return selection.score.float().cpu(), selection.accepted.cpu(), by_class.float().cpu()


def _believed(learner: Learner, images: Tensor, frame: Frame, part: Part) -> bool:
    """Whether the selector accepts a part of a structure by itself, on any of its slices."""
    masks = torch.from_numpy(part.on_slices((0, frame.height, frame.width))).byte()
    return is_believed(learner, images[part.box[0]], frame.shrink_labels(masks, 1).bool())


def _looked_again(
    learner: Learner, images: Tensor, frame: Frame, stray: np.ndarray
) -> Iterator[tuple[Tensor, Tensor, Look]]:
    """Look once more at the slices with stray voxels (z, y, x) bool, these in doubt; yields rows, slices and looks."""
    touched = torch.from_numpy(np.flatnonzero(stray.any((1, 2))))
    for rows in touched.split(at_once(learner.device, learner.looks_twice)) if len(touched) else ():
        some = images[rows].to(learner.device)
        small = frame.shrink_labels(torch.from_numpy(stray[rows.numpy()]).byte(), 1).bool()
        yield rows, some, in_doubt(learner.look(some), small.to(learner.device))


def restored(look: Look, frame: Frame) -> Tensor:
    """Return labels (n, height, width) uint8 on the case's own grid; a slice without any gets none by scaling."""
    labels = torch.zeros(len(look.labels), frame.height, frame.width, dtype=torch.uint8)
    if look.shown.any():
        labels[look.shown.cpu()] = frame.restore(look.probabilities[look.shown]).cpu()
    return labels


def predict_volume(learner: Learner, pixels: np.ndarray, grid: Geometry | None = None) -> Prediction:
    """Predict a whole case from its pixels (channel, z, y, x), channels in the order of training.

    Without its grid it is seen as it is stored.
    """
    return predict_slices(learner, *to_network(pixels, learner.config.size, grid, learner.config.directions))


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
    rows = torch.tensor(list(dict.fromkeys([*seen, *pool.unlabelled[order].tolist()])))
    found: list[PseudoMask] = []
    for part in rows.split(at_once(learner.device, learner.looks_twice)):
        regions = [pool.regions[row] for row in part.tolist()]
        images, frames = pool.slices(part), [pool.frames[region.case] for region in regions]
        found += _pseudo_masks(learner, images, learner.look(images), regions, frames)
    ranked = sorted(range(len(found)), key=lambda index: (index >= len(seen), not found[index].labels.any()))[:count]
    return tuple(found[index] for index in sorted(ranked))


@torch.no_grad()
def propose_case(
    learner: Learner, case: str, pixels: np.ndarray, labels: np.ndarray, slices: Sequence[int],
    single: Collection[int] = (), wanted: Callable[[], bool] = lambda: True, grid: Geometry | None = None,
) -> Iterator[PseudoMask]:  # fmt: skip
    """Make pseudo masks of some slices of a case, from its pixels (channel, z, y, x): a few slices at a time.

    Of ``single`` structures smaller parts are left out, as :func:`predict_slices` does, unless people's ``labels``
    (z, y, x) of other slices are among them: the masks of such slices come once more, as they are to be. It ends when
    they are not ``wanted`` any more.
    """
    images, frame = to_network(pixels, learner.config.size, grid, learner.config.directions)
    del pixels  # as large as the case is
    images = with_neighbours(images, learner.neighbours, frame)
    whole = np.where(labels == NOT_ANNOTATED, 0, labels)
    for part in torch.tensor(slices, dtype=torch.long).split(at_once(learner.device, learner.looks_twice)):
        if not wanted():
            return
        regions, some = [Region(case, z) for z in part.tolist()], images[part].to(learner.device)
        for mask in _pseudo_masks(learner, some, learner.look(some), regions, [frame] * len(regions)):
            whole[mask.region.z] = mask.labels
            yield mask
    drawn = ~np.isin(np.arange(len(whole)), slices)
    stray = strays(whole, single, lambda part: wanted() and _believed(learner, images, frame, part), drawn)
    if not wanted():
        return
    for rows, some, look in _looked_again(learner, images, frame, stray):
        regions = [Region(case, z) for z in rows.tolist()]
        for mask in _pseudo_masks(learner, some, look, regions, [frame] * len(regions)):
            z = mask.region.z
            yield replace(mask, labels=np.where(stray[z], 0, whole[z]))


def _pseudo_masks(
    learner: Learner, images: Tensor, look: Look, regions: Sequence[Region], frames: Sequence[Frame]
) -> Iterator[PseudoMask]:
    """Judge what is seen on prepared slices (n, c, size, size); masks are on the grids of their own cases."""
    selection = learner.select(images, look)
    margins = learner.margins(selection)
    agreement = dice_of(look.first > 0, look.second > 0) if learner.looks_twice else None
    for index, (region, frame) in enumerate(zip(regions, frames, strict=True)):
        labels = restored(rows_of(look, torch.tensor([index], device=images.device)), frame)[0]
        verdict: Verdict = "accepted" if bool(selection.accepted[index]) else "rejected"
        agreed = None if agreement is None else round(float(agreement[index]), 4)
        yield PseudoMask(region, labels.numpy(), float(selection.score[index]), verdict, agreed, margins[index])


def scores_rows(case: str, geometry: Geometry, prediction: Prediction, proven: bool) -> Sequence[tuple[str | int, ...]]:
    """Return a line for each slice: case, number on screen, z, score, verdict, score of each class, voxels left out.

    The verdict is one only of a selector that is ``proven``.
    """
    words = ("rejected", "accepted") if proven else (CANNOT_TELL, CANNOT_TELL)
    return [
        (case, geometry.slice_number(z), z, f"{score:.4f}", words[int(accepted)],
         *("" if each != each else f"{each:.4f}" for each in by_class), int(left_out))
        for z, (score, accepted, by_class, left_out) in enumerate(
            zip(prediction.scores, prediction.accepted, prediction.class_scores, prediction.left_out, strict=True)
        )
    ]  # fmt: skip
