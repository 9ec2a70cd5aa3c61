"""The database is deleted, then the audit trail as well: every mask version comes back."""

import random

from ground import SHAPE, Project, examine, fresh, scratch, stamp, template

from napari_segmatch.project.upkeep import repair

ASKED = "100 % of mask versions rebuilt"
COLUMNS = "id, case_id, parent, object, done, origin, author, at"


def versions(path):
    with Project.open(path) as project:
        return [tuple(row) for row in project.store.rows(f"SELECT {COLUMNS} FROM mask_version ORDER BY id")]


def campaign(count=300):
    chance = random.Random(0)
    with scratch() as folder:
        made = template(folder)
        with Project.open(made) as project:
            for number in range(count):
                z = chance.randrange(SHAPE[0])
                project.save_slices(chance.choice("abc"), {z: stamp(number)}, done=[z] if number % 3 else [])
                if number % 10 == 0:
                    project.decide(project.proposals()[z], chance.choice(["accepted", "rejected"]))
                if number % 25 == 0:
                    project.keep_beside("a", {z: stamp(1000 + number)})
        before = versions(made)
        for what, gone in (("the database", ["segmatch.db"]), ("database and trail", ["segmatch.db", "audit.jsonl"])):
            path = fresh(made, "broken")
            for name in gone:
                (path / name).unlink()
            repair(path)
            after = set(versions(path))
            wrong = [f"version {row[0]} is lost or changed" for row in before if row not in after]
            if gone == ["segmatch.db"]:
                wrong += examine(path)
            yield {"what": f"deleted: {what}", "runs": 1, "checked": len(before), "asked": ASKED,
                   "wrong": len(wrong)}, wrong  # fmt: skip
