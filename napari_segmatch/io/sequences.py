"""Several MRI sequences of one study as one volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import ImportProblem
from ..types import Geometry, Volume
from .nifti import read_volume


def read_sequences(images: Mapping[str, str | Path], sequences: Sequence[str]) -> Volume:
    """Read a study's images as channels, float32 (channel, z, y, x).

    Parameters
    ----------
    images
        Sequence name to file; all on one grid. Names that are not in ``sequences`` are not read.
    sequences
        The channels' order. A sequence without a file is all zeros.

    Raises
    ------
    ImportProblem
        If there is no image, one cannot be read, or two do not lie on one grid.
    """
    present = [name for name in sequences if name in images]
    if not present:
        raise ImportProblem(f"There is no image of {' or '.join(sequences)}: check the patterns and the files.")
    first = read_volume(images[present[0]])
    channels = np.zeros((len(sequences), *first.geometry.shape), np.float32)
    for name in present:
        volume = first if name == present[0] else read_volume(images[name])
        if not first.geometry.same_grid(volume.geometry):
            raise ImportProblem(
                f"{name} ({describe(volume.geometry)}) does not lie on the grid of {present[0]} "
                f"({describe(first.geometry)}): resample the images onto one grid first."
            )
        channels[list(sequences).index(name)] = volume.pixels[0]
    return Volume(channels, first.geometry)


def describe(geometry: Geometry) -> str:
    """Say a grid's size for a sentence: voxels and millimetres along (z, y, x)."""
    shape, spacing = geometry.shape, geometry.spacing
    return " x ".join(map(str, shape)) + " voxels of " + " x ".join(f"{mm:.3g}" for mm in spacing) + " mm"
