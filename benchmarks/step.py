"""What a training step costs over its bare network passes, and what each part adds: ``python benchmarks/step.py``.

Variants take turns step by step in one process on one thread, so that a busy machine slows all of them alike. Time is
processor time, or by the clock on a GPU (``--device cuda``), where the bare passes are one launch as well; each figure
is a mean over the rounds. The material is the synthetic sample.
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
from napari_segmatch.engine.recorder import Recorder
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


def bare(learner, images):
    """The network passes of a step alone: the student forward and back, the teacher's one look."""
    with torch.no_grad(), autocast(learner.device):
        learner.teacher(images[: len(images) // 2])
    student(learner, images)


def student(learner, images):
    learner.optimiser.zero_grad(set_to_none=True)
    learner.student(images).float().mean().backward()
    learner.optimiser.step()


def looks(learner, images, masks):
    """SegMatch's passes of every step: both looks, the critics, the student."""
    weak = images[: len(images) // 2]
    with torch.no_grad(), autocast(learner.device):
        learner.teacher(torch.cat([weak, weak]))
        learner.selector.opinion(weak, masks[: len(weak)])
    student(learner, images)


def lesson(learner, images, masks):
    """The passes of the judge's lessons: understudies on all slices, critics on their halves of the labelled ones.

    A critic has five candidates for each labelled slice; those on unlabelled slices, which come and go with the
    teacher's agreement with itself, are left out.
    """
    judge, batch = learner.selector, len(images) // 2
    half, asked = batch // 2, images[:batch].repeat_interleave(5, 0)
    learner.school.optimiser.zero_grad(set_to_none=True)
    with autocast(learner.device):
        loss = sum(net(images).float().mean() for net in judge.understudies)
        loss = loss + sum(net(asked[: 5 * half], masks[: 5 * half]).mean() for net in judge.critics)
    loss.backward()
    learner.school.optimiser.step()


class Passes:
    """A learner's networks on random tensors that stay where they are; on a GPU each kind of pass is one launch."""

    def __init__(self, config):
        self.learner = Learner(config, 1, 1)
        self.recorder = Recorder(self.learner.device)
        batch, size, device = config.batch, config.size, self.learner.device
        self.images = torch.randn(2 * batch, 1, size, size, device=device)
        self.masks = torch.rand(5 * batch, size, size, device=device) < 0.1
        self.turns = itertools.count()

    def bare(self):
        self.recorder("bare", lambda *given: bare(self.learner, *given), self.images)

    def own(self):
        self.recorder("looks", lambda *given: looks(self.learner, *given), self.images, self.masks)
        if next(self.turns) % self.learner.config.discriminator_every == 0:
            self.recorder("lesson", lambda *given: lesson(self.learner, *given), self.images, self.masks)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=48, help="a multiple of discriminator_every")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--preset", default="standard")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        pool = material(Path(folder))
        jobs = {}
        for name, changes in VARIANTS.items():
            config = configure(given.preset, device=given.device, warmup=0.0, **changes)
            learner = Learner(config, 1, 1)
            data = ResidentPool(pool, config.size, learner.device, learner.neighbours)
            data.update()
            jobs[name] = lambda learner=learner, data=data: learner.learn(data, learner.step / learner.config.steps)
        passes = Passes(configure(given.preset, device=given.device))
        jobs |= {"bare passes": passes.bare, "own passes": passes.own}
        mean = in_turn(jobs, given.rounds, given.device, before=2 if given.device == "cpu" else 18)
    row = {"device": given.device, "preset": given.preset, "rounds": given.rounds}
    row |= {f"{name.replace(' ', '_')}_ms": f"{1000 * mean[name]:.1f}" for name in ("bare passes", "own passes")}
    row |= {f"{name.replace(', ', '+').replace(' ', '_')}_over_bare": f"{mean[name] / mean['bare passes']:.2f}"
            for name in VARIANTS}  # fmt: skip
    row["segmatch_over_own_passes"] = f"{mean['segmatch'] / mean['own passes']:.2f}"
    row["ctaugment_over_randaugment"] = f"{mean['segmatch, ctaugment'] / mean['segmatch']:.3f}"
    print(append("step", row))


if __name__ == "__main__":
    main()
