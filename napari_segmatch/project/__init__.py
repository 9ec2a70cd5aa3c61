"""A project: a folder that holds everything, and the verbs that read it and add to it."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from ..config import TrainConfig
from ..errors import ImportProblem, ProjectError
from ..events import PseudoMask
from ..io import read_mask, read_sequences
from ..types import (
    MAX_CLASSES,
    NOT_ANNOTATED,
    Case,
    Decision,
    Geometry,
    HumanVerdict,
    Proposal,
    Region,
    RunState,
    Verdict,
    Volume,
)
from .export import export_project
from .objects import ObjectStore
from .pool import ProjectPool
from .proposals import read_pseudo_mask, write_pseudo_masks
from .records import (CASES, FORBIDDEN, NEWEST, PROPOSALS, actor, as_drafts, geometry_text, good_name, insert_version, now, to_case, to_decision, to_proposal)
from .runs import Run
from .store import Store

__all__ = ["Project", "ProjectPool", "Run"]

DATABASE = "segmatch.db"


class Project:
    """A SegMatch project folder.

    Human work is never overwritten: a mask version is a new file and a new row, a decision is a new row,
    and taking one back is a new row again. A method that saves returns when the disk has it.

    Arrays are (z, y, x) on the grid of the case's own image files. Labels are 0 for background, 1 to K for
    the project's classes in order, 255 for voxels that nobody has judged.

    Use :meth:`create` or :meth:`open`; one object may be shared by threads.
    """

    def __init__(self, path: Path, store: Store) -> None:
        self.path = path
        self.store = store
        self.objects = ObjectStore(path / "objects")
        meta = {row["key"]: row["value"] for row in store.rows("SELECT key, value FROM meta")}
        self.classes: tuple[str, ...] = tuple(json.loads(meta["classes"]))
        self.sequences: tuple[str, ...] = tuple(json.loads(meta["sequences"]))

    # opening ---------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: str | Path, classes: Sequence[str], sequences: Sequence[str]) -> Project:
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
        for what, names in (("class", classes), ("sequence", sequences)):
            if isinstance(names, str) or not names or len(set(names)) < len(names) or not all(map(good_name, names)):
                raise ProjectError(
                    f"A project needs one or more {what} names, each different, without any of {' '.join(sorted(FORBIDDEN))}; "
                    f"given was {names!r}."
                )
        if len(classes) > MAX_CLASSES:
            raise ProjectError(f"{len(classes)} classes are too many; at most {MAX_CLASSES} are possible.")
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ProjectError(f"{path.name} is not empty: choose a new folder, or open the project that is in it.")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ProjectError(f"The folder {path.name} cannot be made ({error.strerror}).") from error
        store = Store(path / DATABASE, create=True)
        with store.atomic() as db:
            for key, value in (("classes", list(classes)), ("sequences", list(sequences)), ("uuid", str(uuid.uuid4()))):
                db.execute("INSERT INTO meta VALUES (?, ?)", (key, json.dumps(value)))
        return cls(path, store)

    @classmethod
    def open(cls, path: str | Path) -> Project:
        """Open an existing project; raises :class:`ProjectError` if the folder is none."""
        path = Path(path)
        if not path.is_dir():
            raise ProjectError(f"There is no project folder {path.name}: check the path, or make one with `segmatch new`.")
        return cls(path, Store(path / DATABASE))

    def close(self) -> None:
        self.store.close()

    def __enter__(self) -> Project:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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

        Raises
        ------
        ImportProblem
            If a file cannot be used; the project is unchanged.
        ProjectError
            If the id is taken or not usable as a file name.
        """
        self._check_new_id(id)
        unknown = sorted(set(images) - set(self.sequences))
        if unknown or not images:
            came = f"{unknown[0]!r} is not one of them" if unknown else "none was given"
            raise ImportProblem(f"Case {id}: the project's sequences are {', '.join(self.sequences)}, and {came}.")
        volume = read_sequences(images, self.sequences)
        geometry, fingerprint = volume.geometry, hashlib.sha256(volume.pixels.tobytes()).hexdigest()
        labels, done = None, ()
        if mask is not None and labelled != "none":
            labels = read_mask(mask, geometry, len(self.classes)).labels
            every = range(geometry.shape[0]) if isinstance(labelled, str) else labelled
            done = self._check_slices(every, geometry)
        elif mask is None and labelled != "none":
            raise ImportProblem(f"Case {id} is to be labelled but no mask was given for it.")
        object_name = self.objects.put(labels, geometry) if labels is not None else None
        with self.store.atomic() as db:
            db.execute('DELETE FROM "case" WHERE id = ? AND problem IS NOT NULL', (id,))
            db.execute(
                'INSERT INTO "case"(id, patient, validation, geometry, fingerprint, added_at) VALUES (?, ?, ?, ?, ?, ?)',
                (id, patient or id, int(validation), geometry_text(geometry), fingerprint, now()),
            )
            db.executemany(
                "INSERT INTO image VALUES (?, ?, ?)",
                [(id, name, self._relative(Path(path))) for name, path in images.items()],
            )
            if object_name is not None:
                insert_version(db, id, None, object_name, done, "import", None)
        return self.case(id)

    def set_aside(self, id: str, problem: str) -> None:
        """Note a case whose files cannot be used, with the sentence that says why. It can be added again later."""
        self._check_new_id(id)
        with self.store.atomic() as db:
            db.execute('DELETE FROM "case" WHERE id = ? AND problem IS NOT NULL', (id,))
            db.execute(
                'INSERT INTO "case"(id, patient, problem, added_at) VALUES (?, ?, ?, ?)', (id, id, problem, now())
            )

    def _check_new_id(self, id: str) -> None:
        if not good_name(id):
            raise ProjectError(f"{id!r} cannot name a case: use up to 100 letters, digits, dots and dashes.")
        row = self.store.row('SELECT problem FROM "case" WHERE id = ?', id)
        if row is not None and row["problem"] is None:
            raise ProjectError(f"There is already a case {id!r} in {self.path.name}.")

    def _relative(self, path: Path) -> str:
        try:
            return Path(os.path.relpath(path.resolve(), self.path.resolve())).as_posix()
        except ValueError:  # another drive
            return path.resolve().as_posix()

    def image_paths(self, case: str) -> dict[str, Path]:
        rows = self.store.rows("SELECT sequence, path FROM image WHERE case_id = ?", case)
        return {row["sequence"]: (self.path / row["path"]).resolve() for row in rows}

    def volume(self, case: str) -> Volume:
        """Read a case's pixels, (channel, z, y, x) float32 in the order of ``sequences``; a missing one is zeros."""
        volume = read_sequences(self.image_paths(case), self.sequences)
        if not volume.geometry.same_grid(self.case(case).geometry):
            raise ImportProblem(
                f"The images of case {case} have changed since it was added and no longer lie on the same grid: put "
                "the old files back, or add them as a new case."
            )
        return volume

    # masks -----------------------------------------------------------------------------------------------

    def mask(self, case: str) -> np.ndarray:
        """Return the newest labels (z, y, x) uint8, drafts included; 255 = not annotated."""
        known = self.case(case)
        if known.version is None:
            return np.full(known.shape, NOT_ANNOTATED, np.uint8)
        row = self.store.row("SELECT object FROM mask_version WHERE id = ?", known.version)
        return self.objects.get(row["object"]) if row else np.full(known.shape, NOT_ANNOTATED, np.uint8)

    def save_mask(
        self, case: str, labels: np.ndarray, done: Iterable[int] = (), *, reopen: Iterable[int] = ()
    ) -> int:
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
        """
        known = self.case(case)
        labels = self._check_labels(labels, known)
        finished = set(known.labelled) | set(self._check_slices(done, known.geometry))
        finished -= set(self._check_slices(reopen, known.geometry))
        finished = {z for z in finished if (labels[z] != NOT_ANNOTATED).any()}
        return self._save(known, labels, finished, "human", None)

    def _save(self, case: Case, labels: np.ndarray, done: Collection[int], origin: str, proposal: int | None) -> int:
        name = self.objects.put(as_drafts(labels, done), case.geometry)
        with self.store.atomic() as db:
            return insert_version(db, case.id, case.version, name, done, origin, proposal)

    def _check_labels(self, labels: np.ndarray, case: Case) -> np.ndarray:
        labels = np.asarray(labels)
        if labels.shape != case.shape:
            raise ProjectError(f"A mask for {case.id} must have the shape {case.shape}; it has {labels.shape}.")
        if labels.dtype.kind not in "iub":
            raise ProjectError(f"A mask for {case.id} must hold whole numbers; it holds {labels.dtype}.")
        wrong = labels[(labels != NOT_ANNOTATED) & ((labels < 0) | (labels > len(self.classes)))]
        if wrong.size:
            raise ProjectError(
                f"A mask for {case.id} holds label {int(wrong.flat[0])}; allowed are 0 to {len(self.classes)} and 255."
            )
        return labels.astype(np.uint8)

    @staticmethod
    def _check_slices(slices: Iterable[int], geometry: Geometry) -> tuple[int, ...]:
        found = tuple(sorted({int(z) for z in slices}))
        if found and not 0 <= found[0] <= found[-1] < geometry.shape[0]:
            raise ProjectError(f"Slices run from 0 to {geometry.shape[0] - 1}; given were {found[0]} to {found[-1]}.")
        return found

    # proposals and decisions -----------------------------------------------------------------------------

    def proposals(self, verdict: Verdict | None = None, *, undecided: bool = False) -> list[Proposal]:
        """Return the newest proposal of each slice, those of slices labelled by hand left out.

        Parameters
        ----------
        verdict
            Only those which the discriminator "accepted" or "rejected".
        undecided
            Only those that nobody has judged yet.
        """
        if verdict not in (None, *get_args(Verdict)):
            raise ProjectError(f"There is no verdict {verdict!r}; choose accepted or rejected.")
        found = [to_proposal(row) for row in self.store.rows(PROPOSALS + NEWEST + " ORDER BY p.id")]
        labelled = {Region(case.id, z) for case in self.cases for z in case.labelled}
        return [
            item
            for item in found
            if (verdict is None or item.verdict == verdict)
            and (item.decision is not None or item.region not in labelled)
            and not (undecided and item.decision is not None)
        ]

    def proposal(self, id: int) -> Proposal:
        row = self.store.row(PROPOSALS + " WHERE p.id = ?", id)
        if row is None:
            raise ProjectError(f"There is no proposal {id} in {self.path.name}; `segmatch review` lists them.")
        return to_proposal(row)

    def proposal_mask(self, proposal: Proposal | int) -> np.ndarray:
        """Return a proposal's labels, (y, x) uint8."""
        id = proposal if isinstance(proposal, int) else proposal.id
        row = self.store.row("SELECT file, member FROM proposal WHERE id = ?", id)
        if row is None:
            raise ProjectError(f"There is no proposal {id}.")
        return read_pseudo_mask(self.path / row["file"], row["member"])

    def add_proposals(self, run: Run, step: int, pool_version: int, masks: Sequence[PseudoMask]) -> list[int]:
        """Store a batch of pseudo masks: pixels first, then the rows that name them."""
        if not masks:
            return []
        file, members = write_pseudo_masks(run.folder / "proposals", step, masks)
        relative = file.relative_to(self.path).as_posix()
        with self.store.atomic() as db:
            return [
                int(
                    db.execute(
                        "INSERT INTO proposal(run, case_id, z, score, verdict, step, pool_version, file, member) "
                        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        (run.id, item.region.case, item.region.z, item.score, item.verdict, step, pool_version,
                         relative, member),
                    ).lastrowid or 0
                )
                for item, member in zip(masks, members, strict=True)
            ]  # fmt: skip

    def decide(
        self,
        proposal: Proposal | int,
        verdict: HumanVerdict,
        mask: np.ndarray | None = None,
        *,
        seconds: float | None = None,
    ) -> Decision:
        """Record a person's word on a proposal; deciding again replaces the earlier word.

        Parameters
        ----------
        verdict
            "accepted": the pseudo mask becomes the slice's label. "rejected": the slice leaves the unlabelled
            pool. "deferred": nothing changes but the queue. With ``mask`` the decision is "corrected".
        mask
            The corrected slice: (y, x), or a whole (z, y, x) mask of which the slice is taken.
        seconds
            How long the person looked.
        """
        item = self.proposal(proposal if isinstance(proposal, int) else proposal.id)
        if verdict not in get_args(HumanVerdict):
            raise ProjectError(f"{verdict!r} is no decision; choose accepted, rejected, corrected or deferred.")
        if (mask is not None and verdict in ("rejected", "deferred")) or (mask is None and verdict == "corrected"):
            raise ProjectError("A corrected mask goes with the decision corrected (or accepted), and only with it.")
        self.take_back(item)
        version = None
        if mask is not None:
            verdict, version = "corrected", self._label_slice(item, mask)
        elif verdict == "accepted":
            version = self._label_slice(item, self.proposal_mask(item))
        return self._append_decision(item, verdict, version, seconds)

    def take_back(self, proposal: Proposal | int) -> Decision | None:
        """Undo the last decision on a proposal, and the label that it made. None if there was none.

        A label that the person has changed since by hand stays.
        """
        item = self.proposal(proposal if isinstance(proposal, int) else proposal.id)
        row = self.store.row("SELECT * FROM decision WHERE proposal = ? ORDER BY id DESC LIMIT 1", item.id)
        if row is None or row["verdict"] is None:
            return None
        version = self._unlabel_slice(item, row["mask_version"]) if row["mask_version"] is not None else None
        return self._append_decision(item, None, version, None)

    def last_decided(self) -> Proposal | None:
        """Return the proposal whose decision is the latest that still stands."""
        row = self.store.row(
            "SELECT proposal FROM decision WHERE verdict IS NOT NULL AND id IN "
            "(SELECT max(id) FROM decision GROUP BY proposal) ORDER BY id DESC LIMIT 1"
        )
        return self.proposal(row["proposal"]) if row else None

    def decisions(self) -> list[Decision]:
        """Return everything that people said, in order; a verdict of None takes the one before it back."""
        return [to_decision(row) for row in self.store.rows("SELECT * FROM decision ORDER BY id")]

    def _append_decision(self, item: Proposal, verdict: HumanVerdict | None, version: int | None,
                         seconds: float | None) -> Decision:  # fmt: skip
        with self.store.atomic() as db:
            db.execute(
                "INSERT INTO decision(proposal, verdict, actor, at, mask_version, seconds) VALUES (?, ?, ?, ?, ?, ?)",
                (item.id, verdict, actor(), now(), version, seconds),
            )
        row = self.store.row("SELECT * FROM decision WHERE proposal = ? ORDER BY id DESC LIMIT 1", item.id)
        if row is None:
            raise ProjectError("The decision was not saved.")
        return to_decision(row)

    def _label_slice(self, item: Proposal, mask: np.ndarray) -> int:
        case = self.case(item.case)
        mask = np.asarray(mask)
        if mask.shape == case.shape:
            mask = mask[item.z]
        if mask.shape != case.shape[1:]:
            raise ProjectError(f"A slice of {case.id} has the shape {case.shape[1:]}; the mask has {mask.shape}.")
        labels = self.mask(case.id)
        labels[item.z] = mask
        labels = self._check_labels(labels, case)
        return self._save(case, labels, {*case.labelled, item.z}, "proposal", item.id)

    def _unlabel_slice(self, item: Proposal, version: int) -> int | None:
        made = self.store.row("SELECT * FROM mask_version WHERE id = ?", version)
        case = self.case(item.case)
        labels = self.mask(case.id)
        if made is None or not np.array_equal(labels[item.z], self.objects.get(made["object"])[item.z]):
            return None
        labels[item.z] = NOT_ANNOTATED
        done = set(case.labelled) - {item.z}
        parent = self.store.row("SELECT * FROM mask_version WHERE id = ?", made["parent"])
        if parent is not None:
            labels[item.z] = self.objects.get(parent["object"])[item.z]
            done |= {item.z} & set(json.loads(parent["done"]))
        return self._save(case, labels, done, "undo", item.id)

    # runs and export -------------------------------------------------------------------------------------

    def new_run(self, config: TrainConfig) -> Run:
        """Make the folder and the row of a training run, which has not started yet."""
        with self.store.atomic() as db:
            cursor = db.execute(
                "INSERT INTO run(config, state, created_at) VALUES (?, 'created', ?)", (repr(config), now())
            )
            run = Run(int(cursor.lastrowid or 0), self.path / "runs" / f"{cursor.lastrowid:04d}")
            run.create(config)
        return run

    def run(self, id: int | None = None) -> Run:
        """Return a run by number, or the newest."""
        row = self.store.row("SELECT max(id) AS id FROM run WHERE ? IS NULL OR id = ?", id, id)
        if row is None or row["id"] is None:
            missing = f"no run {id}" if id is not None else "no run yet; start one with `segmatch train`"
            raise ProjectError(f"{self.path.name} has {missing}.")
        return Run(row["id"], self.path / "runs" / f"{row['id']:04d}")

    def runs(self) -> list[tuple[Run, RunState]]:
        return [(self.run(row["id"]), self.run_state(row["id"])) for row in self.store.rows("SELECT id FROM run")]

    def run_state(self, id: int) -> RunState:
        """Return a run's state; one whose process died without a word is "interrupted"."""
        row = self.store.row("SELECT state FROM run WHERE id = ?", id)
        state: RunState = row["state"] if row else "failed"
        if state in ("running", "paused") and not self.run(id).is_live():
            return "interrupted"
        return state

    def set_run_state(self, id: int, state: RunState) -> None:
        with self.store.atomic() as db:
            db.execute("UPDATE run SET state = ? WHERE id = ?", (state, id))

    def export(self, folder: str | Path, *, include_accepted: bool = False) -> list[Path]:
        """Write the checked masks, their volumes and all decisions into a folder; returns the files.

        See :func:`napari_segmatch.project.export.export_project`.
        """
        return export_project(self, Path(folder), include_accepted)

