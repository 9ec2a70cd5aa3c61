"""``segmatch predict`` and ``segmatch evaluate``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from ..batch import evaluate_folder, predict_cases
from ..errors import ConfigError
from ..io import find_cases
from .common import Device, Folder, app, patterns, say


@app.command()
def predict(
    project: Folder,
    root: Annotated[
        Path | None, typer.Argument(metavar="[ROOT]", help="New cases; the project's unlabelled ones if left out.")
    ] = None,
    image: Annotated[list[str] | None, typer.Option("--image", help="NAME=PATTERN, once for each sequence.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the masks and scores.csv.")] = Path("predictions"),
    run: Annotated[int | None, typer.Option(help="Number of the run; the newest by default.")] = None,
    device: Device = None,
) -> None:
    """Segment cases with a trained model, on each source's own grid, with a score and verdict for each slice."""
    if root is not None and not image:
        raise ConfigError("New cases need patterns: give --image, as --image 'flair={case}/flair.nii.gz'.")
    found = find_cases(root, patterns(image or []), None) if root else None
    for name, problem in _shown(predict_cases(project, found, out, run, device)):
        if problem:
            typer.echo(f"{name}: {problem}", err=True)
    say(f"Masks and scores.csv are in {out}.")


def _shown(results: Iterable[tuple[str, str | None, int]]) -> Iterator[tuple[str, str | None]]:
    for index, (name, problem, total) in enumerate(results, 1):
        if sys.stderr.isatty():
            typer.echo(f"\r{index} of {total}  {name}   ", err=True, nl=index == total)
        yield name, problem


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of masks, as predict writes it.")],
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Folder with the true masks.")],
    mask: Annotated[str, typer.Option(help="Pattern of the true masks, as {case}/mask.nii.gz.")],
) -> None:
    """Compare masks with true ones: Dice, lesion-slice Dice, HD95, false positives. Also writes evaluation.csv."""
    truths = {item.id: item.images["mask"] for item in find_cases(root, {"mask": mask}, None)}
    for line in evaluate_folder(folder, truths):
        say(line)
