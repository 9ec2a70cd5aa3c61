"""Weights from elsewhere: a PyTorch checkpoint becomes safetensors, and a network starts from such a file.

PyTorch's own files are pickles, which can run code. They are read in one place, here, by PyTorch's reader that makes
tensors and plain containers and refuses everything else.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from ..errors import ImportProblem
from ..fsio import read_file
from ..texts import count

_WRAPPERS = ("module.", "_orig_mod.")
"""What training on several processors, and compiling, put before every name."""


def convert(path: Path) -> tuple[bytes, str]:
    """Return the tensors of a PyTorch file as the bytes of a safetensors file, and a sentence about what they are.

    Raises
    ------
    ImportProblem
        If the file holds anything but tensors in plain containers; nothing in it is run.
    """
    if not path.is_file():
        raise ImportProblem(f"{path.name} does not exist: check its name and folder.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a foreign file can fail anywhere in PyTorch, with any type
        raise ImportProblem(
            f"{path.name} cannot be read as a plain PyTorch checkpoint, and nothing else in it is ever run: where it "
            "was made, save the weights alone with torch.save(model.state_dict(), FILE)."
        ) from error
    name, found = _largest(held)
    if not found:
        raise ImportProblem(f"{path.name} holds no named tensors: give a checkpoint with a network's state_dict.")
    data = _saved(found, path.name)
    numbers = sum(value.numel() for value in found.values())
    where = f" from its entry {name!r}; other entries are left out" if name else ""
    return data, f"{count(len(found), 'tensor')}, {numbers:,} numbers{where}."


def _largest(held: Any) -> tuple[str, dict[str, Tensor]]:
    """Return the mapping of names to tensors that holds most numbers, be it the file itself or one of its entries."""
    entries = {"": held, **({str(key): value for key, value in held.items()} if isinstance(held, Mapping) else {})}
    found = {key: _tensors(value) for key, value in entries.items()}
    return max(found.items(), key=lambda item: sum(value.numel() for value in item[1].values()))


def _tensors(held: Any) -> dict[str, Tensor]:
    pairs = held.items() if isinstance(held, Mapping) else ()
    return {key: value for key, value in pairs if isinstance(key, str) and isinstance(value, Tensor)}


def _saved(found: Mapping[str, Tensor], name: str) -> bytes:
    bare = {_bare(key): value for key, value in found.items()}
    if len(bare) < len(found):
        raise ImportProblem(
            f"{name} names two tensors alike but for {' or '.join(_WRAPPERS)} in front: where it was made, save the "
            "weights of one network alone."
        )
    try:
        return save({key: value.detach().contiguous().clone() for key, value in bare.items()})
    except (KeyError, ValueError, RuntimeError, SafetensorError) as error:  # KeyError: a kind of number it has not
        raise ImportProblem(f"{name} holds tensors of a kind that safetensors has not: {error}.") from error


def _bare(name: str) -> str:
    while name.startswith(_WRAPPERS):
        name = name.partition(".")[2]
    return name


def take_weights(network: nn.Module, path: Path) -> list[str]:
    """Give a network the weights of a safetensors file: of a network of its own kind, or of a run's checkpoint.

    All of them fit, or none is taken; but where only the number of classes differs, the last layer takes what both
    have, in the classes' order, and keeps the rest of its own. Returns the sentence that says so, if one must.

    Raises
    ------
    ImportProblem
        If the file cannot be read, or is of another network.
    """
    try:
        theirs = _network_of(load(read_file(path.resolve())))  # the person's own choice: a link is as good as the file
    except (OSError, RuntimeError, SafetensorError) as error:  # RuntimeError: links that lead in a circle
        raise ImportProblem(
            f"The weights {path.name} cannot be read: give a safetensors file; `segmatch convert` makes one of a "
            "PyTorch checkpoint."
        ) from error
    mine = network.state_dict()
    odd = sorted(set(mine) ^ set(theirs)) or [key for key in mine if mine[key].shape != theirs[key].shape]
    outputs = _outputs(mine, theirs, odd)
    if odd and not outputs:
        wanted, came = (f"{tuple(held[odd[0]].shape)}" if odd[0] in held else "nothing" for held in (mine, theirs))
        raise ImportProblem(
            f"The weights {path.name} are of another network: {len(odd)} of its tensors differ, the first is {odd[0]} "
            f"({wanted} wanted, {came} found); network, features, neighbours (0 where it saw slices alone) and "
            "sequences must be the same."
        )
    network.load_state_dict(theirs | {key: _shared(mine[key], theirs[key]) for key in odd})
    if not outputs:
        return []
    now, then = (number - 1 for number in outputs)  # one is the background
    return [
        f"The weights {path.name} are for another number of classes ({then}, and {now} here): all layers but the last "
        f"were taken, and of that the background and the first {min(now, then)}; the rest of it starts anew."
    ]


def _network_of(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the network that is proposed from, if the tensors are of a run's checkpoint."""
    before = "teacher."
    return {key.removeprefix(before): value for key, value in tensors.items() if key.startswith(before)} or tensors


def _outputs(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor], odd: list[str]) -> tuple[int, ...]:
    """Return how many outputs both have, if the tensors that differ are the last ones, and only in that."""
    if not odd or odd != [key for key in mine if key in theirs][-len(odd) :]:
        return ()
    if any(mine[key].ndim != theirs[key].ndim for key in odd):
        return ()
    sizes = {pair for key in odd for pair in zip(mine[key].shape, theirs[key].shape, strict=True) if len({*pair}) > 1}
    outputs = len(mine[odd[-1]]), len(theirs[odd[-1]])
    return outputs if sizes == {outputs} and min(outputs) > 1 else ()  # one output is no background and a class


def _shared(mine: Tensor, theirs: Tensor) -> Tensor:
    """Return a tensor of ours with theirs in the part that both have."""
    both = tuple(slice(min(sizes)) for sizes in zip(mine.shape, theirs.shape, strict=True))
    result = mine.clone()
    result[both] = theirs[both].to(result)
    return result
