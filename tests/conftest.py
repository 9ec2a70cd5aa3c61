"""Fixtures for the window: a small project, one with proposals, a docked window, and patience."""

import gc
import os
import shutil
import socket
import subprocess
import time
import weakref

import numpy as np
import pytest

gc.set_threshold(50_000, 20, 50)
"""With torch and napari in memory, looking for garbage as often as Python does took a sixth of the time of a window."""


def pytest_configure(config):
    """Windows on one screen take the keyboard from each other: each process that tests gets a screen of its own."""
    if hasattr(config, "workerinput") and shutil.which("Xvfb"):
        ours, servers = os.pipe()
        words = ["Xvfb", "-displayfd", str(servers), "-screen", "0", "1366x900x24", "-nolisten", "tcp"]
        server = subprocess.Popen(words, pass_fds=[servers], stderr=subprocess.DEVNULL)
        os.close(servers)
        os.environ["DISPLAY"] = ":" + os.read(ours, 16).decode().strip()
        config.add_cleanup(server.terminate)


@pytest.fixture(autouse=True)
def _no_connections(monkeypatch):
    """Nothing of ours ever calls out: whoever tries fails the test."""

    def refuse(self, address):
        raise AssertionError(f"something connects to {address!r}")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)


@pytest.fixture(scope="session")
def _sample(tmp_path_factory):
    from napari_segmatch.sample import make_project

    path = tmp_path_factory.mktemp("sample") / "project"
    make_project(path, cases=4, labelled=1).close()
    return path


@pytest.fixture
def project(_sample, tmp_path):
    """A copy of a project of four phantom cases, the first of them labelled."""
    return shutil.copytree(_sample, tmp_path / "project")


@pytest.fixture
def proposed(project):
    """The same project after a made-up run that proposed eight masks."""
    from napari_segmatch import Project
    from napari_segmatch.config import configure
    from napari_segmatch.events import Evaluated, Finished, PseudoMask, Started, Step
    from napari_segmatch.types import Region

    with Project.open(project) as opened:
        run = opened.new_run(configure("quick"))
        run.record(Started(0, "cpu", 1000, 16, 48, 1))
        for step in range(0, 100, 10):
            run.record(Step(step, step / 100, 10.0, 1 / (1 + step), 0.5, 0.5, 0.4, 1))
        run.record(Evaluated(100, {"lesion": 0.8}, {"case-01": 0.8}))
        masks = []
        for index in range(8):
            region = Region(f"case-0{2 + index % 2}", 4 + index)
            labels = np.zeros(opened.case(region.case).shape[1:], np.uint8)
            labels[30:44, 40 : 50 + index] = 1
            masks.append(PseudoMask(region, labels, 0.3 + 0.08 * index, "accepted" if index > 3 else "rejected"))
        opened.add_proposals(run, 100, 1, masks)
        run.record(Finished(100))
        opened.set_run_state(run.id, "finished")
    return project


@pytest.fixture(scope="session")
def _loaded():
    """Load what windows need, and leave it alone: napari looks through all objects after each test for leaks."""
    import napari.window  # noqa: F401

    from napari_segmatch.engine import learner  # noqa: F401
    from napari_segmatch.ui import dock  # noqa: F401

    gc.collect()
    gc.freeze()


@pytest.fixture
def make_viewer(_loaded, make_napari_viewer):
    return make_napari_viewer


@pytest.fixture
def dock(_loaded, make_napari_viewer):
    """The plugin's widget, docked in a napari window on the screen."""
    from napari_segmatch.ui.dock import SegmatchDock

    viewer = make_napari_viewer(show=True)
    made = SegmatchDock(viewer)
    viewer.window.add_dock_widget(made, name="SegMatch")
    made.window().activateWindow()
    yield weakref.proxy(made)  # pytest keeps what a fixture yields, and napari checks that its window has gone
    made.end()


@pytest.fixture
def settle(qtbot):
    """Let the window work until something is true: for long, since a busy machine may need 10 s to open a case."""

    def wait(dock, true, seconds=60.0):
        until = time.monotonic() + seconds
        while not true():
            dock.session.poll()
            qtbot.wait(10)
            if time.monotonic() > until:
                pytest.fail(f"not true after {seconds} s; the banner says: {dock.banner.sentence!r}")

    return wait


@pytest.fixture
def on_case(dock, project, settle):
    """Open the project's third case in Annotate."""
    dock.session.open_project(project)
    dock.annotate_case("case-03")
    settle(dock, lambda: dock.desk.case_id == "case-03")
    return dock
