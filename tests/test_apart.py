"""Files are read in a child: what they do to it stays there, and it leaves nothing behind."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from helpers import SHAPE, geometry, small_project, write_case

from napari_segmatch.errors import ImportProblem, Question
from napari_segmatch.io import apart, end_child, read_apart, read_mask, read_volume
from napari_segmatch.io.apart import run_apart
from napari_segmatch.io.source import memory
from napari_segmatch.project import Project
from napari_segmatch.types import Mask


@pytest.fixture(autouse=True)
def _nothing_left():
    yield
    end_child()


def call(function, *arguments, seconds=60):
    return run_apart(function, *arguments, name="it.nii.gz", seconds=seconds)


def gone(pid):
    """Whether a process ends within five seconds."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_one_child_serves_all_calls_and_arrays_come_whole():
    array = np.random.default_rng(0).random((30, 200, 200), np.float32)
    assert call(os.getpid) == call(os.getpid) != os.getpid()
    back = call(Mask, array, geometry()).labels
    assert np.array_equal(back, array)
    back[0] = 1  # it is ours to change


def test_a_file_that_kills_its_reader_is_a_sentence_and_the_next_one_is_read():
    before = call(os.getpid)
    with pytest.raises(ImportProblem, match=r"^it\.nii\.gz broke the program that reads it: export"):
        call(os.abort)
    assert call(os.getpid) != before


def test_a_file_that_takes_for_ever_is_a_sentence():
    before = call(os.getpid)
    with pytest.raises(ImportProblem, match=r"^it\.nii\.gz took longer than 1 s to read"):
        call(time.sleep, 100, seconds=0.5 + 0.5)
    assert gone(before)
    assert call(abs, -1) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to its memory")
def test_a_file_cannot_take_all_memory():
    import resource

    limit = call(resource.getrlimit, resource.RLIMIT_AS)[0]
    assert 0 < limit <= max(4 * 2**30, memory() * 3 // 4)
    before = call(os.getpid)
    with pytest.raises(ImportProblem, match=r"^it\.nii\.gz does not fit into memory: crop it\.$"):
        call(np.zeros, limit + 2**20, np.uint8)
    assert call(os.getpid) == before


def test_an_answer_without_room_here_is_a_sentence_and_the_next_one_comes(monkeypatch):
    assert call(abs, -1) == 1
    with monkeypatch.context() as patched:
        patched.setattr(apart, "_exactly", lambda *_: bytearray(2**62))
        with pytest.raises(ImportProblem, match="does not fit into memory: crop it"):
            call(abs, -2)
    assert call(abs, -3) == 3


def test_questions_and_problems_come_through_whole(tmp_path):
    with pytest.raises(ImportProblem, match=r"^none\.nii\.gz does not exist"):
        read_apart(read_volume, tmp_path / "none.nii.gz", files=[tmp_path / "none.nii.gz"])
    _, mask = write_case(tmp_path)
    with pytest.raises(Question) as raised:
        read_apart(read_mask, mask, geometry((4, 32, 41)), 1, {}, files=[mask])
    assert raised.value.options
    assert str(raised.value).startswith("mask.nii.gz")


def test_decoders_that_print_break_nothing():
    assert call(os.write, 1, b"noise\n") == 6
    assert call(print, "noise") is None
    assert call(abs, -2) == 2


def test_threads_take_turns():
    """Each gets the answers to its own questions, though answers fill the pipe many times over."""
    call(abs, -1)
    wrong = list(range(8))

    def work(index):
        values = range(10 * index, 10 * index + 5)
        if all(np.array_equal(call(np.full, 2**20, value), np.full(2**20, value)) for value in values):
            wrong.remove(index)

    threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


def test_cases_are_read_in_the_child_when_they_are_added(tmp_path, monkeypatch):
    """The parsers do not run here: images and masks alike come from the child."""
    images, mask = write_case(tmp_path)
    for name in ("nifti.load_nifti", "nrrd.load_nrrd", "mgh.load_mgh"):
        monkeypatch.setattr(f"napari_segmatch.io.{name}", lambda *_: pytest.fail("parsed in the window's process"))
    with Project.create(tmp_path / "project", ["lesion"], ["flair"]) as project:
        assert project.add_case("a", images, mask, "all").labelled == (0, 1, 2, 3)
        assert project.mask("a").shape == SHAPE


def test_an_idle_child_ends(monkeypatch):
    monkeypatch.setattr(apart, "IDLE_SECONDS", 0.1)
    assert gone(call(os.getpid))
    assert call(abs, -1) == 1


def test_closing_the_session_ends_the_child(tmp_path):
    from napari_segmatch.session import Session

    small_project(tmp_path).close()
    session = Session()
    session.open_project(tmp_path / "project")
    child = call(os.getpid)
    session.close()
    assert gone(child)


CODE = """
import os, time
from napari_segmatch.io.apart import run_apart
print(run_apart(os.getpid, name="x", seconds=60), flush=True)
run_apart(time.sleep, 100, name="x", seconds=60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_child_outlives_its_parent(way, tmp_path):
    """Ctrl+C ends a call at once, and however the parent goes, an idle child goes too; one at work within its limit."""
    script = tmp_path / "script.py"  # without the guard that multiprocessing asks of scripts
    script.write_text(CODE if way == signal.SIGINT else CODE.replace("100", "0") + "time.sleep(100)\n")
    parent = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a test run in the background ignores Ctrl+C
    )  # fmt: skip
    child = int(parent.stdout.readline())
    time.sleep(0.5)
    parent.send_signal(way)
    parent.wait(timeout=10)
    parent.stdout.close()
    assert gone(child)


ORPHAN = """
import os, time
from napari_segmatch.io.apart import run_apart
run_apart(exec, "from napari_segmatch.io import child; child.GRACE = 0.5", name="x", seconds=60)
print(run_apart(os.getpid, name="x", seconds=60), flush=True)
run_apart(time.sleep, 100, name="x", seconds=1)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_child_that_waits_outlives_its_killed_parent_by_its_limit_alone():
    """It takes no time of the processor, as one that waits for a network drive."""
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    time.sleep(0.3)
    parent.kill()
    parent.wait(timeout=10)
    parent.stdout.close()
    assert gone(child)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_the_limit_of_one_call_does_not_end_the_next():
    call(exec, "from napari_segmatch.io import child; child.GRACE = -59")
    child = call(os.getpid, seconds=60)
    time.sleep(1.5)
    assert call(os.getpid) == child


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a folder in which somebody stands")
def test_files_are_read_when_the_start_folder_is_gone(tmp_path, monkeypatch):
    _, mask = write_case(tmp_path)
    for early in (True, False):
        if early:
            call(abs, -1)
        (tmp_path / "start").mkdir()
        monkeypatch.chdir(tmp_path / "start")
        (tmp_path / "start").rmdir()
        assert read_apart(read_mask, mask, files=[mask]).labels.shape == SHAPE
        end_child()


def test_a_start_that_is_broken_off_is_none(monkeypatch):
    """Ctrl+C while the child starts, and a child that cannot start: the next call begins anew."""
    whole = apart.receive
    monkeypatch.setattr(apart, "receive", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        call(abs, -1)
    monkeypatch.setattr(apart, "receive", whole)
    assert call(abs, -1) == 1
    end_child()
    with monkeypatch.context() as patched:
        patched.setattr(apart, "_COMMAND", "raise SystemExit(1)")
        with pytest.raises(ImportProblem, match="does not start: close other programs"):
            call(abs, -1)
    assert call(abs, -1) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_has_a_child_of_its_own():
    mine = call(os.getpid)
    pid = os.fork()
    if pid == 0:
        theirs = call(os.getpid)
        end_child()
        os._exit(0 if theirs != mine else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert call(os.getpid) == mine
