"""What a training step costs over its bare network passes, and what each part adds: ``python benchmarks/step.py``.

Variants take turns step by step in one process on one thread, so that a busy machine slows all of them alike. Time is
processor time; each figure is a mean over the rounds. The material is the synthetic sample.
"""

import argparse
import itertools
import tempfile
from pathlib import Path

import torch
from common import append, in_turn

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


def own(learner, batch, turn):
    """All passes of SegMatch's step, on random tensors: both looks, the critics, at their turn the judge's lessons.

    The critics' lesson has five candidates for each labelled slice; those on unlabelled slices, which come and go with
    the teacher's agreement with itself, are left out.
    """
    size, judge = learner.config.size, learner.selector
    images = torch.randn(2 * batch, learner.channels, size, size)
    masks = torch.rand(5 * batch, size, size) < 0.1
    with torch.no_grad(), autocast(learner.device):
        learner.teacher(images[:batch])
        learner.teacher(images[:batch])
        judge.opinion(images[:batch], masks[:batch])
    learner.student(images).float().mean().backward()
    learner.optimiser.step()
    if turn % learner.config.discriminator_every == 0:
        half, lesson = batch // 2, images[:batch].repeat_interleave(5, 0)
        with autocast(learner.device):
            loss = sum(net(images[: half + batch]).float().mean() for net in judge.understudies)
            with torch.no_grad():
                [net(images[:half]) for net in judge.understudies]
            loss = loss + sum(net(lesson[: 5 * half], masks[: 5 * half]).mean() for net in judge.critics)
        loss.backward()
        learner.judge_optimiser.step()


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
        turns = itertools.count()
        jobs["own passes"] = lambda: own(alone, alone.config.batch, next(turns))
        mean = in_turn(jobs, given.rounds)
    row = {"rounds": given.rounds, "bare_ms": f"{1000 * mean['bare passes']:.0f}"}
    row |= {f"{name.replace(', ', '+').replace(' ', '_')}_over_bare": f"{mean[name] / mean['bare passes']:.2f}"
            for name in VARIANTS}  # fmt: skip
    row["segmatch_over_own_passes"] = f"{mean['segmatch'] / mean['own passes']:.2f}"
    row["ctaugment_over_randaugment"] = f"{mean['segmatch, ctaugment'] / mean['segmatch']:.3f}"
    print(append("step", row))


if __name__ == "__main__":
    main()
