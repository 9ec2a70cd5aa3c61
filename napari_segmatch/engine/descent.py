"""Down the gradient: optimisers, and how a teacher follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn


def adam(parameters: Iterable[nn.Parameter], rate: float, decay: float, device: torch.device) -> torch.optim.Optimizer:
    """Return AdamW as fast as the device has it. On a CUDA GPU steps are recorded: what changes has to be a tensor."""
    if device.type == "cuda":
        start = torch.tensor(rate, device=device)
        return torch.optim.AdamW(parameters, start, weight_decay=decay, fused=True, capturable=True)
    return torch.optim.AdamW(parameters, rate, weight_decay=decay, fused=device.type != "mps")


def descend(optimiser: torch.optim.Optimizer, rate: float | Tensor | None = None) -> Tensor:
    """Take a step down the gradient that was gathered; nothing is changed if that is not a number.

    Parameters
    ----------
    rate
        The learning rate of this step; by default it stays as it is.

    Returns
    -------
    Tensor
        Whether the gradient is a number, (). On a GPU the optimiser itself leaves out a step whose gradient is none, as
        it does for PyTorch's ``GradScaler``: nobody waits to know.
    """
    if rate is not None:
        for group in optimiser.param_groups:
            if isinstance(rate, Tensor):
                group["lr"].copy_(rate)
            else:
                group["lr"] = rate
    mine = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    sound = torch.isfinite(nn.utils.clip_grad_norm_(mine, 1.0))
    if sound.is_cuda:
        vars(optimiser).update(grad_scale=None, found_inf=1 - sound.float())
        optimiser.step()
    elif sound:
        optimiser.step()
    return sound


def state_of(optimisers: Mapping[str, torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Return the tensors of optimisers, each behind its name."""
    found: dict[str, Tensor] = {}
    for name, optimiser in optimisers.items():
        for index, state in optimiser.state_dict()["state"].items():
            found |= {f"{name}.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
    return found


def restore(optimisers: Mapping[str, torch.optim.Optimizer], tensors: Mapping[str, Tensor]) -> None:
    """Bring back what :func:`state_of` returned."""
    for name, optimiser in optimisers.items():
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(f"{name}."):
                _, index, field = key.split(".", 2)
                state.setdefault(int(index), {})[field] = value
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


class Follower:
    """A teacher who follows a student: the moving average of its weights."""

    def __init__(self, teacher: nn.Module, student: nn.Module) -> None:
        self._his: list[Tensor] = list(teacher.parameters())  # to list them takes longer than to move them
        self._theirs: list[Tensor] = list(student.parameters())
        self._buffers = list(zip(teacher.buffers(), student.buffers(), strict=True))

    @torch.no_grad()
    def follow(self, share: float | Tensor, sound: Tensor) -> None:
        """Move him by a share of the way to the student, if its step was sound."""
        if isinstance(share, Tensor):
            way = torch._foreach_sub(self._theirs, self._his)
            torch._foreach_mul_(way, torch.where(sound, share, 0.0))
            torch._foreach_add_(self._his, way)
        elif sound:
            torch._foreach_lerp_(self._his, self._theirs, share)
        for his, theirs in self._buffers:
            his.copy_(torch.where(sound, theirs, his))


def switch(network: nn.Module, training: bool) -> None:
    """Let a network learn or not; if it does so already nothing is gone through."""
    if network.training is not training:
        network.train(training)
