"""A step on a GPU as one launch.

A step is some two thousand small kernels, and the processor takes ten times longer to launch them one by one than a
GPU to compute them. A CUDA graph is launched at once. It keeps every shape, every address and every decision that
Python took while it was recorded; what may differ from step to step comes in as tensors, and nothing in it may wait for
the device.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import torch
from torch import Tensor

from .device import is_out_of_memory


class Recorder:
    """Calls functions of tensors, and launches what it has recorded of them.

    The first call with a key runs the function as it is, which also warms up the libraries; the second records it, and
    from then on it is launched. On other devices than a CUDA GPU every call is a plain one.

    Attributes
    ----------
    refused
        Why nothing is recorded any more; empty as long as it works.
    """

    def __init__(self, device: torch.device, wanted: bool = True) -> None:
        self._device, self._wanted = device, wanted and device.type == "cuda"
        self._recorded: dict[tuple[Hashable, ...], Recording | None] = {}
        self.refused = ""

    def forget(self) -> None:
        """Drop what was recorded: its addresses do not hold any more."""
        self._recorded.clear()

    def __call__(self, key: tuple[Hashable, ...], function: Callable[..., Any], *inputs: Any) -> Any:
        """Return what ``function`` makes of its inputs; of a launch, tensors that hold until the next one.

        Parameters
        ----------
        key
            Names the function, then the shapes and all that it decides without asking its tensors. Of each function one
            recording is kept.
        inputs
            Tensors, on any device, and dataclasses and tuples of them; what else these hold is recorded as it is.
        """
        recording = self._recorded.get(key)
        if recording is not None:
            return recording.launch(inputs)
        inputs = moved(inputs, self._device)
        if not self._wanted or self.refused:
            return function(*inputs)
        if key not in self._recorded:
            self._begin(key)
            return _beside(self._device, lambda: function(*inputs))
        try:
            recording = self._recorded[key] = Recording(function, inputs, self._device)
            return recording.launch(inputs)
        except RuntimeError as error:
            self.forget()
            _renew_chance(self._device)
            if is_out_of_memory(error):  # whoever watches the run makes smaller parts
                raise
            self.refused = str(error).splitlines()[0]
            return function(*inputs)

    def _begin(self, key: tuple[Hashable, ...]) -> None:
        """Make room for another way to take a step: the one before it does not come back soon, and holds memory."""
        self._recorded = {other: found for other, found in self._recorded.items() if other[0] != key[0]}
        self._recorded[key] = None


class Recording:
    """A CUDA graph, and where it takes its inputs from."""

    def __init__(self, function: Callable[..., Any], inputs: Any, device: torch.device) -> None:
        self._inputs = rebuilt(inputs, (leaf.clone() for leaf in leaves(inputs)))
        self._graph = torch.cuda.CUDAGraph()
        with (
            torch.cuda.device(device),
            torch.cuda.stream(torch.cuda.current_stream(device)),  # is restored, also if recording fails
            torch.cuda.graph(  # the window may use the GPU meanwhile, hence thread_local
                self._graph, stream=torch.cuda.Stream(device), capture_error_mode="thread_local"
            ),
        ):
            self._outputs = function(*self._inputs)

    def launch(self, inputs: Any) -> Any:
        for mine, given in zip(leaves(self._inputs), leaves(inputs), strict=True):
            mine.copy_(given, non_blocking=True)
        self._graph.replay()
        return self._outputs


def _beside(device: torch.device, function: Callable[[], Any]) -> Any:
    """Call a function on a stream of its own, as PyTorch asks for before a function is recorded."""
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        result = function()
    torch.cuda.current_stream(device).wait_stream(stream)
    return result


def _renew_chance(device: torch.device) -> None:
    """Let a GPU draw again: where recording failed it still takes each draw for one to record, and refuses it."""
    if device.type == "cuda":
        own = torch.cuda.default_generators[torch.cuda.current_device() if device.index is None else device.index]
        own.graphsafe_set_state(own.clone_state())


def leaves(thing: Any) -> Iterator[Tensor]:
    """Return the tensors in a dataclass or a tuple, and in those within it."""
    if isinstance(thing, Tensor):
        yield thing
    for part in _parts(thing).values():
        yield from leaves(part)


def rebuilt(thing: Any, replacements: Iterator[Tensor]) -> Any:
    """Return the same with other tensors in it."""
    if isinstance(thing, Tensor):
        return next(replacements)
    parts = {name: rebuilt(part, replacements) for name, part in _parts(thing).items()}
    if isinstance(thing, tuple):
        return tuple(parts.values())
    return dataclasses.replace(thing, **parts) if parts else thing


def moved(thing: Any, device: torch.device) -> Any:
    """Return the same with its tensors on a device, without waiting for it."""
    if all(leaf.device.type == device.type for leaf in leaves(thing)):
        return thing
    return rebuilt(thing, (sent(leaf, device) for leaf in leaves(thing)))


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; a GPU by CUDA is not waited for (others may read it when it is gone already)."""
    return tensor.to(device, non_blocking=device.type == "cuda")


def _parts(thing: Any) -> dict[Any, Any]:
    if isinstance(thing, tuple):
        return dict(enumerate(thing))
    if dataclasses.is_dataclass(thing):
        return {spec.name: getattr(thing, spec.name) for spec in dataclasses.fields(thing)}
    return {}
