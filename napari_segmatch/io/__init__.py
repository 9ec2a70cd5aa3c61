"""Files of the world to volumes and masks, and back. The only place that permutes axes."""

from .apart import end_child, read_apart
from .datasets import find_dataset, labels_beside
from .dicom_export import Code, encode_segmentation, lies_on
from .dicom_files import holds_dicom, scan_dicom, study_of
from .dicom_headers import is_dicom
from .dicom_seg import is_segmentation
from .exported import (
    DECISION_TABLE,
    PARTLY,
    SLICE_TABLE,
    UNCHECKED,
    closed,
    read_truth,
    slice_index,
    unchecked_in,
    unchecked_slices,
)
from .labels import check_classes
from .nifti import decode_labels
from .orientation import unknown_geometry
from .patterns import Found, FoundCase, bad_name, find_cases, parse_image_option
from .reading import SUFFIXES, looks_like_mask, read_mask, read_volume, strip_suffix
from .sequences import describe, first_present, read_sequences
from .source import TOPICS, Choices, ask, of_sequence, with_answers
from .tables import LABEL_TABLE, LabelTable, bids_table, itksnap_table, read_codes, read_label_table, slicer_table
from .writing import WRITABLE, encode_image, encode_labels, encode_segments, write_image, write_labels

__all__ = [
    "DECISION_TABLE",
    "LABEL_TABLE",
    "PARTLY",
    "SLICE_TABLE",
    "SUFFIXES",
    "TOPICS",
    "UNCHECKED",
    "WRITABLE",
    "Choices",
    "Code",
    "Found",
    "FoundCase",
    "LabelTable",
    "ask",
    "bad_name",
    "bids_table",
    "check_classes",
    "closed",
    "decode_labels",
    "describe",
    "encode_image",
    "encode_labels",
    "encode_segmentation",
    "encode_segments",
    "end_child",
    "find_cases",
    "find_dataset",
    "first_present",
    "holds_dicom",
    "is_dicom",
    "is_segmentation",
    "itksnap_table",
    "labels_beside",
    "lies_on",
    "looks_like_mask",
    "of_sequence",
    "parse_image_option",
    "read_apart",
    "read_codes",
    "read_label_table",
    "read_mask",
    "read_sequences",
    "read_truth",
    "read_volume",
    "scan_dicom",
    "slice_index",
    "slicer_table",
    "strip_suffix",
    "study_of",
    "unchecked_in",
    "unchecked_slices",
    "unknown_geometry",
    "with_answers",
    "write_image",
    "write_labels",
]
