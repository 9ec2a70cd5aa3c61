"""The child process that reads files of which nobody knows what they do to their reader: see :mod:`.apart`."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import time
from typing import Any

from ..errors import SegmatchError
from . import apart
from .source import memory

_LEAST_MEMORY = 4 * 2**30


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
            _limit_time(seconds)
            os.chdir(place)
            answer = _answer(function, arguments)
            apart.send(answers, answer)
            del answer, arguments


def _answer(function: Any, arguments: Any) -> tuple[bool, Any]:
    try:
        return True, function(*arguments)
    except SegmatchError as error:
        return False, error
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
    """Let the system end this process if it still computes when its parent, who would kill it, is gone."""
    if sys.platform != "win32":
        import resource

        with contextlib.suppress(ValueError, OSError):
            most = resource.getrlimit(resource.RLIMIT_CPU)[1]
            resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + seconds) + 1, most))
