"""A whole run as a person starts it, on a folder of cases: ``python benchmarks/full_run.py``.

The command, for the LGG patients on a GPU::

    python benchmarks/full_run.py LGG --image 'flair={case}/flair.nii.gz' --mask '{case}/mask.nii.gz' \
        --strata 'TCGA_(..)_' --preset gpu

Proposals, examinations, checkpoints and looks at five validation patients are part of it. The clock runs from before
the first case is prepared (the files have been read) until the run has finished.
"""

import argparse
import dataclasses
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from common import append

from napari_segmatch.benchmark.cases import BenchmarkPool, load, split
from napari_segmatch.config import configure
from napari_segmatch.engine.checkpoint import load_newest
from napari_segmatch.engine.metrics import class_dice
from napari_segmatch.engine.predict import predict_volume
from napari_segmatch.engine.trainer import train
from napari_segmatch.events import Evaluated, Noted, Step
from napari_segmatch.io import find_cases


class Watched(BenchmarkPool):
    """A pool with frozen validation cases."""

    def __init__(self, *given, validation):
        super().__init__(*given)
        self._snapshot = dataclasses.replace(self._snapshot, validation=tuple(validation))


def follow(events):
    """Go through a run; returns when its first step was, its curve of (seconds, Dice), and what took how long."""
    start = last = time.perf_counter()
    first, curve, spent = None, [], Counter()
    for event in events:
        now = time.perf_counter()
        spent[type(event).__name__] += now - last
        last = now
        if isinstance(event, Step) and first is None:
            first = now - start
        if isinstance(event, Evaluated):
            curve.append((now - start, float(np.mean(list(event.dice.values())))))
        if isinstance(event, Noted) and event.step:
            print(event.message)
    return first, curve, spent, last - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--image", default="flair={case}/flair.nii.gz")
    parser.add_argument("--mask", default="{case}/mask.nii.gz")
    parser.add_argument("--strata", default="")
    parser.add_argument("--labelled", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--steps", type=int)
    given = parser.parse_args()
    sequence, _, pattern = given.image.partition("=")
    cases = load(find_cases(given.root, {sequence: pattern}, given.mask), [sequence], 1)
    parts = split(cases, 20, 15, given.strata)
    labelled = parts.labelled(given.labelled, given.seed, given.strata)
    rest = [case for case in parts.pool if case not in labelled]
    pool = Watched(cases, labelled, rest, [sequence], ["lesion"], validation=parts.validation[:5])
    config = configure(given.preset, seed=given.seed, steps=given.steps)
    with tempfile.TemporaryDirectory() as folder:
        first, curve, spent, whole = follow(train(pool, config, Path(folder)))
        learner = load_newest(Path(folder)).learner
    dice = [class_dice(predict_volume(learner, cases[case].volume.pixels).labels, cases[case].truth, 1)[0]
            for case in parts.test]  # fmt: skip
    print({name: round(seconds, 1) for name, seconds in spent.items()})
    print("curve:", " ".join(f"{seconds:.0f}s={value:.3f}" for seconds, value in curve))
    soon = next(seconds for seconds, value in curve if value >= 0.95 * curve[-1][1])
    memory = f"{torch.cuda.max_memory_reserved() / 2**30:.2f}" if torch.cuda.is_available() else ""
    row = {"preset": given.preset, "labelled": given.labelled, "seed": given.seed}
    row |= {"steps": config.steps, "size": config.size, "first_step_s": f"{first:.1f}", "whole_s": f"{whole:.0f}"}
    row |= {"steps_per_s": f"{config.steps / spent['Step']:.1f}", "to_95_percent_s": f"{soon:.0f}"}
    row |= {"gpu_gib": memory, "validation_dice": f"{curve[-1][1]:.3f}", "test_dice": f"{np.mean(dice):.3f}"}
    print(append("full_run", row))


if __name__ == "__main__":
    main()
