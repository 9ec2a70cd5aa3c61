"""``segmatch benchmark``: does the method hold what it promises, on cases whose masks are known?"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ConfigError
from ..io import find_cases
from ..texts import between_commas
from .common import Choose, Images, answered, app, patterns, say, show_verbs

if TYPE_CHECKING:
    from ..benchmark.report import Choice

bench = typer.Typer(
    help="Measure the method on cases whose true masks are known.", callback=show_verbs, invoke_without_command=True
)
app.add_typer(bench, name="benchmark")

FIGURE_2 = "supervised,identity,mean-confidence,confidence-map,segmatch,oracle"
COMPARED = "supervised,segmatch,mean-teacher,cps,unimatch,bcp"

Root = Annotated[Path, typer.Argument(metavar="ROOT", help="The folder that the patterns start from.")]
Mask = Annotated[str, typer.Option(help="Pattern of the true masks, as {case}/mask.nii.gz.")]
Classes = Annotated[str, typer.Option(help="Structures in the masks, separated by commas.")]
Methods = Annotated[str, typer.Option(help="Methods, separated by commas.")]
Labelled = Annotated[str, typer.Option(help="Numbers of labelled patients, separated by commas; 0 is the whole pool.")]
Seeds = Annotated[str, typer.Option(help="Seeds, separated by commas: each draws its own labelled patients.")]
Marks = Annotated[str, typer.Option(help="Steps at which to measure, separated by commas; the last ends the run.")]
Test = Annotated[int, typer.Option(min=1, help="Patients to test on.")]
Validation = Annotated[int, typer.Option(min=0, help="Patients to choose settings by.")]
Strata = Annotated[str, typer.Option(help="Regular expression whose first group in a case's id names its hospital.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="A setting for all runs, as batch=4.")]
Out = Annotated[Path, typer.Option(help="Folder for runs.csv and the pictures.")]
Jobs = Annotated[int, typer.Option(min=1, help="Runs at a time, one processor core each.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Tuning = Annotated[bool, typer.Option("--tuning", help="Measure on the validation patients alone.")]


@dataclass(frozen=True)
class Plan:
    """What was asked for."""

    root: Path
    images: list[str]
    mask: str
    classes: str
    labelled: str
    seeds: str
    marks: str
    test: int
    validation: int
    strata: str
    settings: list[str]
    out: Path
    jobs: int
    device: str
    choose: list[str]
    tuning: bool = False


def _numbers(text: str, what: str, low: int) -> list[int]:
    try:
        numbers = [int(part) for part in between_commas(text)]
    except ValueError as error:
        raise ConfigError(f"{what} is {text!r}: write whole numbers separated by commas.") from error
    if not numbers or min(numbers) < low:
        raise ConfigError(f"{what} is {text!r}: at least one number of {low} or more is needed.")
    return numbers


def _measure(plan: Plan, methods: str) -> Choice:
    """Carry out what is missing; returns which rows were asked for."""
    from ..benchmark.cases import load
    from ..benchmark.cases import split as divide
    from ..benchmark.report import Choice
    from ..benchmark.rivals import METHODS
    from ..benchmark.runs import Bench, Task
    from ..benchmark.table import carry_out

    unknown = sorted(set(between_commas(methods)) - set(METHODS))
    if unknown or not between_commas(methods):
        raise ConfigError(f"There is no method {', '.join(unknown) or '-'}; choose from {', '.join(METHODS)}.")
    marks = tuple(sorted(set(_numbers(plan.marks, "--marks", 1))))
    labelled, seeds = _numbers(plan.labelled, "--labelled", 0), _numbers(plan.seeds, "--seeds", 0)
    asked = patterns(plan.images)
    classes = tuple(between_commas(plan.classes))
    cases = load(answered(find_cases(plan.root, asked, plan.mask), plan.choose), list(asked), len(classes))
    parts = divide(cases, plan.test, plan.validation, plan.strata)
    budgets = tuple(count or len(parts.pool) for count in labelled)
    tasks = list(dict.fromkeys(
        Task(method, count, seed, marks, shlex.join(plan.settings))
        for seed in seeds for count in budgets for method in between_commas(methods)
    ))  # fmt: skip
    plan.out.mkdir(parents=True, exist_ok=True)
    table = plan.out / ("tuning.csv" if plan.tuning else "runs.csv")
    said = tuple(sorted(plan.choose))
    material = Bench(cases, parts, tuple(asked), classes, plan.strata, plan.device, plan.tuning, said)
    say(f"{len(parts.test)} patients to test, {len(parts.validation)} to validate, {len(parts.pool)} in the pool.")
    for number, (task, dice) in enumerate(carry_out(material, tasks, table, plan.jobs), 1):
        what = f"{task.method:<16} {task.labelled:>3} labelled  seed {task.seed}  {task.settings}"
        say(f"{number:>4} of {len(tasks)}  {what}  Dice {dice:.3f}")
    return Choice(table, material.name, marks, tuple(between_commas(methods)), shlex.join(plan.settings), budgets)


@bench.command()
def figure2(
    root: Root, image: Images, mask: Mask, classes: Classes = "lesion", methods: Methods = FIGURE_2,
    labelled: Labelled = "2,5,10", seeds: Seeds = "0,1,2", marks: Marks = "500,1000,1500", test: Test = 20,
    validation: Validation = 15, strata: Strata = "", settings: Settings = None, out: Out = Path("benchmark"),
    jobs: Jobs = 1, device: Device = "cpu", choose: Choose = None, tuning: Tuning = False,
) -> None:  # fmt: skip
    """Dice over labelled patients, selector by selector: the paper's figure 2. Goes on where it was broken off."""
    from ..benchmark.report import describe, draw_budgets

    plan = Plan(root, image, mask, classes, labelled, seeds, marks, test, validation, strata, settings or [], out,
                jobs, device, choose or [], tuning)  # fmt: skip
    choice = _measure(plan, methods)
    for line in describe(choice):
        say(line)
    if not tuning:
        say(f"Drawn: {draw_budgets(choice, out / 'figure2.png')}")


@bench.command()
def discriminator(
    root: Root, image: Images, mask: Mask, classes: Classes = "lesion", labelled: Labelled = "2,5,10",
    seeds: Seeds = "0,1,2", marks: Marks = "500,1000,1500", test: Test = 20, validation: Validation = 15,
    strata: Strata = "", settings: Settings = None, out: Out = Path("benchmark"), jobs: Jobs = 1,
    device: Device = "cpu", choose: Choose = None,
) -> None:  # fmt: skip
    """How good the discriminator's word is on patients that nobody has met, beside confidence and agreement."""
    from ..benchmark.report import describe_judge

    plan = Plan(root, image, mask, classes, labelled, seeds, marks, test, validation, strata, settings or [], out,
                jobs, device, choose or [])  # fmt: skip
    for line in describe_judge(_measure(plan, "segmatch,equation-1")):
        say(line)


@bench.command()
def compare(
    root: Root, image: Images, mask: Mask, classes: Classes = "lesion", methods: Methods = COMPARED,
    labelled: Labelled = "5", seeds: Seeds = "0,1,2", marks: Marks = "250,500,1000,1500", test: Test = 20,
    validation: Validation = 15, strata: Strata = "", settings: Settings = None, out: Out = Path("benchmark"),
    jobs: Jobs = 1, device: Device = "cpu", choose: Choose = None,
) -> None:  # fmt: skip
    """SegMatch beside other methods over the same trainer, after the same steps and after the same minutes."""
    from ..benchmark.report import describe, draw_minutes

    plan = Plan(root, image, mask, classes, labelled, seeds, marks, test, validation, strata, settings or [], out,
                jobs, device, choose or [])  # fmt: skip
    choice = _measure(plan, methods)
    for line in describe(choice):
        say(line)
    say(f"Drawn: {draw_minutes(choice, out / 'compare.png')}")
