"""The documentation tells the truth: its commands run, its links lead somewhere, its tables are today's."""

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def _blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.S)


def test_readme_shell_block_runs_from_top_to_bottom(tmp_path):
    """Every `segmatch` line of the README, in order, on the sample cases; training is cut short."""
    block = next(text for text in _blocks(ROOT / "README.md", "sh") if "segmatch sample" in text)
    lines = [shlex.split(line, comments=True) for line in block.splitlines() if line.strip()]
    assert len(lines) >= 9
    for line in lines:
        assert line[0] == "segmatch"
        extra = ["--steps", "6", "--size", "32", "--set", "features=8", "--device", "cpu"] if line[1] == "train" else []
        command = [sys.executable, "-m", "napari_segmatch.cli", *line[1:], *extra]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{' '.join(line)}: {done.stderr}"


def test_reference_python_block_runs(tmp_path):
    """The Python example of the reference, on sample cases."""
    command = [sys.executable, "-m", "napari_segmatch.cli", "sample", "mri", "--cases", "3"]
    subprocess.run(command, cwd=tmp_path, check=True)
    code = "\n".join(_blocks(ROOT / "docs" / "reference.md", "python"))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "checked" / "case-01.nii.gz").is_file()


def test_reference_tables_are_generated_from_the_code():
    """`python docs/generate.py` changes nothing."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    text = generate.REFERENCE.read_text("utf-8")
    assert generate.renewed(text) == text


def _options(command):
    """Return the options of a command, and of those below it."""
    mine = {option for one in command.params for option in one.opts}
    return mine.union(*map(_options, getattr(command, "commands", {}).values()))


def test_reference_names_every_verb_and_only_options_that_there_are():
    """The tables of the shell against the shell itself."""
    import typer

    from napari_segmatch.cli.verbs import app

    commands = typer.main.get_command(app).commands
    shell = (ROOT / "docs" / "reference.md").read_text("utf-8").split("## Shell")[1].split("## Python")[0]
    told = set()
    for line in (line for line in shell.splitlines() if line.startswith("| `")):
        verbs = re.findall(r"`([a-z]+) [A-Z]", line.split(" | ")[0])
        told.update(verbs)
        known = set().union(*(_options(commands[verb]) for verb in verbs))
        assert set(re.findall(r"--[a-z-]+", line)) <= known, line
    assert told == {name for name, command in commands.items() if not command.hidden}


def test_the_page_on_files_names_every_layout():
    """Whatever an export can be."""
    from napari_segmatch.project.layouts import LAYOUTS

    page = (ROOT / "docs" / "files.md").read_text("utf-8").split("| layout | files |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", page, re.M) == list(LAYOUTS)


def test_reference_names_every_method_of_a_benchmark():
    """Its help cannot: it opens without torch."""
    from napari_segmatch.benchmark.rivals import METHODS

    page = (ROOT / "docs" / "reference.md").read_text("utf-8")
    line = next(line for line in page.splitlines() if "--methods" in line)
    assert [name for name in METHODS if not re.search(rf"(?<![\w-]){name}(?![\w-])", line)] == []


def test_reference_names_every_network():
    """A setting that takes a name says which names there are."""
    from napari_segmatch.config import TrainConfig
    from napari_segmatch.engine.networks import NETWORKS

    said = TrainConfig.__dataclass_fields__["network"].metadata["help"]
    assert [name for name in NETWORKS if name not in said.split(", ")] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_and_pictures_lead_somewhere(page):
    """Every relative link of a page names a file that exists."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_into_a_page_name_one_of_its_headings(page):
    """Whoever follows ``page.md#heading`` comes to the heading, not to the top of the page."""
    for target, anchor in re.findall(r"\]\(([^):#]*)#([^)]+)\)", page.read_text("utf-8")):
        there = page.parent / target if target else page
        headings = re.findall(r"^#+ (.*)$", there.read_text("utf-8"), re.M)
        assert anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings], anchor


def test_make_targets_that_the_readme_names_exist():
    """`make demo` and `make test`."""
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", "\n".join(_blocks(ROOT / "README.md", "sh")), re.M):
        assert f"\n{target}:" in makefile


def test_manifest_is_valid_and_names_real_things():
    """npe2 accepts it, and every command's python_name can be imported."""
    from npe2 import PluginManifest

    manifest = PluginManifest.from_file(ROOT / "napari.yaml")
    for command in manifest.contributions.commands:
        module, _, name = command.python_name.partition(":")
        if ".ui." not in module:
            assert hasattr(importlib.import_module(module), name)
    done = subprocess.run([sys.executable, "-m", "npe2", "validate", "napari-segmatch"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_can_be_pasted_into_any_shell(page):
    """Shells of macOS and Windows take a typed # for a word, and that of Windows a single quote for a letter."""
    blocks = [text for text in re.findall(r"```\w*\n.*?```", page.read_text("utf-8"), re.S) if "```python" not in text]
    commands = re.findall(r"^ *((?:segmatch|make|python3?|pip|\.venv\S*) .*)$", "\n".join(blocks), re.M)
    assert [line for line in commands if " #" in line or "'" in line] == []


def test_packages_that_are_told_can_be_installed_from_any_shell():
    """Neither a page nor a sentence of the program puts their names in single quotes."""
    told = [*PAGES, *(ROOT / "napari_segmatch").rglob("*.py")]
    assert [path.name for path in told if "pip install '" in path.read_text("utf-8")] == []
