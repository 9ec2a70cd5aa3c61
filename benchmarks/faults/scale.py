"""What saving, deciding and refreshing cost with 10 to 10,000 cases in the project."""

import os
import time

import numpy as np
from ground import SHAPE, scratch, small_project, stamp

from napari_segmatch.config import configure
from napari_segmatch.events import PseudoMask
from napari_segmatch.project.audit import now
from napari_segmatch.project.pool import ProjectPool
from napari_segmatch.types import Region

ASKED = "cost does not grow"
SIZES = (10, 100, 1000, 10_000)


def fill(project, cases):
    """Add cases that share one image: only their number counts here."""
    row = dict(project.store.row('SELECT * FROM "case" WHERE id = ?', "a"))
    images = [dict(image) for image in project.store.rows("SELECT * FROM image WHERE case_id = ?", "a")]
    with project.store.atomic():
        for number in range(10, cases + 10):
            name = f"case-{number}"
            case = {**row, "number": number, "id": name, "patient": name, "added_at": now()}
            project.store.tell("case", {"case": case, "images": [{**image, "case_id": name} for image in images]})
        run = project.new_run(configure("quick"))
        regions = [Region(f"case-{number}", 2) for number in range(10, cases + 10)]
        masks = [PseudoMask(region, stamp(1), 0.5, "accepted") for region in regions[: min(len(regions), 500)]]
        project.add_proposals(run, 1, 1, masks)


def timed(work, times):
    taken = []
    for index in range(times):
        begun = time.perf_counter()
        work(index)
        taken.append(1e3 * (time.perf_counter() - begun))
    return round(float(np.median(taken)), 2)


def fsync_cost(folder, times=100):
    """Return what the disk takes for one fsync of 4 kB, in ms: a save asks for a dozen of them."""
    with (folder / "fsync").open("wb") as file:

        def work(_):
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())

        return timed(work, times)


def measure(cases, times=40):
    with scratch() as folder, small_project(folder) as project:
        fill(project, cases)
        pool = ProjectPool(project)
        items = [project.proposal(item) for item in range(1, 11)]
        return {
            "fsync": fsync_cost(folder),
            "save": timed(lambda n: project.save_slices("c", {n % SHAPE[0]: stamp(n)}), times),
            "decide": timed(lambda n: project.decide(items[n % 10], ("rejected", "deferred")[n % 2]), times),
            "refresh": timed(lambda n: (project.case("c"), pool.version()), times),
        }


def campaign(count=10_000):
    found = {size: measure(size) for size in SIZES if size <= count}
    for verb in ("save", "decide", "refresh"):
        costs = [found[size][verb] for size in found]
        words = ", ".join(f"{cost} ms with {size:,}" for size, cost in zip(found, costs, strict=True))
        words += f" cases; one fsync {', '.join(str(found[size]['fsync']) for size in found)} ms"
        grown = costs[-1] > 2 * costs[0] + 1
        yield {"what": f"{verb}: {words}", "runs": len(found), "checked": 40, "asked": ASKED,
               "wrong": int(grown)}, [f"{verb} grows: {words}"] if grown else []  # fmt: skip
