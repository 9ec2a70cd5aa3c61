"""Files of the world to volumes and masks, and back. The only place that permutes axes."""

from .orientation import unknown_geometry
from .patterns import FoundCase, find_cases, parse_image_option
from .reading import SUFFIXES, read_mask, read_volume, strip_suffix
from .sequences import describe, read_sequences
from .source import Choices, ask
from .writing import WRITABLE, encode_labels, write_image, write_labels

__all__ = [
    "SUFFIXES",
    "WRITABLE",
    "Choices",
    "FoundCase",
    "ask",
    "describe",
    "encode_labels",
    "find_cases",
    "parse_image_option",
    "read_mask",
    "read_sequences",
    "read_volume",
    "strip_suffix",
    "unknown_geometry",
    "write_image",
    "write_labels",
]
