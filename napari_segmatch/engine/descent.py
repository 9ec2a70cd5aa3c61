"""Down the gradient: optimisers, and how a teacher follows."""

from __future__ import annotations

from collections.abc import Iterable

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


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, share: float | Tensor, sound: Tensor) -> None:
    """Move a teacher by a share of the way to its student, if the student's step was sound."""
    his: list[Tensor] = list(teacher.parameters())
    theirs: list[Tensor] = list(student.parameters())
    if isinstance(share, Tensor):
        way = torch._foreach_sub(theirs, his)
        torch._foreach_mul_(way, torch.where(sound, share, 0.0))
        torch._foreach_add_(his, way)
    elif sound:
        torch._foreach_lerp_(his, theirs, share)
    for mine, copied in zip(teacher.buffers(), student.buffers(), strict=True):
        mine.copy_(torch.where(sound, copied, mine))
