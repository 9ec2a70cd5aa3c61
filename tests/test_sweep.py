"""Stray parts of unlabelled cases, which are background for training: which are found, when, and that they are kept."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from napari_segmatch.config import configure
from napari_segmatch.engine.calibration import Report
from napari_segmatch.engine.learner import Learner
from napari_segmatch.engine.selectors import Look
from napari_segmatch.engine.step import algorithm_1, draw_views, without_strays
from napari_segmatch.engine.sweep import SHARE
from napari_segmatch.types import NOT_ANNOTATED, PoolSnapshot, Region

MAIN, SURE, ISLAND = ((0, 3), (2, 12), (2, 12)), ((3, 5), (20, 24), (2, 8)), ((4, 6), (20, 28), (20, 28))
DEPTH = 6


def _learner(proven=True, **changes):
    """A learner whose discriminator is proven; it sees what is bright, and believes what is very bright."""
    learner = Learner(configure("quick", size=32, device="cpu", flip=0.0, **changes), 1, 1)
    if proven:
        learner.selector.record.copy_(Report(20, 9, 0.9, 0.75, 0.8).numbers)
    learner.teacher = nn.Module()
    learner.teacher.forward = lambda images: torch.stack([-images[:, 0], images[:, 0]], 1)

    def select(images, look):
        bright = torch.where(look.labels > 0, images[:, 0], -9.0).flatten(1).amax(1)
        return SimpleNamespace(accepted=bright > 1)

    learner.select = select
    return learner


class Cases:
    """A pool of three labelled cases, each with one part, and of others in which something is seen."""

    def __init__(self, others, labelled=3, several=False, drawn=(), whole=True):
        one = np.zeros((DEPTH, 32, 32), np.uint8)
        one[1:3, 4:9, 4:9] = 1
        if several:
            one[5, 20:24, 20:24] = 1
        self.known = {f"l{number}": one for number in range(labelled)}
        self.cases = [*self.known, *others]
        self.frames = dict.fromkeys(self.cases)
        self.regions = [Region(case, z) for case in self.cases for z in range(DEPTH)]
        self.images = torch.full((len(self.regions), 1, 32, 32), -4.0)
        for case, boxes in others.items():
            for bright, (low, high), rows, columns in boxes:
                first = self.row(Region(case, 0))
                self.images[first + low : first + high, 0, slice(*rows), slice(*columns)] = bright
        done = {case: tuple(range(DEPTH if whole else DEPTH - 1)) for case in self.known}
        rest = tuple(z for z in range(DEPTH) if z not in drawn)
        self.snapshot = PoolSnapshot(
            1, done | dict.fromkeys(others if drawn else (), drawn), dict.fromkeys(others, rest), images={}
        )
        self.drawn = drawn

    def row(self, region):
        return self.cases.index(region.case) * DEPTH + region.z

    def slices(self, rows):
        return self.images[rows]

    def labels_of(self, rows):
        found = []
        for region in (self.regions[row] for row in rows.tolist()):
            if region.case in self.known:
                found.append(torch.from_numpy(self.known[region.case][region.z]))
            else:
                labels = torch.full((32, 32), NOT_ANNOTATED, dtype=torch.uint8)
                if region.z in self.drawn:
                    labels[20:28, 20:28] = 1
                found.append(labels)
        return torch.stack(found)


def _box(*box):
    mask = np.zeros((DEPTH, 32, 32), bool)
    mask[tuple(slice(*ends) for ends in box)] = True
    return mask


def _told(learner, pool, case):
    """The stray pixels that views of a case's slices know of, (z, y, x)."""
    rows = torch.tensor([pool.row(Region(case, z)) for z in range(DEPTH)])
    views = draw_views(DEPTH, learner.config, learner.policy, torch.Generator().manual_seed(0), unlabelled=True)
    stray = learner.sweep.told(views, rows, pool).stray
    return np.zeros((DEPTH, 32, 32), bool) if stray is None else stray.numpy()


def _pass(learner, pool, case, times=10):
    for _ in range(times):
        _told(learner, pool, case)
        learner.sweep.go_on(learner, pool)


SEEN = [(2.0, *MAIN), (3.0, *SURE), (0.3, *ISLAND)]


def test_a_part_that_the_discriminator_doubts_is_background():
    learner, pool = _learner(), Cases({"u": SEEN})
    assert not _told(learner, pool, "u").any(), "nobody has seen the case whole yet"
    _pass(learner, pool, "u")
    np.testing.assert_array_equal(_told(learner, pool, "u"), _box(*ISLAND))


@pytest.mark.parametrize(
    ("more", "changes"),
    [
        ({"several": True}, {}),  # labelled cases show it in several parts
        ({"labelled": 2}, {}),  # too few of them to say
        ({}, {"parts": "all"}),
        ({}, {"proven": False}),
        ({}, {"selector": "mean-confidence", "proven": False}),
        ({"whole": False}, {}),  # a part may be on the slice that is not labelled
        ({"drawn": (5,)}, {}),  # people have drawn the island on one of its slices
        ({"drawn": (3,)}, {}),  # or beside them, where it is not seen
    ],
)
def test_without_good_reason_all_parts_stay(more, changes):
    learner, pool = _learner(**changes), Cases({"u": SEEN}, **more)
    _pass(learner, pool, "u")
    assert not _told(learner, pool, "u").any()


def test_a_labelled_case_with_two_parts_takes_all_of_it_back():
    learner, pool = _learner(), Cases({"u": SEEN})
    _pass(learner, pool, "u")
    assert _told(learner, pool, "u").any()
    pool.known["l0"][5, 20:24, 20:24] = 1
    pool.snapshot.masks["l0"] = 2
    _pass(learner, pool, "u")
    assert not _told(learner, pool, "u").any()


def test_somebody_may_say_that_structures_come_in_one_part():
    learner, pool = _learner(parts="one"), Cases({"u": SEEN}, labelled=0)
    _pass(learner, pool, "u")
    assert _told(learner, pool, "u").any()


def test_cases_take_turns_as_often_as_their_slices_allow():
    """One case is seen whole when as many slices as it has times 1 / SHARE were trained on."""
    learner, pool = _learner(), Cases({case: [(2.0, *MAIN)] for case in "uvw"})
    order = []
    for _ in range(round(4 / SHARE)):
        _told(learner, pool, "u")
        before = learner.sweep.memory()["last"]
        learner.sweep.go_on(learner, pool)
        after = learner.sweep.memory()["last"]
        order += [after] if after != before else []
    assert order == ["u", "v", "w", "u"]


def test_other_images_under_the_same_name_have_other_strays():
    learner, pool = _learner(), Cases({"u": SEEN})
    _pass(learner, pool, "u")
    assert _told(learner, pool, "u").any()
    pool.snapshot.images["u"] = 2
    assert not _told(learner, pool, "u").any()


def test_what_people_draw_in_a_case_takes_its_strays_back_at_once():
    """The island may be a part of what they have drawn."""
    learner, pool = _learner(), Cases({"u": SEEN})
    _pass(learner, pool, "u")
    pool.snapshot.masks["u"] = 7
    assert not _told(learner, pool, "u").any()


def test_a_discriminator_that_can_tell_no_more_takes_all_strays_back():
    learner, pool = _learner(), Cases({"u": SEEN})
    _pass(learner, pool, "u")
    assert _told(learner, pool, "u").any()
    learner.selector.record.copy_(Report(20, 9, 0.6, 0.75, 0.5).numbers)
    _pass(learner, pool, "u")
    assert not _told(learner, pool, "u").any()


def test_memory_that_runs_out_leaves_a_case_as_it_is():
    learner, pool = _learner(), Cases({"u": SEEN})
    look, learner.look = learner.look, _out_of_memory
    _pass(learner, pool, "u")
    assert not _told(learner, pool, "u").any()
    learner.look = look
    _pass(learner, pool, "u")
    assert _told(learner, pool, "u").any()
    learner.look = _out_of_memory
    _pass(learner, pool, "u")
    assert not _told(learner, pool, "u").any(), "what was found before may hold no more"


def _out_of_memory(*_):
    raise MemoryError


def test_what_is_shown_once_more_puts_off_the_next_case():
    """The island has two slices and the sure part two; so much later the next case is seen."""
    learner, pool = _learner(), Cases({"u": SEEN})
    turns = []
    for step in range(40):
        _told(learner, pool, "u")
        before = learner.sweep.memory()["gathered"]
        learner.sweep.go_on(learner, pool)
        turns += [step] if learner.sweep.memory()["gathered"] < before else []
    assert set(np.diff(turns)) == {math.ceil((DEPTH + 4) / (SHARE * DEPTH))}


def test_what_was_found_is_remembered():
    learner, pool = _learner(), Cases({"u": SEEN, "v": SEEN})
    _pass(learner, pool, "u", times=5)
    again = _learner()
    again.sweep.recall(json.loads(json.dumps(learner.sweep.memory())))
    again.sweep.recall(None)
    for each in (learner, again):
        _pass(each, pool, "u", times=4)
    assert again.sweep.memory() == learner.sweep.memory()
    np.testing.assert_array_equal(_told(again, pool, "u"), _told(learner, pool, "u"))


def test_a_stray_part_trains_as_background():
    """As if the teacher had seen nothing there."""
    learner = _learner()
    images = torch.full((4, 1, 32, 32), 3.0)
    views = draw_views(4, learner.config, learner.policy, torch.Generator().manual_seed(0), unlabelled=True)
    known = images, torch.zeros(4, 32, 32, dtype=torch.uint8), views
    marked = replace(views, stray=torch.ones(4, 32, 32, dtype=torch.bool))

    def loss(views, sees):
        teacher = nn.Module()
        teacher.forward = lambda images: torch.stack([-sees * images[:, 0], sees * images[:, 0]], 1)
        learner.teacher = teacher
        learner.select = lambda images, look: SimpleNamespace(believed=torch.ones(4, 32, 32))
        with torch.no_grad():
            return float(algorithm_1(learner.student, learner.look, learner.select, learner.policy, known,
                                     (images, views), blend=True).consistency)  # fmt: skip

    nothing, island = loss(views, -9.0), loss(views, 9.0)
    assert loss(marked, 9.0) == pytest.approx(nothing) and island != pytest.approx(nothing)


def test_strays_move_with_the_weak_view():
    """In a mirrored view the island is on the other side, and is background for certain; all else is as it was."""
    learner = _learner()
    chances = torch.rand(1, 2, 32, 32, generator=torch.Generator().manual_seed(1)).softmax(1)
    look = Look(chances, chances.argmax(1).byte(), chances.argmax(1).byte())
    views = draw_views(1, learner.config, learner.policy, torch.Generator().manual_seed(0), unlabelled=True)
    assert without_strays(look, views) is look
    stray = torch.zeros(1, 32, 32, dtype=torch.bool)
    stray[0, 4:8, 20:30] = True
    views.weak[:] = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
    cleared = without_strays(look, replace(views, stray=stray))
    there = stray.flip(2)
    assert (cleared.probabilities[:, 0][there] == 1).all() and not cleared.labels[there].any()
    assert torch.equal(cleared.probabilities[:, 0][~there], look.probabilities[:, 0][~there])
