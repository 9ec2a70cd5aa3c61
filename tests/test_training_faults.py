"""Training that goes wrong: memory, numbers, disks, damage. The run goes on, or ends in a sentence."""

import contextlib
import errno
import hashlib
import json
import os

import numpy as np
import pytest
import torch
from helpers import SHAPE, small_project

from napari_segmatch.batch import load_run, trained_run
from napari_segmatch.config import configure
from napari_segmatch.engine import checkpoint, descent, duties
from napari_segmatch.engine import learner as module
from napari_segmatch.engine.checkpoint import best, checkpoints, load_newest
from napari_segmatch.engine.data import ResidentPool
from napari_segmatch.engine.duties import Duties
from napari_segmatch.engine.learner import Learner
from napari_segmatch.engine.schedule import FASTEST
from napari_segmatch.engine.trainer import train
from napari_segmatch.engine.watch import Watch
from napari_segmatch.errors import ConfigError, DiskProblem, TrainingProblem
from napari_segmatch.events import Checkpointed, Evaluated, Examined, Failed, Finished, Noted, Proposed, Started, Step
from napari_segmatch.project import Run
from napari_segmatch.project.doctor import checkpoint_is_whole
from napari_segmatch.project.pool import ProjectPool
from napari_segmatch.project.proposals import write_pseudo_masks
from napari_segmatch.runner import training
from napari_segmatch.texts import digest
from napari_segmatch.types import Region


@pytest.fixture
def project(tmp_path):
    with small_project(tmp_path, cases=5, validation=1) as opened:
        yield opened


def config(**changes):
    small = {"size": 32, "batch": 4, "features": 8, "steps": 8, "propose_every": 100, "device": "cpu",
             "checkpoint_every": 4, "evaluate_every": 4, "warmup": 0.2}  # fmt: skip
    return configure(**(small | changes))


def notes(events):
    return [event.message for event in events if isinstance(event, Noted)]


def failing(monkeypatch, error, times, only=lambda learner: True):
    """Make the first ``times`` forward passes of the student raise."""
    left, whole = [times], Learner.student

    def student(self, images):
        if left[0] and only(self):
            left[0] -= 1
            raise error
        return whole(self, images)

    monkeypatch.setattr(Learner, "student", student)


def test_memory_that_runs_out_costs_time_and_nothing_else(project, tmp_path, monkeypatch):
    """The batch is cut in two, twice; every step is taken, and it is told."""
    failing(monkeypatch, torch.OutOfMemoryError("CUDA out of memory"), 2)
    events = list(train(ProjectPool(project), config(), tmp_path / "run"))
    assert [event.step for event in events if isinstance(event, Step)] == list(range(1, 9))
    assert ["2 parts" in notes(events)[0], "4 parts" in notes(events)[1]] == [True, True]


@pytest.mark.parametrize(("kind", "what"), [(Evaluated, "validation"), (Examined, "an exam"), (Proposed, "proposals")])
def test_memory_that_does_not_suffice_for_what_is_due_leaves_that_out(project, tmp_path, monkeypatch, kind, what):
    """The run goes on, and it is told."""
    name = {Evaluated: "_evaluate", Examined: "_examine", Proposed: "_propose"}[kind]
    left, whole = [torch.OutOfMemoryError("CUDA out of memory")], getattr(Duties, name)

    def failing_once(self):
        if left:
            raise left.pop()
        return whole(self)

    monkeypatch.setattr(Duties, name, failing_once)
    monkeypatch.setattr(duties, "EXAMINE_EVERY", 8)
    events = list(train(ProjectPool(project), config(propose_every=4), tmp_path / "run"))
    assert [event.step for event in events if isinstance(event, kind)] == [8]
    assert notes(events)[0].startswith(f"Memory ran out: step 4 goes without {what}")
    assert isinstance(events[-1], Finished)


def test_what_was_due_when_a_run_broke_off_is_made_up_for(project, tmp_path, monkeypatch):
    """A mistake of ours is no want of memory: it ends the run, and what it kept from being done is not forgotten."""

    def mistaken(*given):
        raise RuntimeError("shapes do not fit")

    pool, folder = ProjectPool(project), tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="do not fit"):
        patch.setattr(duties, "propose", mistaken)
        list(train(pool, config(), folder))
    assert load_newest(folder).memory["due"] == ["propose"]
    events = list(train(pool, config(), folder, resume=True))
    assert [event.step for event in events if isinstance(event, Proposed)] == [8]


def test_a_run_that_is_stopped_within_a_validation_holds_it_once_more(tmp_path):
    """What is said before its result is no result: that of this step would be missing."""
    with small_project(tmp_path, cases=5, validation=2) as project:
        for image in project.image_paths("e").values():
            image.unlink()
        pool, folder = ProjectPool(project), tmp_path / "run"
        events = train(pool, config(), folder)
        while "Validation case e is left out" not in str(next(events)):
            pass
        events.close()
        again = list(train(pool, config(), folder, resume=True))
    assert [event.step for event in again if isinstance(event, Evaluated)] == [4, 8]


def test_memory_that_runs_out_while_validation_cases_are_read_leaves_none_out(tmp_path, monkeypatch):
    """The next validation is of all of them: a Dice of some would stand beside those of all."""
    from napari_segmatch.engine import validation

    whole, read = validation.to_network, []

    def failing_once(*given):
        read.append(given)
        if len(read) == 2:
            raise MemoryError
        return whole(*given)

    monkeypatch.setattr(validation, "to_network", failing_once)
    with small_project(tmp_path, cases=5, validation=2) as project:
        events = list(train(ProjectPool(project), config(), tmp_path / "run"))
    assert [(event.step, *event.cases) for event in events if isinstance(event, Evaluated)] == [(8, "d", "e")]
    assert "step 4 goes without validation" in notes(events)[0]


def test_memory_that_never_suffices_is_a_sentence(project, tmp_path, monkeypatch):
    """What to do about it, and no endless halving."""
    failing(monkeypatch, RuntimeError("DefaultCPUAllocator: can't allocate memory"), 10**9)
    with pytest.raises(TrainingProblem, match="smaller size"):
        list(train(ProjectPool(project), config(), tmp_path / "run"))


def test_a_run_that_fails_on_its_first_step_leaves_the_one_before_it_to_segment_with(project, monkeypatch):
    """What has learnt nothing is no model."""
    for first in (True, False):
        run = project.new_run(config(steps=2))
        if not first:
            failing(monkeypatch, RuntimeError("DefaultCPUAllocator: can't allocate memory"), 10**9)
        events = list(training(project.path, run.id))
        assert isinstance(events[-1], Finished if first else Failed)
    assert trained_run(project, None).id == 1


def test_there_are_no_more_parts_than_slices(project, tmp_path, monkeypatch):
    """A batch of three in four parts would have an empty one, whose loss is no number."""
    failing(monkeypatch, torch.OutOfMemoryError("CUDA out of memory"), 2)
    events = list(train(ProjectPool(project), config(batch=3), tmp_path / "run"))
    steps = [event for event in events if isinstance(event, Step)]
    assert len(steps) == 8
    assert all(event.supervised == event.supervised for event in steps)
    assert "3 parts" in notes(events)[1]


@pytest.mark.parametrize("changes", [{"selector": "none"}, {}, {"mu": 0.75}, {"mu": 0.25}, {"dice": True}])
def test_parts_add_up_to_the_same_step(project, monkeypatch, changes):
    """Without chance in the views and boxes, a batch in parts gives the gradient of the whole batch.

    Unlabelled slices may be fewer than parts. Dice is each part's own, by design: with it the gradient is much the
    same.
    """
    monkeypatch.setattr(module, "autocast", lambda device: contextlib.nullcontext())

    plain = {"flip": 0.0, "shift": 0.0, "strong_operations": 0, "cutmix": 0.0, "dice": False}
    still = config(**(plain | {"warmup": 0.0, "ramp": 0.0, "rejected": "soft"} | changes))
    pool = resident(project)
    pool.patients_labelled = 5  # what is not believed trains softly: all of it counts
    weights = []
    for parts in (1, 2, 4):
        learner = Learner(still, 1, 1)
        assert still.selector == "none" or learner._ramp(0.5) > 0
        learner.parts = parts
        learner.learn(pool, 0.5)
        weights.append(torch.cat([parameter.grad.flatten() for parameter in learner.model.parameters()]))
    for others in weights[1:]:
        if still.dice:
            assert torch.cosine_similarity(weights[0], others, 0) > 0.9
        else:
            assert torch.allclose(weights[0], others, atol=1e-4)


def test_more_parts_than_unlabelled_slices_draw_no_more_of_them(project):
    """What does not go round is in the last parts, one of which the discriminator learns from."""
    pool = resident(project)
    for parts in (1, 2, 4):
        learner = Learner(config(mu=0.5, warmup=0.0, ramp=0.0), 1, 1)
        learner.parts = parts
        outcome, _ = learner.learn(pool, 0.5)
        assert len(learner.drawn) == 2
        assert outcome.selection is not None


def resident(project):
    pool = ResidentPool(ProjectPool(project), 32, torch.device("cpu"))
    pool.update()
    return pool


def corrected(project, pool):
    """Label a slice; returns its row."""
    project.save_mask("c", np.zeros(SHAPE, np.uint8), done=[1])
    pool.update()
    return pool.row(Region("c", 1))


@pytest.mark.parametrize("where", ["student", "_teach_discriminator", "_proximity"])
def test_memory_that_runs_out_costs_no_correction_and_takes_no_step_twice(project, monkeypatch, where):
    """What was just labelled is in the step that is taken, whatever it was that found no room."""
    pool, learner = resident(project), Learner(config(augment="ctaugment", labelled_strong=False), 1, 1)
    watch, row = Watch(learner), corrected(project, pool)
    whole, draw, taken, drawn = getattr(Learner, where), pool.sample_labelled, [], []
    monkeypatch.setattr(pool, "sample_labelled", lambda *given: drawn.append(draw(*given).tolist()) or draw(*given))
    monkeypatch.setattr(module, "descend", lambda *given: taken.append(1) or descent.descend(*given))
    left = [torch.OutOfMemoryError("CUDA out of memory")]

    def failing_once(*given):
        if left:
            raise left.pop()
        return whole(*given)

    monkeypatch.setattr(Learner, where, failing_once)
    assert watch.learn(pool, 0.5) is not None
    assert (learner.step, learner.parts, len(taken)) == (1, 2, 1)
    assert all(row in rows for rows in drawn)
    assert pool.turns.first == []
    assert ("missed" in watch.notes[0]) == (where != "student")
    watch.learn(pool, 0.5)
    assert len(watch.notes) == 1


def test_memory_that_never_suffices_for_the_discriminator_costs_its_updates(project, tmp_path, monkeypatch):
    """Steps are sound without; the run ended on them. It is told once more when there is nothing left to cut."""

    def teach(*given):
        raise MemoryError

    monkeypatch.setattr(Learner, "_teach_discriminator", teach)
    events = list(train(ProjectPool(project), config(discriminator_every=1), tmp_path / "run"))
    assert [event.step for event in events if isinstance(event, Step)] == list(range(1, 9))
    assert isinstance(events[-1], Finished)
    told = [text for text in notes(events) if "discriminator miss" in text]
    assert ["in 2 parts" in told[0], "in 4 parts" in told[1], "Close other programs" in told[2]] == [True] * 3
    assert len(told) == 3


def test_a_step_that_is_not_a_number_keeps_what_was_just_labelled_first_in_line(project, monkeypatch):
    """So does going back: what was learnt since is drawn once more."""
    pool, learner = resident(project), Learner(config(), 1, 1)
    watch, row = Watch(learner), corrected(project, pool)
    poisoned(monkeypatch, {1, 3, 4, 5})
    assert watch.learn(pool, 0.5) is None
    assert pool.turns.first == [row]
    assert watch.learn(pool, 0.5) is not None
    assert pool.turns.first == []
    for _ in range(3):
        assert watch.learn(pool, 0.5) is None
    assert pool.turns.first == [row]
    watch.learn(pool, 0.5)
    watch.remember()
    assert pool.turns.first == []


def test_what_a_checkpoint_has_learnt_does_not_come_first_again(project, monkeypatch):
    """Whoever goes back to it goes back behind nothing that was just labelled."""
    pool, learner = resident(project), Learner(config(), 1, 1)
    watch, row = Watch(learner), corrected(project, pool)
    poisoned(monkeypatch, {2, 3, 4})
    assert watch.learn(pool, 0.5) is not None and watch._since == [row]
    watch.remember()
    for _ in range(3):
        assert watch.learn(pool, 0.5) is None
    assert "Went back to step 1" in watch.notes[-1] and pool.turns.first == []


def poisoned(monkeypatch, steps):
    """Let the student return NaN at these steps, counted over the whole run."""
    whole, taken = Learner.student, [0]
    step = Learner.learn

    def learn(self, *arguments):
        taken[0] += 1
        return step(self, *arguments)

    monkeypatch.setattr(Learner, "learn", learn)
    monkeypatch.setattr(Learner, "student", lambda self, x: whole(self, x) * (torch.nan if taken[0] in steps else 1.0))


def test_a_step_that_is_not_a_number_is_skipped(project, tmp_path, monkeypatch):
    """One bad step, or two: the weights stay whole and the run goes on."""
    poisoned(monkeypatch, {3, 4})
    events = list(train(ProjectPool(project), config(), tmp_path / "run"))
    assert isinstance(events[-1], Finished)
    assert len(notes(events)) == 2
    assert [event.step for event in events if isinstance(event, Step)] == [1, 2, 5, 6, 7, 8]
    assert all(torch.isfinite(t).all() for t in load_newest(tmp_path / "run").learner.tensors().values())


def test_a_last_step_that_is_not_a_number_ends_a_run_as_any_other(project, tmp_path, monkeypatch):
    """With validation, proposals and a checkpoint."""
    poisoned(monkeypatch, {8})
    events = list(train(ProjectPool(project), config(), tmp_path / "run"))
    assert [event.step for event in events if isinstance(event, Evaluated)] == [4, 8]
    assert [type(event) for event in events[-3:]] == [Proposed, Checkpointed, Finished]


def test_three_bad_steps_lead_back_to_the_last_good_one(project, tmp_path, monkeypatch):
    """At half the learning rate; the run then ends as it should."""
    poisoned(monkeypatch, {6, 7, 8})
    events = list(train(ProjectPool(project), config(), tmp_path / "run"))
    assert any("Went back to step 4" in text for text in notes(events))
    assert isinstance(events[-1], Finished)
    assert load_newest(tmp_path / "run").learner.config.learning_rate == FASTEST / 2


def test_a_run_that_stays_broken_ends_in_a_sentence(project, tmp_path, monkeypatch):
    """The checkpoint of before is whole; nothing broken is ever written."""
    poisoned(monkeypatch, set(range(6, 100)))
    with pytest.raises(TrainingProblem, match="lower the learning rate"):
        list(train(ProjectPool(project), config(), tmp_path / "run"))
    assert load_newest(tmp_path / "run").learner.step == 4


def test_the_case_that_gives_no_numbers_is_named(project, tmp_path, monkeypatch):
    """A case whose images break the loss is told by its id."""
    from napari_segmatch.engine import data

    whole = data.to_network

    def to_network(pixels, *more):
        slices, frame = whole(pixels, *more)
        if np.array_equal(pixels, project.volume("b").pixels):
            slices[:] = torch.nan
        return slices, frame

    monkeypatch.setattr(data, "to_network", to_network)
    with pytest.raises(TrainingProblem, match="Look at b"):
        list(train(ProjectPool(project), config(steps=100, batch=8, lesion_share=0.0), tmp_path / "run"))


def test_full_disk_stops_checkpoints_and_not_the_run(project, tmp_path, monkeypatch):
    """Masks come first: with little space left no checkpoint is written, and that is said."""
    monkeypatch.setattr(checkpoint, "free_bytes", lambda folder: 2**20)
    events = list(train(ProjectPool(project), config(), tmp_path / "run"))
    assert isinstance(events[-1], Finished)
    assert any("masks come first" in text for text in notes(events))
    assert checkpoints(tmp_path / "run") == []


def test_full_disk_costs_proposals_and_not_the_run(project, monkeypatch):
    """What could not be written is told, none of it is half there, and the later proposals are kept."""
    whole, refused = write_pseudo_masks, iter([True])

    def write(folder, step, data):
        if next(refused, False):
            raise DiskProblem("a.npz could not be written (No space left on device).")
        return whole(folder, step, data)

    monkeypatch.setattr("napari_segmatch.project.write_pseudo_masks", write)
    run = project.new_run(config(propose_every=4, proposals=3))
    events = list(training(project.path, run.id))
    assert isinstance(events[-1], Finished)
    assert any("proposed at step 4 is not kept" in text and "No space left" in text for text in notes(events))
    assert [event.step for event in events if isinstance(event, Proposed)] == [8]
    assert {item.step for item in project.proposals()} == {8}
    assert any(isinstance(event, Noted) and "is not kept" in event.message for event, _ in run.events())


def test_a_run_that_cannot_write_down_what_it_says_ends_in_a_sentence(project, monkeypatch):
    """A full disk is no internal error."""
    whole = Run.record

    def record(run, event):
        if getattr(event, "step", 0) > 2 and not isinstance(event, Failed):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        whole(run, event)

    monkeypatch.setattr(Run, "record", record)
    failed = list(training(project.path, project.new_run(config()).id))[-1]
    assert failed.message == (
        "Training stopped because the disk is full: free some space, then resume from the last checkpoint."
    )


def test_the_best_checkpoint_stays_beside_the_last_three(project, tmp_path, monkeypatch):
    """Whatever comes after it; a score that was never measured is no score."""
    from napari_segmatch.engine import validation

    dice = iter([0.2, 0.9, 0.3, 0.4, 0.5, 0.6, 0.7])
    monkeypatch.setattr(validation, "class_dice", lambda *_: [next(dice)])
    events = list(train(ProjectPool(project), config(steps=7, evaluate_every=1, checkpoint_every=1), tmp_path / "run"))
    assert sum(isinstance(event, Evaluated) for event in events) == 7
    assert [int(path.name) for path in checkpoints(tmp_path / "run")] == [2, 5, 6, 7]
    assert best(tmp_path / "run").name == "00000002"
    assert load_newest(tmp_path / "run").learner.step == 7
    assert load_newest(tmp_path / "run", best_first=True).learner.step == 2
    (tmp_path / "run" / "00000002" / "tensors.safetensors").write_bytes(b"damaged")
    assert load_newest(tmp_path / "run", best_first=True).learner.step == 7


def test_a_finished_run_that_is_resumed_keeps_its_best_score(project, tmp_path, monkeypatch):
    """There is nothing left to do, and nothing is written anew, without the score."""
    from napari_segmatch.engine import validation

    dice = iter([0.5, 0.8])
    monkeypatch.setattr(validation, "class_dice", lambda *_: [next(dice)])
    settings = config(steps=4, evaluate_every=2, checkpoint_every=2)
    list(train(ProjectPool(project), settings, tmp_path / "run"))
    list(train(ProjectPool(project), settings, tmp_path / "run", resume=True))
    assert best(tmp_path / "run").name == "00000004"


def test_damaged_checkpoints_ahead_of_a_run_cost_it_no_new_one(project, tmp_path, monkeypatch):
    """It goes on before them: what it writes there is kept, and the next resume starts from it."""
    from napari_segmatch.engine import validation

    dice = iter([0.8, 0.5])
    monkeypatch.setattr(validation, "class_dice", lambda *_: [next(dice)])
    folder, settings = tmp_path / "run", config(steps=12, checkpoint_every=2, evaluate_every=6)
    list(train(ProjectPool(project), settings, folder))
    assert [int(path.name) for path in checkpoints(folder)] == [6, 8, 10, 12]
    for path in checkpoints(folder)[1:]:
        (path / "tensors.safetensors").write_bytes(b"damaged")
    for written in (7, 8):
        events = train(ProjectPool(project), settings, folder, resume=True)
        assert any(isinstance(event, Step) for event in events)
        events.close()
        assert load_newest(folder).learner.step == written


@pytest.mark.parametrize("stops", [(Evaluated,), (Evaluated, Started), (Evaluated, Examined)])
def test_a_run_that_is_stopped_after_a_validation_keeps_its_score(project, tmp_path, monkeypatch, stops):
    """What was due besides is made up for, and the checkpoint of that step is written anew: with the score."""
    from napari_segmatch.engine import validation

    dice = iter([0.8, 0.5])
    monkeypatch.setattr(validation, "class_dice", lambda *_: [next(dice)])
    monkeypatch.setattr(duties, "EXAMINE_EVERY", 8)
    settings = config(steps=8, evaluate_every=4, propose_every=4, checkpoint_every=4)
    for kind in stops:
        events = train(ProjectPool(project), settings, tmp_path / "run", resume=True)
        assert any(isinstance(event, kind) for event in events)
        events.close()
    list(train(ProjectPool(project), settings, tmp_path / "run", resume=True))
    assert next(dice, None) is None
    assert best(tmp_path / "run").name == "00000004"


@pytest.mark.parametrize("changes", [{"device": "cuda:99"}, {"network": "nobody_has:this"}])
def test_a_device_or_network_that_is_not_there_is_no_damage(project, tmp_path, changes):
    """The checkpoints are whole: nobody is told to train again."""
    list(train(ProjectPool(project), config(steps=2, checkpoint_every=1), tmp_path / "run"))
    rewrite_config(tmp_path / "run", changes)
    with pytest.raises(ConfigError, match=r"not available here|could not be built"):
        load_newest(tmp_path / "run", best_first=True)


@pytest.mark.parametrize(
    ("error", "told"),
    [(RuntimeError("CUDA error: unspecified launch failure"), "The graphics processor was lost"),
     (RuntimeError("CUDA error: out of memory"), "does not fit into memory"),
     (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "does not fit"),
     (torch.OutOfMemoryError("CUDA out of memory"), "does not fit"), (MemoryError(), "does not fit")],
    ids=str,
)  # fmt: skip
def test_a_gpu_that_fails_is_no_damage(project, tmp_path, monkeypatch, error, told):
    """All checkpoints of a run were called damaged, and its owner told to train again."""
    list(train(ProjectPool(project), config(steps=2, checkpoint_every=1), tmp_path / "run"))

    def fails(*given):
        raise error

    monkeypatch.setattr(Learner, "load_tensors", fails)
    with pytest.raises(TrainingProblem, match=told):
        load_newest(tmp_path / "run")


@pytest.mark.parametrize("where", ["napari_segmatch.engine.shelf.Shelf.add", "napari_segmatch.engine.learner.build"])
def test_memory_that_runs_out_beside_the_steps_is_a_sentence(project, monkeypatch, where):
    """While slices are read, or the network is made: it was an internal error."""

    def fails(*given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    run = project.new_run(config())
    monkeypatch.setattr(where, fails)
    *_, last = training(project.path, run.id)
    assert isinstance(last, Failed)
    assert last.message == (
        "Training stopped because memory ran out: close other programs, then resume from the last checkpoint."
    )


def test_a_run_of_another_machine_goes_on_with_what_is_here(project):
    """It was made on a GPU: it is resumed and segments without one, and says so; who asks for a device gets that."""
    run = project.new_run(config(steps=4))
    events = train(ProjectPool(project), run.config, run.checkpoints)
    assert any(isinstance(event, Step) for event in events)
    events.close()
    rewrite_config(run.checkpoints, {"device": "cuda:99"})
    assert load_run(project, run, None, "last").learner.step == 1
    with pytest.raises(ConfigError, match="not available here"):
        load_run(project, run, "cuda:99", "last")
    resumed = list(train(ProjectPool(project), run.config, run.checkpoints, resume=True))
    assert isinstance(resumed[-1], Finished)
    assert notes(resumed)[0] == "The device that this run was made on is not here: it goes on with what there is."


def test_a_run_of_another_machine_that_has_no_checkpoint_begins_with_what_is_here(project):
    """It was killed on a GPU before its first one. Who starts a run on a device that is not here is told so."""
    run = project.new_run(config(steps=2, device="cuda:99"))
    with pytest.raises(ConfigError, match="not available here"):
        list(train(ProjectPool(project), run.config, run.checkpoints))
    resumed = list(train(ProjectPool(project), run.config, run.checkpoints, resume=True))
    assert [event.step for event in resumed if isinstance(event, Step)] == [1, 2] and isinstance(resumed[-1], Finished)
    assert notes(resumed)[0] == "The device that this run was made on is not here: it goes on with what there is."
    assert list(train(ProjectPool(project), run.config, run.checkpoints, resume=True))[-1].step == 2, "also from there"
    with pytest.raises(ConfigError, match="could not be built"):
        list(train(ProjectPool(project), config(network="nobody_has:this"), run.folder / "other", resume=True))


def test_a_setting_of_a_newer_version_is_no_damage(project, tmp_path):
    list(train(ProjectPool(project), config(steps=2, checkpoint_every=1), tmp_path / "run"))
    rewrite_config(tmp_path / "run", {"from_the_future": 1})
    with pytest.raises(TrainingProblem, match="another version"):
        load_newest(tmp_path / "run")


def rewrite_config(folder, changes):
    for path in checkpoints(folder):
        state = json.loads((path / "state.json").read_text())
        state.pop("own_sha256")
        state["config"] |= changes
        (path / "state.json").write_text(json.dumps(state | {"own_sha256": digest(state)}))


def test_a_kill_while_a_checkpoint_is_removed_leaves_none_that_looks_damaged(tmp_path, monkeypatch):
    """It loses its name before its files; what is left of it goes when the next one is removed."""
    for name in ("00000001", "00000002"):
        (tmp_path / name).mkdir()
        for file in ("state.json", "tensors.safetensors"):
            (tmp_path / name / file).touch()

    def killed(path, **_):
        if path.exists():
            (path / "state.json").unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint.shutil, "rmtree", killed)
        checkpoint._remove(tmp_path / "00000001")
    assert checkpoints(tmp_path) == [tmp_path / "00000002"]
    checkpoint._remove(tmp_path / "00000002")
    assert list(tmp_path.iterdir()) == []


def test_a_new_best_is_written_at_once(project, tmp_path, monkeypatch):
    """It does not wait for the next checkpoint that is due."""
    from napari_segmatch.engine import validation

    dice = iter([0.5, 0.4, 0.8])
    monkeypatch.setattr(validation, "class_dice", lambda *_: [next(dice)])
    settings = config(steps=6, evaluate_every=2, checkpoint_every=1000)
    events = list(train(ProjectPool(project), settings, tmp_path / "run"))
    assert [event.step for event in events if isinstance(event, Checkpointed)] == [2, 6]


@pytest.mark.parametrize("name", ["state.json", "tensors.safetensors"])
def test_every_flipped_bit_of_a_checkpoint_is_found(project, tmp_path, name):
    """Of its numbers and of its words: the one before is loaded, and it is said."""
    list(train(ProjectPool(project), config(), tmp_path / "run"))
    path = checkpoints(tmp_path / "run")[-1] / name
    whole = path.read_bytes()
    for at in np.random.default_rng(0).integers(0, 8 * len(whole), 12):
        broken = bytearray(whole)
        broken[at // 8] ^= 1 << (at % 8)
        path.write_bytes(broken)
        loaded = load_newest(tmp_path / "run")
        assert (loaded.learner.step, loaded.skipped) == (4, ("00000008",))


def test_stray_parts_on_slices_of_one_and_two_digits_are_no_damage(project, tmp_path):
    """JSON sorts "10" before "9". Checkpoints that were signed with 9 before 10 are whole as well."""
    list(train(ProjectPool(project), config(steps=2), tmp_path / "run"))
    [path] = checkpoints(tmp_path / "run")
    learner, state = load_newest(tmp_path / "run").learner, json.loads((path / "state.json").read_text())
    found = {"a": ([1, None], {9: [3], 10: [4, 5]})}
    memory = state["memory"] | {"sweep": state["memory"]["sweep"] | {"found": found}}
    checkpoint.save_checkpoint(tmp_path / "run", learner, ("lesion",), ("flair",), memory=memory)
    assert load_newest(tmp_path / "run").memory["sweep"]["found"] == {"a": [[1, None], {"9": [3], "10": [4, 5]}]}
    assert checkpoint_is_whole(path)
    state = json.loads((path / "state.json").read_text())
    del state["own_sha256"]
    by_number = json.dumps(state | {"memory": memory}, sort_keys=True)
    signed = state | {"own_sha256": hashlib.sha256(by_number.encode()).hexdigest()}
    (path / "state.json").write_text(json.dumps(signed))
    assert load_newest(tmp_path / "run").skipped == () and checkpoint_is_whole(path)
    (path / "state.json").write_text(json.dumps(signed | {"elapsed": 1.5}))
    assert not checkpoint_is_whole(path)


def test_checkpoint_says_what_it_had_seen(project, tmp_path):
    """The pool's version travels with the weights."""
    list(train(ProjectPool(project), config(), tmp_path / "run"))
    state = json.loads((checkpoints(tmp_path / "run")[-1] / "state.json").read_text())
    assert state["pool_version"] == ProjectPool(project).version()


def test_a_run_of_another_version_is_not_called_damaged(project, tmp_path):
    """Its files are whole: the sentence says what to do, and blames no disk."""
    list(train(ProjectPool(project), config(steps=2, checkpoint_every=1), tmp_path / "run"))
    for path in checkpoints(tmp_path / "run"):
        state = json.loads((path / "state.json").read_text())
        state.pop("own_sha256")
        state["format"] = 1
        state["own_sha256"] = digest(state)
        (path / "state.json").write_text(json.dumps(state))
    with pytest.raises(TrainingProblem, match="another version"):
        load_newest(tmp_path / "run")
