"""``segmatch simulate``: a robot annotates, and says what a Dice costs in seconds of work."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..config import configure, parse_setting
from ..errors import ConfigError
from ..fsio import write_atomic
from ..io import find_cases
from ..texts import between_commas, csv_text
from .common import Choose, Device, Images, answered, app, patterns, say

Row = Mapping[str, object]

Strategies = Annotated[
    str,
    typer.Option(
        help="scratch (slices by chance, from nothing), correct (predictions by chance), cases (those of one case "
        "after another), queue, full (every label)."
    ),
]


@app.command()
def simulate(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Folder with cases and their true masks.")],
    image: Images,
    mask: Annotated[str, typer.Option(help="Pattern of the true masks, as {case}/mask.nii.gz.")],
    out: Annotated[
        Path, typer.Option(help="The table to write. What it holds to the end, of the same settings, is not run again.")
    ] = Path("simulation.csv"),
    strategies: Strategies = "full,scratch,correct,cases,queue",
    classes: Annotated[str, typer.Option(help="Names of the classes; with commas.")] = "lesion",
    pool: Annotated[int, typer.Option(min=1, help="Cases in the pool.")] = 30,
    unseen: Annotated[int, typer.Option(min=1, help="Cases kept out, on which Dice is measured.")] = 10,
    start: Annotated[int, typer.Option(min=1, help="Cases of the pool that are labelled at the start.")] = 2,
    rounds: Annotated[int, typer.Option(min=0, help="Rounds of work.")] = 10,
    steps: Annotated[int, typer.Option(min=1, help="Steps of training between two rounds.")] = 100,
    lead: Annotated[int, typer.Option(min=0, help="Steps of training before the first round.")] = 100,
    budget: Annotated[float, typer.Option(min=0, help="Seconds of work in a round.")] = 120.0,
    size: Annotated[int, typer.Option(help="Slices are scaled to fit this many pixels.")] = 128,
    seed: Annotated[int, typer.Option(help="Of the division, the annotator and the training.")] = 0,
    changes: Annotated[list[str] | None, typer.Option("--set", help="Any other setting, as batch=4.")] = None,
    device: Device = None,
    choose: Choose = None,
) -> None:
    """Let a simulated annotator work in several ways while a model trains, and compare what their time buys."""
    from ..simulate import divide
    from ..simulate import simulate as run
    from ..simulate.ways import STRATEGIES

    wanted = between_commas(strategies)
    unknown = sorted(set(wanted) - set(STRATEGIES))
    if unknown or not wanted:
        raise ConfigError(f"--strategies: choose among {', '.join(STRATEGIES)}; {unknown[:1]} is none of them.")
    images = patterns(image)
    setup = divide(answered(find_cases(root, images, mask, say), choose), pool, unseen, start, seed)
    total = (rounds + -(-lead // steps)) * steps
    given, own = dict(map(parse_setting, changes or [])), {"evaluate_every": steps, "propose_every": steps,
                                                           "steps": total, "size": size, "seed": seed}  # fmt: skip
    taken = sorted({*own, "proposals", "minutes"} & set(given))
    if taken:
        raise ConfigError(f"--set {taken[0]}: the simulation sets it itself; see its own options in --help.")
    config = configure("standard", **given | own | ({"device": device} if device else {}))
    settings = {"seed": seed, "pool": pool, "unseen": unseen, "start": start, "size": size, "budget": budget,
                "lead": lead, "steps": steps, "rounds": rounds,
                "settings": " ".join(sorted([*(changes or []), *(choose or [])]))}  # fmt: skip
    rows = _finished(out, settings, total)
    with tempfile.TemporaryDirectory() as scratch:
        for strategy in wanted:
            if strategy in rows:
                say(f"{strategy}: as {out} has it.")
                continue
            rows[strategy] = []
            for row in run(Path(scratch) / strategy, setup, strategy, config, budget, lead, between_commas(classes),
                           list(images)):  # fmt: skip
                rows[strategy].append({**row, **settings})
                say("  ".join(f"{name} {value}" for name, value in row.items()))
                every = [line for mine in rows.values() for line in mine]
                write_atomic(out, csv_text(list(every[0]), [list(line.values()) for line in every]).encode())
    _compare({name: rows[name] for name in wanted})


def _finished(table: Path, settings: Mapping[str, object], last: int) -> dict[str, list[Row]]:
    """Read the ways of working that a table holds to the last step."""
    if not table.exists():
        return {}
    rows: dict[str, list[Row]] = {}
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if any((row.get(name) or "") != str(value) for name, value in settings.items()):
                raise ConfigError(f"{table} holds rows of other settings; choose another file with --out.")
            rows.setdefault(row["strategy"], []).append(row | {"settings": settings["settings"]})  # once it had none
    return {name: mine for name, mine in rows.items() if mine[-1]["step"] == str(last)}


def _compare(rows: Mapping[str, Sequence[Row]]) -> None:
    """Say what each way of working took to come close to a model that has every label."""
    from ..simulate import seconds_to_reach

    if not rows.get("full"):
        return
    best = float(str(rows["full"][-1]["dice"]))
    for strategy in (name for name in rows if name != "full"):
        for share in (0.9, 0.95):
            seconds = seconds_to_reach(rows[strategy], share * best)
            say(f"{strategy}: {share:.0%} of the Dice with every label ({best:.3f}): "
                + ("not reached" if seconds is None else f"{seconds:.0f} s of work"))  # fmt: skip
