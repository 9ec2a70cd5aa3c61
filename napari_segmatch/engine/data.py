"""The pool at the network's size: every slice once, kept in step with what people do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import SegmatchError, TrainingProblem
from ..types import Pool, PoolSnapshot, Region
from .folds import divide, folds_of
from .labels import Labels
from .lacking import lacking
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
        self._labels = Labels(pool, size, device)
        self._shelf = Shelf(device) if shelf is None else shelf
        self.classes, self.channels = len(pool.classes), len(pool.sequences)
        self.regions: list[Region] = []
        self.frames: dict[str, Frame] = {}
        self._first: dict[str, int] = {}
        self._ends = torch.zeros(0, 3, dtype=torch.long)  # of each row's case the first, the last, and the way
        self.fold_of = {} if fold_of is None else fold_of
        self.folds = torch.zeros(0, dtype=torch.long)
        self._images: dict[str, int | None] = {}
        self._broken = set[str]()  # cases whose images cannot be read
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
        cases = {region.case for region in new}  # without any, what was labelled before stays as it was
        rewritten, problems = self._labels.update(cases, self.snapshot, self.frames) if cases else ([], [])
        self._problems += problems
        new = {region for region in new if region.case not in self._labels.unread}
        rest = [self.row(region) for region in self.snapshot.regions("unlabelled") if region.case in self._first]
        self.unlabelled = torch.tensor(sorted(rest), dtype=torch.long)
        if not new and len(self.labelled):
            note = "No slice is labelled any more: the run goes on with those that were, until one is."
            self._problems += [note] if old else []  # else it was said before
            return Change([], sorted(old), self._told())
        if self.snapshot.labelled and not new and self._problems:
            raise TrainingProblem(f"No labelled case can be read. {self._problems[0]}")
        shown = self._index(sorted(new))
        problems, added = self._told(), sorted(new - old)
        if before.version < 0:
            problems += lacking(self._pool.classes, shown, self.snapshot)
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

    def memory(self) -> dict[str, list[Any]]:
        """Return what a resumed run has to know, as JSON can hold it.

        The slices first in line, those labelled and how they were drawn, and the cases in the order in which they were
        read.
        """
        drawn = self._drawn()
        return {
            "read": list(self._first),
            "fresh": [[self.regions[row].case, self.regions[row].z] for row in self.turns.first],
            "labelled": [[place.case, place.z] for place in drawn],
            "drawn": list(drawn.values()),
        }

    def _drawn(self) -> dict[Region, int]:
        """Return the labelled slices, and for each a number that is another one once it has been redrawn."""
        places = [self.regions[row] for row in self.labelled.tolist()]
        return dict(zip(places, self._labels.checksums(places), strict=True))

    def recall(self, memory: Mapping[str, Sequence[Any]]) -> None:
        """Go on where a run stood: its line of fresh slices, and before it what was labelled or redrawn since."""
        fresh, known = ([Region(case, z) for case, z in memory[key]] for key in ("fresh", "labelled"))
        now, then = self._drawn(), memory.get("drawn")  # which earlier versions did not note
        before = {place: now.get(place) for place in known} if then is None else dict(zip(known, then, strict=True))
        since = [place for place, drawn in now.items() if before.get(place) != drawn]
        self.turns.queue(self.row(region) for region in (*since, *fresh) if region.case in self._first)

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
        """Return labels (n, size, size) uint8: see :meth:`Labels.of`."""
        return self._labels.of([self.regions[row] for row in rows.tolist()])

    @property
    def unlabelled_slices(self) -> int:
        """How many unlabelled slices there are, with those that are still to be read."""
        return len(self.unlabelled) + sum(len(self.snapshot.unlabelled[case]) for case in self.waiting)

    def _forget_replaced(self) -> None:
        """Forget what is known of cases that were added anew with other files: they are read again, into other rows."""
        for case, number in list(self._images.items()):
            if self.snapshot.images.get(case) != number:
                self._broken.discard(case)
                self._labels.forget(case)
                for known in (self._images, self._first, self.frames):
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

    def _index(self, regions: list[Region]) -> Tensor:
        """Take other labelled slices; returns which classes they show, (n, classes) bool."""
        if not regions:
            raise TrainingProblem("No slice is labelled: mark at least one slice as done, then start training.")
        self.labelled = torch.tensor([self.row(region) for region in regions], dtype=torch.long)
        cases = sorted({region.case for region in regions})
        self.patients_labelled = len({self.snapshot.patient(case) for case in cases})
        self._fold(cases)
        shown = self._labels.classes_on(regions)
        self.turns.deal(self.labelled, shown)
        return shown

    def _fold(self, cases: list[str]) -> None:
        """Divide labelled cases into two folds; the slices matter for the first one, when it is alone."""
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
