"""The line below the tabs: device, training, what is saved, validation Dice, the last message."""

from __future__ import annotations

import time

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QWidget

from ..session import Session
from ..texts import count
from .desk import Desk
from .style import ago, column, duration
from .train import validation_count


class StatusLine(QWidget):
    """Redrawn on a timer; says nothing that is not true at that moment."""

    def __init__(self, session: Session, desk: Desk) -> None:
        super().__init__()
        self.session, self.desk = session, desk
        self._facts, self._message, self._hint = QLabel(), QLabel(), ""
        self._facts.setToolTip("Training, validation, saving")
        for label in (self._facts, self._message):
            label.setTextFormat(Qt.TextFormat.PlainText)
            label.setWordWrap(True)
            label.setProperty("role", "hint")
        layout = column(self._facts, self._message, spacing=1)
        layout.setContentsMargins(8, 3, 8, 5)
        self._facts.setMinimumHeight(2 * self._facts.fontMetrics().lineSpacing())  # a second line moves nothing
        self.setLayout(layout)

    def say(self, sentence: str) -> None:
        self._message.setText(sentence)
        self._message.setVisible(bool(sentence))

    def hint(self, sentence: str) -> None:
        """Say something that holds until it is taken back with an empty sentence."""
        if sentence or self._message.text() == self._hint:
            self.say(sentence)
        self._hint = sentence

    def redraw(self) -> None:
        words = " · ".join(part for part in (self._training(), self._segmenting(), self._dice(), self._saved()) if part)
        if words != self._facts.text():
            self._facts.setText(words)

    @property
    def words(self) -> str:
        return self._facts.text()

    def _training(self) -> str:
        session = self.session
        if session.project is None:
            return "no project"
        if session.run is None:
            return "not trained yet"
        started, step = session.history.started, next(reversed(session.history.steps), None)
        words = [f"{started.device}: {session.run_state}" if started is not None else f"{session.run_state}"]
        if step is not None:
            words.append(f"step {step.step}")
            if session.is_training and session.run_state == "running":
                words.append(f"{duration(step.seconds_left)} left")
        return ", ".join(words)

    def _segmenting(self) -> str:
        wishes = [*self.session.segmenting.values()]
        if not wishes:
            return ""
        words, left = f"segmenting {count(len(wishes), 'case')}", wishes[0].seconds_left
        return words if left is None else f"{words}, {duration(left)} left{' for the first' if wishes[1:] else ''}"

    def _dice(self) -> str:
        evaluations = self.session.history.evaluations
        if not evaluations or not evaluations[-1].dice:
            return ""
        values = evaluations[-1].dice.values()
        return f"Dice {sum(values) / len(values):.3f} (n = {validation_count(self.session)})"

    def _saved(self) -> str:
        if self.session.is_saving:
            return "saving …"
        if self.desk.dirty:
            return "not saved yet"
        at = self.session.saved_at
        return f"saved {ago(time.time() - at)}" if at is not None else ""
