"""Pictures of slices with outlined masks, for reports and lists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageColor, ImageDraw
from skimage.segmentation import find_boundaries
from skimage.transform import resize

from .palette import EVERY_COLOUR


def outlined(image: np.ndarray, labels: np.ndarray, side: int = 160) -> np.ndarray:
    """Draw a slice (y, x) in grey with the outlines of its labels (y, x); returns (side, side, 3) uint8."""
    low, high = np.percentile(image, [1, 99.5])
    scale = side / max(image.shape)
    shape = [max(1, round(length * scale)) for length in image.shape]
    grey = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    small = resize(grey, shape, anti_aliasing=True)
    canvas = np.zeros((side, side, 3), np.uint8)
    top, left = (side - shape[0]) // 2, (side - shape[1]) // 2
    tile = (small[..., None] * 255).astype(np.uint8).repeat(3, 2)
    large = resize(labels, shape, order=0, preserve_range=True, anti_aliasing=False).astype(np.uint8)
    for label in np.unique(large[(large > 0) & (large < 255)]):
        colour = EVERY_COLOUR[(int(label) - 1) % len(EVERY_COLOUR)]
        tile[find_boundaries(large == label, mode="inner")] = ImageColor.getrgb(colour)
    canvas[top : top + shape[0], left : left + shape[1]] = tile
    return canvas


def contact_sheet(tiles: Sequence[np.ndarray], captions: Sequence[str], columns: int = 6) -> Image.Image:
    """Lay out square tiles (side, side, 3) with a caption under each."""
    side, caption = tiles[0].shape[0], 30
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * (side + 6) + 6, rows * (side + caption) + 6), (32, 34, 38))
    draw = ImageDraw.Draw(sheet)
    for index, (tile, text) in enumerate(zip(tiles, captions, strict=True)):
        x, y = 6 + index % columns * (side + 6), 6 + index // columns * (side + caption)
        sheet.paste(Image.fromarray(tile), (x, y))
        draw.multiline_text((x, y + side + 2), text, fill=(220, 220, 220), spacing=1)
    return sheet
