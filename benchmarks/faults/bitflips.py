"""One bit flips somewhere in the project: it is found, or it changes nothing that anybody would ever read."""

import random

import torch
from ground import Project, examine, fresh, scratch, stamp, template

from napari_segmatch.config import configure
from napari_segmatch.engine.checkpoint import load_newest, save_checkpoint
from napari_segmatch.engine.learner import Learner
from napari_segmatch.errors import SegmatchError
from napari_segmatch.project.journal import Journal, decode, journals, recover

ASKED = "100 % detected or harmless"
KINDS = {
    "database": "segmatch.db",
    "masks": "objects/*/*.nii.gz",
    "audit trail": "audit.jsonl",
    "journal": "journal/*.strokes",
    "checkpoints": "runs/*/checkpoints/*/*",
}


def made_project(folder):
    torch.set_num_threads(1)
    path = template(folder)
    with Project.open(path) as project:
        for number in range(8):
            project.save_slices("c", {number % 4: stamp(number)}, done=[number % 4])
        for item in project.proposals()[:2]:
            project.decide(item, "rejected")
    learner = Learner(configure(size=32, features=8, device="cpu"), 1, 1)
    for learner.step in (1, 2):
        save_checkpoint(path / "runs" / "0001" / "checkpoints", learner, ("lesion",), ("flair",))
    journal = Journal(path / "journal")
    for number in range(6):
        journal.stroke("a", {number % 4: stamp(900 + number)})
    journal.close()
    return path


def everything(path):
    """All that a person or a program would read of a project."""
    with Project.open(path) as project:
        names = ("meta", "case", "image", "mask_version", "proposal", "decision", "run", "choice", "audit")
        tables = [[tuple(row) for row in project.store.rows(f'SELECT * FROM "{name}" ORDER BY 1, 2')] for name in names]
        masks = [project.mask(case.id).tobytes() for case in project.cases]
        asked = [case.labelled for case in project.cases], [(item.id, item.decision) for item in project.proposals()]
    strokes = [
        (stroke.case, stroke.at, {z: s.tobytes() for z, s in stroke.slices.items()})
        for file in journals(path / "journal")
        for stroke in decode(file.read_bytes())
    ]
    weights = load_newest(path / "runs" / "0001" / "checkpoints", optimisers=False)
    return tables, masks, asked, strokes, weights.learner.step, weights.skipped


def is_found(path):
    """Whether opening, examining or recovering says that something is wrong."""
    try:
        if examine(path) or load_newest(path / "runs" / "0001" / "checkpoints").skipped:
            return True
        with Project.open(path) as project:
            return not all(recover(project, file)[1] for file in journals(path / "journal"))
    except SegmatchError:
        return True


def campaign(count=500, seed=1):
    chance = random.Random(seed)
    with scratch() as folder:
        made = made_project(folder)
        before = everything(made)
        for kind, pattern in KINDS.items():
            flips, found, wrong = count // len(KINDS), 0, []
            for number in range(flips):
                path = fresh(made, f"f{number % 2}")
                files = sorted(path.glob(pattern))
                file = chance.choice(files)
                data = bytearray(file.read_bytes())
                bit = chance.randrange(8 * len(data))
                data[bit // 8] ^= 1 << bit % 8
                file.write_bytes(data)
                where = f"{file.relative_to(path)} bit {bit}"
                try:
                    same = everything(fresh_copy(path)) == before
                except SegmatchError:
                    same = False
                except Exception as error:
                    wrong.append(f"{where}: {error!r}")
                    continue
                try:
                    said = is_found(path)
                except Exception as error:
                    wrong.append(f"{where}: {error!r}")
                    continue
                found += said
                if not said and not same:
                    wrong.append(f"{where}: changed and not found")
            yield {"what": f"bit flips: {kind}, seed {seed}", "runs": flips, "checked": found, "asked": ASKED,
                   "wrong": len(wrong)}, wrong  # fmt: skip


def fresh_copy(path):
    """Reading may mend the audit trail: it is done on a copy."""
    return fresh(path, f"{path.name}-read")
