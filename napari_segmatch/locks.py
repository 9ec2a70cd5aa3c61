"""Who may write: locks that the operating system frees when their process dies, however it dies."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import TracebackType

from .errors import ProjectError

WINDOW = ".window-lock"
"""The file in a project's folder whose lock the window that writes to it holds."""

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)  # a link that somebody planted is not followed


class FileLock:
    """An exclusive lock on a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._handle is not None

    def acquire(self, patience: float = 0.0) -> bool:
        """Take the lock, trying for ``patience`` seconds; False when somebody else keeps it."""
        end = time.monotonic() + patience
        while not self._try():
            if time.monotonic() >= end:
                return False
            time.sleep(0.02)
        return True

    def is_free(self) -> bool:
        """Whether nobody else keeps the lock; who may only read the file can ask as well."""
        free = self._try() if os.access(self._path, os.W_OK) else self._try(os.O_RDONLY)
        self.release()
        return free

    def _try(self, flags: int = os.O_RDWR | os.O_CREAT) -> bool:
        try:
            handle = os.open(self._path, flags | _NOFOLLOW, 0o666)
        except OSError:
            return False
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return False
        self._handle = handle
        return True

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> FileLock:
        if not self.acquire(patience=1.0):  # who only looks whether it is free holds it for a moment
            raise ProjectError(f"{self._path.parent.name} is in use by another process.")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self.release()
