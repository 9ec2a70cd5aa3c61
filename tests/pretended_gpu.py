"""A graphics processor that is not there: tensors stay in memory, and must behave as if they were on one.

Within :class:`PretendedGpu` a tensor made on, or sent to, "cuda" is marked, and so is what is computed of it. As with a
real one, an operation on marked and unmarked tensors is an error; what would wait for the device is counted. What a real
one computes, how fast, and recordings are for tests/test_gpu.py.
"""

import torch
from torch.overrides import TorchFunctionMode

CUDA = torch.device("cuda")
FREE = {"copy_", "__getitem__", "set_", "data", "type_as", "__set__", "is_set_to", "_has_compatible_shallow_copy_type"}
WAITS = {"item", "tolist", "__bool__", "__float__", "__int__", "__index__", "nonzero", "masked_select", "unique", "cpu"}


def marked(tensor):
    return getattr(tensor.untyped_storage(), "pretended", False)


def mark(thing, on=True):
    """Mark the memory of tensors as being on the pretended device, or not; what they are views of as well."""
    for tensor in tensors(thing):
        tensor.untyped_storage().pretended = on
    return thing


def tensors(thing):
    """Return the tensors in arguments of a function."""
    if isinstance(thing, torch.Tensor):
        return [thing]
    if isinstance(thing, dict):
        thing = thing.values()
    return [found for each in thing for found in tensors(each)] if isinstance(thing, list | tuple | type({}.values())) else []


def is_cuda(device):
    return isinstance(device, str | torch.device) and torch.device(device).type == "cuda"


class PretendedGpu(TorchFunctionMode):
    """
    Attributes
    ----------
    waited
        Names of what would have waited for the device.
    """

    def __init__(self):
        super().__init__()
        self.waited = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = getattr(function, "__name__", str(function))
        owner = getattr(getattr(function, "__self__", None), "__name__", "")
        mine = args[0] if args and isinstance(args[0], torch.Tensor) else None
        if name == "__get__" and owner == "device":
            return CUDA if marked(mine) else function(*args)
        if name == "__get__" and owner == "is_cuda":
            return marked(mine)
        if name == "pin_memory":
            return mine
        if name in ("to", "cuda"):
            return self._move(name, args, kwargs)
        if name == "cpu":
            return self._move(name, (mine, "cpu"), {})
        if name in ("numpy", "__array__") and marked(mine):
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy it first.")
        on = self._on(name, args, kwargs)
        if on and (name in WAITS or self._picks(name, args)):
            self.waited.append(name)
        result = function(*args, **kwargs)
        if name == "__set__" and mine is not None:
            value = args[1]
            if isinstance(value, torch.Tensor) and owner in ("data", "grad"):
                if owner == "grad" and marked(value) != marked(mine):
                    raise RuntimeError("assigned grad has data located on a different device")
                if owner == "data":
                    mark(mine, marked(value))
            return result
        return mark(result) if on else result

    def _on(self, name, args, kwargs):
        """Whether the result is on the device; an error if only a part of its operands is."""
        asked = kwargs.get("device")
        if is_cuda(asked):
            if isinstance(kwargs.get("generator"), torch.Generator):
                raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
            kwargs["device"] = "cpu"
            return True
        if asked is not None:
            return False
        given = tensors(args) + tensors(kwargs)
        on = any(map(marked, given))
        if name in FREE or name == "__setitem__":
            return marked(args[0]) if isinstance(args[0], torch.Tensor) else on
        if on and any(not marked(each) and each.dim() > 0 for each in given):
            shapes = [(tuple(each.shape), "cuda" if marked(each) else "cpu") for each in given]
            raise RuntimeError(f"Expected all tensors to be on the same device, but {name} got {shapes}")
        return on

    @staticmethod
    def _picks(name, args):
        """Whether something is picked by yes and no, so that how many there are has to be known."""
        return name in ("__getitem__",) and any(each.dtype == torch.bool for each in tensors(args[1:]))

    def _move(self, name, args, kwargs):
        """What ``to`` and ``cuda`` do: another type, another device, or both."""
        mine, given = args[0], [*args[1:], *kwargs.values()]
        like = next(iter(tensors(given)), None)
        device = CUDA if name == "cuda" else next((each for each in given if isinstance(each, str | torch.device)), None)
        dtype = next((each for each in given if isinstance(each, torch.dtype)), mine.dtype)
        on = marked(mine) if device is None else is_cuda(device)
        if like is not None:
            on, dtype = marked(like), like.dtype
        if marked(mine) and not on:
            self.waited.append(name)
        copy = on != marked(mine) or kwargs.get("copy", False)
        return mark(mine.to(dtype, copy=copy, memory_format=kwargs.get("memory_format", torch.preserve_format)), on)
