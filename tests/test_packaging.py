"""What a user installs: the wheel holds the package, the manifest, and nothing else."""

import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build a wheel from a copy of the sources."""
    if int(version("setuptools").split(".")[0]) < 77:
        pytest.skip("needs setuptools 77 or newer")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE", "napari.yaml"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "napari_segmatch", source / "napari_segmatch", ignore=shutil.ignore_patterns("__pycache__"))
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        str(out),
        str(source),
    ]
    subprocess.run(command, check=True)
    return next(out.glob("*.whl"))


def test_wheel_holds_the_manifest_and_every_module(wheel):
    """napari finds napari.yaml through the manifest package; every module of the tree is shipped."""
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "napari_segmatch").rglob("*.py")}
    assert modules <= names
    assert "napari_segmatch/py.typed" in names
    manifest = zipfile.ZipFile(wheel).read("napari_segmatch_manifest/napari.yaml")
    assert manifest == (ROOT / "napari.yaml").read_bytes()
    extra = {name for name in names - modules if ".dist-info/" not in name}
    assert extra == {"napari_segmatch/py.typed", "napari_segmatch_manifest/napari.yaml"}


def test_wheel_asks_for_no_qt_binding(wheel):
    """The base install leaves the choice of a binding to the extras."""
    archive = zipfile.ZipFile(wheel)
    metadata = archive.read(next(name for name in archive.namelist() if name.endswith("METADATA"))).decode()
    base = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert not any(binding in line for line in base for binding in ("PyQt", "PySide", "napari[all]"))
    assert {"all", "pyside6", "dicom", "dev"} <= {
        line.split(": ")[1] for line in metadata.splitlines() if line.startswith("Provides-Extra")
    }


def test_editable_install_reads_the_manifest_at_the_top():
    """`pip install -e .` leads napari to the very file in the repository."""
    from npe2 import PluginManager

    manager = PluginManager()
    manager.discover()
    manifest = manager.get_manifest("napari-segmatch")
    assert [widget.display_name for widget in manifest.contributions.widgets]
    assert {"readers", "writers", "widgets", "sample_data"} <= {name for name, value in manifest.contributions if value}
