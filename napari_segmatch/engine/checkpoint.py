"""A run's state on disk: tensors as safetensors and the rest as JSON, in a folder that appears whole or not at all.

safetensors has no checksum of its own, so the JSON carries one, and it is verified before anything is loaded.
Nothing is ever unpickled.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load, save

from ..config import from_dict
from ..errors import TrainingProblem
from ..fsio import sync_folder, write_atomic
from .learner import Learner

KEEP = 3
FORMAT = 1


def save_checkpoint(folder: Path, learner: Learner, classes: tuple[str, ...], sequences: tuple[str, ...]) -> Path:
    """Write ``folder/<step>`` and keep the newest three."""
    target = folder / f"{learner.step:08d}"
    temporary = folder / f".tmp-{learner.step:08d}"
    shutil.rmtree(temporary, ignore_errors=True)
    data = save(learner.tensors())
    state = {
        "format": FORMAT,
        "step": learner.step,
        "elapsed": learner.elapsed,
        "folds": learner.fold_of,
        "config": dataclasses.asdict(learner.config),
        "classes": list(classes),
        "sequences": list(sequences),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    write_atomic(temporary / "tensors.safetensors", data)
    write_atomic(temporary / "state.json", json.dumps(state, indent=1).encode())
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)
    sync_folder(folder)
    for old in checkpoints(folder)[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first."""
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir())


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A learner with its weights, and what its channels and labels mean."""

    learner: Learner
    classes: tuple[str, ...]
    sequences: tuple[str, ...]
    skipped: tuple[str, ...]


def load_newest(folder: Path, device: str | None = None, optimisers: bool = True) -> Loaded:
    """Load the newest checkpoint that is whole; damaged ones before it are named in ``skipped``.

    Raises
    ------
    TrainingProblem
        If there is none.
    """
    skipped: list[str] = []
    for path in reversed(checkpoints(folder)):
        try:
            return _load(path, device, optimisers, tuple(skipped))
        except (OSError, ValueError, KeyError, RuntimeError, TypeError):
            skipped.append(path.name)
    if skipped:
        raise TrainingProblem(f"All {len(skipped)} checkpoints of this run are damaged: train again.")
    raise TrainingProblem("This run has no checkpoint yet: let it train a little longer.")


def _load(path: Path, device: str | None, optimisers: bool, skipped: tuple[str, ...]) -> Loaded:
    state: dict[str, Any] = json.loads((path / "state.json").read_text("utf-8"))
    data = (path / "tensors.safetensors").read_bytes()
    if state["format"] != FORMAT or hashlib.sha256(data).hexdigest() != state["sha256"]:
        raise ValueError("not the file that was written")
    config = from_dict(state["config"] | ({"device": device} if device else {}))
    classes, sequences = tuple(state["classes"]), tuple(state["sequences"])
    learner = Learner(config, len(sequences), len(classes))
    learner.load_tensors(load(data), optimisers)
    learner.step, learner.elapsed = state["step"], state["elapsed"]
    learner.fold_of = state.get("folds", {})
    return Loaded(learner, classes, sequences, skipped)
