"""NIfTI-1 and -2, as one file or as a pair, and Analyze; written back onto the very same voxels."""

from __future__ import annotations

import gzip
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ImportProblem
from ..types import Geometry, Mask
from .orientation import is_sheared
from .packed import Gunzip, Stream, garbage_note, opened, read_exactly
from .source import Choices, Source, ask, check_size

if TYPE_CHECKING:  # nibabel takes a quarter of a second to import
    import nibabel as nib

SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz")

_HEADER = 540  # bytes of the longest kind of header
_MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}  # NIfTI's code of a unit
_FARTHEST = 2**30  # bytes; no file's voxels begin later
_OFF = 0.5  # voxels that two statements of one orientation may lie apart


def load_nifti(path: Path, choices: Choices) -> Source:
    """Read a whole file, or the pair that it belongs to."""
    header_path, image_path = _pair(path)
    with opened(header_path) as stream:
        head = stream.read(_HEADER)
        header = _header(head, image_path is not None, path.name)
        _check(header, path.name)
        if image_path is None:
            return _source(header, _voxels(header, head, stream, path.name), choices, path.name, stream)
    with opened(image_path) as stream:
        return _source(header, _voxels(header, b"", stream, image_path.name), choices, path.name, stream)


def _pair(path: Path) -> tuple[Path, Path | None]:
    """Return the file with the header, and the one with the voxels if that is another."""
    name = path.name.lower()
    packed = ".gz" if name.endswith(".gz") else ""
    stem = path.name[: len(path.name) - len(packed)]
    if not name.removesuffix(".gz").endswith((".hdr", ".img")):
        return path, None
    siblings = {file.name.lower(): file for file in path.parent.iterdir()} if path.is_file() else {}
    pair = []
    for wanted in (".hdr", ".img"):
        mate = stem[:-4] + wanted
        found = (
            siblings.get(f"{mate}{packed}".lower()) or siblings.get(mate.lower()) or siblings.get(f"{mate}.gz".lower())
        )
        if path.is_file() and found is None:
            raise ImportProblem(f"{path.name} needs {mate} beside it: copy both files.")
        pair.append(found or path)
    return pair[0], pair[1]


def _header(head: bytes, pair: bool, name: str) -> nib.analyze.AnalyzeHeader:
    from nibabel import Nifti1Header, Nifti2Header
    from nibabel.nifti1 import Nifti1PairHeader
    from nibabel.nifti2 import Nifti2PairHeader
    from nibabel.spm99analyze import Spm99AnalyzeHeader

    kinds: tuple[Any, ...] = (Nifti1Header, Nifti2Header)
    for kind in (Nifti1PairHeader, Nifti2PairHeader, Spm99AnalyzeHeader) if pair else kinds:
        if kind.may_contain_header(head):
            return kind(head[: kind.sizeof_hdr])
    raise ImportProblem(f"{name} is not a NIfTI image: export it as .nii.gz.")


def _check(header: nib.analyze.AnalyzeHeader, name: str) -> None:
    shape = [int(n) for n in header.get_data_shape()]
    check_size(shape, header.get_data_dtype().itemsize, name)
    offset = int(header.get_data_offset())
    if not (header.sizeof_hdr if getattr(header, "is_single", False) else 0) <= offset < _FARTHEST:
        raise ImportProblem(f"{name} has a broken header (voxels at byte {offset}): export it again.")


def _declared(header: nib.analyze.AnalyzeHeader) -> int:
    return math.prod(map(int, header.get_data_shape())) * header.get_data_dtype().itemsize


def _voxels(header: nib.analyze.AnalyzeHeader, head: bytes, stream: Stream, name: str) -> np.ndarray:
    """Return the stored numbers (i, j, k, ...), in this computer's byte order."""
    dtype, offset = header.get_data_dtype(), int(header.get_data_offset())
    data = head + read_exactly(stream, offset + _declared(header) - len(head), name)
    stored = np.frombuffer(data, dtype, math.prod(map(int, header.get_data_shape())), offset)
    return stored.astype(dtype.newbyteorder("="), copy=False).reshape(header.get_data_shape(), order="F")


def _source(
    header: nib.analyze.AnalyzeHeader, stored: np.ndarray, choices: Choices, name: str, stream: Stream
) -> Source:
    affine, known = _placed(header, choices, name)
    slope, inter = header.get_slope_inter()
    return Source(name, stored, affine, known, slope or 1.0, inter or 0.0, garbage_note(stream, name))


def _placed(header: nib.analyze.AnalyzeHeader, choices: Choices, name: str) -> tuple[np.ndarray, bool]:
    """Return the affine to RAS+ mm, and whether the file states an orientation.

    Programs differ in which of a file's two statements they believe, so where they disagree a person is asked.
    """
    import nibabel as nib

    if not isinstance(header, nib.Nifti1Header):  # Analyze has no left and right
        return header.get_best_affine(), False
    scale = np.diag([*[_MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)] * 3, 1.0])
    sform, qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    if sform and qform and _disagree(header):
        ways = {"sform": header.get_sform(), "qform": header.get_qform()}
        meaning = {"sform": "as nibabel and FSL read it", "qform": "as ITK-SNAP and Slicer often read it"}
        codes = {way: "".join(nib.aff2axcodes(affine)) for way, affine in ways.items()}
        options = {way: f"{codes[way]}, {meaning[way]}" for way in ways}
        sentence = f"{name} states two orientations that disagree"
        return scale @ ways[ask(choices, "orientation", sentence, options)], True
    return scale @ header.get_best_affine(), sform or qform


def _disagree(header: nib.Nifti1Header) -> bool:
    """Whether sform and qform put a voxel at two places. A qform cannot hold shear, and then does not count."""
    sform = header.get_sform()
    if is_sheared(sform):
        return False
    try:
        qform = header.get_qform()
    except (ValueError, np.linalg.LinAlgError):
        return False
    if not np.isfinite(qform).all() or not np.isfinite(sform).all():
        return False
    shape = (*header.get_data_shape(), 1, 1)[:3]
    corners = np.array([[*index, 1] for index in np.ndindex(2, 2, 2)]) * [*(n - 1 for n in shape), 1]
    apart = np.abs(corners @ (sform - qform).T).max()
    return bool(apart > _OFF * np.linalg.norm(sform[:3, :3], axis=0).min())


def decode_labels(data: bytes, name: str) -> tuple[Mask, str]:
    """Read what :func:`napari_segmatch.io.encode_labels` returned, whose hash was compared: a mask and its comment.

    The hash only says that nothing happened to it since: no more is unpacked than its header declares.
    """
    try:
        raw, kind = _unpacked(data, name)
        image: Any = kind.from_bytes(raw)
        affine, known = _placed(image.header, {}, name)
        source = Source(name, np.asarray(image.dataobj.get_unscaled()), affine, known)
        comments = [extension.get_content() for extension in image.header.extensions if extension.get_code() == 6]
    except ImportProblem:
        raise
    except Exception as error:  # a broken header can fail anywhere in nibabel, with any type
        raise ImportProblem(f"{name} is no mask of SegMatch: restore it from a backup.") from error
    text = b"".join(part if isinstance(part, bytes) else str(part).encode() for part in comments)
    labels = np.ascontiguousarray(source.permuted(source.stored).astype(np.uint8, copy=False))
    return Mask(labels, source.geometry), text.rstrip(b"\0").decode()


def _unpacked(data: bytes, name: str) -> tuple[bytes, type[nib.Nifti1Image]]:
    """Return a gzipped .nii as far as its header says that it goes, and of which kind it is."""
    import nibabel as nib

    stream = Gunzip(io.BytesIO(data))
    head = stream.read(_HEADER)
    header = _header(head, False, name)
    _check(header, name)
    raw = head + read_exactly(stream, int(header.get_data_offset()) + _declared(header) - len(head), name)
    return raw, nib.Nifti1Image if type(header) is nib.Nifti1Header else nib.Nifti2Image


# Writing


def encode_nifti(array: np.ndarray, geometry: Geometry, description: str = "", comment: str = "") -> bytes:
    """Return the bytes of a .nii of (z, y, x) in the source's own axis order.

    The header is fresh, so nothing of the source's text can leak. ``comment`` is any text; it travels in a header
    extension.
    """
    import nibabel as nib

    if array.shape != geometry.shape:
        raise ValueError(f"an array of {array.shape} does not fit a geometry of {geometry.shape}")
    affine = geometry.source_affine
    kind = nib.Nifti1Image if max(array.shape) < 2**15 else nib.Nifti2Image
    image = kind(array.transpose(geometry.back), affine, dtype=array.dtype)
    header = image.header
    unstated = not geometry.known and np.allclose(header.get_base_affine(), affine, atol=1e-4)
    code = 0 if unstated else 1
    image.set_sform(affine, code)
    image.set_qform(affine, code)
    if not np.allclose(header.get_qform(), affine, atol=1e-3):  # a qform cannot hold shear
        image.set_qform(None, 0)
    header.set_xyzt_units("mm")
    header["descrip"] = description.encode("ascii", "replace")[:79]
    if comment:
        header.extensions.append(nib.nifti1.Nifti1Extension("comment", comment.encode()))
    return image.to_bytes()


def packed(data: bytes, level: int = 6) -> bytes:
    """Gzip so that the same bytes always give the same file."""
    return gzip.compress(data, compresslevel=level, mtime=0)
