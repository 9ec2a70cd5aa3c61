"""Standard runs with stray parts as background, beside those before: ``python benchmarks/swept.py``.

Five labelled patients, 4,000 steps, test patients, masks as they come. SegMatch and the confidence map were run twice
each, by ``segmatch benchmark compare`` and by ``parts.py``, whose arithmetic differs by no more than its order: the
mean of two runs has less chance in it. Rows: ``swept.csv`` and ``runs.csv`` in ``results/lgg``, ``results/parts.csv``.
"""

import csv

import numpy as np
from common import RESULTS
from parts_table import tables
from tuned import told

from napari_segmatch.benchmark.report import cases

SEEDS = "012"


def compared(table, method):
    """Return the Dice of patients, one line for each seed."""
    with (RESULTS / "lgg" / table).open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["method"], row["labelled"]) == (method, "5")]
    wanted = {
        row["seed"]: row for row in rows if (row["marks"], row["step"], row["settings"]) == ("2000 4000", "4000", "")
    }
    return np.array([cases(wanted[seed]) for seed in SEEDS])


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


if __name__ == "__main__":
    main()
