"""Parts of a structure in a whole case: where cases show it in one, smaller parts stay only if they are believed.

A network that sees slices marks an island here and there. That it lies apart from all else, the whole case shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from scipy.ndimage import binary_dilation
from skimage.measure import label, regionprops
from torch import Tensor, nn

from ..types import NOT_ANNOTATED
from .device import at_once
from .selectors import Look, Selection

SPECK = 0.05
"""A part with less than this share of the largest part's voxels is no part of its own."""

MOST = 20
"""Of so many parts of a structure, the largest, it is asked whether they are believed: more of them are noise."""

ENOUGH, MANY = 3, 30
"""So many whole cases have to show a structure before anything is expected of others; so many are looked at."""


Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Part:
    """A connected part of a structure: its label, and its voxels (z, y, x) bool within a box of the case."""

    label: int
    box: Box
    inside: np.ndarray

    @cached_property
    def voxels(self) -> int:
        return int(self.inside.sum())

    def on_slices(self, shape: Sequence[int]) -> np.ndarray:
        """Return its masks (n, y, x) bool on the slices that show it, of a case of this shape (z, y, x)."""
        z, *plane = self.box
        masks = np.zeros((z.stop - z.start, *shape[1:]), bool)
        masks[(slice(None), *plane)] = self.inside
        return masks


class Seer(Protocol):
    """Whoever segments slices and judges the masks: a learner, as far as parts need one."""

    device: torch.device
    selector: nn.Module

    @property
    def looks_twice(self) -> bool: ...
    def look(self, images: Tensor) -> Look: ...
    def select(self, images: Tensor, look: Look) -> Selection: ...


def parts_of(labels: np.ndarray) -> dict[int, list[Part]]:
    """Return the connected parts of each structure in a case's labels (z, y, x), the largest first; corners connect."""
    found: dict[int, list[Part]] = {}
    for whole in regionprops(np.where(labels == NOT_ANNOTATED, 0, labels)):
        parts = [
            Part(whole.label, _within(whole.slice, part.slice), part.image)
            for part in regionprops(label(whole.image, connectivity=3))
        ]
        found[whole.label] = sorted(parts, key=lambda part: -part.voxels)
    return found


def _within(outer: Box, inner: Box) -> Box:
    """Return the place in a case of a box that lies within another."""
    z, y, x = (slice(o.start + i.start, o.start + i.stop) for o, i in zip(outer, inner, strict=True))
    return z, y, x


def shown_in(labels: np.ndarray) -> dict[int, bool]:
    """Return the structures in a case's labels (z, y, x), and whether each comes in one part; specks do not count."""
    return {
        structure: not others or others[0].voxels < SPECK * largest.voxels
        for structure, (largest, *others) in parts_of(labels).items()
    }


def in_one_part(cases: Iterable[Mapping[int, bool]]) -> frozenset[int]:
    """Return the structures that come in one part, as far as ``ENOUGH`` labelled cases show.

    Parameters
    ----------
    cases
        What :func:`shown_in` says of cases of which every slice is labelled.
    """
    times: Counter[int] = Counter()
    several: set[int] = set()
    for shown in cases:
        times.update(shown.keys())
        several.update(structure for structure, one in shown.items() if not one)
    return frozenset(structure for structure, count in times.items() if count >= ENOUGH) - several


def strays(
    labels: np.ndarray, single: Collection[int], believed: Callable[[Part], bool], drawn: np.ndarray | None = None
) -> np.ndarray:
    """Mark what belongs to no structure, (z, y, x) bool: specks, and smaller parts that are not ``believed``.

    Only the ``MOST`` largest of these can be believed. A part at the main part of another structure belongs to that:
    background is what it is least.

    Parameters
    ----------
    single
        Structures that come in one part; others are left as they are.
    drawn
        (z,) bool: slices that people have drawn. What is on any of them stays, with all that hangs together with it.
    """
    stray = np.zeros(labels.shape, bool)
    if not single:
        return stray
    parts = parts_of(np.where(np.isin(labels, list(single)), labels, 0))
    main = np.isin(labels, [0, NOT_ANNOTATED, *single], invert=True)
    for largest, *_ in parts.values():
        main[largest.box] |= largest.inside
    for largest, *others in parts.values():
        for rank, part in enumerate(others):
            theirs = drawn is not None and part.inside[drawn[part.box[0]]].any()
            noise = rank >= MOST or part.voxels < SPECK * largest.voxels
            if not theirs and not _touches(part, main) and (noise or not believed(part)):
                stray[part.box] |= part.inside
    return stray


def _touches(part: Part, main: np.ndarray) -> bool:
    """Whether a part lies at voxels of a case (z, y, x) bool; corners connect."""
    around = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in part.box)
    near = main[around]
    if not near.any():
        return False
    inside = np.zeros(near.shape, bool)
    inside[
        tuple(slice(side.start - out.start, side.stop - out.start) for side, out in zip(part.box, around, strict=True))
    ] = part.inside
    return bool((binary_dilation(inside, np.ones((3, 3, 3))) & near).any())


def is_believed(seer: Seer, images: Tensor, masks: Tensor) -> bool:
    """Whether the selector accepts what masks (n, size, size) bool show by itself, on any of these slices."""
    together = at_once(seer.device, seer.looks_twice)
    for seen, inside in zip(images.split(together), masks.split(together), strict=True):
        seen = seen.to(seer.device)
        look = alone(seer.look(seen), inside.to(seer.device))
        if (seer.select(seen, look).accepted & look.shown).any():
            return True
    return False


def alone(look: Look, mask: Tensor) -> Look:
    """Return a look in which nothing is there but what masks (n, h, w) bool show."""
    nothing = torch.zeros_like(look.probabilities)
    nothing[:, 0] = 1
    return _kept(look, mask, nothing)


def in_doubt(look: Look, stray: Tensor) -> Look:
    """Return a look in which stray pixels (n, h, w) bool are background, but by a hair: the doubt counts."""
    there = 1 - look.probabilities[:, :1]
    doubt = look.probabilities * (0.49 / there.clamp_min(0.49))
    doubt[:, :1] = 1 - there.clamp_max(0.49)
    return _kept(look, ~stray, doubt)


def _kept(look: Look, mask: Tensor, others: Tensor) -> Look:
    """Return a look that is as it is where masks (n, h, w) bool say so, with other probabilities elsewhere."""
    probabilities = torch.where(mask[:, None], look.probabilities, others)
    first, second = (torch.where(mask, labels, 0) for labels in (look.first, look.second))
    return replace(look, probabilities=probabilities, first=first, second=second)
