"""What the manifest gives napari: opening and saving NIfTI, and the sample."""

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_series import series
from napari.layers import Layer
from npe2 import PluginManager, PluginManifest

from napari_segmatch import _napari
from napari_segmatch.errors import SegmatchError
from napari_segmatch.io import encode_segmentation, read_volume

OBLIQUE = np.array([[0, 0, -3.0, 10], [1.2, 0.1, 0, -7], [-0.1, 1.2, 0, 5], [0, 0, 0, 1]])


def save(path, dtype=np.uint8, values=3, affine=OBLIQUE):
    array = (np.arange(4 * 5 * 6).reshape(4, 5, 6) % values).astype(dtype)
    nib.Nifti1Image(array, affine, dtype=dtype).to_filename(path)
    return str(path)


def opened(path):
    return Layer.create(*_napari.get_reader(path)(path)[0])


def test_only_our_formats_are_claimed(tmp_path):
    """Other files and folders are left to other readers; case does not matter."""
    assert _napari.get_reader("a.nii.gz") and _napari.get_reader("B.NII") and _napari.get_reader("c.mgz")
    assert _napari.get_reader(["a.nrrd", "b.hdr", "c.DCM"])
    (tmp_path / "a.txt").write_text("no scan")
    assert _napari.get_reader(str(tmp_path)) is None
    assert _napari.get_reader(["a.nii", "b.nii.gz"])
    assert _napari.get_reader("a.png") is None
    assert _napari.get_reader(["a.nii", "b.png"]) is None


@pytest.mark.parametrize(
    ("name", "dtype", "values", "kind"),
    [
        ("flair.nii.gz", np.uint8, 3, "image"),
        ("tumour-Mask.nii.gz", np.uint8, 3, "labels"),
        ("seg.nii", np.float32, 3, "labels"),
        ("labels.nii", np.uint8, 100, "image"),
        ("mask-probability.nii", np.int16, 300, "image"),
    ],
)
def test_a_mask_opens_as_labels(tmp_path, name, dtype, values, kind):
    """Both the name and the values must say so."""
    layer = opened(save(tmp_path / name, dtype, values))
    assert type(layer).__name__.lower() == kind
    assert np.allclose(layer.scale, (3, np.hypot(1.2, 0.1), np.hypot(1.2, 0.1)))
    assert layer.axis_labels == ("z", "y", "x")
    assert {str(unit) for unit in layer.units} == {"millimeter"}


def test_a_folder_of_dicom_opens_as_a_layer_each_series(tmp_path):
    """Dropped on napari without a project: images and their segmentation, at one place, with the grid to save on."""
    files = series(tmp_path / "in" / "a")
    series(tmp_path / "in" / "b", SeriesDescription="SAG T1", orient=(0, 1, 0, 0, 0, -1))
    geometry = read_volume(files[0]).geometry
    drawn = np.zeros(geometry.shape, np.uint8)
    drawn[1, 2:5, 3:6] = 1
    (tmp_path / "in" / "seg.dcm").write_bytes(encode_segmentation(files[0], drawn, geometry, ["x"], "MANUAL"))
    layers = [Layer.create(*data) for data in _napari.get_reader(str(tmp_path / "in"))(str(tmp_path / "in"))]
    assert [(type(layer).__name__, layer.data.shape) for layer in layers] == [
        ("Image", (6, 8, 10)),
        ("Image", (6, 8, 10)),
        ("Labels", (1, 8, 10)),
    ]
    assert layers[0].name == "AX FLAIR, echo 90 ms"
    data, meta, _ = layers[0].as_layer_data_tuple()
    _napari.write_image(str(tmp_path / "out.nrrd"), data, meta)
    written = read_volume(tmp_path / "out.nrrd")
    assert np.array_equal(written.pixels[0], data)
    assert written.geometry.same_grid(geometry)


def test_a_doubtful_file_opens_in_the_most_careful_way(tmp_path):
    """Without a project nobody is asked: left and right stay unknown, and a warning says so."""
    image = nib.Nifti1Image(np.zeros((4, 5, 6, 2), np.int16), None)
    image.to_filename(tmp_path / "a.nii")
    with pytest.warns(UserWarning, match="orientation=unknown"):
        layer = opened(str(tmp_path / "a.nii"))
    assert layer.data.shape == (6, 5, 4)
    assert not layer.metadata["segmatch"]["known"]


def test_a_labels_layer_goes_back_on_its_own_grid(tmp_path):
    """Opened, edited and saved, a mask has the source's shape, affine and axes."""
    layer = opened(save(tmp_path / "mask.nii.gz"))
    data, meta, _ = layer.as_layer_data_tuple()
    out = str(tmp_path / "out.nii.gz")
    assert _napari.write_labels(out, data, meta) == [out]
    source, written = nib.load(tmp_path / "mask.nii.gz"), nib.load(out)
    assert np.allclose(written.affine, source.affine, atol=1e-4)
    assert np.array_equal(np.asarray(written.dataobj), np.asarray(source.dataobj))
    assert written.get_data_dtype() == np.uint8


def test_a_layer_from_elsewhere_keeps_its_scale(tmp_path):
    """Without our metadata only the voxel size is known, and the file claims no orientation; flat is one slice."""
    layer = Layer.create(np.eye(4, 5, dtype=int), {"scale": (2, 3), "translate": (10, 20)}, "labels")
    data, meta, _ = layer.as_layer_data_tuple()
    _napari.write_labels(str(tmp_path / "out.nii"), data, meta)
    written = nib.load(tmp_path / "out.nii")
    assert written.shape == (5, 4, 1)
    assert np.allclose(written.header.get_zooms(), (3, 2, 1))
    assert (int(written.header["qform_code"]), int(written.header["sform_code"])) == (0, 0)


def test_labels_that_do_not_fit_are_refused(tmp_path):
    """Nothing is cut off in silence."""
    with pytest.raises(SegmatchError, match="above 255"):
        _napari.write_labels(str(tmp_path / "out.nii"), np.full((2, 2, 2), 300), {})
    with pytest.raises(SegmatchError, match="4 dimensions"):
        _napari.write_labels(str(tmp_path / "out.nii"), np.zeros((2, 2, 2, 2), int), {})


def test_napari_passes_on_why_a_layer_cannot_be_saved(tmp_path):
    """It takes a ValueError for a plugin that does not want the layer, and said that none was found."""
    PluginManager.instance().discover()
    layer = Layer.create(np.full((2, 3, 4), 300), {}, "labels")
    with pytest.raises(SegmatchError, match="above 255"):
        layer.save(str(tmp_path / "out.nii.gz"), plugin="napari-segmatch")


def test_the_sample_opens_as_image_and_labels():
    """Both layers lie on one grid, and the labels are not empty."""
    image, labels = (Layer.create(*data) for data in _napari.sample_data())
    assert image.data.shape == labels.data.shape
    assert np.allclose(image.scale, labels.scale)
    assert labels.data.any()


def test_the_manifest_names_functions_that_exist():
    """Every command of this module can be imported."""
    manifest = PluginManifest.from_file(Path(__file__).parents[1] / "napari.yaml")
    ours = [c.python_name for c in manifest.contributions.commands if "_napari:" in c.python_name]
    assert len(ours) == 4
    assert all(callable(getattr(_napari, name.split(":")[1])) for name in ours)


def test_opening_a_file_needs_neither_torch_nor_qt():
    """The reader is imported as napari starts, and must cost little."""
    code = "import sys, napari_segmatch._napari; print({'torch', 'qtpy', 'napari'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
