"""``segmatch package``: a trained network for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..batch import package_run
from .common import Folder, app, say


@app.command()
def package(
    project: Folder,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to.")],
    kind: Annotated[str, typer.Option("--as", help="torchscript, onnx or monai-bundle.")] = "torchscript",
    run: Annotated[int | None, typer.Option(help="Number of the run; the newest by default.")] = None,
) -> None:
    """Write a trained network as TorchScript, ONNX or a MONAI bundle, with a model card."""
    files = package_run(project, folder, kind, run)
    say(f"{len(files)} files written to {folder}.")
