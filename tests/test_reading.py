"""A large pool is read while the run trains: the first step comes soon, and a resume changes nothing."""

import itertools

import pytest
import torch
from helpers import SHAPE, small_project

from napari_segmatch.config import configure
from napari_segmatch.engine.checkpoint import load_newest
from napari_segmatch.engine.data import ResidentPool
from napari_segmatch.engine.reading import reading_order
from napari_segmatch.engine.trainer import train
from napari_segmatch.errors import TrainingProblem
from napari_segmatch.events import Finished, Noted, Started, Step
from napari_segmatch.project.pool import ProjectPool
from napari_segmatch.types import PoolSnapshot, Region, Reviewed

CPU = torch.device("cpu")
UNREAD = tuple("bcdefgh")


@pytest.fixture
def project(tmp_path):
    with small_project(tmp_path, cases=8, labelled=1) as opened:
        yield opened


@pytest.fixture(autouse=True)
def two_at_once(monkeypatch):
    monkeypatch.setattr("napari_segmatch.engine.trainer.AT_ONCE", 2)


def _config():
    return configure(
        size=32, features=8, batch=2, steps=9, warmup=0.2, device="cpu", checkpoint_every=1000, proposals=0
    )


def _counted(project, read):
    """Return the project's pool, which notes whose pixels are asked for."""
    pool = ProjectPool(project)
    volume = pool.volume
    pool.volume = lambda case: read.append(case) or volume(case)
    return pool


def test_what_people_worked_on_is_read_first_then_what_they_watch():
    """The others come by chance, the same each time; where all can be read at once, the order is the cases' own."""
    unlabelled = {f"case-{number:02}": (0, 1, 2) for number in range(40)}
    judged = (Reviewed(1, Region("case-33", 1), "rejected"),)
    pool = PoolSnapshot(1, {"case-07": (1,)}, unlabelled, reviewed=judged)
    now, later = reading_order(pool, 8)
    assert now[:2] == ["case-07", "case-33"]
    assert set(now[2:6]) == {"case-00", "case-10", "case-20", "case-30"}
    assert len(now) == 10
    assert sorted([*now, *later]) == sorted(unlabelled)
    assert later != sorted(later)
    assert reading_order(pool, 8) == (now, later)
    for enough in (None, 38):
        assert reading_order(pool, enough) == (sorted(unlabelled), [])


def test_a_run_begins_before_all_is_read(project, tmp_path):
    """The labelled case and two others before the first step, one more at each; it says so, and when all are there."""
    read, at_step = [], {}
    events = []
    for event in train(_counted(project, read), _config(), tmp_path / "run"):
        events.append(event)
        if isinstance(event, Step):
            at_step[event.step] = len(read)
    assert at_step == {1: 4, 2: 5, 3: 6, 4: 7} | dict.fromkeys(range(5, 10), 8)
    assert sorted(read) == list("abcdefgh")
    assert next(event for event in events if isinstance(event, Started)).unlabelled == len(UNREAD) * SHAPE[0]
    notes = [(event.step, event.message) for event in events if isinstance(event, Noted)]
    assert (0, "5 cases are read while it trains, one at each step.") in notes
    assert (4, "All cases are read.") in notes
    assert isinstance(events[-1], Finished)


@pytest.mark.parametrize("labelled", ["b", "h"])
def test_a_resumed_run_remembers_in_what_order_it_read(tmp_path, labelled):
    """Somebody labels a case that waits, and the order of today is another one: the draws are of the same slices."""
    weights = []
    for stops in ((None,), (6, None)):
        folder = tmp_path / f"{len(stops)}"
        with small_project(folder, cases=8, labelled=1) as project:
            for stop in stops:
                events = train(ProjectPool(project), _config(), folder / "run", resume=stop != stops[0])
                for event in events:
                    if isinstance(event, Step) and event.step == 2 and stop == stops[0]:
                        project.save_slices(labelled, {1: project.mask("a")[1]}, done=[1])
                    if isinstance(event, Step) and event.step == stop:
                        break
                events.close()
        weights.append(load_newest(folder / "run").learner.tensors())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("stop", [2, 7])
def test_a_resumed_run_equals_an_uninterrupted_one(project, tmp_path, stop):
    """Stopped while cases were waiting, or later: the same slices are drawn, to the bit."""
    list(train(ProjectPool(project), _config(), tmp_path / "whole"))
    events = train(ProjectPool(project), _config(), tmp_path / "parts")
    for event in events:
        if isinstance(event, Step) and event.step == stop:
            break
    events.close()
    list(train(ProjectPool(project), _config(), tmp_path / "parts", resume=True))
    whole, parts = (load_newest(tmp_path / name).learner.tensors() for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_what_is_read_before_the_first_step_is_counted_down_and_can_be_stopped(tmp_path):
    """A pool with many labelled cases: a sentence after every ten, at which a run that is stopped ends."""
    with small_project(tmp_path, cases=23, labelled=22) as project:
        read = []
        events = train(_counted(project, read), _config(), tmp_path / "run")
        assert next(events) == Noted(0, "20 cases are to be read before the first step.")
        assert len(read) == 3
        assert next(events) == Noted(0, "10 cases are to be read before the first step.")
        events.close()
        assert len(read) == 13
        events = train(_counted(project, read), _config(), tmp_path / "other")
        said = [event.message for event in itertools.takewhile(lambda event: not isinstance(event, Step), events)
                if isinstance(event, Noted)]  # fmt: skip
        assert said[2] == "The training has begun."


def test_labelled_cases_that_cannot_be_read_are_named(project, tmp_path):
    """The others can, and nobody forgot to mark a slice as done."""
    project.image_paths("a")["flair"].unlink()
    with pytest.raises(TrainingProblem, match=r"No labelled case can be read\. Case a"):
        list(train(ProjectPool(project), _config(), tmp_path / "run"))


def test_a_waiting_case_that_cannot_be_read_is_left_out_and_told(project, tmp_path):
    """The run goes on with the others."""
    _, later = reading_order(ProjectPool(project).snapshot(), 2)
    project.image_paths(later[1])["flair"].unlink()
    events = list(train(ProjectPool(project), _config(), tmp_path / "run"))
    told = [
        event.step for event in events if isinstance(event, Noted) and f"Case {later[1]} is left out" in event.message
    ]
    assert told == [1]
    assert isinstance(events[-1], Finished)


def test_a_waiting_case_that_somebody_labels_is_read_at_once(project):
    """A correction is in the next step, whatever waits; and every slice has its place in the end."""
    read = []
    data = ResidentPool(_counted(project, read), 32, CPU, at_once=2)
    data.update()
    first, second = data.waiting[-2:]
    project.save_slices(second, {1: project.mask("a")[1]}, done=[1])
    assert data.update().added == [Region(second, 1)]
    assert read[-1] == second
    assert first in data.waiting and second not in data.waiting
    while data.waiting:
        data.read_on()
    whole = ResidentPool(ProjectPool(project), 32, CPU)
    whole.update()
    assert sorted(read) == list("abcdefgh")
    assert {data.regions[row] for row in data.unlabelled.tolist()} == {
        whole.regions[row] for row in whole.unlabelled.tolist()
    }
    assert {region.case for row, region in enumerate(data.regions) if data.folds[row] < 0} == set("bcdefgh") - {second}
    assert all(data.row(region) == row for row, region in enumerate(data.regions))
