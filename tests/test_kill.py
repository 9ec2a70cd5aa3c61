"""kill -9 while masks are saved: what was acknowledged is there."""

import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers import SHAPE, small_project, write_case

from napari_segmatch import Project

WRITER = """
import sys, numpy as np
from napari_segmatch import Project
project = Project.open(sys.argv[1])
for number in range(1, 10_000):
    labels = np.zeros(project.case("c").shape, np.uint8)
    labels[number % 4, number % 32, :] = 1
    project.save_mask("c", labels, done=[number % 4])
    print(number, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a Unix signal")
def test_kill_during_saves_loses_no_acknowledged_mask(tmp_path):
    """Ten kills at random moments: the last acknowledged save, or the one after it, is what opens."""
    small_project(tmp_path).close()
    path, chance = tmp_path / "project", random.Random(0)
    for _ in range(10):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        writer.stdout.readline()
        time.sleep(chance.uniform(0, 0.25))
        writer.send_signal(signal.SIGKILL)
        lines = writer.stdout.read().split()
        writer.wait()
        acknowledged = int(lines[-1]) if lines else 1
        with Project.open(path) as project:
            assert project.store.row("PRAGMA integrity_check")[0] == "ok"
            saved = project.mask("c")
            assert any(np.array_equal(saved[n % 4], _slice(n)) for n in (acknowledged, acknowledged + 1))
            rows = project.store.rows("SELECT object FROM mask_version")
            assert all(project.objects.intact(row["object"]) for row in rows)


def _slice(number):
    expected = np.zeros(SHAPE[1:], np.uint8)
    expected[number % 32] = 1
    return expected


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    """A disk that refuses ends in a sentence; the file that was there is untouched and nothing is left over."""
    from napari_segmatch import fsio
    from napari_segmatch.errors import ProjectError

    target = tmp_path / "x.bin"
    fsio.write_atomic(target, b"old")

    def refuse(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fsio.os, "fsync", refuse)
    with pytest.raises(ProjectError, match="No space left"):
        fsio.write_atomic(target, b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["x.bin"]


SHARER = """
import sys
from napari_segmatch import Project
project, first = Project.open(sys.argv[1]), int(sys.argv[2])
for z in range(first, 24, 2):
    labels = project.mask("x")
    labels[z] = 1
    project.save_mask("x", labels, done=[z])
"""


def test_two_processes_on_one_case_lose_nothing(tmp_path):
    """One saves the even slices, the other the odd ones, at the same time: all of them are there."""
    project = small_project(tmp_path)
    images, _ = write_case(tmp_path / "x", shape=(24, 32, 40))
    project.add_case("x", images)
    writers = [subprocess.Popen([sys.executable, "-c", SHARER, str(project.path), str(n)]) for n in (0, 1)]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert project.case("x").labelled == tuple(range(24))
    assert (project.mask("x") == 1).all()
    project.close()
