"""The shell: ``segmatch --help``. Exit code 0, or 2 and one sentence on standard error."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from . import __version__
from .batch import evaluate_folder, predict_cases
from .config import OBJECTIVES, PRESETS, SELECTORS, TrainConfig, configure
from .errors import ConfigError, ImportProblem, ProjectError, SegmatchError
from .events import Failed
from .io import FoundCase, find_cases, parse_image_option, read_mask
from .progress import Progress
from .project import Project, Run
from .project.doctor import examine
from .runner import check_settings, training

app = typer.Typer(
    help="Segment MRI with almost no labels. Research use only, not for diagnosis.",
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
)  # fmt: skip

Folder = Annotated[Path, typer.Argument(metavar="PROJECT", help="The project's folder.")]
Images = Annotated[
    list[str], typer.Option("--image", help="NAME=PATTERN, as flair={case}/flair.nii.gz; once for each sequence.")
]


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _say(text: str) -> None:
    typer.echo(text)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False) -> None:
    if version:
        _say(f"napari-segmatch {__version__}")
        raise typer.Exit


@app.command()
def new(
    project: Folder,
    classes: Annotated[str, typer.Option(help="Structures to segment, separated by commas.")] = "lesion",
    sequences: Annotated[str, typer.Option(help="MRI sequences, separated by commas.")] = "flair",
) -> None:
    """Make a new project in a new or empty folder."""
    Project.create(project, _split(classes), _split(sequences)).close()
    _say(f"Project {project.name} is ready. Next: segmatch add {project} FOLDER --image ...")


@app.command()
def add(
    project: Folder,
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="The folder that the patterns start from.")],
    image: Images,
    mask: Annotated[str | None, typer.Option(help="Pattern of label files, as {case}/mask.nii.gz.")] = None,
    labelled: Annotated[
        str | None, typer.Option(help="Cases whose masks are finished labels: CASE,CASE, all (default) or none.")
    ] = None,
    labelled_file: Annotated[Path | None, typer.Option(help="The same, from a file with one case a line.")] = None,
    validation: Annotated[str, typer.Option(help="CASE,CASE to freeze for validation: never trained on.")] = "",
) -> None:
    """Add cases. A file that cannot be used is set aside with the reason, and the rest goes on."""
    patterns = _patterns(image)
    found = find_cases(root, patterns, mask)
    held_out = set(_known(_split(validation), found, "--validation"))
    finished = set(_labelled_cases(labelled, labelled_file, mask, found)) | held_out
    with Project.open(project) as opened:
        unknown = sorted(set(patterns) - set(opened.sequences))
        if unknown:
            known = ", ".join(opened.sequences)
            raise ImportProblem(f"--image names {unknown[0]!r}; the project's sequences are {known}.")
        kept = _kept_as_they_are(opened, found, held_out)
        added = sum(
            _add_one(opened, item, item.id in finished, item.id in held_out) for item in found if item.id not in kept
        )
        for name in patterns:
            have = sum(name in item.images for item in found)
            if have < len(found):
                _say(f"{name}: found for {have} of {len(found)} cases; the others are used without it.")
        now = [case for case in opened.cases if case.id in {item.id for item in found}]
    labels, frozen = sum(bool(case.labelled) for case in now), sum(case.validation for case in now)
    _say(f"{added} of {len(found)} cases added; of these {len(found)}, {labels} have labels and {frozen} are frozen.")
    if not added and not kept:
        raise ImportProblem("No case could be added; the reasons stand above.")


def _patterns(options: Iterable[str]) -> dict[str, str]:
    pairs = [parse_image_option(text) for text in options]
    doubled = [name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1]
    if doubled:
        raise ConfigError(f"--image gives {doubled[0]} twice; one pattern for each sequence is possible.")
    return dict(pairs)


def _kept_as_they_are(project: Project, found: list[FoundCase], held_out: set[str]) -> set[str]:
    """Return the cases that have labels or proposals already: adding them again changes nothing."""
    kept = {item.id for item in found if project.is_in_use(item.id)}
    late = sorted(case.id for case in project.cases if case.id in kept & held_out and not case.validation)
    if late:
        raise ProjectError(f"{late[0]} cannot be frozen for validation any more: it has labels or proposals.")
    for name in sorted(kept):
        typer.echo(f"{name}: already in the project with labels or proposals, left as it is.", err=True)
    return kept


def _add_one(project: Project, item: FoundCase, finished: bool, held_out: bool) -> int:
    try:
        project.add_case(item.id, item.images, item.mask, "all" if finished else "none", validation=held_out)
    except ImportProblem as error:
        project.set_aside(item.id, str(error))
        typer.echo(f"{item.id}: set aside. {error}", err=True)
        return 0
    except ProjectError as error:
        typer.echo(f"{item.id}: left out. {error}", err=True)
        return 0
    return 1


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
        names = [] if labelled == "none" else _split(labelled or "")
    names = _known(names, found, "--labelled")
    if names and mask is None:
        raise ImportProblem("Labelled cases need masks: give --mask, as --mask '{case}/mask.nii.gz'.")
    without = sorted({item.id for item in found if item.mask is None} & set(names))
    if without:
        raise ImportProblem(f"{without[0]} is to be labelled, but no mask file was found for it.")
    return names


# training ------------------------------------------------------------------------------------------------

Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]


@app.command()
def train(
    project: Folder,
    preset: Annotated[str, typer.Option(help=f"Where to start from: {', '.join(PRESETS)}.")] = "standard",
    selector: Annotated[str | None, typer.Option(help=f"{', '.join(SELECTORS)}.")] = None,
    objective: Annotated[str | None, typer.Option(help=f"Of the discriminator: {', '.join(OBJECTIVES)}.")] = None,
    steps: Annotated[int | None, typer.Option(help="Length of the run in steps.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Length of the run in minutes, instead.")] = None,
    device: Device = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same result.")] = None,
    size: Annotated[int | None, typer.Option(help="Slices are scaled to fit this many pixels.")] = None,
    set: Annotated[
        list[str] | None, typer.Option("--set", help="Any other setting, as batch=4; see the reference page.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Train a model on the labelled and unlabelled slices of a project. Ctrl+C stops with a checkpoint."""
    if steps is not None and minutes is not None:
        raise ConfigError("Give --steps or --minutes, not both.")
    flags = {"selector": selector, "objective": objective, "steps": steps, "minutes": minutes, "device": device,
             "seed": seed, "size": size}  # fmt: skip
    config = configure(preset, **(flags | dict(_setting(text) for text in set or [])))
    with Project.open(project) as opened:
        check_settings(config)
        run = opened.new_run(config)
    _follow(project, run, resume=False, quiet=quiet)


@app.command()
def resume(
    project: Folder,
    run: Annotated[int | None, typer.Option(help="Number of the run; the newest by default.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    courteous: Annotated[bool, typer.Option("--courteous", help="Leave a core to other programs.")] = False,
) -> None:
    """Go on with a run that was stopped or interrupted, from its newest checkpoint."""
    with Project.open(project) as opened:
        chosen = opened.run(run)
    if not courteous:  # the window, when it starts us, has already said what it wants
        chosen.ask("run")
    _follow(project, chosen, resume=True, quiet=quiet, courteous=courteous)


@app.command(hidden=True)
def start(project: Folder, run: Annotated[int, typer.Option()], quiet: bool = False, courteous: bool = False) -> None:
    """Train a run that the window has prepared."""
    with Project.open(project) as opened:
        chosen = opened.run(run)
    _follow(project, chosen, resume=False, quiet=quiet, courteous=courteous)


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    types = {name: spec.type for name, spec in TrainConfig.__dataclass_fields__.items()}
    if not equals or name not in types:
        raise ConfigError(f"--set {text}: write NAME=VALUE, where NAME is one of {', '.join(sorted(types))}.")
    kind = str(types[name])
    try:
        if kind == "bool":
            return name, {"true": True, "false": False}[value.lower()]
        return name, int(value) if kind == "int" else value if kind == "str" else float(value)
    except (ValueError, KeyError) as error:
        raise ConfigError(f"--set {text}: {name} is of type {kind}.") from error


def _follow(project: Path, run: Run, *, resume: bool, quiet: bool, courteous: bool = False) -> None:
    """Train in the foreground and show how it goes."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: run.ask("stop"))
    progress = Progress(quiet)
    for event in training(project, run.id, resume=resume, courteous=courteous):
        progress.show(event)
        if isinstance(event, Failed):
            raise SegmatchError(event.message)


# prediction and evaluation -------------------------------------------------------------------------------


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
    found = find_cases(root, _patterns(image or []), None) if root else None
    for name, problem in _shown(predict_cases(project, found, out, run, device)):
        if problem:
            typer.echo(f"{name}: {problem}", err=True)
    _say(f"Masks and scores.csv are in {out}.")


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
        _say(line)


# review --------------------------------------------------------------------------------------------------


@app.command()
def review(
    project: Folder,
    verdict: Annotated[str | None, typer.Option(help="Only those that the discriminator accepted or rejected.")] = None,
    undecided: Annotated[bool, typer.Option("--undecided", help="Only those that nobody has judged.")] = False,
) -> None:
    """List the newest proposal of each slice."""
    with Project.open(project) as opened:
        items = opened.proposals(verdict, undecided=undecided)  # type: ignore[arg-type]
    _say(f"{'proposal':>8}  {'case':<24} {'slice':>5}  {'score':>5}  {'verdict':<9} decision")
    for item in sorted(items, key=lambda item: -item.score):
        _say(f"{item.id:>8}  {item.case:<24} {item.z:>5}  {item.score:5.2f}  {item.verdict:<9} {item.decision or ''}")
    _say(f"{len(items)} proposals.")


WORDS = {"accept": "accepted", "reject": "rejected", "defer": "deferred"}


@app.command()
def decide(
    project: Folder,
    proposal: Annotated[int, typer.Argument(metavar="PROPOSAL", help="Its number, from segmatch review.")],
    word: Annotated[str, typer.Argument(metavar="accept|reject|defer|undo", help="undo takes the last one back.")],
    mask: Annotated[Path | None, typer.Option(help="With accept: a corrected mask; its slice is taken.")] = None,
) -> None:
    """Record your decision on a proposal. A running training learns of it within a step."""
    if word not in (*WORDS, "undo"):
        raise ProjectError(f"{word!r} is no decision; choose accept, reject, defer or undo.")
    with Project.open(project) as opened:
        item = opened.proposal(proposal)
        if word == "undo":
            taken = opened.take_back(item)
            _say(f"Proposal {proposal}: {'taken back' if taken else 'there was no decision'}.")
            return
        corrected = read_mask(mask, opened.case(item.case).geometry, len(opened.classes)).labels if mask else None
        decision = opened.decide(item, WORDS[word], corrected)  # type: ignore[arg-type]
    _say(f"Proposal {proposal} ({item.case}, slice {item.z}): {decision.verdict}.")


@app.command()
def export(
    project: Folder,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to.")],
    include_accepted: Annotated[
        bool, typer.Option("--include-accepted", help="Also proposals that only the discriminator accepted.")
    ] = False,
) -> None:
    """Write checked masks on their source grids, volumes.csv, slices.csv and decisions.csv."""
    with Project.open(project) as opened:
        files = opened.export(folder, include_accepted=include_accepted)
    _say(f"{len(files)} files written to {folder}.")


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to.")],
    cases: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 12,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same cases.")] = 0,
) -> None:
    """Write synthetic MRI with lesions and true masks, to try everything on."""
    from .sample import write_cases

    write_cases(folder, cases, seed)
    _say(f"{cases} cases are in {folder}, each with flair.nii.gz and mask.nii.gz.")


@app.command()
def doctor(project: Folder) -> None:
    """Check a project folder and say what is wrong with it."""
    problems = examine(project)
    for problem in problems:
        _say(problem)
    _say("The project is healthy." if not problems else f"{len(problems)} things to look at.")


def main() -> None:
    """Run the command line; whatever goes wrong ends in one sentence."""
    warnings.filterwarnings("ignore", module="monai")
    try:
        code = app(standalone_mode=False)
    except SegmatchError as error:
        code = _complain(str(error))
    except KeyboardInterrupt:
        code = _complain("stopped; what was done so far is kept.")
    except OSError as error:
        code = _complain(f"{error.filename or 'A file'}: {error.strerror}.")
    except Exception as error:
        code = _complain(_sentence(error))
    sys.exit(code or 0)


def _sentence(error: Exception) -> str:
    """Say what was wrong with the command; of a bug, what it was and how to see more."""
    if hasattr(error, "format_message"):  # the command line's own errors
        return str(error.format_message()) or "stopped."
    if isinstance(error, typer.Abort):
        return "stopped."
    if os.environ.get("SEGMATCH_DEBUG"):
        raise error
    return f"internal error ({type(error).__name__}: {error}); set SEGMATCH_DEBUG=1 to see where, and please report it."


def _complain(sentence: str) -> int:
    typer.echo(f"segmatch: {sentence}", err=True)
    return 2


if __name__ == "__main__":
    main()
