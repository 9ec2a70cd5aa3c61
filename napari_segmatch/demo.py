"""What ``make demo`` runs: the sample project in napari, or the same job without a display."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import typer

from .batch import predict_cases
from .config import TrainConfig, configure
from .errors import SegmatchError
from .events import Failed, Step
from .io import find_cases, read_mask, read_volume
from .pictures import contact_sheet, outlined
from .project import Project
from .runner import training
from .sample import make_project, write_cases

STEPS = 500
UNSEEN = 6
MARK = ".made-by-demo"


def main() -> None:
    """Open the sample project in napari; without a display, train on it and write what came out."""
    try:
        if _has_display():
            _open_window(Path("demo"))
        else:
            _headless(Path("demo-headless"))
    except SegmatchError as error:
        sys.exit(str(error))


def _has_display() -> bool:
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _open_window(folder: Path) -> None:
    import napari

    from .ui.dock import SegmatchDock

    if not (folder / "project").exists():
        make_project(folder / "project").close()
    viewer = napari.Viewer(title="napari-segmatch")
    dock = SegmatchDock(viewer)
    viewer.window.add_dock_widget(dock, name="SegMatch", area="right")
    dock.session.open_project(folder / "project")
    napari.run()


def _headless(folder: Path) -> None:
    if folder.exists() and not (folder / MARK).exists():
        raise SegmatchError(f"{folder} holds something else: move it away first.")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / MARK).write_text("Made by `make demo`, which replaces this folder.\n")
    typer.echo("No display: the same job without a window. Two of twelve synthetic cases are labelled.")
    with make_project(folder / "project") as project:
        write_cases(folder / "unseen", UNSEEN, seed=1)
        for name, selector in (("Supervised only", "none"), ("SegMatch", "discriminator")):
            config = configure("quick", selector=selector, steps=STEPS, size=96, evaluate_every=STEPS, proposals=24)
            _train(project, config, name)
            mean = _score(project, folder, selector)
            typer.echo(f"{name:<16} {STEPS} steps: mean Dice {mean:.3f} on {UNSEEN} cases that it never saw.")
        _picture(project, folder / "proposals.png")
        files = project.export(folder / "export")
    typer.echo(f"Masks: {folder / 'discriminator'}. Proposals with scores and verdicts: {folder / 'proposals.png'}.")
    typer.echo(f"Export of the checked masks: {len(files)} files in {folder / 'export'}.")


def _train(project: Project, config: TrainConfig, name: str) -> None:
    run = project.new_run(config)
    for event in training(project.path, run.id):
        if isinstance(event, Step) and event.step % 100 == 0:
            typer.echo(f"  {name}: step {event.step} of {config.steps}, {event.seconds_left:.0f} s left")
        if isinstance(event, Failed):
            raise SegmatchError(event.message)


def _score(project: Project, folder: Path, selector: str) -> float:
    """Predict the unseen cases and return their mean Dice."""
    found = find_cases(folder / "unseen", {"flair": "{case}/flair.nii.gz"}, "{case}/mask.nii.gz")
    for _ in predict_cases(project.path, found, folder / selector):
        pass
    return sum(_dice(folder / selector, item.id, item.mask) for item in found) / len(found)


def _dice(folder: Path, case: str, mask: Path | None) -> float:
    prediction = read_mask(folder / f"{case}.nii.gz").labels == 1
    truth = read_mask(mask).labels == 1 if mask else prediction
    total = int(prediction.sum() + truth.sum())
    return 2 * int((prediction & truth).sum()) / total if total else 1.0


def _picture(project: Project, path: Path) -> None:
    tiles, captions = [], []
    for image, labels, caption in _shown(project):
        tiles.append(outlined(image, labels))
        captions.append(caption)
    contact_sheet(tiles, captions).save(path)


def _shown(project: Project) -> Iterator[tuple[np.ndarray, np.ndarray, str]]:
    """Twelve proposals that were accepted and twelve that were not, best first, and before them those with a mask."""
    newest = project.run().id
    items = [item for item in project.proposals() if item.run == newest]
    items.sort(key=lambda item: (item.area == 0, -item.score))
    accepted = [item for item in items if item.verdict == "accepted"][:12]
    rejected = [item for item in items if item.verdict == "rejected"][:12]
    for item in accepted + rejected:
        image = read_volume(project.image_paths(item.case)["flair"]).pixels[0, item.z]
        number = project.case(item.case).geometry.slice_number(item.z)
        word = "sure" if item.verdict == "accepted" else "unsure"  # as in the window: it may not be able to tell yet
        yield image, project.proposal_mask(item), f"{item.case} slice {number}\n{item.score:.0%}, {word}"


if __name__ == "__main__":
    main()
