"""SegMatch's lead on labels alone, each at its best by validation patients: ``python benchmarks/tuned.py``.

Labels alone have a learning rate of their own and boxes among labelled slices to choose from, SegMatch nothing but the
defaults; either takes the mark that validation patients prefer, run by run. With five labelled patients runs of 4,000
steps, else of 2,000. Rows: ``results/lgg/runs.csv``.
"""

import csv

import numpy as np
from common import RESULTS

from napari_segmatch.benchmark.report import cases, interval

LENGTHS = {2: 2000, 5: 4000, 10: 2000}
SETTINGS = ("", "learning_rate=5e-3", "labelled_cutmix=0.5")


def best(method, labelled, settings):
    """Return the row of each seed that validation patients prefer, among the marks of runs of a budget's length."""
    found = {}
    with (RESULTS / "lgg" / "runs.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            same = row["method"] == method and row["labelled"] == str(labelled) and row["settings"] in settings
            if same and row["size"] == "128" and row["marks"].split()[-1] == str(LENGTHS[labelled]):
                known = found.setdefault(row["seed"], row)
                if float(row["validation_dice"]) > float(known["validation_dice"]):
                    found[row["seed"]] = row
    return dict(sorted(found.items()))


def told(values, sign=""):
    mean, low, high = interval(np.array(values))
    return f"{mean:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


def main():
    print("| labelled patients | | validation | test Dice (95 % CI) | seeds | SegMatch's lead, paired (95 % CI) |")
    print("|---|---|---|---|---|---|")
    for labelled in LENGTHS:
        ours = best("segmatch", labelled, ("",))
        kinds = [("SegMatch", ours)]
        kinds += [(f"supervised {setting}".strip(), best("supervised", labelled, (setting,))) for setting in SETTINGS]
        kinds += [("supervised, the best", best("supervised", labelled, SETTINGS))]
        for name, rows in kinds:
            if not rows:
                continue
            validation = np.mean([float(row["validation_dice"]) for row in rows.values()])
            each = " ".join(f"{seed}: {float(row['test_dice']):.3f}" for seed, row in rows.items())
            both = [seed for seed in rows if seed in ours and rows is not ours]
            lead = told([cases(ours[seed]) - cases(rows[seed]) for seed in both], "+") if both else ""
            dice = told([cases(row) for row in rows.values()])
            print(f"| {labelled} | {name} | {validation:.3f} | {dice} | {each} | {lead} |")


if __name__ == "__main__":
    main()
