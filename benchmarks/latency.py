"""How smooth the window stays while a run trains beside it: ``xvfb-run -a python benchmarks/latency.py``.

Opens napari with the plugin on the sample project, paints a stroke with the mouse every second, and measures the
gaps between the ticks of a 5 ms timer on the window's thread: idle, then training on the CPU, three times in turn.
One row goes to results/latency.csv: the p99 gap of both, and their ratio.
"""

import argparse
import tempfile
import time
from pathlib import Path

import napari
import numpy as np
from common import append
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_segmatch.config import configure
from napari_segmatch.sample import make_project
from napari_segmatch.ui.dock import SegmatchDock


class Stopwatch:
    """Gaps between ticks of a 5 ms timer, in milliseconds."""

    def __init__(self):
        self.gaps, self._last = [], time.perf_counter()
        self._timer = QTimer()
        self._timer.setInterval(5)
        self._timer.timeout.connect(self._tick)
        self._timer.start()

    def _tick(self):
        now = time.perf_counter()
        self.gaps.append(1e3 * (now - self._last))
        self._last = now

    def take(self):
        gaps, self.gaps = self.gaps, []
        return gaps


def spin(seconds, until=lambda: False):
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        QApplication.processEvents()
        time.sleep(0.001)


def stroke(canvas, round_number):
    """Draw one short stroke with the mouse."""
    centre = QPoint(canvas.width() // 2, canvas.height() // 2)
    start = centre + QPoint(10 * (round_number % 5), 12 * (round_number % 7))
    QTest.mousePress(canvas, Qt.LeftButton, Qt.NoModifier, start)
    for step in range(1, 6):
        QTest.mouseMove(canvas, start + QPoint(5 * step, 2 * step))
        spin(0.02)
    QTest.mouseRelease(canvas, Qt.LeftButton, Qt.NoModifier, start + QPoint(25, 10))


def phase(watch, canvas, seconds):
    watch.take()
    for round_number in range(seconds):
        begun = time.monotonic()
        stroke(canvas, round_number)
        spin(max(0, 1 - (time.monotonic() - begun)))
    return watch.take()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mode", choices=["thread", "process"], default="thread")
    given = parser.parse_args()
    viewer = napari.Viewer(show=True)
    dock = SegmatchDock(viewer)
    viewer.window.add_dock_widget(dock, name="SegMatch", area="right")
    with tempfile.TemporaryDirectory() as scratch:
        make_project(Path(scratch) / "project").close()
        session = dock.session
        session.open_project(Path(scratch) / "project")
        dock.annotate_case("case-05")
        spin(10, lambda: dock.desk.case_id == "case-05")
        spin(2)
        dock.desk.layers.mask.mode = "paint"
        canvas = viewer.window._qt_window._qt_viewer.canvas.native
        watch, idle, training, steps = Stopwatch(), [], [], 0
        phase(watch, canvas, 5)
        for _ in range(given.rounds):
            idle += phase(watch, canvas, given.seconds)
            session.start_training(configure("standard", steps=1_000_000, device="cpu"), given.mode)
            spin(60, lambda: bool(session.history.steps))
            before = session.history.steps[-1].step
            training += phase(watch, canvas, given.seconds)
            steps += session.history.steps[-1].step - before
            session.stop_training()
            spin(30, lambda: not session.is_training)
            spin(2)
        painted = int((np.asarray(dock.desk.layers.mask.data) == 1).sum())
        quantiles = {
            f"{name}_p{q}_ms": round(float(np.percentile(gaps, q)), 1)
            for name, gaps in (("idle", idle), ("training", training))
            for q in (50, 95, 99, 100)
        }
        ratio = round(quantiles["training_p99_ms"] / quantiles["idle_p99_ms"], 2)
        row = {
            "mode": given.mode,
            "rounds": given.rounds,
            "seconds": given.seconds,
            **quantiles,
            "p99_ratio": ratio,
            "steps_per_second": round(steps / (given.rounds * given.seconds), 2),
            "voxels_painted": painted,
        }
        print(append("latency", row))
        viewer.close()


if __name__ == "__main__":
    main()
