"""The buttons of a review: a verdict, a reason, many at once, and those of a correction that is under way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QPushButton, QWidget

from ..types import REASONS
from .keys import REVIEW, shown
from .style import BAD, GOOD, LATER, OWN, button, holder, row

Act = Callable[[str], object]
_SHORT = ("place", "leaks", "misses", "class", "scan")
"""Each of :data:`REASONS` in a word."""


class Verdicts(QWidget):
    """``act`` is told the name of an action, as the keys know it."""

    def __init__(self, act: Act) -> None:
        super().__init__()
        self._verdicts = (
            _button(act, "Accept", "accept", "The mask is right: it becomes a label, and you go on", GOOD),
            _button(act, "Reject", "reject", "The mask is wrong: it will not train the model", BAD),
            _button(act, "Correct", "correct", "Copy it into your mask and repair it", OWN),
            _button(act, "Defer", "defer", "Decide later", LATER),
        )
        self._reasons = holder(_reasons(act))
        quiet = (
            _button(act, "Take back", "take_back", "Take back the last decision, or the last sheet, and go there"),
            _button(act, "Skip", "next", "Next proposal, no decision"),
            _button(act, "All of case …", "accept_case", "See all of this case on one sheet, then accept them at once"),
            _button(act, "All above …", "accept_above",
                    "See this one and all above it in the list on one sheet, then accept them at once"),
        )  # fmt: skip
        correction = (
            button("Save correction", "Save what you repaired and go on", partial(act, "enter"), "primary", "⏎"),
            button("Cancel", "Forget the correction", partial(act, "cancel")),
        )
        self._judging, self._correcting = (*self._verdicts, self._reasons, *quiet), correction
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        for index, item in enumerate((*self._verdicts, *quiet, *correction)):
            grid.addWidget(item, index // 2 + (index > 3), index % 2)
        grid.addWidget(self._reasons, 2, 0, 1, 2)
        self.setLayout(grid)

    def show_mode(self, correcting: bool) -> None:
        for item in self._judging:
            item.setVisible(not correcting)
        for item in self._correcting:
            item.setVisible(correcting)

    def enable(self, on: bool) -> None:
        for item in (*self._verdicts, self._reasons):
            item.setEnabled(on)


def _reasons(act: Act) -> QHBoxLayout:
    """Buttons that reject with a reason."""
    made = [
        button(f"{n} {_SHORT[n - 1]}", f"Reject, because: {reason} (key: {n})", partial(act, f"reason_{n}"), "reason")
        for n, reason in enumerate(REASONS, 1)
    ]
    return row(*made, spacing=2)


def _button(act: Act, words: str, action: str, tip: str, colour: str = "") -> QPushButton:
    made = button(words, tip, partial(act, action), "verdict" if colour else "quiet", shown(REVIEW, action))
    if colour:
        made.setStyleSheet(f"QPushButton {{ border-left: 5px solid {colour}; }}")
    return made
