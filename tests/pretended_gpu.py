"""A graphics processor that is not there: tensors stay in memory, and have to be handled as if they were on one.

Within :class:`PretendedGpu` memory that was asked for on "cuda", or sent there, is marked, and so is what is computed
of it. As with a real one an operation on marked and unmarked tensors is an error, and what would wait for the device is
noted down. What it launches as one has to be the same each time: operations, numbers, and the memory that they take
from outside. Half precision is that of CUDA. What a real one computes, and how fast, is for tests/test_gpu.py to see.
"""

from itertools import zip_longest

import torch
from torch.overrides import TorchFunctionMode

from napari_segmatch.engine import recorder

CUDA = torch.device("cuda")
CROSSES = {"copy_", "__getitem__", "__setitem__", "__set__", "set_", "_has_compatible_shallow_copy_type"}
WAITS = {"item", "tolist", "__bool__", "__float__", "__int__", "__index__", "nonzero", "masked_select", "unique"}
FULL = {"exp", "log", "pow", "__pow__", "reciprocal", "rsqrt", "softmax", "log_softmax", "logsumexp", "softplus",
        "sum", "prod", "cumsum", "norm", "group_norm", "layer_norm", "interpolate",
        "binary_cross_entropy_with_logits"}  # fmt: skip
"""What CUDA computes in full precision where a processor need not."""


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


def in_full(thing):
    """Return the same with tensors of half precision in full."""
    if isinstance(thing, torch.Tensor):
        return mark(thing.float(), marked(thing)) if thing.dtype == torch.bfloat16 else thing
    return type(thing)(map(in_full, thing)) if type(thing) in (list, tuple) else thing


def numbers(thing):
    """Return what is no tensor among arguments: a recording keeps it."""
    if isinstance(thing, list | tuple):
        return [numbers(each) for each in thing]
    if isinstance(thing, dict):
        return {name: numbers(each) for name, each in thing.items()}
    return str(thing) if isinstance(thing, int | float | str | slice | torch.dtype) else None


class PretendedGpu(TorchFunctionMode):
    """A context in which there is one.

    Attributes
    ----------
    waited
        Names of the operations that would have waited for the device.
    heard
        The operations of what is launched as one, while it is.
    """

    heard = None

    def __init__(self):
        super().__init__()
        self.waited = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), getattr(function, "__name__", "")
        if name == "__get__" and function in (torch.Tensor.device.__get__, torch.Tensor.is_cuda.__get__):
            on = marked(args[0])
            return on if function == torch.Tensor.is_cuda.__get__ else CUDA if on else function(*args)
        taken = self._listen(name, args, kwargs)
        result = self._done(function, name, args, kwargs)
        for each in tensors(result) if self.heard is not None else ():
            if each.untyped_storage().data_ptr() not in taken:
                each.untyped_storage().made = self.heard
        return result

    def _done(self, function, name, args, kwargs):
        """Do an operation as the device would."""
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
        if name in FULL and torch.is_autocast_enabled("cpu"):
            args, kwargs = in_full(args), {key: in_full(value) for key, value in kwargs.items()}
        result = function(*args, **kwargs)
        return mark(result) if on else result

    def _listen(self, name, args, kwargs):
        """Note down what a recording would keep of an operation; returns the memory that it takes from outside."""
        given = [each.untyped_storage() for each in tensors(args, kwargs)]
        if any(getattr(each, "overwritten", False) for each in given) and name != "__get__":
            raise AssertionError(f"{name} reads what the next launch has overwritten")
        if self.heard is None:
            return ()
        taken = [each.data_ptr() for each in given if getattr(each, "made", None) is not self.heard]
        self.heard.append((name, numbers(args), numbers(kwargs), taken, [each.nbytes() for each in given]))
        return taken

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
    """Takes a step anew at each launch, from the memory that a recording would take it from, and in the same way."""

    def __init__(self, function, inputs, device):
        self._function, self._heard, self._made, self._outputs = function, None, None, ()
        self._inputs = recorder.rebuilt(inputs, (leaf.clone() for leaf in recorder.leaves(inputs)))

    def launch(self, inputs):
        for mine, given in zip(recorder.leaves(self._inputs), recorder.leaves(inputs), strict=True):
            mine.copy_(given, non_blocking=True)
        for mine in recorder.leaves(self._outputs):
            if getattr(mine.untyped_storage(), "made", None) is self._made:
                mine.untyped_storage().overwritten = True
        PretendedGpu.heard = self._made = heard = []
        try:
            self._outputs = self._function(*recorder.rebuilt(self._inputs, recorder.leaves(self._inputs)))  # no caches
        finally:
            PretendedGpu.heard = None
        self._heard = self._heard or heard
        for then, now in zip_longest(self._heard, heard):
            assert then == now, f"a launch would have done {then}, not {now}"
        return self._outputs
