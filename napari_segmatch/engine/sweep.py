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
from .device import at_once, is_out_of_memory
from .judge import Judge, can_tell
from .parts import MANY, Part, Seer, in_one_part, is_believed, shown_in, strays
from .step import Views

SHARE = 0.25
"""So many slices are seen for each that is trained on, on the mean: a case's turn comes when enough have gathered."""

Pixels = dict[int, list[int]]
"""Of each slice with stray parts their pixels, numbered row by row."""

Version = list[int | None]
"""Which images a case has, and which mask: what people draw may show what is stray no more."""


class Sweep:
    """The stray parts of unlabelled cases, as they were when each was seen last.

    None are found by another selector than the quality critic, nor before it can tell good masks from bad ones.
    """

    def __init__(self, config: TrainConfig, selector: nn.Module, classes: int) -> None:
        self._on = isinstance(selector, Judge) and config.parts != "all"
        self._size, self._one_by_word, self._classes = config.size, config.parts == "one", classes
        self._found: dict[str, tuple[Version, Pixels]] = {}
        self._shown: dict[str, tuple[Version, dict[int, bool]]] = {}
        self._single: list[int] = []
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
            version, found = self._found.get(region.case, (None, {}))
            if region.z in found and version == _version_of(region.case, pool):
                stray[index, found[region.z]] = True
        return replace(views, stray=stray.view(-1, self._size, self._size))

    def go_on(self, seer: Seer, pool: ResidentPool) -> None:
        """Look at the next case, if it is its turn. For want of memory it keeps all its parts."""
        if not self._on or self._gathered < self._wanted:
            return
        case = self._next(pool)
        if case is None:
            return
        rows = _rows_of(case, pool)
        self._wanted = len(rows)
        if self._gathered < self._wanted:
            return
        self._gathered, self._last, self._wanted = 0, case, 0
        single = sorted(self._in_one_part(pool)) if can_tell(seer.selector) else []
        if single != self._single:
            self._found, self._single = {}, single
        self._found.pop(case, None)
        if single:
            try:
                found, self._gathered = _strays_of(case, rows, seer, pool, single)
                self._found[case] = _version_of(case, pool), found
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise

    def _next(self, pool: ResidentPool) -> str | None:
        """Return the case that comes after the last one; after all the first."""
        cases = [case for case, slices in pool.snapshot.unlabelled.items() if slices and case in pool.frames]
        return min((case for case in cases if case > self._last), default=min(cases, default=None))

    def _in_one_part(self, pool: ResidentPool) -> Collection[int]:
        """Return the structures that come in one part, as far as anybody knows."""
        if self._one_by_word:
            return range(1, self._classes + 1)
        whole: list[Mapping[int, bool]] = []
        for case, slices in pool.snapshot.labelled.items():
            if len(whole) < MANY and case in pool.frames and len(slices) == len(rows := _rows_of(case, pool)):
                version = _version_of(case, pool)
                if self._shown.get(case, (None,))[0] != version:
                    self._shown[case] = version, shown_in(pool.labels_of(rows).cpu().numpy())
                whole.append(self._shown[case][1])
        return in_one_part(whole)

    def memory(self) -> dict[str, Any]:
        """Return what a resumed run has to know, as JSON can hold it."""
        return {"found": self._found, "single": self._single, "gathered": self._gathered, "last": self._last}

    def recall(self, memory: Mapping[str, Any] | None) -> None:
        """Go on where a run stood; earlier versions remembered nothing."""
        if memory is None:
            return
        self._gathered, self._last, self._single = memory["gathered"], memory["last"], memory["single"]
        self._found = {case: (version, {int(z): pixels for z, pixels in found.items()})
                       for case, (version, found) in memory["found"].items()}  # fmt: skip


def _version_of(case: str, pool: ResidentPool) -> Version:
    return [pool.snapshot.images.get(case), pool.snapshot.masks.get(case)]


def _rows_of(case: str, pool: ResidentPool) -> Tensor:
    """Return the rows of a case's slices, in their order."""
    rows = range(pool.row(Region(case, 0)), len(pool.regions))
    return torch.tensor([*takewhile(lambda row: pool.regions[row].case == case, rows)])


def _strays_of(
    case: str, rows: Tensor, seer: Seer, pool: ResidentPool, single: Collection[int]
) -> tuple[Pixels, float]:
    """See a case whole; returns also, below 0, how many slices were seen once more for the sake of single parts.

    What people have drawn on some of its slices stays, with all that hangs together with it.
    """
    images, more = pool.slices(rows), 0
    some = images.split(at_once(seer.device, seer.looks_twice))
    labels = torch.cat([seer.look(part.to(seer.device)).labels.cpu() for part in some]).numpy()
    drawn = np.isin(np.arange(len(rows)), pool.snapshot.labelled.get(case, ()))
    theirs = pool.labels_of(rows).cpu().numpy()
    labels[drawn] = np.where(theirs[drawn] == NOT_ANNOTATED, 0, theirs[drawn])

    def believed(part: Part) -> bool:
        nonlocal more
        masks = part.on_slices(labels.shape)
        more += len(masks)
        return is_believed(seer, images[part.box[0]], torch.from_numpy(masks))

    stray = strays(labels, single, believed, drawn)
    return {int(z): np.flatnonzero(stray[z]).tolist() for z in np.flatnonzero(stray.any((1, 2)))}, -float(more)
