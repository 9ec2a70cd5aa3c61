"""The stroke journal: every stroke is on disk before anybody has pressed save.

One file a window, ``journal/<id>.strokes``, of records ``magic, lengths, crc32, JSON, zlib``. A record holds whole
slices as they are after a stroke, so records need no base and the last one wins. A record that a kill tore is ignored,
and so is a damaged one; the others are read.
"""

from __future__ import annotations

import contextlib
import json
import struct
import uuid
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DiskProblem, ProjectError
from ..fsio import GrowingFile, read_file, write_atomic
from .audit import now

if TYPE_CHECKING:
    from .masks import MaskFolder

MAGIC = b"SgSt"
HEAD = struct.Struct("<4sIII")
"""Magic, bytes of JSON, bytes of pixels, crc32 of both."""

SUFFIX = ".strokes"
PLACE = "place.json"


@dataclass(frozen=True, eq=False)
class Stroke:
    """Slices (y, x) of a case after a stroke; no slices: everything up to here is in a mask version.

    ``done`` are those of them that were marked as done.
    """

    case: str
    slices: Mapping[int, np.ndarray]
    at: str = ""
    done: tuple[int, ...] = ()


def encode(stroke: Stroke) -> bytes:
    zs = sorted(stroke.slices)
    shape = list(stroke.slices[zs[0]].shape) if zs else [0, 0]
    facts = {"case": stroke.case, "z": zs, "shape": shape, "at": stroke.at or now()}
    head = json.dumps({**facts, "done": stroke.done} if stroke.done else facts).encode()
    pixels = zlib.compress(b"".join(stroke.slices[z].astype(np.uint8).tobytes() for z in zs), 1)
    return HEAD.pack(MAGIC, len(head), len(pixels), zlib.crc32(head + pixels)) + head + pixels


def decode(data: bytes) -> Iterator[Stroke]:
    """Yield the records that are whole. After a damaged one the next whole one is looked for."""
    start = data.find(MAGIC)
    while start >= 0:
        size = 0
        with contextlib.suppress(struct.error, ValueError, KeyError, TypeError, zlib.error):
            _, size_head, size_pixels, crc = HEAD.unpack_from(data, start)
            body = data[start + HEAD.size : start + HEAD.size + size_head + size_pixels]
            if len(body) == size_head + size_pixels and zlib.crc32(body) == crc:
                yield _stroke(json.loads(body[:size_head]), body[size_head:])
                size = HEAD.size + len(body)
        start = data.find(MAGIC, start + max(1, size))


def _stroke(head: dict[str, Any], packed: bytes) -> Stroke:
    height, width = map(int, head["shape"])
    size = len(head["z"]) * height * width
    pixels = zlib.decompressobj().decompress(packed, size + 1) if size else b""
    slices = np.frombuffer(pixels, np.uint8).reshape(len(head["z"]), height, width)
    done = tuple(map(int, head.get("done", ())))
    return Stroke(str(head["case"]), {int(z): slices[i] for i, z in enumerate(head["z"])}, str(head["at"]), done)


class Journal:
    """One window's journal. All calls come from one thread, beside the window's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = self._fresh()
        self._behind = False  # the file lacks a record that was refused
        self._open: dict[str, list[bytes]] = {}  # records of each case that no mask version holds yet
        self._left: dict[str, list[bytes]] = {}  # and those that a save has failed to take along

    def _fresh(self) -> GrowingFile:
        return GrowingFile(self._folder / f"{uuid.uuid4().hex}{SUFFIX}")

    def stroke(self, case: str, slices: Mapping[int, np.ndarray], done: Collection[int] = ()) -> None:
        """Put slices on disk. When this returns, they survive a kill and a power cut.

        Raises
        ------
        DiskProblem
            When the disk refuses. The record is kept in memory and goes along with the next one.
        """
        record = encode(Stroke(case, slices, done=tuple(sorted(done))))
        self._open.setdefault(case, []).append(record)
        self._append(record)

    def saved(self, case: str, records: int) -> None:
        """Take note that the first ``records`` records of a case are in a mask version."""
        self._take(case, records)
        if not self._records():
            self._file.remove()
            self._file = self._fresh()
        elif case not in self._open:
            with contextlib.suppress(DiskProblem):  # without it the strokes are offered needlessly, no more
                if case in self._left:
                    self.flush()
                else:
                    self._file.append(encode(Stroke(case, {})))

    def unsaved(self, case: str, records: int) -> None:
        """Take note that no save will bring the first ``records`` records of a case anywhere: the next window does."""
        self._left.setdefault(case, []).extend(self._take(case, records))

    def _take(self, case: str, records: int) -> list[bytes]:
        """Take the first records of a case out of those that wait for a save."""
        waiting = self._open.pop(case, [])
        if waiting[records:]:
            self._open[case] = waiting[records:]
        return waiting[:records]

    def _records(self) -> bytes:
        """Return everything that no mask version holds."""
        return b"".join(record for some in (self._left, self._open) for records in some.values() for record in records)

    def flush(self) -> None:
        """Write everything that counts into a new file: after a refusal nothing in the old one is to be trusted."""
        self._behind = True
        fresh = self._fresh()
        try:
            fresh.append(self._records())
        except DiskProblem:
            fresh.remove()
            raise
        self._file.remove()
        self._file, self._behind = fresh, False

    def rescue(self, folder: Path) -> Path | None:
        """Write what no mask version holds into another folder; returns the file, or None if there is nothing."""
        records = self._records()
        target = folder / f"segmatch-{uuid.uuid4().hex[:8]}{SUFFIX}"
        if not records:
            return None
        write_atomic(target, records)
        return target

    def close(self) -> None:
        """Delete the file, or leave it to the next window if it holds what no mask version does."""
        if self._records():
            self._file.close()
        else:
            self._file.remove()

    def _append(self, record: bytes) -> None:
        try:
            if not self._behind:
                self._file.append(record)
                return
        except DiskProblem:
            pass
        self.flush()


def read_strokes(data: bytes) -> dict[str, dict[int, np.ndarray]]:
    """Return what a journal holds that no mask version does: for each case its slices after the last stroke."""
    found: dict[str, dict[int, np.ndarray]] = {}
    for stroke in decode(data):
        if stroke.slices:
            found.setdefault(stroke.case, {}).update(stroke.slices)
        else:
            found.pop(stroke.case, None)
    return found


def read_done(data: bytes) -> dict[str, set[int]]:
    """Return for each case which of these slices were marked as done, and not touched since."""
    found: dict[str, set[int]] = {}
    for stroke in decode(data):
        found[stroke.case] = (found.get(stroke.case, set()) - stroke.slices.keys()) | set(stroke.done)
    return found


def journals(folder: Path) -> list[Path]:
    """Return the journals in a folder, oldest first."""
    return sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime_ns)


def recover(project: MaskFolder, path: Path) -> tuple[int, bool]:
    """Keep a journal's strokes beside the masks. May be repeated.

    Returns
    -------
    tuple
        How many cases have something new beside them, and whether nothing in the file was left over: no stroke torn
        by a kill, none damaged, none of a case that is gone or has other images now.

    Raises
    ------
    ProjectError
        If some cases take nothing now, a damaged one for instance. The strokes of the others are beside their masks.
    """
    data = read_file(path)
    found, done = read_strokes(data), read_done(data)
    here = {case.id for case in project.cases if case.id in found and project.fits(case, found[case.id])}
    kept, refused = 0, {}
    for case in sorted(here):
        try:
            kept += project.keep_beside(case, found[case], done[case] & found[case].keys()) is not None
        except ProjectError as error:
            refused[case] = error
    if refused:
        names, why = ", ".join(refused), next(iter(refused.values()))
        raise ProjectError(f"Strokes on {names} cannot be offered yet; they stay in {path.name}. {why}") from why
    whole = b"".join(encode(stroke) for stroke in decode(data)) == data
    return kept, whole and set(found) <= here


def write_place(folder: Path, case: str, z: int) -> None:
    """Remember which slice is on the screen."""
    write_atomic(folder / PLACE, json.dumps({"case": case, "z": z}).encode())


def read_place(folder: Path) -> tuple[str, int] | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        place = json.loads(read_file(folder / PLACE))
        return str(place["case"]), int(place["z"])
    return None
