"""A project: a folder that holds everything, and the verbs that read it and add to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np

from ..columns import Columns
from ..config import TrainConfig, fitted
from ..errors import ProjectError
from ..events import PseudoMask
from ..fsio import inside
from ..io import Code
from ..types import NOT_ANNOTATED, Case, Decision, HumanVerdict, Proposal, RunState, Verdict
from .audit import now
from .classes import set_classes
from .decisions import decide, decide_all, newest, revert, steps, take_back
from .export import export_project
from .listing import listed, waiting
from .masks import MaskFolder
from .pool import ProjectPool
from .proposals import packed, read_pseudo_mask, write_pseudo_masks
from .records import PROPOSALS, to_decision, to_proposal
from .runs import LIVE, Run
from .store import Store

__all__ = ["Project", "ProjectPool", "Run"]


class Project(MaskFolder):
    """A SegMatch project folder.

    Human work is never overwritten: a mask version is a new file and a new row, a decision is a new row,
    and taking one back is a new row again. A method that saves returns when the disk has it.

    Arrays are (z, y, x) on the grid of the case's own image files. Labels are 0 for background, 1 to K for
    the project's classes in order, 255 for voxels that nobody has judged.

    Use :meth:`create` or :meth:`open`; one object may be shared by threads.
    """

    def __init__(self, path: Path, store: Store) -> None:
        super().__init__(path, store)
        self.steps: tuple[int, list[int], list[int]] = (0, [], [])  # what :func:`decisions.steps` has read so far

    # proposals and decisions -----------------------------------------------------------------------------

    def proposals(
        self, verdict: Verdict | None = None, *, undecided: bool = False, case: str | None = None
    ) -> list[Proposal]:
        """Return of each slice the proposal that somebody has judged, else the newest; none if it was labelled by hand.

        Parameters
        ----------
        verdict
            Only those which the discriminator "accepted" or "rejected".
        undecided
            Only those that nobody has judged yet.
        case
            Only those of this case.
        """
        if verdict not in (None, *get_args(Verdict)):
            raise ProjectError(f"There is no verdict {verdict!r}; choose accepted or rejected.")
        found = self.proposal_table() if case is None else listed(self.store, [self.case(case)], case)
        wanted = np.full(len(found), True) if verdict is None else found.rows["accepted"] == (verdict == "accepted")
        return list(found.take(wanted & (found.rows["decision"] == 0) if undecided else wanted))

    def proposal_table(self, cases: Sequence[Case] | None = None) -> Columns:
        """Return the same as a table, in the order of their numbers; ``cases`` are all cases, where they are known."""
        return listed(self.store, self.cases if cases is None else cases)

    def waiting(self, cases: Sequence[Case]) -> dict[str, int]:
        """Return how many proposals of each of these cases nobody has judged; cases without any are left out."""
        return waiting(self.store, cases)

    def last_proposal(self) -> int:
        """Return the number of the newest proposal, 0 if there is none."""
        row = self.store.row("SELECT coalesce(max(id), 0) AS id FROM proposal")
        return int(row["id"]) if row else 0

    def cases_proposed_since(self, id: int) -> tuple[list[str], int]:
        """Return the cases with proposals later than proposal ``id``, and the latest one's number."""
        rows = self.store.rows("SELECT case_id, max(id) AS last FROM proposal WHERE id > ? GROUP BY case_id", id)
        return [row["case_id"] for row in rows], max((row["last"] for row in rows), default=id)

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
        return read_pseudo_mask(inside(self.path, row["file"]), row["member"])

    def add_proposals(self, run: Run, step: int, pool_version: int, masks: Sequence[PseudoMask]) -> list[int]:
        """Store a batch of pseudo masks: pixels first, then the rows that name them."""
        if not masks:
            return []
        data, members = packed(masks)  # the window, which may wait for the store, need not wait for this
        with self.store.atomic():
            file = write_pseudo_masks(run.folder / "proposals", step, data)
            relative = file.relative_to(self.path).as_posix()
            rows = [
                {"run": run.id, "case_id": item.region.case, "z": item.region.z, "score": item.score,
                 "verdict": item.verdict, "step": step, "pool_version": pool_version, "file": relative,
                 "member": member, "area": _area(item.labels), "agreement": item.agreement,
                 "margins": json.dumps(item.margins) if item.margins else None}
                for item, member in zip(masks, members, strict=True)
            ]  # fmt: skip
            return self.store.add("proposal", rows)

    def decide(
        self,
        proposal: Proposal | int,
        verdict: HumanVerdict,
        mask: np.ndarray | None = None,
        *,
        seconds: float | None = None,
        reason: str | None = None,
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
        reason
            With "rejected": one of :data:`napari_segmatch.types.REASONS`.
        """
        return decide(self, self._proposal(proposal), verdict, mask, seconds, reason)

    def decide_all(
        self, proposals: Sequence[Proposal | int], verdict: HumanVerdict, *, seconds: float | None = None
    ) -> list[Decision]:
        """Say the same of many proposals, as one step for undo. Slices labelled by hand meanwhile are left out."""
        return decide_all(self, [self._proposal(item) for item in proposals], verdict, seconds)

    def take_back(self, proposal: Proposal | int) -> Decision | None:
        """Undo the standing decision on a proposal, and the label that it made. None if there was none.

        A label that the person has changed since by hand stays.
        """
        return next(iter(take_back(self, [self._proposal(proposal)])), None)

    def roll_back(self, run: int) -> list[Decision]:
        """Take back every accept and correction of a run's proposals, as one step that can itself be undone."""
        rows = self.store.rows(PROPOSALS + " WHERE p.run = ? ORDER BY p.id", run)
        admitted = [item for item in map(to_proposal, rows) if item.decision in ("accepted", "corrected")]
        return take_back(self, admitted)

    def undoable(self) -> tuple[int | None, int | None]:
        """Return the step that :meth:`revert` would undo and the one that it would redo, but for removed cases."""
        undo, redo = steps(self)
        return newest(self, undo), newest(self, redo)

    def revert(self, batch: int) -> list[Decision]:
        """Undo one step of decisions, be it one proposal or hundreds, or undo an undo."""
        return revert(self, batch)

    def _proposal(self, proposal: Proposal | int) -> Proposal:
        return self.proposal(proposal if isinstance(proposal, int) else proposal.id)

    def decisions(self, last: int = -1) -> list[Decision]:
        """Return everything that people said, or the ``last`` of it; a verdict of None takes one back."""
        rows = self.store.rows("SELECT * FROM decision ORDER BY id DESC LIMIT ?", last)
        return [to_decision(row) for row in reversed(rows)]

    # classes ---------------------------------------------------------------------------------------------

    def set_classes(self, names: Sequence[str], reopen: bool = False) -> None:
        """Give the classes other names, in the order of their labels, and add more behind them; none can go.

        Proposals that wait, of models that do not know all classes, are offered no more.

        Parameters
        ----------
        reopen
            Take the slices that are done for unfinished again: they may show what is new. So are, when they come back,
            those of removed cases and of decisions that were taken back, also if no slice is done now. Without it, a
            slice that is done says that it shows nothing of a new class.

        Raises
        ------
        ProjectError
            If there are fewer names than classes, a name is missing, doubled or too many, a run is training, or
            another program has changed the classes.
        """
        set_classes(self, names, reopen)

    # runs and export -------------------------------------------------------------------------------------

    def new_run(self, config: TrainConfig) -> Run:
        """Make the folder and the row of a training run, which has not started yet.

        Its settings suit the project's slices: small ones are not enlarged, close ones are seen with their neighbours.
        """
        config = fitted(config, (case.geometry for case in self.cases if case.problem is None))
        with self.store.atomic():
            (id,) = self.store.add("run", [{"config": repr(config), "state": "created", "created_at": now()}])
            run = Run(id, self.path / "runs" / f"{id:04d}")
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
        if state in LIVE and not self.run(id).is_live():
            return "interrupted"
        return state

    def run_begin(self, id: int) -> str:
        """Return when a run was made, in UTC as ISO 8601."""
        row = self.store.row("SELECT created_at FROM run WHERE id = ?", id)
        return row["created_at"] if row else ""

    def live_run(self, besides: Run | None = None) -> int | None:
        """Return the number of another run that trains, in this program or another one; None if none does."""
        return next((run.id for run, state in self.runs() if state in LIVE and run != besides), None)

    def set_run_state(self, id: int, state: RunState) -> None:
        self.store.tell("run_state", {"id": id, "state": state})

    def export(
        self,
        folder: str | Path,
        *,
        include_accepted: bool = False,
        layout: str = "nifti",
        codes: Mapping[str, Code] | None = None,
    ) -> list[Path]:
        """Write the checked masks, their volumes and all decisions into a folder; returns the files.

        See :func:`napari_segmatch.project.export.export_project`.
        """
        return export_project(self, Path(folder), include_accepted, layout, codes)


def _area(labels: np.ndarray) -> int:
    return int(np.count_nonzero((labels > 0) & (labels != NOT_ANNOTATED)))
