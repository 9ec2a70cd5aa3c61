"""``segmatch review``, ``decide`` and ``export``: a person's word, and what comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigError, ProjectError
from ..events import CANNOT_TELL, could_tell
from ..io import read_codes, read_mask
from ..project import Project
from ..project.checks import left_over
from ..project.layouts import LAYOUTS
from ..texts import count
from .common import Choose, Folder, answers, app, say


@app.command()
def review(
    project: Folder,
    verdict: Annotated[str | None, typer.Option(help="Only those that the discriminator accepted or rejected.")] = None,
    undecided: Annotated[bool, typer.Option("--undecided", help="Only those that nobody has judged.")] = False,
) -> None:
    """List a proposal of each slice: the one that somebody has judged, else the newest."""
    with Project.look_at(project) as opened:
        items = opened.proposals(verdict, undecided=undecided)  # type: ignore[arg-type]
        grids = {case.id: case.geometry for case in opened.cases}
        runs = [opened.run(number) for number in {item.run for item in items}]
        said = {run.id: (run.examinations(), run.judged) for run in runs}
    say(f"{'proposal':>8}  {'case':<24} {'slice':>5}  {'score':>5}  {'verdict':<15} decision")
    for item in sorted(items, key=lambda item: -item.score):
        word = item.verdict if could_tell(*said[item.run], item.step) else CANNOT_TELL
        say(f"{item.id:>8}  {item.case:<24} {grids[item.case].slice_number(item.z):>5}  {item.score:5.2f}  "
            f"{word:<15} {item.decision or ''}")  # fmt: skip
    say(f"{count(len(items), 'proposal')}.")


WORDS = {"accept": "accepted", "reject": "rejected", "defer": "deferred"}


@app.command()
def decide(
    project: Folder,
    proposal: Annotated[int, typer.Argument(metavar="PROPOSAL", help="Its number, from segmatch review.")],
    word: Annotated[str, typer.Argument(metavar="accept|reject|defer|undo", help="undo opens it again.")],
    mask: Annotated[Path | None, typer.Option(help="With accept: a corrected mask; its slice is taken.")] = None,
    choose: Choose = None,
) -> None:
    """Record your decision on a proposal. A running training learns of it within a step."""
    if word not in (*WORDS, "undo"):
        raise ProjectError(f"{word!r} is no decision; choose accept, reject, defer or undo.")
    if (mask and word != "accept") or (choose and not mask):
        raise ConfigError("--mask goes with accept, and --choose with --mask: leave it out, or say that, too.")
    with Project.open(project) as opened:
        item = opened.proposal(proposal)
        if word == "undo":
            taken = opened.take_back(item)
            say(f"Proposal {proposal}: {'taken back' if taken else 'there was no decision'}.")
            return
        grid = opened.case(item.case).geometry
        read = read_mask(mask, grid, opened.classes, answers(choose)) if mask else None
        for note in read.notes if read else ():
            typer.echo(note, err=True)
        decision = opened.decide(item, WORDS[word], read and read.labels)  # type: ignore[arg-type]
        number = grid.slice_number(item.z)
    say(f"Proposal {proposal} ({item.case}, slice {number}): {decision.verdict}.")


@app.command()
def export(
    project: Folder,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to.")],
    include_accepted: Annotated[
        bool, typer.Option("--include-accepted", help="Also proposals that only the discriminator accepted.")
    ] = False,
    layout: Annotated[str, typer.Option("--as", help=f"{', '.join(LAYOUTS)}.")] = "nifti",
    codes: Annotated[
        Path | None, typer.Option(help="For dicom-seg: a table with class, code and meaning (SNOMED CT).")
    ] = None,
) -> None:
    """Write checked masks on their source grids, label tables, volumes.csv, slices.csv and decisions.csv."""
    if codes and layout != "dicom-seg":
        raise ConfigError("--codes is for DICOM segmentations, and no other layout has any: say --as dicom-seg, too.")
    with Project.look_at(project) as opened:
        known = read_codes(codes) if codes else None
        files = opened.export(folder, include_accepted=include_accepted, layout=layout, codes=known)
    say(f"{count(len(files), 'file')} written to {folder}.")
    if others := left_over(files, "export"):
        say(others)
