"""A graphics processor that is not there: tensors stay in memory, and have to be handled as if they were on one.

Within :class:`PretendedGpu` memory that was asked for on "cuda", or sent there, is marked, and so is what is computed
of it. As with a real one an operation on marked and unmarked tensors is an error, and what would wait for the device is
noted down. What a real one computes, how fast, and what it records, is for tests/test_gpu.py to see.
"""

import torch
from torch.overrides import TorchFunctionMode

from napari_segmatch.engine import recorder

CUDA = torch.device("cuda")
CROSSES = {"copy_", "__getitem__", "__setitem__", "__set__", "set_", "_has_compatible_shallow_copy_type"}
WAITS = {"item", "tolist", "__bool__", "__float__", "__int__", "__index__", "nonzero", "masked_select", "unique"}


def marked(tensor):
    """Whether a tensor is on the pretended device."""
    return getattr(tensor.untyped_storage(), "pretended", False)


def mark(thing, on=True):
    """Put the memory of tensors on the pretended device, or take it off."""
    for tensor in tensors(thing):
        tensor.untyped_storage().pretended = on
    return thing


def tensors(*things):
    """Return the tensors among arguments, and in lists, tuples and dictionaries of them."""
    found = []
    for thing in things:
        if isinstance(thing, torch.Tensor):
            found.append(thing)
        elif isinstance(thing, list | tuple):
            found += tensors(*thing)
        elif isinstance(thing, dict):
            found += tensors(*thing.values())
    return found


class PretendedGpu(TorchFunctionMode):
    """A context in which there is one.

    Attributes
    ----------
    waited
        Names of the operations that would have waited for the device.
    """

    def __init__(self):
        super().__init__()
        self.waited = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), getattr(function, "__name__", "")
        if name == "__get__" and function in (torch.Tensor.device.__get__, torch.Tensor.is_cuda.__get__):
            on = marked(args[0])
            return on if function == torch.Tensor.is_cuda.__get__ else CUDA if on else function(*args)
        if name in ("to", "cuda", "cpu"):
            return self._move(name, args, kwargs)
        if name == "pin_memory":
            return args[0]
        on = self._is_on(name, args, kwargs)
        picks = name == "__getitem__" and any(each.dtype == torch.bool for each in tensors(args[1:]))
        if on and (name in WAITS or picks):
            self.waited.append(name)
        if on and name in ("numpy", "__array__"):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        result = function(*args, **kwargs)
        return mark(result) if on else result

    def _is_on(self, name, args, kwargs):
        """Whether the result is on the device; an error if only some of the operands are."""
        if kwargs.get("device") is not None:
            on = torch.device(kwargs["device"]).type == "cuda"
            kwargs["device"] = "cpu"
            if on and kwargs.get("generator") is not None:
                raise RuntimeError(f"{name} expected a generator on cuda but got one on cpu")
            return on
        if name in CROSSES:
            return any(map(marked, tensors(args[0])))
        given = tensors(args, kwargs)
        on = any(map(marked, given))
        if on and any(not marked(each) and each.dim() > 0 for each in given):
            shapes = [("cuda" if marked(each) else "cpu", tuple(each.shape)) for each in given]
            raise RuntimeError(f"expected all tensors to be on the same device, but {name} got {shapes}")
        return on

    def _move(self, name, args, kwargs):
        """Do what ``to``, ``cuda`` and ``cpu`` do: another type, another device, or both."""
        mine, given = args[0], [*args[1:], *kwargs.values()]
        devices = [each for each in given if isinstance(each, str | torch.device)] if name == "to" else [name]
        on = torch.device(devices[0]).type == "cuda" if devices else marked(mine)
        dtype = next((each for each in given if isinstance(each, torch.dtype)), mine.dtype)
        for like in tensors(given):
            on, dtype = marked(like), like.dtype
        if marked(mine) and not on:
            self.waited.append(name)
        form = kwargs.get("memory_format", torch.preserve_format)
        copied = mine.to(dtype, copy=on != marked(mine) or kwargs.get("copy", False), memory_format=form)
        return mark(copied) if on else copied


class Recording:
    """Takes a step anew at each launch, from the memory that a recording would take it from."""

    def __init__(self, function, inputs, device):
        self._function = function
        self._inputs = recorder.rebuilt(inputs, (leaf.clone() for leaf in recorder.leaves(inputs)))

    def launch(self, inputs):
        for mine, given in zip(recorder.leaves(self._inputs), recorder.leaves(inputs), strict=True):
            mine.copy_(given, non_blocking=True)
        return self._function(*self._inputs)
