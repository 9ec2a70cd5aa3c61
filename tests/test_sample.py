"""The synthetic brain MRI: repeatable, varied, and shaped like the real thing."""

import numpy as np
import pytest

from napari_segmatch import Project, sample
from napari_segmatch.config import configure
from napari_segmatch.demo import _shown
from napari_segmatch.events import PseudoMask
from napari_segmatch.io import read_mask, read_volume
from napari_segmatch.types import Region


@pytest.fixture(scope="module")
def cases():
    return [sample.phantom(seed) for seed in range(16)]


def test_the_same_seed_gives_the_same_voxels():
    """Two calls agree bit for bit; another seed does not."""
    image, labels = sample.phantom(7)
    again, labels_again = sample.phantom(7)
    assert np.array_equal(image, again)
    assert np.array_equal(labels, labels_again)
    assert not np.array_equal(image, sample.phantom(8)[0])


@pytest.mark.parametrize("shape", [(16, 96, 96), (6, 40, 48), (3, 24, 24)])
def test_a_phantom_has_the_shape_asked_for(shape):
    """Float32 pixels that can be trained on, and labels 0 and 1."""
    image, labels = sample.phantom(2, shape)
    assert image.shape == labels.shape == shape
    assert (image.dtype, labels.dtype) == (np.float32, np.uint8)
    assert np.isfinite(image).all()
    assert image.min() >= 0
    assert set(np.unique(labels)) <= {0, 1}


def test_cases_differ_as_patients_do(cases):
    """Some have no lesion, about half of the slices show none, and sizes and scanner scale vary widely."""
    volumes = np.array([labels.mean() for _, labels in cases])
    slices = np.mean([labels.any(axis=(1, 2)) for _, labels in cases])
    scales = [np.percentile(image, 95) for image, _ in cases]
    assert 0 < (volumes == 0).sum() < 6
    assert 0.35 < slices < 0.75
    assert volumes.max() > 8 * volumes[volumes > 0].min()
    assert max(scales) > 3 * min(scales)


def test_lesions_are_bright_but_brightness_is_not_enough(cases):
    """A lesion stands out from its brain; yet no threshold finds it, for fat and artefacts are as bright."""
    best = []
    for image, labels in cases:
        if not labels.any():
            continue
        brain = image > 0.5 * np.percentile(image, 80)
        assert image[labels == 1].mean() > np.median(image[brain & (labels == 0)])
        thresholds = np.percentile(image[brain], np.arange(50, 100, 2))
        overlaps = [(((image > t) & (labels == 1)).sum(), (image > t).sum()) for t in thresholds]
        best.append(max(2 * both / (found + labels.sum()) for both, found in overlaps))
    assert np.mean(best) < 0.5


def test_the_geometry_is_an_axial_series():
    """4 x 2 x 2 mm; z goes up, y to the back, x to the patient's left, around the centre."""
    geometry = sample.geometry()
    assert np.allclose(geometry.spacing, (4, 2, 2))
    assert np.allclose(geometry.affine @ (7.5, 47.5, 47.5, 1), (0, 0, 0, 1))
    right, front, up = (geometry.affine @ (15, 0, 0, 1))[:3]
    assert min(right, front, up) > 0


def test_cases_on_disk_are_the_phantom(tmp_path):
    """Files hold the same voxels on the same grid, and ``first`` continues where another call ended."""
    (folder,) = sample.write_cases(tmp_path, 1, seed=3, first=1)
    assert folder.name == "case-02"
    image, labels = sample.phantom(30_001)
    volume = read_volume(folder / "flair.nii.gz")
    assert np.array_equal(volume.pixels[0], image)
    assert volume.geometry.same_grid(sample.geometry())
    assert np.array_equal(read_mask(folder / "mask.nii.gz", volume.geometry, classes=1).labels, labels)


def test_a_project_of_phantoms_has_labelled_and_unlabelled_cases(tmp_path):
    """The labelled cases are the first that show lesion; images stay in the project's folder."""
    with sample.make_project(tmp_path / "brain", cases=4, labelled=2, seed=1) as project:
        labelled = [case.id for case in project.cases if case.labelled]
        assert len(project.cases) == 4
        assert all(project.image_paths(case.id)["flair"].is_file() for case in project.cases)
    masks = {path.parent.name: read_mask(path) for path in sorted(tmp_path.rglob("mask.nii.gz"))}
    assert labelled == [case for case, mask in masks.items() if mask.labels.any()][:2]


def test_the_demo_s_picture_shows_masks_before_empty_slices(project):
    """An empty slice of which the model is sure has the highest score, and tells nothing."""
    with Project.open(project) as opened:
        shape = opened.case("case-02").shape[1:]
        mask = np.zeros(shape, np.uint8)
        mask[30:40, 30:40] = 1
        shown = [(0.99, mask * 0), (0.3, mask), (0.98, mask * 0), (0.6, mask)]
        run = opened.new_run(configure("quick"))
        masks = [PseudoMask(Region("case-02", z), m, s, "rejected") for z, (s, m) in enumerate(shown)]
        opened.add_proposals(run, 100, 1, masks)
        captions = [caption.split("\n")[1] for _, _, caption in _shown(opened)]
    assert captions == ["60%, unsure", "30%, unsure", "99%, unsure", "98%, unsure"]
