"""A pool larger than memory: the same slices, from a file."""

import ctypes
import errno
import os
from types import SimpleNamespace

import pytest
import torch
from helpers import small_project

from napari_segmatch.config import configure
from napari_segmatch.engine.data import ResidentPool
from napari_segmatch.engine.shelf import Shelf, memory_budget
from napari_segmatch.engine.trainer import train
from napari_segmatch.errors import DiskProblem
from napari_segmatch.events import Noted, Step
from napari_segmatch.project.pool import ProjectPool

CPU = torch.device("cpu")


def _cases(count=4):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(3, 2, 16, 16, generator=generator) for _ in range(count)]


def _filled(budget, folder=None):
    shelf = Shelf(CPU, budget, folder)
    for case in _cases():
        shelf.add(case)
    return shelf


@pytest.mark.parametrize("budget", [10**9, 0])
def test_freed_memory_goes_back_after_every_case_where_the_system_can(budget, monkeypatch):
    """Else a thousand cases leave holes of gigabytes; a system without that call is none the worse."""
    asked = []
    libraries = iter([SimpleNamespace(malloc_trim=asked.append), SimpleNamespace()])

    def library(name):
        try:
            return next(libraries)
        except StopIteration:
            raise TypeError("Windows wants a name") from None

    monkeypatch.setattr(ctypes, "CDLL", library)
    assert len(_filled(budget)) == 12
    assert asked == [0]


def test_what_fits_is_exact_and_the_rest_nearly():
    """Rows of memory and of the file come back in the order asked for, the latter to three decimals."""
    truth, one_case = torch.cat(_cases()), 3 * 2 * 16 * 16 * 4
    shelf = _filled(2 * one_case)
    assert (len(shelf), shelf.spilled) == (12, 6)
    rows = torch.tensor([11, 0, 6, 6, 5])
    taken = shelf.take(rows)
    assert torch.equal(taken[1], truth[0])
    assert torch.equal(taken[4], truth[5])
    torch.testing.assert_close(taken, truth[rows], atol=2e-3, rtol=1e-3)
    assert shelf.take(rows[:0]).shape == (0, 2, 16, 16)


def test_within_the_budget_nothing_is_written(tmp_path):
    """A pool that fits makes no file at all."""
    shelf = _filled(2**30, tmp_path / "missing")
    assert shelf.spilled == 0
    assert torch.equal(shelf.take(torch.arange(12)), torch.cat(_cases()))


@pytest.mark.skipif(os.name != "posix", reason="elsewhere the file has a name until it is closed")
def test_nobody_sees_the_file(tmp_path):
    """A killed process must leave no images behind: the file has no name."""
    assert _filled(0, tmp_path).spilled == 12
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_a_sentence(monkeypatch, tmp_path):
    """Neither a traceback nor a pool with holes."""

    def full(*args, **more):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(DiskProblem, match="free some space"):
        _filled(0, tmp_path)


def test_room_for_masks_is_left_on_the_disk(monkeypatch, tmp_path):
    """The file of slices never takes the last half gigabyte, and a case that does not fit is left out and named."""
    monkeypatch.setattr("napari_segmatch.engine.shelf.free_bytes", lambda _: 500 * 2**20 + 3 * 2 * 16 * 16 * 2)
    shelf = Shelf(CPU, 0, tmp_path)
    shelf.add(_cases()[0])
    with pytest.raises(DiskProblem, match="no room"):
        shelf.add(torch.cat(_cases()[:2]))
    assert len(shelf) == 3


def test_what_found_no_room_takes_none_from_others(monkeypatch, tmp_path):
    """After a case that fits nowhere, smaller ones still fit into memory."""
    monkeypatch.setattr("napari_segmatch.engine.shelf.free_bytes", lambda _: 0)
    small, *others = _cases()
    shelf = Shelf(CPU, small.nbytes, tmp_path)
    with pytest.raises(DiskProblem, match="no room"):
        shelf.add(torch.cat(others))
    shelf.add(small)
    assert (len(shelf), shelf.spilled) == (3, 0)
    with pytest.raises(DiskProblem, match="no room"):
        shelf.add(small)


def test_a_case_that_finds_no_room_is_left_out_and_named(monkeypatch, tmp_path):
    """Training goes on with the others."""
    pool = ProjectPool(small_project(tmp_path / "cases"))
    free = iter([2**40, 2**40, 0])
    monkeypatch.setattr("napari_segmatch.engine.shelf.free_bytes", lambda _: next(free, 2**40))
    data = ResidentPool(pool, 32, CPU, shelf=Shelf(CPU, 0, tmp_path))
    (problem,) = data.update().problems
    assert "is left out of training" in problem and "free some space" in problem
    assert len({region.case for region in data.regions}) == 3
    assert data.slices(torch.arange(len(data.regions))).shape[0] == len(data.regions)


def test_a_file_that_cannot_be_read_any_more_is_a_sentence(tmp_path):
    shelf = _filled(0, tmp_path)
    shelf._file.truncate(10)
    with pytest.raises(DiskProblem, match="start the run again"):
        shelf.take(torch.tensor([11]))


def test_the_budget_is_what_was_asked_for_or_half_of_what_is_free():
    assert memory_budget(CPU, 1.5) == int(1.5 * 2**30)
    assert 2**20 < memory_budget(CPU, 0) < 2**50


def test_training_from_the_file_says_so_and_learns_the_same(tmp_path):
    """The losses of a run with hardly any memory follow those of a run with enough."""

    pool = ProjectPool(small_project(tmp_path / "cases"))

    def losses(**more):
        config = configure(
            steps=3, size=32, batch=2, features=8, device="cpu", proposals=0, evaluate_every=100, warmup=0.0, **more
        )
        events = list(train(pool, config, tmp_path / str(len(more))))
        told = [event.message for event in events if isinstance(event, Noted) and "from disk" in event.message]
        return [event.supervised for event in events if isinstance(event, Step)], told

    usual, silence = losses()
    sparing, told = losses(pool_gib=1e-6)
    assert (len(silence), len(told)) == (0, 1)
    assert sparing == pytest.approx(usual, rel=0.05)
