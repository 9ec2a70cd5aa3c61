"""A run's network for other programs, and other programs' weights for ours. Torch is imported inside the functions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .batch import load_run, trained_run
from .errors import ImportProblem, ProjectError
from .events import Evaluated
from .fsio import write_atomic
from .project import Project, Run

if TYPE_CHECKING:
    from .engine.checkpoint import Loaded


def package_run(
    project_path: Path, out: Path, kind: str, run_id: int | None = None, checkpoint: str = "best"
) -> list[Path]:
    """Write a run's network for other programs, with a model card; returns the files. See :func:`predict_cases`.

    Raises
    ------
    ProjectError
        If one of the files is there already: a README may be somebody's own.
    """
    from .engine.package import package

    with Project.look_at(project_path) as project:
        run = trained_run(project, run_id)
        loaded = load_run(project, run, "cpu", checkpoint)
        files = package(loaded, kind, {**_learnt_from(loaded), **_measured(run, loaded.learner.step)})
    there = next((name for name in files if (out / name).exists()), None)
    if there is not None:
        raise ProjectError(f"{there} is in {out.name} already: choose another folder to write to.")
    for name, data in files.items():
        write_atomic(out / name, data)
    return [out / name for name in files]


def convert_weights(path: Path, out: Path) -> str:
    """Write the tensors of a PyTorch checkpoint as safetensors; returns a sentence about them.

    Raises
    ------
    ImportProblem
        If the file holds anything but tensors, or ``out`` exists.
    """
    from .engine.foreign import convert

    if out.exists():
        raise ImportProblem(f"{out.name} exists already: choose another name with --out.")
    data, sentence = convert(path)
    write_atomic(out, data)
    return sentence


def _learnt_from(loaded: Loaded) -> dict[str, str]:
    """Return what the run had to learn from when the checkpoint was written; the project may have grown since."""
    if loaded.memory is None:  # the first checkpoints had none
        return {"learnt from": "not recorded"}
    cases = {case for case, _ in loaded.memory["labelled"]}
    return {
        "labelled": f"{len(loaded.memory['labelled'])} slices of {len(cases)} cases",
        "unlabelled": f"the other slices of {len(loaded.memory['read'])} cases",
    }


def _measured(run: Run, step: int) -> dict[str, str]:
    """Return the run's last look at its validation cases up to a step."""
    looks = [event for event, _ in run.events() if isinstance(event, Evaluated) and event.step <= step]
    if not looks:
        return {"validation": "not measured"}
    dice = {f"Dice of {name}": f"{dice:.3f}" for name, dice in looks[-1].dice.items()}
    return {"validation": f"{len(looks[-1].cases)} cases held out", **dice}
