"""``segmatch simulate``: a robot annotates, and says what a Dice costs in seconds of work."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from ..config import configure
from ..errors import ConfigError
from ..fsio import write_atomic
from ..io import find_cases
from ..texts import csv_text
from .common import Device, Images, app, patterns, say, split


@app.command()
def simulate(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Folder with cases and their true masks.")],
    image: Images,
    mask: Annotated[str, typer.Option(help="Pattern of the true masks, as {case}/mask.nii.gz.")],
    out: Annotated[Path, typer.Option(help="The table to write; rows are added as they come.")] = Path(
        "simulation.csv"
    ),
    strategies: Annotated[str, typer.Option(help="scratch, correct, queue, full; with commas.")] = (
        "full,scratch,correct,queue"
    ),
    classes: Annotated[str, typer.Option(help="Names of the classes; with commas.")] = "lesion",
    pool: Annotated[int, typer.Option(help="Cases in the pool.")] = 30,
    unseen: Annotated[int, typer.Option(help="Cases kept out, on which Dice is measured.")] = 10,
    start: Annotated[int, typer.Option(help="Cases of the pool that are labelled at the start.")] = 2,
    rounds: Annotated[int, typer.Option(help="Rounds of work.")] = 10,
    steps: Annotated[int, typer.Option(help="Steps of training between two rounds.")] = 100,
    budget: Annotated[float, typer.Option(help="Seconds of work in a round.")] = 120.0,
    size: Annotated[int, typer.Option(help="Slices are scaled to fit this many pixels.")] = 128,
    seed: Annotated[int, typer.Option(help="Of the division, the annotator and the training.")] = 0,
    device: Device = None,
) -> None:
    """Let a simulated annotator work in three ways while a model trains, and compare what their time buys."""
    from ..simulate import STRATEGIES, divide, seconds_to_reach
    from ..simulate import simulate as run

    wanted = split(strategies)
    unknown = sorted(set(wanted) - set(STRATEGIES))
    if unknown or not wanted:
        raise ConfigError(f"--strategies: choose among {', '.join(STRATEGIES)}; {unknown[:1]} is none of them.")
    images = patterns(image)
    setup = divide(find_cases(root, images, mask), pool, unseen, start, seed)
    config = configure("standard", steps=(rounds + 1) * steps, evaluate_every=steps, propose_every=steps,
                       proposals=10_000, size=size, seed=seed, device=device)  # fmt: skip
    rows: dict[str, list[dict[str, object]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for strategy in wanted:
            rows[strategy] = []
            for row in run(Path(scratch) / strategy, setup, strategy, config, budget, seed, split(classes),
                           list(images)):  # fmt: skip
                rows[strategy].append(row)
                say("  ".join(f"{name} {value}" for name, value in row.items()))
                every = [line for mine in rows.values() for line in mine]
                write_atomic(out, csv_text(list(every[0]), [list(line.values()) for line in every]).encode())
    best = float(str(rows["full"][-1]["dice"])) if rows.get("full") else None
    for strategy in (name for name in wanted if name != "full" and best is not None):
        for share in (0.9, 0.95):
            seconds = seconds_to_reach(rows[strategy], share * (best or 0))
            say(f"{strategy}: {share:.0%} of the Dice with every label ({best:.3f}): "
                f"{'not reached' if seconds is None else f'{seconds:.0f} s of work'}")  # fmt: skip
