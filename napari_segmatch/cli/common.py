"""What the commands share: the app, arguments that recur, and how they speak."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from .. import __version__
from ..errors import ConfigError, ImportProblem
from ..io import TOPICS, FoundCase, parse_image_option, with_answers
from ..project.place import place_warning
from ..texts import count

app = typer.Typer(
    help="Segment MRI with almost no labels. Research use only, not for diagnosis.",
    add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
)  # fmt: skip


def _told_where(project: Path) -> Path:
    """Say it if a project lies on a network drive or in the cloud, and go on."""
    if warning := place_warning(project):
        typer.echo(f"segmatch: {warning}", err=True)
    return project


Folder = Annotated[Path, typer.Argument(metavar="PROJECT", help="The project's folder.", callback=_told_where)]
Images = Annotated[
    list[str], typer.Option("--image", help="NAME=PATTERN, as flair={case}/flair.nii.gz; once for each sequence.")
]
Choose = Annotated[
    list[str] | None, typer.Option("--choose", help="TOPIC=ANSWER, to a question that a file has raised; repeatable.")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]


def typed(what: str | Path) -> str:
    """Return a path or a name as it is typed into a shell: in quotes if it has spaces, in double ones on Windows.

    A path that begins with a dash would be taken for an option.
    """
    what = f"./{what}" if isinstance(what, Path) and str(what).startswith("-") else what
    return subprocess.list2cmdline([str(what)]) if sys.platform == "win32" else shlex.quote(str(what))


def say(text: str) -> None:
    typer.echo(text)


@app.callback(invoke_without_command=True)
def _alone(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False,
) -> None:
    if version:
        say(f"napari-segmatch {__version__}")
        raise typer.Exit
    show_verbs(context)


def show_verbs(context: typer.Context) -> None:
    """Show the help where no verb is named."""
    if context.invoked_subcommand is None:
        say(context.get_help())


def patterns(options: Iterable[str]) -> dict[str, str]:
    pairs = [parse_image_option(text) for text in options]
    doubled = [name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1]
    if doubled:
        raise ConfigError(f"--image gives {doubled[0]} twice; one pattern for each sequence is possible.")
    return dict(pairs)


def pairs(options: Iterable[str] | None, option: str, example: str) -> dict[str, str]:
    """Split NAME=VALUE options."""
    found = {}
    for text in options or ():
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise ConfigError(f"{option} {text!r} is no name=value: write it like {example}.")
        found[name] = value
    return found


def check_way(image: object, series: object) -> None:
    """Raise if files are to be found in two ways, of which one would not be heard."""
    if image and series:
        raise ConfigError("Give --image, or --series, which is for DICOM, not both.")


def check_sequences(images: Iterable[str], series: Iterable[str], sequences: Sequence[str]) -> None:
    """Raise if an option names a sequence that the project has not: its files would not be read."""
    for option, names in (("--image", images), ("--series", series)):
        if unknown := sorted({*names} - {*sequences}):
            known = ", ".join(sequences)
            raise ImportProblem(f"{option} names {unknown[0]!r}; the project's sequences are {known}.")


def tell_lacking(sequences: Iterable[str], cases: Sequence[Collection[str]]) -> None:
    """Say of each sequence of how many cases it was found, if not of all; ``cases`` are the sequences of each."""
    for name in sequences:
        have = sum(name in case for case in cases)
        if have < len(cases):
            others = "the others are" if have else "it is" if len(cases) == 1 else "they are"
            say(f"{name}: found for {have} of {count(len(cases), 'case')}; {others} used without it.")


def answers(options: Iterable[str] | None) -> dict[str, str]:
    """Return what ``--choose`` says; a topic about which no file is asked would not be heard."""
    found = pairs(options, "--choose", "--choose orientation=unknown")
    unknown = next((topic for topic in found if topic.partition(":")[0] not in TOPICS), None)
    if unknown is not None:
        raise ConfigError(f"--choose: no file is asked about {unknown!r}; topics are {', '.join(TOPICS)}.")
    return found


def answered(found: Iterable[FoundCase], options: Iterable[str] | None) -> list[FoundCase]:
    """Return cases whose files are read as ``--choose`` says."""
    return [replace(item, choices=with_answers(item.choices, answers(options))) for item in found]
