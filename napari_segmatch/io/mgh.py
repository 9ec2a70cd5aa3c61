"""FreeSurfer's MGH and MGZ."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ..errors import ImportProblem
from .packed import garbage_note, opened, read_exactly
from .source import Source, check_size

SUFFIXES = (".mgh", ".mgz")
_KNOWN = slice(28, 30)  # where a header says whether it states a position
_VERSION = b"\0\0\0\1"


def load_mgh(path: Path) -> Source:
    """Read a whole file; what FreeSurfer appends to the voxels is read for its checksum and dropped."""
    from nibabel.freesurfer.mghformat import MGHHeader

    name = path.name
    with opened(path) as stream:
        head = stream.read(MGHHeader.template_dtype.itemsize)
        if not head.startswith(_VERSION):
            raise ImportProblem(f"{name} is not a FreeSurfer volume: export it as .mgz or .nii.gz.")
        header = MGHHeader(head)
        shape, dtype = tuple(int(n) for n in header.get_data_shape()), header.get_data_dtype()
        check_size(shape, dtype.itemsize, name)
        offset = int(header.get_data_offset())
        data = head + read_exactly(stream, offset + math.prod(shape) * dtype.itemsize - len(head), name)
    stored = np.frombuffer(data, dtype, math.prod(shape), offset).astype(dtype.newbyteorder("="), copy=False)
    known = any(head[_KNOWN])
    return Source(name, stored.reshape(shape, order="F"), header.get_affine(), known, notes=garbage_note(stream, name))
