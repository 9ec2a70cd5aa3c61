"""Training on what studies really are: sequences and classes that are missing, tiny and flat volumes, wild values."""

import numpy as np
import pytest
import torch
from helpers import SHAPE, geometry, small_project, write_case

from napari_segmatch.config import configure
from napari_segmatch.engine.data import ResidentPool
from napari_segmatch.engine.folds import CUT, divide
from napari_segmatch.engine.lacking import lacking, mirrored
from napari_segmatch.engine.prepare import Frame, _thinned, normalise, to_network
from napari_segmatch.engine.trainer import train
from napari_segmatch.events import Finished, Noted
from napari_segmatch.io import write_image, write_labels
from napari_segmatch.project import Project, ProjectPool
from napari_segmatch.types import Geometry, PoolSnapshot, Region

SHORT = {"steps": 4, "size": 32, "batch": 2, "features": 8, "evaluate_every": 2, "propose_every": 2, "proposals": 2}


def resident(project):
    pool = ResidentPool(ProjectPool(project), 32, torch.device("cpu"))
    change = pool.update()
    return pool, change.problems


def test_sequences_drop_out_only_where_some_are_missing(tmp_path):
    """With every sequence of every case nothing is touched; else some slices go without one, none without all."""
    with small_project(tmp_path, cases=2, sequences=("flair", "t1")) as project:
        pool, _ = resident(project)
        rows = torch.arange(8).repeat(50)
        assert torch.equal(pool.pictures(rows, torch.Generator()), pool.slices(rows))
        images, _ = write_case(tmp_path / "images" / "z", 9, sequences=("flair", "t1"))
        project.add_case("z", {"flair": images["flair"]})
        pool, _ = resident(project)
        shown = pool.pictures(rows, torch.Generator().manual_seed(0))
        there = shown.flatten(2).any(2)
        assert there.any(1).all()
        assert 0.05 < (~there).float().mean() < 0.25
        assert torch.equal(shown[there], pool.slices(rows)[there])
        again = pool.pictures(rows, torch.Generator().manual_seed(0))
        assert torch.equal(shown, again)
        alone = pool.pictures(torch.arange(8, 12).repeat(50), torch.Generator().manual_seed(0))
        assert alone.flatten(1).any(1).all(), "the only sequence that the case has went missing"


def test_a_case_without_a_sequence_trains(tmp_path):
    """Its channel is zeros; the run ends as it should."""
    with small_project(tmp_path, cases=2, sequences=("flair", "t1")) as project:
        images, _ = write_case(tmp_path / "images" / "z", 9, sequences=("flair", "t1"))
        project.add_case("z", {"t1": images["t1"]})
        events = list(train(ProjectPool(project), configure("quick", **SHORT), tmp_path / "run"))
    assert isinstance(events[-1], Finished)


def test_a_class_without_labels_is_named(tmp_path):
    """Training goes on, and says what it cannot learn."""
    with small_project(tmp_path, cases=2, classes=("core", "edema")) as project:
        assert resident(project)[1] == []
    images, mask = write_case(tmp_path / "one", 1)
    with Project.create(tmp_path / "p", ["core", "edema", "cyst"], ["flair"]) as project:
        project.add_case("a", images, mask, "all")
        events = list(train(ProjectPool(project), configure("quick", **SHORT), tmp_path / "run"))
    notes = [event.message for event in events if isinstance(event, Noted)]
    assert [note.split(":")[0] for note in notes] == [
        "No labelled slice shows edema",
        "No labelled slice shows cyst",
    ]


def test_labels_without_a_single_empty_slice_are_named(tmp_path):
    """What nobody marked cannot be learnt. Where whole cases are labelled there is no such slice: nothing to say."""
    with small_project(tmp_path, cases=2, labelled=0) as project:
        labels = project.mask("a")
        labels[:, 2:9, 2:9] = 1
        project.save_mask("a", labels, done=[1, 2])
        assert [problem.split(":")[0] for problem in resident(project)[1]] == ["Every labelled slice shows a structure"]
        project.save_mask("a", labels, done=range(len(labels)))
        assert resident(project)[1] == []
        labels[0] = 0
        project.save_mask("a", labels, done=[0], reopen=[3])
        assert resident(project)[1] == []


def test_of_several_classes_any_makes_a_slice_one_that_shows_something():
    """Neither class is on both slices, and yet no slice is without; one that shows none of them is enough."""
    pool = PoolSnapshot(1, {"a": (0, 1)}, {"a": (2,)})
    each = torch.tensor([[True, False], [False, True]])
    assert len(lacking(("core", "edema"), each, pool)) == 1
    assert lacking(("core", "edema"), torch.cat([each, torch.zeros(1, 2, dtype=torch.bool)]), pool) == []


@pytest.mark.parametrize(
    ("classes", "pair"),
    [
        (("vessel", "Left-Hippocampus", "Right-Hippocampus"), "Left-Hippocampus and Right-Hippocampus"),
        (("right kidney", "left kidney"), "left kidney and right kidney"),
        (("thalamus_R", "thalamus_L"), "thalamus_L and thalamus_R"),
        (("linke Niere", "rechte Niere"), "linke Niere and rechte Niere"),
        (("left kidney", "Kidney, right"), "left kidney and Kidney, right"),
        (("left kidney", "right lung"), ""),
        (("lesion", "leftover"), ""),
    ],
)
def test_a_left_and_a_right_structure_are_named(classes, pair):
    """Training mirrors slices unless it is told not to."""
    said = mirrored(classes, 0.5)
    assert len(said) == bool(pair) and all(note.startswith(f"{pair} are taken") for note in said)
    assert all("unless they differ in more than their side" in note for note in said)  # as the heart's ventricles
    assert mirrored(classes, 0.0) == []


def test_a_run_begins_with_a_word_on_left_and_right(tmp_path):
    """In the shell and in the window, before anybody waits for a model that cannot tell them apart."""
    with small_project(tmp_path, cases=2, labelled=2, classes=("left", "right")) as project:
        events = train(ProjectPool(project), configure("quick", **SHORT), tmp_path / "run")
        notes = [event.message for event in events if isinstance(event, Noted)]
        said = "left and right are taken for each other where training mirrors slices"
        assert sum(note.startswith(said) for note in notes) == 1


@pytest.mark.parametrize("shape", [(35, 50, 35), (1, 40, 40), (40, 1, 40), (3, 3, 3)])
def test_small_and_flat_volumes_train(tmp_path, shape):
    """Two classes that touch, isotropic voxels; a single slice; a cube of 27 voxels."""
    place = Geometry(shape, np.array([[0, 0, -1.0, 0], [0, 1.0, 0, 0], [1.0, 0, 0, 0], [0, 0, 0, 1]]))
    labels = np.zeros(shape, np.uint8)
    labels[:, shape[1] // 4 : shape[1] // 2, shape[2] // 4 :] = 1
    labels[:, shape[1] // 2 : -shape[1] // 4 or None, shape[2] // 4 :] = 2
    pixels = (labels * 50 + np.random.default_rng(0).normal(100, 5, shape)).astype(np.float32)
    write_image(tmp_path / "a.nii", pixels, place)
    write_labels(tmp_path / "m.nii", labels, place)
    with Project.create(tmp_path / "p", ["anterior", "posterior"], ["t1"]) as project:
        project.add_case("a", {"t1": tmp_path / "a.nii"}, tmp_path / "m.nii", "all", choices={"full": "keep"})
        assert project.case("a").shape == shape
        events = list(train(ProjectPool(project), configure("quick", **SHORT), tmp_path / "run"))
    assert isinstance(events[-1], Finished)


def test_fifty_classes_train(tmp_path):
    """As many as a project may have."""
    classes = [f"c{number}" for number in range(1, 51)]
    place = geometry((3, 40, 50))
    labels = np.zeros(place.shape, np.uint8)
    labels[:, 10:30] = np.arange(1, 51)
    write_image(tmp_path / "a.nii", labels.astype(np.float32), place)
    write_labels(tmp_path / "m.nii", labels, place)
    with Project.create(tmp_path / "p", classes, ["t1"]) as project:
        project.add_case("a", {"t1": tmp_path / "a.nii"}, tmp_path / "m.nii", "all")
        events = list(train(ProjectPool(project), configure("quick", **SHORT), tmp_path / "run"))
    assert isinstance(events[-1], Finished)


WILD = {
    "hot": lambda x: np.where(np.arange(x.size).reshape(x.shape) == 777, 1e9, x),
    "hot on black": lambda x: np.where(np.arange(x.size).reshape(x.shape) == 777, 1e9, np.where(x > 155, x, 0)),
    "huge": lambda x: x * 1e34,
    "tiny": lambda x: x * 1e-20,
    "offset": lambda x: x - 1e6,
}


@pytest.mark.parametrize("name", WILD)
def test_wild_values_leave_the_anatomy_visible(name):
    """Outliers, zeros nearly everywhere, very large and small numbers: spread near 1, and the lesion stands out."""
    rng = np.random.default_rng(0)
    image = rng.normal(100, 8, (8, 60, 60))
    image[3:5, 20:26, 20:26] += 60
    normal = normalise(WILD[name](image).astype(np.float32)[None])[0]
    assert np.isfinite(normal).all()
    lesion = normal[3:5, 21:25, 21:25].mean()
    assert lesion - np.median(normal) > 1
    assert np.abs(normal).max() < 100


def test_the_brightest_hundredth_of_a_body_is_not_clipped():
    """A small bright lesion keeps what it has more than all else."""
    image = np.random.default_rng(0).normal(100, 8, (8, 60, 60))
    image[3:5, 20:32, 20:32] += 60
    normal = normalise(image.astype(np.float32)[None])[0]
    assert normal[3:5, 21:31, 21:31].mean() > 4 > np.percentile(normal, 98)


def test_a_slice_is_padded_with_its_own_black():
    """Not with grey: the edge of the image would be one that is in no patient."""
    image = np.full((1, 2, 60, 30), 5, np.float32)
    image[0, :, 4:56, 4:26] = np.random.default_rng(0).normal(100, 8, (2, 52, 22))
    slices, frame = to_network(image, 64)
    left, right, *_ = frame._padding
    assert left > 4 and right > 4
    assert (slices[..., :left] == slices.min()).all() and (slices[..., -right:] == slices.min()).all()


def test_a_pixel_takes_the_label_that_covers_most_of_it():
    """Of 3 x 3 voxels that become one, four, two and three."""
    frame = Frame(96, 96, 0, 96, 0, 96, 32)
    nine = torch.tensor([[1, 1, 1], [1, 2, 2], [3, 3, 3]], dtype=torch.uint8)
    assert (frame.shrink_labels(nine.tile(1, 32, 32), 3)[0, 2:-2, 2:-2] == 1).all()


def test_constant_images_are_zeros():
    """No division by nothing, at any value; the slices that the network gets are finite."""
    for value in (0, 7, -3e30):
        pixels = np.full((2, 4, 20, 20), value, np.float32)
        assert not normalise(pixels).any()
        assert torch.isfinite(to_network(pixels, 32)[0]).all()


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (40, 256, 256), (150, 512, 512), (1, 64, 20_000), (35, 50, 35), (0, 8, 8)]
)
def test_percentiles_of_a_large_image_need_not_all_of_it(shape):
    """Small images keep every voxel; of a large one enough are left, from all over it."""
    image = np.broadcast_to(np.float32(1), shape)
    left = _thinned(image).size
    assert left == image.size if image.size <= 2**20 else 2**17 <= left <= 2**20


def _replace(project, case, folder, seed, shape=SHAPE):
    images, mask = write_case(folder, seed, shape)
    project.add_case(case, images, mask, "all")
    return to_network(project.volume(case).pixels, 32)[0]


@pytest.mark.parametrize("slices", [4, 12])
def test_a_case_that_is_added_anew_is_read_anew(tmp_path, slices):
    """Wrong files were added and are replaced while a run goes on: labels and images belong together."""
    with small_project(tmp_path, cases=4, labelled=2) as project:
        pool, _ = resident(project)
        images = _replace(project, "c", tmp_path / "new", 77, (slices, *SHAPE[1:]))
        change = pool.update()
        rows = pool.labelled[[pool.regions[row].case == "c" for row in pool.labelled]]
        assert change.problems == []
        assert len(rows) == slices
        assert torch.equal(pool.slices(rows), images)
        assert set(pool.folds[rows].tolist()) == {0}
        assert torch.equal(pool.labels_of(rows) > 0, pool.labels_of(rows) == 1)
        assert pool.update() is None


def test_a_case_that_could_not_be_read_is_tried_again_with_other_files(tmp_path):
    with small_project(tmp_path, cases=3, labelled=2) as project:
        bad = project.image_paths("c")["flair"]
        bad.write_bytes(b"x")
        pool, problems = resident(project)
        assert "c" in problems[0]
        _replace(project, "c", tmp_path / "new", 5)
        assert pool.update().problems == []
        assert "c" in pool.frames


def test_to_reopen_the_last_labelled_slice_does_not_end_a_run(tmp_path):
    """Somebody starts with one slice and mends it while the model trains: it goes on, and says so."""
    images, mask = write_case(tmp_path / "a", 0)
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        project.add_case("a", images, mask, [1])
        pool, _ = resident(project)
        before = pool.labels_of(pool.labelled)
        project.save_mask("a", project.mask("a"), reopen=[1])
        change = pool.update()
        assert [region.z for region in change.removed] == [1]
        assert "goes on with those that were" in change.problems[0]
        assert torch.equal(pool.labels_of(pool.labelled), before)
        project.save_mask("a", project.mask("a"), done=[1, 2])
        assert [region.z for region in pool.update().added] == [1, 2]
        assert len(pool.labelled) == 2


def test_a_case_that_goes_with_the_last_labels_is_not_proposed(tmp_path):
    """The run goes on with the labels that were, but asks nobody about what has left the project."""
    with small_project(tmp_path, cases=4, labelled=1) as project:
        pool, _ = resident(project)
        project.remove_case("a")
        project.remove_case("b")
        write_case(tmp_path / "new", 5)
        project.add_case("e", {"flair": tmp_path / "new" / "flair.nii.gz"})
        assert "goes on with those that were" in pool.update().problems[0]
        assert {pool.regions[row].case for row in pool.unlabelled.tolist()} == {"c", "d", "e"}
        assert pool.folds[pool.unlabelled].tolist() == [-1] * 3 * SHAPE[0] and len(pool.labelled) == SHAPE[0]


def test_two_studies_of_a_patient_are_on_one_side(tmp_path):
    """The critic is not examined on a head that it has learnt; and a patient counts once."""
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        for index in range(6):
            images, mask = write_case(tmp_path / str(index), index)
            project.add_case(f"case-{index}", images, mask, "all", patient=f"p{index % 3}")
        pool, _ = resident(project)
        sides = {patient: {pool.fold_of[f"case-{index}"] for index in (patient, patient + 3)} for patient in range(3)}
        assert sides == {0: {0}, 1: {1}, 2: {0}}
        assert pool.patients_labelled == 3


def _studies(folder, patients, labelled):
    """A project of a study of each of the patients (a letter each); the first so many are labelled."""
    project = Project.create(folder / "p", ["lesion"], ["flair"])
    for index, patient in enumerate(patients):
        images, mask = write_case(folder / str(index), index)
        project.add_case(f"case-{index}", images, mask, "all" if index < labelled else "none", patient=patient)
    return project


@pytest.mark.parametrize("at_once", [None, 1])
def test_a_study_without_labels_is_on_the_side_of_its_patient(tmp_path, at_once):
    """The teacher knows that head: whoever is examined on it must not follow him there. Strangers have no side."""
    with _studies(tmp_path, "xyzxyyw", 3) as project:
        pool = ResidentPool(ProjectPool(project), 32, torch.device("cpu"), at_once=at_once)
        pool.update()
        while pool.waiting:
            pool.read_on()
        sides = [pool.folds[pool.row(Region(f"case-{index}", 0))].item() for index in range(7)]
        assert sides == [0, 1, 0, 0, 1, 1, -1]


def test_a_study_of_a_patient_whose_first_one_was_removed_is_on_the_same_side(tmp_path):
    """What a side has learnt of a head it does not forget."""
    with _studies(tmp_path, "xyzx", 3) as project:
        pool, _ = resident(project)
        assert pool.fold_of["case-0"] == 0
        project.remove_case("case-0")
        project.save_slices("case-3", {1: project.mask("case-1")[1]}, done=[1])
        pool.update()
        assert pool.fold_of["case-3"] == 0


def test_a_later_study_of_the_patient_whose_first_was_cut_is_on_one_side():
    fold_of = {}
    divide(fold_of, {"a": "x"}, range(4))
    divide(fold_of, {"a": "x", "b": "x", "c": "y"}, range(12))
    assert fold_of["a"] == CUT + 2 and {fold_of["b"], fold_of["c"]} <= {0, 1}


def test_two_studies_of_the_only_patient_are_on_both_sides():
    """As a case that is alone is cut in two: without another side there would be no examination at all."""
    folds = {}
    divide(folds, {"a": "p", "b": "p"}, [0, 1])
    assert folds == {"a": 0, "b": 1}
    divide(folds, {"a": "p", "b": "p", "c": "q", "d": "q"}, [0, 1])
    assert folds["c"] == folds["d"]


def test_patients_count_as_far_as_their_labels_are_learnt(tmp_path):
    """One that cannot be read makes no fifth, and those whose labels a run goes on with are as many as before."""
    with small_project(tmp_path, cases=3, labelled=3) as project:
        project.image_paths("c")["flair"].write_bytes(b"x")
        pool, _ = resident(project)
        assert pool.patients_labelled == 2
        for case in ("a", "b", "c"):
            project.remove_case(case)
        assert "goes on with those that were" in pool.update().problems[0]
        assert pool.patients_labelled == 2


def test_what_lies_outside_of_the_body_is_no_label_in_the_corner(tmp_path):
    """A thin part in few slices is cut off: what is marked there cannot be learnt, which is said."""
    pixels = np.zeros((8, 64, 64), np.float32)
    pixels[:, 24:60, 8:56] = 100
    pixels[4, 2:6, 30:32] = 160
    truth = np.zeros(pixels.shape, np.uint8)
    truth[4, 2:6, 30:32] = 1
    truth[5, 30:40, 30:40] = 1
    grid = geometry(pixels.shape)
    write_image(tmp_path / "flair.nii.gz", pixels, grid)
    write_labels(tmp_path / "mask.nii.gz", truth, grid)
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        project.add_case("a", {"flair": tmp_path / "flair.nii.gz"}, tmp_path / "mask.nii.gz", "all")
        pool, problems = resident(project)
        again = []
        for z, row in ((5, 31), (3, 4)):  # nothing more is lost, and then another slice
            truth[z, row, 30:32] = 0 if z == 5 else 1
            project.save_slices("a", {z: truth[z]}, [z])
            again += [pool.update().problems]
    assert again[0] == [] and len(again[1]) == 1 and "on 2 slices lies outside" in again[1][0]
    assert not pool.labels_of(torch.tensor([4])).any()
    assert pool.labels_of(torch.tensor([5])).any()
    assert problems[0] == (
        "Case a: all that is marked on 1 slice lies outside of the body as training sees it, and is not learnt."
    )
