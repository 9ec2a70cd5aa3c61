"""NRRD, with its voxels in the file or in one file beside it, and 3D Slicer's segmentations in it."""

from __future__ import annotations

import bz2
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import ImportProblem
from ..types import Geometry
from .nifti import packed
from .packed import Gunzip, Stream, garbage_note, opened, read_exactly
from .source import Source, check_size

SUFFIXES = (".nrrd", ".nhdr")

_LONGEST = 2**20  # bytes of a header
_TYPES = {
    "i1": "signed char, int8, int8_t", "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t", "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float", "f8": "double",
}  # fmt: skip
_DTYPES = {name: dtype for dtype, names in _TYPES.items() for name in names.split(", ")}
_SPACES = {
    "right-anterior-superior": (1, 1, 1), "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1), "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1), "lps": (-1, -1, 1),
}  # fmt: skip
_UNITS = {"mm": 1.0, "m": 1000.0, "cm": 10.0, "um": 0.001, "μm": 0.001, "µm": 0.001}
_COLOURS = ("rgb-color", "rgba-color", "3-color", "4-color")


class _Then:
    """Bytes that were read already, and then the rest of a stream."""

    def __init__(self, first: bytes, rest: Stream) -> None:
        self._first, self._rest = first, rest

    def read(self, count: int, /) -> bytes:
        taken, self._first = self._first[:count], self._first[count:]
        return taken + self._rest.read(count - len(taken))


def load_nrrd(path: Path) -> Source:
    """Read a whole file, and the one that holds its voxels if that lies beside it."""
    with opened(path) as stream:
        fields, rest = _header(stream, path.name)
        sizes = [int(word) for word in _field(fields, "sizes", path.name).split()]
        dtype = _dtype(fields, path.name)
        check_size(sizes, dtype.itemsize, path.name)
        detached = fields.get("data file", fields.get("datafile"))
        if detached is None:
            stored, notes = _voxels(fields, _Then(rest, stream), sizes, dtype, path.name)
        else:
            with opened(_beside(path, detached)) as data:
                stored, notes = _voxels(fields, data, sizes, dtype, path.name)
        notes += garbage_note(stream, path.name)
    return _source(fields, stored, path.name, notes)


def _header(stream: Stream, name: str) -> tuple[dict[str, str], bytes]:
    """Return the fields, names in lower case and keys of key/value pairs as they are, and bytes read too far."""
    head = stream.read(65536)
    if not head.startswith(b"NRRD000"):
        raise ImportProblem(f"{name} is not an NRRD image: export it as .nrrd or .nii.gz.")
    while not (end := re.search(rb"\r?\n\r?\n", head)) and len(head) < _LONGEST and (more := stream.read(65536)):
        head += more
    text = (head[: end.start()] if end else head).decode("utf-8", "replace")
    fields: dict[str, str] = {}
    for line in text.splitlines()[1:]:
        if line.startswith("#"):
            continue
        key, pair, value = line.partition(":=")
        if not pair:
            key, _, value = line.partition(":")
            key = key.strip().lower()
        fields[key] = value.strip()
    return fields, head[end.end() :] if end else b""


def _field(fields: Mapping[str, str], key: str, name: str) -> str:
    if key not in fields:
        raise ImportProblem(f"{name} has a broken header (no {key}): export it again.")
    return fields[key]


def _dtype(fields: Mapping[str, str], name: str) -> np.dtype:
    wanted = _field(fields, "type", name).lower()
    if wanted not in _DTYPES:
        raise ImportProblem(f"{name} holds numbers of the type {wanted!r}, which cannot be read: export it again.")
    return np.dtype((">" if fields.get("endian") == "big" else "<") + _DTYPES[wanted])


def _beside(path: Path, detached: str) -> Path:
    """Return the file with the voxels; a header may name nothing but a plain file in its own folder."""
    plain = re.fullmatch(r"(\./)?[^/\\%\0]+", detached) and not detached.startswith("LIST")
    beside = path.parent / detached
    if not plain or beside.is_symlink() or detached.strip("./") == "":
        raise ImportProblem(f"{path.name} refers to voxels outside its folder or in many files: save it as one .nrrd.")
    return beside


def _voxels(
    fields: Mapping[str, str], stream: Stream, sizes: Sequence[int], dtype: np.dtype, name: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the stored numbers in this computer's byte order, and what is to be said of the stream."""
    encoding, count = _field(fields, "encoding", name).lower(), math.prod(sizes)
    lines, skip = (
        int(fields.get("line skip", fields.get("lineskip", 0))),
        int(fields.get("byte skip", fields.get("byteskip", 0))),
    )
    if lines or not 0 <= skip <= _LONGEST:
        raise ImportProblem(f"{name} skips part of its data file, which cannot be read: save it as one .nrrd.")
    stream.read(skip)
    if encoding in ("txt", "text", "ascii"):
        words = stream.read(count * 40).split()
        stored = np.array([float(word) if dtype.kind == "f" else int(word) for word in words[:count]], dtype)
        if len(stored) < count:
            raise ImportProblem(f"{name} is truncated ({len(stored)} of {count} numbers): copy or download it again.")
        return stored.reshape(sizes, order="F"), ()
    if encoding in ("gzip", "gz"):
        stream = Gunzip(stream)
    elif encoding in ("bzip2", "bz2"):
        stream = _Bunzip(stream, name)
    elif encoding != "raw":
        raise ImportProblem(f"{name} has the encoding {encoding!r}: save it as raw or gzip.")
    data = read_exactly(stream, count * dtype.itemsize, name)
    stored = np.frombuffer(data, dtype).astype(dtype.newbyteorder("="), copy=False)
    return stored.reshape(sizes, order="F"), garbage_note(stream, name)


class _Bunzip:
    """A bzip2 stream, unpacked no further than is asked for."""

    def __init__(self, file: Stream, name: str) -> None:
        self._file, self._name, self._packed = file, name, bz2.BZ2Decompressor()

    def read(self, count: int, /) -> bytes:
        out = b""
        try:
            while len(out) < count and not self._packed.eof:
                more = self._file.read(2**16) if self._packed.needs_input else b""
                if self._packed.needs_input and not more:
                    raise EOFError
                out += self._packed.decompress(more, count - len(out))
        except OSError as error:
            raise ImportProblem(f"{self._name} is damaged (wrong checksum): copy or download it again.") from error
        return out


def _source(fields: Mapping[str, str], stored: np.ndarray, name: str, notes: tuple[str, ...]) -> Source:
    kinds = fields.get("kinds", "").lower().split()
    directions = _vectors(fields.get("space directions", ""))
    spatial = _spatial(stored.ndim, kinds, directions, name)
    stored = np.moveaxis(stored, spatial, range(len(spatial)))
    colour = next((kind for axis, kind in enumerate(kinds) if axis not in spatial and kind in _COLOURS), None)
    if colour and stored.ndim == len(spatial) + 1 and stored.shape[-1] in (3, 4):
        stored = np.ascontiguousarray(stored).view([(c, stored.dtype) for c in "RGBA"[: stored.shape[-1]]])[..., 0]
    affine = _affine(fields, [directions[axis] for axis in spatial] if directions else None, spatial, name)
    known = fields.get("space", "").lower() in _SPACES and directions is not None
    if len(spatial) == 2:
        stored = stored[:, :, None]
    segments = _segments(fields)
    names = {value: text for text, _, value in segments}
    if segments and stored.ndim == 4:
        stored = _one_layer(stored, segments, name)
        names = {label: text for label, (text, _, _) in enumerate(segments, 1)}
    return Source(name, stored, affine, known, notes=notes, names=names, cropped=bool(segments))


def _vectors(text: str) -> list[np.ndarray | None] | None:
    """Read “(1,0,0) none (0,1,0)”; None where the field is missing."""
    words = re.findall(r"none|\([^)]*\)", text)
    return [None if word == "none" else np.array(word[1:-1].split(","), float) for word in words] or None


def _spatial(
    dimensions: int, kinds: Sequence[str], directions: Sequence[np.ndarray | None] | None, name: str
) -> list[int]:
    """Which of the file's axes lie in space."""
    if directions is not None:
        found = [axis for axis, vector in enumerate(directions) if vector is not None]
    else:
        found = [
            axis
            for axis in range(dimensions)
            if axis >= len(kinds) or kinds[axis] in ("domain", "space", "???", "none")
        ]
        found = found[:3]
    if len(found) not in (2, 3) or max(found) >= dimensions:
        raise ImportProblem(f"{name} has {len(found)} axes in space: give a volume of three dimensions.")
    return found


def _affine(
    fields: Mapping[str, str], directions: Sequence[np.ndarray | None] | None, spatial: Sequence[int], name: str
) -> np.ndarray:
    """Return the affine to RAS+ mm, as far as the header states one."""
    affine = np.eye(4)
    if directions is None:
        spacings = [float(word) for word in fields.get("spacings", "").split()]
        for axis, source in enumerate(spatial):
            affine[axis, axis] = spacings[source] if source < len(spacings) and np.isfinite(spacings[source]) else 1.0
        return affine
    if any(vector is None or vector.shape != (3,) for vector in directions):
        raise ImportProblem(f"{name} does not lie in a space of three dimensions: export it again.")
    for axis, vector in enumerate(directions):
        affine[:3, axis] = vector
    if len(directions) == 2:
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = normal / max(float(np.linalg.norm(normal)), 1e-12)
    if (origin := _vectors(fields.get("space origin", ""))) and origin[0] is not None:
        affine[:3, 3] = origin[0]
    units = re.findall(r'"([^"]*)"', fields.get("space units", ""))
    scale = [_UNITS.get(unit, 1.0) for unit in units] if len(units) == 3 else [1.0] * 3
    signs = _SPACES.get(fields.get("space", "").lower(), (-1, -1, 1))
    affine[:3] *= (np.array(signs) * scale)[:, None]
    return affine


def _segments(fields: Mapping[str, str]) -> list[tuple[str, int, int]]:
    """Return name, layer and stored value of each segment of a Slicer segmentation."""
    found: list[tuple[str, int, int]] = []
    while (value := fields.get(f"Segment{len(found)}_LabelValue")) is not None:
        key = f"Segment{len(found)}"
        found.append((fields.get(f"{key}_Name", key), int(fields.get(f"{key}_Layer", 0)), int(value)))
    return found


def _one_layer(stored: np.ndarray, segments: Sequence[tuple[str, int, int]], name: str) -> np.ndarray:
    """Put the layers (i, j, k, layer) of a segmentation into one; segments are numbered from 1."""
    labels = np.zeros(stored.shape[:3], np.uint16)
    for label, (text, layer, value) in enumerate(segments, 1):
        inside = stored[..., layer] == value
        if labels[inside].any():
            other = segments[int(labels[inside].max()) - 1][0]
            raise ImportProblem(
                f"{name} has the segments {other} and {text} on the same voxels: make them exclude each other."
            )
        labels[inside] = label
    return labels


# Writing


def encode_nrrd(array: np.ndarray, geometry: Geometry, segments: Sequence[tuple[int, str, str]] = ()) -> bytes:
    """Return the bytes of a gzipped .nrrd of (z, y, x) in the source's own axis order, with nothing of its text.

    Parameters
    ----------
    segments
        Label, name and "#rrggbb" colour; with them 3D Slicer opens the file as a segmentation.
    """
    if array.shape != geometry.shape:
        raise ValueError(f"an array of {array.shape} does not fit a geometry of {geometry.shape}")
    kind = array.dtype.newbyteorder("<").str[1:]
    stored = array.transpose(geometry.back).astype("<" + kind)
    signs = np.array([-1, -1, 1]) if geometry.known else np.ones(3)
    columns = [_vector(column[:3] * signs) for column in geometry.source_affine.T]
    lines = [
        "NRRD0005", f"type: {_TYPES[kind].split(', ')[-1]}", "dimension: 3",
        "space: left-posterior-superior" if geometry.known else "space dimension: 3",
        f"sizes: {' '.join(map(str, stored.shape))}", f"space directions: {' '.join(columns[:3])}",
        "kinds: domain domain domain", "endian: little", "encoding: gzip", 'space units: "mm" "mm" "mm"',
        f"space origin: {columns[3]}",
    ]  # fmt: skip
    for index, (label, text, colour) in enumerate(segments):
        shades = " ".join(f"{int(colour[i : i + 2], 16) / 255:.6f}" for i in (1, 3, 5))
        values = {"ID": f"Segment_{label}", "LabelValue": label, "Layer": 0, "Name": _one_line(text), "Color": shades}
        lines += [f"Segment{index}_{key}:={value}" for key, value in values.items()]
    return "\n".join([*lines, "", ""]).encode() + packed(stored.tobytes(order="F"))


def _vector(values: np.ndarray) -> str:
    return "(" + ",".join(repr(float(value) + 0.0) for value in values) + ")"


def _one_line(text: str) -> str:
    return " ".join(text.split())
