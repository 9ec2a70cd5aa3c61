"""kill -9 at random moments: what was acknowledged is there, and the project is whole."""

import random

from ground import Project, complaints, fresh, killed, number_on, scratch, stamp, template

from napari_segmatch.config import configure
from napari_segmatch.keeper import Keeper
from napari_segmatch.project.journal import Journal, journals

ASKED = "0 acknowledged edits lost, 0 corrupt projects"
TINY = {"size": 32, "batch": 2, "features": 8, "steps": 100_000, "propose_every": 3, "proposals": 2, "device": "cpu",
        "checkpoint_every": 1, "evaluate_every": 1000}  # fmt: skip


def _at_least(found, told, every=4):
    """Whether a slice shows the last number that was acknowledged for it, or the one that was on its way."""
    return found is not None and found in (told, told + every)


def _newest_told(told, word):
    newest = {}
    for words in told:
        if words[0] == word:
            newest[words[1] % 4] = words[1]
    return newest


class Paint:
    """A window's journal and its saves, in turn: strokes are acknowledged when the journal has them."""

    def work(self, path, tell):
        with Project.open(path) as project:
            keeper = Keeper(project, False)
            tell("ready")
            for number in range(4, 100_000):
                keeper.stroke("c", {number % 4: stamp(number)})
                tell("stroke", number)
                if number % 7 == 0:
                    last = {n % 4: stamp(n) for n in range(max(4, number - 6), number + 1)}
                    project.save_slices("c", last, done=[number % 4] if number % 14 == 0 else [])
                    keeper.saved("c", 7 if number > 7 else number - 3)

    def verify(self, path, told):
        with Project.open(path) as project:
            keeper = Keeper(project, True)
            keeper.close()
            current = project.mask("c")
            asides = [project.aside_labels(item.version) for item in project.asides()]
            for z, number in _newest_told(told, "stroke").items():
                shown = [number_on(labels[z]) for labels in (current, *asides)]
                if not any(_at_least(found, number) for found in shown):
                    yield f"stroke {number} on slice {z}: found {shown}"


class Save:
    """Masks saved and slices finished."""

    def work(self, path, tell):
        with Project.open(path) as project:
            tell("ready")
            for number in range(100_000):
                project.save_slices("c", {number % 4: stamp(number)}, done=[number % 4])
                tell("saved", number)

    def verify(self, path, told):
        with Project.open(path) as project:
            current = project.mask("c")
            for z, number in _newest_told(told, "saved").items():
                if not _at_least(number_on(current[z]), number) or z not in project.case("c").labelled:
                    yield f"save {number}: slice {z} shows {number_on(current[z])}"


class Decide:
    """Proposals accepted, rejected and taken back."""

    WORDS = ("accepted", "rejected", None)

    def work(self, path, tell):
        with Project.open(path) as project:
            items = project.proposals()
            tell("ready")
            for number in range(100_000):
                item, word = items[number % 4], self.WORDS[number // 4 % 3]
                if word is None:
                    project.take_back(item)
                else:
                    project.decide(item, word)
                tell("decided", number)

    def verify(self, path, told):
        with Project.open(path) as project:
            items = project.proposals()
            for z, number in _newest_told(told, "decided").items():
                allowed = [self.WORDS[n // 4 % 3] for n in (number, number + 4)]
                if items[z].decision not in allowed:
                    yield f"decision {number}: found {items[z].decision}, not one of {allowed}"
                if (z in project.case("d").labelled) != (items[z].decision == "accepted"):
                    yield f"decision {number}: label and word differ"


class Train:
    """A run that trains, proposes and writes a checkpoint at every step."""

    def prepare(self, path):
        """Import torch before the fork: a child lives too short for it."""
        import torch

        import napari_segmatch.engine.trainer  # noqa: F401

        torch.set_num_threads(1)

    def work(self, path, tell):
        from napari_segmatch.events import Checkpointed, Step
        from napari_segmatch.runner import training

        with Project.open(path) as project:
            run = project.new_run(configure(**TINY))
        for event in training(path, run.id):
            if isinstance(event, Step) and event.step == 1:
                tell("ready")
            if isinstance(event, Checkpointed):
                tell("checkpoint", event.step)

    def verify(self, path, told):
        from napari_segmatch.engine.checkpoint import load_newest

        with Project.open(path) as project:
            run, state = project.runs()[-1]
            if state != "interrupted":
                yield f"a dead run is shown as {state}"
            written = [words[1] for words in told if words[0] == "checkpoint"]
            if written:
                loaded = load_newest(run.checkpoints)
                if loaded.skipped or loaded.learner.step < written[-1]:
                    yield f"checkpoint {written[-1]} told, {loaded.learner.step} loads, damaged {loaded.skipped}"


class Recover:
    """A window that finds what eight dead windows left behind, and dies of it; again and again."""

    def prepare(self, path):
        with Project.open(path) as project:
            project.save_slices("c", {0: stamp(1)})
        for number in range(8):
            journal = Journal(path / "journal")
            journal.stroke("c", {number % 4: stamp(100 + number)})
            journal.close()

    def work(self, path, tell):
        tell("ready")
        with Project.open(path) as project:
            Keeper(project, True).close()

    def verify(self, path, told):
        with Project.open(path) as project:
            for _ in range(2):
                Keeper(project, True).close()
            found = [number_on(s) for item in project.asides() for s in project.aside_labels(item.version)]
            for number in range(100, 108):
                if found.count(number) != 1:
                    yield f"stroke {number} is offered {found.count(number)} times"
            if journals(path / "journal"):
                yield "a journal is left"


class Migrate:
    """A project of version 1 that is being opened by today's program."""

    def prepare(self, path):
        from helpers import version_1

        made, self.rows = version_1(path / "inside")
        self.path = made

    def work(self, path, tell):
        tell("ready")
        Project.open(self.path).close()

    def verify(self, path, told):
        with Project.open(self.path) as project:
            rows = [tuple(row) for row in project.store.rows("SELECT * FROM mask_version ORDER BY id")]
            if rows != self.rows:
                yield "a mask version is lost or changed"
            if project.proposals()[0].decision != "accepted":
                yield "a decision is lost"
        yield from complaints(self.path)


KINDS = {"paint": (Paint, 0.12), "save": (Save, 0.4), "decide": (Decide, 0.4), "train and checkpoint": (Train, 0.4),
         "recover": (Recover, 0.15), "migrate": (Migrate, 0.06)}  # fmt: skip
SHARES = (0.3, 0.2, 0.2, 0.1, 0.1, 0.1)


def campaign(count=1000, seed=0):
    """Kill ``count`` children, shared out over the kinds; returns a row for each kind."""
    chance = random.Random(seed)
    for (name, (kind, most)), share in zip(KINDS.items(), SHARES, strict=True):
        kills, acknowledged, wrong = max(1, round(count * share)), 0, []
        with scratch() as folder:
            made = template(folder)
            for number in range(kills):
                path = fresh(made, f"p{number % 2}")
                duty = kind()
                if hasattr(duty, "prepare"):
                    duty.prepare(path)
                told = killed(lambda tell, duty=duty, path=path: duty.work(path, tell), chance, most)
                acknowledged += len(told) - 1
                wrong += [f"{name} {number}: {text}" for text in duty.verify(path, told)]
                wrong += [f"{name} {number}: {text}" for text in complaints(path)]
        yield {"what": f"kill -9: {name}", "runs": kills, "checked": acknowledged, "asked": ASKED,
               "wrong": len(wrong)}, wrong  # fmt: skip
