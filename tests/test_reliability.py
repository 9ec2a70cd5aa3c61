"""Nothing a clinician drew is ever lost: conflicts, crashes, damage, full disks, old and new projects."""

import contextlib
import errno
import hashlib
import io
import json
import os
import pickle
import shutil
import sqlite3
import threading
import time
import zipfile
from itertools import pairwise

import numpy as np
import pytest
from helpers import SHAPE, small_project, version_1, write_case

from napari_segmatch import Project, fsio
from napari_segmatch.config import configure
from napari_segmatch.errors import Conflict, DiskProblem, ImportProblem, ProjectError
from napari_segmatch.events import PseudoMask
from napari_segmatch.io import encode_labels
from napari_segmatch.project import journal, sources
from napari_segmatch.project.doctor import examine
from napari_segmatch.project.pool import ProjectPool
from napari_segmatch.project.proposals import read_pseudo_mask
from napari_segmatch.project.upkeep import collect_garbage, garbage, repair
from napari_segmatch.session import Session
from napari_segmatch.types import NOT_ANNOTATED, Region


@pytest.fixture
def project(tmp_path):
    with small_project(tmp_path) as opened:
        yield opened


@pytest.fixture
def session(tmp_path):
    small_project(tmp_path).close()
    live = Session()
    live.said = []
    live.message.connect(lambda text, wrong: live.said.append(text))
    live.open_project(tmp_path / "project")
    yield live
    live.close()


def drawn(value=1, rows=slice(3, 9)):
    """A slice with a bar on it."""
    out = np.zeros(SHAPE[1:], np.uint8)
    out[rows] = value
    return out


def until(session, true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"it never happened; said: {session.said}"
        session.poll()
        time.sleep(0.01)


# conflicts -------------------------------------------------------------------------------------------------


def test_stale_editor_gets_a_conflict_and_both_versions_stay(project):
    """Two people change the same slice: the first stays current, the second is kept beside and can be taken."""
    with Project.open(project.path) as other:
        mine, theirs = project.mask("c"), other.mask("c")
        mine[1], theirs[1] = drawn(rows=slice(0, 5)), drawn(rows=slice(20, 25))
        mine[2] = drawn()
        other.save_mask("c", theirs, done=[1])
        with pytest.raises(Conflict, match="slice 3 of c") as caught:
            project.save_mask("c", mine, done=[1, 2])
        assert np.array_equal(other.mask("c")[1], theirs[1])
        assert project.case("c").labelled == (1, 2), "the slice that nobody else touched is saved"
        (aside,) = project.asides()
        assert (aside.version, aside.origin, aside.slices) == (caught.value.version, "conflict", (1,))
        project.take_aside(aside.version)
        assert np.array_equal(project.mask("c")[1], mine[1])
        assert project.asides() == []
        assert project.case("c").labelled == (1, 2)


def test_whoever_finishes_a_slice_does_not_finish_what_somebody_else_has_begun_there(project):
    """Their draft stays the mask, and a half-painted slice must not teach that the rest is background."""
    with Project.open(project.path) as other:
        other.save_slices("c", {1: drawn()})
    with pytest.raises(Conflict):
        project.save_slices("c", {1: drawn(rows=slice(9, 12))}, done=[1], before={1: np.full(SHAPE[1:], 255)})
    assert project.case("c").labelled == () and (ProjectPool(project).mask("c") == 255).all()


def test_a_draft_does_not_take_the_place_of_an_empty_slice_that_somebody_has_finished_meanwhile(project):
    """Nothing was drawn on it, and that was the label: a half-painted slice would have been a finished one."""
    nothing = np.zeros(SHAPE[1:], np.uint8)
    with Project.open(project.path) as other:
        other.save_slices("c", {1: nothing}, done=[1])
    with pytest.raises(Conflict, match="slice 3 of c"):
        project.save_slices("c", {1: drawn()}, before={1: np.full(SHAPE[1:], 255)})
    assert project.case("c").labelled == (1,) and np.array_equal(project.mask("c")[1], nothing)
    assert [aside.slices for aside in project.asides()] == [(1,)]


def test_conflict_that_is_left_changes_nothing(project):
    """Keeping the current mask ends the offer; the other version stays on disk."""
    old = project.mask("c")
    with Project.open(project.path) as other:
        other.save_slices("c", {1: drawn()}, done=[1])
    old[1] = drawn(rows=slice(9, 12))
    with pytest.raises(Conflict) as caught:
        project.save_mask("c", old, done=[1])
    project.leave_aside(caught.value.version)
    assert project.asides() == []
    assert np.array_equal(project.mask("c")[1], drawn())
    assert np.array_equal(project.aside_labels(caught.value.version)[1], old[1])
    with pytest.raises(ProjectError, match="does not wait"):
        project.leave_aside(caught.value.version)


def test_the_same_stroke_twice_is_no_conflict(project):
    """Two windows that hold the same slice do not quarrel."""
    before = {1: project.mask("c")[1]}
    with Project.open(project.path) as other:
        other.save_slices("c", {1: drawn()}, done=[1])
    project.save_slices("c", {1: drawn()}, done=[1], before=before)
    assert project.asides() == []


def test_a_version_beside_the_mask_never_trains(project):
    """The trainer reads the current mask, not what waits for a choice."""
    project.keep_beside("c", {1: drawn()})
    assert (ProjectPool(project).mask("c") == 255).all()
    assert project.case("c").version is None


@pytest.mark.parametrize("bad", [np.zeros((3, 3), np.uint8), np.full(SHAPE[1:], 300), np.zeros(SHAPE[1:], float)])
def test_a_wrong_slice_is_refused_and_nothing_changes(project, bad):
    """Wrong shape, a label beyond 8 bits, fractions: one sentence each."""
    with pytest.raises(ProjectError):
        project.save_slices("c", {1: bad}, done=[1])
    assert project.case("c").version is None


# the audit trail, rebuilding, repair -----------------------------------------------------------------------


def filled(project):
    """Add a run, proposals, decisions and some versions."""
    run = project.new_run(configure())
    masks = [PseudoMask(Region("c", z), drawn(), 0.9, "accepted") for z in (1, 2)]
    project.add_proposals(run, 1, 1, masks)
    for item, word in zip(project.proposals(), ("accepted", "rejected"), strict=True):
        project.decide(item, word)
    for z in range(4):
        project.save_slices("d", {z: drawn(z % 2)}, done=[z])
    project.remove_case("b")
    return project


def tables(path):
    names = ("meta", "case", "image", "mask_version", "proposal", "decision", "run", "choice")
    with Project.open(path) as project:
        return {name: [tuple(r) for r in project.store.rows(f'SELECT * FROM "{name}" ORDER BY 1, 2')] for name in names}


def test_lost_database_is_made_anew_whole(project):
    """Every table comes back from the audit trail, row by row; the trail goes on."""
    filled(project).close()
    before = tables(project.path)
    (project.path / "segmatch.db").unlink()
    with pytest.raises(ProjectError, match="not a SegMatch project"):
        Project.open(project.path)
    assert "made anew" in repair(project.path)[0]
    assert tables(project.path) == before
    assert examine(project.path) == []


def test_lost_database_and_trail_lose_no_mask(project):
    """The masks alone tell which case, which version, whose, and which slices are done."""
    filled(project).close()
    before = tables(project.path)
    for name in ("segmatch.db", "audit.jsonl"):
        (project.path / name).unlink()
    repair(project.path)
    after = tables(project.path)
    assert [row[:6] for row in after["mask_version"]] == [row[:6] for row in before["mask_version"]]
    with Project.open(project.path) as again:
        assert again.classes == ("lesion",)
        assert again.case("d").labelled == (0, 1, 2, 3)
        assert again.case("d").geometry.same_grid(project_geometry())


def project_geometry():
    from helpers import geometry

    return geometry()


ODD = [
    {"id": "7"}, {"id": 2**70}, {"parent": 2**70}, {"case_id": "../a"},
    {"origin": "elsewhere"}, {"done": "all"}, {"done": "[true]"}, {"classes": "lesion"}, {"sequences": [1]},
    {"author": None}, {"uuid": 3},
]  # fmt: skip


@pytest.mark.parametrize("trail", [True, False])
def test_odd_masks_do_not_stop_a_rebuilding(project, trail):
    """Masks of other programs, and such as say nonsense of themselves, are left out; the whole ones come back."""
    filled(project).close()
    before = tables(project.path)
    whole = {"id": 900, "case_id": "a", "parent": None, "proposal": None, "done": "[1]", "origin": "human",
             "author": "x", "at": "2026", "patient": "a", "validation": False, "classes": ["lesion"],
             "sequences": ["flair"], "uuid": "x"}  # fmt: skip
    odd = [{**whole, "id": 900 + index, **other} for index, other in enumerate(ODD)]
    put_odd_masks(project.path / "objects", [{"case_id": "a"}, ["case_id"], 7, "[" * 100_000, *odd])
    (project.path / "segmatch.db").unlink()
    if not trail:
        (project.path / "audit.jsonl").unlink()
    repair(project.path)
    assert [row[:6] for row in tables(project.path)["mask_version"]] == [row[:6] for row in before["mask_version"]]
    assert examine(project.path) == [] or not trail


@pytest.mark.parametrize("trail", [False, True])
def test_classes_that_were_added_come_back_with_the_masks(project, trail):
    """A trail that was cut off before that knows fewer; a mask of another project says nothing of this one's."""
    filled(project).close()
    ledger = project.path / "audit.jsonl"
    before = ledger.read_bytes()
    with Project.open(project.path) as opened:
        opened.set_classes(["tumour", "edema"])
        opened.save_slices("a", {1: np.full(SHAPE[1:], 2, np.uint8)}, [1])
    stranger = {"id": 900, "case_id": "a", "parent": None, "proposal": None, "done": "[1]", "origin": "human",
                "author": "x", "at": "2026", "patient": "a", "validation": False, "classes": ["x", "y", "z"],
                "sequences": ["flair"], "uuid": "x"}  # fmt: skip
    if trail:
        put_odd_masks(project.path / "objects", [stranger])
        ledger.write_bytes(before)
    else:
        ledger.unlink()
    (project.path / "segmatch.db").unlink()
    repair(project.path)
    with Project.open(project.path) as opened:
        assert opened.classes == ("tumour", "edema") and (opened.mask("a")[1] == 2).all()


def put_odd_masks(folder, abouts):
    """Write masks that say this of themselves, each under its hash."""
    for about in abouts:
        data = encode_labels(
            np.ones(SHAPE, np.uint8), project_geometry(), comment=about if isinstance(about, str) else json.dumps(about)
        )
        name = hashlib.sha256(data).hexdigest()
        (folder / name[:2]).mkdir(exist_ok=True)
        (folder / name[:2] / f"{name}.nii.gz").write_bytes(data)


def test_save_that_reached_only_the_disk_is_found(project):
    """The database of before a save, the mask of after it: the rebuilt project has the mask."""
    project.save_slices("c", {1: drawn()}, done=[1])
    shutil.copy(project.path / "audit.jsonl", project.path / "old.jsonl")
    project.save_slices("c", {2: drawn()}, done=[2])
    project.close()
    (project.path / "old.jsonl").replace(project.path / "audit.jsonl")
    (project.path / "segmatch.db").unlink()
    repair(project.path)
    with Project.open(project.path) as again:
        assert again.case("c").labelled == (1, 2)


def test_a_changed_row_is_found_and_restored(project):
    """Somebody edits a row by hand: the audit trail says otherwise, and wins."""
    filled(project).close()
    before = tables(project.path)
    db = sqlite3.connect(project.path / "segmatch.db")
    db.executescript("DROP TRIGGER mask_version_update; UPDATE mask_version SET done = '[0,1]' WHERE id = 1;")
    db.close()
    assert any("mask_version" in text for text in examine(project.path))
    repair(project.path)
    assert tables(project.path) == before


def test_a_changed_rule_is_found_and_restored(project):
    """One flipped bit in a table's CHECK would refuse good rows some day: it is found before."""
    filled(project).close()
    data = bytearray((project.path / "segmatch.db").read_bytes())
    data[data.index(b"'recovered'") + 3] ^= 1
    (project.path / "segmatch.db").write_bytes(data)
    assert any("rules are damaged" in text for text in examine(project.path))
    repair(project.path)
    assert examine(project.path) == []


def _found_and_mended(path, before):
    """Opening or examining says what is wrong, and the doctor brings every table back."""
    try:
        assert examine(path)
    except ProjectError as error:
        assert "doctor --repair" in str(error)
    repair(path)
    assert tables(path) == before
    assert examine(path) == []


@pytest.mark.parametrize(
    ("text", "at", "bit"),
    [
        (b"CREATE INDEX mask_version_aside", 8, 0x80),  # SQLite's complaint quotes it, and is no UTF-8 any more
        (b"'recovered'", 3, 0x80),  # a rule that is no UTF-8 but still a rule
        (b'uuid"', 0, 1),  # the project's own name is gone
        (b'["lesion"]', 0, 1),  # its classes are no JSON
        (b"validation INTEGER", 0, 1),  # a column has another name
        (b"prev TEXT", 0, 1),  # and one of the audit trail
        (b'"shape": [', 9, 1),  # a case's grid is no JSON
    ],
)
def test_a_flipped_bit_in_the_database_is_a_sentence_and_mended(project, text, at, bit):
    """Whatever a bit breaks, opening and examining end in a sentence, and the doctor makes the database anew."""
    filled(project).close()
    before = tables(project.path)
    data = bytearray((project.path / "segmatch.db").read_bytes())
    for start in [i for i in range(len(data)) if data.startswith(text, i)]:  # free pages may hold an old copy
        data[start + at] ^= bit
    (project.path / "segmatch.db").write_bytes(data)
    _found_and_mended(project.path, before)


def test_a_project_that_a_window_has_held_opens_again(session):
    """The window notes where the project lies, as plain text among the facts: it is no damage."""
    path = session.project.path
    session.close_project()
    with Project.open(path) as again:
        assert again.classes == ("lesion",)
    assert examine(path) == []


@pytest.mark.parametrize("pair", [("mask_version", "proposal"), ("decision", "choice"), ("case", "run")])
def test_swapped_root_pages_are_found_and_mended(project, pair):
    """A bit in a table's root page makes it read another table's rows: whole pages, well-formed, and all wrong."""
    filled(project).close()
    before = tables(project.path)
    db = sqlite3.connect(project.path / "segmatch.db", isolation_level=None)
    roots = {name: db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone() for name in pair}
    db.execute("PRAGMA writable_schema=ON")
    for name, other in (pair, pair[::-1]):
        db.execute("UPDATE sqlite_master SET rootpage = ? WHERE name = ?", (*roots[other], name))
    db.close()
    _found_and_mended(project.path, before)


def test_a_lost_case_counter_is_made_up_for(project, tmp_path):
    """SQLite's own counter is in no audit trail: without it the next case gets a free number all the same."""
    project.close()
    with sqlite3.connect(project.path / "segmatch.db") as db:
        db.execute("UPDATE sqlite_sequence SET seq = 0")
    db.close()
    with Project.open(project.path) as again:
        write_case(tmp_path / "new", 9)
        again.add_case("new", {"flair": tmp_path / "new" / "flair.nii.gz"})
        assert len(again.cases) == 5


def test_a_changed_entry_breaks_the_chain(project):
    """An entry of the trail that was edited in the database is restored from the copy beside."""
    filled(project).close()
    db = sqlite3.connect(project.path / "segmatch.db")
    db.executescript("DROP TRIGGER audit_update; UPDATE audit SET actor = 'nobody' WHERE seq = 5;")
    db.close()
    assert any("damaged from entry 5" in text for text in examine(project.path))
    repair(project.path)
    assert examine(project.path) == []


def test_trail_beside_the_database_is_written_anew(project):
    """Lost, torn or edited: the doctor says so and mends it; a torn line mends itself with the next save."""
    path = project.path / "audit.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    project.save_slices("c", {1: drawn()})
    assert path.read_bytes().startswith(whole)
    path.write_bytes(path.read_bytes().replace(b"case", b"cake", 1))
    assert any("audit.jsonl" in text for text in examine(project.path))
    repair(project.path)
    assert examine(project.path) == []
    path.unlink()
    assert examine(project.path) == [], "a lost one is written when the project is opened"


def test_damaged_current_mask_goes_back_to_the_newest_whole_one(project):
    """As a new version: nothing is removed, and the case can be worked on."""
    project.save_slices("c", {1: drawn()}, done=[1])
    project.save_slices("c", {2: drawn()}, done=[2])
    name = project.store.row("SELECT object FROM mask_version ORDER BY id DESC")["object"]
    project.objects.path(name).write_bytes(b"rubbish")
    with pytest.raises(ProjectError, match="damaged"):
        project.mask("c")
    assert any("went back" in text for text in repair(project.path))
    assert project.case("c").labelled == (1,)
    assert np.array_equal(project.mask("c")[1], drawn())


@pytest.mark.parametrize("lock", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_a_busy_database_is_not_taken_for_a_damaged_one(project, monkeypatch, lock):
    """While a command writes to it, a healthy project is not repaired: what is being saved would be lost."""
    with contextlib.closing(sqlite3.connect(project.path / "segmatch.db", isolation_level=None)) as other:
        other.execute(lock)
        whole = sqlite3.connect
        monkeypatch.setattr(sqlite3, "connect", lambda *args, **more: whole(*args, **{**more, "timeout": 0.1}))
        before = (project.path / "segmatch.db").stat().st_ino
        with pytest.raises(ProjectError, match="written to by another process"):
            repair(project.path)
    assert (project.path / "segmatch.db").stat().st_ino == before
    assert repair(project.path) == []


def test_nothing_is_left_in_a_folder_that_is_no_project(tmp_path):
    """Whoever names the folder of the scans instead of the project's."""
    (tmp_path / "scan.nii").write_bytes(b"a scan")
    with pytest.raises(ProjectError, match="holds neither an audit trail nor masks of SegMatch"):
        repair(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["scan.nii"]


def test_a_project_that_a_window_has_open_is_not_repaired(session):
    """The window would go on writing to the database that was put away."""
    path = session.project.path
    path.joinpath("audit.jsonl").write_text("{}\n")
    with pytest.raises(ProjectError, match="is open in a window: close it there"):
        repair(path)
    assert path.joinpath("audit.jsonl").read_text() == "{}\n"
    session.close_project()
    assert any("audit trail" in sentence for sentence in repair(path))
    session.open_project(path)
    assert not session.project.readonly


def test_a_folder_without_anything_cannot_be_rebuilt(tmp_path):
    """A sentence, and no database is made up."""
    with pytest.raises(ProjectError, match="neither"):
        repair(tmp_path)
    assert not (tmp_path / "segmatch.db").exists()


# versions of the schema ------------------------------------------------------------------------------------


def test_project_of_version_1_migrates_with_a_backup(tmp_path):
    """Everything in it is there, the old database is kept, and the new trail covers what is old."""
    path, before = version_1(tmp_path)
    with Project.open(path) as project:
        assert project.case("a").labelled == tuple(range(SHAPE[0]))
        assert project.proposals()[0].decision == "accepted"
        project.save_slices("d", {1: drawn()}, done=[1])
    assert [row[:9] for row in tables(path)["mask_version"]][:-1] == before
    assert examine(path) == []
    (backup,) = (path / "backups").iterdir()
    assert sqlite3.connect(backup).execute("PRAGMA user_version").fetchone() == (1,)


def test_project_of_version_3_migrates_and_its_trail_still_holds(tmp_path):
    """It had all but what spoke for a proposal; its audit trail goes on, and makes it anew when it is lost."""
    with small_project(tmp_path) as project:
        run, mask = project.new_run(configure()), np.ones(SHAPE[1:], np.uint8)
        project.add_proposals(run, 1, 1, [PseudoMask(Region("c", 1), mask, 0.9, "accepted")])
        path = project.path
    with contextlib.closing(sqlite3.connect(path / "segmatch.db")) as db:
        db.execute("ALTER TABLE proposal DROP COLUMN margins")
        db.execute("PRAGMA user_version=3")
        db.commit()
    with Project.open(path) as project:
        project.add_proposals(run, 2, 1, [PseudoMask(Region("c", 2), mask, 0.8, "rejected", margins=(0.5,))])
        for item in project.proposals():
            project.decide(item, "rejected")
    assert examine(path) == []
    (path / "segmatch.db").unlink()
    repair(path)
    with Project.open(path) as project:
        assert sorted(item.margins for item in ProjectPool(project).snapshot().reviewed) == [(), (0.5,)]


@pytest.mark.parametrize("margins", ["{", '"x"', "[[1]]", "7"])
def test_damaged_margins_are_a_sentence(tmp_path, margins):
    """The trainer reads them at every decision; a traceback would reach a clinician."""
    with small_project(tmp_path) as project:
        run, mask = project.new_run(configure()), np.ones(SHAPE[1:], np.uint8)
        (id,) = project.add_proposals(run, 1, 1, [PseudoMask(Region("c", 1), mask, 0.9, "accepted", margins=(0.5,))])
        project.decide(id, "rejected")
        path = project.path
    with contextlib.closing(sqlite3.connect(path / "segmatch.db")) as db:
        db.execute("DROP TRIGGER proposal_update")
        db.execute("UPDATE proposal SET margins = ?", (margins,))
        db.commit()
    with Project.open(path) as project, pytest.raises(ProjectError, match="doctor --repair"):
        ProjectPool(project).snapshot()


def test_project_of_version_1_can_be_looked_at_where_nothing_can_be_written(tmp_path):
    """It migrates in memory; the file stays as it is."""
    path, _ = version_1(tmp_path)
    before = (path / "segmatch.db").read_bytes()
    with Project.open(path, "for looking only.") as project:
        assert project.case("a").labelled == tuple(range(SHAPE[0]))
        with pytest.raises(ProjectError, match="for looking only"):
            project.save_slices("a", {1: drawn()})
    assert (path / "segmatch.db").read_bytes() == before


# removing and collecting garbage ---------------------------------------------------------------------------


def test_removed_case_leaves_and_comes_back(project):
    """Its masks stay; the trainer, the lists and the exports do without it."""
    project.save_slices("c", {1: drawn()}, done=[1])
    before = ProjectPool(project).version()
    project.remove_case("c")
    assert ProjectPool(project).version() > before
    assert "c" not in {case.id for case in project.cases}
    assert "c" not in ProjectPool(project).snapshot().labelled
    with pytest.raises(ProjectError, match="restore"):
        project.add_case("c", {"flair": "x"})
    with pytest.raises(ProjectError, match=r"no case 'c' in .* it was removed, and `segmatch restore`"):
        project.save_slices("c", {2: drawn()})  # of a window on whose desk it lies, as somebody removes it in a shell
    assert project.restore_case("c").labelled == (1,)


def test_gc_deletes_only_what_nothing_refers_to(project):
    """A mask of a save that never ended goes; a removed case's masks go after their time, and only then."""
    stray = project.objects.put(np.ones(SHAPE, np.uint8), project.case("a").geometry, {})
    assert [file.name[:64] for file in garbage(project)] == [stray]
    project.remove_case("b")
    assert collect_garbage(project) == 1
    assert project.restore_case("b").labelled
    project.remove_case("b")
    assert collect_garbage(project, days=-1) == 1
    with pytest.raises(ProjectError, match="deleted by"):
        project.restore_case("b")
    assert examine(project.path) == []


def test_what_a_killed_writer_left_is_garbage_an_hour_later(project):
    """Half-written files, and half a checkpoint: a folder of them. What may still be under way stays."""
    half = project.path / "runs" / "0001" / "checkpoints" / ".tmp-old" / "tensors.safetensors"
    fresh = half.parent / "state.json"
    half.parent.mkdir(parents=True)
    for file in (half, fresh, project.path / "objects" / ".tmp-1234"):
        file.parent.mkdir(exist_ok=True)
        file.touch()
        if file != fresh:
            os.utime(file, (time.time() - 7200,) * 2)
    assert collect_garbage(project) == 2
    assert fresh.exists() and not half.exists()


# the journal -----------------------------------------------------------------------------------------------


def test_the_last_place_is_remembered_however_fast_one_went_there(session, monkeypatch):
    """Slices that fly past are not written one by one, but where they come to rest is."""
    monkeypatch.setattr("napari_segmatch.keeper.PLACE_SECONDS", 0.2)
    for z in (0, 1, 2):
        session.remember_place("c", z)
    session.wait()
    assert journal.read_place(session.project.path / "journal") in (("c", 0), None)
    time.sleep(0.25)
    session.wait()
    session.wait()
    assert journal.read_place(session.project.path / "journal") == ("c", 2)


def test_strokes_survive_a_window_that_dies(session, tmp_path):
    """A stroke in the journal, no save, no goodbye: the next window offers it beside the mask, at the same place."""
    path = session.project.path
    session.journal("c", {1: drawn(), 2: drawn(0)})
    session.remember_place("c", 1)
    session.wait()
    copy = shutil.copytree(path, tmp_path / "killed")
    again = Session()
    again.open_project(copy)
    assert again.place == ("c", 1)
    (aside,) = again.asides
    assert (aside.case, aside.origin, aside.slices) == ("c", "recovered", (1,))
    assert again.project.case("c").version is None
    again.take_aside(aside)
    again.wait()
    assert np.array_equal(again.project.mask("c")[1] == 1, drawn() == 1)
    assert again.asides == []
    assert not list((copy / "journal").glob("*.strokes"))
    again.close()


def test_saved_strokes_are_not_offered(session):
    """Once a version holds them the journal forgets them, also when another case's strokes still wait."""
    folder = session.project.path / "journal"
    session.journal("d", {3: drawn()})
    session.journal("c", {1: drawn()})
    session.save_slices("c", {1: drawn()})
    session.wait()
    session.wait()
    (file,) = journal.journals(folder)
    assert list(journal.read_strokes(file.read_bytes())) == ["d"]
    session.save_slices("d", {3: drawn()})
    session.wait()
    session.wait()
    assert journal.journals(folder) == []


@pytest.mark.parametrize("why", ["its mask is damaged", "somebody has removed it"])
def test_strokes_that_no_save_could_take_along_are_still_there_after_closing(session, why):
    """The disk takes them, the case does not: the next window offers them when it does again; others are forgotten."""
    path = session.project.path
    with Project.open(path) as other:
        other.save_slices("c", {0: drawn(), 1: drawn()})
        if why == "its mask is damaged":
            other.save_slices("c", {0: drawn(0)})
            name = other.store.row("SELECT object FROM mask_version ORDER BY id DESC")["object"]
            other.objects.path(name).write_bytes(b"rubbish")
        else:
            other.remove_case("c")
    for case, z in (("d", 0), ("c", 2), ("d", 3), ("c", 3)):
        session.journal(case, {z: drawn()})
        session.save_slices(case, {z: drawn()})
        session.wait()
    assert len([text for text in session.said if "damaged" in text or "no case 'c'" in text]) == 2
    session.close()
    (file,) = journal.journals(path / "journal")
    found = journal.read_strokes(file.read_bytes())
    assert {case: sorted(slices) for case, slices in found.items()} == {"c": [2, 3]}
    repair(path)
    with Project.open(path) as other, contextlib.suppress(ProjectError):
        other.restore_case("c")
    session.open_project(path)
    assert [(aside.case, aside.slices) for aside in session.asides] == [("c", (2, 3))]
    assert journal.journals(path / "journal") == []


def test_a_save_that_succeeds_later_does_not_forget_the_strokes_of_one_that_failed(session):
    """The journal is told which strokes are in a version: those of the save before are not."""
    session.journal("c", {1: drawn()})
    session.save_slices("c", {1: drawn(9)})  # refused, whatever the reason
    session.journal("c", {2: drawn()})
    session.save_slices("c", {2: drawn()})
    path = session.project.path
    session.close_project()
    session.open_project(path)
    assert [(aside.case, aside.slices) for aside in session.asides] == [("c", (1,))]


def test_a_stroke_that_comes_while_others_are_saved_stays_in_the_journal(session, monkeypatch):
    """A save takes along the strokes since the one before it, and none that comes later."""
    save, go = session.project.save_slices, threading.Event()
    monkeypatch.setattr(session.project, "save_slices", lambda *given, **more: (go.wait(20), save(*given, **more))[1])
    for z in (1, 2):
        session.journal("c", {z: drawn()})
        session.save_slices("c", {z: drawn()})
    session.journal("c", {3: drawn()})
    go.set()
    session.wait()
    session.wait()
    (file,) = journal.journals(session.project.path / "journal")
    assert 3 in journal.read_strokes(file.read_bytes())["c"]


@pytest.mark.parametrize("refused", [1, 2])
def test_a_save_that_waited_behind_a_refused_one_takes_its_place(session, monkeypatch, refused):
    """It knows only what the first one would have made. Nobody else has drawn, so nothing is put beside."""
    save, all_wait = session.project.save_slices, threading.Event()
    told = [np.full(SHAPE[1:], 255, np.uint8), *(drawn(rows=slice(2, end)) for end in (4, 6, 8))]

    def refuse(case, slices, *given, **more):
        assert all_wait.wait(20)
        if any(np.array_equal(slices[1], labels) for labels in told[1 : refused + 1]):
            raise DiskProblem("The disk is full.")
        return save(case, slices, *given, **more)

    monkeypatch.setattr(session.project, "save_slices", refuse)
    session._keeper._given_up.set()
    for before, labels in pairwise(told):
        session.save_slices("c", {1: labels}, before={1: before})
    all_wait.set()
    session.wait()
    assert session.asides == [] and np.array_equal(session.mask("c")[1] == 1, told[-1] == 1)
    with Project.open(session.project.path) as other:
        other.save_slices("c", {1: drawn(rows=slice(9, 12))})
    session.save_slices("c", {1: drawn(rows=slice(20, 22))}, before={1: told[-1]})
    session.wait()
    assert [(aside.case, aside.slices) for aside in session.asides] == [("c", (1,))], "somebody else has drawn"


def test_what_a_refused_save_leaves_behind_does_not_grow(session, monkeypatch):
    """Somebody paints on for an hour in a case whose mask is damaged: only the last save is remembered."""
    save, damaged = session.project.save_slices, [True]

    def refuse(*given, **more):
        if damaged[0]:
            raise ProjectError("The mask of c is damaged.")
        return save(*given, **more)

    monkeypatch.setattr(session.project, "save_slices", refuse)
    told = [np.full(SHAPE[1:], 255, np.uint8), *(drawn(rows=slice(2, end)) for end in range(3, 20))]
    remembered = []
    for before, labels in pairwise(told):
        session.save_slices("c", {1: labels}, before={1: before})
        session.save_slices("c", {1: labels}, before={1: told[0]})
        session.wait()
        remembered.append(len(pickle.dumps(session._keeper._refused)))
    assert remembered[-1] <= remembered[0]
    damaged[0] = False
    session.save_slices("c", {1: drawn()}, before={1: told[-1]})
    session.wait()
    assert session.asides == [] and np.array_equal(session.mask("c")[1] == 1, drawn() == 1)
    assert not session._keeper._refused


def test_a_conflict_ends_what_a_refused_save_left_behind(session, monkeypatch):
    """Both drawings are on disk by then: a later save is compared with what it knows itself."""
    save, refused = session.project.save_slices, []

    def refuse(*given, **more):
        if not refused:
            refused.append(given)
            raise ProjectError("The mask of c is damaged.")
        return save(*given, **more)

    monkeypatch.setattr(session.project, "save_slices", refuse)
    blank, first, second, third, theirs = (drawn(rows=slice(0, end)) for end in (0, 3, 6, 9, 12))
    session.save_slices("c", {1: first}, before={1: blank})
    session.wait()
    with Project.open(session.project.path) as other:
        other.save_slices("c", {1: theirs})
        session.save_slices("c", {1: second}, before={1: first})
        session.wait()
        assert len(session.asides) == 1
        other.save_slices("c", {1: first})
    session.save_slices("c", {1: third}, before={1: first})
    session.wait()
    assert len(session.asides) == 1 and np.array_equal(session.mask("c")[1] == 1, third == 1)


def test_recovery_can_be_interrupted_and_repeated(project):
    """The same journal read twice offers its strokes once; strokes that were saved after all are not offered."""
    made = journal.Journal(project.path / "journal")
    made.stroke("c", {1: drawn()})
    made.close()
    (file,) = journal.journals(project.path / "journal")
    assert [journal.recover(project, file) for _ in range(2)] == [(1, True), (0, True)]
    assert len(project.asides()) == 1


def test_a_recovered_slice_is_done_if_that_was_its_last_word(project):
    """Its drawing may be in the mask already; what is not done stays a draft, and nobody is asked twice."""
    project.save_slices("c", {1: drawn(), 2: drawn()})
    made = journal.Journal(project.path / "journal")
    made.stroke("c", {1: drawn(), 2: drawn(), 3: drawn()}, done=[1, 2, 3])
    made.stroke("c", {2: drawn()})
    made.stroke("c", {0: drawn()})
    made.close()
    (file,) = journal.journals(project.path / "journal")
    assert [journal.recover(project, file) for _ in range(2)] == [(1, True), (0, True)]
    (aside,) = project.asides()
    assert aside.slices == (0, 1, 3) and project.case("c").labelled == ()
    project.take_aside(aside.version)
    assert project.case("c").labelled == (1, 3)
    assert [(labels == NOT_ANNOTATED).any() for labels in project.mask("c")] == [True, False, True, False]
    assert journal.recover(project, file) == (0, True)


def test_a_case_that_takes_no_strokes_keeps_nobody_from_those_of_another(session):
    """The mask of a is damaged: what was drawn on b is offered, and what was drawn on a is said to be kept."""
    path = session.project.path
    session.close_project()
    made = journal.Journal(path / "journal")
    for case in "ab":
        made.stroke(case, {0: drawn(0), 1: drawn(1, slice(1, 3))})
    made.close()
    with Project.open(path) as project:
        project.save_slices("a", {2: drawn()})
        name = project.store.row("SELECT object FROM mask_version ORDER BY id DESC")["object"]
        project.objects.path(name).write_bytes(b"rubbish")
    for _ in range(2):
        session.open_project(path)
        assert [(aside.case, aside.slices) for aside in session.asides] == [("b", (1,))]
        assert session.said[-1].startswith("Strokes on a cannot be offered yet") and "doctor" in session.said[-1]
        session.close_project()
    repair(path)
    session.open_project(path)
    assert {aside.case for aside in session.asides} == {"a", "b"}
    assert journal.journals(path / "journal") == []


def test_torn_record_is_ignored_and_every_whole_one_is_read(tmp_path):
    """Cut anywhere: what was whole before the cut is there."""
    records = [journal.encode(journal.Stroke("c", {z: drawn(1, slice(z, z + 4))})) for z in range(3)]
    data = b"".join(records)
    for cut in range(0, len(data), 7):
        whole = sum(cut >= sum(map(len, records[: n + 1])) for n in range(3))
        assert len(list(journal.decode(data[:cut]))) == whole


def test_damaged_record_costs_itself_alone(project):
    """One flipped bit: the others are read, none is wrong, and the file is said not to be whole."""
    records = [journal.encode(journal.Stroke("c", {z: drawn(1, slice(z, z + 4))})) for z in range(3)]
    data, path = b"".join(records), project.path / "x.strokes"
    for at in range(0, len(data), 5):
        broken = bytearray(data)
        broken[at] ^= 4
        strokes = list(journal.decode(bytes(broken)))
        assert len(strokes) == 2
        for stroke in strokes:
            ((z, labels),) = stroke.slices.items()
            assert np.array_equal(labels, drawn(1, slice(z, z + 4)))
    path.write_bytes(broken)
    assert journal.recover(project, path) == (1, False)


@pytest.mark.parametrize("odd", [np.ones((3, 3), np.uint8), drawn(9)])
def test_strokes_that_fit_their_case_no_more_are_put_aside(session, odd):
    """The case has other images by now, or a script has drawn what is no class: the next window does not ask again."""
    path = session.project.path
    session.journal("c", {1: odd})
    session.wait()
    session.close_project()
    session.open_project(path)
    assert session.asides == [] and session.left_over == ""
    assert list((path / "backups").glob("*.strokes"))


def test_strokes_of_a_case_that_is_gone_are_put_aside(session, tmp_path):
    """They are nobody's, but nothing is deleted."""
    session.journal("c", {1: drawn()})
    session.wait()
    copy = shutil.copytree(session.project.path, tmp_path / "killed")
    with Project.open(copy) as other:
        other.remove_case("c")
    again = Session()
    again.open_project(copy)
    assert again.asides == []
    assert list((copy / "backups").glob("*.strokes"))
    again.close()


# the lock --------------------------------------------------------------------------------------------------


def test_second_window_looks_and_is_told_who_has_the_project(session):
    """It shows everything, refuses every change in a sentence, and the first goes on."""
    second = Session()
    said = []
    second.message.connect(lambda text, wrong: said.append(text))
    second.open_project(session.project.path)
    assert "open in another window (" in said[-1]
    assert [case.id for case in second.cases] == ["a", "b", "c", "d"]
    second.save_slices("c", {1: drawn()}, done=[1])
    second.journal("c", {1: drawn()})
    with pytest.raises(ProjectError, match="another window"):
        second.start_training(configure())
    second.close()
    session.save_slices("c", {1: drawn()}, done=[1])
    session.wait()
    assert session.project.case("c").labelled == (1,)
    assert len([text for text in said if "another window" in text]) == 2


def test_a_wrong_folder_is_left_as_it_was(session, tmp_path):
    """Somebody opens the folder beside the project's: it keeps its files, and an empty one can become a project."""
    for name, files in (("empty", ()), ("theirs", ("owner.json", ".window-owner.json"))):
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).write_text('{"mine": "precious"}')
        with pytest.raises(ProjectError, match="not a SegMatch project"):
            session.open_project(tmp_path / name)
        assert sorted(file.name for file in (tmp_path / name).iterdir()) == sorted(files)
    session.create_project(tmp_path / "empty", ["lesion"], ["flair"])
    assert session.project.path.name == "empty"


def test_who_died_under_the_old_name_is_known_and_other_files_of_that_name_stay(session):
    """Earlier versions called it owner.json, which somebody may have put there for another purpose."""
    path = session.project.path
    for text, ours in (('{"user": "x", "host": "y", "pid": 1, "since": "2026"}', True), ('{"mine": 1}', False)):
        session.close_project()
        (path / "owner.json").write_text(text)
        journal.write_place(path / "journal", "c", 1)
        session.open_project(path)
        assert (session.place == ("c", 1)) == ours
        assert (path / "owner.json").exists() != ours


def test_a_full_disk_is_not_another_window(tmp_path, monkeypatch):
    """Where not even the lock's file can be made, nobody else has the project open: the disk is to blame."""
    small_project(tmp_path).close()
    (tmp_path / "project" / ".window-lock").unlink(missing_ok=True)
    whole = os.open

    def refusing(path, flags, *rest, **more):
        if str(path).endswith(".window-lock"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refusing)
    live, said = Session(), []
    live.message.connect(lambda text, wrong: said.append(text))
    live.open_project(tmp_path / "project")
    assert "takes no new file" in said[-1] and "another window" not in said[-1]
    assert len(live.cases) == 4
    live.close()


def test_lock_is_free_when_the_window_is_closed(session):
    """Closing, or opening another project, lets go of it; an orderly end is no crash."""
    path = session.project.path
    session.open_project(path)
    assert not session.project.readonly
    session.close_project()
    again = Session()
    again.open_project(path)
    assert not again.project.readonly
    assert again.place is None
    again.close()


# the disk --------------------------------------------------------------------------------------------------


@pytest.fixture
def full(monkeypatch):
    """A disk that can be filled: while the flag is set, nothing can be written."""
    flag = threading.Event()
    whole = fsio._write

    def write(handle, data):
        if flag.is_set():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(handle, data)

    monkeypatch.setattr(fsio, "_write", write)
    return flag


class Full(sqlite3.Connection):
    """A database on a full disk: it can be read, and to a file nothing can be written."""

    def refuse(self):
        if not super().execute("PRAGMA database_list").fetchone()[2]:
            return  # in memory there is room
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    def execute(self, sql, *rest):
        if sql.startswith(("PRAGMA user_version=", "VACUUM INTO")):
            self.refuse()
        return super().execute(sql, *rest)

    def commit(self):
        self.refuse()
        super().commit()


@pytest.fixture
def full_database(monkeypatch):
    """Have databases that are opened from now on lie on a full disk."""
    whole = sqlite3.connect
    return lambda: monkeypatch.setattr(sqlite3, "connect", lambda *args, **more: whole(*args, **more, factory=Full))


@pytest.mark.parametrize("old", [False, True])
def test_a_project_on_a_full_disk_can_be_looked_at_and_exported(tmp_path, full_database, old):
    """One of an older version too: it is brought up to date in memory."""
    path = version_1(tmp_path)[0] if old else tmp_path / "project"
    if not old:
        small_project(tmp_path).close()
    before = (path / "segmatch.db").read_bytes()
    full_database()
    with Project.open(path) as project:
        assert "lies on a full disk" in project.readonly and "free some space" in project.readonly
        assert (project.mask("a")[1] == 1).any()
        project.export(tmp_path / "out")
        with pytest.raises(ProjectError, match="full disk"):
            project.save_mask("a", project.mask("a"))
    assert (path / "segmatch.db").read_bytes() == before
    assert (tmp_path / "out" / "a.nii.gz").is_file()


def test_a_project_that_a_failing_disk_does_not_take_is_refused_with_a_sentence(tmp_path, monkeypatch):
    """It was an internal error. The folder can be used as soon as the disk is in order."""

    class Failing(sqlite3.Connection):
        def execute(self, words, *values):
            if words.startswith("BEGIN"):
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
                raise error
            return super().execute(words, *values)

    whole = sqlite3.connect
    with monkeypatch.context() as broken:
        broken.setattr(sqlite3, "connect", lambda *args, **more: whole(*args, **more, factory=Failing))
        with pytest.raises(DiskProblem, match=r"disk I/O error.*check that the disk is in order"):
            Project.create(tmp_path / "p", ["lesion"], ["flair"])
    Project.create(tmp_path / "p", ["lesion"], ["flair"]).close()


def test_a_project_that_cannot_be_backed_up_is_refused_with_a_sentence(tmp_path):
    """An older one is copied before it is brought up to date; somebody's file may be in the place of the folder."""
    path, _ = version_1(tmp_path)
    before = (path / "segmatch.db").read_bytes()
    (path / "backups").write_text("mine")
    for use in (Project.open, repair):
        with pytest.raises(DiskProblem, match="backups"):
            use(path)
    assert (path / "segmatch.db").read_bytes() == before


def test_a_window_on_a_full_disk_looks_and_says_so(tmp_path, full_database):
    """It is open for looking, and the banner says why."""
    small_project(tmp_path).close()
    full_database()
    live, said = Session(), []
    live.message.connect(lambda text, wrong: said.append(text))
    live.open_project(tmp_path / "project")
    assert "full disk" in said[-1]
    assert len(live.cases) == 4
    live.close()


@pytest.mark.parametrize("damaged", [False, True])
def test_a_repair_on_a_full_disk_is_a_sentence(project, full_database, damaged):
    """A healthy database is not made anew, a damaged one stays where it is, and the way out is said."""
    project.close()
    database = project.path / "segmatch.db"
    if damaged:
        database.write_bytes(b"torn")
    before = database.read_bytes()
    full_database()
    with pytest.raises(ProjectError, match=r"full.*free some space"):
        repair(project.path)
    assert database.read_bytes() == before


def test_making_a_project_on_a_full_disk_is_a_sentence(tmp_path, full_database):
    """And leaves none."""
    full_database()
    with pytest.raises(DiskProblem, match="free some space"):
        Project.create(tmp_path / "new", ["lesion"], ["flair"])
    assert not (tmp_path / "new" / "segmatch.db").exists()


def test_save_waits_for_the_disk_and_lands_when_there_is_space(session, full):
    """The window says so, goes on taking strokes, keeps their order, and says when all is well."""
    full.set()
    session.save_slices("c", {1: drawn()}, done=[1])
    session.save_slices("c", {1: drawn(0), 2: drawn()}, done=[2])
    until(session, lambda: any(text.startswith("Not saved yet") for text in session.said))
    assert session.is_saving
    assert session.project.case("c").labelled == ()
    full.clear()
    until(session, lambda: not session.is_saving)
    assert session.project.case("c").labelled == (1, 2)
    assert not session.project.mask("c")[1].any()
    until(session, lambda: "everything is saved" in session.said[-1])
    assert session.trouble == ""


def test_window_that_closes_on_a_full_disk_rescues_its_strokes(session, monkeypatch, tmp_path):
    """What cannot be saved goes to another folder, from which it can be brought in."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    path = session.project.path
    session.journal("c", {1: drawn()})
    session.wait()
    whole = fsio._open

    def refuse(file, flags):
        if path in file.parents:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(file, flags)

    with monkeypatch.context() as patched:
        patched.setattr(fsio, "_open", refuse)
        session.save_slices("c", {1: drawn()})
        until(session, lambda: session.trouble)
        session.close()
    assert any("home" in text or "segmatch recover" in text for text in session.said)
    (file,) = (tmp_path / "home").glob("*.strokes")
    with Project.open(path) as project:
        assert journal.recover(project, file) == (1, True)
        assert np.array_equal(project.aside_labels(project.asides()[0].version)[1] == 1, drawn() == 1)


def test_other_cases_open_while_the_disk_refuses_the_one_that_was_painted(session, full):
    """Who asks for that one again waits for its save, and nobody else does."""
    full.set()
    session.save_slices("c", {1: drawn()}, done=[1])
    until(session, lambda: session.trouble)
    opened = []
    for case in "cab":
        session.load_case(case, lambda _, labels, case=case: opened.append((case, labels[1].max())))
    until(session, lambda: len(opened) == 2)
    assert [case for case, _ in opened] == ["a", "b"]
    full.clear()
    until(session, lambda: len(opened) == 3)
    assert opened[-1] == ("c", 1)


def test_a_case_that_waits_for_its_save_is_read_of_no_other_project(session, full, tmp_path):
    """Its project is left before the disk takes the save."""
    (tmp_path / "other").mkdir()
    small_project(tmp_path / "other").close()
    full.set()
    session.save_slices("c", {1: drawn()})
    opened = []
    session.load_case("c", lambda *_: opened.append("c"))
    full.clear()
    session.open_project(tmp_path / "other" / "project")
    session.wait()
    assert opened == []


def refusing_slowly(path, monkeypatch):
    """The disk takes no new file in a project any more, and says so after a moment."""
    whole = fsio._open

    def refuse(file, flags):
        if path in file.parents and flags & os.O_CREAT:
            time.sleep(0.3)
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return whole(file, flags)

    monkeypatch.setattr(fsio, "_open", refuse)


def test_a_training_that_is_to_begin_does_not_wait_for_a_disk_that_refuses(session, monkeypatch):
    """Nothing was wrong when somebody pressed the button: the window says why it does not start, and goes on."""
    run = session.project.new_run(configure(size=32, device="cpu"))
    session.show_run(run.id)
    refusing_slowly(session.project.path, monkeypatch)
    session.save_slices("c", {1: drawn()}, done=[1])
    refused = []

    def start():
        try:
            session.resume_training()
        except ProjectError as error:
            refused.append(str(error))

    starting = threading.Thread(target=start, daemon=True)
    starting.start()
    starting.join(20)
    assert refused and "free some space" in refused[0]
    assert not session.is_training


@pytest.mark.parametrize("painted", [True, False])
def test_window_closes_although_the_disk_begins_to_refuse_with_the_last_save(session, monkeypatch, tmp_path, painted):
    """Nothing was wrong when the closing began; it does not wait for a disk that may never come back."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    if painted:
        session.journal("c", {1: drawn()})
        session.wait()
    refusing_slowly(session.project.path, monkeypatch)
    session.save_slices("c", {1: drawn()}, done=[1])
    assert session.trouble == ""
    closing = threading.Thread(target=session.close_project, daemon=True)
    closing.start()
    closing.join(20)
    assert not closing.is_alive()
    assert session.farewell.startswith("What is not saved lies in" if painted else "The last slices marked as done")
    assert len(list((tmp_path / "home").glob("*.strokes"))) == painted


def test_refused_stroke_is_written_with_the_next_one(tmp_path, full):
    """After a refusal nothing in the old file is trusted: all that counts goes into a new one."""
    made = journal.Journal(tmp_path)
    made.stroke("c", {0: drawn()})
    full.set()
    with pytest.raises(DiskProblem):
        made.stroke("c", {1: drawn()})
    full.clear()
    made.stroke("c", {2: drawn()})
    (file,) = journal.journals(tmp_path)
    assert sorted(journal.read_strokes(file.read_bytes())["c"]) == [0, 1, 2]


def test_reserve_lets_the_last_stroke_land(session):
    """It is there while the window is open and gone when it is closed."""
    reserve = session.project.path / "reserve.bin"
    assert reserve.stat().st_size == 8 * 2**20
    session.close_project()
    assert not reserve.exists()


def test_short_writes_are_finished(tmp_path, monkeypatch):
    """A call of the system may write less than it was given without an error."""
    monkeypatch.setattr(fsio, "_write", lambda handle, data: os.write(handle, data[:7]))
    fsio.write_atomic(tmp_path / "x", b"0123456789" * 10)
    assert (tmp_path / "x").read_bytes() == b"0123456789" * 10


def test_disk_that_lies_is_found_out(tmp_path, monkeypatch):
    """What does not read back is not put in place."""
    (tmp_path / "x").write_bytes(b"old")
    monkeypatch.setattr(fsio, "_write", lambda handle, data: os.write(handle, bytes(len(data))))
    with pytest.raises(DiskProblem, match="read back"):
        fsio.write_atomic(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"old"


# security --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "C:/x", "a//b", "a\0b", ".."])
def test_paths_never_lead_out_of_the_project(tmp_path, name):
    """Whatever a tampered database says."""
    with pytest.raises(ProjectError, match="leads out"):
        fsio.inside(tmp_path, name)


def test_links_in_a_project_are_refused(project, tmp_path):
    """A link in the place of a mask or of a folder is not followed, for reading or for writing."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    name = project.store.row("SELECT object FROM mask_version")["object"]
    path = project.objects.path(name)
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(ProjectError):
        project.mask("a")
    project.close()
    shutil.move(project.path / "objects", tmp_path / "elsewhere")
    (project.path / "objects").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ProjectError, match="leads out"):
        Project.open(project.path)
    assert secret.read_bytes() == b"secret"


def test_a_project_behind_a_link_is_like_any_other(tmp_path):
    """A project's folder, a new one and one to export to may each be a link to a folder."""
    for name in ("project", "new", "out"):
        (tmp_path / "disk" / name).mkdir(parents=True)
        (tmp_path / name).symlink_to(tmp_path / "disk" / name, target_is_directory=True)
    small_project(tmp_path).close()
    with Project.open(tmp_path / "project") as project:
        project.save_slices("c", {1: drawn()}, done=[1])
        project.export(tmp_path / "out")
    assert (tmp_path / "disk" / "out" / "c.nii.gz").is_file()
    live = Session()
    live.open_project(tmp_path / "project")
    assert not live.project.readonly
    live.close()
    Project.create(tmp_path / "new", ["lesion"], ["flair"]).close()
    assert examine(tmp_path / "project") == []
    (tmp_path / "disk" / "project" / "segmatch.db").unlink()
    assert "made anew" in repair(tmp_path / "project")[0]
    assert examine(tmp_path / "project") == []


def test_tampered_object_names_are_refused(project):
    """A name in the database is a hash or nothing."""
    with pytest.raises(ProjectError, match="tampered"):
        project.objects.get("../../secret")


def test_masks_say_whose_they_are(project):
    """A mask opened by itself names its case and version, in a header extension that any viewer skips."""
    name = project.store.row("SELECT object FROM mask_version ORDER BY id")["object"]
    _, about = project.objects.read(name)
    assert (about["case_id"], about["id"], about["origin"]) == ("a", 1, "import")
    assert json.loads(about["done"]) == [0, 1, 2, 3]


def test_case_added_again_is_told_in_the_trail(project, tmp_path):
    """Replacing a case that nobody worked on leaves what was there in the audit trail."""
    images, mask = write_case(tmp_path / "again", 5)
    project.add_case("c", images, mask, "all")
    told = [row["action"] for row in project.store.rows("SELECT action FROM audit ORDER BY seq")]
    assert told[-4:] == ["case_cleared", "case", "meta", "mask_version"], "and that other files took its place"
    assert examine(project.path) == []


# images that moved -----------------------------------------------------------------------------------------


def test_project_moved_without_its_images_finds_them(tmp_path):
    """The window remembers where the project lay; the images are where they were, those of removed cases too."""
    with small_project(tmp_path) as project:
        project.remove_case("b")
    live = Session()
    live.open_project(tmp_path / "project")
    live.close()
    (tmp_path / "far" / "away").mkdir(parents=True)
    shutil.move(tmp_path / "project", tmp_path / "far" / "away" / "renamed")
    live.open_project(tmp_path / "far" / "away" / "renamed")
    live.project.restore_case("b")
    for case in "ab":
        assert live.project.volume(case).pixels.shape[1:] == SHAPE
    live.close()


def test_images_that_were_away_when_a_moved_project_was_opened_are_found_later(tmp_path):
    """A drive was not plugged in: where the project lay is not forgotten before all is found. Then it is."""
    small_project(tmp_path / "old").close()
    live = Session()
    live.open_project(tmp_path / "old" / "project")
    live.close()
    places = [tmp_path / "far" / name / "project" for name in ("one", "two")]
    (tmp_path / "old" / "images" / "a").rename(tmp_path / "away")
    for before, place in zip([tmp_path / "old" / "project", places[0]], places, strict=True):
        place.parent.mkdir(parents=True)
        shutil.move(before, place)
        live.open_project(place)
        with pytest.raises(ImportProblem):
            live.project.volume("a")
        assert live.project.volume("b").pixels.shape[1:] == SHAPE
        live.close()
    (tmp_path / "away").rename(tmp_path / "old" / "images" / "a")
    live.open_project(places[1])
    assert live.project.volume("a").pixels.shape[1:] == SHAPE
    home = live.project.store.row("SELECT value FROM meta WHERE key = 'home'")["value"]
    assert home == places[1].resolve().as_posix()
    live.close()
    assert examine(places[1]) == []


def test_images_that_moved_are_found_by_their_hash(project, tmp_path):
    """Another folder, other files of the same name beside them: only the right one is taken."""
    (tmp_path / "images").rename(tmp_path / "archive")
    write_case(tmp_path / "archive" / "a0", 9)
    assert any("case a" in text for text in examine(project.path))
    assert len(repair(project.path, [tmp_path / "archive"])) == 4
    assert examine(project.path) == []


def test_each_file_is_read_once_however_many_images_are_looked_for(tmp_path, monkeypatch):
    """All images of a project have the same name, and all of them have moved."""
    with small_project(tmp_path, cases=8) as project:
        (tmp_path / "images").rename(tmp_path / "archive")
        read, whole = [], sources.file_hash
        monkeypatch.setattr(sources, "file_hash", lambda path: read.append(path) or whole(path))
        assert len(sources.find_moved(project)) == 8
        assert len(read) == len(set(read)) == 8
    assert examine(tmp_path / "project") == []


def test_gone_images_stay_gone_in_a_sentence(project, tmp_path):
    """Other pixels are never taken for them."""
    shutil.rmtree(tmp_path / "images" / "a")
    write_case(tmp_path / "images" / "a0", 9)
    assert repair(project.path, [tmp_path / "images"]) == []
    assert any("case a" in text for text in examine(project.path))


# privacy ---------------------------------------------------------------------------------------------------


def test_no_patient_s_name_reaches_log_events_or_exports(tmp_path, monkeypatch):
    """A folder named after a patient stays out of everything that a run or an export writes."""
    from napari_segmatch.runner import training

    images, mask = write_case(tmp_path / "ZZCANARY^NAME")
    with Project.create(tmp_path / "project", ["lesion"], ["flair"]) as project:
        project.add_case("p1", images, mask, "all")
        run = project.new_run(configure(size=32, device="cpu"))
        project.export(tmp_path / "out")

        def fail(self):
            raise RuntimeError(f"cannot read {images['flair']}")

        monkeypatch.setattr(ProjectPool, "snapshot", fail)
        list(training(project.path, run.id))
    written = [*run.folder.rglob("*"), *(tmp_path / "out").rglob("*")]
    assert "Traceback" in (run.folder / "log.txt").read_text()
    for file in written:
        assert file.is_dir() or b"ZZCANARY" not in file.read_bytes(), file
        assert "ZZCANARY" not in file.name


def test_a_proposal_is_unpacked_no_further_than_a_slice_can_be_large(tmp_path):
    """Nor one that says it has more voxels than there is memory: both are sentences."""
    path = tmp_path / "00000001-bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("00000.npy", bytes(2**28 + 1))
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**60,)})
        file.writestr("00001.npy", header.getvalue())
    for member, words in (("00000", "larger than any slice"), ("00001", "cannot be read")):
        with pytest.raises(ProjectError, match=words):
            read_pseudo_mask(path, member)
