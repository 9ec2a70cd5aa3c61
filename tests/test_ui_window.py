"""The window itself, driven by real keys on a real (Xvfb) screen."""

import gc
import itertools
import re
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest
from helpers import SHAPE, small_project, write_case
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QColor, QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QDialogButtonBox,
    QLabel,
    QLineEdit,
    QOpenGLWidget,
    QStyleOptionButton,
    QStyleOptionComboBox,
)  # fmt: skip

from napari_segmatch.config import configure
from napari_segmatch.errors import Question
from napari_segmatch.events import Examined, PseudoMask
from napari_segmatch.io import FoundCase, find_cases, write_image
from napari_segmatch.project import Project
from napari_segmatch.ranking import is_blind, is_spot_check
from napari_segmatch.session.segmenting import Wish
from napari_segmatch.types import Geometry, Region

pytest.importorskip("napari")

from napari_segmatch.palette import CLASS_COLOURS, palette
from napari_segmatch.ui.adding import ask
from napari_segmatch.ui.cases_model import COLUMNS
from napari_segmatch.ui.class_menu import NewClass
from napari_segmatch.ui.style import GOOD, UNSURE

Key, Control, Shift = Qt.Key, Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


def press(dock, key, modifier=Qt.KeyboardModifier.NoModifier, times=1):
    """Press a key as the window system would: over the whole window, whatever has the focus."""
    for _ in range(times):
        QTest.keyClick(dock.window().windowHandle(), key, modifier)


def paint(dock, radius=6):
    """Paint a disc on the slice on the screen, as napari's own tools do."""
    mask = dock.desk.layers.mask
    _, height, width = mask.data.shape
    y, x = np.mgrid[:height, :width]
    y, x = np.nonzero((y - height // 2) ** 2 + (x - width // 2) ** 2 < radius**2)
    mask.data_setitem((np.full(len(y), dock.desk.layers.z), y, x), 1)


def ours():
    """Return our threads that are alive."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("segmatch")]


def test_nothing_is_open_and_the_next_step_is_said(dock):
    assert dock.session.project is None
    assert not dock.cases.sample_button.isHidden()
    assert dock.status.words == "no project"


def test_the_sample_project_is_made_and_opened(dock, settle, tmp_path):
    """Its button is off while it is made, and on again where the folder refuses."""
    (tmp_path / "full" / "sample").mkdir(parents=True)
    (tmp_path / "full" / "sample" / "a file").touch()
    dock.cases.open_sample(tmp_path / "full")
    assert not dock.cases.sample_button.isEnabled()
    settle(dock, dock.cases.sample_button.isEnabled)
    assert dock.session.project is None and dock.banner.sentence
    said = []
    dock.session.message.connect(lambda sentence, wrong: said.append(sentence))
    dock.cases.open_sample(tmp_path)
    settle(dock, lambda: dock.session.project is not None)
    assert len(dock.session.cases) == 12 and str(tmp_path) in said[-1]


def test_a_painted_slice_is_saved_by_itself_and_trains_once_done(on_case, settle):
    dock, session = on_case, on_case.session
    z = dock.desk.z
    paint(dock)
    settle(dock, lambda: dock.desk.dirty)
    settle(dock, lambda: session.mask("case-03")[z].max() != 255 or (session.mask("case-03")[z] == 1).any())
    assert session.case("case-03").labelled == ()
    press(dock, Key.Key_Return)
    settle(dock, lambda: session.case("case-03").labelled == (z,))
    assert set(np.unique(session.mask("case-03")[z])) == {0, 1}
    assert dock.desk.shown(dock.desk.z) == dock.desk.shown(z) + 1


def test_a_stroke_of_the_mouse_lands_in_the_right_voxel(on_case, settle):
    dock = on_case
    canvas = dock.window().findChild(QOpenGLWidget)
    centre = canvas.rect().center()
    dock.desk.layers.set_mode("paint")
    QTest.mouseMove(canvas, centre)
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=centre)
    for step in range(1, 6):
        QTest.mouseMove(canvas, centre + QPoint(-8 * step, -8 * step))
        QTest.qWait(20)
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=centre + QPoint(-40, -40))
    settle(dock, lambda: dock.desk.dirty)
    where = np.argwhere(dock.desk.labels == 1)
    assert set(where[:, 0]) == {dock.desk.z}
    world = dock.desk.case.geometry.affine @ [*where.mean(axis=0), 1]
    middle = dock.desk.case.geometry.affine @ [dock.desk.z, *(n / 2 for n in dock.desk.case.shape[1:]), 1]
    assert world[0] > middle[0] and world[1] > middle[1]  # up and left on the screen: front and right in the patient


def test_no_lesion_is_one_key_and_can_be_reopened(on_case, settle):
    dock, session = on_case, on_case.session
    z = dock.desk.z
    press(dock, Key.Key_N)
    settle(dock, lambda: session.case("case-03").labelled == (z,))
    assert not session.mask("case-03")[z].any()
    dock.desk.z = z
    dock.annotate.reopen()
    settle(dock, lambda: session.case("case-03").labelled == ())


def test_undo_reaches_back_over_slices(on_case, settle):
    dock = on_case
    first = dock.desk.z
    paint(dock)
    settle(dock, lambda: dock.desk.strokes.can_undo)
    dock.desk.layers.z += 2
    press(dock, Key.Key_Z, Control)
    assert dock.desk.z == first and not dock.desk.drawn[first]
    press(dock, Key.Key_Z, Control | Shift)
    assert dock.desk.drawn[first]


def test_the_volume_that_is_painted_is_told_and_is_that_of_the_export(on_case, settle, tmp_path):
    """A draft counts as well; undo takes it away again."""
    dock, panel = on_case, on_case.annotate
    assert "ml" not in panel._progress.text() + panel._progress.toolTip()
    paint(dock)
    settle(dock, lambda: "Painted: lesion" in panel._progress.text())
    voxels = np.count_nonzero(dock.desk.labels == 1)
    volume = voxels * np.prod(dock.desk.case.geometry.spacing) / 1000
    assert f"Painted: lesion {volume:.2f} ml." in panel._progress.text() and volume < 10
    assert panel._progress.toolTip() == f"Painted in this case, drafts too:\nlesion {volume:.2f} ml"
    dock.annotate.mark_done()
    dock.session.wait()
    dock.session.project.export(tmp_path / "out")
    assert f"case-03,lesion,{volume:.3f}," in (tmp_path / "out" / "volumes.csv").read_text()
    dock.desk.undo()
    settle(dock, lambda: "ml" in panel._progress.text())
    dock.desk.undo()
    settle(dock, lambda: "ml" not in panel._progress.text() + panel._progress.toolTip())
    paint(dock, radius=1)
    volume = np.prod(dock.desk.case.geometry.spacing) / 1000
    settle(dock, lambda: f"Painted: lesion {volume:.3f} ml." in panel._progress.text())
    assert volume < 0.1, "two digits would leave nothing of a voxel of 1 mm"


@pytest.mark.parametrize("key", [Key.Key_N, Key.Key_Return])
def test_undo_takes_done_back_as_well(on_case, settle, key):
    """A draft that a wrong key finished never trains: it comes back as it was, and redo finishes it again."""
    dock, session = on_case, on_case.session
    z = dock.desk.z
    paint(dock)
    settle(dock, lambda: not dock.desk._heard and not dock.desk.dirty and not session.is_saving)
    draft = session.mask("case-03")[z]
    press(dock, key)
    settle(dock, lambda: session.case("case-03").labelled == (z,))
    finished = session.mask("case-03")[z]
    press(dock, Key.Key_Z, Control)
    assert dock.desk.z == z
    settle(dock, lambda: session.case("case-03").labelled == () and not session.is_saving)
    assert np.array_equal(session.mask("case-03")[z], draft) and (draft == 1).any() and (draft == 255).any()
    press(dock, Key.Key_Z, Control | Shift)
    settle(dock, lambda: session.case("case-03").labelled == (z,) and not session.is_saving)
    assert np.array_equal(session.mask("case-03")[z], finished) and finished.any() == (key != Key.Key_N)
    press(dock, Key.Key_Z, Control, times=2)
    settle(dock, lambda: not dock.desk.dirty and not session.is_saving)
    assert session.case("case-03").labelled == ()
    assert (session.mask("case-03")[z] == 255).all()


def test_what_was_done_before_stays_done_when_a_stroke_is_undone(on_case, settle):
    dock, session = on_case, on_case.session
    z = dock.desk.z
    press(dock, Key.Key_N)
    settle(dock, lambda: session.case("case-03").labelled == (z,) and not session.is_saving)
    dock.desk.z = z
    paint(dock)
    settle(dock, lambda: not dock.desk._heard and not dock.desk.dirty and not session.is_saving)
    press(dock, Key.Key_Return)
    press(dock, Key.Key_Z, Control)
    settle(dock, lambda: not dock.desk.dirty and not session.is_saving)
    assert session.case("case-03").labelled == (z,) and not session.mask("case-03")[z].any()


def test_nothing_happens_to_a_slice_that_is_not_on_the_screen(on_case, settle):
    """In 3D, in another plane, and where a longer layer of one's own has taken the slider beyond the case."""
    dock, session, dims = on_case, on_case.session, on_case.viewer.dims
    paint(dock)
    settle(dock, lambda: not dock.desk._heard and not dock.desk.dirty and not session.is_saving)
    before = dock.desk.labels.copy()
    beyond = dock.desk.count + 3
    dock.viewer.add_image(np.zeros((2 * dock.desk.count, 8, 8)), scale=dock.desk.layers.mask.scale, visible=False)
    step = dims.current_step
    for away in ({"order": (1, 0, 2)}, {"ndisplay": 3}, {"current_step": (beyond, *step[1:])}):
        dims.update({"order": (0, 1, 2), "ndisplay": 2, "current_step": step} | away)
        dock.annotate._why.setText("")
        for key in (Key.Key_N, Key.Key_Return):
            press(dock, key)
        dock.annotate.filling.copy_from(-1)
        dock.annotate.toolbox.shape_wanted.emit("grow")
        dock.annotate.reopen()
        assert (
            "Turn back to the slices" in dock.annotate._why.text() and "nother plane, 3D" in dock.annotate._why.text()
        )
        assert np.array_equal(dock.desk.labels, before) and not session.is_saving
    dims.current_step = step
    press(dock, Key.Key_N)
    settle(dock, lambda: session.case("case-03").labelled != ())


def test_people_count_slices_from_one_and_so_does_the_slider(on_case, settle):
    dock = on_case
    count = dock.desk.count
    (number,) = (
        line
        for line in dock.window().findChildren(QLineEdit, "slice_label")
        if getattr(line.parentWidget(), "axis", None) == 0
    )
    total = number.parentWidget().findChild(QLabel, "slice_label")
    dock.desk.layers.z = 0
    settle(dock, lambda: number.text() == "1")
    assert total.text() == str(count)
    assert dock.annotate._state.text().startswith(f"Slice 1 of {count}:")
    assert dock.desk.case.geometry.slice_number(dock.desk.z) == 1
    number.selectAll()
    QTest.keyClicks(number, "7")
    QTest.keyClick(number, Key.Key_Return)
    assert dock.desk.layers.z == 6 and number.text() == "7"
    assert not dock.desk.done, "Enter in a text field is no verdict on the slice"
    number.setFocus()
    number.clearFocus()
    assert dock.desk.layers.z == 6, "leaving the field without a word moves nothing"
    number.selectAll()
    QTest.keyClicks(number, "99")
    QTest.keyClick(number, Key.Key_Return)
    assert dock.desk.layers.z == count - 1 and number.text() == str(count)
    for z in (2, 3, 4, 3, 2):  # one further, napari writes the number that we wrote before
        dock.desk.layers.z = z
        assert number.text() == str(z + 1)
    dock.session.close_project()
    dock.session.project_changed.emit()
    assert not dock.overlays.slider.ribbon.isVisible()
    data = np.zeros((5, 8, 8))
    dock.viewer.add_image(data)
    dock.viewer.dims.set_current_step(0, 3)
    *_, number = (
        line
        for line in dock.window().findChildren(QLineEdit, "slice_label")
        if getattr(line.parentWidget(), "axis", None) == 0
    )
    assert number.text() == "3", "without a case of ours the slider is napari's again"


def test_the_ribbon_along_the_slider_goes_where_it_is_clicked(on_case, settle):
    dock = on_case
    ribbon = dock.overlays.slider.ribbon
    settle(dock, lambda: ribbon.isVisible() and ribbon.width() > 100)
    QTest.mouseClick(ribbon, Qt.MouseButton.LeftButton, pos=QPoint(1, ribbon.height() // 2))
    assert dock.desk.layers.z == 0
    QTest.mouseClick(ribbon, Qt.MouseButton.LeftButton, pos=QPoint(ribbon.width() - 1, ribbon.height() // 2))
    assert dock.desk.layers.z == dock.desk.count - 1
    dock.show_tab("Train")
    assert not ribbon.isVisible()


def test_keys_work_whichever_layer_is_active(on_case, settle):
    dock = on_case
    for layer in [*dock.desk.layers.pictures.layers.values(), dock.desk.layers.proposal, dock.desk.layers.mask]:
        dock.viewer.layers.selection.active = layer
        before = dock.desk.layers.outlined
        press(dock, Key.Key_W)
        assert dock.desk.layers.outlined is not before
    press(dock, Key.Key_J)
    settle(dock, lambda: dock.desk.case_id == "case-04")


def test_small_slices_have_thin_outlines_and_smooth_images(dock, proposed, settle):
    """The proposal has several pixels for each voxel, all within it, and no more of them than a wide slice has."""
    dock.session.open_project(proposed)
    dock.show_tab("Review")
    settle(dock, lambda: dock.review.reviewer.on_screen)
    layers = dock.desk.layers
    drawn, mask, voxels = layers.proposal, layers.mask, layers.proposed
    assert voxels.shape == mask.data.shape and voxels.any() and drawn.contour == 1
    parts = np.array([1, drawn.data.shape[1] // voxels.shape[1], drawn.data.shape[2] // voxels.shape[2]])
    assert parts[1] == parts[2] > 1 and 200 < max(drawn.data.shape[1:]) < 400
    for place in np.argwhere(drawn.data)[::7]:
        voxel = tuple(np.round(mask.world_to_data(drawn.data_to_world(place))).astype(int))
        assert voxel == tuple(place // parts) and voxels[voxel] == drawn.data[tuple(place)]
    assert (drawn.data > 0).sum() == (voxels > 0).sum() * parts.prod()
    assert all(layer.interpolation2d == "linear" for layer in layers.pictures.layers.values())
    assert [layer for layer in dock.viewer.layers if layer in (mask, drawn)] == [mask, drawn], "outlines lie on top"
    press(dock, Key.Key_J)
    settle(dock, lambda: dock.review.reviewer.on_screen)
    assert layers.proposal is drawn and layers.proposed.any() and drawn.contour == 1


def test_holding_q_hides_the_mask_until_it_is_let_go(on_case):
    dock, window = on_case, on_case.window().windowHandle()
    QTest.keyPress(window, Key.Key_Q)
    assert not dock.desk.layers.mask.visible
    QTest.keyRelease(window, Key.Key_Q)
    assert dock.desk.layers.mask.visible


def test_keys_leave_text_fields_and_other_tabs_alone(on_case):
    dock = on_case
    dock.show_tab("Cases")
    dock.cases.search.setFocus()
    press(dock, Key.Key_N)
    assert dock.cases.search.text() == "n"
    assert dock.session.case("case-03").labelled == ()


def test_keys_are_unbound_while_the_dock_is_hidden(on_case):
    dock = on_case
    assert dock.keys.on
    dock.parent().hide()
    assert not dock.keys.on
    dock.parent().show()
    assert dock.keys.on


def test_interpolate_copy_and_grow(on_case, settle):
    dock = on_case
    middle = dock.desk.layers.z
    for z in (middle - 2, middle + 2):
        dock.desk.layers.z = z
        paint(dock)
        settle(dock, lambda: not dock.desk._heard)
    dock.desk.layers.z = middle
    press(dock, Key.Key_I)
    assert dock.desk.drawn.sum() == 2 and dock.desk.layers.proposal.data.any(axis=(1, 2)).sum() == 3  # a preview
    press(dock, Key.Key_I)
    assert dock.desk.drawn.sum() == 5 and not dock.desk.layers.proposal.data.any()
    dock.desk.layers.z = middle + 3
    dock.annotate.filling.copy_from(-1)
    assert dock.desk.drawn.sum() == 6
    before = (dock.desk.labels[dock.desk.z] == 1).sum()
    dock.annotate.toolbox.shape_wanted.emit("grow")
    assert (dock.desk.labels[dock.desk.z] == 1).sum() > before > 0


def test_a_preview_goes_with_its_outline_and_paints_no_finished_slice(on_case, settle):
    dock, desk, session = on_case, on_case.desk, on_case.session
    for z in (2, 7):
        desk.z = z
        paint(dock)
        settle(dock, lambda: not desk._heard)
    press(dock, Key.Key_I)
    assert desk.layers.proposal.data.any()
    dock.show_tab("Cases")
    dock.show_tab("Annotate")
    assert not dock.annotate._why.text()
    press(dock, Key.Key_I)
    assert desk.layers.proposal.data.any() and desk.drawn.sum() == 2, "the first press shows, it does not paint"
    desk.z = 4
    press(dock, Key.Key_Return)
    assert not desk.layers.proposal.data.any()
    settle(dock, lambda: session.case("case-03").labelled == (4,))
    dock.annotate.filling._preview = {4: desk.labels[2], 5: desk.labels[2]}  # as if it had been finished elsewhere
    press(dock, Key.Key_I)
    assert list(np.flatnonzero(desk.drawn)) == [2, 5, 7]


def test_a_glance_at_review_leaves_the_desk_as_it_was(dock, proposed, settle):
    """What it had asked for arrives when somebody else works there; so do undone decisions."""
    desk, reviewer = dock.desk, dock.review.reviewer
    dock.session.open_project(proposed)
    dock.annotate_case("case-04")
    settle(dock, lambda: desk.case_id == "case-04")
    for leave in ("Annotate", "Cases", "Annotate"):
        dock.show_tab("Review")
        assert reviewer.current.case != "case-04"
        dock.show_tab(leave)
        settle(dock, lambda: not dock.session._jobs.pending("read"))
        assert desk.case_id == "case-04" and not desk.layers.proposal.data.any()
    assert str(desk.layers.mask.mode) == "paint" and dock.annotate._state.text().startswith("Slice")
    reviewer._previews_arrived({reviewer.current.id})
    reviewer._went_back([reviewer.current])
    settle(dock, lambda: not dock.session._jobs.pending("read"))
    assert desk.case_id == "case-04" and str(desk.layers.mask.mode) == "paint"
    dock.show_tab("Review")
    settle(dock, lambda: reviewer.on_screen and desk.layers.proposal.data.any())


def test_a_case_whose_proposal_was_looked_at_can_be_taken_out_of_the_project(dock, proposed, settle):
    """It was a traceback, and half of the window went on showing the case."""
    dock.session.open_project(proposed)
    dock.show_tab("Review")
    settle(dock, lambda: dock.review.reviewer.on_screen)
    gone = dock.review.reviewer.current.case
    dock.show_tab("Cases")
    dock.cases.menu._remove(gone)
    settle(dock, lambda: "is out of the project" in dock.status._message.text())
    dock.show_tab("Review")
    settle(dock, lambda: dock.review.reviewer.on_screen)
    assert {item.case for item in dock.review.model.items} == {dock.review.reviewer.current.case} != {gone}


def test_the_slider_has_the_slices_of_the_case_on_the_screen(dock, tmp_path, settle):
    session = dock.session
    session.create_project(tmp_path / "sizes", ["lesion"], ["flair"])
    found = [FoundCase(f"c{n}", write_case(tmp_path / str(n), n, (n, 32, 40))[0], None) for n in (6, 20, 11)]
    session.add_cases(found)
    settle(dock, lambda: len(session.cases) == 3)
    for n in (6, 20, 11):
        dock.annotate_case(f"c{n}")
        settle(dock, lambda n=n: dock.desk.case_id == f"c{n}")
        dock.desk.z = dock.desk.from_shown(n - 1)
        assert dock.viewer.dims.nsteps[0] == n and dock.desk.layers.z == n - 1


def test_a_hidden_sequence_keeps_no_slices_of_the_case_before(dock, tmp_path, settle):
    session = dock.session
    session.create_project(tmp_path / "sizes", ["lesion"], ["flair", "t1"])
    found = [
        FoundCase(f"c{n}", write_case(tmp_path / str(n), n, (n, 32, 40), sequences=("flair", "t1"))[0], None)
        for n in (20, 6)
    ]
    session.add_cases(found)
    settle(dock, lambda: len(session.cases) == 2)
    for n, times in ((20, 0), (6, 0), (20, 1), (6, 1), (20, 0), (6, 1)):
        press(dock, Key.Key_T, times=times)
        dock.annotate_case(f"c{n}")
        settle(dock, lambda n=n: dock.desk.case_id == f"c{n}")
        assert dock.viewer.dims.nsteps[0] == n


def test_our_layers_come_back_and_others_are_left_alone(on_case, settle):
    dock, viewer = on_case, on_case.viewer
    theirs = viewer.add_image(np.zeros((4, 4)), name="your mask")
    dock.desk.layers.set_mode("pan_zoom")
    viewer.layers.remove(dock.desk.layers.mask)
    settle(dock, lambda: dock.desk.layers.mask in viewer.layers)
    dock.session.close_project()
    dock.session.project_changed.emit()
    assert list(viewer.layers) == [theirs]


def test_the_review_loop_by_keys(dock, proposed, settle):
    session = dock.session
    session.open_project(proposed)
    dock.show_tab("Review")
    reviewer = dock.review.reviewer
    settle(dock, lambda: reviewer.on_screen)
    assert dock.desk.layers.proposal.data.any()

    first = reviewer.current
    began = time.perf_counter()
    press(dock, Key.Key_A)
    settle(dock, lambda: reviewer.on_screen)
    assert time.perf_counter() - began < 1.0  # 0.3 s on an idle machine
    settle(dock, lambda: first.z in session.case(first.case).labelled)
    second = reviewer.current
    assert second.id != first.id

    press(dock, Key.Key_R)
    settle(dock, lambda: reviewer.on_screen and reviewer.current.id != second.id)
    third = reviewer.current
    press(dock, Key.Key_C)
    assert reviewer.correcting
    paint(dock, 4)
    settle(dock, lambda: not dock.desk._heard)
    press(dock, Key.Key_Return)
    settle(dock, lambda: not session.is_saving)
    said = {item.id: item.decision for item in session.proposals}
    assert (said[first.id], said[second.id], said[third.id]) == ("accepted", "rejected", "corrected")

    press(dock, Key.Key_Backspace)
    settle(dock, lambda: not session.is_saving and reviewer.current.id == third.id)
    assert third.z not in session.case(third.case).labelled
    press(dock, Key.Key_Z, Control | Shift)
    settle(dock, lambda: not session.is_saving)
    assert {item.id: item.decision for item in session.proposals}[third.id] == "corrected"
    assert sum(session.agreement().values()) == 3


def test_cases_of_which_somebody_has_drawn_slices_come_after_others_in_the_queue(dock, proposed, settle):
    session = dock.session
    session.open_project(proposed)
    dock.show_tab("Review")
    settle(dock, lambda: dock.review.model.items)
    first = dock.review.model.items[0].case
    drawn = np.zeros(session.case(first).shape[1:], np.uint8)
    session.save_slices(first, dict.fromkeys(range(12, 16), drawn), done=range(12, 16))
    settle(dock, lambda: len(session.case(first).labelled) == 4)
    dock.review.refill()
    assert dock.review.model.items[0].case != first


def test_a_correction_can_be_cancelled(dock, proposed, settle):
    dock.session.open_project(proposed)
    dock.show_tab("Review")
    reviewer = dock.review.reviewer
    settle(dock, lambda: reviewer.on_screen)
    press(dock, Key.Key_C)
    reviewer.cancel_correction()
    assert not reviewer.correcting and not dock.desk.drawn[reviewer.current.z]
    press(dock, Key.Key_J)
    press(dock, Key.Key_K)
    settle(dock, lambda: reviewer.on_screen)


def test_a_correction_has_naparis_own_tools_and_enter_closes_a_polygon_first(dock, proposed, settle):
    """1 to 6 choose a tool while there is no proposal to reject, and Enter is napari's while a polygon is open."""
    session = dock.session
    session.open_project(proposed)
    dock.show_tab("Review")
    reviewer = dock.review.reviewer
    settle(dock, lambda: reviewer.on_screen)
    item, mask = reviewer.current, dock.desk.layers.mask
    press(dock, Key.Key_C)
    before = (dock.desk.labels[item.z] == 1).sum()
    for key, mode in ((Key.Key_1, "erase"), (Key.Key_2, "paint"), (Key.Key_3, "polygon")):
        press(dock, key)
        assert str(mask.mode) == mode
    z = dock.desk.layers.z
    mask._overlays["polygon"].points = [(z, 60, 20), (z, 60, 40), (z, 80, 40), (z, 80, 20)]
    press(dock, Key.Key_Return)
    assert reviewer.correcting and (dock.desk.labels[item.z] == 1).sum() > before + 300
    press(dock, Key.Key_Return)
    settle(dock, lambda: not session.is_saving)
    assert (session.mask(item.case)[item.z] == 1).sum() > before + 300
    assert session.proposals.get(item.id).decision == "corrected"


def test_by_case_nothing_of_a_case_is_left_before_another_one_comes(dock, proposed, settle):
    """In the order of the screen, from wherever somebody has begun."""
    session, reviewer = dock.session, dock.review.reviewer
    session.open_project(proposed)
    dock.review.filter.order.setCurrentText("by case")
    dock.show_tab("Review")
    settle(dock, lambda: reviewer.on_screen)
    of_case = [item for item in dock.review.model.items if item.case == "case-02"]
    numbers = [dock.review._number(item) for item in of_case]
    assert numbers == sorted(numbers) and [item.z for item in of_case] == sorted((i.z for i in of_case), reverse=True)
    reviewer.show(of_case[2])
    for item in of_case[2:] + of_case[:2]:
        assert reviewer.current.id == item.id
        settle(dock, lambda: reviewer.on_screen)
        press(dock, Key.Key_D)
    assert reviewer.current.case == "case-03"


@pytest.mark.parametrize("order", ["by case", "surest first"])
def test_what_is_taken_back_stands_where_the_person_is(dock, proposed, settle, order):
    """The next decision goes on from there; at the end of the list it would lead to another patient."""
    session, reviewer = dock.session, dock.review.reviewer
    session.open_project(proposed)
    dock.review.filter.order.setCurrentText(order)
    dock.show_tab("Review")
    settle(dock, lambda: reviewer.on_screen)
    before = [item.id for item in dock.review.model.items]
    for key in (Key.Key_D, Key.Key_Backspace):
        press(dock, key)
        settle(dock, lambda: not session.is_saving and not session._jobs.pending("read") and reviewer.on_screen)
    assert reviewer.current.id == before[0] and [item.id for item in dock.review.model.items] == before
    assert not dock.review._newcomers
    press(dock, Key.Key_D)
    assert reviewer.current.id == before[1]


def test_a_correction_takes_voxels_from_a_wrong_class(dock, tmp_path, settle):
    """“Keep other classes” holds in Annotate, where it can be seen; the class in the hand is said."""
    with small_project(tmp_path, classes=("head", "tail")) as made:
        labels = np.zeros((32, 40), np.uint8)
        labels[5:25, 5:30] = 2
        made.add_proposals(
            made.new_run(configure("quick")), 1, 1, [PseudoMask(Region("c", 1), labels, 0.5, "accepted")]
        )
    desk, reviewer = dock.desk, dock.review.reviewer
    dock.session.open_project(tmp_path / "project")
    dock.show_tab("Review")
    settle(dock, lambda: reviewer.on_screen)
    press(dock, Key.Key_C)
    assert desk.lock and "You paint head" in dock.review._facts.text()
    paint(dock, 4)
    settle(dock, lambda: not desk._heard)
    assert (desk.labels[1] == 1).sum() > 30
    desk.layers.choose_class(2)
    assert "You paint tail" in dock.review._facts.text()
    reviewer.cancel_correction()
    assert desk.lock and not desk.lifted


def test_what_is_painted_on_a_proposal_is_never_hidden_by_accepting_it(dock, proposed, settle):
    """In words: it becomes part of a correction, or is undone. The proposal itself takes no stroke."""
    session, desk = dock.session, dock.desk
    session.open_project(proposed)
    dock.show_tab("Review")
    reviewer = dock.review.reviewer
    settle(dock, lambda: reviewer.on_screen)
    dock.viewer.layers.selection.active = desk.layers.proposal
    press(dock, Key.Key_P)
    assert str(desk.layers.proposal.mode) == "pan_zoom"
    item, proposal = reviewer.current, int((desk.layers.proposed == 1).sum())
    desk.layers.set_mode("paint")
    for _ in range(2):
        paint(dock)
        press(dock, Key.Key_A)
        reviewer._previews_arrived({item.id})  # once more, and nothing is other than it was
        assert reviewer.current.id == item.id and "You painted" in dock.status._message.text()
        press(dock, Key.Key_Z, Control)
        assert not desk.drawn[item.z] and session.proposals.get(item.id).decision is None
    paint(dock)
    mine = desk.labels[item.z] == 1
    press(dock, Key.Key_C)
    both = desk.labels[item.z] == 1
    assert both[mine].all() and both.sum() > max(mine.sum(), proposal)
    reviewer.cancel_correction()
    assert np.array_equal(desk.labels[item.z] == 1, mine), "what was painted before the correction went with it"
    press(dock, Key.Key_A)
    assert reviewer.current.id == item.id and "You painted" in dock.status._message.text()
    for _ in range(3):  # the cancelling, the copy of the proposal, the stroke
        press(dock, Key.Key_Z, Control)
    assert not desk.drawn[item.z] and session.proposals.get(item.id).decision is None
    assert "You painted" not in dock.status._message.text()
    press(dock, Key.Key_A)
    settle(dock, lambda: not session.is_saving)
    assert (session.mask(item.case)[item.z] == 1).sum() == proposal


def _row_clicked(dock, item):
    dock.review._clicked(dock.review.model.index(dock.review.model.row_of(item.id)))


def test_a_click_on_the_row_that_is_shown_changes_nothing(dock, proposed, settle):
    """Review knows what was painted on a proposal since it came, in a correction and outside of one."""
    session, desk, reviewer = dock.session, dock.desk, dock.review.reviewer
    session.open_project(proposed)
    dock.show_tab("Review")
    settle(dock, lambda: reviewer.on_screen)
    item, proposal = reviewer.current, int((desk.layers.proposed == 1).sum())
    press(dock, Key.Key_C)
    paint(dock)
    _row_clicked(dock, item)
    reviewer.cancel_correction()
    press(dock, Key.Key_C)
    assert (desk.labels[item.z] == 1).sum() == proposal
    reviewer.cancel_correction()
    paint(dock)
    _row_clicked(dock, item)
    press(dock, Key.Key_A)
    assert reviewer.current.id == item.id and "You painted" in dock.status._message.text()


def test_undo_in_a_correction_ends_where_it_began(dock, proposed, settle):
    """It never goes on to what was done elsewhere before: a finished slice would be reopened unseen."""
    session, desk, reviewer = dock.session, dock.desk, dock.review.reviewer
    session.open_project(proposed)
    item = min(session.proposals.of_case("case-02").values(), key=lambda item: item.z)
    dock.annotate_case("case-02")
    settle(dock, lambda: desk.case_id == "case-02")
    desk.z = other = item.z + 1
    paint(dock)
    press(dock, Key.Key_Return)
    settle(dock, lambda: not session.is_saving and other in desk.done)
    dock.show_tab("Review")
    reviewer.show(item)
    settle(dock, lambda: reviewer.on_screen and desk.z == item.z)
    press(dock, Key.Key_C)
    paint(dock)
    for correcting in (True, False):
        press(dock, Key.Key_Z, Control)
        assert reviewer.correcting == correcting
    assert other in desk.done and not desk.drawn[item.z]


def test_redo_after_a_stroke_makes_the_stroke_again(dock, proposed, settle):
    """And no decision that was taken back before it."""
    session, desk, reviewer = dock.session, dock.desk, dock.review.reviewer
    session.open_project(proposed)
    dock.show_tab("Review")
    settle(dock, lambda: reviewer.on_screen)
    first = reviewer.current
    press(dock, Key.Key_R)
    settle(dock, lambda: not session.is_saving)
    press(dock, Key.Key_Backspace)
    settle(dock, lambda: reviewer.on_screen and reviewer.current.id == first.id and not session.is_saving)
    reviewer.go(1)
    settle(dock, lambda: reviewer.on_screen and reviewer.current.id != first.id)
    paint(dock)
    painted = desk.labels[reviewer.current.z].copy()
    press(dock, Key.Key_Z, Control)
    press(dock, Key.Key_Z, Control | Shift)
    settle(dock, lambda: not session.is_saving)
    assert np.array_equal(desk.labels[reviewer.current.z], painted)
    assert session.proposals.get(first.id).decision is None


@pytest.mark.parametrize("key", [Key.Key_R, Key.Key_D])
def test_who_changes_their_mind_about_an_accepted_mask_sees_it_go(dock, proposed, settle, key):
    """From the desk too: marked as done afterwards, the slice is empty, and nobody is accused of a conflict."""
    session, desk, reviewer = dock.session, dock.desk, dock.review.reviewer
    session.open_project(proposed)
    dock.show_tab("Review")
    dock.review.filter.undecided.setChecked(False)
    dock.review.filter.order.setCurrentText("by case")
    settle(dock, lambda: reviewer.on_screen)
    item = reviewer.current
    press(dock, Key.Key_A)
    settle(dock, lambda: not session.is_saving and item.z in session.case(item.case).labelled)
    reviewer.show(session.proposals.get(item.id))
    settle(dock, lambda: reviewer.on_screen and desk.drawn[item.z])
    press(dock, key)
    settle(dock, lambda: not session.is_saving and not session._jobs.pending("read"))
    dock.annotate_case(item.case)
    settle(dock, lambda: desk.case_id == item.case)
    assert not desk.drawn[item.z]
    desk.z = item.z
    press(dock, Key.Key_Return)
    settle(dock, lambda: not session.is_saving and item.z in session.case(item.case).labelled)
    assert not session.mask(item.case)[item.z].any() and not session.asides and not dock.banner.sentence


def test_an_unfinished_correction_is_never_lost(dock, proposed, settle):
    session = dock.session
    session.open_project(proposed)
    dock.show_tab("Review")
    reviewer = dock.review.reviewer
    settle(dock, lambda: reviewer.on_screen)
    item = reviewer.current
    press(dock, Key.Key_C)
    press(dock, Key.Key_R)
    dock.review._clicked(dock.review.model.index(2))
    assert reviewer.correcting and reviewer.current.id == item.id and "first" in dock.status._message.text()
    dock.show_tab("Train")
    assert not reviewer.correcting and dock.desk.drawn[item.z]
    settle(dock, lambda: (session.mask(item.case)[item.z] == 1).any())
    assert item.z not in session.case(item.case).labelled


def test_a_newer_proposal_does_not_take_the_old_one_from_the_screen(dock, proposed, settle):
    from napari_segmatch.events import PseudoMask

    session = dock.session
    session.open_project(proposed)
    dock.show_tab("Review")
    reviewer = dock.review.reviewer
    settle(dock, lambda: reviewer.on_screen)
    item = reviewer.current
    labels = np.zeros(session.case(item.case).shape[1:], np.uint8)
    project = session.project
    project.add_proposals(project.run(), 200, 1, [PseudoMask(item.region, labels, 0.9, "accepted")])
    session._fetch_proposals()
    settle(dock, lambda: not session._jobs.pending("read"))
    assert reviewer.current.id == item.id
    press(dock, Key.Key_A)
    settle(dock, lambda: item.z in session.case(item.case).labelled)
    assert (session.mask(item.case)[item.z] == 1).any()


def test_who_comes_back_to_review_sees_the_newest_mask_of_the_slice(dock, proposed, settle):
    """The list has the newer one by then, and would mark nothing."""
    session = dock.session
    session.open_project(proposed)
    dock.show_tab("Review")
    review, reviewer = dock.review, dock.review.reviewer
    settle(dock, lambda: reviewer.on_screen)
    item = reviewer.current
    dock.show_tab("Train")
    project = session.project
    labels = np.ones(session.case(item.case).shape[1:], np.uint8)
    project.add_proposals(project.run(), 200, 1, [PseudoMask(item.region, labels, 0.9, "accepted")])
    session._fetch_proposals()
    settle(dock, lambda: not session._jobs.pending("read"))
    dock.show_tab("Review")
    settle(dock, lambda: reviewer.on_screen)
    assert reviewer.current.region == item.region and reviewer.current.id > item.id
    assert review.view.currentIndex().row() == review.model.row_of(reviewer.current.id)


def test_another_project_is_opened_while_a_proposal_is_on_the_screen(dock, proposed, tmp_path, settle):
    dock.session.open_project(proposed)
    dock.show_tab("Review")
    settle(dock, lambda: dock.review.reviewer.on_screen)
    with small_project(tmp_path / "other") as other:
        masks = [PseudoMask(Region("c", z), np.ones((32, 40), np.uint8), 0.5, "accepted") for z in (1, 2)]
        other.add_proposals(other.new_run(configure("quick")), 1, 1, masks)
    dock.session.open_project(other.path)
    assert [item.region for item in dock.review.model.items] == [Region("c", 1), Region("c", 2)]
    assert dock.review.reviewer.current is None and dock.session.project.path == other.path


def test_classes_have_keys_and_colours_and_no_label_beyond_them(dock, project, tmp_path, settle):
    session = dock.session
    session.create_project(tmp_path / "two", ["core", "edema"], ["flair"])
    session.add_cases(find_cases(project / "images", {"flair": "{case}/flair.nii.gz"}))
    settle(dock, lambda: len(session.cases) == 4)
    dock.annotate_case("case-01")
    settle(dock, lambda: dock.desk.case_id == "case-01")
    chips = [chip.text() for chip in dock.annotate.toolbox.class_group.buttons()]
    assert chips == ["core", "edema"]
    mask = dock.desk.layers.mask
    mask.selected_label = 9
    assert mask.selected_label == 2
    assert mask.colormap.map(255)[-1] == 0 and mask.colormap.map(2)[-1] == 1


def test_what_training_says_is_shown(dock, proposed, settle):
    dock.session.open_project(proposed)
    dock.show_tab("Train")
    settle(dock, lambda: dock.train.bar.value() == 1000)
    assert "Run 1: finished" in dock.train._status.text()
    assert dock.train.runs.list.count() == 1
    settle(dock, lambda: "Dice 0.800 (n = 1)" in dock.status.words)


def test_what_the_model_can_do_with_a_new_case_is_said_once_it_has_learnt(dock, proposed, settle):
    """Cases that were added after the training have no proposals, and no other screen would tell how to get them."""
    dock.session.open_project(proposed)
    dock.show_tab("Cases")
    dock.cases.redraw()
    assert "press S" in dock.cases._next.text()
    for case in dock.session.cases:
        dock.session.proposals.open_in[case.id] = 1
    dock.cases.redraw()
    assert "press S" not in dock.cases._next.text()


def test_the_model_is_asked_for_a_case_and_review_begins_there(dock, tmp_path, settle, monkeypatch):
    """Whoever waits is taken to the masks of a case that had none; who paints on is not; a second press stops it."""
    small_project(tmp_path).close()
    session, ask = dock.session, dock.annotate.actions["segment"]
    ask()
    assert dock.status._message.text() == "Open a case first."
    session.open_project(tmp_path / "project")
    dock.show_tab("Annotate")
    dock.desk.open("d")
    settle(dock, lambda: dock.desk.case_id == "d" and dock.desk.count)
    ask()
    assert "start the training first" in dock.banner.sentence
    session.start_training(configure("quick", steps=2, device="cpu", size=32, batch=2, features=8, proposals=0))
    settle(dock, lambda: session.run_state == "finished")
    ask()
    assert list(session.segmenting) == ["d"]
    dock.status.redraw()
    assert "segmenting 1 case" in dock.status.words
    monkeypatch.setattr(Wish, "seconds_left", 40)
    dock.status.redraw()
    assert "segmenting 1 case, 40 s left" in dock.status.words
    monkeypatch.undo()
    ask()
    assert not session.segmenting
    ask()
    dock.desk.edited.emit()
    settle(dock, lambda: session.proposals.of_case("d") and not session.segmenting)
    assert dock.tabs_name() == "Annotate"
    dock.desk.open("c")
    settle(dock, lambda: dock.desk.case_id == "c" and dock.desk.count)
    ask()
    dock.desk.z = 2
    settle(dock, lambda: dock.tabs_name() == "Review")
    assert dock.review.reviewer.current.region == Region("c", 2)  # where the person is
    assert dock.review.filter.choice.order == "by case"
    dock.review.reviewer.go(1)
    assert dock.review.reviewer.current.case == "c"


def test_a_right_click_takes_a_case_out_and_brings_it_back(dock, proposed, settle):
    """The desk lets go of it, and so does the review; elsewhere in the table others can be brought back."""
    session = dock.session
    session.open_project(proposed)
    gone = session.cases[0].id
    dock.show_tab("Annotate")
    dock.desk.open(gone)
    settle(dock, lambda: dock.desk.case_id == gone)
    dock.show_tab("Cases")
    assert dock.cases.menu.offers(None).isEmpty()
    (out,) = dock.cases.menu.offers(gone).actions()
    out.trigger()
    settle(dock, lambda: session.known(gone) is None)
    assert dock.desk.case_id == "" and dock.cases.model.rowCount() == len(session.cases)
    dock.show_tab("Review")
    settle(dock, lambda: dock.desk.case_id)
    assert gone not in {item.case for item in dock.review.model.items} and dock.desk.case_id != gone
    dock.show_tab("Cases")
    (back,) = dock.cases.menu.offers(None).actions()
    (name,) = back.menu().actions()
    assert name.text() == gone
    name.trigger()
    settle(dock, lambda: session.known(gone) is not None)
    assert dock.cases.model.rowCount() == len(session.cases)


def test_why_a_run_failed_is_said_until_the_next_one_begins(dock, tmp_path, settle):
    small_project(tmp_path).close()
    session = dock.session
    session.open_project(tmp_path / "project")
    session.start_training(configure("quick", device="cuda:7", size=32))
    settle(dock, lambda: "cuda:7" in dock.banner.sentence and not session.is_training)
    session.start_training(configure("quick", device="cpu", size=32, batch=2, features=8))
    assert not dock.banner.sentence
    session.stop_training()
    settle(dock, lambda: not session.is_training)


def test_a_device_that_is_not_there_is_no_dead_end(dock, tmp_path, settle):
    """No run is made for it; and one that failed before its first checkpoint is not to be resumed, nor asked."""
    with small_project(tmp_path) as made:
        failed = made.new_run(configure("quick", network="nowhere:network", size=32))
    session, train = dock.session, dock.train
    session.open_project(tmp_path / "project")
    session.resume_training()
    settle(dock, lambda: session.run_state == "failed")
    dock.show_tab("Train")
    train.redraw()
    assert train.start.text() == "Start training" and train.fresh.isHidden()
    dock.annotate_case("d")
    settle(dock, lambda: dock.desk.case_id == "d")
    dock.annotate.actions["segment"]()
    assert "failed before it had learnt anything" in dock.banner.sentence
    dock.show_tab("Train")
    train.device.setCurrentText("mps")
    train.start.click()
    settle(dock, lambda: "'mps' is not available here" in dock.banner.sentence)
    assert "Looking for the device" not in dock.status._message.text(), "it is not looked for any more"
    assert [run.id for run, _ in session.runs()] == [failed.id] and not session.is_training


def test_who_clicks_stop_twice_starts_no_run(dock, proposed, monkeypatch):
    """One button ends a training and begins none; the one that begins another run stands elsewhere."""
    with Project.open(proposed) as opened:
        opened.set_run_state(1, "stopped")
    session, train, wishes = dock.session, dock.train, []
    session.open_project(proposed)
    dock.show_tab("Train")
    train.redraw()
    assert (train.start.text(), train.stop.text()) == ("Resume training", "Stop") and not train.stop.isEnabled()
    assert not train.fresh.isHidden()
    monkeypatch.setattr(session, "start_training", lambda *_: wishes.append("start"))
    monkeypatch.setattr(session, "resume_training", lambda *_: wishes.append("resume"))
    monkeypatch.setattr(session, "stop_training", lambda: wishes.append("stop"))
    with monkeypatch.context() as running:
        running.setattr(type(session), "is_training", True)
        train.redraw()
        assert train.fresh.isHidden() and train.stop.isEnabled()
        train.stop.click()
        train.redraw()
        assert train.stop.text() == "Stopping …" and not train.pause.isEnabled()
        for button in (train.stop, train.start, train.fresh):
            button.setEnabled(True)  # before the next redraw they may be
            button.click()
    train.stop.click()
    train.redraw()
    train.stop.click()
    assert set(wishes) == {"stop"}
    train.fresh.click()
    assert wishes[-1] == "start"


def test_roll_back_names_its_run_and_takes_the_one_that_somebody_chose(dock, proposed, monkeypatch):
    """Also while another run trains, which the plots show and which tells of itself four times a second."""
    session, runs, rolled_back = dock.session, dock.train.runs, []
    with Project.open(proposed) as opened:
        opened.set_run_state(opened.new_run(configure("quick")).id, "finished")
    session.open_project(proposed)
    dock.show_tab("Train")
    assert (runs.chosen, runs._roll_back.text()) == (2, "Roll back run 2")
    monkeypatch.setattr(type(session), "is_training", True)
    monkeypatch.setattr(session, "roll_back", rolled_back.append)
    older = runs.list.item(1)
    runs.list.setCurrentItem(older)
    runs.list.itemClicked.emit(older)
    for state in ("running", "paused"):
        session.run_state = state
        dock.train.redraw()
        assert runs.list.item(0).text() == f"Run 2: {state}" and runs._roll_back.text() == "Roll back run 1"
    runs._roll_back.click()
    assert rolled_back == [1]
    session._watch(session.project.new_run(configure("quick")))
    dock.train.redraw()
    assert runs._roll_back.text() == "Roll back run 3"


def test_export_lists_what_was_written(dock, project, tmp_path, settle):
    dock.session.open_project(project)
    dock.show_tab("Export")
    dock.export.folder.setText(str(tmp_path / "out"))
    dock.export.export()
    settle(dock, lambda: dock.export.list.count() > 0)
    assert (tmp_path / "out" / "case-01.nii.gz").exists()


def test_a_refused_export_does_not_go_on_writing(dock, project, tmp_path, settle):
    dock.session.open_project(project)
    dock.show_tab("Export")
    dock.export.folder.setText(str(tmp_path / "out"))
    dock.export.formats.setCurrentText("DICOM segmentations")
    dock.export.export()
    assert dock.export._said.text() == "Writing …"
    settle(dock, lambda: "DICOM" in dock.banner.sentence)
    assert dock.export._said.isHidden() and dock.export.button.isEnabled()
    dock.export.formats.setCurrentIndex(0)
    dock.export.export()
    settle(dock, lambda: dock.export.list.count() > 0)
    assert "written to out" in dock.export._said.text() and not dock.export._said.isHidden()
    dock.export.folder.setText(str(tmp_path / "set"))
    dock.export.formats.setCurrentText("an nnU-Net data set")
    dock.export.export()
    settle(dock, lambda: "Writing" not in dock.export._said.text())
    assert "written to set" in dock.export._said.text(), "the folder that was named, not one inside of it"


def test_planes_are_drawn_although_the_picture_is_hidden(on_case, settle):
    """Its eye in napari's list is closed: the planes cut through the case all the same."""
    dock = on_case
    dock.overlays.planes.toggle()
    dock.desk.layers.pictures.layers[dock.desk.layers.pictures.sequence].visible = False
    assert dock.desk.layers.pictures.sequence == ""
    before = dock.overlays.planes.point[0]
    dock.desk.z = dock.desk.z + 1
    assert dock.overlays.planes.point[0] != before
    assert [tile.title for tile, _ in dock.overlays.planes._tiles][:2] == ["front", "side"]


def test_planes_show_a_proposal_as_long_as_the_picture_does(on_case, settle):
    """One that has gone was still in them: outlines of nothing."""
    desk, planes = on_case.desk, on_case.overlays.planes
    planes.toggle()
    before = planes._tiles[0][0].picture
    desk.show_labels(desk.z, np.ones_like(desk.labels[desk.z]))
    settle(on_case, lambda: (planes._tiles[0][0].picture != before).any())
    desk.show_proposal(None)
    settle(on_case, lambda: (planes._tiles[0][0].picture == before).all())


def test_planes_show_the_other_sequences_at_once_and_in_their_greys(dock, tmp_path, settle):
    session, planes = dock.session, dock.overlays.planes
    session.create_project(tmp_path / "p", ["lesion"], ["flair", "t1", "t2"])
    session.add_cases([FoundCase("a", write_case(tmp_path / "a", sequences=("flair", "t1", "t2"))[0], None)])
    settle(dock, lambda: len(session.cases) == 1)
    dock.annotate_case("a")
    settle(dock, lambda: dock.desk.case_id == "a")
    planes.toggle()
    press(dock, Key.Key_T)
    settle(dock, lambda: [tile.title for tile, _ in planes._tiles] == ["front", "side", "flair", "t2"])
    before = planes._tiles[0][0].picture
    dock.desk.layers.pictures.layers["t1"].contrast_limits = (0, 20)
    settle(dock, lambda: (planes._tiles[0][0].picture > before).any())


def test_planes_cut_through_what_is_painted_and_hide_no_letter(dock, project, settle):
    dock.session.open_project(project)
    dock.annotate_case("case-01")
    settle(dock, lambda: dock.desk.case_id == "case-01")
    planes, letters = dock.overlays.planes, dock.overlays.letters
    rows, columns = np.nonzero((dock.desk.layers.mask.data == 1).any(axis=0))
    assert planes.point[1:] == [int(np.median(rows)), int(np.median(columns))]
    right = letters._labels["right"]
    alone = right.geometry()
    press(dock, Key.Key_O)
    assert right.text() and right.geometry().right() < planes.geometry().left()
    press(dock, Key.Key_O)
    assert right.geometry() == alone


def test_adding_a_folder_previews_first_and_sets_a_broken_file_aside(dock, project, tmp_path, settle):
    images = project / "images"
    (images / "case-09").mkdir()
    (images / "case-09" / "flair.nii.gz").write_bytes(b"no image")
    dock.session.create_project(tmp_path / "new", ["lesion"], ["flair"])
    form = dock.cases.form
    form.folder.setText(str(images))
    form.find()
    assert "with masks" in form._preview.text() and not dock.session.cases
    form.hold.setValue(1)
    form._want()
    settle(dock, lambda: len(dock.session.cases) == len(form.found) or len(dock.session.cases) == 5)
    settle(dock, lambda: not dock.session._jobs.pending())
    states = {case.id: (bool(case.labelled), case.validation, case.problem is not None) for case in dock.session.cases}
    assert states["case-01"] == (True, False, False)
    assert states["case-09"][2]
    assert sum(validation for _, validation, _ in states.values()) == 1
    assert dock.banner.sentence


def test_masks_shine_through_the_picture_in_3d(on_case):
    """They lie inside of it: without that, what was painted is hidden behind the brain."""
    layers, viewer = on_case.desk.layers, on_case.desk.layers.viewer
    layers.mask.data[3:-3, 20:50, 20:50] = 1
    layers.refresh_mask()
    picture = layers.pictures.layers["flair"]
    picture.data[[0, -1]] = picture.data.max()  # on whichever side one looks from
    picture.refresh()
    viewer.dims.ndisplay = 3
    seen = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
    coloured = (np.ptp(seen, axis=2) > 40).mean()
    viewer.dims.ndisplay = 2
    assert coloured > 0.03


def test_a_slice_that_was_chosen_in_3d_is_on_the_screen_afterwards(on_case, settle):
    """Napari comes back to where the camera looks: the panel named a slice that nobody saw."""
    dock, viewer = on_case, on_case.viewer
    viewer.dims.ndisplay = 3
    press(dock, Key.Key_G)
    there = dock.desk.z
    named = dock.annotate._why.text().partition(":")[0]
    viewer.dims.ndisplay = 2
    settle(dock, lambda: named in dock.annotate._state.text(), 5)
    assert dock.desk.z == there and dock.desk.layers.mask._data_slice.point[0] == dock.desk.shown(there)


def test_each_case_fills_the_view_until_somebody_zooms(dock, tmp_path, settle):
    """Cases differ in size: the larger one after a small one is not cut off."""
    dock.session.create_project(tmp_path / "project", ["lesion"], ["flair"])
    for name, shape in (("small", (4, 32, 40)), ("large", (6, 96, 80))):
        write_case(tmp_path / name, shape=shape)
        dock.session.add_cases([FoundCase(name, {"flair": tmp_path / name / "flair.nii.gz"})])
    dock.session.wait()
    camera, zooms = dock.desk.layers.viewer.camera, []
    for name in ("small", "large", "small"):
        dock.annotate_case(name)
        settle(dock, lambda name=name: dock.desk.case_id == name)
        zooms.append(camera.zoom)
        middle = [(n - 1) * mm / 2 for n, mm in zip(dock.desk.labels.shape, dock.desk.layers.mask.scale, strict=True)]
        assert list(camera.center[1:]) == pytest.approx(middle[1:])
    assert zooms[0] == zooms[2] > 1.5 * zooms[1]
    camera.zoom = 3 * zooms[0]
    dock.annotate_case("large")
    settle(dock, lambda: dock.desk.case_id == "large")
    assert camera.zoom == 3 * zooms[0]
    dock.desk.layers.viewer.reset_view()  # napari's button with the house, or another plane and back
    dock.annotate_case("small")
    settle(dock, lambda: dock.desk.case_id == "small")
    assert camera.zoom == zooms[0]


def test_a_case_that_is_added_anew_is_shown_with_its_new_images(dock, tmp_path, settle):
    """On the desk, in the table and to the suggester, whatever was drawn a moment before."""
    dock.session.create_project(tmp_path / "project", ["lesion"], ["flair"])
    for name, shape in (("one", (4, 32, 40)), ("two", (6, 20, 24))):
        write_case(tmp_path / name, shape=shape)
        dock.session.add_cases([FoundCase("a", {"flair": tmp_path / name / "flair.nii.gz"})])
        dock.session.wait()
        if name == "one":
            dock.annotate_case("a")
            dock.thumbnails.of_case(dock.session.case("a"))
            dock.annotate._suggester._known["a"] = np.zeros(3)
            settle(dock, lambda: dock.desk.case_id == "a" and "a" in dock.thumbnails._cases)
            dock.desk._timer.setInterval(10**6)
            dock.desk.write({1: np.ones(shape[1:], np.uint8)})
    assert "a" not in dock.thumbnails._cases and not dock.annotate._suggester._known
    settle(dock, lambda: dock.desk.labels.shape == shape)
    assert dock.desk.layers.pictures.layers["flair"].data.shape == shape


def test_scans_that_are_found_again_are_told_and_the_red_sentence_goes(dock, tmp_path, settle):
    """One of them has labels, one has none: both had been moved. What else went wrong stays in sight."""
    dock.session.create_project(tmp_path / "project", ["lesion"], ["flair"])
    for seed, name in enumerate("ab"):
        dock.session.add_cases([FoundCase(name, write_case(tmp_path / "before" / name, seed)[0])])
    dock.session.wait()
    dock.session.save_slices("a", {1: np.ones((32, 40), np.uint8)}, done=(1,))
    dock.session.wait()
    (tmp_path / "before").rename(tmp_path / "after")
    dock.annotate_case("a")
    settle(dock, lambda: "flair.nii.gz is not where it was" in dock.banner.sentence)
    found = find_cases(tmp_path / "after", {"flair": "{case}/flair.nii.gz"})
    dock.session.add_cases(found)
    dock.session.wait()
    assert dock.banner.sentence == ""
    assert dock.status._message.text() == "The images of 2 cases were found again at their new place."
    dock.annotate_case("a")
    settle(dock, lambda: dock.desk.case_id == "a")
    dock.session.message.emit("The disk is full.", True)
    (tmp_path / "after").rename(tmp_path / "later")
    dock.session.add_cases([FoundCase("b", {"flair": tmp_path / "later" / "b" / "flair.nii.gz"})])
    dock.session.wait()
    assert dock.banner.sentence == "The disk is full." and "of 1 case were found" in dock.status._message.text()


def test_find_looks_where_somebody_said_and_nowhere_else(dock, project, tmp_path, monkeypatch):
    """An empty field would be the folder in which napari was started; ~ is the person's own."""
    monkeypatch.chdir(project / "images")
    monkeypatch.setenv("HOME", str(project))
    dock.session.create_project(tmp_path / "new", ["lesion"], ["flair"])
    form = dock.cases.form
    form.find()
    assert "folder" in form._preview.text() and not form.found
    form.folder.setText("~/images ")
    form.find()
    assert len(form.found) == 4


def test_a_folder_of_nobody_is_a_sentence(dock, project):
    """In each field for a folder: who ~nobody-here is, the system does not know."""
    words = "The folder ~nobody-here is nobody's on this computer: type it in full."
    dock.cases.path.setText("~nobody-here")
    dock.cases.create_button.click()
    assert dock.banner.sentence == words
    dock.session.open_project(project)
    dock.cases.form.folder.setText("~nobody-here")
    dock.cases.form.find()
    assert dock.cases.form._preview.text() == words
    dock.cases.form.folder.setText("a" * 300)  # as one that nobody may read
    dock.cases.form.find()
    assert "cannot be looked through (File name too long)" in dock.cases.form._preview.text()
    dock.export.folder.setText(" ~nobody-here")
    dock.export.export()
    assert dock.banner.sentence == words and not dock.session._jobs.pending("export")


@pytest.mark.parametrize("answer", ["add", None])
def test_a_question_is_said_only_while_it_is_open(dock, tmp_path, settle, monkeypatch, answer):
    """Answered, it is nothing that went wrong; who does not answer is told what is set aside."""
    session, images = dock.session, write_case(tmp_path / "scan")[0]
    monkeypatch.setattr("napari_segmatch.ui.cases.ask", lambda *_: answer)
    session.create_project(tmp_path / "new", ["lesion"], ["flair"])
    session.add_cases([FoundCase("a", images, None), FoundCase("b", images, None)])
    settle(dock, lambda: len(session.cases) == 2 and not session.adding and not session._jobs.pending())
    assert (session.case("b").problem is None) == (answer is not None)
    assert ("voxel for voxel" in dock.banner.sentence) == (answer is None)
    if answer is None:
        said = dock.banner.sentence
        dock.cases.table.activated.emit(dock.cases.proxy.index(1, 0))
        for words in (said, dock.banner.sentence):  # the answers that a shell takes are no words for the window
            assert words.startswith("b: ") and "add it again to say how" in words and "choose" not in words


@pytest.mark.parametrize(("cases", "whose"), [("b", "b: "), ("abcde", "a, b, c and 2 more: ")])
def test_a_question_names_the_cases_and_the_classes(qapp, monkeypatch, cases, whose):
    seen = []

    def choose(parent, title, words, ways, *_):
        seen[:] = words, ways
        return ways[1], True

    monkeypatch.setattr("napari_segmatch.ui.adding.QInputDialog.getItem", choose)
    options = {"7:1": "class 1", "7:2": "“core” is class 2", "7:0": "background"}
    options["7:1,8:2"] = "class 1, class 2, in this order"
    question = Question("mask.nii.gz holds label 7, the classes end at 2", "labels", options)
    assert ask(None, question, list(cases), ("edema", "core")) == "7:2"
    assert seen[0] == f"{whose}mask.nii.gz holds label 7, the classes end at 2."
    ways = [way.partition("   ")[0] for way in seen[1]]
    assert ways[:3] == ["class 1: edema", "“core” is class 2: core", "background"]
    assert ways[3] == "class 1: edema, class 2: core, in this order"


def test_files_that_are_dropped_bring_their_masks(dock, tmp_path, settle):
    """As finished labels, and the form says so; a mask without its image is refused in a sentence."""
    session, files = dock.session, []
    for name in ("a", "b"):
        images, mask = write_case(tmp_path / name, ord(name))
        files += [
            images["flair"].rename(tmp_path / f"{name}_flair.nii.gz"),
            mask.rename(tmp_path / f"{name}_mask.nii.gz"),
        ]
    session.create_project(tmp_path / "new", ["lesion"], ["flair"])
    dock.cases.take_in(files[1:2])
    assert "a_mask.nii.gz is called like a mask" in dock.banner.sentence and not session.adding
    dock.cases.take_in(files[:3])
    assert "2 cases, 1 with masks: these are finished" in dock.cases.form._preview.text()
    settle(dock, lambda: not session.adding and len(session.cases) == 2)
    assert [(case.id, bool(case.labelled)) for case in session.cases] == [("a", True), ("b", False)]
    assert (session.mask("a") == 1).any()


def test_a_refused_verb_becomes_a_sentence(dock, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    dock.cases.path.setText(str(tmp_path / "full"))
    dock.cases.create_button.click()
    assert "not empty" in dock.banner.sentence
    dock.banner.dismiss()
    assert not dock.banner.sentence


def test_closing_the_viewer_saves_what_is_unsaved(make_viewer, project, settle, qtbot):
    from napari_segmatch import Project
    from napari_segmatch.ui.dock import SegmatchDock

    viewer = make_viewer(show=True)
    dock = SegmatchDock(viewer)
    viewer.window.add_dock_widget(dock, name="SegMatch")
    dock.session.open_project(project)
    dock.annotate_case("case-03")
    settle(dock, lambda: dock.desk.case_id == "case-03")
    z = dock.desk.z
    paint(dock)
    viewer.close()
    qtbot.waitUntil(lambda: not ours(), timeout=5000)
    with Project.open(project) as opened:
        assert (opened.mask("case-03")[z] == 1).any()


def test_closing_the_dock_ends_everything_and_leaves_nothing_behind(make_viewer, project, settle, qtbot):
    from napari_segmatch.ui.dock import SegmatchDock

    viewer = make_viewer(show=True)
    dock = SegmatchDock(viewer)
    holder = viewer.window.add_dock_widget(dock, name="SegMatch")
    dock.session.open_project(project)
    dock.annotate_case("case-03")
    settle(dock, lambda desk=dock.desk: desk.case_id == "case-03")
    session, kept = dock.session, weakref.ref(dock)
    holder.destroyOnClose()
    qtbot.waitUntil(lambda: session.project is None, timeout=5000)
    assert not viewer.layers
    del dock, holder
    qtbot.waitUntil(lambda: gc.collect() >= 0 and kept() is None, timeout=5000)
    assert not ours()


def test_the_window_opens_without_torch():
    code = "import sys, napari_segmatch.ui.dock; sys.exit('torch' in sys.modules or 'monai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_queue_says_when_the_discriminator_cannot_tell_yet(dock, proposed, settle):
    with Project.open(proposed) as opened:
        opened.run().record(Examined(50, 40, 20, 0.6, 0.5, 0.4, False))
    dock.session.open_project(proposed)
    dock.show_tab("Review")
    settle(dock, lambda: dock.review.reviewer.on_screen)
    item = next(item for item in dock.review.model.items if not is_blind(item))
    dock.review.reviewer.show(item)
    row = dock.review.model.index(dock.review.model.row_of(item.id))
    assert "cannot tell yet" in row.data() and "sure" not in row.data()
    assert "cannot tell yet" in dock.review._facts.text()
    settle(dock, lambda: dock.desk.case_id == item.case)
    colours = {cell.colour for cell in dock.overlays.slider.ribbon._cells}
    assert colours and not colours & {GOOD, UNSURE}


def test_a_sheet_frames_masks_in_the_colours_of_the_list(dock, proposed, settle):
    """A green frame around a mask of which the discriminator is unsure would speak for it."""
    with Project.open(proposed) as opened:
        opened.run().record(Examined(50, 40, 20, 0.9, 0.5, 0.8, True))
    dock.session.open_project(proposed)
    dock.show_tab("Review")
    settle(dock, lambda: dock.review.reviewer.on_screen)
    dock.review.reviewer.show(dock.review.model.of_cases({"case-02"})[0])
    dock.review.actions["accept_case"]()
    settle(dock, lambda: dock.review.sheets.sheet is not None)
    sheet = dock.review.sheets.sheet
    drawn = sheet.view.viewport().grab().toImage()
    seen = {}
    for row, item in enumerate(sheet.model.items):
        place = sheet.view.visualRect(sheet.model.index(row)).topLeft() + QPoint(5, 40)
        seen[item.verdict] = drawn.pixelColor(place).name()
    assert seen == {"accepted": GOOD, "rejected": UNSURE}
    assert any("Orange frames" in label.text() for label in sheet.findChildren(QLabel))
    dock.review.sheets.close()


def test_a_picture_that_cannot_be_made_ends_no_other(dock, proposed, settle, monkeypatch):
    """Too little memory for a moment: the others come, and so does this one for whoever goes there."""
    dock.session.open_project(proposed)
    pictures, volume, asked = dock.thumbnails, dock.session.volume, []
    settle(dock, lambda: not pictures._busy)
    pictures.clear()
    first, second = list(dock.session.proposals)[:2]

    def fail(case):
        asked.append(case)
        raise MemoryError("for a moment")

    monkeypatch.setattr(dock.session, "volume", fail)
    for wish in (lambda: pictures.preview(first), lambda: pictures.of_case(dock.session.case(first.case))):
        wish()
        settle(dock, lambda: not pictures._busy)
    many = len(asked)
    assert pictures.pixmap(first) is None and not pictures._busy, "a list does not ask again and again"
    assert pictures.of_case(dock.session.case(first.case)) is not None and len(asked) == many
    assert "MemoryError" in dock.banner.sentence
    monkeypatch.setattr(dock.session, "volume", volume)
    for item in (second, first):
        pictures.preview(item)
        settle(dock, lambda item=item: pictures.has(item))
    assert pictures.pixmap(first) is not None


def test_the_table_of_cases_shows_pictures_scores_and_who_drew(dock, proposed, settle):
    dock.session.open_project(proposed)
    model, proxy = dock.cases.model, dock.cases.proxy
    waiting = [item for item in dock.session.proposals if item.case == "case-02"]

    def cell(case, name, role=Qt.ItemDataRole.DisplayRole):
        row = [item.id for item in model.cases].index(case)
        return model.index(row, COLUMNS.index(name)).data(role)

    assert cell("case-02", "Open") == str(len(waiting)) == "4"
    open_book = [item.score for item in waiting if not is_spot_check(item)]
    assert len(open_book) < 4 and cell("case-02", "Score") == f"{100 * sum(open_book) / len(open_book):.0f} %"
    assert cell("case-04", "Score") == cell("case-04", "By") == ""
    assert cell("case-01", "By") == dock.session.case("case-01").editor != ""
    assert cell("case-01", "Case").startswith("case-01\nlabelled")
    settle(dock, lambda: cell("case-01", "Case", Qt.ItemDataRole.DecorationRole) is not None)
    before = cell("case-01", "Case", Qt.ItemDataRole.DecorationRole).cacheKey()
    assert cell("case-01", "Case", Qt.ItemDataRole.DecorationRole).cacheKey() == before, "made once, and kept"
    labels = dock.session.mask("case-01")
    labels[8, :30, :30] = 1
    dock.session.save_slices("case-01", {8: labels[8]}, done=[8])
    settle(dock, lambda: cell("case-01", "Case", Qt.ItemDataRole.DecorationRole).cacheKey() != before)
    dock.session.decide(waiting[0], "rejected")
    settle(dock, lambda: cell("case-02", "Open") == "3")
    proxy.sort(COLUMNS.index("Score"), Qt.SortOrder.DescendingOrder)
    first = proxy.index(0, 0).data().split("\n")[0]
    assert first == max(("case-02", "case-03"), key=dock.session.proposals.mean_score)


@pytest.mark.parametrize(
    ("ids", "seen"),
    [
        (("TCGA_CS_4941_19960909_1", "TCGA_CS_4942_19960909_1", "TCGA_HT_7473_19960909_1"), ("4941", "4942", "7473")),
        (("hospital-study-two-patient-001", "hospital-study-two-patient-002"), ("001", "002")),
    ],
)
def test_the_table_leaves_of_a_long_id_what_tells_cases_apart(dock, tmp_path, settle, ids, seen):
    from helpers import write_case

    dock.window().resize(1366, 768)
    dock.session.create_project(tmp_path / "long", ["lesion"], ["flair"])
    dock.session.add_cases([FoundCase(id, write_case(tmp_path / id, seed)[0], None) for seed, id in enumerate(ids)])
    settle(dock, lambda: len(dock.session.cases) == len(ids))
    dock.cases.redraw()
    table = dock.cases.table
    room = table.columnWidth(0) - 38 - 14  # beside the picture and its margins
    shown = [table.fontMetrics().elidedText(id, table.textElideMode(), room) for id in ids]
    assert shown != list(ids) and all(part in words for part, words in zip(seen, shown, strict=True))


def test_the_choice_of_cases_keeps_the_end_of_a_long_id(dock, tmp_path, settle):
    session, ids = dock.session, [f"a_hospital_with_a_very_long_name_{visit:02}" for visit in (6, 12)]
    session.create_project(tmp_path / "long", ["lesion"], ["flair"])
    session.add_cases([FoundCase(id, write_case(tmp_path / id, seed)[0], None) for seed, id in enumerate(ids)])
    settle(dock, lambda: len(session.cases) == 2)
    box, option = dock.annotate._case, QStyleOptionComboBox()
    for id in ids:
        dock.annotate_case(id)
        settle(dock, lambda id=id: dock.desk.case_id == id)
        box.initStyleOption(option)
        assert "…" in option.currentText and option.currentText.endswith(id[-4:]) and id in box.toolTip()


def test_a_class_has_the_colour_that_somebody_chose_or_that_came_with_it(on_case, project, settle, monkeypatch):
    dock, session = on_case, on_case.session

    def colour(layer):
        return QColor.fromRgbF(*layer.colormap.map(1)).name()

    assert colour(dock.desk.layers.mask) == CLASS_COLOURS[0]
    monkeypatch.setattr("qtpy.QtWidgets.QColorDialog.getColor", lambda *_: QColor("#56b4e9"))
    choose_colour, *_ = dock.annotate.class_menu.offers(1).actions()
    choose_colour.trigger()
    assert colour(dock.desk.layers.mask) == "#56b4e9"
    assert colour(dock.desk.layers.proposal) == "#e69f00", "a proposal never looks like your mask"
    settle(dock, lambda: not session.is_saving)
    monkeypatch.setattr("qtpy.QtWidgets.QColorDialog.getColor", lambda *_: QColor())
    choose_colour.trigger()
    assert session.colours == {"lesion": "#56b4e9"}, "a dialog that was cancelled changes nothing"
    session.close_project()
    session.open_project(project)
    dock.annotate_case("case-03")
    settle(dock, lambda: dock.desk.case_id == "case-03")
    assert colour(dock.desk.layers.mask) == "#56b4e9"


def test_classes_are_renamed_and_added_where_the_person_works(on_case, settle, monkeypatch):
    dock, session = on_case, on_case.session
    menu, case, z = dock.annotate.class_menu, dock.desk.case_id, dock.desk.z
    dock.desk.layers.mask.paint((dock.desk.shown(z), 9, 9), 1)
    monkeypatch.setattr("qtpy.QtWidgets.QInputDialog.getText", lambda *_, **__: (" tumour ", True))
    menu.offers(1).actions()[1].trigger()
    settle(dock, lambda: dock.desk.case_id == case)
    assert session.project.classes == ("tumour",) and dock.desk.z == z and dock.desk.drawn[z]

    menu.add("tumour", reopen=False)
    settle(dock, lambda: dock.desk.case_id == case)
    assert "each different" in dock.banner.sentence and session.project.classes == ("tumour",)

    menu.add("edema", reopen=True)
    settle(dock, lambda: dock.desk.case_id == case and not session.is_saving)
    assert session.project.classes == ("tumour", "edema") and dock.desk.z == z and dock.desk.drawn[z]
    assert [chip.text() for chip in dock.annotate.toolbox.class_group.buttons()] == ["tumour", "edema"]
    assert dock.desk.layers.chosen_class == 2 and dock.desk.layers.mask.mode == "paint", "it is in the person's hand"
    assert not any(item.labelled for item in session.cases)
    assert {1} == set(np.unique(session.mask(case))) - {0, 255}
    dock.desk.layers.mask.paint((dock.desk.shown(z), 3, 3), 2)
    dock.annotate.mark_done()
    settle(dock, lambda: session.case(case).labelled == (z,))
    assert 2 in session.mask(case)[z]


def test_whoever_adds_a_class_says_what_becomes_of_slices_that_are_done(dock):
    form = NewClass(dock.annotate, [3, 1])
    ok = form.buttons.button(QDialogButtonBox.StandardButton.Ok)
    form.name.setText("edema")
    assert not ok.isEnabled(), "nobody can know it but the person"
    form.without_it.setChecked(True)
    assert ok.isEnabled() and not form.may_show_it.isChecked()
    assert any("4 slices of 2 cases" in words.text() for words in form.findChildren(QLabel))
    form.name.setText("  ")
    assert not ok.isEnabled()
    form = NewClass(dock.annotate, [])
    form.name.setText("edema")
    assert form.buttons.button(QDialogButtonBox.StandardButton.Ok).isEnabled()


def test_a_hidden_table_is_up_to_date_when_it_is_shown(dock, proposed, settle):
    dock.show_tab("Export")
    assert not dock.export.button.isEnabled() and "Open or create" in dock.export._next.text()
    dock.show_tab("Review")
    dock.session.open_project(proposed)
    item = dock.session.proposals[0]
    dock.session.decide(item, "rejected")
    settle(dock, lambda: not dock.session.is_saving)
    dock.show_tab("Cases")
    row = [case.id for case in dock.cases.model.cases].index(item.case)
    assert dock.cases.model.index(row, COLUMNS.index("Open")).data() == "3"
    dock.show_tab("Export")
    assert "slice" in dock.export.checked.text() and dock.export.button.isEnabled()


def test_a_slice_can_be_drawn_by_chance_among_those_that_are_not_done(on_case, settle):
    dock, session = on_case, on_case.session
    seen = set()
    for _ in range(12):
        press(dock, Key.Key_G, Shift)
        settle(dock, lambda: "drawn by chance" in dock.annotate._why.text() and not dock.desk._wanted)
        assert dock.desk.z not in session.case(dock.desk.case_id).labelled
        seen.add((dock.desk.case_id, dock.desk.z))
        dock.annotate._why.setText("")
    assert len({case for case, _ in seen}) > 1 and len(seen) > 6
    assert "case-01" not in {case for case, _ in seen}, "all of it is done"


def test_a_person_learns_which_slices_teach_more(on_case, settle):
    dock = on_case
    said = dock.annotate._progress

    def done(many, paints):
        if paints:
            paint(dock)
        press(dock, Key.Key_Return if paints else Key.Key_N)
        settle(dock, lambda: said.text().startswith(f"{many} of"))
        return re.sub(r" Painted: lesion [0-9.]+ ml\.", "", said.text())

    assert done(1, True)[-5:] == done(2, True)[-5:] == "done."
    assert "shows nothing" in done(3, True)
    press(dock, Key.Key_G)
    assert "far from what you painted" in dock.annotate._why.text()
    assert "Another case" in done(4, False) and "⇧J" in said.text()
    assert not dock.annotate._why.text(), "what led here is done"
    dock.annotate_case("case-04")
    settle(dock, lambda: dock.desk.case_id == "case-04")
    assert done(1, False)[-5:] == done(2, False)[-5:] == "done."
    assert "show something" in done(3, False)


def test_the_class_in_the_hand_is_the_one_that_is_marked(dock, tmp_path, settle):
    """Whoever changes it: a chip, napari's own box; and another colour changes neither it nor the lock."""
    dock.session.open_project(small_project(tmp_path, cases=1, classes=("core", "edema")).path)
    dock.annotate_case("a")
    settle(dock, lambda: dock.desk.case_id == "a")
    box, layers = dock.annotate.toolbox, dock.desk.layers
    layers.mask.selected_label = 2
    assert box.class_group.checkedId() == 2
    box.lock.setChecked(False)
    dock.session.set_colour("edema", "#cc79a7")
    assert (box.class_group.checkedId(), layers.mask.selected_label, box.lock.isChecked()) == (2, 2, False)
    box.class_group.button(1).click()
    assert layers.mask.selected_label == 1


LONG = ("non-enhancing tumour core", "peritumoural oedema", "enhancing tumour")


def test_long_names_of_classes_leave_annotate_in_the_dock(dock, tmp_path, settle):
    dock.window().resize(1280, 720)
    dock.session.open_project(small_project(tmp_path, cases=1, classes=LONG).path)
    dock.annotate_case("a")
    settle(dock, lambda: dock.desk.case_id == "a")
    assert dock.annotate.widget().minimumSizeHint().width() <= dock.annotate.viewport().width()
    chip, option = dock.annotate.toolbox.class_group.button(1), QStyleOptionButton()
    chip.initStyleOption(option)
    assert "…" in option.text and chip.text() == LONG[0] and LONG[0] in chip.toolTip()


def test_many_classes_are_a_list_that_shows_the_one_in_the_hand(dock, tmp_path, settle):
    dock.session.open_project(small_project(tmp_path, cases=1, classes=[f"part {n}" for n in range(1, 31)]).path)
    dock.annotate_case("a")
    settle(dock, lambda: dock.desk.case_id == "a")
    box, mask = dock.annotate.toolbox, dock.desk.layers.mask
    mask.selected_label = 30
    assert box.choice.isVisible() and box.choice.currentText() == "part 30" and not box.class_group.buttons()
    box.choice.activated.emit(21)
    assert mask.selected_label == 22 and box.choice.currentText() == "part 22"


def test_the_train_tab_says_that_small_slices_are_not_enlarged(dock, tmp_path, settle):
    dock.session.open_project(small_project(tmp_path, cases=2).path)
    dock.show_tab("Train")
    settle(dock, lambda: "trained at 48 pixels" in dock.train._need.text())
    assert "close" not in dock.train._need.text()


def test_the_train_tab_says_that_close_slices_are_seen_together(dock, tmp_path, settle):
    write_image(tmp_path / "a.nii.gz", np.ones(SHAPE, np.float32), Geometry(SHAPE, np.eye(4)))
    with Project.create(tmp_path / "near", ["lesion"], ["flair"]) as project:
        project.add_case("a", {"flair": tmp_path / "a.nii.gz"})
    dock.session.open_project(tmp_path / "near")
    dock.show_tab("Train")
    settle(dock, lambda: "seen with those above and below" in dock.train._need.text())


def test_review_says_which_colour_is_which_class(dock, tmp_path):
    """On your mask and on a proposal, whoever chose the colour; one class alone needs no word on it."""
    legend, session = dock.review._legend, dock.session
    session.open_project(small_project(tmp_path / "one", cases=1).path)
    assert legend.isHidden()
    session.open_project(small_project(tmp_path / "two", cases=1, classes=("core", "a&b")).path)
    session.set_colour("core", "#123456")
    assert not legend.isHidden() and "core" in legend.text() and "a&amp;b" in legend.text()
    colours = itertools.chain(*palette(("core", "a&b"), {"core": "#123456"}))
    assert all(colour in legend.text() for colour in colours)


def test_a_click_on_the_ribbon_leaves_the_canvas_alone(on_case, settle):
    """The canvas under it saw no press; a release alone confuses it and the keys that come after."""
    ribbon = on_case.overlays.slider.ribbon
    release = QMouseEvent(
        QEvent.Type.MouseButtonRelease, QPointF(5, 5), QPointF(5, 5), Qt.MouseButton.LeftButton,
        Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip
    release.ignore()
    ribbon.mouseReleaseEvent(release)
    assert release.isAccepted()


def test_the_slider_counts_our_slices_beside_finer_layers(on_case, settle):
    """A layer of one's own with thinner slices gives napari's slider more steps: a cell is our slice all the same."""
    dock = on_case
    slider = dock.overlays.slider
    spacing = dock.desk.layers.mask.scale[0]
    dock.viewer.add_image(np.zeros((4 * dock.desk.count, 8, 8)), scale=(spacing / 4, 1, 1), visible=False)
    slider.ribbon.clicked.emit(12)
    settle(dock, lambda: dock.desk.layers.z == 12)
    settle(dock, lambda: slider._number is not None and slider._number.text() == "13")


def test_the_ribbon_hides_where_its_slider_is_not(on_case, settle):
    """In 3D there is nothing to leaf through."""
    dock = on_case
    settle(dock, lambda: dock.overlays.slider.ribbon.isVisible())
    dock.viewer.dims.ndisplay = 3
    settle(dock, lambda: not dock.overlays.slider.ribbon.isVisible())
    dock.viewer.dims.ndisplay = 2
    settle(dock, lambda: dock.overlays.slider.ribbon.isVisible())


def test_larger_letters_are_not_cut_off(dock, proposed, settle):
    """The dock is as wide as what is in it: the last tab and the buttons at the right stay in reach."""
    dock.session.open_project(proposed)
    dock.setStyleSheet(dock.styleSheet() + "QWidget { font-size: 15pt; }")
    for name, panel in dock.panels().items():
        dock.show_tab(name)
        settle(dock, lambda panel=panel: panel.widget().minimumSizeHint().width() <= panel.viewport().width(), 5)
    bar = dock.tabs.tabBar()
    assert bar.tabRect(bar.count() - 1).right() < dock.tabs.width()
