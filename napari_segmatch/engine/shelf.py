"""The slices of a pool: in memory while they fit into a budget, the others in a file that nobody else sees."""

from __future__ import annotations

import contextlib
import ctypes
import tempfile
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from ..errors import DiskProblem
from ..fsio import SPARE_BYTES, free_bytes

_STORED = np.dtype(np.float16)
_NO_LIMIT = 2**62
_ADVICE = "free some space, choose a smaller size, or take fewer cases."


class Shelf:
    """Slices (channels, size, size) float32, by row.

    What lies in the file has half precision, about three decimal places of a normalised image. The file has no name
    where the system allows it, and is gone with the process however that ends.

    Parameters
    ----------
    budget
        Bytes that slices may take on the device; as many as there are by default.
    folder
        Where the file is made; the system's folder for such files by default.
    """

    def __init__(self, device: torch.device, budget: int = _NO_LIMIT, folder: Path | None = None) -> None:
        self.device, self._budget, self._folder = device, budget, folder
        self._near: list[Tensor] = []
        self._far = 0
        self._file: IO[bytes] | None = None
        self._shape: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self._near) + self._far

    @property
    def spilled(self) -> int:
        """How many slices lie in the file."""
        return self._far

    def add(self, slices: Tensor) -> None:
        """Put the slices of a case (z, channels, size, size) behind all others.

        Raises
        ------
        DiskProblem
            If the file would leave too little room for masks, or the disk refuses. Nothing has been added then.
        """
        self._shape = tuple(slices.shape[1:])
        wanted = slices.numel() * slices.element_size()
        if wanted <= self._budget and not self._far:
            self._near += slices.to(self.device).unbind()
            self._budget -= wanted
            _give_back()
            return
        place, size = self._folder or Path(tempfile.gettempdir()), slices.numel() * _STORED.itemsize
        if free_bytes(place) < SPARE_BYTES + size:
            raise DiskProblem(f"The slices do not fit into memory, and the disk has no room for the rest: {_ADVICE}")
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  open as long as the shelf is
            self._file.seek(self._far * self._bytes)
            self._file.write(slices.cpu().numpy().astype(_STORED).tobytes())
            self._file.flush()
        except OSError as error:
            raise DiskProblem(
                f"The slices do not fit into memory, and the disk refuses the rest ({error.strerror}): {_ADVICE}"
            ) from error
        self._far += len(slices)
        _give_back()

    def take(self, rows: Tensor) -> Tensor:
        """Return slices (n, channels, size, size)."""
        found = [self._near[row] if row < len(self._near) else self._read(self._file, row) for row in rows.tolist()]
        return torch.stack(found) if found else torch.zeros(0, *self._shape, device=self.device)

    @property
    def _bytes(self) -> int:
        return int(np.prod(self._shape)) * _STORED.itemsize

    def _read(self, file: IO[bytes] | None, row: int) -> Tensor:
        if file is None or row >= len(self):
            raise IndexError(f"there is no row {row} of {len(self)}")
        try:
            file.seek((row - len(self._near)) * self._bytes)
            stored = np.frombuffer(file.read(self._bytes), _STORED).reshape(self._shape)
        except (OSError, ValueError) as error:
            raise DiskProblem(f"The slices on disk cannot be read any more ({error}): start the run again.") from error
        return torch.from_numpy(stored.astype(np.float32)).to(self.device)


def _give_back() -> None:
    """Return freed memory to the system: glibc keeps what lies between things that stay, 7 MB a case of 256 pixels."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # other systems have no such call
        ctypes.CDLL(None).malloc_trim(0)


def memory_budget(device: torch.device, gibibytes: float) -> int:
    """Return how many bytes a pool may take on a device: what was asked for, or half of what is free."""
    if gibibytes:
        return int(gibibytes * 2**30)
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 2
    import psutil

    return int(psutil.virtual_memory().available) // 2
