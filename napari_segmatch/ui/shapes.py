"""What one click does to the shape of one class on one slice. Pure functions; other classes are never touched."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter
from scipy.ndimage import label as pieces_of

from ..types import NOT_ANNOTATED

SMALL = 0.1
"""A piece with less than this share of the largest piece's area is an island."""


def smooth(inside: np.ndarray) -> np.ndarray:
    """Round off edges: what is mostly inside within about three pixels stays inside."""
    return np.asarray(gaussian_filter(inside.astype(np.float32), 1.5) > 0.5)


def without_islands(inside: np.ndarray) -> np.ndarray:
    """Keep the largest piece and those of at least a tenth of its area."""
    pieces, n = pieces_of(inside)
    if n < 2:
        return inside
    areas = np.bincount(pieces.ravel())[1:]
    return np.isin(pieces, 1 + np.flatnonzero(areas >= SMALL * areas.max()))


def grow(inside: np.ndarray) -> np.ndarray:
    return np.asarray(binary_dilation(inside))


def shrink(inside: np.ndarray) -> np.ndarray:
    return np.asarray(binary_erosion(inside))


SHAPES: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray], str]] = {
    "smooth": ("Smooth", smooth, "Round off the edges of the chosen class on this slice"),
    "islands": ("No islands", without_islands, "Remove pieces smaller than a tenth of the largest one on this slice"),
    "grow": ("Grow", grow, "One pixel more all around, but not into another class"),
    "shrink": ("Shrink", shrink, "One pixel less all around"),
}
"""Name, what it does to a mask (y, x) bool, tooltip."""


def reshape(labels: np.ndarray, label: int, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return labels (y, x) with one class changed; it takes no pixel of another class."""
    inside = labels == label
    free = inside | (labels == 0) | (labels == NOT_ANNOTATED)
    fresh = labels.copy()
    fresh[inside] = NOT_ANNOTATED
    fresh[change(inside) & free] = label
    return fresh
