"""How fast the review is: ``xvfb-run -a python benchmarks/review.py PART``, with a row in results/review_PART.csv each.

accept  From the key to the next proposal drawn, with 5,000 proposals and a training running on the CPU.
open    From the wish to open a case of 256 x 256 x 155 voxels with 4 sequences to its first picture, uncompressed and
        compressed files.
queue   Opening a project with 50,000 proposals and its queue, and the memory that it takes.
first   The memory that the first project of a session takes, with 50 proposals: napari's first case for the most part.
paint   From a movement of the brush to its picture: idle, and while a training runs; and the longest stalls.
"""

import argparse
import itertools
import os
import tempfile
import time
from pathlib import Path

import napari
import numpy as np
from common import append
from latency import Stopwatch, spin
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_segmatch.config import configure
from napari_segmatch.events import Finished, PseudoMask
from napari_segmatch.io import write_image
from napari_segmatch.project import Project
from napari_segmatch.types import Geometry, Region
from napari_segmatch.ui.dock import SegmatchDock


def geometry(shape):
    return Geometry(shape, np.array([[0, 0, -1.0, 10], [0, -1.0, 0, 20], [1.0, 0, 0, 30], [0, 0, 0, 1]]))


def pixels(shape, seed):
    """A bright ellipsoid in noise: compresses about as well as a brain does."""
    z, y, x = (np.linspace(-1, 1, n) for n in shape)
    inside = (z[:, None, None] ** 2 + y[:, None] ** 2 + x**2) < 0.7
    noise = np.random.default_rng(seed).normal(0, 12, shape)
    return np.where(inside, 120 + noise, 0).astype(np.int16)


def build(folder, shape, proposals, sequences=("flair",), ending=".nii.gz", files=4):
    """Make a project with so many proposals; its cases share a few files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i in range(files):
        paths.append({name: folder / f"image-{i}-{name}{ending}" for name in sequences})
        for number, path in enumerate(paths[-1].values()):
            write_image(path, pixels(shape, 10 * i + number), geometry(shape))
    project = Project.create(folder / "project", ["lesion"], list(sequences))
    cases = -(-proposals // (shape[0] - 4)) + 1
    labels = np.zeros(shape, np.uint8)
    labels[:, shape[1] // 3 : shape[1] // 2, shape[2] // 3 : shape[2] // 2] = 1
    for i in range(cases):
        project.add_case(f"case-{i:04d}", paths[i % files])
    project.save_mask("case-0000", labels, done=range(shape[0]))
    run = project.new_run(configure("quick"))
    rng = np.random.default_rng(0)
    regions = (Region(f"case-{i:04d}", z) for i in range(1, cases) for z in range(2, shape[0] - 2))
    for part in _batches(itertools.islice(regions, proposals), 1000):
        scores = rng.random(len(part))
        masks = [PseudoMask(region, labels[0], float(s), "accepted" if s > 0.6 else "rejected")
                 for region, s in zip(part, scores, strict=True)]  # fmt: skip
        project.add_proposals(run, 1, 1, masks)
    run.record(Finished(1))
    project.set_run_state(run.id, "finished")
    project.close()
    return folder / "project"


def _batches(items, size):
    while part := list(itertools.islice(items, size)):
        yield part


def window():
    viewer = napari.Viewer(show=True)
    dock = SegmatchDock(viewer)
    viewer.window.add_dock_widget(dock, name="SegMatch", area="right")
    viewer.window._qt_window.resize(1366, 768)
    spin(2)
    return viewer, dock


def drawn(viewer):
    """Make the picture, as the next turn of the loop would."""
    viewer.window._qt_window._qt_viewer.canvas.native.repaint()
    QApplication.processEvents()


def quantiles(name, milliseconds):
    return {f"{name}_p{q}_ms": round(float(np.percentile(milliseconds, q)), 1) for q in (50, 95, 100)}


def train(dock):
    dock.session.start_training(configure("standard", steps=1_000_000, device="cpu", propose_every=10**6))
    spin(120, lambda: bool(dock.session.history.steps))


def accept(folder, rounds):
    viewer, dock = window()
    dock.session.open_project(build(folder, (44, 256, 256), 5000))
    train(dock)
    dock.show_tab("Review")
    reviewer, took = dock.review.reviewer, []
    spin(20, lambda: reviewer.on_screen)
    for _ in range(rounds):
        spin(1.5)  # the person looks
        before = reviewer.current.id
        begun = time.perf_counter()
        QTest.keyClick(dock.window().windowHandle(), Qt.Key.Key_A)
        while not (reviewer.current.id != before and reviewer.on_screen):
            QApplication.processEvents()
        drawn(viewer)
        took.append(1e3 * (time.perf_counter() - begun))
    row = {
        "proposals": len(dock.session.proposals),
        **quantiles("accept", took),
        "order": dock.review.filter.choice.order,
    }
    dock.session.stop_training()
    return viewer, row


def open_case(folder, rounds):
    viewer, dock = window()
    row = {}
    for ending in (".nii", ".nii.gz"):
        place = folder / ending[1:]
        place.mkdir()
        dock.session.open_project(build(place, (155, 256, 256), 1, ("flair", "t1", "t1c", "t2"), ending, files=2))
        dock.show_tab("Annotate")
        spin(30, lambda: dock.desk.case_id != "")
        took = []
        for _ in range(rounds):
            dock.session._volumes.clear()
            other = "case-0001" if dock.desk.case_id == "case-0000" else "case-0000"
            begun = time.perf_counter()
            dock.annotate.open_case(other)
            while dock.desk.case_id != other:
                QApplication.processEvents()
            drawn(viewer)
            took.append(1e3 * (time.perf_counter() - begun))
            spin(1)
        row |= quantiles(f"open{ending.replace('.', '_')}", took)
    return viewer, row


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def queue(folder, rounds):
    viewer, dock = window()
    path = build(folder, (155, 64, 64), 50_000)
    before, begun = resident(), time.perf_counter()
    dock.session.open_project(path)
    dock.show_tab("Review")
    dock.review.view.repaint()
    opened = time.perf_counter() - begun
    spin(20, lambda: dock.review.reviewer.on_screen)
    took, bar = [], dock.review.view.verticalScrollBar()
    for step in range(200):
        start = time.perf_counter()
        bar.setValue(bar.maximum() * step // 200)
        dock.review.view.repaint()
        took.append(1e3 * (time.perf_counter() - start))
        QApplication.processEvents()
    spin(3)
    row = {"proposals": len(dock.session.proposals), "opened_s": round(opened, 2),
           "more_memory_mib": round(resident() - before), **quantiles("scroll", took)}  # fmt: skip
    return viewer, row


def first(folder, rounds):
    viewer, dock = window()
    path = build(folder, (155, 64, 64), 50)
    before = resident()
    dock.session.open_project(path)
    dock.show_tab("Review")
    spin(20, lambda: dock.review.reviewer.on_screen)
    spin(3)
    return viewer, {"proposals": len(dock.session.proposals), "more_memory_mib": round(resident() - before)}


def paint(folder, rounds):
    viewer, dock = window()
    dock.session.open_project(build(folder, (44, 256, 256), 40))
    dock.show_tab("Annotate")
    spin(20, lambda: dock.desk.case_id != "")
    spin(2)
    dock.desk.layers.set_mode("paint")
    canvas = viewer.window._qt_window._qt_viewer.canvas.native
    watch, row, found = Stopwatch(), {}, {"idle": ([], []), "training": ([], [])}
    _strokes(canvas, 3, watch)
    for _ in range(rounds):
        for name in ("idle", "training"):
            if name == "training":
                train(dock)
                spin(3)
            took, gaps = _strokes(canvas, 12, watch)
            found[name][0].extend(took)
            found[name][1].extend(gaps)
        dock.session.stop_training()
        spin(60, lambda: not dock.session.is_training)
        spin(2)
    for name, (took, gaps) in found.items():
        row |= quantiles(f"{name}_stroke", took) | {f"{name}_longest_stall_ms": round(max(gaps), 1)}
    row["p95_ratio"] = round(row["training_stroke_p95_ms"] / row["idle_stroke_p95_ms"], 2)
    return viewer, row


def _strokes(canvas, seconds, watch):
    """Draw one short stroke a second; time each movement until it is on the canvas."""
    took = []
    watch.take()
    for number in range(seconds):
        begun = time.monotonic()
        start = QPoint(canvas.width() // 2 + 9 * (number % 7), canvas.height() // 2 + 12 * (number % 5))
        QTest.mousePress(canvas, Qt.LeftButton, Qt.NoModifier, start)
        for step in range(1, 9):
            tick = time.perf_counter()
            QTest.mouseMove(canvas, start + QPoint(5 * step, 2 * step))
            QApplication.processEvents()
            canvas.repaint()
            took.append(1e3 * (time.perf_counter() - tick))
            spin(0.02)
        QTest.mouseRelease(canvas, Qt.LeftButton, Qt.NoModifier, start + QPoint(40, 16))
        spin(max(0, 1 - (time.monotonic() - begun)))
    return took, watch.take()


PARTS = {"accept": (accept, 40), "open": (open_case, 6), "queue": (queue, 1), "first": (first, 1), "paint": (paint, 2)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--rounds", type=int)
    given = parser.parse_args()
    part, rounds = PARTS[given.part]
    with tempfile.TemporaryDirectory() as scratch:
        viewer, row = part(Path(scratch), given.rounds or rounds)
        print(append(f"review_{given.part}", row))
        viewer.close()
        spin(1)


if __name__ == "__main__":
    main()
