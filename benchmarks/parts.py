"""What leaving out small parts gives: ``python benchmarks/parts.py LGG --image 'flair={case}/flair.nii.gz' ...``.

A method trains as in ``segmatch benchmark``. At every mark it segments validation and test patients, and of each
structure stay all parts, the largest alone, or the largest and what the selector accepts (as ``segmatch predict`` has
it where labelled cases show a structure in one part). Means over patients: Dice, HD95 in mm, and false alarms, the
share of slices without the structure on which something is segmented.
"""

import numpy as np
import torch
from chances import arguments, material
from common import append

from napari_segmatch.benchmark.rivals import METHODS
from napari_segmatch.benchmark.runs import prepared
from napari_segmatch.config import configure
from napari_segmatch.engine.duties import is_examined_at
from napari_segmatch.engine.metrics import score_case
from napari_segmatch.engine.parts import strays
from napari_segmatch.engine.predict import predict_slices
from napari_segmatch.engine.prepare import to_network


def masks_of(learner, material):
    """Segment a case three ways, labels (z, y, x) each."""
    slices, frame = to_network(material.volume.pixels, learner.config.size)
    single = range(1, learner.classes + 1)
    whole = predict_slices(learner, slices, frame).labels
    largest = np.where(strays(whole, single, lambda part: False), 0, whole)
    return {"all": whole, "largest": largest, "believed": predict_slices(learner, slices, frame, single).labels}


def figures(learner, bench, names):
    """Return the scores of each way: (patients and classes, 3) of Dice, HD95 and empty slices on which something is."""
    found = {}
    for name in names:
        case = bench.cases[name]
        for way, labels in masks_of(learner, case).items():
            for each in range(1, learner.classes + 1):
                scores = score_case(labels, case.truth, each, case.volume.geometry.spacing)
                values = scores.dice, scores.hd95, scores.false_positive
                found.setdefault(way, []).append([np.nan if value is None else value for value in values])
    return {way: np.array(values) for way, values in found.items()}


def main():
    given = arguments()
    torch.set_num_threads(1)
    bench, marks = material(given), [int(mark) for mark in given.marks.split(",")]
    for method in given.methods.split(","):
        kind, needs = METHODS[method]
        config = configure(given.preset, device="cpu", seed=given.seed, size=given.size, **needs)
        learner, data = prepared(bench, kind, config, bench.split.labelled(given.labelled, given.seed, given.strata))
        while learner.step < marks[-1]:
            learner.learn(data, learner.step / marks[-1])
            if is_examined_at(learner.step) or learner.step in marks:
                learner.examine(data)
            if learner.step in marks:
                tell(given, method, learner, bench)


def tell(given, method, learner, bench):
    """Add a row for the validation and one for the test patients."""
    for on in ("validation", "test"):
        row = {"data": given.folder.name, "method": method, "labelled": given.labelled, "seed": given.seed,
               "preset": given.preset, "size": given.size, "step": learner.step, "on": on}  # fmt: skip
        for way, values in figures(learner, bench, getattr(bench.split, on)).items():
            dice, distance, alarms = np.nanmean(values, 0)
            row |= {f"{way}_dice": f"{dice:.4f}", f"{way}_hd95": f"{distance:.2f}", f"{way}_alarms": f"{alarms:.4f}"}
            row[f"{way}_each"] = " ".join(f"{value:.4f}" for value in values[:, 0])
        print(append("parts", row), flush=True)


if __name__ == "__main__":
    main()
