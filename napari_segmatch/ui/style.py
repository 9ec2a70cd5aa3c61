"""The look of the panels: colours from napari's theme, a few small widgets, nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.utils.theme import get_theme
from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtGui import QColor, QKeyEvent
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QCheckBox,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayout,
    QPushButton,
    QRadioButton,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from .links import Links, Pair

GOOD, BAD, OWN, LATER, UNSURE = "#009e73", "#d55e00", "#0072b2", "#8a8f98", "#e69f00"
"""Accepted, rejected, corrected, deferred, not sure."""

EMPTY = "#46808080"
"""Nothing there (ARGB): a grey that shows on dark and on light."""

VERDICT_COLOURS = {"accepted": GOOD, "rejected": BAD, "corrected": OWN, "deferred": LATER}


def colours(theme: str) -> dict[str, str]:
    """Hex colours of a napari theme, plus ``soft`` for secondary text."""
    values = get_theme(theme).to_rgb_dict()
    names = ("background", "foreground", "primary", "secondary", "highlight", "text", "icon", "current")
    found = {name: QColor(*_numbers(values[name])).name() for name in names}
    found["soft"] = mixed(found["text"], found["background"], 0.62)
    return found


def _numbers(rgb: str) -> list[int]:
    return [int(part) for part in rgb[rgb.index("(") + 1 : -1].split(",")]


def mixed(one: str, other: str, share: float) -> str:
    """Mix two colours; ``share`` is that of the first."""
    a, b = QColor(one), QColor(other)
    parts = zip(a.getRgb()[:3], b.getRgb()[:3], strict=True)
    return QColor(*(round(share * x + (1 - share) * y) for x, y in parts)).name()


def stylesheet(theme: str) -> str:
    """What the panels add to napari's own stylesheet."""
    c = colours(theme)
    lifted = mixed(c["current"], c["text"], 0.85)
    return f"""
    QLabel[role="title"] {{ font-size: 12pt; font-weight: 600; }}
    QLabel[role="section"] {{ font-weight: 600; color: {c["text"]}; }}
    QLabel[role="hint"] {{ color: {c["soft"]}; }}
    QLabel[role="advice"] {{ border-left: 3px solid {UNSURE}; padding: 3px 6px; }}
    QPushButton {{ padding: 4px 6px; }}
    QPushButton[role="primary"] {{ background: {c["current"]}; font-weight: 600; padding: 7px; }}
    QPushButton[role="primary"]:hover {{ background: {lifted}; }}
    QPushButton[role="primary"]:disabled {{ background: {c["foreground"]}; color: {c["soft"]}; }}
    QPushButton[role="verdict"] {{ font-weight: 600; padding: 7px 4px; }}
    QPushButton:checked {{ background: {c["current"]}; }}
    QPushButton[role="quiet"] {{ background: transparent; color: {c["soft"]}; padding: 2px; }}
    QPushButton[role="quiet"]:hover {{ color: {c["text"]}; }}
    QHeaderView::section {{ padding: 2px 3px; }}
    QTabBar::tab {{ padding: 5px 8px; }}
    QProgressBar::chunk {{ background: {c["current"]}; }}
    QPushButton[role="reason"] {{ background: transparent; border: 1px solid {c["primary"]}; padding: 2px 1px;
        font-size: 8pt; color: {c["text"]}; }}
    QPushButton[role="reason"]:disabled {{ color: {c["secondary"]}; border-color: {c["foreground"]}; }}
    QPushButton[role="reason"]:hover {{ color: {c["text"]}; border-color: {BAD}; }}
    QToolButton[role="fold"] {{ border: none; background: transparent; font-weight: 600; padding: 3px 0; }}
    QScrollArea {{ border: none; }}
    QFrame[role="banner"] {{ border-left: 4px solid {BAD}; background: {c["foreground"]}; }}
    QFrame[role="sheet"] {{ background: {c["background"]}; border: 1px solid {c["secondary"]}; border-radius: 6px; }}
    QFrame[role="banner"][calm="true"] {{ border-left: 4px solid {OWN}; }}
    """


def text(words: str = "", role: str = "") -> QLabel:
    """A label that wraps; roles: title, section, hint, advice."""
    label = QLabel(words)
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    if role:
        label.setProperty("role", role)
    return label


def button(words: str, tip: str, slot: Callable[[], Any] | None = None, role: str = "", key: str = "") -> QPushButton:
    """A button with its key printed on it. A click does not take the keyboard away from the picture."""
    made = QPushButton(f"{words}   {key}" if key else words)
    made.setToolTip(f"{tip} (key: {key})" if key else tip)
    made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    if role:
        made.setProperty("role", role)
    if slot is not None:
        made.clicked.connect(lambda *_: slot())
    return made


def calm(control: QWidget) -> None:
    """Let a mouse that scrolls past change nothing, and a click take no key from the picture unless one types here."""
    control.wheelEvent = lambda event: event.ignore()  # type: ignore[method-assign]
    policy = Qt.FocusPolicy.StrongFocus if isinstance(control, QAbstractSpinBox) else Qt.FocusPolicy.TabFocus
    control.setFocusPolicy(policy)


def row(*items: QWidget | QLayout | int, spacing: int = 4) -> QHBoxLayout:
    """Lay widgets side by side; a number is a stretch."""
    return _fill(QHBoxLayout(), items, spacing)


def column(*items: QWidget | QLayout | int, spacing: int = 6) -> QVBoxLayout:
    return _fill(QVBoxLayout(), items, spacing)


def _fill(layout: Any, items: tuple[Any, ...], spacing: int) -> Any:
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(spacing)
    for item in items:
        if isinstance(item, int):
            layout.addStretch(item)
        elif isinstance(item, QLayout):
            layout.addLayout(item)
        else:
            layout.addWidget(item)
    return layout


def holder(layout: QLayout) -> QWidget:
    widget = QWidget()
    widget.setLayout(layout)
    return widget


_NARROW, _WIDE = 300, 560
"""Pixels that a tab asks for, at least and at most: the picture needs room as well."""


class Page(QScrollArea):
    """A tab: a column that scrolls up and down, never sideways. Its width is the same with a scroll bar and without."""

    def __init__(self) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._links = Links()

    def link(self, *pairs: Pair) -> None:
        """Connect signals to slots until :meth:`unlink`."""
        self._links.add(*pairs)

    def unlink(self) -> None:
        self._links.cut()

    def arrange(self, *items: QWidget | QLayout) -> None:
        """Lay out the tab, its controls calm; the last item takes the room that is left, and keeps it when hidden."""
        layout = column(*items, spacing=8)
        layout.setStretch(len(items) - 1, 1)
        layout.addStretch(0)
        self.setWidget(holder(layout))
        for kind in (QComboBox, QAbstractSpinBox, QCheckBox, QRadioButton):
            for control in self.findChildren(kind):
                calm(control)
        self.verticalScrollBar().rangeChanged.connect(self._keep_width)
        self._keep_width(0, 0)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Leave ← and → to napari, which leafs through slices with them: a page scrolls up and down alone."""
        if event.key() in (Qt.Key.Key_Left, Qt.Key.Key_Right):
            event.ignore()
        else:
            super().keyPressEvent(event)

    def _keep_width(self, low: int, high: int) -> None:
        room = 0 if high > low else self.verticalScrollBar().sizeHint().width()
        self.widget().layout().setContentsMargins(8, 8, 3 + room, 8)

    def minimumSizeHint(self) -> QSize:
        """As wide as what is in it, while somebody looks: with larger letters nothing is cut off at the right."""
        inside, bar = self.widget(), self.verticalScrollBar()
        if inside is None or not self.isVisible():
            return QSize(_NARROW, 160)
        needed = inside.minimumSizeHint().width() + bar.isVisible() * bar.width()
        return QSize(max(_NARROW, min(needed, _WIDE)), 160)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return super().eventFilter(watched, event)


class Fold(QWidget):
    """A heading that opens and closes what is below it."""

    def __init__(self, title: str, content: QWidget, tip: str = "") -> None:
        super().__init__()
        self._head = QToolButton()
        self._head.setText(title)
        self._head.setToolTip(tip or f"Show or hide: {title}")
        self._head.setProperty("role", "fold")
        self._head.setCheckable(True)
        self._head.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._head.toggled.connect(self._toggled)
        self.content = content
        self.setLayout(column(self._head, content, spacing=2))
        self._toggled(False)

    def set_open(self, open_: bool) -> None:
        self._head.setChecked(open_)

    def _toggled(self, open_: bool) -> None:
        self._head.setArrowType(Qt.ArrowType.DownArrow if open_ else Qt.ArrowType.RightArrow)
        self.content.setVisible(open_)


class Banner(QFrame):
    """One sentence above the tabs that says what went wrong; a click takes it away."""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "banner")
        self._text = text()
        self._close = button("×", "Dismiss this message", self.dismiss)
        self._close.setFixedWidth(26)
        layout = row(self._text, self._close)
        layout.setContentsMargins(8, 4, 4, 4)
        self.setLayout(layout)
        self.hide()

    def say(self, sentence: str) -> None:
        self._text.setText(sentence)
        self.show()

    @property
    def sentence(self) -> str:
        return "" if self.isHidden() else self._text.text()

    def dismiss(self) -> None:
        self.hide()

    def dismiss_if(self, cause: str) -> None:
        """Take the sentence away if it speaks of this, which is over."""
        if cause and cause in self.sentence:
            self.dismiss()


def ago(seconds: float) -> str:
    """Say how long ago something was: ``4 s ago``, ``3 min ago``."""
    if seconds < 90:
        return f"{max(0, round(seconds))} s ago"
    return f"{round(seconds / 60)} min ago" if seconds < 5400 else f"{round(seconds / 3600)} h ago"


def duration(seconds: float) -> str:
    """Say how long something will take: ``20 s``, ``3 min``, ``2.5 h``."""
    if seconds < 90:
        return f"{max(0, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
