"""A run's state on disk: tensors as safetensors and the rest as JSON, in a folder that appears whole or not at all.

safetensors has no checksum of its own, so the JSON carries one, and one of itself; both are verified before anything
is loaded. Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from ..config import from_dict
from ..errors import ConfigError, DiskProblem, TrainingProblem
from ..fsio import SPARE_BYTES, TEMPORARY, free_bytes, move, read_file, write_atomic
from ..texts import digest, is_signed
from .device import is_lost, is_out_of_memory
from .learner import Learner

KEEP = 3
FORMAT = 4
"""Raised whenever weights of before no longer fit."""


class OtherFormat(ValueError):
    """A checkpoint that another version has written."""


def save_checkpoint(
    folder: Path,
    learner: Learner,
    classes: tuple[str, ...],
    sequences: tuple[str, ...],
    *,
    score: float | None = None,
    pool_version: int = 0,
    memory: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``folder/<step>``; keep the newest three and the one with the highest score.

    Parameters
    ----------
    score
        Validation Dice at this step, if it was measured.
    pool_version
        What the run had seen of people's work.
    memory
        What a resumed run has to know of its pool, its duties and its sweep, as JSON can hold it.

    Raises
    ------
    DiskProblem
        When the disk refuses or is nearly full; the earlier checkpoints are untouched.
    """
    target = folder / f"{learner.step:08d}"
    temporary = folder / f"{TEMPORARY}{learner.step:08d}"
    shutil.rmtree(temporary, ignore_errors=True)
    data = save(learner.tensors())
    _check_space(folder, len(data))
    state: dict[str, Any] = {
        "format": FORMAT,
        "step": learner.step,
        "elapsed": learner.elapsed,
        "judged": learner.judged,
        "folds": learner.fold_of,
        "score": score,
        "pool_version": pool_version,
        "memory": memory,
        "config": dataclasses.asdict(learner.config),
        "classes": list(classes),
        "sequences": list(sequences),
        "torch": torch.__version__,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    state["own_sha256"] = digest(state)
    try:
        write_atomic(temporary / "tensors.safetensors", data)
        write_atomic(temporary / "state.json", json.dumps(state, indent=1).encode())
        _remove(target)
        move(temporary, target)
    except DiskProblem:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _prune(folder, target)
    return target


def _check_space(folder: Path, size: int) -> None:
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if free_bytes(there) < SPARE_BYTES + size:
        raise DiskProblem(
            f"The checkpoint was not written: less than {SPARE_BYTES // 2**20} MiB are free, and masks come first. "
            "Free some space."
        )


def _prune(folder: Path, newest: Path) -> None:
    """Remove what is not wanted any more; damaged ones ahead, before which a run was resumed, do not count."""
    found = [path for path in checkpoints(folder) if path.name <= newest.name]
    keep = {*found[-KEEP:], best(folder)}
    for old in found:
        if old not in keep:
            _remove(old)


def _remove(checkpoint: Path) -> None:
    """Remove a checkpoint, first by its name: half of one would pass for a damaged one."""
    half = checkpoint.with_name(f"{TEMPORARY}old")
    shutil.rmtree(half, ignore_errors=True)  # what a process left that was killed here
    with contextlib.suppress(OSError):
        checkpoint.rename(half)
    shutil.rmtree(half, ignore_errors=True)


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first."""
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir())


def best(folder: Path) -> Path | None:
    """Return the checkpoint with the highest validation Dice, the later of two equals; None if none was measured."""
    scored: list[tuple[float, Path]] = []
    for path in checkpoints(folder):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            scored.append((float(_read_state(path)["score"]), path))
    return max(scored, default=(0.0, None))[1]


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A learner with its weights, what its channels and labels mean, and what its pool remembered.

    ``score`` is its validation Dice, if it was measured at this very step.
    """

    learner: Learner
    classes: tuple[str, ...]
    sequences: tuple[str, ...]
    skipped: tuple[str, ...]
    memory: Mapping[str, Any] | None
    pool_version: int
    score: float | None = None


def load_newest(
    folder: Path, device: str | None = None, optimisers: bool = True, *, best_first: bool = False
) -> Loaded:
    """Load the newest checkpoint that is whole; damaged ones before it are named in ``skipped``.

    Parameters
    ----------
    best_first
        Rather load the one with the highest validation Dice, if any was measured.

    Raises
    ------
    TrainingProblem
        If there is none.
    """
    skipped: list[str] = []
    others = 0
    favourite = best(folder) if best_first else None
    for path in dict.fromkeys([*([favourite] if favourite else []), *reversed(checkpoints(folder))]):
        try:
            return _load(path, device, optimisers, tuple(skipped))
        except ConfigError:  # the device or the network is not there, and the checkpoint is whole
            raise
        except (OSError, ValueError, KeyError, RuntimeError, TypeError, MemoryError) as error:
            _check_machine(error)
            skipped.append(path.name)
            others += isinstance(error, OtherFormat)
    if skipped and others == len(skipped):
        raise TrainingProblem("This run was trained with another version of napari-segmatch: train again.")
    if skipped:
        raise TrainingProblem(f"All {len(skipped)} checkpoints of this run are damaged: train again.")
    raise TrainingProblem("This run has no checkpoint yet: let it train a little longer.")


def _check_machine(error: Exception) -> None:
    """Raise if it is no fault of a checkpoint that it cannot be loaded: nobody is told to train again for that."""
    if is_out_of_memory(error):
        raise TrainingProblem("This run does not fit into memory: close other programs.") from error
    if isinstance(error, RuntimeError) and is_lost(error):
        raise TrainingProblem("The graphics processor was lost: restart the program, then try again.") from error


def _read_state(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(read_file(path / "state.json").decode())
    if not is_signed(state):
        raise ValueError("not the file that was written")
    if state["format"] != FORMAT:
        raise OtherFormat(state["format"])
    return state


def _load(path: Path, device: str | None, optimisers: bool, skipped: tuple[str, ...]) -> Loaded:
    state = _read_state(path)
    data = read_file(path / "tensors.safetensors")
    if hashlib.sha256(data).hexdigest() != state["sha256"]:
        raise ValueError("not the file that was written")
    try:
        config = from_dict(state["config"] | ({"device": device} if device else {}))
    except ConfigError as error:  # a setting that this version does not have
        raise OtherFormat(str(error)) from error
    classes, sequences = tuple(state["classes"]), tuple(state["sequences"])
    learner = Learner(config, len(sequences), len(classes))
    learner.load_tensors(load(data), optimisers)
    learner.step, learner.elapsed = state["step"], state["elapsed"]
    learner.judged, learner.fold_of = state.get("judged", 0.0), state.get("folds", {})
    memory, seen = state.get("memory"), state["pool_version"]
    return Loaded(learner, classes, sequences, skipped, memory, seen, state.get("score"))
