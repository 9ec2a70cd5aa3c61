"""Many proposals on one sheet, to be accepted with one word. A click leaves one out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from qtpy.QtCore import QModelIndex, QRect, QSize, Qt, Signal
from qtpy.QtGui import QColor, QKeyEvent, QPainter, QPen
from qtpy.QtWidgets import QFrame, QListView, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from ..texts import count
from ..types import Proposal
from .queue import NUMBER_ROLE, PROPOSAL_ROLE, PROVEN_ROLE, QueueModel, score_words
from .queue_view import verdict_colour
from .style import EMPTY, LATER, UNSURE, button, column, row, text
from .thumbnails import TILE, Thumbnails

DOUBTED = "Orange frames: the score does not pass."
UNPROVEN = "Grey frames: made before the discriminator was proven, take their percentage for a guess."


class ContactSheet(QFrame):
    """Lies over the window until it is answered; nothing is decided before that.

    Parameters
    ----------
    look
        The stylesheet of the panels: the sheet lies outside of them.
    chosen
        Called with the proposals to accept and the seconds that the person looked.
    """

    closed = Signal()

    def __init__(
        self,
        parent: QWidget,
        look: str,
        title: str,
        items: Sequence[Proposal],
        source: QueueModel,
        thumbnails: Thumbnails,
        chosen: Callable[[list[Proposal], float], None],
    ) -> None:
        super().__init__(parent)
        self.setProperty("role", "sheet")
        self.setStyleSheet(look)
        self.setAutoFillBackground(True)
        self._chosen, self._since, self._thumbnails = chosen, time.monotonic(), thumbnails
        self.left_out: set[int] = set()
        self.model = QueueModel(source.number, source.proven, self)
        self.model.show(items)
        self.view = QListView()
        self.view.setModel(self.model)
        self.view.setViewMode(QListView.ViewMode.IconMode)
        self.view.setResizeMode(QListView.ResizeMode.Adjust)
        self.view.setMovement(QListView.Movement.Static)
        self.view.setUniformItemSizes(True)
        self.view.setSelectionMode(QListView.SelectionMode.NoSelection)
        self.view.setItemDelegate(_Tile(thumbnails, self.left_out, self.view))
        self.view.setToolTip("Click a tile to leave it out")
        self.view.clicked.connect(self._clicked)
        self.accept = button("", "All tiles that are not crossed out become labels; one undo takes them all back",
                             self._accept, "primary", "⏎")  # fmt: skip
        cancel = button("Cancel", "Decide nothing", self.close_sheet, key="Esc")
        about = text(_about({verdict_colour(item, source.proven(item)) for item in items}), "hint")
        layout = column(text(title, "title"), about, self.view, row(self.accept, cancel))
        layout.setContentsMargins(14, 12, 14, 12)
        self.setLayout(layout)
        thumbnails.arrived.connect(self._arrived)
        self._say()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def open_over(self, area: QRect) -> None:
        self.setGeometry(area)
        self.show()
        self.raise_()
        self.setFocus()

    def _say(self) -> None:
        n = len(self.model.items) - len(self.left_out)
        self.accept.setText(f"Accept {count(n, 'proposal')}   ⏎")
        self.accept.setEnabled(n > 0)

    def _arrived(self, ids: set[int]) -> None:
        self.model.repaint(ids)

    def _clicked(self, index: QModelIndex) -> None:
        item = index.data(PROPOSAL_ROLE)
        self.left_out ^= {item.id}
        self.model.repaint({item.id})
        self._say()

    def _accept(self) -> None:
        if self.accept.isEnabled():
            items = [item for item in self.model.items if item.id not in self.left_out]
            self.close_sheet()
            self._chosen(items, round(time.monotonic() - self._since, 1))

    def close_sheet(self) -> None:
        if self._thumbnails is not None:
            self._thumbnails.arrived.disconnect(self._arrived)
            self._thumbnails = None  # type: ignore[assignment]
            self.hide()
            self.closed.emit()
            self.deleteLater()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._accept()
        elif event.key() == Qt.Key.Key_Escape:
            self.close_sheet()
        else:
            event.accept()


def _about(frames: set[str]) -> str:
    """Say what the sheet shows, and what frames of these colours mean; a green one needs no words."""
    words = "Click a tile to leave it out. Spot checks and slices you painted on are not here: judge them singly."
    meanings = ((UNSURE, DOUBTED), (LATER, UNPROVEN))
    return " ".join((words, *(meaning for colour, meaning in meanings if colour in frames)))


class _Tile(QStyledItemDelegate):
    def __init__(self, thumbnails: Thumbnails, left_out: set[int], parent: QListView) -> None:
        super().__init__(parent)
        self._thumbnails, self._left_out = thumbnails, left_out

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:
        return QSize(TILE + 10, TILE + 28)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        item = index.data(PROPOSAL_ROLE)
        painter.save()
        box = QRect(option.rect.left() + 5, option.rect.top() + 4, TILE, TILE)
        picture = self._thumbnails.pixmap(item)
        if picture is None:
            painter.fillRect(box, QColor(EMPTY))
        else:
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
            painter.drawPixmap(box, picture)
        out = item.id in self._left_out
        if out:
            painter.fillRect(box, QColor(0, 0, 0, 150))
            painter.setPen(QPen(QColor("white"), 3))
            painter.drawLine(box.topLeft(), box.bottomRight())
            painter.drawLine(box.topRight(), box.bottomLeft())
        painter.setPen(QPen(QColor(EMPTY if out else verdict_colour(item, index.data(PROVEN_ROLE))), 2))
        painter.drawRect(box)
        painter.setPen(option.palette.text().color())
        words = f"slice {index.data(NUMBER_ROLE)}   {score_words(item)}"
        painter.drawText(box.translated(0, TILE + 2).adjusted(0, 0, 0, 20 - TILE), Qt.AlignmentFlag.AlignHCenter, words)
        painter.restore()
