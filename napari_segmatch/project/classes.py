"""Other names for a project's classes, and more of them: what that means for what people and models said before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ProjectError
from .checks import check_classes
from .records import to_meta

if TYPE_CHECKING:
    from . import Project
    from .store import Store

OUTDATED = "outdated"
"""Key of the table meta: the last proposal by a model that did not know all of today's classes."""
REOPENED = "reopened"
"""Key of the table meta: the last mask version before slices that were done were opened for a class that was added."""


def set_classes(project: Project, names: Sequence[str], reopen: bool) -> None:
    """See :meth:`napari_segmatch.project.Project.set_classes`."""
    check_classes(names, project.classes)
    before = project.classes, project.colours
    renamed = dict(zip(project.classes, names, strict=False))
    colours = {renamed[name]: colour for name, colour in project.colours.items() if name in renamed}
    with project.store.atomic():
        _check_may_change(project, names)
        said: dict[str, object] = {"classes": list(names), "colours": colours}
        added, done = len(names) > len(project.classes), [case for case in project.cases if case.labelled]
        if added:
            said[OUTDATED] = project.last_proposal()
        if reopen or (added and not done):  # of slices that come back nobody could be asked
            row = project.store.row("SELECT coalesce(max(id), 0) AS id FROM mask_version")
            said[REOPENED] = int(row["id"]) if row else 0
        for key, value in said.items():
            project.store.tell("meta", {"key": key, "value": json.dumps(value)})
        project.classes, project.colours = tuple(names), colours
        try:
            for case in done if reopen else ():
                project.save_slices(case.id, {}, reopen=case.labelled)
        except BaseException:
            project.classes, project.colours = before
            raise


def is_still_done(store: Store, version: int) -> bool:
    """Whether what was done in a version of a mask still is: not if all slices were opened since, for another class.

    Of cases that were removed then and of decisions that were taken back it is asked when they come back.
    """
    row = store.row("SELECT value FROM meta WHERE key = ?", REOPENED)
    return row is None or version > int(row["value"])


def _check_may_change(project: Project, names: Sequence[str]) -> None:
    live = project.live_run()
    if live is not None:
        raise ProjectError(f"Run {live} is training: stop it, then change the classes.")
    if to_meta(project.store.rows("SELECT key, value FROM meta"))[0] != project.classes:
        raise ProjectError("The classes were changed in another program: open the project again.")
    if len(names) < len(project.classes):
        raise ProjectError(
            f"{project.path.resolve().name} has {len(project.classes)} classes, and {len(names)} names were given: "
            "classes can be renamed and added, none can go."
        )
