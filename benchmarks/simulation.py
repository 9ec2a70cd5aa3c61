"""Draw what ``segmatch simulate`` found: Dice over seconds of work, and the time to come close to every label.

``python benchmarks/simulation.py [TABLE]``, by default ``benchmarks/results/lgg/simulation.csv``; the picture goes to
docs/images/simulation.png.
"""

import csv
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from napari_segmatch.simulate import seconds_to_reach

ROOT = Path(__file__).parent.parent
WAYS = {"scratch": ("random slices from nothing", "#d55e00"), "correct": ("corrections in random order", "#0072b2"),
        "queue": ("the review queue", "#009e73")}  # fmt: skip


def main():
    table = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "benchmarks/results/lgg/simulation.csv"
    rows = {}
    for row in csv.DictReader(table.read_text().splitlines()):
        rows.setdefault(row["strategy"], []).append(row)
    best = float(rows["full"][-1]["dice"])
    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), dpi=120)
    axes.axhline(best, color="#444444", linewidth=1, label="every slice labelled")
    for share in (0.9, 0.95):
        axes.axhline(share * best, color="#bbbbbb", linewidth=1, linestyle="--")
        axes.text(0, share * best, f" {share:.0%} of it", fontsize=7, color="#777777", va="bottom")
    print(f"every label: Dice {best:.3f}")
    for way, (words, colour) in WAYS.items():
        worked = [row for row in rows[way] if float(row["seconds"]) > 0 or int(row["step"]) == int(row["lead"])]
        x, y = ([float(row[name]) for row in worked] for name in ("seconds", "dice"))
        axes.plot(x, y, marker="o", markersize=3, color=colour, label=words)
        reached = [seconds_to_reach(rows[way], share * best) for share in (0.9, 0.95)]
        print(f"{way}: 90 % after {reached[0]} s, 95 % after {reached[1]} s, Dice {y[-1]:.3f} after {x[-1]:.0f} s")
    axes.set_xlabel("seconds of a simulated person's work")
    axes.set_ylabel("Dice on unseen patients")
    axes.legend(fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(ROOT / "docs/images/simulation.png")


if __name__ == "__main__":
    main()
