"""The house's dependency table (docs/architecture.md), and what importing costs."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "napari_segmatch"
QT = {"napari", "qtpy", "magicgui", "superqt", "pyqtgraph", "PyQt6", "PySide6"}
VOCABULARY = {"types", "columns", "config", "events", "errors", "fsio", "locks", "palette", "texts"}

# room: (our own rooms it may import, outside packages it must not import)
TABLE = {
    "types": (set(), QT | {"torch", "nibabel"}),
    "columns": ({"types"}, QT | {"torch", "nibabel"}),
    "config": ({"errors", "types"}, QT | {"torch", "nibabel"}),
    "events": ({"types"}, QT | {"torch", "nibabel"}),
    "errors": (set(), QT | {"torch", "nibabel"}),
    "fsio": ({"errors"}, QT | {"torch", "nibabel"}),
    "locks": ({"errors"}, QT | {"torch", "nibabel"}),
    "palette": (set(), QT | {"torch", "nibabel"}),
    "texts": (set(), QT | {"torch", "nibabel"}),
    "history": ({"events"}, QT | {"torch", "nibabel"}),
    "jobs": ({"types"}, QT | {"torch", "nibabel"}),
    "pictures": (VOCABULARY, QT | {"torch", "nibabel"}),
    "io": (VOCABULARY, QT | {"torch", "psygnal"}),
    "engine": (VOCABULARY, QT | {"psygnal", "nibabel", "sqlite3"}),
    "project": (VOCABULARY | {"io"}, QT | {"torch", "monai", "psygnal"}),
    "runner": (VOCABULARY | {"io", "project", "engine"}, QT | {"psygnal"}),
    "batch": (VOCABULARY | {"io", "project", "engine"}, QT | {"psygnal"}),
    "packaging": (VOCABULARY | {"batch", "project", "engine"}, QT | {"psygnal"}),
    "evaluation": (VOCABULARY | {"io", "engine"}, QT | {"psygnal"}),
    "benchmark": (VOCABULARY | {"io", "engine", ""}, QT | {"psygnal", "nibabel", "sqlite3"}),
    "simulate": (VOCABULARY | {"io", "project", "ranking", "runner"}, QT | {"torch", "monai", "psygnal"}),
    "progress": (VOCABULARY, QT | {"torch", "nibabel"}),
    "ranking": ({"columns", "types"}, QT | {"torch", "nibabel"}),
    "ledger": ({"columns", "ranking", "types"}, QT | {"torch", "nibabel"}),
    "keeper": (VOCABULARY | {"project"}, QT | {"torch", "monai", "nibabel", "psygnal"}),
    "session": (
        VOCABULARY | {"batch", "history", "io", "jobs", "keeper", "ledger", "project", "ranking", "runner"},
        QT | {"torch", "monai", "nibabel"},
    ),
    "cli": (
        VOCABULARY
        | {
            "batch",
            "benchmark",
            "evaluation",
            "io",
            "packaging",
            "progress",
            "project",
            "runner",
            "sample",
            "simulate",
            "",
        },
        QT | {"torch", "monai", "nibabel", "psygnal"},
    ),
    "phantom": (set(), QT | {"torch", "monai", "psygnal", "nibabel"}),
    "sample": (VOCABULARY | {"io", "phantom", "project"}, QT | {"torch", "monai", "psygnal"}),
    "ui": (VOCABULARY | {"io", "session", "sample", "pictures", "ranking"}, {"torch", "monai", "nibabel", "sqlite3"}),
    "_napari": (VOCABULARY | {"io", "sample"}, QT | {"torch", "monai", "psygnal"}),
}


def _modules():
    return sorted(path for path in PACKAGE.rglob("*.py"))


def _imports(path):
    """Yield (room of ours or None, outside package or None) for every import of a module."""
    package = ("napari_segmatch", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield None, alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield None, (node.module or "").split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            target = (*base, *(node.module or "").split("."))[1:]
            if target and target[0]:
                yield target[0], None
            else:  # from . import x, at the top
                for alias in node.names:
                    yield (alias.name if (PACKAGE / alias.name).with_suffix(".py").exists() else ""), None


def _room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", _modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_room_keeps_to_the_dependency_table(path):
    """No module imports a room above its own, nor a package that its layer must not know."""
    room = _room(path)
    if room not in TABLE:
        assert room in {"__init__", "demo"}, f"{room} is not in the table"
        return
    ours, never = TABLE[room]
    for inner, outer in _imports(path):
        assert inner is None or inner == room or inner in ours, f"{room} imports {inner}"
        assert outer not in never, f"{room} imports {outer}"


def test_the_table_in_the_docs_is_this_one():
    """docs/architecture.md tells the rooms, what each may import of ours, and what it must not know."""
    told = {}
    for line in (ROOT / "docs" / "architecture.md").read_text("utf-8").split("| layer |")[1].splitlines()[2:]:
        if not line.startswith("|"):
            break
        rooms, ours, never = (set(cell.strip().split(", ")) for cell in line.strip("|").split("|"))
        for short, long in (("vocabulary", VOCABULARY), ("Qt", QT), ("nothing", set())):
            ours, never = (one - {short} | long if short in one else one for one in (ours, never))
        told.update(dict.fromkeys(rooms, (ours, never)))
    assert told == {room: (ours - {""}, never) for room, (ours, never) in TABLE.items()}


@pytest.mark.parametrize("path", _modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_files_and_functions_are_short_enough_to_be_read(path):
    """At most 300 lines, and 60."""
    text = path.read_text("utf-8")
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    assert len(text.splitlines()) <= 300
    assert [node.name for node in functions if node.end_lineno - node.lineno >= 60] == []


@pytest.mark.parametrize("module", ["runner", "batch", "packaging", "evaluation"])
def test_engine_is_imported_only_inside_functions(module):
    """The window and the shell open without torch, so it may be loaded only when a job starts."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text("utf-8"))
    top = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert not any((node.module or "").startswith("engine") for node in top)


def _loaded_after(statement):
    code = f"import sys; {statement}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    """`import napari_segmatch` brings neither torch nor napari nor Qt."""
    assert not _loaded_after("import napari_segmatch") & (QT | {"torch", "numpy", "nibabel"})


@pytest.mark.parametrize("module", ["session", "runner", "cli", "project", "_napari"])
def test_no_torch_before_a_job_starts(module):
    """Viewing, annotating, reviewing and exporting work without torch."""
    assert not _loaded_after(f"import napari_segmatch.{module}") & {"torch", "monai"}


@pytest.mark.parametrize("module", ["cli", "project"])
def test_the_shell_starts_without_what_it_may_not_need(module):
    """`segmatch --help` answers in half a second: readers and filters are loaded with the first file."""
    assert not _loaded_after(f"import napari_segmatch.{module}") & {"nibabel", "scipy", "skimage", "pydicom"}


def test_package_list_names_every_subpackage():
    """setuptools is told its packages by name; none may be forgotten."""
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"])
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in PACKAGE.rglob("__init__.py")}
    assert listed == found | {"napari_segmatch_manifest"}


def test_root_holds_no_python_files():
    """The manifest's package is the root folder: a stray .py there would be shipped."""
    assert not list(ROOT.glob("*.py"))
