"""The middle part of a session: one run is watched, from its first word or from the middle; at most one trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psygnal import Signal

from ..config import TrainConfig
from ..errors import DiskProblem, ProjectError
from ..events import Paused, Proposed, Started, Step, TrainEvent
from ..history import History, called_now, sentence
from ..project import Project, Run
from ..project.runs import LIVE, was_for
from ..runner import Background, Mode, check_settings
from ..types import Proposal, RunState
from .adding import AddingSession
from .keeping import LOOK_SECONDS

_STATES: dict[type[TrainEvent], RunState] = {Started: "running", Step: "running", Paused: "paused"}
"""What an event says of its run. That a run has ended is true when nobody holds its lock any more."""


class TrainingSession(AddingSession):
    """Starts, watches, pauses and stops runs. See :class:`napari_segmatch.session.Session`."""

    run_changed = Signal()
    """The run's state or history changed."""
    run_begins = Signal()
    """A training is about to begin, anew or from a checkpoint; what goes wrong from here on is its own."""
    run_ended = Signal(str)
    """The training that was watched is over: the run's state."""
    colours_changed = Signal()
    """A class has another colour."""

    def __init__(self) -> None:
        super().__init__()
        self.colours: dict[str, str] = {}
        self.run: Run | None = None
        self.run_state: RunState | None = None
        self.history = History()
        self._background: Background | None = None
        self._offset = 0
        self._last_proposal = 0
        self._others: dict[int, History] = {}

    def _opened(self, project: Project) -> None:
        super()._opened(project)
        self.colours = dict(project.colours)
        runs = project.runs()
        self._watch(runs[-1][0] if runs else None)

    def close_project(self, timeout: float = 30) -> None:
        """Stop training, finish saving, close the project."""
        if self._background is not None and self._background.is_alive() and self.run is not None:
            self.stop_training()
            self._background.join(timeout)
        super().close_project(timeout)
        self.run, self.run_state, self._background, self.history = None, None, None, History()
        self._others.clear()
        self._last_proposal = 0

    # verbs -----------------------------------------------------------------------------------------------

    def start_training(self, config: TrainConfig, mode: Mode = "thread") -> None:
        """Begin a new run; a device that may not be there is looked for first, beside the window."""
        self._check_may_train()
        if self.is_training:
            raise ProjectError("Training is already running: stop it first.")
        self._check_alone()
        if not any(case.labelled and not case.validation for case in self.cases):
            raise ProjectError("Training needs labels: mark at least one slice of a case as done first.")

        def begin(_: None = None) -> None:
            if not self.is_training:
                self._train(self._open().new_run(config), mode, resume=False)

        if config.device in ("auto", "cpu"):
            begin()
        else:  # torch, which knows, takes seconds to load
            self.message.emit(f"Looking for the device {config.device} …", False)
            self.read(lambda: check_settings(config), begin, failed=lambda: self.message.emit("", False))

    def resume_training(self, mode: Mode = "thread") -> None:
        """Go on with a paused, stopped or interrupted run."""
        if self.run is None:
            raise ProjectError("There is no run to resume: start one.")
        self._check_may_train()
        if self.is_live:
            self._ask("run")
        else:
            self._check_alone(self.run)
            if not self._knows_all_classes():
                raise ProjectError(f"Run {self.run.id} does not know all classes that there are now: start a new one.")
            self._train(self.run, mode, resume=True)

    def set_colour(self, name: str, colour: str) -> None:
        """Give a class a colour, as "#rrggbb"; exports carry it."""
        if not self.refuses():
            chosen = self.colours = {**self.colours, name: colour}
            self._save([], lambda: self._open().set_colours(chosen))
            self.colours_changed.emit()

    def set_classes(self, names: Sequence[str], reopen: bool = False) -> None:
        """Rename classes and add some behind them; the project is opened anew for it, so nothing may be under way.

        ``reopen`` the slices that are done, which may show what is new: they teach nothing until they are done again.
        """
        if self.refuses():
            return
        if self.is_live:
            raise ProjectError("Training is running: stop it, then change the classes.")
        if self._unanswered or self._jobs.pending("import", "segment", "export"):
            raise ProjectError("Cases are being added, segmented or exported: wait for that, then change the classes.")
        project, shown = self._open(), self.run
        project.set_classes(names, reopen)
        self.open_project(project.path)
        if shown is not None:
            self.show_run(shown.id)
        self.message.emit(f"The classes are {', '.join(names)} now.", False)

    @property
    def can_resume(self) -> bool:
        """Whether the run on the screen has ended before its time, and there is something to go on with."""
        ended = self.run_state in ("stopped", "interrupted")
        failed_late = self.run_state == "failed" and self.run is not None and self.run.has_checkpoint
        return not self.is_live and (ended or failed_late) and self._knows_all_classes()

    def _knows_all_classes(self) -> bool:
        """Whether the run on the screen was made for as many classes as there are now."""
        return was_for(self.history.started, self._open().classes)

    def _check_may_train(self) -> None:
        reason = self._open().readonly or self.trouble
        if reason:
            raise ProjectError(reason)

    def _check_alone(self, mine: Run | None = None) -> None:
        live = self._open().live_run(besides=mine)
        if live is not None:
            raise ProjectError(f"Run {live} is training outside of this window: wait for its end, or show and stop it.")

    def _train(self, run: Run, mode: Mode, resume: bool) -> None:
        self.run_begins.emit()
        while not self._jobs.finish("save", timeout=LOOK_SECONDS):  # the run begins with what was drawn
            self._check_may_train()
        self.poll()  # the last words of the run before
        run.ask("run")
        self._watch(run)
        self._background = Background(self._open().path, run.id, mode=mode, resume=resume)
        self.run_state = "running"
        self.run_changed.emit()

    def pause_training(self) -> None:
        self._ask("pause")

    def stop_training(self) -> None:
        """Ask the run to write a checkpoint and end."""
        self._ask("stop")

    def _ask(self, wish: Any) -> None:
        if self.run is not None and self.is_live and not self.refuses():
            try:
                self.run.ask(wish)
            except DiskProblem as error:
                self.message.emit(str(error), True)

    def runs(self) -> list[tuple[Run, RunState]]:
        return self._open().runs() if self.project is not None else []

    def show_run(self, id: int) -> None:
        """Show the history of an older run; :meth:`resume_training` would go on with it."""
        if self.is_training:
            raise ProjectError("Training is running: stop it before you look at another run.")
        self._watch(self._open().run(id))
        self.run_changed.emit()

    def history_of(self, id: int) -> History:
        """Read what another run has said, to compare it with the one on the screen."""
        run = self._open().run(id)
        found = _begun(run)
        for event, _ in run.events():
            found.add(called_now(event, self._open().classes))
        return found

    def is_proven(self, proposal: Proposal) -> bool:
        """Whether the discriminator could tell good masks from bad ones when it judged this one."""
        if self.run is not None and proposal.run == self.run.id:
            return self.history.proven_at(proposal.step)
        if proposal.run not in self._others:
            self._others[proposal.run] = self.history_of(proposal.run)
        return self._others[proposal.run].proven_at(proposal.step)

    @property
    def is_training(self) -> bool:
        return self._background is not None and self._background.is_alive()

    @property
    def is_live(self) -> bool:
        """Whether the run on the screen trains: here, in a shell, or for a window that was killed."""
        return self.is_training or self.run_state in LIVE

    # watching --------------------------------------------------------------------------------------------

    def _watch(self, run: Run | None) -> None:
        self.run, self.history, self._offset = run, _begun(run) if run is not None else History(), 0
        self.run_state = self._open().run_state(run.id) if run else None
        if run is not None:
            self._read_events(quiet=True)
        self._last_proposal = self._open().last_proposal()

    def _read_events(self, quiet: bool = False) -> None:
        if self.run is None:
            return
        fresh = []
        for event, offset in self.run.events(self._offset):
            event = called_now(event, self._open().classes)
            self.history.add(event)
            fresh.append(event)
            self._offset = offset
        if not fresh or quiet:
            return
        for event in fresh:
            if self.is_training:
                self.run_state = _STATES.get(type(event), self.run_state)
            words, wrong = sentence(event)
            if words:
                self.message.emit(words, wrong)
        if any(isinstance(event, Proposed) for event in fresh):
            self._fetch_proposals()
        self.run_changed.emit()

    def _fetch_proposals(self) -> None:
        """Take up what is new of the cases that got proposals."""
        cases, self._last_proposal = self._open().cases_proposed_since(self._last_proposal)
        self._refresh(cases)

    def poll(self) -> None:
        super().poll()
        if self.project is not None:
            self._read_events()
            self._notice_silent_end()
            if self._notice_trouble():
                self.stop_training()  # masks come first

    def _notice_silent_end(self) -> None:
        if self._background is not None and self._background.problem:
            self.message.emit(self._background.problem, True)
            self._background.problem = ""
        if self.run is not None and self.run_state in LIVE and not self.is_training:
            self.run_state = self._open().run_state(self.run.id)
            if self.run_state not in LIVE:
                self._read_events()
                self.run_changed.emit()
                self.run_ended.emit(str(self.run_state))


def _begun(run: Run) -> History:
    """Return a run's history before it has said anything."""
    return History(judged=run.judged, selector=run.selector)
