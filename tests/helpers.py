"""Small projects and pools for tests."""

import sqlite3
from pathlib import Path

import numpy as np

from napari_segmatch.io import read_mask, write_image, write_labels
from napari_segmatch.project import Project
from napari_segmatch.types import Geometry

SHAPE = (4, 32, 40)
LGG = Path(__file__).parents[2] / "shared" / "lgg"


def geometry(shape=SHAPE):
    affine = np.array([[0, 0, -1.0, 10], [0, -1.0, 0, 20], [5.0, 0, 0, 30], [0, 0, 0, 1]])
    return Geometry(shape, affine)


def labels(seed=0, shape=SHAPE, classes=1):
    """A square of each class on every slice but the first."""
    rng = np.random.default_rng(seed)
    out = np.zeros(shape, np.uint8)
    for z in range(1, shape[0]):
        for label in range(1, classes + 1):
            y, x = rng.integers(0, shape[1] - 10), rng.integers(0, shape[2] - 10)
            out[z, y : y + 9, x : x + 9] = label
    return out


def write_case(folder, seed=0, shape=SHAPE, classes=1, sequences=("flair",)):
    """Write images in which the structures are bright, and their mask; returns images and mask."""
    truth = labels(seed, shape, classes)
    rng = np.random.default_rng(seed + 100)
    images = {}
    for name in sequences:
        pixels = (100 + 60 * truth + rng.normal(0, 8, shape)).astype(np.float32)
        images[name] = Path(folder) / name / "image.nii.gz" if len(sequences) > 1 else Path(folder) / f"{name}.nii.gz"
        images[name].parent.mkdir(parents=True, exist_ok=True)
        write_image(images[name], pixels, geometry(shape))
    mask = Path(folder) / "mask.nii.gz"
    write_labels(mask, truth, geometry(shape))
    return images, mask


def make_white(mask):
    """Rewrite a mask so that its structure is 255, as drawing programs have it."""
    read = read_mask(mask)
    write_labels(mask, read.labels * np.uint8(255), read.geometry)


def small_project(folder, cases=4, labelled=2, classes=("lesion",), sequences=("flair",), validation=0):
    """A project of tiny cases a, b, c …; the first ones labelled, the last ones frozen for validation."""
    project = Project.create(Path(folder) / "project", list(classes), list(sequences))
    for index in range(cases):
        name = chr(ord("a") + index)
        images, mask = write_case(Path(folder) / "images" / name, index, classes=len(classes), sequences=sequences)
        held_out = index >= cases - validation
        project.add_case(name, images, mask, "all" if index < labelled or held_out else "none", validation=held_out)
    return project


SCHEMA_1 = """
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
    step INTEGER NOT NULL, pool_version INTEGER NOT NULL, file TEXT NOT NULL, member TEXT NOT NULL) STRICT;
CREATE INDEX proposal_region ON proposal(case_id, z, id);
CREATE TABLE decision(
    id INTEGER PRIMARY KEY, proposal INTEGER NOT NULL REFERENCES proposal(id),
    verdict TEXT CHECK(verdict IN ('accepted', 'rejected', 'corrected', 'deferred')),
    actor TEXT NOT NULL, at TEXT NOT NULL, mask_version INTEGER REFERENCES mask_version(id), seconds REAL) STRICT;
CREATE INDEX decision_proposal ON decision(proposal, id);
CREATE TRIGGER mask_version_update BEFORE UPDATE ON mask_version BEGIN SELECT RAISE(ABORT, 'only grows'); END;
CREATE TRIGGER mask_version_delete BEFORE DELETE ON mask_version BEGIN SELECT RAISE(ABORT, 'only grows'); END;
PRAGMA application_id=0x5345474D;
PRAGMA user_version=1;
"""


def version_1(folder):
    """Make a project as version 1 of the schema had it, with a decision; returns it and its rows of masks."""
    from napari_segmatch.config import configure
    from napari_segmatch.events import PseudoMask
    from napari_segmatch.types import Region

    with small_project(folder) as project:
        run = project.new_run(configure())
        project.add_proposals(run, 1, 1, [PseudoMask(Region("c", 1), np.ones(SHAPE[1:], np.uint8), 0.9, "accepted")])
        project.decide(project.proposals()[0], "accepted")
        path = project.path
    (path / "segmatch.db").rename(path / "new.db")
    old = sqlite3.connect(path / "segmatch.db")
    old.executescript(SCHEMA_1)
    old.execute("ATTACH ? AS new", (str(path / "new.db"),))
    for table in ("meta", "case", "image", "run", "proposal", "mask_version", "decision"):
        names = ", ".join(row[1] for row in old.execute(f'PRAGMA main.table_info("{table}")'))
        old.execute(f'INSERT INTO main."{table}"({names}) SELECT {names} FROM new."{table}"')
    old.commit()
    rows = old.execute("SELECT * FROM main.mask_version ORDER BY id").fetchall()
    old.close()
    for name in ("new.db", "audit.jsonl", ".audit-lock"):
        (path / name).unlink()
    return path, rows
