"""Between a case's own grid and the network's square slices: normalise, crop to the body, scale, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import directions
from ..types import NOT_ANNOTATED, Geometry
from .losses import hard

ENOUGH_VOXELS = 2**17
"""So many voxels tell an image's percentiles as well as all of them."""

SEQUENCE_DROPOUT = 0.25
"""Chance that a slice goes without one of its sequences in a step, if any case of the pool lacks one."""


@dataclass(frozen=True)
class Frame:
    """How slices of shape (height, width) become squares of side ``size``, and how predictions return.

    ``top, bottom, left, right`` bound the part that holds the body; outside of it everything is background. ``turned``
    are the axes of (z, y, x) that the network sees the other way round: see :func:`against`.
    """

    height: int
    width: int
    top: int
    bottom: int
    left: int
    right: int
    size: int
    turned: tuple[int, ...] = ()

    @property
    def way(self) -> int:
        """How far it is to the slice that the network sees as the next one: 1, or -1 where z is turned."""
        return -1 if 0 in self.turned else 1

    @property
    def _inner(self) -> tuple[int, int]:
        h, w = self.bottom - self.top, self.right - self.left
        scale = self.size / max(h, w)
        return max(1, round(h * scale)), max(1, round(w * scale))

    @property
    def _padding(self) -> tuple[int, int, int, int]:
        h, w = self._inner
        left, top = (self.size - w) // 2, (self.size - h) // 2
        return left, self.size - w - left, top, self.size - h - top

    def shrink(self, slices: Tensor, fill: float) -> Tensor:
        """Bring float slices (n, c, height, width) into the frame, (n, c, size, size)."""
        cut = slices[..., self.top : self.bottom, self.left : self.right]
        small = F.interpolate(cut, self._inner, mode="bilinear", antialias=True, align_corners=False)
        return F.pad(self._turn(small), self._padding, value=fill)

    def _turn(self, slices: Tensor) -> Tensor:
        """Turn slices (..., h, w) as the network sees them, or back."""
        within = [axis - 3 for axis in self.turned if axis]
        return slices.flip(within) if within else slices

    def shrink_labels(self, labels: Tensor, classes: int) -> Tensor:
        """Bring labels (n, height, width) uint8 into the frame; each pixel gets the label that covers most of it.

        A structure too small to cover most of any pixel keeps the one that it covers best: it must not turn
        into "nothing here". One that lies outside of the frame is lost.
        """
        best = self._coverage(labels == 0)
        small = torch.zeros_like(best, dtype=torch.uint8)
        present = [
            label for label in labels.unique().tolist() if label and (label <= classes or label == NOT_ANNOTATED)
        ]
        for label in present:
            coverage = self._coverage(labels == label)
            small = torch.where(coverage > best, label, small).to(torch.uint8)
            best = torch.maximum(best, coverage)
        for label in present:
            lost = (labels == label).flatten(1).any(1) & ~(small == label).flatten(1).any(1)
            for row in lost.nonzero()[:, 0].tolist() if label != NOT_ANNOTATED else ():
                coverage = self._coverage(labels[row : row + 1] == label)
                if coverage.any():
                    small[row].view(-1)[coverage.argmax()] = label
        return small

    def _coverage(self, masks: Tensor) -> Tensor:
        """Share of each pixel of the frame that masks (n, height, width) cover, (n, size, size)."""
        return self.shrink(masks[:, None].float(), 0.0)[:, 0]

    def restore(self, probabilities: Tensor) -> Tensor:
        """Return the likeliest labels (n, height, width) uint8 on the case's grid, from (n, k, size, size).

        Channel 0 is the background; outside of the frame there is nothing else.
        """
        left, right, top, bottom = self._padding
        shown = self._turn(probabilities[:, 1:, top : self.size - bottom, left : self.size - right])
        grown = F.interpolate(
            shown, (self.bottom - self.top, self.right - self.left), mode="bilinear", align_corners=False
        )
        labels = torch.zeros(len(grown), self.height, self.width, dtype=torch.uint8, device=grown.device)
        body = hard(torch.cat([1 - grown.sum(1, keepdim=True), grown], 1))
        labels[:, self.top : self.bottom, self.left : self.right] = body
        return labels


def normalise(pixels: np.ndarray) -> np.ndarray:
    """Give each sequence of a volume (channel, z, y, x) mean 0 and spread 1 over the body.

    Percentiles clip outliers, a constant image becomes zeros. Where nearly all is background, the percentiles are
    those of the rest.
    """
    out = np.zeros(pixels.shape, np.float32)
    for channel, image in enumerate(pixels):
        low, high = _window(image)
        if high <= low:
            continue
        clipped = np.clip(image, low, high)
        body = clipped[clipped > low + 0.08 * (high - low)]
        body = body if body.size else clipped
        mean, spread = float(body.mean(dtype=np.float64)), float(body.std(dtype=np.float64))
        out[channel] = (clipped - mean) / max(spread, 0.05 * (high - low))
    return out


def _window(image: np.ndarray) -> tuple[float, float]:
    """Return the values between which an image's grey values count."""
    for part in (_thinned, lambda whole: whole[whole != whole.flat[0]], lambda whole: whole):
        some = part(image)
        low, high = np.percentile(some, [0.5, 99.8]) if some.size else (0.0, 0.0)
        if high > low:
            return float(low), float(high)
    return float(image.min()), float(image.max())


def _thinned(image: np.ndarray) -> np.ndarray:
    """Return every second or so voxel of each axis of a large image: its percentiles are those of all."""
    while image.size > 8 * ENOUGH_VOXELS:  # at most every second voxel of each axis goes
        image = image[tuple(slice(None, None, 2 if length > 64 else 1) for length in image.shape)]
    return image


def frame_of(normal: np.ndarray, size: int) -> Frame:
    """Find the part of the slices that holds the body, over the whole volume (channel, z, y, x).

    A row or column belongs to the body when 2 % of its voxels are brighter than the image's floor by a tenth
    of its range in any sequence. Four pixels of margin are kept.
    """
    _, _, height, width = normal.shape
    floor = normal.min((1, 2, 3), keepdims=True)
    bright = (normal > floor + 0.1 * (normal.max((1, 2, 3), keepdims=True) - floor)).any(0)
    top, bottom = _extent(bright.mean((0, 2)), height)
    left, right = _extent(bright.mean((0, 1)), width)
    return Frame(height, width, top, bottom, left, right, size)


def _extent(share: np.ndarray, length: int, margin: int = 4) -> tuple[int, int]:
    inside = np.flatnonzero(share > 0.02)
    if not len(inside) or len(inside) < length // 4:
        return 0, length
    return max(0, int(inside[0]) - margin), min(length, int(inside[-1]) + 1 + margin)


def against(grid: Geometry | None, wanted: str | None) -> tuple[int, ...]:
    """Return the axes of (z, y, x) along which a case is stored the other way than wanted, as LPS; none if unknown."""
    if grid is None or not wanted or not (own := directions(grid)):
        return ()
    return tuple(axis for axis, row in enumerate(grid.world) if own[row] != wanted[row])


def to_network(
    pixels: np.ndarray, size: int, grid: Geometry | None = None, wanted: str | None = None
) -> tuple[Tensor, Frame]:
    """Prepare a whole volume (channel, z, y, x): slices (z, channel, size, size) float32 and their frame.

    They are turned if their grid has other directions than are wanted. The slices stay in their order: it is the
    neighbours of each that change sides.
    """
    normal = normalise(pixels)
    frame = replace(frame_of(normal, size), turned=against(grid, wanted))
    slices = torch.from_numpy(np.ascontiguousarray(normal.swapaxes(0, 1)))
    floor = torch.from_numpy(normal.min((1, 2, 3)))[:, None, None]  # each sequence is padded with its own black
    return frame.shrink(slices - floor, 0.0) + floor, frame


def with_neighbours(slices: Tensor, count: int, frame: Frame) -> Tensor:
    """Give each slice of a case (z, c, h, w) its ``count`` neighbours on either side as further channels."""
    place, way = torch.arange(len(slices)), frame.way
    offsets = range(-count, count + 1)
    return torch.cat([slices[(place + way * offset).clamp(0, len(slices) - 1)] for offset in offsets], 1)


def without_some(slices: Tensor, chance: Tensor) -> Tensor:
    """Make sequences of slices (n, neighbours x c, h, w) all zeros, but never the last one that a slice has.

    ``chance`` (2, n, c) from 0 to 1 says which go, and which of those that are there stays in any case.
    """
    n, c = chance.shape[1:]
    there = slices.flatten(2).any(2).view(n, -1, c).any(1)
    stays = torch.where(there, chance[1], -1.0).argmax(1, keepdim=True)
    keep = (chance[0] >= SEQUENCE_DROPOUT).scatter(1, stays, True)
    return slices * keep.repeat(1, slices.shape[1] // c)[:, :, None, None]
