"""What the rows of ``segmatch benchmark figure2`` say: ``python benchmarks/figure2.py``.

Reads ``results/lgg/figure2.csv``: for each number of labelled patients and each selector Dice on test patients, and by
how much SegMatch leads, paired, with 95 % intervals over seeds and patients together. Draws docs/images/figure2.png.
"""

import csv

import numpy as np
from common import RESULTS, ROOT
from tuned import told

from napari_segmatch.benchmark.report import Choice, cases, draw_budgets
from napari_segmatch.benchmark.table import is_last

SELECTORS = ("supervised", "identity", "mean-confidence", "confidence-map", "oracle", "segmatch")
TABLE = RESULTS / "lgg/figure2.csv"


def main():
    with TABLE.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if is_last(row)]
    for budget in ("2", "5", "10"):
        mine = {one: [row for row in rows if (row["method"], row["labelled"]) == (one, budget)] for one in SELECTORS}
        mine = {selector: sorted(some, key=lambda row: row["seed"]) for selector, some in mine.items()}
        dice = {selector: np.array([cases(row) for row in some]) for selector, some in mine.items()}
        for selector, some in mine.items():
            known, spent = (np.mean([float(row[name]) for row in some]) for name in ("validation_dice", "cpu_seconds"))
            print(f"{budget} labelled, {selector}, validation {known:.3f}, {spent:.0f} s: {told(dice[selector], '')};")
            lead = told(dice["segmatch"] - dice[selector], "+")
            print(f"    seeds {dice[selector].mean(1).round(3)}; SegMatch's lead {lead}")
    choice = Choice(TABLE, rows[0]["material"], (500, 1000), SELECTORS, "size=64", (2, 5, 10))
    draw_budgets(choice, ROOT / "docs/images/figure2.png")


if __name__ == "__main__":
    main()
