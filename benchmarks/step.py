"""What a training step costs over its bare network passes, and what each part adds: ``python benchmarks/step.py``.

Variants take turns step by step in one process on one thread, so that a busy machine slows all of them alike. Time is
processor time; each figure is a mean over the rounds. The material is the synthetic sample.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from common import append

from napari_segmatch.benchmark.cases import BenchmarkPool, load
from napari_segmatch.config import configure
from napari_segmatch.engine.data import ResidentPool
from napari_segmatch.engine.device import autocast
from napari_segmatch.engine.learner import Learner
from napari_segmatch.io import find_cases
from napari_segmatch.sample import write_cases

VARIANTS = {
    "supervised": {"selector": "none"},
    "confidence-map": {"selector": "confidence-map"},
    "one look": {"selector": "confidence-map", "second_look": False},
    "segmatch": {},
    "segmatch, ctaugment": {"augment": "ctaugment"},
    "segmatch, neighbours": {"neighbours": 1},
}


def material(folder):
    write_cases(folder, 6, 0)
    cases = load(find_cases(folder, {"flair": "{case}/flair.nii.gz"}, "{case}/mask.nii.gz"), ["flair"], 1)
    names = sorted(cases)
    return BenchmarkPool(cases, names[:3], names[3:], ["flair"], ["lesion"])


def bare(learner, batch):
    """The network passes of a step alone, on random tensors: the student forward and back, the teacher's one look."""
    images = torch.randn(2 * batch, learner.channels, learner.config.size, learner.config.size)
    with torch.no_grad(), autocast(learner.device):
        learner.teacher(images[:batch])
    learner.student(images).float().mean().backward()
    learner.optimiser.step()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=42, help="a multiple of discriminator_every")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        pool = material(Path(folder))
        jobs = {}
        for name, changes in VARIANTS.items():
            config = configure(device="cpu", **changes)
            learner = Learner(config, 1, 1)
            data = ResidentPool(pool, config.size, learner.device, config.neighbours)
            data.update()
            jobs[name] = lambda learner=learner, data=data: learner.learn(data, 0.5)
        alone = Learner(configure(device="cpu"), 1, 1)
        jobs["bare passes"] = lambda: bare(alone, alone.config.batch)
        times = {name: [] for name in jobs}
        for turn in range(given.rounds + 2):
            for name, job in jobs.items():
                since = time.process_time()
                job()
                if turn >= 2:
                    times[name].append(time.process_time() - since)
    mean = {name: statistics.fmean(values) for name, values in times.items()}
    row = {"rounds": given.rounds, "bare_ms": f"{1000 * mean['bare passes']:.0f}"}
    row |= {f"{name.replace(', ', '+').replace(' ', '_')}_over_bare": f"{mean[name] / mean['bare passes']:.2f}"
            for name in VARIANTS}  # fmt: skip
    row["ctaugment_over_randaugment"] = f"{mean['segmatch, ctaugment'] / mean['segmatch']:.3f}"
    print(append("step", row))


if __name__ == "__main__":
    main()
