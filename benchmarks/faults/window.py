"""kill -9 of the real napari window while a robot paints in it: at most the stroke in the hand is lost.

Needs a display: ``xvfb-run -a python benchmarks/faults/run.py window``.
"""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from ground import Project, complaints, fresh, scratch

from napari_segmatch.keeper import Keeper

ASKED = "at most the stroke in the hand lost"


def robot(path):
    """Open the window and paint with the mouse for ever; say each stroke when the mouse is up."""
    import napari
    from qtpy.QtCore import QPoint, Qt
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QApplication

    from napari_segmatch.ui.dock import SegmatchDock

    viewer = napari.Viewer(show=True)
    dock = SegmatchDock(viewer)
    viewer.window.add_dock_widget(dock, name="SegMatch", area="right")
    dock.session.open_project(path)
    dock.annotate_case("case-03")
    end = time.monotonic() + 60
    while dock.desk.case_id != "case-03" and time.monotonic() < end:
        QApplication.processEvents()
    dock.desk.layers.set_mode("paint")
    canvas = viewer.window._qt_window._qt_viewer.canvas.native
    print("ready", flush=True)
    for number in range(10_000):
        dock.desk.z = number % dock.desk.count
        start = QPoint(canvas.width() // 2 + number % 40, canvas.height() // 2 + number // 3 % 40)
        QTest.mousePress(canvas, Qt.LeftButton, Qt.NoModifier, start)
        for step in range(1, 5):
            QTest.mouseMove(canvas, start + QPoint(5 * step, 2 * step))
            QApplication.processEvents()
        QTest.mouseRelease(canvas, Qt.LeftButton, Qt.NoModifier, start + QPoint(25, 10))
        z = dock.desk.z
        until = time.monotonic() + 0.1  # what the window promises: on disk within 100 ms
        while time.monotonic() < until:
            QApplication.processEvents()
        print(z, int((dock.desk.labels[z] == 1).sum()), flush=True)


def campaign(count=50):
    from napari_segmatch.sample import make_project

    chance, strokes, wrong = random.Random(0), 0, []
    with scratch() as folder:
        make_project(folder / "made", cases=4, labelled=1).close()
        for number in range(count):
            path = fresh(folder / "made", f"w{number % 2}")
            command = [sys.executable, __file__, str(path)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as window:
                if window.stdout.readline().strip() != "ready":
                    wrong.append(f"{number}: the window did not open")
                    window.kill()
                    continue
                time.sleep(chance.uniform(0.3, 3))
                window.send_signal(signal.SIGKILL)
                told = [line.split() for line in window.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
            strokes += len(told)
            with Project.open(path) as project:
                Keeper(project, True).close()
                shown = [project.mask("case-03"), *(project.aside_labels(item.version) for item in project.asides())]
                for z, painted in {int(z): int(n) for z, n in told}.items():
                    found = max(int((labels[z] == 1).sum()) for labels in shown)
                    if found < painted:
                        wrong.append(f"{number}: slice {z} had {painted} voxels, {found} are left")
            wrong += [f"{number}: {text}" for text in complaints(path)]
    yield {"what": "kill -9: the napari window", "runs": count, "checked": strokes, "asked": ASKED,
           "wrong": len(wrong)}, wrong  # fmt: skip


if __name__ == "__main__":
    robot(Path(sys.argv[1]))
