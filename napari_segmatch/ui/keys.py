"""Every key of the window in one table; it also labels the buttons and fills the sheet of keys.

napari hands a key to the active layer first, and a list or a tree in our dock would take letters for its own
search. So while the dock is visible, keys are taken before any widget sees them: over the viewer's window and
the dock, never over a text field, and only those that the open tab has a use for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QTextEdit,
    QWidget,
)

from .style import colours

ANNOTATE, REVIEW = "Annotate", "Review"


@dataclass(frozen=True)
class Key:
    """One key in one tab.

    Attributes
    ----------
    press
        The key as Qt writes it, like ``Ctrl+Shift+Z``.
    hold
        The action is told when the key goes down and when it comes up again.
    """

    press: str
    tab: str
    action: str
    says: str
    hold: bool = False


TOOLS = {"1": "erase", "2": "paint", "3": "polygon", "4": "fill", "5": "pick", "6": "pan_zoom"}
"""Napari's tools by the keys that it gives them while *your mask* is the active layer."""

KEYS = (
    Key("Return", ANNOTATE, "done", "slice done, next"),
    Key("N", ANNOTATE, "no_lesion", "nothing on this slice"),
    Key("J", ANNOTATE, "next", "next case"),
    Key("K", ANNOTATE, "previous", "previous case"),
    Key("G", ANNOTATE, "worth_a_look", "next slice worth a look"),
    Key("T", ANNOTATE, "sequence", "next sequence"),
    Key("Q", ANNOTATE, "peek", "hold: hide the mask", hold=True),
    Key("W", ANNOTATE, "outline", "outline or filled"),
    Key("I", ANNOTATE, "interpolate", "interpolate between painted slices: preview, again applies"),
    Key("Shift+J", ANNOTATE, "suggest", "open the case that is worth it"),
    Key("Shift+G", ANNOTATE, "anywhere", "an unfinished slice of any case, drawn by chance"),
    Key("S", ANNOTATE, "segment", "the model segments this case, for review"),
    Key("O", ANNOTATE, "planes", "other planes and sequences"),
    Key("Ctrl+Z", ANNOTATE, "undo", "undo, over slices"),
    Key("Ctrl+Shift+Z", ANNOTATE, "redo", "redo"),
    *(Key(press, ANNOTATE, f"tool_{press}", tool) for press, tool in TOOLS.items()),
    Key("A", REVIEW, "accept", "accept, next"),
    Key("R", REVIEW, "reject", "reject, next"),
    Key("C", REVIEW, "correct", "correct"),
    Key("D", REVIEW, "defer", "defer, next"),
    Key("1", REVIEW, "reason_1", "reject: wrong place"),
    Key("2", REVIEW, "reason_2", "reject: leaks out"),
    Key("3", REVIEW, "reason_3", "reject: misses part"),
    Key("4", REVIEW, "reason_4", "reject: wrong class"),
    Key("5", REVIEW, "reason_5", "reject: bad scan"),
    Key("Return", REVIEW, "enter", "accept, or save the correction"),
    Key("Backspace", REVIEW, "take_back", "take back the last decision"),
    Key("Shift+A", REVIEW, "accept_case", "see all of this case, then accept them"),
    Key("Ctrl+Shift+A", REVIEW, "accept_above", "see all above in the list, then accept them"),
    Key("J", REVIEW, "next", "next proposal, no decision"),
    Key("K", REVIEW, "previous", "previous proposal, no decision"),
    Key("G", REVIEW, "worth_a_look", "next proposal worth a look"),
    Key("T", REVIEW, "sequence", "next sequence"),
    Key("O", REVIEW, "planes", "other planes and sequences"),
    Key("Q", REVIEW, "peek", "hold: hide the proposal", hold=True),
    Key("W", REVIEW, "outline", "outline or filled"),
    Key("Ctrl+Z", REVIEW, "undo", "undo decisions, or a stroke of a correction"),
    Key("Ctrl+Shift+Z", REVIEW, "redo", "redo"),
    Key("?", "", "sheet", "this sheet of keys"),
)

NAPARI = (
    ("1 2 3 4 5 6", "erase, paint, polygon, fill, pick, move; in Review while you correct"),
    ("[ ]", "smaller, larger brush"),
    ("- =", "class before, class after"),
    ("Space", "hold: move the picture"),
    ("← →", "slice before, slice after"),
)
"""What napari's own keys do, for the sheet."""

_SHOWN = {"Return": "⏎", "Backspace": "⌫", "Shift+A": "⇧A", "Shift+J": "⇧J", "Shift+G": "⇧G", "Ctrl+Shift+A": "Ctrl⇧A"}
_SAME = {Qt.Key.Key_Enter: Qt.Key.Key_Return}
_TEXT = (QLineEdit, QTextEdit, QPlainTextEdit, QAbstractSpinBox)

Action = Callable[..., object]


def shown(tab: str, action: str) -> str:
    """Return how the key of an action is printed on its button."""
    press = next((key.press for key in KEYS if (key.tab, key.action) == (tab, action)), "")
    return _SHOWN.get(press, press)


def sheet() -> str:
    """Return the sheet of keys in rich text: a column for each tab, low enough for a small screen."""
    columns = []
    for tab in (ANNOTATE, REVIEW):
        keys = [key for key in KEYS if key.tab == tab and not key.action.startswith(("reason_", "tool_"))]
        rows = [(_SHOWN.get(key.press, key.press), key.says) for key in keys]
        if tab == REVIEW:
            rows.insert(2, ("1 to 5", "reject, and say why"))
        columns.append(_table(tab, rows))
    columns[0] += _table("From napari", list(NAPARI))
    return "<table><tr>" + "".join(f"<td style='padding-right: 24px'>{part}</td>" for part in columns) + "</tr></table>"


def shown_sheet(window: QWidget, theme: str) -> QLabel:
    """Show the sheet of keys over the middle of a window."""
    c, label = colours(theme), QLabel(sheet(), window)
    label.setMargin(16)
    label.setStyleSheet(f"background: {c['foreground']}; color: {c['text']}; border-radius: 6px;")
    label.adjustSize()
    label.move(window.rect().center() - label.rect().center())
    label.show()
    label.raise_()
    return label


def _table(title: str, rows: list[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><td><b>{key}</b>&nbsp;&nbsp;</td><td>{says}</td></tr>" for key, says in rows)
    return f"<p><b>{title}</b></p><table>{cells}</table>"


class KeyFilter(QObject):
    """Sends keys to the open tab's actions while it is on.

    Parameters
    ----------
    home
        A widget in the windows whose keys are ours: the dock. When it floats, napari's main window counts too.
    tab
        Gives the name of the open tab.
    find
        Gives the function for a tab's action, or None when it has no use for the key just now.
    """

    def __init__(self, home: QWidget, tab: Callable[[], str], find: Callable[[str, str], Action | None]) -> None:
        super().__init__(home)
        self._home, self._tab, self._find = home, tab, find
        self._held: dict[int, Action] = {}
        self._typed_into: QWidget | None = None
        self.main_window: QWidget | None = None
        self.on = False

    def turn(self, on: bool) -> None:
        """Bind or unbind all keys. Doing it twice does no harm."""
        app = QApplication.instance()
        if app is None or on == self.on:
            return
        self.on = on
        if on:
            app.installEventFilter(self)
        else:
            app.removeEventFilter(self)
            self._release_all()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        kind = event.type()
        if isinstance(event, QKeyEvent):  # Python may know an event by the wrapper of one that was there before
            if kind == QEvent.Type.KeyPress:
                return self._pressed(watched, event, act=True)
            if kind == QEvent.Type.ShortcutOverride and self._pressed(watched, event, act=False):
                event.accept()  # no menu gets this key; it comes back as a KeyPress
                return True
            if kind == QEvent.Type.KeyRelease:
                return self._released(event)
        if kind == QEvent.Type.WindowDeactivate and self._held:
            self._release_all()
        return False

    def _pressed(self, watched: QObject, event: QKeyEvent, act: bool) -> bool:
        if not isinstance(watched, QWidget) or self._is_typing(watched) or not self._is_ours(watched):
            return False
        key = self._key(event)
        action = self._find(key.tab, key.action) if key is not None else None
        if key is None or action is None:
            return False
        if act and not event.isAutoRepeat():
            if key.hold:
                self._held[_code(event)] = action
                action(True)
            else:
                action()
        return True

    def _released(self, event: QKeyEvent) -> bool:
        if event.isAutoRepeat():
            return _code(event) in self._held
        action = self._held.pop(_code(event), None)
        if action is not None:
            action(False)
        return action is not None

    def _release_all(self) -> None:
        for action in self._held.values():
            action(False)
        self._held.clear()

    def _is_typing(self, widget: QWidget) -> bool:
        """Whether a key belongs to a text field; what the field does not use, as Enter, Qt then offers its parents."""
        if isinstance(widget, _TEXT) or (isinstance(widget, QComboBox) and widget.isEditable()):
            self._typed_into = widget
            QTimer.singleShot(0, self._forget_field)
            return True
        return self._typed_into is not None and widget.isAncestorOf(self._typed_into)

    def _forget_field(self) -> None:
        self._typed_into = None

    def _is_ours(self, widget: QWidget) -> bool:
        return widget.window() in (self._home.window(), self.main_window)

    def _key(self, event: QKeyEvent) -> Key | None:
        pressed = _name(event)
        tab = self._tab()
        return next((key for key in KEYS if key.press == pressed and key.tab in ("", tab)), None)


def _code(event: QKeyEvent) -> int:
    key = Qt.Key(event.key())
    return int(_SAME.get(key, key))


_NAMED = {int(Qt.Key.Key_Return): "Return", int(Qt.Key.Key_Backspace): "Backspace"}


def _name(event: QKeyEvent) -> str:
    """Write a key press as the table does."""
    if event.text() == "?":
        return "?"
    code, modifiers = _code(event), event.modifiers()
    name = _NAMED.get(code) or (chr(code) if 32 < code < 127 else "")
    if not name or modifiers & (Qt.KeyboardModifier.AltModifier | Qt.KeyboardModifier.MetaModifier):
        return ""
    control = "Ctrl+" if modifiers & Qt.KeyboardModifier.ControlModifier else ""
    shift = "Shift+" if modifiers & Qt.KeyboardModifier.ShiftModifier else ""
    return control + shift + name
