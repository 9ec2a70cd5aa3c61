"""The pool at the network's size: every slice once, kept in step with what people do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import SegmatchError, TrainingProblem
from ..types import NOT_ANNOTATED, Pool, PoolSnapshot, Region
from .folds import divide, folds_of
from .lacking import lacking, outside
from .lessons import LessonBook, Lessons
from .prepare import Frame, to_network, without_some
from .reading import reading_order
from .recorder import sent
from .shelf import Shelf
from .turns import Turns, draw


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
    regions
        Which slice each row is. Every slice of the pool has a row, labelled or not.
    labelled, unlabelled
        Row numbers.
    folds
        (n,) 0 or 1 for all rows of labelled patients, -1 for others: see :func:`folds_of`.
    fold_of
        The fold of each case that was ever labelled, or ``CUT`` plus the slice between its two halves. Given by the
        learner, who keeps it over a resume.
    patients_labelled
        Of how many patients the labelled rows are.
    lessons
        What people's decisions teach the discriminator; None if there are none.
    turns
        Which labelled slices come next.
    waiting
        The cases that are still to be read.

    Parameters
    ----------
    at_once
        So many cases that nobody has worked on are read by :meth:`update` (default all), others by :meth:`read_on`.
    directions
        Cases that are stored otherwise are turned: see :class:`TrainConfig`.
    """

    def __init__(self, pool: Pool, size: int, device: torch.device, neighbours: int = 0,
                 fold_of: dict[str, int] | None = None, shelf: Shelf | None = None,
                 at_once: int | None = None, directions: str | None = None) -> None:  # fmt: skip
        self._pool, self._size, self.device, self._neighbours = pool, size, device, neighbours
        self._shelf = Shelf(device) if shelf is None else shelf
        self.classes, self.channels = len(pool.classes), len(pool.sequences)
        self._labels: dict[str, Tensor] = {}
        self.regions: list[Region] = []
        self.frames: dict[str, Frame] = {}
        self._first: dict[str, int] = {}
        self._ends = torch.zeros(0, 3, dtype=torch.long)  # of each row's case the first, the last, and the way
        self.fold_of = {} if fold_of is None else fold_of
        self.folds = torch.zeros(0, dtype=torch.long)
        self._mask_versions: dict[str, int] = {}
        self._images: dict[str, int | None] = {}
        self._broken, self._unread = set[str](), set[str]()  # cases whose images, or mask, cannot be read
        self._lost: dict[str, int] = {}
        self.snapshot = PoolSnapshot(-1, {}, {})
        self.labelled = self.unlabelled = torch.zeros(0, dtype=torch.long)
        self.patients_labelled = 0
        self.turns = Turns()
        self._book = LessonBook(pool, self.classes)
        self.lessons: Lessons | None = None
        self._gaps, self._at_once, self._directions = False, at_once, directions
        self.waiting: list[str] = []
        self._problems: list[str] = []

    @property
    def version(self) -> int:
        return self.snapshot.version

    def read_first(self, before: Sequence[str] = ()) -> Iterator[int]:
        """Read what the first :meth:`update` needs, one case after the other; yields how many are left.

        ``before`` are the cases that a run which is resumed had read, in that order: its draws are of their rows.
        """
        pool = self._pool.snapshot()
        there = [case for case in before if case in pool.labelled or case in pool.unlabelled]
        now = list(dict.fromkeys([*there, *reading_order(pool, self._at_once)[0]]))
        for done, case in enumerate(now, 1):
            self._problems += self._load([case], pool)
            yield len(now) - done

    def update(self) -> Change | None:
        """Take up what has changed since the last call; None if nothing has."""
        if self._pool.version() == self.version:
            return None
        before, self.snapshot = self.snapshot, self._pool.snapshot()
        self._forget_replaced()
        now, later = reading_order(self.snapshot, self._at_once)
        self._problems += self._load(now, self.snapshot)
        self.waiting = [case for case in later if case not in self._first and case not in self._broken]
        if not self._first and self._problems:
            raise TrainingProblem(f"No case can be read. {self._problems[0]}")
        old = set(before.regions("labelled"))
        new = {region for region in self.snapshot.regions("labelled") if region.case in self._first}
        rewritten = self._load_changed_labels(new) if new else []
        new = {region for region in new if region.case not in self._unread}
        rest = [self.row(region) for region in self.snapshot.regions("unlabelled") if region.case in self._first]
        self.unlabelled = torch.tensor(sorted(rest), dtype=torch.long)
        if not new and len(self.labelled):
            note = "No slice is labelled any more: the run goes on with those that were, until one is."
            self._problems += [note] if old else []  # else it was said before
            return Change([], sorted(old), self._told())
        if self.snapshot.labelled and not new and self._problems:
            raise TrainingProblem(f"No labelled case can be read. {self._problems[0]}")
        self._index(new)
        problems, added = self._told(), sorted(new - old)
        if before.version < 0:
            problems += lacking(self._pool.classes, self._shown, self.snapshot)
        else:
            self.turns.queue(self.row(region) for region in (*added, *rewritten) if region in new)
        self.lessons, more = self._book.read(self)
        return Change(added, sorted(old - new), problems + more)

    def _told(self) -> list[str]:
        """Return what there is to say, once."""
        problems, self._problems = self._problems, []
        return problems

    def read_on(self) -> list[str]:
        """Read the next one of the cases that wait; returns what is wrong with it."""
        case = self.waiting.pop(0)
        problems = self._load([case], self.snapshot)
        self.folds = folds_of(self.fold_of, self.snapshot.patient, self._first, self._ends)
        rows = [self.row(Region(case, z)) for z in self.snapshot.unlabelled[case]] if case in self._first else []
        self.unlabelled = torch.cat([self.unlabelled, torch.tensor(rows, dtype=torch.long)])
        return problems

    def _load_changed_labels(self, labelled: set[Region]) -> list[Region]:
        """Bring in masks that are new; returns the slices on which something differs. What cannot be read is told."""
        changed = []
        there = self.snapshot.labelled.keys() | self.snapshot.unlabelled.keys()  # others were removed meanwhile
        for case in sorted({region.case for region in labelled} | (self._mask_versions.keys() & self._first & there)):
            version = self.snapshot.masks.get(case, 0)
            if self._mask_versions.get(case) == version:
                continue
            self._mask_versions[case] = version
            self._unread.discard(case)
            try:
                changed += [Region(case, z) for z in self._load_labels(case)]
            except SegmatchError as error:
                self._unread.add(case)
                self._problems.append(f"The labels of case {case} are left out of training: {error}")
        return changed

    def memory(self) -> dict[str, list[Any]]:
        """Return what a resumed run has to know, as JSON can hold it.

        The slices first in line, those labelled, and the cases in the order in which they were read.
        """
        return {
            "read": list(self._first),
            "fresh": [[self.regions[row].case, self.regions[row].z] for row in self.turns.first],
            "labelled": [[self.regions[row].case, self.regions[row].z] for row in self.labelled.tolist()],
        }

    def recall(self, memory: Mapping[str, Sequence[Any]]) -> None:
        """Go on where a run stood: its line of fresh slices, and before it what was labelled since."""
        fresh, known = ([Region(case, z) for case, z in memory[key]] for key in ("fresh", "labelled"))
        since = {self.regions[row] for row in self.labelled.tolist()} - set(known)
        self.turns.queue(self.row(region) for region in (*sorted(since), *fresh) if region.case in self._first)

    def row(self, region: Region) -> int:
        return self._first[region.case] + region.z

    def slices(self, rows: Tensor) -> Tensor:
        """Return slices (n, channels, size, size) with their neighbours as further channels, if any are wanted."""
        if not self._neighbours:
            return self._shelf.take(rows)
        rows = rows.cpu()
        first, last, way = self._ends[rows].T
        offsets = range(-self._neighbours, self._neighbours + 1)
        return torch.cat([self._shelf.take((rows + way * offset).clamp(first, last)) for offset in offsets], 1)

    def labels_of(self, rows: Tensor) -> Tensor:
        """Return labels (n, size, size) uint8; where nobody has annotated a case, all is ``NOT_ANNOTATED``."""
        blank = torch.full((self._size, self._size), NOT_ANNOTATED, dtype=torch.uint8, device=self.device)
        places = [self.regions[row] for row in rows.tolist()]
        found = [self._labels[place.case][place.z] if place.case in self._labels else blank for place in places]
        return torch.stack(found) if found else blank[None][:0]

    @property
    def unlabelled_slices(self) -> int:
        """How many unlabelled slices there are, with those that are still to be read."""
        return len(self.unlabelled) + sum(len(self.snapshot.unlabelled[case]) for case in self.waiting)

    def _forget_replaced(self) -> None:
        """Forget what is known of cases that were added anew with other files: they are read again, into other rows."""
        for case, number in list(self._images.items()):
            if self.snapshot.images.get(case) != number:
                self._broken.discard(case)
                for known in (self._images, self._first, self.frames, self._labels, self._mask_versions):
                    known.pop(case, None)

    def _load(self, cases: list[str], pool: PoolSnapshot) -> list[str]:
        """Bring in the pixels of cases that are not here yet; one that cannot be read is left out and told."""
        ends, problems, row = [self._ends], [], len(self._shelf)
        for case in cases:
            if case in self._first or case in self._broken:
                continue
            self._images[case] = pool.images.get(case)
            try:
                volume = self._pool.volume(case)
                slices, frame = to_network(volume.pixels, self._size, volume.geometry, self._directions)
                del volume
                self._shelf.add(slices)
            except SegmatchError as error:
                problems.append(f"Case {case} is left out of training: {error}")
                self._broken.add(case)
                continue
            self._gaps |= not bool(slices.flatten(2).any(2).any(0).all())
            self.frames[case], self._first[case] = frame, row
            row += len(slices)
            ends.append(torch.tensor([[self._first[case], row - 1, frame.way]]).expand(len(slices), 3))
            self.regions += [Region(case, z) for z in range(len(slices))]
        self._ends = torch.cat(ends)
        self.folds = F.pad(self.folds, (0, len(self._shelf) - len(self.folds)), value=-1)
        return problems

    def _load_labels(self, case: str) -> list[int]:
        """Bring in a case's mask; returns the slices on which it differs from the one before."""
        labels = torch.from_numpy(np.ascontiguousarray(self._pool.mask(case)))
        small = self.frames[case].shrink_labels(labels, self.classes)
        lost = int((_shows(labels) & ~_shows(small)).sum())
        if lost > self._lost.get(case, 0):  # it was not said before
            self._problems.append(outside(case, lost))
        self._lost[case] = lost
        small = small.to(self.device)
        before = self._labels.get(case, torch.full_like(small, NOT_ANNOTATED))
        self._labels[case] = small
        return (before != small).flatten(1).any(1).nonzero()[:, 0].tolist()

    def _index(self, labelled: set[Region]) -> None:
        self.labelled = torch.tensor([self.row(region) for region in sorted(labelled)], dtype=torch.long)
        if not len(self.labelled):
            raise TrainingProblem("No slice is labelled: mark at least one slice as done, then start training.")
        self._fold(sorted({region.case for region in labelled}))
        self._shown = torch.cat([self._classes_on(part) for part in self.labelled.split(256)])
        self.turns.deal(self.labelled, self._shown)

    def _classes_on(self, rows: Tensor) -> Tensor:
        """Return which classes labelled slices show, (n, classes) bool."""
        labels = self.labels_of(rows).flatten(1)
        return torch.stack([(labels == label).any(1) for label in range(1, self.classes + 1)], 1).cpu()

    def _fold(self, cases: list[str]) -> None:
        """Divide labelled cases into two folds; the slices matter for the first one, when it is alone."""
        self.patients_labelled = len({self.snapshot.patient(case) for case in cases})
        patients = {case: self.snapshot.patient(case) for case in (*cases, *self.fold_of)}
        divide(self.fold_of, patients, (self.labelled - self._first[cases[0]]).tolist())
        self.folds = folds_of(self.fold_of, self.snapshot.patient, self._first, self._ends)

    def sample_labelled(self, n: int, lesion_share: float, generator: torch.Generator) -> Tensor:
        """Draw n labelled rows: see :meth:`Turns.take`."""
        return self.turns.take(n, lesion_share, generator)

    def sample_unlabelled(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n unlabelled rows; when every slice is labelled, labelled ones serve."""
        return draw(self.unlabelled if len(self.unlabelled) else self.labelled, n, generator)

    def pictures(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return slices (n, channels, size, size). Where some cases lack a sequence, others go without one at times.

        A missing sequence is all zeros. The model must not come to lean on one that a new case may lack.
        """
        images = self.slices(rows)
        if not self._gaps or self.channels == 1:
            return images
        return without_some(images, sent(torch.rand(2, len(rows), self.channels, generator=generator), images.device))


def _shows(labels: Tensor) -> Tensor:
    """Whether labels (n, h, w) show a structure, (n,) bool."""
    return ((labels > 0) & (labels != NOT_ANNOTATED)).flatten(1).any(1)
