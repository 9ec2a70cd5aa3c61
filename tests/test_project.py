"""The project folder: what people add to it, and that nothing of it is lost."""

import csv
import json
import os
import re
import sqlite3
import sys
from dataclasses import replace
from hashlib import sha256

import nibabel as nib
import numpy as np
import pytest
from helpers import SHAPE, geometry, labels, small_project, write_case

from napari_segmatch import Project
from napari_segmatch.config import configure, fitted
from napari_segmatch.errors import ImportProblem, ProjectError, Question
from napari_segmatch.events import PseudoMask
from napari_segmatch.io import read_sequences, read_volume, sequences, write_image
from napari_segmatch.project import cases, prints
from napari_segmatch.project.doctor import examine
from napari_segmatch.project.layouts import LAYOUTS
from napari_segmatch.project.pool import ProjectPool
from napari_segmatch.types import NOT_ANNOTATED, Geometry, Region


@pytest.fixture
def project(tmp_path):
    with small_project(tmp_path) as opened:
        yield opened


def _propose(project, case="c", z=2, score=0.9, verdict="accepted", mask=None):
    run = project.new_run(configure())
    mask = np.zeros(SHAPE[1:], np.uint8) if mask is None else mask
    mask[5:9, 5:9] = 1
    project.add_proposals(run, 10, 3, [PseudoMask(Region(case, z), mask, score, verdict)])
    return project.proposals()[-1]


def test_a_run_does_not_enlarge_small_slices(project):
    """Slices of 32 x 40 pixels fill a square of 48; a size below that is kept, and each run keeps its own."""
    for asked, taken in ((128, 48), (48, 48), (32, 32)):
        assert project.new_run(configure(size=asked)).config.size == taken
    assert [run.config.size for run, _ in project.runs()] == [48, 48, 32]


def test_slices_that_lie_close_are_seen_with_their_neighbours(project, tmp_path):
    """Where they are about as far apart as their pixels, in most cases; not where nobody knows how far that is."""
    near = Geometry((9, 12, 12), np.diag([1.4, 1, 1, 1]))
    with Project.create(tmp_path / "close", ["lesion"], ["flair"]) as close:
        write_image(tmp_path / "a.nii.gz", np.ones(near.shape, np.float32), near)
        close.add_case("a", {"flair": tmp_path / "a.nii.gz"})
        assert close.new_run(configure()).config.neighbours == 1
        assert close.new_run(configure(neighbours=0)).config.neighbours == 0
        assert close.new_run(configure("paper")).config.neighbours == 0
    assert project.new_run(configure()).config.neighbours == 0
    assert project.new_run(configure(neighbours=2)).config.neighbours == 2
    far = replace(near, affine=np.diag([1.6, 1, 1, 1]))
    flat = replace(near, affine=np.diag([1.4, 0.5, 1, 1]))  # pixels that are not square: their longer side counts
    for grids, taken in (
        ([near, near, far], 1), ([near, far], 0), ([replace(near, known=False)], 0), ([flat], 1), ([], 0),
    ):  # fmt: skip
        assert fitted(configure(), grids).neighbours == taken


def test_project_reopens_with_everything_in_it(project):
    """Classes, sequences, cases and masks are on disk, not in the object."""
    with Project.open(project.path) as again:
        assert (again.classes, again.sequences) == (("lesion",), ("flair",))
        assert [case.id for case in again.cases] == ["a", "b", "c", "d"]
        assert np.array_equal(again.mask("a"), labels(0))
        assert again.case("a").labelled == tuple(range(SHAPE[0]))


def test_classes_are_renamed_and_added_and_none_goes(project):
    project.set_colours({"lesion": "#123456"})
    before, done = project.mask("a"), project.case("a").labelled
    project.set_classes(["tumour", "edema"])
    with Project.open(project.path) as again:
        assert again.classes == project.classes == ("tumour", "edema")
        assert again.colours == project.colours == {"tumour": "#123456"}, "a colour follows its class"
        assert np.array_equal(again.mask("a"), before) and again.case("a").labelled == done
        again.save_slices("a", {1: np.full(SHAPE[1:], 2, np.uint8)}, [1])
    assert not [line for line in examine(project.path) if "audit" in line or "damaged" in line]
    many = [f"c{number}" for number in range(51)]
    wrong = (
        (["tumour"], "none can go"),
        (["a", "a"], "each different"),
        (["a", ""], "each different"),
        (many, "at most 50"),
    )
    for names, why in wrong:
        with pytest.raises(ProjectError, match=why):
            project.set_classes(names)
    assert project.classes == ("tumour", "edema")


def test_a_project_of_before_that_has_a_class_called_background_gets_more(project):
    """It was not refused then; a new class of that name is."""
    project.store.tell("meta", {"key": "classes", "value": json.dumps(["background"])})
    with Project.open(project.path) as old:
        old.set_classes(["background", "lesion"])
        assert old.classes == ("background", "lesion")
        with pytest.raises(ProjectError, match="'BACKGROUND' is no class"):
            old.set_classes(["front", "lesion", "BACKGROUND"])


def test_classes_stay_as_they_are_while_another_program_trains(project):
    run = project.new_run(configure())
    project.set_run_state(run.id, "running")
    held = run.lock()
    assert held.acquire()
    with Project.open(project.path) as beside, pytest.raises(ProjectError, match="Run 1 is training"):
        beside.set_classes(["tumour"])
    held.release()
    project.set_classes(["tumour"])
    assert project.classes == ("tumour",)


def test_adding_a_class_is_one_step(project, monkeypatch):
    """If it breaks off, no slice is left that says it shows nothing of a class which nobody looked for."""
    before = {case.id: case.labelled for case in project.cases}
    save, saved = Project.save_slices, []

    def breaking_off(self, case, *given, **more):
        if saved:
            raise KeyboardInterrupt
        saved.append(save(self, case, *given, **more))

    monkeypatch.setattr(Project, "save_slices", breaking_off)
    with pytest.raises(KeyboardInterrupt):
        project.set_classes(["lesion", "edema"], reopen=True)
    monkeypatch.undo()
    for opened in (project, Project.open(project.path)):
        assert opened.classes == ("lesion",) and {case.id: case.labelled for case in opened.cases} == before
    project.set_classes(["lesion", "edema"], reopen=True)
    assert not any(case.labelled for case in project.cases) and (project.mask("a") == 1).any()


def test_classes_that_another_program_has_changed_are_not_changed_back(project):
    with Project.open(project.path) as beside:
        beside.set_classes(["lesion", "necrosis"])
    with pytest.raises(ProjectError, match="open the project again"):
        project.set_classes(["lesion", "edema"])
    with Project.open(project.path) as again:
        assert again.classes == ("lesion", "necrosis")


def test_proposals_by_a_model_that_does_not_know_all_classes_are_offered_no_more(project):
    """Accepted, they would say that the new class is not there. What people have said of slices stays."""
    waiting, rejected, accepted = (_propose(project, z=z) for z in (1, 2, 3))
    project.decide(rejected, "rejected")
    project.decide(accepted, "accepted")
    project.set_classes(["lesion"])
    assert [item.id for item in project.proposals()] == [waiting.id, rejected.id, accepted.id]
    project.set_classes(["lesion", "edema"])
    assert [item.id for item in project.proposals()] == [rejected.id, accepted.id]
    project.set_classes(["lesion", "edema", "necrosis"], reopen=True)
    assert [item.id for item in project.proposals(case="c")] == [rejected.id], "its slice is open again"
    fresh = _propose(project, z=3)
    assert [item.id for item in project.proposals()] == [rejected.id, fresh.id]


@pytest.mark.parametrize("reopen", [True, False])
def test_a_decision_of_before_a_class_was_added_comes_back_as_the_person_chose(project, reopen):
    """Redone, it opens the slice if that was said of all that is done, however often it is undone and redone."""
    drawn = np.zeros(SHAPE[1:], np.uint8)
    drawn[3:9, 4:12] = 1
    item, other = _propose(project, mask=drawn), _propose(project, z=3, mask=drawn)
    project.decide(item, "accepted")
    project.decide(other, "corrected", np.flipud(drawn))
    for _ in range(2):
        project.revert(project.undoable()[0])
    project.set_classes(["lesion", "edema"], reopen)
    for _ in range(2):
        for z, mask in ((2, drawn), (3, np.flipud(drawn))):
            project.revert(project.undoable()[1])
            assert (z in project.case("c").labelled) is not reopen
            assert np.array_equal(project.mask("c")[z] == 1, mask == 1), "what it drew is there"
        assert [project.proposal(each.id).decision for each in (item, other)] == ["accepted", "corrected"]
        for _ in range(2):
            project.revert(project.undoable()[0])
        assert (project.mask("c") == 255).all()
    project.set_classes(["lesion", "edema", "necrosis"], reopen=False)
    project.revert(project.undoable()[1])
    assert (2 in project.case("c").labelled) is not reopen
    fresh = _propose(project, case="d", mask=drawn)
    project.decide(fresh, "accepted")
    for which in (0, 1):
        project.revert(project.undoable()[which])
    assert project.case("d").labelled == (2,), "it was said when the classes were known"


def test_a_decision_is_taken_back_also_where_its_slice_was_opened_since(project):
    """Opened for a new class the slice is a draft, and nobody has drawn on it."""
    drawn = np.zeros(SHAPE[1:], np.uint8)
    drawn[3:9, 4:12] = 1
    project.decide(_propose(project, mask=drawn), "accepted")
    project.set_classes(["lesion", "edema"], reopen=True)
    assert (project.mask("c")[2] == 1).any() and not project.case("c").labelled
    project.revert(project.undoable()[0])
    assert (project.mask("c") == 255).all()


@pytest.mark.parametrize("reopen", [True, False])
def test_a_case_that_was_not_there_when_a_class_was_added_comes_back_as_the_person_chose(project, reopen):
    before, done = project.mask("a"), project.case("a").labelled
    for case in ("a", "c"):
        project.remove_case(case)
    project.set_classes(["lesion", "edema"], reopen)
    back = project.restore_case("a")
    assert back.version == project.case("a").version and back.labelled == (() if reopen else done)
    assert np.array_equal(project.mask("a") == 1, before == 1), "what is drawn stays"
    assert project.restore_case("c").version is None
    project.save_slices("a", {1: before[1]}, [1])
    project.remove_case("a")
    assert 1 in project.restore_case("a").labelled, "what was done since is done"


def test_where_nothing_was_done_when_a_class_was_added_what_comes_back_is_open(project):
    """Nobody was asked whether slices may show it. Another name asks for nothing."""
    drawn = np.zeros(SHAPE[1:], np.uint8)
    drawn[3:9, 4:12] = 1
    project.decide(_propose(project, mask=drawn), "accepted")
    project.revert(project.undoable()[0])
    project.save_slices("b", {}, [0])  # the newest version of all is one of those
    labelled = {case.id: case.labelled for case in project.cases if case.labelled}
    for case in labelled:
        project.remove_case(case)
    project.set_classes(["tumour"])
    assert project.restore_case("a").labelled == labelled["a"]
    project.remove_case("a")
    project.set_classes(["tumour", "edema"])
    project.revert(project.undoable()[1])
    assert (project.mask("c")[2] == 1).any()
    assert [project.restore_case(case).labelled for case in labelled] == [()] * len(labelled)
    assert not any(case.labelled for case in project.cases)
    project.save_slices("d", {0: drawn})
    version = project.case("d").version
    project.remove_case("d")
    project.set_classes(["tumour", "edema", "necrosis"])
    assert project.restore_case("d").version == version, "a draft is a draft already"


def test_what_spoke_for_a_proposal_comes_back_with_the_decision_on_it(project):
    """The trainer gets it with the word, so that the word can move its chances; where nobody noted it, nothing."""
    run, mask = project.new_run(configure()), np.ones(SHAPE[1:], np.uint8)
    noted = {1: (-0.25, None), 2: ()}
    masks = [PseudoMask(Region("c", z), mask, 0.9, "accepted", margins=margins) for z, margins in noted.items()]
    project.add_proposals(run, 10, 3, masks)
    for item in project.proposals():
        project.decide(item, "rejected")
    assert [item.margins for item in ProjectPool(project).snapshot().reviewed] == [(-0.25, None), ()]


def test_a_slice_that_is_drawn_by_hand_tells_of_its_latest_proposal(project):
    """Painting over a bad proposal instead of rejecting it teaches the same; a word on the slice takes its place."""
    run, mask = project.new_run(configure()), np.ones(SHAPE[1:], np.uint8)
    for step in (10, 20):
        masks = [PseudoMask(Region("c", z), mask, 0.9, "accepted", margins=(step / 10,)) for z in (1, 2, 3)]
        project.add_proposals(run, step, 3, masks)
    pool = ProjectPool(project)
    assert pool.snapshot().reviewed == ()
    project.save_slices("c", {z: np.zeros(SHAPE[1:], np.uint8) for z in (1, 2)}, done=[1, 2])
    told = pool.snapshot().reviewed
    assert [(item.region.z, item.verdict, item.margins) for item in told] == [
        (1, "corrected", (2.0,)),
        (2, "corrected", (2.0,)),
    ]
    project.decide(told[0].proposal, "rejected")
    assert [(item.region.z, item.verdict) for item in pool.snapshot().reviewed] == [(1, "rejected"), (2, "corrected")]
    project.save_slices("c", {2: np.zeros(SHAPE[1:], np.uint8)}, reopen=[2])
    assert [item.region.z for item in pool.snapshot().reviewed] == [1]
    project.take_back(told[0].proposal)
    assert [(item.region.z, item.verdict) for item in pool.snapshot().reviewed] == [(1, "corrected")]
    project.add_proposals(run, 30, 3, [PseudoMask(Region("d", 1), mask, 0.9, "accepted")])
    project.save_slices("d", {1: mask}, done=[1])
    assert [item.region.case for item in pool.snapshot().reviewed] == ["c"]


def test_undoing_does_not_change_whether_a_word_was_said_of_many(project):
    """Three accepted at once, one of them rejected and that undone: it is one of many still. And the reverse."""
    run, mask = project.new_run(configure()), np.ones(SHAPE[1:], np.uint8)
    masks = [PseudoMask(Region(case, z), mask, 0.9, "accepted", margins=(0.1,)) for case in "cd" for z in (1, 2, 3)]
    ids = project.add_proposals(run, 10, 3, masks)
    project.decide_all(ids[:3], "accepted")
    project.decide(ids[0], "rejected")
    project.revert(project.undoable()[0])
    for id in ids[3:]:
        project.decide(id, "rejected")
    project.decide_all(ids[3:], "deferred")
    project.revert(project.undoable()[0])
    margins = {item.proposal: item.margins for item in ProjectPool(project).snapshot().reviewed}
    assert margins == dict.fromkeys(ids[:3], ()) | dict.fromkeys(ids[3:], (0.1,))


def test_unlabelled_case_is_not_annotated_anywhere(project):
    """A mask file of a case that is not labelled is not imported."""
    assert (project.mask("c") == 255).all()
    assert project.case("c").labelled == ()


def test_draft_keeps_strokes_and_teaches_nothing(project):
    """On a slice that is not done, what is painted stays and the rest is unknown, never background."""
    drawn = np.zeros(SHAPE, np.uint8)
    drawn[1, 3:6, 3:6] = 1
    project.save_mask("c", drawn)
    saved = project.mask("c")
    assert (saved[1, 3:6, 3:6] == 1).all()
    assert (saved[0] == 255).all()
    assert project.case("c").labelled == ()
    assert (ProjectPool(project).mask("c") == 255).all()


@pytest.mark.parametrize("done", [[0, 3], np.array([0, 3])])
def test_done_slice_counts_whole(project, done):
    """An empty slice marked done is a label: no lesion here. Numbers may be numpy's own."""
    project.save_mask("c", np.zeros(SHAPE, np.uint8), done=done)
    assert project.case("c").labelled == (0, 3)
    assert (project.mask("c")[[0, 3]] == 0).all()
    assert ProjectPool(project).snapshot().labelled["c"] == (0, 3)


def test_done_slices_add_up_and_can_be_reopened(project):
    """A later save does not take earlier slices back; reopening does."""
    project.save_mask("c", project.mask("c") * 0, done=[0])
    project.save_mask("c", project.mask("c"), done=[])
    assert project.case("c").labelled == (0,)
    project.save_mask("c", project.mask("c"), reopen=[0])
    assert project.case("c").labelled == ()


def test_every_version_stays(project):
    """Saving makes a new row and a new file; neither can be changed or removed."""
    for value in (0, 1, 0):
        project.save_mask("c", np.full(SHAPE, value, np.uint8), done=[1])
    rows = project.store.rows("SELECT object FROM mask_version WHERE case_id = 'c' ORDER BY id")
    assert [project.objects.get(row["object"])[1].max() for row in rows] == [0, 1, 0]
    with pytest.raises(sqlite3.IntegrityError), project.store.atomic() as db:
        db.execute("DELETE FROM mask_version")


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (np.zeros((2, 3, 4), np.uint8), "shape"),
        (np.zeros(SHAPE, np.float32), "whole numbers"),
        (np.full(SHAPE, 2, np.uint8), "label 2"),
        (np.full(SHAPE, -1, np.int16), "label -1"),
        (np.full(SHAPE, 511, np.int16), "label 511"),
    ],
)
def test_a_wrong_mask_is_refused_and_nothing_changes(project, bad, says):
    """One sentence says what came; the last version stays."""
    before = project.case("c").version
    with pytest.raises(ProjectError, match=says):
        project.save_mask("c", bad, done=[0])
    assert project.case("c").version == before


def test_a_case_that_is_not_there_is_told_from_those_that_are(project, tmp_path):
    """The sentence lists them, as far as they are few."""
    with pytest.raises(ProjectError, match=r"no case 'zz' in project; its cases are a, b, c, d\.$"):
        project.case("zz")
    for id in "bcd":
        project.remove_case(id)
    for number in range(25):
        project.set_aside(f"x{number:02d}", "no file")
    with pytest.raises(ProjectError, match=r"its cases are a, x00, .*, x18, …\.$"):
        project.case("zz")
    with pytest.raises(ProjectError, match="it was removed, and `segmatch restore` brings it back"):
        project.case("b")
    with (
        Project.create(tmp_path / "empty", ["lesion"], ["flair"]) as empty,
        pytest.raises(ProjectError, match="has none"),
    ):
        empty.case("a")


def test_slices_outside_the_volume_are_refused(project):
    """A slice number beyond the last is a mistake worth a sentence."""
    with pytest.raises(ProjectError, match="0 to 3"):
        project.save_mask("c", np.zeros(SHAPE, np.uint8), done=[4])


def test_accepted_proposal_becomes_the_label_of_its_slice(project):
    """Accepting writes a mask version; the slice joins the labelled pool."""
    item = _propose(project)
    decision = project.decide(item, "accepted")
    assert decision.mask_version == project.case("c").version
    assert project.case("c").labelled == (2,)
    assert np.array_equal(project.mask("c")[2], project.proposal_mask(item))
    assert project.proposals()[-1].decision == "accepted"


def test_corrected_proposal_saves_the_correction(project):
    """The person's mask is the label; the proposal itself stays as it was."""
    item = _propose(project)
    better = np.ones(SHAPE[1:], np.uint8)
    assert project.decide(item, "accepted", mask=better).verdict == "corrected"
    assert (project.mask("c")[2] == 1).all()
    assert project.proposal_mask(item).sum() == 16


def test_rejected_slice_leaves_the_unlabelled_pool(project):
    """Its pseudo mask trains no more, and it is a lesson for the discriminator."""
    item = _propose(project)
    project.decide(item, "rejected")
    snapshot = ProjectPool(project).snapshot()
    assert 2 not in snapshot.unlabelled["c"]
    assert [(lesson.region, lesson.verdict) for lesson in snapshot.reviewed] == [(item.region, "rejected")]


def test_take_back_restores_the_slice_as_it_was(project):
    """Taking back an accept returns the draft that was there, and the slice to the unlabelled pool."""
    draft = np.zeros(SHAPE, np.uint8)
    draft[2, 20:24, 20:24] = 1
    project.save_mask("c", draft)
    before = project.mask("c")
    item = _propose(project)
    project.decide(item, "accepted")
    project.take_back(item)
    assert np.array_equal(project.mask("c"), before)
    assert project.case("c").labelled == ()
    assert 2 in ProjectPool(project).snapshot().unlabelled["c"]
    assert project.proposals()[-1].decision is None
    assert [decision.verdict for decision in project.decisions()] == ["accepted", None]


def test_take_back_leaves_later_work_alone(project):
    """If the person painted on after accepting, taking the decision back must not wipe that."""
    item = _propose(project)
    project.decide(item, "accepted")
    later = project.mask("c")
    later[2, 0, 0] = 1
    project.save_mask("c", later, done=[2])
    project.take_back(item)
    assert np.array_equal(project.mask("c")[2], later[2])


def test_deciding_again_replaces_the_earlier_word(project):
    """Reject after accept: the label that the accept made is gone."""
    item = _propose(project)
    project.decide(item, "accepted")
    project.decide(item, "rejected")
    assert project.case("c").labelled == ()
    assert project.proposals()[-1].decision == "rejected"


def test_undo_walks_back_through_history(project):
    """Backspace, at any depth."""
    first, second = _propose(project, z=1), _propose(project, z=2)
    project.decide(first, "accepted")
    project.decide(second, "rejected")
    for expected in (second, first):
        last, _ = project.undoable()
        assert [word.proposal for word in project.decisions() if word.batch == last] == [expected.id]
        assert [word.verdict for word in project.revert(last)] == [None]
        assert project.proposal(expected.id).decision is None
    assert project.undoable()[0] is None


def test_a_removed_case_does_not_stand_in_the_way_of_undo(project):
    """Words on its proposals stand until it is restored; those on others are taken back, alone or with their run."""
    here, gone, late = _propose(project, z=1), _propose(project, "d", z=1), _propose(project, "d", z=2)
    project.decide(here, "accepted")
    project.decide_all([gone, late], "accepted")
    project.remove_case("d")
    project.revert(project.undoable()[0])
    assert project.case("c").labelled == ()
    assert project.undoable()[0] is None
    project.revert(project.undoable()[1])
    assert project.case("c").labelled == (1,)
    assert [word.proposal for word in project.roll_back(here.run)] == [here.id]
    assert project.case("c").labelled == ()
    with pytest.raises(ProjectError, match="no case 'd'"):
        project.decide(gone, "rejected")
    project.restore_case("d")
    project.revert(project.undoable()[0])
    assert project.case("c").labelled == (1,)
    project.revert(project.undoable()[0])
    project.revert(project.undoable()[0])
    assert project.case("d").labelled == ()
    assert project.undoable()[0] is None


def test_newest_proposal_of_a_slice_is_the_one_shown(project):
    """A later proposal for the same slice takes the earlier one's place."""
    _propose(project, score=0.1)
    newer = _propose(project, score=0.8)
    assert [item.id for item in project.proposals()] == [newer.id]


def test_judged_proposal_is_not_pushed_out_by_a_newer_one(project):
    """A proposal that arrives for a slice which somebody has just rejected does not ask again."""
    judged = _propose(project)
    project.decide(judged, "rejected")
    _propose(project, score=0.7)
    assert [(item.id, item.decision) for item in project.proposals()] == [(judged.id, "rejected")]


def test_slice_labelled_by_hand_has_no_open_proposal(project):
    """Nobody is asked to review what they have just drawn."""
    _propose(project, z=2)
    project.save_mask("c", np.zeros(SHAPE, np.uint8), done=[2])
    assert project.proposals() == []


def test_two_windows_lose_nothing_of_each_other(project):
    """Both read the mask, both save another slice: the newest version has both, whoever was second."""
    with Project.open(project.path) as other:
        mine, theirs = project.mask("c"), other.mask("c")
        mine[0], theirs[1] = 1, 1
        project.save_mask("c", mine, done=[0])
        other.save_mask("c", theirs, done=[1])
        assert project.case("c").labelled == (0, 1)
        assert (project.mask("c")[:2] == 1).all()


def test_decision_does_not_vanish_under_an_old_array(project):
    """An array that was read before a proposal was accepted does not wipe the accepted slice when it is saved."""
    old = project.mask("c")
    item = _propose(project)
    project.decide(item, "accepted")
    old[0] = 1
    project.save_mask("c", old, done=[0])
    assert project.case("c").labelled == (0, 2)
    assert np.array_equal(project.mask("c")[2], project.proposal_mask(item))


def test_stale_proposal_does_not_replace_a_drawn_slice(project):
    """What a person has drawn since is not overwritten by accepting the machine's mask."""
    item = _propose(project)
    drawn = np.zeros(SHAPE, np.uint8)
    drawn[2, :3] = 1
    project.save_mask("c", drawn, done=[2])
    with pytest.raises(ProjectError, match="labelled since"):
        project.decide(item, "accepted")
    assert np.array_equal(project.mask("c")[2], drawn[2])
    assert project.decisions() == []


def test_decision_is_whole_or_not_at_all(project, monkeypatch):
    """If the decision's row cannot be written, no label is left behind, and an earlier decision still stands."""
    from napari_segmatch.project import decisions

    item = _propose(project)
    project.decide(item, "rejected")

    def fail(*_):
        raise ProjectError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(decisions, "insert_decision", fail)
        with pytest.raises(ProjectError, match="full"):
            project.decide(item, "accepted")
    assert project.case("c").labelled == ()
    assert project.proposal(item.id).decision == "rejected"


def test_mask_of_0_and_255_is_asked_about(project, tmp_path):
    """A very common export: 255 is the lesion there, and must not silently become "not annotated"."""
    images, mask = write_case(tmp_path / "new", 3)
    image = nib.load(mask)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) * np.uint8(255), image.affine), mask)
    with pytest.raises(ImportProblem, match="choose labels=255:1"):
        project.add_case("x", images, mask, "all")


def test_wholly_unjudged_slices_are_not_imported_as_labels(project, tmp_path):
    """A slice of 255 alone is nobody's label."""
    images, mask = write_case(tmp_path / "new", 3)
    image = nib.load(mask)
    data = np.asarray(image.dataobj).copy()
    data[..., 3] = 255
    nib.save(nib.Nifti1Image(data, image.affine), mask)
    assert project.add_case("x", images, mask, "all").labelled == (0, 1, 2)


def test_case_without_work_can_be_added_again(project, tmp_path):
    """A wrong pattern is mended by adding the case once more; a case with labels is protected."""
    images, mask = write_case(tmp_path / "again", 5)
    assert project.add_case("c", images, mask, "all").labelled == (0, 1, 2, 3)
    with pytest.raises(ProjectError, match="already a case"):
        project.add_case("c", images)


@pytest.mark.parametrize(("first", "second"), [("Pat-1", "pat-1"), ("Müller", "MÜLLER")])
def test_two_cases_never_differ_in_capital_letters_alone(project, tmp_path, first, second):
    """On the disks of Windows and macOS their exported masks would be one file. A removed case may come back."""
    images, mask = write_case(tmp_path / "again", 5)
    project.add_case(first, images, mask, "all")
    with pytest.raises(ProjectError, match="differ in capital letters alone"):
        project.add_case(second, images)
    project.remove_case(first)
    with pytest.raises(ProjectError, match="differ in capital letters alone"):
        project.add_case(second, images)
    assert project.find_case(second) is None


def test_export_never_takes_an_image_s_place(tmp_path):
    """Exporting into the folder of the scans must not write a mask over a scan of the same name."""
    images, mask = write_case(tmp_path / "scans")
    scan = images["flair"].rename(tmp_path / "scans" / "a.nii.gz")
    before = scan.read_bytes()
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        project.add_case("a", {"flair": scan}, mask, "all")
        with pytest.raises(ProjectError, match="place of an image"):
            project.export(tmp_path / "scans")
    assert scan.read_bytes() == before


def linked(link, target):
    link.parent.mkdir(parents=True, exist_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    link.rename(target)
    link.symlink_to(target)


def test_images_behind_links_are_read_by_the_links_names(tmp_path):
    """A store may keep files under names that tell nothing; in the project, moved or not, each has the link's name."""
    images, mask = write_case(tmp_path / "in" / "a")
    linked(images["flair"], tmp_path / "store" / "ab12")
    linked(mask, tmp_path / "store" / "cd34")
    (tmp_path / "scans").symlink_to(tmp_path / "in" / "a", target_is_directory=True)
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        project.add_case("a", {"flair": tmp_path / "scans" / ".." / "a" / "flair.nii.gz"}, mask, "all")
        assert project.image_paths("a") == {"flair": images["flair"]}
        assert project.volume("a").pixels.any()
    assert examine(tmp_path / "p") == []
    (tmp_path / "moved").mkdir()
    for name in ("p", "in"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    with Project.open(tmp_path / "moved" / "p") as project:
        assert project.volume("a").pixels.any()


def test_a_project_whose_images_are_stored_behind_their_links_opens(tmp_path):
    """As they were stored before: by what the links lead to."""
    images, _ = write_case(tmp_path / "in" / "a")
    linked(images["flair"], tmp_path / "store" / "a.nii.gz")
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        project.add_case("a", {"flair": tmp_path / "store" / "a.nii.gz"})
        assert project.store.row("SELECT path FROM image")["path"] == "../store/a.nii.gz"
        assert project.volume("a").pixels.any()


@pytest.mark.parametrize("which", ["link", "target"])
def test_export_takes_the_place_of_no_link_and_of_no_image_behind_one(tmp_path, which):
    """Neither what the project reads nor where it lies may be written over, whatever links lead there."""
    images, mask = write_case(tmp_path / "scans")
    image, target = tmp_path / "scans" / "a.nii.gz", tmp_path / "store" / "a.nii.gz"
    images["flair"].rename(image)
    before = image.read_bytes()
    linked(image, target)
    (tmp_path / "out").symlink_to((image if which == "link" else target).parent, target_is_directory=True)
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        project.add_case("a", {"flair": image}, mask, "all")
        for folder in ((image if which == "link" else target).parent, tmp_path / "out"):
            with pytest.raises(ProjectError, match="place of an image"):
                project.export(folder)
    assert image.is_symlink() and target.read_bytes() == before


@pytest.mark.parametrize("reopen", [False, True])
def test_a_project_stays_where_it_was_opened_when_its_program_moves(tmp_path, monkeypatch, reopen):
    """A notebook goes to another folder: a mask that is saved then would lie there, and be lost to the project."""
    images, _ = write_case(tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    project = Project.create("p", ["lesion"], ["flair"])
    if reopen:
        project.close()
        project = Project.open("p")
    project.add_case("a", images, None)
    monkeypatch.chdir(tmp_path / "images")
    with project:
        project.save_mask("a", labels(), done=[1])
        project.add_case("b", *write_case(tmp_path / "b", 1))
        assert project.path == tmp_path / "p" and project.volume("a").pixels.any()
    assert not (tmp_path / "images" / "p").exists()
    assert examine(tmp_path / "p") == []


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are text there")
def test_a_folder_whose_name_is_no_text_takes_no_project(tmp_path):
    """Where images are looked for is noted, as text, when it is made; nothing is left of what cannot be."""
    folder = tmp_path / os.fsdecode(b"stra\xdfe")
    with pytest.raises(ProjectError, match=r"stra\?e/p has a name that is not UTF-8: rename it\.$"):
        Project.create(folder / "p", ["lesion"], ["flair"])
    assert not folder.exists()


def test_places_behind_links_are_replaced_in_texts(tmp_path):
    """A message may name the link or what it leads to: neither leaves the project."""
    images, _ = write_case(tmp_path / "in" / "ZZCANARY")
    linked(images["flair"], tmp_path / "ZZCANARY-store" / "x")
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        project.add_case("a", images)
        text = f"{images['flair']} and {images['flair'].resolve()} are broken"
        assert project.without_names(text) == "[a] and [a] are broken"


def test_interrupted_creation_can_be_repeated(tmp_path):
    """A kill while a project is made leaves a folder in which it can be made."""
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / ".new-segmatch.db").write_bytes(b"half")
    Project.create(tmp_path / "p", ["lesion"], ["flair"]).close()
    Project.open(tmp_path / "p").close()


def test_damaged_database_is_a_sentence(project):
    """A page of zeros in the middle of the file."""
    project.close()
    path = project.path / "segmatch.db"
    data = bytearray(path.read_bytes())
    data[4096 : 4096 * 6] = bytes(4096 * 5)
    path.write_bytes(data)
    with pytest.raises(ProjectError, match=r"damaged|cannot be used"), Project.open(project.path) as opened:
        opened.mask("a")


def test_pool_version_moves_with_every_fact(project):
    """The trainer's one cheap question answers yes after a mask, a decision and a new case."""
    pool, seen = ProjectPool(project), []
    seen.append(pool.version())
    project.save_mask("c", np.zeros(SHAPE, np.uint8), done=[1])
    seen.append(pool.version())
    project.decide(_propose(project), "deferred")
    seen.append(pool.version())
    assert seen == sorted(set(seen))


def test_no_split_cuts_through_a_patient(tmp_path):
    """All cases of a patient with a frozen case stay out of training."""
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        for name, patient, held_out in (("a1", "A", False), ("a2", "A", True), ("b1", "B", False)):
            images, mask = write_case(tmp_path / name, 1)
            project.add_case(name, images, mask, "all", patient=patient, validation=held_out)
        snapshot = ProjectPool(project).snapshot()
        assert set(snapshot.labelled) == set(snapshot.unlabelled) == {"b1"}
        assert snapshot.validation == ("a2",)


def test_others_write_while_an_image_is_hashed(project, tmp_path, monkeypatch):
    """Large files on a slow disk take seconds each: the window's saves, or another program's, do not wait for them."""
    whole, written = cases.file_hash, []

    def hashing(path):
        assert not project.store._db.in_transaction
        with Project.open(project.path) as other:
            written.append(other.save_mask("c", labels(len(written)), done=[len(written)]))
        return whole(path)

    monkeypatch.setattr(cases, "file_hash", hashing)
    images, mask = write_case(tmp_path / "z", 9)
    project.add_case("z", images, mask, "all")
    assert project.case("c").version == written[-1]
    assert project.store.row("SELECT sha256 FROM image WHERE case_id = 'z'")["sha256"] == whole(images["flair"])


def test_broken_file_is_refused_in_a_sentence_and_can_be_set_aside(project, tmp_path):
    """The project is unchanged, the case is listed with its problem, and a good file replaces it."""
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"<html>404</html>")
    with pytest.raises(ImportProblem) as caught:
        project.add_case("x", {"flair": bad})
    project.set_aside("x", str(caught.value))
    assert "bad.nii.gz" in project.case("x").problem
    assert "x" not in ProjectPool(project).snapshot().unlabelled
    images, _ = write_case(tmp_path / "good")
    assert project.add_case("x", images).problem is None
    for sound in ("x", "a"):  # "a" has labels
        assert not project.set_aside(sound, str(caught.value)) and project.case(sound).problem is None


def test_sequences_must_lie_on_one_grid(tmp_path):
    """Two sequences of different shape are one sentence, not a broken volume."""
    with Project.create(tmp_path / "p", ["lesion"], ["flair", "t1"]) as project:
        one, _ = write_case(tmp_path / "one")
        other, _ = write_case(tmp_path / "other", shape=(5, 32, 40))
        with pytest.raises(ImportProblem, match="does not lie on the grid"):
            project.add_case("a", {"flair": one["flair"], "t1": other["flair"]})
        assert project.cases == []


def test_missing_sequence_is_a_channel_of_zeros(tmp_path):
    """A case without one of the project's sequences can still be used."""
    with Project.create(tmp_path / "p", ["lesion"], ["t1", "flair"]) as project:
        images, _ = write_case(tmp_path / "one")
        case = project.add_case("a", images)
        volume = project.volume("a")
        assert case.sequences == ("flair",)
        assert volume.pixels[0].max() == 0
        assert volume.pixels[1].max() > 0


@pytest.mark.parametrize("name", ["", "a/b", "..", "x" * 101, "a\nb", " a", 'a"b'])
def test_names_that_cannot_be_files_are_refused(project, name, tmp_path):
    """Exports are named after cases."""
    images, _ = write_case(tmp_path / "one")
    with pytest.raises(ProjectError):
        project.add_case(name, images)


@pytest.mark.parametrize("classes", [[], ["a", "a"], "lesion", ["x"] * 51])
def test_bad_classes_are_refused(tmp_path, classes):
    """None, doubled, a bare string, too many."""
    with pytest.raises(ProjectError):
        Project.create(tmp_path / "p", classes, ["flair"])


def test_folders_that_are_no_project_are_refused(tmp_path):
    """Missing, empty, and a file of another program."""
    with pytest.raises(ProjectError, match="no project folder"):
        Project.open(tmp_path / "missing")
    with pytest.raises(ProjectError, match="not a SegMatch project"):
        Project.open(tmp_path)
    (tmp_path / "segmatch.db").write_bytes(b"not a database" * 100)
    with pytest.raises(ProjectError):
        Project.open(tmp_path)


def test_newer_project_is_refused_kindly(project):
    """A project of a later version is not touched."""
    with project.store.atomic() as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(ProjectError, match="newer version"):
        Project.open(project.path)


def test_export_lands_on_the_source_voxels(project, tmp_path):
    """The file has the source's shape and affine, and each painted voxel is where it was."""
    files = project.export(tmp_path / "out")
    exported, source = nib.load(tmp_path / "out" / "a.nii.gz"), nib.load(tmp_path / "images" / "a" / "flair.nii.gz")
    assert np.allclose(exported.affine, source.affine)
    back = [0, 0, 0]
    for ours, theirs in enumerate(project.case("a").geometry.axes):
        back[theirs] = ours
    assert np.array_equal(np.asarray(exported.dataobj), labels(0).transpose(back))
    tables = {"slices.csv", "volumes.csv", "decisions.csv", "labels-itksnap.txt", "labels-slicer.ctbl"}
    assert {path.name for path in files} == {"a.nii.gz", "b.nii.gz", *tables}


def test_export_says_where_each_slice_is_from(project, tmp_path):
    """Unchecked proposals are only written when asked for, and named as such."""
    _propose(project, case="d", z=1)
    project.save_mask("c", np.zeros(SHAPE, np.uint8), done=[0])
    project.export(tmp_path / "checked")
    assert not (tmp_path / "checked" / "d.nii.gz").exists()
    project.export(tmp_path / "all", include_accepted=True)
    slices = (tmp_path / "all" / "slices.csv").read_text()
    assert 'd,3,1,"accepted proposal, not checked"' in slices, "slice 3 of 4 from the head is index 1 in the file"
    assert "c,4,0,checked" in slices
    assert "c,3,1,not annotated" in slices
    volumes = (tmp_path / "all" / "volumes.csv").read_text()
    assert re.search(r"^a,lesion,[\d.]+,all slices checked$", volumes, re.M)
    assert re.search(r"^c,lesion,[\d.]+,checked slices only$", volumes, re.M)
    assert re.search(r"^d,lesion,[\d.]+,checked \+ unchecked proposals$", volumes, re.M)
    assert "all slices checked" in str(nib.load(tmp_path / "all" / "a.nii.gz").header["descrip"])
    assert "unchecked" in str(nib.load(tmp_path / "all" / "d.nii.gz").header["descrip"])


def test_a_volume_says_that_voxels_of_checked_slices_are_not_annotated(tmp_path):
    """They are 0 in the mask and add nothing: a structure may go on there."""
    with small_project(tmp_path, cases=2, labelled=1) as project:
        drawn = labels(1)
        drawn[1, 0, 0] = NOT_ANNOTATED
        project.save_mask("b", drawn, done=range(SHAPE[0]))
        project.export(tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "volumes.csv").open()))
    assert [row["from"] for row in rows] == ["all slices checked", "all slices checked, some voxels not annotated"]


def test_what_is_decided_during_an_export_is_in_none_of_its_files(project, tmp_path, monkeypatch):
    """Its table of decisions says how its masks came to be: somebody may go on reviewing while it writes."""
    _propose(project, case="d", z=1)
    nifti = LAYOUTS["nifti"]

    def slow(*given):
        if not project.decisions():
            project.decide(1, "accepted")
            project.save_mask("b", np.zeros(SHAPE, np.uint8))
            project.remove_case("b")
        yield from nifti(*given)

    monkeypatch.setitem(LAYOUTS, "nifti", slow)
    project.export(tmp_path / "out")
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.gz")) == ["a.nii", "b.nii"]
    assert (tmp_path / "out" / "decisions.csv").read_text().count("\n") == 1
    assert nib.load(tmp_path / "out" / "b.nii.gz").get_fdata().any()


def test_a_slice_that_is_finished_while_an_export_begins_is_exported_as_it_was_finished(project, tmp_path, monkeypatch):
    """It was called checked, and held the proposal that nobody had checked."""
    _propose(project, case="d", z=1)
    read = Project.proposals

    def meanwhile(*given, **more):
        found = read(project, *given[1:], **more)
        project.save_mask("d", np.zeros(SHAPE, np.uint8), done=[1])
        return found

    monkeypatch.setattr(Project, "proposals", meanwhile)
    project.export(tmp_path / "out", include_accepted=True)
    assert "d,3,1,checked" in (tmp_path / "out" / "slices.csv").read_text()
    assert not nib.load(tmp_path / "out" / "d.nii.gz").get_fdata().any()


def test_a_slice_that_is_finished_while_a_mask_is_read_teaches_as_it_was_finished(project, monkeypatch):
    """What was read a moment before is a draft: it teaches nothing."""
    draft, read = np.zeros(SHAPE, np.uint8), Project.newest_labels
    draft[2, 5:9, 5:9] = 1
    project.save_mask("c", draft)

    def meanwhile(*given):
        labels = read(*given)
        with monkeypatch.context() as once:
            once.setattr(Project, "newest_labels", read)
            project.save_mask("c", labels, done=[2])
        return labels

    monkeypatch.setattr(Project, "newest_labels", meanwhile)
    assert (ProjectPool(project).mask("c") == 255).all()


def test_a_folder_that_no_disk_takes_is_refused_with_a_sentence(tmp_path):
    """Typed in the window it was a traceback."""
    with pytest.raises(ProjectError, match=r"cannot be made \(File name too long\)"):
        Project.create(tmp_path / ("a" * 300), ["lesion"], ["flair"])


def test_a_slice_on_which_nobody_has_judged_anything_is_not_done(project):
    """Whatever a script says: it would be a finished slice that teaches nothing and exports an empty mask."""
    project.save_slices("c", {1: np.full(SHAPE[1:], 255, np.uint8), 2: np.zeros(SHAPE[1:], np.uint8)}, done=[1, 2])
    assert project.case("c").labelled == (2,)
    project.save_slices("c", {2: np.full(SHAPE[1:], 255, np.uint8)})
    assert project.case("c").labelled == ()


def test_a_decision_names_the_mask_that_it_made(project):
    """Also one that took a label away; what was said of others in the same step names none."""
    first, second = (_propose(project, z=z).id for z in (1, 2))
    for decide in (lambda: project.decide(first, "accepted"), lambda: project.take_back(first)):
        assert decide().mask_version == project.case("c").version
    project.decide(first, "accepted")
    made = project.decide_all([first, second], "deferred")
    assert [item.mask_version for item in made] == [project.case("c").version, None]


def test_volumes_of_leaning_voxels_are_true(tmp_path):
    """After a gantry tilt a voxel is smaller than the product of its three edges."""
    affine = np.diag([1.0, 1, 5, 1])
    affine[1, 2] = 5 * np.tan(np.radians(20))
    pixels = np.random.default_rng(0).normal(100, 9, (40, 32, 6)).astype(np.float32)
    nib.save(nib.Nifti1Image(pixels, affine), tmp_path / "tilted.nii.gz")
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        case = project.add_case("a", {"flair": tmp_path / "tilted.nii.gz"}, choices={"shear": "keep"})
        project.save_mask("a", np.ones(case.shape, np.uint8), done=range(6))
        project.export(tmp_path / "out")
    assert "a,lesion,38.400," in (tmp_path / "out" / "volumes.csv").read_text()


def test_nothing_to_export_is_said(tmp_path):
    """An empty project exports nothing, in a sentence."""
    with small_project(tmp_path, labelled=0) as project, pytest.raises(ProjectError, match="nothing to export"):
        project.export(tmp_path / "out")


def test_doctor_finds_damage(project):
    """A flipped bit in a mask, a lost image and a run that died are each a sentence."""
    assert examine(project.path) == []
    name = project.store.row("SELECT object FROM mask_version")["object"]
    data = bytearray(project.objects.path(name).read_bytes())
    data[len(data) // 2] ^= 1
    project.objects.path(name).write_bytes(data)
    project.image_paths("d")["flair"].unlink()
    run = project.new_run(configure())
    project.set_run_state(run.id, "running")
    broken = run.checkpoints / "00000005"
    broken.mkdir(parents=True)
    (broken / "state.json").write_text("{}")
    sentences = examine(project.path)
    assert len(sentences) == 4
    assert any("Checkpoint 00000005" in text for text in sentences)
    assert any("mask of a" in text for text in sentences)
    assert any("case d" in text for text in sentences)
    assert any("interrupted" in text for text in sentences)


@pytest.mark.parametrize("shape", [(6, 32, 40), SHAPE])
def test_image_that_was_replaced_is_noticed(project, tmp_path, shape):
    """Another patient's file under the same name, of another shape or not, is not silently used."""
    other, _ = write_case(tmp_path / "other", 9, shape=shape)
    project.image_paths("a")["flair"].write_bytes(other["flair"].read_bytes())
    with pytest.raises(ImportProblem, match="have changed"):
        project.volume("a")


def test_images_that_another_machine_resamples_otherwise_have_not_changed(tmp_path, monkeypatch):
    """A last bit tells nothing. Other voxels or another place do, and what older projects hold is enough too."""
    whole = sequences.resampled
    images, _ = write_case(tmp_path / "a", 1, sequences=("flair", "t1"))
    moved = geometry()
    moved.affine[0, 3] += 3.3
    t1 = read_volume(images["t1"]).pixels[0]
    write_image(images["t1"], t1, moved)
    said = {"sequences": "resample", "twin": "add"}
    with Project.create(tmp_path / "p", ["lesion"], ["flair", "t1"]) as project:
        with monkeypatch.context() as patch:
            older = lambda *given, **_: replace(read_sequences(*given), stored="")  # noqa: E731
            patch.setattr(cases, "read_apart", lambda read, *given, files: older(*given))
            project.add_case("old", images, choices=said)
        with pytest.raises(Question, match="those of case old"):
            project.add_case("new", images, choices={"sequences": "resample"})
        project.add_case("new", images, choices=said)
        assert np.array_equal(project.volume("new").pixels, project.volume("old").pixels)
        monkeypatch.setattr(sequences, "resampled", lambda *given: np.nextafter(whole(*given), np.float32(np.inf)))
        assert project.volume("new").pixels[1].any()
        monkeypatch.setattr(sequences, "resampled", whole)
        for change in (0.1, 0):
            moved.affine[0, 3] += change
            write_image(images["t1"], t1 + (not change), moved)
            for id in ("new", "old"):
                with pytest.raises(ImportProblem, match="have changed"):
                    project.volume(id)


def test_voxels_are_hashed_once_as_a_case_opens(project, monkeypatch):
    """What older projects hold is looked for only where the first fingerprint is another one."""
    hashed = []
    monkeypatch.setattr(prints.hashlib, "sha256", lambda data: hashed.append(data) or sha256(data))
    volume = project.volume("a")
    assert len(hashed) == 1
    assert next(prints.fingerprints(replace(volume, stored="known"))) == "known" and len(hashed) == 1


def test_voxels_of_several_resampled_sequences_are_hashed_once(tmp_path, monkeypatch):
    """All of them together are what the case is known by."""
    hashed, whole = [], sequences._stored
    monkeypatch.setattr(sequences, "_stored", lambda *given: hashed.append(given) or whole(*given))
    images, _ = write_case(tmp_path, sequences=("flair", "t1", "t2"))
    moved = geometry()
    moved.affine[0, 3] += 3.3
    for name in ("t1", "t2"):
        write_image(images[name], read_volume(images[name]).pixels[0], moved)
    read = read_sequences(images, list(images), {"sequences": "resample"})
    assert len(hashed) == 1 and read.stored == whole(*hashed[0])


def test_masks_keep_their_geometry_on_disk(project):
    """Any viewer opens the objects of a project on the right place."""
    name = project.store.row("SELECT object FROM mask_version WHERE case_id = 'a'")["object"]
    image = nib.load(project.objects.path(name))
    expected = geometry().affine[:, [2, 1, 0, 3]]
    assert np.allclose(image.affine, expected)
