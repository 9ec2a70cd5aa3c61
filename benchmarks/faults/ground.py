"""What the campaigns share: small projects to break, children to kill, and how to tell whether anything was lost."""

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]

from helpers import SHAPE, small_project  # noqa: E402

from napari_segmatch import Project  # noqa: E402
from napari_segmatch.events import PseudoMask  # noqa: E402
from napari_segmatch.project.doctor import examine  # noqa: E402
from napari_segmatch.types import Region  # noqa: E402


@contextmanager
def scratch():
    with tempfile.TemporaryDirectory(prefix="segmatch-faults-") as folder:
        yield Path(folder)


def template(folder):
    """A project of four cases with 24 proposals on case d."""
    from napari_segmatch.config import configure

    with small_project(folder) as project:
        run = project.new_run(configure("quick"))
        for round_number in range(6):
            masks = [PseudoMask(Region("d", z), stamp(100 + 4 * round_number + z), 0.9, "accepted") for z in range(4)]
            project.add_proposals(run, round_number, 1, masks)
    return folder / "project"


def fresh(made, name):
    """A copy of a project beside its images."""
    target = made.parent / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(made, target)
    return target


def stamp(number, shape=SHAPE[1:]):
    """A slice (y, x) that shows a number and nothing else does."""
    out = np.zeros(shape, np.uint8)
    out[5, :20] = [number >> bit & 1 for bit in range(20)]
    out[7, :4] = 1
    return out


def number_on(labels):
    """The number that :func:`stamp` drew; None on a slice without one."""
    bits = labels[5, :20] == 1
    return int(sum(1 << bit for bit in range(20) if bits[bit])) if (labels[7, :4] == 1).all() else None


def killed(work, chance, most=0.12):
    """Run ``work(tell)`` in a child and kill it -9 at a random moment after its first word; returns what it told."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        status = 1
        try:
            work(lambda *words: os.write(writing, (json.dumps(words) + "\n").encode()))
            status = 0
        except BaseException as error:
            os.write(writing, (json.dumps(["error", repr(error)]) + "\n").encode())
        finally:
            os._exit(status)
    os.close(writing)
    data = os.read(reading, 65536)
    time.sleep(chance.uniform(0, most))
    os.kill(child, signal.SIGKILL)
    with os.fdopen(reading, "rb") as pipe:
        data += pipe.read()
    os.waitpid(child, 0)
    told = [json.loads(line) for line in data.splitlines(keepends=True) if line.endswith(b"\n")]
    errors = [words for words in told if words[0] == "error"]
    if errors:
        raise RuntimeError(f"the child failed by itself: {errors[0]}")
    return told


def complaints(path):
    """What is wrong with a project, besides that a run was interrupted, which is the truth."""
    problems = [text for text in examine(path) if "interrupted" not in text]
    with Project.open(path) as project:
        if project.store.row("PRAGMA integrity_check")[0] != "ok":
            problems.append("integrity_check failed")
    return problems
