"""``segmatch train`` and ``segmatch resume``."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from ..config import OBJECTIVES, PRESETS, SELECTORS, configure, parse_setting
from ..errors import FAILED, ConfigError, ProjectError, SegmatchError
from ..events import Failed, Finished, Stopped
from ..progress import Progress
from ..project import Project, Run
from ..runner import check_settings, training
from .common import Device, Folder, app, say, typed
from .steps import next_step


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
    config = configure(preset, **flags).replace(**dict(map(parse_setting, set or [])))
    with Project.open(project) as opened:
        check_settings(config)
        run = opened.new_run(config)
    if run.config.size < config.size:
        say(f"The slices are small: they are scaled to fit {run.config.size} pixels, not {config.size}.")
    if run.config.neighbours and config.neighbours is None:
        say("The slices lie close to each other: each is seen with those above and below it.")
    _follow(project, run, resume=False, quiet=quiet)


@app.command()
def resume(
    project: Folder,
    run: Annotated[int | None, typer.Option(help="Number of the run; the newest by default.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    courteous: Annotated[bool, typer.Option("--courteous", hidden=True)] = False,
) -> None:
    """Go on with a run that was stopped or interrupted, from its newest checkpoint."""
    with Project.open(project) as opened:
        chosen = opened.run(run)
    if not courteous:  # the window, when it starts us, has already said what it wants
        if chosen.is_live():
            raise ProjectError(f"Run {chosen.id} trains or waits in another program: go on or stop it there.")
        chosen.ask("run")
    _follow(project, chosen, resume=True, quiet=quiet, courteous=courteous)


@app.command(hidden=True)
def start(project: Folder, run: Annotated[int, typer.Option()], quiet: bool = False, courteous: bool = False) -> None:
    """Train a run that the window has prepared."""
    with Project.open(project) as opened:
        chosen = opened.run(run)
    _follow(project, chosen, resume=False, quiet=quiet, courteous=courteous)


def _follow(project: Path, run: Run, *, resume: bool, quiet: bool, courteous: bool = False) -> None:
    """Train in the foreground and show how it goes."""
    endings = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if signal.getsignal(endings[-1]) == signal.SIG_IGN:  # nohup: the run is to outlive its terminal
        endings.pop()
    for ending in endings:
        signal.signal(ending, lambda *_: run.ask("stop"))
    with Project.look_at(project) as opened:
        if live := opened.live_run(besides=run):
            say(f"Run {live} is training as well: both share this computer.")
    progress, event = Progress(quiet), None
    for event in training(project, run.id, resume=resume, courteous=courteous):
        progress.show(event)
        if isinstance(event, Failed) and courteous:  # the window reads it among the events
            raise typer.Exit(FAILED)
        if isinstance(event, Failed):
            raise SegmatchError(event.message)
        if isinstance(event, Stopped) and not quiet:
            with Project.look_at(project) as opened:
                which = "" if opened.run() == run else f" --run {run.id}"
            say(f"Next: segmatch resume {typed(project)}{which}")
    if isinstance(event, Finished) and not quiet:
        with Project.look_at(project) as opened:
            say(next_step(opened, typed(project)))
