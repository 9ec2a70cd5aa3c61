"""Three small plots of a run: validation Dice, share that passes, losses."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QWidget

from ..palette import CLASS_COLOURS
from ..session import History
from .style import colours, column, text

_POINTS = 600
_WIDTH = 2
_LOSSES = (
    ("supervised", "labelled", CLASS_COLOURS[0]),
    ("consistency", "unlabelled", CLASS_COLOURS[1]),
    ("discriminator", "discriminator", CLASS_COLOURS[2]),
)
"""Field of a step, what a person calls it, colour."""


class RunPlots(QWidget):
    """Redraws all curves from a history; cheap enough for four times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._dice = _plot("Validation Dice by class; 1 is perfect")
        self._passed = _plot("")
        self._losses = _plot("Losses; lower is better")
        self._dice.setYRange(0, 1, padding=0.02)
        self._passed.setYRange(0, 1, padding=0.02)
        self._palette: Sequence[str] = CLASS_COLOURS
        self._plots = (self._dice, self._passed, self._losses)
        self._titles = (text(), text("<b>Share of unlabelled slices that pass</b>"),
                        text())  # fmt: skip
        for title in self._titles:
            title.setTextFormat(Qt.TextFormat.RichText)
        parts = [part for pair in zip(self._titles, self._plots, strict=True) for part in pair]
        self.setLayout(column(*parts, spacing=2))

    def show_theme(self, theme: str) -> None:
        c = colours(theme)
        for plot in self._plots:
            plot.setBackground(c["foreground"])
            for axis in ("left", "bottom"):
                plot.getAxis(axis).setPen(c["secondary"])
                plot.getAxis(axis).setTextPen(c["text"])
            plot.showGrid(x=False, y=True, alpha=0.15)

    def show_history(
        self, history: History, classes: Sequence[str], validation: int, beside: History | None,
        palette: Sequence[str],
    ) -> None:  # fmt: skip
        """Draw a run, and if there is another one beside it, that one's Dice dashed."""
        self._palette = palette
        self._show_dice(history, classes, validation)
        if beside is not None:
            self._show_beside(beside, classes)
        steps = _thin(history.steps)
        x = np.array([step.step for step in steps], float)
        passed = np.array([np.nan if step.accepted is None else step.accepted for step in steps], float)
        self._passed.clear()
        self._passed.plot(x, _smooth(passed), pen=pg.mkPen(CLASS_COLOURS[2], width=_WIDTH), connect="finite")
        self._passed.setToolTip(f"Share of unlabelled slices whose pseudo mask passes the threshold of {history.judge}")
        self._show_health(history, classes)
        self._losses.clear()
        losses = [entry for entry in _LOSSES if entry[0] != "discriminator" or history.selector == "discriminator"]
        for name, _, colour in losses:
            values = np.array([getattr(step, name) for step in steps], float)
            self._losses.plot(x, _smooth(values), pen=pg.mkPen(colour, width=_WIDTH), connect="finite")
        self._titles[2].setText(_legend("Loss", [entry[1:] for entry in losses]))
        last = max((_last_step(each) for each in (history, beside) if each is not None), default=0)
        for plot in self._plots:  # one scale, so that what happens at one time stands at one place
            plot.setXRange(0, max(1, last), padding=0.02)

    def _show_dice(self, history: History, classes: Sequence[str], validation: int) -> None:
        for part in (self._dice, self._titles[0]):
            part.setVisible(bool(history.evaluations))
        self._dice.clear()
        x = [item.step for item in history.evaluations]
        words = []
        for index, name in enumerate(classes):
            y = [item.dice.get(name, np.nan) for item in history.evaluations]
            if not np.isfinite(y).any():  # a run of before the class was added
                continue
            colour = self._palette[index]
            self._dice.plot(x, y, pen=pg.mkPen(colour, width=_WIDTH), symbol="o", symbolSize=5, symbolBrush=colour,
                            symbolPen=None, connect="finite")  # fmt: skip
            if np.isfinite(y[-1]):
                words.append((f"{name} {y[-1]:.3f}", colour))
        self._titles[0].setText(_legend(f"Validation Dice, n = {validation}", words))

    def _show_beside(self, history: History, classes: Sequence[str]) -> None:
        x = [item.step for item in history.evaluations]
        for index, name in enumerate(classes):
            y = [item.dice.get(name, np.nan) for item in history.evaluations]
            pen = pg.mkPen(self._palette[index], width=_WIDTH, style=Qt.PenStyle.DashLine)
            self._dice.plot(x, y, pen=pen, connect="finite")

    def _show_health(self, history: History, classes: Sequence[str]) -> None:
        """With several classes, draw of each the share of proposals that pass among those that show it."""
        if len(classes) < 2:
            return
        words = []
        for index, name in enumerate(classes):
            pairs = [(item.step, *item.by_class[name]) for item in history.proposed if item.by_class.get(name)]
            points = [(step, passed / of) for step, passed, of in pairs if of]
            colour = self._palette[index]
            self._passed.plot([p[0] for p in points], [p[1] for p in points], pen=pg.mkPen(colour, width=_WIDTH),
                              symbol="o", symbolSize=4, symbolBrush=colour, symbolPen=None)  # fmt: skip
            words.append((f"{name} {100 * points[-1][1]:.0f}\u00a0%" if points else f"{name} none", colour))
        self._titles[1].setText(_legend("Share that passes", words))


def _legend(title: str, entries: Sequence[tuple[str, str]]) -> str:
    dots = "".join(f"&nbsp; <span style='color:{colour}'>●</span>&nbsp;{escape(name)}" for name, colour in entries)
    return f"<b>{title}</b><span style='font-size:8pt; font-weight:400'>{dots}</span>"


def _plot(tip: str) -> pg.PlotWidget:
    plot = pg.PlotWidget()
    plot.setFixedHeight(96)
    plot.setToolTip(tip)
    plot.setMenuEnabled(False)
    plot.setMouseEnabled(x=False, y=False)
    plot.hideButtons()
    plot.getAxis("left").setWidth(34)
    return plot


def _last_step(history: History) -> int:
    steps = [step.step for step in history.steps[-1:]] + [item.step for item in history.evaluations[-1:]]
    return max(steps, default=0)


def _thin(steps: list) -> list:
    """Every n-th of many steps, and always the last."""
    stride = max(1, len(steps) // _POINTS)
    return steps[(len(steps) - 1) % stride :: stride] if steps else []


def _smooth(values: np.ndarray, share: float = 0.02) -> np.ndarray:
    """Average over a short stretch of the run; gaps stay gaps."""
    width = max(1, int(len(values) * share))
    if width == 1:
        return values
    finite = np.isfinite(values)
    kernel = np.ones(width)
    total = np.convolve(np.where(finite, values, 0), kernel, "same")
    many = np.convolve(finite.astype(float), kernel, "same")
    return np.where(finite, total / np.maximum(many, 1), np.nan)
