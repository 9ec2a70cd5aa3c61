"""Every call of the write module fails once, each in every way: nothing that was there is lost, and it is said.

For each scenario the calls of each primitive are counted; then the scenario runs again for each call and each way of
failing. Afterwards the same work must succeed, as it does when space returns.
"""

import errno
import os
from contextlib import contextmanager

from ground import Project, complaints, fresh, number_on, scratch, stamp, template

from napari_segmatch import fsio
from napari_segmatch.errors import SegmatchError
from napari_segmatch.keeper import Keeper
from napari_segmatch.project.journal import Journal

WAYS = ("ENOSPC", "EIO", "EROFS", "EACCES", "EDQUOT")
ASKED = "no acknowledged edit lost, a sentence shown, goes on when space returns"


class Gate:
    """Counts the calls of the primitives, and makes one of them fail."""

    def __init__(self, name="", call=0, way=""):
        self.calls = dict.fromkeys(fsio.PRIMITIVES, 0)
        self._name, self._call, self._way = name, call, way

    def __call__(self, name, whole):
        def primitive(*arguments):
            self.calls[name] += 1
            if (name, self.calls[name]) == (self._name, self._call):
                if self._way == "short":
                    return whole(arguments[0], arguments[1][: max(1, len(arguments[1]) // 3)])
                raise OSError(getattr(errno, self._way), os.strerror(getattr(errno, self._way)))
            return whole(*arguments)

        return primitive


@contextmanager
def gated(gate):
    whole = {name: getattr(fsio, name) for name in fsio.PRIMITIVES}
    try:
        for name, function in whole.items():
            setattr(fsio, name, gate(name, function))
        yield
    finally:
        for name, function in whole.items():
            setattr(fsio, name, function)


def save(path):
    with Project.open(path) as project:
        project.save_slices("c", {1: stamp(2)}, done=[1])


def decide(path):
    with Project.open(path) as project:
        project.decide(project.proposals()[2], "accepted")


def propose(path):
    from napari_segmatch.events import PseudoMask
    from napari_segmatch.types import Region

    with Project.open(path) as project:
        project.add_proposals(project.run(), 99, 1, [PseudoMask(Region("c", 3), stamp(3), 0.5, "rejected")])


def paint(path):
    """A stroke through the keeper, which frees its reserve if it must; then the window closes in order."""
    with Project.open(path) as project:
        keeper = Keeper(project, False)
        keeper.stroke("c", {2: stamp(5)})
        keeper.insist(lambda: project.save_slices("c", {2: stamp(5)}))
        keeper.saved("c", 1)
        keeper.close()


def recover(path):
    with Project.open(path) as project:
        Keeper(project, True).close()


def run(path):
    from napari_segmatch.config import configure

    with Project.open(path) as project:
        project.new_run(configure("quick")).ask("pause")


def export(path):
    with Project.open(path) as project:
        project.export(path.parent / "exported")


def checkpoint(path):
    import torch

    from napari_segmatch.config import configure
    from napari_segmatch.engine.checkpoint import load_newest, save_checkpoint
    from napari_segmatch.engine.learner import Learner

    torch.set_num_threads(1)
    learner = Learner(configure(size=32, features=8, device="cpu"), 1, 1)
    for learner.step in (1, 2):
        save_checkpoint(path / "runs" / "0001" / "checkpoints", learner, ("lesion",), ("flair",))
    loaded = load_newest(path / "runs" / "0001" / "checkpoints")
    assert loaded.learner.step == 2 or loaded.skipped


SCENARIOS = (save, decide, propose, paint, recover, run, export, checkpoint)


def prepared(made, name):
    """A project with an edit that was acknowledged, and a stroke that a dead window left."""
    path = fresh(made, name)
    with Project.open(path) as project:
        project.save_slices("c", {0: stamp(1)}, done=[0])
    journal = Journal(path / "journal")
    journal.stroke("b", {3: stamp(9)})
    journal.close()
    return path


def judged(path, scenario):
    """Yield what is wrong after a failure and a second try."""
    with Project.open(path) as project:
        if number_on(project.mask("c")[0]) != 1 or 0 not in project.case("c").labelled:
            yield "the acknowledged edit is lost"
        Keeper(project, True).close()
        offered = [number_on(project.aside_labels(item.version)[3]) for item in project.asides()]
        if offered.count(9) != 1:
            yield f"the dead window's stroke is offered {offered.count(9)} times"
        if scenario is paint and number_on(project.mask("c")[2]) != 5:
            yield "the stroke is lost"
    yield from complaints(path)


def campaign(count=None):
    """Fail every call; with ``count`` only every so many-th, for a quick look."""
    for scenario in SCENARIOS:
        sites, silent, wrong = 0, 0, []
        with scratch() as folder:
            made = template(folder)
            counter = Gate()
            counted = prepared(made, "counted")
            with gated(counter):
                scenario(counted)
            plan = [
                (name, call, way)
                for name, calls in counter.calls.items()
                for call in range(1, calls + 1)
                for way in (*WAYS, *(["short"] if name == "_write" else []))
            ]
            ready = prepared(made, "ready")
            for name, call, way in plan[:: count or 1]:
                sites += 1
                path = fresh(ready, f"f{sites % 2}")
                try:
                    with gated(Gate(name, call, way)):
                        scenario(path)
                    silent += 1  # it went on by itself: a second try, or work that may be left for later
                except SegmatchError:
                    scenario(path)
                except Exception as error:
                    wrong.append(f"{scenario.__name__} {name} {call} {way}: no sentence but {error!r}")
                wrong += [f"{scenario.__name__} {name} {call} {way}: {text}" for text in judged(path, scenario)]
        row = {"what": f"failing write: {scenario.__name__}", "runs": sites, "checked": sites - silent}
        yield row | {"asked": ASKED, "wrong": len(wrong)}, wrong
