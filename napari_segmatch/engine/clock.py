"""How far a run is, by its own steps or its own minutes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from .learner import Learner
from .schedule import warm_share

ASLEEP_SECONDS = 600
"""A step that seems to take longer was not computed all the time."""


DEAR = 3.0
"""A step after the warm-up takes so many times as long as one in it."""


class Clock:
    """How far a run is, by steps or by minutes of its own work: pauses do not count, time before a resume does."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._since = time.monotonic()
        self._recent: list[float] = [learner.elapsed]

    @property
    def progress(self) -> float:
        config = self._learner.config
        if config.minutes:
            return min(1.0, self._learner.elapsed / (60 * config.minutes))
        return min(1.0, self._learner.step / config.steps)

    def start(self) -> None:
        self._since = time.monotonic()

    def tick(self) -> None:
        """Count the time since the last tick or start; the computer's sleep is no work."""
        now = time.monotonic()
        self._learner.elapsed += min(now - self._since, ASLEEP_SECONDS)
        self._since = now
        self._recent = [*self._recent[-50:], self._learner.elapsed]

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Do not count what the listener does with an event."""
        worked = time.monotonic() - self._since
        yield
        self._since = time.monotonic() - worked

    @property
    def seconds_left(self) -> float:
        config = self._learner.config
        if config.minutes:
            return max(0.0, 60 * config.minutes - self._learner.elapsed)
        pace = (self._recent[-1] - self._recent[0]) / max(1, len(self._recent) - 1)
        left = config.steps - self._learner.step
        cheap = max(0.0, warm_share(config, self._learner.step, self.progress) * config.steps - self._learner.step)
        if not cheap or config.selector == "none":
            return pace * left
        return pace * (cheap + DEAR * (left - cheap))
