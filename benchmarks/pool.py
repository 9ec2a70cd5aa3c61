"""A pool far larger than its memory: ``python benchmarks/pool.py --cases 200``.

Synthetic cases of 150 slices are brought to 256 pixels. The pool may keep ``--gib`` in memory and puts the rest on
disk. Told are the process's largest resident memory, and a training step's time beside that of a pool of ten cases,
which fits; both take turns, by the clock, median of the rounds. The network is the smallest, so that reading weighs
most. With ``--begin`` a run is started instead, and told is when its first step is done and when all cases are read.
"""

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import append

from napari_segmatch.benchmark.cases import BenchmarkPool, Material
from napari_segmatch.config import configure
from napari_segmatch.engine.data import ResidentPool
from napari_segmatch.engine.learner import Learner
from napari_segmatch.engine.shelf import Shelf
from napari_segmatch.engine.trainer import train
from napari_segmatch.events import Noted, Step
from napari_segmatch.types import Geometry, Volume

SLICES, SIDE = 150, 256


class Endless(dict):
    """Cases made when they are asked for: the same few volumes under many names."""

    def __init__(self, names):
        chance = np.random.default_rng(0)
        geometry = Geometry((SLICES, SIDE, SIDE), np.eye(4))
        truth = np.zeros((SLICES, SIDE, SIDE), np.uint8)
        truth[60:90, 100:140, 100:140] = 1
        pixels = chance.normal(0, 1, (1, SLICES, SIDE, SIDE)).astype(np.float32)
        material = Material(Volume(pixels, geometry), truth)
        super().__init__(dict.fromkeys(names, material))


def pool_of(cases):
    names = [f"case-{index:04}" for index in range(cases)]
    return BenchmarkPool(Endless(names), names[:5], names[5:], ["flair"], ["lesion"])


def begin(cases, config, folder):
    """Seconds until the first step of a run is done, and until all cases are read."""
    since, first = time.perf_counter(), None
    for event in train(pool_of(cases), config.replace(steps=cases), folder):
        if isinstance(event, Step) and first is None:
            first = time.perf_counter() - since
        if isinstance(event, Noted) and "All cases" in event.message:
            return {"first_step_s": round(first, 1), "read_at_step": event.step,
                    "read_s": round(time.perf_counter() - since)}  # fmt: skip
    raise SystemExit("So few cases are read at once.")


def filled(cases, config, gib, folder):
    shelf = Shelf(torch.device("cpu"), int(gib * 2**30), folder)
    data = ResidentPool(pool_of(cases), config.size, torch.device("cpu"), shelf=shelf)
    data.update()
    return data, shelf


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--gib", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--begin", action="store_true")
    given = parser.parse_args()
    config = configure(device="cpu", warmup=0.0, size=SIDE, features=8, batch=8, selector="confidence-map")
    with tempfile.TemporaryDirectory(dir=".") as folder:
        if given.begin:
            found = begin(given.cases, config.replace(pool_gib=given.gib, proposals=0), Path(folder))
            print(append("pool_begin", {"cases": given.cases, "slices": SLICES * given.cases} | found))
            return
        since = time.perf_counter()
        large, shelf = filled(given.cases, config, given.gib, Path(folder))
        filling = time.perf_counter() - since
        pools = {"large": large, "ten": filled(10, config, 8, Path(folder))[0]}
        learners = {name: Learner(config, 1, 1) for name in pools}
        times = {name: [] for name in pools}
        for turn in range(given.rounds + 2):
            for name, pool in pools.items():
                begun = time.perf_counter()
                learners[name].learn(pool, 0.5)
                if turn >= 2:
                    times[name].append(time.perf_counter() - begun)
    step = {name: statistics.median(values) for name, values in times.items()}
    print(append("pool", {
        "cases": given.cases, "slices": len(shelf), "on_disk": shelf.spilled, "budget_gib": given.gib,
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "filling_s": round(filling), "large_step_s": round(step["large"], 3), "ten_step_s": round(step["ten"], 3),
        "large_over_ten": round(step["large"] / step["ten"], 3),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
