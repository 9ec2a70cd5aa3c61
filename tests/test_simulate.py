"""The simulated annotator: what its work costs, and that it works on a real project while a real run trains."""

import csv
import math
from unittest.mock import Mock

import nibabel as nib
import numpy as np
import pytest
from helpers import make_white, small_project, write_case
from typer.testing import CliRunner

import napari_segmatch.simulate as simulation_module
from napari_segmatch.cli.verbs import app
from napari_segmatch.config import configure
from napari_segmatch.errors import ConfigError
from napari_segmatch.events import PseudoMask
from napari_segmatch.io import FoundCase
from napari_segmatch.project import Project
from napari_segmatch.ranking import is_spot_check
from napari_segmatch.simulate import Setup, divide, seconds_to_reach
from napari_segmatch.simulate.annotator import Annotator, Costs, correcting_seconds, dice, drawing_seconds
from napari_segmatch.simulate.ways import work
from napari_segmatch.types import Proposal, Region


def disc(radius, middle=(40, 40), size=80):
    y, x = np.mgrid[:size, :size]
    return (y - middle[0]) ** 2 + (x - middle[1]) ** 2 <= radius**2


def test_what_work_costs():
    costs, truth = Costs(), disc(12)
    assert drawing_seconds(np.zeros_like(truth), costs) == 2
    assert drawing_seconds(truth, costs) == pytest.approx(8 + 68 / 15, abs=1)
    assert correcting_seconds(truth, truth, costs) == 0
    assert correcting_seconds(truth | disc(3, (10, 10)), truth, costs) == 3
    assert 0 < correcting_seconds(disc(15), truth, costs) < drawing_seconds(truth, costs)
    assert correcting_seconds(np.zeros_like(truth), truth, costs) <= drawing_seconds(truth, costs)


def test_the_unsteady_hand_stays_close_to_the_truth():
    truth = np.repeat(disc(14)[None].astype(np.uint8), 3, 0)
    annotator = Annotator({"a": truth}, np.random.default_rng(0))
    drawn = annotator.drawn(Region("a", 1)) > 0
    assert 0.85 < dice(drawn, truth[1] > 0) < 1


def test_a_budget_is_kept_and_work_becomes_labels(tmp_path):
    project = small_project(tmp_path)
    truths = {case.id: np.zeros(case.shape, np.uint8) for case in project.cases}
    annotator = Annotator(truths, np.random.default_rng(0))
    before = sum(len(case.labelled) for case in project.cases)
    work(project, annotator, "scratch", 10)
    assert 10 <= annotator.seconds < 10 + 7
    assert sum(len(case.labelled) for case in project.cases) - before == annotator.counts["drawn"] >= 2


def test_another_case_takes_time_to_open(tmp_path):
    """Of the two cases one is labelled: each slice drawn is of the other, two seconds to look and two for nothing."""
    project = small_project(tmp_path, cases=2, labelled=1)
    annotator = Annotator({case.id: np.zeros(case.shape, np.uint8) for case in project.cases}, np.random.default_rng(0))
    work(project, annotator, "scratch", 10)
    assert annotator.seconds == 3 + 2 * 4
    annotator.look_at(Region("a", 0))
    assert annotator.seconds == 11 + 3 + 2


def test_the_queue_knows_what_has_been_judged():
    """Three slices of one case are judged: the other case is shown first."""
    plain = [i for i in range(1, 900) if not is_spot_check(Proposal(i, 1, Region("a", 0), 0.5, "accepted", 1, 1))]
    judged = [Proposal(plain[z], 1, Region("a", z), 0.5, "accepted", 1, 1, "corrected", 400) for z in range(3)]
    waiting = [Proposal(plain[9 + i], 1, Region(c, 9), 0.5, "accepted", 1, 1, None, 400) for i, c in enumerate("ab")]
    seen = []
    annotator = Mock(seconds=0.0, judge=lambda project, item, may_reject: seen.append(item.case))
    everything = [*judged, *waiting]
    project = Mock(proposals=lambda undecided=False: waiting if undecided else everything, cases=[])
    work(project, annotator, "queue", math.inf)
    assert seen == ["b", "a"]
    seen.clear()
    project = Mock(proposals=lambda undecided=False: waiting, cases=[Mock(id="a", labelled=(0, 1, 2))])
    work(project, annotator, "queue", math.inf)
    assert seen == ["b", "a"], "slices drawn by hand count as well"


def test_cases_are_corrected_from_end_to_end_and_one_that_was_begun_is_finished_first(tmp_path):
    waiting = [Proposal(i, 1, Region("abc"[i % 3], i // 3), 0.5, "accepted", 1, 1, None, 400) for i in range(12)]
    seen = []
    annotator = Mock(rng=np.random.default_rng(0), here="b", seconds=0.0)
    annotator.judge = lambda project, item, may_reject: seen.append((item.case, item.z))
    project = Mock(proposals=lambda undecided: waiting, cases=[Mock(id=name) for name in "abc"])
    work(project, annotator, "cases", math.inf)
    assert seen[:4] == [("b", z) for z in range(4)]
    assert sorted(seen[4:8]) == seen[4:8] and seen[4][0] != seen[8][0]


def test_the_annotator_leaves_open_what_the_truth_leaves_open(tmp_path):
    """A slice that nobody has checked is neither drawn as empty nor judged, whatever the way of working."""
    project = small_project(tmp_path, cases=1, labelled=0)
    truth = np.zeros(project.case("a").shape, np.uint8)
    truth[:2] = truth[2, :, :3] = 255
    run = project.new_run(configure())
    shown = np.ones_like(truth[0])
    project.add_proposals(run, 1, 1, [PseudoMask(Region("a", z), shown, 0.5, "rejected") for z in (0, 1)])
    for strategy in ("scratch", "correct", "cases", "queue"):
        work(project, Annotator({"a": truth}, np.random.default_rng(0)), strategy, math.inf)
    assert project.case("a").labelled == (2, 3) and not project.decisions()
    assert (project.mask("a")[2, :, :3] == 255).all() and not project.mask("a")[2, :, 3:].any()


def test_classes_that_are_swapped_are_not_accepted(tmp_path):
    """Everything segmented is right, and every class is wrong: it is put right, and that takes time."""
    truth = np.repeat((disc(9, (20, 20)) + 2 * disc(9, (20, 60)))[None].astype(np.uint8), 2, 0)
    project = Mock()
    project.proposal_mask.return_value = np.array([0, 2, 1], np.uint8)[truth[1]]
    annotator = Annotator({"a": truth}, np.random.default_rng(0), mistaken=0.0)
    annotator.judge(project, Proposal(1, 1, Region("a", 1), 0.9, "accepted", 1, 1), may_reject=False)
    assert annotator.counts["correct"] == 1
    assert annotator.seconds > 10


def test_the_truth_is_read_on_the_images_own_grid(tmp_path, monkeypatch):
    """Its voxels may be stored in another order: the annotator knows it where the project shows it."""
    images, mask = write_case(tmp_path / "c", 0)
    turned = nib.load(mask)
    nib.save(turned.as_reoriented([[1, 1], [2, -1], [0, 1]]), tmp_path / "c" / "turned.nii.gz")
    met = []
    monkeypatch.setattr(simulation_module, "Annotator", lambda truths, rng: met.append(truths))
    monkeypatch.setattr(simulation_module, "training", lambda *_: iter(()))
    case = FoundCase("c", images, tmp_path / "c" / "turned.nii.gz")
    list(simulation_module.simulate(
        tmp_path / "p", Setup([case], [], ["c"]), "full", configure(), 10, 1, ("lesion",), ("flair",)
    ))  # fmt: skip
    with Project.open(tmp_path / "p") as project:
        assert np.array_equal(met[0]["c"], project.mask("c"))


def test_seconds_to_reach_a_dice():
    rows = [{"seconds": s, "dice": d} for s, d in ((0, 0.5), (100, 0.6), (200, 0.8))]
    assert seconds_to_reach(rows, 0.7) == 150
    assert seconds_to_reach(rows, 0.4) == 0
    assert seconds_to_reach(rows, 0.9) is None


def test_a_division_needs_enough_cases(tmp_path):
    found = [FoundCase(f"c{i}", {"flair": tmp_path}, tmp_path) for i in range(6)]
    setup = divide(found, 4, 2, 1, seed=0)
    assert not {item.id for item in setup.pool} & {item.id for item in setup.unseen} and len(setup.start) == 1
    with pytest.raises(ConfigError, match="6 cases with masks"):
        divide(found, 6, 2, 1, seed=0)
    with pytest.raises(ConfigError, match="some of the pool without labels"):
        divide(found, 3, 1, 4, seed=0)


def simulation(folder, *more):
    arguments = ["simulate", str(folder / "data"), "--image", "flair={case}/flair.nii.gz", "--mask",
                 "{case}/mask.nii.gz", "--pool", "4", "--unseen", "1", "--start", "1", "--rounds", "1", "--steps", "2",
                 "--lead", "4", "--budget", "20", "--size", "32", "--device", "cpu", "--out",
                 str(folder / "table.csv")]  # fmt: skip
    return CliRunner().invoke(app, [*arguments, *more])


def test_the_command_runs_every_way_writes_its_table_and_goes_on_where_it_was_cut_off(tmp_path):
    for i in range(5):
        write_case(tmp_path / "data" / f"c{i}", i)
    done = simulation(tmp_path)
    assert done.exit_code == 0, done.output
    assert "queue: 90%" in done.output
    table = tmp_path / "table.csv"
    lines = table.read_text().splitlines()
    assert len(lines) == 1 + 5 * 3 and lines[0].startswith("strategy,step,seconds,dice")
    rows = list(csv.DictReader(lines))
    assert all(float(row["seconds"]) == 0 for row in rows if int(row["step"]) <= 4)
    assert all(float(row["seconds"]) >= 20 for row in rows if row["step"] == "6" and row["strategy"] != "full")

    table.write_text("\n".join(lines[:-1]) + "\n")  # the last way of working was cut off
    again = simulation(tmp_path)
    assert again.output.count(" has it.") == 4 and f"queue: as {table}" not in again.output
    assert len(table.read_text().splitlines()) == len(lines)

    for more in (("--seed", "1"), ("--set", "selector=confidence-map")):
        other = simulation(tmp_path, *more)
        assert isinstance(other.exception, ConfigError) and "rows of other settings" in str(other.exception)
    assert len(table.read_text().splitlines()) == len(lines)


def test_the_command_trains_with_other_settings(tmp_path, monkeypatch):
    for i in range(4):
        write_case(tmp_path / "data" / f"c{i}", i)
    seen = []

    def run(folder, setup, strategy, config, *rest):
        seen.append((config.selector, config.steps, config.device))
        yield {"strategy": strategy, "step": config.steps, "seconds": 0.0, "dice": 0.5}

    monkeypatch.setattr("napari_segmatch.simulate.simulate", run)
    few = ("--pool", "3", "--strategies", "queue", "--set")
    told = simulation(tmp_path, *few, "selector=confidence-map")
    assert told.exit_code == 0, told.output
    assert seen == [("confidence-map", 6, "cpu")]
    assert {row["settings"] for row in csv.DictReader((tmp_path / "table.csv").open())} == {"selector=confidence-map"}
    for wrong in ("selector=nobody", "steps=9", "seed=3", "proposals=2"):
        refused = simulation(tmp_path, *few, wrong, "--out", str(tmp_path / "other.csv"))
        assert isinstance(refused.exception, ConfigError) and wrong.partition("=")[0] in str(refused.exception)


def test_true_masks_are_read_as_somebody_says(tmp_path):
    """The answer that the sentence asks for can be given, and the table says that it was."""
    for i in range(4):
        make_white(write_case(tmp_path / "data" / f"c{i}", i)[1])
    few = ("--pool", "3", "--strategies", "full")
    assert "choose labels=255:1" in str(simulation(tmp_path, *few).exception)
    told = simulation(tmp_path, *few, "--choose", "labels=255:1")
    assert told.exit_code == 0, told.output
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    assert {row["settings"] for row in rows} == {"labels=255:1"} and rows[-1]["labelled_slices"] == "12"


def test_a_table_from_before_settings_were_told_goes_on(tmp_path):
    for i in range(4):
        write_case(tmp_path / "data" / f"c{i}", i)
    few = ("--pool", "3", "--strategies")
    assert simulation(tmp_path, *few, "full").exit_code == 0
    table = tmp_path / "table.csv"
    table.write_text("".join(line.rpartition(",")[0] + "\n" for line in table.read_text().splitlines()))
    told = simulation(tmp_path, *few, "full,queue")
    assert told.exit_code == 0 and "full: as" in told.output
    rows = list(csv.DictReader(table.open()))
    assert {row["strategy"] for row in rows} == {"full", "queue"} and all(row["settings"] == "" for row in rows)
    assert None not in rows[-1]
