"""Photometric operations on MRI slices: what scanners, coils and patients do to grey values.

Each takes images (n, c, h, w) with mean 0 and spread 1, a level (n, 1, 1, 1) from 0 (nothing happens) to 1,
a sign (n, 1, 1, 1) of -1 or 1, and a generator for noise. None moves a pixel. Sequences are quantities of
their own: nothing mixes channels or inverts contrast.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Operation = Callable[[Tensor, Tensor, Tensor, torch.Generator], Tensor]
OPERATIONS: dict[str, Operation] = {}


def operation(function: Operation) -> Operation:
    """Register an operation under its name."""
    OPERATIONS[function.__name__.strip("_").replace("_", "-")] = function
    return function


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator).to(like.device)


def _uniform(shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator).to(like.device)


@operation
def nothing(x: Tensor, level: Tensor, sign: Tensor, generator: torch.Generator) -> Tensor:
    return x


@operation
def brightness(x: Tensor, level: Tensor, sign: Tensor, generator: torch.Generator) -> Tensor:
    return x + 0.5 * sign * level


@operation
def contrast(x: Tensor, level: Tensor, sign: Tensor, generator: torch.Generator) -> Tensor:
    middle = x.mean((2, 3), keepdim=True)
    return (x - middle) * (1 + 0.5 * sign * level) + middle


@operation
def gamma(x: Tensor, level: Tensor, sign: Tensor, generator: torch.Generator) -> Tensor:
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    span = (high - low).clamp_min(1e-3)
    return ((x - low) / span).clamp(0, 1) ** torch.exp(0.6 * sign * level) * span + low


@operation
def bias_field(x: Tensor, level: Tensor, sign: Tensor, generator: torch.Generator) -> Tensor:
    """Coil sensitivity: a smooth field multiplies the signal."""
    n, _, h, w = x.shape
    coarse = torch.randn(n, 1, 4, 4, generator=generator).to(x.device)
    field = F.interpolate(coarse, (h, w), mode="bicubic", align_corners=True)
    low = x.amin((2, 3), keepdim=True)
    return (x - low) * torch.exp(0.3 * level * field) + low


@operation
def gaussian_noise(x: Tensor, level: Tensor, sign: Tensor, generator: torch.Generator) -> Tensor:
    return x + 0.25 * level * _normal(x, generator)


@operation
def rician_noise(x: Tensor, level: Tensor, sign: Tensor, generator: torch.Generator) -> Tensor:
    """Magnitude of a complex signal with noise in both parts."""
    low = x.amin((2, 3), keepdim=True)
    sigma = 0.25 * level
    real = x - low + sigma * _normal(x, generator)
    return torch.sqrt(real**2 + (sigma * _normal(x, generator)) ** 2 + 1e-12) + low


@operation
def blur(x: Tensor, level: Tensor, sign: Tensor, generator: torch.Generator) -> Tensor:
    return _in_k_space(x, torch.exp(-2 * (torch.pi * 2.0 * level * _radius(x)) ** 2))


@operation
def sharpen(x: Tensor, level: Tensor, sign: Tensor, generator: torch.Generator) -> Tensor:
    soft = _in_k_space(x, torch.exp(-2 * (torch.pi * _radius(x)) ** 2))
    return x + 1.5 * level * (x - soft)


@operation
def low_resolution(x: Tensor, level: Tensor, sign: Tensor, generator: torch.Generator) -> Tensor:
    """Fewer phase-encoding lines along one axis: a soft cut of high frequencies in y."""
    keep = 0.6 * (1 - 0.75 * level)
    fy = torch.fft.fftfreq(x.shape[2], device=x.device).abs().view(1, 1, -1, 1)
    return _in_k_space(x, torch.sigmoid((keep - fy) / 0.015))


@operation
def gibbs(x: Tensor, level: Tensor, sign: Tensor, generator: torch.Generator) -> Tensor:
    """Ringing at edges: a hard cut in k-space."""
    return _in_k_space(x, (_radius(x) <= 0.7072 * (1 - 0.75 * level)).float())


@operation
def ghosting(x: Tensor, level: Tensor, sign: Tensor, generator: torch.Generator) -> Tensor:
    """Periodic motion: every second to sixth line of k-space is off, and faint copies appear."""
    n, _, h, _ = x.shape
    period = torch.randint(2, 7, (n, 1, 1, 1), generator=generator).to(x.device)
    lines = torch.arange(h, device=x.device).view(1, 1, -1, 1)
    centre = torch.fft.fftfreq(h, device=x.device).abs().view(1, 1, -1, 1) < 0.02
    weight = torch.where((lines % period == 0) & ~centre, 1 - 0.7 * level, torch.ones_like(level))
    return _in_k_space(x, weight)


@operation
def motion(x: Tensor, level: Tensor, sign: Tensor, generator: torch.Generator) -> Tensor:
    """The head moved once: part of the k-space lines carry the phase of a shifted image."""
    n, _, h, _ = x.shape
    fy = torch.fft.fftfreq(h, device=x.device).view(1, 1, -1, 1)
    start = 0.06 + 0.3 * _uniform((n, 1, 1, 1), x, generator)
    phase = torch.where(fy > start, 2 * torch.pi * fy * 4 * level * sign, torch.zeros_like(fy))
    return _in_k_space(x, torch.polar(torch.ones_like(phase), phase), whole=True)


@operation
def quantise(x: Tensor, level: Tensor, sign: Tensor, generator: torch.Generator) -> Tensor:
    """Fewer grey values, as after a careless conversion."""
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    step = (high - low).clamp_min(1e-3) / 2 ** (7 - 3 * level)
    return torch.where(level > 0, ((x - low) / step).round() * step + low, x)


def _radius(x: Tensor) -> Tensor:
    """Distance from the centre of half k-space, in cycles per pixel, (1, 1, h, w // 2 + 1)."""
    fy = torch.fft.fftfreq(x.shape[2], device=x.device).view(-1, 1)
    fx = torch.fft.rfftfreq(x.shape[3], device=x.device).view(1, -1)
    return torch.sqrt(fy**2 + fx**2)[None, None]


def _in_k_space(x: Tensor, weight: Tensor, whole: bool = False) -> Tensor:
    if whole:
        return torch.fft.ifft2(torch.fft.fft2(x) * weight).real
    return torch.fft.irfft2(torch.fft.rfft2(x) * weight, s=x.shape[2:])
