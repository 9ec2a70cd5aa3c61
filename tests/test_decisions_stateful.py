"""Any sequence of accept, reject, correct, defer, accept all, undo, redo and restart, against a plain model.

Few proposals and long sequences, so that one proposal is decided again and again. A moderate number of sequences;
``SEGMATCH_SEQUENCES=500`` runs as many as you like.
"""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from helpers import SHAPE, small_project
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from napari_segmatch.config import configure
from napari_segmatch.events import PseudoMask
from napari_segmatch.project import Project, ProjectPool
from napari_segmatch.project.doctor import examine
from napari_segmatch.session import Session
from napari_segmatch.types import NOT_ANNOTATED, Region

REGIONS = [Region(case, z) for case in ("c", "d") for z in (1, 2)]
WHICH = st.integers(0, len(REGIONS) - 1)


@pytest.fixture(scope="module")
def _template():
    """A project with a few proposals, copied for every sequence."""
    with tempfile.TemporaryDirectory() as folder:
        project = small_project(folder)
        run = project.new_run(configure("quick"))
        masks = [PseudoMask(region, _proposed(i), 0.5, "accepted") for i, region in enumerate(REGIONS)]
        project.add_proposals(run, 1, 1, masks)
        project.close()
        yield Path(folder)


def _proposed(i):
    mask = np.zeros(SHAPE[1:], np.uint8)
    mask[i : i + 8, 4:12] = 1
    return mask


def _corrected(i):
    return np.flipud(_proposed(i)).copy()


class Reviewing(RuleBasedStateMachine):
    """``words`` and the two stacks are the whole model; all else follows from them."""

    template = Path()

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        shutil.copytree(self.template, self.folder, dirs_exist_ok=True)
        self.session = Session()
        self.session.open_project(self.folder / "project")
        self.ids = {item.region: item.id for item in self.session.proposals}
        self.words = dict.fromkeys(range(len(REGIONS)))
        self.undo_stack, self.redo_stack = [], []

    def teardown(self):
        self.session.close()
        problems = [line for line in examine(self.folder / "project") if "database" in line or "mask" in line]
        shutil.rmtree(self.folder)
        assert not problems

    def item(self, i):
        return self.session.proposals.get(self.ids[REGIONS[i]])

    def say(self, words):
        self.undo_stack.append({i: self.words[i] for i in words})
        self.redo_stack.clear()
        self.words.update(words)

    @rule(i=WHICH, verdict=st.sampled_from(["accepted", "rejected", "deferred"]))
    def decide(self, i, verdict):
        self.session.decide(self.item(i), verdict)
        self.say({i: verdict})

    @rule(i=WHICH)
    def correct(self, i):
        self.session.decide(self.item(i), "corrected", _corrected(i))
        self.say({i: "corrected"})

    @rule(case=st.sampled_from(["c", "d"]))
    def accept_all(self, case):
        open_ = [i for i, region in enumerate(REGIONS) if region.case == case and self.words[i] is None]
        if open_:
            self.session.decide_all([self.item(i) for i in open_], "accepted")
            self.say(dict.fromkeys(open_, "accepted"))

    @precondition(lambda self: any(word in ("accepted", "corrected") for word in self.words.values()))
    @rule()
    def roll_back(self):
        self.session.roll_back(1)
        self.session.wait()
        self.say({i: None for i, word in self.words.items() if word in ("accepted", "corrected")})

    @rule()
    def undo(self):
        self.session.undo()
        self._step(self.undo_stack, self.redo_stack)

    @rule()
    def redo(self):
        self.session.redo()
        self._step(self.redo_stack, self.undo_stack)

    def _step(self, source, target):
        if source:
            before = source.pop()
            target.append({i: self.words[i] for i in before})
            self.words.update(before)

    @rule()
    def restart(self):
        self.session.close()
        self.session = Session()
        self.session.open_project(self.folder / "project")

    @rule()
    def pause(self):
        self.session.wait()
        self._agree(self.session.project)

    @invariant()
    def the_window_knows_at_once_or_after_the_disk(self):
        if not self.session.is_saving:
            assert {i: self.item(i).decision for i in self.words} == self.words

    def _agree(self, project):
        """Queue, pool and store say what the model says."""
        assert {i: project.proposal(self.ids[region]).decision for i, region in enumerate(REGIONS)} == self.words
        snapshot = ProjectPool(project).snapshot()
        for i, region in enumerate(REGIONS):
            labelled = self.words[i] in ("accepted", "corrected")
            assert (region.z in snapshot.labelled.get(region.case, ())) is labelled
            assert (region.z in snapshot.unlabelled[region.case]) is (self.words[i] in (None, "deferred"))
            wanted = {"accepted": _proposed(i), "corrected": _corrected(i)}.get(self.words[i])
            wanted = np.full(SHAPE[1:], NOT_ANNOTATED) if wanted is None else wanted
            assert np.array_equal(project.mask(region.case)[region.z], wanted)
        assert self.session.proposals.undecided == sum(word is None for word in self.words.values())


def test_any_sequence_of_decisions_leaves_queue_pool_and_store_consistent(_template):
    Reviewing.template = _template
    many = int(os.environ.get("SEGMATCH_SEQUENCES", "25"))
    Reviewing.TestCase.settings = settings(
        max_examples=many, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
    )
    Reviewing.TestCase().runTest()


def test_redo_and_undo_survive_a_restart_at_any_depth(_template, tmp_path):
    shutil.copytree(_template, tmp_path, dirs_exist_ok=True)
    with Project.open(tmp_path / "project") as project:
        items = project.proposals()
        project.decide(items[0], "accepted")
        project.decide_all(items[1:], "accepted")
        project.decide(items[1], "rejected", reason="leaks out")
    for wanted in ([1, 0, 1, 1], [1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]):
        with Project.open(tmp_path / "project") as project:
            assert [int(item.z in project.case(item.case).labelled) for item in items] == wanted
            batch, _ = project.undoable()
            if batch is not None:
                project.revert(batch)
    for wanted in ([1, 0, 0, 0], [1, 1, 1, 1], [1, 0, 1, 1]):
        with Project.open(tmp_path / "project") as project:
            project.revert(project.undoable()[1])
            assert [int(item.z in project.case(item.case).labelled) for item in items] == wanted
            assert project.decisions()[-1].reverts is not None
    with Project.open(tmp_path / "project") as project:
        assert project.undoable()[1] is None
        assert project.decisions()[-1].reason == "leaks out"


def test_accepting_many_makes_one_version_of_each_mask_and_leaves_hand_drawn_slices_alone(_template, tmp_path):
    shutil.copytree(_template, tmp_path, dirs_exist_ok=True)
    with Project.open(tmp_path / "project") as project:
        items = project.proposals()
        drawn = np.full(SHAPE, NOT_ANNOTATED, np.uint8)
        drawn[2] = 0
        drawn[2, 0, 0] = 1
        project.save_mask("c", drawn, done=[2])
        before = project.store.row("SELECT count(*) AS n FROM mask_version")["n"]
        made = project.decide_all(items, "accepted")
        assert len(made) == len(items) - 1 and len({decision.batch for decision in made}) == 1
        assert project.store.row("SELECT count(*) AS n FROM mask_version")["n"] == before + 2
        assert project.mask("c")[2].sum() == 1
