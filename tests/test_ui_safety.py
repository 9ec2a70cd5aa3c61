"""The window and its strokes: in the journal at once, back after a crash, and no second window over them."""

import os
import shutil
import subprocess
import sys
import threading
from unittest.mock import Mock

import numpy as np
import pytest
from helpers import SHAPE, small_project
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_segmatch.columns import Some
from napari_segmatch.config import configure
from napari_segmatch.errors import DiskProblem, ImportProblem, ProjectError
from napari_segmatch.events import PseudoMask
from napari_segmatch.locks import WINDOW, FileLock
from napari_segmatch.project import Project, journal
from napari_segmatch.ranking import is_blind
from napari_segmatch.session import Session
from napari_segmatch.types import Region
from napari_segmatch.ui.reviewer import Reviewer
from napari_segmatch.ui.slices import state_of
from napari_segmatch.ui.strokes import Strokes
from napari_segmatch.ui.thumbnails import Preview

pytest.importorskip("napari")


def paint(dock, value=1):
    """Paint a block on the slice on the screen, as napari's own tools do."""
    y, x = np.mgrid[20:30, 20:30]
    dock.desk.layers.mask.data_setitem((np.full(y.size, dock.desk.layers.z), y.ravel(), x.ravel()), value)


def is_draft(labels):
    """Whether the block of :func:`paint` is on a slice."""
    return (labels[20:30, 20:30] == 1).all()


def in_journal(project):
    """Return what the window's journal holds of the case on the desk."""
    files = journal.journals(project / "journal")
    return journal.read_strokes(files[-1].read_bytes()).get("case-03", {}) if files else {}


def test_after_a_crash_the_strokes_are_offered_where_they_were_drawn(on_case, project, settle, tmp_path):
    dock = on_case
    dock.desk._timer.setInterval(10**6)  # no autosave: the window is going to die first
    dock.desk.z = 5
    paint(dock)
    settle(dock, lambda: 5 in in_journal(project) and journal.read_place(project / "journal") == ("case-03", 5))
    killed = shutil.copytree(project, tmp_path / "killed")
    dock.session.open_project(killed)
    settle(dock, lambda: not dock.offers.isHidden())  # the case of that name was on the desk before, too
    settle(dock, lambda: dock.desk.case_id == "case-03" and dock.desk.z == 5)
    assert str(dock.desk.layers.mask.mode) == "paint"
    assert dock.offers.sentence == "Not saved the last time, and found again: your work on slice 11 of case-03."
    assert "crash" not in dock.offers.sentence
    assert not (dock.desk.labels[5] == 1).any(), "nothing is replaced silently"
    dock.offers.show_offer()
    assert dock.desk.layers.proposal.data[dock.desk.layers.z].any()
    dock.offers.take()
    settle(dock, lambda: (dock.desk.labels[5] == 1).any())
    settle(dock, lambda: dock.offers.isHidden())
    assert (dock.session.project.mask("case-03")[5] == 1).sum() == 100


def test_a_stroke_in_progress_reaches_the_journal(on_case, project, settle, monkeypatch):
    """During a long drag napari says nothing: the desk looks by itself, and makes no step for undo of it."""
    dock = on_case
    z = dock.desk.z
    monkeypatch.setattr("qtpy.QtWidgets.QApplication.mouseButtons", lambda: Qt.MouseButton.LeftButton)
    dock.desk.labels[z, 3:6] = 1
    settle(dock, lambda: z in in_journal(project))
    assert not dock.desk.strokes.can_undo


def test_a_stroke_that_the_lock_gives_back_is_not_offered_later(on_case, project, settle, monkeypatch):
    """The journal hears of it before the lock does: it is told what is left of it, too."""
    dock = on_case
    dock.desk.z = 5
    paint(dock)
    settle(dock, lambda: dock.desk.strokes.can_undo and not dock.desk.dirty and not dock.session.is_saving)
    dock.desk.lock = True
    monkeypatch.setattr(type(dock.desk.layers), "chosen_class", 2)
    with dock.desk.layers.mask.block_history():  # as a brush does: napari speaks of it when it is over
        paint(dock, 0)
    assert not (dock.desk.labels[5] == 1).any()
    settle(dock, lambda: (dock.desk.labels[5] == 1).any())
    dock.session.open_project(project)
    assert dock.session.asides == []


def test_what_a_script_or_napari_s_undo_changes_is_noticed(on_case, settle):
    """No event, on a slice that is not on the screen: within ten seconds it is a stroke like any other."""
    dock = on_case
    dock.desk._look_timer.setInterval(20)
    dock.desk.labels[1, 3:6] = 1
    settle(dock, lambda: dock.desk.strokes.can_undo)
    settle(dock, lambda: (dock.session.project.mask("case-03")[1] == 1).any())


def test_second_window_cannot_paint(dock, project, settle):
    first = Session()
    first.open_project(project)
    dock.session.open_project(project)
    assert "open in another window" in dock.banner.sentence
    dock.annotate_case("case-03")
    settle(dock, lambda: dock.desk.case_id == "case-03")
    assert not dock.desk.layers.mask.editable
    first.close()


def test_a_window_that_may_only_look_shows_what_the_disk_holds(dock, proposed, settle):
    """No button and no verdict changes the picture: it would show as done, or without a mask, what nobody saved."""
    first = Session()
    first.open_project(proposed)
    dock.session.open_project(proposed)
    dock.annotate_case("case-01")
    settle(dock, lambda: dock.desk.case_id == "case-01")
    drawn = np.flatnonzero(dock.desk.drawn)
    here = dock.desk.z = int(drawn[len(drawn) // 2])
    before = dock.desk.labels.copy()
    for action in ("no_lesion", "done", "interpolate"):
        dock.banner.dismiss()
        dock.annotate.actions[action]()
        assert "looked at, but not changed" in dock.banner.sentence and dock.desk.z == here
    dock.annotate.filling.copy_from(1)
    dock.annotate.filling.reshape("grow")
    assert np.array_equal(dock.desk.labels, before)
    dock.show_tab("Review")
    reviewer = dock.review.reviewer
    settle(dock, lambda: reviewer.on_screen)
    seen, before = reviewer.current, dock.desk.labels.copy()
    for action in ("accept", "reject", "defer", "correct"):
        dock.banner.dismiss()
        dock.review.actions[action]()
        assert "looked at, but not changed" in dock.banner.sentence
    assert reviewer.current == seen and not reviewer.correcting and np.array_equal(dock.desk.labels, before)
    first.close()


def test_what_is_said_of_a_disk_that_takes_files_again_at_once_goes_again(on_case):
    """It may be over before the window has drawn a single time."""
    session = on_case.session
    session.trouble_told = "a.nii.gz could not be written (No space left on device)."
    session.message.emit(f"Not saved yet. {session.trouble_told}", True)
    assert on_case.banner.sentence
    on_case._beat()
    assert not on_case.banner.sentence


def test_window_stays_open_while_the_disk_refuses(on_case, settle, monkeypatch, tmp_path):
    """The first try to close is refused in words; when the disk takes files again, all is saved."""
    from napari_segmatch import fsio
    from napari_segmatch.errors import DiskProblem

    dock, whole = on_case, fsio.write_atomic

    def refuse(path, data):
        raise DiskProblem(f"{path.name} could not be written (No space left on device).")

    for module in ("project.objects", "fsio"):
        monkeypatch.setattr(f"napari_segmatch.{module}.write_atomic", refuse)
    paint(dock)
    settle(dock, lambda: bool(dock.session.trouble))
    dock.window().close()
    assert dock.window().isVisible()
    assert "Not closed" in dock.banner.sentence
    for module in ("project.objects", "fsio"):
        monkeypatch.setattr(f"napari_segmatch.{module}.write_atomic", whole)
    settle(dock, lambda: not dock.session.trouble and not dock.session.is_saving)
    assert (dock.session.project.mask("case-03") == 1).sum() == 100
    settle(dock, lambda: not dock._warned and not dock.banner.sentence)  # which said that not everything is saved
    monkeypatch.setattr("napari_segmatch.project.objects.write_atomic", refuse)
    paint(dock, 0)
    settle(dock, lambda: bool(dock.session.trouble))
    dock.window().close()
    assert dock.window().isVisible() and "Not closed" in dock.banner.sentence, "another trouble is told again"


def test_where_the_rescued_strokes_lie_is_still_said_when_the_project_is_closed(
    on_case, project, settle, monkeypatch, tmp_path
):
    """The word stands over the start page and over the next project, until somebody takes it away."""
    from napari_segmatch.errors import DiskProblem

    def refuse(path, data):
        raise DiskProblem(f"{path.name} could not be written (No space left on device).")

    dock, other = on_case, shutil.copytree(project, tmp_path / "other")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.setattr("napari_segmatch.project.objects.write_atomic", refuse)
    paint(dock)
    settle(dock, lambda: bool(dock.session.trouble))
    dock.cases._close()
    assert dock.session.project is None and "segmatch recover" in dock.banner.sentence
    dock.cases._try(dock.session.open_project, tmp_path / "gone")
    assert "segmatch recover" in dock.banner.sentence and "no project folder gone" in dock.banner.sentence
    dock.session.open_project(other)
    assert "segmatch recover" in dock.banner.sentence
    dock.banner.dismiss()
    dock.session.open_project(other)
    assert not dock.banner.sentence


def test_a_project_that_cannot_be_opened_again_leaves_nothing_on_the_screen(on_case, project):
    """It was closed to be opened again: its case and its lists would be nobody's."""
    dock = on_case
    (project / "segmatch.db").rename(project / "elsewhere.db")
    dock.cases._try(dock.session.open_project, project)
    assert dock.session.project is None and "is not a SegMatch project" in dock.banner.sentence
    assert not dock.desk.case_id and dock.desk.layers.mask is None and not dock.annotate._case.count()
    assert dock.cases._body.isHidden() and not dock.cases._start.isHidden()
    (project / "elsewhere.db").rename(project / "segmatch.db")
    dock.cases._try(dock.session.open_project, project)
    assert dock.session.project is not None and not dock.session.project.readonly


def test_a_project_that_opens_by_half_is_closed_again(on_case, project, tmp_path, monkeypatch):
    """A damaged row is found when the database is open already: whoever repairs it must find the project free."""
    dock, other = on_case, shutil.copytree(project, tmp_path / "other")

    def damaged(_):
        raise ProjectError("The database of other is damaged.")

    with monkeypatch.context() as broken:
        broken.setattr("napari_segmatch.project.Project.runs", damaged)
        dock.cases._try(dock.session.open_project, other)
    assert dock.session.project is None and "damaged" in dock.banner.sentence and not dock.annotate._case.count()
    with FileLock(other / WINDOW) as lock:
        assert lock.held


def test_leafing_through_cases_does_not_wait_for_each(on_case, settle):
    """Two steps while the first is still being read lead two cases on."""
    dock = on_case
    dock.annotate.go(-1)
    dock.annotate.go(-1)
    settle(dock, lambda: dock.desk.case_id == "case-01")
    assert dock.desk.coming == "case-01"


def test_a_case_whose_file_was_away_for_a_moment_can_be_opened_again(on_case, settle, monkeypatch):
    """A network drive: the failed try is said, what is on the desk stays, and the next try is a new one."""
    dock, whole = on_case, on_case.session.project.volume

    def away(case):
        raise ProjectError(f"The images of {case} cannot be read now.")

    monkeypatch.setattr(dock.session.project, "volume", away)
    dock.annotate_case("case-04")
    assert "Reading case-04" in dock.annotate._state.text()
    settle(dock, lambda: "cannot be read" in dock.banner.sentence)
    assert dock.annotate._state.text().startswith("Slice ") and dock.annotate._case.currentData() == "case-03"
    assert dock.desk.case_id == "case-03" and not dock.desk._hurry.isActive()
    monkeypatch.setattr(dock.session.project, "volume", whole)
    dock.annotate_case("case-04")
    settle(dock, lambda: dock.desk.case_id == "case-04")


@pytest.mark.parametrize("back", [False, True])
def test_a_stroke_on_the_old_picture_while_another_case_is_read_is_kept(on_case, settle, monkeypatch, back):
    """It had left the desk unsaved and came back with the next window; now it can be undone after a change of mind."""
    dock, go, whole = on_case, threading.Event(), on_case.session.project.volume
    monkeypatch.setattr(dock.session.project, "volume", lambda case: go.wait(60) and whole(case))
    dock.desk.z = 5
    dock.desk._timer.setInterval(10**6)  # as if it was read within a second
    dock.annotate_case("case-04")
    paint(dock)
    if back:
        dock.annotate_case("case-03")
        assert dock.desk.case_id == "case-03" and dock.annotate._state.text().startswith("Slice ")
        dock.desk.undo()
        assert not is_draft(dock.desk.labels[5])
        dock.desk.redo()
        dock.annotate_case("case-04")
    go.set()
    settle(dock, lambda: dock.desk.case_id == "case-04" and not dock.session.is_saving)
    assert is_draft(dock.session.mask("case-03")[5]) and not is_draft(dock.session.mask("case-04")[5])


def test_no_verdict_falls_on_a_patient_who_is_not_on_the_screen(dock, proposed, settle, monkeypatch):
    """A case that cannot be read leaves no other patient under its name; the sentence says which one it is."""
    session, desk, reviewer = dock.session, dock.desk, dock.review.reviewer
    session.open_project(proposed)
    whole = session.project.volume

    def away(case):
        if case == "case-03":
            raise ImportProblem("flair.nii.gz does not exist: check its name and folder.")
        return whole(case)

    monkeypatch.setattr(session.project, "volume", away)
    dock.review.filter.order.setCurrentText("by case")
    dock.show_tab("Review")
    settle(dock, lambda: reviewer.on_screen and desk.layers.proposal.data.any())
    item = next(item for item in dock.review.model.items if item.case == "case-03")
    reviewer.show(item)
    settle(dock, lambda: "case-03 cannot be shown: flair.nii.gz" in dock.banner.sentence)
    assert reviewer.current.id == item.id and not desk.case_id and desk.layers.mask is None
    for verb in ("accept", "reject", "defer", "correct", "reason_1"):
        dock.status.say("")
        dock.review.actions[verb]()
        assert "not on the screen" in dock.status._message.text() and not session.is_saving
        assert reviewer.current.id == item.id and not reviewer.correcting
    reviewer.show(next(item for item in dock.review.model.items if item.case == "case-02"))
    settle(dock, lambda: reviewer.on_screen and desk.layers.proposal.data.any())


def test_a_case_that_cannot_be_opened_leads_back_to_the_table(dock, project, settle, monkeypatch):
    """Annotate would show the patient before."""
    dock.session.open_project(project)
    dock.annotate_case("case-03")
    settle(dock, lambda: dock.desk.case_id == "case-03")

    def away(case):
        raise ImportProblem("flair.nii.gz does not exist: check its name and folder.")

    monkeypatch.setattr(dock.session.project, "volume", away)
    dock.show_tab("Cases")
    dock.cases.opened.emit("case-04")
    assert dock.tabs_name() == "Annotate"
    settle(dock, lambda: "case-04 cannot be shown" in dock.banner.sentence)
    assert dock.tabs_name() == "Cases" and dock.desk.case_id == "case-03"


def test_strokes_on_a_layer_of_napari_s_are_not_taken_for_the_mask(on_case, settle):
    """A slice would be marked as done without them. The brush comes back, also with a class; the next Enter holds."""
    dock, mask = on_case, on_case.desk.layers.mask
    theirs = dock.viewer.add_labels(np.zeros(mask.data.shape, np.uint8), name="Labels")
    theirs.mode = "paint"
    dock.annotate.actions["done"]()
    assert "“Labels”" in dock.banner.sentence and not dock.session.is_saving
    assert dock.viewer.layers.selection.active is mask and str(mask.mode) == "paint"
    dock.viewer.layers.selection.active = theirs
    dock.annotate.toolbox.class_group.button(1).click()
    assert dock.viewer.layers.selection.active is mask
    z = dock.desk.z
    dock.annotate.actions["done"]()
    settle(dock, lambda: z in dock.desk.done)


def test_no_accept_takes_a_draft_away(dock, proposed, settle):
    """Neither one that is on the screen, which C takes into its correction, nor one that a sheet does not show."""
    session, desk, reviewer = dock.session, dock.desk, dock.review.reviewer
    session.open_project(proposed)
    drafts = []
    for case in ("case-03", "case-02"):
        dock.annotate_case(case)
        settle(dock, lambda case=case: desk.case_id == case)
        items = session.proposals.of_case(case).values()
        drafts.append(min((item for item in items if not is_blind(item)), key=lambda item: item.z))
        desk.z = drafts[-1].z
        paint(dock)
    desk.save()
    settle(dock, lambda: not session.is_saving)
    dock.show_tab("Review")
    reviewer.show(drafts[1])
    settle(dock, lambda: reviewer.on_screen and desk.z == drafts[1].z)
    assert is_draft(desk.labels[drafts[1].z])
    for item in drafts:  # of the case on the desk, and of another one
        dock.review.sheets.accept_case(item.case)
        settle(dock, lambda: dock.review.sheets.sheet is not None)
        there = {tile.id for tile in dock.review.sheets.sheet.model.items}
        assert there and not there & {draft.id for draft in drafts}
        dock.review.sheets.close()
    reviewer.accept()
    assert "You painted on this slice before" in dock.status._message.text() and not session.is_saving
    reviewer.correct()
    assert is_draft(desk.labels[drafts[1].z]) and (desk.labels[drafts[1].z][30:44, 40:50] == 1).all()
    reviewer.enter()
    settle(dock, lambda: drafts[1].z in session.case("case-02").labelled)
    assert is_draft(session.mask("case-02")[drafts[1].z])


def test_what_follows_a_refused_save_is_no_conflict(on_case, settle, monkeypatch):
    """Nobody else has written: the next change of the slice saves what the first one could not."""
    dock, session = on_case, on_case.session

    def refuse(*_, **__):
        raise ProjectError("The mask of case-03 is damaged.")

    with monkeypatch.context() as damaged:
        damaged.setattr(session.project, "save_slices", refuse)
        dock.desk.z = 5
        paint(dock)
        dock.desk.save()
        settle(dock, lambda: not session.is_saving)
    assert "damaged" in dock.banner.sentence
    dock.status.redraw()
    assert "not saved yet" in dock.status.words
    dock.desk.write({5: np.where(np.arange(dock.desk.labels.shape[2]) < 9, 1, dock.desk.labels[5]).astype(np.uint8)})
    dock.desk.save()
    settle(dock, lambda: not session.is_saving)
    assert session.asides == [] and not dock.desk.dirty
    assert is_draft(session.mask("case-03")[5]) and (session.mask("case-03")[5, :, :9] == 1).all()


@pytest.mark.parametrize("refused", [1, 2])
def test_what_was_to_be_saved_behind_a_refused_save_is_no_conflict(on_case, settle, monkeypatch, refused):
    """It waited already when the first was refused, or both were: it replaces what the disk holds."""
    dock, session = on_case, on_case.session
    save, both_wait, left = session.project.save_slices, threading.Event(), [refused]

    def refuse(*given, **more):
        assert both_wait.wait(20)
        if left[0]:
            left[0] -= 1
            raise ProjectError("The mask of case-03 is damaged.")
        return save(*given, **more)

    monkeypatch.setattr(session.project, "save_slices", refuse)
    dock.desk.z = 5

    def draw(width):
        labels = dock.desk.labels[5].copy()
        labels[:, :width] = 1
        dock.desk.write({5: labels})
        dock.desk.save()

    draw(3)
    draw(6)
    both_wait.set()
    settle(dock, lambda: not session.is_saving)
    draw(9)
    settle(dock, lambda: not session.is_saving)
    assert session.asides == [] and (session.mask("case-03")[5, :, :9] == 1).all()


@pytest.mark.parametrize("then", ["", "reopen", "undo", "more strokes"])
def test_done_that_the_disk_refused_comes_back_with_the_strokes(on_case, project, settle, monkeypatch, tmp_path, then):
    """They are rescued into a file, and so is that they were done; the slice may have been opened again meanwhile."""
    dock, session, z = on_case, on_case.session, on_case.desk.z

    def refuse(path, data):
        raise DiskProblem(f"{path.name} could not be written (No space left on device).")

    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with monkeypatch.context() as full:
        full.setattr("napari_segmatch.project.objects.write_atomic", refuse)
        paint(dock)
        dock.annotate.actions["done"]()
        dock.desk.z = z
        if then == "reopen":
            dock.desk.save(reopen=(z,))
        elif then == "undo":
            dock.annotate.actions["undo"]()
        elif then:
            dock.desk.write({z: np.maximum(dock.desk.labels[z], np.eye(len(dock.desk.labels[z]), dtype=np.uint8))})
        settle(dock, lambda: bool(session.trouble))
        session.close_project()
    (file,) = (tmp_path / "home").glob("*.strokes")
    with Project.open(project) as opened:
        assert journal.recover(opened, file) == (1, True)
        opened.take_aside(opened.aside_versions[0])
        assert opened.case("case-03").labelled == (() if then else (z,))
        assert (opened.mask("case-03")[z] == 1).sum() >= 100


@pytest.mark.parametrize("then", ["another slice", "more strokes", "undo"])
def test_done_that_was_refused_is_saved_with_the_strokes(on_case, settle, monkeypatch, then):
    """It need not be pressed again, unless the person has gone on with the slice or opened it again meanwhile."""
    dock, session = on_case, on_case.session
    save, both_wait = session.project.save_slices, threading.Event()

    def refuse(*_, **__):
        assert both_wait.wait(20)
        raise ProjectError("The mask of case-03 is damaged.")

    monkeypatch.setattr(session.project, "save_slices", refuse)
    dock.desk.z = 5
    paint(dock)
    dock.annotate.actions["done"]()
    if then == "undo":
        dock.annotate.actions["undo"]()
    both_wait.set()
    settle(dock, lambda: not session.is_saving)
    assert 5 not in dock.desk.done
    monkeypatch.setattr(session.project, "save_slices", save)
    z = 5 if then == "more strokes" else 6
    labels = dock.desk.labels[z].copy()
    labels[:3] = 1
    dock.desk.write({z: labels})
    dock.desk.save()
    settle(dock, lambda: not session.is_saving and (session.mask("case-03")[z, :3] == 1).all())
    assert is_draft(session.mask("case-03")[5])
    assert dock.desk.done == ((5,) if then == "another slice" else ())


def test_a_sheet_shows_what_is_open_when_it_opens(dock, proposed, settle):
    """Its masks are read first: what is rejected meanwhile, or still being saved as a draft, is not on it."""
    session, desk, reviewer = dock.session, dock.desk, dock.review.reviewer
    session.open_project(proposed)
    dock.annotate_case("case-03")
    settle(dock, lambda: desk.case_id == "case-03")
    items = sorted(session.proposals.of_case("case-03").values(), key=lambda item: item.z)
    first, second, third = [item for item in items if not is_blind(item)]
    disk = threading.Event()
    session._jobs.submit("save", disk.wait, lambda _: None)  # the disk is slow
    desk.z = first.z
    paint(dock)
    desk.save()
    dock.show_tab("Review")
    reviewer.show(next(iter(session.proposals.of_case("case-02").values())))
    settle(dock, lambda: desk.case_id == "case-02")
    dock.review.sheets.accept_case("case-03")
    session.decide(second, "rejected")
    disk.set()
    settle(dock, lambda: dock.review.sheets.sheet is not None)
    there = {tile.id for tile in dock.review.sheets.sheet.model.items}
    assert there == {third.id}
    dock.review.sheets.close()


def test_a_case_that_is_taken_out_while_it_is_opened_is_not_shown(dock, proposed, settle, monkeypatch):
    session, desk = dock.session, dock.desk
    session.open_project(proposed)
    volume, labels = session.volume("case-03"), session.mask("case-03")
    monkeypatch.setattr(session, "read", lambda job, then, *_, **__: None)  # the reading thread is busy
    dock.annotate_case("case-03")
    monkeypatch.undo()
    session.remove_case("case-03")
    settle(dock, lambda: session.known("case-03") is None)
    desk._show("case-03", volume, labels)
    assert desk.case_id == "" and dock.tabs_name() == "Cases"
    dock.annotate_case("case-02")
    settle(dock, lambda: desk.case_id == "case-02")


def test_a_stroke_that_comes_while_a_slice_is_read_again_stands(on_case, settle, monkeypatch):
    """Be it under way or saved by then, what the disk held before does not take its place."""
    dock, project = on_case, on_case.session.project
    read, go, begun = project.mask, threading.Event(), []
    monkeypatch.setattr(project, "mask", lambda case: (read(case), begun.append(case), go.wait(60))[0])
    dock.desk.refetch([4, 5])
    settle(dock, lambda: begun)
    dock.desk.labels[4, 3:6] = 1  # the mouse is still down
    dock.desk.z = 5
    paint(dock)
    settle(dock, lambda: dock.session.project.case("case-03").version and not dock.session.is_saving)
    go.set()
    settle(dock, lambda: not dock.session._jobs.pending("read"))
    assert is_draft(dock.desk.labels[5]) and (dock.desk.labels[4, 3:6] == 1).all()


def _first_by_case(dock, project, settle):
    """Open a project's queue case by case; returns its first proposal, which is on the screen."""
    dock.session.open_project(project)
    dock.show_tab("Review")
    dock.review.filter.order.setCurrentText("by case")
    settle(dock, lambda: dock.review.reviewer.on_screen)
    return dock.review.reviewer.current


def test_a_mask_whose_acceptance_is_refused_leaves_the_screen(dock, proposed, settle):
    """In a shell somebody has finished the slice meanwhile: theirs is shown, as it lies on the disk."""
    reviewer, item = dock.review.reviewer, _first_by_case(dock, proposed, settle)
    theirs = np.zeros(dock.desk.labels.shape[1:], np.uint8)
    theirs[3:6] = 1
    with Project.open(proposed) as shell:
        shell.save_slices(item.case, {item.z: theirs}, done=[item.z])
    reviewer.accept()
    settle(dock, lambda: "has been labelled since" in dock.banner.sentence)
    settle(dock, lambda: dock.desk.case_id == item.case and np.array_equal(dock.desk.labels[item.z], theirs))


@pytest.mark.parametrize("way", ["finished", "accepted", "removed"])
def test_a_correction_ends_in_words_when_somebody_else_finishes_its_slice(dock, proposed, settle, way):
    """In a shell, on a share. What was painted is the person's to take or to leave, and the review goes on."""
    session, desk, reviewer = dock.session, dock.desk, dock.review.reviewer
    item = _first_by_case(dock, proposed, settle)
    reviewer.correct()
    theirs = np.zeros(desk.labels.shape[1:], np.uint8)
    theirs[3:6] = 1
    with Project.open(proposed) as shell:
        if way == "removed":
            shell.remove_case(item.case)
        elif way == "accepted":
            shell.decide(item, "accepted", theirs)
        else:
            shell.save_slices(item.case, {item.z: theirs}, done=[item.z])
    paint(dock)
    desk.save()
    settle(dock, lambda: not reviewer.correcting and not session.is_saving and not session._jobs.pending("read"))
    assert "your correction has ended" in dock.status._message.text()
    if way == "removed":
        assert f"no case '{item.case}'" in dock.banner.sentence
        session.restore_case(item.case)
        settle(dock, lambda: session.known(item.case) is not None)
        session.open_project(proposed)
    (aside,) = session.asides
    assert aside.slices == (item.z,) and is_draft(session.aside_labels(aside)[item.z])
    assert way == "removed" or np.array_equal(session.mask(item.case)[item.z] == 1, theirs == 1)
    dock.show_tab("Review")
    reviewer.go(1)
    settle(dock, lambda: reviewer.on_screen)
    seen = reviewer.current
    reviewer.accept()
    settle(dock, lambda: not session.is_saving and seen.z in session.case(seen.case).labelled)


def test_a_correction_that_is_refused_is_kept_beside_what_somebody_else_has_finished(dock, proposed, settle):
    """This window has not heard of theirs: what was painted would have come back with the next one only."""
    session, reviewer = dock.session, dock.review.reviewer
    item = _first_by_case(dock, proposed, settle)
    dock.desk._timer.setInterval(10**6)  # Enter comes before the draft is saved
    reviewer.correct()
    paint(dock)
    theirs = np.zeros(dock.desk.labels.shape[1:], np.uint8)
    with Project.open(proposed) as shell:
        shell.save_slices(item.case, {item.z: theirs}, done=[item.z])
    reviewer.enter()
    settle(dock, lambda: session.asides and not session.is_saving)
    assert is_draft(session.aside_labels(session.asides[0])[item.z]) and not dock.offers.isHidden()
    settle(dock, lambda: dock.desk.case_id == item.case and not dock.desk.labels[item.z].any())
    assert item.z in session.case(item.case).labelled and not session.mask(item.case)[item.z].any()


@pytest.mark.parametrize("way", ["accept", "correct"])
def test_undo_in_annotate_leaves_what_was_decided_in_review(dock, proposed, settle, way):
    """The strokes of before led to a draft that is gone: undoing them would leave a finished slice without its mask."""
    session, reviewer = dock.session, dock.review.reviewer
    session.open_project(proposed)
    dock.annotate_case("case-02")
    settle(dock, lambda: dock.desk.case_id == "case-02")
    item = min(session.proposals.of_case("case-02").values(), key=lambda item: item.z)
    steps = [(item.z, 1), (0, 1)] + ([(item.z, 0)] if way == "accept" else [])  # no draft is accepted away
    for z, value in steps:
        dock.desk.z = z
        paint(dock, value)
        settle(dock, lambda: not dock.desk._heard)
    settle(dock, lambda: not dock.desk.dirty and not session.is_saving)
    dock.show_tab("Review")
    reviewer.show(item)
    settle(dock, lambda: reviewer.on_screen)
    if way == "correct":
        reviewer.correct()
        paint(dock)
    reviewer.enter()
    settle(dock, lambda: item.z in session.case("case-02").labelled)
    decided = session.mask("case-02")[item.z]
    dock.annotate_case("case-02")
    settle(dock, lambda: dock.desk.case_id == "case-02" and not dock.desk._wanted)
    while dock.desk.strokes.can_undo:
        dock.annotate.actions["undo"]()
    dock.desk.save()
    settle(dock, lambda: not session.is_saving)
    assert decided.any() and np.array_equal(session.mask("case-02")[item.z], decided)


LEAVE = """
import os, sys, time
from pathlib import Path
import napari
from qtpy.QtWidgets import QApplication
from napari_segmatch.ui.dock import SegmatchDock

def work(until, seconds=60):
    end = time.monotonic() + seconds
    while not until() and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)
    return until()

viewer = napari.Viewer(show=True)
dock = SegmatchDock(viewer)
holder = viewer.window.add_dock_widget(dock, name="SegMatch")
dock.session.open_project(Path(sys.argv[1]))
for case in ("case-04", "case-02"):
    dock.annotate_case(case)
    assert work(lambda: dock.desk.case_id == case)
    work(lambda: False, 0.5)
dock.show_tab("Review")
assert work(lambda: dock.review.reviewer.on_screen)
work(lambda: False, 1)
dock.show_tab("Cases")
holder.destroyOnClose() if sys.argv[2] == "dock" else dock.cases._close()
work(lambda: False, 2)
assert not viewer.layers
print("left", flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("way", ["project", "dock"])
def test_leaving_after_a_review_does_not_end_napari(proposed, tmp_path, way):
    """With a brush, then without one in another case: napari drew what the brush had left, and the process died."""
    settings = {"NAPARI_CONFIG": str(tmp_path / "settings.yaml"), "PYTHONFAULTHANDLER": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LEAVE, str(proposed), way],
        capture_output=True, text=True, timeout=300, env=os.environ | settings,
    )  # fmt: skip
    assert done.stdout.strip().endswith("left") and done.returncode == 0, done.stderr[-2000:]


def partly_annotated(folder):
    """Make a project with a case of two finished slices, on one of which the first rows are not annotated."""
    drawn = np.zeros(SHAPE, np.uint8)
    drawn[1, :4] = 255
    with small_project(folder, cases=1, labelled=0) as made:
        made.save_mask("a", drawn, done=[1, 2])
    return drawn


def test_what_a_finished_slice_leaves_open_stays_open(qapp, tmp_path):
    """A data set may ignore voxels: a stroke beside them, or its undo, must not say that there is nothing on them."""
    from napari.components import ViewerModel

    from napari_segmatch.ui.editing import Editing

    drawn = partly_annotated(tmp_path)
    session = Session()
    session.open_project(tmp_path / "project")
    editing = Editing(ViewerModel(), session, None)
    editing.case_id = "a"
    editing._lay(session.mask("a"))

    def saved():
        editing.save()
        session.wait()
        return session.mask("a")[1]

    assert state_of(editing.labels[1], done=True) == "done, pale violet is not annotated"
    editing.finish(1)
    assert not saved().any()
    editing.undo()
    assert np.array_equal(saved(), drawn[1])
    stroke = drawn[1].copy()
    stroke[2:6, :5] = 1
    editing.write({1: stroke})
    painted = saved()
    assert (painted[:2] == 255).all() and (painted[2:6, :5] == 1).all() and not painted[6:].any()
    editing.undo()
    assert np.array_equal(saved(), drawn[1])
    editing.write({1: np.full(SHAPE[1:], 255, np.uint8)})  # a copy of a slice on which nobody has painted
    assert np.array_equal(editing.labels[1], drawn[1]), "violet is what is saved as not annotated, and nothing else"
    assert np.array_equal(saved(), drawn[1])
    editing.finish(1)
    assert not saved().any() and state_of(editing.labels[1], done=True) == "done"
    editing._look_timer.stop()
    session.close()


@pytest.mark.parametrize("key", [Qt.Key.Key_Return, Qt.Key.Key_N])
def test_nobody_closes_what_a_slice_leaves_open_without_a_word(dock, tmp_path, settle, key):
    """It is seen, told and asked about, and undo brings it back; of a draft, which is all open, none of this."""
    drawn = partly_annotated(tmp_path)
    session, desk, why = dock.session, dock.desk, dock.annotate._why
    session.open_project(tmp_path / "project")
    dock.annotate_case("a")
    settle(dock, lambda: desk.case_id == "a")

    def seen():
        return bool(desk.layers.mask.colormap.map(255)[-1])

    for z, said in ((0, False), (2, False), (1, True)):
        desk.z = z
        assert seen() is said
    for turn in ({"ndisplay": 3}, {"order": (1, 0, 2)}):
        dock.viewer.dims.update(turn)
        assert not seen()
        dock.viewer.dims.update({"ndisplay": 2, "order": (0, 1, 2)})
        assert seen()
    for _ in range(2):  # who has been elsewhere is asked again
        desk.z = 2
        desk.z = 1
        QTest.keyClick(dock.window().windowHandle(), key)
        assert why.text().startswith(f"Not annotated here: {4 * SHAPE[2]} voxels") and desk.z == 1
    session.wait()
    assert np.array_equal(session.mask("a")[1], drawn[1])
    QTest.keyClick(dock.window().windowHandle(), key)
    session.wait()
    assert not session.mask("a")[1].any() and desk.z not in (1, 2) and why.text() == ""
    desk.undo()
    desk.save()
    session.wait()
    settle(dock, seen)
    assert np.array_equal(session.mask("a")[1], drawn[1]) and session.case("a").labelled == (1, 2)
    desk.z = 3
    QTest.keyClick(dock.window().windowHandle(), key)
    session.wait()
    desk.undo()
    assert not seen(), "it is open as before, and no slice that is done"


@pytest.mark.parametrize("reopened", [False, True])
def test_what_a_slice_leaves_open_is_asked_about_each_time(dock, tmp_path, settle, reopened):
    """On the last slice Enter goes nowhere: after undo, or a stroke, nobody has answered yet; nor by Reopen."""
    drawn = np.zeros(SHAPE, np.uint8)
    drawn[-1, :4] = 255
    with small_project(tmp_path, cases=1, labelled=0) as made:
        made.save_mask("a", drawn, done=[len(drawn) - 1])
    session, desk, why, mark = dock.session, dock.desk, dock.annotate._why, dock.annotate.mark_done
    session.open_project(tmp_path / "project")
    dock.annotate_case("a")
    settle(dock, lambda: desk.case_id == "a")
    desk.z = last = len(drawn) - 1
    if reopened:
        dock.annotate.reopen()
        session.wait()
        assert session.case("a").labelled == () and desk.layers.mask.colormap.map(255)[-1]
    mark()
    assert why.text().startswith("Not annotated here") and np.array_equal(desk.labels[last], drawn[last])
    mark()
    assert not desk.labels[last].any() and why.text() == ""
    desk.undo()
    mark()
    assert why.text().startswith("Not annotated here")
    stroke = drawn[last].copy()
    stroke[8:12, 8:12] = 1
    desk.write({last: stroke})
    mark()
    assert np.array_equal(desk.labels[last], stroke)


@pytest.mark.parametrize(
    ("verdict", "verbs"),
    [("accepted", ["accept"]), ("rejected", ["reject"]), ("deferred", ["defer"]), ("corrected", ["correct", "enter"])],
)
def test_a_verdict_falls_on_the_proposal_that_was_seen(tmp_path, verdict, verbs):
    """The trainer proposed another mask for the slice, which the session has taken up when the key is pressed."""
    with small_project(tmp_path, cases=1, labelled=0) as made:
        run, seen, newer = made.new_run(configure("quick")), np.zeros(SHAPE[1:], np.uint8), np.ones(SHAPE[1:], np.uint8)
        seen[:4] = 1
        made.add_proposals(run, 1, 1, [PseudoMask(Region("a", 1), seen, 0.5, "rejected")])
    session = Session()
    session.open_project(tmp_path / "project")
    (item,) = session.proposals
    desk = Mock(case_id="a", z=1, labels=np.zeros(SHAPE, np.uint8), done=(), strokes=Strokes(np.zeros(SHAPE, np.uint8)))
    desk.open = lambda case, z, then, failed: then()
    desk.write = lambda slices: desk.labels.__setitem__(1, slices[1])
    desk.layers.call_brush_back.return_value = ""
    previews = Mock(preview=lambda item: Preview(session.proposal_mask(item), np.zeros(0)))
    reviewer = Reviewer(session, desk, previews, lambda: Some.of(session.proposals), lambda id: Some.of(()))
    reviewer.active = True
    reviewer.show(item)
    (late,) = session.project.add_proposals(run, 2, 1, [PseudoMask(item.region, newer, 0.9, "accepted")])
    session._fetch_proposals()
    session.wait()
    reviewer.refresh()  # as the panel does when the list changes
    assert session.proposals.get(item.id) is None and reviewer.current.id == item.id
    for act in {"accepted": ["accept"], "rejected": ["reject"], "deferred": ["defer"]}.get(
        verdict, ["correct", "enter"]
    ):
        getattr(reviewer, act)()
    session.wait()
    assert session.project.proposal(item.id).decision == verdict and session.project.proposal(late).decision is None
    assert (session.proposals.get(item.id) is None) == (verdict == "deferred"), "what was put off gives way"
    if verdict in ("accepted", "corrected"):
        assert np.array_equal(session.mask("a")[1], seen)
    session.close()


def test_a_case_is_opened_where_it_was_left(qapp, tmp_path):
    """J and back with K: in the middle once more, whoever draws would have to look for their slice."""
    from napari.components import ViewerModel

    from napari_segmatch.ui.desk import Desk

    small_project(tmp_path, cases=2, labelled=0).close()
    session = Session()
    session.open_project(tmp_path / "project")
    desk, places = Desk(ViewerModel(), session, None), []
    for case in "aba":
        desk.open(case)
        session.wait()
        places.append((desk.case_id, desk.z))
        desk.z = 3
    assert places == [("a", 2), ("b", 2), ("a", 3)]
    desk.close()
    session.close()
