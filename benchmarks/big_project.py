"""A hospital's worth of cases: ``xvfb-run -a python benchmarks/big_project.py``.

Builds projects of 100 cases with 5,000 proposals and of 10,000 with 500,000, and opens each in a process of its own:
what a person waits for until the cases are listed, until the queue is sorted and drawn, until the next proposal is on
the screen, until an accept is in the queue and on disk; and what memory that takes. One row each goes to
results/big_project.csv. A tenth of the cases have a finished mask, a twentieth of the proposals is judged. The images
of all cases are a few shared files; nothing of that is read before a case is on the screen.
"""

import argparse
import gc
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import append

from napari_segmatch.config import configure
from napari_segmatch.events import Finished, PseudoMask
from napari_segmatch.io import write_image
from napari_segmatch.project import Project
from napari_segmatch.project.proposals import write_pseudo_masks
from napari_segmatch.types import Geometry, Region

SHAPE, FILES, ROUND = (60, 256, 256), 4, 100
PROPOSALS, PER_CASE = 50, 56
"""How many to a case of all, and how many of a case that has no mask: nine in ten."""
ORDERS = ("worth a look", "disagreement", "surest first", "random", "best use of time", "by case")
AFFINE = np.array([[0, 0, -1.0, 10], [0, -1.0, 0, 20], [1.0, 0, 0, 30], [0, 0, 0, 1]])


# building ------------------------------------------------------------------------------------------------


def build(folder, cases):
    """Write what adding cases, training and reviewing write, in one transaction instead of a hundred thousand."""
    paths = _images(folder)
    project = Project.create(folder / "project", ["lesion"], ["flair"])
    with project.store.atomic():
        project.add_case("case-00000", {"flair": paths[0]})
        _more_cases(project, cases, paths)
        run = project.new_run(configure("quick"))
        _masks(project, cases)
        _proposals(project, run, cases)
        _decisions(project, cases * PROPOSALS)
        run.record(Finished(1))
        project.set_run_state(run.id, "finished")
    project.close()
    return folder / "project"


def _images(folder):
    z, y, x = (np.linspace(-1, 1, n) for n in SHAPE)
    inside = (z[:, None, None] ** 2 + y[:, None] ** 2 + x**2) < 0.7
    paths = [folder / f"image-{number}.nii.gz" for number in range(FILES)]
    for path in paths:
        noise = np.random.default_rng(0).normal(0, 12, SHAPE)
        write_image(path, np.where(inside, 120 + noise, 0).astype(np.int16), Geometry(SHAPE, AFFINE))
    return paths


def _more_cases(project, cases, paths):
    first = dict(project.store.row('SELECT * FROM "case"'))
    image = dict(project.store.row("SELECT * FROM image"))
    for number in range(1, cases):
        id = f"case-{number:05d}"
        case = {**first, "number": number + 1, "id": id, "patient": id}
        images = [{**image, "case_id": id, "path": project.relative(paths[number % FILES])}]
        project.store.tell("case", {"case": case, "images": images})


def _masks(project, cases):
    """Finish every tenth case: a version of its own, the same pixels."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 80:128, 80:128] = 1
    project.save_version(project.case("case-00000"), labels, range(SHAPE[0]), "import")
    row = dict(project.store.row("SELECT * FROM mask_version"))
    rows = [{**row, "id": number // 10 + 1, "case_id": f"case-{number:05d}"} for number in range(10, cases, 10)]
    project.store.add("mask_version", rows)


def _proposals(project, run, cases):
    """Propose as a training does: round after round, slices of any case that has no mask yet."""
    chance = np.random.default_rng(0)
    labels = np.zeros(SHAPE[1:], np.uint8)
    labels[90:130, 90:140] = 1
    masks = [PseudoMask(Region("case-00001", 0), labels, 0.5, "accepted")] * ROUND
    file, members = write_pseudo_masks(run.folder / "proposals", 1, masks)
    relative = file.relative_to(project.path).as_posix()
    free = [number for number in range(cases) if number % 10]
    slices = chance.permutation(len(free) * PER_CASE)[: cases * PROPOSALS]
    for first in range(0, len(slices), ROUND):
        part = slices[first : first + ROUND]
        rows = [
            {"run": run.id, "case_id": f"case-{free[place // PER_CASE]:05d}", "z": int(place % PER_CASE) + 2,
             "score": float(score), "verdict": "accepted" if score > 0.6 else "rejected", "step": first,
             "pool_version": 1, "file": relative, "member": member, "area": int(area), "agreement": float(agreement)}
            for place, member, score, area, agreement in zip(
                part, members, chance.random(len(part)), chance.integers(0, 3000, len(part)), chance.random(len(part)),
                strict=False,
            )
        ]  # fmt: skip
        project.store.add("proposal", rows)


def _decisions(project, proposals):
    for batch, id in enumerate(range(7, proposals, 20), 1):
        project.store.add("decision", [
            {"proposal": id, "verdict": "rejected", "actor": "somebody", "at": "2026-11-25T10:00:00.000+00:00",
             "mask_version": None, "seconds": 2.5, "reason": None, "batch": batch, "reverts": None}
        ])  # fmt: skip


# measuring, in a process of its own ----------------------------------------------------------------------


def resident():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure(path, rounds):
    import napari
    from latency import spin
    from qtpy.QtWidgets import QApplication

    from napari_segmatch.ui.dock import SegmatchDock

    alone = _decide_alone(path)
    viewer = napari.Viewer(show=True)
    dock = SegmatchDock(viewer)
    viewer.window.add_dock_widget(dock, name="SegMatch", area="right")
    viewer.window._qt_window.resize(1366, 768)
    spin(2)
    gc.collect()
    row, before = {}, resident()
    row |= _open(dock, path)
    for part in (_queue, _other_case, _orders, _next, _accept):
        row |= part(dock, rounds)
    row |= alone
    row["more_memory_mib"] = round(resident() - before)
    row["peak_memory_mib"] = round(resident())
    print("ROW", json.dumps(row), flush=True)
    viewer.close()
    QApplication.processEvents()


def _decide_alone(path):
    """Accept a few proposals of one case without a window, as the saving thread does."""
    took = []
    with Project.open(path) as project:
        for item in project.proposals(undecided=True, case="case-00001")[:8]:
            begun = time.perf_counter()
            project.decide(item, "accepted")
            took.append(1e3 * (time.perf_counter() - begun))
    return _quantiles("decide_alone", took[3:])


def _open(dock, path):
    """From the wish to the list of cases drawn."""
    begun = time.perf_counter()
    dock.session.open_project(path)
    dock.cases.table.viewport().repaint()
    return {"cases": len(dock.session.cases), "proposals": len(dock.session.proposals), "open_s": _since(begun)}


def _queue(dock, rounds):
    """From a click on the tab to the sorted queue drawn; then to the first proposal on the screen."""
    from latency import spin

    begun = time.perf_counter()
    dock.show_tab("Review")
    dock.review.view.viewport().repaint()
    drawn = _since(begun)
    spin(60, lambda: dock.review.reviewer.on_screen)
    return {"queue_s": drawn, "first_on_screen_s": _since(begun)}


def _orders(dock, rounds):
    """Sort anew in each order."""
    took = []
    for order in ORDERS:
        begun = time.perf_counter()
        dock.review.filter.order.setCurrentText(order)
        dock.review.view.viewport().repaint()
        took.append(_since(begun))
    return {"sort_longest_s": max(took)}


def _other_case(dock, rounds):
    """From J to the next proposal drawn, in the queue's first order: almost always one of another case."""
    return _quantiles("next_case", [_until_next(dock, "next")[2] for _ in range(rounds)])


def _next(dock, rounds):
    """The same, case by case."""
    return _quantiles("next", [_until_next(dock, "next")[2] for _ in range(rounds)])


def _until_next(dock, action):
    """Return when the key was pressed, and the milliseconds until it was done and until another proposal was drawn."""
    from latency import spin
    from qtpy.QtWidgets import QApplication

    reviewer = dock.review.reviewer
    spin(0.7)  # the person looks
    before, begun = reviewer.current.id, time.perf_counter()
    dock.review.actions[action]()
    done = 1e3 * (time.perf_counter() - begun)
    while not (reviewer.current.id != before and reviewer.on_screen):
        QApplication.processEvents()
    dock.review.view.viewport().repaint()
    return begun, done, 1e3 * (time.perf_counter() - begun)


def _accept(dock, rounds):
    """From A to the queue without this one, to the next one drawn, to the disk having it; the window hearing of it."""
    from latency import spin

    saves, told, queued, shown, saved = [], [], [], [], []
    dock.session.project.decide = _watched(dock.session.project.decide, saves)
    dock.session._learn = _watched(dock.session._learn, told)
    for _ in range(rounds):
        begun, done, drawn = _until_next(dock, "accept")
        spin(60, lambda: not dock.session.is_saving)
        queued.append(done)
        shown.append(drawn)
        saved.append(1e3 * (saves[-1][1] - begun))
    found = {"accept_queue": queued, "accept_drawn": shown, "accept_saved": saved}
    found["accept_heard"] = [1e3 * (end - start) for start, end in told]
    return {key: value for name, values in found.items() for key, value in _quantiles(name, values).items()}


def _watched(verb, calls):
    """Return a verb that notes when it began and ended."""

    def watched(*arguments, **named):
        begun = time.perf_counter()
        result = verb(*arguments, **named)
        calls.append((begun, time.perf_counter()))
        return result

    return watched


def _quantiles(name, milliseconds):
    return {f"{name}_ms": round(statistics.median(milliseconds), 1), f"{name}_longest_ms": round(max(milliseconds), 1)}


def _since(begun):
    return round(time.perf_counter() - begun, 3)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, nargs="*", default=[100, 10_000])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--keep", type=Path, help="keep the projects in this folder, and use those that are there")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.measure, given.rounds)
        return
    with tempfile.TemporaryDirectory() as scratch:
        for cases in given.cases:
            folder = (given.keep or Path(scratch)) / str(cases)
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / "project"
            if not path.exists():
                begun = time.perf_counter()
                build(folder, cases)
                print(f"built {cases} cases in {time.perf_counter() - begun:.0f} s")
            told = subprocess.run(
                [sys.executable, __file__, "--measure", path, "--rounds", str(given.rounds)],
                capture_output=True, text=True,
            )  # fmt: skip
            line = next((line for line in told.stdout.splitlines() if line.startswith("ROW")), None)
            if line is None:
                sys.exit(told.stdout + told.stderr)
            print(append("big_project", json.loads(line[4:])))


if __name__ == "__main__":
    main()
