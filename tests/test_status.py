"""`segmatch status`: one screen, at once, whatever else is going on in the project."""

import shutil
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from helpers import SHAPE, small_project, write_case

from napari_segmatch.batch import predict_cases
from napari_segmatch.cli import cases, keeping, reviewing
from napari_segmatch.cli import status as shell
from napari_segmatch.config import configure
from napari_segmatch.errors import ProjectError
from napari_segmatch.events import Evaluated, Failed, PseudoMask, Started, Step, Stopped
from napari_segmatch.project import Project
from napari_segmatch.project.objects import ObjectStore
from napari_segmatch.types import Region


@pytest.fixture
def told(capsys):
    """Say what the command prints of a project."""

    def lines(project):
        shell.status(project.path if isinstance(project, Project) else project)
        return capsys.readouterr().out.splitlines()

    return lines


def _propose(project, run, case, slices=(1,)):
    labels = np.ones(SHAPE[1:], np.uint8)
    return project.add_proposals(run, 1, 1, [PseudoMask(Region(case, z), labels, 0.9, "accepted") for z in slices])


def _run(project, state, **settings):
    run = project.new_run(configure("quick", **settings))
    project.set_run_state(run.id, state)
    return run


def test_no_dice_of_a_step_that_a_kill_has_undone_is_said(tmp_path, told):
    """A resumed run goes on from its checkpoint: what was measured after it is measured anew."""
    with small_project(tmp_path, cases=1) as project:
        run = _run(project, "stopped", size=32)
        for event in (
            Started(0, "cpu", 1, 4, 0, 1),
            Evaluated(100, {"lesion": 0.7}, {}),
            Evaluated(200, {"lesion": 0.9}, {}),
        ):
            run.record(event)
        assert "Dice 0.900" in "".join(told(project))
        run.record(Started(150, "cpu", 1, 4, 0, 1))
        assert "at step 150 of 400, Dice 0.700" in "".join(told(project))


def test_one_screen_says_where_a_project_stands(tmp_path, told):
    """Cases of each kind, slices, proposals that wait, versions beside the masks, and how far the runs came."""
    with small_project(tmp_path, cases=5, labelled=2, validation=1, classes=("core", "edema")) as project:
        project.set_aside("x", "its file is empty")
        project.remove_case("b")
        project.keep_beside("c", {1: np.ones(SHAPE[1:], np.uint8)})
        run = _run(project, "stopped", size=32)
        run.record(Evaluated(100, {"core": 0.7, "edema": 0.9}, {"e": 0.8}))
        run.record(Evaluated(200, {"core": 0.8, "edema": 0.9}, {"e": 0.85}))
        run.record(Stopped(250))
        _run(project, "stopped", minutes=30)
        _propose(project, run, "c", [0, 1, 2])
        project.decide(_propose(project, run, "d", [0, 1])[0], "rejected")
        lines = told(project)
    assert lines[:6] == [
        "classes    core, edema",
        "sequences  flair",
        "cases      1 labelled, 1 for validation, 2 without labels, 1 with a problem, 1 removed",
        f"slices     {2 * SHAPE[0]} of {4 * SHAPE[0]} done",
        "proposals  4 to be judged, of 2 cases",
        f"versions   1 beside the masks, to choose from: segmatch asides {project.path}",
    ]
    first, second = lines[6:8]
    assert first.startswith("run 1      stopped at step 250 of 400, Dice 0.850; discriminator, 32 pixels; begun 20")
    assert second.startswith("run 2      stopped at step 0 of 30 min; ")
    assert lines[8:] == [f"Next: segmatch resume {project.path}"]


def test_what_comes_next_can_be_typed(tmp_path, told):
    """From an empty project to its export, in a folder whose name has a space."""

    def says(words):
        return told(project)[-1] == f"Next: segmatch {words}".replace("PROJECT", f"'{project.path}'")

    project = Project.create(tmp_path / "my scans", ["lesion"], ["flair"])
    assert "cases      none yet" in told(project) and says("add PROJECT FOLDER --image ...")
    images, mask = write_case(tmp_path / "in" / "a")
    project.add_case("a", images)
    assert says("add PROJECT FOLDER --image ... --mask ..., or finish slices in the window")
    project.add_case("a", images, mask, "all")
    project.add_case("b", write_case(tmp_path / "in" / "b", 1)[0])
    assert says("train PROJECT")
    run = _run(project, "created")
    assert says("train PROJECT"), "it never began"
    project.set_run_state(run.id, "running")
    run.record(Started(0, "cpu", 1000, 4, 4, 1, classes=1))
    assert says("resume PROJECT"), "nobody holds its lock: it was interrupted"
    with run.lock():
        assert says("status PROJECT")
        (proposal,) = _propose(project, run, "b")
        assert says("review PROJECT --undecided")
    project.set_run_state(run.id, "failed")
    assert says("train PROJECT"), "there is no checkpoint to go on from"
    (run.checkpoints / "00000100").mkdir(parents=True)
    assert says("resume PROJECT")
    project.set_run_state(run.id, "finished")
    assert says("review PROJECT --undecided")
    project.decide(proposal, "rejected")
    assert says("predict PROJECT")
    project.save_mask("b", np.zeros(SHAPE, np.uint8), done=[0])
    assert says("export PROJECT DIR")
    project.set_classes(["lesion", "edema"])
    assert says("train PROJECT"), "no run knows the new class"
    project.close()


def test_a_hundred_runs_leave_room_for_what_comes_next(tmp_path, told):
    """The latest are told, one whose settings are lost too, and why the last one failed."""
    with small_project(tmp_path) as project:
        for _ in range(shell.SHOWN + 3):
            run = _run(project, "stopped")
        (run.folder / "config.json").unlink()
        project.set_run_state(run.id, "failed")
        run.record(Failed(7, "Training stopped because the disk is full."))
        lines = told(project)
    runs = [line for line in lines if line.startswith("run ")]
    assert len(runs) == shell.SHOWN and runs[0].startswith("run 4 ")
    assert runs[-1].startswith("run 13     failed at step 7 of ?; settings cannot be read; begun 20")
    assert lines[-3:-1] == ["           3 runs before these", "           Training stopped because the disk is full."]


def test_neither_pixels_nor_all_proposals_are_read(tmp_path, told, monkeypatch):
    """A hundred thousand slices and half a million proposals are counted where they lie."""
    with small_project(tmp_path) as project:
        _propose(project, _run(project, "finished"), "c")
        project.keep_beside("c", {1: np.ones(SHAPE[1:], np.uint8)})
    for owner, name in ((Project, "volume"), (Project, "proposal_table"), (Project, "asides"), (ObjectStore, "get")):
        monkeypatch.setattr(owner, name, lambda *_: pytest.fail("it was read"))
    assert "proposals  1 to be judged, of 1 case" in told(project)
    code = "import sys, pathlib; from napari_segmatch.cli.status import status; status(pathlib.Path(sys.argv[1]))"
    code += "; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(project.path)], capture_output=True, text=True, check=True)
    assert not {"torch", "nibabel", "scipy"} & set(done.stdout.split())


def test_the_last_words_of_a_long_run_are_found_at_once(tmp_path):
    """Of a night's hundred thousand lines one is decoded; those that kills have torn are passed over."""
    with small_project(tmp_path) as project:
        run = project.new_run(configure("quick"))
    run.record(Evaluated(100, {"lesion": 0.5}, {}))
    step = Step(1, 0.5, 1.0, 0.1, 0.1, 0.1, None, 1)
    run.record(step)
    events = run.folder / "events.jsonl"
    head, line = events.read_bytes().splitlines(keepends=True)
    events.write_bytes(head + line * 100_000)
    run.record(replace(step, step=2))
    with events.open("ab") as file:
        file.write(line[:30] + b"\n" + line[:40])
    began = time.process_time()
    assert run.newest() == replace(step, step=2) and run.newest(Evaluated).step == 100
    assert time.process_time() - began < 1
    assert run.newest(Failed) is None


def test_nobody_waits_for_another_program_that_writes(tmp_path, told):
    """Another connection holds the right to write for as long as it likes."""
    with small_project(tmp_path) as project:
        path = project.path
    writer = sqlite3.connect(path / "segmatch.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    assert told(path)[-1] == f"Next: segmatch train {path}"
    reviewing.review(path)
    reviewing.export(path, tmp_path / "out")
    keeping.asides(path)
    cases.classes(path)
    with pytest.raises(ProjectError, match="no run yet"):
        next(predict_cases(path, None, tmp_path / "masks"))
    assert time.monotonic() - began < 5
    writer.close()


def test_after_a_kill_amid_a_write_the_project_is_told_all_the_same(tmp_path, told):
    """What was half written is taken back first, which who only reads cannot do."""
    with small_project(tmp_path) as project:
        path = project.path
    writer = sqlite3.connect(path / "segmatch.db", isolation_level=None)
    writer.execute("PRAGMA cache_size=5")
    writer.execute("BEGIN IMMEDIATE")
    writer.executemany("INSERT INTO meta VALUES (?, ?)", [(f"key {number}", "x" * 4000) for number in range(200)])
    shutil.copytree(path, tmp_path / "killed")
    writer.close()
    assert (tmp_path / "killed" / "segmatch.db-journal").stat().st_size
    assert told(tmp_path / "killed")[-1] == f"Next: segmatch train {tmp_path / 'killed'}"
