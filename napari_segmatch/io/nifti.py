"""NIfTI files to volumes and masks, and back onto the very same voxels.

A file is read whole, and a gzip's checksum is always compared: nibabel stops at the last voxel and so never
sees it, and a memory-mapped file that another program shortens would kill the process.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import nibabel as nib
import numpy as np

from ..errors import ImportProblem
from ..fsio import write_atomic
from ..types import NOT_ANNOTATED, Geometry, Mask, Volume
from .orientation import onto_grid, source_geometry

SUFFIXES = (".nii", ".nii.gz")

_HEADER = 540  # bytes of the longer of the two kinds of header
_GZIP = b"\x1f\x8b"
_MEBIBYTE = 2**20
_SURPLUS = 64  # MiB that a file may hold after its voxels
_WHOLE = 1e-3  # how far a label stored as a float may be from a whole number

_FilePath = str | os.PathLike[str]
_Read = TypeVar("_Read")


def read_volume(path: _FilePath) -> Volume:
    """Read an image as float32 (1, z, y, x); NaN and infinity become 0.

    Raises
    ------
    ImportProblem
        For whatever is wrong with the file.
    """
    return _guarded(_volume, Path(path))


def read_mask(path: _FilePath, grid: Geometry | None = None, classes: int | None = None) -> Mask:
    """Read labels as uint8 (z, y, x).

    Parameters
    ----------
    path
        A file of whole numbers 0 to 254, or 255 for "not annotated".
    grid
        The image's geometry. A mask of the same voxels in another order is reordered, exactly; a mask of
        other voxels is refused.
    classes
        The largest label allowed, besides 255.

    Raises
    ------
    ImportProblem
        For whatever is wrong with the file.
    """
    path = Path(path)
    mask = _guarded(_mask, path)
    if classes is not None:
        _check_classes(mask.labels, classes, path.name)
    return mask if grid is None else onto_grid(mask, grid, path.name)


def encode_labels(labels: np.ndarray, geometry: Geometry, description: str = "", comment: str = "") -> bytes:
    """Return the bytes of a .nii.gz of uint8 labels (z, y, x): the same arguments always give the same bytes.

    ``comment`` is any text; it travels in a header extension.
    """
    return gzip.compress(_encoded(_as_labels(labels), geometry, description, comment), compresslevel=1, mtime=0)


def decode_labels(data: bytes, name: str) -> tuple[Mask, str]:
    """Read what :func:`encode_labels` returned: the mask and its comment. ``name`` is for the error's sentence."""

    def read(path: Path) -> tuple[Mask, str]:
        image = _parse(gzip.GzipFile(fileobj=io.BytesIO(data)), path.name)
        geometry = _geometry(image, path.name)
        comments = [extension.get_content() for extension in image.header.extensions if extension.get_code() == 6]
        text = b"".join(part if isinstance(part, bytes) else str(part).encode() for part in comments)
        return Mask(_permuted(_labels(image, path.name), geometry), geometry), text.rstrip(b"\0").decode()

    return _guarded(read, Path(name))


def write_labels(path: _FilePath, labels: np.ndarray, geometry: Geometry, description: str = "") -> None:
    """Write uint8 labels (z, y, x) on the source's own grid, under a fresh header that names nobody."""
    _write(Path(path), _as_labels(labels), geometry, description)


def write_image(path: _FilePath, pixels: np.ndarray, geometry: Geometry) -> None:
    """Write float32 or int16 pixels (z, y, x) on the source's own grid, under a fresh header."""
    if pixels.dtype not in (np.float32, np.int16):
        raise ValueError(f"images are written as float32 or int16, not {pixels.dtype}")
    _write(Path(path), pixels, geometry, "")


# Reading: bytes, then a checked header, then an array


def _guarded(read: Callable[[Path], _Read], path: Path) -> _Read:
    """Call ``read(path)`` so that a bad file raises nothing but an ImportProblem."""
    try:
        return read(path)
    except ImportProblem:
        raise
    except MemoryError as error:
        raise ImportProblem(f"{path.name} does not fit into memory: crop it.") from error
    except OSError as error:
        cause = error.strerror or "the disk did not answer"
        raise ImportProblem(f"{path.name} cannot be opened ({cause}): check its permissions.") from error
    except Exception as error:  # a broken header can fail anywhere in nibabel, with any type
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        raise ImportProblem(f"{path.name} has a broken NIfTI header ({cause}): export it again.") from error


def _volume(path: Path) -> Volume:
    image = _load(path)
    geometry = _geometry(image, path.name)
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.asarray(image.dataobj, dtype=np.float32)
    pixels = _permuted(values, geometry)
    pixels[~np.isfinite(pixels)] = 0
    return Volume(pixels[None], geometry)


def _mask(path: Path) -> Mask:
    image = _load(path)
    geometry = _geometry(image, path.name)
    return Mask(_permuted(_labels(image, path.name), geometry), geometry)


def _load(path: Path) -> nib.Nifti1Image:
    """Read and check a whole file; the image returned holds its bytes in memory."""
    name = path.name
    if path.is_dir():
        raise ImportProblem(f"{name} is a folder: give one .nii or .nii.gz file.")
    if not path.is_file():
        raise ImportProblem(f"{name} does not exist: check its name and folder.")
    if not name.lower().endswith(SUFFIXES):
        raise ImportProblem(f"{name} is not a NIfTI file: give a .nii or .nii.gz file.")
    with path.open("rb") as file:
        start = file.read(256)
        file.seek(0)
        if not start:
            raise ImportProblem(f"{name} is empty: copy or download it again.")
        if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
            raise ImportProblem(f"{name} is a web page, not an image: download the file itself.")
        stream = gzip.GzipFile(fileobj=file) if start.startswith(_GZIP) else file
        try:
            return _parse(stream, name)
        except EOFError as error:
            raise ImportProblem(f"{name} is truncated: copy or download it again.") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise ImportProblem(f"{name} is damaged (wrong checksum): copy or download it again.") from error


def _parse(stream: io.BufferedIOBase, name: str) -> nib.Nifti1Image:
    """Read a stream to its end, for a gzip's checksum, but keep no more than the header asks for."""
    head = stream.read(_HEADER)
    for kind in (nib.Nifti1Image, nib.Nifti2Image):
        if kind.header_class.may_contain_header(head):
            break
    else:
        raise ImportProblem(f"{name} is not a NIfTI image: export it as .nii.gz.")
    header = kind.header_class(head[: kind.header_class.sizeof_hdr])
    _check_header(header, name)
    voxels = math.prod(map(int, header.get_data_shape())) * header.get_data_dtype().itemsize
    declared = int(header.get_data_offset()) + voxels
    data = head + stream.read(max(0, declared - len(head)))
    if len(data) < declared:
        raise ImportProblem(f"{name} is truncated ({len(data)} of {declared} bytes): copy or download it again.")
    if all(stream.read(_MEBIBYTE) for _ in range(_SURPLUS)):
        raise ImportProblem(f"{name} is far longer than its header says: export it again.")
    return kind.from_bytes(data)


def _check_header(header: nib.Nifti1Header, name: str) -> None:
    """Refuse what is no single grey volume, or cannot fit."""
    shape, dtype = [int(n) for n in header.get_data_shape()], header.get_data_dtype()
    size = " × ".join(map(str, shape))
    if len(shape) < 2 or min(shape) < 1:
        raise ImportProblem(f"{name} has a size of {size or 'nothing'}: give a volume of three dimensions.")
    if (frames := math.prod(shape[3:])) != 1:
        raise ImportProblem(f"{name} holds {frames} frames or channels ({size}): export just one of them.")
    if dtype.names or dtype.kind not in "iuf":
        kind = "colours" if dtype.names else "complex numbers"
        raise ImportProblem(f"{name} holds {kind}, not grey values: export it as a grey image.")
    if math.prod(shape) * max(4, dtype.itemsize) > _memory() // 4:
        raise ImportProblem(f"{name} declares {size} voxels, too many for this computer's memory: crop it.")


def _memory() -> int:
    """Bytes of memory in this computer; 8 GiB where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return 8 * 2**30


def _geometry(image: nib.Nifti1Image, name: str) -> Geometry:
    return source_geometry((*image.shape, 1)[:3], image.affine, _orientation_known(image.header), name)


def _orientation_known(header: nib.Nifti1Header) -> bool:
    """Whether the file states an orientation, and if it states two, the same anatomical one.

    Programs differ in which of the two they believe, so left and right are not known when the two disagree.
    """
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    if sform <= 0 or qform <= 0:
        return sform > 0 or qform > 0
    try:
        return nib.aff2axcodes(header.get_sform()) == nib.aff2axcodes(header.get_qform())
    except (ValueError, np.linalg.LinAlgError):  # the qform is no rotation
        return False


def _permuted(array: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Bring a source array, perhaps with trailing axes of length 1, to contiguous (z, y, x)."""
    return np.ascontiguousarray(array.reshape((*array.shape, 1)[:3]).transpose(geometry.axes))


# Labels


def _labels(image: nib.Nifti1Image, name: str) -> np.ndarray:
    """Labels in the source's axis order. Whole numbers never pass through floats."""
    proxy: Any = image.dataobj
    whole = image.get_data_dtype().kind in "iu" and (proxy.slope, proxy.inter) == (1, 0)
    values = proxy.get_unscaled() if whole else _rounded(np.asarray(proxy), name)
    low, high = values.min(), values.max()
    if low < 0 or high > NOT_ANNOTATED:
        wrong = int(low if low < 0 else high)
        raise ImportProblem(
            f"{name} holds label {wrong}; labels go from 0 to 254, or 255 for not annotated: renumber them."
        )
    return values.astype(np.uint8)


def _rounded(values: np.ndarray, name: str) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        whole = np.rint(values)
        wrong = ~(np.abs(values - whole) <= _WHOLE)
    if wrong.any():
        raise ImportProblem(
            f"{name} holds {values[wrong][0]:.4g}, no whole number: save it as integers without scaling."
        )
    return whole


def _check_classes(labels: np.ndarray, classes: int, name: str) -> None:
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
    unknown = present[(present > classes) & (present != NOT_ANNOTATED)]
    if unknown.size:
        raise ImportProblem(
            f"{name} holds label {unknown[0]}, the project ends at {classes}: renumber it or add a class."
        )
    if present.tolist() == [0, NOT_ANNOTATED]:
        raise ImportProblem(
            f"{name} holds only 0 and 255, and 255 means not annotated here: if it is your structure, save it as 1."
        )


# Writing


def _as_labels(labels: np.ndarray) -> np.ndarray:
    if labels.dtype != np.uint8:
        raise ValueError(f"labels are written as uint8, not {labels.dtype}")
    return labels


def _write(path: Path, array: np.ndarray, geometry: Geometry, description: str) -> None:
    """Write a whole file or none: it lies beside ``path`` until it is complete."""
    if not path.name.lower().endswith(SUFFIXES):
        raise ValueError(f"{path.name} must end in .nii or .nii.gz")
    data = _encoded(array, geometry, description)
    if path.name.lower().endswith(".gz"):
        data = gzip.compress(data, compresslevel=6, mtime=0)
    write_atomic(path, data)


def _encoded(array: np.ndarray, geometry: Geometry, description: str, comment: str = "") -> bytes:
    """Undo the axis permutation; the header is fresh, so nothing of the source's text can leak."""
    if array.shape != geometry.shape:
        raise ValueError(f"an array of {array.shape} does not fit a geometry of {geometry.shape}")
    back = [int(axis) for axis in np.argsort(geometry.axes)]
    affine = geometry.affine[:, [*back, 3]]
    kind = nib.Nifti1Image if max(array.shape) < 2**15 else nib.Nifti2Image
    image = kind(array.transpose(back), affine, dtype=array.dtype)
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
