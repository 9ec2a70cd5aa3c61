"""Files of the world to volumes and masks, and back. The only place that permutes axes."""

from .nifti import read_mask, read_volume, write_image, write_labels
from .patterns import FoundCase, find_cases, parse_image_option

__all__ = [
    "FoundCase",
    "find_cases",
    "parse_image_option",
    "read_mask",
    "read_volume",
    "write_image",
    "write_labels",
]
