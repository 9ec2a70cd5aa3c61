"""How long a stroke takes to the disk while a run trains beside the window, and how long the window's thread waits.

Needs a display: ``xvfb-run -a python benchmarks/faults/run.py strokes``.
"""

import time

import numpy as np
from ground import scratch

ASKED = "stroke to disk: p99 < 100 ms; the window's thread waits < 5 ms"


def campaign(count=600):
    import napari
    from qtpy.QtWidgets import QApplication

    from napari_segmatch.config import configure
    from napari_segmatch.keeper import Keeper
    from napari_segmatch.sample import make_project
    from napari_segmatch.session import Session
    from napari_segmatch.ui.dock import SegmatchDock

    def spin(seconds, until=lambda: False):
        end = time.monotonic() + seconds
        while time.monotonic() < end and not until():
            QApplication.processEvents()
            time.sleep(0.001)

    begun, landed, waited = [], [], []
    stroke, journal = Keeper.stroke, Session.journal

    def to_disk(self, *arguments):
        stroke(self, *arguments)
        landed.append(time.perf_counter())

    def waiting(self, *arguments):
        start = time.perf_counter()
        journal(self, *arguments)
        waited.append(1e3 * (time.perf_counter() - start))

    Keeper.stroke, Session.journal = to_disk, waiting
    viewer = napari.Viewer(show=True)
    dock = SegmatchDock(viewer)
    viewer.window.add_dock_widget(dock, name="SegMatch", area="right")
    with scratch() as folder:
        make_project(folder / "project").close()
        session, desk = dock.session, dock.desk
        session.open_project(folder / "project")
        dock.annotate_case("case-05")
        spin(20, lambda: desk.case_id == "case-05")
        for beside in ("nothing", "training"):
            if beside == "training":
                session.start_training(configure("standard", steps=1_000_000, device="cpu"), "thread")
                spin(60, lambda: bool(session.history.steps))
            for samples in (begun, landed, waited):
                samples.clear()
            for number in range(count // 2):
                y, x = np.mgrid[:12, :12]
                y, x = y.ravel() + number % 60 + 10, x.ravel() + (7 * number) % 60 + 10
                desk.z = number // 10 % desk.count
                begun.append(time.perf_counter())  # the mouse is up: napari speaks of the stroke
                desk.layers.mask.data_setitem((np.full(y.size, desk.layers.z), y, x), int(beside == "nothing"))
                spin(2, lambda: len(landed) >= len(begun))
                if len(landed) < len(begun):  # it painted what was there already: no stroke
                    begun.pop()
                spin(0.03)
            late = 1e3 * (np.array(landed[: len(begun)]) - np.array(begun))
            disk, thread = np.percentile(late, [50, 99]), np.percentile(waited, [50, 99, 100])
            words = (
                f"stroke to disk beside {beside}: p50 {disk[0]:.1f}, p99 {disk[1]:.1f} ms; "
                f"window's thread p50 {thread[0]:.2f}, p99 {thread[1]:.2f}, most {thread[2]:.2f} ms"
            )
            wrong = [words] if disk[1] >= 100 or thread[1] >= 5 else []
            yield {"what": words, "runs": len(late), "checked": len(waited), "asked": ASKED, "wrong": len(wrong)}, wrong
        session.stop_training()
        spin(30, lambda: not session.is_training)
        viewer.close()
