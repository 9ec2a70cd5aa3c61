"""What segmenting a case costs over the network's passes alone: ``python benchmarks/predict.py``.

A volume of 256 x 256 x 40 goes from file to file, once untimed and then ``--rounds`` times on one thread; beside it the
teacher alone sees the same prepared slices as often as prediction does. Time is processor time, median of the rounds.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import append

from napari_segmatch.config import configure
from napari_segmatch.engine.device import at_once
from napari_segmatch.engine.learner import Learner
from napari_segmatch.engine.predict import predict_slices
from napari_segmatch.engine.prepare import to_network
from napari_segmatch.fsio import write_atomic
from napari_segmatch.io import encode_labels, read_sequences, write_image
from napari_segmatch.types import Geometry

SHAPE = (40, 256, 256)
PRESETS = ("standard", "overnight")


def head(seed=0):
    """A noisy ball in the dark, as integers: it packs about as well as an MRI."""
    chance = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    ball = ((z / 1.2) ** 2 + (y / 0.8) ** 2 + (x / 0.7) ** 2 < 1) * (400 + 100 * np.sin(9 * x) * np.cos(7 * y))
    return np.clip(ball + chance.normal(0, 12, SHAPE), 0, None).astype(np.int16)


def measured(job, rounds):
    times = {}
    for turn in range(rounds + 1):
        for name, seconds in job().items():
            if turn:
                times.setdefault(name, []).append(seconds)
    return {name: statistics.median(values) for name, values in times.items()}


def round_of(learner, source, target):
    """Segment from file to file; returns the seconds of each part, and of the passes alone."""
    marks = [time.process_time()]
    volume = read_sequences({"flair": source}, ["flair"])
    marks.append(time.process_time())
    slices, frame = to_network(volume.pixels, learner.config.size)
    marks.append(time.process_time())
    prediction = predict_slices(learner, slices, frame)
    marks.append(time.process_time())
    write_atomic(target, encode_labels(prediction.labels, volume.geometry, ""))
    marks.append(time.process_time())
    for part in slices.split(at_once(torch.device("cpu"), twice=True)):
        learner.look(part)
    alone = time.process_time() - marks[-1]
    read, prepare, segment, write = np.diff(marks)
    return {"read": read, "prepare": prepare, "segment": segment, "write": write, "passes": alone}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "flair.nii.gz"
        write_image(source, head(), Geometry(SHAPE, np.diag([0.9, 0.9, 3.0, 1.0])[:, [2, 1, 0, 3]]))
        for preset in PRESETS:
            learner = Learner(configure(preset, device="cpu"), 1, 1)
            part = measured(lambda who=learner: round_of(who, source, Path(folder) / "mask.nii.gz"), given.rounds)
            whole = sum(part.values()) - part["passes"]
            row = {"preset": preset, **{f"{name}_s": f"{seconds:.3f}" for name, seconds in part.items()},
                   "whole_over_passes": f"{whole / part['passes']:.2f}"}  # fmt: skip
            print(append("predict", row))


if __name__ == "__main__":
    main()
