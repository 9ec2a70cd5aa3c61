"""Synthetic cases and a project of them, so that everything can be tried and tested without a download."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import ProjectError
from .io import read_mask, write_image, write_labels
from .phantom import phantom
from .types import Geometry

if TYPE_CHECKING:
    from .project import Project

FIELD_OF_VIEW = (64.0, 192.0, 192.0)
"""Extent in mm along (z, y, x), whatever the number of voxels."""


def geometry(shape: tuple[int, int, int] = (16, 96, 96)) -> Geometry:
    """Geometry of an axial series: z goes up, y to the back, x to the patient's left."""
    spacing = np.divide(FIELD_OF_VIEW, shape)
    directions = np.array([[0, 0, -1], [0, -1, 0], [1, 0, 0]], float)
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    return Geometry(shape, affine)


def write_cases(folder: str | Path, count: int, seed: int = 0, first: int = 0) -> list[Path]:
    """Write ``count`` cases as ``case-01/flair.nii.gz`` and ``mask.nii.gz``; return their folders.

    ``first`` is how many cases of the same seed to leave out before, so that two calls share none.
    """
    written = []
    for number in range(first, first + count):
        case = Path(folder) / f"case-{number + 1:02d}"
        if case.exists():
            raise ProjectError(f"{case.name} is already in {case.parent.name}: choose another folder for the samples.")
        case.mkdir(parents=True)
        image, labels = phantom(10_000 * seed + number)
        write_image(case / "flair.nii.gz", image, geometry(image.shape))
        write_labels(case / "mask.nii.gz", labels, geometry(labels.shape))
        written.append(case)
    return written


def make_project(path: str | Path, cases: int = 12, labelled: int = 2, seed: int = 0) -> Project:
    """Create a project of synthetic cases; the first ``labelled`` ones that show lesion bring their mask."""
    from .project import Project

    project = Project.create(path, classes=["lesion"], sequences=["flair"])
    for case in write_cases(Path(path) / "images", cases, seed):
        teaches = labelled > 0 and bool(read_mask(case / "mask.nii.gz").labels.any())
        labelled -= teaches
        project.add_case(
            case.name,
            images={"flair": case / "flair.nii.gz"},
            mask=case / "mask.nii.gz" if teaches else None,
            labelled="all" if teaches else "none",
        )
    return project
