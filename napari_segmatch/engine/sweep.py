"""What is a stray part in a case that was seen whole is background for training on its slices.

A teacher who sees slices marks an island here and there, its student learns it from him, and so it stays. So between
the steps one unlabelled case after another is seen whole, and where labelled cases show a structure in one part, the
discriminator says of a smaller part whether it belongs to it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..config import TrainConfig
from ..types import NOT_ANNOTATED, Region
from .data import ResidentPool
from .device import at_once
from .judge import Judge, can_tell
from .parts import MANY, Part, Seer, in_one_part, is_believed, shown_in, strays
from .step import Views

SHARE = 0.25
"""So many slices are seen for each that is trained on, on the mean: a case's turn comes when enough have gathered."""

Pixels = dict[int, list[int]]
"""Of each slice with stray parts their pixels, numbered row by row."""


class Sweep:
    """The stray parts of unlabelled cases, as they were when each was seen last.

    None are found by another selector than the quality critic, nor before it can tell good masks from bad ones.
    """

    def __init__(self, config: TrainConfig, selector: nn.Module, classes: int) -> None:
        self._on = isinstance(selector, Judge) and config.parts != "all"
        self._size, self._one_by_word, self._classes = config.size, config.parts == "one", classes
        self._found: dict[str, tuple[int | None, Pixels]] = {}  # of each case, and which images these are
        self._shown: dict[str, tuple[int | None, dict[int, bool]]] = {}  # and which mask
        self._gathered, self._last = 0.0, ""
        self._wanted = 0  # so many have to gather for the next case

    def told(self, views: Views, rows: Tensor, pool: ResidentPool) -> Views:
        """Return views that know the stray parts of their slices (n,), which are trained on."""
        if not self._on:
            return views
        self._gathered += SHARE * len(rows)
        stray = torch.zeros(len(rows), self._size * self._size, dtype=torch.bool)
        for index, row in enumerate(rows.tolist()) if self._found else ():
            region = pool.regions[row]
            images, found = self._found.get(region.case, (None, {}))
            if region.z in found and images == pool.snapshot.images.get(region.case):
                stray[index, found[region.z]] = True
        return replace(views, stray=stray.view(-1, self._size, self._size))

    def go_on(self, seer: Seer, pool: ResidentPool) -> None:
        """Look at the next case, if it is its turn."""
        if not self._on or self._gathered < self._wanted or not can_tell(seer.selector):
            return
        case = self._next(pool)
        if case is None:
            return
        rows = _rows_of(case, pool)
        self._wanted = len(rows)
        if self._gathered < self._wanted:
            return
        self._gathered, self._last, self._wanted = 0, case, 0
        single = self._single(pool)
        if not single:
            self._found.clear()
            return
        self._found[case] = pool.snapshot.images.get(case), _strays_of(case, rows, seer, pool, single)

    def _next(self, pool: ResidentPool) -> str | None:
        """Return the case that comes after the last one; after all the first."""
        cases = [case for case, slices in pool.snapshot.unlabelled.items() if slices and case in pool.frames]
        return min((case for case in cases if case > self._last), default=min(cases, default=None))

    def _single(self, pool: ResidentPool) -> Collection[int]:
        """Return the structures that come in one part, as far as anybody knows."""
        if self._one_by_word:
            return range(1, self._classes + 1)
        whole: list[Mapping[int, bool]] = []
        for case, slices in pool.snapshot.labelled.items():
            if len(whole) < MANY and case in pool.frames and len(slices) == len(rows := _rows_of(case, pool)):
                mask = pool.snapshot.masks.get(case)
                if case not in self._shown or self._shown[case][0] != mask:
                    self._shown[case] = mask, shown_in(pool.labels_of(rows).cpu().numpy())
                whole.append(self._shown[case][1])
        return in_one_part(whole)

    def memory(self) -> dict[str, Any]:
        """Return what a resumed run has to know, as JSON can hold it."""
        return {"found": self._found, "gathered": self._gathered, "last": self._last}

    def recall(self, memory: Mapping[str, Any] | None) -> None:
        """Go on where a run stood; earlier versions remembered nothing."""
        if memory is None:
            return
        self._gathered, self._last = memory["gathered"], memory["last"]
        self._found = {case: (images, {int(z): pixels for z, pixels in found.items()})
                       for case, (images, found) in memory["found"].items()}  # fmt: skip


def _rows_of(case: str, pool: ResidentPool) -> Tensor:
    """Return the rows of a case's slices, in their order."""
    rows = range(pool.row(Region(case, 0)), len(pool.regions))
    return torch.tensor([*takewhile(lambda row: pool.regions[row].case == case, rows)])


def _strays_of(case: str, rows: Tensor, seer: Seer, pool: ResidentPool, single: Collection[int]) -> Pixels:
    """See a case whole. What people have drawn on some of its slices stays, with all that hangs together with it."""
    together = at_once(seer.device, seer.looks_twice)
    images = pool.slices(rows)
    labels = torch.cat([seer.look(some.to(seer.device)).labels.cpu() for some in images.split(together)]).numpy()
    drawn = np.isin(np.arange(len(rows)), pool.snapshot.labelled.get(case, ()))
    theirs = pool.labels_of(rows).cpu().numpy()
    labels[drawn] = np.where(theirs[drawn] == NOT_ANNOTATED, 0, theirs[drawn])

    def believed(part: Part) -> bool:
        return is_believed(seer, images[part.box[0]], torch.from_numpy(part.on_slices(labels.shape)))

    stray = strays(labels, single, believed, drawn)
    return {int(z): np.flatnonzero(stray[z]).tolist() for z in np.flatnonzero(stray.any((1, 2)))}
