"""``segmatch benchmark``: does the method hold what it promises, on cases whose masks are known?"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from inspect import Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ConfigError
from ..io import find_cases
from .common import Choose, Images, answered, app, patterns, say, split

if TYPE_CHECKING:
    from ..benchmark.report import Choice

bench = typer.Typer(help="Measure the method on cases whose true masks are known.", no_args_is_help=True)
app.add_typer(bench, name="benchmark")

FIGURE_2 = "supervised,identity,mean-confidence,confidence-map,segmatch,oracle"
COMPARED = "supervised,segmatch,mean-teacher,cps,unimatch,bcp"
JUDGES = "segmatch,equation-1"


@dataclass(frozen=True)
class Plan:
    """What was asked for: the options of all commands, in their order, and what most of them take by default."""

    root: Annotated[Path, typer.Argument(metavar="ROOT", help="The folder that the patterns start from.")]
    image: Images
    mask: Annotated[str, typer.Option(help="Pattern of the true masks, as {case}/mask.nii.gz.")]
    classes: Annotated[str, typer.Option(help="Structures in the masks, separated by commas.")] = "lesion"
    methods: Annotated[str, typer.Option(help="Methods, separated by commas.")] = JUDGES
    labelled: Annotated[
        str, typer.Option(help="Numbers of labelled patients, separated by commas; 0 is the whole pool.")
    ] = "2,5,10"
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas: each draws its own labelled patients.")] = (
        "0,1,2"
    )
    marks: Annotated[
        str, typer.Option(help="Steps at which to measure, separated by commas; the last ends the run.")
    ] = "500,1000,1500"
    test: Annotated[int, typer.Option(min=1, help="Patients to test on.")] = 20
    validation: Annotated[int, typer.Option(min=0, help="Patients to choose settings by.")] = 15
    strata: Annotated[
        str, typer.Option(help="Regular expression whose first group in a case's id names its hospital.")
    ] = ""
    settings: Annotated[list[str] | None, typer.Option("--set", help="A setting for all runs, as batch=4.")] = None
    out: Annotated[Path, typer.Option(help="Folder for runs.csv and the pictures.")] = Path("benchmark")
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time, one processor core each.")] = 1
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu"
    choose: Choose = None
    tuning: Annotated[bool, typer.Option("--tuning", help="Measure on the validation patients alone.")] = False

    @property
    def words(self) -> str:
        """The settings for all runs, as a table has them."""
        return " ".join(self.settings or ())


Act = Callable[[Plan], None]


def _command(without: Collection[str] = (), **defaults: str) -> Callable[[Act], Act]:
    """Make a command of what is done with a plan: its options are the plan's, with some defaults of its own."""

    def made(act: Act) -> Act:
        asked = [option for name, option in signature(Plan, eval_str=True).parameters.items() if name not in without]
        asked = [option.replace(default=defaults.get(option.name, option.default)) for option in asked]

        def command(**told: Any) -> None:
            act(Plan(**told))

        command.__doc__, command.__annotations__ = act.__doc__, {option.name: option.annotation for option in asked}
        setattr(command, "__signature__", Signature(asked))  # noqa: B010  what typer reads
        bench.command(act.__name__)(command)
        return act

    return made


def _numbers(text: str, what: str, low: int) -> list[int]:
    try:
        numbers = [int(part) for part in split(text)]
    except ValueError as error:
        raise ConfigError(f"{what} is {text!r}: write whole numbers separated by commas.") from error
    if not numbers or min(numbers) < low:
        raise ConfigError(f"{what} is {text!r}: at least one number of {low} or more is needed.")
    return numbers


def _measure(plan: Plan) -> Choice:
    """Carry out what is missing; returns which rows were asked for."""
    from ..benchmark.cases import load
    from ..benchmark.cases import split as divide
    from ..benchmark.report import Choice
    from ..benchmark.rivals import METHODS
    from ..benchmark.runs import Bench, Task
    from ..benchmark.table import carry_out

    methods = tuple(split(plan.methods))
    unknown = sorted(set(methods) - set(METHODS))
    if unknown or not methods:
        raise ConfigError(f"There is no method {', '.join(unknown) or '-'}; choose from {', '.join(METHODS)}.")
    marks = tuple(sorted(set(_numbers(plan.marks, "--marks", 1))))
    labelled, seeds = _numbers(plan.labelled, "--labelled", 0), _numbers(plan.seeds, "--seeds", 0)
    asked = patterns(plan.image)
    classes = tuple(split(plan.classes))
    cases = load(answered(find_cases(plan.root, asked, plan.mask), plan.choose or ()), list(asked), len(classes))
    parts = divide(cases, plan.test, plan.validation, plan.strata)
    budgets = tuple(count or len(parts.pool) for count in labelled)
    tasks = [
        Task(method, count, seed, marks, plan.words)
        for seed in seeds for count in budgets for method in methods
    ]  # fmt: skip
    plan.out.mkdir(parents=True, exist_ok=True)
    table = plan.out / ("tuning.csv" if plan.tuning else "runs.csv")
    said = tuple(sorted(plan.choose or ()))
    material = Bench(cases, parts, tuple(asked), classes, plan.strata, plan.device, plan.tuning, said)
    say(f"{len(parts.test)} patients to test, {len(parts.validation)} to validate, {len(parts.pool)} in the pool.")
    for number, (task, dice) in enumerate(carry_out(material, tasks, table, plan.jobs), 1):
        what = f"{task.method:<16} {task.labelled:>3} labelled  seed {task.seed}  {task.settings}"
        say(f"{number:>4} of {len(tasks)}  {what}  Dice {dice:.3f}")
    return Choice(table, material.name, marks, methods, plan.words, budgets)


@_command(methods=FIGURE_2)
def figure2(plan: Plan) -> None:
    """Dice over labelled patients, selector by selector: the paper's figure 2. Goes on where it was broken off."""
    from ..benchmark.report import describe, draw_budgets

    choice = _measure(plan)
    for line in describe(choice):
        say(line)
    if not plan.tuning:
        say(f"Drawn: {draw_budgets(choice, plan.out / 'figure2.png')}")


@_command(without=("methods", "tuning"))
def discriminator(plan: Plan) -> None:
    """How good the discriminator's word is on patients that nobody has met, beside confidence and agreement."""
    from ..benchmark.report import describe_judge

    for line in describe_judge(_measure(plan)):
        say(line)


@_command(without=("tuning",), methods=COMPARED, labelled="5", marks="250,500,1000,1500")
def compare(plan: Plan) -> None:
    """SegMatch beside other methods over the same trainer, after the same steps and after the same minutes."""
    from ..benchmark.report import describe, draw_minutes

    choice = _measure(plan)
    for line in describe(choice):
        say(line)
    say(f"Drawn: {draw_minutes(choice, plan.out / 'compare.png')}")
