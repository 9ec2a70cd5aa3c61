"""The cases and masks of a project folder: the lower half of :class:`napari_segmatch.project.Project`."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np

from ..errors import ImportProblem, ProjectError
from ..io import ask, read_mask, read_sequences
from ..types import (
    MAX_CLASSES,
    NOT_ANNOTATED,
    Case,
    Geometry,
    Volume,
)
from .checks import check_labels, check_names, check_slices, good_name
from .objects import ObjectStore
from .records import (
    CASES,
    Reading,
    as_drafts,
    geometry_text,
    insert_version,
    keep_reading,
    now,
    reading_key,
    to_case,
    to_reading,
)
from .store import Store, create_database, half_made_name

DATABASE = "segmatch.db"


class CaseFolder:
    """A folder of cases with versioned masks. See :class:`napari_segmatch.project.Project` for its rules."""

    def __init__(self, path: Path, store: Store) -> None:
        self.path = path
        self.store = store
        self.objects = ObjectStore(path / "objects")
        self._read: dict[str, int | None] = {}  # which version of a case's mask was handed out last
        meta = {row["key"]: row["value"] for row in store.rows("SELECT key, value FROM meta")}
        self.classes: tuple[str, ...] = tuple(json.loads(meta["classes"]))
        self.sequences: tuple[str, ...] = tuple(json.loads(meta["sequences"]))
        self.colours: dict[str, str] = json.loads(meta.get("colours", "{}"))
        self._key = json.loads(meta["uuid"]).encode()

    # opening ---------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: str | Path, classes: Sequence[str], sequences: Sequence[str]) -> Self:
        """Make a new project in an empty or new folder.

        Parameters
        ----------
        path
            The folder.
        classes
            Names of the structures to segment, at most 50; the first gets label 1.
        sequences
            Names of the MRI sequences; they become the network's channels, in this order.

        Raises
        ------
        ProjectError
            If the folder already holds something, or a name is missing, doubled or too many.
        """
        path = Path(path)
        check_names("class", classes)
        check_names("sequence", sequences)
        if len(classes) > MAX_CLASSES:
            raise ProjectError(f"{len(classes)} classes are too many; at most {MAX_CLASSES} are possible.")
        if path.exists() and (not path.is_dir() or set(path.iterdir()) - {half_made_name(path / DATABASE)}):
            raise ProjectError(
                f"{path.resolve().name} is not empty: choose a new folder, or open the project that is in it."
            )
        meta = {"classes": list(classes), "sequences": list(sequences), "uuid": str(uuid.uuid4())}
        try:
            path.mkdir(parents=True, exist_ok=True)
            create_database(path / DATABASE, {key: json.dumps(value) for key, value in meta.items()})
        except OSError as error:
            raise ProjectError(f"The project {path.resolve().name} cannot be made ({error.strerror}).") from error
        return cls(path, Store(path / DATABASE))

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open an existing project; raises :class:`ProjectError` if the folder is none."""
        path = Path(path)
        if not path.is_dir():
            raise ProjectError(
                f"There is no project folder {path.name}: check the path, or make one with `segmatch new`."
            )
        return cls(path, Store(path / DATABASE))

    def close(self) -> None:
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def set_colours(self, colours: Mapping[str, str]) -> None:
        """Give classes colours, as "#rrggbb"; other classes keep what the window gives them."""
        self.colours = {name: colour for name, colour in colours.items() if name in self.classes}
        with self.store.atomic() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES ('colours', ?)", (json.dumps(self.colours),))

    def pseudonym(self, patient: str) -> str:
        """Return a name for a patient that tells patients apart and cannot be turned back."""
        return hashlib.blake2b(patient.encode(), digest_size=6, key=self._key[:64]).hexdigest()

    # cases -----------------------------------------------------------------------------------------------

    @property
    def cases(self) -> list[Case]:
        """All cases by id, those with a problem included."""
        return [to_case(row) for row in self.store.rows(CASES + " ORDER BY c.id")]

    def case(self, id: str) -> Case:
        row = self.store.row(CASES + " WHERE c.id = ?", id)
        if row is None:
            raise ProjectError(f"There is no case {id!r} in {self.path.name}; `segmatch doctor` lists the cases.")
        return to_case(row)

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
        """Add one study.

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
            If the id is taken by a case with labels or proposals, or not usable as a file name.
        """
        self._check_new_id(id)
        unknown = sorted(set(images) - set(self.sequences))
        if unknown or not images:
            came = f"{unknown[0]!r} is not one of them" if unknown else "none was given"
            raise ImportProblem(f"Case {id}: the project's sequences are {', '.join(self.sequences)}, and {came}.")
        choices = {"twin": "add"} if choices is None else dict(choices)
        volume = read_sequences(images, self.sequences, choices)
        geometry, fingerprint = volume.geometry, _fingerprint(volume)
        labels, done = self._import_labels(id, mask, labelled, geometry, choices)
        notes = (*volume.notes, *self._twins(id, fingerprint, choices))
        object_name = self.objects.put(labels, geometry) if labels is not None else None
        with self.store.atomic() as db:
            self._clear(id)
            db.execute(
                'INSERT INTO "case"(id, patient, validation, geometry, fingerprint, added_at) '
                "VALUES (?, ?, ?, ?, ?, ?)",
                (id, patient or id, int(validation), geometry_text(geometry), fingerprint, now()),
            )
            db.executemany(
                "INSERT INTO image VALUES (?, ?, ?)",
                [(id, name, self._relative(Path(path))) for name, path in images.items()],
            )
            keep_reading(db, id, choices, notes)
            if object_name is not None:
                insert_version(db, id, None, object_name, done, "import", None)
        return self.case(id)

    def reading(self, case: str) -> Reading:
        """How a case's files are read: what people have chosen, and what is worth knowing of them."""
        row = self.store.row("SELECT value FROM meta WHERE key = ?", reading_key(case))
        return to_reading(row)

    def _twins(self, id: str, fingerprint: str, choices: Mapping[str, str]) -> tuple[str, ...]:
        """Ask whether images may come twice; a copy in both training and validation would flatter the model."""
        row = self.store.row('SELECT id FROM "case" WHERE fingerprint = ? AND id <> ?', fingerprint, id)
        if row is None:
            return ()
        sentence = f"The images of case {id} are those of case {row['id']}, voxel for voxel"
        ask(choices, "twin", sentence, {"add": "add them all the same"})
        return (f"{sentence}.",)

    def _import_labels(
        self,
        id: str,
        mask: str | Path | None,
        labelled: Literal["none", "all"] | Iterable[int],
        geometry: Geometry,
        choices: Mapping[str, str],
    ) -> tuple[np.ndarray | None, tuple[int, ...]]:
        """Read a case's labels; returns them, or None, and the slices of them that are finished."""
        if isinstance(labelled, str) and labelled == "none":
            return None, ()
        if mask is None:
            raise ImportProblem(f"Case {id} is to be labelled but no mask was given for it.")
        labels = read_mask(mask, geometry, self.classes, choices).labels
        wanted = check_slices(range(geometry.shape[0]) if isinstance(labelled, str) else labelled, geometry)
        return labels, tuple(z for z in wanted if (labels[z] != NOT_ANNOTATED).any())

    def set_aside(self, id: str, problem: str) -> None:
        """Note a case whose files cannot be used, with the sentence that says why. It can be added again later."""
        self._check_new_id(id)
        with self.store.atomic() as db:
            self._clear(id)
            db.execute(
                'INSERT INTO "case"(id, patient, problem, added_at) VALUES (?, ?, ?, ?)', (id, id, problem, now())
            )

    def _check_new_id(self, id: str) -> None:
        if not good_name(id):
            raise ProjectError(f"{id!r} cannot name a case: use up to 100 letters, digits, dots and dashes.")
        if self.is_in_use(id):
            raise ProjectError(f"There is already a case {id!r} in {self.path.name}.")

    def is_in_use(self, id: str) -> bool:
        """Whether a case has labels or proposals. One that has none may be added again, with other files."""
        row = self.store.row(
            "SELECT EXISTS(SELECT 1 FROM mask_version WHERE case_id = ?) "
            "OR EXISTS(SELECT 1 FROM proposal WHERE case_id = ?) AS used",
            id,
            id,
        )
        return bool(row and row["used"])

    def _clear(self, id: str) -> None:
        """Forget the files of a case that nobody has worked on."""
        with self.store.atomic() as db:
            self._check_new_id(id)
            db.execute("DELETE FROM image WHERE case_id = ?", (id,))
            db.execute("DELETE FROM meta WHERE key = ?", (reading_key(id),))
            db.execute('DELETE FROM "case" WHERE id = ?', (id,))

    def _relative(self, path: Path) -> str:
        try:
            return Path(os.path.relpath(path.resolve(), self.path.resolve())).as_posix()
        except ValueError:  # another drive
            return path.resolve().as_posix()

    def image_paths(self, case: str) -> dict[str, Path]:
        rows = self.store.rows("SELECT sequence, path FROM image WHERE case_id = ?", case)
        return {row["sequence"]: (self.path / row["path"]).resolve() for row in rows}

    def all_image_paths(self) -> set[Path]:
        """Every image file that the project refers to."""
        return {(self.path / row["path"]).resolve() for row in self.store.rows("SELECT path FROM image")}

    def volume(self, case: str) -> Volume:
        """Read a case's pixels, (channel, z, y, x) float32 in the order of ``sequences``; a missing one is zeros."""
        volume = read_sequences(self.image_paths(case), self.sequences, self.reading(case).choices)
        row = self.store.row('SELECT fingerprint FROM "case" WHERE id = ?', case)
        same_grid = volume.geometry.same_grid(self.case(case).geometry)
        if not same_grid or row is None or row["fingerprint"] != _fingerprint(volume):
            raise ImportProblem(
                f"The images of case {case} have changed since it was added, so its masks may not fit them any more: "
                "put the old files back, or add them as a new case."
            )
        return volume

    # masks -----------------------------------------------------------------------------------------------

    def mask(self, case: str) -> np.ndarray:
        """Return the newest labels (z, y, x) uint8, drafts included; 255 = not annotated."""
        known = self.case(case)
        self._read[case] = known.version
        return self.newest_labels(known)

    def newest_labels(self, case: Case) -> np.ndarray:
        """Return what :meth:`mask` does, for code that knows the case's newest version."""
        if case.version is None:
            return np.full(case.shape, NOT_ANNOTATED, np.uint8)
        return self._labels(case.version)

    def _labels(self, version: int) -> np.ndarray:
        row = self.store.row("SELECT object FROM mask_version WHERE id = ?", version)
        if row is None:
            raise ProjectError(f"There is no version {version} of a mask in {self.path.name}.")
        return self.objects.get(row["object"])

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

        Notes
        -----
        If somebody else has saved this case since it was last read here, their slices stay where this mask has not
        changed, and this one wins where both have. Every version stays on disk.
        """
        with self.store.atomic():
            known = self.case(case)
            labels = check_labels(labels, known, len(self.classes))
            done, reopen = set(check_slices(done, known.geometry)), set(check_slices(reopen, known.geometry))
            labels = self._merged(known, labels, done | reopen)
            finished = {z for z in (set(known.labelled) | done) - reopen if (labels[z] != NOT_ANNOTATED).any()}
            version = self.save_version(known, labels, finished, "human", None)
            self._read[case] = version
            return version

    def _merged(self, case: Case, labels: np.ndarray, mine: Collection[int]) -> np.ndarray:
        """Take from the newest version the slices which the caller has left as they were when last read."""
        base = self._read.get(case.id, case.version)
        if base == case.version or case.version is None:
            return labels
        before = np.full_like(labels, NOT_ANNOTATED) if base is None else self._labels(base)
        untouched = [z for z in range(len(labels)) if z not in mine and np.array_equal(labels[z], before[z])]
        labels[untouched] = self._labels(case.version)[untouched]
        return labels

    def save_version(
        self, case: Case, labels: np.ndarray, done: Collection[int], origin: str, proposal: int | None
    ) -> int:
        """Append a mask version whose labels have been checked: pixels first, then the row that names them."""
        with self.store.atomic() as db:
            name = self.objects.put(as_drafts(labels, done), case.geometry)
            return insert_version(db, case.id, case.version, name, done, origin, proposal)


def _fingerprint(volume: Volume) -> str:
    return hashlib.sha256(volume.pixels.data).hexdigest()
