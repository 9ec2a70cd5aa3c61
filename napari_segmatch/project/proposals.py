"""Pseudo masks on disk: one file for each batch that the trainer proposed."""

from __future__ import annotations

import io
import uuid
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import ProjectError
from ..events import PseudoMask
from ..fsio import read_file, write_atomic

_MOST = 2**28
"""Bytes that one slice may take when it is unpacked: a project may come from anywhere."""


def packed(masks: Sequence[PseudoMask]) -> tuple[bytes, list[str]]:
    """Pack a batch into the bytes of a file; returns them and the name of each mask in it."""
    members = [f"{index:05d}" for index in range(len(masks))]
    buffer = io.BytesIO()
    arrays = {name: item.labels.astype(np.uint8) for name, item in zip(members, masks, strict=True)}
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue(), members


def write_pseudo_masks(folder: Path, step: int, data: bytes) -> Path:
    """Write a packed batch into a new file."""
    path = folder / f"{step:08d}-{uuid.uuid4().hex[:8]}.npz"
    write_atomic(path, data)
    return path


def read_pseudo_mask(path: Path, member: str) -> np.ndarray:
    """Return labels (y, x) uint8."""
    try:
        data = io.BytesIO(read_file(path))
        if zipfile.ZipFile(data).getinfo(f"{member}.npy").file_size > _MOST:
            raise ValueError("it is larger than any slice")
        with np.load(data, allow_pickle=False) as file:
            return np.asarray(file[member], np.uint8)
    except (OSError, KeyError, ValueError, MemoryError, zipfile.BadZipFile) as error:
        raise ProjectError(
            f"The proposals in {path.name} cannot be read ({error}): train again to get new ones."
        ) from error
