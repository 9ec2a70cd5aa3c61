"""What leaving out small parts gives, of the rows of parts.py: ``python benchmarks/parts_table.py``.

Of each method, and of each version of it, means over the seeds that it was run with; then how far one is ahead of the
other, with 95 % intervals over seeds and patients together.
"""

import csv

import numpy as np
from common import RESULTS

from napari_segmatch.benchmark.report import interval

LEARNT = ("2f683a3", "df95e74", "d75de4e")
"""Commits at which stray parts of unlabelled cases were trained towards; since then they are background."""
WAYS = ("all", "largest", "believed")


def name(row):
    """Return by what a row's model is called."""
    return row["method"] + (", strays learnt" if row["commit"] in LEARNT and row["method"] == "segmatch" else "")


def tables(step, on):
    """Return by name and way the Dice of patients, one line for each seed, and by name the rows."""
    rows = {}
    with (RESULTS / "parts.csv").open() as file:
        for row in csv.DictReader(file):
            if row["step"] == step and row["on"] == on:
                rows.setdefault(name(row), {})[row["seed"]] = row
    dice = {}
    for model, seeds in rows.items():
        for way in WAYS:
            dice[model, way] = {seed: np.array(row[f"{way}_each"].split(), float) for seed, row in seeds.items()}
    return dice, rows


def lead(mine, theirs):
    """Say how far one is ahead of the other on the seeds that both have."""
    both = sorted(mine.keys() & theirs.keys())
    mean, low, high = interval(np.array([mine[seed] - theirs[seed] for seed in both]))
    return f"{mean:+.3f} ({low:+.3f} to {high:+.3f}; seeds {' '.join(both)})"


def main():
    for step in ("2000", "4000"):
        for on in ("test", "validation"):
            dice, rows = tables(step, on)
            print(f"\n{step} steps, {on} patients: Dice (seeds), HD95 in mm, false alarms")
            for model, seeds in rows.items():
                for way in WAYS:
                    got = [[float(row[f"{way}_{what}"]) for what in ("dice", "hd95", "alarms")]
                           for _, row in sorted(seeds.items())]  # fmt: skip
                    each = " ".join(f"{values[0]:.3f}" for values in got)
                    mean, distance, alarms = np.mean(got, 0)
                    print(f"  {model}, {way}: {mean:.3f} ({each}), {distance:.0f}, {100 * alarms:.1f} %")
            for way in ("all", "believed"):
                for other in ("segmatch, strays learnt", "confidence-map"):
                    print(f"  segmatch over {other}, {way}: {lead(dice['segmatch', way], dice[other, way])}")
            default = lead(dice["segmatch", "believed"], dice["confidence-map", "largest"])
            print(f"  segmatch, believed, over confidence-map, largest: {default}")


if __name__ == "__main__":
    main()
