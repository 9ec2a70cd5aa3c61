"""What the first quarter of an hour buys, in whole patients or a few slices of each of many.

``python benchmarks/spread.py LGG --image 'flair={case}/flair.nii.gz' --mask '{case}/mask.nii.gz' --seed 0``

The simulated annotator of ``segmatch simulate`` draws slices from nothing, for as long as all of the first two patients
of the pool take: theirs, or in turns three of each of more patients, where an eye would stop. Nobody reviews anything.
The same run trains on either; Dice is measured on unseen patients. Rows go to benchmarks/results/lgg/spread.csv, and
``--table`` prints and draws what is there.
"""

import argparse
import csv
import itertools
import statistics
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
from common import RESULTS, ROOT, append

from napari_segmatch.config import configure
from napari_segmatch.events import Evaluated, Failed
from napari_segmatch.io import find_cases, read_mask
from napari_segmatch.project import Project
from napari_segmatch.runner import training
from napari_segmatch.simulate import divide
from napari_segmatch.simulate.annotator import Annotator, Costs, drawing_seconds
from napari_segmatch.types import Region

matplotlib.use("Agg")
from matplotlib import pyplot


def where_to_stop(truth, rng):
    """Order a case's slices: of three one without a lesion, the others through the lesion from its largest on."""
    area = (truth == 1).sum((1, 2))
    shown, empty = np.flatnonzero(area), rng.permutation(np.flatnonzero(area == 0)).tolist()
    shares = (0.25, 0.75, 0.5, 0.0, 1.0) if len(shown) else ()
    through = [int(shown[round(share * (len(shown) - 1))]) for share in shares]
    pairs = itertools.zip_longest([int(area.argmax()), *through][::2], empty[:3], through[::2])
    chosen = [z for visit in pairs for z in visit if z is not None]
    return list(dict.fromkeys([*chosen, *rng.permutation(len(truth)).tolist()]))


def draw(project, annotator, cases, budget, rng):
    """Draw three slices of each case, then three more of each, until the seconds are over; of two cases all at once."""
    plans = {case: where_to_stop(annotator.truths[case], rng) for case in cases}
    longest = max(map(len, plans.values()))
    many = 3 if len(cases) > 2 else longest
    for visit in range(0, longest, many):
        for case, plan in plans.items():
            for z in plan[visit : visit + many]:
                if annotator.seconds >= budget:
                    return
                annotator.draw(project, Region(case, z))


def run(folder, setup, cases, budget, config):
    """Label as many slices as there is time for, and train; yields a row at every look at unseen patients."""
    with Project.create(folder, ("lesion",), ("flair",)) as project:
        for item in setup.pool:
            project.add_case(item.id, item.images, None, "none")
        for item in setup.unseen:
            project.add_case(item.id, item.images, item.mask, "all", validation=True)
        truths = {item.id: read_mask(item.mask).labels for item in setup.pool}
        rng = np.random.default_rng(config.seed)
        annotator = Annotator(truths, rng)
        draw(project, annotator, cases, budget, rng)
        started = project.new_run(config).id
    row = {"patients": len(cases), "seconds": round(annotator.seconds), "slices": annotator.counts["drawn"]}
    for event in training(folder, started):
        if isinstance(event, Failed):
            raise SystemExit(event.message)
        if isinstance(event, Evaluated):
            yield row | {"step": event.step, "dice": round(float(np.mean(list(event.cases.values()))), 4)}


def seconds_for_all(cases):
    """How long these patients take from the first slice to the last."""
    costs, slices = Costs(), [labels == 1 for case in cases for labels in read_mask(case.mask).labels]
    return len(cases) * costs.another_case + sum(costs.look + drawing_seconds(shown, costs) for shown in slices)


def table():
    """Print Dice at the last step, seed by seed, and the mean."""
    rows = list(csv.DictReader((RESULTS / "lgg/spread.csv").read_text().splitlines()))
    found = {}
    for row in rows:
        key = (row["selector"], int(row["patients"]))
        found.setdefault(key, {})[int(row["seed"])] = row["dice"], row["slices"], row["seconds"]
    for (selector, patients), seeds in sorted(found.items()):
        dice = [float(seeds[seed][0]) for seed in sorted(seeds)]
        each = " ".join(f"{value:.3f}" for value in dice)
        slices = " ".join(seeds[seed][1] for seed in sorted(seeds))
        print(f"{selector:<15} {patients:>3} patients  mean {statistics.mean(dice):.3f}  seeds {each}  slices {slices}")
    draw_picture({patients: seeds for (selector, patients), seeds in sorted(found.items()) if selector != "none"})


def draw_picture(found):
    """Draw a bar for the mean of each way, and a line through the ways for each seed."""
    ways = {2: "two patients\nfrom end to end", 8: "eight patients,\nsome slices of each",
            24: "up to 24 patients,\none to three of each"}  # fmt: skip
    dice = np.array([[float(found[patients][seed][0]) for patients in ways] for seed in sorted(found[2])])
    figure, axes = pyplot.subplots(figsize=(6.0, 3.4), dpi=120)
    axes.bar(range(len(ways)), dice.mean(0), width=0.5, color=["#bbbbbb", "#009e73", "#7fceb9"])
    for seed, line in enumerate(dice):
        axes.plot(
            line, color="#333333", linewidth=0.8, marker="o", markersize=4, label="each seed" if not seed else None
        )
    for place, mean in enumerate(dice.mean(0)):
        axes.text(place, 0.02, f"{mean:.2f}", ha="center", fontsize=11, fontweight="bold")
    axes.set_xticks(range(len(ways)), ways.values())
    axes.set_ylabel("Dice on unseen patients")
    axes.set_title("What 12 to 14 minutes of drawing teach", fontsize=10)
    axes.legend(fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(ROOT / "docs/images/spread.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--image", default="flair={case}/flair.nii.gz")
    parser.add_argument("--mask", default="{case}/mask.nii.gz")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--patients", default="2,8,24")
    parser.add_argument("--steps", type=int, default=1120)
    parser.add_argument("--selector", default="discriminator")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.table:
        table()
        return
    name, pattern = given.image.split("=")
    setup = divide(find_cases(given.folder, {name: pattern}, given.mask), 24, 12, 2, given.seed)
    config = configure(seed=given.seed, steps=given.steps, size=96, device="cpu", evaluate_every=160, proposals=0,
                       propose_every=given.steps, selector=given.selector)  # fmt: skip
    budget = seconds_for_all(setup.pool[:2])
    for patients in map(int, given.patients.split(",")):
        cases = [item.id for item in setup.pool[:patients]]
        with tempfile.TemporaryDirectory() as folder:
            for row in run(Path(folder) / "project", setup, cases, budget, config):
                print(append("lgg/spread", {"seed": given.seed, "selector": given.selector} | row), flush=True)


if __name__ == "__main__":
    main()
