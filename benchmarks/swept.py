"""Standard runs with stray parts as background, beside those before: ``python benchmarks/swept.py``.

Five labelled patients, 4,000 steps, test patients, masks as they come. SegMatch and the confidence map were run twice
each, by ``segmatch benchmark compare`` and by ``parts.py``, whose arithmetic differs by no more than its order: the
mean of two runs has less chance in it. Ten labelled patients, 2,000 steps, beside those before. And two, beside a model
that believes everything. Rows: ``swept.csv`` and ``runs.csv`` in ``results/lgg``, ``results/parts.csv``.
"""

import csv

import numpy as np
from common import RESULTS
from parts_table import tables
from tuned import told

from napari_segmatch.benchmark.report import cases

SEEDS = "012"
MARKS = {"2": "1000 2000", "5": "2000 4000", "10": "1000 2000"}


def rows(table, method, labelled, mark):
    """Return a row for each seed, at the first or the last mark."""
    asked = (method, labelled, MARKS[labelled], MARKS[labelled].split()[mark], "")
    names = ("method", "labelled", "marks", "step", "settings")
    with (RESULTS / "lgg" / table).open(newline="") as file:
        return {row["seed"]: row for row in csv.DictReader(file) if tuple(row[name] for name in names) == asked}


def compared(table, method, labelled="5", seeds=SEEDS, mark=-1):
    """Return the Dice of patients, one line for each seed."""
    wanted = rows(table, method, labelled, mark)
    return np.array([cases(wanted[seed]) for seed in seeds])


def tell(name, values, sign=""):
    print(f"{name}: {told(values, sign)}; seeds {values.mean(1).round(3)}")


def main():
    ours, map_alone = compared("swept.csv", "segmatch"), compared("runs.csv", "confidence-map")
    dice, _ = tables("4000", "test")
    again = {name: np.array([dice[name, "all"][seed] for seed in SEEDS]) for name in ("segmatch", "confidence-map")}
    tell("SegMatch", ours)
    tell("over SegMatch that learns stray parts", ours - compared("runs.csv", "segmatch"), "+")
    tell("over labels alone", ours - compared("runs.csv", "supervised"), "+")
    tell("over the confidence map", ours - map_alone, "+")
    both, theirs = (ours + again["segmatch"]) / 2, (map_alone + again["confidence-map"]) / 2
    tell("SegMatch, two runs each", both)
    tell("confidence map, two runs each", theirs)
    tell("over the confidence map, two runs each", both - theirs, "+")
    ten = compared("swept.csv", "segmatch", "10")
    tell("SegMatch, ten labelled patients", ten)
    tell("over SegMatch that learns stray parts", ten - compared("runs.csv", "segmatch", "10"), "+")
    tell("over labels alone", ten - compared("runs.csv", "supervised", "10"), "+")
    for mark in (0, -1):
        two = {method: rows("swept.csv", method, "2", mark) for method in ("segmatch", "identity")}
        dice = {method: compared("swept.csv", method, "2", sorted(two[method]), mark) for method in two}
        for method, those in two.items():
            known = np.mean([float(row["validation_dice"]) for row in those.values()])
            each = " ".join(row["validation_dice"] for _, row in sorted(those.items()))
            tell(f"{method}, two labelled patients, mark {mark}, validation {known:.3f} ({each})", dice[method])
        tell("lead", dice["segmatch"] - dice["identity"], "+")


if __name__ == "__main__":
    main()
