"""What people have labelled, at the network's size."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import SegmatchError
from ..types import NOT_ANNOTATED, Pool, PoolSnapshot, Region
from .lacking import outside
from .prepare import Frame

CHUNK = 256
"""So many slices are asked at a time which classes they show."""


class Labels:
    """The masks of a pool's cases, each as it was when it could be read last.

    Attributes
    ----------
    unread
        The cases whose newest mask cannot be read.
    """

    def __init__(self, pool: Pool, size: int, device: torch.device) -> None:
        self._pool, self._classes, self._device = pool, len(pool.classes), device
        self._blank = torch.full((size, size), NOT_ANNOTATED, dtype=torch.uint8, device=device)
        self._masks: dict[str, Tensor] = {}
        self._versions: dict[str, int] = {}
        self._lost: dict[str, int] = {}
        self.unread = set[str]()

    def of(self, regions: Sequence[Region]) -> Tensor:
        """Return labels (n, size, size) uint8; where nobody has annotated a case, all is ``NOT_ANNOTATED``."""
        found = [self._masks[place.case][place.z] if place.case in self._masks else self._blank for place in regions]
        return torch.stack(found) if found else self._blank[None][:0]

    def classes_on(self, regions: Sequence[Region]) -> Tensor:
        """Return which classes slices show, (n, classes) bool."""
        found = []
        for start in range(0, len(regions), CHUNK):
            labels = self.of(regions[start : start + CHUNK]).flatten(1)
            found.append(torch.stack([(labels == label).any(1) for label in range(1, self._classes + 1)], 1).cpu())
        return torch.cat(found)

    def checksums(self, regions: Sequence[Region]) -> list[int]:
        """Return a number for each slice, which is another one once it has been redrawn."""
        return [zlib.crc32(self.of([place]).cpu().numpy().tobytes()) for place in regions]

    def forget(self, case: str) -> None:
        """Have a case's mask read anew: it belongs to other images now."""
        self._masks.pop(case, None)
        self._versions.pop(case, None)

    def update(
        self, labelled: Collection[str], pool: PoolSnapshot, frames: Mapping[str, Frame]
    ) -> tuple[list[Region], list[str]]:
        """Read masks that are new, of labelled cases and of those that were labelled once.

        Returns
        -------
        tuple
            The slices on which something differs, and what there is to say.
        """
        changed: list[Region] = []
        problems: list[str] = []
        there = pool.labelled.keys() | pool.unlabelled.keys()  # others were removed meanwhile
        for case in sorted({*labelled, *(self._versions.keys() & frames.keys() & there)}):
            version = pool.masks.get(case, 0)
            if self._versions.get(case) == version:
                continue
            self._versions[case] = version
            self.unread.discard(case)
            try:
                mask = torch.from_numpy(np.ascontiguousarray(self._pool.mask(case)))
                small = frames[case].shrink_labels(mask, self._classes)
            except SegmatchError as error:
                self.unread.add(case)
                problems.append(f"The labels of case {case} are left out of training: {error}")
                continue
            problems += self._told_of_lost(case, mask, small)
            changed += [Region(case, z) for z in self._put(case, small.to(self._device))]
        return changed, problems

    def _put(self, case: str, labels: Tensor) -> list[int]:
        """Take a case's labels (z, size, size); returns the slices on which they differ from those before."""
        before = self._masks.get(case, torch.full_like(labels, NOT_ANNOTATED))
        self._masks[case] = labels
        return (before != labels).flatten(1).any(1).nonzero()[:, 0].tolist()

    def _told_of_lost(self, case: str, mask: Tensor, small: Tensor) -> list[str]:
        """Say on how many slices all that is marked is lost at this size; nothing if so many were told before."""
        before = self._lost.get(case, 0)
        self._lost[case] = int((_shows(mask) & ~_shows(small)).sum())
        return [outside(case, self._lost[case])] if self._lost[case] > before else []


def _shows(labels: Tensor) -> Tensor:
    """Whether labels (n, h, w) show a structure, (n,) bool."""
    return ((labels > 0) & (labels != NOT_ANNOTATED)).flatten(1).any(1)
