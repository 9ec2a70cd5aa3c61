"""Examine a project folder and say in plain sentences what is wrong with it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ..errors import ImportProblem, SegmatchError
from . import Project


def examine(path: str | Path) -> list[str]:
    """Return one sentence for each thing that is wrong; an empty list for a healthy project.

    Raises
    ------
    ProjectError
        If the folder cannot be opened as a project at all.
    """
    problems: list[str] = []
    with Project.open(path) as project:
        for look in (_database, _masks, _images, _runs):
            try:
                problems += look(project)
            except SegmatchError as error:  # what is too damaged to be looked at is a finding too
                problems.append(str(error))
    return problems


def _database(project: Project) -> list[str]:
    return [
        f"The database is damaged ({row[0]}): restore segmatch.db from a backup; the masks in objects/ are whole."
        for row in project.store.rows("PRAGMA quick_check")
        if row[0] != "ok"
    ]


def _masks(project: Project) -> list[str]:
    rows = project.store.rows("SELECT id, case_id, object FROM mask_version ORDER BY id")
    return [
        f"Version {row['id']} of the mask of {row['case_id']} is missing or damaged "
        f"(objects/{row['object'][:2]}/{row['object'][:12]}…): restore that file from a backup."
        for row in rows
        if not project.objects.intact(row["object"])
    ]


def _images(project: Project) -> list[str]:
    problems = []
    for case in project.cases:
        if case.problem is not None:
            problems.append(f"Case {case.id} was set aside: {case.problem}")
            continue
        try:
            project.volume(case.id)
        except ImportProblem as error:
            problems.append(f"An image of case {case.id} cannot be used: {error}")
    return problems


def _runs(project: Project) -> list[str]:
    problems = []
    for run, state in project.runs():
        if state == "interrupted":
            problems.append(f"Run {run.id} was interrupted: `segmatch resume` goes on from its last checkpoint.")
        try:
            run.config  # noqa: B018  reading it is the check
        except SegmatchError as error:
            problems.append(str(error))
        problems += [
            f"Checkpoint {folder.name} of run {run.id} is damaged: the one before it will be used."
            for folder in sorted(run.checkpoints.glob("[0-9]*"))
            if not _checkpoint_is_whole(folder)
        ]
    for row in project.store.rows("SELECT DISTINCT file FROM proposal"):
        if not (project.path / row["file"]).is_file():
            problems.append(f"A file of proposals is missing ({row['file']}): train again to get new ones.")
    return problems


def _checkpoint_is_whole(folder: Path) -> bool:
    try:
        state = json.loads((folder / "state.json").read_text("utf-8"))
        data = (folder / "tensors.safetensors").read_bytes()
        return bool(state["sha256"] == hashlib.sha256(data).hexdigest())
    except (OSError, ValueError, KeyError, TypeError):
        return False
