"""A run interrupted at a random step and resumed is, to the bit, the run that was never interrupted."""

import random

import torch
from ground import Project, scratch, template

from napari_segmatch.config import configure
from napari_segmatch.engine.checkpoint import checkpoints, load_newest
from napari_segmatch.engine.trainer import train
from napari_segmatch.events import Step
from napari_segmatch.project.pool import ProjectPool

ASKED = "weights, teacher, discriminator, optimisers and CTAugment bit-equal"
STEPS = 40


def tensors(folder):
    return load_newest(folder).learner.tensors()


def interrupted(pool, config, folder, steps):
    """Train to the end, stopping at each of these steps and going on from the checkpoint."""
    resume = False
    for stop in (*steps, None):
        events = train(pool, config, folder, resume=resume)
        for event in events:
            if stop is not None and isinstance(event, Step) and event.step == stop:
                break
        events.close()
        resume = True


def campaign(count=20):
    torch.set_num_threads(1)
    chance, wrong = random.Random(0), []
    config = configure(size=32, batch=2, features=8, steps=STEPS, device="cpu", warmup=0.2, propose_every=10,
                       proposals=2, checkpoint_every=15, evaluate_every=1000, augment="ctaugment")  # fmt: skip
    with scratch() as folder, Project.open(template(folder)) as project:
        pool = ProjectPool(project)
        list(train(pool, config, folder / "whole"))
        whole = tensors(folder / "whole")
        for number in range(count):
            steps = sorted(chance.sample(range(1, STEPS), 1 + number % 2))
            parts = folder / f"parts{number}"
            interrupted(pool, config, parts, steps)
            found = tensors(parts)
            differs = [name for name in whole if not torch.equal(whole[name], found[name])]
            if differs or set(found) != set(whole) or not checkpoints(parts):
                wrong.append(f"stopped at {steps}: {len(differs)} of {len(whole)} tensors differ, first {differs[:1]}")
    yield {"what": "interrupted and resumed", "runs": count, "checked": len(whole), "asked": ASKED,
           "wrong": len(wrong)}, wrong  # fmt: skip
