"""The child process that reads files of which nobody knows what they do to their reader: see :mod:`.apart`."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
from typing import Any

from ..errors import SegmatchError
from . import apart
from .source import memory

_LEAST_MEMORY = 4 * 2**30
GRACE = 5.0
"""Seconds more than a call may take after which the system ends this process: its parent, who is to do it, is gone."""


def main() -> None:
    """Answer calls until nobody asks any more."""
    apart.INSIDE = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):  # what a decoder prints is no answer
        os.dup2(nothing, standard)
    _limit_memory()
    apart.send(answers, "ready")
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            place, seconds, (function, arguments) = apart.receive(questions)
            with contextlib.suppress(OSError):
                os.chdir(place)
            _limit_time(seconds + GRACE)
            answer = _answer(function, arguments)
            _limit_time(0)
            apart.send(answers, answer)
            del answer, arguments


def _answer(function: Any, arguments: Any) -> tuple[bool, Any]:
    try:
        return True, function(*arguments)
    except SegmatchError as error:
        return False, error
    except MemoryError:
        return False, MemoryError()
    except Exception as error:  # a bug: it is raised on the other side, if it can get there
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301
        except Exception:
            return False, RuntimeError(repr(error))
        return False, error


def _limit_memory() -> None:
    """Let this process have three quarters of the memory at most, where the system can hold it to that."""
    if sys.platform != "win32":
        import resource

        most = max(_LEAST_MEMORY, memory() * 3 // 4)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _limit_time(seconds: float) -> None:
    """Let the system end this process in so many seconds, whatever it does or waits for; 0 is never.

    Windows has no such limit: a child whose parent was killed ends there when its call does.
    """
    if sys.platform != "win32":
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)
