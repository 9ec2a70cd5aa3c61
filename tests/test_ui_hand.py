"""Mouse and keys wherever the focus is: the tool that the panel names is in the hand, and no key goes astray."""

import threading

import numpy as np
import pytest
from helpers import small_project
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QApplication, QComboBox, QOpenGLWidget, QSpinBox

from napari_segmatch.io import FoundCase
from napari_segmatch.keeper import Keeper
from napari_segmatch.project import Project, journal

pytest.importorskip("napari")

from napari.settings import get_settings

Key, Left, Right = Qt.Key, Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton


def press(dock, key, modifier=Qt.KeyboardModifier.NoModifier):
    """Press a key as the window system would: over the whole window, whatever has the focus."""
    QTest.keyClick(dock.window().windowHandle(), key, modifier)


def encircle(dock):
    """Begin to encircle something with the right button, and leave it open; returns what is painted."""
    mask = dock.desk.layers.mask
    if "brush_stroke" not in getattr(mask, "_overlays", {}):
        pytest.skip("this napari has no such tool")
    dock.desk.layers.set_mode("paint")
    canvas = dock.window().findChild(QOpenGLWidget)
    centre = canvas.rect().center()
    QTest.mouseMove(canvas, centre)
    QTest.mouseClick(canvas, Right, pos=centre)
    for step in range(1, 6):
        QTest.mouseMove(canvas, centre + QPoint(8 * step, 0))
        QTest.qWait(20)
    assert dock.desk.layers.stroke_goes_on
    return int((dock.desk.labels == 1).sum())


def drag(dock, *, press):
    """Paint with the left button, which stays down; returns what is painted."""
    canvas = dock.window().findChild(QOpenGLWidget)
    centre = canvas.rect().center()
    if press:
        dock.desk.layers.set_mode("paint")
        QTest.mouseMove(canvas, centre)
        QTest.mousePress(canvas, Left, pos=centre)
    for step in range(1, 6):
        QTest.mouseMove(canvas, centre + QPoint((8 if press else -8) * step, 0))
        QTest.qWait(20)
    return int((dock.desk.labels == 1).sum())


def in_journal(project, z):
    """Return how much of the first class the window's journal holds of a slice."""
    files = journal.journals(project / "journal")
    found = journal.read_strokes(files[-1].read_bytes()).get("case-03", {}) if files else {}
    return int((found[z] == 1).sum()) if z in found else 0


def scroll(control):
    """Turn the mouse wheel over a control."""
    place = QPointF(control.rect().center())
    nothing, down = QPoint(), QPoint(0, -120)
    button, key = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier
    event = QWheelEvent(
        place,
        QPointF(control.mapToGlobal(place.toPoint())),
        nothing,
        down,
        button,
        key,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(control, event)


# what goes on without a button ---------------------------------------------------------------------------


def test_what_is_being_encircled_never_touches_another_case(on_case, settle):
    """Napari takes an open stroke back when the tool changes, and by then another patient's mask lay there."""
    dock = on_case
    session, z = dock.session, dock.desk.z
    there = np.zeros(dock.desk.labels.shape[1:], np.uint8)
    there[20:-20, 20:-20] = 1
    session.save_slices("case-04", {z: there}, done=(z,))
    settle(dock, lambda: not session.is_saving)
    painted = encircle(dock)
    assert painted
    press(dock, Key.Key_J)
    settle(dock, lambda: dock.desk.case_id == "case-04")
    assert np.array_equal(dock.desk.labels[z], there)
    settle(dock, lambda: not session.is_saving and not dock.desk.dirty)
    assert np.array_equal(session.mask("case-04")[z], there)
    assert (session.mask("case-03") == 1).sum() == painted


def test_an_open_stroke_ends_with_its_slice(on_case, settle):
    """The mouse would go on painting on the next one; what is there is one step of undo."""
    dock, z = on_case, on_case.desk.z
    painted = encircle(dock)
    assert dock.desk.dirty  # the line at the bottom does not say “saved”
    dock.desk.layers.z += 1
    assert not dock.desk.layers.stroke_goes_on
    canvas = dock.window().findChild(QOpenGLWidget)
    QTest.mouseMove(canvas, canvas.rect().center() + QPoint(-40, 30))
    QTest.qWait(50)
    settle(dock, lambda: not dock.session.is_saving and not dock.desk.dirty)
    assert (dock.session.mask("case-03")[z] == 1).sum() == painted == (dock.desk.labels == 1).sum()
    press(dock, Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not (dock.desk.labels == 1).any()


@pytest.mark.parametrize("tool", ["erase", "pan_zoom"])
def test_done_keeps_what_has_been_encircled_so_far(on_case, settle, tool):
    dock, z = on_case, on_case.desk.z
    painted = encircle(dock)
    press(dock, Key.Key_Return)
    dock.desk.layers.mask.mode = tool
    settle(dock, lambda: z in dock.desk.done)
    assert (dock.session.mask("case-03")[z] == 1).sum() == painted == (dock.desk.labels[z] == 1).sum()


def test_a_correction_keeps_what_has_been_encircled_so_far(dock, proposed, settle):
    session, reviewer = dock.session, dock.review.reviewer
    session.open_project(proposed)
    dock.show_tab("Review")
    settle(dock, lambda: reviewer.on_screen)
    item = reviewer.current
    press(dock, Key.Key_C)
    painted = encircle(dock)
    press(dock, Key.Key_Return)
    settle(dock, lambda: not session.is_saving)
    assert (session.mask(item.case)[item.z] == 1).sum() == painted


def test_saving_in_time_does_not_end_a_stroke_that_goes_on(on_case, settle):
    dock = on_case
    dock.desk.write({dock.desk.z + 1: np.ones(dock.desk.labels.shape[1:], np.uint8)})
    encircle(dock)
    QTest.qWait(1500)
    assert dock.desk.layers.stroke_goes_on
    dock.desk.save()
    assert not dock.desk.layers.stroke_goes_on


def test_what_napari_takes_back_of_a_stroke_is_offered_to_nobody(on_case, settle, project):
    """Esc gives up what is being encircled: the next window would ask what to do with it, after a clean end too."""
    dock, z = on_case, on_case.desk.z
    before, painted = dock.desk.labels[z].copy(), encircle(dock)
    settle(dock, lambda: painted and in_journal(project, z) == painted)
    dock.window().findChild(QOpenGLWidget).setFocus()
    press(dock, Key.Key_Escape)
    assert np.array_equal(dock.desk.labels[z], before)
    settle(dock, lambda: not in_journal(project, z))
    encircle(dock)
    settle(dock, lambda: in_journal(project, z) == painted)
    press(dock, Key.Key_Escape)
    dock.end()  # before anybody has looked at the slice again
    with Project.open(project) as opened:
        Keeper(opened, crashed=False).close()
        assert not opened.asides()


# what goes on while a button is down ---------------------------------------------------------------------


@pytest.mark.parametrize("where", ["next case", "next slice", "case that arrives"])
def test_a_stroke_whose_button_is_down_never_goes_on_elsewhere(on_case, settle, monkeypatch, where):
    """Its later part was painted into another patient's mask."""
    dock, session, case = on_case, on_case.session, on_case.desk.case_id
    read, go = session.project.mask, threading.Event()
    monkeypatch.setattr(session.project, "mask", lambda case: (go.wait(60), read(case))[1])
    if where == "case that arrives":
        dock.annotate_case("case-04")
    painted = drag(dock, press=True)
    assert painted and dock.desk.case_id == case
    if where != "case that arrives":
        press(dock, Key.Key_J if where == "next case" else Key.Key_Right)
    go.set()
    settle(dock, lambda: where == "next slice" or dock.desk.case_id == "case-04")
    assert drag(dock, press=False) == (painted if where == "next slice" else 0)
    QTest.mouseRelease(dock.window().findChild(QOpenGLWidget), Left)
    settle(dock, lambda: not session.is_saving and not dock.desk.dirty)
    assert (session.mask(case) == 1).sum() == painted
    assert where == "next slice" or not (session.mask("case-04") == 1).any()


def test_saving_in_time_does_not_break_a_stroke_in_two(on_case, settle):
    dock = on_case
    dock.desk.write({dock.desk.z + 1: np.zeros(dock.desk.labels.shape[1:], np.uint8)})
    assert drag(dock, press=True)
    QTest.qWait(1500)
    assert dock.desk.dirty  # the line at the bottom does not say “saved”
    assert drag(dock, press=False)
    QTest.mouseRelease(dock.window().findChild(QOpenGLWidget), Left)
    settle(dock, lambda: not dock.desk.dirty)
    press(dock, Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not (dock.desk.labels == 1).any()


# the tool in the hand ------------------------------------------------------------------------------------


def test_no_picture_can_be_moved_off_its_mask(on_case, settle):
    """Napari's 2 on an image is the tool that moves it: people would paint beside what they see, in later cases too."""
    dock, viewer = on_case, on_case.viewer
    layers = dock.desk.layers
    for layer in (*layers.pictures.layers.values(), layers.mask, layers.proposal):
        viewer.layers.selection.active = layer
        layer.mode = "transform"
        QTest.qWait(20)
        assert str(layer.mode) == "pan_zoom"


def test_a_tool_s_key_puts_it_in_the_hand_whichever_layer_of_ours_is_active(on_case):
    """Who has set the contrast of a picture has its layer active; the panel says “Paint 2” all the same."""
    dock, viewer, mask = on_case, on_case.viewer, on_case.desk.layers.mask
    picture = next(iter(dock.desk.layers.pictures.layers.values()))
    for active in (picture, dock.desk.layers.proposal, None):
        viewer.layers.selection.active = active
        press(dock, Key.Key_2)
        assert viewer.layers.selection.active is mask and str(mask.mode) == "paint"
    theirs = viewer.add_labels(np.zeros(mask.data.shape, np.uint8), name="theirs")
    press(dock, Key.Key_1)
    assert viewer.layers.selection.active is theirs and str(mask.mode) == "paint"


def test_the_key_on_a_tool_s_button_is_that_of_napari(on_case, monkeypatch):
    """With your mask as the active layer napari takes it, and with a picture we do: to the same tool."""
    monkeypatch.setattr(get_settings().application, "hold_button_delay", 60)  # however busy, a press is not long
    dock, viewer, mask = on_case, on_case.viewer, on_case.desk.layers.mask
    picture = next(iter(dock.desk.layers.pictures.layers.values()))
    for made in dock.annotate.toolbox._tools.buttons():
        key = made.text().split()[-1]
        assert made.toolTip().endswith(f"(key: {key})")
        for active in (mask, picture):
            viewer.layers.selection.active = mask
            mask.mode = "pick"
            viewer.layers.selection.active = active
            press(dock, Key(Key.Key_0 + int(key)))
            assert str(mask.mode) == made.property("mode")


def test_the_panel_marks_no_tool_while_none_is_in_the_hand(on_case):
    dock, viewer = on_case, on_case.viewer
    tools = dock.annotate.toolbox._tools.buttons
    dock.desk.layers.set_mode("paint")
    assert [made.property("mode") for made in tools() if made.isChecked()] == ["paint"]
    viewer.layers.selection.active = next(iter(dock.desk.layers.pictures.layers.values()))
    assert not any(made.isChecked() for made in tools())
    viewer.layers.selection.active = dock.desk.layers.mask
    assert [made.property("mode") for made in tools() if made.isChecked()] == ["paint"]


# keys wherever the focus is ------------------------------------------------------------------------------


def test_arrows_leaf_through_slices_after_a_click_in_the_panel(on_case):
    dock, z = on_case, on_case.desk.layers.z
    dock.annotate.setFocus()
    press(dock, Key.Key_Right)
    assert dock.desk.layers.z == z + 1
    press(dock, Key.Key_Left)
    assert dock.desk.layers.z == z


@pytest.mark.parametrize("tab", ["Annotate", "Review"])
def test_a_click_on_a_choice_takes_no_key_from_the_picture(dock, proposed, settle, tab):
    """A digit would choose the case that begins with it, not the tool."""
    dock.session.open_project(proposed)
    dock.show_tab(tab)
    settle(dock, lambda: dock.desk.case_id != "")
    panel = dock.panels()[tab]
    clicked = [control for control in panel.findChildren(QComboBox) if control.isVisible()]
    clicked += [control for control in panel.findChildren(QAbstractButton) if control.isVisible()]
    assert clicked and not any(control.focusPolicy() & Qt.FocusPolicy.ClickFocus for control in clicked)


def test_scrolling_past_a_control_changes_nothing(on_case):
    dock = on_case
    for name, panel in dock.panels().items():
        dock.show_tab(name)
        for control in (*panel.findChildren(QComboBox), *panel.findChildren(QSpinBox)):
            before = control.currentIndex() if isinstance(control, QComboBox) else control.value()
            scroll(control)
            after = control.currentIndex() if isinstance(control, QComboBox) else control.value()
            assert before == after, (name, control.toolTip())


@pytest.mark.parametrize(("order", "first"), [("worth a look", 0), ("by case", 1)])
def test_a_key_in_the_list_of_proposals_shows_what_it_marks(dock, proposed, settle, order, first):
    """R would fall on the patient on the screen, while the list marks another one, or the name of one."""
    dock.session.open_project(proposed)
    dock.show_tab("Review")
    review, reviewer = dock.review, dock.review.reviewer
    review.filter.order.setCurrentText(order)
    settle(dock, lambda: reviewer.on_screen)
    review.view.setFocus()
    last, rows = review.model.rowCount() - 1, []
    keys = ("Down", "End", "Up", "Home", "Up", "PageDown", "PageUp", *["Down"] * last, *["Up"] * last)
    for key in keys:
        press(dock, getattr(Key, f"Key_{key}"))
        rows.append(review.view.currentIndex().row())
        assert reviewer.current == review.model.row(rows[-1])
    assert rows[1:5] == [last, last - 1, first, first] and max(rows[-2 * last : -last]) == last and rows[-1] == first
    settle(dock, lambda: reviewer.on_screen)


def test_tools_of_a_correction_have_their_keys_after_a_click_in_the_list(dock, proposed, settle):
    dock.session.open_project(proposed)
    dock.show_tab("Review")
    review, reviewer = dock.review, dock.review.reviewer
    settle(dock, lambda: reviewer.on_screen)
    mask = dock.desk.layers.mask
    review.view.setFocus()
    press(dock, Key.Key_C)
    size = mask.brush_size
    press(dock, Key.Key_BracketLeft)
    press(dock, Key.Key_1)
    assert str(mask.mode) == "erase" and mask.brush_size == size - 1
    dock.viewer.layers.selection.active = next(iter(dock.desk.layers.pictures.layers.values()))
    press(dock, Key.Key_2)
    assert dock.viewer.layers.selection.active is mask and str(mask.mode) == "paint"


def test_what_stands_in_the_way_of_a_correction_is_said_only_while_it_does(dock, proposed, settle):
    dock.session.open_project(proposed)
    dock.show_tab("Review")
    review, reviewer = dock.review, dock.review.reviewer
    settle(dock, lambda: reviewer.on_screen)
    press(dock, Key.Key_C)
    review.view.setFocus()
    press(dock, Key.Key_Down)
    assert "correction first" in dock.status._message.text()
    assert reviewer.current == review.model.row(review.view.currentIndex().row())
    reviewer.cancel_correction()
    assert not dock.status._message.text()


def test_enter_in_a_folder_s_field_does_what_its_form_is_for(dock, project, tmp_path, settle):
    """It creates, finds and exports. What was found is looked at before it is added: a second Enter finds anew."""
    session, made, out = dock.session, tmp_path / "new", tmp_path / "out"

    def enter(tab, field, words):
        dock.show_tab(tab)
        field.setText(words)
        field.setFocus()
        press(dock, Key.Key_Return)

    enter("Cases", dock.cases.path, str(made))
    assert session.project.path == made
    enter("Export", dock.export.folder, str(out))
    assert not session._jobs.pending("export"), "there is nothing to export yet"
    form = dock.cases.form
    enter("Cases", form.folder, str(project / "images"))
    press(dock, Key.Key_Return)
    assert len(form.found) == 4 and not session.adding
    session.open_project(project)
    enter("Export", dock.export.folder, str(out))
    settle(dock, lambda: (out / "slices.csv").exists() and not session._jobs.pending("export"))


# adding --------------------------------------------------------------------------------------------------


def test_that_scans_are_being_added_is_said_from_the_first(dock, tmp_path, settle):
    """The first file may take long: “Next: add a folder with scans” stood there all the while."""
    small_project(tmp_path, cases=2).close()
    images = tmp_path / "images" / "a"
    dock.session.create_project(tmp_path / "other", ["lesion"], ["flair"])
    dock.show_tab("Cases")
    found = FoundCase("a", {"flair": next(images.glob("*flair*"))}, None)
    dock.cases.form.wanted.emit([found], [], [])
    assert dock.cases._next.text() == "Adding scans: 1 to go." and dock.cases._stop.isVisible()
    settle(dock, lambda: not dock.session.adding)
