"""Standard runs with stray parts as background, beside those before: ``python benchmarks/swept.py``.

Five labelled patients, 4,000 steps, test patients, masks as they come. SegMatch and the confidence map were run twice
each, by ``segmatch benchmark compare`` and by ``parts.py``, whose arithmetic differs by no more than its order: the
mean of two runs has less chance in it. Ten labelled patients, 2,000 steps, beside those before. And two, whose pixels
are sure from 0.75 on, beside what had been, 0.95, and a model that believes everything. Rows: ``runs.csv`` and
``earlier.csv`` in ``results/lgg``, ``results/parts.csv``.
"""

import csv

import numpy as np
from common import RESULTS
from parts_table import tables
from tuned import told

from napari_segmatch.benchmark.report import cases

SEEDS = "012"
MARKS = {"2": "1000 2000", "5": "2000 4000", "10": "1000 2000"}
LONGER = "5700"
"""Steps that the confidence map takes in about the time in which SegMatch takes 4,000."""


def rows(table, method, labelled, mark=-1, commit="", marks=""):
    """Return a row for each seed, at the first or the last of the usual marks, or of others."""
    marks = marks or MARKS[labelled]
    asked = (method, labelled, marks, marks.split()[mark], "")
    names = ("method", "labelled", "marks", "step", "settings")
    with (RESULTS / "lgg" / table).open(newline="") as file:
        some = [row for row in csv.DictReader(file) if row["commit"].startswith(commit)]
    return {row["seed"]: row for row in some if tuple(row[name] for name in names) == asked}


def compared(method, labelled="5", table="runs.csv", commit="", marks=""):
    """Return the Dice of patients, one line for each seed."""
    wanted = rows(table, method, labelled, commit=commit, marks=marks)
    return np.array([cases(wanted[seed]) for seed in SEEDS])


def two_patients(mark):
    """Tell what two labelled patients give at a mark of the run, and how far today's SegMatch is ahead."""
    kinds = (("runs.csv", "segmatch", ""), ("earlier.csv", "segmatch", "6cb164d"), ("runs.csv", "identity", ""))
    found = [rows(table, method, "2", mark, commit) for table, method, commit in kinds]
    seeds = sorted(found[0])
    dice = [np.array([cases(those[seed]) for seed in seeds]) for those in found]
    for name, those, values in zip(("sure from 0.75", "sure from 0.95", "identity"), found, dice, strict=True):
        known = np.array([float(those[seed]["validation_dice"]) for seed in seeds])
        tell(f"two patients, mark {mark}, {name}, validation {known.mean():.3f} {known.round(3)}", values)
        if values is not dice[0]:
            tell("  today's lead", dice[0] - values, "+")


def tell(name, values, sign=""):
    print(f"{name}: {told(values, sign)}; seeds {values.mean(1).round(3)}")


def main():
    ours, map_alone = compared("segmatch"), compared("confidence-map")
    dice, _ = tables("4000", "test")
    again = {name: np.array([dice[name, "all"][seed] for seed in SEEDS]) for name in ("segmatch", "confidence-map")}
    tell("SegMatch", ours)
    tell("over SegMatch that learns stray parts", ours - compared("segmatch", "5", "earlier.csv", "da95cf2"), "+")
    tell("over labels alone", ours - compared("supervised"), "+")
    tell("over the confidence map", ours - map_alone, "+")
    longer = compared("confidence-map", marks=LONGER)
    tell("confidence map, in about the time of SegMatch", longer)
    tell("over that", ours - longer, "+")
    both, theirs = (ours + again["segmatch"]) / 2, (map_alone + again["confidence-map"]) / 2
    tell("SegMatch, two runs each", both)
    tell("confidence map, two runs each", theirs)
    tell("over the confidence map, two runs each", both - theirs, "+")
    ten = compared("segmatch", "10")
    tell("SegMatch, ten labelled patients", ten)
    tell("over SegMatch that learns stray parts", ten - compared("segmatch", "10", "earlier.csv", "67182f7"), "+")
    tell("over labels alone", ten - compared("supervised", "10"), "+")
    for mark in (0, -1):
        two_patients(mark)


if __name__ == "__main__":
    main()
