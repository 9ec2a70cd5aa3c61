"""``segmatch package`` and ``segmatch convert``: networks to other programs, and weights from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..packaging import convert_weights, package_run
from ..texts import count
from .common import Folder, app, say


@app.command()
def package(
    project: Folder,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to.")],
    kind: Annotated[str, typer.Option("--as", help="torchscript, onnx or monai-bundle.")] = "torchscript",
    run: Annotated[int | None, typer.Option(help="Number of the run; the newest trained one by default.")] = None,
    checkpoint: Annotated[
        str, typer.Option(help="best (by Dice on the validation cases; the last if there are none) or last.")
    ] = "best",
) -> None:
    """Write a trained network as TorchScript, ONNX or a MONAI bundle, with a model card."""
    files = package_run(project, folder, kind, run, checkpoint)
    say(f"{count(len(files), 'file')} written to {folder}.")


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A PyTorch checkpoint, .pt or .pth.")],
    out: Annotated[Path | None, typer.Option(help="The file to write; FILE.safetensors beside it by default.")] = None,
) -> None:
    """Turn a PyTorch checkpoint into safetensors, to train from with --set weights=. No code in it is run."""
    target = out or file.with_suffix(".safetensors")
    say(f"{target.name}: {convert_weights(file, target)}")
