"""``segmatch new`` and ``segmatch add``: projects and their cases."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigError, ImportProblem, ProjectError, Question
from ..io import FoundCase, find_cases, find_dataset, read_label_table, with_answers
from ..project import Project
from ..project.upkeep import without_window
from ..texts import between_commas, count, named
from .common import Choose, Folder, answers, app, check_sequences, check_way, pairs, patterns, say, tell_lacking, typed
from .steps import next_step


@app.command()
def new(
    project: Folder,
    classes: Annotated[str, typer.Option(help="Structures to segment, separated by commas.")] = "lesion",
    sequences: Annotated[str, typer.Option(help="MRI sequences, separated by commas.")] = "flair",
    label_table: Annotated[
        Path | None,
        typer.Option(help="Structures from a label file of ITK-SNAP, 3D Slicer or BIDS, or from dataset.json."),
    ] = None,
) -> None:
    """Make a new project in a new or empty folder."""
    table = read_label_table(label_table) if label_table else None
    names = table.names if table else between_commas(classes)
    with Project.create(project, names, between_commas(sequences)) as made:
        if table:
            made.set_colours(table.colours)
    say(f"Project {project.name} is ready. Next: segmatch add {typed(project)} FOLDER --image ...")


@app.command()
def add(
    project: Folder,
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="The folder with the scans.")],
    image: Annotated[
        list[str] | None,
        typer.Option(
            "--image",
            help="NAME=PATTERN, as flair={case}/flair.nii.gz, with * for anything in a name; once for each sequence. "
            "Without it ROOT is taken as DICOM, or as what nnU-Net, BIDS or MONAI Label lay out.",
        ),
    ] = None,
    mask: Annotated[str | None, typer.Option(help="Pattern of label files, as {case}/mask.nii.gz.")] = None,
    labelled: Annotated[
        str | None, typer.Option(help="Cases whose masks are finished labels: CASE,CASE, all (default) or none.")
    ] = None,
    labelled_file: Annotated[Path | None, typer.Option(help="The same, from a file with one case a line.")] = None,
    validation: Annotated[str, typer.Option(help="CASE,CASE to freeze for validation: never trained on.")] = "",
    series: Annotated[
        list[str] | None, typer.Option("--series", help="NAME=DESCRIPTION of a DICOM series, with * for anything.")
    ] = None,
    choose: Choose = None,
) -> None:
    """Add cases. A file that cannot be used is set aside with the reason, and the rest goes on."""
    choices = answers(choose)
    with Project.open(project) as opened:
        found = _found(opened, root, image, mask, pairs(series, "--series", '--series "flair=*FLAIR*"'))
        held_out = set(_known(between_commas(validation), found, "--validation"))
        finished = set(_labelled_cases(labelled, labelled_file, mask, found)) | held_out
        kept = _kept_as_they_are(opened, found, held_out)
        new = [item for item in found if item.id not in kept]
        added, asked, told = list[FoundCase](), dict[tuple[str, ...], str](), dict[str, list[str]]()
        for number, item in enumerate(new, 1):
            if sys.stderr.isatty():
                typer.echo(f"\r{number} of {len(new)}  {item.id}   ", err=True, nl=number == len(new))
            item = replace(item, choices=with_answers(item.choices, choices))
            if _add_one(opened, item, asked, item.id in finished, item.id in held_out):
                added.append(item)
                _tell_notes(opened, item, told)
        _tell_of_others(told)
        tell_lacking(opened.sequences, [opened.case(item.id).sequences for item in added])
        now = [case for case in opened.cases if case.id in {item.id for item in found}]
        then = next_step(opened, typed(project))
    labels, frozen = sum(bool(case.labelled) for case in now), sum(case.validation for case in now)
    total = count(len(found), "case")
    has, are = "has" if labels == 1 else "have", "is" if frozen == 1 else "are"
    say(f"{len(added)} of {total} added; {labels} {has} labels and {frozen} {are} frozen.")
    if not added and not kept:
        raise ImportProblem("No case could be added; the reasons stand above.")
    say(then)


@app.command()
def classes(
    project: Folder,
    rename: Annotated[list[str] | None, typer.Option(help="OLD=NEW; repeatable.")] = None,
    new: Annotated[list[str] | None, typer.Option("--add", help="One more class; repeatable.")] = None,
    done: Annotated[
        str | None, typer.Option(help="Slices that are done: reopen if some may show a new class, keep if none does.")
    ] = None,
) -> None:
    """List the classes of a project, rename them, or add some. Masks stay as they are."""
    others = pairs(rename, "--rename", "--rename lesoin=lesion")
    if done not in (None, "reopen", "keep"):
        raise ConfigError(f"--done {done!r} is no choice; say reopen or keep.")
    if done and not new:
        raise ConfigError("--done says what a new class means for slices that are done: say --add, too.")
    with Project.look_at(project) as opened:
        if not others and not new:
            for label, name in enumerate(opened.classes, 1):
                say(f"{label:>3}  {name}")
            return
        unknown = sorted(set(others) - set(opened.classes))
        if unknown:
            raise ProjectError(f"There is no class {unknown[0]!r}; {project.name} has {', '.join(opened.classes)}.")
        finished = sum(len(case.labelled) for case in opened.cases)
        if new and finished and done is None:
            raise ConfigError(
                f"{finished} slices are done: say --done reopen if some may show {new[0]}, else --done keep."
            )
    again = "finish the slices that are open again, then " if done == "reopen" and finished else ""
    then = f" Next: {again}train anew."
    with without_window(project, "change the classes"), Project.open(project) as opened:
        opened.set_classes(
            [*(others.get(name, name) for name in opened.classes), *(new or ())], reopen=bool(new) and done == "reopen"
        )
        say(f"{project.name} has {', '.join(opened.classes)} now.{then if new else ''}")


def _found(
    project: Project, root: Path, image: list[str] | None, mask: str | None, series: dict[str, str]
) -> list[FoundCase]:
    """Find cases by patterns, or by what stands in the folder."""
    check_way(image, series)
    if mask and not image:
        raise ConfigError("--mask goes with --image: without it the masks are those that the data set names.")
    asked = patterns(image or [])
    check_sequences(asked, series, project.sequences)
    if asked:
        return find_cases(root, asked, mask, say)
    found = find_dataset(root, project.sequences, project.classes, series)
    for line in found.lines:
        say(line)
    return [replace(item, patient=item.patient and project.pseudonym(item.patient)) for item in found.cases]


def _kept_as_they_are(project: Project, found: list[FoundCase], held_out: set[str]) -> set[str]:
    """Return the cases that have labels or proposals already: all they take are sequences that they lack."""
    mine = [item for item in found if not project.is_of_another(item.id, item.patient)]  # the others are refused
    used = {item.id for item in mine if project.is_in_use(item.id)}
    late = sorted(case.id for case in project.cases if case.id in used & held_out and not case.validation)
    if late:
        raise ProjectError(f"{late[0]} cannot be frozen for validation any more: it has labels or proposals.")
    kept = used - {item.id for item in mine if project.late_sequences(item.id, item.images) or project.is_lost(item.id)}
    removed = sorted(kept.intersection(project.removed_cases))
    if there := sorted(kept.difference(removed)):
        they = "it is" if len(there) == 1 else "they are"
        typer.echo(f"{named(there)}: already in the project with labels or proposals, left as {they}.", err=True)
    if removed:
        was, case, it = ("was", typed(removed[0]), "it") if len(removed) == 1 else ("were", "CASE", "one")
        back = f"`segmatch restore {typed(project.path)} {case}` brings {it} back"
        typer.echo(f"{named(removed)}: {was} taken out of the project; {back}.", err=True)
    return kept


def _tell_notes(project: Project, item: FoundCase, told: dict[str, list[str]]) -> None:
    """Say what is worth knowing of a case that was added, and not of others before; ``told`` has of which it holds."""
    files = [path.name for path in (*item.images.values(), item.mask) if path is not None and path.suffix]
    for note in project.reading(item.id).notes:
        alike = reduce(lambda words, name: words.replace(name, "its file"), files, note)
        if alike not in told:
            typer.echo(f"{item.id}: {note}", err=True)
        told.setdefault(alike, []).append(item.id)


def _tell_of_others(told: dict[str, list[str]]) -> None:
    """Say once what holds for cases after the first one of which it was told."""
    for note, (_, *others) in told.items():
        if others:
            typer.echo(f"{named(others)}: {note}", err=True)


def _add_one(
    project: Project, item: FoundCase, asked: dict[tuple[str, ...], str], finished: bool, held_out: bool
) -> bool:
    """Add a case; returns whether it is in. ``asked`` has earlier answers, for files with the same trouble."""
    try:
        project.add_case(
            item.id, item.images, item.mask, "all" if finished else "none",
            patient=item.patient, validation=held_out, choices=item.choices,
        )  # fmt: skip
    except Question as question:
        if sys.stdin.isatty():
            answer = asked.pop(question.trouble, None) or _prompt(item, question)
            item = replace(item, choices=with_answers(item.choices, {question.topic: answer}))
            added = _add_one(project, item, asked, finished, held_out)
            asked.setdefault(question.trouble, answer)  # the same question again has got a better answer by now
            return added
        return _put_off(project, item, question, " Then add it again with --choose.")
    except ImportProblem as error:
        return _put_off(project, item, error)
    except ProjectError as error:
        typer.echo(f"{item.id}: left out. {error}", err=True)
        return False
    return True


def _put_off(project: Project, item: FoundCase, why: ImportProblem, then: str = "") -> bool:
    """Set a case aside, unless it is in the project with files that can be used; returns that it was not added."""
    noted = project.set_aside(item.id, str(why))
    happens = "set aside" if noted else "stays as it was, since its new files cannot be used as they are"
    typer.echo(f"{item.id}: {happens}. {why}{then}", err=True)
    return False


def _prompt(item: FoundCase, question: Question) -> str:
    typer.echo(f"{item.id}: {question}", err=True)
    return typer.prompt(question.topic, default=next(iter(question.options)))


def _known(names: list[str], found: list[FoundCase], option: str) -> list[str]:
    unknown = sorted(set(names) - {item.id for item in found})
    if unknown:
        raise ImportProblem(f"{option} names {unknown[0]!r}, but no such case was found in the folder.")
    return names


def _labelled_cases(labelled: str | None, file: Path | None, mask: str | None, found: list[FoundCase]) -> list[str]:
    if labelled is not None and file is not None:
        raise ConfigError("Give --labelled or --labelled-file, not both.")
    if file is not None:
        if not file.is_file():
            raise ImportProblem(f"There is no file {file.name} for --labelled-file.")
        try:
            names = [line.strip() for line in file.read_text("utf-8-sig").splitlines() if line.strip()]
        except UnicodeError as error:
            raise ImportProblem(f"{file.name} is not plain text in UTF-8: save it as UTF-8.") from error
    elif labelled in (None, "all"):
        names = [item.id for item in found if item.mask is not None]
    else:
        names = [] if labelled == "none" else between_commas(labelled or "")
    names = _known(names, found, "--labelled")
    if names and mask is None and not any(item.mask for item in found):
        raise ImportProblem('Labelled cases need masks: give --mask, as --mask "{case}/mask.nii.gz".')
    without = sorted({item.id for item in found if item.mask is None} & set(names))
    if without:
        raise ImportProblem(f"{without[0]} is to be labelled, but no mask file was found for it.")
    return names
