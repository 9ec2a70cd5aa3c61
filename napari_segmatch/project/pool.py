"""What the trainer sees of a project: an implementation of :class:`napari_segmatch.types.Pool`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from ..types import NOT_ANNOTATED, Case, PoolSnapshot, Reviewed, Volume
from .records import to_reviewed

if TYPE_CHECKING:
    from . import Project


class ProjectPool:
    """Reads a project for a trainer. Never writes."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self.classes = project.classes
        self.sequences = project.sequences

    def version(self) -> int:
        """Return a number that grows with every mask, decision and case (those tables only grow)."""
        row = self._project.store.row(
            "SELECT (SELECT coalesce(max(id), 0) FROM mask_version) + (SELECT coalesce(max(id), 0) FROM decision)"
            ' + (SELECT coalesce(max(number), 0) FROM "case")'
            " + (SELECT count(*) FROM audit WHERE action IN ('case_removed', 'case_restored')) AS version"
        )
        return int(row["version"]) if row else 0

    def snapshot(self) -> PoolSnapshot:
        """Sort every slice into labelled, unlabelled or neither.

        A patient with a validation case is held out whole. A slice whose proposal a person rejected leaves the
        unlabelled pool, and a decision teaches only while its case is in the training. Whose a case is, is known of
        removed ones too: what they have taught is not forgotten.
        """
        version = self.version()
        cases = [case for case in self._project.cases if case.problem is None]
        held_out = {case.patient for case in cases if case.validation}
        known = self._project.store.rows('SELECT id, number, patient FROM "case"')
        reviewed = self._reviewed()
        out = {case.id: set(case.labelled) for case in cases}
        for item in reviewed:
            if item.verdict == "rejected" and item.region.case in out:
                out[item.region.case].add(item.region.z)
        training = {case.id: case for case in cases if case.patient not in held_out}
        rest = {id: tuple(z for z in range(case.shape[0]) if z not in out[id]) for id, case in training.items()}
        return PoolSnapshot(
            version=version,
            labelled={id: case.labelled for id, case in training.items() if case.labelled},
            unlabelled=rest,
            validation=tuple(case.id for case in cases if case.validation and case.labelled),
            masks={case.id: case.version for case in cases if case.version is not None},
            reviewed=(*(item for item in reviewed if item.region.case in training), *self._drawn(training.values())),
            images={row["id"]: row["number"] for row in known},
            patients={row["id"]: row["patient"] for row in known},
        )

    def _reviewed(self) -> tuple[Reviewed, ...]:
        """Return the standing decisions. What moves the chances is a word on one mask, and on the mask itself.

        How many were judged at once is seen where the word was first said: undoing another one brings it back.
        """
        rows = self._project.store.rows(
            "SELECT p.id, p.case_id, p.z, d.verdict, CASE WHEN d.reason = 'bad scan' OR EXISTS "
            "(SELECT 1 FROM decision f JOIN decision e ON e.batch = f.batch AND e.id != f.id WHERE f.id = "
            "(SELECT min(id) FROM decision WHERE proposal = p.id AND verdict = d.verdict)) THEN NULL ELSE p.margins "
            "END FROM decision d JOIN proposal p ON p.id = d.proposal "
            "WHERE d.id IN (SELECT max(id) FROM decision GROUP BY proposal) AND d.verdict IS NOT NULL ORDER BY d.id"
        )
        return to_reviewed(rows)

    def _drawn(self, cases: Iterable[Case]) -> tuple[Reviewed, ...]:
        """Return the latest proposals for slices that people labelled, and of which no word stands: the label is it."""
        slices = json.dumps([[case.id, z] for case in cases for z in case.labelled])
        rows = self._project.store.rows(
            "SELECT p.id, p.case_id, p.z, 'corrected', p.margins FROM proposal p WHERE p.margins IS NOT NULL "
            "AND p.id IN (SELECT max(q.id) FROM json_each(?) s JOIN proposal q "
            "ON q.case_id = json_extract(s.value, '$[0]') AND q.z = json_extract(s.value, '$[1]') "
            "GROUP BY q.case_id, q.z) AND NOT EXISTS (SELECT 1 FROM proposal o JOIN decision d ON d.proposal = o.id "
            "WHERE o.case_id = p.case_id AND o.z = p.z AND d.verdict IN ('accepted', 'rejected', 'corrected') "
            "AND d.id = (SELECT max(id) FROM decision WHERE proposal = o.id)) ORDER BY p.id",
            slices,
        )
        return to_reviewed(rows)

    def volume(self, case: str) -> Volume:
        return self._project.volume(case)

    def mask(self, case: str) -> np.ndarray:
        """Uint8 (z, y, x), 255 on every slice that is not done: a draft must not teach."""
        known = self._project.case(case)
        labels = self._project.newest_labels(known)  # of the version whose finished slices we know
        drafts = np.ones(labels.shape[0], bool)
        drafts[list(known.labelled)] = False
        labels[drafts] = NOT_ANNOTATED
        return labels

    def proposal_mask(self, proposal: int) -> np.ndarray:
        return self._project.proposal_mask(proposal)
