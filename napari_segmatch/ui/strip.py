"""One cell for each slice of the open case, coloured by what is known of it. A click goes there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from qtpy.QtCore import QEvent, QPoint, QRect, QSize, Qt, Signal
from qtpy.QtGui import QColor, QHelpEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from .style import EMPTY, GOOD, LATER, OWN, UNSURE


class Cell(NamedTuple):
    """Colour (empty for none), the words for the tooltip, and how much of the cell's height is coloured."""

    colour: str
    words: str
    share: float = 1.0

    @classmethod
    def of_work(cls, done: bool, drawn: bool, proposed: bool) -> Cell:
        """Say how far the work on a slice is."""
        if done:
            return cls(GOOD, "done, with a mask") if drawn else cls(OWN, "done, nothing to see")
        if drawn:
            return cls(UNSURE, "painted, not done yet")
        return cls(LATER, "a proposal waits in Review", 0.25) if proposed else cls("", "not annotated")


class SliceStrip(QWidget):
    """Cells in the order of napari's slider."""

    clicked = Signal(int)

    def __init__(self, tip: str, height: int = 22) -> None:
        super().__init__()
        self._cells: Sequence[Cell] = ()
        self._here = 0
        self.setFixedHeight(height)
        self.setMouseTracking(True)
        self.setAccessibleName(tip)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        return QSize(260, self.height())

    def show_cells(self, cells: Sequence[Cell], here: int) -> None:
        self._cells, self._here = cells, here
        self.update()

    def cell_at(self, x: int) -> int | None:
        if not self._cells or not 0 <= x < self.width():
            return None
        return x * len(self._cells) // self.width()

    def _edge(self, index: int) -> int:
        """Left edge of a cell: the first pixel that :meth:`cell_at` gives to it."""
        return -(-index * self.width() // len(self._cells))

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        gap = 1 if self._cells and self.width() / len(self._cells) > 4 else 0
        for index, item in enumerate(self._cells):
            left, right = self._edge(index), self._edge(index + 1)
            cell = QRect(left, 4, max(1, right - left - gap), self.height() - 8)
            painter.fillRect(cell, QColor(EMPTY))
            if item.colour:
                painter.fillRect(cell.adjusted(0, round((1 - item.share) * cell.height()), 0, 0), QColor(item.colour))
        if self._cells:
            left, right = self._edge(self._here), self._edge(self._here + 1)
            painter.setPen(QPen(self.palette().text().color(), 2))
            painter.drawRect(QRect(left, 1, max(3, right - left) - 1, self.height() - 2))

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._go(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._go(event)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        event.accept()  # what lies under the strip has seen no press and is to see no release

    def _go(self, event: QMouseEvent) -> None:
        index = self.cell_at(int(event.position().x()))
        if index is not None:
            self.clicked.emit(index)

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            self._explain(event.pos(), event.globalPos())
            return True
        return super().event(event)

    def _explain(self, here: QPoint, there: QPoint) -> None:
        index = self.cell_at(here.x())
        if index is not None:
            QToolTip.showText(there, f"Slice {index + 1}: {self._cells[index].words}", self)
