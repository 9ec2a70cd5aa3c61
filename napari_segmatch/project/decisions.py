"""What a person's word on a proposal does to the labels, and how it is taken back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, get_args

import numpy as np

from ..errors import ProjectError
from ..types import NOT_ANNOTATED, Decision, HumanVerdict, Proposal
from .audit import actor, now
from .checks import check_labels

if TYPE_CHECKING:
    from . import Project


def decide(
    project: Project, item: Proposal, verdict: HumanVerdict, mask: np.ndarray | None, seconds: float | None
) -> Decision:
    """Record a decision; see :meth:`Project.decide`."""
    if verdict not in get_args(HumanVerdict):
        raise ProjectError(f"{verdict!r} is no decision; choose accepted, rejected, corrected or deferred.")
    if (mask is not None and verdict in ("rejected", "deferred")) or (mask is None and verdict == "corrected"):
        raise ProjectError("A corrected mask goes with the decision corrected (or accepted), and only with it.")
    with project.store.atomic():
        take_back(project, item)
        if verdict in ("accepted", "corrected") and item.z in project.case(item.case).labelled:
            raise ProjectError(
                f"Slice {item.z} of {item.case} has been labelled since proposal {item.id} was made: reopen the slice "
                "first if the proposal is to take its place."
            )
        version = None
        if mask is not None:
            verdict, version = "corrected", _label_slice(project, item, _whole(project, item, mask))
        elif verdict == "accepted":
            version = _label_slice(project, item, project.proposal_mask(item))
        return insert_decision(project, item, verdict, version, seconds)


def take_back(project: Project, item: Proposal) -> Decision | None:
    """Undo the last decision on a proposal; see :meth:`Project.take_back`."""
    with project.store.atomic():
        row = project.store.row("SELECT * FROM decision WHERE proposal = ? ORDER BY id DESC LIMIT 1", item.id)
        if row is None or row["verdict"] is None:
            return None
        version = _unlabel_slice(project, item, row["mask_version"]) if row["mask_version"] is not None else None
        return insert_decision(project, item, None, version, None)


def insert_decision(
    project: Project, item: Proposal, verdict: HumanVerdict | None, version: int | None, seconds: float | None
) -> Decision:
    fields = {"proposal": item.id, "verdict": verdict, "actor": actor(), "at": now(), "mask_version": version,
              "seconds": seconds}  # fmt: skip
    (id,) = project.store.add("decision", [fields])
    return Decision(id, **fields)  # type: ignore[arg-type]


def _whole(project: Project, item: Proposal, mask: np.ndarray) -> np.ndarray:
    """Take a slice (y, x), or the proposal's slice of a volume (z, y, x), and check it."""
    case, mask = project.case(item.case), np.asarray(mask)
    if mask.shape == case.shape:
        mask = mask[item.z]
    if mask.shape != case.shape[1:]:
        raise ProjectError(f"A slice of {case.id} has the shape {case.shape[1:]}; the mask has {mask.shape}.")
    return check_labels(np.broadcast_to(mask, case.shape), case, len(project.classes))[item.z]


def _label_slice(project: Project, item: Proposal, mask: np.ndarray) -> int:
    case = project.case(item.case)
    labels = project.newest_labels(case)
    labels[item.z] = mask
    return project.save_version(case, labels, {*case.labelled, item.z}, "proposal", item.id)


def _unlabel_slice(project: Project, item: Proposal, version: int) -> int | None:
    """Give the slice back what it held before ``version``, unless somebody has changed it since."""
    made = project.store.row("SELECT * FROM mask_version WHERE id = ?", version)
    case = project.case(item.case)
    labels = project.newest_labels(case)
    if made is None or not np.array_equal(labels[item.z], project.objects.get(made["object"])[item.z]):
        return None
    labels[item.z] = NOT_ANNOTATED
    done = set(case.labelled) - {item.z}
    parent = project.store.row("SELECT * FROM mask_version WHERE id = ?", made["parent"])
    if parent is not None:
        labels[item.z] = project.objects.get(parent["object"])[item.z]
        done |= {item.z} & set(json.loads(parent["done"]))
    return project.save_version(case, labels, done, "undo", item.id)
