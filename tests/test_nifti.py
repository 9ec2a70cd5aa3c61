"""Reading and writing NIfTI: every voxel keeps its place, every bad file gets one sentence."""

import gzip
import itertools
import logging
import tracemalloc

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import inv_ornt_aff
from scipy.spatial.transform import Rotation

from napari_segmatch.errors import ImportProblem, Question, SegmatchError
from napari_segmatch.io import decode_labels, encode_labels, read_mask, read_volume, write_image, write_labels
from napari_segmatch.io import source as sources
from napari_segmatch.io.orientation import source_axes
from napari_segmatch.types import Geometry

SHAPE = (5, 6, 7)
LPS = np.diag([-2.0, -2.0, 4.0, 1.0])
ORIENTATIONS = [
    np.column_stack([order, flips])
    for order in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


@pytest.fixture(autouse=True)
def quiet_nibabel():
    """Nibabel logs what it finds in a header; a test that breaks headers need not show it."""
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)


def save(path, array, affine=LPS, kind=nib.Nifti1Image):
    """Write an array as NIfTI with nibabel."""
    data = kind(array, affine, dtype=array.dtype).to_bytes()
    path.write_bytes(gzip.compress(data, mtime=0) if path.name.endswith("gz") else data)
    return path


def patched(path, offset, data):
    """Overwrite bytes of an uncompressed file."""
    content = bytearray(path.read_bytes())
    content[offset : offset + len(data)] = data
    path.write_bytes(content)
    return path


def problem(read, *args, **kwargs):
    """Return the message of the ImportProblem that a call raises: one sentence without a folder."""
    with pytest.raises(ImportProblem) as caught:
        read(*args, **kwargs)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    assert ". " not in message
    assert "/" not in message
    return message


def ramp(shape=SHAPE, dtype=np.int16):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def oblique(z, y, x, spacing=(0.9, 0.9, 5.0)):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("zyx", (z, y, x), degrees=True).as_matrix() * spacing
    affine[:3, 3] = (-80, 31.5, 12)
    return affine


# Place


def assert_mask_lands_on_the_source(folder, affine, shape=SHAPE, choices=None):
    """Paint the voxel at a world point; nibabel must find it at that point of the file written."""
    source = save(folder / "image.nii.gz", ramp(shape), affine)
    volume = read_volume(source, choices)
    wanted = nib.load(source)
    index = (1, 4, 5)
    world = (wanted.affine @ (*index, 1))[:3]
    geometry = volume.geometry
    ours = tuple(np.rint(np.linalg.solve(geometry.affine, (*world, 1))[:3]).astype(int))
    assert volume.pixels[0][ours] == wanted.dataobj[index]
    labels = np.zeros(geometry.shape, np.uint8)
    labels[ours] = 3
    write_labels(folder / "mask.nii.gz", labels, geometry)
    written = nib.load(folder / "mask.nii.gz")
    assert written.shape == wanted.shape
    assert np.allclose(written.affine, wanted.affine, atol=1e-4)
    assert np.argwhere(np.asarray(written.dataobj)).tolist() == [list(index)]
    assert (read_mask(folder / "mask.nii.gz", geometry).labels == labels).all()


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=lambda o: "".join(map(str, nib.orientations.ornt2axcodes(o))))
def test_a_voxel_keeps_its_place_in_every_orientation(tmp_path, orientation):
    """In all 48 orders and directions of axes, a painted voxel comes back on the source voxel."""
    affine = np.diag([1.0, 1.1, 3.0, 1.0]) @ inv_ornt_aff(orientation, SHAPE)
    assert_mask_lands_on_the_source(tmp_path, affine)


@given(angles=st.tuples(*[st.floats(-180, 180)] * 3), spacing=st.tuples(*[st.floats(0.3, 7)] * 3))
@settings(max_examples=30, deadline=None)
def test_a_voxel_keeps_its_place_in_oblique_files(tmp_path_factory, angles, spacing):
    """Whatever the tilt and the voxel size, a painted voxel comes back on the source voxel."""
    assert_mask_lands_on_the_source(tmp_path_factory.mktemp("oblique"), oblique(*angles, spacing))


@pytest.mark.parametrize("angles", [(45, 0, 0), (0, 45, 0), (0, 0, 45), (45, 45, 45)])
def test_ties_at_45_degrees_still_give_three_axes(tmp_path, angles):
    """An axis as close to one direction as to another is still given exactly one role."""
    assert sorted(source_axes(oblique(*angles, spacing=(1, 1, 1)))) == [0, 1, 2]
    assert_mask_lands_on_the_source(tmp_path, oblique(*angles, spacing=(1, 1, 1)))


def test_a_sheared_file_keeps_its_shear(tmp_path):
    """A gantry tilt is asked about, and survives: the sform holds it, and no qform claims otherwise."""
    sheared = LPS.copy()
    sheared[1, 2] = 1.2
    assert "choose shear=keep" in problem(read_volume, save(tmp_path / "image.nii.gz", ramp(), sheared))
    assert_mask_lands_on_the_source(tmp_path, sheared, choices={"shear": "keep"})
    assert nib.load(tmp_path / "mask.nii.gz").header["qform_code"] == 0


@pytest.mark.parametrize(
    ("codes", "spacing", "axes"),
    [
        ("RAS", (1, 1, 1), (2, 1, 0)),
        ("LPS", (1, 1, 5), (2, 1, 0)),
        ("PIR", (1, 1, 5), (2, 1, 0)),  # sagittal: the slices are stacked from right to left
        ("RSA", (1, 1, 5), (2, 1, 0)),  # coronal
        ("RAS", (5, 1, 1), (0, 2, 1)),
        ("SAR", (1, 1, 1.2), (0, 1, 2)),
    ],
)
def test_z_runs_through_the_slices(codes, spacing, axes):
    """The thick axis is z; without one z is head-foot; y ranks superior before anterior before right."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, direction) in enumerate(nib.orientations.axcodes2ornt(codes)):
        affine[int(world), axis] = direction * spacing[axis]
    assert nib.aff2axcodes(affine) == tuple(codes)
    assert source_axes(affine) == axes


def test_a_mask_in_another_orientation_is_reordered_exactly(tmp_path):
    """A mask of the same voxels, whatever its axis order and direction, lands on the image's grid."""
    labels = (ramp() % 3).astype(np.uint8)
    image = read_volume(save(tmp_path / "image.nii", ramp(), oblique(20, 5, -8)))
    straight = read_mask(save(tmp_path / "straight.nii", labels, oblique(20, 5, -8)), image.geometry)
    native = nib.Nifti1Image(labels, oblique(20, 5, -8))
    for orientation in ORIENTATIONS:
        native.as_reoriented(orientation).to_filename(tmp_path / "mask.nii.gz")
        mask = read_mask(tmp_path / "mask.nii.gz", image.geometry)
        assert (mask.labels == straight.labels).all()
        assert mask.geometry is image.geometry


def test_a_mask_of_another_shape_is_refused_with_both_shapes(tmp_path):
    """The sentence names what the mask has and what the image has."""
    image = read_volume(save(tmp_path / "image.nii", ramp()))
    mask = save(tmp_path / "mask.nii", ramp((5, 6, 8), np.uint8) * 0)
    assert "8 × 6 × 5 voxels (z, y, x), its image 7 × 6 × 5" in problem(read_mask, mask, image.geometry)


def test_a_shifted_or_mirrored_mask_is_refused_with_its_distance(tmp_path):
    """A mask is never snapped onto the image: half a voxel is as wrong as a mirror image."""
    image = read_volume(save(tmp_path / "image.nii", ramp()))
    shifted, mirrored = LPS.copy(), LPS @ np.diag([-1, 1, 1, 1])
    shifted[0, 3] = 1.0
    labels = np.zeros(SHAPE, np.uint8)
    assert "up to 1 mm off" in problem(read_mask, save(tmp_path / "a.nii", labels, shifted), image.geometry)
    assert "mm off" in problem(read_mask, save(tmp_path / "b.nii", labels, mirrored), image.geometry)


def test_a_file_without_orientation_is_known_to_have_none(tmp_path):
    """With both codes 0 left and right are unknown, and a mask written for it says so too."""
    path = patched(save(tmp_path / "image.nii", ramp()), 252, bytes(4))
    assert "choose orientation=unknown" in problem(read_volume, path)
    image = read_volume(path, {"orientation": "unknown"})
    assert not image.geometry.known
    write_labels(tmp_path / "mask.nii", np.zeros(image.geometry.shape, np.uint8), image.geometry)
    header = nib.load(tmp_path / "mask.nii").header
    assert (header["sform_code"], header["qform_code"]) == (0, 0)
    assert not read_mask(tmp_path / "mask.nii", image.geometry).geometry.known


@pytest.mark.parametrize("codes", [(1, 1), (1, 2), (2, 1), (1, 4)])
def test_two_orientations_that_disagree_are_asked_about(tmp_path, codes):
    """Programs differ in whether they believe sform or qform: a person says which, and gets that one."""
    mirrored = LPS @ np.diag([-1, 1, 1, 1])
    image = nib.Nifti1Image(ramp(), LPS)
    image.header.set_sform(LPS, codes[1])
    image.header.set_qform(mirrored, codes[0])
    (tmp_path / "image.nii").write_bytes(image.to_bytes())
    message = problem(read_volume, tmp_path / "image.nii")
    assert "orientation=sform (LPS" in message and "orientation=qform (RPS" in message
    for answer, affine in {"sform": LPS, "qform": mirrored}.items():
        geometry = read_volume(tmp_path / "image.nii", {"orientation": answer}).geometry
        assert geometry.known
        assert np.allclose(geometry.source_affine, affine, atol=1e-5)


def test_two_orientations_a_hair_apart_are_one(tmp_path):
    """Rounding makes qform and sform differ a little in every other file: nobody is asked."""
    image = nib.Nifti1Image(ramp(), LPS)
    image.header.set_sform(oblique(10, 0, 0) @ np.diag([1, 1, 1, 1]), 1)
    image.header.set_qform(oblique(10.05, 0, 0), 1)
    (tmp_path / "image.nii").write_bytes(image.to_bytes())
    assert read_volume(tmp_path / "image.nii").geometry.known


# Values


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII", "Ä b.NII.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<u2", "<f4", ">f8"])
def test_images_of_any_kind_become_float32(tmp_path, name, kind, dtype):
    """Both NIfTI versions, both byte orders, packed or not: the same contiguous float32 pixels."""
    volume = read_volume(save(tmp_path / name, ramp(dtype=dtype), kind=kind))
    assert volume.pixels.dtype == np.float32
    assert volume.pixels.flags.c_contiguous
    assert (volume.pixels[0] == ramp().T).all()


def test_an_image_is_scaled_as_its_header_says(tmp_path):
    """Slope and intercept are applied."""
    path = save(tmp_path / "a.nii", ramp())
    patched(path, 112, np.array([0.5, -10], "<f4").tobytes())
    assert np.allclose(read_volume(path).pixels[0], ramp().T * 0.5 - 10)


def test_broken_pixels_become_zero(tmp_path):
    """NaN and infinity would spoil training for the whole case."""
    pixels = ramp(dtype=np.float32) + 1
    pixels[0, 0, :3] = np.nan, np.inf, -np.inf
    volume = read_volume(save(tmp_path / "a.nii", pixels))
    assert np.isfinite(volume.pixels).all()
    assert (volume.pixels == 0).sum() == 3


@pytest.mark.parametrize("shape", [(5, 6, 7, 1), (5, 6, 7, 1, 1)])
def test_a_single_frame_is_a_volume(tmp_path, shape):
    """Trailing axes of length 1 mean nothing."""
    assert read_volume(save(tmp_path / "a.nii", ramp(shape))).pixels.shape == (1, 7, 6, 5)


def test_a_flat_file_is_one_slice(tmp_path):
    """A two-dimensional NIfTI is a volume of one slice."""
    assert read_volume(save(tmp_path / "a.nii", ramp((5, 6)))).pixels.shape == (1, 1, 6, 5)


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i2", "<u4", ">i8", "<f4", ">f8"])
def test_labels_of_any_type_come_back_exactly(tmp_path, dtype):
    """Integers or whole floats, little or big endian: the same labels."""
    labels = (ramp() % 4).astype(dtype)
    mask = read_mask(save(tmp_path / "mask.nii.gz", labels), classes=3)
    assert mask.labels.dtype == np.uint8
    assert (mask.labels == (ramp() % 4).T).all()


def test_labels_that_are_nearly_whole_are_rounded(tmp_path):
    """A label of 0.9999999 is 1: it is rounded, never cut off."""
    labels = (ramp() % 3) * np.float32(0.9999999)
    assert (read_mask(save(tmp_path / "mask.nii", labels)).labels == (ramp() % 3).T).all()


def test_labels_under_a_scale_are_read_through_it(tmp_path):
    """A mask of 0 and 255 with a slope of 1/255 holds 0 and 1."""
    path = save(tmp_path / "mask.nii", (ramp(dtype=np.uint8) % 2) * np.uint8(255))
    patched(path, 112, np.array([1 / 255, 0], "<f4").tobytes())
    assert (read_mask(path, classes=1).labels == (ramp() % 2).T).all()


@pytest.mark.parametrize("labels", [(0, 1, 2), (0, 1, 2, 3, 4, 5, 6), (0, 2), (0, 4)])
def test_labels_squeezed_into_scaled_integers_come_back(tmp_path, labels):
    """Nibabel squeezes float labels into an integer header and they come back as 0.996: none may be lost."""
    wanted = np.array(labels)[ramp() % len(labels)]
    nib.Nifti1Image(wanted.astype(float), LPS, dtype=np.uint8).to_filename(tmp_path / "mask.nii")
    assert (read_mask(tmp_path / "mask.nii").labels == wanted.T).all()


def test_scaled_values_off_the_lattice_are_refused(tmp_path):
    """A fraction further from a whole number than the scale explains is no label."""
    values = (ramp() % 3).astype(float)
    values[2, 3, 4] = 1.4
    nib.Nifti1Image(values, LPS, dtype=np.uint8).to_filename(tmp_path / "mask.nii")
    assert "no whole number" in problem(read_mask, tmp_path / "mask.nii")


@pytest.mark.parametrize(
    ("value", "dtype", "says"),
    [
        (-1, np.int16, "label -1"),
        (70_000, np.int32, "label 70000"),
        (256, np.int16, "label 256"),
        (1.4, np.float32, "1.4, no whole number"),
        (0.4, np.float32, "probabilities between 0 and 1"),
        (np.nan, np.float32, "nan, no whole number"),
        (5, np.uint8, "label 5, the classes end at 2"),
    ],
)
def test_labels_that_cannot_be_are_refused(tmp_path, value, dtype, says):
    """The sentence names the label."""
    labels = np.zeros(SHAPE, dtype)
    labels[2, 3, 4] = value
    assert says in problem(read_mask, save(tmp_path / "mask.nii.gz", labels), classes=2)


@pytest.mark.parametrize(("second", "warned"), [(255, True), (200, False)])
def test_labels_that_are_spread_over_the_greys_can_be_the_classes_in_their_order(tmp_path, second, warned):
    """Of 0, 128 and 255 the last is no class unless somebody says so; the question says that, and offers it."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[1], labels[2] = 128, second
    path = save(tmp_path / "mask.nii.gz", labels)
    with pytest.raises(Question) as asked:
        read_mask(path, classes=2)
    assert ("255 means not annotated" in asked.value.sentence) == warned
    answer = f"128:1,{second}:2"
    assert asked.value.options[answer] == "class 1, class 2, in this order"
    read = read_mask(path, classes=2, choices={"labels": answer}).labels
    assert np.bincount(read.ravel()).tolist() == np.bincount(np.digitize(labels, [1, 200]).ravel()).tolist()
    with pytest.raises(Question) as asked:
        read_mask(path, classes=1)
    assert answer not in asked.value.options  # there are not so many classes


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_an_image_in_the_place_of_a_mask_is_called_that(tmp_path, dtype):
    """Nobody is asked what each of its greys means, nor told to make whole numbers of them."""
    greys = np.random.default_rng(0).uniform(0, 200 if dtype == np.uint8 else 900, SHAPE).astype(dtype)
    says = problem(read_mask, save(tmp_path / "flair.nii.gz", greys), classes=2)
    assert "different numbers, as an image does" in says


@pytest.mark.parametrize(("step", "problem"), [(1, Question), (20, ImportProblem)])
def test_an_atlas_of_many_labels_is_not_taken_for_an_image(tmp_path, step, problem):
    """FreeSurfer's have more than a hundred, some of them above 255; which of them are classes is a fair question."""
    atlas = np.arange(216, dtype=np.int16).reshape(6, 6, 6).repeat(4, 0).repeat(4, 1).repeat(4, 2) * step
    path = save(tmp_path / "aparc+aseg.nii.gz", atlas)
    with pytest.raises(problem, match=f"holds label.*{215 * step if step > 1 else 2}"):
        read_mask(path, classes=1)


def test_not_annotated_is_no_class(tmp_path):
    """255 is allowed whatever the number of classes."""
    labels = np.full(SHAPE, 255, np.uint8)
    assert (read_mask(save(tmp_path / "mask.nii", labels), classes=1).labels == 255).all()


# Bad files


def bad_files(folder):
    """Yield (file, words of its message)."""
    good = gzip.compress(nib.Nifti1Image(ramp(), LPS).to_bytes())
    plain = gzip.decompress(good)
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 16
    contents = {
        "empty.nii.gz": (b"", "is empty"),
        "half.nii.gz": (good[: len(good) // 2], "is truncated"),
        "no-checksum.nii.gz": (good[:-8], "is truncated"),
        "half.nii": (plain[:500], "is truncated"),
        "head.nii": (plain[:200], "is not a NIfTI image"),
        "flipped.nii.gz": (bytes(flipped), "is damaged"),
        "page.nii.gz": (b"\n<!DOCTYPE html><html>404</html>", "is a web page"),
        "text.nii": (b"hello world " * 100, "is not a NIfTI image"),
        "zipped-text.nii.gz": (gzip.compress(b"hello world " * 100), "is not a NIfTI image"),
        "scan.xyz": (b"\0" * 200, "is of no known format"),
        "long.nii.gz": (gzip.compress(plain + bytes(70 * 2**20), 1), "is far longer"),
    }
    for name, (content, says) in contents.items():
        (folder / name).write_bytes(content)
        yield folder / name, says
    (folder / "folder.nii.gz").mkdir()
    yield folder / "folder.nii.gz", "is a folder"
    yield folder / "missing.nii.gz", "does not exist"
    yield save(folder / "frames.nii", ramp((5, 6, 7, 4))), "4 frames"
    yield save(folder / "vector.nii", ramp((5, 6, 7, 1, 3))), "3 frames or channels"
    yield save(folder / "complex.nii", ramp(dtype=np.complex64)), "complex numbers"
    rgb = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    yield save(folder / "colour.nii", np.zeros(SHAPE, rgb)), "colours"


def bad_headers(folder):
    """Yield (file, words of its message) for headers that lie."""

    def header(name, offset, values, dtype):
        path = save(folder / name, ramp())
        return patched(path, offset, np.array(values, dtype).tobytes())

    yield header("huge.nii", 40, [3, 30_000, 30_000, 30_000], "<i2"), "too many for this computer's memory"
    yield header("negative.nii", 40, [3, -5, 6, 7], "<i2"), ""
    yield header("none.nii", 40, [3, 0, 6, 7], "<i2"), "size of 0"
    yield header("type.nii", 70, [777], "<i2"), "broken header"
    yield header("offset.nii", 108, [-1000], "<f4"), ""
    yield header("nowhere.nii", 108, [np.nan], "<f4"), ""
    yield header("nan.nii", 280, [np.nan], "<f4"), "impossible position"
    yield header("zeros.nii", 280, [0] * 12, "<f4"), "impossible position"
    yield header("far.nii", 280, [1e6], "<f4"), "impossible position"
    yield header("flat.nii", 280, [2, 0, 2, 0, 0, 2, 2, 0, 0, 0, 1e-9, 0], "<f4"), "in one plane"


@pytest.mark.parametrize("read", [read_volume, read_mask])
def test_a_bad_file_gets_one_sentence(tmp_path, read):
    """Whatever is wrong, the answer is an ImportProblem that names the file, the cause and what to do."""
    for path, says in [*bad_files(tmp_path), *bad_headers(tmp_path)]:
        message = problem(read, path)
        assert message.startswith(path.name)
        assert says in message


def test_a_file_that_may_not_be_opened_gets_one_sentence(tmp_path, monkeypatch):
    """The system's reason is passed on without the path."""
    path = save(tmp_path / "a.nii", ramp())

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(type(path), "open", refuse)
    assert "(Permission denied)" in problem(read_volume, path)


@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=30, deadline=None)
def test_a_flipped_bit_never_changes_a_voxel(tmp_path_factory, position, bit):
    """Damage in the packed stream is refused, or touches only what no voxel depends on."""
    path = save(tmp_path_factory.mktemp("bits") / "mask.nii.gz", (ramp() % 2).astype(np.uint8))
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 1 << bit
    path.write_bytes(content)
    try:
        labels = read_mask(path).labels
    except ImportProblem:
        return
    assert (labels == (ramp() % 2).T).all()


@given(st.binary(min_size=1, max_size=24), st.integers(0, 347))
@settings(max_examples=60, deadline=None)
def test_no_header_raises_anything_but_an_import_problem(tmp_path_factory, junk, offset):
    """Junk anywhere in the header is either read or refused."""
    path = patched(save(tmp_path_factory.mktemp("junk") / "a.nii", ramp()), offset, junk)
    try:
        volume = read_volume(path)
    except ImportProblem:
        return
    assert np.isfinite(volume.pixels).all()


def test_a_mask_is_unpacked_no_further_than_its_header_says():
    """A project's masks come from elsewhere too: a few kilobytes may not take all memory."""
    grid = Geometry(SHAPE, LPS)
    whole = gzip.decompress(encode_labels(np.ones(SHAPE, np.uint8), grid, comment="note"))
    long = gzip.compress(whole + bytes(2**28), 1)
    large = gzip.compress(whole[:40] + np.array([3, 30_000, 30_000, 30_000], "<i2").tobytes() + whole[48:])
    tracemalloc.start()
    assert "far longer than its header says" in problem(decode_labels, long, "a.nii.gz")
    assert "too many for this computer's memory" in problem(decode_labels, large, "a.nii.gz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**25
    assert decode_labels(gzip.compress(whole + bytes(9)), "a.nii.gz")[1] == "note"


# Writing


def test_what_is_written_says_nothing_of_the_source(tmp_path):
    """The header is fresh: no description, no extension, and no file name or time in the gzip."""
    image = nib.Nifti1Image(ramp(), LPS)
    image.header["descrip"] = b"DOE^JOHN"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"DOE^JOHN"))
    image.to_filename(tmp_path / "doe.nii")
    volume = read_volume(tmp_path / "doe.nii")
    write_labels(tmp_path / "doe-mask.nii.gz", np.zeros(volume.geometry.shape, np.uint8), volume.geometry)
    packed = (tmp_path / "doe-mask.nii.gz").read_bytes()
    assert packed[3:8] == bytes(5)  # no name, no time
    header = nib.load(tmp_path / "doe-mask.nii.gz").header
    assert header["descrip"] == b""
    assert not header.extensions
    assert b"DOE" not in gzip.decompress(packed)


def test_writing_is_repeatable_and_leaves_nothing_behind(tmp_path):
    """The same labels give the same bytes; no temporary file stays, not even after a failure."""
    geometry = Geometry((7, 6, 5), LPS[:, [2, 1, 0, 3]])
    labels = np.ones((7, 6, 5), np.uint8)
    for name in ("a.nii.gz", "b.nii.gz"):
        write_labels(tmp_path / name, labels, geometry, description="café " * 40)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    (tmp_path / "taken.nii").mkdir()
    with pytest.raises(SegmatchError):
        write_labels(tmp_path / "taken.nii", labels, geometry)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii.gz", "b.nii.gz", "taken.nii"]


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_images_are_written_as_they_are(tmp_path, dtype):
    """Pixels come back bit for bit, without a scale."""
    geometry = Geometry((7, 6, 5), LPS[:, [2, 1, 0, 3]])
    write_image(tmp_path / "a.nii.gz", ramp((7, 6, 5), dtype), geometry)
    assert nib.load(tmp_path / "a.nii.gz").get_data_dtype() == dtype
    volume = read_volume(tmp_path / "a.nii.gz")
    assert (volume.pixels[0] == ramp((7, 6, 5))).all()
    assert volume.geometry.same_grid(geometry)


def test_writing_refuses_what_it_cannot_keep(tmp_path):
    """Labels that are not uint8, another shape and other names are the caller's mistakes."""
    geometry = Geometry((7, 6, 5), LPS[:, [2, 1, 0, 3]])
    with pytest.raises(ValueError, match="uint8"):
        write_labels(tmp_path / "a.nii", np.zeros((7, 6, 5), int), geometry)
    with pytest.raises(ValueError, match="does not fit"):
        write_labels(tmp_path / "a.nii", np.zeros((5, 6, 7), np.uint8), geometry)
    with pytest.raises(ValueError, match="must end in"):
        write_labels(tmp_path / "a.png", np.zeros((7, 6, 5), np.uint8), geometry)
    with pytest.raises(ValueError, match="float32 or int16"):
        write_image(tmp_path / "a.nii", np.zeros((7, 6, 5)), geometry)
    assert not list(tmp_path.iterdir())


def test_a_small_computer_refuses_a_large_file(tmp_path, monkeypatch):
    """The size is compared with memory before any is taken."""
    path = save(tmp_path / "a.nii.gz", ramp())
    monkeypatch.setattr(sources, "memory", lambda: 1000)
    assert "5 × 6 × 7 voxels" in problem(read_volume, path)
