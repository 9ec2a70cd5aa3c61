"""``segmatch asides, choose, recover, remove, restore, gc``: versions that wait, cases and files that go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ProjectError
from ..project import Project
from ..project.journal import SUFFIX as STROKES
from ..project.journal import recover as recover_strokes
from ..project.upkeep import KEEP_DAYS, collect_garbage, garbage
from ..texts import count
from .common import Folder, app, say, typed

Case = Annotated[str, typer.Argument(metavar="CASE", help="The case's id.")]


@app.command()
def asides(project: Folder) -> None:
    """List mask versions that wait for your choice: of conflicts, and of strokes that were not saved."""
    with Project.look_at(project) as opened:
        items = opened.asides()
        grids = {case.id: case.geometry for case in opened.cases}
    for item in items:
        slices = ", ".join(str(grids[item.case].slice_number(z)) for z in item.slices)
        say(f"{item.version:>6}  {item.case:<24} {item.origin:<10} by {item.author} at {item.at}, slices {slices}")
    say(f"Next: segmatch choose {typed(project)} VERSION use|leave" if items else "No version waits for a choice.")


@app.command()
def choose(
    project: Folder,
    version: Annotated[int, typer.Argument(metavar="VERSION", help="Its number, from segmatch asides.")],
    word: Annotated[str, typer.Argument(metavar="use|leave", help="use makes its slices part of the mask.")],
) -> None:
    """Use a version that waits, or keep the mask as it is. Both stay on disk."""
    if word not in ("use", "leave"):
        raise ProjectError(f"{word!r} is no choice; say use or leave.")
    with Project.open(project) as opened:
        if word == "use":
            opened.take_aside(version)
        else:
            opened.leave_aside(version)
    say(f"Version {version}: {'used' if word == 'use' else 'left beside the mask'}.")


@app.command()
def recover(
    project: Folder, file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that ends in .strokes.")]
) -> None:
    """Bring in strokes that were rescued into a file because the project's disk was full."""
    if file.suffix != STROKES:
        raise ProjectError(f"{file.name} holds no strokes: give a file whose name ends in {STROKES}.")
    with Project.open(project) as opened:
        try:
            cases, whole = recover_strokes(opened, file)
        except OSError as error:
            raise ProjectError(f"{file.name} cannot be read ({error.strerror}).") from error
    if not whole:
        say("Some strokes in it are damaged, or of cases that are not in this project; the others are brought in.")
    say(f"Strokes of {count(cases, 'case')} are kept beside the masks. Next: segmatch asides {typed(project)}")


@app.command()
def remove(project: Folder, case: Case) -> None:
    """Take a case out of the project. Its masks stay on disk until you run segmatch gc."""
    with Project.open(project) as opened:
        opened.remove_case(case)
    say(f"{case} is removed; `segmatch restore {typed(project)} {typed(case)}` brings it back.")


@app.command()
def restore(project: Folder, case: Case) -> None:
    """Bring a removed case back as it was."""
    with Project.open(project) as opened:
        opened.restore_case(case)
    say(f"{case} is back.")


@app.command()
def gc(
    project: Folder,
    days: Annotated[int, typer.Option(min=0, help="Keep masks of cases removed within so many days.")] = KEEP_DAYS,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without it you only see what would go.")] = False,
) -> None:
    """Delete files that nothing refers to: of saves that never ended, and of cases removed long ago."""
    with Project.open(project) as opened:
        files = garbage(opened, days)
        for file in files:
            say(file.relative_to(opened.path).as_posix())
        gone = collect_garbage(opened, days) if yes else 0
    next_step = ": repeat with --yes" if files else ""
    say(f"{count(gone, 'file')} deleted." if yes else f"{count(len(files), 'file')} would be deleted{next_step}.")
