"""The only module that knows fsync, rename and file locks.

Order, always: temporary file beside the target, write, fsync, rename, fsync the folder. After
:func:`write_atomic` returns, the bytes are on disk under their name; if it raises, the old file is untouched.
"""

from __future__ import annotations

import csv
import io
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

from .errors import ProjectError

_UMASK = os.umask(0o022)
os.umask(_UMASK)


def write_atomic(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` so that a kill at any moment leaves the old file or the new one, never half.

    Raises
    ------
    ProjectError
        When the disk refuses (full, read-only, no permission); nothing is changed then.
    """
    temporary = None
    try:
        made = _make_folders(path.parent)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_UMASK)  # a temporary file is the owner's alone; colleagues share folders
        Path(temporary).replace(path)
        for folder in (path.parent, *made):
            sync_folder(folder)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise ProjectError(
            f"{path.name} could not be written ({error.strerror}): free some space or check that the folder "
            "may be written to, then save again."
        ) from error


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder and those above it; returns the folders in which a new name has to be made durable."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return [one.parent for one in missing]


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut (Windows has no such call, and needs none)."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a table as CSV with a header."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return buffer.getvalue()


class FileLock:
    """An exclusive lock that the operating system frees when its process dies, however it dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def acquire(self, patience: float = 0.0) -> bool:
        """Take the lock, trying for ``patience`` seconds; False when somebody else keeps it."""
        end = time.monotonic() + patience
        while not self._try():
            if time.monotonic() >= end:
                return False
            time.sleep(0.02)
        return True

    def _try(self) -> bool:
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
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
