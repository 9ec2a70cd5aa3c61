"""How exported masks are laid out for the programs that take them up."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ProjectError
from ..io import (
    LABEL_TABLE,
    Code,
    bids_table,
    encode_image,
    encode_labels,
    encode_segmentation,
    encode_segments,
    first_present,
    is_dicom,
    itksnap_table,
    lies_on,
    of_sequence,
    slicer_table,
)
from ..types import NOT_ANNOTATED, Case

if TYPE_CHECKING:
    from . import Project

_GENERATOR = "napari-segmatch, research use only"
_BIDS = re.compile(r"sub-[a-zA-Z0-9]+(_ses-[a-zA-Z0-9]+)?(_(acq|ce|rec|dir|run|echo)-[a-zA-Z0-9]+)*")
_BIDS_SESSION = re.compile(r"sub-[a-zA-Z0-9]+(_ses-[a-zA-Z0-9]+)?(?=_)")

BIDS_MASK = "_desc-segmatch_dseg"
"""How the names of our masks end in BIDS."""


@dataclass(frozen=True, eq=False)
class Finished:
    """A case ready to leave the project.

    Attributes
    ----------
    labels
        (z, y, x) uint8; 255 where nobody has judged, slices that are not finished included.
    note
        Where they are from.
    proposed
        Whether some are proposals that nobody has checked.
    ids
        Of all cases of the project: no two may be written to one file.
    """

    case: Case
    labels: np.ndarray
    note: str
    proposed: bool
    ids: tuple[str, ...]

    def filled(self, label: int = 0) -> np.ndarray:
        """Return the labels with another one than 255, by default background, where nobody has judged."""
        return np.where(self.labels == NOT_ANNOTATED, np.uint8(label), self.labels)


Files = Iterator[tuple[str, bytes]]


def _nifti(project: Project, item: Finished, codes: Mapping[str, Code]) -> Files:
    yield f"{item.case.id}.nii.gz", encode_labels(item.filled(), item.case.geometry, item.note)


def _nrrd(project: Project, item: Finished, codes: Mapping[str, Code]) -> Files:
    labels = item.filled()
    yield f"{item.case.id}.seg.nrrd", encode_segments(labels, item.case.geometry, project.classes, project.colours)


def _dicom_seg(project: Project, item: Finished, codes: Mapping[str, Code]) -> Files:
    """A segmentation of the slices that the mask was drawn on; a sequence that was resampled has others."""
    case, images = item.case, project.image_paths(item.case.id)
    project.volume(case.id)  # a study that has taken the place of its files would be named as what was drawn on
    said, names = project.reading(case.id).choices, [name for name in project.sequences if name in images]
    choices = {name: of_sequence(said, name) for name in names if images[name].is_dir() or is_dicom(images[name])}
    if not choices:
        raise ProjectError(f"Case {case.id} is not from DICOM, so no DICOM segmentation can refer to it: export NIfTI.")
    rows = project.store.rows("SELECT DISTINCT origin FROM mask_version WHERE case_id = ?", case.id)
    machine = item.proposed or any(row["origin"] == "proposal" for row in rows)
    algorithm = ("SEMIAUTOMATIC" if case.labelled else "AUTOMATIC") if machine else "MANUAL"
    name = next((name for name in choices if lies_on(images[name], case.geometry, choices[name])), next(iter(choices)))
    creator = (case.editor or "") if case.labelled else ""
    data = encode_segmentation(images[name], item.filled(), case.geometry, project.classes, algorithm,  # type: ignore[arg-type]
                               codes, choices[name], creator)  # fmt: skip
    yield f"{case.id}.dcm", data


def _nnunet(project: Project, item: Finished, codes: Mapping[str, Code]) -> Files:
    """Images and labels for nnU-Net; what nobody has judged carries its label to ignore."""
    labels = item.filled(len(project.classes) + 1)
    for channel, pixels in enumerate(project.volume(item.case.id).pixels):
        yield f"imagesTr/{item.case.id}_{channel:04d}.nii.gz", encode_image(pixels, item.case.geometry)
    yield f"labelsTr/{item.case.id}.nii.gz", encode_labels(labels, item.case.geometry, item.note)


@lru_cache(maxsize=1)
def _bids_names(ids: tuple[str, ...]) -> dict[str, str]:
    """Return for each case a name as BIDS has them, ``sub-01_ses-2``, that is no other case's.

    An id that is one stays. Of one that begins like one this part is taken; of any other the letters and digits, since
    BIDS allows nothing else in a subject's name. What is not the case's alone then gets some digits that tell it.
    """
    names = {id: _bids_name(id) for id in ids}
    taken = Counter(names.values())
    for id, name in names.items():
        if id != name and (taken[name] > 1 or name == "sub-"):
            link = "_acq-" if id.startswith(f"{name}_") else ""  # another scan of one subject, or another subject
            names[id] = f"{name}{link}{hashlib.sha256(id.encode()).hexdigest()[:8]}"
    return names


def _bids_name(id: str) -> str:
    if _BIDS.fullmatch(id):
        return id
    start = _BIDS_SESSION.match(id)
    return start[0] if start else f"sub-{re.sub('[^a-zA-Z0-9]', '', id)}"


def _bids(project: Project, item: Finished, codes: Mapping[str, Code]) -> Files:
    name = _bids_names(item.ids)[item.case.id]
    folders = [word for word in name.split("_") if word.startswith(("sub-", "ses-"))]
    name = "/".join([*folders, "anat", f"{name}{BIDS_MASK}"])
    yield f"{name}.nii.gz", encode_labels(item.filled(), item.case.geometry, item.note)
    yield f"{name}.tsv", bids_table(project.classes, project.colours).encode()


def _monai_label(project: Project, item: Finished, codes: Mapping[str, Code]) -> Files:
    image = first_present(project.volume(item.case.id).pixels)
    yield f"{item.case.id}.nii.gz", encode_image(image, item.case.geometry)
    yield f"labels/final/{item.case.id}.nii.gz", encode_labels(item.filled(), item.case.geometry, item.note)


LAYOUTS: dict[str, Callable[[Project, Finished, Mapping[str, Code]], Files]] = {
    "nifti": _nifti,
    "nrrd": _nrrd,
    "dicom-seg": _dicom_seg,
    "nnunet": _nnunet,
    "bids": _bids,
    "monai-label": _monai_label,
}
"""Name to what yields the files of one case: a path in the folder, and its bytes."""


def descriptions(project: Project, layout: str, cases: Sequence[str]) -> dict[str, str]:
    """Return the files that describe an export as a whole: label tables, and what a layout asks for."""
    about: dict[str, Any] = {}
    names = {name: number for number, name in enumerate(project.classes, 1)}
    if layout == "nnunet":
        about["dataset.json"] = {
            "channel_names": {str(number): name for number, name in enumerate(project.sequences)},
            "labels": {"background": 0, **names, "ignore": len(names) + 1},
            "numTraining": len(cases),
            "file_ending": ".nii.gz",
            "description": _GENERATOR,
        }
    elif layout == "bids":
        about["dataset_description.json"] = {
            "Name": "SegMatch segmentations", "BIDSVersion": "1.9.0", "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "napari-segmatch", "Description": _GENERATOR}],
        }  # fmt: skip
    elif layout == "monai-label":
        image, names_told = {"ext": ".nii.gz", "info": {}}, [{"name": name, "idx": n} for name, n in names.items()]
        label = {"ext": ".nii.gz", "info": {"label_info": names_told}}  # as its plug-in of 3D Slicer writes it
        about["datastore_v2.json"] = {
            "name": "SegMatch", "description": _GENERATOR,
            "objects": {case: {"image": image, "labels": {"final": label}} for case in cases},
        }  # fmt: skip
    tables = {
        LABEL_TABLE: itksnap_table(project.classes, project.colours),
        "labels-slicer.ctbl": slicer_table(project.classes, project.colours),
    }
    return {name: json.dumps(value, indent=2) + "\n" for name, value in about.items()} | tables
