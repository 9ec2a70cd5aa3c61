"""What comes next in a project: the last line of several verbs."""

from __future__ import annotations

from ..project import Project
from ..project.runs import LIVE
from ..types import Case


def next_step(project: Project, name: str) -> str:
    """Return what makes sense now, as it is typed; ``name`` is the project's there."""
    return f"Next: segmatch {_next(project).format(project=name)}"


def kind_of(case: Case) -> str:
    if case.problem is not None:
        return "with a problem"
    return "for validation" if case.validation else "labelled" if case.labelled else "without labels"


def _next(project: Project) -> str:
    cases, runs = project.cases, project.runs()
    waiting, kinds = project.waiting(cases), {kind_of(case) for case in cases}
    if kinds <= {"with a problem"}:
        return "add {project} FOLDER --image ..."
    if any(state in LIVE for _, state in runs):
        return "review {project} --undecided" if waiting else "status {project}"
    if "labelled" not in kinds:
        return "add {project} FOLDER --image ... --mask ..., or finish slices in the window"
    run, state = runs[-1] if runs else (None, "created")
    if run is None or state == "created" or not run.knows(project.classes):
        return "train {project}"
    if state != "finished":
        return "train {project}" if state == "failed" and not run.has_checkpoint else "resume {project}"
    if waiting:
        return "review {project} --undecided"
    return "predict {project}" if "without labels" in kinds else "export {project} DIR"
