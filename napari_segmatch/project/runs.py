"""One training run: a folder with its configuration, its events, its checkpoints and a wish.

Trainer and window never share memory. The trainer appends events and reads the wish; the window does the
reverse. So a run in a thread, in another process or on another machine looks the same from outside.
"""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..config import TrainConfig, from_dict
from ..errors import ProjectError
from ..events import Evaluated, Examined, Started, TrainEvent, decode, encode
from ..fsio import write_atomic
from ..locks import FileLock
from ..types import RunState

Wish = Literal["run", "pause", "stop"]

LIVE: tuple[RunState, ...] = ("running", "paused")

_TORN = 8
"""More lines than kills tear one after another, plus one."""


@dataclass(frozen=True)
class Run:
    """Folder ``runs/<id>`` of a project."""

    id: int
    folder: Path

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def has_checkpoint(self) -> bool:
        """Whether the run has learnt something that can be used."""
        return any(self.checkpoints.glob("[0-9]*"))

    @property
    def config(self) -> TrainConfig:
        try:
            return from_dict(json.loads((self.folder / "config.json").read_text("utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ProjectError(f"Run {self.id} has no readable config.json ({error}).") from error

    @property
    def selector(self) -> str:
        """Who decides which pseudo masks train its model; empty if its settings cannot be read."""
        try:
            return self.config.selector
        except ProjectError:
            return ""

    @property
    def judged(self) -> bool:
        """Whether its discriminator is one that examinations have to prove."""
        return self.selector == "discriminator" and self.config.objective == "quality"

    def create(self, config: TrainConfig) -> None:
        text = json.dumps(dataclasses.asdict(config), indent=1)
        write_atomic(self.folder / "config.json", text.encode())

    # the trainer's side ----------------------------------------------------------------------------------

    def record(self, event: TrainEvent) -> None:
        with (self.folder / "events.jsonl").open("ab") as file:
            if file.tell() and not self._ends_whole():
                file.write(b"\n")  # a kill tore the last line; it must not take this one along
            file.write(encode(event).encode() + b"\n")

    def _ends_whole(self) -> bool:
        with (self.folder / "events.jsonl").open("rb") as file:
            file.seek(-1, 2)
            return file.read(1) == b"\n"

    def wish(self) -> Wish:
        """Return what the person wants of this run at present."""
        try:
            text = (self.folder / "wish").read_text("utf-8")
        except OSError:
            return "run"
        return "stop" if text == "stop" else "pause" if text == "pause" else "run"

    def lock(self) -> FileLock:
        """A lock that whoever trains this run holds; the system frees it when the trainer dies."""
        return FileLock(self.folder / "lock")

    # the person's side -----------------------------------------------------------------------------------

    def ask(self, wish: Wish) -> None:
        write_atomic(self.folder / "wish", wish.encode())

    def is_live(self) -> bool:
        """Whether somebody trains this run at this moment."""
        return (self.folder / "lock").exists() and not self.lock().is_free()

    def newest(self, *kinds: type[TrainEvent]) -> TrainEvent | None:
        """Return the last event of these kinds, or of all; None if there is none. What came before is not decoded."""
        starts = tuple(map(_start, kinds)) or b"{"
        try:
            with (self.folder / "events.jsonl").open("rb") as file:
                lines = deque((line for line in file if line.startswith(starts)), maxlen=_TORN)
        except OSError:
            return None
        found = (decode(line.decode("utf-8", "replace")) for line in reversed(lines))
        return next((event for event in found if event is not None), None)

    def examinations(self) -> list[Examined]:
        """Return what the discriminator's examinations have shown, the first one first."""
        return [event for event in self._all(Examined) if isinstance(event, Examined)]

    def evaluated(self) -> Evaluated | None:
        """Return the last evaluation that stands: a resumed run takes the steps after its checkpoint anew."""
        standing: list[Evaluated] = []
        for event in self._all(Started, Evaluated):
            if isinstance(event, Evaluated):
                standing.append(event)
            elif isinstance(event, Started):
                standing = [item for item in standing if item.step <= event.step]
        return standing[-1] if standing else None

    def _all(self, *kinds: type[TrainEvent]) -> list[TrainEvent | None]:
        """Return the events of these kinds in order, None for a line that a kill has torn."""
        starts = tuple(map(_start, kinds))
        try:
            with (self.folder / "events.jsonl").open("rb") as file:
                return [decode(line.decode("utf-8", "replace")) for line in file if line.startswith(starts)]
        except OSError:
            return []

    def knows(self, classes: Sequence[str]) -> bool:
        """Whether it was made for as many classes as there are now."""
        started = self.newest(Started)
        return was_for(started if isinstance(started, Started) else None, classes)

    def events(self, offset: int = 0) -> Iterator[tuple[TrainEvent, int]]:
        """Yield events written since byte ``offset``, each with the offset to go on from."""
        try:
            file = (self.folder / "events.jsonl").open("rb")
        except OSError:
            return
        with file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                event = decode(line.decode("utf-8", "replace"))
                if event is not None:
                    yield event, offset


def _start(kind: type[TrainEvent]) -> bytes:
    """Return how the lines of a kind of event begin."""
    return f'{{"kind": "{kind.kind}"'.encode()


def was_for(started: Started | None, classes: Sequence[str]) -> bool:
    """Whether a run that began so was made for as many classes as there are now; early ones do not say."""
    return started is None or started.classes in (0, len(classes))
