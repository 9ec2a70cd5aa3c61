"""What a run computes on, and in which precision."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ConfigError


def choose_device(name: str) -> torch.device:
    """Turn a setting into a device that is there and can compute: a GPU may be too old for this PyTorch, or too new.

    Raises
    ------
    ConfigError
        If there is none, or its memory is full.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() and _trouble_with("cuda") is None else "cpu")
    trouble = _trouble_with(name)
    if trouble is None:
        return torch.device(name)
    there = {"auto": True, "cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    choice = " or ".join(kind for kind, is_there in there.items() if is_there and kind != name)
    if there.get(name):
        why = str(trouble).split("\n")[0]
        words = f"PyTorch {torch.__version__} cannot compute on this machine's {name!r} ({why}); choose {choice}."
        raise ConfigError(words) from trouble
    raise ConfigError(f"The device {name!r} is not available here; choose {choice}.") from trouble


def _trouble_with(name: str) -> Exception | None:
    """Try a convolution, a view, and to learn from it, as each step does; return what kept a device from that."""
    try:
        with torch.enable_grad():
            image = torch.zeros(1, 1, 8, 8, device=name, requires_grad=True)
            seen, place = F.conv2d(image, image[..., :3, :3]), torch.zeros(1, 1, 1, 2, device=name)
            F.grid_sample(seen, place, padding_mode="border", align_corners=False).sum().backward()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        if is_out_of_memory(error):
            words = f"The memory of the device {name!r} is full: close other programs, or choose cpu."
            raise ConfigError(words) from error
        return error
    return None


def device_name(device: torch.device) -> str:
    """Say in words what a run computes on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    cpu = f"CPU, {threads} {'thread' if threads == 1 else 'threads'}"
    return {"cpu": cpu, "mps": "Apple GPU"}.get(device.type, str(device))


def autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Compute in bfloat16 where the device is good at it."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.autocast("cuda", torch.bfloat16)
    if device.type == "cpu" and _cpu_has_bfloat16():
        return torch.autocast("cpu", torch.bfloat16)
    return contextlib.nullcontext()


def at_once(device: torch.device, twice: bool) -> int:
    """Return how many slices are looked at together, once or ``twice``, without learning from them."""
    in_a_pass = 32 if device.type == "cuda" else 16
    return in_a_pass // 2 if twice else in_a_pass


def rows_that(shown: Tensor, most: int | None = None) -> Tensor:
    """Return the numbers of the rows (n,) that are shown; on a GPU always of so many, by default of all.

    How many are shown it can only tell when all that waits is computed, and that lasts longer than to compute what
    nobody needs. Those that are shown come first; what comes of others has to be overwritten, or weighted with 0.
    """
    return shown_first(shown, most) if shown.is_cuda else shown.nonzero()[:, 0]


def shown_first(shown: Tensor, most: int | None = None) -> Tensor:
    """Return the numbers of all rows, or of so many, those that are shown before others."""
    if most is None:
        return torch.arange(len(shown), device=shown.device)
    return torch.argsort(shown.logical_not().int(), stable=True)[:most]


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out, in PyTorch's words or in those of CUDA's libraries."""
    words = str(error).lower()
    signs = ("out of memory", "can't allocate memory", "alloc_failed")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(sign in words for sign in signs)


def is_lost(error: Exception) -> bool:
    """Whether an error says that the graphics processor is gone."""
    words = f"{type(error).__name__}: {error}"
    return any(sign in words for sign in ("CUDA error", "AcceleratorError", "device-side", "driver"))


def _cpu_has_bfloat16() -> bool:
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # private, and not in every build
    return torch.backends.mkldnn.is_available() and any(getattr(torch.cpu, name, bool)() for name in asked)
