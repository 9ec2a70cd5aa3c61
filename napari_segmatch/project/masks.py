"""Mask versions of a project: saved with a look at what others have saved meanwhile, never over it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from sqlite3 import Row

import numpy as np

from ..errors import Conflict, ProjectError
from ..types import NOT_ANNOTATED, Aside, Case
from .audit import actor, now
from .cases import CaseFolder
from .checks import check_labels, check_slices, check_values
from .records import ASIDE
from .store import Store

Before = Mapping[int, np.ndarray] | np.ndarray | None
"""Slices as somebody knew them before changing them."""


class MaskFolder(CaseFolder):
    """A folder of cases with versioned masks. See :class:`napari_segmatch.project.Project` for its rules."""

    def __init__(self, path: Path, store: Store) -> None:
        super().__init__(path, store)
        self._read: dict[str, int | None] = {}  # which version of a case's mask was handed out last

    # reading ---------------------------------------------------------------------------------------------

    def mask(self, case: str) -> np.ndarray:
        """Return the current labels (z, y, x) uint8, drafts included; 255 = not annotated."""
        known = self.case(case)
        self._read[case] = known.version
        return self.newest_labels(known)

    def newest_labels(self, case: Case) -> np.ndarray:
        """Return what :meth:`mask` does, for code that knows the case's current version."""
        return self._labels(case, case.version)

    def newest_object(self, case: Case) -> str:
        """Return the name of the file that holds the labels of a case that has some: other labels, another name."""
        return str(self._version(case.version or 0)["object"])

    def _labels(self, case: Case, version: int | None) -> np.ndarray:
        if version is None:
            return np.full(case.shape, NOT_ANNOTATED, np.uint8)
        return self.objects.get(self._version(version)["object"])

    def _version(self, version: int) -> Row:
        row = self.store.row("SELECT * FROM mask_version WHERE id = ?", version)
        if row is None:
            raise ProjectError(f"There is no version {version} of a mask in {self.path.name}.")
        return row

    @staticmethod
    def done_in(row: Row) -> tuple[int, ...]:
        """Return the slices that were finished in a version."""
        return tuple(json.loads(row["done"]))

    # saving ----------------------------------------------------------------------------------------------

    def save_mask(self, case: str, labels: np.ndarray, done: Iterable[int] = (), *, reopen: Iterable[int] = ()) -> int:
        """Save a new version of a case's labels. Returns its number once it is on disk.

        Parameters
        ----------
        labels
            (z, y, x) integers: 0, 1 to K, or 255.
        done
            Slices that are finished from now on, besides those that already are: each of their voxels counts,
            background too. On other slices only what is painted is kept (0 becomes 255): a draft.
        reopen
            Slices that are no longer finished.

        Raises
        ------
        Conflict
            If somebody else has changed one of these slices since the case was last read here. Their version stays
            the current one; this one is kept beside it (:meth:`asides`). Slices that only one of the two changed are
            in the current mask either way.
        """
        with self.store.atomic():
            known = self.case(case)
            labels = check_labels(labels, known, len(self.classes))
            done, reopen = set(done), set(reopen)
            before = self._labels(known, self._read.get(case, known.version))
            mine = [z for z in range(len(labels)) if z in done | reopen or not np.array_equal(labels[z], before[z])]
            version, conflict = self._save(known, {z: labels[z] for z in mine}, done, reopen, before)
        if conflict is not None:
            raise conflict
        return version

    def save_slices(
        self,
        case: str,
        slices: Mapping[int, np.ndarray],
        done: Iterable[int] = (),
        *,
        reopen: Iterable[int] = (),
        before: Before = None,
    ) -> int:
        """Save some slices (y, x) of a case and leave the others as they are; otherwise as :meth:`save_mask`.

        ``before`` holds these slices as the caller knew them before the change; without it, nobody is asked.
        """
        with self.store.atomic():
            version, conflict = self._save(self.case(case), slices, set(done), set(reopen), before)
        if conflict is not None:  # both versions are on disk by now
            raise conflict
        return version

    def _save(
        self, case: Case, slices: Mapping[int, np.ndarray], done: set[int], reopen: set[int], before: Before
    ) -> tuple[int, Conflict | None]:
        current = self.newest_labels(case)
        check_slices({*slices, *done, *reopen}, case.geometry)
        labels = self._with_slices(case, current, slices)
        contested = [] if before is None else _contested(current, labels, slices, before)
        mine = labels[contested]
        labels[contested] = current[contested]
        finished = (set(case.labelled) | (done - set(contested))) - reopen
        finished = {int(z) for z in finished if (labels[z] != NOT_ANNOTATED).any()}
        version = self.save_version(case, labels, finished, "human")
        self._read[case.id] = version
        if not contested:
            return version, None
        labels[contested] = mine
        aside = self.save_version(self.case(case.id), labels, finished, "conflict")
        author = self._version(case.version or version)["author"]
        return version, Conflict(_conflict_sentence(case, contested, author), aside)

    def _with_slices(self, case: Case, labels: np.ndarray, slices: Mapping[int, np.ndarray]) -> np.ndarray:
        """Return labels (z, y, x) with some slices replaced by others, which are checked."""
        wrong = next((np.shape(fresh) for fresh in slices.values() if np.shape(fresh) != case.shape[1:]), None)
        if wrong is not None:
            raise ProjectError(f"A slice of {case.id} has the shape {case.shape[1:]}; one of {wrong} was given.")
        labels = labels.copy()
        for z, fresh in slices.items():
            labels[z] = check_values(np.asarray(fresh), case, len(self.classes))
        return labels

    # versions beside the current one ---------------------------------------------------------------------

    def asides(self) -> list[Aside]:
        """Return the versions that wait for somebody to choose: of conflicts, and of strokes that were not saved."""
        found = []
        for row in self.store.rows(ASIDE):
            with contextlib.suppress(ProjectError):  # a damaged one is the doctor's affair
                slices = tuple(int(z) for z in self._own_slices(row))
                found.append(Aside(row["id"], row["case_id"], row["origin"], row["author"], row["at"], slices))
        return found

    @property
    def aside_versions(self) -> list[int]:
        """The numbers of the versions that wait; none of them is read."""
        return [row["id"] for row in self.store.rows(ASIDE)]

    def aside_labels(self, version: int) -> np.ndarray:
        """Return the labels (z, y, x) of a version beside the current one."""
        return self.objects.get(self._version(version)["object"])

    def fits(self, case: Case, slices: Mapping[int, np.ndarray]) -> bool:
        """Whether slices can be of a case: on its grid, with labels of the project's classes."""
        try:
            check_slices(slices, case.geometry)
            self._with_slices(case, np.zeros(case.shape, np.uint8), slices)
        except ProjectError:
            return False
        return True

    def keep_beside(self, case: str, slices: Mapping[int, np.ndarray], done: Collection[int] = ()) -> int | None:
        """Keep recovered slices, of which some are done, beside the current mask; None if it or another has them."""
        with self.store.atomic():
            known = self.case(case)
            current = self.newest_labels(known)
            check_slices(slices, known.geometry)
            labels = self._with_slices(known, current, slices)
            rows = [self._version(item.version) for item in self.asides() if item.case == case]
            kept = [(self.objects.get(row["object"]), self.done_in(row)) for row in rows]
            for other, finished in ((current, known.labelled), *kept):
                if set(done) <= set(finished) and all(same(labels[z], other[z]) for z in slices):
                    return None
            return self.save_version(known, labels, {*known.labelled, *done}, "recovered")

    def take_aside(self, version: int) -> int:
        """Make the slices of a version beside the current one part of the current mask. Returns its new version."""
        with self.store.atomic():
            row = self._version(version)
            case = self.case(row["case_id"])
            labels, theirs = self.newest_labels(case), self.aside_labels(version)
            slices = self._own_slices(row)
            labels[slices] = theirs[slices]
            self._choose(version, taken=True)
            return self.save_version(case, labels, {*case.labelled, *self._own_done(row)}, "human")

    def leave_aside(self, version: int) -> None:
        """Keep the current mask; the other version stays on disk but is no longer offered."""
        self._choose(version, taken=False)

    def _choose(self, version: int, taken: bool) -> None:
        with self.store.atomic():
            if version not in self.aside_versions:
                raise ProjectError(
                    f"Version {version} does not wait for a choice; `segmatch asides` lists those that do."
                )
            self.store.add("choice", [{"version": version, "taken": int(taken), "actor": actor(), "at": now()}])

    def _own_slices(self, row: Row) -> list[int]:
        """Return the slices that a version shows or finishes otherwise than the one that it was put beside."""
        labels = self.objects.get(row["object"])
        parent = np.full_like(labels, NOT_ANNOTATED)
        if row["parent"] is not None:
            parent = self.objects.get(self._version(row["parent"])["object"])
        done = self._own_done(row)
        return [z for z in range(len(labels)) if z in done or not same(labels[z], parent[z])]

    def _own_done(self, row: Row) -> set[int]:
        """Return the slices that are done in a version, and are not in the one that it was put beside."""
        before = () if row["parent"] is None else self.done_in(self._version(row["parent"]))
        return {*self.done_in(row)} - {*before}


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two slices show the same drawing; on a draft 0 and "not annotated" are the same."""
    return np.array_equal(np.where(one == NOT_ANNOTATED, 0, one), np.where(other == NOT_ANNOTATED, 0, other))


def _contested(
    current: np.ndarray, mine: np.ndarray, slices: Iterable[int], before: Mapping[int, np.ndarray] | np.ndarray
) -> list[int]:
    """Return the slices that somebody else has changed or finished since ``before``, to something other than mine."""
    theirs = [z for z in slices if not same(current[z], before[z]) or _finished_since(current[z], before[z])]
    return [z for z in theirs if not same(current[z], mine[z])]


def _finished_since(current: np.ndarray, before: np.ndarray) -> bool:
    """Whether a slice is finished that was a draft, be it with the same drawing: what is not drawn counts now."""
    return bool((before == NOT_ANNOTATED).any() and not (current == NOT_ANNOTATED).any())


def _conflict_sentence(case: Case, slices: list[int], author: str) -> str:
    where = ", ".join(map(str, sorted(map(case.geometry.slice_number, slices))))
    one = len(slices) == 1
    return (
        f"{author} has changed {'slice' if one else 'slices'} {where} of {case.id} meanwhile: "
        f"{'that one stays' if one else 'those stay'}, yours {'is' if one else 'are'} kept beside; choose between them."
    )
