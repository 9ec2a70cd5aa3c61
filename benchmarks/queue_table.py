"""Tell what the review queue reached, with other selectors and orders: ``python benchmarks/queue_table.py``.

Reads benchmarks/results/lgg/queue.csv, the tables of ``segmatch simulate --strategies queue`` with and without
``--set selector=confidence-map``, of several seeds and commits one below the other: Dice before the first round of
work, half way and at the end.
"""

import csv
import statistics
from pathlib import Path

TABLE = Path(__file__).parent / "results/lgg/queue.csv"


def main():
    runs = {}
    for row in csv.DictReader(TABLE.read_text().splitlines()):
        if int(row["step"]) >= int(row["lead"]):
            way = f"{row['commit']} {row['settings'] or 'discriminator'}"
            runs.setdefault((way, row["seed"]), []).append(float(row["dice"]))
    for way in dict.fromkeys(way for way, _ in runs):
        mine = {seed: dice for (which, seed), dice in sorted(runs.items()) if which == way}
        marks = {seed: (dice[0], dice[len(dice) // 2], dice[-1]) for seed, dice in mine.items()}
        for seed, values in marks.items():
            print(f"{way:<34} seed {seed}  " + "  ".join(f"{value:.3f}" for value in values))
        mean = [statistics.mean(values) for values in zip(*marks.values(), strict=True)]
        print(f"{way:<34} mean    " + "  ".join(f"{value:.3f}" for value in mean))


if __name__ == "__main__":
    main()
