"""Start, watch, pause and stop a training. It goes on while you paint and review."""

from __future__ import annotations

import time
from typing import Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QComboBox, QFormLayout, QProgressBar, QWidget

from ..config import fitted
from ..errors import SegmatchError
from ..events import Step
from ..palette import palette
from ..session import History, Session
from .config_form import ConfigForm
from .desk import Desk
from .diagnosis import diagnose
from .estimate import sentence
from .notice import tell_desktop
from .plots import RunPlots
from .style import Fold, Page, button, column, duration, holder, row, text
from .thumbnails import Thumbnails
from .train_runs import RunList
from .watched import WatchedSlices

PRESETS = {"quick look": "quick", "standard": "standard", "on a GPU": "gpu", "overnight": "overnight"}
_PRESET_TIPS = (
    "Quick look: a few minutes. Standard: the usual choice. On a GPU: larger images and a larger network; "
    "minutes there, many hours on a processor. Overnight: five times as long."
)
MODES = ("thread", "process")
DEVICES = ("auto", "cpu", "cuda", "mps")
_REDRAW_SECONDS = 0.25


class TrainPanel(Page):
    def __init__(self, session: Session, desk: Desk, thumbnails: Thumbnails) -> None:
        super().__init__()
        self.session, self.desk, self.thumbnails = session, desk, thumbnails
        self._drawn = 0.0
        self._beside: History | None = None
        self._stopping = False
        self._late = QTimer(self, singleShot=True)
        self._late.timeout.connect(self.redraw)
        self._empty = text("Open or create a project in the tab Cases first.", "hint")
        self._body = holder(self._build())
        self.arrange(self._empty, self._body)
        self.link(
            (session.project_changed, self._project_changed),
            (session.cases_changed, self.redraw_soon),
            (session.run_changed, self.redraw_soon),
            (session.proposals_changed, self.redraw_soon),
            (session.run_ended, self._ended),
            (thumbnails.arrived, self._pictures_came),
        )
        self.form.show_preset("standard")
        self._project_changed()

    # building --------------------------------------------------------------------------------------------

    def _build(self):
        self.start = button("Start training", "Train a new model on everything you marked as done", self._start,
                            "primary")  # fmt: skip
        self.fresh = button("Start a new run", "Leave the run on the screen as it is, and begin another",
                            self._start_fresh)  # fmt: skip
        self.pause = button("Pause", "Pause; the model stays in memory", self._pause)
        self.stop = button("Stop", "Write a checkpoint and stop; you can resume", self._stop)
        choices = self._build_choices()
        advanced = column(text("Changes to a preset hold for the next run.", "hint"), _one_row("run in", self.mode),
                          self.form)  # fmt: skip
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.bar.setToolTip("How much of the run is done")
        self._status = text("", "section")
        self._advice = text("", "advice")
        self.plots = RunPlots()
        self.watched = WatchedSlices(self.session, self.thumbnails)
        self.runs = RunList(self.session)
        self.runs.compared.connect(self._compare)
        self._need = text("", "hint")
        return column(
            row(self.start, self.fresh), row(self.pause, self.stop), choices, self._need,
            Fold("Advanced", holder(advanced)), self.bar,
            self._status, self._advice, self.plots, self.watched, self.runs, 1,
        )  # fmt: skip

    def _build_choices(self) -> QFormLayout:
        self.preset = QComboBox()
        self.preset.addItems(PRESETS)
        self.preset.setCurrentText("standard")
        self.preset.setToolTip(_PRESET_TIPS)
        self.device = QComboBox()
        self.device.addItems(DEVICES)
        self.device.setToolTip("Where to compute; auto takes a GPU if there is one")
        self.mode = QComboBox()
        self.mode.addItems(MODES)
        self.mode.setToolTip("Thread: starts at once. Process: a program of its own beside this window")
        self.form = ConfigForm()
        self.preset.currentTextChanged.connect(self._preset_chosen)
        choices = QFormLayout()
        choices.setContentsMargins(0, 0, 0, 0)
        choices.addRow("preset", self.preset)
        choices.addRow("device", self.device)
        return choices

    def _preset_chosen(self, name: str) -> None:
        self.form.show_preset(PRESETS[name])
        self._show_need()

    # verbs -----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Start a new run, or go on with the one on the screen."""
        if self.session.is_live:
            return  # an impatient second click
        if self.session.can_resume:
            self.desk.save()
            self.session.attempt(self.session.resume_training, self.mode.currentText())
            self._show_controls()
        else:
            self._start_fresh()

    def _start_fresh(self) -> None:
        if not self.session.is_live:
            self.desk.save()
            self.session.attempt(self._start_new)
            self._show_controls()

    def _start_new(self) -> None:
        config = self.form.config(PRESETS[self.preset.currentText()], self.device.currentText())
        self.session.start_training(config, self.mode.currentText())

    def _pause(self) -> None:
        if self.session.run_state == "paused":
            self.session.attempt(self.session.resume_training)
        else:
            self.session.attempt(self.session.pause_training)

    def _stop(self) -> None:
        self._stopping = self.session.is_live
        self.session.attempt(self.session.stop_training)
        self._show_controls()

    def _compare(self, beside: History | None) -> None:
        self._beside = beside
        self.redraw()

    def _ended(self, state: str) -> None:
        """Say on the desktop that a run is over, if the window is not in front."""
        run = self.session.run
        tell_desktop(self.window(), f"Run {run.id if run else ''}: {state}.")

    # redrawing -------------------------------------------------------------------------------------------

    def _project_changed(self) -> None:
        there = self.session.project is not None
        self._empty.setVisible(not there)
        self._body.setVisible(there)
        self.watched.forget()
        self.runs.forget()

    def shown_for_work(self) -> None:
        self.redraw()

    def redraw_soon(self) -> None:
        """Redraw at most four times a second, and only while somebody looks."""
        wait = self._drawn + _REDRAW_SECONDS - time.monotonic()
        if wait <= 0:
            self.redraw()
        elif not self._late.isActive():
            self._late.start(int(wait * 1000) + 1)

    def redraw(self) -> None:
        session, project = self.session, self.session.project
        if project is None or not self.isVisible():
            return
        self._drawn = time.monotonic()
        self._show_controls()
        self._show_need()
        step = next(reversed(session.history.steps), None)
        progress = 1.0 if session.run_state == "finished" else step.progress if step else 0.0
        self.bar.setValue(round(1000 * progress))
        self._status.setText(progress_sentence(session))
        advice = diagnose(session.history, session.cases, project.classes, session.run_state)
        self._advice.setText(advice)
        self._advice.setVisible(bool(advice))
        self.plots.setVisible(bool(session.history.steps or session.history.evaluations))
        if not self.plots.isHidden():
            self.plots.show_history(session.history, project.classes, validation_count(session), self._beside,
                                    palette(project.classes, session.colours)[0])  # fmt: skip
        self.watched.redraw()
        self.runs.redraw()

    def _show_controls(self) -> None:
        training, paused = self.session.is_live, self.session.run_state == "paused"
        resumable, self._stopping = self.session.can_resume, self._stopping and training
        self.start.setText("Training …" if training else "Resume training" if resumable else "Start training")
        self.start.setEnabled(not training)
        self.pause.setText("Go on" if training and paused else "Pause")
        self.fresh.setVisible(resumable)
        self.pause.setEnabled(training and not self._stopping)
        self.stop.setText("Stopping …" if self._stopping else "Stop")
        self.stop.setEnabled(training)
        for control in (self.preset, self.device, self.mode, self.form):
            control.setEnabled(not training)

    def _show_need(self) -> None:
        """Say what the chosen preset needs."""
        project = self.session.project
        if project is None:
            return
        try:
            config = self.form.config(PRESETS[self.preset.currentText()], self.device.currentText())
        except SegmatchError:
            return
        sound = [case for case in self.session.cases if case.problem is None]
        taken = fitted(config, (case.geometry for case in sound))
        slices = sum(case.shape[0] for case in sound if not case.validation)
        small = f" The slices are small: trained at {taken.size} pixels." if taken.size < config.size else ""
        close = " Slices lie close: each is seen with those above and below it." if taken.neighbours else ""
        self._need.setText(sentence(taken, slices, len(project.sequences)) + small + close)

    def _pictures_came(self, *_: Any) -> None:
        if self.isVisible():
            self.watched.redraw()

    def show_theme(self, theme: str) -> None:
        self.plots.show_theme(theme)


def _one_row(label: str, control: QWidget) -> QFormLayout:
    form = QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    form.addRow(label, control)
    return form


def validation_count(session: Session) -> int:
    """How many cases the validation Dice is a mean of."""
    if session.history.evaluations:
        return len(session.history.evaluations[-1].cases)
    return sum(case.validation and bool(case.labelled) for case in session.cases)


def progress_sentence(session: Session) -> str:
    """``Step 240, 2 min left`` and the like."""
    step = next(reversed(session.history.steps), None)
    state, run = session.run_state, session.run
    if run is None:
        return "No run yet."
    if step is None:
        return f"Run {run.id}: preparing …" if session.is_training else f"Run {run.id}: {state}."
    return f"Run {run.id}: {state}, {_where(step, session)}."


def _where(step: Step, session: Session) -> str:
    words = f"step {step.step}"
    if session.is_training and session.run_state == "running":
        words += f", {duration(step.seconds_left)} left"
    return words
