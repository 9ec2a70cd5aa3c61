"""Parts of a structure in a whole case: which of them stay, and what is said of slices from which some went."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import SHAPE, small_project, write_case
from torch import nn

from napari_segmatch import batch
from napari_segmatch.batch import predict_cases, segment_case
from napari_segmatch.cli.verbs import app
from napari_segmatch.config import configure
from napari_segmatch.engine import predict
from napari_segmatch.engine.calibration import Report
from napari_segmatch.engine.judge import can_tell
from napari_segmatch.engine.learner import Learner
from napari_segmatch.engine.parts import MOST, Part, alone, in_doubt, in_one_part, parts_of, shown_in, strays
from napari_segmatch.engine.predict import predict_slices, propose_case
from napari_segmatch.engine.prepare import Frame
from napari_segmatch.engine.selectors import Look, Selection
from napari_segmatch.errors import ConfigError
from napari_segmatch.events import PseudoMask
from napari_segmatch.io import read_mask
from napari_segmatch.project import Project
from napari_segmatch.runner import training
from napari_segmatch.types import NOT_ANNOTATED, Region

FRAME = Frame(32, 32, 0, 32, 0, 32, 32)


def _case(*boxes, shape=(6, 32, 32)):
    """Labels with boxes of (label, slices of z, y, x)."""
    labels = np.zeros(shape, np.uint8)
    for label, *box in boxes:
        labels[tuple(slice(*ends) for ends in box)] = label
    return labels


MAIN, ISLAND, SPECK = (1, (0, 3), (2, 12), (2, 12)), (1, (4, 6), (20, 28), (20, 28)), (1, (5, 6), (2, 3), (30, 31))


def _learner():
    """A learner who sees what is bright, and accepts masks in which pixels have a probability of 0.9 on the mean."""
    learner = Learner(configure("quick", selector="mean-confidence", size=32, device="cpu", flip=0.0), 1, 1)
    learner.teacher = nn.Module()
    learner.teacher.forward = lambda images: torch.stack([-images[:, 0], images[:, 0]], 1)
    return learner


def _seen(*boxes):
    """Prepared slices in which boxes (brightness, z, y, x) are seen: a brightness of 2 is sure, of 0.3 in doubt."""
    images = np.full((6, 1, 32, 32), -4.0, np.float32)
    for bright, *box in boxes:
        images[(slice(*box[0]), 0, slice(*box[1]), slice(*box[2]))] = bright
    return torch.from_numpy(images)


def test_parts_are_found_by_structure():
    """The largest first, in their places; corners connect, and other labels do not."""
    labels = _case(MAIN, ISLAND, (2, (3, 4), (12, 14), (12, 14)))
    found = parts_of(labels)
    assert {label: [part.voxels for part in parts] for label, parts in found.items()} == {1: [300, 128], 2: [4]}
    again = np.zeros_like(labels)
    for part in (*found[1], *found[2]):
        again[part.box][part.inside] = part.label
    np.testing.assert_array_equal(again, labels)
    corner = _case((1, (0, 1), (0, 2), (0, 2)), (1, (1, 2), (2, 4), (2, 4)))
    assert len(parts_of(corner)[1]) == 1


def test_a_small_part_within_another_structure_is_no_background():
    """A core's second part in the edema stays, one with an edema of its own does not; nobody is asked about either."""
    edema = (1, (0, 4), (2, 20), (2, 20))
    labels = _case(edema, (2, (0, 4), (4, 10), (4, 10)), (2, (1, 3), (14, 18), (14, 18)))
    assert not strays(labels, {1, 2}, lambda part: False).any()
    assert not strays(labels, {2}, lambda part: False).any()
    island = _case((1, (5, 6), (24, 30), (24, 30)), (2, (5, 6), (26, 28), (26, 28)))
    np.testing.assert_array_equal(strays(np.maximum(labels, island), {1, 2}, lambda part: False), island > 0)


def test_three_cases_say_that_a_structure_comes_in_one_part():
    """Two do not, and one with a second part denies it; a speck does not count, nor does what nobody annotated."""
    one, two = _case(MAIN, SPECK, (2, (4, 5), (0, 2), (0, 2))), _case(MAIN, ISLAND)
    assert in_one_part(map(shown_in, [one, one])) == frozenset()
    assert in_one_part(map(shown_in, [one, one, one])) == {1, 2}
    assert in_one_part(map(shown_in, [one, one, one, two])) == {2}
    assert in_one_part(map(shown_in, [np.zeros_like(one)] * 3)) == frozenset()
    assert in_one_part(map(shown_in, [np.full_like(one, NOT_ANNOTATED)] * 3)) == frozenset()


def test_smaller_parts_stay_if_they_are_believed():
    """Specks never, the largest always, and what is said to come in several parts as it is."""
    labels = _case(MAIN, ISLAND, SPECK, (2, (4, 5), (0, 2), (0, 2)), (2, (4, 5), (8, 9), (0, 2)))
    asked = []

    def believed(part):
        asked.append(part.voxels)
        return False

    assert not strays(labels, (), believed).any() and not asked
    np.testing.assert_array_equal(strays(labels, {1}, believed), _case(ISLAND, SPECK) > 0)
    assert asked == [128]  # nobody is asked about a speck
    np.testing.assert_array_equal(strays(labels, {1}, lambda part: True), _case(SPECK) > 0)
    assert strays(labels, {1, 2}, believed)[4, 8, 0]


def test_noise_is_not_judged_part_by_part():
    """Of hundreds of parts the largest are asked about, and the voxels of each are counted once."""
    labels = np.zeros((20, 32, 32), np.uint8)
    labels[::2, ::2, ::2] = 1
    labels[0, 0, :12], labels[2, 0, :8] = 1, 1
    asked = []
    stray = strays(labels, {1}, lambda part: asked.append(part) or True)
    assert len(asked) == MOST and asked[0].voxels == 9
    assert (labels > 0).sum() - stray.sum() == 13 + 9 + MOST - 1
    assert "voxels" in vars(asked[0])


def test_a_part_is_seen_alone_and_what_went_stays_in_doubt():
    """Probabilities still sum to 1; what was background before is as it was."""
    sure = torch.tensor([0.1, 0.7, 0.2]).view(1, 3, 1, 1).expand(1, 3, 4, 4).clone()
    sure[0, :, 0] = torch.tensor([0.9, 0.05, 0.05])[:, None]
    look = Look(sure, sure.argmax(1).byte(), sure.argmax(1).byte())
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, 2:] = True
    only, doubted = alone(look, mask), in_doubt(look, mask)
    assert torch.equal(only.labels > 0, mask) and torch.equal(only.first > 0, mask)
    assert torch.equal(doubted.labels > 0, (look.labels > 0) & ~mask) and torch.equal(
        doubted.second > 0, doubted.labels > 0
    )
    for changed in (only, doubted):
        assert torch.allclose(changed.probabilities.sum(1), torch.ones(1, 4, 4))
    assert float(doubted.probabilities[0, 0, 3, 3]) == pytest.approx(0.51)
    assert torch.allclose(doubted.probabilities[0, :, 0], sure[0, :, 0])


@pytest.mark.parametrize(("island", "stays"), [(0.3, False), (2.0, True)])
def test_a_prediction_without_stray_parts(island, stays):
    """An island goes if the selector doubts it; its slices say so, with a lower score, others are the same."""
    images = _seen((2.0, *MAIN[1:]), (island, *ISLAND[1:]), (2.0, *SPECK[1:]))
    before, after = predict_slices(_learner(), images, FRAME), predict_slices(_learner(), images, FRAME, {1})
    np.testing.assert_array_equal(before.labels, _case(MAIN, ISLAND, SPECK))
    np.testing.assert_array_equal(after.labels, _case(MAIN, ISLAND) if stays else _case(MAIN))
    np.testing.assert_array_equal(after.left_out, [0, 0, 0, 0, 0, 1] if stays else [0, 0, 0, 0, 64, 65])
    assert not before.left_out.any()
    np.testing.assert_array_equal(after.scores[:4], before.scores[:4])
    assert stays or after.scores[4] < 0.6 < after.scores[3]  # nothing is there, but that is not sure


def test_slices_from_which_something_went_are_judged_anew():
    """Score, verdict and the scores of classes are those of what is left."""

    def by_size(images, look):
        size = (look.labels > 0).flatten(1).sum(1)
        return Selection(look.probabilities[:, 0], size / 100, size > 120, size[:, None] / 100)

    learner, images = _learner(), _seen((2.0, *MAIN[1:]), (2.0, (2, 3), (20, 28), (20, 28)))
    learner.select = by_size
    for single, area in (((), 164), ({1}, 100)):
        told = predict_slices(learner, images, FRAME, single)
        assert (told.labels[2] > 0).sum() == area and bool(told.accepted[2]) == (area > 120)
        assert told.scores[2] == told.class_scores[2, 0] == pytest.approx(area / 100)
        np.testing.assert_allclose(told.scores[[0, 1, 3]], [1, 1, 0])


def test_a_part_that_is_not_there_when_it_is_seen_small_is_not_believed():
    """A selector who accepts that there is nothing says no good word for it."""
    part = Part(1, (slice(4, 5), slice(20, 22), slice(20, 22)), np.ones((1, 2, 2), bool))
    learner, images = _learner(), _seen((2.0, *MAIN[1:]))
    assert learner.select(images, learner.look(images)).accepted[4]
    assert not predict._believed(learner, images, FRAME, part)


def test_proposals_of_a_case_come_once_more_without_stray_parts(monkeypatch):
    """Only slices from which something went; what hangs together with people's own labels is theirs."""
    images = _seen((2.0, *MAIN[1:]), (0.3, *ISLAND[1:]))
    monkeypatch.setattr(predict, "to_network", lambda *_: (images, FRAME))
    labels = np.full((6, 32, 32), NOT_ANNOTATED, np.uint8)
    told = [(mask.region.z, mask) for mask in propose_case(_learner(), "c", np.zeros(1), labels, [0, 1, 2, 4, 5], {1})]
    assert [z for z, _ in told] == [0, 1, 2, 4, 5, 4, 5]
    last = dict(told)
    np.testing.assert_array_equal([last[z].labels.any() for z in (0, 1, 2, 4, 5)], [True] * 3 + [False] * 2)
    assert last[4].score < 0.6
    labels[3] = _case((1, (3, 4), (24, 26), (24, 26)))[3]  # somebody drew on the slice before the island
    again = propose_case(_learner(), "c", np.zeros(1), labels, [0, 1, 2, 4, 5], {1})
    assert [mask.region.z for mask in again] == [0, 1, 2, 4, 5]
    labels[3] = _case((1, (3, 4), (30, 31), (2, 3)))[3]  # what they drew is small, and apart from all else
    again = propose_case(_learner(), "c", np.zeros(1), labels, [0, 1, 2, 4, 5], {1})
    assert [mask.region.z for mask in again] == [0, 1, 2, 4, 5, 4, 5]  # no mask for a slice that is done


def test_whoever_stops_waits_for_no_part(monkeypatch):
    """Judging parts takes most of the time where a model sees many: nobody is asked after it was stopped."""
    images = _seen(
        (2.0, *MAIN[1:]), (0.3, *ISLAND[1:]), (0.3, (4, 6), (20, 28), (2, 10)), (0.3, (0, 2), (20, 28), (2, 10))
    )
    monkeypatch.setattr(predict, "to_network", lambda *_: (images, FRAME))
    asked = []
    monkeypatch.setattr(predict, "_believed", lambda *given: asked.append(given) or True)
    labels = np.full((6, 32, 32), NOT_ANNOTATED, np.uint8)
    given = _learner(), "c", np.zeros(1), labels, range(6), {1}
    assert len(list(propose_case(*given, lambda: not asked))) == 6 and len(asked) == 1
    assert not list(propose_case(*given, lambda: False))


def test_a_discriminator_can_tell_once_it_is_proven():
    """Before that it accepts nothing, which says nothing of a part."""
    learner = Learner(configure("quick", size=32, device="cpu"), 1, 1)
    assert not can_tell(learner.selector) and can_tell(_learner().selector)
    learner.selector.record.copy_(Report(20, 9, 0.9, 0.75, 0.8).numbers)
    assert can_tell(learner.selector)


@pytest.fixture(scope="module")
def _template(tmp_path_factory):
    """Four cases, three of them labelled from end to end in one part each, and a run of two steps."""
    folder = tmp_path_factory.mktemp("parts")
    with small_project(folder, cases=4, labelled=3) as project:
        for case in "abc":
            labels = np.zeros(SHAPE, np.uint8)
            labels[1:3, 4:12, 4:12] = 1
            project.save_mask(case, labels, done=range(SHAPE[0]))
        config = configure(
            "quick", steps=2, size=32, batch=2, features=8, device="cpu", proposals=0, selector="mean-confidence"
        )
        for _ in training(project.path, project.new_run(config).id):
            pass
    return folder


@pytest.fixture
def trained(_template, tmp_path_factory):
    """A copy of it for each test: they change masks, cases and proposals."""
    folder = shutil.copytree(_template, tmp_path_factory.mktemp("copy"), dirs_exist_ok=True)
    with Project.open(folder / "project") as project:
        yield project


def test_a_case_that_is_labelled_in_part_says_nothing_of_parts(trained, tmp_path):
    """What holds them together may lie on slices that nobody has labelled yet."""
    trained.add_case("f", write_case(tmp_path)[0])
    labels = np.zeros(SHAPE, np.uint8)
    labels[1, 4:12, 4:12], labels[3, 20:30, 20:30] = 1, 1
    for done, single in (((1, 3), {1}), (range(SHAPE[0]), set())):
        trained.save_mask("f", labels, done=done)
        assert batch._in_one_part(trained, SimpleNamespace(learner=_learner())) == single


def test_the_project_s_labels_say_which_structures_come_in_one_part(trained, tmp_path, monkeypatch):
    """Unless the run's setting or somebody says otherwise; another word is refused."""
    heard, whole = [], predict.predict_slices

    def listening(learner, images, frame, single):
        heard.append(set(single))
        return whole(learner, images, frame, single)

    monkeypatch.setattr(predict, "predict_slices", listening)
    for index, parts in enumerate((None, "auto", "one", "all")):
        list(predict_cases(trained.path, None, tmp_path / str(index), parts=parts))
    assert heard == [{1}, {1}, {1}, set()]
    with pytest.raises(ConfigError, match="'some'; choose one of auto, one, all"):
        list(predict_cases(trained.path, None, tmp_path / "x", parts="some"))
    able, unable = (
        SimpleNamespace(learner=Learner(configure("quick", selector=name, size=32, device="cpu"), 1, 1))
        for name in ("mean-confidence", "discriminator")
    )
    assert batch._in_one_part(trained, able) == {1}
    assert batch._in_one_part(trained, unable) == ()  # a discriminator that cannot tell yet doubts everything
    assert list(batch._in_one_part(trained, unable, "one")) == [1]
    labels = trained.mask("c")
    labels[3, 20:30, 20:30] = 1
    trained.save_mask("c", labels, done=range(SHAPE[0]))
    assert batch._in_one_part(trained, able) == frozenset()


def test_the_paper_leaves_masks_as_they_come(trained):
    """Its discriminator tells whether a person drew a mask, not whether a part belongs there."""
    paper, else_alike = (
        SimpleNamespace(learner=Learner(configure("paper", size=32, features=8, device="cpu", **parts), 1, 1))
        for parts in ({}, {"parts": "auto"})
    )
    assert batch._in_one_part(trained, paper) == ()
    assert batch._in_one_part(trained, else_alike) == {1}


@pytest.mark.parametrize("times", [0, 1, 2])
def test_nothing_is_kept_of_a_case_that_is_stopped(trained, times):
    """Before it is read, before its first slices, and after some of them."""
    still = iter([True] * times)
    assert segment_case(trained, "d", 1, trained.volume, lambda: next(still, False)) == ""
    assert not trained.proposals(case="d")


def test_a_case_that_is_segmented_says_what_was_left_out(trained, monkeypatch):
    """The masks that come once more are those that are kept."""
    made = predict.propose_case

    def with_a_second_look(*given):
        first = list(made(*given[:5]))  # whatever else it leaves out is none of this test's business
        yield from first
        yield predict.replace(first[1], labels=np.zeros_like(first[1].labels), score=0.25)

    monkeypatch.setattr(predict, "propose_case", with_a_second_look)
    words = segment_case(trained, "d", 1, trained.volume, lambda: True)
    assert words.endswith("step 2. Smaller parts that it doubts were left out on 1 of them.")
    found = {item.z: item for item in trained.proposals(case="d")}
    assert sorted(found) == list(range(SHAPE[0])) and found[1].score == 0.25
    assert not trained.proposal_mask(found[1]).any()


def test_the_shell_says_how_many_voxels_were_left_out(trained, tmp_path):
    """A column of scores.csv, the last one."""
    from typer.testing import CliRunner

    result = CliRunner().invoke(app, ["predict", str(trained.path), "--out", str(tmp_path), "--parts", "one"])
    assert result.exit_code == 0, result.output
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert lines[0].endswith(",left_out") and all(line.split(",")[-1].isdigit() for line in lines[1:])
    assert read_mask(tmp_path / "d.nii.gz", trained.case("d").geometry).labels.shape == SHAPE


def test_parts_in_a_mask_are_counted_once(trained, monkeypatch):
    """Each case that is segmented asks for them. A mask that is saved anew is looked at; who stops waits for none."""
    counted, able = [], SimpleNamespace(learner=_learner())
    monkeypatch.setattr(
        "napari_segmatch.engine.parts.parts_of", lambda labels: counted.append(labels) or parts_of(labels)
    )
    batch._shown_in.cache_clear()
    batch._in_one_part(trained, able, wanted=lambda: len(counted) < 2)
    assert len(counted) == 2
    for _ in range(2):
        batch._in_one_part(trained, able)
    assert len(counted) == 3  # of three cases
    labels = trained.mask("b")
    labels[0, 0, 0] = 1 - labels[0, 0, 0]
    trained.save_mask("b", labels, done=range(SHAPE[0]))
    batch._in_one_part(trained, able)
    assert len(counted) == 4


def test_what_the_run_proposed_with_stray_parts_is_proposed_without(trained, tmp_path, monkeypatch):
    """Other slices keep the proposals that they have of this step, and whoever asks twice gets nothing anew."""
    whole, less = (np.zeros(SHAPE[1:], np.uint8) for _ in range(2))
    whole[4:12], less[4:8] = 1, 1
    trained.add_case("e", write_case(tmp_path / "e")[0])

    def told(z, labels):
        return PseudoMask(Region("e", z), labels, 0.5, "rejected")

    def proposing(learner, case, pixels, labels, slices, *_):
        yield from (told(z, whole) for z in slices)
        yield from (told(z, less) for z in slices if z in (1, 3))

    monkeypatch.setattr(predict, "propose_case", proposing)
    first = trained.add_proposals(trained.run(1), 2, 1, [told(1, whole), told(2, whole), told(3, less)])
    for _ in range(2):
        segment_case(trained, "e", 1, trained.volume, lambda: True)
        found = {item.z: item for item in trained.proposals(case="e")}
        assert found[1].id == trained.last_proposal() == first[-1] + 2
        assert [found[z].id for z in (0, 2, 3)] == [first[-1] + 1, *first[1:]]
        np.testing.assert_array_equal(trained.proposal_mask(found[1]), less)


def test_what_the_run_proposed_of_every_slice_is_looked_at_for_stray_parts(trained, monkeypatch):
    """Its own proposals may show some; where no structure comes in one part, the model has nothing else to say."""
    whole, less = (np.zeros(SHAPE[1:], np.uint8) for _ in range(2))
    whole[4:12], less[4:8] = 1, 1
    every, asked = list(range(SHAPE[0])), []

    def told(z, labels):
        return PseudoMask(Region("d", z), labels, 0.5, "rejected")

    def proposing(learner, case, pixels, labels, slices, *_):
        asked.append(list(slices))
        yield from (told(z, whole) for z in slices)
        yield from (told(z, less) for z in slices if z == 3)

    monkeypatch.setattr(predict, "propose_case", proposing)
    first = trained.add_proposals(trained.run(1), 2, 1, [told(z, whole) for z in every])
    for _ in range(2):
        segment_case(trained, "d", 1, trained.volume, lambda: True)
        assert [item.id for item in trained.proposals(case="d")] == [*first[:3], first[3] + 1]
    labels = trained.mask("c")
    labels[3, 20:30, 20:30] = 1
    trained.save_mask("c", labels, done=every)
    segment_case(trained, "d", 1, trained.volume, lambda: True)
    assert asked == [every, every, []]


def test_a_damaged_mask_keeps_nobody_from_segmenting_another_case(trained, tmp_path):
    """It says nothing of parts, and no more."""
    name = trained.store.row("SELECT object FROM mask_version WHERE case_id = 'a' ORDER BY id DESC")["object"]
    path = trained.objects.path(name)
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(data[:-1])
    assert not any(problem for _, problem, _ in predict_cases(trained.path, None, tmp_path))
    assert segment_case(trained, "d", 1, trained.volume, lambda: True).startswith(f"masks of {SHAPE[0]} slices")
