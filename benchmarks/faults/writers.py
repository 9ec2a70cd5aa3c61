"""Two processes on one project, each with its own idea of the mask: no edit vanishes without a word."""

import multiprocessing
import random

from ground import SHAPE, Project, complaints, number_on, scratch, stamp, template

from napari_segmatch.errors import Conflict

ASKED = "0 silently lost"
STALE = 5
"""A writer reads the mask anew only after so many edits: it is nearly always out of date."""


def edit(path, first, count, results, start):
    """Draw numbers on random slices; remember what was saved over what."""
    chance, told = random.Random(first), []
    with Project.open(path) as project:
        start.wait()
        for index in range(count):
            if index % STALE == 0:
                known = project.mask("c")
            z, number = chance.randrange(SHAPE[0]), first + index
            before = known[z].copy()
            try:
                version = project.save_slices("c", {z: stamp(number)}, before={z: before})
                told.append((z, number, number_on(before), version, "saved"))
                known[z] = stamp(number)
            except Conflict as conflict:
                told.append((z, number, number_on(before), conflict.version, "conflict"))
                known = project.mask("c")
    results.put(told)


def campaign(count=300):
    with scratch() as folder:
        path = template(folder)
        context = multiprocessing.get_context("spawn")
        results, start = context.Queue(), context.Barrier(2)
        writers = [context.Process(target=edit, args=(path, n, count, results, start)) for n in (10_000, 20_000)]
        for writer in writers:
            writer.start()
        told = [words for _ in writers for words in results.get(timeout=600)]
        for writer in writers:
            writer.join()
        wrong, conflicts = [], 0
        with Project.open(path) as project:
            waiting = {item.version for item in project.asides()}
            for z, number, before, version, outcome in told:
                if number_on(project.aside_labels(version)[z]) != number:
                    wrong.append(f"edit {number} is in no version")
                if outcome == "conflict":
                    conflicts += 1
                    if version not in waiting:
                        wrong.append(f"edit {number} lost a conflict and is not offered")
                    continue
                parent = project.store.row("SELECT parent FROM mask_version WHERE id = ?", version)["parent"]
                over = number_on(project.aside_labels(parent)[z]) if parent else None
                if over not in (before, number):
                    wrong.append(f"edit {number} went over {over} although its writer knew only {before}")
        wrong += complaints(path)
    yield {"what": "two writers", "runs": len(told), "checked": conflicts, "asked": ASKED, "wrong": len(wrong)}, wrong
