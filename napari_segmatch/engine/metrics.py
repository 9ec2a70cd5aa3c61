"""How good masks are. All on a case's own grid; voxels labelled 255 count for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..types import NOT_ANNOTATED


@dataclass(frozen=True)
class Scores:
    """Metrics of one class in one case; None where a metric has no meaning.

    Attributes
    ----------
    dice
        Volumetric Dice; 1 when both masks are empty.
    slice_dice
        Mean Dice over the slices that show the structure; None if none does.
    hd95
        95th percentile of the distances between the surfaces, in mm. The image's diagonal when one mask is
        empty and the other is not, so that missing a lesion is never rewarded; None when both are.
    false_positive
        Share of the empty slices on which something was segmented; None if no slice is empty.
    """

    dice: float
    slice_dice: float | None
    hd95: float | None
    false_positive: float | None


def dice(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Dice of two binary masks of any shape; two empty masks agree fully."""
    total = int(prediction.sum()) + int(truth.sum())
    return 2 * int((prediction & truth).sum()) / total if total else 1.0


def class_dice(prediction: np.ndarray, truth: np.ndarray, classes: int) -> list[float]:
    """Volumetric Dice of each class 1 to K between label volumes."""
    known = truth != NOT_ANNOTATED
    return [dice((prediction == label) & known, truth == label) for label in range(1, classes + 1)]


def annotated(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mark the voxels on which both say something: either reader may have left some out."""
    return (prediction != NOT_ANNOTATED) & (truth != NOT_ANNOTATED)


def score_case(prediction: np.ndarray, truth: np.ndarray, label: int, spacing: Sequence[float]) -> Scores:
    """Compare one class of two label volumes (z, y, x); ``spacing`` in mm along (z, y, x)."""
    known = annotated(prediction, truth)
    mine, theirs = (prediction == label) & known, (truth == label) & known
    shows = theirs.any((1, 2))
    empty = ~shows & known.any((1, 2))
    return Scores(
        dice=dice(mine, theirs),
        slice_dice=float(np.mean([dice(mine[z], theirs[z]) for z in np.flatnonzero(shows)])) if shows.any() else None,
        hd95=_hd95(mine, theirs, spacing),
        false_positive=float(mine[empty].any((1, 2)).mean()) if empty.any() else None,
    )


def _hd95(mine: np.ndarray, theirs: np.ndarray, spacing: Sequence[float]) -> float | None:
    if not mine.any() and not theirs.any():
        return None
    if not mine.any() or not theirs.any():
        return float(np.linalg.norm(np.array(mine.shape) * np.array(spacing)))
    if len(mine) == 1:  # a single slice: what is inside an outline is no surface because nothing lies above it
        mine, theirs, spacing = mine[0], theirs[0], spacing[1:]
    import torch
    from monai.metrics import compute_hausdorff_distance

    box = _bounding_box(mine | theirs)
    one, other = (torch.from_numpy(mask[box].astype(np.float32))[None, None] for mask in (mine, theirs))
    distance = compute_hausdorff_distance(one, other, include_background=True, percentile=95, spacing=list(spacing))
    return float(distance[0, 0])


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    where = np.argwhere(mask)
    low, high = where.min(0), where.max(0) + 1
    return tuple(slice(max(0, a - 1), b + 1) for a, b in zip(low, high, strict=True))


def confidence_interval(values: Sequence[float], seed: int = 0, draws: int = 10_000) -> tuple[float, float, float]:
    """Return the mean and its 95 % interval, by bootstrap over cases."""
    sample = np.asarray(values, float)
    rng = np.random.default_rng(seed)
    means = sample[rng.integers(0, len(sample), (draws, len(sample)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(sample.mean()), float(low), float(high)
