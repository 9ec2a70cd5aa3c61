"""The pure parts of the window: turning voxels, slices, strokes, queue, sentences."""

from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from dicom_series import series
from qtpy.QtCore import QRect, Qt
from qtpy.QtGui import QColor, QImage, QPainter
from qtpy.QtWidgets import QLabel

from napari_segmatch.config import configure
from napari_segmatch.errors import ImportProblem
from napari_segmatch.events import Evaluated, Examined, Finished, PoolChanged, Proposed, Started, Step, Stopped
from napari_segmatch.history import sentence
from napari_segmatch.ledger import Ledger
from napari_segmatch.palette import CLASS_COLOURS, FURTHER_COLOURS, palette
from napari_segmatch.ranking import (
    Choice,
    Pace,
    gain_in,
    how_many,
    interval,
    is_blind,
    is_spot_check,
    overturned,
    select,
    threshold,
)
from napari_segmatch.session import History
from napari_segmatch.types import MAX_CLASSES, Case, Geometry, Proposal, Region, Volume
from napari_segmatch.ui.adding import chosen, from_files, held_out, look
from napari_segmatch.ui.cases_model import elision
from napari_segmatch.ui.config_form import ConfigForm
from napari_segmatch.ui.contact_sheet import UNPROVEN, ContactSheet
from napari_segmatch.ui.diagnosis import diagnose
from napari_segmatch.ui.display import Flip, edge_letters, window
from napari_segmatch.ui.legend import Legend
from napari_segmatch.ui.planes import _write
from napari_segmatch.ui.plots import RunPlots
from napari_segmatch.ui.queue import QueueModel
from napari_segmatch.ui.scoreboard import seen_sentence
from napari_segmatch.ui.shapes import SHAPES, reshape, smooth, without_islands
from napari_segmatch.ui.slices import between, fill_gaps, painted, sizes, worth_a_look
from napari_segmatch.ui.strokes import Strokes, touched
from napari_segmatch.ui.style import GOOD, LATER
from napari_segmatch.ui.suggest import features, next_case
from napari_segmatch.ui.thumbnails import _make, _picture_of


def affine(z, y, x):
    """An affine whose columns are the world directions of (z, y, x)."""
    result = np.eye(4)
    result[:3, :3] = np.array([z, y, x], float).T
    return result


R, L, A, P, S, I = (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)  # noqa: E741


@pytest.mark.parametrize("z", [S, I])
@pytest.mark.parametrize("y", [A, P])
@pytest.mark.parametrize("x", [R, L])
def test_any_axial_file_shows_front_up_and_patient_right_on_the_left(z, y, x):
    geometry = Geometry((4, 5, 6), affine(z, y, x))
    flip = Flip.of(geometry)
    corner = flip.to_view(np.arange(4 * 5 * 6).reshape(4, 5, 6))[0, 0, 0]
    index = [*np.unravel_index(corner, (4, 5, 6)), 1]
    world = geometry.affine @ index
    others = np.array([geometry.affine @ [*np.unravel_index(i, (4, 5, 6)), 1] for i in range(120)])
    assert np.allclose(world[:3], others[:, :3].max(axis=0))  # the most right, front, head voxel comes first
    assert edge_letters(flip, (1, 2)) == {"top": "A", "bottom": "P", "left": "R", "right": "L"}
    assert edge_letters(flip, (0, 2)) == {"top": "S", "bottom": "I", "left": "R", "right": "L"}
    assert edge_letters(flip, (0, 1)) == {"top": "S", "bottom": "I", "left": "A", "right": "P"}


@pytest.mark.parametrize(("z", "numbers"), [(S, [4, 3, 2, 1]), (I, [1, 2, 3, 4])])
def test_slices_are_numbered_from_one_from_the_head_down(z, numbers):
    geometry = Geometry((4, 5, 6), affine(z, A, R))
    assert [geometry.slice_number(index) for index in range(4)] == numbers
    assert [Flip.of(geometry).z_to_view(index, 4) + 1 for index in range(4)] == numbers


def test_painting_in_the_view_writes_the_right_voxel():
    flip = Flip((True, False, True))
    stored = np.zeros((3, 4, 5), np.uint8)
    flip.to_view(stored)[flip.z_to_view(2, 3), 1, 0] = 7
    assert stored[2, 1, 4] == 7
    assert np.array_equal(flip.to_view(flip.to_view(stored)), stored)
    assert all(flip.z_from_view(flip.z_to_view(z, 3), 3) == z for z in range(3))


def test_a_slice_is_turned_like_its_volume():
    flip = Flip((True, True, False))
    volume = np.arange(24).reshape(2, 3, 4)
    assert np.array_equal(flip.to_view(volume)[flip.z_to_view(1, 2)], flip.to_view(volume[1]))


def test_unknown_orientation_is_said():
    flip = Flip.of(Geometry((1, 1, 1), affine(S, A, R), known=False))
    assert edge_letters(flip, (1, 2))["top"] == "orientation unknown"


def test_a_flat_image_has_a_window_too():
    low, high = window(np.zeros((4, 5, 6)))
    assert high > low


def disc(radius, size=41):
    y, x = np.mgrid[:size, :size] - size // 2
    return (y**2 + x**2 <= radius**2).astype(np.uint8)


def test_interpolation_gives_the_size_between():
    middle = between(disc(5), disc(15), 0.5)
    assert disc(8).sum() < middle.sum() < disc(12).sum()
    assert np.array_equal(between(disc(5), disc(15), 0), disc(5))


def test_gaps_are_filled_and_finished_slices_left_alone():
    labels = np.full((7, 41, 41), 255, np.uint8)
    labels[1][disc(5) > 0] = labels[5][disc(9) > 0] = 1
    assert sorted(fill_gaps(labels, 3, done={2})) == [3, 4]
    assert fill_gaps(labels[:3], 0, done=()) == {}
    assert list(np.flatnonzero(painted(labels))) == [1, 5]


def test_what_is_painted_is_counted_slice_by_slice():
    labels = np.full((4, 5, 6), 255, np.uint8)
    labels[1, :2, :3], labels[1, 2], labels[3, 0, 0] = 2, 1, 2
    found = sizes(labels)
    assert found[:, 2].tolist() == [0, 6, 0, 1] and found[:, 1].tolist() == [0, 6, 0, 0]
    assert found.sum() == 13, "background and what is not annotated are no class"


def test_shapes_change_one_class_and_nothing_else():
    labels = np.full((41, 41), 255, np.uint8)
    labels[disc(9) > 0] = 1
    labels[2:4, 2:4] = 1
    labels[20:30, 30:36] = 2
    for name, (_, change, _) in SHAPES.items():
        fresh = reshape(labels, 1, change)
        assert np.array_equal(fresh == 2, labels == 2), name
        assert set(np.unique(fresh)) <= {1, 2, 255}
    assert not (reshape(labels, 1, SHAPES["islands"][1])[:5, :5] == 1).any()
    assert (reshape(labels, 1, SHAPES["grow"][1]) == 1).sum() > (labels == 1).sum()
    assert (reshape(labels, 1, SHAPES["shrink"][1]) == 1).sum() < (labels == 1).sum()
    rough = disc(9)
    rough[20, 30:33] = 1
    assert not smooth(rough > 0)[20, 31:].any()
    lesions = (disc(6) > 0) | np.roll(disc(5) > 0, 14, 1)
    assert np.array_equal(without_islands(lesions), lesions)  # two lesions of like size are no islands


def test_the_lock_gives_back_what_belongs_to_another_class():
    labels = np.zeros((2, 4, 4), np.uint8)
    labels[1, :2] = 1
    labels[1, 3] = 255
    strokes = Strokes(labels)
    labels[1] = 2
    assert strokes.protect([1], 2)
    assert labels[1].tolist() == [[1] * 4, [1] * 4, [2] * 4, [2] * 4]
    strokes.note()
    labels[1] = 0
    assert strokes.protect(None, 2) and labels[1].tolist() == [[1] * 4, [1] * 4, [0] * 4, [0] * 4]


def test_the_first_cases_differ_from_each_other_and_later_the_model_decides():
    known = {"a": np.zeros(2), "b": np.array([0.1, 0]), "c": np.array([5.0, 0]), "d": np.array([0, 3.0])}
    cases = [case(id) for id in known]
    assert next_case(cases, [], known, "a", Pace())[0] == "c"
    some = [case("a", (1,)), case("b"), case("c", (1,)), case("d")]
    assert next_case(some, [], known, "a", Pace())[0] == "d"
    waiting = [Proposal(1, 1, Region("b", 1), 0.2, "rejected", 1, 1, area=50)]
    many = [case(f"x{i}", (1,)) for i in range(6)] + [case("b"), case("d")]
    assert next_case(many, waiting, known, "x0", Pace())[0] == "b"
    assert next_case([case("a", (0, 1, 2, 3))], [], {}, "", Pace()) is None
    flat = features(np.zeros((1, 5, 16, 16), np.float32))
    assert flat.shape == (192,) and np.isfinite(flat).all()


def test_a_case_without_the_first_sequence_is_no_black_picture():
    """What is drawn of it, and what it is compared by, is the first sequence that it has."""
    pixels = np.random.default_rng(0).normal(100, 20, (2, 5, 16, 16)).astype(np.float32)
    assert np.array_equal(features(pixels[1:]), features(pixels * np.array([0, 1], np.float32).reshape(2, 1, 1, 1)))
    pixels[0] = 0
    one = Case("a", "a", ("t1",), Geometry((5, 16, 16), affine(S, A, R)))
    session = Mock(project=None, colours={}, volume=lambda case: Volume(pixels, one.geometry),
                   mask=lambda case: np.zeros(one.shape, np.uint8),
                   proposal_mask=lambda item: np.zeros((16, 16), np.uint8))  # fmt: skip
    made = _make(session, [Proposal(1, 1, Region("a", 2), 0.9, "accepted", 1, 1)])
    assert made[1].picture.max() > 200
    assert _picture_of(session, one).max() > 200


def test_where_to_look_next():
    labels = np.full((9, 4, 4), 255, np.uint8)
    assert worth_a_look(0, labels, (), {})[0] in (4, 5)
    assert worth_a_look(0, labels, (), {7: 0.9, 2: 0.55})[0] == 2
    labels[3, 0, 0] = 1
    assert worth_a_look(0, labels, (), {}) == (3, "painted, but not marked as done")
    assert worth_a_look(3, labels, (3,), {})[0] in (2, 4)
    labels[4, 0, 0] = 1
    place, why = worth_a_look(4, labels, (3, 4), {})
    assert place in (6, 7) and "shows nothing" in why
    assert worth_a_look(7, labels, (3, 4, 7), {})[0] == 5
    labels[:, 0, 0] = 1
    assert "far from" not in worth_a_look(4, labels, range(1, 8), {})[1], (
        "a structure on every slice is no reason to nag"
    )
    assert worth_a_look(3, labels, range(9), {}) is None


def test_undo_and_redo_outlive_a_change_of_slice():
    labels = np.zeros((3, 2, 2), np.uint8)
    strokes = Strokes(labels)
    labels[0, 0, 0] = 1
    assert strokes.note() == [0]
    labels[2] = 2
    assert strokes.note([2]) == [2]
    assert strokes.undo() == [2] and not labels[2].any()
    assert strokes.undo() == [0] and not labels.any()
    assert strokes.undo() == []
    assert strokes.redo() == [0] and labels[0, 0, 0] == 1
    labels[1] = 1
    strokes.note()
    assert not strokes.can_redo


def test_no_step_leads_back_over_what_somebody_else_saved():
    labels = np.zeros((3, 2, 2), np.uint8)
    strokes = Strokes(labels)
    labels[:2] = 1
    strokes.note()
    labels[0] = 2
    strokes.note()
    labels[2] = 1
    strokes.note()
    assert strokes.undo() == [2]
    strokes.accept(0, np.full((2, 2), 3, np.uint8))
    assert strokes.redo() == [2] and strokes.undo() == [2], "other slices keep their steps"
    assert strokes.undo() == [1] and not strokes.can_undo
    assert (labels[0] == 3).all() and not labels[1:].any()
    strokes.accept(2, labels[2])
    assert strokes.redo() == [1] and not strokes.can_redo


def test_both_of_naparis_ways_to_say_what_changed():
    class Atom:
        slice_key = (slice(2, 3), slice(0, 4), slice(0, 4))

    assert touched([Atom()]) == [2]
    assert touched([((np.array([1, 1, 4]), np.array([0]), np.array([0])), 0, 1)]) == [1, 4]
    assert touched([object()]) is None


def proposals(n=40):
    return [
        Proposal(i, 1, Region(f"case-{i % 4}", i), i / n, "accepted" if i >= n / 2 else "rejected", 1, 1)
        for i in range(n)
    ]


def test_the_queue_filters_and_sorts():
    found = proposals()
    surest = [p.score for p in select(found, Choice(order="surest first")) if not is_blind(p)]
    assert surest == sorted(surest, reverse=True)
    worth = [p for p in select(found, Choice(order="worth a look")) if not is_blind(p)]
    assert abs(worth[0].score - threshold(found)) <= abs(worth[-1].score - threshold(found))
    assert [p.region for p in select(found, Choice(order="by case"))] == sorted(p.region for p in found)
    assert {p.id for p in select(found, Choice(order="random"))} == {p.id for p in found}


def test_a_spot_check_is_in_no_list_that_gives_its_verdict_away():
    found = proposals(200)
    assert 20 < sum(map(is_blind, found)) < 60
    assert not any(map(is_blind, select(found, Choice("accepted")) + select(found, Choice("rejected"))))


def test_the_place_of_a_spot_check_in_the_list_does_not_tell_its_score():
    found = proposals(400)
    spots = [p.score for p in select(found, Choice(order="surest first")) if is_blind(p)]
    assert abs(np.corrcoef(spots, range(len(spots)))[0, 1]) < 0.35


def test_the_best_use_of_time_is_a_likely_mistake_of_some_size_and_follows_the_persons_pace():
    def item(score, area):
        return Proposal(1, 1, Region("a", 1), score, "accepted", 1, 1, area=area)

    assert gain_in([item(0.3, 400)])["a"] > gain_in([item(0.9, 400)])["a"]
    assert gain_in([item(0.3, 400)])["a"] > gain_in([item(0.3, 4)])["a"]
    assert gain_in([item(0.3, 400)], Pace(accept=30, correct=60))["a"] < gain_in([item(0.3, 400)])["a"]


def test_among_equals_the_list_stays_in_a_case():
    found = [Proposal(i, 1, Region(f"case-{i % 3}", i), 0.5, "accepted", 1, 1, "deferred") for i in range(12)]
    cases = [p.case for p in select(found, Choice(undecided_only=False))]
    assert cases == sorted(cases)


def test_disagreement_puts_first_where_the_two_views_and_the_score_differ():
    found = [
        Proposal(i, 1, Region("a", i), 0.9, "accepted", 1, 1, "deferred", agreement=agreement)
        for i, agreement in enumerate((0.9, 0.1, None, 0.5))
    ]
    assert [p.z for p in select(found, Choice(undecided_only=False, order="disagreement"))] == [1, 3, 0, 2]


def test_the_ledger_keeps_count():
    book = Ledger(proposals(100))
    for choice in (Choice(), Choice("accepted"), Choice("rejected"), Choice("mine"), Choice("accepted", False)):
        assert how_many(book.counts, choice) == len(select(book, choice))
    assert sorted(book.mark([3, 4, 999], "accepted")) == [3, 4] and book.mark([3], "accepted") == []
    assert book.undecided == 98 and book.open_in["case-3"] == 24
    assert sum(n for (_, word, _), n in book.counts.items() if word == "accepted") == 2
    for choice in (Choice(), Choice("accepted"), Choice("rejected"), Choice("mine")):
        assert how_many(book.counts, choice) == len(select(book, choice))
    newer = Proposal(500, 2, Region("case-3", 3), 0.5, "rejected", 1, 1)
    others = [item for item in book.of_case("case-3").values() if item.z != 3]
    assert book.renew({"case-3": [*others, newer]}) and not book.renew({"case-3": [newer, *others]})
    assert book.get(3) is None and book.of_case("case-3")[3] == newer and len(book) == 100
    assert sum(book.counts.values()) == 100


def test_what_the_discriminator_said_before_it_could_tell_is_known():
    assert History().proven_at(10), "a selector that nobody examines is taken at its word"
    history = History(judged=True)
    assert not history.proven_at(10), "before the first examination it can tell nothing"
    for step, proven in ((100, False), (200, True), (300, False)):
        history.add(Examined(step, 40, 20, 0.7, 0.5, 0.6, proven))
    told = [history.proven_at(step) for step in (50, 100, 199, 200, 299, 400)]
    assert told == [False, False, False, True, True, False]
    assert history.examined.step == 300


def test_the_story_of_a_resumed_run_does_not_run_back():
    """What a kill has undone is taken anew from the checkpoint on; what was examined stands for proposals of then."""
    history = History(judged=True)
    for last, begun in ((30, 0), (50, 20)):
        history.add(Started(begun, "cpu", 1000, 16, 48, 1))
        for step in range(begun + 1, last + 1):
            history.add(Step(step, step / 50, 10, 1, 1, 1, None, 1))
            if step % 10 == 0:
                history.add(Evaluated(step, {"lesion": 0.8}, {"case-01": 0.8}))
                history.add(Proposed(step, 1, 3, 4))
                history.add(Examined(step, 40, 20, 0.7, 0.5, 0.6, True))
    assert [item.step for item in history.steps] == [*range(1, 51)]
    for looks in (history.evaluations, history.proposed):
        assert [item.step for item in looks] == [*range(10, 60, 10)]
    assert len(history.examinations) == 6 and history.proven_at(30)


def test_how_often_spot_checks_were_overturned():
    decided = [
        Proposal(p.id, 1, p.region, p.score, p.verdict, 1, 1, "rejected" if p.id % 2 else "accepted")
        for p in proposals(200)
        if is_spot_check(p) and p.verdict == "accepted"
    ]
    changed, judged = overturned(Ledger(decided).counts)
    assert judged == len(decided) and 0 < changed < judged
    low, high = interval(1, 42)
    assert (round(100 * low, 1), round(100 * high, 1)) == (0.1, 12.6)
    assert interval(0, 5)[0] == 0 and interval(5, 5)[1] == 1


def case(id, labelled=(), validation=False):
    return Case(id, id, ("flair",), Geometry((4, 4, 4), np.eye(4)), validation, labelled)


def steps(accepted, selector="discriminator"):
    history = History(selector=selector)
    for i in range(30):
        history.add(Step(i, 0.1, 10, 1, 1, 1, accepted, 1))
    return history


def test_the_sentence_of_diagnosis():
    cases = [case("a", (1,)), case("b", (1,), validation=True)]
    assert "nothing to learn from" in diagnose(History(), [case("a")], ["lesion"], None)
    assert "cut off" in diagnose(History(), cases, ["lesion"], "interrupted")
    assert "accepts everything" in diagnose(steps(1.0), cases, ["lesion"], "running")
    assert "accepts nothing" in diagnose(steps(0.0), cases, ["lesion"], "running")
    assert "Warming up" in diagnose(steps(None), cases, ["lesion"], "running")
    assert "has stopped while it warmed up" in diagnose(steps(None), cases, ["lesion"], "stopped")
    assert diagnose(steps(None), cases, ["lesion"], "finished") == ""  # a selector that passes nothing
    assert "held out" in diagnose(steps(0.5), cases[:1], ["lesion"], "running")
    assert diagnose(steps(0.5), cases, ["lesion"], "running") == ""


def test_the_sentence_of_diagnosis_knows_who_selects():
    """Labels alone warm up for nothing, and of a selector that learns nothing people's decisions change nothing."""
    cases = [case("a", (1,)), case("b", (1,), validation=True)]
    assert diagnose(steps(None, "none"), cases, ["lesion"], "running") == ""
    assert diagnose(steps(None, "none"), cases, ["lesion"], "stopped") == ""
    assert "Warming up" in diagnose(steps(None, "confidence-map"), cases, ["lesion"], "running")
    assert diagnose(steps(1.0, "identity"), cases, ["lesion"], "running") == ""


def test_a_training_that_has_stopped_is_not_said_to_have_begun():
    """What stood there before would stay."""
    words, wrong = sentence(Stopped(226))
    assert "stopped" in words and not wrong


def test_the_sentence_of_diagnosis_names_every_class_that_is_concerned():
    cases, history = [case("a", (1,)), case("b", (1,), validation=True)], steps(0.5)
    for _ in range(3):
        history.add(Proposed(1, 1, 2, 8, {"front": [0, 5], "back": [0, 5], "rim": [2, 5]}))
    assert "shows front or back passes" in diagnose(history, cases, ["front", "back", "rim"], "running")
    for _ in range(3):
        history.add(Proposed(1, 1, 2, 8, {"front": [0, 0], "back": [0, 0], "rim": [2, 5]}))
    assert "shows front or back lately" in diagnose(history, cases, ["front", "back", "rim"], "running")


@pytest.mark.parametrize("selector", ["discriminator", "confidence-map", "none"])
def test_the_discriminator_is_named_only_where_one_judges(qapp, selector):
    """Of a run with another selector it is the model's own confidence that a mask passes by, or not."""
    cases, history = [case("a", (1,)), case("b", (1,), validation=True)], steps(0.5, selector)
    for _ in range(3):
        history.add(Proposed(1, 1, 2, 8, {"front": [0, 5], "back": [2, 5]}))
    plots = RunPlots()
    plots.show_history(history, ["front", "back"], 1, None, ["#ff0000", "#00ff00"])
    said = diagnose(history, cases, ["front", "back"], "running")
    for words in (said, plots._passed.toolTip(), plots._titles[2].text()):
        assert ("discriminator" in words) == (selector == "discriminator")
    assert ("mean confidence" in said) == (selector != "discriminator")


def test_which_masks_are_finished_and_who_is_held_out(tmp_path):
    files = [tmp_path / f"p{i}_{s}.nii.gz" for i in (1, 2) for s in ("t1", "flair")]
    found = from_files(files, ("flair", "t1"))
    assert [(item.id, sorted(item.images)) for item in found] == [("p1", ["flair", "t1"]), ("p2", ["flair", "t1"])]
    from napari_segmatch.io.patterns import FoundCase

    found = [FoundCase(f"c{i}", {}, files[0] if i != 1 else None) for i in range(6)]
    assert chosen(found, "the first …", 2, "") == ["c0", "c2"]
    assert chosen(found, "these: …", 2, "c3, c5") == chosen(found, "these: …", 2, "c3 c5;") == ["c3", "c5"]
    spaced = [FoundCase(name, {}, files[0]) for name in ("case 1", "case 2", "d")]
    assert chosen(spaced, "these: …", 2, "d, case 2") == ["case 2", "d"]
    with pytest.raises(ImportProblem, match="There is no case e with a mask"):
        chosen(spaced, "these: …", 2, "d e")
    assert held_out(found, ["c0", "c2"], 2) == ["c4", "c5"]
    assert held_out(found, ["c0"], 0) == []
    everything = chosen(found, "all of them", 2, "")
    assert held_out(found, everything, 2) == ["c4", "c5"], "finished labels, and two of them only judge"
    assert held_out(found, everything, 9) == ["c2", "c3", "c4", "c5"], "one is left to teach"
    assert held_out([FoundCase("c", {})], [], 2) == []


def test_the_window_takes_a_series_by_its_description(tmp_path):
    """Where names do not tell, as the shell does with --series; what was found says how."""
    for number, words in enumerate(("t2_flair_tra", "t2_flair_cor", "mprage nativ")):
        series(tmp_path / "one" / words, StudyInstanceUID="1.2", SeriesNumber=number, SeriesDescription=words)
    fields = {"flair": "{case}/flair.nii.gz", "t1": "{case}/t1.nii.gz"}
    with pytest.raises(ImportProblem, match=r"2 series could be flair .* in the window with the description"):
        look(tmp_path, fields, None, ["lesion"])
    found = look(tmp_path, {"flair": "*_TRA", "t1": "mprage*"}, "{case}/mask.nii.gz", ["lesion"])
    assert {name: path.parent.name for name, path in found.cases[0].images.items()} == {
        "flair": "t2_flair_tra",
        "t1": "mprage nativ",
    }


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("p1_flair", "p1_mask"), ("p1_FLAIR", "p1-flair-label"), ("p1_flair_02", "seg_p1_flair_02"),
        ("p1", "p1_dseg"), ("flair", "mask"), ("p1", "p1_FlairSegmentation"),
    ],
)  # fmt: skip
def test_a_single_file_that_is_called_like_a_mask_is_no_image(tmp_path, image, mask):
    """It goes to the image that comes with it, in whatever order; alone, or beside another, it is refused in words."""
    image, mask = tmp_path / "p1" / f"{image}.nii.gz", tmp_path / "p1" / f"{mask}.nii.gz"
    other = tmp_path / "p2_flair.nii.gz"
    for files in ([image, mask, other], [mask, other, image]):
        first, second = from_files(files, ("flair", "t1"))
        assert (first.images, first.mask) == ({"flair": image}, mask)
        assert (second.id, second.mask) == ("p2", None)
    with pytest.raises(ImportProblem, match=r"is called like a mask, and no image of case p1.* came with it"):
        from_files([mask, other], ("flair", "t1"))
    with pytest.raises(ImportProblem, match="would both be the mask of case p1"):
        from_files([image, mask, mask.with_name(mask.name.replace(".nii.gz", ".nrrd"))], ("flair",))


@pytest.mark.parametrize("name", ["Segovia-3_flair", "segstudy_01_flair", "p1_flair_brainmasked", "Labelle_flair"])
def test_a_name_that_only_begins_like_a_mask_is_an_image(tmp_path, name):
    """Patients and studies are called like that, and images without their skull."""
    path = tmp_path / f"{name}.nii.gz"
    path.touch()
    (case,) = from_files([path], ("flair",))
    assert case.mask is None and case.images == {"flair": path}


@pytest.mark.parametrize(
    "name", ["p1_mask", "p1_flair_seg", "p1-label1", "p1_lesionmask", "p1_dseg", "p1_Segmentation"]
)
def test_a_mask_is_known_by_its_name(tmp_path, name):
    files = [tmp_path / "p1_flair.nii.gz", tmp_path / f"{name}.nii.gz"]
    for path in files:
        path.touch()
    (case,) = from_files(files, ("flair",))
    assert case.images == {"flair": files[0]} and case.mask == files[1]


def test_an_unproven_discriminator_is_said_to_be_one():
    """Until its examination is passed its verdicts are not used, and the person is told why."""
    history = steps(0.5)
    history.add(Examined(100, 12, 1, None, None, 0.0, proven=False))
    assert "cannot tell good masks from bad ones yet" in diagnose(history, [case("a", (1,))], ["lesion"], "running")


def test_people_are_told_that_their_decisions_move_the_chances():
    """And how many of them do; nothing of the kind while there are none. What it learns from is the trainer's word."""
    history = History()
    history.add(PoolChanged(120, 3, 40, 100))
    session = SimpleNamespace(history=history, proposals=Ledger(proposals(100)))
    before = seen_sentence(session)
    assert before.endswith("at step 120: since then it learns from 40 labelled slices.")
    session.proposals.mark([3, 4], "accepted")
    assert seen_sentence(session) == before, "it has not taken these up yet"
    history.add(Examined(200, 12, 5, 0.8, 0.75, 0.6, True, words=9))
    assert seen_sentence(session).endswith("What people said of 9 proposals moves its chances.")


def test_the_end_of_a_training_is_said():
    """What its first steps had to say is not the last word."""
    words, wrong = sentence(Finished(4000))
    assert "finished" in words and not wrong


def test_no_colour_stands_for_two_things():
    """Masks and proposals of three classes share no colour, whatever somebody chose for one of them."""
    for own in ({}, {"b": "#e69f00"}, {"a": "#56b4e9", "c": "#E69F00"}):
        mask, proposal = palette(("a", "b", "c"), own)
        assert len({colour.lower() for colour in (*mask, *proposal)}) == 6
        assert all(mask["abc".index(name)] == colour for name, colour in own.items())


@pytest.mark.parametrize("n", [4, 7, 8, 14, 25, 26, 49, 50])
def test_each_of_many_classes_has_a_colour_of_its_own(n):
    """Two organs of one colour beside each other cannot be told apart; the first seven suit a colour-blind eye."""
    names = tuple(f"organ {i}" for i in range(n))
    mask, proposal = palette(names, {})
    assert mask[:7] == CLASS_COLOURS[:n] and len(set(mask)) == len(set(proposal)) == n
    assert all(mine != theirs for mine, theirs in zip(mask, proposal, strict=True))
    assert n > 25 or not {*mask} & {*proposal}
    mask, proposal = palette(names, {"organ 2": mask[-1].upper()})
    assert mask[2] == mask[2].upper() and len({colour.lower() for colour in mask}) == len(set(proposal)) == n


def test_no_two_colours_of_classes_look_alike():
    """Red, green and blue of any two of the first 14 differ by 60 of 255 in sum at least, and of all 50 by 30."""
    every = np.array([QColor(name).getRgb()[:3] for name in CLASS_COLOURS + FURTHER_COLOURS])
    apart = np.abs(every[:, None] - every[None]).sum(2) + 1000 * np.eye(len(every), dtype=int)
    assert len(every) == MAX_CLASSES and apart.min() >= 30 and apart[:14, :14].min() >= 60


def test_long_names_lose_what_they_have_in_common():
    ways = Qt.TextElideMode

    def shorten(name, way, room=8):
        half = room // 2
        return {ways.ElideRight: name[:room], ways.ElideLeft: name[-room:]}.get(way, name[:half] + name[-half:])

    assert elision(["p-0001-1996", "p-0002-1997"], shorten) == ways.ElideRight  # their ends would do as well
    assert elision(["patient-one-01", "patient-one-02"], shorten) == ways.ElideMiddle
    assert elision(["patient-01-flair", "patient-02-flair"], shorten) == ways.ElideLeft
    assert elision([], shorten) == ways.ElideRight


def test_a_case_s_mean_score_tells_nothing_of_spot_checks():
    """Nor does one proposal without a score take the mean from the others."""
    ids = iter(range(1, 500))
    blind = next(i for i in range(1, 500) if is_spot_check(Proposal(i, 1, Region("a", 0), 0.5, "accepted", 1, 1)))
    plain = [i for i in ids if not is_spot_check(Proposal(i, 1, Region("a", 0), 0.5, "accepted", 1, 1))][:3]

    def of(id, z, score):
        return Proposal(id, 1, Region("a", z), score, "accepted", 1, 1)

    assert Ledger([of(blind, 0, 0.9)]).mean_score("a") is None
    book = Ledger([of(blind, 0, 0.9), of(plain[0], 1, 0.2), of(plain[1], 2, 0.4), of(plain[2], 3, float("nan"))])
    assert book.mean_score("a") == pytest.approx(0.3)
    book.mark([plain[0], plain[2]], "rejected")
    assert book.mean_score("a") == pytest.approx(0.4)


def test_nearly_equal_gains_keep_a_person_in_one_case():
    """The best use of time is no reason to leap between cases for a hundredth more; for much more it is."""
    plain = [i for i in range(1, 900) if not is_spot_check(Proposal(i, 1, Region("a", 0), 0.5, "accepted", 1, 1))]

    def of(place, case, z, score):
        return Proposal(plain[place], 1, Region(case, z), score, "accepted", 1, 1, area=400)

    near = [of(0, "a", 0, 0.50), of(1, "b", 0, 0.505), of(2, "a", 1, 0.51), of(3, "b", 1, 0.515)]
    assert [item.case for item in select(near, Choice())] == ["a", "a", "b", "b"]
    far = [of(0, "a", 0, 0.99), of(1, "b", 0, 0.3), of(2, "a", 1, 0.3), of(3, "b", 1, 0.99)]
    assert [item.score for item in select(far, Choice())] == [0.3, 0.3, 0.99, 0.99]


def test_other_cases_have_their_turn_before_a_fourth_slice_of_one():
    """Slices of a case are alike: what somebody has judged of it counts as well."""
    plain = [i for i in range(1, 900) if not is_spot_check(Proposal(i, 1, Region("a", 0), 0.5, "accepted", 1, 1))]

    def of(place, case, z, decision=None):
        return Proposal(plain[place], 1, Region(case, z), 0.5, "accepted", 1, 1, decision, area=400)

    waiting = [*(of(z, "a", z) for z in range(5)), *(of(10 + z, "b", z) for z in range(2))]
    assert "".join(item.case for item in select(waiting, Choice())) == "aaabbaa"
    put_off = [of(20 + z, "a", 20 + z, "deferred") for z in range(3)]
    assert "".join(item.case for item in select([*waiting, *put_off], Choice())) == "aaabbaa"
    judged = [of(20 + z, "a", 20 + z, "corrected") for z in range(3)]
    assert "".join(item.case for item in select([*waiting, *judged], Choice())) == "bbaaaaa"
    assert gain_in([*waiting, *judged])["a"] < gain_in(waiting)["a"]
    assert "".join(item.case for item in select(waiting, Choice(), labelled={"a": 3})) == "bbaaaaa"
    assert "".join(item.case for item in select([*waiting, *judged], Choice(), labelled={"a": 3, "b": 0})) == "bbaaaaa"
    assert gain_in(waiting, labelled={"a": 3})["a"] < gain_in(waiting)["a"]


def test_left_and_right_structures_can_be_trained_from_the_window(qapp):
    """As the tutorial says: without mirrored slices. Another preset mirrors again."""
    form = ConfigForm()
    form.show_preset("quick")
    assert form.config("quick", "cpu") == configure("quick", device="cpu")
    form._controls["flip"].setValue(0)
    assert form.config("quick", "cpu").flip == 0
    form.show_preset("standard")
    assert form.config("standard", "cpu").flip == configure("standard").flip > 0


@pytest.mark.parametrize("proven", [True, False])
def test_a_contact_sheet_says_which_percentages_are_not_proven(qapp, proven):
    """Grey frames and a sentence: a whole case must not be accepted for numbers that are guesses."""
    thumbnails = Mock(pixmap=lambda item: None)
    source = QueueModel(lambda item: item.region.z + 1, lambda item: proven)
    items = [Proposal(1, 1, Region("a", 3), 0.9, "accepted", 1, 1)]
    sheet = ContactSheet(None, "", "Case a", items, source, thumbnails, lambda *_: None)
    sheet.resize(400, 300)
    shown = sheet.view.grab().toImage()
    colours = {shown.pixelColor(x, y).name() for x in range(40) for y in range(60)}
    assert (GOOD in colours, LATER in colours) == (proven, not proven)
    assert any(UNPROVEN in label.text() for label in sheet.findChildren(QLabel)) is not proven


def test_the_window_exports_what_the_shell_does():
    """Both lists of layouts are one."""
    from napari_segmatch.project.layouts import LAYOUTS
    from napari_segmatch.ui.export import FORMATS

    assert list(FORMATS) == list(LAYOUTS)


def test_the_title_of_a_plane_stands_out_from_a_bright_picture(qapp):
    bright = QImage(80, 40, QImage.Format.Format_RGB888)
    bright.fill(Qt.GlobalColor.white)
    painter = QPainter(bright)
    _write(painter, QRect(0, 0, 80, 40), "side")
    painter.end()
    assert bright.pixelColor(3, 3).lightness() < 128 and bright.pixelColor(70, 35) == QColor("white")


def test_the_plots_of_a_run_have_one_scale(qapp):
    """What happens at one step stands at one place, also when Dice was measured once; the longer of two runs counts."""
    from napari_segmatch.events import Evaluated, Step
    from napari_segmatch.history import History

    def run(last):
        steps = [Step(step, 0.5, 1.0, 1.0, 0.0, 0.0, None, 1) for step in range(last)]
        return History(steps=steps, evaluations=[Evaluated(100, {"lesion": 0.5}, {"a": 0.5})])

    plots = RunPlots()
    for beside, last in ((None, 160), (run(401), 400)):
        plots.show_history(run(161), ["lesion"], 1, beside, ["#ff0000"])
        for plot in plots._plots:
            low, high = plot.getViewBox().viewRange()[0]
            assert -0.05 * last < low <= 0 and last <= high < 1.05 * last


def test_a_legend_of_many_classes_names_all_of_them_somewhere(qapp):
    """The line would grow too long for the dock: what the mouse brings up has them all."""
    legend, names = Legend(), [f"organ {number}" for number in range(1, 15)]
    for n, told in ((12, ""), (14, "organ 14")):
        legend.show_classes(Mock(project=Mock(classes=names[:n]), colours={}))
        assert ("organ 13" in legend.text(), " …" in legend.text()) == (False, n > 12)
        assert told in legend.toolTip() and ("organ 1" in legend.toolTip()) == bool(told)
