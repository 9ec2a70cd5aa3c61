"""What people's words on proposals do to the labels, and how they are taken back.

Every word belongs to a *batch*: all decisions that one key press made. A batch is on disk whole or not at all, and
is undone whole. Undoing writes another batch, which says what it reverts; so the list of steps that can be undone or
redone follows from the rows alone, at any depth, after a restart too.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np

from ..errors import ProjectError
from ..types import NOT_ANNOTATED, REASONS, Decision, HumanVerdict, Proposal
from .audit import actor, now
from .checks import check_labels
from .classes import is_still_done
from .masks import same
from .records import to_decision

if TYPE_CHECKING:
    from sqlite3 import Row

    from . import Project


@dataclass(frozen=True, eq=False)
class Word:
    """What a proposal is to become: a verdict, and for accepted and corrected the slice's new labels (y, x).

    The slice is done with them; but a redone word of before a class was added leaves it open if that opened all others.
    """

    item: Proposal
    verdict: HumanVerdict | None
    labels: np.ndarray | None = None
    seconds: float | None = None
    reason: str | None = None
    done: bool = True


def decide(
    project: Project,
    item: Proposal,
    verdict: HumanVerdict,
    mask: np.ndarray | None,
    seconds: float | None,
    reason: str | None,
) -> Decision:
    """Record a decision; see :meth:`Project.decide`."""
    _check(verdict, reason)
    if (mask is not None and verdict in ("rejected", "deferred")) or (mask is None and verdict == "corrected"):
        raise ProjectError("A corrected mask goes with the decision corrected (or accepted), and only with it.")
    labels = _whole(project, item, mask) if mask is not None else None
    if labels is not None:
        verdict = "corrected"
    elif verdict == "accepted":
        labels = project.proposal_mask(item)
    made = settle(project, [Word(item, verdict, labels, seconds, reason)])
    if not made:
        number = project.case(item.case).geometry.slice_number(item.z)
        raise ProjectError(
            f"Slice {number} of {item.case} has been labelled since proposal {item.id} was made: reopen the slice "
            "first if the proposal is to take its place."
        )
    return made[0]


def decide_all(project: Project, items: Sequence[Proposal], verdict: HumanVerdict,
               seconds: float | None) -> list[Decision]:  # fmt: skip
    """Say the same of many proposals; see :meth:`Project.decide_all`."""
    _check(verdict, None)
    if verdict == "corrected":
        raise ProjectError("Proposals are corrected one by one.")
    each = round(seconds / len(items), 2) if seconds is not None and items else None
    accepting = verdict == "accepted"
    return settle(
        project, [Word(item, verdict, project.proposal_mask(item) if accepting else None, each) for item in items]
    )


def _check(verdict: str, reason: str | None) -> None:
    if verdict not in get_args(HumanVerdict):
        raise ProjectError(f"{verdict!r} is no decision; choose accepted, rejected, corrected or deferred.")
    if reason is not None and (verdict != "rejected" or reason not in REASONS):
        raise ProjectError(f"{reason!r} is no reason to reject; choose one of: {', '.join(REASONS)}.")


def _whole(project: Project, item: Proposal, mask: np.ndarray) -> np.ndarray:
    """Take a slice (y, x), or the proposal's slice of a volume (z, y, x), and check it."""
    case, mask = project.case(item.case), np.asarray(mask)
    if mask.shape == case.shape:
        mask = mask[item.z]
    if mask.shape != case.shape[1:]:
        raise ProjectError(f"A slice of {case.id} has the shape {case.shape[1:]}; the mask has {mask.shape}.")
    return check_labels(np.broadcast_to(mask, case.shape), case, len(project.classes))[item.z]


# batches -------------------------------------------------------------------------------------------------


def settle(project: Project, words: Iterable[Word], reverts: int | None = None) -> list[Decision]:
    """Write a batch: of each case one mask version, of each proposal one row. Returns what was written.

    A proposal whose slice somebody has labelled by hand is left out, and so is one of a case that was removed.
    """
    by_case: dict[str, list[Word]] = defaultdict(list)
    for word in words:
        by_case[word.item.case].append(word)
    made: list[Decision] = []
    with project.store.atomic():
        row = project.store.row("SELECT coalesce(max(batch), 0) + 1 AS batch FROM decision")
        batch = int(row["batch"]) if row else 1
        for case, mine in by_case.items():
            if project.find_case(case) is None:
                continue
            standing = _standing(project, [word.item.id for word in mine])
            lifted, undone = _lift_all(project, mine, standing)
            labelled, version = _label_all(project, mine, reverting=reverts is not None)
            for word in labelled:
                own = version if word.labels is not None else lifted if word.item.id in undone else None
                made.append(insert_decision(project, word, own, batch, reverts))
    return made


def _lift_all(project: Project, words: Sequence[Word], standing: Mapping[int, Row]) -> tuple[int | None, set[int]]:
    """Take away what the standing decisions on one case's proposals labelled; returns the version and whose it was."""
    if not any(_labels_slice(row) for row in standing.values()):
        return None, set()
    case = project.case(words[0].item.case)
    labels, done = project.newest_labels(case), set(case.labelled)
    undone = {word.item.id for word in words if _lift(project, word.item, standing.get(word.item.id), labels, done)}
    return (project.save_version(case, labels, done, "undo", _only(words)) if undone else None), undone


def _label_all(project: Project, words: Sequence[Word], reverting: bool) -> tuple[list[Word], int | None]:
    """Label slices of one case; returns the words that hold, and the version.

    A slice that somebody labelled by hand keeps its label. The word on it is left out, or when it would bring back an
    earlier one, nothing is said of the proposal.
    """
    if all(word.labels is None for word in words):
        return list(words), None
    case = project.case(words[0].item.case)
    labels, done = project.newest_labels(case), set(case.labelled)
    holding: list[Word] = []
    for word in words:
        if word.labels is not None and word.item.z in done:
            holding += [Word(word.item, None)] if reverting else []
            continue
        holding.append(word)
        if word.labels is not None:
            labels[word.item.z] = word.labels
            done |= {word.item.z} if word.done else set()
    if all(word.labels is None for word in holding):
        return holding, None
    return holding, project.save_version(case, labels, done, "proposal", _only(words))


def _only(words: Sequence[Word]) -> int | None:
    return words[0].item.id if len(words) == 1 else None


def _standing(project: Project, ids: Sequence[int]) -> dict[int, Row]:
    """Return the last decision on each of these proposals, of those that have one."""
    return {
        row["proposal"]: row
        for row in project.store.rows(
            "SELECT * FROM decision WHERE id IN (SELECT max(id) FROM decision WHERE proposal IN "
            "(SELECT value FROM json_each(?)) GROUP BY proposal)",
            json.dumps(ids),
        )
    }


def _labels_slice(row: Row) -> bool:
    return row["verdict"] in ("accepted", "corrected") and row["mask_version"] is not None


def _lift(project: Project, item: Proposal, last: Row | None, labels: np.ndarray, done: set[int]) -> bool:
    """Give a slice back what it held before the standing decision labelled it, unless it was changed since."""
    if last is None or not _labels_slice(last):
        return False
    made = project.store.row("SELECT * FROM mask_version WHERE id = ?", last["mask_version"])
    if made is None or not same(labels[item.z], project.objects.get(made["object"])[item.z]):
        return False
    labels[item.z] = NOT_ANNOTATED
    done.discard(item.z)
    parent = project.store.row("SELECT * FROM mask_version WHERE id = ?", made["parent"])
    if parent is not None:
        labels[item.z] = project.objects.get(parent["object"])[item.z]
        done |= {item.z} & set(json.loads(parent["done"]))
    return True


def insert_decision(project: Project, word: Word, version: int | None, batch: int, reverts: int | None) -> Decision:
    fields = {"proposal": word.item.id, "verdict": word.verdict, "actor": actor(), "at": now(), "mask_version": version,
              "seconds": word.seconds, "reason": word.reason, "batch": batch, "reverts": reverts}  # fmt: skip
    (id,) = project.store.add("decision", [fields])
    (row,) = project.store.rows("SELECT * FROM decision WHERE id = ?", id)
    return to_decision(row)


# undo and redo -------------------------------------------------------------------------------------------


def take_back(project: Project, items: Sequence[Proposal]) -> list[Decision]:
    """Undo the standing decisions on these proposals, as one batch."""
    with project.store.atomic():
        standing = _standing(project, [item.id for item in items])
        decided = {id for id, row in standing.items() if row["verdict"] is not None}
        return settle(project, [Word(item, None) for item in items if item.id in decided])


def steps(project: Project) -> tuple[list[int], list[int]]:
    """Return the batches that can be undone and those that can be redone, the next one last.

    Batches only ever grow: those that were read before are not read again.
    """
    last, undo, redo = project.steps[0], [*project.steps[1]], [*project.steps[2]]
    for row in project.store.rows(
        "SELECT batch, max(reverts) AS reverts FROM decision WHERE batch > ? GROUP BY batch ORDER BY batch", last
    ):
        last, reverts = row["batch"], row["reverts"]
        if reverts is not None and reverts in undo:
            undo.remove(reverts)
            redo.append(row["batch"])
        elif reverts is not None and reverts in redo:
            redo.remove(reverts)
            undo.append(row["batch"])
        else:
            undo.append(row["batch"])
            redo.clear()
    project.steps = last, undo, redo
    return undo, redo


def newest(project: Project, batches: Sequence[int]) -> int | None:
    """Return the last of these batches in which there is a case that has not been removed."""
    concerned = (
        'SELECT 1 FROM decision d JOIN proposal p ON p.id = d.proposal JOIN "case" c ON c.id = p.case_id '
        "WHERE d.batch = ? AND c.removed_at IS NULL LIMIT 1"
    )
    return next((batch for batch in reversed(batches) if project.store.row(concerned, batch) is not None), None)


def revert(project: Project, batch: int) -> list[Decision]:
    """Put every proposal of a batch back to what was said of it before; undoing an undo is a redo.

    What was said in cases that have been removed since stands.
    """
    with project.store.atomic():
        rows = project.store.rows("SELECT * FROM decision WHERE batch = ? ORDER BY id", batch)
        return settle(project, [_before(project, row) for row in rows], reverts=batch)


def _before(project: Project, row: Row) -> Word:
    """Return what was said of a proposal before this decision."""
    item = project.proposal(row["proposal"])
    earlier = project.store.row(
        "SELECT * FROM decision WHERE proposal = ? AND id < ? ORDER BY id DESC LIMIT 1", item.id, row["id"]
    )
    if earlier is None or earlier["verdict"] is None:
        return Word(item, None)
    labels, done = None, True
    if earlier["verdict"] in ("accepted", "corrected"):
        version = project.store.row("SELECT * FROM mask_version WHERE id = ?", earlier["mask_version"])
        if version is not None:
            labels = project.objects.get(version["object"])[item.z]
            done = item.z in project.done_in(version) and is_still_done(project.store, version["id"])
    return Word(item, earlier["verdict"], labels, earlier["seconds"], earlier["reason"], done)
