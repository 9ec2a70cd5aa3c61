"""``segmatch sample`` and ``segmatch doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigError
from ..project.doctor import examine
from ..project.upkeep import repair as mend
from ..texts import count
from .common import Folder, app, say


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to.")],
    cases: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 12,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same cases.")] = 0,
) -> None:
    """Write synthetic MRI with lesions and true masks, to try everything on."""
    from ..sample import write_cases

    write_cases(folder, cases, seed)
    say(f"Written to {folder}: {count(cases, 'case')}, each with flair.nii.gz and mask.nii.gz.")


@app.command()
def doctor(
    project: Folder,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended; nothing is deleted.")] = False,
    search: Annotated[
        list[Path] | None, typer.Option(help="With --repair: folders to look for moved images in.")
    ] = None,
) -> None:
    """Check a project folder and say what is wrong with it."""
    if search and not repair:
        raise ConfigError("--search looks for images in order to mend the project: say --repair, too.")
    if repair:
        for sentence in mend(project, search or ()):
            say(sentence)
    problems = examine(project)
    for problem in problems:
        say(problem)
    say("The project is healthy." if not problems else f"{count(len(problems), 'thing')} to look at.")
