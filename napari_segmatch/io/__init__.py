"""Files of the world to volumes and masks, and back. The only place that permutes axes."""

from .nifti import decode_labels, encode_labels, read_mask, read_volume, write_image, write_labels
from .orientation import unknown_geometry
from .patterns import FoundCase, find_cases, parse_image_option
from .sequences import describe, read_sequences

__all__ = [
    "FoundCase",
    "decode_labels",
    "describe",
    "encode_labels",
    "find_cases",
    "parse_image_option",
    "read_mask",
    "read_sequences",
    "read_volume",
    "unknown_geometry",
    "write_image",
    "write_labels",
]
