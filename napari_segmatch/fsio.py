"""The only module that writes to the disk: it knows fsync, rename and what to do when the disk refuses.

Order, always: temporary file beside the target, write, fsync, read back, rename, fsync the folder. After
:func:`write_atomic` returns, the bytes are on disk under their name; if it raises, the old file is untouched.

Each function of :data:`PRIMITIVES` is one call of the operating system, so that tests can make every one fail.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from .errors import DiskProblem, ProjectError

PRIMITIVES = ("_open", "_write", "_fsync", "_read", "_rename", "_mkdir", "_truncate", "_unlink", "_allocate")

_BINARY = getattr(os, "O_BINARY", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)  # a link that somebody planted is not followed
TEMPORARY = ".tmp-"


def _open(path: Path, flags: int) -> int:
    return os.open(path, flags | _BINARY, 0o666)


def _write(handle: int, data: bytes | memoryview) -> int:
    return os.write(handle, data)


def _fsync(handle: int) -> None:
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(handle, fcntl.F_FULLFSYNC)  # a plain fsync leaves it in the drive's own memory there
    else:
        os.fsync(handle)


def _read(path: Path) -> bytes:
    handle = os.open(path, os.O_RDONLY | _BINARY | _NOFOLLOW)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a plain file")
        return file.read()


def _rename(source: Path, target: Path) -> None:
    source.replace(target)


def _mkdir(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


def _truncate(handle: int, size: int) -> None:
    os.ftruncate(handle, size)


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)


def _allocate(handle: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)
    else:
        _write_all(handle, bytes(size))


def write_atomic(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` so that a kill at any moment leaves the old file or the new one, never half.

    Raises
    ------
    DiskProblem
        When the disk refuses (full, read-only, no permission) or does not give back what was written; nothing is
        changed then. Trying again writes a new file from memory: an fsync that failed once proves nothing later.
    """
    temporary = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        made = _make_folders(path.parent)
        with _opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as handle:
            _write_all(handle, data)
            _fsync(handle)
        if _read(temporary) != data:
            raise OSError(errno.EIO, "it does not read back as it was written")
        _patiently(lambda: _rename(temporary, path))
        for folder in (path.parent, *made):
            sync_folder(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            _unlink(temporary)
        raise refused(path.name, error) from error


def refused(name: str, error: OSError) -> DiskProblem:
    return DiskProblem(
        f"{name} could not be written ({error.strerror}): free some space, or check that the folder may be written to."
    )


@contextlib.contextmanager
def _opened(path: Path, flags: int, links: int = _NOFOLLOW) -> Iterator[int]:
    handle = _open(path, flags | links)
    try:
        yield handle
    finally:
        os.close(handle)


def _write_all(handle: int, data: bytes) -> None:
    """Write to the end: one call may write less than it was given, without an error."""
    rest = memoryview(data)
    while rest:
        written = _write(handle, rest)
        if written <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rest = rest[written:]


def _patiently(rename: Callable[[], None], seconds: float = 5.0) -> None:
    """On Windows a virus scanner can hold a fresh file for a moment; elsewhere a refusal is a refusal."""
    end = time.monotonic() + seconds
    while True:
        try:
            return rename()
        except PermissionError:
            if sys.platform != "win32" or time.monotonic() > end:
                raise
            time.sleep(0.05)


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder and those above it; returns the folders in which a new name has to be made durable."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    if missing:
        _mkdir(folder)
    return [one.parent for one in missing]


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut (Windows has no such call, and needs none)."""
    if sys.platform == "win32":
        return
    with _opened(folder, os.O_RDONLY, links=0) as handle:  # a project or an export may lie behind a link
        _fsync(handle)


def sync_file(path: Path) -> None:
    """Make what another library has written durable."""
    with _opened(path, os.O_RDWR) as handle:
        _fsync(handle)


def move(source: Path, target: Path) -> None:
    """Rename a file or folder and make it durable.

    Raises
    ------
    DiskProblem
        When the disk refuses.
    """
    try:
        for folder in _make_folders(target.parent):
            sync_folder(folder)
        _patiently(lambda: _rename(source, target))
        sync_folder(target.parent)
    except OSError as error:
        raise refused(target.name, error) from error


def read_file(path: Path) -> bytes:
    """Read a plain file; a symbolic link in its place is refused (OSError)."""
    return _read(path)


def inside(root: Path, relative: str) -> Path:
    """Return ``root / relative`` if that is a place inside ``root``, reached through no symbolic link.

    Raises
    ------
    ProjectError
        Otherwise: a project folder that somebody tampered with must not reach other files.
    """
    parts = relative.replace("\\", "/").split("/")
    path = root
    for part in parts:
        path = path / part
        if part in ("", ".", "..") or ":" in part or "\0" in part or path.is_symlink():
            raise ProjectError(f"{relative!r} leads out of {root.name}: the project folder was tampered with.")
    return path


SPARE_BYTES = 500 * 2**20
"""So much of a disk training leaves free: masks need the room."""


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


class GrowingFile:
    """A file to which records are added. A record that could not be added whole is taken out again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None
        self._size = 0

    def append(self, data: bytes) -> None:
        """Add ``data``; when this returns it is on disk.

        Raises
        ------
        DiskProblem
            When the disk refuses; the file is as it was.
        """
        try:
            handle = self._start() if self._handle is None else self._handle
            _write_all(handle, data)
            _fsync(handle)
            self._size += len(data)
        except OSError as error:
            self._stop()
            raise refused(self.path.name, error) from error

    def cut(self, size: int) -> None:
        """Take away what lies beyond ``size``: half a record that a kill left behind."""
        if self.path.exists() and self.path.stat().st_size > size:
            with _opened(self.path, os.O_WRONLY) as handle:
                _truncate(handle, size)
                _fsync(handle)

    def _start(self) -> int:
        fresh = not self.path.exists()
        made = _make_folders(self.path.parent)
        handle = self._handle = _open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _NOFOLLOW)
        self._size = os.fstat(handle).st_size
        for folder in (self.path.parent, *made) if fresh else ():
            sync_folder(folder)
        return handle

    def _stop(self) -> None:
        """Take a half record out and let go of the file: the next record opens it anew."""
        if self._handle is not None:
            with contextlib.suppress(OSError):
                _truncate(self._handle, self._size)
            self.close()

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def remove(self) -> None:
        """Close and delete the file; one that the disk does not let go of is left."""
        self.close()
        with contextlib.suppress(OSError):
            _unlink(self.path)


class Reserve:
    """Space kept back on the disk, so that the last strokes find room when it is full."""

    def __init__(self, path: Path, size: int = 8 * 2**20) -> None:
        self._path, self._size = path, size

    def fill(self) -> None:
        """Take the space, if it is to be had."""
        with contextlib.suppress(OSError):
            if self._path.exists() and self._path.stat().st_size == self._size:
                return
            try:
                with _opened(self._path, os.O_WRONLY | os.O_CREAT) as handle:
                    _allocate(handle, self._size)
            except OSError:
                self.release()

    def release(self) -> bool:
        """Give the space back; False when there was none."""
        try:
            held = self._path.exists()
            _unlink(self._path)
        except OSError:
            return False
        return held
