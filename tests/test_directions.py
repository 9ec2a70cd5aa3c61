"""Whichever way a case is stored, the network sees it the way of most, and its masks go back to where they belong."""

import dataclasses
import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from helpers import SHAPE, geometry, labels, small_project

from napari_segmatch.batch import predict_cases, segment_case
from napari_segmatch.benchmark.cases import Material, split
from napari_segmatch.benchmark.runs import Bench, Task, run
from napari_segmatch.config import DIRECTIONS, configure, directions, fitted
from napari_segmatch.engine.checkpoint import save_checkpoint
from napari_segmatch.engine.data import ResidentPool
from napari_segmatch.engine.learner import Learner
from napari_segmatch.engine.losses import one_hot
from napari_segmatch.engine.prepare import to_network
from napari_segmatch.engine.trainer import train
from napari_segmatch.errors import ConfigError
from napari_segmatch.events import Evaluated, Noted, Step
from napari_segmatch.io import read_mask, write_image, write_labels
from napari_segmatch.project import ProjectPool
from napari_segmatch.runner import training
from napari_segmatch.types import Geometry, PoolSnapshot, Region, Volume

CPU = torch.device("cpu")


def turned(array, grid, axes):
    """Store an array (..., z, y, x) the other way along some axes; every voxel stays where it is in the patient."""
    affine = grid.affine.copy()
    for axis in axes:
        affine[:, 3] += affine[:, axis] * (grid.shape[axis] - 1)
        affine[:, axis] *= -1
    return np.flip(array, [axis - 3 for axis in axes]).copy(), Geometry(grid.shape, affine)


def _way(name):
    """The axes along which a grid of ours, which is LPS, has to be turned to be stored as ``name`` says."""
    return [axis for axis, (ours, wanted) in enumerate(zip("SPL", reversed(name), strict=True)) if ours != wanted]


def _painted(seed):
    """Pixels (z, y, x) and their mask."""
    truth = labels(seed)
    return (100 + 60 * truth + np.random.default_rng(seed).normal(0, 8, SHAPE)).astype(np.float32), truth


class TwoWays:
    """A pool of one case that is stored in two ways."""

    classes, sequences = ("lesion",), ("flair",)

    def __init__(self, way):
        pixels, truth = _painted(0)
        self._cases = {
            name: (*turned(pixels, geometry(), axes), turned(truth, geometry(), axes)[0])
            for name, axes in (("a", []), ("b", _way(way)))
        }

    def version(self):
        return 1

    def snapshot(self):
        return PoolSnapshot(1, dict.fromkeys("ab", tuple(range(SHAPE[0]))), {})

    def volume(self, case):
        pixels, grid, _ = self._cases[case]
        return Volume(pixels[None], grid)

    def mask(self, case):
        return self._cases[case][2]


@pytest.mark.parametrize("axis", [1, 2])
def test_a_side_that_cannot_be_padded_evenly_is_padded_alike_whichever_way_it_is_stored(axis):
    """22 voxels beside 30 become 35 of 48 pixels: the odd one of the other 13 was before the case or behind it."""
    shape = (4, *((22, 30) if axis == 1 else (30, 22)))
    grid = Geometry(shape, geometry().affine)
    pixels = np.random.default_rng(0).normal(size=shape).astype(np.float32) + 9
    other, stored = turned(pixels, grid, [axis])
    slices, frame = to_network(pixels[None], 48, grid, "LPS")
    theirs, turned_frame = to_network(other[None], 48, stored, "LPS")
    torch.testing.assert_close(theirs, slices, atol=1e-4, rtol=1e-4)
    seen = one_hot((slices[:, 0] > 0).byte(), 2)
    assert torch.equal(turned_frame.restore(seen).flip(axis), frame.restore(seen))


@pytest.mark.parametrize("way", DIRECTIONS)
def test_slices_neighbours_and_labels_are_those_of_the_case_as_most_are_stored(way):
    pool = TwoWays(way)
    assert directions(pool.volume("b").geometry) == way
    data = ResidentPool(pool, 48, CPU, neighbours=1, directions="LPS")
    data.update()
    places = range(SHAPE[0])
    same = places if way[2] == "S" else places[::-1]
    ours, theirs = (torch.tensor([data.row(Region(case, z)) for z in zs]) for case, zs in (("a", places), ("b", same)))
    torch.testing.assert_close(data.slices(theirs), data.slices(ours), atol=1e-4, rtol=1e-4)
    assert torch.equal(data.labels_of(theirs), data.labels_of(ours)) and (data.labels_of(ours) == 1).any()
    seen = ("a", ours), ("b", theirs)
    forth, back = (data.frames[case].restore(one_hot(data.labels_of(rows), 2)) for case, rows in seen)
    assert torch.equal(back, forth.flip([axis - 3 for axis in _way(way) if axis]))


def test_nothing_is_turned_where_no_way_is_known():
    """A file that states no orientation is seen as it is stored, and so is all in a run that knows no way."""
    pool = TwoWays("RAI")
    stored = ResidentPool(pool, 48, CPU)
    stored.update()
    assert stored.frames["a"].turned == stored.frames["b"].turned == ()
    pool._cases = {name: (pixels, dataclasses.replace(grid, known=False), mask)
                   for name, (pixels, grid, mask) in pool._cases.items()}  # fmt: skip
    unknown = ResidentPool(pool, 48, CPU, directions="LPS")
    unknown.update()
    assert unknown.frames["b"].turned == ()


def test_a_run_takes_the_way_of_most_cases():
    """Also across planes: a sagittal series has the same directions along the patient."""
    lps, (_, ras) = geometry(), turned(np.zeros(SHAPE), geometry(), [1, 2])
    sagittal = Geometry(SHAPE, lps.affine[:, [2, 0, 1, 3]])
    assert [directions(grid) for grid in (lps, ras, sagittal)] == ["LPS", "RAS", "LPS"]
    assert fitted(configure(), [ras, lps, sagittal]).directions == "LPS"
    assert fitted(configure(), [ras, ras, lps]).directions == "RAS"
    assert fitted(configure(directions="LAI"), [ras]).directions == "LAI"
    assert fitted(configure(), [dataclasses.replace(ras, known=False)]).directions is None
    with pytest.raises(ConfigError, match="choose one of LPI, LPS"):
        configure(directions="front")


def test_a_run_takes_the_way_of_the_weights_that_it_starts_from(tmp_path):
    """A run's checkpoint says it beside them; where nobody does, a note says what was taken instead."""
    (_, ras), config = turned(np.zeros(SHAPE), geometry(), [1, 2]), configure(size=32, features=8, device="cpu")
    learner = Learner(config.replace(directions="LPS", neighbours=0), 1, 2)
    known = save_checkpoint(tmp_path / "run", learner, ("lesion",), ("flair",)) / "tensors.safetensors"
    other = shutil.copy(known, tmp_path)
    for weights, way, noted in ((known, "LPS", 0), (other, "RAS", 1)):
        taken = fitted(config.replace(weights=str(weights)), [ras])
        assert taken.directions == way
        run_ = train(TwoWays("RAS"), taken, tmp_path / way)
        said = [event.message for event in itertools.takewhile(lambda event: not isinstance(event, Step), run_)
                if isinstance(event, Noted)]  # fmt: skip
        assert sum("do not say which way round their network saw slices: here it is RAS" in it for it in said) == noted
    assert fitted(config.replace(weights=str(known), directions="RAI"), [ras]).directions == "RAI"
    (known.parent / "state.json").write_text('{"config": {"directions": "up"}}')
    assert fitted(config.replace(weights=str(known)), [ras]).directions == "RAS"


def test_whoever_segments_turns_cases_and_their_masks_back(tmp_path):
    """Training, validation, whole cases that are predicted, and slices that are proposed: the mask is the same."""
    with small_project(tmp_path, cases=3, labelled=3) as project:
        for case, seed, axes in (("x", 7, []), ("y", 7, [0, 1, 2]), ("v", 8, []), ("w", 8, [0, 1, 2])):
            pixels, truth = _painted(seed)
            image, mask = tmp_path / f"{case}.nii.gz", tmp_path / f"{case}-mask.nii.gz"
            write_image(image, *turned(pixels, geometry(), axes))
            write_labels(mask, *turned(truth, geometry(), axes))
            held_out = case in "vw"
            project.add_case(case, {"flair": image}, mask, "all" if held_out else "none", validation=held_out)
        run_ = project.new_run(configure(
            steps=30, size=48, batch=4, features=8, neighbours=1, proposals=0, evaluate_every=30, selector="none",
            device="cpu",
        ))  # fmt: skip
        assert json.loads((run_.folder / "config.json").read_text())["directions"] == "LPS"
        seen = [event for event in training(project.path, run_.id) if isinstance(event, Evaluated)]
        assert seen[-1].cases["v"] == pytest.approx(seen[-1].cases["w"], abs=0.02) and seen[-1].cases["v"] > 0.2
        for case in "xy":
            segment_case(project, case, run_.id, ProjectPool(project).volume, lambda: True)
        proposed = [
            np.stack([project.proposal_mask(item) for item in sorted(project.proposals(case=case), key=lambda p: p.z)])
            for case in "xy"
        ]
        _same(*proposed)
        path = project.path
    assert [problem for _, problem, _ in predict_cases(path, None, tmp_path / "out")] == [None, None]
    _same(*(read_mask(tmp_path / "out" / f"{case}.nii.gz").labels for case in "xy"))


def _same(mine, theirs):
    """Whether two masks, one of them stored the other way along all axes, are one but for what is rounded."""
    assert mine.any() and (mine != np.flip(theirs)).mean() < 0.002
    assert (mine != theirs).mean() > 0.01


def test_a_run_learns_the_same_however_its_cases_are_stored(tmp_path):
    """Two steps from here to there, up to what is rounded."""
    config = configure(steps=2, size=48, batch=4, features=8, neighbours=0, selector="none", device="cpu")
    losses = [
        [event.supervised for event in train(TwoWays(way), settings, tmp_path / way) if isinstance(event, Step)]
        for way, settings in (("LPS", config), ("RAS", config.replace(directions="LPS")))
    ]
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)


def test_a_benchmark_turns_the_cases_that_it_learns_from_and_tests_on(monkeypatch):
    """What a network that has hardly learnt says of a case is the same however that is stored.

    In full precision: half of it makes more of how a processor rounds, and of a sum's order, than is allowed here.
    """
    monkeypatch.setattr("napari_segmatch.engine.device._cpu_has_bfloat16", lambda: False)
    cases, other = {}, {}
    for name in "abcdefg":
        pixels, truth = _painted(ord(name))
        cases[name] = Material(Volume(pixels[None], geometry()), truth)
        turned_, grid = turned(pixels, geometry(), [1, 2])
        other[name] = Material(Volume(turned_[None], grid), turned(truth, geometry(), [1, 2])[0])
    bench = Bench(cases, split(cases, 2, 0), ("flair",), ("lesion",), "", "cpu")
    some = (bench.split.test[0], *bench.split.pool[:2])
    mixed = dataclasses.replace(bench, cases=cases | {name: other[name] for name in some})
    task, changes = Task("supervised", 3, 0, (12,)), {"batch": 4, "features": 8, "size": 48}
    straight, seen = (
        [float(dice) for dice in next(run(each, task, changes))["cases"].split()] for each in (bench, mixed)
    )
    assert seen == pytest.approx(straight, abs=1e-3) and max(straight) > 0.03
