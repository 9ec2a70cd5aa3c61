"""Where pixels go: every weak and strong view is one 3 x 3 matrix per sample.

Coordinates are (x, y, 1) with -1 and 1 at the outer edges of a square image (``align_corners=False``). A
matrix T moves the point p of the image to T p in its view. So views compose by multiplication, and
``T1 @ inverse(T2)`` takes the frame of the strong view to that of the weak one without a second resampling.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

INSIDE = 1 - 1e-3
"""A warped image of ones above this value marks pixels that were wholly inside the field of view."""


def identity(n: int) -> Tensor:
    """Return n matrices that move nothing, (n, 3, 3)."""
    return torch.eye(3).repeat(n, 1, 1)


def weak(n: int, size: int, flip: float, shift: float, generator: torch.Generator) -> Tensor:
    """Draw T1 of the paper: a random left-right flip and a random shift by whole pixels, (n, 3, 3).

    Whole pixels and flips are exact: a weak view holds the same grey values as its image.
    """
    matrix = identity(n)
    flipped = torch.rand(n, generator=generator) < flip
    matrix[:, 0, 0] = torch.where(flipped, -1.0, 1.0)
    reach = int(shift * size)
    pixels = torch.randint(-reach, reach + 1, (n, 2), generator=generator)
    matrix[:, :2, 2] = pixels * (2 / size)
    return matrix


def affine(angle: Tensor, scale: Tensor, shear: Tensor, move: Tensor) -> Tensor:
    """Build matrices (n, 3, 3) from angle (n,) in radians, scale (n,), shear (n, 2) and move (n, 2)."""
    n = len(angle)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    turn = torch.stack([cos, -sin, sin, cos], 1).view(n, 2, 2)
    lean = torch.eye(2).repeat(n, 1, 1)
    lean[:, 0, 1], lean[:, 1, 0] = shear[:, 0], shear[:, 1]
    matrix = identity(n)
    matrix[:, :2, :2] = turn @ lean
    matrix[:, :2, 2] = move
    return matrix


def warp(image: Tensor, matrix: Tensor, mode: str = "bilinear", padding: str = "border") -> Tensor:
    """Resample images (n, c, h, w) into the views that ``matrix`` (n, 3, 3) leads to."""
    back = torch.linalg.inv(matrix)[:, :2].to(image.device, torch.float32)
    grid = F.affine_grid(back, list(image.shape), align_corners=False)
    return F.grid_sample(image.float(), grid, mode=mode, padding_mode=padding, align_corners=False)


def inside(matrix: Tensor, size: int, device: torch.device | str = "cpu") -> Tensor:
    """Mark the pixels of a view that show something of the image, (n, size, size) of 0 and 1."""
    ones = torch.ones(len(matrix), 1, size, size, device=device)
    return (warp(ones, matrix, padding="zeros")[:, 0] > INSIDE).float()


def seen_after(matrix: Tensor, size: int, device: torch.device | str = "cpu") -> Tensor:
    """Mark the pixels of an image that survive into the view and back, (n, size, size) of 0 and 1.

    The consistency loss is taken in the weak view's frame. A pixel there that the strong view pushed out of
    its field says nothing about the prediction, and gets weight 0.
    """
    shown = inside(matrix, size, device)[:, None]
    return (warp(shown, torch.linalg.inv(matrix), padding="zeros")[:, 0] > INSIDE).float()
