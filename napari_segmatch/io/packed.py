"""The bytes of a file that may be gzipped: every checksum is compared, and no more is unpacked than is asked for.

nibabel stops at the last voxel and so never sees a gzip's checksum; a memory-mapped file that another program
shortens would kill the process.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ..errors import ImportProblem

GZIP = b"\x1f\x8b"
_CHUNK = 2**20
_SURPLUS = 64  # MiB that a file may hold after its voxels


class Stream(Protocol):
    def read(self, count: int, /) -> bytes: ...


class Gunzip:
    """A gzip stream. Reading raises EOFError where it is cut and zlib.error where it is damaged.

    ``garbage`` tells at the end whether something followed that is no gzip; it is left out.
    """

    def __init__(self, file: Stream) -> None:
        self.garbage = False
        self._pieces = self._unpack(file)
        self._waiting = b""

    def read(self, count: int, /) -> bytes:
        """Return ``count`` bytes, fewer only at the end."""
        pieces, length = [self._waiting], len(self._waiting)
        while length < count and (piece := next(self._pieces, None)) is not None:
            pieces.append(piece)
            length += len(piece)
        data = b"".join(pieces)
        self._waiting = data[count:]
        return data[:count]

    def _unpack(self, file: Stream) -> Iterator[bytes]:
        packed = file.read(_CHUNK)
        while packed.startswith(GZIP):
            member = zlib.decompressobj(31)
            while not member.eof:
                packed = packed or file.read(_CHUNK)
                if not packed:
                    raise EOFError
                yield member.decompress(packed, _CHUNK)
                packed = member.unconsumed_tail
            packed = member.unused_data.lstrip(b"\0")  # padding may follow
            while not packed and (more := file.read(_CHUNK)):
                packed = more.lstrip(b"\0")
        self.garbage = bool(packed)


@contextmanager
def opened(path: Path) -> Iterator[Stream]:
    """Open a file that may be gzipped; what is wrong with it as a file becomes a sentence."""
    name = path.name
    if path.is_dir():
        raise ImportProblem(f"{name} is a folder: give one file.")
    if not path.is_file():
        raise ImportProblem(f"{name} does not exist: check its name and folder.")
    with path.open("rb") as file, told(name):
        start = file.read(256)
        file.seek(0)
        if not start:
            raise ImportProblem(f"{name} is empty: copy or download it again.")
        if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
            raise ImportProblem(f"{name} is a web page, not an image: download the file itself.")
        yield Gunzip(file) if start.startswith(GZIP) else file


@contextmanager
def told(name: str) -> Iterator[None]:
    """Turn what is wrong with packed bytes into a sentence."""
    try:
        yield
    except EOFError as error:
        raise ImportProblem(f"{name} is truncated: copy or download it again.") from error
    except zlib.error as error:
        raise ImportProblem(f"{name} is damaged (wrong checksum): copy or download it again.") from error


def read_exactly(stream: Stream, count: int, name: str) -> bytes:
    """Read ``count`` bytes of voxels, and then to the end so that a checksum is compared."""
    data = stream.read(count)
    if len(data) < count:
        raise ImportProblem(f"{name} is truncated ({len(data)} of {count} bytes): copy or download it again.")
    if all(stream.read(_CHUNK) for _ in range(_SURPLUS)):
        raise ImportProblem(f"{name} is far longer than its header says: export it again.")
    return data


def garbage_note(stream: Stream, name: str) -> tuple[str, ...]:
    """Say so if bytes followed the gzip that belong to no image."""
    if isinstance(stream, Gunzip) and stream.garbage:
        return (f"{name} has bytes behind its end that belong to no image; they are left out.",)
    return ()
