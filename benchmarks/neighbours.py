"""What seeing slices with their neighbours gives on small volumes: ``python benchmarks/neighbours.py``.

Of the rows of ``segmatch benchmark compare`` in ``results/hippocampus.csv``, with and without ``--set neighbours=0``:
Dice on test patients after 1,000 steps, paired, with 95 % intervals over seeds and patients together.
"""

import csv

import numpy as np
from common import RESULTS
from tuned import told

from napari_segmatch.benchmark.report import cases

COMMIT, SEEDS = "7bab3e4", "012"
ALONE = "size=64 neighbours=0"


def main():
    with (RESULTS / "hippocampus.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["commit"] == COMMIT and row["step"] == "1000"]
    found = {(row["method"], row["settings"] == ALONE, row["seed"]): cases(row) for row in rows}
    dice = {key[:2]: np.array([found[(*key[:2], seed)] for seed in SEEDS]) for key in found}
    for method in ("supervised", "segmatch"):
        for name, alone in (("slices alone", True), ("with neighbours", False)):
            values = dice[method, alone]
            print(f"{method}, {name}: {told(values)}; seeds {values.mean(1).round(3)}")
        gain = dice[method, False] - dice[method, True]
        print(f"{method}, gain: {told(gain, '+')}; seeds {gain.mean(1).round(3)}")
    for name, alone in (("slices alone", True), ("with neighbours", False)):
        print(f"segmatch over supervised, {name}: {told(dice['segmatch', alone] - dice['supervised', alone], '+')}")


if __name__ == "__main__":
    main()
