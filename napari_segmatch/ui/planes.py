"""Small linked pictures beside the large one: the two other planes, and the other sequences on the same slice."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from qtpy.QtCore import QPoint, QRect, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QOpenGLWidget, QWidget

from ..types import NOT_ANNOTATED
from .desk import Desk
from .links import Links
from .slices import in_structure
from .style import OWN

_EDGE, _GAP = 190, 4


@dataclass(frozen=True, eq=False)
class Tile:
    """A picture (rows, columns, 3) uint8, the size of a voxel in mm (rows, columns), and the lines to draw on it.

    ``axes`` are the axes of the volume (0, 1, 2 = z, y, x on the screen) that its rows and columns run along.
    """

    title: str
    picture: np.ndarray
    spacing: tuple[float, float]
    axes: tuple[int, int]


def coloured(
    grey: np.ndarray, masks: Sequence[tuple[np.ndarray, Sequence[str]]], limits: tuple[float, float]
) -> np.ndarray:
    """Draw pixels (rows, columns) with the edges of masks over them, each with the colours of its classes."""
    low, high = limits
    values = (np.clip((grey - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
    rgb = np.repeat(values[..., None], 3, 2)
    for labels, colours in masks:
        labels = np.where(labels == NOT_ANNOTATED, 0, labels)
        edge = np.zeros(labels.shape, bool)
        edge[:-1] |= labels[:-1] != labels[1:]
        edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
        for label in np.unique(labels[labels > 0]):
            near = labels == label
            near[1:] |= near[:-1].copy()
            near[:, 1:] |= near[:, :-1].copy()
            rgb[edge & near] = QColor(colours[(int(label) - 1) % len(colours)]).getRgb()[:3]
    return rgb


class Planes(QWidget):
    """Lies over the right edge of the canvas. A click goes there. ``covered`` carries how many pixels of it are hidden.

    Attributes
    ----------
    point
        The place (z, y, x) on the screen that the other planes cut through.
    """

    covered = Signal(int)

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk
        self.point = [0, 0, 0]
        self._on = False
        self._tiles: list[tuple[Tile, QRect]] = []
        self.setToolTip("Other planes and sequences; click to go there (key: O)")
        self.setAccessibleName("Linked planes and sequences")
        self._soon = QTimer(self, singleShot=True, interval=0)
        self._soon.timeout.connect(self.redraw)
        self._links = Links(
            (desk.opened, self._opened),
            (desk.slice_changed, self.redraw),
            (desk.labels_changed, self.redraw),
            (desk.layers.pictures.changed, self._later),
            (desk.layers.proposal_changed, self._later),
        )
        self.hide()

    def attach(self, window: QWidget) -> None:
        canvas = window.findChild(QOpenGLWidget)
        if canvas is not None:
            self.setParent(canvas)
            self._show(self._on)
            self.redraw()

    def detach(self) -> None:
        self._links.cut()
        with contextlib.suppress(RuntimeError):  # napari's window has gone, and this with it
            self.hide()
            self.setParent(None)
            self.deleteLater()

    def toggle(self) -> bool:
        """Show or hide the planes; returns whether they are shown."""
        self._on = not self._on
        self._show(self._on and self.parent() is not None)
        self.redraw()
        return self._on

    def _later(self) -> None:
        self._soon.start()

    def _show(self, on: bool) -> None:
        self.setVisible(on)
        if not on:
            self.covered.emit(0)

    def _opened(self) -> None:
        """Cut through the middle of what is painted, else through the middle of the picture."""
        self._show(self._on and bool(self.desk.count))
        if not self.desk.count:
            return
        labels = self.desk.labels[self.desk.drawn]
        self.point = [n // 2 for n in self.desk.labels.shape]
        self.look_at(np.asarray(in_structure(labels).any(axis=0)))

    def look_at(self, inside: np.ndarray) -> None:
        """Cut through the middle of a mask (y, x) as stored, if there is anything in it."""
        rows, columns = np.nonzero(self.desk.flip.to_view(inside))
        if rows.size:
            self.point[1:] = [int(np.median(rows)), int(np.median(columns))]
        self.redraw()

    def redraw(self) -> None:
        mask, canvas = self.desk.layers.mask, self.parent()
        if not self._on or not self.desk.count or mask is None or not isinstance(canvas, QWidget):
            return
        self.point[0] = self.desk.layers.z
        self._place(self._make(np.asarray(mask.data), self.desk.layers.proposed, mask.scale), canvas)
        self.update()

    def _make(self, mask: np.ndarray, proposal: np.ndarray, spacing: Sequence[float]) -> list[Tile]:
        layers, pictures = self.desk.layers, self.desk.layers.pictures
        z, y, x = self.point
        shown = pictures.sequence or pictures.present[0]  # somebody may have closed its eye
        both = (mask, layers.colours), (proposal, layers.proposal_colours)
        tiles = []
        for title, cut, axes in (("front", (slice(None), y), (0, 2)), ("side", (slice(None), slice(None), x), (0, 1))):
            image = pictures.layers[shown]
            drawn = coloured(np.asarray(image.data)[cut], [(m[cut], c) for m, c in both], image.contrast_limits)
            tiles.append(Tile(title, drawn, (spacing[axes[0]], spacing[axes[1]]), axes))
        for name in pictures.present:
            if name != shown:
                image = pictures.layers[name]
                drawn = coloured(np.asarray(image.data)[z], [(m[z], c) for m, c in both], image.contrast_limits)
                tiles.append(Tile(name, drawn, (spacing[1], spacing[2]), (1, 2)))
        return tiles

    def _place(self, tiles: list[Tile], canvas: QWidget) -> None:
        edge = max(90, min(_EDGE, canvas.height() // max(1, len(tiles)) - 2 * _GAP, canvas.width() // 3))
        self._tiles, top = [], _GAP
        for tile in tiles:
            height, width = (n * mm for n, mm in zip(tile.picture.shape[:2], tile.spacing, strict=True))
            scale = edge / max(height, width)
            box = QRect(edge - round(width * scale) + _GAP, top, round(width * scale), round(height * scale))
            self._tiles.append((tile, box))
            top = box.bottom() + 1 + _GAP
        self.setGeometry(canvas.width() - edge - 3 * _GAP, _GAP, edge + 2 * _GAP, top)
        self.covered.emit(edge + 3 * _GAP)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.fillRect(self.rect(), QColor(0, 0, 0, 150))
        for tile, box in self._tiles:
            rows, columns, _ = tile.picture.shape
            data = np.ascontiguousarray(tile.picture).tobytes()
            painter.drawImage(box, QImage(data, columns, rows, 3 * columns, QImage.Format.Format_RGB888))
            painter.setPen(QPen(QColor(OWN), 1))
            down, right = (self.point[axis] + 0.5 for axis in tile.axes)
            painter.drawLine(box.left(), box.top() + round(down * box.height() / rows), box.right(),
                             box.top() + round(down * box.height() / rows))  # fmt: skip
            painter.drawLine(box.left() + round(right * box.width() / columns), box.top(),
                             box.left() + round(right * box.width() / columns), box.bottom())  # fmt: skip
            _write(painter, box, tile.title)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._go(event.position().toPoint())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._go(event.position().toPoint())

    def _go(self, where: QPoint) -> None:
        for tile, box in self._tiles:
            if box.contains(where):
                rows, columns, _ = tile.picture.shape
                down = (where.y() - box.top()) * rows // max(1, box.height())
                right = (where.x() - box.left()) * columns // max(1, box.width())
                self.point[tile.axes[0]], self.point[tile.axes[1]] = down, right
                self.desk.layers.z = self.point[0]
                self.redraw()
                return


def _write(painter: QPainter, box: QRect, title: str) -> None:
    """Write a title in a picture's corner, on a dark ground of its own: many pictures are bright there."""
    ground = painter.fontMetrics().boundingRect(title).adjusted(-5, -1, 5, 1)
    ground.moveTopLeft(box.topLeft() + QPoint(2, 2))
    painter.fillRect(ground, QColor(0, 0, 0, 150))
    painter.setPen(QColor("#f0e442"))
    painter.drawText(ground, Qt.AlignmentFlag.AlignCenter, title)
