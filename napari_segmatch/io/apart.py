"""Calls in a process of their own, with limits: what a broken file does to its reader stays there.

One child (:mod:`napari_segmatch.io.child`) serves all calls one after the other, since starting it takes a second. It
is started when it is needed, anew if it died, and ends when nobody needs it for a while, or when this process ends,
however it ends: its input is closed then.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from ..errors import ImportProblem

IDLE_SECONDS = 30.0
INSIDE = False
"""Whether this process is the child itself: it calls directly."""

T = TypeVar("T")
_COMMAND = "import sys; sys.path[:] = {path!r}; from napari_segmatch.io.child import main; main()"


def read_apart(function: Callable[..., T], *arguments: Any, files: Iterable[str | Path]) -> T:
    """Return ``function(*arguments)``, which reads ``files``, from the child. All must be such as can be pickled.

    Raises
    ------
    ImportProblem
        If reading kills the child, takes too long or too much memory; or whatever the function raises.
    """
    paths = [Path(file) for file in files]
    return run_apart(function, *arguments, name=" or ".join(path.name for path in paths), seconds=_patience(paths))


def run_apart(function: Callable[..., T], *arguments: Any, name: str, seconds: float) -> T:
    """Return ``function(*arguments)`` from the child, which is killed after ``seconds``; ``name`` is of the file."""
    if INSIDE:
        return function(*arguments)
    return cast(T, _child.call((function, arguments), name, seconds))


def end_child() -> None:
    """Let the child go; the next call starts another."""
    _child.end()


def _patience(paths: Iterable[Path]) -> float:
    """Return seconds that reading files may take: a minute, and one for each MiB, of a DICOM slice's whole folder."""
    total = 0
    for path in paths:
        folder = path if path.is_dir() else path.parent if path.suffix.lower() in ("", ".dcm", ".ima") else None
        with contextlib.suppress(OSError):
            total += sum(file.stat().st_size for file in folder.iterdir()) if folder else path.stat().st_size
    return 60 + total / 2**20


class _Child:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._retirement: threading.Timer | None = None

    def call(self, job: Any, name: str, seconds: float) -> Any:
        with self._lock:
            if self._retirement is not None:
                self._retirement.cancel()
            process = self._started()
            late = threading.Event()
            alarm = _timer(seconds, lambda: _kill(process, late))
            try:
                send(process.stdin, (_start_folder(), seconds, job))
                worked, result = receive(process.stdout)
            except (OSError, EOFError) as error:
                self._end()
                if late.is_set():
                    sentence = f"{name} took longer than {seconds:.0f} s to read: export it again, uncompressed."
                else:
                    sentence = f"{name} broke the program that reads it: export it again, uncompressed."
                raise ImportProblem(sentence) from error
            except MemoryError as error:  # what it says has no room here
                self._end()
                raise _too_large(name) from error
            except BaseException:  # Ctrl+C: what the child still says is nobody's answer
                self._end()
                raise
            finally:
                alarm.cancel()
            self._retirement = _timer(IDLE_SECONDS, self.end)
        if worked:
            return result
        raise _too_large(name) if isinstance(result, MemoryError) else result

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._end()
        apart: dict[str, Any] = (  # Ctrl+C in the shell is for us alone
            {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
             | getattr(subprocess, "CREATE_NO_WINDOW", 0)}
            if sys.platform == "win32" else {"start_new_session": True}
        )  # fmt: skip
        few_threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # each takes of the memory that is allowed
        command = _COMMAND.format(path=[str(place) for place in sys.path])
        try:
            process = self._process = subprocess.Popen(
                [sys.executable, "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, env=os.environ | few_threads, **apart,
            )  # fmt: skip
            receive(process.stdout)  # it is ready
        except BaseException as error:  # Ctrl+C too: half a start is none
            self._end()
            if not isinstance(error, OSError | EOFError):
                raise
            raise ImportProblem(
                "The process that reads files does not start: close other programs and try again, or install "
                "napari-segmatch anew."
            ) from error
        return process

    def end(self) -> None:
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(OSError), self._process:  # closes the pipes and waits
                pass
            self._process = None

    def forget(self) -> None:
        """After a fork the child belongs to the parent."""
        self.__init__()  # type: ignore[misc]


def _too_large(name: str) -> ImportProblem:
    return ImportProblem(f"{name} does not fit into memory: crop it.")


def _start_folder() -> str:
    """Return the folder at which relative names begin; nothing if it is gone."""
    with contextlib.suppress(OSError):
        return os.getcwd()  # noqa: PTH109
    return ""


def _timer(seconds: float, action: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()
    return timer


def _kill(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    process.kill()


def send(stream: IO[bytes] | None, message: Any) -> None:
    """Write a message; arrays go as they lie in memory."""
    if stream is None:
        raise EOFError
    buffers: list[pickle.PickleBuffer] = []
    first = memoryview(pickle.dumps(message, protocol=5, buffer_callback=buffers.append))
    parts = [first, *(part.raw() for part in buffers)]
    head = [len(parts), *(part.nbytes for part in parts)]
    stream.write(b"".join(number.to_bytes(8, "little") for number in head))
    for part in parts:
        stream.write(part)
    stream.flush()


def receive(stream: IO[bytes] | None) -> Any:
    """Read a message; raises EOFError when the other side is gone."""
    if stream is None:
        raise EOFError
    count = int.from_bytes(_exactly(stream, 8), "little")
    lengths = [int.from_bytes(_exactly(stream, 8), "little") for _ in range(count)]
    first, *buffers = [_exactly(stream, length) for length in lengths]
    return pickle.loads(first, buffers=buffers)  # noqa: S301  from our own child, which has our own rights


def _exactly(stream: IO[bytes], count: int) -> bytearray:
    data = bytearray(count)
    view = memoryview(data)
    while view:
        got = cast(Any, stream).readinto(view)
        if not got:
            raise EOFError
        view = view[got:]
    return data


_child = _Child()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_child.forget)
