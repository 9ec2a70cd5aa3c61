"""napari's own slice slider, made to count as people do, with the scores of the slices drawn along it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QLabel, QLineEdit, QOpenGLWidget, QScrollBar, QStyle, QStyleOptionSlider, QWidget

from .layers import Layers
from .strip import Cell, SliceStrip

if TYPE_CHECKING:
    from napari.viewer import Viewer

_HEIGHT, _EDGE = 14, 4


class SliceSlider(QObject):
    """Writes 1 where napari writes 0, and takes a typed number as it is meant; lays a ribbon over the canvas's foot.

    napari's numbers come back when the case is closed or the dock leaves. Where napari's slider is built otherwise,
    nothing happens.
    """

    def __init__(self, viewer: Viewer, layers: Layers, parent: QObject) -> None:
        super().__init__(parent)
        self.viewer, self.layers = viewer, layers
        self.ribbon = SliceStrip("What is known of each slice of this case", _HEIGHT)
        self.ribbon.clicked.connect(self._go)
        self.ribbon.hide()
        self._window: QWidget | None = None
        self._canvas: QWidget | None = None
        self._count, self._cells = 0, False
        self._line: QLineEdit | None = None
        self._soon = QTimer(self, singleShot=True, interval=0)
        self._soon.timeout.connect(self.redraw)

    def attach(self, window: QWidget) -> None:
        self._window, self._canvas = window, window.findChild(QOpenGLWidget)
        if self._canvas is not None:
            self.ribbon.setParent(self._canvas)
            self._canvas.installEventFilter(self)

    @property
    def _number(self) -> QLineEdit | None:
        """The field in which napari writes the slice's number; it makes another one when it needs other sliders."""
        with contextlib.suppress(RuntimeError):
            if self._line is not None and self._line.objectName():
                return self._line
        return None

    @property
    def axis(self) -> int:
        return self.viewer.dims.ndim - 3

    def take(self, count: int) -> None:
        """Count from 1 to ``count``; 0 gives the slider back to napari."""
        self.release()
        self._count = count
        if count and self._window is not None:
            for event in self._changes():
                event.connect(self._later)
            self.viewer.dims.events.current_step.connect(self._correct)  # napari's number may be what stands there
            self._listen()
            self._soon.start()

    def _changes(self) -> tuple[Any, ...]:
        """What makes napari lay its sliders anew."""
        events = self.viewer.dims.events
        return events.range, events.order, events.ndisplay

    def _listen(self) -> None:
        self._line = found = self._find()
        if found is not None:
            found.textChanged.connect(self._correct)
            found.editingFinished.disconnect(_own_slot(found))
            found.editingFinished.connect(self._go_there)

    def _find(self) -> QLineEdit | None:
        lines = self._window.findChildren(QLineEdit, "slice_label") if self._window is not None else []
        mine = (line for line in lines if getattr(line.parentWidget(), "axis", None) == self.axis)
        return next((line for line in mine if _own_slot(line) is not None), None)

    def release(self) -> None:
        """Let napari count as it does."""
        number, self._line = self._number, None
        if self._count and self._window is not None:
            for event in self._changes():
                event.disconnect(self._later)
            self.viewer.dims.events.current_step.disconnect(self._correct)
        self._count = 0
        with contextlib.suppress(RuntimeError, IndexError):  # napari's window has gone
            self.ribbon.hide()
            if number is None or _own_slot(number) is None:
                return
            number.textChanged.disconnect(self._correct)
            number.editingFinished.disconnect(self._go_there)
            number.editingFinished.connect(_own_slot(number))
            number.setText(str(self.viewer.dims.current_step[self.axis]))
            _show_total(number, self.viewer.dims.nsteps[self.axis] - 1)

    def detach(self) -> None:
        self.release()
        canvas, self._canvas, self._window = self._canvas, None, None
        with contextlib.suppress(RuntimeError):  # napari's window has gone, and this with it
            if canvas is not None:
                canvas.removeEventFilter(self)
            self.ribbon.setParent(None)
            self.ribbon.deleteLater()

    # numbers ---------------------------------------------------------------------------------------------

    def _later(self) -> None:
        self._soon.start()

    def redraw(self) -> None:
        """Write our numbers over napari's, and put the ribbon where the slider is now."""
        if self._count and self._number is None:
            self._listen()
        if self._number is not None:
            self._correct()
            _show_total(self._number, self._count)
        self._show_ribbon()

    def _correct(self, *_: object) -> None:
        """Napari has written its number."""
        number = self._number
        if number is not None and not number.isModified():
            words = str(self.layers.z + 1)
            if number.text() != words:
                number.setText(words)

    def _go_there(self) -> None:
        """Somebody has typed a number."""
        number = self._number
        if number is not None and number.isModified() and number.text().isdigit():
            number.setModified(False)
            self._go(max(0, min(int(number.text()), self._count) - 1))
            self._correct()
            number.clearFocus()

    def _go(self, index: int) -> None:
        """Go to our slice, whatever steps other layers have given the slider."""
        self.layers.z = index

    # the ribbon ------------------------------------------------------------------------------------------

    def show_cells(self, cells: Sequence[Cell], here: int) -> None:
        """Draw what is known of each slice along the slider, in the slider's order."""
        self.ribbon.show_cells(cells, here)
        self._cells = bool(cells)
        self._show_ribbon()

    def _show_ribbon(self) -> None:
        """Show it while it has cells and its slider is there: not in 3D, nor when another axis is leafed through."""
        leafed = self.axis in self.viewer.dims.not_displayed
        self.ribbon.setVisible(self._cells and leafed and self._number is not None and self._canvas is not None)
        self._place()

    def _place(self) -> None:
        number = self._number
        bar = number.parentWidget().findChild(QScrollBar) if number is not None else None
        if bar is None or self._canvas is None:
            return
        option = QStyleOptionSlider()
        try:
            bar.initStyleOption(option)
        except RuntimeError:  # napari has let go of its slider: the window is closing
            return
        groove = bar.style().subControlRect(
            QStyle.ComplexControl.CC_ScrollBar, option, QStyle.SubControl.SC_ScrollBarGroove, bar
        )
        left = self._canvas.mapFromGlobal(bar.mapToGlobal(groove.topLeft())).x()
        self.ribbon.setGeometry(left, self._canvas.height() - _HEIGHT - _EDGE, groove.width(), _HEIGHT)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize:
            self._soon.start()
        return False


def _show_total(number: QLineEdit, total: int) -> None:
    for label in number.parentWidget().findChildren(QLabel, "slice_label"):
        label.setText(str(total))


def _own_slot(number: QLineEdit) -> Any:
    """Return what napari (0.9) does with a typed number, which counts from 0."""
    return getattr(number.parentWidget(), "_set_slice_from_label", None)
