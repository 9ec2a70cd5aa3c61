"""Small projects and pools for tests."""

from pathlib import Path

import numpy as np

from napari_segmatch.io import write_image, write_labels
from napari_segmatch.project import Project
from napari_segmatch.types import Geometry

SHAPE = (4, 32, 40)
LGG = Path(__file__).parents[2] / "shared" / "lgg"


def geometry(shape=SHAPE):
    affine = np.array([[0, 0, -1.0, 10], [0, -1.0, 0, 20], [5.0, 0, 0, 30], [0, 0, 0, 1]])
    return Geometry(shape, affine)


def labels(seed=0, shape=SHAPE, classes=1):
    """A square of each class on every slice but the first."""
    rng = np.random.default_rng(seed)
    out = np.zeros(shape, np.uint8)
    for z in range(1, shape[0]):
        for label in range(1, classes + 1):
            y, x = rng.integers(0, shape[1] - 10), rng.integers(0, shape[2] - 10)
            out[z, y : y + 9, x : x + 9] = label
    return out


def write_case(folder, seed=0, shape=SHAPE, classes=1, sequences=("flair",)):
    """Write images in which the structures are bright, and their mask; returns images and mask."""
    truth = labels(seed, shape, classes)
    rng = np.random.default_rng(seed + 100)
    images = {}
    for name in sequences:
        pixels = (100 + 60 * truth + rng.normal(0, 8, shape)).astype(np.float32)
        images[name] = Path(folder) / name / "image.nii.gz" if len(sequences) > 1 else Path(folder) / f"{name}.nii.gz"
        images[name].parent.mkdir(parents=True, exist_ok=True)
        write_image(images[name], pixels, geometry(shape))
    mask = Path(folder) / "mask.nii.gz"
    write_labels(mask, truth, geometry(shape))
    return images, mask


def small_project(folder, cases=4, labelled=2, classes=("lesion",), sequences=("flair",), validation=0):
    """A project of tiny cases a, b, c …; the first ones labelled, the last ones frozen for validation."""
    project = Project.create(Path(folder) / "project", list(classes), list(sequences))
    for index in range(cases):
        name = chr(ord("a") + index)
        images, mask = write_case(Path(folder) / "images" / name, index, classes=len(classes), sequences=sequences)
        held_out = index >= cases - validation
        project.add_case(name, images, mask, "all" if index < labelled or held_out else "none", validation=held_out)
    return project
