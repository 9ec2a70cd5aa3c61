"""Adding what hospitals have, in the shell and in the window: DICOM, data sets of others, questions and answers."""

import csv
import json
import os
import re
import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_series import series
from helpers import geometry, labels, small_project, write_case
from warm_shell import segmatch

from napari_segmatch.cli import cases as shell_cases
from napari_segmatch.errors import ImportProblem, ProjectError, Question
from napari_segmatch.io import (
    TOPICS,
    FoundCase,
    encode_segmentation,
    encode_segments,
    exported,
    find_dataset,
    itksnap_table,
    labels_beside,
    read_label_table,
    read_mask,
    read_volume,
    slicer_table,
    with_answers,
    write_labels,
)
from napari_segmatch.palette import palette
from napari_segmatch.project import Project
from napari_segmatch.project.layouts import LAYOUTS
from napari_segmatch.session import Session


def hospital(folder):
    """Two patients with a FLAIR series each, a scout, and the segmentation of one."""
    for number, patient in enumerate(("one", "two")):
        tags = {"StudyInstanceUID": f"1.2.3.{number}", "PatientID": f"ZZCANARY{number}"}
        files = series(folder / patient / "flair", shape=(32, 40), RescaleIntercept=number, RescaleSlope=1, **tags)
        series(folder / patient / "t1", n=3, SeriesDescription="T1", **tags)
    geometry = read_volume(files[0]).geometry
    drawn = np.zeros(geometry.shape, np.uint8)
    drawn[2:4, 5:15, 8:20] = 1
    data = encode_segmentation(files[0], drawn, geometry, ["lesion"], "MANUAL")
    (folder / "two" / "seg.dcm").write_bytes(data)
    return drawn


@pytest.mark.parametrize("worked_on", [False, True])
def test_a_folder_of_another_patient_touches_no_case_of_the_same_name(tmp_path, worked_on):
    """A disc a patient, each with a folder DICOM: in the shell and in the window the second is sent to another name."""
    for patient, what in (("one", "FLAIR"), ("two", "FLAIR"), ("three", "T1")):  # all on one grid
        series(tmp_path / patient / "DICOM", PatientID=patient, SeriesDescription=what)
    with Project.create(tmp_path / "p", ["lesion"], ["flair", "t1"]):
        assert segmatch("add", tmp_path / "p", tmp_path / "one").returncode == 0
    with Project.open(tmp_path / "p") as project:
        if worked_on:
            project.save_mask("DICOM", np.zeros(project.case("DICOM").shape, np.uint8), done=[1])
        before, told = (project.case("DICOM"), project.image_paths("DICOM")), []
    for patient in ("two", "three"):
        done = segmatch("add", tmp_path / "p", tmp_path / patient)
        assert done.returncode == 2
        assert "DICOM: left out. p has a case 'DICOM' of another patient: put these files into a folder" in done.stderr
        session = Session()
        session.message.connect(lambda words, wrong: told.append((words, wrong)))
        session.open_project(tmp_path / "p")
        session.add_cases(find_dataset(tmp_path / patient, ["flair", "t1"], ["lesion"]).cases)
        session.wait()
        session.close()
        assert told and all(wrong and "of another patient" in words for words, wrong in told)
    with Project.open(tmp_path / "p") as project:
        assert (project.case("DICOM").sequences, project.image_paths("DICOM")) == (("flair",), before[1])
        assert [case.patient for case in project.cases] == [before[0].patient]
    done = segmatch("add", tmp_path / "p", tmp_path / "one")  # once more it is the same patient
    assert ("left as it is" in done.stderr) if worked_on else ("1 of 1 case added" in done.stdout)
    (tmp_path / "discs").mkdir()
    (tmp_path / "two").rename(tmp_path / "discs" / "two")  # as it was told
    done = segmatch("add", tmp_path / "p", tmp_path / "discs", "--choose", "twin=add")
    assert "1 of 1 case added" in done.stdout
    with Project.open(tmp_path / "p") as project:
        assert [case.id for case in project.cases] == ["DICOM", "two"]


def test_another_study_of_the_same_name_is_told(tmp_path):
    """Two discs of one patient: the later study takes the place of one that nobody has worked on, and that is said."""
    for disc in ("before", "after"):
        series(tmp_path / disc / "DICOM", PatientID="one", gap=4.0 if disc == "after" else 3.0)
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]):
        told = [segmatch("add", tmp_path / "p", tmp_path / disc).stderr for disc in ("before", "before", "after")]
    assert told == ["", "", "DICOM: A case of that name was in the project: these files took the place of its own.\n"]


def test_a_folder_of_dicom_is_added_exported_and_never_names_a_patient(tmp_path):
    """The way of a hospital: DICOM and its segmentation in, DICOM segmentation out, no name in the project."""
    drawn = hospital(tmp_path / "dicom")
    (tmp_path / "dicom" / "notes.txt").write_text("hello")
    assert segmatch("new", tmp_path / "p").returncode == 0
    done = segmatch("add", tmp_path / "p", tmp_path / "dicom")
    assert done.returncode == 0, done.stderr
    assert "one: left out series 3 “T1” echo 90 ms, MR, 3 slices: fits no sequence of the project." in done.stdout
    assert "1 file left out: it is no DICOM file." in done.stdout
    assert "2 of 2 cases added; 1 has labels and 0 are frozen" in done.stdout
    assert b"CANARY" not in (tmp_path / "p" / "segmatch.db").read_bytes()
    assert "CANARY" not in done.stdout + done.stderr
    (tmp_path / "codes.csv").write_text("class,code,meaning\nlesion,52988006,Lesion\n")
    with Project.open(tmp_path / "p") as project:
        assert np.array_equal(project.mask("two"), drawn)
        assert project.case("one").patient != project.case("two").patient != "two"
    exported = ("export", tmp_path / "p", tmp_path / "out", "--as", "dicom-seg", "--codes", tmp_path / "codes.csv")
    assert segmatch(*exported).returncode == 0
    geometry = read_volume(tmp_path / "dicom" / "two" / "flair").geometry
    assert np.array_equal(read_mask(tmp_path / "out" / "two.dcm", geometry, ["lesion"]).labels, drawn)


def test_what_can_name_a_sequence_can_be_added_by_pattern(tmp_path):
    """Spaces and signs too; “=” ends a name in options, so no project gets it."""
    write_case(tmp_path / "in" / "a", 1)
    assert segmatch("new", tmp_path / "p", "--sequences", "T1 post+c").returncode == 0
    done = segmatch("add", tmp_path / "p", tmp_path / "in", "--image", "T1 post+c={case}/flair.nii.gz")
    assert "1 of 1 case added" in done.stdout, done.stderr
    with pytest.raises(ProjectError, match='without any of " \\* / : < = >'):
        Project.create(tmp_path / "q", ["lesion"], ["t1=post"])
    Project.create(tmp_path / "q", ["grade=3"], ["t1"]).close()


def test_questions_are_asked_answered_and_kept(tmp_path):
    """In the shell the answer is an option; the project reads the files that way ever after, and says who said so."""
    images, mask = write_case(tmp_path / "in" / "a", 1)
    loaded = nib.load(images["flair"])
    nib.save(nib.Nifti1Image(np.asarray(loaded.dataobj), None), images["flair"])
    loaded = nib.load(mask)
    nib.save(nib.Nifti1Image(np.asarray(loaded.dataobj) * np.uint8(4), None), mask)
    segmatch("new", tmp_path / "p")
    add = (
        "add",
        tmp_path / "p",
        tmp_path / "in",
        "--image",
        "flair={case}/flair.nii.gz",
        "--mask",
        "{case}/mask.nii.gz",
    )
    asked = segmatch(*add)
    assert asked.returncode == 2
    assert "choose orientation=unknown" in asked.stderr
    asked = segmatch(*add, "--choose", "orientation=unknown")
    assert "labels=4:1 (class 1)" in asked.stderr
    done = segmatch(*add, "--choose", "orientation=unknown", "--choose", "labels=4:1")
    assert done.returncode == 0, done.stderr
    with Project.open(tmp_path / "p") as project:
        assert project.reading("a").choices == {"orientation": "unknown", "labels": "4:1"}
        assert set(np.unique(project.mask("a"))) == {0, 1}
        assert not project.volume("a").geometry.known
    assert segmatch(*add, "--choose", "nonsense").returncode == 2


def swapped(folder, strays=(7,)):
    """An nnU-Net data set that numbers its classes the other way round; some masks have a stray voxel. Its truths."""
    truths = []
    for number, stray in enumerate((*strays, 0)):
        images, mask = write_case(folder / "in" / str(number), number, classes=2)
        truths.append(read_mask(mask).labels)
        stored = nib.load(mask)
        drawn = np.asarray(stored.dataobj).copy()
        drawn.flat[0] = stray
        for place in ("imagesTr", "labelsTr"):
            (folder / "set" / place).mkdir(parents=True, exist_ok=True)
        images["flair"].rename(folder / "set" / "imagesTr" / f"c{number}_0000.nii.gz")
        nib.save(nib.Nifti1Image(drawn, stored.affine), folder / "set" / "labelsTr" / f"c{number}.nii.gz")
    about = {"channel_names": {"0": "flair"}, "labels": {"background": 0, "edema": 1, "tumor": 2}}
    (folder / "set" / "dataset.json").write_text(json.dumps(about))
    return truths


def assert_right_way_round(project, truths):
    for number, truth in enumerate(truths):
        mask = project.mask(f"c{number}")
        assert np.array_equal(mask == 1, truth == 2) and np.array_equal(mask == 2, truth == 1)


def test_an_answer_about_one_label_leaves_the_others_to_the_data_set(tmp_path):
    """In the shell: a stray label is answered for, and classes of another order still find each other by name."""
    truths = swapped(tmp_path)
    segmatch("new", tmp_path / "p", "--classes", "tumor,edema")
    done = segmatch("add", tmp_path / "p", tmp_path / "set", "--choose", "labels=7:255")
    assert "2 of 2 cases added" in done.stdout, done.stderr
    with Project.open(tmp_path / "p") as project:
        assert_right_way_round(project, truths)
        assert project.reading("c0").choices == {"labels": "1:2,2:1,7:255"}


def test_the_window_asks_anew_about_another_label(tmp_path):
    """One answer serves the masks with the same stray label, and adds to what the data set says."""
    truths = swapped(tmp_path, strays=(7, 7, 9))
    session, questions = Session(), []
    session.asked.connect(lambda question, cases: questions.append((next(iter(question.options)), cases)))
    session.create_project(tmp_path / "p", ["tumor", "edema"], ["flair"])
    session.add_cases(find_dataset(tmp_path / "set", ("flair",), ("tumor", "edema")).cases)
    for answer in ("7:255", "9:255"):
        session.wait()
        session.poll()
        session.answer("labels", answer)
    session.wait()
    session.poll()
    assert questions == [("7:1", ["c0", "c1"]), ("9:1", ["c2"])]
    session.close()
    with Project.open(tmp_path / "p") as project:
        assert_right_way_round(project, truths)


def test_the_shell_prompts_once_for_masks_with_one_trouble(tmp_path, monkeypatch):
    """An answer that leaves the question open is asked for again; another label is another question."""
    truths = swapped(tmp_path, strays=(7, 7, 9))
    replies, prompted = iter(("7:5", "7:255", "9:255")), []
    monkeypatch.setattr(shell_cases.sys.stdin, "isatty", lambda: True, raising=False)

    def prompt(item, question):
        prompted.append(item.id)
        return next(replies)

    monkeypatch.setattr(shell_cases, "_prompt", prompt)
    Project.create(tmp_path / "p", ["tumor", "edema"], ["flair"]).close()
    shell_cases.add(tmp_path / "p", tmp_path / "set")
    assert prompted == ["c0", "c0", "c2"]
    with Project.open(tmp_path / "p") as project:
        assert_right_way_round(project, truths)


def test_what_is_said_of_a_mask_is_kept_with_the_case(tmp_path):
    """Names of labels that are no classes, so that the numbers count."""
    images, mask = write_case(tmp_path, classes=2)
    drawn = read_mask(mask)
    mask = tmp_path / "m.seg.nrrd"
    mask.write_bytes(encode_segments(drawn.labels, drawn.geometry, ["Segment_1", "Segment_2"], {}))
    with Project.create(tmp_path / "p", ["core", "edema"], ["flair"]) as project:
        project.add_case("a", images, mask, "all")
        assert "calls a label “Segment_1”" in project.reading("a").notes[0]


def test_the_same_images_twice_are_asked_about(tmp_path):
    """A copy in training and validation would flatter the model."""
    images, _ = write_case(tmp_path / "a", 1)
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        project.add_case("a", images, choices={})
        with pytest.raises(Question, match="case b are those of case a, voxel for voxel"):
            project.add_case("b", images, choices={})
        project.add_case("b", images, choices={"twin": "add"})
        assert "voxel for voxel" in project.reading("b").notes[0]


def test_a_study_that_comes_again_under_another_name_is_asked_about(tmp_path):
    """Also with a sequence more, when it is not the same voxel for voxel: the folder holds a second study now."""
    images, _ = write_case(tmp_path / "a", 1, sequences=("flair", "t1"))
    with Project.create(tmp_path / "p", ["lesion"], ["flair", "t1"]) as project:
        project.add_case("a", {"flair": images["flair"]}, choices={})
        with pytest.raises(Question, match="An image of case a-12 is a file of case a, too"):
            project.add_case("a-12", images, choices={})
        assert project.add_case("a-12", images, choices={"twin": "add"}).sequences == ("flair", "t1")


def test_a_folder_that_was_moved_is_found_by_adding_it_again(tmp_path):
    """In the window there is no doctor: labels stay, and files that are others change nothing."""
    images, _ = write_case(tmp_path / "before" / "a", 1)
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        case = project.add_case("a", images)
        project.save_mask("a", np.ones(case.shape, np.uint8), done=[1])
        (tmp_path / "before").rename(tmp_path / "after")
        others, _ = write_case(tmp_path / "others" / "a", 2)
        with pytest.raises(ProjectError, match="already a case 'a' in p, with labels or proposals: it stays as it is"):
            project.add_case("a", others)
        assert project.is_lost("a")
        if sys.platform == "linux":  # others know no such names
            odd = shutil.copytree(tmp_path / "after", Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")))
            with pytest.raises(ImportProblem, match="has a name that is not UTF-8: rename it"):
                project.add_case("a", {"flair": odd / "a" / "flair.nii.gz"})
            shutil.rmtree(odd)
    done = segmatch("add", tmp_path / "p", tmp_path / "after", "--image", "flair={case}/flair.nii.gz")
    assert "1 of 1 case added" in done.stdout
    with Project.open(tmp_path / "p") as project:
        assert project.image_paths("a") == {"flair": tmp_path / "after" / "a" / "flair.nii.gz"}
        assert project.case("a").labelled == (1,) and project.volume("a").pixels.any()


def test_the_window_asks_once_for_all_cases_with_one_trouble(tmp_path):
    """Twelve files without an orientation are one question; what nobody answers stays set aside with its sentence."""
    session = Session()
    session.create_project(tmp_path / "p", ["lesion"], ["flair"])
    found = []
    for number in range(3):
        images, _ = write_case(tmp_path / str(number), number)
        nib.save(nib.Nifti1Image(np.asarray(nib.load(images["flair"]).dataobj), None), images["flair"])
        found.append(FoundCase(f"c{number}", images))
    questions = []
    session.asked.connect(lambda question, cases: questions.append((question.topic, cases)))
    session.add_cases(found)
    session.wait()
    session.poll()
    assert questions == [("orientation", ["c0", "c1", "c2"])]
    assert all("does not state where left and right are" in case.problem for case in session.cases)
    session.answer("orientation", "unknown")
    session.wait()
    session.poll()
    assert [case.problem for case in session.cases] == [None] * 3
    assert len(questions) == 1
    session.close()


def test_a_case_that_fails_in_a_way_nobody_knows_has_had_its_turn(tmp_path, monkeypatch):
    """The window says so, counts no case as still to come, and asks about the others."""
    whole = Project.add_case

    def failing(self, id, *arguments, **options):
        if id == "b":
            raise Question("It is odd", "oddity", {"keep": "keep it"})
        if id == "c":
            raise ZeroDivisionError("a bug")
        return whole(self, id, *arguments, **options)

    monkeypatch.setattr(Project, "add_case", failing)
    session, said, asked = Session(), [], []
    session.message.connect(lambda text, wrong: said.append((text, wrong)))
    session.asked.connect(lambda question, _: asked.append(question.topic))
    session.create_project(tmp_path / "project", ["lesion"], ["flair"])
    session.add_cases(FoundCase(id, *write_case(tmp_path / id, 1)) for id in "abc")
    session.wait()
    assert session.adding == 0
    assert ("Something went wrong: ZeroDivisionError('a bug').", True) in said
    assert asked == ["oddity"]
    assert [case.id for case in session.cases if case.problem is None] == ["a"]
    session.close()


def test_a_case_that_is_added_anew_shows_its_new_images(tmp_path):
    """Nobody has worked on it, so its name may be used again: what was read of the old files is forgotten."""
    live, heard = Session(), []
    live.replaced.connect(heard.append)
    live.create_project(tmp_path / "project", ["lesion"], ["flair"])
    for name, shape in (("one", (4, 32, 40)), ("two", (6, 20, 24))):
        write_case(tmp_path / name, shape=shape)
        live.add_cases([FoundCase(case, {"flair": tmp_path / name / "flair.nii.gz"}, choices={"twin": "add"})
                        for case in ("a", f"b-{name}")])  # fmt: skip
        live.wait()
        assert live.volume("a").pixels.shape == (1, *shape) == (1, *live.case("a").shape)
    assert heard == ["a"]
    live.close()


def test_adding_can_be_stopped(tmp_path):
    """Cases whose turn has not come are left out; those that are in stay."""
    session = Session()
    session.create_project(tmp_path / "p", ["lesion"], ["flair"])
    session.add_cases([FoundCase(f"c{number}", write_case(tmp_path / str(number), number)[0]) for number in range(30)])
    assert session.adding == 30
    session.stop_adding()
    session.wait()
    session.poll()
    assert session.adding == 0
    assert len(session.cases) < 30
    session.close()


def test_adding_many_cases_neither_reads_nor_shows_all_of_them_each_time(tmp_path, monkeypatch):
    """The window is told at once of the first, then from time to time and of the last; the list stays in order."""
    session, shown = Session(), []
    session.create_project(tmp_path / "p", ["lesion"], ["flair"])
    monkeypatch.setattr(Project, "cases", property(lambda project: pytest.fail("all cases were read")))
    session.cases_changed.connect(lambda: shown.append(len(session.cases)))
    monkeypatch.setattr("napari_segmatch.session.adding.TELL_EVERY", 3600)
    found = [FoundCase(f"c{number}", write_case(tmp_path / str(number), number)[0]) for number in (3, 1, 4, 2, 0)]
    session.add_cases(found)
    session.wait()
    assert shown == [1, 5]
    assert [case.id for case in session.cases] == ["c0", "c1", "c2", "c3", "c4"]
    assert all(session.case(f"c{number}").id == f"c{number}" for number in range(5))
    session.close()


def test_a_series_of_links_is_read_as_it_was_added(tmp_path):
    """Each slice's file may lie in a folder of its own, beside other patients' slices."""
    for name in ("one", "two"):
        for number, file in enumerate(series(tmp_path / name, SeriesDescription=name)):
            target = tmp_path / "store" / str(number) / f"{name}.dcm"
            target.parent.mkdir(parents=True, exist_ok=True)
            file.rename(target)
            file.symlink_to(target)
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        (case,) = find_dataset(tmp_path / "one", ("flair",), ("lesion",)).cases
        project.add_case("one", case.images)
        assert project.case("one").shape == (6, 8, 10)
        assert project.volume("one").pixels.any()


BAD = os.fsdecode(b"gr\xf6sse")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such name")
def test_a_name_that_is_no_text_stops_no_other_case(tmp_path):
    """In the shell, of patterns and of a data set, and in a project."""
    for seed, name in enumerate(("a", "b", BAD)):
        write_case(tmp_path / "in" / name, seed)
    assert segmatch("new", tmp_path / "p").returncode == 0
    done = segmatch("add", tmp_path / "p", tmp_path / "in", "--image", "flair={case}/flair.nii.gz")
    assert done.returncode == 0, done.stderr
    assert "Left out: gr?sse/flair.nii.gz has a name that is not UTF-8: rename it." in done.stdout
    assert "2 of 2 cases added" in done.stdout
    touch(tmp_path, f"set/imagesTr/{BAD}_0000.nii.gz", "set/imagesTr/c_0000.nii.gz", f"set/labelsTr/{BAD}.nii.gz")
    (tmp_path / "set" / "dataset.json").write_text(json.dumps({"channel_names": {"0": "flair"}, "labels": {}}))
    found = find_dataset(tmp_path / "set", ("flair",), ("lesion",))
    assert [case.id for case in found.cases] == ["c"]
    assert sum("gr?sse" in line and "rename it" in line for line in found.lines) == 2
    (tmp_path / "set" / "imagesTr" / "c_0000.nii.gz").unlink()
    with pytest.raises(ImportProblem, match="rename it"):
        find_dataset(tmp_path / "set", ("flair",), ("lesion",))
    with Project.open(tmp_path / "p") as project, pytest.raises(ImportProblem, match="is not UTF-8: rename it"):
        project.add_case("c", {"flair": tmp_path / "in" / BAD / "flair.nii.gz"})


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such name")
def test_a_series_with_a_slice_whose_name_is_no_text_is_whole(tmp_path):
    """Another of its files stands for it."""
    files = series(tmp_path / "one")
    files[-1].rename(tmp_path / "one" / f"A{BAD}")
    files[0].rename(tmp_path / "one" / f"Z{BAD}")
    (case,) = find_dataset(tmp_path, ("flair",), ("lesion",)).cases
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        project.add_case(case.id, case.images)
        assert project.volume(case.id).geometry.shape == (6, 8, 10)


# Data sets of others


@pytest.mark.parametrize("layout", ["nnunet", "bids", "monai-label", "nrrd"])
def test_exports_are_what_the_others_read(tmp_path, layout):
    """A project goes out and comes back in: the same labels on finished slices."""
    with small_project(tmp_path / "a", cases=2, labelled=1, classes=("core", "edema")) as project:
        files = project.export(tmp_path / "out", layout=layout)
        kept = project.mask("a")
        image = project.volume("a")
    names = {path.relative_to(tmp_path / "out").as_posix() for path in files}
    assert {"labels-itksnap.txt", "labels-slicer.ctbl", "slices.csv"} <= names
    if layout == "nrrd":
        assert np.array_equal(read_mask(tmp_path / "out" / "a.seg.nrrd", image.geometry, ["edema", "core"]).labels,
                              np.array([0, 2, 1])[kept])  # fmt: skip
        return
    if layout == "bids":
        mask = tmp_path / "out" / "sub-a" / "anat" / "sub-a_desc-segmatch_dseg.nii.gz"
        assert np.array_equal(read_mask(mask, image.geometry).labels, kept)
        assert mask.with_name("sub-a_desc-segmatch_dseg.tsv").read_text().splitlines()[3].startswith("2\tedema\t#")
        return
    (case,) = find_dataset(tmp_path / "out", ("flair",), ("edema", "core")).cases
    with Project.create(tmp_path / "b", ["edema", "core"], ["flair"]) as again:
        again.add_case(case.id, case.images, case.mask, "all", choices=case.choices)
        assert np.array_equal(again.mask("a"), np.array([0, 2, 1])[kept]), "by name"
        assert np.array_equal(again.volume("a").pixels, image.pixels)


def test_a_case_without_the_first_sequence_leaves_with_the_one_that_it_has(tmp_path):
    """Of MONAI Label, which takes one image a case; an empty one would be of no use."""
    images, _ = write_case(tmp_path / "in", 1, sequences=("flair", "t1"))
    with Project.create(tmp_path / "p", ["lesion"], ["flair", "t1"]) as project:
        project.add_case("a", {"t1": images["t1"]})
        project.save_mask("a", labels(1), done=[1])
        project.export(tmp_path / "out", layout="monai-label")
    assert np.array_equal(read_volume(tmp_path / "out" / "a.nii.gz").pixels, read_volume(images["t1"]).pixels)


def test_no_two_cases_share_a_name_in_bids(tmp_path):
    """Ids that differ only in what BIDS does not allow, runs of one session, and ids without a single Latin letter."""
    ids = ["case-1-1", "case-11", "solo-1", "sub-01_run-1", "sub-01_run-2", "sub-02_ses-a_T1w", "sub-02_ses-a_b",
           "患者一", "患者二", "sub-03_T1w"]  # fmt: skip
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        for number, id in enumerate(ids):
            images, mask = write_case(tmp_path / "in" / str(number), number)
            project.add_case(id, images, mask, "all")
        files = project.export(tmp_path / "out", layout="bids")
        masks = {path.relative_to(tmp_path / "out").as_posix() for path in files if path.name.endswith(".nii.gz")}
        assert len(masks) == len(ids)
        names = {"sub-solo1", "sub-01_run-1", "sub-01_run-2", "sub-03"}
        assert {f"{name.split('_')[0]}/anat/{name}_desc-segmatch_dseg.nii.gz" for name in names} < masks
        assert sum(name.startswith("sub-02/ses-a/anat/sub-02_ses-a_acq-") for name in masks) == 2
        assert sum(re.match(r"sub-case11[0-9a-f]{8}/anat/", name) is not None for name in masks) == 2
        found = [read_mask(tmp_path / "out" / name, project.case(ids[0]).geometry).labels for name in masks]
        assert all(any(np.array_equal(project.mask(id), mask) for mask in found) for id in ids)
        project.export(tmp_path / "out", layout="bids")


def test_masks_of_an_earlier_export_are_named_in_bids_too(tmp_path):
    """There each case has a folder of its own. Images of the data set that it lies in are none of its business."""
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        for number, id in enumerate(["sub-01", "sub-02_ses-a", "sub-03"]):
            images, mask = write_case(tmp_path / "in" / id, number)
            project.add_case(id, images, mask, "all")
        project.export(tmp_path / "out", layout="bids")
        project.remove_case("sub-02_ses-a")
        project.remove_case("sub-03")
    write_case(tmp_path / "out" / "sub-04" / "anat")
    said = segmatch("export", tmp_path / "p", tmp_path / "out", "--as", "bids").stdout
    gone = "sub-02_ses-a_desc-segmatch_dseg.nii.gz, sub-03_desc-segmatch_dseg.nii.gz"
    assert said.endswith(f"Also there, but not of this export: {gone}.\n")


def test_an_export_never_writes_one_file_for_two_cases(tmp_path, monkeypatch):
    """Whatever a layout makes of their names."""
    monkeypatch.setitem(LAYOUTS, "nifti", lambda project, item, codes: iter([("same.nii.gz", item.case.id.encode())]))
    with small_project(tmp_path) as project, pytest.raises(ProjectError, match=r"Two cases would be same\.nii\.gz"):
        project.export(tmp_path / "out")
    assert (tmp_path / "out" / "same.nii.gz").read_bytes() == b"a"


def test_a_case_that_is_not_from_dicom_stops_no_other(tmp_path):
    """The DICOM segmentations of all others are written, before it and after; the sentence names it."""
    drawn = hospital(tmp_path / "dicom")
    write_case(tmp_path / "in" / "p")
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        project.add_case(
            "p", {"flair": tmp_path / "in" / "p" / "flair.nii.gz"}, tmp_path / "in" / "p" / "mask.nii.gz", "all"
        )
        with pytest.raises(ProjectError, match=r"^Case p is not from DICOM"):
            project.export(tmp_path / "out", layout="dicom-seg")
    assert segmatch("add", tmp_path / "p", tmp_path / "dicom").returncode == 0
    with Project.open(tmp_path / "p") as project:
        project.save_mask("one", drawn, done=[2])
        with pytest.raises(
            ProjectError, match=r"1 of 3 cases could not be exported \(p\): Case p .* The others are in out\."
        ):
            project.export(tmp_path / "out", layout="dicom-seg")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"one.dcm", "two.dcm", "slices.csv", "volumes.csv", "decisions.csv"} < names
    assert "p," not in (tmp_path / "out" / "slices.csv").read_text()


def test_slices_that_nobody_finished_are_ignored_by_nnunet(tmp_path):
    """Its label to ignore, which comes back as not annotated; unchecked background would teach a lie."""
    images, _ = write_case(tmp_path / "in", 1)
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        project.add_case("a", images)
        project.save_mask("a", labels(1), done=[1, 2])
        project.export(tmp_path / "out", layout="nnunet")
    about = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert about["labels"] == {"background": 0, "lesion": 1, "ignore": 2}
    (case,) = find_dataset(tmp_path / "out", ("flair",), ("lesion",)).cases
    mask = read_mask(case.mask, None, 1, case.choices).labels
    assert (mask[[0, 3]] == 255).all() and not (mask[1:3] == 255).any()


@pytest.mark.parametrize(
    ("layout", "mask"),
    [
        ("nifti", "{case}.nii.gz"),
        ("nrrd", "{case}.seg.nrrd"),
        ("bids", "sub-oneA/anat/sub-{case}_desc-segmatch_dseg.nii.gz"),
        ("monai-label", "labels/final/{case}.nii.gz"),
    ],
)
def test_slices_that_nobody_checked_come_back_unchecked(tmp_path, layout, mask):
    """Masks leave them empty, and a new project would learn that there is nothing on them: the table tells."""
    images, _ = write_case(tmp_path / "in", 1)
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        project.add_case("one-A", images)
        project.save_mask("one-A", labels(1), done=[1, 2])
        project.export(tmp_path / "out", layout=layout)
    name = "oneA" if layout == "bids" else "one-A"
    path = tmp_path / "out" / mask.format(case=name)
    with Project.create(tmp_path / "q", ["lesion"], ["flair"]) as other:
        assert other.add_case("b", images, path, "all").labelled == (1, 2)
        assert (other.mask("b")[[0, 3]] == 255).all() and np.array_equal(other.mask("b")[1:3], labels(1)[1:3])
        said = f"2 slices of {path.name} had not been checked when it was exported (slices.csv)."
        assert other.reading("b").notes[-1] == said
        path.replace(tmp_path / path.name)
        assert len(other.add_case("c", images, tmp_path / path.name, "all").labelled) == 4, "nothing is known there"


@pytest.mark.parametrize(
    ("kept", "mask"),
    [
        ("1", "001.nii.gz"),
        ("001", "001_corrected.nii.gz"),
        ("001", "labels/final/2.nii.gz"),
        ("001", "sub-2/anat/sub-2_desc-x.nii.gz"),
    ],
)
def test_a_mask_of_an_export_that_tells_nothing_of_it_is_asked_about(tmp_path, kept, mask):
    """A spreadsheet has taken 001 for a number, or it was saved under another name: what is checked, nobody knows."""
    images, _ = write_case(tmp_path / "in", 1)
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        project.add_case("001", images)
        project.save_mask("001", labels(1), done=[1, 2])
        project.export(tmp_path / "out")
    table, path = tmp_path / "out" / "slices.csv", tmp_path / "out" / mask
    table.write_text(table.read_text().replace("001,", f"{kept},"))
    path.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "out" / "001.nii.gz").replace(path)
    with Project.create(tmp_path / "q", ["lesion"], ["flair"]) as other:
        with pytest.raises(Question, match=rf"^{path.name} lies in an export whose slices.csv has no case of that"):
            other.add_case("b", images, path, "all")
        assert other.add_case("c", images, path, [1, 2]).labelled == (1, 2), "that person knows"
        assert len(other.add_case("d", images, path, "all", choices={"export": "checked", "twin": "add"}).labelled) == 4
        beside = tmp_path / "out" / "b" / "mask.nii.gz"
        beside.parent.mkdir()
        path.replace(beside)
        assert len(other.add_case("e", images, beside, "all").labelled) == 4, "no export has a mask there"


def test_the_table_of_an_export_is_read_once_for_all_of_its_cases(tmp_path, monkeypatch):
    """Ten thousand cases have a million rows: for each case anew that was hours. What is written anew is read anew."""
    read, rows_of = [], csv.DictReader
    monkeypatch.setattr(exported.csv, "DictReader", lambda file: read.append(0) or rows_of(file))
    rows = "case,slice,z,labels\na,2,0,not annotated\na,1,1,checked\nb,1,1,not annotated\n"
    (tmp_path / "slices.csv").write_text(rows)
    (tmp_path / "decisions.csv").write_text("")
    assert [exported.unchecked_in(tmp_path / f"{case}.nii.gz", {}) for case in "aabb"] == [{0}, {0}, {1}, {1}]
    assert len(read) == 1
    (tmp_path / "slices.csv").write_text(rows + "b,2,0,not annotated\n")
    assert exported.unchecked_in(tmp_path / "b.nii.gz", {}) == {0, 1}


@pytest.mark.parametrize(
    ("name", "unchecked"), [("a.seg.nii.gz", {1}), ("a.nrrd", {0}), ("x_desc-y.nii.gz", {2}), ("c.seg.nrrd", {3})]
)
def test_a_case_is_found_by_its_whole_name_first(tmp_path, name, unchecked):
    """What layouts add to a name may belong to it."""
    cases = ("a", "a.seg", "x_desc-y", "c")
    rows = "".join(f"{case},1,{z},not annotated\n" for z, case in enumerate(cases))
    (tmp_path / "slices.csv").write_text(f"case,slice,z,labels\n{rows}")
    (tmp_path / "decisions.csv").write_text("")
    assert exported.unchecked_in(tmp_path / name, {}) == unchecked


def test_unchecked_slices_of_a_dicom_segmentation_are_those_of_its_image(tmp_path):
    """It leaves out the empty ones, so that its own first slice is none of the image's first."""
    drawn = hospital(tmp_path / "dicom")
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        image = tmp_path / "dicom" / "two" / "flair"
        count = project.add_case("a", {"flair": image}).shape[0]
        drawn[[3, 4]] = drawn[[4, 3]]  # its second slice is empty, and checked
        project.save_mask("a", drawn, done=range(2, count))
        project.export(tmp_path / "out", layout="dicom-seg")
        again = project.add_case("b", {"flair": image}, tmp_path / "out" / "a.dcm", "all")
        assert again.labelled == tuple(range(2, count)) and count > 4


def test_voxels_that_are_not_annotated_stay_so_in_nnunet(tmp_path):
    """What a data set ignores within a slice is ignored in the export, and background in other layouts."""
    images, _ = write_case(tmp_path / "in", 1)
    drawn = labels(1)
    drawn[1:3, :4] = 255
    write_labels(tmp_path / "mask.nii.gz", drawn, read_volume(images["flair"]).geometry)
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        project.add_case("a", images, tmp_path / "mask.nii.gz", "all")
        for layout, name, label in (("nnunet", "labelsTr/a.nii.gz", 2), ("nifti", "a.nii.gz", 0)):
            project.export(tmp_path / layout, layout=layout)
            found = read_mask(tmp_path / layout / name, project.case("a").geometry).labels
            assert np.array_equal(found, np.where(drawn == 255, label, drawn))


@pytest.mark.parametrize(
    ("layout", "mask", "done"),
    [
        ("nifti", "a.nii.gz", (0, 3)),
        ("nrrd", "a.seg.nrrd", (0, 3)),
        ("bids", "sub-a/anat/sub-a_desc-segmatch_dseg.nii.gz", (0, 3)),
        ("monai-label", "labels/final/a.nii.gz", (0, 3)),
        ("nnunet", "labelsTr/a.nii.gz", (0, 1, 2, 3)),
    ],
)
def test_voxels_that_are_not_annotated_never_come_back_as_background(tmp_path, layout, mask, done):
    """Where a layout has no label for them, their slices come back as drafts: nobody may take them for healthy."""
    images, _ = write_case(tmp_path / "in", 1)
    drawn = labels(1)
    drawn[1:3, :4] = 255
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        project.add_case("a", images)
        project.save_mask("a", drawn, done=range(4))
        project.export(tmp_path / "out", layout=layout)
    path = tmp_path / "out" / mask
    choices = labels_beside(path, ["lesion"]) | {"twin": "add"}
    with Project.create(tmp_path / "q", ["lesion"], ["flair"]) as other:
        assert other.add_case("b", images, path, "all", choices=choices).labelled == done
        back, drafts = other.mask("b"), [z for z in range(4) if z not in done]
        assert np.array_equal(back[[0, 3]], drawn[[0, 3]]) and (back[1:3, :4] == 255).all()
        assert np.array_equal(back == 1, drawn == 1), "what was drawn is kept"
        assert not (back[drafts] == 0).any()
        said = [note for note in other.reading("b").notes if note.startswith("2 slices of") and "by hand" in note]
        assert len(said) == (1 if drafts else 0)


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def test_a_medical_decathlon_task_is_read(tmp_path):
    """The layout before nnU-Net's: no channel in the file names, labels by number; macOS leaves ._ files in it."""
    touch(
        tmp_path, "imagesTr/h_001.nii.gz", "imagesTr/._h_001.nii.gz", "labelsTr/h_001.nii.gz", "imagesTs/h_002.nii.gz"
    )
    about = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "Anterior", "2": "Posterior"}}
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    first, second = find_dataset(tmp_path, ("t1",), ("posterior", "anterior")).cases
    assert (first.id, first.mask.parent.name, first.choices) == ("h_001", "labelsTr", {"labels": "1:2,2:1"})
    assert (second.id, second.mask) == ("h_002", None)
    (about,) = find_dataset(tmp_path, ("t1",), ("posterior", "anterior")).lines
    assert about == "A Medical Decathlon data set of 2 cases; t1 is channel 0 (MRI)."
    table = read_label_table(tmp_path / "dataset.json")
    assert table.names == ("Anterior", "Posterior")
    lines = find_dataset(tmp_path, ("t1",), ("head", "anterior")).lines
    assert lines[1] == "Labels that are called like no class here are asked about where they occur: 2 (Posterior)."
    lines = find_dataset(tmp_path, ("t1",), ("head", "body")).lines
    assert lines[1].startswith("Labels that are called like no class here are taken by their numbers: 1 (Anterior)")


def test_the_first_nnunet_numbers_its_channels_too(tmp_path):
    """No channel becomes a case of its own, or every sequence."""
    touch(tmp_path, *(f"imagesTr/a_{channel:04d}.nii.gz" for channel in (0, 1)), "labelsTr/a.nii.gz")
    about = {"modality": {"0": "FLAIR", "1": "T1"}, "labels": {"0": "background", "1": "lesion"}}
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    found = find_dataset(tmp_path, ("flair", "t1"), ("lesion",))
    (case,) = found.cases
    assert found.lines[0].startswith("An nnU-Net data set of 1 case; ")
    assert case.id == "a" and case.mask is not None and case.choices == {}
    assert {name: path.name for name, path in case.images.items()} == {
        "flair": "a_0000.nii.gz", "t1": "a_0001.nii.gz",
    }  # fmt: skip


@pytest.mark.parametrize("layout", ["nnunet", "bids"])
def test_a_label_of_a_data_set_that_is_no_class_never_becomes_one_by_its_number(tmp_path, layout):
    """Edema is 1 there, and tumor, which is 1 here, is 2: edema is asked about, where it occurs."""
    drawn = labels(3, classes=2)
    folder = tmp_path / ("in/imagesTr" if layout == "nnunet" else "in/sub-1/anat")
    mask = tmp_path / (
        "in/labelsTr/c.nii.gz" if layout == "nnunet" else "in/derivatives/m/sub-1/anat/sub-1_dseg.nii.gz"
    )
    images, _ = write_case(tmp_path / "source", 3)
    for path in (folder, mask.parent):
        path.mkdir(parents=True)
    if layout == "nnunet":
        shutil.copy(images["flair"], folder / "c_0000.nii.gz")
        about = {"channel_names": {"0": "flair"}, "labels": {"background": 0, "edema": 1, "tumor": 2}}
        (tmp_path / "in" / "dataset.json").write_text(json.dumps(about))
    else:
        shutil.copy(images["flair"], folder / "sub-1_FLAIR.nii.gz")
        (tmp_path / "in" / "dataset_description.json").write_text("{}")
        mask.with_name("sub-1_dseg.tsv").write_text("index\tname\n1\tedema\n2\ttumor\n")
    write_labels(mask, drawn, geometry())
    (found,) = find_dataset(tmp_path / "in", ("flair",), ("tumor",)).cases
    with Project.create(tmp_path / "p", ["tumor"], ["flair"]) as project:
        with pytest.raises(Question, match="edema") as question:
            project.add_case(found.id, found.images, found.mask, "all", choices=found.choices)
        assert "1:255" in question.value.options
        answered = with_answers(found.choices, {"labels": "1:0"})
        project.add_case(found.id, found.images, found.mask, "all", choices=answered)
        assert np.array_equal(project.mask(found.id), (drawn == 2).astype(np.uint8))


@pytest.mark.parametrize("sequences", ["flair,t2,t1gd", "t2"])
def test_channels_of_one_file_are_sequences_of_their_own(tmp_path, sequences):
    """A Medical Decathlon file of three channels, and a project of all of them or of one that is not the first."""
    images, mask = write_case(tmp_path / "in", 1)
    whole = nib.load(images["flair"])
    channels = np.stack([np.asarray(whole.dataobj) + 1000 * number for number in range(3)], -1)
    for place in ("imagesTr", "labelsTr"):
        (tmp_path / "set" / place).mkdir(parents=True)
    nib.save(nib.Nifti1Image(channels, whole.affine), tmp_path / "set" / "imagesTr" / "x_001.nii.gz")
    mask.rename(tmp_path / "set" / "labelsTr" / "x_001.nii.gz")
    about = {"modality": {"0": "FLAIR", "1": "t1gd", "2": "T2"}, "labels": {"0": "background", "1": "lesion"}}
    (tmp_path / "set" / "dataset.json").write_text(json.dumps(about))
    segmatch("new", tmp_path / "p", "--sequences", f"{sequences},adc")
    done = segmatch("add", tmp_path / "p", tmp_path / "set")
    assert "1 of 1 case added" in done.stdout, done.stderr
    assert "adc: found for 0 of 1 case; it is used without it." in done.stdout
    with Project.open(tmp_path / "p") as project:
        pixels = project.volume("x_001").pixels
        means = {name: pixels[number].mean() for number, name in enumerate(project.sequences)}
    first = channels[..., 0].mean()
    assert means["t2"] == pytest.approx(first + 2000)
    assert means.get("flair", first) == pytest.approx(first)
    assert means.get("t1gd", first + 1000) == pytest.approx(first + 1000)


def test_a_bids_data_set_is_read(tmp_path):
    """Sessions are cases of one patient; contrast is told by ce-; labels are renumbered by the table beside them."""
    touch(tmp_path, "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz", "sub-01/ses-a/anat/sub-01_ses-a_ce-gd_T1w.nii.gz",
          "sub-01/ses-b/anat/sub-01_ses-b_FLAIR.nii.gz", "sub-01/ses-b/anat/sub-01_ses-b_FLAIR.json",
          "derivatives/x/sub-01/ses-b/anat/sub-01_ses-b_desc-x_dseg.nii.gz")  # fmt: skip
    (tmp_path / "dataset_description.json").write_text("{}")
    table = tmp_path / "derivatives/x/sub-01/ses-b/anat/sub-01_ses-b_desc-x_dseg.tsv"
    table.write_text("index\tname\n0\tbackground\n7\tlesion\n")
    first, second = find_dataset(tmp_path, ("flair", "t1", "t1ce"), ("lesion",)).cases
    assert (first.id, sorted(first.images), first.patient) == ("sub-01_ses-a", ["t1", "t1ce"], "sub-01")
    assert "ce-gd" in first.images["t1ce"].name and "ce-" not in first.images["t1"].name
    assert (second.patient, second.choices) == ("sub-01", {"labels": "7:1"})
    assert find_dataset(tmp_path, ("pre", "post"), ("lesion",)).cases[0].images["pre"] == first.images["t1"]


@pytest.mark.parametrize("table", ["dseg.tsv", "desc-x_dseg.tsv", "sub-01/dseg.tsv"])
def test_a_table_of_labels_for_a_whole_bids_derivative_is_found(tmp_path, table):
    """BIDS lets what lies further up hold for all below; a mask's own table comes first."""
    mask = "derivatives/x/sub-01/anat/sub-01_desc-x_dseg"
    touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", f"{mask}.nii.gz")
    (tmp_path / "dataset_description.json").write_text("{}")
    (tmp_path / "derivatives/x" / table).write_text("index\tname\n7\tlesion\n")
    (case,) = find_dataset(tmp_path, ("t1",), ("lesion",)).cases
    assert case.choices == {"labels": "7:1"}
    (tmp_path / f"{mask}.tsv").write_text("index\tname\n8\tlesion\n")
    (case,) = find_dataset(tmp_path, ("t1",), ("lesion",)).cases
    assert case.choices == {"labels": "8:1"}


def test_a_monai_label_data_store_is_read_and_kept_inside(tmp_path):
    """Final labels before original ones; a table may not name files elsewhere."""
    touch(tmp_path, "in/a.nii.gz", "in/labels/final/a.nii.gz", "in/labels/original/a.nii.gz", "secret.nii.gz")
    kind = {"ext": ".nii.gz"}
    objects = {"a": {"image": kind, "labels": {"original": kind, "final": kind}}, "../secret": {"image": kind}}
    (tmp_path / "in" / "datastore_v2.json").write_text(json.dumps({"objects": objects}))
    (case,) = find_dataset(tmp_path / "in", ("flair",), ("lesion",)).cases
    assert (case.id, case.mask.parent.name) == ("a", "final")


@pytest.mark.parametrize(
    ("told", "choices"),
    [
        ([{"name": "Core", "idx": 1}, {"name": "edema", "idx": 2}], {"labels": "1:2,2:1"}),
        ([{"name": "Core", "idx": 2}, {"name": "edema", "idx": 3}], {}),
        ([{"name": "Core"}], {}),
        ("nonsense", {}),
    ],
)
def test_names_that_monai_label_notes_find_their_classes(tmp_path, told, choices):
    """Where a segment was left out of the mask, its numbers are others than those that 3D Slicer's plug-in noted."""
    touch(tmp_path, "a.nii.gz", "labels/final/a.nii.gz")
    kind = {"ext": ".nii.gz", "info": {"label_info": told}}
    about = {"objects": {"a": {"image": kind, "labels": {"final": kind}}}}
    (tmp_path / "datastore_v2.json").write_text(json.dumps(about))
    (case,) = find_dataset(tmp_path, ("flair",), ("edema", "core")).cases
    assert case.choices == choices


def test_a_bids_export_alone_says_where_it_belongs(tmp_path):
    """It is a derivative: its images lie in the data set that it was made from."""
    with small_project(tmp_path, cases=1, labelled=1) as project:
        project.export(tmp_path / "out", layout="bids")
    with pytest.raises(ImportProblem, match=r"without any image of flair, but with masks: put it into derivatives/"):
        find_dataset(tmp_path / "out", ("flair",), ("lesion",))


def test_a_note_is_told_at_its_case_and_once_for_all_others(tmp_path):
    """Adding may take hours and be stopped; that each of a hundred masks says the same is one line."""
    (tmp_path / "in" / "labelsTr").mkdir(parents=True)
    about = {"channel_names": {"0": "flair"}, "labels": {"background": 0, "tumor": 1}}
    (tmp_path / "in" / "dataset.json").write_text(json.dumps(about))
    for seed, name in enumerate("abc"):
        images, mask = write_case(tmp_path / "source" / name, seed)
        (tmp_path / "in" / "imagesTr").mkdir(exist_ok=True)
        images["flair"].rename(tmp_path / "in" / "imagesTr" / f"{name}_0000.nii.gz")
        mask.rename(tmp_path / "in" / "labelsTr" / f"{name}.nii.gz")
    segmatch("new", tmp_path / "p")
    said = segmatch("add", tmp_path / "p", tmp_path / "in").stderr.splitlines()
    assert [line for line in said if "tumor" in line] == [
        "a: a.nii.gz calls a label “tumor”, which is no class here; its labels are taken by their numbers.",
        "b, c: its file calls a label “tumor”, which is no class here; its labels are taken by their numbers.",
    ]


@pytest.mark.parametrize("name", ["dataset.json", "datastore_v2.json", "dataset_description.json"])
@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"labels": {"x": [1, 2]}}', "\x00"])
def test_a_broken_data_set_gets_a_sentence(tmp_path, name, text):
    """Whatever stands in the description."""
    (tmp_path / name).write_text(text)
    with pytest.raises(ImportProblem) as caught:
        find_dataset(tmp_path, ("flair",), ("lesion",))
    assert "\n" not in str(caught.value)


# Label tables


def test_tables_of_an_export_have_the_colours_of_the_window(tmp_path):
    """Nobody chose one: a class was orange in the window, and red in the program that the masks went to."""
    names = [f"organ {number}" for number in range(1, 13)]
    (tmp_path / "snap.txt").write_text(itksnap_table(names, {"organ 2": "#112233"}))
    shown, _ = palette(names, {"organ 2": "#112233"})
    assert read_label_table(tmp_path / "snap.txt").colours == dict(zip(names, shown, strict=True))


def test_label_tables_come_back(tmp_path):
    """ITK-SNAP's and 3D Slicer's files: names and colours."""
    names, colours = ("tumour core", 'it"s'), {"tumour core": "#102030"}
    (tmp_path / "snap.txt").write_text(itksnap_table(names, colours))
    (tmp_path / "slicer.ctbl").write_text(slicer_table(names, colours))
    snap, slicer = read_label_table(tmp_path / "snap.txt"), read_label_table(tmp_path / "slicer.ctbl")
    assert snap.names == ("tumour core", "it's")
    assert slicer.names == names
    assert snap.colours["tumour core"] == slicer.colours["tumour core"] == "#102030"
    assert segmatch("new", tmp_path / "p", "--label-table", tmp_path / "snap.txt").returncode == 0
    with Project.open(tmp_path / "p") as project:
        assert project.classes == ("tumour core", "it's")
        assert project.colours["tumour core"] == "#102030"


def test_a_label_to_ignore_is_no_class(tmp_path):
    """nnU-Net's dataset.json makes a project of its classes alone; a region of several labels is told."""
    about = {"labels": {"background": 0, "core": 1, "edema": 2, "ignore": 3}}
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    assert segmatch("new", tmp_path / "p", "--label-table", tmp_path / "dataset.json").returncode == 0
    with Project.open(tmp_path / "p") as project:
        assert project.classes == ("core", "edema")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"whole": [1, 2]}}))
    for read in (read_label_table, lambda path: find_dataset(path.parent, ("flair",), ("core",))):
        with pytest.raises(ImportProblem, match=r"dataset\.json makes whole of several labels: write one number"):
            read(tmp_path / "dataset.json")


@pytest.mark.parametrize("text", ["", "1 a", "1 a 0 0 0\n3 b 0 0 0", "x y z", "\x00\x01"])
def test_a_table_that_is_none_gets_a_sentence(tmp_path, text):
    """Empty, half, with a gap, or something else."""
    (tmp_path / "t.ctbl").write_text(text)
    with pytest.raises(ImportProblem, match=r"t\.ctbl"):
        read_label_table(tmp_path / "t.ctbl")


def test_every_topic_that_files_are_asked_about_can_be_answered():
    """The shell takes answers to these alone: one that is missing here could not be given."""
    package = Path(__file__).parent.parent / "napari_segmatch"
    source = "".join(path.read_text("utf-8") for room in ("io", "project") for path in (package / room).glob("*.py"))
    asked = re.findall(r'\bask\(\s*choices,\s*"(\w+)"|Question\(.*?"(\w+)",', source)
    assert {one or other for one, other in asked} == set(TOPICS)
