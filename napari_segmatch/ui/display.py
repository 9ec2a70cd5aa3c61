"""How voxels are turned for the screen: patient right on screen left, front and head up. Pure functions.

Arrays come as (z, y, x), permuted but never flipped. napari draws an index that grows to the right and
downwards, so an axis that runs towards the patient's right, front or head is shown through a reversed numpy
*view*: what is painted on the screen lands in the right voxel, and nothing is copied.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..types import Geometry

WINDOWS = {"usual greys": (1, 99.5), "all greys": (0, 100), "more contrast": (20, 98), "bright lesions": (50, 99.9),
           "dark lesions": (1, 85)}  # fmt: skip
"""Percentiles of the grey values that are shown as black and as white."""

TOWARDS = (("R", "L"), ("A", "P"), ("S", "I"))
"""Letters at the positive and the negative end of each axis of the world (RAS+)."""


@dataclass(frozen=True)
class Flip:
    """Which of (z, y, x) are reversed on the screen.

    Attributes
    ----------
    letters
        For each axis the letters where its first and its last index on the screen lie; None if the file does
        not say where left and right are.
    """

    axes: tuple[bool, bool, bool] = (False, False, False)
    letters: tuple[tuple[str, str], ...] | None = None

    @classmethod
    def of(cls, geometry: Geometry) -> Flip:
        """Turn the axes so that index 0 is the patient's right, front and head."""
        letters = tuple(TOWARDS[row] for row in geometry.world)
        return cls(geometry.reversed, letters if geometry.known else None)

    def to_view(self, array: np.ndarray) -> np.ndarray:
        """Return a view of (z, y, x), or of one slice (y, x), as it lies on the screen; or of that, as it is stored."""
        reverse = self.axes[-array.ndim :]
        return array[tuple(slice(None, None, -1) if flip else slice(None) for flip in reverse)]

    def z_to_view(self, z: int, slices: int) -> int:
        return slices - 1 - z if self.axes[0] else z

    z_from_view = z_to_view


def edge_letters(flip: Flip, displayed: tuple[int, int]) -> dict[str, str]:
    """Return the letter for each edge of the picture, given the axes drawn downwards and to the right."""
    if flip.letters is None:
        return {"top": "orientation unknown", "bottom": "", "left": "", "right": ""}
    down, right = displayed
    (top, bottom), (left_, right_) = flip.letters[down], flip.letters[right]
    return {"top": top, "bottom": bottom, "left": left_, "right": right_}


def window(pixels: np.ndarray, low: float = 1, high: float = 99.5) -> tuple[float, float]:
    """Grey values to show as black and white: percentiles of at most a few ten thousand voxels."""
    stride = tuple(max(1, n // 40) for n in pixels.shape)
    sample = pixels[tuple(slice(None, None, step) for step in stride)]
    black, white = np.percentile(sample, [low, high])
    return float(black), float(white) if white > black else float(black) + 1.0
