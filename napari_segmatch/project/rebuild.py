"""Make a lost or damaged database anew: from the audit trail, and from what every mask says of itself."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any

from ..errors import ProjectError
from ..fsio import move
from ..texts import good_name
from ..types import Mask
from . import audit, schema
from .objects import ObjectStore
from .records import geometry_text
from .store import BACKUPS, DAMAGE, new_database

PAIR = ("", "-journal")

_TOLD: dict[str, type | tuple[type, ...]] = {
    "id": int, "case_id": str, "done": str, "origin": str, "author": str, "at": str, "parent": (int, NoneType),
    "proposal": (int, NoneType), "patient": str, "validation": (bool, int), "classes": list, "sequences": list,
    "uuid": str,
}  # fmt: skip
"""What a mask says of itself."""

_NO_NUMBER = 2**63  # larger than any that the database holds


def rebuild(folder: Path, database: str) -> str:
    """Put a new database in the place of the old one, which goes to ``backups/``; returns a sentence.

    Raises
    ------
    ProjectError
        If neither the audit trail nor the masks tell of a project.
    """
    entries = _longest_trail(folder, database)
    objects = ObjectStore(folder / "objects")
    with new_database(folder / BACKUPS / f"rebuilt-{database}") as db:
        for entry in entries:
            audit.write(db, entry)
            schema.replay(db, entry["action"], entry["body"])
        more = _add_objects(db, objects)
        if not db.execute("SELECT count(*) FROM meta").fetchone()[0]:
            raise ProjectError(
                f"{folder.resolve().name} holds neither an audit trail nor masks of SegMatch: restore a backup."
            )
        _add_runs(db, folder / "runs")
        total = db.execute("SELECT count(*) FROM mask_version").fetchone()[0]
        audit.append(db, "rebuilt", {"entries": len(entries), "masks": total, "from_masks_alone": more})
    stamp = audit.stamp()
    for suffix in PAIR:  # a journal left behind would be played into the new database
        if (folder / f"{database}{suffix}").exists():
            move(folder / f"{database}{suffix}", folder / BACKUPS / f"damaged-{stamp}.db{suffix}")
    move(folder / BACKUPS / f"rebuilt-{database}", folder / database)
    renew_trail(folder, database)
    return (
        f"The database was made anew from {len(entries)} entries of the audit trail: {total} mask versions are in it."
    )


def renew_trail(folder: Path, database: str) -> None:
    """Write ``audit.jsonl`` as the database tells it; one that tells another story goes to ``backups/``."""
    trail = audit.AuditFile(folder)
    with contextlib.closing(_plain(folder / database)) as db:
        rows = [{name: row[name] for name in audit.COLUMNS} for row in db.execute(f"{audit.ENTRIES} ORDER BY seq")]
        if trail.path.exists() and list(trail.entries()) != rows[: _lines(trail.path)]:
            move(trail.path, folder / BACKUPS / f"audit-{audit.stamp()}.jsonl")
        trail.catch_up(db)


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


def _plain(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path)
    db.row_factory = sqlite3.Row
    return db


def _longest_trail(folder: Path, database: str) -> list[audit.Entry]:
    """Return the audit trail as far as its chain holds, from the file or from the old database."""
    from_file = list(audit.AuditFile(folder).entries())
    from_database: list[audit.Entry] = []
    if (folder / database).exists():
        with contextlib.suppress(*DAMAGE), contextlib.closing(_plain(folder / database)) as db:
            for entry in audit.sound(db.execute(f"{audit.ENTRIES} ORDER BY seq")):
                from_database.append(entry)
    return max(from_file, from_database, key=len)


def _add_objects(db: sqlite3.Connection, objects: ObjectStore) -> int:
    """Add the versions that only their masks tell of. A mask of a save that never ended has lost its number."""
    known = {row["object"] for row in db.execute("SELECT object FROM mask_version")}
    newest = db.execute("SELECT coalesce(max(id), 0) FROM mask_version").fetchone()[0]
    mine = db.execute("SELECT value FROM meta WHERE key = 'uuid'").fetchone()
    found = [
        (about["id"], about["at"], name, mask, about)
        for name, mask, about in _unknown(objects, known)
        if mine is None or about["uuid"] == json.loads(mine[0])
    ]
    numbered = {
        number: (name, mask, about) for number, _, name, mask, about in sorted(found, key=lambda item: item[:3])
    }
    added = 0
    if numbered:
        _add_project(db, numbered[max(numbered)][2])
    for number, (name, mask, about) in sorted(numbered.items()):
        if number > newest:
            _add_case(db, mask, about)
            fields = ("id", "case_id", "done", "origin", "author", "at")
            row = {field: about[field] for field in fields} | {"object": name}
            for field, table in (("parent", "mask_version"), ("proposal", "proposal")):
                there = db.execute(f"SELECT 1 FROM {table} WHERE id = ?", (about[field],)).fetchone()  # noqa: S608
                row[field] = about[field] if there else None
            _tell(db, "mask_version", {"rows": [row]})
            added += 1
    return added


def _unknown(objects: ObjectStore, known: set[str]) -> Iterator[tuple[str, Mask, dict[str, Any]]]:
    for name in objects.names():
        if name not in known:
            with contextlib.suppress(ProjectError):
                mask, about = objects.read(name)
                if _whole(about):
                    yield name, mask, about


def _whole(about: Any) -> bool:
    """Whether a mask says of itself all that a row needs: it may be of another program, or of nobody."""
    return (
        isinstance(about, dict)
        and all(field in about and isinstance(about[field], kind) for field, kind in _TOLD.items())
        and all(abs(about[field] or 0) < _NO_NUMBER for field in ("id", "parent", "proposal"))
        and all(isinstance(name, str) for name in about["classes"] + about["sequences"])
        and good_name(about["case_id"])
        and about["origin"] in schema.ORIGINS
        and re.fullmatch(r"\[(\d{1,6}(, \d{1,6})*)?\]", about["done"]) is not None
    )


def _add_project(db: sqlite3.Connection, about: dict[str, Any]) -> None:
    """Add what the newest mask says of its project, if nothing else does; it may know of more classes."""
    known = db.execute("SELECT value FROM meta WHERE key = 'classes'").fetchone()
    if known is None:
        names = ("classes", "sequences", "uuid")
        _tell(db, "project", {name: json.dumps(about[name]) for name in names})
    elif len(about["classes"]) > len(json.loads(known[0])):
        _tell(db, "meta", {"key": "classes", "value": json.dumps(about["classes"])})


def _add_case(db: sqlite3.Connection, mask: Mask, about: dict[str, Any]) -> None:
    """Add a mask's case if it is not known; its images have to be found again."""
    if db.execute('SELECT 1 FROM "case" WHERE id = ?', (about["case_id"],)).fetchone() is None:
        number = db.execute('SELECT coalesce(max(number), 0) + 1 FROM "case"').fetchone()[0]
        case = {"number": number, "id": about["case_id"], "patient": about["patient"],
                "validation": int(about["validation"]), "geometry": geometry_text(mask.geometry),
                "added_at": about["at"]}  # fmt: skip
        _tell(db, "case", {"case": case, "images": []})


def _add_runs(db: sqlite3.Connection, runs: Path) -> None:
    known = {row["id"] for row in db.execute("SELECT id FROM run")}
    for folder in sorted(runs.glob("[0-9][0-9][0-9][0-9]")):
        if int(folder.name) not in known:
            row = {"id": int(folder.name), "config": "", "state": "stopped", "created_at": audit.now()}
            _tell(db, "run", {"rows": [row]})


def _tell(db: sqlite3.Connection, action: str, body: dict[str, Any]) -> None:
    audit.append(db, action, body)
    schema.replay(db, action, json.dumps(body))
