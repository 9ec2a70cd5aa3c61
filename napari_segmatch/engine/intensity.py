"""Photometric operations on MRI slices: what scanners, coils and patients do to grey values.

Each takes slices with mean 0 and spread 1, a level (n, 1, 1, 1) from 0 (nothing happens) to 1, a sign (n, 1, 1, 1) of
-1 or 1, and a source of noise. None moves a pixel. Sequences are quantities of their own: nothing mixes channels or
inverts contrast.

Some only weigh the frequencies of a slice. These share one way through k-space, where slices that go through
different ones can go together.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from .chance import Source, normal, uniform, whole


class Frequencies:
    """The frequencies of half k-space, in cycles per pixel."""

    def __init__(self, images: Tensor) -> None:
        height, width = images.shape[2:]
        self.y = torch.fft.fftfreq(height, device=images.device).view(1, 1, -1, 1)
        x = torch.fft.rfftfreq(width, device=images.device).view(1, 1, 1, -1)
        self.square = self.y**2 + x**2


class Slices:
    """Images (n, c, h, w), and what several operations ask of them."""

    def __init__(self, images: Tensor, frequencies: Frequencies | None = None) -> None:
        self.images = images
        self.frequencies = Frequencies(images) if frequencies is None else frequencies

    @cached_property
    def low(self) -> Tensor:
        return self.images.amin((2, 3), keepdim=True)

    @cached_property
    def span(self) -> Tensor:
        return (self.images.amax((2, 3), keepdim=True) - self.low).clamp_min(1e-3)

    def noise(self, source: Source) -> Tensor:
        return normal(self.images.shape, source, self.images.device)

    def weighed(self, weights: Tensor) -> Tensor:
        """Return the images with only so much of each frequency, (n, 1, h, w // 2 + 1) or what broadcasts to it."""
        return torch.fft.irfft2(torch.fft.rfft2(self.images) * weights, s=self.images.shape[2:])


Operation = Callable[[Slices, Tensor, Tensor, Source], Tensor]
OPERATIONS: dict[str, Operation] = {}
"""By name, what makes new images of slices."""

WEIGHTS: dict[str, Operation] = {}
"""Of operations on frequencies, how much of each is left."""


def operation(function: Operation) -> Operation:
    """Register an operation under its name."""
    OPERATIONS[_name(function)] = function
    return function


def on_frequencies(weights: Operation) -> Operation:
    """Register an operation by the weights that it gives to frequencies."""
    WEIGHTS[_name(weights)] = weights

    def weighed(s: Slices, level: Tensor, sign: Tensor, source: Source) -> Tensor:
        return s.weighed(weights(s, level, sign, source))

    OPERATIONS[_name(weights)] = weighed
    return weighed


def _name(function: Operation) -> str:
    return function.__name__.replace("_", "-")


def apply_each(s: Slices, chosen: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    """Put each slice through an operation of its own, all of them at once.

    Every slice goes through every operation. A GPU does that sooner than it says which slices need which.

    Parameters
    ----------
    chosen
        (n, 1, 1, 1): numbers in the order of ``OPERATIONS``; a negative one leaves the slice as it is.
    """
    result, weights = s.images, torch.ones(1, dtype=torch.complex64, device=chosen.device)
    weighed = torch.zeros_like(chosen, dtype=torch.bool)
    for number, (name, function) in enumerate(OPERATIONS.items()):
        mine = chosen == number
        if name in WEIGHTS:
            weights = torch.where(mine, WEIGHTS[name](s, level, sign, None), weights)
            weighed = weighed | mine
        elif function is not nothing:
            result = torch.where(mine, function(s, level, sign, None), result)
    return torch.where(weighed, s.weighed(weights), result)


@operation
def nothing(s: Slices, level: Tensor, sign: Tensor, source: Source) -> Tensor:
    return s.images


@operation
def brightness(s: Slices, level: Tensor, sign: Tensor, source: Source) -> Tensor:
    return s.images + 0.5 * sign * level


@operation
def contrast(s: Slices, level: Tensor, sign: Tensor, source: Source) -> Tensor:
    middle = s.images.mean((2, 3), keepdim=True)
    return torch.lerp(middle, s.images, 1 + 0.5 * sign * level)


@operation
def gamma(s: Slices, level: Tensor, sign: Tensor, source: Source) -> Tensor:
    return ((s.images - s.low) / s.span).clamp(0, 1) ** torch.exp(0.6 * sign * level) * s.span + s.low


@operation
def bias_field(s: Slices, level: Tensor, sign: Tensor, source: Source) -> Tensor:
    """Coil sensitivity: a smooth field multiplies the signal."""
    coarse = normal((len(s.images), 1, 4, 4), source, s.images.device)
    field = F.interpolate(coarse, s.images.shape[2:], mode="bicubic", align_corners=True)
    return (s.images - s.low) * torch.exp(0.3 * level * field) + s.low


@operation
def gaussian_noise(s: Slices, level: Tensor, sign: Tensor, source: Source) -> Tensor:
    return s.images + 0.25 * level * s.noise(source)


@operation
def rician_noise(s: Slices, level: Tensor, sign: Tensor, source: Source) -> Tensor:
    """Magnitude of a complex signal with noise in both parts."""
    sigma = 0.25 * level
    real = s.images - s.low + sigma * s.noise(source)
    return torch.sqrt(real**2 + (sigma * s.noise(source)) ** 2 + 1e-12) + s.low


@on_frequencies
def blur(s: Slices, level: Tensor, sign: Tensor, source: Source) -> Tensor:
    return torch.exp(-2 * (torch.pi * 2.0 * level) ** 2 * s.frequencies.square)


@on_frequencies
def sharpen(s: Slices, level: Tensor, sign: Tensor, source: Source) -> Tensor:
    return 1 + 1.5 * level * (1 - torch.exp(-2 * torch.pi**2 * s.frequencies.square))


@on_frequencies
def low_resolution(s: Slices, level: Tensor, sign: Tensor, source: Source) -> Tensor:
    """Fewer phase-encoding lines along one axis: a soft cut of high frequencies in y."""
    keep = 0.6 * (1 - 0.75 * level)
    return torch.sigmoid((keep - s.frequencies.y.abs()) / 0.015)


@on_frequencies
def gibbs(s: Slices, level: Tensor, sign: Tensor, source: Source) -> Tensor:
    """Ringing at edges: a hard cut in k-space."""
    return (s.frequencies.square <= (0.7072 * (1 - 0.75 * level)) ** 2).float()


@on_frequencies
def ghosting(s: Slices, level: Tensor, sign: Tensor, source: Source) -> Tensor:
    """Periodic motion: every second to sixth line of k-space is off, and faint copies appear."""
    y = s.frequencies.y
    period = whole(2, 7, (len(s.images), 1, 1, 1), source, y.device)
    lines = torch.arange(y.shape[2], device=y.device).view(1, 1, -1, 1)
    return torch.where((lines % period == 0) & (y.abs() >= 0.02), 1 - 0.7 * level, torch.ones_like(level))


@on_frequencies
def motion(s: Slices, level: Tensor, sign: Tensor, source: Source) -> Tensor:
    """The head moved once: part of the k-space lines carry the phase of a shifted image.

    They are those above a line. Of the image that is seen, the real part, a frequency and its opposite each have half.
    """
    y = s.frequencies.y
    start = 0.06 + 0.3 * uniform((len(s.images), 1, 1, 1), source, y.device)
    phase = 2 * torch.pi * y * 4 * level * sign
    moved = (1 + torch.polar(torch.ones_like(phase), phase)) / 2
    return torch.where((y.abs() > start) & (y > -0.5), moved, 1.0)


@operation
def quantise(s: Slices, level: Tensor, sign: Tensor, source: Source) -> Tensor:
    """Fewer grey values, as after a careless conversion."""
    step = s.span / 2 ** (7 - 3 * level)
    return torch.where(level > 0, ((s.images - s.low) / step).round() * step + s.low, s.images)
