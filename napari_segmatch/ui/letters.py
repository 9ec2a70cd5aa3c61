"""Letters at the edges of the picture that say where right, left, front, back, head and foot are."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QLabel, QOpenGLWidget, QWidget

from .display import Flip, edge_letters
from .links import Links

if TYPE_CHECKING:
    from napari.viewer import Viewer

_STYLE = "background: rgba(0, 0, 0, 110); color: #f0e442; border-radius: 3px; padding: 1px 5px; font-weight: bold;"
_MARGIN, _FOOT = 6, 24


class EdgeLetters(QObject):
    """Four labels over the canvas that let the mouse through and follow rolled axes."""

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.flip: Flip | None = None
        self._canvas: QWidget | None = None
        self._labels: dict[str, QLabel] = {}
        self._covered = 0
        self._links = Links((viewer.dims.events.order, self.redraw), (viewer.dims.events.ndisplay, self.redraw))

    def attach(self, window: QWidget) -> None:
        """Find the canvas inside napari's window and lay the labels over it."""
        canvas = window.findChild(QOpenGLWidget)
        if canvas is None or canvas is self._canvas:
            return
        self._canvas = canvas
        self._labels = {edge: _label(canvas) for edge in ("top", "bottom", "left", "right")}
        canvas.installEventFilter(self)
        self.redraw()

    def detach(self) -> None:
        self._links.cut()
        canvas, labels = self._canvas, self._labels
        self._canvas, self._labels = None, {}
        if canvas is None:
            return
        with contextlib.suppress(RuntimeError):  # napari's window has gone, and the canvas with it
            canvas.removeEventFilter(self)
            for label in labels.values():
                label.deleteLater()

    def show(self, flip: Flip | None) -> None:
        self.flip = flip
        self.redraw()

    @property
    def texts(self) -> dict[str, str]:
        """The letter at each edge as it is now; all empty in 3D and without a case."""
        if self.flip is None or self.viewer.dims.ndisplay != 2:
            return dict.fromkeys(("top", "bottom", "left", "right"), "")
        down, right = (axis - (self.viewer.dims.ndim - 3) for axis in self.viewer.dims.displayed)
        return edge_letters(self.flip, (down, right))

    def redraw(self) -> None:
        texts = self.texts
        for edge, label in self._labels.items():
            label.setText(texts[edge])
            label.adjustSize()
            label.setVisible(bool(texts[edge]))
        self._place()

    def stay_left_of(self, covered: int) -> None:
        """Something lies over so many pixels at the right edge: the letter there stands beside it."""
        self._covered = covered
        self._place()

    def _place(self) -> None:
        if self._canvas is None:
            return
        width, height = self._canvas.width(), self._canvas.height()
        for edge, label in self._labels.items():
            x, y = (width - label.width()) // 2, (height - label.height()) // 2
            x = {"left": _MARGIN, "right": width - self._covered - label.width() - _MARGIN}.get(edge, x)
            y = {"top": _MARGIN, "bottom": height - label.height() - _FOOT}.get(edge, y)
            label.move(x, y)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize:
            self._place()
        return False


def _label(canvas: QWidget) -> QLabel:
    label = QLabel(canvas)
    label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
    label.setStyleSheet(_STYLE)
    return label
