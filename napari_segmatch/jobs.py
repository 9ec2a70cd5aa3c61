"""Slow work beside the window: jobs in lanes, each lane one thread that keeps their order."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from .types import Volume

Lane = Literal["journal", "save", "import", "read", "segment", "export"]
LANES: tuple[Lane, ...] = ("journal", "save", "import", "read", "segment", "export")

VOLUME_BYTES, VOLUMES = 64 * 2**20, 3
"""Pixels of cases opened lately that are kept, so that going back and forth reads no file: so many, or a few cases."""


@dataclass(eq=False)
class Job:
    lane: Lane
    future: Future[Any]
    then: Callable[[Any], None]
    failed: Callable[[BaseException], None]


class Jobs:
    """Runs jobs off the window's thread, and hands their results over when :meth:`poll` is called on it.

    Parameters
    ----------
    failed
        Called from :meth:`poll` with the job's lane and its exception.
    """

    def __init__(self, failed: Callable[[Lane, BaseException], None]) -> None:
        self._failed = failed
        self._threads = {lane: ThreadPoolExecutor(1, thread_name_prefix=f"segmatch-{lane}") for lane in LANES}
        self._jobs: list[Job] = []

    def submit(
        self,
        lane: Lane,
        job: Callable[[], Any],
        then: Callable[[Any], None],
        failed: Callable[[BaseException], None] | None = None,
    ) -> Future[Any]:
        """Queue a job; from :meth:`poll` ``then`` gets its result, or ``failed`` its exception."""
        entry = Job(lane, self._threads[lane].submit(job), then, failed or partial(self._failed, lane))
        self._jobs.append(entry)
        return entry.future

    def poll(self) -> None:
        """Conclude what is done, in the order of submission."""
        for entry in [entry for entry in self._jobs if entry.future.done()]:
            if entry in self._jobs:  # a listener may have polled meanwhile
                self._jobs.remove(entry)
                self._conclude(entry)

    def _conclude(self, entry: Job) -> None:
        if entry.future.cancelled():
            return
        error = entry.future.exception()
        if error is None:
            entry.then(entry.future.result())
        else:
            entry.failed(error)

    def pending(self, *lanes: Lane) -> bool:
        return any(entry.lane in (lanes or LANES) for entry in self._jobs)

    def finish(self, *lanes: Lane, timeout: float | None = None) -> bool:
        """Wait for the jobs of these lanes (or all), then poll; False if some of them take longer than ``timeout``."""
        left = wait([entry.future for entry in self._jobs if entry.lane in (lanes or LANES)], timeout).not_done
        self.poll()
        return not left

    def cancel(self, *lanes: Lane) -> None:
        """Drop jobs of these lanes that have not begun."""
        for entry in self._jobs:
            if entry.lane in lanes:
                entry.future.cancel()

    def close(self) -> None:
        for thread in self._threads.values():
            thread.shutdown(wait=True)


class VolumeCache:
    """Volumes opened lately: a few of them, and more up to a number of bytes. Any thread may ask."""

    def __init__(self, load: Callable[[str], Volume]) -> None:
        self._load = load
        self._volumes: OrderedDict[str, Volume] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, case: str) -> Volume:
        with self._lock:
            volume = self._volumes.pop(case, None)
            if volume is None:
                volume = self._load(case)
            self._volumes[case] = volume
            while len(self._volumes) > VOLUMES and sum(v.pixels.nbytes for v in self._volumes.values()) > VOLUME_BYTES:
                self._volumes.popitem(last=False)
        return volume

    def forget(self, case: str) -> None:
        """Read a case anew when somebody asks for it next; waits for one that is being read."""
        with self._lock:
            self._volumes.pop(case, None)

    def clear(self) -> None:
        with self._lock:
            self._volumes.clear()
