"""The session: what the window does, without a window."""

import os
import threading
import time
from functools import partial

import numpy as np
import pytest
from helpers import SHAPE, small_project, write_case

from napari_segmatch import keeper
from napari_segmatch.batch import load_run
from napari_segmatch.config import configure
from napari_segmatch.engine import predict
from napari_segmatch.engine.checkpoint import load_newest
from napari_segmatch.engine.predict import predict_volume
from napari_segmatch.errors import ProjectError
from napari_segmatch.events import Evaluated, Proposed, PseudoMask
from napari_segmatch.history import called_now
from napari_segmatch.io import FoundCase
from napari_segmatch.project import Project
from napari_segmatch.session import Session
from napari_segmatch.session.segmenting import Wish
from napari_segmatch.types import Region


@pytest.fixture
def session(tmp_path):
    small_project(tmp_path).close()
    live = Session()
    live.said = []
    live.message.connect(lambda text, wrong: live.said.append((text, wrong)))
    live.open_project(tmp_path / "project")
    yield live
    live.close()


def _config(**changes):
    return configure(**({"size": 32, "batch": 2, "features": 8, "steps": 100_000, "propose_every": 5, "proposals": 4,
                         "device": "cpu"} | changes))  # fmt: skip


def _until(session, condition, seconds=60):
    """Poll, as the window's timer does, until something is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        session.poll()
        session.run and threading.Event().wait(0.01)


def test_the_story_of_a_run_knows_its_selector(session):
    """What the window says of a training depends on it."""
    runs = [session.project.new_run(_config(selector=name)) for name in ("none", "discriminator")]
    for run in runs:
        session.show_run(run.id)
        assert session.history.selector == session.history_of(run.id).selector == run.config.selector
        assert session.history.judged == run.judged == (run.config.selector == "discriminator")


def test_saving_is_told_when_it_is_on_disk(session):
    """mask_saved comes after the version is in the store."""
    heard = []
    session.mask_saved.connect(lambda case: heard.append(session.project.case(case).labelled))
    session.save_slices("c", {1: np.zeros(SHAPE[1:], np.uint8)}, done=[1])
    session.wait()
    assert heard == [(1,)]
    assert session.case("c").labelled == (1,)
    assert session.saved_at is not None


def _trained(session):
    """Train for a moment and stop; returns the run's model."""
    session.start_training(_config(proposals=0, checkpoint_every=1))
    _until(session, lambda: any(session.run.checkpoints.glob("[0-9]*")))
    session.stop_training()
    _until(session, lambda: not session.is_training and session.run_state == "stopped")
    return load_newest(session.run.checkpoints, best_first=True)


def test_the_model_segments_a_case_for_whoever_asks(session, monkeypatch):
    """Every open slice gets a proposal, empty ones too, with the mask that a prediction of the case has."""
    with pytest.raises(ProjectError, match="start the training first"):
        session.segment("c")
    session.save_slices("c", {1: np.ones(SHAPE[1:], np.uint8)}, done=[1])
    session.save_slices("c", {2: np.ones(SHAPE[1:], np.uint8)})
    loaded = _trained(session)
    there = []
    session.segmented.connect(lambda case: there.append((case, len(session.proposals.of_case(case)))))
    session.segment("c")
    session.segment("c")  # once is enough
    assert list(session.segmenting) == ["c"]
    _until(session, lambda: there)
    found = session.proposals.of_case("c")
    assert sorted(found) == [z for z in range(SHAPE[0]) if z not in (1, 2)]  # neither what is done nor what is begun
    assert there == [("c", len(found))]  # it is told when they can be seen
    words = f"c: masks of {SHAPE[0] - 2} slices by run 1, step {loaded.learner.step}."
    assert session.said[-1] == (words, False)
    expected = predict_volume(loaded.learner, session.project.volume("c").pixels)
    for z, proposal in found.items():
        np.testing.assert_array_equal(session.proposal_mask(proposal), expected.labels[z])
        assert (proposal.step, proposal.run) == (loaded.learner.step, session.run.id)
        assert proposal.pool_version == loaded.pool_version
    asked, propose = [], predict.propose_case
    monkeypatch.setattr(predict, "propose_case", lambda *given: (asked.append(given[4]), propose(*given))[1])
    session.segment("c")
    _until(session, lambda: len(there) == 2)
    assert session.proposals.of_case("c") == found and asked == [[]]  # the same model has nothing else to say
    session.save_slices("c", {1: np.full(SHAPE[1:], 255, np.uint8)}, reopen=[1])
    session.segment("c")
    _until(session, lambda: len(there) == 3)
    now = session.proposals.of_case("c")
    assert now.pop(1) and now == found  # but for the slice that is open again


def test_who_waits_for_a_case_knows_how_long(session, monkeypatch):
    _trained(session)
    now = iter([100.0, 130.0, 130.0])
    session.segment("c")
    wish = session.segmenting["c"]
    assert wish.seconds_left is None
    session._jobs.finish("segment")
    assert wish.share == 1.0 and wish.seconds_left == 0
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    wish = Wish()
    wish.hear(0.1)
    assert wish.seconds_left is None
    wish.hear(0.4)
    assert wish.seconds_left == pytest.approx(60)


def test_a_case_is_segmented_while_a_run_trains(session):
    """Whoever asks waits for a step at most, and the training goes on."""
    session.start_training(_config(proposals=0, checkpoint_every=1))
    _until(session, lambda: any(session.run.checkpoints.glob("[0-9]*")))
    there = []
    session.segmented.connect(there.append)
    for case in ("c", "d"):
        session.segment(case)
    _until(session, lambda: there == ["c", "d"])
    assert all(len(session.proposals.of_case(case)) == SHAPE[0] for case in ("c", "d"))
    step = session.history.steps[-1].step
    _until(session, lambda: session.history.steps[-1].step > step)
    assert session.is_training


def test_what_nobody_waits_for_any_more_is_not_proposed(session, tmp_path, monkeypatch):
    """Stopping is heard at the next slice; taking the case out or leaving the project stops it as well."""
    _trained(session)
    begun, go_on, propose = threading.Event(), threading.Event(), predict.propose_case

    def slow(*given):
        for mask in propose(*given):
            begun.set()
            go_on.wait(30)
            yield mask

    monkeypatch.setattr(predict, "propose_case", slow)
    ways = (session.stop_segmenting, session.remove_case, lambda _: session.close_project())
    for case, leave in zip("cdc", ways, strict=True):
        begun.clear(), go_on.clear()
        session.segment(case)
        assert begun.wait(60)
        threading.Timer(0.3, go_on.set).start()
        leave(case)
        session.wait()
        assert not session.segmenting and not any(wrong for _, wrong in session.said)
    with Project.open(tmp_path / "project") as project:
        assert not project.proposals()


def test_a_case_that_is_stopped_and_asked_for_again_is_segmented_once(session, monkeypatch):
    """The wish that was taken back proposes nothing, however late it hears of that; other cases have their turn."""
    _trained(session)
    go_on, propose, there = threading.Event(), predict.propose_case, []

    def slow(*given):
        go_on.wait(30)
        yield from propose(*given)

    monkeypatch.setattr(predict, "propose_case", slow)
    session.segmented.connect(there.append)
    session.segment("c")
    session.segment("d")
    session.stop_segmenting("c")
    session.segment("c")
    go_on.set()
    _until(session, lambda: len(there) == 2)
    session.wait()
    assert there == ["d", "c"] and not session.segmenting
    assert session.project.last_proposal() == 2 * SHAPE[0]


def test_no_masks_are_proposed_for_images_that_a_case_no_longer_has(session, monkeypatch, tmp_path):
    """It was added anew while the model segmented it."""
    _trained(session)
    go_on, begun, propose = threading.Event(), threading.Event(), predict.propose_case
    monkeypatch.setattr(predict, "propose_case", lambda *given: (begun.set(), go_on.wait(30), propose(*given))[2])
    session.segment("c")
    assert begun.wait(60)
    session.add_cases([FoundCase("c", write_case(tmp_path / "anew", 9, (6, 20, 24))[0])])
    session._jobs.finish("import")
    go_on.set()
    session.wait()
    assert session.case("c").shape == (6, 20, 24) and not session.segmenting
    assert session.project.last_proposal() == 0


def test_what_cannot_be_segmented_says_why(session, monkeypatch):
    """Held-out and finished cases, too little memory, a run without a checkpoint: a sentence each."""
    _trained(session)
    every = range(SHAPE[0])
    session.save_slices("d", {z: np.zeros(SHAPE[1:], np.uint8) for z in every}, done=every)
    session.segment("d")
    _until(session, lambda: not session.segmenting)
    assert session.said[-1][0] == "No slice of d is open: all are done."
    session.save_slices("c", {z: np.ones(SHAPE[1:], np.uint8) for z in every})
    session.segment("c")
    _until(session, lambda: not session.segmenting)
    assert session.said[-1][0].startswith("No slice of c is open: you have painted on each")
    session.save_slices("c", {z: np.zeros(SHAPE[1:], np.uint8) for z in every})
    session.wait()
    monkeypatch.setattr(predict, "propose_case", _out_of_memory)
    session.segment("c")
    _until(session, lambda: not session.segmenting)
    assert session.said[-1] == ("c does not fit into memory beside all else: close other programs.", True)
    session._watch(session.project.new_run(_config()))
    session.segment("c")
    _until(session, lambda: not session.segmenting)
    assert "no checkpoint yet" in session.said[-1][0] and not session.proposals


def _out_of_memory(*_):
    raise MemoryError


def test_nothing_is_written_when_the_project_is_let_go(session, monkeypatch):
    """The place on the screen waits for its second; when that comes, somebody else may hold the lock."""
    late = []

    def slow(*_):
        time.sleep(0.3)
        late.append(session.project is None)

    monkeypatch.setattr(keeper, "write_place", slow)
    monkeypatch.setattr(keeper, "PLACE_SECONDS", 1e9)
    session.remember_place("c", 1)
    monkeypatch.setattr(keeper, "PLACE_SECONDS", 0)
    session.close_project()
    session.wait()
    assert True not in late


def test_the_journal_is_closed_after_the_last_thing_that_it_is_told(session, monkeypatch):
    """A save that ends while the project closes still tells the journal: two threads must not close one file."""
    order, saved, close = [], keeper.Keeper.saved, keeper.Keeper.close

    def slow(self, *told):
        time.sleep(0.3)
        saved(self, *told)
        order.append("saved")

    monkeypatch.setattr(keeper.Keeper, "saved", slow)
    monkeypatch.setattr(keeper.Keeper, "close", lambda self: (order.append("closed"), close(self)))
    session.journal("c", {1: np.ones(SHAPE[1:], np.uint8)})
    session.save_slices("c", {1: np.ones(SHAPE[1:], np.uint8)})
    session.close_project()
    assert order == ["saved", "closed"]


def test_array_may_change_after_saving(session):
    """The session copies: painting on while the disk works changes nothing that was saved."""
    labels = np.zeros(SHAPE, np.uint8)
    session.save_slices("c", dict(enumerate(labels)), done=[1])
    labels[:] = 1
    session.wait()
    assert session.mask("c")[1].max() == 0


def test_failed_verb_speaks_and_the_list_is_true_again(session):
    """A save that is refused is a sentence, and nothing else."""
    session.save_slices("c", {1: np.full(SHAPE[1:], 9, np.uint8)})
    session.wait()
    assert session.said[-1][1]
    assert "label 9" in session.said[-1][0]


def test_broken_case_is_set_aside_and_the_rest_goes_on(session, tmp_path):
    """Importing a folder with one bad file."""
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"")
    images, mask = write_case(tmp_path / "good", 7)
    session.add_cases([FoundCase("x", {"flair": bad}, None), FoundCase("y", images, mask)])
    session.wait()
    assert session.case("x").problem
    assert session.case("y").labelled == tuple(range(SHAPE[0]))


def test_live_loop_from_training_to_correction(session):
    """Train in a thread, review a proposal, correct it, and see the trainer take it up. No sleeping for luck."""
    session.start_training(_config())
    _until(session, lambda: session.proposals and session.history.steps)
    assert session.is_training
    item = session.proposals[0]
    session.decide(item, "corrected", mask=np.ones(SHAPE[1:], np.uint8))
    _until(session, lambda: any("has seen your 1 new slice" in text for text, _ in session.said))
    saved = session.project.case(item.case)
    assert item.z in saved.labelled
    session.stop_training()
    _until(session, lambda: session.run_state == "stopped")
    assert not session.is_training


def test_nobody_waits_for_an_export_which_holds_what_was_saved_before(session, tmp_path, monkeypatch):
    """A data set of a cohort takes minutes: painting, opening and training go on meanwhile."""
    go, done, export = threading.Event(), [], session.project.export

    def slow(*where, **how):
        assert go.wait(30)
        return export(*where, **how)

    monkeypatch.setattr(session.project, "export", slow)
    session.exported.connect(done.append)
    labels, opened = np.ones(SHAPE[1:], np.uint8), []
    session.save_slices("c", {1: labels}, done=[1])
    session.export(tmp_path / "out")
    session.save_slices("d", {1: labels}, done=[1])
    session.load_case("d", lambda _, mask: opened.append(mask[1].max()))
    _until(session, lambda: opened)
    session.start_training(_config())
    session.stop_training()
    assert session.project.case("d").labelled == (1,) and opened == [1] and done == []
    go.set()
    session.wait()
    assert "c.nii.gz" in {path.name for path in done[0]}


def test_an_export_waits_for_what_is_still_being_saved(session, tmp_path):
    """A disk may take its time: the slice that was marked as done just before belongs to it."""
    disk, done = threading.Event(), []
    session._jobs.submit("save", partial(disk.wait, 30), lambda _: None)
    session.save_slices("c", {1: np.ones(SHAPE[1:], np.uint8)}, done=[1])
    session.exported.connect(done.append)
    session.export(tmp_path / "out")
    threading.Timer(0.3, disk.set).start()
    session.wait()
    assert "c.nii.gz" in {path.name for path in done[0]}


def test_training_starts_beside_an_import(session):
    """It waits for what a person has drawn, and for nothing else: the window would stand still for so long."""
    gate = threading.Event()
    session._jobs.submit("import", lambda: gate.wait(20), lambda _: None)
    session._jobs.submit("read", lambda: gate.wait(20), lambda _: None)
    session.save_slices("c", {1: np.zeros(SHAPE[1:], np.uint8)}, done=[1])
    session.start_training(_config(steps=1))
    assert session._jobs.pending("import") and session._jobs.pending("read")
    assert session.case("c").labelled == (1,) and session.is_training
    gate.set()
    _until(session, lambda: session.run_state == "finished")


def test_pause_and_resume(session):
    """A paused run takes no steps; resuming goes on with the same run."""
    session.start_training(_config())
    _until(session, lambda: session.history.steps)
    session.pause_training()
    _until(session, lambda: session.run_state == "paused")
    run, steps = session.run.id, session.history.steps[-1].step
    session.resume_training()
    _until(session, lambda: session.history.steps[-1].step > steps)
    assert session.run.id == run


def test_stopped_run_is_resumed_from_its_checkpoint(session):
    """Stop, then resume: the step number goes on."""
    session.start_training(_config())
    _until(session, lambda: session.history.steps)
    session.stop_training()
    _until(session, lambda: session.run_state == "stopped" and not session.is_training)
    stopped_at = session.history.last.step
    session.resume_training()
    _until(session, lambda: session.history.steps[-1].step > stopped_at)
    assert session.history.started.step == stopped_at


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_a_training_that_cannot_begin_says_why(session, mode):
    """Somebody else trains this run; in a process of its own the window hears of it as well."""
    run = session.project.new_run(_config(steps=4))
    session.show_run(run.id)
    with run.lock():
        session.resume_training(mode)
        _until(session, lambda: not session.is_training)
        session.poll()
    assert any("in use by another process" in text and wrong for text, wrong in session.said)


def test_a_training_whose_process_dies_is_told(session, tmp_path, monkeypatch):
    """A damaged installation, or a system that ends it: no run has an event of that."""
    (tmp_path / "typer.py").write_text("raise ImportError('libfoo.so.3: cannot open shared object file')")
    with monkeypatch.context() as damaged:
        damaged.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
        session.start_training(_config(steps=4), "process")
        _until(session, lambda: not session.is_training)
        session.poll()
    words = "The process that trained has died (ImportError: libfoo.so.3: cannot open shared object file): try again"
    assert [text.startswith(words) for text, wrong in session.said if wrong] == [True]
    session.start_training(_config(), "process")
    session._background._process.kill()
    _until(session, lambda: not session.is_training)
    session.poll()
    assert session.said[-1][0].startswith("The process that trained has died (") and session.said[-1][1]


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_why_a_training_failed_is_said_once(session, tmp_path, mode):
    """It is among the run's events, wherever it ran."""
    for name in "ab":
        (tmp_path / "images" / name / "flair.nii.gz").write_bytes(b"")
    session.start_training(_config(steps=4), mode)
    _until(session, lambda: session.run_state == "failed")
    session.poll()
    assert len([text for text, wrong in session.said if wrong]) == 1


def test_classes_change_while_nothing_trains(session):
    session.start_training(_config())
    with pytest.raises(ProjectError, match="stop it, then change the classes"):
        session.set_classes(["lesion", "edema"])
    assert session.is_training, "and it goes on"
    session.stop_training()
    _until(session, lambda: not session.is_live)
    before = {case.id: session.mask(case.id) for case in session.cases if case.labelled}
    session.set_classes(["tumour", "edema"])
    assert session.project.classes == ("tumour", "edema")
    assert {case.id for case in session.cases if case.labelled} == set(before)
    session.set_classes(["tumour", "edema", "necrosis"], reopen=True)
    assert not any(case.labelled for case in session.cases)
    for case, mask in before.items():
        assert np.array_equal(session.mask(case) == 1, mask == 1), "what is drawn stays"


def test_cases_that_are_being_added_are_not_lost_to_a_new_name(session, tmp_path):
    files = {name: write_case(tmp_path / name, number)[0] for number, name in enumerate(("n1", "n2"), 7)}
    session.add_cases([FoundCase(name, images, None) for name, images in files.items()])
    with pytest.raises(ProjectError, match="wait for that"):
        session.set_classes(["tumour"])
    session.wait()
    session.set_classes(["tumour"])
    assert {"n1", "n2"} <= {case.id for case in session.cases}


def test_a_run_that_knows_fewer_classes_is_not_gone_on_with(session):
    session.start_training(_config())
    _until(session, lambda: session.history.proposed)
    session.stop_training()
    _until(session, lambda: not session.is_live)
    session.project.new_run(_config())
    session.set_classes(["tumour"])
    assert session.run.id == 1 and session.can_resume, "another name is no hindrance"
    assert list(session.history.proposed[-1].by_class) == ["tumour"]
    assert load_run(session.project, session.run, None, "last").classes == ("tumour",)
    session.set_classes(["tumour", "edema"])
    assert not session.can_resume
    with pytest.raises(ProjectError, match="does not know all classes"):
        session.resume_training()
    assert session.run_state == "stopped"
    session.segment("c")
    _until(session, lambda: not session.segmenting)
    assert "Run 1 knows tumour, and the project has tumour, edema now" in session.said[-1][0]
    assert not session.project.proposals(case="c")


def test_what_a_run_has_said_of_classes_is_told_by_the_names_of_today():
    """Also where two have changed names, or one was added."""
    before = Evaluated(5, {"a": 0.1, "b": 0.2}, {"case": 0.15})
    assert called_now(before, ("b", "a", "c")).dice == {"b": 0.1, "a": 0.2}


def test_training_without_labels_is_refused(tmp_path):
    """Before a thread is started."""
    small_project(tmp_path, labelled=0).close()
    live = Session()
    live.open_project(tmp_path / "project")
    with pytest.raises(ProjectError, match="mark at least one slice"):
        live.start_training(_config())
    live.close()


def test_verbs_without_a_project_are_refused():
    """A sentence, not an AttributeError."""
    live = Session()
    with pytest.raises(ProjectError, match="No project is open"):
        live.start_training(_config())
    live.close()


def test_a_run_that_trains_elsewhere_is_stopped_and_no_other_is_started_beside_it(tmp_path):
    """A window was killed, and the process that it had started trains on."""
    with small_project(tmp_path) as project:
        run = project.new_run(_config())
        other = project.new_run(_config())
        project.set_run_state(other.id, "stopped")
        project.set_run_state(run.id, "running")
    lock = run.lock()
    assert lock.acquire()
    live = Session()
    live.open_project(tmp_path / "project")
    assert live.can_resume
    for verb in (live.resume_training, partial(live.start_training, _config())):
        with pytest.raises(ProjectError, match="Run 1 is training outside of this window"):
            verb()
    live.show_run(run.id)
    assert live.is_live and not live.is_training and not live.can_resume
    for verb, wish in ((live.pause_training, "pause"), (live.resume_training, "run"), (live.stop_training, "stop")):
        verb()
        assert run.wish() == wish
    lock.release()
    _until(live, lambda: live.run_state == "interrupted")
    assert live.can_resume and not live.is_live
    live.close()


def test_closing_stops_training_and_leaves_no_thread(session):
    """The run ends with a checkpoint, the threads are gone."""
    session.start_training(_config())
    _until(session, lambda: session.history.steps)
    run = session.run
    session.close()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("segmatch")]
    assert list(run.checkpoints.glob("[0-9]*"))


def test_decisions_show_at_once_and_can_be_taken_back(session):
    """The list is ahead of the disk; the disk follows."""
    run = session.project.new_run(_config())
    for z in (1, 2):
        session.project.add_proposals(
            run, 1, 1, [PseudoMask(Region("c", z), np.ones(SHAPE[1:], np.uint8), 0.9, "accepted")]
        )
    session.open_project(session.project.path)
    first, second = session.proposals
    session.decide(first, "accepted")
    session.decide(second, "rejected")
    assert [item.decision for item in session.proposals] == ["accepted", "rejected"]
    assert session.agreement() == {("accepted", "accepted"): 1, ("accepted", "rejected"): 1}
    undone = []
    for _ in range(3):
        session.undo(lambda items: undone.extend(item.id for item in items))
    session.wait()
    assert undone == [second.id, first.id]
    assert session.said[-1] == ("There is no decision to take back.", False)
    assert [item.decision for item in session.proposals] == [None, None]
    assert session.project.case("c").labelled == ()


def _propose(project, case):
    """Let a run that is not ours propose something for a case, and say so."""
    run = project.run() if project.runs() else project.new_run(_config())
    masks = [PseudoMask(Region(case, z), np.ones(SHAPE[1:], np.uint8), 0.9, "accepted") for z in (1, 2)]
    project.add_proposals(run, 1, 1, masks)
    run.record(Proposed(1, 1, 2, 0))


def test_proposals_of_the_project_that_was_left_stay_there(session, tmp_path, monkeypatch):
    """The last look at its run begins to read them, and ends when the next is open: their numbers mean others there."""
    (tmp_path / "next").mkdir()
    with small_project(tmp_path / "next") as other:
        _propose(other, "c")
    session.project.new_run(_config())
    session.open_project(session.project.path)
    _propose(session.project, "d")
    facts = session._facts
    monkeypatch.setattr(session, "_facts", lambda cases: (facts(cases), time.sleep(0.3))[0])
    session.open_project(other.path)
    session.wait()
    assert {item.case for item in session.proposals} == {"c"}
    item = session.proposals[0]
    session.decide(item, "rejected")
    session.wait()
    assert [(p.case, p.z, p.decision) for p in session.project.proposals() if p.decision] == [("c", item.z, "rejected")]


def test_versions_that_wait_are_not_read_at_each_save(session, monkeypatch):
    """Five of them on large volumes held up the window for half a second after each stroke."""
    read, heard, asides = [], [], Project.asides
    monkeypatch.setattr(Project, "asides", lambda project: (read.append(1), asides(project))[1])
    session.asides_changed.connect(lambda: heard.append(len(session.asides)))
    session.project.keep_beside("c", {1: np.ones(SHAPE[1:], np.uint8)})
    read.clear()
    for value in (0, 1, 0):
        session.save_slices("d", {1: np.full(SHAPE[1:], value, np.uint8)}, done=[1])
        session.wait()
    assert read == heard == [1]
    session.leave_aside(session.asides[0])
    session.wait()
    assert heard == [1, 0]


def test_what_cannot_be_read_of_a_project_that_was_left_is_no_trouble_of_the_next(session, tmp_path):
    """Its thread comes too late: no project is open any more, or another."""
    gate = threading.Event()

    def late():
        gate.wait(10)
        raise ProjectError("No project is open: create one or open one first.")

    session.project_changed.connect(lambda: session.project or (session.read(late, print), gate.set()))
    session.open_project(session.project.path)
    session.wait()
    assert not any(wrong for _, wrong in session.said)


def test_reopened_project_shows_its_last_run(session):
    """History is rebuilt from the run's events."""
    session.start_training(_config(steps=6))
    _until(session, lambda: session.run_state == "finished")
    again = Session()
    again.open_project(session.project.path)
    assert again.history.steps
    assert again.run_state == "finished"
    again.close()


def test_what_an_earlier_save_tells_takes_back_nothing_that_was_said_since(session, monkeypatch):
    """The second word on a case is shown from the key press on, however long it waits for the disk."""
    _propose(session.project, "c")
    session.open_project(session.project.path)
    first, second = session.proposals
    go, decide = threading.Event(), session.project.decide
    monkeypatch.setattr(
        session.project,
        "decide",
        lambda item, *given, **more: (item == first or go.wait(30), decide(item, *given, **more))[1],
    )
    session.decide(first, "rejected")
    session.decide(second, "rejected")
    _until(session, lambda: session.saved_at is not None)
    assert [item.decision for item in session.proposals] == ["rejected", "rejected"]
    go.set()
    session.wait()
    assert [item.decision for item in session.proposals] == ["rejected", "rejected"]


def test_proposals_that_are_read_while_somebody_decides_take_no_word_back(session, monkeypatch):
    """New ones came for the case a moment before: they are read again when the word is on disk."""
    _propose(session.project, "c")
    session.open_project(session.project.path)
    item, facts, decide = session.proposals[0], session._facts, session.project.decide
    read, go, saved = threading.Event(), threading.Event(), threading.Event()
    monkeypatch.setattr(session, "_facts", lambda cases: (facts(cases), read.set(), go.wait(30))[0])
    monkeypatch.setattr(session.project, "decide", lambda *given, **more: (saved.wait(30), decide(*given, **more))[1])
    session._refresh(["c"])
    assert read.wait(30)
    session.decide(item, "rejected")
    go.set()
    session._jobs.finish("read")
    assert session.proposals.get(item.id).decision == "rejected"
    saved.set()
    session.wait()
    assert session.proposals.get(item.id).decision == "rejected"


def test_a_case_goes_and_comes_back(session):
    """With its masks and proposals; that there is no such case is a sentence."""
    session.save_slices("c", {1: np.ones(SHAPE[1:], np.uint8)}, done=[1])
    run = session.project.new_run(_config())
    mask = PseudoMask(Region("c", 2), np.ones(SHAPE[1:], np.uint8), 0.5, "rejected")
    session.project.add_proposals(run, 1, 1, [mask])
    session.remove_case("c")
    session.wait()
    assert [case.id for case in session.cases] == ["a", "b", "d"] and not session.proposals.of_case("c")
    assert session.project.removed_cases == ["c"] and "brings it back" in session.said[-1][0]
    session.restore_case("c")
    session.wait()
    assert session.case("c").labelled == (1,) and sorted(session.proposals.of_case("c")) == [2]
    assert session.project.removed_cases == []
    session.restore_case("c")
    session.wait()
    assert session.said[-1] == ("There is no removed case 'c' in project.", True)


def test_a_case_that_goes_takes_no_other_s_proposals_along(session, monkeypatch):
    """The trainer proposes masks of a case that is taken out just then, or whose proposals are just being read."""
    session.project.new_run(_config())
    session.open_project(session.project.path)
    session.remove_case("c")
    session.wait()
    _propose(session.project, "c")
    _propose(session.project, "d")
    session._fetch_proposals()
    session.wait()
    assert {item.case for item in session.proposals} == {"d"} and not any(wrong for _, wrong in session.said)
    read, facts = threading.Event(), session._facts

    def slow(cases):
        found = facts(cases)
        return (found, read.wait(30))[0]

    monkeypatch.setattr(session, "_facts", slow)
    session._refresh(["d"])
    session.remove_case("d")
    _until(session, lambda: session.known("d") is None)
    read.set()
    session.wait()
    assert not session.proposals
