"""The pool on the device: every slice once, as one tensor, kept in step with what people do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import SegmatchError, TrainingProblem
from ..types import NOT_ANNOTATED, Pool, PoolSnapshot, Region
from .discriminator import GOOD, dice_of
from .prepare import Frame, to_network


@dataclass(frozen=True)
class Change:
    """What :meth:`ResidentPool.update` took up."""

    added: list[Region]
    removed: list[Region]
    problems: list[str]


class ResidentPool:
    """A pool's slices at the network's size.

    Attributes
    ----------
    images, labels
        (n, channels, size, size) float32 and (n, size, size) uint8; one row a slice, labelled or not.
    labelled, unlabelled
        Row numbers.
    lessons
        Rows, masks (m, size, size) bool and targets (m,): what people's decisions teach the discriminator.
    """

    def __init__(self, pool: Pool, size: int, device: torch.device) -> None:
        self._pool, self._size, self._device = pool, size, device
        self.classes = len(pool.classes)
        self.channels = len(pool.sequences)
        self.images = torch.zeros(0, self.channels, size, size, device=device)
        self.labels = torch.zeros(0, size, size, dtype=torch.uint8, device=device)
        self.regions: list[Region] = []
        self.frames: dict[str, Frame] = {}
        self._first: dict[str, int] = {}
        self._fresh: list[int] = []
        self._mask_versions: dict[str, int] = {}
        self._broken: set[str] = set()
        self.snapshot = PoolSnapshot(-1, {}, {})
        self.labelled = self.unlabelled = torch.zeros(0, dtype=torch.long)
        self._showing: list[Tensor] = []
        self.lessons: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def version(self) -> int:
        return self.snapshot.version

    def update(self) -> Change | None:
        """Take up what has changed since the last call; None if nothing has."""
        if self._pool.version() == self.version:
            return None
        before, self.snapshot = self.snapshot, self._pool.snapshot()
        problems = self._load(sorted({*self.snapshot.labelled, *self.snapshot.unlabelled}))
        changed = {
            case for case, version in self.snapshot.masks.items() if self._mask_versions.get(case) != version
        } & set(self._first)
        for case in sorted(changed):
            self._load_labels(case)
        self._mask_versions = dict(self.snapshot.masks)
        old, new = set(before.regions("labelled")), set(self.snapshot.regions("labelled"))
        self._index()
        first_time = before.version < 0
        added = sorted(new - old)
        rewritten = [region for region in sorted(new & old) if region.case in changed and not first_time]
        self._fresh += [] if first_time else [self.row(r) for r in [*added, *rewritten] if r.case in self._first]
        self._learn_lessons()
        return Change(added, sorted(old - new), problems)

    def row(self, region: Region) -> int:
        return self._first[region.case] + region.z

    def _load(self, cases: list[str]) -> list[str]:
        """Bring in the pixels of cases that are not here yet; one that cannot be read is left out and told."""
        parts, problems, row = [self.images], [], len(self.images)
        for case in cases:
            if case in self._first or case in self._broken:
                continue
            try:
                slices, self.frames[case] = to_network(self._pool.volume(case).pixels, self._size)
            except SegmatchError as error:
                problems.append(f"Case {case} is left out of training: {error}")
                self._broken.add(case)
                continue
            self._first[case] = row
            row += len(slices)
            parts.append(slices.to(self._device))
            self.regions += [Region(case, z) for z in range(len(slices))]
        self.images = torch.cat(parts)
        missing = torch.full((row - len(self.labels), self._size, self._size), NOT_ANNOTATED, dtype=torch.uint8)
        self.labels = torch.cat([self.labels, missing.to(self._device)])
        return problems

    def _load_labels(self, case: str) -> None:
        labels = torch.from_numpy(np.ascontiguousarray(self._pool.mask(case)))
        first = self._first[case]
        small = self.frames[case].shrink_labels(labels, self.classes)
        self.labels[first : first + len(labels)] = small.to(self._device)

    def _index(self) -> None:
        def rows(regions: list[Region]) -> Tensor:
            return torch.tensor([self.row(r) for r in regions if r.case in self._first], dtype=torch.long)

        self.labelled = rows(self.snapshot.regions("labelled"))
        self.unlabelled = rows(self.snapshot.regions("unlabelled"))
        if not len(self.labelled):
            raise TrainingProblem("No slice is labelled: mark at least one slice as done, then start training.")
        chosen = self.labels[self.labelled.to(self._device)]
        showing = [(chosen == label).flatten(1).any(1).cpu() for label in range(1, self.classes + 1)]
        self._showing = [self.labelled[mask] for mask in showing if mask.any()]

    def _learn_lessons(self) -> None:
        """Turn decisions into pairs of image and mask whose quality a person has told."""
        rows, masks, targets = [], [], []
        for item in self.snapshot.reviewed:
            if item.region.case not in self._first or item.verdict == "deferred":
                continue
            row = self.row(item.region)
            mask = torch.from_numpy(self._pool.proposal_mask(item.proposal))[None]
            small = self.frames[item.region.case].shrink_labels(mask, self.classes).to(self._device)
            truth = self.labels[row][None]
            for label in range(1, self.classes + 1):
                wrong = item.verdict == "rejected"
                good = not wrong and bool(dice_of(small == label, truth == label) >= GOOD)
                rows.append(row)
                masks.append((small == label)[0])
                targets.append(float(good))
        self.lessons = (
            (torch.tensor(rows), torch.stack(masks), torch.tensor(targets, device=self._device)) if rows else None
        )

    # sampling --------------------------------------------------------------------------------------------

    def sample_labelled(self, n: int, lesion_share: float, generator: torch.Generator) -> Tensor:
        """Draw n labelled rows. What a person has just labelled comes first; then a share shows a structure."""
        fresh, self._fresh = self._fresh[:n], self._fresh[n:]
        rest = n - len(fresh)
        wanted = round(lesion_share * rest) if self._showing else 0
        rows = [torch.tensor(fresh, dtype=torch.long)]
        for index in range(wanted):
            showing = self._showing[index % len(self._showing)]
            rows.append(_draw(showing, 1, generator))
        rows.append(_draw(self.labelled, rest - wanted, generator))
        return torch.cat(rows)

    def sample_unlabelled(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n unlabelled rows; when every slice is labelled, labelled ones serve."""
        return _draw(self.unlabelled if len(self.unlabelled) else self.labelled, n, generator)


def _draw(rows: Tensor, n: int, generator: torch.Generator) -> Tensor:
    return rows[torch.randint(len(rows), (n,), generator=generator)]
