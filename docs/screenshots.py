"""Take the pictures of the docs from the real window on the sample project.

``xvfb-run -a -s "-screen 0 1366x768x24" python docs/screenshots.py [dark|light] [FOLDER]``

Opens napari with the plugin, walks the whole way (cases, annotate, train, review, correct, export) with real keys and
a real training, and saves each tab into docs/images, or into FOLDER.
"""

import contextlib
import sys
import tempfile
import time
from pathlib import Path

import napari
import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_segmatch.config import configure
from napari_segmatch.ui.dock import SegmatchDock

Key = Qt.Key


class Robot:
    """Hands on the window."""

    def __init__(self, theme, folder):
        self.folder = folder
        self.viewer = napari.Viewer(show=True)
        self.viewer.theme = theme
        self.dock = SegmatchDock(self.viewer)
        self.viewer.window.add_dock_widget(self.dock, name="SegMatch", area="right")
        self.window = self.dock.window()
        self.window.move(0, 0)
        self.window.resize(1366, 768)
        self.session = self.dock.session
        self.wait(1)

    def wait(self, seconds, until=lambda: False):
        end = time.monotonic() + seconds
        while time.monotonic() < end and not until():
            QApplication.processEvents()
            time.sleep(0.005)

    def press(self, key):
        QTest.keyClick(self.window.windowHandle(), key)
        self.wait(0.5)

    def picture(self, name):
        self.wait(1)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.window.screen().grabWindow(0).save(str(self.folder / f"{name}.png"))

    def paint(self, row, column, radius):
        """Paint a disc on the slice on the screen."""
        mask = self.dock.desk.layers.mask
        y, x = np.mgrid[: mask.data.shape[1], : mask.data.shape[2]]
        y, x = np.nonzero((y - row) ** 2 + (x - column) ** 2 < radius**2)
        mask.data_setitem((np.full(len(y), self.dock.desk.layers.z), y, x), 1)


def walk(robot, scratch):
    dock, session = robot.dock, robot.session
    dock.cases.open_sample(scratch)
    robot.wait(60, lambda: session.project is not None)
    robot.picture("cases")
    dock.annotate_case("case-03")
    robot.wait(20, lambda: dock.desk.case_id == "case-03")
    here = dock.desk.layers.z
    for z, radius in ((here - 2, 5), (here + 2, 8)):
        dock.desk.layers.z = z
        robot.paint(40, 55, radius)
        robot.wait(0.3)
    dock.desk.layers.z = here
    robot.press(Key.Key_O)
    robot.press(Key.Key_I)
    robot.picture("annotate")
    robot.press(Key.Key_I)
    robot.press(Key.Key_O)
    robot.press(Key.Key_Return)
    dock.show_tab("Train")
    session.start_training(configure("quick", steps=600, size=96, device="cpu"))
    robot.wait(300, lambda: bool(session.history.steps) and session.history.steps[-1].step >= 430)
    robot.picture("train")
    dock.show_tab("Review")
    robot.wait(20, lambda: dock.review.reviewer.on_screen)
    robot.picture("review")
    for key in (Key.Key_A, Key.Key_2, Key.Key_A):
        robot.press(key)
        robot.wait(2)
    dock.review.actions["accept_case"]()
    robot.wait(3)
    robot.picture("sheet")
    dock.review.sheets.close()
    robot.press(Key.Key_C)
    robot.paint(44, 50, 5)
    robot.picture("correct")
    robot.press(Key.Key_Return)
    robot.wait(5)
    session.stop_training()
    robot.wait(30, lambda: not session.is_training)
    dock.show_tab("Export")
    dock.export.export()
    robot.wait(3)
    robot.picture("export")
    dock.toggle_sheet()
    robot.picture("keys")
    dock.toggle_sheet()


def main():
    theme = sys.argv[1] if len(sys.argv) > 1 else "dark"
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent / "images"
    folder = folder.resolve()
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):  # so that no picture shows a path
        robot = Robot(theme, folder)
        walk(robot, Path("tutorial"))
        robot.viewer.close()
        robot.wait(0.5)


if __name__ == "__main__":
    main()
