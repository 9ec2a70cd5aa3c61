"""At what evidence half of the masks are good, and what an examination makes of it.

``python benchmarks/chances.py LGG --seed 0``. SegMatch trains as in ``segmatch benchmark``. At every mark the judge is
examined, and validation patients say the truth: both get a logistic rule without a prior. By such rows the prior was
chosen (``of_masks`` in ``calibration.py``).
"""

import argparse

import numpy as np
import torch
from common import append

from napari_segmatch.benchmark.cases import load, split
from napari_segmatch.benchmark.judging import calibration_error, judged_slices
from napari_segmatch.benchmark.rivals import METHODS
from napari_segmatch.benchmark.runs import Bench, prepared
from napari_segmatch.config import configure
from napari_segmatch.engine.calibration import Prior, fit_rule
from napari_segmatch.engine.prepare import to_network
from napari_segmatch.engine.trainer import EXAMINE_EVERY
from napari_segmatch.io import find_cases

STRATA = "TCGA_(..)_"
NOTHING_KNOWN = Prior(3.0, 2.0, 1.5, 5.0)


def material(folder):
    found = find_cases(folder, {"flair": "{case}/flair.nii.gz"}, "{case}/mask.nii.gz")
    cases = load(found, ["flair"], 1)
    return Bench(cases, split(cases, 20, 15, STRATA), ("flair",), ("lesion",), STRATA, "cpu", tuning=True)


def half(evidence, good):
    """The evidence at which one mask in two is good, and the slope there."""
    slope, constant = fit_rule(evidence, good, NOTHING_KNOWN, 1e6).tolist()
    return {"half": round(-constant / slope, 2), "slope": round(slope, 2)}


def examined(learner, data):
    """What the judge's last examination has met: evidence, whether good, and the teacher's usual evidence."""
    judge, met = learner.selector, []
    learn = judge._learn_masks
    judge._learn_masks = lambda *given: (met.append(given), learn(*given))
    learner.examine(data)
    del judge._learn_masks
    return met[0][:3]


def on_validation(learner, bench):
    rows = []
    for name in bench.split.validation:
        slices, frame = to_network(bench.cases[name].volume.pixels, learner.config.size)
        rows += [row for row in judged_slices(learner, slices, frame, bench.cases[name].truth) if row["lesion"]]
    chance = np.array([row["score"] for row in rows])
    slope, constant = learner.selector.mask_rule.tolist()
    evidence = (torch.logit(torch.from_numpy(chance), eps=1e-9) - constant) / slope
    return (
        evidence,
        np.array([row["dice"] >= 0.8 for row in rows]),
        chance,
        np.array([row["accepted"] for row in rows]) > 0,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--labelled", type=int, default=5)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--marks", default="100,200,300,400", help="steps; the last ends the run")
    given = parser.parse_args()
    torch.set_num_threads(1)
    bench, marks = material(given.folder), [int(mark) for mark in given.marks.split(",")]
    kind, needs = METHODS["segmatch"]
    config = configure(given.preset, device="cpu", seed=given.seed, **needs)
    learner, data = prepared(bench, kind, config, bench.split.labelled(given.labelled, given.seed, STRATA))
    while learner.step < marks[-1]:
        learner.learn(data, learner.step / marks[-1])
        if learner.step in marks:
            known, good, usual = examined(learner, data)
            evidence, true, chance, accepted = on_validation(learner, bench)
            row = {"labelled": given.labelled, "seed": given.seed, "steps": marks[-1], "step": learner.step}
            row |= {"usual": round(usual, 2)} | {f"examined_{name}": value for name, value in half(known, good).items()}
            row |= {f"true_{name}": value for name, value in half(evidence, torch.from_numpy(true)).items()}
            row |= {"good": round(true.mean(), 3), "calibration_error": round(calibration_error(chance, true), 3)}
            row |= {
                "accepted": round(accepted.mean(), 3),
                "precision": round(true[accepted].mean(), 3) if accepted.any() else "",
            }
            print(append("chances", row), flush=True)
        elif learner.step % EXAMINE_EVERY == 0:
            learner.examine(data)


if __name__ == "__main__":
    main()
