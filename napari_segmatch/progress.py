"""How a run's events look in a shell."""

from __future__ import annotations

import sys
import time

import typer

from .events import Evaluated, Finished, Noted, PoolChanged, Started, Step, Stopped, TrainEvent


class Progress:
    """One line that renews itself in a terminal; a line every ten seconds elsewhere.

    When the terminal is gone, or the file that takes the lines is on a full disk, nothing is shown and nothing ends.
    """

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._live = sys.stderr.isatty()
        self._shown = 0.0

    def show(self, event: TrainEvent) -> None:
        if self._quiet:
            return
        if isinstance(event, Step):
            if time.monotonic() - self._shown > (0.2 if self._live else 10):
                self._shown = time.monotonic()
                self._say(("\r" if self._live else "") + _step_line(event), nl=not self._live)
            return
        line = _event_line(event)
        if line:
            self._say(("\n" if self._live else "") + line)

    def _say(self, line: str, nl: bool = True) -> None:
        try:
            typer.echo(line, err=True, nl=nl)
        except OSError:
            self._quiet = True


def _step_line(event: Step) -> str:
    minutes, seconds = divmod(int(event.seconds_left), 60)
    used = "labelled slices alone" if event.accepted is None else f"{event.accepted:.0%} of pseudo masks accepted"
    return (
        f"{event.progress:4.0%}  step {event.step}  {minutes}:{seconds:02d} left  "
        f"loss {event.supervised:.3f} + {event.consistency:.3f}  {used}   "
    )


def _event_line(event: TrainEvent) -> str:
    if isinstance(event, Started):
        return f"Training on {event.device}: {event.labelled} labelled and {event.unlabelled} unlabelled slices."
    if isinstance(event, Evaluated):
        each = ", ".join(f"{name} {value:.3f}" for name, value in event.dice.items())
        return f"Validation Dice at step {event.step}: {each} (n={len(event.cases)})."
    if isinstance(event, PoolChanged):
        return f"Step {event.step}: the pool changed; {len(event.added)} slices joined the labelled ones."
    if isinstance(event, Noted):
        return event.message
    if isinstance(event, Finished | Stopped):
        return f"{event.kind.capitalize()} at step {event.step}."
    return ""
