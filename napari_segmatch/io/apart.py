"""A call in a process of its own: what a broken file does to its decoder stays there."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from ..errors import ImportProblem

_MEMORY = 8 * 2**30


def run_apart(function: Callable[[Any], Any], argument: Any, name: str, seconds: float) -> Any:
    """Return ``function(argument)`` from a fresh process with limits of time and memory.

    Raises
    ------
    ImportProblem
        If the process dies or takes too long, naming the file; or whatever the function raises.
    """
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _limited)
    try:
        return pool.submit(function, argument).result(timeout=seconds)
    except TimeoutError as error:
        for process in list(pool._processes.values()):
            process.kill()
        raise ImportProblem(f"{name} took longer than {seconds:.0f} s to unpack: export it uncompressed.") from error
    except BrokenProcessPool as error:
        raise ImportProblem(f"{name} has pixels that broke their decoder: export it uncompressed.") from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _limited() -> None:
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
