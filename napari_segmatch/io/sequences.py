"""Several MRI sequences of one study as one volume."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ..errors import ImportProblem, Question
from ..types import Geometry, Volume
from .orientation import resampled
from .reading import read_volume
from .source import Choices, ask, of_sequence


def read_sequences(
    images: Mapping[str, str | Path], sequences: Sequence[str], choices: Choices | None = None
) -> Volume:
    """Read a study's images as channels, float32 (channel, z, y, x).

    Parameters
    ----------
    images
        Sequence name to file. Names that are not in ``sequences`` are not read.
    sequences
        The channels' order. A sequence without a file is all zeros.
    choices
        Answers to questions that were asked before, of one sequence (``stack:t2``) or of all (``stack``). Images on
        other grids can be resampled onto the first one's, or onto that of the sequence that ``onto`` names.

    Raises
    ------
    Question
        If an image can be read in more than one way, or lies on another grid than the first.
    ImportProblem
        If there is no image or one cannot be read.
    """
    present = [name for name in sequences if name in images]
    if not present:
        raise ImportProblem(f"There is no image of {' or '.join(sequences)}: check the patterns and the files.")
    choices = choices or {}
    with ThreadPoolExecutor(len(present)) as readers:  # unpacking takes most of the time, and lets other threads run
        volumes = list(readers.map(lambda name: _read(images, name, choices), present))
    onto = choices["onto"] if choices.get("onto") in present else present[0]
    first = volumes[present.index(onto)]
    channels = np.zeros((len(sequences), *first.geometry.shape), np.float32)
    notes, stored = list(first.notes), ""
    for name, volume in zip(present, volumes, strict=True):
        pixels = volume.pixels[0]
        if not first.geometry.same_grid(volume.geometry):
            sentence = (
                f"{name} ({describe(volume.geometry)}) does not lie on the grid of {onto} ({describe(first.geometry)})"
            )
            ask(choices, "sequences", sentence, {"resample": f"resample the images onto {onto}, never a mask"})
            stored = stored or _stored(present, volumes)
            pixels = resampled(pixels, volume.geometry, first.geometry)
            if volume.pixels.any() and not pixels.any():
                raise ImportProblem(f"{sentence}, and lies nowhere in it: give images of one examination.")
            notes.append(f"{name} was resampled onto {onto}.")
        channels[list(sequences).index(name)] = pixels
        if volume is not first:
            notes += volume.notes
    notes += [f"{one} and {other} hold the same voxels." for one, other in _twins(channels, sequences, present)]
    return Volume(channels, first.geometry, tuple(notes), stored)


def first_present(pixels: np.ndarray) -> np.ndarray:
    """Return (z, y, x) of the first channel that holds anything: that of the first sequence that a case has."""
    return next((channel for channel in pixels if channel.any()), pixels[0])


def _read(images: Mapping[str, str | Path], name: str, choices: Choices) -> Volume:
    """Read one sequence; which part of a file it is, is asked of each of the sequences that share the file."""
    try:
        return read_volume(images[name], of_sequence(choices, name))
    except Question as question:
        sharing = [other for other, path in images.items() if Path(path) == Path(images[name])]
        if question.topic not in ("frame", "stack") or len(sharing) == 1:
            raise
        sentence = f"{question.sentence} for {name}"
        raise Question(sentence, f"{question.topic}:{name}", question.options) from question


def _stored(names: Sequence[str], volumes: Sequence[Volume]) -> str:
    """Hash the voxels as the files have them and where they lie; a last bit of a direction tells nothing."""
    told = hashlib.sha256()
    for name, volume in zip(names, volumes, strict=True):
        affine = volume.geometry.affine
        place = np.where(np.abs(affine) < 1e-6, 0, affine).astype(np.float32)
        for part in (repr((name, volume.geometry.shape)).encode(), place.tobytes(), volume.pixels.data):
            told.update(part)
    return told.hexdigest()


def _twins(channels: np.ndarray, sequences: Sequence[str], present: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of sequences that are one image under two names."""
    pixels = {name: channels[list(sequences).index(name)] for name in present}
    pairs = [(one, other) for index, one in enumerate(present) for other in present[index + 1 :]]
    return [(one, other) for one, other in pairs if np.array_equal(pixels[one], pixels[other])]


def describe(geometry: Geometry) -> str:
    """Say a grid's size for a sentence: voxels and millimetres along (z, y, x)."""
    shape, spacing = geometry.shape, geometry.spacing
    return " x ".join(map(str, shape)) + " voxels of " + " x ".join(f"{mm:.3g}" for mm in spacing) + " mm"
