"""The real window through the whole loop, with keys and clicks only; and closing it at any moment of it."""

import csv
import threading

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from test_ui_window import paint, press

from napari_segmatch import Project

pytest.importorskip("napari")
Key, Control, Shift = Qt.Key, Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def settle(settle):
    """The whole loop is long, and other work may share the machine: be patient."""

    def wait(dock, true, seconds=90.0):
        settle(dock, true, seconds)

    return wait


@pytest.fixture(autouse=True)
def _impolite(monkeypatch):
    """The trainer does not step behind the window here: on a busy machine it would never get its turn."""
    monkeypatch.setattr("napari_segmatch.runner.give_way", lambda: None)


def click(widget):
    QTest.mouseClick(widget, Qt.MouseButton.LeftButton)


def small_run(dock, steps=100_000):
    """Set the form to a run of seconds, as somebody would under Advanced."""
    for name, value in {
        "size": 32,
        "features": 8,
        "batch": 2,
        "propose_every": 5,
        "proposals": 12,
        "steps": steps,
    }.items():
        dock.train.form._controls[name].setValue(value)
    dock.train.device.setCurrentText("cpu")


def words(session):
    return {item.id: item.decision for item in session.proposals if item.decision}


def admitted(session):
    """How many proposals are labels, as people's words have it."""
    return sum(word in ("accepted", "corrected") for word in words(session).values())


def test_the_whole_loop_with_keys_and_clicks(dock, project, settle, tmp_path):
    session = dock.session
    session.open_project(project)
    dock.show_tab("Cases")
    dock.cases.kind.setCurrentText("new")
    assert dock.cases.proxy.rowCount() == 3
    dock.cases.kind.setCurrentText("every state")

    # annotate: a slice by brush, an empty one by key, the gap between two by interpolation
    dock.cases.table.activated.emit(dock.cases.proxy.index(1, 0))
    settle(dock, lambda: dock.desk.case_id == "case-02")
    z = dock.desk.z
    paint(dock)
    press(dock, Key.Key_Return)
    settle(dock, lambda: z in session.case("case-02").labelled)
    empty = dock.desk.z
    press(dock, Key.Key_N)
    settle(dock, lambda: empty in session.case("case-02").labelled)

    # train, and go on working while it learns
    dock.show_tab("Train")
    small_run(dock)
    assert "memory" in dock.train._need.text()
    click(dock.train.start)
    settle(dock, lambda: len(session.proposals) > 6 and session.history.steps)
    assert session.is_training

    # review: accept, reject with a reason, defer, correct
    dock.show_tab("Review")
    reviewer = dock.review.reviewer
    for key, said in ((Key.Key_A, "accepted"), (Key.Key_2, "rejected"), (Key.Key_D, "deferred")):
        settle(dock, lambda: reviewer.on_screen)
        item = reviewer.current
        press(dock, key)
        # on disk, not in the list: there what was put off gives way to what the trainer proposes meanwhile
        settle(dock, lambda item=item, said=said: session.project.proposal(item.id).decision == said)
    settle(dock, lambda: reviewer.on_screen)
    corrected = reviewer.current
    press(dock, Key.Key_C)
    paint(dock, 5)
    press(dock, Key.Key_Return)
    settle(dock, lambda: corrected.z in session.case(corrected.case).labelled)
    settle(dock, lambda: session.history.pool is not None)
    assert "took up your work" in dock.review.board._seen.text()

    # what the trainer proposes meanwhile moves nothing under the eyes
    settle(dock, lambda: reviewer.on_screen)
    looking, last = reviewer.current, session._last_proposal
    settle(dock, lambda: session._last_proposal > last)
    settle(dock, lambda: not session._jobs.pending("read"))
    assert reviewer.current.id == looking.id and dock.desk.z == looking.z

    click(dock.train.stop)  # from another tab's button: the run ends, nothing of the review changes
    settle(dock, lambda: not session.is_training)

    # a whole case at once, undone as one step, made again as one step
    settle(dock, lambda: not session._jobs.pending() and dock.review.model.items)
    before = words(session)
    press(dock, Key.Key_A, Shift)
    sheet = dock.review.sheets.sheet
    n = len(sheet.model.items)
    assert dock.review.sheets.sheet is sheet and n > 0
    press(dock, Key.Key_R)  # no key reaches the review through the sheet
    assert words(session) == before
    QTest.keyClick(sheet, Key.Key_Return)
    settle(dock, lambda: not session.is_saving)
    assert len(words(session)) == len(before) + n and dock.review.sheets.sheet is None
    press(dock, Key.Key_Backspace)
    settle(dock, lambda: words(session) == before)
    press(dock, Key.Key_Z, Control | Shift)
    settle(dock, lambda: len(words(session)) == len(before) + n)

    # what the run brought in goes out and comes back
    dock.show_tab("Train")
    dock.train.runs.list.setCurrentRow(0)
    click(dock.train.runs._roll_back)
    settle(dock, lambda: not admitted(session))
    dock.show_tab("Review")
    press(dock, Key.Key_Z, Control)
    settle(dock, lambda: admitted(session) == n + 2)

    dock.show_tab("Export")
    dock.export.folder.setText(str(tmp_path / "out"))
    click(dock.export.button)
    settle(dock, lambda: dock.export.list.count() > 0)
    assert (tmp_path / "out" / "case-02.nii.gz").exists()
    rows = list(csv.DictReader((tmp_path / "out" / "decisions.csv").open()))
    assert "leaks out" in {row["reason"] for row in rows}
    grids = {case.id: case.geometry for case in session.cases}
    assert all(int(row["slice"]) == grids[row["case"]].slice_number(int(row["z"])) for row in rows)
    assert not dock.banner.sentence


def _at_a_correction(dock, settle):
    press(dock, Key.Key_C)
    paint(dock, 4)
    z, case = dock.review.reviewer.current.z, dock.review.reviewer.current.case
    return lambda project: (project.mask(case)[z] == 1).any() and z not in project.case(case).labelled


def _at_a_contact_sheet(dock, settle):
    dock.review.sheets.accept_case()
    assert dock.review.sheets.sheet is not None
    return lambda project: not project.decisions()


def _right_after_a_decision(dock, settle):
    item = dock.review.reviewer.current
    press(dock, Key.Key_A)
    return lambda project: project.proposal(item.id).decision == "accepted"


def _while_training(dock, settle):
    dock.show_tab("Train")
    small_run(dock)
    dock.train.start.click()
    settle(dock, lambda: dock.session.history.steps)
    return lambda project: project.run_state(dock.session_run) in ("stopped", "finished")


@pytest.mark.parametrize("way", ["viewer", "dock"])
@pytest.mark.parametrize("moment", [_at_a_correction, _at_a_contact_sheet, _right_after_a_decision, _while_training])
def test_closing_at_any_moment_loses_nothing(make_viewer, proposed, settle, qtbot, moment, way):
    from napari_segmatch.ui.dock import SegmatchDock

    viewer = make_viewer(show=True)
    dock = SegmatchDock(viewer)
    holder = viewer.window.add_dock_widget(dock, name="SegMatch")
    dock.session.open_project(proposed)
    dock.show_tab("Review")
    settle(dock, lambda: dock.review.reviewer.on_screen)
    kept = moment(dock, settle)
    dock.session_run = dock.session.run.id
    if way == "viewer":
        viewer.close()
    else:
        holder.destroyOnClose()
    qtbot.waitUntil(lambda: not [t for t in threading.enumerate() if t.name.startswith("segmatch")], timeout=30_000)
    with Project.open(proposed) as project:
        assert kept(project)


def test_classes_are_kept_apart_by_the_lock(dock, project, tmp_path, settle):
    from napari_segmatch.io import find_cases

    session = dock.session
    session.create_project(tmp_path / "two", ["core", "edema"], ["flair"])
    session.add_cases(find_cases(project / "images", {"flair": "{case}/flair.nii.gz"}))
    settle(dock, lambda: len(session.cases) == 4)
    dock.annotate_case("case-01")
    settle(dock, lambda: dock.desk.case_id == "case-01")
    mask, z = dock.desk.layers.mask, dock.desk.layers.z
    assert dock.annotate.toolbox.lock.isChecked()

    def box(label, rows):
        y, x = np.mgrid[rows, 20:30]
        mask.selected_label = label
        mask.data_setitem((np.full(y.size, z), y.ravel(), x.ravel()), label)
        settle(dock, lambda: not dock.desk._heard)

    box(1, slice(10, 20))
    box(2, slice(15, 25))
    assert (mask.data[z, 15:20, 20:30] == 1).all() and (mask.data[z, 20:25, 20:30] == 2).all()
    dock.annotate.toolbox.lock.setChecked(False)
    box(2, slice(15, 25))
    assert (mask.data[z, 15:25, 20:30] == 2).all()


def test_planes_show_the_other_cuts_and_a_click_goes_there(dock, project, settle):
    dock.session.open_project(project)
    dock.annotate_case("case-03")
    settle(dock, lambda: dock.desk.case_id == "case-03")
    press(dock, Key.Key_O)
    planes = dock.overlays.planes
    assert planes.isVisible() and [tile.title for tile, _ in planes._tiles][:2] == ["front", "side"]
    box = planes._tiles[0][1]
    QTest.mouseClick(planes, Qt.MouseButton.LeftButton, pos=box.topLeft())
    assert dock.desk.layers.z == 0
    press(dock, Key.Key_O)
    assert not planes.isVisible()


def test_the_suggested_case_differs_from_those_that_are_labelled(dock, project, settle):
    dock.session.open_project(project)
    dock.annotate_case("case-01")
    settle(dock, lambda: dock.desk.case_id == "case-01")
    press(dock, Key.Key_J, Shift)
    settle(dock, lambda: dock.desk.case_id != "case-01")
    assert "least like" in dock.annotate._why.text()
