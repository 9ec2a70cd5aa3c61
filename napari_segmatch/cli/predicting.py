"""``segmatch predict`` and ``segmatch evaluate``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from ..batch import predict_cases
from ..errors import ConfigError
from ..evaluation import evaluate_folder
from ..io import FoundCase, find_cases, find_dataset
from ..project import Project
from ..project.checks import left_over
from ..texts import count
from .common import Choose, Device, Folder, answers, app, check_sequences, check_way, pairs, patterns, say, tell_lacking


@app.command()
def predict(
    project: Folder,
    root: Annotated[
        Path | None, typer.Argument(metavar="ROOT", help="New cases; if left out, those of the project without labels.")
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(
            "--image",
            help="NAME=PATTERN, once for each sequence. Without it ROOT is taken as DICOM, or as what nnU-Net, BIDS or "
            "MONAI Label lay out.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the masks and scores.csv.")] = Path("predictions"),
    run: Annotated[int | None, typer.Option(help="Number of the run; the newest trained one by default.")] = None,
    device: Device = None,
    checkpoint: Annotated[
        str, typer.Option(help="best (by Dice on the validation cases; the last if there are none) or last.")
    ] = "best",
    parts: Annotated[
        str | None,
        typer.Option(
            help="Smaller parts of a structure that the discriminator doubts: auto leaves them out if at least three "
            "labelled cases show it in one part, one in any case, all never; the run's setting if left out."
        ),
    ] = None,
    series: Annotated[
        list[str] | None, typer.Option("--series", help="NAME=DESCRIPTION of a DICOM series, with * for anything.")
    ] = None,
    choose: Choose = None,
) -> None:
    """Segment cases with a trained model, on each source's own grid, with a score and verdict for each slice."""
    check_way(image, series)
    if root is None and (image or series or choose):
        raise ConfigError("--image, --series and --choose are for new cases: give the folder that holds them, too.")
    found = None if root is None else _found(project, root, image, series)
    written = []
    results = predict_cases(project, found, out, run, device, answers(choose), checkpoint, parts, say)
    for name, problem in _shown(results):
        if problem:
            typer.echo(f"{name}: {problem}", err=True)
        else:
            written.append(out / f"{name}.nii.gz")
    say(f"Masks of {count(len(written), 'case')} and scores.csv are in {out}.")
    if others := left_over(written, "prediction"):
        say(others)


def _found(project: Path, root: Path, image: list[str] | None, series: list[str] | None) -> list[FoundCase]:
    """Find new cases by patterns, or by what stands in the folder; says which sequences some of them lack."""
    asked, described = patterns(image or []), pairs(series, "--series", '--series "flair=*FLAIR*"')
    with Project.look_at(project) as opened:
        sequences, names = opened.sequences, opened.classes
    check_sequences(asked, described, sequences)
    if asked:
        found = find_cases(root, asked, None, say)
    else:
        dataset = find_dataset(root, sequences, names, described)
        for line in dataset.lines:
            say(line)
        found = [*dataset.cases]
    tell_lacking(sequences, [item.images for item in found])
    return found


def _shown(results: Iterable[tuple[str, str | None, int]]) -> Iterator[tuple[str, str | None]]:
    for index, (name, problem, total) in enumerate(results, 1):
        if sys.stderr.isatty():
            typer.echo(f"\r{index} of {total}  {name}   ", err=True, nl=index == total)
        yield name, problem


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of masks, as predict or export writes it.")],
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Folder with the true masks.")],
    mask: Annotated[str, typer.Option(help="Pattern of the true masks, as {case}/mask.nii.gz.")],
    choose: Choose = None,
) -> None:
    """Compare masks with true ones: Dice, lesion-slice Dice, HD95, false positives. Also writes tables of them."""
    truths = {item.id: item.images["mask"] for item in find_cases(root, {"mask": mask}, None, say)}
    for line in evaluate_folder(folder, truths, answers(choose)):
        say(line)
