"""Examine a project folder and say in plain sentences what is wrong with it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path

from ..errors import ImportProblem, SegmatchError
from ..fsio import read_file
from ..texts import is_signed
from . import Project, audit, schema


def examine(path: str | Path) -> list[str]:
    """Return one sentence for each thing that is wrong; an empty list for a healthy project.

    Raises
    ------
    ProjectError
        If the folder cannot be opened as a project at all.
    """
    problems: list[str] = []
    with Project.open(path) as project:
        for look in (database_problems, trail_problems, _masks, _images, _runs):
            try:
                problems += look(project)
            except SegmatchError as error:  # what is too damaged to be looked at is a finding too
                problems.append(str(error))
            except Exception:  # damaged tables may hold anything; in whole ones it is a bug
                if not problems:
                    raise
    return problems


def database_problems(project: Project) -> list[str]:
    broken = [row[0] for row in project.store.rows("PRAGMA integrity_check") if row[0] != "ok"]
    broken += [f"a row of {row[0]} refers to nothing" for row in project.store.rows("PRAGMA foreign_key_check")]
    mend = "`segmatch doctor --repair` makes it anew; the masks in objects/ are whole."
    return [f"The database is damaged ({line}): {mend}" for line in broken[:3]]


def trail_problems(project: Project) -> list[str]:
    """Compare what the tables hold with what the audit trail says, and the trail with its copy beside."""
    rows = project.store.rows(f"{audit.ENTRIES} ORDER BY seq")
    entries = list(audit.sound(rows))
    if len(entries) < len(rows):
        return [f"The audit trail is damaged from entry {len(entries) + 1} on: `segmatch doctor --repair` mends it."]
    problems = [
        f"The table {table} does not hold what the audit trail says: `segmatch doctor --repair` restores it."
        for table, theirs in _told(entries).items()
        if theirs != _rows(project.store.rows(_ALL.format(table)))
    ]
    rules = [json.loads(entry["body"])["sha256"] for entry in entries if entry["action"] == "schema"]
    if rules and not project.readonly and rules[-1] != project.store.rules():
        problems.append("The database's own rules are damaged: `segmatch doctor --repair` makes it anew.")
    if not project.readonly and list(audit.AuditFile(project.path).entries()) != entries:
        problems.append(f"{audit.TRAIL} is missing, damaged or behind: `segmatch doctor --repair` writes it anew.")
    return problems


_ALL = 'SELECT * FROM "{}" ORDER BY 1, 2'


def _told(entries: list[audit.Entry]) -> dict[str, list[tuple[object, ...]]]:
    """Return what the tables of facts must hold, by playing the trail into an empty database."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.row_factory = sqlite3.Row
    schema.create(db)
    for entry in entries:
        schema.replay(db, entry["action"], entry["body"])
    told = {table: _rows(db.execute(_ALL.format(table)).fetchall()) for table in ("meta", *schema.FACTS)}
    db.close()
    return told


def _rows(rows: list[sqlite3.Row]) -> list[tuple[object, ...]]:
    return [tuple(row) for row in rows]


def _masks(project: Project) -> list[str]:
    rows = project.store.rows(
        'SELECT v.id, v.case_id, v.object FROM mask_version v JOIN "case" c ON c.id = v.case_id '
        "WHERE c.removed_at IS NULL ORDER BY v.id"
    )
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
            if not checkpoint_is_whole(folder)
        ]
    for row in project.store.rows("SELECT DISTINCT file FROM proposal"):
        if not (project.path / row["file"]).is_file():
            problems.append(f"A file of proposals is missing ({row['file']}): train again to get new ones.")
    return problems


def checkpoint_is_whole(folder: Path) -> bool:
    """Whether a checkpoint's two files are what was written."""
    try:
        state = json.loads(read_file(folder / "state.json"))
        data = read_file(folder / "tensors.safetensors")
        return is_signed(state) and state["sha256"] == hashlib.sha256(data).hexdigest()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
