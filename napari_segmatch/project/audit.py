"""The audit trail: what was done, by whom, in order; each entry carries the hash of the one before.

It lives in the database, in the transaction of what it tells, and is repeated in ``audit.jsonl``, a file that only
grows. Together with the masks it is enough to make a lost database anew. The chain shows damage and casual edits;
somebody who recomputes every hash is not found out by it.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from sqlite3 import Connection, DatabaseError, Row
from typing import Any

from ..errors import ProjectError
from ..fsio import GrowingFile, read_file
from ..locks import FileLock

START = "0" * 64
COLUMNS = ("seq", "at", "actor", "action", "body", "prev", "hash")
ENTRIES = f"SELECT {', '.join(COLUMNS)} FROM audit"  # noqa: S608  our own columns
TRAIL = "audit.jsonl"

Entry = dict[str, Any]


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def stamp() -> str:
    """Return the time as a part of a file's name."""
    return now().translate(str.maketrans(":+.", "---"))


def actor() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def append(db: Connection, action: str, body: dict[str, Any]) -> None:
    """Add an entry inside the caller's transaction."""
    last = db.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    seq, prev = (last["seq"] + 1, last["hash"]) if last else (1, START)
    entry: Entry = {"seq": seq, "at": now(), "actor": actor(), "action": action, "body": _canonical(body), "prev": prev}
    entry["hash"] = entry_hash(entry)
    write(db, entry)


def write(db: Connection, entry: Entry) -> None:
    db.execute("INSERT INTO audit VALUES (:seq, :at, :actor, :action, :body, :prev, :hash)", entry)


def entry_hash(entry: Entry | Row) -> str:
    return hashlib.sha256(_canonical([entry[name] for name in COLUMNS[:-1]]).encode()).hexdigest()


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def sound(entries: Iterable[Entry | Row]) -> Iterator[Entry]:
    """Yield entries as long as the chain holds, from the first one on."""
    seq, prev = 1, START
    for entry in entries:
        if (entry["seq"], entry["prev"]) != (seq, prev) or entry_hash(entry) != entry["hash"]:
            return
        yield {name: entry[name] for name in COLUMNS}
        seq, prev = seq + 1, entry["hash"]


class AuditFile:
    """``audit.jsonl``: one entry a line. Whoever writes to the database brings it up to date afterwards."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / TRAIL
        self._lock = FileLock(folder / ".audit-lock")

    def entries(self) -> Iterator[Entry]:
        """Yield the entries whose chain holds; a torn or damaged line ends it."""
        yield from sound(self._lines())

    def _lines(self) -> Iterator[Entry]:
        with contextlib.suppress(OSError, ValueError):
            for line in read_file(self.path).splitlines():
                entry = json.loads(line)
                if not isinstance(entry, dict) or set(entry) != set(COLUMNS):
                    return
                yield entry

    def catch_up(self, db: Connection) -> None:
        """Add what the file lacks. Anything that goes wrong is left to the next time, and to the doctor."""
        if not self._lock.acquire(patience=0.2):
            return
        try:
            last, whole = self._last()
            rows = db.execute(f"{ENTRIES} WHERE seq >= ? ORDER BY seq", (last["seq"] if last else 1,))
            found = [{name: row[name] for name in COLUMNS} for row in rows]
            if last is not None and (not found or found.pop(0) != last):
                return  # the two tell different stories: only the doctor may mend that
            if found:
                file = GrowingFile(self.path)
                try:
                    file.cut(whole)
                    file.append("".join(_canonical(entry) + "\n" for entry in found).encode())
                finally:
                    file.close()
        except (OSError, ValueError, ProjectError, DatabaseError):
            return
        finally:
            self._lock.release()

    def _last(self) -> tuple[Entry | None, int]:
        """Return the last whole entry, and where it ends: a kill may have torn the line after it."""
        if not self.path.exists():
            return None, 0
        with self.path.open("rb") as file:
            size = reach = file.seek(0, 2)
            for reach in (4096, 2**20, size):
                file.seek(max(0, size - reach))
                tail = file.read()
                whole = tail[: tail.rfind(b"\n") + 1]
                start = whole.rfind(b"\n", 0, -1) + 1
                if start or reach >= size:
                    break
        if not whole:
            return None, 0
        entry: Entry = json.loads(whole[start:])
        return entry, size - len(tail) + len(whole)
