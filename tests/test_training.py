"""Runs: resume, live corrections, stop, pause, failure, checkpoints, prediction."""

import errno
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import SHAPE, small_project, write_case

from napari_segmatch.config import configure, parse_setting
from napari_segmatch.engine import duties, sweep
from napari_segmatch.engine.answers import Answers
from napari_segmatch.engine.checkpoint import best, checkpoints, load_newest
from napari_segmatch.engine.clock import Clock
from napari_segmatch.engine.data import ResidentPool
from napari_segmatch.engine.device import choose_device
from napari_segmatch.engine.duties import is_examined_at
from napari_segmatch.engine.examination import Examination
from napari_segmatch.engine.learner import Learner
from napari_segmatch.engine.losses import hard
from napari_segmatch.engine.networks import LEAKY, build
from napari_segmatch.engine.predict import predict_volume, restored
from napari_segmatch.engine.prepare import Frame, normalise, to_network
from napari_segmatch.engine.selectors import Look
from napari_segmatch.engine.trainer import train
from napari_segmatch.engine.turns import Turns
from napari_segmatch.errors import ConfigError, TrainingProblem
from napari_segmatch.events import (
    Checkpointed,
    Evaluated,
    Examined,
    Failed,
    Finished,
    Noted,
    Paused,
    PoolChanged,
    Proposed,
    PseudoMask,
    Started,
    Step,
    Stopped,
)
from napari_segmatch.project import Project
from napari_segmatch.project.pool import ProjectPool
from napari_segmatch.runner import Background, training
from napari_segmatch.types import PoolSnapshot, Region


@pytest.fixture
def project(tmp_path):
    with small_project(tmp_path, cases=5, validation=1) as opened:
        yield opened


def _config(**changes):
    small = {"size": 32, "batch": 2, "features": 8, "steps": 8, "propose_every": 4, "proposals": 3, "device": "cpu",
             "checkpoint_every": 4, "evaluate_every": 4}  # fmt: skip
    return configure(**(small | changes))


def _kinds(events):
    return [type(event) for event in events]


def _weights(folder):
    tensors = load_newest(folder).learner.tensors()
    return torch.cat([tensors[name].flatten().float() for name in sorted(tensors)])


def test_run_says_what_happens(project, tmp_path):
    """Started, a Step for each step, proposals, validation, checkpoints, finished."""
    events = list(train(ProjectPool(project), _config(), tmp_path / "run"))
    kinds = _kinds(events)
    assert kinds[0] is Started
    assert kinds[-1] is Finished
    assert [event.step for event in events if isinstance(event, Step)] == list(range(1, 9))
    assert {Proposed, Evaluated, Checkpointed} <= set(kinds)
    assert next(event for event in events if isinstance(event, Evaluated)).cases.keys() == {"e"}


def test_no_slice_is_proposed_twice_at_once(project, tmp_path):
    """Those that people watch are among the others, too, where all are wanted."""
    events = train(ProjectPool(project), _config(proposals=100, steps=4), tmp_path / "run")
    (proposed,) = (event for event in events if isinstance(event, Proposed))
    regions = [mask.region for mask in proposed.masks]
    assert len(set(regions)) == len(regions) == 8


def test_validation_cases_never_train(project):
    """No slice of a frozen patient is in the pool's tensors."""
    pool = ResidentPool(ProjectPool(project), 32, torch.device("cpu"))
    pool.update()
    assert {region.case for region in pool.regions} == {"a", "b", "c", "d"}


@pytest.mark.parametrize("evaluate_every", [1, 1000])
def test_validation_cases_examine_the_discriminator(project, tmp_path, monkeypatch, evaluate_every):
    """Every examination of a run, also before Dice was measured on them."""
    held = []
    monkeypatch.setattr(Examination, "of_teacher", lambda _, given: held.append(given) or Answers(1, 0))
    monkeypatch.setattr(duties, "is_examined_at", lambda step: step == 2)
    list(train(ProjectPool(project), _config(steps=4, evaluate_every=evaluate_every), tmp_path / "run"))
    assert [given.patients for given in held] == [1, 1]
    assert sorted(given.labels.flatten(1).any(1).sum().item() for given in held) == [3, 3]


@pytest.mark.parametrize("parts", ["auto", "one"])
def test_resumed_run_equals_an_uninterrupted_one(project, tmp_path, monkeypatch, parts):
    """Stopped in the middle and resumed: weights, teacher, discriminator and optimisers are equal to the bit.

    So are the stray parts that were found, here all that is seen, and what is said of each step.
    """
    if parts == "one":
        monkeypatch.setattr(sweep, "can_tell", lambda _: True)
        monkeypatch.setattr(sweep, "strays", lambda labels, *_: labels > 0)
        monkeypatch.setattr(sweep, "SHARE", 0.5)  # one case is seen before the stop, another after it
    pool, config = ProjectPool(project), _config(steps=9, warmup=0.0 if parts == "one" else 0.2, parts=parts)
    whole = list(train(pool, config, tmp_path / "whole"))
    stopped = train(pool, config, tmp_path / "parts")
    for event in stopped:
        if isinstance(event, Step) and event.step == 5:
            break
    stopped.close()
    rest = list(train(pool, config, tmp_path / "parts", resume=True))
    steps, others = ([replace(event, seconds_left=0.0) for event in events if isinstance(event, Step)]
                     for events in (whole, rest))  # fmt: skip
    assert steps[5:] == others
    assert torch.equal(_weights(tmp_path / "whole"), _weights(tmp_path / "parts"))
    strays, again = (load_newest(tmp_path / name).memory["sweep"] for name in ("whole", "parts"))
    assert strays == again and any(found for _, found in strays["found"].values()) == (parts == "one")


def test_a_checkpoint_that_knows_fewer_classes_is_refused(project, tmp_path):
    list(train(ProjectPool(project), _config(steps=2), tmp_path / "run"))
    project.set_classes(["tumour", "edema"])
    with pytest.raises(TrainingProblem, match="learnt lesion; the project has tumour, edema now: start a new run"):
        list(train(ProjectPool(project), _config(steps=4), tmp_path / "run", resume=True))


@pytest.mark.parametrize("at", [4, 9])
def test_what_was_due_when_a_run_was_stopped_is_made_up_for(project, tmp_path, monkeypatch, at):
    """Validation, examination and proposals of the step that it was stopped on, be it the last one; and no more."""
    monkeypatch.setattr(duties, "EXAMINE_EVERY", 8)
    pool, config, due = ProjectPool(project), _config(steps=9, warmup=0.0), (Evaluated, Examined, Proposed)
    whole = [event for event in train(pool, config, tmp_path / "whole") if isinstance(event, due)]
    told, ends = [], [(Step, at), (Proposed, at), (Finished, 9)]
    for kind, step in ends:
        events = train(pool, config, tmp_path / "parts", resume=True)
        for event in events:
            told += [event] if isinstance(event, due) else []
            if isinstance(event, kind) and event.step == step:
                break
        events.close()
    assert [(type(event), event.step) for event in told] == [(type(event), event.step) for event in whole]
    assert torch.equal(_weights(tmp_path / "whole"), _weights(tmp_path / "parts"))
    assert best(tmp_path / "whole").name == best(tmp_path / "parts").name


def test_resumed_run_still_draws_corrections_first(project, tmp_path):
    """A line of corrections that is longer than the run is cut off at: what waits in it, waits after the resume too."""
    twin = shutil.copytree(project.path, tmp_path / "twin")
    weights = []
    for path, interrupted in ((project.path, False), (twin, True)):
        folder, resume = path / "run", False
        with Project.open(path) as opened:
            for stop in (4, None) if interrupted else (None,):
                events = train(ProjectPool(opened), _config(steps=9, checkpoint_every=1000), folder, resume=resume)
                for event in events:
                    if isinstance(event, Step) and event.step == 2 and not resume:
                        for case in ("c", "d"):
                            slices = {z: np.full(SHAPE[1:], z % 2, np.uint8) for z in range(4)}
                            opened.save_slices(case, slices, done=range(4))
                    if isinstance(event, Step) and event.step == stop:
                        break
                events.close()
                resume = True
        weights.append(_weights(folder))
    assert torch.equal(*weights)


def test_what_was_drawn_while_a_run_stood_still_comes_first(project):
    """Before what waited in line when it stopped; a case that has gone since is left out of the line."""
    pool = ResidentPool(ProjectPool(project), 32, torch.device("cpu"))
    pool.update()
    memory = pool.memory()
    assert memory["fresh"] == []
    memory["fresh"] = [["b", 2], ["gone", 1], ["a", 3]]
    redrawn = project.mask("b")[3] != 1
    for case, z, labels in (("c", 1, np.ones(SHAPE[1:])), ("b", 3, redrawn), ("a", 1, project.mask("a")[1])):
        project.save_slices(case, {z: labels.astype(np.uint8)}, done=[z])
    for older, first in (((), [["b", 3], ["c", 1]]), (("drawn",), [["c", 1]])):
        again = ResidentPool(ProjectPool(project), 32, torch.device("cpu"))
        again.update()
        again.recall({key: value for key, value in json.loads(json.dumps(memory)).items() if key not in older})
        assert again.memory()["fresh"] == [*first, ["b", 2], ["a", 3]]


def test_closing_the_generator_writes_a_checkpoint(project, tmp_path):
    """That is how a run is stopped."""
    events = train(ProjectPool(project), _config(checkpoint_every=1000, steps=1000), tmp_path / "run")
    while not isinstance(next(events), Step):
        pass
    events.close()
    assert load_newest(tmp_path / "run").learner.step == 1


def test_damaged_checkpoint_falls_back_to_the_one_before(project, tmp_path):
    """A flipped bit is found by the hash; the loss is told."""
    list(train(ProjectPool(project), _config(), tmp_path / "run"))
    newest = checkpoints(tmp_path / "run")[-1] / "tensors.safetensors"
    data = bytearray(newest.read_bytes())
    data[-7] ^= 1
    newest.write_bytes(data)
    loaded = load_newest(tmp_path / "run")
    assert (loaded.learner.step, loaded.skipped) == (4, ("00000008",))
    events = list(train(ProjectPool(project), _config(), tmp_path / "run", resume=True))
    assert any(isinstance(event, Noted) and "damaged" in event.message for event in events)


def test_no_whole_checkpoint_is_a_sentence(tmp_path):
    """Nothing to resume from."""
    with pytest.raises(TrainingProblem, match="no checkpoint"):
        load_newest(tmp_path)


def test_trainer_takes_up_a_correction_within_one_step(project, tmp_path):
    """A mask saved between two steps is in the very next labelled batch, and an event says so first."""
    events = train(ProjectPool(project), _config(steps=50), tmp_path / "run")
    for event in events:
        if isinstance(event, Step) and event.step == 3:
            break
    project.save_mask("c", np.zeros(SHAPE, np.uint8), done=[1])
    following = [next(events), next(events)]
    assert isinstance(following[0], PoolChanged)
    assert following[0].added == [["c", 1]]
    assert isinstance(following[1], Step)
    assert following[1].pool_version == following[0].pool_version == ProjectPool(project).version()
    events.close()


def test_what_a_person_has_just_labelled_is_drawn_first(project):
    """The fresh slice's row is in the next labelled batch whatever chance says."""
    pool = ResidentPool(ProjectPool(project), 32, torch.device("cpu"))
    pool.update()
    project.save_mask("c", np.zeros(SHAPE, np.uint8), done=[1])
    pool.update()
    row = pool.row(Region("c", 1))
    assert row in pool.sample_labelled(2, 0.5, torch.Generator().manual_seed(0)).tolist()
    assert row in pool.labelled.tolist()
    assert row not in pool.unlabelled.tolist()


def test_decisions_reach_the_discriminator(project, tmp_path):
    """A rejected proposal becomes a lesson with target 0, an accepted one with target 1; so does what spoke for it."""
    run = project.new_run(_config())
    list(training(project.path, run.id))
    items = project.proposals()
    project.decide(items[0], "rejected")
    project.decide(items[1], "accepted")
    pool = ResidentPool(ProjectPool(project), 32, torch.device("cpu"))
    pool.update()
    assert pool.lessons.targets.tolist() == [0.0, 1.0]
    masks = pool.lessons.drawn(torch.tensor([1, 0, 1]))
    assert (masks.shape, masks.dtype) == ((3, 32, 32), torch.bool)
    assert masks.flatten(1).any(1).tolist() == [bool(project.proposal_mask(items[i]).any()) for i in (1, 0, 1)]
    assert pool.lessons.rows.tolist() == [pool.row(items[0].region), pool.row(items[1].region)]
    shown = [bool(project.proposal_mask(item).any()) for item in items[:2]]
    assert any(shown)
    assert torch.isfinite(pool.lessons.margins)[:, 0].tolist() == shown
    assert torch.isfinite(pool.lessons.said(0.0).evidence).all()
    events = train(ProjectPool(project), _config(), tmp_path / "again")
    assert [event.words for event in events if isinstance(event, Examined)][-1] == pool.lessons.words == sum(shown)


@pytest.mark.parametrize(
    ("border", "shift", "target", "good"),
    [(8, 0, 1.0, [True, True]), (11, 0, 1.0, [False, True]), (8, 9, 0.0, [False, False])],
)
def test_a_correction_says_how_good_the_proposal_was(tmp_path, border, shift, target, good):
    """A border between two classes that is off spoils the smaller one, and not what they are together."""
    proposed, corrected = np.zeros((2, *SHAPE[1:]), np.uint8)
    proposed[4:12, 4:8], proposed[4:12, 8:24] = 1, 2
    corrected[4:12, 4 + shift : border + shift], corrected[4:12, border + shift : 24 + shift] = 1, 2
    with small_project(tmp_path, classes=("front", "back")) as project:
        run = project.new_run(_config())
        project.add_proposals(run, 1, 1, [PseudoMask(Region("c", 1), proposed, 0.9, "accepted", margins=(0.1, -0.1))])
        project.decide(project.proposals()[0], "corrected", corrected)
        pool = ResidentPool(ProjectPool(project), 40, torch.device("cpu"))
        pool.update()
    assert pool.lessons.targets.tolist() == [target]
    assert pool.lessons.good.tolist() == [good]
    assert pool.lessons.said(0.0).evidence.tolist() == pytest.approx([0.1, -0.1])


def test_slices_without_a_label_are_not_scaled_and_nothing_is_lost():
    """Three classes, chances that are nearly even: the same labels as if every slice had been scaled."""
    frame = Frame(50, 43, 3, 47, 1, 40, 32)
    chances = (torch.randn(12, 4, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.1).softmax(1)
    chances[::3, 0] += 1
    chances /= chances.sum(1, keepdim=True)
    look = Look(chances, hard(chances), hard(chances))
    assert look.shown.tolist() == [index % 3 > 0 for index in range(12)]
    assert torch.equal(restored(look, frame), frame.restore(chances))


def _judged(project, words, margins=(0.1,)):
    """Propose a square on some slices, and say a word on each; returns what the trainer makes of all words so far."""
    mask = np.zeros(SHAPE[1:], np.uint8)
    mask[4:12, 4:24] = 1
    masks = [PseudoMask(Region(case, z), mask, 0.9, "accepted", margins=margins) for case, z in words]
    ids = project.add_proposals(project.new_run(_config()), 1, 1, masks)
    for id, word in zip(ids, words.values(), strict=True):
        word(project, project.proposal(id))
    return _lessons(project)


def _lessons(project):
    pool = ResidentPool(ProjectPool(project), 40, torch.device("cpu"))
    pool.update()
    return pool.lessons


@pytest.mark.parametrize("leaves", [lambda project: project.remove_case("c"), lambda project: _hold_out(project, "c")])
def test_a_case_that_leaves_the_training_takes_its_lessons_along(project, leaves):
    """Nobody who was removed, and no patient who is held out, teaches the discriminator; the others go on to."""
    assert len(_judged(project, {("c", 1): _rejected, ("d", 1): _rejected}).rows) == 2
    pool = ResidentPool(ProjectPool(project), 32, torch.device("cpu"))
    pool.update()
    leaves(project)
    pool.update()
    assert [pool.regions[row].case for row in pool.lessons.rows] == ["d"]


def _hold_out(project, case):
    """Add another study of a case's patient, for validation."""
    images, mask = write_case(project.path / "more", 9)
    project.add_case("f", images, mask, "all", patient=case, validation=True)


def _rejected(project, item, **more):
    project.decide(item, "rejected", **more)


def test_a_case_counts_for_two_masks_however_many_are_judged(project):
    """Its slices resemble each other; those on which nothing was noted take no part of that."""
    words = {("c", z): _rejected for z in range(4)} | {("d", 1): _rejected}
    assert _judged(project, words).said(0.0).weights.tolist() == [0.5] * 4 + [1.0]
    more = _judged(project, {("d", z): _rejected for z in (0, 2, 3)}, margins=())
    assert more.said(0.0).weights.tolist() == [0.5] * 4 + [1.0]


def test_a_class_counts_for_two_masks_in_a_case_and_another_class_for_itself(tmp_path):
    """A class that is shown once keeps its full weight beside one that is shown four times."""
    mask = np.ones(SHAPE[1:], np.uint8)
    with small_project(tmp_path, classes=("front", "back")) as project:
        noted = {0: (0.1, None), 1: (0.1, None), 2: (0.1, 0.2), 3: (0.1, None)}
        masks = [PseudoMask(Region("c", z), mask, 0.9, "accepted", margins=margins) for z, margins in noted.items()]
        for id in project.add_proposals(project.new_run(_config()), 1, 1, masks):
            project.decide(id, "accepted")
        assert sorted(_lessons(project).said(0.0).weights.tolist()) == [0.5] * 4 + [1.0]


def test_decisions_count_that_were_made_before_a_class_was_added(project):
    _judged(project, {("c", z): _rejected for z in (1, 2)})
    project.set_classes(["lesion", "edema"])
    lessons = _judged(project, {("d", 1): _rejected}, margins=(None, 0.25))
    assert sorted(lessons.said(0.0).evidence.tolist()) == pytest.approx([0.1, 0.1, 0.25])


def test_what_is_put_off_says_nothing_and_a_later_label_is_taken_up(project):
    """Nor is a proposal blamed for pixels that nobody judged."""
    lessons = _judged(project, {("c", 1): lambda project, item: project.decide(item, "deferred")})
    assert lessons is None
    pool = ResidentPool(ProjectPool(project), 40, torch.device("cpu"))
    pool.update()
    labels = project.proposal_mask(project.proposals()[0])
    labels[:8] = 255
    for drawn, good in ((np.zeros_like(labels), False), (labels, True)):
        project.save_slices("c", {1: drawn}, done=[1])
        pool.update()
        assert pool.lessons.said(0.0).good.tolist() == [good]


def test_words_that_say_nothing_of_the_mask_itself_move_no_chance(project):
    """A slice that is taken up again is open; a bad scan may have a good mask; many at once were hardly looked at."""

    def reopened(project, item):
        project.decide(item, "accepted")
        project.save_slices(item.case, {item.z: project.mask(item.case)[item.z]}, reopen=[item.z])

    lessons = _judged(project, {("c", 1): reopened, ("c", 2): lambda *word: _rejected(*word, reason="bad scan")})
    assert not len(lessons.said(0.0).good)
    _judged(project, {("d", 1): lambda *_: None, ("d", 2): lambda *_: None})
    project.decide_all([item for item in project.proposals() if item.case == "d"], "accepted")
    assert len(_lessons(project).rows) == 3
    assert not len(_lessons(project).said(0.0).good)


def test_a_rejection_does_not_say_which_of_two_classes_was_wrong(tmp_path):
    """It moves the chances only where a single one is shown."""
    mask = np.ones(SHAPE[1:], np.uint8)
    with small_project(tmp_path, classes=("front", "back")) as project:
        masks = [
            PseudoMask(Region("c", z), mask, 0.9, "accepted", margins=margins)
            for z, margins in ((1, (0.1, 0.2)), (2, (None, 0.3)))
        ]
        project.add_proposals(project.new_run(_config()), 1, 1, masks)
        for item in project.proposals():
            project.decide(item, "rejected")
        assert _lessons(project).said(0.0).evidence.tolist() == pytest.approx([0.3])


def test_a_rejected_mask_that_proves_good_is_good(project):
    """Whoever rejects it and draws the same: the label says what it was, not the key."""

    def redrawn(project, item):
        project.decide(item, "rejected")
        project.save_slices(item.case, {item.z: project.proposal_mask(item)}, done=[item.z])

    lessons = _judged(project, {("c", 1): redrawn, ("d", 1): _rejected})
    assert lessons.said(0.0).good.tolist() == [True, False]


def test_without_labels_training_is_refused(tmp_path):
    """One sentence that says what to do."""
    with small_project(tmp_path, labelled=0) as project:
        run = project.new_run(_config())
        events = list(training(project.path, run.id))
        assert _kinds(events) == [Failed]
        assert "mark at least one slice as done" in events[0].message
        assert project.run_state(run.id) == "failed"


def test_unreadable_case_is_left_out_and_told(project, tmp_path):
    """A file that went missing does not stop the run."""
    project.image_paths("d")["flair"].unlink()
    events = list(train(ProjectPool(project), _config(), tmp_path / "run"))
    assert any(isinstance(event, Noted) and "Case d is left out" in event.message for event in events)
    assert isinstance(events[-1], Finished)


def _damage(project, case):
    row = project.store.row("SELECT object FROM mask_version WHERE case_id = ? ORDER BY id DESC", case)
    path = project.objects.path(row["object"])
    path.chmod(0o600)
    whole = path.read_bytes()
    path.write_bytes(b"damaged")
    return lambda: path.write_bytes(whole)


def test_a_damaged_mask_is_left_out_and_told(project, tmp_path):
    """As a damaged image is. Labels that are saved anew, after a repair, are taken up again."""
    mend = _damage(project, "a")
    events = []
    for event in train(ProjectPool(project), _config(), tmp_path / "run"):
        events.append(event)
        if isinstance(event, Step) and event.step == 3:
            mend()
            project.save_mask("a", np.zeros(SHAPE, np.uint8), done=[1])
    notes = [event.message for event in events if isinstance(event, Noted)]
    assert sum("The labels of case a are left out" in note and "doctor --repair" in note for note in notes) == 1
    assert next(event for event in events if isinstance(event, Started)).labelled == 4
    assert [event.labelled for event in events if isinstance(event, PoolChanged)] == [8]
    assert isinstance(events[-1], Finished)


def test_a_mask_that_is_damaged_while_a_run_trains_leaves_it_what_it_had(project):
    """The only labels: the run goes on with them, and says so. A run that begins has nothing to begin with."""
    pool = ResidentPool(ProjectPool(project), 32, torch.device("cpu"))
    project.remove_case("b")
    pool.update()
    before = pool.labels_of(pool.labelled)
    project.save_mask("a", np.zeros(SHAPE, np.uint8), done=[1])
    _damage(project, "a")
    change = pool.update()
    assert ["labels of case a" in change.problems[0], "goes on" in change.problems[1]] == [True, True]
    assert torch.equal(pool.labels_of(pool.labelled), before) and pool.patients_labelled == 1
    with pytest.raises(TrainingProblem, match=r"No labelled case can be read.*case a.*doctor --repair"):
        ResidentPool(ProjectPool(project), 32, torch.device("cpu")).update()


def test_a_labelled_case_that_is_removed_while_a_run_trains_leaves_it(project, tmp_path):
    """And comes back with its labels when it is restored."""
    events = []
    for event in train(ProjectPool(project), _config(), tmp_path / "run"):
        events.append(event)
        if isinstance(event, Step) and event.step == 3:
            project.remove_case("a")
        if isinstance(event, Step) and event.step == 5:
            project.restore_case("a")
    assert [event.labelled for event in events if isinstance(event, PoolChanged)] == [4, 8]
    assert not [event.message for event in events if isinstance(event, Noted) and "case a" in event.message]
    assert isinstance(events[-1], Finished)


def test_not_a_number_ends_in_a_sentence(project):
    """A loss that explodes stops the run, names the step, and spoils no checkpoint."""
    run = project.new_run(_config(network="tests_networks:explosive"))
    events = list(training(project.path, run.id))
    assert isinstance(events[-1], Failed)
    assert "not a number" in events[-1].message
    assert project.run_state(run.id) == "failed"
    assert not checkpoints(run.checkpoints) or load_newest(run.checkpoints)


def test_internal_error_ends_in_a_sentence_with_a_log(project):
    """Whatever a foreign network raises, the run fails with a word and the traceback is in its folder."""
    run = project.new_run(_config(network="tests_networks:broken"))
    events = list(training(project.path, run.id))
    assert isinstance(events[-1], Failed)
    assert "broken on purpose" in events[-1].message
    assert "Traceback" in (run.folder / "log.txt").read_text()


def test_runner_records_events_and_proposals(project):
    """The run's folder tells the same story as the generator, and proposals are in the store."""
    run = project.new_run(_config())
    told = _kinds(training(project.path, run.id))
    written = [type(event) for event, _ in run.events()]
    assert [kind for kind in told if kind is not Step] == [kind for kind in written if kind is not Step]
    assert project.run_state(run.id) == "finished"
    assert project.proposals()
    mask = project.proposal_mask(project.proposals()[0])
    assert mask.shape == SHAPE[1:]


def test_steps_are_recorded_however_often_other_events_come(project):
    """Proposals at every step must not keep the steps of a fast machine out of the event file."""
    run = project.new_run(_config(steps=10_000, propose_every=1, proposals=1, minutes=0.1))
    taken = sum(isinstance(event, Step) for event in training(project.path, run.id))
    written = sum(isinstance(event, Step) for event, _ in run.events())
    assert written >= min(taken, 5)


def test_stop_is_a_wish_in_the_folder(project):
    """Anyone may write it; the run checkpoints and ends."""
    run = project.new_run(_config(steps=10_000))
    events = training(project.path, run.id)
    told = []
    for event in events:
        told.append(event)
        if isinstance(event, Step) and event.step == 3:
            run.ask("stop")
    assert isinstance(told[-1], Stopped)
    assert project.run_state(run.id) == "stopped"
    assert load_newest(run.checkpoints).learner.step == 3


def test_pause_waits_and_goes_on(project):
    """While paused no step is taken; time spent paused is not training time."""
    run = project.new_run(_config(steps=6))
    told = []
    for event in training(project.path, run.id):
        told.append(event)
        if isinstance(event, Step) and event.step == 2:
            run.ask("pause")
        if isinstance(event, Paused):
            assert project.run_state(run.id) == "paused"
            run.ask("run")
    assert Paused in _kinds(told)
    assert isinstance(told[-1], Finished)


def test_a_run_that_has_finished_is_not_paused(project):
    """Whoever asks for it a moment too late would keep a run for ever that has nothing left to do."""
    run = project.new_run(_config(steps=2))
    told = []
    for event in training(project.path, run.id):
        told.append(event)
        if isinstance(event, Finished):
            run.ask("pause")
        if isinstance(event, Paused):
            run.ask("run")
    assert isinstance(told[-1], Finished) and project.run_state(run.id) == "finished"


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_background_run_stops_on_a_wish(project, mode):
    """In a thread or a process of its own, started, stopped and joined the same way."""
    run = project.new_run(_config(steps=100_000))
    background = Background(project.path, run.id, mode=mode)
    for _ in range(600):
        if any(isinstance(event, Step) for event, _ in run.events()):
            break
        background.join(0.1)
    run.ask("stop")
    assert background.join(60)  # with six busy processes on two cores 20 s were not always enough
    assert project.run_state(run.id) == "stopped"
    assert checkpoints(run.checkpoints)


def test_two_trainers_cannot_share_a_run(project):
    """The run's lock is held while it trains."""
    run = project.new_run(_config(steps=100))
    first = training(project.path, run.id)
    next(first)
    assert run.is_live()
    with pytest.raises(Exception, match="in use"):
        next(training(project.path, run.id))
    first.close()
    assert not run.is_live()


def test_who_may_only_read_a_project_hears_whether_a_run_trains(project, monkeypatch):
    """The lock could not be opened for writing, and each run that a kill had ended seemed to go on for ever."""
    run, really = project.new_run(_config(steps=100)), os.open

    def refuse(path, flags, *rest, **more):
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied")
        return really(path, flags, *rest, **more)

    def seen_by_a_reader():
        with monkeypatch.context() as other:
            other.setattr(os, "open", refuse)
            other.setattr(os, "access", lambda path, mode: mode != os.W_OK)
            return project.run_state(run.id)

    trainer = training(project.path, run.id)
    next(trainer)
    assert seen_by_a_reader() == "running"
    trainer.close()
    project.set_run_state(run.id, "running")  # as a kill leaves it
    assert seen_by_a_reader() == "interrupted"


def test_torn_event_line_is_waited_for(project):
    """A line that is half written is read when it is whole."""
    run = project.new_run(_config())
    run.record(Finished(3))
    with (run.folder / "events.jsonl").open("a") as file:
        file.write('{"kind": "fini')
    events = list(run.events())
    assert [event for event, _ in events] == [Finished(3)]
    with (run.folder / "events.jsonl").open("a") as file:
        file.write('shed", "step": 4}\nnonsense\n')
    assert [event for event, _ in run.events(events[-1][1])] == [Finished(4)]


def test_minutes_end_a_run(project, tmp_path):
    """A run by the clock ends by the clock."""
    events = list(train(ProjectPool(project), _config(minutes=0.02), tmp_path / "run"))
    assert isinstance(events[-1], Finished)
    assert load_newest(tmp_path / "run").learner.elapsed >= 1.2


def test_prediction_has_the_case_s_own_shape(project, tmp_path):
    """Labels come back on the source's grid; every slice has a score and a verdict."""
    list(train(ProjectPool(project), _config(steps=2), tmp_path / "run"))
    learner = load_newest(tmp_path / "run", optimisers=False).learner
    prediction = predict_volume(learner, project.volume("c").pixels)
    assert prediction.labels.shape == SHAPE
    assert prediction.labels.dtype == np.uint8
    assert prediction.scores.shape == prediction.accepted.shape == (SHAPE[0],)


@pytest.mark.parametrize("shape", [(3, 50, 20), (2, 20, 50), (1, 7, 9), (2, 200, 200)])
def test_scaling_there_and_back_keeps_the_place(shape):
    """A disc brought to the network's size and back covers what it covered."""
    image = np.zeros((1, *shape), np.float32)
    y, x = shape[1] // 2, shape[2] // 2
    image[:, :, y - shape[1] // 4 : y + shape[1] // 4, x - shape[2] // 4 : x + shape[2] // 4] = 1
    slices, frame = to_network(image, 64)
    assert slices.shape == (shape[0], 1, 64, 64)
    middle = (slices.min() + slices.max()) / 2
    back = frame.restore(torch.cat([(slices < middle).float(), (slices >= middle).float()], 1)).numpy()
    truth = image[0] > 0.5
    overlap = 2 * (back & truth).sum() / max(1, back.sum() + truth.sum())
    assert overlap > 0.8


def test_unknown_pixels_survive_the_labels_path():
    """Shrinking labels keeps 255 apart from classes and invents no label."""
    _, frame = to_network(np.random.default_rng(0).random((1, 2, 64, 64)).astype(np.float32), 32)
    labels = np.zeros((2, 64, 64), np.uint8)
    labels[:, :20], labels[:, 40:] = 2, 255
    small = frame.shrink_labels(torch.from_numpy(labels), 2)
    assert set(small.unique().tolist()) == {0, 2, 255}


def test_tiny_structure_does_not_become_no_lesion():
    """A lesion of 3 x 3 pixels in 512 keeps a pixel at a size of 128, on its place."""
    _, frame = to_network(np.random.default_rng(0).random((1, 2, 512, 512)).astype(np.float32), 128)
    labels = np.zeros((2, 512, 512), np.uint8)
    labels[0, 201:204, 401:404] = 1
    small = frame.shrink_labels(torch.from_numpy(labels), 1)
    assert small[0].nonzero().tolist() == [[50, 100]]
    assert not small[1].any()


def test_missing_sequence_is_padded_with_its_own_black():
    """A channel of zeros stays flat: no box shows where the image ends."""
    pixels = np.zeros((2, 2, 60, 30), np.float32)
    pixels[0, :, 10:50, 5:25] = 100
    slices, _ = to_network(pixels, 64)
    assert slices[:, 1].std() == 0


@pytest.mark.parametrize("pixels", [np.zeros((1, 2, 8, 8)), np.full((1, 2, 8, 8), 7.0), np.eye(8)[None, None] * 1e9])
def test_odd_intensities_normalise_to_finite_numbers(pixels):
    """Constant images and one hot voxel of 1e9."""
    assert np.isfinite(normalise(pixels.astype(np.float32))).all()


@pytest.mark.parametrize("name", ["unet", "basic-unet", "segresnet", "tests_networks:tiny"])
def test_networks_by_name_and_by_path(name):
    """Each gives logits of the image's size."""
    network = build(name, 2, 3, 8)
    assert network(torch.zeros(2, 2, 32, 32)).shape == (2, 3, 32, 32)


def test_a_setting_that_may_be_empty_is_emptied_from_the_shell():
    assert parse_setting("tau=") == ("tau", None)
    assert parse_setting("neighbours=2") == ("neighbours", 2)
    assert parse_setting("neighbours=") == ("neighbours", None)
    with pytest.raises(ConfigError, match="batch is of type int"):
        parse_setting("batch=")


def test_the_unet_is_monais_own():
    """Its norms are written otherwise, which a CPU computes sooner; weights and answers are those of MONAI's."""
    from monai.networks.nets import UNet

    ours = build("unet", 1, 2, 8)
    theirs = UNet(2, 1, 2, [8, 16, 32, 64, 128], [2] * 4, num_res_units=2, norm="instance", act=LEAKY)
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(3, 1, 64, 64)
    assert torch.allclose(ours(images), theirs(images), atol=1e-5)
    assert ours.to("meta")(images.to("meta")).shape == (
        3,
        2,
        64,
        64,
    )  # elsewhere than on a CPU the norms are MONAI's too


def test_the_discriminator_is_examined_more_often_while_a_run_is_young():
    """The first proposals come at step 100: a person's word on them counts only if there was an examination before."""
    assert [step for step in range(1, 1300) if is_examined_at(step)] == [100, 200, 300, 400, 500, 600, 800, 1000, 1200]


@pytest.mark.parametrize("name", ["nonsense", "nonsense:x", "tests_networks:missing"])
def test_unknown_network_is_a_sentence(name):
    """What came and what is allowed."""
    with pytest.raises(ConfigError):
        build(name, 1, 2, 8)


def test_unknown_device_is_a_sentence():
    """A device that is not there, and one that does not exist."""
    for name in ("cuda:99", "abacus"):
        with pytest.raises(ConfigError, match="not available") as said:
            choose_device(name)
        choice = str(said.value).partition("choose ")[2]
        assert choice.startswith("auto or cpu") and ("cuda" in choice) == torch.cuda.is_available()


@pytest.mark.parametrize("does", ["conv2d", "grid_sample"])
def test_a_gpu_that_cannot_compute_is_left_out(monkeypatch, does):
    """One that is too old for this PyTorch is there and does nothing; Apple's make views with new versions of it alone.

    With auto the CPU trains, and whoever asks for the device is told why not.
    """

    def fails(*given, **how):
        raise error

    error = RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    whole = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *shape, **how: whole(*shape, **(how | {"device": "cpu"})))
    assert choose_device("auto").type == "cuda"
    monkeypatch.setattr(torch.nn.functional, does, fails)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(ConfigError, match=r"cannot compute on .*'cuda' \(.*on the device\); choose auto or cpu\.$"):
        choose_device("cuda")
    error = torch.OutOfMemoryError("CUDA out of memory")
    for name in ("auto", "cuda"):
        with pytest.raises(ConfigError, match="memory of the device 'cuda' is full"):
            choose_device(name)


def test_pool_of_ten_lines_is_enough(tmp_path):
    """The trainer needs no project: any object with the pool's five methods will do."""
    from napari_segmatch.types import Volume

    class Pool:
        classes, sequences = ("lesion",), ("flair",)

        def version(self):
            return 1

        def snapshot(self):
            return PoolSnapshot(1, {"a": (0, 1)}, {"b": (0, 1)}, masks={"a": 1})

        def volume(self, case):
            return Volume(np.random.default_rng(0).random((1, 2, 32, 32)).astype(np.float32), None)

        def mask(self, case):
            return np.zeros((2, 32, 32), np.uint8)

    assert isinstance(list(train(Pool(), _config(), tmp_path))[-1], Finished)
    resident = ResidentPool(Pool(), 32, torch.device("cpu"))
    resident.update()
    assert (resident.labels_of(torch.arange(2)) == 0).all()  # its labels are read although it states no mask versions


def test_what_people_have_just_labelled_is_half_of_a_batch_at_most():
    """The others stay in line; a few corrections must not be all that a step learns from."""
    turns = Turns()
    turns.deal(torch.arange(8), torch.zeros(8, 1, dtype=torch.bool))
    turns.queue([7, 6, 5])
    assert turns.take(4, 0.5, torch.Generator().manual_seed(0))[:2].tolist() == [7, 6]
    assert turns.learnt() == [7, 6] and turns.first == [5]
    turns.queue([2])
    assert turns.take(1, 0.5, torch.Generator()).tolist() == [2]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_labelled_batch_shows_a_structure(share):
    """One slice of a thousand does: it would hardly ever be met."""
    turns, shown = Turns(), torch.zeros(1000, 1, dtype=torch.bool)
    shown[7] = True
    turns.deal(torch.arange(1000), shown)
    rows = turns.take(8, share, torch.Generator().manual_seed(0))
    assert len(rows) == 8 and int((rows == 7).sum()) == 8 * share


def test_every_class_is_sampled():
    """Six classes and a batch of two: each gets its turn."""
    turns = Turns()
    turns.deal(torch.arange(6), torch.eye(6, dtype=torch.bool))
    drawn = {int(row) for seed in range(60) for row in turns.take(2, 1.0, torch.Generator().manual_seed(seed))}
    assert drawn == set(range(6))


def test_correcting_one_slice_queues_one_slice(project):
    """Saving one slice of a labelled case does not put all its slices first in line."""
    pool = ResidentPool(ProjectPool(project), 32, torch.device("cpu"))
    pool.update()
    labels = project.mask("a")
    labels[1, 2:20, 2:20] = 1
    project.save_mask("a", labels)
    pool.update()
    assert pool.turns.first == [pool.row(Region("a", 1))]


def test_lessons_survive_a_lost_proposal_file(project):
    """Deleting an old run's folder costs its lessons, not the next training."""
    run = project.new_run(_config())
    list(training(project.path, run.id))
    project.decide(project.proposals()[0], "rejected")
    shutil.rmtree(run.folder / "proposals")
    pool = ResidentPool(ProjectPool(project), 32, torch.device("cpu"))
    assert any("teaches nothing" in problem for problem in pool.update().problems)


def test_many_lost_proposals_are_one_sentence_and_told_once(project):
    """A change of the pool is no news of them; one that is lost later is."""
    run, mask = project.new_run(_config()), np.ones(SHAPE[1:], np.uint8)
    for z in range(4):
        project.add_proposals(run, z, 1, [PseudoMask(Region(case, z), mask, 0.9, "accepted") for case in "cd"])
    *items, last = project.proposals()
    for item in items:
        project.decide(item, "rejected")
    shutil.rmtree(run.folder / "proposals")
    pool = ResidentPool(ProjectPool(project), 32, torch.device("cpu"))
    (told,) = pool.update().problems
    assert told.startswith(f"{len(items)} decisions teach nothing. The first of them: ")
    project.save_mask("a", np.zeros(SHAPE, np.uint8), done=[0])
    assert pool.update().problems == []
    project.decide(last, "rejected")
    assert [problem[:27] for problem in pool.update().problems] == ["A decision teaches nothing:"]


def test_lost_images_are_named_as_the_reason(project):
    """A project that was copied without its images says so, not that nothing is labelled."""
    for case in project.cases:
        project.image_paths(case.id)["flair"].unlink()
    run = project.new_run(_config())
    failed = list(training(project.path, run.id))[-1]
    assert "flair.nii.gz" in failed.message


def test_checkpoint_holds_no_pickle(project, tmp_path):
    """Tensors are safetensors, the rest is JSON."""
    list(train(ProjectPool(project), _config(steps=2), tmp_path / "run"))
    folder = checkpoints(tmp_path / "run")[-1]
    assert sorted(path.name for path in folder.iterdir()) == ["state.json", "tensors.safetensors"]
    assert json.loads((folder / "state.json").read_text())["step"] == 2
    shutil.rmtree(tmp_path / "run")


@pytest.mark.parametrize(("selector", "expected"), [("confidence-map", 0.1 * (250 + 3 * 150)), ("none", 0.1 * 400)])
def test_time_left_counts_that_steps_become_longer(selector, expected):
    """In the warm-up a step has no unlabelled slices; three times as long ones are to come."""
    learner = Learner(_config(steps=500, warmup=0.15, selector=selector), 1, 1)
    clock = Clock(learner)
    learner.step, clock._recent = 100, [0.1 * step for step in range(51)]
    assert clock.seconds_left == pytest.approx(expected)
    learner.step = 400
    assert clock.seconds_left == pytest.approx(0.1 * 100)
