"""NRRD, MGH, pairs and Analyze beside NIfTI: every input that hospitals and researchers are known to have."""

import bz2
import gzip
import json
import logging

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import inv_ornt_aff
from test_nifti import LPS, ORIENTATIONS, SHAPE, oblique, patched, problem, ramp, save

from napari_segmatch.errors import ImportProblem, Question
from napari_segmatch.io import encode_segments, read_mask, read_sequences, read_volume, write_image, write_labels
from napari_segmatch.io.orientation import resampled
from napari_segmatch.types import Geometry, Mask

RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


@pytest.fixture(autouse=True)
def quiet_nibabel():
    """Nibabel logs what it finds in a header; a test that breaks headers need not show it."""
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)


def nrrd(path, array=None, header="", data=None, affine=LPS, **fields):
    """Write an NRRD by hand; a field of None is left out."""
    array = ramp() if array is None else array
    columns = (np.diag([-1, -1, 1, 1]) @ affine).T[:, :3]
    words = ["(" + ",".join(repr(float(v)) for v in column) + ")" for column in columns]
    fields = {
        "type": {"i2": "short", "u1": "uchar", "f4": "float", "f8": "double"}[array.dtype.str[1:]],
        "dimension": array.ndim, "space": "left-posterior-superior", "sizes": " ".join(map(str, array.shape)),
        "space directions": " ".join(words[:3]), "endian": "little", "encoding": "raw", "space origin": words[3],
    } | {key.replace("_", " "): value for key, value in fields.items()}  # fmt: skip
    lines = ["NRRD0004", *(f"{key}: {value}" for key, value in fields.items() if value is not None)]
    data = array.tobytes(order="F") if data is None else data
    path.write_bytes("\n".join(lines).encode() + f"\n{header}\n".encode() + data)
    return path


# Round trips


def world_of(image, path):
    """Where SimpleITK puts a file's voxels, in RAS mm."""
    sitk = pytest.importorskip("SimpleITK")
    loaded = sitk.ReadImage(str(path))
    (index,) = np.argwhere(sitk.GetArrayFromImage(loaded))
    return np.array(loaded.TransformIndexToPhysicalPoint([int(i) for i in index[::-1]])) * (-1, -1, 1)


def assert_exact(folder, affine, ending, shape=SHAPE):
    """Read, paint, write, read: the voxel is at its world point for us, for nibabel and for SimpleITK."""
    source = save(folder / "image.nii", ramp(shape), affine)
    volume = read_volume(source)
    index = (2, 4, 5)
    world = (nib.load(source).affine @ (*index, 1))[:3]
    geometry = volume.geometry
    ours = tuple(np.rint(np.linalg.solve(geometry.affine, (*world, 1))[:3]).astype(int))
    labels = np.zeros(geometry.shape, np.uint8)
    labels[ours] = 3
    path = folder / f"mask{ending}"
    if ending == ".seg.nrrd":
        path.write_bytes(encode_segments(labels, geometry, ["a", "b", "c"], {}))
    else:
        write_labels(path, labels, geometry)
    assert np.array_equal(read_mask(path, geometry, 3).labels, labels)
    back = read_mask(path)
    assert np.array_equal(back.labels, labels)
    assert np.array_equal(back.geometry.affine, geometry.affine) or np.allclose(
        back.geometry.affine, geometry.affine, atol=1e-4
    )
    assert np.allclose(world_of(path, path), world, atol=1e-3)
    if ending.startswith(".nii"):
        theirs = nib.load(path)
        assert np.argwhere(np.asarray(theirs.dataobj)).tolist() == [list(index)]
        assert np.allclose((theirs.affine @ (*index, 1))[:3], world, atol=1e-3)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".seg.nrrd"])
def test_every_orientation_comes_back_exactly(tmp_path, ending):
    """All 48 orders and directions of axes, read back by ourselves, nibabel and SimpleITK."""
    for orientation in ORIENTATIONS:
        assert_exact(tmp_path, np.diag([1.0, 1.1, 3.0, 1.0]) @ inv_ornt_aff(orientation, SHAPE), ending)


@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 7)] * 3),
    shape=st.tuples(*[st.integers(6, 9)] * 3),
    ending=st.sampled_from([".nii.gz", ".nrrd"]),
)
@settings(max_examples=40, deadline=None)
def test_a_world_point_stays_one_through_everything(tmp_path_factory, angles, spacing, shape, ending):
    """Import, paint, save, export: whatever the tilt, voxel size and shape."""
    assert_exact(tmp_path_factory.mktemp("any"), oblique(*angles, spacing), ending, shape)


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<f4", ">f8", "u1"])
def test_nrrd_of_any_kind_becomes_float32(tmp_path, encoding, dtype):
    """Numbers, byte orders and encodings; SimpleITK sees the same."""
    array = (ramp() % 200).astype(dtype)
    raw = array.tobytes(order="F")
    data = {"raw": raw, "gzip": gzip.compress(raw), "bzip2": bz2.compress(raw),
            "ascii": " ".join(map(str, array.ravel(order="F"))).encode()}[encoding]  # fmt: skip
    path = nrrd(tmp_path / "a.nrrd", array.astype(array.dtype.newbyteorder("<")), data=data, encoding=encoding,
                endian="big" if dtype[0] == ">" else "little")  # fmt: skip
    volume = read_volume(path)
    assert np.array_equal(volume.pixels[0], (ramp() % 200).T)
    assert np.allclose(volume.geometry.source_affine, LPS)


def test_nrrd_spaces_are_told_apart(tmp_path):
    """RAS and LPS are stated; without a space, left and right are not."""
    ras = read_volume(nrrd(tmp_path / "a.nrrd", space="right-anterior-superior"))
    assert np.allclose(ras.geometry.source_affine[:2], -LPS[:2])
    path = nrrd(tmp_path / "b.nrrd", space=None, space_directions=None, space_origin=None, spacings="1 2 3")
    assert "orientation=unknown" in problem(read_volume, path)
    assert read_volume(path, {"orientation": "unknown"}).geometry.spacing == (3, 2, 1)
    assert read_volume(nrrd(tmp_path / "c.nrrd", space_units='"m" "m" "m"', affine=LPS / 1000)).geometry.spacing[0] == 4


def test_an_nrrd_with_its_data_beside_it(tmp_path):
    """A plain name in the same folder is read; anything else never is."""
    (tmp_path / "secret.raw").write_bytes(bytes(10_000))
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.raw").write_bytes(ramp().tobytes(order="F"))
    (folder / "link.raw").symlink_to(tmp_path / "secret.raw")
    good = nrrd(folder / "a.nhdr", data=b"", data_file="a.raw")
    assert np.array_equal(read_volume(good).pixels[0], ramp().T)
    for name in ("../secret.raw", str(tmp_path / "secret.raw"), "LIST", "a%d.raw 1 5 1", "link.raw", "..", "in\\a.raw"):
        assert "outside its folder or in many files" in problem(
            read_volume, nrrd(folder / "b.nhdr", data=b"", data_file=name)
        )
    assert "does not exist" in problem(read_volume, nrrd(folder / "c.nhdr", data=b"", data_file="gone.raw"))


def test_slicer_segmentations_are_read_with_their_names(tmp_path):
    """Layers become one mask, names find classes, and a cropped file lands where it belongs."""
    image = read_volume(save(tmp_path / "image.nii", ramp()))
    layers = np.zeros((2, 3, 4, 5), np.uint8)
    layers[0, 1, 1, 1], layers[1, 2, 2, 2], layers[0, 0, 0, 3] = 1, 1, 2
    header = "".join(
        f"Segment{index}_{key}:={value}\n"
        for index, (name, layer, label) in enumerate([("edema", 0, 1), ("core", 1, 1), ("cyst", 0, 2)])
        for key, value in {"LabelValue": label, "Layer": layer, "Name": name}.items()
    )
    moved = LPS.copy()
    moved[:3, 3] += LPS[:3, :3] @ (1, 2, 1)
    words = " ".join(f"({','.join(map(str, np.diag([-1, -1, 1]) @ moved[:3, axis]))})" for axis in range(3))
    path = nrrd(tmp_path / "s.seg.nrrd", layers, header, affine=moved, kinds="list domain domain domain",
                space_directions=f"none {words}")  # fmt: skip
    labels = read_mask(path, image.geometry, ["core", "cyst", "edema"]).labels
    assert np.argwhere(labels.T).tolist() == [[1, 2, 4], [2, 3, 2], [3, 4, 3]]
    assert [labels.T[1, 2, 4], labels.T[2, 3, 2], labels.T[3, 4, 3]] == [2, 3, 1]
    layers[1, 1, 1, 1] = 1
    nrrd(path, layers, header, affine=moved, kinds="list domain domain domain", space_directions=f"none {words}")
    assert "edema and core on the same voxels" in problem(read_mask, path)


def test_labels_with_names_of_which_some_are_classes_are_asked_about(tmp_path):
    """The known ones go by name whatever is answered; an unknown one without a voxel is no trouble."""
    geometry = read_volume(save(tmp_path / "image.nii", ramp())).geometry
    labels = (ramp() % 3).T.astype(np.uint8)
    path = tmp_path / "m.seg.nrrd"
    path.write_bytes(encode_segments(labels, geometry, ["Tumour", "edema"], {}))
    classes = ["edema", "tumor"]
    assert "(1 “Tumour”), and others that are: choose labels=1:1" in problem(read_mask, path, classes=classes)
    mask = asked(read_mask, path, "labels=1:2", classes=classes)
    assert np.array_equal(mask.labels, np.array([0, 2, 1])[labels]) and mask.notes == ()
    again = read_mask(path, classes=classes, choices={"labels": "1:2,2:2"})
    assert np.array_equal(again.labels, mask.labels)
    assert "calls label 2 “edema”, which is a class: it was not made 2." in again.notes[0]
    assert "calls a label “Tumour”" in read_mask(path, classes=["core", "cyst"]).notes[0]
    path.write_bytes(encode_segments(np.where(labels == 1, 0, labels), geometry, ["Tumour", "edema"], {}))
    assert set(np.unique(read_mask(path, classes=classes).labels)) == {0, 1}


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_names_are_of_labels_and_not_of_what_a_file_stores(tmp_path, kind):
    """Masks may be scaled, or floats that are nearly whole; the label of no class is found all the same."""
    labels = ramp() % 4
    stored = nib.Nifti1Image((labels + (1e-6 if kind == "float32" else 0)).astype(np.float32), LPS)
    stored.set_data_dtype(kind)
    nib.save(stored, tmp_path / "m.nii")  # as 0, 85, 170 and 255 where it is scaled
    names = json.dumps({1: "tumor", 2: "edema", 3: "cyst"})
    said = problem(read_mask, tmp_path / "m.nii", classes=["tumor", "cyst"], choices={"names": names, "labels": "3:2"})
    assert "“edema”" in said
    mask = read_mask(tmp_path / "m.nii", classes=["tumor", "cyst"], choices={"names": names, "labels": "3:2,2:0"})
    assert sorted(np.unique(mask.labels)) == [0, 1, 2]


def test_one_answer_is_not_for_labels_of_other_names(tmp_path):
    """Programs number segments as they come: label 2 is a cyst in one file and edema in another."""
    geometry = read_volume(save(tmp_path / "image.nii", ramp())).geometry
    labels = (ramp() % 3).T.astype(np.uint8)
    troubles = set()
    for name in ("cyst", "edema"):
        (tmp_path / "m.seg.nrrd").write_bytes(encode_segments(labels, geometry, ["tumor", name], {}))
        with pytest.raises(Question) as question:
            read_mask(tmp_path / "m.seg.nrrd", classes=["tumor"])
        troubles.add(question.value.trouble)
    assert len(troubles) == 2


def test_a_mask_of_nothing_but_ignored_voxels_needs_no_question(tmp_path):
    """As our own export for nnU-Net writes it where a case is finished and empty but for what nobody judged."""
    labels = np.where(ramp() % 5 == 0, 2, 0).astype(np.uint8)
    save(tmp_path / "m.nii", labels)
    choices = {"labels": "2:255", "names": json.dumps({1: "other", 2: "ignore"})}
    assert set(np.unique(read_mask(tmp_path / "m.nii", classes=["tumor"], choices=choices).labels)) == {0, 255}


def test_slicer_gets_names_and_colours(tmp_path):
    """SimpleITK reads the metadata that 3D Slicer looks for."""
    sitk = pytest.importorskip("SimpleITK")
    geometry = read_volume(save(tmp_path / "image.nii", ramp())).geometry
    data = encode_segments(np.ones(geometry.shape, np.uint8), geometry, ["core  of\nit"], {"core  of\nit": "#ff0000"})
    (tmp_path / "m.seg.nrrd").write_bytes(data)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(tmp_path / "m.seg.nrrd"))
    reader.ReadImageInformation()
    assert reader.GetMetaData("Segment0_Name") == "core of it"
    assert reader.GetMetaData("Segment0_Color") == "1.000000 0.000000 0.000000"
    assert reader.GetMetaData("Segment0_LabelValue") == "1"


@pytest.mark.parametrize("name", ["a.mgh", "a.mgz"])
def test_mgh_is_read(tmp_path, name):
    """FreeSurfer's format, packed or not."""
    nib.MGHImage(ramp(), oblique(20, 5, -8)).to_filename(tmp_path / name)
    volume = read_volume(tmp_path / name)
    assert np.array_equal(volume.pixels[0].transpose(volume.geometry.back), ramp())
    assert np.allclose(volume.geometry.source_affine, oblique(20, 5, -8), atol=1e-4)


@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Pair])
@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("which", ["hdr", "img"])
def test_pairs_are_read_from_either_file(tmp_path, kind, ending, which):
    """A .hdr and its .img; one alone is refused with the name of the other."""
    kind(ramp(), LPS).to_filename(tmp_path / f"a.img{ending}")
    path = tmp_path / f"a.{which}{ending}"
    volume = read_volume(path)
    assert np.array_equal(volume.pixels[0], ramp().T)
    assert np.allclose(volume.geometry.source_affine, LPS)
    other = {"hdr": "img", "img": "hdr"}[which]
    (tmp_path / f"a.{other}{ending}").unlink()
    assert f"needs a.{other} beside it" in problem(read_volume, path)


def test_analyze_has_no_left_and_right(tmp_path):
    """It is asked about, and read."""
    nib.AnalyzeImage(ramp(), np.diag([-2.0, 2, 4, 1])).to_filename(tmp_path / "a.img")
    assert "orientation=unknown" in problem(read_volume, tmp_path / "a.img")
    volume = read_volume(tmp_path / "a.hdr", {"orientation": "unknown"})
    assert not volume.geometry.known
    assert np.array_equal(volume.pixels[0], ramp().T)


@pytest.mark.parametrize(("code", "factor"), [(1, 0.001), (2, 1), (3, 1000), (0, 1), (10, 1)])
def test_units_become_millimetres(tmp_path, code, factor):
    """Metres and micrometres; an unknown unit is millimetres, and a unit of time beside it changes nothing."""
    affine = np.diag([*(np.diag(LPS)[:3] * factor), 1])
    path = patched(save(tmp_path / "a.nii", ramp(), affine), 123, bytes([code]))
    assert np.allclose(read_volume(path).geometry.spacing, (4, 2, 2))


# What is asked


def asked(read, path, answer, *args, **kwargs):
    """Check that a question offers an answer, and return what that gives."""
    with pytest.raises(Question) as caught:
        read(path, *args, **kwargs)
    assert str(caught.value).startswith(path.name)
    topic, _, value = answer.partition("=")
    assert caught.value.topic == topic
    assert value in caught.value.options
    return read(path, *args, **kwargs, choices=dict([answer.split("=")]))


def test_a_frame_is_chosen(tmp_path):
    """Of a series in time or of vectors one volume is taken, the one that was said."""
    array = ramp((5, 6, 7, 4))
    volume = asked(read_volume, save(tmp_path / "t.nii", array), "frame=3")
    assert np.array_equal(volume.pixels[0], array[..., 3].T)
    volume = asked(read_volume, save(tmp_path / "v.nii", ramp((5, 6, 7, 1, 3))), "frame=2")
    assert np.array_equal(volume.pixels[0], ramp((5, 6, 7, 1, 3))[..., 0, 2].T)
    assert problem(read_volume, tmp_path / "t.nii", {"frame": "4"})


def test_colours_and_complex_numbers_are_asked_about(tmp_path):
    """Brightness and magnitude."""
    array = np.zeros(SHAPE, RGB)
    array["G"] = 100
    assert np.allclose(asked(read_volume, save(tmp_path / "c.nii", array), "colour=luminance").pixels, 58.7)
    volume = asked(read_volume, save(tmp_path / "z.nii", (ramp() * (3 + 4j)).astype(np.complex64)), "complex=magnitude")
    assert np.allclose(volume.pixels[0], 5 * ramp().T)
    assert "colours or complex numbers, not labels" in problem(read_mask, tmp_path / "c.nii")


def test_probabilities_become_labels_at_a_threshold(tmp_path):
    """0.5 is offered; another number is taken too."""
    path = save(tmp_path / "p.nii", (ramp() / ramp().max()).astype(np.float32))
    assert np.array_equal(asked(read_mask, path, "threshold=0.5").labels, (ramp() >= ramp().max() / 2).T)
    assert read_mask(path, choices={"threshold": "0.9"}).labels.sum() == (ramp() / ramp().max() >= 0.9).sum()
    assert "threshold=0.5" in problem(read_mask, path, choices={"threshold": "7"})


@pytest.mark.parametrize("kind", [np.float32, np.uint16])
@pytest.mark.parametrize("high", [0.004, 0.0004])
def test_probabilities_that_leave_an_empty_mask_are_told(tmp_path, kind, high):
    """It would teach that there is nothing; the answer was given for all cases, and perhaps for others."""
    share = ramp() / ramp().max()
    path = save(tmp_path / "p.nii", (share * high).astype(np.float32))
    if kind is np.uint16:
        save(path, np.round(share * 1000).astype(kind))
        patched(path, 112, np.array([high / 1000, 0], "<f4").tobytes())
    mask = read_mask(path, choices={"threshold": "0.5"})
    assert not mask.labels.any() and mask.notes == (f"p.nii is an empty mask: its highest probability is {high}.",)
    assert not read_mask(save(tmp_path / "zero.nii", np.zeros(SHAPE, np.float32))).notes
    assert not read_mask(save(tmp_path / "some.nii", share), choices={"threshold": "0.5"}).notes


def test_negative_and_unknown_labels_are_never_dropped(tmp_path):
    """They are mapped as somebody says."""
    path = save(tmp_path / "n.nii", ((ramp() % 3).astype(np.int16) - 1))
    assert set(np.unique(asked(read_mask, path, "negative=255").labels)) == {0, 1, 255}
    path = save(tmp_path / "brats.nii", np.array([0, 1, 2, 4], np.uint8)[ramp() % 4])
    mask = asked(read_mask, path, "labels=4:3", classes=3)
    assert np.array_equal(mask.labels, (ramp() % 4).T)
    path = save(tmp_path / "many.nii", np.array([0, 1, 70_000, 9], np.int32)[ramp() % 4])
    assert "label 70000" in problem(read_mask, path)
    mask = read_mask(path, classes=1, choices={"labels": "70000:1,9:255"})
    assert np.array_equal(mask.labels, np.array([0, 1, 1, 255])[ramp() % 4].T)
    assert "no list of old:new" in problem(read_mask, path, choices={"labels": "9=1"})
    assert "above 255" in problem(read_mask, path, choices={"labels": "9:300"})


def test_255_that_means_not_annotated_is_asked_about_once(tmp_path):
    """The answer counts beside others too."""
    path = save(tmp_path / "m.nii", np.array([0, 255], np.uint8)[ramp() % 2])
    assert asked(read_mask, path, "labels=255:255", classes=2).labels.max() == 255
    assert read_mask(path, classes=2, choices={"labels": "1:2,2:1,255:255"}).labels.max() == 255


def test_large_labels_never_pass_through_floats(tmp_path):
    """16777217 is no 16777216."""
    labels = np.zeros(SHAPE, np.int32)
    labels[1, 1, 1], labels[2, 2, 2] = 16_777_217, 16_777_216
    path = save(tmp_path / "m.nii", labels)
    assert "16777217" in problem(read_mask, path)
    mask = read_mask(path, choices={"labels": "16777217:1,16777216:2"})
    assert (mask.labels.T[1, 1, 1], mask.labels.T[2, 2, 2]) == (1, 2)


def test_a_mask_that_fills_the_image_is_asked_about_and_an_empty_one_is_not(tmp_path):
    """A label in every voxel is a mistake more often than not; no label at all is an answer."""
    assert asked(read_mask, save(tmp_path / "f.nii", np.ones(SHAPE, np.uint8)), "full=keep", classes=1).labels.all()
    assert not read_mask(save(tmp_path / "e.nii", np.zeros(SHAPE, np.uint8)), classes=1).labels.any()


def test_a_mask_on_another_grid_is_asked_about(tmp_path):
    """Half a voxel off, mirrored, or of another shape: somebody says how it is taken."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[1, 4, 5] = 1
    image = read_volume(save(tmp_path / "image.nii", ramp()))
    shifted = LPS.copy()
    shifted[0, 3] = 0.9
    path = save(tmp_path / "shifted.nii", labels, shifted)
    mask = asked(read_mask, path, "grid=as-stored", grid=image.geometry)
    assert np.argwhere(mask.labels.T).tolist() == [[1, 4, 5]]
    mask = asked(read_mask, path, "grid=resample", grid=image.geometry)
    assert np.argwhere(mask.labels.T).tolist() == [[1, 4, 5]]
    assert "resampled" in mask.notes[-1]
    mirrored = save(tmp_path / "mirrored.nii", labels, LPS @ np.diag([-1, 1, 1, 1]))
    assert np.argwhere(asked(read_mask, mirrored, "grid=as-stored", grid=image.geometry).labels.T).tolist() == [
        [1, 4, 5]
    ]
    larger = save(tmp_path / "larger.nii", np.pad(labels, ((0, 1), (0, 0), (0, 0))))
    assert "as-stored" not in problem(read_mask, larger, image.geometry)
    assert np.argwhere(asked(read_mask, larger, "grid=resample", grid=image.geometry).labels.T).tolist() == [[1, 4, 5]]


def test_a_mask_that_lies_beside_its_image_is_not_resampled_into_nothing(tmp_path):
    """One that lost its place would be a label that says "nothing here"; what is cut off of another is told."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:3, 4, 5] = 1
    image = read_volume(save(tmp_path / "image.nii", ramp()))
    far = LPS.copy()
    far[:3, 3] += 1000
    path = save(tmp_path / "far.nii", labels, far)
    with pytest.raises(Question, match="and all that it marks lies outside: choose grid=as-stored") as asked_about:
        read_mask(path, image.geometry, choices={"grid": "resample"})
    assert list(asked_about.value.options) == ["as-stored"]
    assert np.argwhere(asked(read_mask, path, "grid=as-stored", grid=image.geometry).labels.T).tolist() == [
        [1, 4, 5], [2, 4, 5],
    ]  # fmt: skip
    larger = save(tmp_path / "larger.nii", np.pad(labels, ((0, 1), (0, 0), (0, 0))), far)
    assert "give the mask that was drawn on this image" in problem(read_mask, larger, image.geometry)
    nowhere = save(tmp_path / "empty.nii", np.zeros(SHAPE, np.uint8), far)
    assert not asked(read_mask, nowhere, "grid=resample", grid=image.geometry).labels.any()
    half = LPS.copy()
    half[:3, 3] -= 2 * LPS[:3, 0]
    cut = asked(read_mask, save(tmp_path / "half.nii", labels, half), "grid=resample", grid=image.geometry)
    assert np.argwhere(cut.labels.T).tolist() == [[0, 4, 5]]
    assert cut.notes[-1] == "50% of what half.nii marks lies outside of its image, and is lost."


def test_thick_slices_of_a_mask_reach_an_image_that_their_centres_are_beside(tmp_path):
    """Five millimetres of a mask, and an image of one slice that lies two from their middle."""
    labels = np.zeros((5, 8, 8), np.uint8)
    labels[2, 2:4, 2:4] = 1
    write_labels(tmp_path / "thick.nii", labels, Geometry(labels.shape, np.diag([1.0, 1, 5, 1])[:, [2, 1, 0, 3]]))
    steps = np.diag([1.0, 1, 1, 1])[:, [2, 1, 0, 3]]
    for up, reached in ((-2.4, True), (2.0, True), (2.4, True), (2.6, False), (-2.6, False)):
        affine = steps.copy()
        affine[2, 3] = 2 * 5 + up
        image = Geometry((1, 8, 8), affine)
        if reached:
            found = asked(read_mask, tmp_path / "thick.nii", "grid=resample", grid=image)
            assert found.labels.sum() == 4 and "lost" not in found.notes[-1]
        else:
            assert "all that it marks lies outside" in problem(read_mask, tmp_path / "thick.nii", image)


def test_a_lesion_between_two_thick_slices_is_not_resampled_into_nothing(tmp_path):
    """The nearest label of no voxel: the case would be labelled as one without a lesion."""
    labels = np.zeros((10, 8, 8), np.uint8)
    labels[2, 2:4, 2:4] = 1
    fine = Geometry(labels.shape, np.diag([1.0, 1, 1, 1])[:, [2, 1, 0, 3]])
    affine = np.diag([1.0, 1, 5, 1])[:, [2, 1, 0, 3]]
    image = Geometry((2, 8, 8), affine)
    write_labels(tmp_path / "fine.nii", labels, fine)
    with pytest.raises(ImportProblem, match="2 × 8 × 8, and all that it marks falls between the voxels of its image"):
        read_mask(tmp_path / "fine.nii", image, choices={"grid": "resample"})
    labels[5, 2:4, 2:4] = 1
    write_labels(tmp_path / "fine.nii", labels, fine)
    assert read_mask(tmp_path / "fine.nii", image, choices={"grid": "resample"}).labels.sum() == 4


def test_what_is_not_annotated_is_nothing_that_gets_lost(tmp_path):
    """A mask may be open far beyond its image; one that is open or empty everywhere marks nothing there."""
    labels = np.full(SHAPE, 255, np.uint8)
    labels[2, 4, 5] = 1
    image = read_volume(save(tmp_path / "image.nii", ramp())).geometry
    aside = LPS.copy()
    aside[:3, 3] -= LPS[:3, 0]
    found = asked(read_mask, save(tmp_path / "open.nii", labels, aside), "grid=resample", grid=image)
    assert np.argwhere(found.labels.T == 1).tolist() == [[1, 4, 5]] and found.notes[-1] == "open.nii was resampled."
    aside[:3, 3] += 1000
    save(tmp_path / "open.nii", np.where(labels == 1, 0, labels), aside)
    assert "all that it marks" not in problem(read_mask, tmp_path / "open.nii", image)


def test_a_mask_may_have_fewer_slices_than_the_table_of_its_export_says(tmp_path):
    """Somebody has cut it since; what is left is as the table says."""
    path = save(tmp_path / "cut.nii", np.zeros(SHAPE, np.uint8))
    opened = (read_mask(path, unchecked={0, 2, 99}).labels == 255).any(axis=(1, 2))
    assert np.flatnonzero(opened).tolist() == [0, 2]


def test_a_cropped_segmentation_of_another_image_is_no_empty_mask(tmp_path):
    """It may lie on the same voxels, far away; part of one that reaches beyond its image is told."""
    labels = np.zeros(SHAPE[::-1], np.uint8)
    labels[5, 4, 1:3] = 1
    image = read_volume(save(tmp_path / "image.nii", ramp())).geometry

    def moved(voxels):
        affine = image.affine.copy()
        affine[:3, 3] += voxels * affine[:3, 2]
        geometry = Geometry(image.shape, affine, image.axes)
        (tmp_path / "a.seg.nrrd").write_bytes(encode_segments(labels, geometry, ["lesion"], {}))
        return tmp_path / "a.seg.nrrd"

    assert read_mask(moved(-1), image, ["lesion"]).labels.sum() == 2
    cut = read_mask(moved(-2), image, ["lesion"])
    assert cut.labels.sum() == 1 and "50% of what a.seg.nrrd marks lies outside" in cut.notes[-1]
    assert "all that it marks lies outside" in problem(read_mask, moved(-100), image, ["lesion"])


def test_the_nearest_label_survives_resampling(tmp_path):
    """A lesion of one voxel on a finer grid is all the voxels that lie in it."""
    geometry = Geometry((3, 3, 3), np.diag([2.0, 2, 2, 1]))
    fine = Geometry((6, 6, 6), np.array([[1, 0, 0, -0.5], [0, 1, 0, -0.5], [0, 0, 1, -0.5], [0, 0, 0, 1.0]]))
    labels = np.zeros((3, 3, 3), np.uint8)
    labels[1, 1, 1] = 7
    assert np.array_equal(resampled(labels, geometry, fine, order=0), labels.repeat(2, 0).repeat(2, 1).repeat(2, 2))
    assert Mask(labels, geometry).notes == ()


def test_sequences_on_other_grids_are_resampled_only_when_asked(tmp_path):
    """A linear ramp stays one; the same shape elsewhere is not the same grid; missing sequences are zeros."""
    swap = np.eye(4)[[2, 1, 0, 3]]
    write_image(tmp_path / "a.nii", np.zeros((8, 9, 10), np.float32), Geometry((8, 9, 10), swap))
    affine = swap @ [[0.5, 0, 0, 1], [0, 0.5, 0, 1], [0, 0, 0.5, 1], [0, 0, 0, 1]]
    z = np.mgrid[:12, :12, :12][0].astype(np.float32)
    write_image(tmp_path / "b.nii", z, Geometry((12, 12, 12), affine))
    images = {"t1": tmp_path / "a.nii", "t2": tmp_path / "b.nii"}
    with pytest.raises(Question, match="sequences=resample"):
        read_sequences(images, ["t1", "t2"])
    volume = read_sequences(images, ["t1", "t2", "flair"], {"sequences": "resample"})
    assert np.allclose(volume.pixels[1, 1:6, 3, 3], [0, 2, 4, 6, 8])
    assert volume.pixels[1, 7].max() == 0
    assert not volume.pixels[2].any()
    assert volume.notes[0] == "t2 was resampled onto t1."
    shifted = swap.copy()
    shifted[0, 3] = 2
    write_image(tmp_path / "b.nii", np.zeros((8, 9, 10), np.float32), Geometry((8, 9, 10), shifted))
    with pytest.raises(Question, match="does not lie on the grid"):
        read_sequences(images, ["t1", "t2"])
    shifted[0, 3] = 1000
    write_image(tmp_path / "b.nii", np.ones((8, 9, 10), np.float32), Geometry((8, 9, 10), shifted))
    with pytest.raises(ImportProblem, match="lies nowhere in it: give images of one examination"):
        read_sequences(images, ["t1", "t2"], {"sequences": "resample"})


def test_one_image_under_two_names_is_noted(tmp_path):
    """Some data sets put FLAIR where a sequence is missing."""
    path = save(tmp_path / "a.nii", ramp())
    assert "t1 and t2 hold the same voxels." in read_sequences({"t1": path, "t2": path}, ["t1", "t2"]).notes


def test_voxels_that_are_no_numbers_are_counted(tmp_path):
    """They are 0 for training and display; the file stays as it is."""
    array = ramp(dtype=np.float32)
    array[0, 0, :3] = np.nan, np.inf, -np.inf
    assert "3 voxels that are no finite number" in read_volume(save(tmp_path / "a.nii", array)).notes[0]


def test_what_follows_a_whole_gzip_is_left_out(tmp_path):
    """Some download tools append something; padding with zeros is usual on tapes."""
    path = save(tmp_path / "a.nii.gz", ramp())
    whole = path.read_bytes()
    path.write_bytes(whole + b"garbage")
    volume = read_volume(path)
    assert np.array_equal(volume.pixels[0], ramp().T)
    assert "behind its end" in volume.notes[0]
    path.write_bytes(whole + bytes(3_000_000))
    assert not read_volume(path).notes
    two = gzip.decompress(whole)
    path.write_bytes(gzip.compress(two[:700]) + gzip.compress(two[700:]))
    assert np.array_equal(read_volume(path).pixels[0], ramp().T)


# What is refused


def refused(folder):
    """Yield (file, words of its sentence)."""
    whole = gzip.compress(ramp().tobytes(order="F"))
    nrrds = {
        "empty": ({"data": b""}, "is truncated"), "cut": ({"data": whole[:-9], "encoding": "gzip"}, "is truncated"),
        "flipped": ({"data": whole[:40] + bytes([whole[40] ^ 8]) + whole[41:], "encoding": "gzip"}, "is damaged"),
        "bomb": ({"data": gzip.compress(bytes(80 * 2**20)), "encoding": "gzip"}, "far longer"),
        "bz-bomb": ({"data": bz2.compress(bytes(80 * 2**20)), "encoding": "bzip2"}, "far longer"),
        "huge": ({"sizes": "100000 100000 100000"}, "too many for this computer's memory"),
        "flat": ({"sizes": "0 6 7"}, "size of 0"), "block": ({"type": "block"}, "type 'block'"),
        "hex": ({"encoding": "hex"}, "encoding 'hex'"), "skip": ({"byte_skip": -1}, "skips part"),
        "words": ({"encoding": "ascii", "data": b"1 2 3"}, "is truncated"), "no-sizes": ({"sizes": None}, "no sizes"),
        "nan": ({"space_origin": "(nan,0,0)"}, "impossible position"),
        "zeros": ({"space_directions": "(0,0,0) (0,0,0) (0,0,0)"}, "impossible position"),
        "plane": ({"space_directions": "(1,0,0) (1,0,0) (0,0,1)"}, "in one plane"),
    }  # fmt: skip
    for name, (fields, says) in nrrds.items():
        yield nrrd(folder / f"{name}.nrrd", **fields), says
    (folder / "text.nrrd").write_bytes(b"hello")
    yield folder / "text.nrrd", "is not an NRRD image"
    nib.MGHImage(ramp(), LPS).to_filename(folder / "a.mgz")
    packed = (folder / "a.mgz").read_bytes()
    plain = gzip.decompress(packed)
    (folder / "a.mgz").write_bytes(packed[: len(packed) // 2])
    yield folder / "a.mgz", "is truncated"
    (folder / "b.mgh").write_bytes(plain[:300])
    yield folder / "b.mgh", "is truncated"
    (folder / "c.mgh").write_bytes(plain[:20] + b"\0\0\0\x63" + plain[24:])
    yield folder / "c.mgh", ""
    (folder / "d.mgh").write_bytes(b"no volume")
    yield folder / "d.mgh", "is not a FreeSurfer volume"
    (folder / "page.mgz").write_bytes(b"<html>404</html>")
    yield folder / "page.mgz", "is a web page"
    (folder / "nothing").mkdir()
    yield folder / "nothing", "holds no DICOM image"
    for name in ("scan.tif", "CON.txt", "a.npy"):
        (folder / name).write_bytes(b"II*\0" + bytes(200))
        yield folder / name, "is of no known format"


@pytest.mark.parametrize("read", [read_volume, read_mask])
def test_a_broken_file_of_any_format_gets_one_sentence(tmp_path, read):
    """It names the file, the cause and what to do; 80 MB that pose as 420 bytes are not unpacked into memory."""
    for path, says in refused(tmp_path):
        message = problem(read, path)
        assert message.startswith(path.name), message
        assert says in message, message


# Odd sizes and names


@pytest.mark.parametrize("shape", [(1, 30, 40), (30, 1, 40), (30, 40, 1), (3, 3, 3), (35, 50, 35), (2, 2, 2)])
def test_small_and_flat_volumes_come_back(tmp_path, shape):
    """One slice along any axis, a cube of 27 voxels, a hippocampus."""
    for ending in (".nii.gz", ".nrrd"):
        volume = read_volume(save(tmp_path / "a.nii", ramp(shape)))
        labels = (volume.pixels[0] % 3).astype(np.uint8)
        write_labels(tmp_path / f"m{ending}", labels, volume.geometry)
        assert np.array_equal(read_mask(tmp_path / f"m{ending}", volume.geometry, 2).labels, labels)


@pytest.mark.parametrize(
    "name", ["Ä e\u0301 日本.nii.gz", "a b'c\".nii", "x" * 200 + ".nii", ".. .nii", "CON.nii", "a.b.c.NII.GZ"]
)
def test_any_name_is_a_file_s_name(tmp_path, name):
    """Accents composed or not, quotes, lengths, reserved words."""
    assert read_volume(save(tmp_path / name, ramp())).pixels.shape == (1, 7, 6, 5)
