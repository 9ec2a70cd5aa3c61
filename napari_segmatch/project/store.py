"""The SQLite database of a project: its schema, how it is opened, and the one way to write to it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import ProjectError
from ..fsio import sync_folder

SCHEMA_VERSION = 2
APPLICATION_ID = 0x5345474D  # "SEGM"

SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE "case"(
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, patient TEXT NOT NULL,
    validation INTEGER NOT NULL DEFAULT 0, geometry TEXT, fingerprint TEXT, problem TEXT,
    added_at TEXT NOT NULL) STRICT;
CREATE TABLE image(
    case_id TEXT NOT NULL REFERENCES "case"(id), sequence TEXT NOT NULL, path TEXT NOT NULL,
    PRIMARY KEY(case_id, sequence)) STRICT;
CREATE TABLE mask_version(
    id INTEGER PRIMARY KEY, case_id TEXT NOT NULL REFERENCES "case"(id), parent INTEGER REFERENCES mask_version(id),
    object TEXT NOT NULL, done TEXT NOT NULL,
    origin TEXT NOT NULL CHECK(origin IN ('human', 'import', 'proposal', 'undo')),
    proposal INTEGER REFERENCES proposal(id), author TEXT NOT NULL, at TEXT NOT NULL) STRICT;
CREATE INDEX mask_version_case ON mask_version(case_id, id);
CREATE TABLE run(
    id INTEGER PRIMARY KEY, config TEXT NOT NULL, state TEXT NOT NULL, created_at TEXT NOT NULL) STRICT;
CREATE TABLE proposal(
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES run(id), case_id TEXT NOT NULL REFERENCES "case"(id),
    z INTEGER NOT NULL, score REAL NOT NULL, verdict TEXT NOT NULL CHECK(verdict IN ('accepted', 'rejected')),
    step INTEGER NOT NULL, pool_version INTEGER NOT NULL, file TEXT NOT NULL, member TEXT NOT NULL,
    area INTEGER, agreement REAL) STRICT;
CREATE INDEX proposal_region ON proposal(case_id, z, id);
CREATE TABLE decision(
    id INTEGER PRIMARY KEY, proposal INTEGER NOT NULL REFERENCES proposal(id),
    verdict TEXT CHECK(verdict IN ('accepted', 'rejected', 'corrected', 'deferred')),
    actor TEXT NOT NULL, at TEXT NOT NULL, mask_version INTEGER REFERENCES mask_version(id), seconds REAL,
    reason TEXT, batch INTEGER, reverts INTEGER) STRICT;
CREATE INDEX decision_proposal ON decision(proposal, id);
CREATE INDEX decision_batch ON decision(batch);
"""

MIGRATIONS = {
    1: """
ALTER TABLE proposal ADD COLUMN area INTEGER;
ALTER TABLE proposal ADD COLUMN agreement REAL;
ALTER TABLE decision ADD COLUMN reason TEXT;
ALTER TABLE decision ADD COLUMN batch INTEGER;
ALTER TABLE decision ADD COLUMN reverts INTEGER;
CREATE INDEX decision_batch ON decision(batch);
""",
}
"""What makes a database of this schema version one of the next."""

IMMUTABLE = ("mask_version", "proposal", "decision")
"""Tables that only ever grow: what a person did is never changed and never removed."""


def _triggers() -> str:
    return "".join(
        f"CREATE TRIGGER {table}_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} only grows'); END;\n"
        for table in IMMUTABLE
        for verb in ("UPDATE", "DELETE")
    )


def create_database(path: Path, meta: Mapping[str, str]) -> None:
    """Make a project's database. It appears under its name when it is whole; a kill before leaves no project."""
    half_made = half_made_name(path)
    half_made.unlink(missing_ok=True)
    store = Store(half_made, create=True)
    with store.atomic() as db:
        db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
    store.close()
    half_made.replace(path)
    sync_folder(path.parent)


def half_made_name(path: Path) -> Path:
    """Return the name under which a database is while it is being made."""
    return path.with_name(f".new-{path.name}")


class Store:
    """One connection to a project's database. May be shared by threads: a lock makes them take turns."""

    def __init__(self, path: Path, create: bool = False) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        if not create and not path.is_file():
            raise ProjectError(f"{path.parent.name} is not a SegMatch project: it holds no {path.name}.")
        try:
            self._db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
            self._db.row_factory = sqlite3.Row
            if create:
                self._create()
            self._check_version(path)
            for pragma in ("journal_mode=DELETE", "synchronous=EXTRA", "foreign_keys=ON", "fullfsync=ON",
                           "trusted_schema=OFF", "mmap_size=0"):  # fmt: skip
                self._db.execute(f"PRAGMA {pragma}")
        except sqlite3.DatabaseError as error:
            raise ProjectError(
                f"{path.parent.name}/{path.name} cannot be used as a project database ({error}): restore the file "
                "from a backup; the masks in objects/ are not affected."
            ) from error

    def _create(self) -> None:
        self._db.executescript(
            f"BEGIN; {SCHEMA} {_triggers()} PRAGMA application_id={APPLICATION_ID}; "
            f"PRAGMA user_version={SCHEMA_VERSION}; COMMIT;"
        )

    def _check_version(self, path: Path) -> None:
        application = self._db.execute("PRAGMA application_id").fetchone()[0]
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if application != APPLICATION_ID:
            raise ProjectError(f"{path.name} in {path.parent.name} is a database of another program.")
        if version > SCHEMA_VERSION:
            raise ProjectError(
                f"{path.parent.name} was written by a newer version of napari-segmatch (schema {version}; this "
                f"one knows {SCHEMA_VERSION}): update napari-segmatch to open it."
            )
        if version < SCHEMA_VERSION:
            self._migrate()

    def _migrate(self) -> None:
        """Bring an older database up to date, whole or not at all."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            version = self._db.execute("PRAGMA user_version").fetchone()[0]  # another process may have been first
            for step in range(version, SCHEMA_VERSION):
                for statement in MIGRATIONS[step].split(";"):
                    self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            self._db.commit()
        except BaseException:
            self._db.rollback()
            raise

    @contextmanager
    def atomic(self) -> Iterator[sqlite3.Connection]:
        """Write several rows as one: all of them are on disk when the outermost block ends, or none.

        Nobody else writes to the project meanwhile, so what is read inside still holds when the block ends.
        """
        with self._lock, self._readable():
            if self._depth == 0:
                self._db.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield self._db
                if self._depth == 1:
                    self._db.commit()
            except BaseException:
                if self._depth == 1 and self._db.in_transaction:
                    self._db.rollback()
                raise
            finally:
                self._depth -= 1

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Turn what SQLite says of disks and damage into a sentence; broken rules of ours stay bugs."""
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except sqlite3.OperationalError as error:
            raise ProjectError(
                f"The project could not be read or saved ({error}): free some space, or close the other program that "
                "uses it, and try again."
            ) from error
        except sqlite3.DatabaseError as error:
            raise ProjectError(
                f"The project's database is damaged ({error}): restore segmatch.db from a backup; the masks in "
                "objects/ are not affected."
            ) from error

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock, self._readable():
            return self._db.execute(query, values).fetchall()

    def row(self, query: str, *values: Any) -> sqlite3.Row | None:
        with self._lock, self._readable():
            found: sqlite3.Row | None = self._db.execute(query, values).fetchone()
            return found

    def close(self) -> None:
        with self._lock:
            self._db.close()
