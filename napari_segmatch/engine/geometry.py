"""Where pixels go: every weak and strong view is one 3 x 3 matrix per sample.

Coordinates are (x, y, 1) with -1 and 1 at the outer edges of a square image (``align_corners=False``). A
matrix T moves the point p of the image to T p in its view. So views compose by multiplication, and
``T1 @ inverse(T2)`` takes the frame of the strong view to that of the weak one without a second resampling.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SLACK = 2e-3
"""A pixel may leave the field of view by so many of its halves: matrices are rounded."""


def identity(n: int, device: torch.device | str = "cpu") -> Tensor:
    """Return n matrices that move nothing, (n, 3, 3)."""
    return torch.eye(3, device=device).repeat(n, 1, 1)


def inverse(matrix: Tensor) -> Tensor:
    """Return the way back (n, 3, 3). No view has none, and a GPU need not be asked."""
    return torch.linalg.inv_ex(matrix).inverse


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
    lean = torch.eye(2, device=angle.device).repeat(n, 1, 1)
    lean[:, 0, 1], lean[:, 1, 0] = shear[:, 0], shear[:, 1]
    matrix = identity(n, angle.device)
    matrix[:, :2, :2] = turn @ lean
    matrix[:, :2, 2] = move
    return matrix


def warp(image: Tensor, matrix: Tensor, mode: str = "bilinear", padding: str = "border") -> Tensor:
    """Resample images (n, c, h, w) into the views that ``matrix`` (n, 3, 3) leads to."""
    height, width = image.shape[2:]
    grid = _sent_to(inverse(matrix), height, width, image.device).movedim(1, -1)
    return F.grid_sample(image.float(), grid, mode=mode, padding_mode=padding, align_corners=False)


def inside(matrix: Tensor, size: int, device: torch.device | str = "cpu") -> Tensor:
    """Mark the pixels of a view that show something of the image, (n, size, size) of 0 and 1."""
    return _stays(inverse(matrix), size, device)


def seen_after(matrix: Tensor, size: int, device: torch.device | str = "cpu") -> Tensor:
    """Mark the pixels of an image that the view shows, (n, size, size) of 0 and 1.

    The consistency loss is taken in the weak view's frame. A pixel there that the strong view pushed out of
    its field says nothing about the prediction, and gets weight 0.
    """
    return _stays(matrix, size, device)


def _sent_to(matrix: Tensor, height: int, width: int, device: torch.device | str) -> Tensor:
    """Return where the middle of each pixel is sent, x and y from -1 to 1 over the image: (n, 2, height, width)."""
    x = (torch.arange(width, device=device) + 0.5) * (2 / width) - 1
    y = (torch.arange(height, device=device)[:, None] + 0.5) * (2 / height) - 1
    columns = matrix[:, :2, :, None, None].to(device, torch.float32)
    return columns[:, :, 0] * x + (columns[:, :, 1] * y + columns[:, :, 2])


def _stays(matrix: Tensor, size: int, device: torch.device | str) -> Tensor:
    """Mark the pixels that stay between the middles of the outermost ones, (n, size, size) of 0 and 1."""
    return (_sent_to(matrix, size, size, device).abs().amax(1) <= 1 - (1 - SLACK) / size).float()
