"""What SegMatch gives on small volumes with two classes: ``python benchmarks/small_volumes.py``.

Of the rows of ``segmatch benchmark compare`` in ``results/hippocampus.csv``: runs of 1,000 steps with and without
``--set neighbours=0``, standard runs of 4,000, and labels alone for as long as SegMatch takes for one. Dice on test
patients, paired, with 95 % intervals over seeds and patients together; and how good the discriminator's word is.
"""

import csv

import numpy as np
from common import RESULTS
from tuned import told

from napari_segmatch.benchmark.report import cases

COMMIT, STANDARD, LONG, SEEDS = "7bab3e4", "2000 4000", "6000 12000", "012"
ALONE = "size=64 neighbours=0"
WORD = ("good", "auroc_score", "auroc_confidence", "auroc_agreement", "calibration_error", "accepted", "precision")


def rows():
    with (RESULTS / "hippocampus.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def mean(some, name):
    return np.mean([float(row[name]) for row in some])


def tell(name, values, sign=""):
    print(f"{name}: {told(values, sign)}; seeds {values.mean(1).round(3)}")


def neighbours():
    """Tell what runs of 1,000 steps gain by seeing the slices above and below."""
    some = [row for row in rows() if row["commit"] == COMMIT and row["step"] == "1000"]
    found = {(row["method"], row["settings"] == ALONE, row["seed"]): row for row in some}
    mine = {key[:2]: [found[(*key[:2], seed)] for seed in SEEDS] for key in found}
    dice = {key: np.array([cases(row) for row in those]) for key, those in mine.items()}
    for method in ("supervised", "segmatch"):
        for name, alone in (("slices alone", True), ("with neighbours", False)):
            tell(f"{method}, {name}, {mean(mine[method, alone], 'cpu_seconds'):.0f} s", dice[method, alone])
        tell(f"{method}, gain", dice[method, False] - dice[method, True], "+")
    for name, alone in (("slices alone", True), ("with neighbours", False)):
        tell(f"segmatch over supervised, {name}", dice["segmatch", alone] - dice["supervised", alone], "+")


def standard():
    """Tell what standard runs give, half way and at the end."""
    some = [row for row in rows() if row["marks"] == STANDARD]
    for step in STANDARD.split():
        dice = {}
        for method in ("supervised", "segmatch"):
            found = {row["seed"]: row for row in some if (row["method"], row["step"]) == (method, step)}
            mine = [found[seed] for seed in SEEDS]
            dice[method] = np.array([cases(row) for row in mine])
            known, spent = mean(mine, "validation_dice"), mean(mine, "cpu_seconds")
            tell(f"{step} steps, {method}, validation {known:.3f}, {spent:.0f} s", dice[method])
        tell("lead", dice["segmatch"] - dice["supervised"], "+")
    for row in mine:
        said = dict(pair.split("=") for pair in row["judge"].split())
        print(f"seed {row['seed']}:", ", ".join(f"{name} {float(said[name]):.3f}" for name in WORD))


def as_long():
    """Tell what labels alone give in the time of standard runs of SegMatch, half way and at the end."""
    for mark, step in zip(STANDARD.split(), LONG.split(), strict=True):
        dice = {}
        for method, marks, at in (("segmatch", STANDARD, mark), ("supervised", LONG, step)):
            some = [row for row in rows() if (row["method"], row["marks"], row["step"]) == (method, marks, at)]
            found = {row["seed"]: row for row in some}
            mine = [found[seed] for seed in SEEDS]
            dice[method] = np.array([cases(row) for row in mine])
            known, spent = mean(mine, "validation_dice"), mean(mine, "cpu_seconds")
            tell(f"{method}, {at} steps, validation {known:.3f}, {spent:.0f} s", dice[method])
        tell("lead in about the same time", dice["segmatch"] - dice["supervised"], "+")


if __name__ == "__main__":
    neighbours()
    standard()
    as_long()
