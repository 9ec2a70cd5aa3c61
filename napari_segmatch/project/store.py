"""The SQLite database of a project: how it is opened, and the one way to write to it."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import DiskProblem, ProjectError
from ..fsio import move, sync_file
from . import audit, schema
from .schema import APPLICATION_ID, SCHEMA_VERSION

BACKUPS = "backups"

AT_ONCE = 1000
"""Rows that are in memory as objects while many are read."""

DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What SQLite raises of a damaged file: where its message quotes broken text, Python cannot decode the message."""

_REFUSALS = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
"""What SQLite says of a disk that takes no database; an extended code has it in its last byte."""


def create_database(path: Path, meta: Mapping[str, str]) -> None:
    """Make a project's database. It appears under its name when it is whole; a kill before leaves no project."""
    with new_database(path) as db:
        db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        audit.append(db, "project", dict(meta))


@contextmanager
def new_database(path: Path) -> Iterator[sqlite3.Connection]:
    """Fill a database under another name, then put it in its place.

    Raises
    ------
    DiskProblem
        If the disk refuses it.
    """
    half_made = half_made_name(path)
    path.parent.mkdir(exist_ok=True)
    for leftover in (half_made, half_made.with_name(f"{half_made.name}-journal")):
        leftover.unlink(missing_ok=True)
    try:
        with contextlib.closing(_connected(str(half_made))) as db:
            db.execute("PRAGMA foreign_keys=OFF")
            db.execute("BEGIN IMMEDIATE")
            schema.create(db)
            yield db
            schema.sign(db)
            db.commit()
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _REFUSALS:
            raise
        raise DiskProblem(
            f"The database cannot be written ({error}): free some space, or check that the disk is in order, and try "
            "again."
        ) from error
    move(half_made, path)


def half_made_name(path: Path) -> Path:
    """Return the name under which a database is while it is being made."""
    return path.with_name(f".new-{path.name}")


def _connected(name: str, uri: bool = False) -> sqlite3.Connection:
    db = sqlite3.connect(name, timeout=10, isolation_level=None, check_same_thread=False, uri=uri)
    db.row_factory = sqlite3.Row
    for pragma in ("synchronous=EXTRA", "foreign_keys=ON", "fullfsync=ON", "cell_size_check=ON",
                   "trusted_schema=OFF", "mmap_size=0"):  # fmt: skip
        db.execute(f"PRAGMA {pragma}")
    return db


def _is_full(error: sqlite3.Error | OSError) -> bool:
    """Whether a disk that has no room left is to blame."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


class Store:
    """One connection to a project's database. May be shared by threads: a lock makes them take turns.

    Parameters
    ----------
    readonly
        Why nothing may be written, as a sentence; empty if it may. A project on a full disk is opened for reading.
    """

    def __init__(self, path: Path, readonly: str = "") -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self.readonly = readonly
        self._trail = audit.AuditFile(path.parent)
        if not path.is_file() or path.is_symlink():
            raise ProjectError(f"{path.parent.name} is not a SegMatch project: it holds no {path.name}.")
        try:
            self._open_even_full(path)
        except (sqlite3.OperationalError, OSError) as error:
            raise DiskProblem(f"{path.parent.name}/{path.name} cannot be opened ({error}): try again.") from error
        except DAMAGE as error:
            raise ProjectError(
                f"{path.parent.name}/{path.name} cannot be used as a project database ({error}): "
                "`segmatch doctor --repair` makes it anew from the audit trail and the masks."
            ) from error

    def _open_even_full(self, path: Path) -> None:
        """Open a database; where the disk has no room for a change, for reading: then it can still be exported."""
        try:
            self._open(path)
        except (sqlite3.OperationalError, OSError) as error:
            if self.readonly or not _is_full(error):
                raise
            self._db.close()
            self.readonly = (
                f"{path.parent.resolve().name} lies on a full disk: it can be looked at and exported elsewhere, but "
                "not changed; free some space and open it again."
            )
            self._open(path)

    def _open(self, path: Path) -> None:
        if self.readonly:
            self._db = _connected(f"{path.resolve().as_uri()}?mode=ro", uri=True)
            if self._check_version(path) < SCHEMA_VERSION:
                on_disk, self._db = self._db, _connected(":memory:")
                on_disk.backup(self._db)
                on_disk.close()
                self._migrate()
            return
        self._db = _connected(str(path))
        version = self._check_version(path)
        self._db.execute("PRAGMA journal_mode=DELETE")
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(f"PRAGMA user_version={version}")  # fails if SQLite could only open the file for reading
        self._db.execute("ROLLBACK")
        if version < SCHEMA_VERSION:
            back_up(self._db, path.parent, f"schema-{version}")
            self._migrate()
        self._trail.catch_up(self._db)

    def _check_version(self, path: Path) -> int:
        application = self._db.execute("PRAGMA application_id").fetchone()[0]
        version: int = self._db.execute("PRAGMA user_version").fetchone()[0]
        if application != APPLICATION_ID:
            raise ProjectError(f"{path.name} in {path.parent.name} is a database of another program.")
        if version > SCHEMA_VERSION:
            raise ProjectError(
                f"{path.parent.name} was written by a newer version of napari-segmatch (schema {version}; this "
                f"one knows {SCHEMA_VERSION}): update napari-segmatch to open it."
            )
        return version

    def _migrate(self) -> None:
        """Bring an older database up to date, whole or not at all."""
        self._db.execute("PRAGMA foreign_keys=OFF")
        self._db.execute("PRAGMA legacy_alter_table=ON")  # references to a renamed table keep its old name
        self._db.execute("BEGIN IMMEDIATE")
        try:
            if self._db.execute("PRAGMA user_version").fetchone()[0] < SCHEMA_VERSION:  # not yet by another process
                schema.migrate(self._db)
            self._db.commit()
        except BaseException:
            self._db.rollback()
            raise
        self._db.execute("PRAGMA legacy_alter_table=OFF")
        self._db.execute("PRAGMA foreign_keys=ON")

    # writing ---------------------------------------------------------------------------------------------

    @contextmanager
    def atomic(self) -> Iterator[sqlite3.Connection]:
        """Write several rows as one: all of them are on disk when the outermost block ends, or none.

        Nobody else writes to the project meanwhile, so what is read inside still holds when the block ends.

        Raises
        ------
        ProjectError
            If the project is open for reading only.
        """
        if self.readonly:
            raise ProjectError(self.readonly)
        with self._lock:
            outermost = self._depth == 0
            with self._readable(writing=True):
                if outermost:
                    self._db.execute("BEGIN IMMEDIATE")
                self._depth += 1
                try:
                    yield self._db
                    if outermost:
                        self._db.commit()
                except BaseException:
                    if outermost and self._db.in_transaction:
                        with contextlib.suppress(sqlite3.Error):  # a failing disk has rolled back by itself
                            self._db.rollback()
                    raise
                finally:
                    self._depth -= 1
            if outermost:
                self._trail.catch_up(self._db)

    def add(self, table: str, rows: Sequence[dict[str, Any]]) -> list[int]:
        """Append rows and say so in the audit trail. Returns their numbers."""
        with self.atomic() as db:
            first = db.execute(f"SELECT coalesce(max(id), 0) + 1 AS id FROM {table}").fetchone()["id"]  # noqa: S608
            numbered = [{"id": first + index, **row} for index, row in enumerate(rows)]
            schema.insert(db, table, numbered)
            audit.append(db, table, {"rows": numbered})
        return [row["id"] for row in numbered]

    def tell(self, action: str, body: dict[str, Any]) -> None:
        """Do what an entry of the audit trail says, and add the entry."""
        with self.atomic() as db:
            audit.append(db, action, body)
            schema.replay(db, action, db.execute("SELECT body FROM audit ORDER BY seq DESC LIMIT 1").fetchone()["body"])

    @contextmanager
    def _readable(self, writing: bool = False) -> Iterator[None]:
        """Turn what SQLite says of disks and damage into a sentence; broken rules of ours stay bugs."""
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except sqlite3.OperationalError as error:
            raise (DiskProblem if writing else ProjectError)(
                f"The project could not be read or saved ({error}): free some space, or close the other program that "
                "uses it, and try again."
            ) from error
        except DAMAGE as error:
            raise ProjectError(
                f"The project's database is damaged ({error}): `segmatch doctor --repair` makes it anew; the masks in "
                "objects/ are not affected."
            ) from error

    # reading ---------------------------------------------------------------------------------------------

    def rules(self) -> str:
        """Return the fingerprint of the tables' rules as they are in the file."""
        with self._lock, self._readable():
            return schema.fingerprint(self._db)

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock, self._readable():
            return self._db.execute(query, values).fetchall()

    def parts(self, query: str, *values: Any) -> Iterator[list[tuple[Any, ...]]]:
        """Yield rows as plain tuples, some at a time, for what is too much to be in memory at once."""
        with self._lock, self._readable():
            cursor = self._db.cursor()
            cursor.row_factory = None
            cursor.execute(query, values)
            yield from iter(lambda: cursor.fetchmany(AT_ONCE), [])

    def row(self, query: str, *values: Any) -> sqlite3.Row | None:
        with self._lock, self._readable():
            found: sqlite3.Row | None = self._db.execute(query, values).fetchone()
            return found

    def close(self) -> None:
        with self._lock:
            self._db.close()


def back_up(db: sqlite3.Connection, folder: Path, name: str) -> Path:
    """Copy a database into ``backups/`` under a name that says what it is; a copy appears whole or not at all."""
    target = folder / BACKUPS / f"{name}-{audit.stamp()}.db"
    target.parent.mkdir(exist_ok=True)
    half_made = half_made_name(target)
    half_made.unlink(missing_ok=True)
    db.execute("VACUUM INTO ?", (str(half_made),))
    copy = _connected(str(half_made))
    with contextlib.closing(copy):
        if copy.execute("PRAGMA quick_check").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("the backup did not read back")
    sync_file(half_made)
    move(half_made, target)
    return target
