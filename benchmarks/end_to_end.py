"""Real MRI from a folder to a Dice, through the shell: ``python benchmarks/end_to_end.py DATA``.

DATA holds a folder for each patient with flair.nii.gz and mask.nii.gz. Ten patients (drawn once, by a fixed seed)
are kept out of every pool and segmented at the end. Of the others a few are labelled and the rest unlabelled. Each
selector trains for the same minutes. One row for each run goes to results/end_to_end.csv; a run that is there
already is not run again.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import RESULTS, append

UNSEEN, SPLIT_SEED = 10, 7


def segmatch(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "napari_segmatch.cli", *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        sys.exit(f"segmatch {arguments[0]} failed")
    return done.stdout


def split(data, labelled, seed):
    """Return unseen, labelled and unlabelled patients. Those with the same seed and more labels are supersets."""
    patients = sorted(path.name for path in data.iterdir() if path.is_dir())
    order = list(np.random.default_rng(SPLIT_SEED).permutation(patients))
    unseen, rest = order[:UNSEEN], order[UNSEEN:]
    rest = list(np.random.default_rng(100 + seed).permutation(rest))
    return unseen, rest[:labelled], rest[labelled:]


def links(folder, data, patients):
    folder.mkdir()
    for patient in patients:
        (folder / patient).symlink_to(data / patient)
    return folder


def run(data, selector, minutes, labelled, seed, size, extra):
    unseen, with_labels, without = split(data, labelled, seed)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        pool, held_out = links(scratch / "pool", data, with_labels + without), links(scratch / "out", data, unseen)
        project, masks = scratch / "project", scratch / "masks"
        segmatch("new", project, "--classes", "lesion", "--sequences", "flair")
        segmatch("add", project, pool, "--image", "flair={case}/flair.nii.gz", "--mask", "{case}/mask.nii.gz",
                 "--labelled", ",".join(with_labels))  # fmt: skip
        begun = time.monotonic()
        segmatch("train", project, "--selector", selector, "--minutes", minutes, "--size", size, "--seed", seed,
                 "--device", "cpu", *extra)  # fmt: skip
        seconds = time.monotonic() - begun
        segmatch("predict", project, held_out, "--image", "flair={case}/flair.nii.gz", "--out", masks)
        print(segmatch("evaluate", masks, data, "--mask", "{case}/mask.nii.gz"))
        means = {row["metric"]: row for row in csv.DictReader((masks / "evaluation_means.csv").open())}
        steps = max(int(path.name) for path in project.glob("runs/*/checkpoints/*"))
        return {
            "selector": selector, "labelled_patients": labelled, "seed": seed, "minutes": minutes, "size": size,
            "extra": " ".join(extra), "steps": steps, "wall_seconds": round(seconds), "unseen_patients": UNSEEN,
            "dice": f"{float(means['dice']['mean']):.4f}", "ci95_low": f"{float(means['dice']['ci95_low']):.4f}",
            "ci95_high": f"{float(means['dice']['ci95_high']):.4f}",
            "slice_dice": f"{float(means['lesion-slice dice']['mean']):.4f}",
            "hd95_mm": f"{float(means['hd95 mm']['mean']):.1f}",
            "empty_slice_fp": f"{float(means['empty-slice fp']['mean']):.3f}",
        }  # fmt: skip


def done_already(key):
    path = RESULTS / "end_to_end.csv"
    return path.exists() and any(
        all(row[name] == str(value) for name, value in key.items()) for row in csv.DictReader(path.open())
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--selectors", nargs="+", default=["none", "discriminator"])
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--labelled", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--extra", nargs=argparse.REMAINDER, default=[], help="more options for segmatch train")
    given = parser.parse_args()
    for seed in given.seeds:
        for selector in given.selectors:
            key = {"selector": selector, "labelled_patients": given.labelled, "seed": seed, "minutes": given.minutes,
                   "size": given.size, "extra": " ".join(given.extra)}  # fmt: skip
            if not done_already(key):
                row = run(given.data.resolve(), selector, given.minutes, given.labelled, seed, given.size, given.extra)
                print(append("end_to_end", row))


if __name__ == "__main__":
    main()
