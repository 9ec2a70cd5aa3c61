"""Draw what ``segmatch simulate`` found: Dice over seconds of work, and the time to come close to every label.

``python benchmarks/simulation.py [TABLE]``, by default ``benchmarks/results/lgg/simulation.csv``; the picture goes to
docs/images/simulation.png. ``--add TABLE`` takes what ``segmatch simulate --out TABLE`` has written into that file.
"""

import csv
import sys
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from common import provenance
from matplotlib import pyplot

from napari_segmatch.simulate import seconds_to_reach

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks/results/lgg/simulation.csv"
WAYS = {"scratch": ("random slices from nothing", "#d55e00"), "correct": ("corrections in random order", "#0072b2"),
        "cases": ("corrections case after case", "#cc79a7"), "queue": ("the review queue", "#009e73")}  # fmt: skip
SHARES = (0.9, 0.95)


def read(table):
    """Rows by seed and way of working."""
    found = {}
    for row in csv.DictReader(table.read_text().splitlines()):
        found.setdefault(row["seed"], {}).setdefault(row["strategy"], []).append(row)
    return found


def add(table):
    """Append rows with commit, machine and date."""
    rows, about = [row | provenance() for row in csv.DictReader(table.read_text().splitlines())], RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        if not about:
            writer.writeheader()
        writer.writerows(rows)


def work(rows):
    """Seconds and Dice from the first round of work on."""
    worked = [row for row in rows if float(row["seconds"]) > 0 or int(row["step"]) == int(row["lead"])]
    return [np.array([float(row[name]) for row in worked]) for name in ("seconds", "dice")]


def tell(found):
    for seed, ways in found.items():
        best = float(ways["full"][-1]["dice"])
        print(f"seed {seed}: every label {best:.3f}, before any work {work(ways['queue'])[1][0] / best:.0%} of it")
        for way in [way for way in WAYS if way in ways]:
            (x, y), last = work(ways[way]), ways[way][-1]
            reached = [seconds_to_reach(ways[way], share * best) for share in SHARES]
            print(f"  {way}: {', '.join(f'{s:.0%} after {r} s' for s, r in zip(SHARES, reached, strict=True))}; Dice "
                  f"{y[-1]:.3f} after {x[-1]:.0f} s (the queue: after {seconds_to_reach(ways['queue'], y[-1])} s), "
                  f"{last['labelled_slices']} slices labelled; accepted {last['accept']}, corrected "
                  f"{last['correct']}, rejected {last['reject']}")  # fmt: skip


def draw(found):
    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), dpi=120)
    full = np.mean([float(ways["full"][-1]["dice"]) for ways in found.values()])
    axes.axhline(full, color="#444444", linewidth=1, label="every slice labelled")
    axes.text(0, 0.95 * full, " 95 % of it", fontsize=7, color="#777777", va="bottom")
    axes.axhline(0.95 * full, color="#bbbbbb", linewidth=1, linestyle="--")
    for way, (words, colour) in WAYS.items():
        runs = [work(ways[way]) for ways in found.values() if way in ways]
        for x, y in runs if len(runs) > 1 else ():
            axes.plot(x, y, color=colour, linewidth=0.7, alpha=0.35)
        if runs:
            axes.plot(*np.mean(runs, 0), marker="o", markersize=3, color=colour, label=words)
    axes.set_xlabel("seconds of a simulated person's work")
    axes.set_ylabel("Dice on unseen patients")
    axes.legend(fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(ROOT / "docs/images/simulation.png")


def main():
    if sys.argv[1:2] == ["--add"]:
        add(Path(sys.argv[2]))
    else:
        found = read(Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS)
        tell(found)
        draw(found)


if __name__ == "__main__":
    main()
