"""How a proposal looks in the queue: thumbnail, where it is, score bar, the machine's word, your word."""

from __future__ import annotations

from qtpy.QtCore import QModelIndex, QRect, QSize, Qt, Signal
from qtpy.QtGui import QColor, QFont, QFontMetrics, QKeyEvent, QPainter
from qtpy.QtWidgets import QHeaderView, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QTableView

from ..ranking import is_blind
from ..texts import count
from ..types import Proposal
from .queue import (
    HEADING_ROLE,
    NUMBER_ROLE,
    PROPOSAL_ROLE,
    PROVEN_ROLE,
    Heading,
    QueueModel,
    score_words,
    verdict_words,
)
from .style import EMPTY, GOOD, LATER, UNSURE, VERDICT_COLOURS
from .thumbnails import SIDE, Thumbnails

_ROW = SIDE + 8
_TICKS = {"accepted": "✓", "rejected": "✗", "corrected": "✎", "deferred": "…"}


_LEADING = {getattr(Qt.Key, f"Key_{name}") for name in ("Up", "Down", "PageUp", "PageDown", "Home", "End")}
"""Keys that lead to another row."""


class QueueView(QTableView):
    """A list of any length; only visible rows are drawn and only their thumbnails made.

    A table of one column: Qt's list asks a model how many rows it has once for each row, whenever one has gone.
    """

    reached = Signal(QModelIndex)
    """A key has led to this row."""

    def __init__(self, model: QueueModel, thumbnails: Thumbnails) -> None:
        super().__init__()
        self.setModel(model)
        self._delegate = ProposalDelegate(thumbnails, self)
        self.setItemDelegate(self._delegate)
        self.setVerticalScrollMode(QTableView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSelectionMode(QTableView.SelectionMode.SingleSelection)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self.horizontalHeader().hide()
        self.horizontalHeader().setStretchLastSection(True)
        self.verticalHeader().hide()
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.verticalHeader().setDefaultSectionSize(_ROW)
        self.setMinimumHeight(5 * _ROW // 2)
        self.setAccessibleName("Proposals to review")

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Take keys that lead to another row; all others are napari's, as those of the tools in a correction."""
        if event.key() not in _LEADING:
            event.ignore()
            return
        before = self.currentIndex()
        super().keyPressEvent(event)
        self._pass_heading(upwards=event.key() in (Qt.Key.Key_Up, Qt.Key.Key_PageUp))
        if self.currentIndex() != before:
            self.reached.emit(self.currentIndex())

    def _pass_heading(self, upwards: bool) -> None:
        """Mark a proposal, not the case above it: a verdict falls on what is shown, be it of another case."""
        index = self.currentIndex()
        if index.data(HEADING_ROLE) is not None:
            above = upwards and index.row() > 0
            self.setCurrentIndex(index.siblingAtRow(index.row() + (-1 if above else 1)))

    def moveCursor(self, action: QTableView.CursorAction, modifiers: Qt.KeyboardModifier) -> QModelIndex:
        """Home and End go to the first and the last row, as in a list; in a table they stay in theirs."""
        if action == QTableView.CursorAction.MoveHome:
            return self.model().index(0, 0)
        if action == QTableView.CursorAction.MoveEnd:
            return self.model().index(self.model().rowCount() - 1, 0)
        return super().moveCursor(action, modifiers)


class ProposalDelegate(QStyledItemDelegate):
    def __init__(self, thumbnails: Thumbnails, parent: QTableView) -> None:
        super().__init__(parent)
        self._thumbnails = thumbnails

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:
        return QSize(240, _ROW)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        heading = index.data(HEADING_ROLE)
        if isinstance(heading, Heading):
            _heading(painter, option, heading)
            return
        item = index.data(PROPOSAL_ROLE)
        if not isinstance(item, Proposal):
            return
        painter.save()
        area = option.rect
        if option.state & QStyle.StateFlag.State_Selected:
            painter.fillRect(area, option.palette.highlight())
        picture = self._thumbnails.small(item)
        box = QRect(area.left() + 4, area.top() + 4, SIDE, SIDE)
        if picture is not None:
            painter.drawPixmap(box, picture)
        else:
            painter.fillRect(box, QColor(0, 0, 0, 60))
        _words(painter, option, QRect(box.right() + 9, box.top(), area.right() - box.right() - 15, SIDE), index)
        painter.restore()


def _heading(painter: QPainter, option: QStyleOptionViewItem, heading: Heading) -> None:
    painter.save()
    area = option.rect.adjusted(0, 2, 0, -2)
    painter.fillRect(area, QColor(EMPTY))
    painter.setPen(option.palette.text().color())
    half = area.height() // 2
    first = QRect(area.left() + 8, area.top() + 3, area.width() - 16, half)
    second = first.translated(0, half - 5)
    words = f"{count(heading.count, 'proposal')}: click to see all and accept at once"
    painter.drawText(second, Qt.AlignmentFlag.AlignVCenter, words)
    font = QFont(option.font)
    font.setBold(True)
    painter.setFont(font)
    name = QFontMetrics(font).elidedText(heading.case, Qt.TextElideMode.ElideMiddle, first.width())
    painter.drawText(first, Qt.AlignmentFlag.AlignVCenter, name)
    painter.restore()


def _words(painter: QPainter, option: QStyleOptionViewItem, area: QRect, index: QModelIndex) -> None:
    item, number = index.data(PROPOSAL_ROLE), index.data(NUMBER_ROLE)
    half = area.height() // 2
    first = QRect(area.left(), area.top(), area.width(), half)
    second = QRect(area.left(), area.top() + half, area.width(), half - 2)
    said = f"{_TICKS[item.decision]} {item.decision}" if item.decision else ""
    room = area.width() - QFontMetrics(option.font).horizontalAdvance(said) - 6
    painter.setPen(option.palette.text().color())
    name = QFontMetrics(option.font).elidedText(f"{item.case}, slice {number}", Qt.TextElideMode.ElideMiddle, room)
    painter.drawText(first, Qt.AlignmentFlag.AlignVCenter, name)
    if item.decision:
        painter.setPen(QColor(VERDICT_COLOURS[item.decision]))
        painter.drawText(first, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, said)
    if is_blind(item):
        _chip(painter, second, "spot check", LATER)
        return
    proven = index.data(PROVEN_ROLE)
    colour = verdict_colour(item, proven)
    chip = _chip(painter, second, verdict_words(item, proven), colour)
    _bar(painter, QRect(chip + 8, second.top(), second.right() - chip - 8, half), item, colour, option)


def _chip(painter: QPainter, area: QRect, words: str, colour: str) -> int:
    """Draw a rounded label and return its right edge."""
    metrics = painter.fontMetrics()
    box = QRect(area.left(), area.top() + 2, metrics.horizontalAdvance(words) + 12, area.height() - 5)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(colour))
    painter.drawRoundedRect(box, 5, 5)
    painter.setPen(QColor("white") if colour != UNSURE else QColor("black"))
    painter.drawText(box, Qt.AlignmentFlag.AlignCenter, words)
    return box.right()


def _bar(painter: QPainter, area: QRect, item: Proposal, colour: str, option: QStyleOptionViewItem) -> None:
    number = score_words(item)
    if not number:
        return
    room = painter.fontMetrics().horizontalAdvance("100 %") + 6
    track = QRect(area.left(), area.center().y() - 2, max(8, area.width() - room), 5)
    painter.fillRect(track, QColor(EMPTY))
    painter.fillRect(QRect(track.left(), track.top(), round(track.width() * item.score), 5), QColor(colour))
    painter.setPen(option.palette.text().color())
    painter.drawText(area, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, number)


def verdict_colour(item: Proposal, proven: bool) -> str:
    """Colour of the discriminator's word."""
    return {"accepted": GOOD, "rejected": UNSURE}[item.verdict] if proven else LATER
