"""Dice after 2, 5 and 15 to 30 minutes of one processor core, by method: ``python benchmarks/minutes.py ROOT``.

Every time has runs of its own, as long as that: a schedule that is broken off would be none that anybody chooses. A
run's length in steps was taken from how long a step of its method takes; the table tells the seconds that it took. Runs
that ``results/lgg/runs.csv`` has are not repeated; ``--draw`` repeats none.
"""

import argparse
import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
from common import RESULTS, ROOT

from napari_segmatch.benchmark.report import _canvas, _line, _save, cases, interval, per_seed

STEPS = {
    "segmatch": (600, 800, 1100, 1500), "supervised": (1050, 2650), "confidence-map": (700, 850, 1300, 1700),
    "mean-teacher": (850, 1700), "unimatch": (520, 950), "bcp": (480, 1200), "cps": (400, 850),
}  # fmt: skip
LONG = "2000 4000"
BOXES = "labelled_cutmix=0.5"
"""What labels alone gain by: drawn, not carried out."""
FOLDER = RESULTS / "lgg"
PICTURE = ROOT / "docs" / "images" / "lgg-clock.png"


def measure(root, seeds):
    """Carry out the runs, one process each after the other."""
    given = ["--image", "flair={case}/flair.nii.gz", "--mask", "{case}/mask.nii.gz", "--strata", "TCGA_(..)_"]
    for method, lengths in STEPS.items():
        for marks in (*map(str, lengths), LONG.replace(" ", ",")):
            words = ["--methods", method, "--labelled", "5", "--seeds", seeds, "--marks", marks, "--out", str(FOLDER)]
            command = [sys.executable, "-m", "napari_segmatch.cli", "benchmark", "compare", str(root), *given, *words]
            subprocess.run(command, check=True)


def rows_of(method, settings=""):
    """Return the rows of a method, run length by run length."""
    with (FOLDER / "runs.csv").open(newline="") as file:
        mine = [
            row
            for row in csv.DictReader(file)
            if row["method"] == method
            and row["labelled"] == "5"
            and row["size"] == "128"
            and row["settings"] == settings
        ]
    for marks in (*map(str, STEPS[method]), LONG):
        last = marks.split()[-1]
        found = per_seed([row for row in mine if row["marks"] == marks and row["step"] == last], method, 5)
        if found:
            yield last, list(found.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, nargs="?")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--draw", action="store_true")
    given = parser.parse_args()
    if not given.draw:
        measure(given.root, given.seeds)
    figure, axes = _canvas()
    for method, settings in [*((method, "") for method in STEPS), ("supervised", BOXES)]:
        name = f"{method} {settings}".strip()
        places, dice = [], []
        for steps, rows in rows_of(method, settings):
            seconds = np.mean([float(row["cpu_seconds"]) for row in rows])
            mean, low, high = interval(np.array([cases(row) for row in rows]))
            each = " ".join(f"{float(row['test_dice']):.3f}" for row in rows)
            print(f"| {name} | {steps} | {seconds:.0f} | {mean:.3f} ({low:.3f} to {high:.3f}) | {each} |")
            places.append(seconds / 60)
            dice.append([float(row["test_dice"]) for row in rows])
        _line(axes, places, dice, name)
    axes.set_xscale("log")
    axes.set_xticks([2, 5, 10, 15, 25], ["2", "5", "10", "15", "25"])
    axes.minorticks_off()
    axes.set_xlabel("minutes of one processor core")
    _save(figure, axes, PICTURE)


if __name__ == "__main__":
    main()
