"""The cases of a project folder, and how a version of a mask is added to one."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from ..errors import ImportProblem, ProjectError
from ..io import PARTLY, bad_name, closed, read_apart, read_mask, read_sequences, unchecked_in
from ..texts import count, good_name, some
from ..types import NOT_ANNOTATED, Case, Geometry, Volume
from .audit import actor, now
from .checks import check_patient, check_slices
from .classes import is_still_done
from .folder import LOST, ProjectFolder
from .late import add_sequences, replaced, with_known
from .prints import file_hash, fingerprints, twins
from .records import CASES, Reading, as_drafts, geometry_text, reading_key, to_case, to_reading
from .sources import find_case_again

SHOWN = 20
"""Cases that a sentence lists."""


class CaseFolder(ProjectFolder):
    """A folder of cases. See :class:`napari_segmatch.project.Project` for its rules."""

    @property
    def cases(self) -> list[Case]:
        """All cases by id, those with a problem included."""
        return [to_case(row) for row in self.store.rows(CASES + " ORDER BY c.id")]

    def case(self, id: str) -> Case:
        found = self.find_case(id)
        if found is None:
            rows = self.store.rows('SELECT id FROM "case" WHERE removed_at IS NULL ORDER BY id LIMIT ?', SHOWN + 1)
            names = some([row["id"] for row in rows], SHOWN)
            has = f"its cases are {names}" if names else "it has none yet"
            has = "it was removed, and `segmatch restore` brings it back" if id in self.removed_cases else has
            raise ProjectError(f"There is no case {id!r} in {self.path.name}; {has}.")
        return found

    def find_case(self, id: str) -> Case | None:
        """Return a case, or None if there is none of that name."""
        row = self.store.row(CASES + " AND c.id = ?", id)
        return None if row is None else to_case(row)

    def add_case(
        self,
        id: str,
        images: Mapping[str, str | Path],
        mask: str | Path | None = None,
        labelled: Literal["none", "all"] | Iterable[int] = "none",
        *,
        patient: str | None = None,
        validation: bool = False,
        choices: Mapping[str, str] | None = None,
    ) -> Case:
        """Add one study. One that is there takes the sequences that it lacks; worked on, it stays else as it is.

        Parameters
        ----------
        id
            A name that is unique in the project; exports are named after it.
        images
            Sequence name to image file. All on one grid. Sequences of the project may be missing.
        mask
            A label file on the same grid.
        labelled
            Which slices of ``mask`` are finished labels: "none" (the mask is not imported), "all", or z indices.
        patient
            Who it is of, so that no split cuts through a patient; by default each case is its own patient.
        validation
            Freeze the case for validation: it is never trained on.
        choices
            Answers to questions that were asked before; they are kept with the case. Without any, nobody is asked
            whether images may be in the project twice.

        Raises
        ------
        Question
            If a file can be read in more than one way.
        ImportProblem
            If a file cannot be used; the project is unchanged.
        ProjectError
            If the id is taken by a case with labels or proposals, or of another patient, or not usable as a file name.
        """
        check_patient(id, self.is_of_another(id, patient), self.path.resolve().name)
        with_mask = mask is not None and not (isinstance(labelled, str) and labelled == "none")
        if (case := self._renewed(id, images, choices or {}, with_mask)) is not None:
            return case
        self._check_new(id, images, mask)
        said = {"twin": "add"} if choices is None else dict(choices)
        images, read = with_known(self, id, images, said)
        volume = read_apart(read_sequences, images, self.sequences, read, files=images.values())
        geometry, known_by = volume.geometry, [*fingerprints(volume)]
        labels, done, told = self._import_labels(id, mask, labelled, geometry, said)
        rows = self._image_rows(id, images)  # hashing takes seconds, and nobody may write during a transaction
        notes = (*volume.notes, *told, *twins(self, id, known_by, rows, said), *replaced(self, id, images))
        with self.store.atomic():
            self._clear(id)
            self._insert(id, {"patient": patient or id, "validation": int(validation),
                              "geometry": geometry_text(geometry), "fingerprint": known_by[0]}, rows)  # fmt: skip
            self.keep_reading(id, read, notes)
            if labels is not None:
                self.save_version(self.case(id), labels, done, "import")
        return self.case(id)

    def _renewed(
        self, id: str, images: Mapping[str, str | Path], choices: Mapping[str, str], with_mask: bool
    ) -> Case | None:
        """Take up what there is of a case that was worked on: its files at another place, sequences that it lacks."""
        found_again = find_case_again(self, id, images)
        if late := self.late_sequences(id, images):
            return add_sequences(self, id, {name: Path(images[name]) for name in late}, choices, with_mask)
        return self.case(id) if found_again and self.is_in_use(id) else None

    def _check_new(self, id: str, images: Mapping[str, str | Path], mask: str | Path | None) -> None:
        self._check_new_id(id)
        unknown = sorted(set(images) - set(self.sequences))
        if unknown or not images:
            came = f"{unknown[0]!r} is not one of them" if unknown else "none was given"
            raise ImportProblem(f"Case {id}: the project's sequences are {', '.join(self.sequences)}, and {came}.")
        for path in (*images.values(), *([mask] if mask is not None else [])):
            if trouble := bad_name(self.relative(Path(path))):
                raise ImportProblem(trouble)

    def keep_reading(self, case: str, choices: Mapping[str, str], notes: Sequence[str]) -> None:
        """Record what was chosen, and by whom and when; nothing if there is nothing to say."""
        if notes or dict(choices) not in ({}, {"twin": "add"}):
            text = json.dumps({"choices": dict(choices), "notes": list(notes), "by": actor(), "at": now()})
            self.store.tell("meta", {"key": reading_key(case), "value": text})

    def reading(self, case: str) -> Reading:
        """How a case's files are read: what people have chosen, and what is worth knowing of them."""
        row = self.store.row("SELECT value FROM meta WHERE key = ?", reading_key(case))
        return to_reading(row)

    def _import_labels(
        self,
        id: str,
        mask: str | Path | None,
        labelled: Literal["none", "all"] | Iterable[int],
        geometry: Geometry,
        choices: Mapping[str, str],
    ) -> tuple[np.ndarray | None, tuple[int, ...], tuple[str, ...]]:
        """Read a case's labels; returns them, or None, the slices of them that are finished, and what is to be said."""
        if isinstance(labelled, str) and labelled == "none":
            return None, (), ()
        if mask is None:
            raise ImportProblem(f"Case {id} is to be labelled but no mask was given for it.")
        said = choices if isinstance(labelled, str) else {"export": "checked"}
        unchecked = unchecked_in(mask, said)
        read = read_apart(read_mask, mask, geometry, self.classes, choices, unchecked, files=[mask])
        labels, drafts = read.labels, closed(read.labels, unchecked_in(mask, said, PARTLY))
        wanted = check_slices(range(geometry.shape[0]) if isinstance(labelled, str) else labelled, geometry)
        done = tuple(z for z in wanted if z not in drafts and (labels[z] != NOT_ANNOTATED).any())
        many = f"{count(len(drafts), 'slice')} of {Path(mask).name}"
        words = f"{many} had voxels that were not annotated (slices.csv) and are background in it: finish by hand."
        return labels, done, (*read.notes, *[words] * bool(drafts))

    def set_aside(self, id: str, problem: str) -> bool:
        """Note a case whose files cannot be used, with the sentence that says why. It can be added again later.

        Returns whether that was noted: a case that is there with files that can be used stays as it is.
        """
        with self.store.atomic():
            known = self.find_case(id)
            if known is not None and known.problem is None:
                return False
            self._clear(id)
            self._insert(id, {"patient": id, "problem": problem}, [])
            return True

    def _image_rows(self, id: str, images: Mapping[str, str | Path]) -> list[dict[str, str | None]]:
        return [
            {"case_id": id, "sequence": name, "path": self.relative(Path(path)), "sha256": file_hash(Path(path))}
            for name, path in images.items()
        ]

    def _insert(self, id: str, fields: Mapping[str, object], images: Sequence[Mapping[str, str | None]]) -> None:
        number = self.next_number()
        self.store.tell("case", {"case": {"number": number, "id": id, **fields, "added_at": now()}, "images": images})

    def next_number(self) -> int:
        """Return a number that no case has had: by it a training knows a case that has other images now."""
        last = self.store.row(
            "SELECT max(coalesce((SELECT max(seq) FROM sqlite_sequence WHERE name = 'case'), 0), "
            'coalesce((SELECT max(number) FROM "case"), 0)) AS number'
        )
        return (last["number"] if last else 0) + 1

    def save_version(
        self, case: Case, labels: np.ndarray, done: Collection[int], origin: str, proposal: int | None = None
    ) -> int:
        """Append a mask version whose labels have been checked: pixels first, then the row that names them."""
        with self.store.atomic() as db:
            number = db.execute("SELECT coalesce(max(id), 0) + 1 AS id FROM mask_version").fetchone()["id"]
            row = {"case_id": case.id, "parent": case.version, "done": json.dumps(sorted(done)), "origin": origin,
                   "proposal": proposal, "author": actor(), "at": now()}  # fmt: skip
            about = {**row, "id": number, "patient": case.patient, "validation": case.validation,
                     "classes": self.classes, "sequences": self.sequences, "uuid": self._key.decode()}  # fmt: skip
            name = self.objects.put(as_drafts(labels, done), case.geometry, about)
            self.store.add("mask_version", [{**row, "object": name}])
            return int(number)

    def _check_new_id(self, id: str) -> None:
        if not good_name(id):
            raise ProjectError(f"{id!r} cannot name a case: use up to 100 letters, digits, dots and dashes.")
        if self.is_in_use(id):
            if id not in {case.id for case in self.cases}:
                raise ProjectError(
                    f"The case {id!r} was removed from {self.path.name}: `segmatch restore` brings it back."
                )
            there = f"There is already a case {id!r} in {self.path.name}"
            raise ProjectError(f"{there}, with labels or proposals: it stays as it is.")
        others = {row["id"] for row in self.store.rows('SELECT id FROM "case"')}  # with those that may be restored
        twin = next((other for other in others if other.casefold() == id.casefold()), id)
        if id not in others and twin != id:
            raise ProjectError(
                f"{id!r} and the case {twin!r} of {self.path.name} differ in capital letters alone: on many "
                "disks their masks would be one file, so give it another name."
            )

    def is_in_use(self, id: str) -> bool:
        """Whether a case has labels or proposals. One that has none may be added again, with other files."""
        row = self.store.row(
            "SELECT EXISTS(SELECT 1 FROM mask_version WHERE case_id = ?) "
            "OR EXISTS(SELECT 1 FROM proposal WHERE case_id = ?) AS used",
            id,
            id,
        )
        return bool(row and row["used"])

    def is_of_another(self, id: str, patient: str | None) -> bool:
        """Whether there is a case of that name that is known to be of another patient."""
        known = self.find_case(id)
        return known is not None and known.patient not in (id, patient) and patient not in (None, id)

    def late_sequences(self, id: str, names: Iterable[str]) -> list[str]:
        """Return which of some sequences a case lacks that has labels or proposals."""
        case = self.find_case(id) if self.is_in_use(id) else None
        return [] if case is None else [name for name in self.sequences if name in {*names} - {*case.sequences}]

    def _clear(self, id: str) -> None:
        """Forget the files of a case that nobody has worked on."""
        with self.store.atomic():
            self._check_new_id(id)
            if self.store.row('SELECT 1 FROM "case" WHERE id = ?', id):
                self.store.tell("case_cleared", {"id": id})
                if self.store.row("SELECT 1 FROM meta WHERE key = ?", reading_key(id)):
                    self.store.tell("meta", {"key": reading_key(id), "value": None})

    def remove_case(self, id: str) -> None:
        """Take a case out of the project. Its masks and decisions stay on disk until somebody runs ``segmatch gc``."""
        with self.store.atomic():
            self.store.tell("case_removed", {"id": self.case(id).id, "removed_at": now()})

    @property
    def removed_cases(self) -> list[str]:
        """The ids of cases that were taken out, the latest first."""
        rows = self.store.rows('SELECT id FROM "case" WHERE removed_at IS NOT NULL ORDER BY removed_at DESC, id')
        return [row["id"] for row in rows]

    def restore_case(self, id: str) -> Case:
        """Bring a removed case back as it was; its slices are open if all others were opened for a class since."""
        if self.store.row('SELECT 1 FROM "case" WHERE id = ? AND removed_at IS NOT NULL', id) is None:
            raise ProjectError(f"There is no removed case {id!r} in {self.path.name}.")
        with self.store.atomic():
            self.store.tell("case_restored", {"id": id, "removed_at": None})
            case = self.case(id)
            row = self.store.row("SELECT id, object FROM mask_version WHERE id = ?", case.version)
            if row is not None and not self.objects.intact(row["object"]):
                raise ProjectError(f"The masks of {id} have been deleted by `segmatch gc`: add it under another name.")
            if row is not None and case.labelled and not is_still_done(self.store, row["id"]):
                self.save_version(case, self.objects.get(row["object"]), (), "human")
        return self.case(id)

    def volume(self, case: str) -> Volume:
        """Read a case's pixels, (channel, z, y, x) float32 in the order of ``sequences``; a missing one is zeros."""
        paths = self.image_paths(case)
        gone = next((path.name for path in paths.values() if not path.exists()), None)
        if gone is not None:
            raise ImportProblem(
                f"{gone} {LOST}: put it back, add the scans once more from where they lie now, or let "
                "`segmatch doctor --repair` look for it, with `--search FOLDER` in that folder too."
            )
        volume = read_sequences(paths, self.sequences, self.reading(case).choices)
        row = self.store.row('SELECT fingerprint FROM "case" WHERE id = ?', case)
        same_grid = volume.geometry.same_grid(self.case(case).geometry)
        if not same_grid or row is None or row["fingerprint"] not in fingerprints(volume):
            raise ImportProblem(
                f"The images of case {case} have changed since it was added, so its masks may not fit them any more: "
                "put the old files back, or add them as a new case."
            )
        return volume
