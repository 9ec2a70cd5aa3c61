"""DICOM series and segmentations: true geometry or one clear sentence, as dcm2niix and dciodvfy see it too."""

import itertools
import re
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import nibabel as nib
import numpy as np
import pytest
from dicom_series import enhanced, plane, series
from scipy.spatial.transform import Rotation
from test_nifti import problem

from napari_segmatch.errors import ImportProblem, ProjectError, Question
from napari_segmatch.io import (
    Code,
    encode_segmentation,
    find_dataset,
    read_mask,
    read_sequences,
    read_volume,
    scan_dicom,
    study_of,
    write_image,
)
from napari_segmatch.io.dicom_stack import load_dicom, sort_slices
from napari_segmatch.project import Project

pydicom = pytest.importorskip("pydicom")
TEST_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
DCM2NIIX = shutil.which("dcm2niix") or next(iter(Path(sys.executable).parent.glob("dcm2niix*")), None)
DCIODVFY = shutil.which("dciodvfy")

AXES = np.eye(3)
ORIENTATIONS = [
    (*AXES[i] * s, *AXES[j] * t)
    for i, j in itertools.permutations(range(3), 2)
    for s, t in itertools.product((1, -1), repeat=2)
]
EVERY = [(orientation, gap) for orientation in ORIENTATIONS for gap in (3.0, -3.0)]


def tilted(*angles):
    matrix = Rotation.from_euler("zyx", angles, degrees=True).as_matrix().round(9)
    return (*matrix[0], *matrix[1])


# Place


def test_voxels_lie_where_the_headers_say(tmp_path):
    """The first pixel of a slice is at its ImagePositionPatient, in RAS."""
    series(tmp_path / "s")
    volume = read_volume(tmp_path / "s")
    assert volume.pixels.shape == (1, 6, 8, 10)
    assert volume.geometry.spacing == (3.0, 1.5, 1.2)
    for z in range(6):
        index = np.array([z, 7, 0, 1])  # rows are counted from the bottom
        assert np.allclose(volume.geometry.affine @ index, [20, 30, 5 + 3 * z, 1])
        assert np.array_equal(volume.pixels[0, z, ::-1], plane(z))


@pytest.mark.skipif(DCM2NIIX is None, reason="dcm2niix is not installed")
@pytest.mark.parametrize("kind", ["straight", "backwards", "oblique", "signed"])
def test_dcm2niix_sees_the_same(tmp_path, kind):
    """In every orientation the NIfTI that dcm2niix makes has our voxels in our order, and our affine."""
    orientations = [tilted(20, 5, -8), tilted(-50, 30, 70), tilted(100, -35, 12)] if kind == "oblique" else ORIENTATIONS
    tags = {"PixelRepresentation": 1, "RescaleSlope": 0.5, "RescaleIntercept": -7} if kind == "signed" else {}
    for number, orientation in enumerate(orientations[:3] if kind == "signed" else orientations):
        folder = tmp_path / f"s{number}"
        series(folder, orient=orientation, gap=-3.0 if kind == "backwards" else 3.0, **tags)
        subprocess.run(
            [DCM2NIIX, "-z", "n", "-b", "n", "-o", tmp_path, "-f", f"n{number}", folder],
            check=True,
            capture_output=True,
        )
        theirs, ours = nib.load(tmp_path / f"n{number}.nii"), load_dicom(folder, {})
        assert np.array_equal(np.asarray(theirs.dataobj), ours.stored * ours.slope + ours.inter)
        assert np.allclose(theirs.affine, ours.affine, atol=1e-4)


def test_order_comes_from_positions_alone(tmp_path):
    """Instance numbers and file names may say what they like."""

    def shuffled(data, z):
        data.InstanceNumber = (z * 5) % 7

    series(tmp_path / "s", n=7, edit=shuffled)
    assert [int(p[-1, 0]) for p in read_volume(tmp_path / "s").pixels[0]] == [100 * z for z in range(7)]


def test_distance_is_that_of_positions_not_the_thickness(tmp_path):
    """Slices may overlap or have gaps: SliceThickness says nothing of that."""
    series(tmp_path / "s", SpacingBetweenSlices=9)
    assert read_volume(tmp_path / "s").geometry.spacing[0] == pytest.approx(3)


def test_any_file_stands_for_its_series(tmp_path):
    """A project keeps one file's path; the volume is the same whichever it is."""
    files = series(tmp_path / "s")
    series(tmp_path / "s" / "other", SeriesNumber=4)
    whole = read_volume(tmp_path / "s" / "other").pixels
    assert all(np.array_equal(read_volume(file).pixels, whole) for file in files)


# What does not make up one volume


def gone(*missing):
    return lambda folder: [file.unlink() for z, file in enumerate(series(folder, n=10)) if z in missing]


def changed(**by_slice):
    """Return what writes a series in which tags of some slices are others."""

    def edit(data, z):
        for name, values in by_slice.items():
            if z in values:
                setattr(data, name, values[z])

    return lambda folder: series(folder, edit=edit)


TROUBLE = {
    "missing": (gone(4, 5), "misses 2 of 10 slices, at 17, 20 mm", "gap=longest", (4, 8, 10)),
    "uneven": (
        changed(ImagePositionPatient={5: [-20, -30, 21.3]}), "slices 3 to 4.3 mm apart", "gap=longest", (5, 8, 10)
    ),
    "double": (
        changed(ImagePositionPatient={5: [-20, -30, 17]}), "two different slices at 17 mm", "slice=last", (5, 8, 10)
    ),
    "tilted": (
        changed(ImagePositionPatient={z: [-20, -30 + 0.5 * z, 5 + 3 * z] for z in range(6)}),
        "gantry tilt", "shear=keep", (6, 8, 10),
    ),
    "mixed": (changed(ImageOrientationPatient={5: [1, 0, 0, 0, 0, -1]}), "holds 2 volumes", "stack=1", (5, 8, 10)),
    "pixels": (changed(PixelSpacing={5: [2, 2]}), "holds 2 volumes", "stack=1", (5, 8, 10)),
    "echoes": (changed(EchoTime={3: 20, 4: 20, 5: 20}), "holds 2 volumes", "stack=2", (3, 8, 10)),
    "b-values": (changed(DiffusionBValue={3: 1000.0, 4: 1000.0, 5: 1000.0}), "b=1000", "stack=1", (3, 8, 10)),
    "time": (
        changed(ImagePositionPatient={z: [-20, -30, 5 + 3 * (z % 3)] for z in range(6)}),
        "time 2 of 2", "stack=2", (3, 8, 10),
    ),
    "nowhere": (
        changed(ImagePositionPatient=dict.fromkeys(range(6)), ImageOrientationPatient=dict.fromkeys(range(6))),
        "does not state where left and right are", "orientation=unknown", (6, 8, 10),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TROUBLE)
def test_a_doubtful_series_is_asked_about(tmp_path, name):
    """The sentence says what is wrong and where; the answer it offers gives a volume."""
    write, says, answer, shape = TROUBLE[name]
    write(tmp_path / "s")
    with pytest.raises(Question, match=says) as caught:
        read_volume(tmp_path / "s")
    assert answer in str(caught.value)
    assert str(caught.value).startswith("s ")
    volume = read_volume(tmp_path / "s", dict([answer.split("=")]))
    assert volume.pixels.shape[1:] == shape
    assert volume.geometry.known == (name != "nowhere")


def test_the_same_slice_twice_is_taken_once(tmp_path):
    """Copies of a file, and slices sent twice under another number, change nothing but a note."""
    files = series(tmp_path / "s")
    shutil.copy(files[2], tmp_path / "s" / "copy")
    again = pydicom.dcmread(files[3])
    again.SOPInstanceUID = again.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    again.save_as(tmp_path / "s" / "again")
    volume = read_volume(tmp_path / "s")
    assert volume.pixels.shape == (1, 6, 8, 10)
    assert "has 1 slices twice" in volume.notes[0]
    assert scan_dicom(tmp_path / "s").skipped == {"is a copy of another file": 1}


def test_pixels_that_are_cut_off_are_refused_by_name(tmp_path):
    """One slice is broken: its file is named, and no volume without it is made up."""

    def cut(data, z):
        if z == 2:
            data.PixelData = data.PixelData[:-50]

    files = series(tmp_path / "s", edit=cut)
    message = problem(read_volume, tmp_path / "s")
    assert message.startswith(files[2].name)
    assert "cut off" in message


def test_patients_studies_and_series_are_never_merged(tmp_path):
    """Each is a volume of its own, whatever they share."""
    for number, tags in enumerate(({"SeriesNumber": 8}, {"PatientID": "P2"}, {})):
        for file in series(tmp_path / str(number), **tags):
            file.rename(tmp_path / f"{number}-{file.name}")
    assert [len(stack.slices) for stack in scan_dicom(tmp_path).stacks] == [6, 6, 6]
    assert "holds 3 volumes" in problem(read_volume, tmp_path)


@pytest.mark.parametrize("kind", [["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"], "MOSAIC"])
def test_a_mosaic_is_not_taken_for_a_slice(tmp_path, kind):
    """All slices of a volume in one picture: where each lies is in no public tag."""
    files = series(tmp_path / "s", n=2, ImageType=kind)
    reason = "is a Siemens mosaic, with all slices tiled into one picture: turn it into NIfTI with dcm2niix"
    assert problem(read_volume, files[0]) == f"{files[0].name} {reason}."
    assert f"holds no DICOM image (2 files left out: each {reason}): " in problem(read_volume, tmp_path / "s")
    with pytest.raises(ImportProblem, match="each is a Siemens mosaic"):
        find_dataset(tmp_path, ("flair",), ("lesion",))


def test_a_series_in_two_folders_is_not_taken_for_two(tmp_path):
    """Half a series is no volume: it is left out with the reason."""
    files = series(tmp_path / "a")
    (tmp_path / "b").mkdir()
    for file in files[3:]:
        file.rename(tmp_path / "b" / file.name)
    scan = scan_dicom(tmp_path)
    assert not scan.stacks
    assert "lies in several folders" in next(iter(scan.skipped))
    said = "series 3 “AX FLAIR” echo 90 ms, MR, which lies in several folders: put its files into one"
    assert scan.left_out == [f"6 files left out: each is of {said}."]
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ImportProblem) as caught:
        find_dataset(tmp_path, ("flair",), ("lesion",))
    assert f"holds no DICOM MR volume (6 files left out: each is of {said}): of other files" in str(caught.value)


def test_a_folder_without_any_dicom_is_said_in_plain_words(tmp_path):
    """Files that are something else are no trouble of theirs."""
    for name in ("a.nii", "b.nii"):
        (tmp_path / name).write_text("hello")
    assert scan_dicom(tmp_path).left_out == ["2 files left out: each is no DICOM file."]
    with pytest.raises(ImportProblem, match="holds no DICOM MR volume: of other files say"):
        find_dataset(tmp_path, ("flair",), ("lesion",))


# Pixels


def test_bits_outside_of_the_number_are_no_part_of_it(tmp_path):
    """Twelve bits with an overlay in the others, signed."""

    def overlay(data, z):
        data.BitsStored, data.HighBit, data.PixelRepresentation = 12, 11, 1
        data.PixelData = ((plane(z).astype("<i4") - 300).astype("<u2") & 0x0FFF | 0xA000).tobytes()

    series(tmp_path / "s", edit=overlay)
    assert np.array_equal(read_volume(tmp_path / "s").pixels[0, 0, ::-1], plane(0).astype(float) - 300)


def test_each_slice_has_its_own_scale(tmp_path):
    """Some scanners scale each slice to its own range."""

    def scaled(data, z):
        data.RescaleSlope, data.RescaleIntercept = 0.5 + z, -z

    series(tmp_path / "s", edit=scaled)
    for z, pixels in enumerate(read_volume(tmp_path / "s").pixels[0, :, ::-1]):
        assert np.allclose(pixels, plane(z) * (0.5 + z) - z)


def test_inverted_grey_is_kept_and_said(tmp_path):
    """MONOCHROME1 is about display: values stay."""
    series(tmp_path / "s", PhotometricInterpretation="MONOCHROME1")
    volume = read_volume(tmp_path / "s")
    assert np.array_equal(volume.pixels[0, 0, ::-1], plane(0))
    assert "MONOCHROME1" in volume.notes[0]


def test_every_packing_gives_the_same_pixels(tmp_path):
    """Big-endian, implicit, deflated-length, RLE, JPEG 2000 and JPEG-LS: pydicom's own files of one slice."""
    names = ["", "_bigendian", "_implicit", "_RLE", "_jp2klossless", "_jpeg_ls_lossless", "_expb", "_padded"]
    pixels = []
    for name in names:
        folder = tmp_path / (name or "plain")
        folder.mkdir()
        shutil.copy(TEST_FILES / f"MR_small{name}.dcm", folder)
        pixels.append(read_volume(folder).pixels)
    assert all(np.array_equal(other, pixels[0]) for other in pixels)
    shutil.copy(TEST_FILES / "JPGExtended.dcm", tmp_path / "x.dcm")
    assert "packed as JPEG Extended" in problem(read_volume, tmp_path / "x.dcm", {"orientation": "unknown"})


def test_a_deflated_bomb_is_not_unpacked(tmp_path):
    """Five megabytes of zeros, deflated, would be five gigabytes."""
    content = (TEST_FILES / "image_dfl.dcm").read_bytes()
    (tmp_path / "b.dcm").write_bytes(content + bytes(5 * 2**20))
    assert "holds no grey DICOM image" in problem(read_volume, tmp_path / "b.dcm")
    assert scan_dicom(tmp_path).skipped == {"is deflated and large": 1}


# Enhanced


def test_frames_of_one_file_are_sorted_and_scaled(tmp_path):
    """Frames may stand in any order; scale and place are each frame's own."""
    enhanced(tmp_path / "e.dcm", order=[3, 0, 5, 1, 4, 2])
    volume = read_volume(tmp_path / "e.dcm")
    assert np.allclose(volume.geometry.affine @ [0, 7, 0, 1], [20, 30, 5, 1])
    for z, pixels in enumerate(volume.pixels[0, :, ::-1]):
        assert np.array_equal(pixels, plane(z) * 2.0 - 1)


def test_echoes_of_one_file_are_volumes_of_their_own(tmp_path):
    """Which one is wanted is asked."""
    enhanced(tmp_path / "e.dcm", echoes=2)
    assert "stack=2 (series 3 “AX FLAIR” echo 60 ms" in problem(read_volume, tmp_path / "e.dcm")
    second = read_volume(tmp_path / "e.dcm", {"stack": "2"})
    assert np.array_equal(second.pixels[0, 1, ::-1], (plane(1) + 1000) * 2.0 - 1)


def test_echoes_of_one_file_are_the_sequences_that_they_were_told_to_be(tmp_path):
    """Read again as such too. A segmentation of one of them has no place in DICOM, which is said."""
    enhanced(tmp_path / "in" / "a" / "e.dcm", echoes=2)
    (found,) = find_dataset(tmp_path / "in", ("pd", "t2"), ("x",), {"pd": "*echo 60*", "t2": "*echo 30*"}).cases
    assert found.choices == {"stack:pd": "2", "stack:t2": "1"}
    with Project.create(tmp_path / "p", ["x"], ["pd", "t2"]) as project:
        project.add_case("a", found.images, choices=found.choices)
        pd, t2 = project.volume("a").pixels
        assert np.array_equal(t2[0, ::-1], plane(0) * 2.0 - 1)
        assert np.array_equal(pd - t2, np.full(pd.shape, 2000))
        project.save_mask("a", np.zeros(pd.shape, np.uint8), done=range(len(pd)))
        with pytest.raises(ProjectError, match=r"e\.dcm holds several volumes"):
            project.export(tmp_path / "out", layout="dicom-seg")


def test_sequences_that_share_a_file_are_asked_about_one_by_one(tmp_path):
    """One answer for all of them would give each the same pixels."""
    images = dict.fromkeys(("pd", "t2"), enhanced(tmp_path / "e.dcm", echoes=2))
    assert "2 volumes, and one is wanted for pd: choose stack:pd=1" in problem(read_sequences, images, ["pd", "t2"])
    assert "stack:t2=1" in problem(read_sequences, images, ["pd", "t2"], {"stack:pd": "1"})
    pd, t2 = read_sequences(images, ["pd", "t2"], {"stack:pd": "1", "stack:t2": "2"}).pixels
    assert np.array_equal(t2 - pd, np.full(pd.shape, 2000))


# Real files


def test_what_is_no_volume_is_counted_with_the_reason():
    """Pydicom's own files: reports, waveforms, plans, colours, broken ones."""
    skipped = scan_dicom(TEST_FILES).skipped
    for reason in (
        "is no DICOM file",
        "holds colours",
        "holds no image (SR)",
        "holds no image (ECG)",
        "is a localizer",
    ):
        assert skipped[reason] > 0


def test_contours_are_refused_with_what_to_turn_them_into():
    """Pydicom's own structure set, as a mask and in a folder: clinics have most of their drawings as such."""
    said = problem(read_mask, TEST_FILES / "rtstruct.dcm")
    assert "holds contours (RTSTRUCT)" in said and "a DICOM segmentation or NIfTI" in said and "SlicerRT" in said
    assert any(reason in said for reason in scan_dicom(TEST_FILES).skipped)


@pytest.mark.skipif(DCM2NIIX is None, reason="dcm2niix is not installed")
def test_a_real_series_agrees_with_dcm2niix(tmp_path):
    """Slices of a real MR and of a real CT series that pydicom brings along."""
    for place in ("77654033/CT2", "98892001/CT5N"):
        folder = TEST_FILES / "dicomdirtests" / place
        (stack,) = scan_dicom(folder).stacks
        placed = sort_slices(stack, place, {"gap": "longest"})
        part = tmp_path / folder.name
        part.mkdir()
        for item in placed.slices:
            shutil.copy(item.path, part)
        ours = load_dicom(part, {})
        assert ours.stored.shape[2] == len(placed.slices) > 2
        run = [DCM2NIIX, "-z", "n", "-b", "n", "-o", tmp_path, "-f", folder.name, part]
        subprocess.run(run, check=True, capture_output=True)
        theirs = nib.load(tmp_path / f"{folder.name}.nii")
        assert np.array_equal(theirs.get_fdata(), ours.stored * ours.slope + ours.inter)
        assert np.allclose(theirs.affine, ours.affine, atol=1e-2)


# Cases


def test_a_folder_of_dicom_becomes_cases(tmp_path):
    """A study is a case, named after its folder and never after its patient; a series is a sequence by its name."""
    for patient in ("one", "two"):
        uid = pydicom.uid.generate_uid()
        for name, description in {"a": "AX FLAIR", "b": "SAG T1 MPRAGE", "c": "DWI"}.items():
            tags = {"SeriesDescription": description, "StudyInstanceUID": uid, "PatientID": f"ZZCANARY-{patient}"}
            series(tmp_path / patient / name, **tags)
    found = find_dataset(tmp_path, ("flair", "t1"), ("lesion",))
    assert [(case.id, sorted(case.images)) for case in found.cases] == [
        ("one", ["flair", "t1"]),
        ("two", ["flair", "t1"]),
    ]
    assert any("left out series 3 “DWI”" in line for line in found.lines)
    assert not any("CANARY" in line for line in found.lines)


@pytest.mark.parametrize(
    ("folder", "name", "identifies"),
    [
        ("DOE^JOHN", "DOE^JOHN", True),
        ("Mueller_Juergen_2024", "Müller^Jürgen", True),
        ("MULLER", "Müller^Jürgen", True),
        ("Lee-3", "LEE^KIM", True),
        ("sleep-3", "LEE^KIM", False),
        ("TCGA_CS_4941", "TCGA-CS-4941", False),
        ("patient-03", "Anonymous^Patient", False),
        ("one", "", False),
    ],
)
def test_a_case_is_not_called_like_its_patient(tmp_path, folder, name, identifies):
    """Archives call folders after patients, and a case's name goes into logs, tables and exports."""
    uid = pydicom.uid.generate_uid()
    tags = {"SpecificCharacterSet": "ISO_IR 100", "PatientName": name, "StudyInstanceUID": uid}
    series(tmp_path / "all" / folder / "SE1", **tags)
    (case,) = find_dataset(tmp_path / "all", ("flair",), ("lesion",)).cases
    assert case.id.startswith("study-") == identifies
    again = tmp_path / "again"
    series(again / "AAA" / "SE1", PatientID="P0")
    series(again / folder / "SE1", **tags)
    assert case.id in {each.id for each in find_dataset(again, ("flair",), ("lesion",)).cases}


def test_files_that_may_not_be_read_are_called_that(tmp_path, monkeypatch):
    """A share without permission is no folder of strange formats; once it is given, it is looked at anew."""
    files = series(tmp_path / "one")
    with monkeypatch.context() as denied:
        denied.setattr("os.access", lambda path, mode: False)
        with pytest.raises(ImportProblem, match="6 files left out: each cannot be opened: check its permissions"):
            find_dataset(tmp_path, ("flair",), ("lesion",))
        denied.setattr("pathlib.Path.open", Mock(side_effect=PermissionError(13, "Permission denied")))
        assert "IM0006 cannot be opened (Permission denied): check its permissions" in problem(read_volume, files[0])
    assert len(find_dataset(tmp_path, ("flair",), ("lesion",)).cases) == 1


def test_a_study_that_comes_later_gives_no_other_a_new_name(tmp_path):
    """Added once more with it, each is the case that it was; of one patient's studies the names tell whose they are."""

    def names():
        found = find_dataset(tmp_path / "all", ("flair",), ("lesion",))
        return {study_of(case.images["flair"]): case.id for case in found.cases}, found.lines

    for visit in "12":
        series(tmp_path / "all" / "P-1" / visit, StudyInstanceUID=f"1.2.{visit}")
        series(tmp_path / "all" / "DOE" / visit, PatientID="P2", PatientName="DOE^J", StudyInstanceUID=f"1.3.{visit}")
        series(tmp_path / "all" / "mixed" / visit, PatientID=visit, StudyInstanceUID=f"1.4.{visit}")
    before, lines = names()
    wanted = {"1.2": r"P-1-\w{8}", "1.3": r"study-\w{8}", "1.4": r"study-\w{8}"}
    assert all(re.fullmatch(wanted[uid[:3]], id) for uid, id in before.items())
    assert len({*before.values()}) == 6 and sum("digits that stay the same" in line for line in lines) == 1
    series(tmp_path / "all" / "DOE" / "0", PatientID="P2", PatientName="DOE^J", StudyInstanceUID="1.3.0")
    series(tmp_path / "all" / "Alone", PatientID="P3")
    after, _ = names()
    assert before.items() <= after.items() and "Alone" in after.values()


def test_a_study_that_was_exported_twice_is_one(tmp_path):
    """Its copies are left out as such, wherever they lie; an index and localizers are each told of once."""
    uid = pydicom.uid.generate_uid()
    series(tmp_path / "a" / "SE1", StudyInstanceUID=uid)
    for number, orientation in enumerate(ORIENTATIONS[:3]):
        tags = {"SeriesDescription": "LOC", "StudyInstanceUID": uid, "SeriesInstanceUID": f"{uid}.1"}
        series(tmp_path / "a" / f"LOC{number}", n=3, shape=(8, 8), orient=orientation, **tags)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.copy(TEST_FILES / "dicomdirtests" / "DICOMDIR", tmp_path)
    found = find_dataset(tmp_path, ("flair",), ("lesion",))
    (case,) = found.cases
    assert case.images["flair"].parent == tmp_path / "a" / "SE1"
    assert "15 files left out: each is a copy of another file." in found.lines
    assert "1 file left out: it is the index of a disc (DICOMDIR)." in found.lines
    assert sum("LOC" in line for line in found.lines) == 1


def test_files_that_do_not_say_which_they_are_are_no_copies(tmp_path):
    """Two halves of a series whose files are called alike: one of them had been left out as a copy of the other."""

    def anonymous(data, z):
        data.SOPInstanceUID = ""

    for folder, start in (("a", 5), ("b", 14)):
        origin = (-20, -30, start)
        series(tmp_path / folder, n=3, origin=origin, SeriesInstanceUID="1.2.3", edit=anonymous)
    (reason,) = scan_dicom(tmp_path).skipped.items()
    assert "lies in several folders" in reason[0] and reason[1] == 6


def test_two_series_for_one_sequence_are_asked_about(tmp_path):
    """None is taken at random; --series says which."""
    uid = pydicom.uid.generate_uid()
    for name, description in {"a": "AX FLAIR", "b": "COR FLAIR"}.items():
        series(tmp_path / "one" / name, SeriesDescription=description, StudyInstanceUID=uid)
    with pytest.raises(Exception, match="2 series could be flair"):
        find_dataset(tmp_path, ("flair",), ("lesion",))
    found = find_dataset(tmp_path, ("flair",), ("lesion",), {"flair": "cor*"})
    assert found.cases[0].images["flair"].parent.name == "b"


@pytest.mark.parametrize(
    ("description", "sequences", "taken"),
    [
        ("Ax T2 FLAIR", ("t2", "t1", "flair"), "flair"),
        ("Ax T2 TSE", ("t2", "flair"), "t2"),
        ("Ax T1 POST GD", ("t1", "post"), "post"),
        ("T1_MPRAGE_SAG_+C", ("t1w", "t1ce", "t2w"), "t1ce"),
        ("T1 PRE CONTRAST", ("t1", "t1ce"), "t1"),
        ("T2 FLAIR POST", ("t2", "flair", "post"), "flair"),
        ("t1_3D_post", ("t1", "T1-post"), "T1-post"),
        ("T1W_3D_TFE", ("t1", "t2"), "t1"),
        ("PST 1MM", ("t1", "t2"), None),
        ("T10 spine", ("t1w", "t2"), None),
        ("AX T1 POSTCONTRAST", ("t1", "t1post"), "t1post"),
        ("T1_POSTGAD", ("t1", "t1gd"), "t1gd"),
        ("T1wCE", ("t1", "t1ce"), "t1ce"),
        ("T1 non-FS post GD", ("t1", "post"), "post"),
        ("T1 w/o contrast", ("t1", "post"), "t1"),
        ("precontrast T1", ("t1", "post"), "t1"),
        ("t1_mprage nativ", ("pre", "post"), "pre"),
        ("precontrast T1", ("native", "post"), "native"),
        ("T1_VIBE ohne KM", ("t1", "nativ"), "nativ"),
        ("T2 pre", ("pre", "post"), None),
        ("T1 compressed sense post", ("pre", "post"), "post"),
        ("T1 C-spine", ("t1", "t1c"), "t1"),
        ("phase contrast MRA", ("t1", "post"), None),
        ("DSC perfusion post contrast", ("t1", "t1ce"), None),
        ("t2_tirm_tra_dark-fluid", ("t2", "flair"), "flair"),
        ("t2_spc_da-fl_sag_p2_iso", ("t1", "t2", "flair"), "flair"),
        ("t2_tirm_tra_dark-fluid", ("t2", "t1"), None),
        ("Ax T2 FLAIR", ("t2", "t1"), None),
    ],
)
def test_a_series_is_of_the_one_sequence_that_fits_best(tmp_path, description, sequences, taken):
    """FLAIR is more than T2, after contrast more than T1; letters of two words are no name."""
    series(tmp_path / "one", SeriesDescription=description)
    if taken is None:
        with pytest.raises(ImportProblem, match="fits no sequence of the project"):
            find_dataset(tmp_path, sequences, ("lesion",))
    else:
        assert set(find_dataset(tmp_path, sequences, ("lesion",)).cases[0].images) == {taken}


@pytest.mark.parametrize("description", ["Sag T1 FLAIR", "PD T1 dual echo"])
def test_a_series_that_could_be_two_sequences_is_neither(tmp_path, description):
    """It is said, and --series says which it is."""
    series(tmp_path / "one", SeriesDescription=description)
    with pytest.raises(ImportProblem, match=r"could be t1 or (flair|pd); say which with --series"):
        find_dataset(tmp_path, ("t1", "flair", "pd"), ("lesion",))
    (case,) = find_dataset(tmp_path, ("t1", "flair", "pd"), ("lesion",), {"t1": "*t1*"}).cases
    assert set(case.images) == {"t1"}


def test_a_segmentation_of_thicker_slices_is_asked_about(tmp_path):
    """On the image's slices it would lie on every second one, and the others would count as empty."""
    fine, thick = series(tmp_path / "fine", n=12, gap=3.0), series(tmp_path / "thick", n=6, gap=6.0)
    geometry = read_volume(thick[0]).geometry
    labels = np.zeros(geometry.shape, np.uint8)
    labels[1:5, 2:5, 2:5] = 1
    (tmp_path / "s.dcm").write_bytes(encode_segmentation(thick[0], labels, geometry, ["lesion"], "MANUAL"))
    assert "grid=resample" in problem(read_mask, tmp_path / "s.dcm", read_volume(fine[0]).geometry, ["lesion"])


def test_two_segmentations_of_one_series_are_told(tmp_path):
    """Neither is taken at random, and not in silence."""
    files = series(tmp_path / "one")
    geometry = read_volume(files[0]).geometry
    data = encode_segmentation(files[0], np.ones(geometry.shape, np.uint8), geometry, ["lesion"], "MANUAL")
    (tmp_path / "one" / "seg.dcm").write_bytes(data)
    assert find_dataset(tmp_path, ("flair",), ("lesion",)).cases[0].mask.name == "seg.dcm"
    for place in ("one", "one/again"):
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / "seg2.dcm").write_bytes(data)  # a copy is no second one
    found = find_dataset(tmp_path, ("flair",), ("lesion",))
    assert found.cases[0].mask.name == "seg.dcm"
    assert "2 files left out: each is a copy of another file." in found.lines
    data = encode_segmentation(files[0], np.ones(geometry.shape, np.uint8), geometry, ["lesion"], "MANUAL")
    (tmp_path / "one" / "seg2.dcm").write_bytes(data)
    found = find_dataset(tmp_path, ("flair",), ("lesion",))
    assert found.cases[0].mask is None
    assert any("one: 2 segmentations refer to its series (seg.dcm, seg2.dcm)" in line for line in found.lines)


# Segmentations


@pytest.mark.parametrize(("orientation", "gap"), EVERY)
def test_a_segmentation_comes_back_exactly(tmp_path, orientation, gap):
    """In all 48 orientations: the same voxels in our reader, and in highdicom's at the same place in mm."""
    highdicom = pytest.importorskip("highdicom")
    files = series(tmp_path / "s", n=4, orient=orientation, gap=gap)
    geometry = read_volume(files[0]).geometry
    labels = np.random.default_rng(0).integers(0, 3, geometry.shape).astype(np.uint8)
    labels[0] = 0  # a slice that the file leaves out
    data = encode_segmentation(files[0], labels, geometry, ["edema", "core"], "MANUAL")
    (tmp_path / "seg.dcm").write_bytes(data)
    assert np.array_equal(read_mask(tmp_path / "seg.dcm", geometry, ["edema", "core"]).labels, labels)
    theirs = highdicom.seg.segread(tmp_path / "seg.dcm").get_volume(combine_segments=True)
    for index in np.argwhere(theirs.array)[::7]:
        world = (theirs.affine @ [*index, 1])[:3] * (-1, -1, 1)
        ours = np.linalg.solve(geometry.affine, [*world, 1])[:3]
        assert np.abs(ours - np.rint(ours)).max() < 1e-4
        assert labels[tuple(np.rint(ours).astype(int))] == theirs.array[tuple(index)]


def stating(path, gap):
    """Rewrite a segmentation so that it states another distance between slices, or none."""
    data = pydicom.dcmread(path)
    measures = data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    del measures.SpacingBetweenSlices
    if gap:
        measures.SpacingBetweenSlices = gap
    data.save_as(path)


@pytest.mark.parametrize("drawn", [[5, 10, 15], [2, 5, 10], [7]])
@pytest.mark.parametrize("stated", [3, None, 2, 0.05])
def test_empty_slices_that_a_segmentation_leaves_out_stay_empty(tmp_path, drawn, stated):
    """Frames go onto the image's own slices by their positions, whatever the file says of the distance."""
    files = series(tmp_path / "s", n=20, SliceThickness=2.0)
    geometry = read_volume(files[0]).geometry
    labels = np.zeros(geometry.shape, np.uint8)
    labels[drawn, 2:5, 2:5] = 1
    (tmp_path / "seg.dcm").write_bytes(encode_segmentation(files[0], labels, geometry, ["lesion"], "MANUAL"))
    stating(tmp_path / "seg.dcm", stated)
    mask = read_mask(tmp_path / "seg.dcm", geometry, ["lesion"])
    assert np.array_equal(mask.labels, labels)
    assert not mask.notes


def test_a_segmentation_alone_lies_as_far_apart_as_it_says(tmp_path):
    """Without the image what it states holds, if the positions agree; else the smallest distance, if they are even."""
    files = series(tmp_path / "s", n=20)
    geometry = read_volume(files[0]).geometry
    for drawn, stated, shown in (([2, 5, 10], 3, 9), ([5, 10, 15], 3, 11), ([5, 10, 15], None, 3), ([5, 10, 15], 4, 3)):
        labels = np.zeros(geometry.shape, np.uint8)
        labels[drawn, 2:5, 2:5] = 1
        (tmp_path / "seg.dcm").write_bytes(encode_segmentation(files[0], labels, geometry, ["lesion"], "MANUAL"))
        assert pydicom.dcmread(tmp_path / "seg.dcm")[0x52009229][0][0x00289110][0].SpacingBetweenSlices == 3
        stating(tmp_path / "seg.dcm", stated)
        alone = read_mask(tmp_path / "seg.dcm")
        assert len(alone.labels) == shown
        assert alone.geometry.spacing[0] == pytest.approx(3 if stated == 3 else 15)
    labels[[5, 10, 12]] = 1
    (tmp_path / "seg.dcm").write_bytes(encode_segmentation(files[0], labels, geometry, ["lesion"], "MANUAL"))
    stating(tmp_path / "seg.dcm", None)
    assert "unevenly spaced" in problem(read_mask, tmp_path / "seg.dcm")


def test_segments_are_matched_to_classes_by_name(tmp_path):
    """Another project may number them otherwise."""
    files = series(tmp_path / "s")
    geometry = read_volume(files[0]).geometry
    labels = np.zeros(geometry.shape, np.uint8)
    labels[2, 2:5, 2:5], labels[3, 1:4, 1:4] = 1, 2
    (tmp_path / "seg.dcm").write_bytes(encode_segmentation(files[0], labels, geometry, ["a", "b"], "AUTOMATIC"))
    swapped = read_mask(tmp_path / "seg.dcm", geometry, ["B", "A"]).labels
    assert np.array_equal(swapped, np.array([0, 2, 1])[labels])
    strange = read_mask(tmp_path / "seg.dcm", geometry, ["c", "d"])
    assert np.array_equal(strange.labels, labels)
    assert "calls a label “a”" in strange.notes[0]


def test_a_segmentation_refers_to_the_sequence_that_was_drawn_on(tmp_path):
    """Never to one that was resampled onto it, whatever the sequences are called, and if a case has no first one."""
    t1, t2 = (series(tmp_path / name, SeriesDescription=name) for name in ("t1", "t2"))
    flair = series(tmp_path / "flair", origin=(-14, -30, 5), SeriesDescription="flair")
    pixels, grid = read_volume(t1[0]).pixels[0], read_volume(t1[0]).geometry
    write_image(tmp_path / "t1.nii.gz", pixels, grid)  # the same voxels in another order of axes
    stored = nib.load(tmp_path / "t1.nii.gz")
    turned = stored.affine @ np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    nib.save(nib.Nifti1Image(np.asarray(stored.dataobj).transpose(1, 2, 0), turned), tmp_path / "turned.nii.gz")
    wanted = {
        "both": ({"t1": t1[0], "flair": flair[0]}, "t1"),
        "file": ({"t1": tmp_path / "t1.nii.gz", "flair": flair[0], "t2": t2[0]}, "t2"),
        "turned": ({"t1": tmp_path / "turned.nii.gz", "t2": t2[0]}, "t2"),
        "first": ({"flair": flair[0], "t2": t2[0]}, "flair"),
    }
    with Project.create(tmp_path / "p", ["lesion"], ["t1", "flair", "t2"]) as project:
        for id, (images, _) in wanted.items():
            case = project.add_case(id, images, choices={"sequences": "resample", "twin": "add"})
            drawn = np.zeros(case.shape, np.uint8)
            drawn[2, 3, 4] = drawn[4, 1, 7] = 1
            project.save_mask(id, drawn, done=range(len(drawn)))
        project.export(tmp_path / "out", layout="dicom-seg")
        for id, (images, name) in wanted.items():
            mask = read_mask(tmp_path / "out" / f"{id}.dcm", project.case(id).geometry)
            assert np.array_equal(mask.labels, project.mask(id)), id
            series_of = pydicom.dcmread(tmp_path / "out" / f"{id}.dcm").ReferencedSeriesSequence[0].SeriesInstanceUID
            assert series_of == pydicom.dcmread(images[name], stop_before_pixels=True).SeriesInstanceUID, id


def test_a_segmentation_is_not_put_where_its_mask_does_not_lie(tmp_path):
    """Of equal size is not enough: the files of another place, or of another sequence, are refused in one sentence."""
    flair = series(tmp_path / "flair", origin=(-14, -30, 5))
    grid = read_volume(series(tmp_path / "t1")[0]).geometry
    write_image(tmp_path / "t1.nii.gz", np.zeros(grid.shape, np.float32), grid)
    with Project.create(tmp_path / "p", ["lesion"], ["t1", "flair"]) as project:
        images = {"t1": tmp_path / "t1.nii.gz", "flair": flair[0]}
        case = project.add_case("a", images, choices={"sequences": "resample"})
        project.save_mask("a", np.ones(case.shape, np.uint8), done=range(case.shape[0]))
        with pytest.raises(ProjectError, match=r"does not lie on the grid that the mask was drawn on.*export NIfTI"):
            project.export(tmp_path / "out", layout="dicom-seg")
    assert not (tmp_path / "out").exists()


def test_a_segmentation_never_names_another_patient_and_says_what_is_missing(tmp_path):
    """Archives write each export into the same folder: a study that takes the place of another is refused."""
    files = series(tmp_path / "s")
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        case = project.add_case("a", {"flair": files[0]})
        project.save_mask("a", np.ones(case.shape, np.uint8), done=range(case.shape[0]))
        shutil.move(tmp_path / "s", tmp_path / "elsewhere")
        with pytest.raises(ProjectError, match=r"IM0006 is not where it was: put it back"):
            project.export(tmp_path / "out", layout="dicom-seg")

        def other(data, z):
            data.PatientID, data.PixelData = "another", plane(z + 1).tobytes()

        series(tmp_path / "s", edit=other)
        with pytest.raises(ProjectError, match="images of case a have changed since it was added"):
            project.export(tmp_path / "out", layout="dicom-seg")
    assert not (tmp_path / "out").exists()


def test_what_anonymisers_leave_of_a_header_keeps_no_mask_from_the_archive(tmp_path):
    """Dates and codes that are none are left empty; letters that a character set lacks are written in UTF-8."""

    def edit(data, z):
        data.add_new("PatientBirthDate", "LO", "00000000")
        data.add_new("StudyTime", "LO", "99")
        data.PatientSex = "X"
        data.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
        data.PatientName = "Yamada^Tarou=山田^太郎"
        del data.SliceThickness

    files = series(tmp_path / "s", edit=edit)
    geometry = read_volume(files[0]).geometry
    labels = np.ones(geometry.shape, np.uint8)
    data = encode_segmentation(files[0], labels, geometry, ["Ödem", "żółć"], "MANUAL", creator="jörg")
    (tmp_path / "seg.dcm").write_bytes(data)
    written = pydicom.dcmread(tmp_path / "seg.dcm")
    assert [item.SegmentLabel for item in written.SegmentSequence] == ["Ödem", "żółć"]
    assert written.PatientName == "Yamada^Tarou=山田^太郎" and written.ContentCreatorName == "jörg"
    assert not (written.PatientBirthDate or written.StudyTime or written.PatientSex)
    assert written.SeriesDate == written.ContentDate and written.SeriesTime == written.ContentTime


@pytest.mark.parametrize(
    ("tags", "cause"),
    [
        (
            {"FrameOfReferenceUID": ""},
            "has no FrameOfReferenceUID, without which no DICOM segmentation can refer to it",
        ),
        ({"SOPClassUID": "1.2.3"}, "has a header that no DICOM segmentation can repeat (KeyError)"),
    ],
)
def test_a_header_that_no_segmentation_can_repeat_is_one_sentence(tmp_path, tags, cause):
    """It does not stop the export of other cases."""
    files = series(tmp_path / "s", **tags)
    geometry = read_volume(files[0]).geometry
    with pytest.raises(ImportProblem, match=rf"IM0006 {re.escape(cause)}: export NIfTI\."):
        encode_segmentation(files[0], np.ones(geometry.shape, np.uint8), geometry, ["lesion"], "MANUAL")


def test_frames_that_nobody_has_counted_are_one_sentence(tmp_path):
    """A file of several frames that does not say of how many can be read, but not referred to."""
    data = pydicom.dcmread(image := enhanced(tmp_path / "e.dcm"))
    del data.NumberOfFrames
    data.save_as(image)
    geometry = read_volume(image).geometry
    with pytest.raises(ImportProblem, match=r"that no DICOM segmentation can repeat \(IndexError\): export NIfTI"):
        encode_segmentation(image, np.ones(geometry.shape, np.uint8), geometry, ["lesion"], "MANUAL")


@pytest.mark.parametrize("source", ["series", "enhanced"])
@pytest.mark.parametrize("algorithm", ["MANUAL", "SEMIAUTOMATIC", "AUTOMATIC"])
def test_a_segmentation_says_what_it_is_of(tmp_path, source, algorithm):
    """It refers to each source slice, names codes and algorithm, and dciodvfy finds no error in it."""
    image = enhanced(tmp_path / "e.dcm") if source == "enhanced" else series(tmp_path / "s")[0]
    geometry = read_volume(image).geometry
    labels = np.ones(geometry.shape, np.uint8)
    labels[2, 3, 4] = 0
    code = Code("52988006", "Lesion", "49755003", "Morphologically Abnormal Structure")
    (tmp_path / "seg.dcm").write_bytes(
        encode_segmentation(image, labels, geometry, ["lesion", "other"], algorithm, {"lesion": code})
    )
    written = pydicom.dcmread(tmp_path / "seg.dcm")
    first, second = written.SegmentSequence
    assert first.SegmentAlgorithmType == algorithm
    assert first.SegmentedPropertyTypeCodeSequence[0].CodeValue == "52988006"
    assert second.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Tissue"
    sources = [image] if source == "enhanced" else sorted((tmp_path / "s").iterdir())
    wanted = {pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in sources}
    referenced = written.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {item.ReferencedSOPInstanceUID for item in referenced} == wanted
    assert np.array_equal(read_mask(tmp_path / "seg.dcm", geometry, 2).labels, labels)
    if DCIODVFY is None:
        pytest.skip("dciodvfy is not installed (package dicom3tools)")
    report = subprocess.run([DCIODVFY, "-new", tmp_path / "seg.dcm"], capture_output=True, text=True)
    errors = [line for line in (report.stdout + report.stderr).splitlines() if line.startswith("Error")]
    assert not errors


def test_missing_pydicom_is_said(monkeypatch, tmp_path):
    """The extra is named."""
    (tmp_path / "a.dcm").write_bytes(bytes(128) + b"DICM" + bytes(50))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert 'pip install "napari-segmatch[dicom]"' in problem(read_volume, tmp_path / "a.dcm")
