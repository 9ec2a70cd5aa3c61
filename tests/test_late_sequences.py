"""A sequence that comes later, to a case that people have worked on."""

import numpy as np
import pytest
import torch
from dicom_series import plane, series
from helpers import SHAPE, geometry, write_case
from test_adding import segmatch

from napari_segmatch.engine.data import ResidentPool
from napari_segmatch.errors import ImportProblem, ProjectError, Question
from napari_segmatch.io import FoundCase, write_image
from napari_segmatch.project import Project, ProjectPool, late
from napari_segmatch.project.rebuild import rebuild
from napari_segmatch.session import Session
from napari_segmatch.types import Geometry


def worked_on(folder, sequences=("t1", "flair"), first="flair"):
    """A project whose case has one of two sequences, and labels; returns it with the images of both."""
    images, mask = write_case(folder / "images" / "a", 0, sequences=("t1", "flair"))
    project = Project.create(folder / "project", ["lesion"], list(sequences))
    project.add_case("a", {first: images[first]}, mask, [1, 2])
    return project, images


def test_its_labels_and_other_images_stay(tmp_path):
    """Also in the database that is made anew from the audit trail."""
    project, images = worked_on(tmp_path)
    with project:
        before, mask = project.case("a"), project.mask("a")
        project.add_case("a", images, images["t1"], "all", choices={"frame": "0"})
    rebuild(project.path, "project.db")
    with Project.open(project.path) as project:
        after = project.case("a")
        assert set(after.sequences) == {"t1", "flair"}
        assert (after.version, after.labelled) == (before.version, (1, 2))
        assert np.array_equal(project.mask("a"), mask)
        assert all(channel.any() for channel in project.volume("a").pixels)
        assert "t1 came later; masks and other images stayed as they were." in project.reading("a").notes


def test_what_is_said_of_it_is_not_said_of_the_others(tmp_path):
    project, images = worked_on(tmp_path)
    with project:
        project.add_case("a", {"t1": images["t1"]}, choices={"frame": "0", "twin": "add"})
        assert project.reading("a").choices == {"frame:t1": "0", "onto": "flair"}


def test_it_is_resampled_onto_the_grid_of_the_masks(tmp_path):
    """Though it is the first among the project's sequences, whose grid a new case has."""
    project, _ = worked_on(tmp_path)
    other = Geometry((8, 16, 20), geometry().affine @ np.diag([0.5, 2, 2, 1]))
    write_image(tmp_path / "t1.nii.gz", np.random.default_rng(0).random(other.shape, np.float32), other)
    with project:
        with pytest.raises(Question, match=r"t1 .* does not lie on the grid of flair") as asked:
            project.add_case("a", {"t1": tmp_path / "t1.nii.gz"})
        assert project.case("a").sequences == ("flair",)
        project.add_case("a", {"t1": tmp_path / "t1.nii.gz"}, choices={asked.value.topic: "resample"})
        volume = project.volume("a")
        assert volume.geometry.same_grid(project.case("a").geometry) and volume.pixels.shape[1:] == SHAPE
        assert volume.pixels[0].any()


def test_a_training_that_runs_reads_the_case_anew(tmp_path):
    """Its slices are other rows from then on, with the same labels and both sequences."""
    project, images = worked_on(tmp_path)
    with project:
        pool = ResidentPool(ProjectPool(project), 32, torch.device("cpu"))
        pool.update()
        before, told = pool.labels_of(pool.labelled), pool.slices(pool.labelled)
        project.add_case("a", {"t1": images["t1"]})
        assert pool.update() is not None
        assert torch.equal(pool.labels_of(pool.labelled), before)
        after = pool.slices(pool.labelled)
        assert torch.equal(after[:, 1], told[:, 1]) and not told[:, 0].any() and after[:, 0].any()


def test_nothing_changes_where_the_images_are_not_what_they_were(tmp_path):
    project, images = worked_on(tmp_path)
    write_image(images["flair"], np.ones(SHAPE, np.float32), geometry())
    with project:
        with pytest.raises(ImportProblem, match="have changed since it was added"):
            project.add_case("a", {"t1": images["t1"]})
        assert project.case("a").sequences == ("flair",)


def test_a_broken_file_leaves_the_case_as_it_is(tmp_path):
    project, images = worked_on(tmp_path)
    images["t1"].write_bytes(b"rubbish")
    with project:
        with pytest.raises(ImportProblem):
            project.add_case("a", images)
        with pytest.raises(ProjectError, match="already a case"):
            project.add_case("a", {"flair": images["flair"]})
        assert project.case("a").problem is None and project.case("a").labelled == (1, 2)


def test_who_comes_second_is_told(tmp_path, monkeypatch):
    """Another program adds the same sequence while the files are read."""
    project, images = worked_on(tmp_path)
    read = late.read_apart

    def overtaken(*given, **more):
        monkeypatch.setattr(late, "read_apart", read)
        with Project.open(project.path) as other:
            other.add_case("a", {"t1": images["t1"]})
        return read(*given, **more)

    monkeypatch.setattr(late, "read_apart", overtaken)
    with project:
        with pytest.raises(ProjectError, match="changed by somebody else meanwhile"):
            project.add_case("a", {"t1": images["t1"]})
        assert set(project.case("a").sequences) == {"t1", "flair"}


@pytest.mark.parametrize("labelled", ["none", "all", [1]])
def test_a_mask_that_comes_along_is_not_taken_and_that_is_said(tmp_path, labelled):
    """The case keeps its own; where no labels were asked for, nothing is said of them."""
    project, images = worked_on(tmp_path)
    with project:
        before = project.case("a").version
        project.add_case("a", {"t1": images["t1"]}, tmp_path / "images" / "a" / "mask.nii.gz", labelled)
        assert project.case("a").version == before
        said = "The mask file that came along was not taken." in project.reading("a").notes
        assert said == (labelled != "none")


def test_the_shell_adds_it_and_says_so(tmp_path):
    project, _ = worked_on(tmp_path)
    project.close()
    add = ("add", project.path, tmp_path / "images", "--image", "t1={case}/t1/image.nii.gz")
    done = segmatch(*add)
    assert done.returncode == 0 and "t1 came later" in done.stderr and "used without it" not in done.stdout
    assert "1 of 1 case added; 1 has labels" in done.stdout
    again = segmatch(*add)
    assert "already in the project with labels or proposals, left as it is" in again.stderr


def test_the_window_shows_it(tmp_path):
    project, images = worked_on(tmp_path)
    project.close()
    session, shown, said = Session(), [], []
    session.replaced.connect(shown.append)
    session.message.connect(lambda text, bad: said.append(text))
    session.open_project(project.path)
    session.wait()
    session.add_cases([FoundCase("a", {"t1": images["t1"]})])
    session.wait()
    assert shown == ["a"] and set(session.case("a").sequences) == {"t1", "flair"}
    assert any("t1 came later" in text for text in said)
    session.close_project()


def test_annotate_says_what_the_case_lacks_until_it_comes(dock, tmp_path, settle):
    project, images = worked_on(tmp_path)
    project.close()
    dock.session.open_project(project.path)
    dock.annotate_case("a")
    settle(dock, lambda: dock.desk.case_id == "a")
    words = dock.annotate._progress.text
    settle(dock, lambda: words().startswith("2 of 4 slices done; this case has no t1."))
    dock.desk.z = 1
    dock.desk.layers.set_mode("erase")
    dock.session.add_cases([FoundCase("a", {"t1": images["t1"]})])
    settle(dock, lambda: "t1" in dock.desk.layers.pictures.layers)
    settle(dock, lambda: words().startswith("2 of 4 slices done."))
    assert dock.desk.z == 1 and dock.desk.layers.mask.mode == "erase", "where the person was, with the same tool"


@pytest.mark.parametrize("labels", [[1, 2], []])
def test_another_study_of_the_patient_with_the_same_name_never_joins(tmp_path, labels):
    """Studies that are named by number are counted anew when an earlier one stands in the folder."""
    pytest.importorskip("pydicom")
    one = series(tmp_path / "2024" / "flair", SeriesDescription="FLAIR")
    other = series(tmp_path / "2023" / "t1", SeriesDescription="T1", edit=brighter)
    with Project.create(tmp_path / "project", ["lesion"], ["t1", "flair"]) as project:
        mask = np.zeros(project.add_case("study-01", {"flair": one[0]}, patient="p").shape, np.uint8)
        if labels:
            project.save_version(project.case("study-01"), mask, labels, "human")
        with pytest.raises(ImportProblem, match=r"study-01 has images of another DICOM study.*a name of its own"):
            project.add_case("study-01", {"t1": other[0]}, patient="p")
        assert set(project.case("study-01").sequences) == {"flair"}


def brighter(data, z):
    data.PixelData = (plane(z) + 7).tobytes()
