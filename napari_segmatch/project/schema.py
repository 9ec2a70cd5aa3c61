"""The tables of a project's database, and how an older database becomes one of today."""

from __future__ import annotations

import json
from sqlite3 import Connection

from ..texts import digest
from . import audit

SCHEMA_VERSION = 4
APPLICATION_ID = 0x5345474D  # "SEGM"

ORIGINS = ("human", "import", "proposal", "undo", "conflict", "recovered")
"""Where mask versions come from."""

MASK_VERSION = f"""
CREATE TABLE mask_version(
    id INTEGER PRIMARY KEY, case_id TEXT NOT NULL REFERENCES "case"(id), parent INTEGER REFERENCES mask_version(id),
    object TEXT NOT NULL, done TEXT NOT NULL,
    origin TEXT NOT NULL CHECK(origin IN {ORIGINS}),
    proposal INTEGER REFERENCES proposal(id), author TEXT NOT NULL, at TEXT NOT NULL) STRICT;
CREATE INDEX mask_version_case ON mask_version(case_id, id);
CREATE INDEX mask_version_aside ON mask_version(id) WHERE origin IN ('conflict', 'recovered');
"""
NEW_IN_3 = """
CREATE TABLE choice(
    id INTEGER PRIMARY KEY, version INTEGER NOT NULL REFERENCES mask_version(id), taken INTEGER NOT NULL,
    actor TEXT NOT NULL, at TEXT NOT NULL) STRICT;
CREATE INDEX choice_version ON choice(version);
CREATE TABLE audit(
    seq INTEGER PRIMARY KEY, at TEXT NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, body TEXT NOT NULL,
    prev TEXT NOT NULL, hash TEXT NOT NULL) STRICT;
CREATE INDEX audit_comings ON audit(seq) WHERE action IN ('case_removed', 'case_restored');
"""
SCHEMA = f"""
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE "case"(
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, patient TEXT NOT NULL,
    validation INTEGER NOT NULL DEFAULT 0, geometry TEXT, fingerprint TEXT, problem TEXT,
    added_at TEXT NOT NULL, removed_at TEXT) STRICT;
CREATE TABLE image(
    case_id TEXT NOT NULL REFERENCES "case"(id), sequence TEXT NOT NULL, path TEXT NOT NULL,
    sha256 TEXT, PRIMARY KEY(case_id, sequence)) STRICT;
{MASK_VERSION}
CREATE TABLE run(
    id INTEGER PRIMARY KEY, config TEXT NOT NULL, state TEXT NOT NULL, created_at TEXT NOT NULL) STRICT;
CREATE TABLE proposal(
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES run(id), case_id TEXT NOT NULL REFERENCES "case"(id),
    z INTEGER NOT NULL, score REAL NOT NULL, verdict TEXT NOT NULL CHECK(verdict IN ('accepted', 'rejected')),
    step INTEGER NOT NULL, pool_version INTEGER NOT NULL, file TEXT NOT NULL, member TEXT NOT NULL,
    area INTEGER, agreement REAL, margins TEXT) STRICT;
CREATE INDEX proposal_region ON proposal(case_id, z, id);
CREATE TABLE decision(
    id INTEGER PRIMARY KEY, proposal INTEGER NOT NULL REFERENCES proposal(id),
    verdict TEXT CHECK(verdict IN ('accepted', 'rejected', 'corrected', 'deferred')),
    actor TEXT NOT NULL, at TEXT NOT NULL, mask_version INTEGER REFERENCES mask_version(id), seconds REAL,
    reason TEXT, batch INTEGER, reverts INTEGER) STRICT;
CREATE INDEX decision_proposal ON decision(proposal, id);
CREATE INDEX decision_batch ON decision(batch);
{NEW_IN_3}
"""

FROM_1_TO_2 = """
ALTER TABLE proposal ADD COLUMN area INTEGER;
ALTER TABLE proposal ADD COLUMN agreement REAL;
ALTER TABLE decision ADD COLUMN reason TEXT;
ALTER TABLE decision ADD COLUMN batch INTEGER;
ALTER TABLE decision ADD COLUMN reverts INTEGER;
CREATE INDEX decision_batch ON decision(batch);
"""

FROM_3_TO_4 = "ALTER TABLE proposal ADD COLUMN margins TEXT"

IMMUTABLE = ("mask_version", "proposal", "decision", "choice", "audit")
"""Tables that only ever grow: what a person did is never changed and never removed."""

FACTS = ("case", "image", *IMMUTABLE[:-1], "run")
"""Tables that the audit trail repeats row by row."""


def run_script(db: Connection, script: str) -> None:
    """Run statements that hold no semicolon of their own; unlike executescript this stays in the transaction."""
    for statement in script.split(";"):
        if statement.strip():
            db.execute(statement)


def create(db: Connection) -> None:
    """Make the tables of today in an empty database."""
    run_script(db, SCHEMA)
    _guard(db)
    db.execute(f"PRAGMA application_id={APPLICATION_ID}")
    db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def sign(db: Connection) -> None:
    """Say in the audit trail what the tables' rules are: one flipped bit in a rule would refuse good rows later."""
    audit.append(db, "schema", {"sha256": fingerprint(db)})


def fingerprint(db: Connection) -> str:
    rules = db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return digest({row["name"]: row["sql"] for row in rules})


def _guard(db: Connection) -> None:
    """Make the immutable tables refuse everything but new rows."""
    for table in IMMUTABLE:
        for verb in ("UPDATE", "DELETE"):
            db.execute(
                f"CREATE TRIGGER IF NOT EXISTS {table}_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} only grows'); END"
            )


def migrate(db: Connection) -> None:
    """Bring an older database up to date, inside the caller's transaction (foreign keys off)."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version < 2:
        run_script(db, FROM_1_TO_2)
    if version < 3:
        _from_2_to_3(db)
    run_script(db, FROM_3_TO_4)
    if version < 3:
        _tell_all(db)
    audit.append(db, "migrated", {"from": version, "to": SCHEMA_VERSION})
    db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    sign(db)


def _from_2_to_3(db: Connection) -> None:
    """Versions beside the mask, tombstones, hashes of images, and the audit trail."""
    run_script(db, "ALTER TABLE mask_version RENAME TO old_mask_version; DROP INDEX mask_version_case")
    run_script(db, MASK_VERSION)
    db.execute("INSERT INTO mask_version SELECT * FROM old_mask_version")
    db.execute("DROP TABLE old_mask_version")
    run_script(db, 'ALTER TABLE "case" ADD COLUMN removed_at TEXT; ALTER TABLE image ADD COLUMN sha256 TEXT')
    run_script(db, NEW_IN_3)
    _guard(db)


def _tell_all(db: Connection) -> None:
    """Write what the tables hold into the audit trail, in an order in which it can be told again."""
    meta = {row["key"]: row["value"] for row in db.execute("SELECT key, value FROM meta ORDER BY key")}
    audit.append(db, "project", meta)
    for row in db.execute('SELECT * FROM "case" ORDER BY number').fetchall():
        images = db.execute("SELECT * FROM image WHERE case_id = ? ORDER BY sequence", (row["id"],))
        audit.append(db, "case", {"case": dict(row), "images": [dict(image) for image in images]})
    for table in ("run", "proposal", "mask_version", "decision"):
        for row in db.execute(f"SELECT * FROM {table} ORDER BY id").fetchall():  # noqa: S608
            audit.append(db, table, {"rows": [dict(row)]})


def replay(db: Connection, action: str, text: str) -> None:
    """Do once more what an entry of the audit trail says (foreign keys off)."""
    body = json.loads(text)
    if action == "project":
        db.executemany("INSERT INTO meta VALUES (?, ?)", sorted(body.items()))
    elif action == "case":
        insert(db, "case", [body["case"]])
        insert(db, "image", body["images"])
    elif action == "meta" and body["value"] is None:
        db.execute("DELETE FROM meta WHERE key = ?", (body["key"],))
    elif action == "meta":
        db.execute("INSERT OR REPLACE INTO meta VALUES (:key, :value)", body)
    elif action in ("mask_version", "proposal", "decision", "run", "choice"):
        insert(db, action, body["rows"])
    elif action == "run_state":
        db.execute("UPDATE run SET state = ? WHERE id = ?", (body["state"], body["id"]))
    elif action == "case_cleared":
        db.execute("DELETE FROM image WHERE case_id = ?", (body["id"],))
        db.execute('DELETE FROM "case" WHERE id = ?', (body["id"],))
    elif action in ("case_removed", "case_restored"):
        db.execute('UPDATE "case" SET removed_at = ? WHERE id = ?', (body["removed_at"], body["id"]))
    elif action == "sequences":
        insert(db, "image", body["images"])
        db.execute('UPDATE "case" SET number = :number, fingerprint = :fingerprint WHERE id = :id', body["case"])
    elif action == "images":
        db.executemany(
            "UPDATE image SET path = :path, sha256 = :sha256 WHERE case_id = :case_id AND sequence = :sequence",
            body["images"],
        )


def insert(db: Connection, table: str, rows: list[dict[str, object]]) -> None:
    for row in rows:
        names = ", ".join(row)
        marks = ", ".join(f":{name}" for name in row)
        db.execute(f'INSERT INTO "{table}"({names}) VALUES ({marks})', row)  # noqa: S608  our own tables and columns
