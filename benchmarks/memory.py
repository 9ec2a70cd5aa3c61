"""How much memory a run takes on the CPU: ``python benchmarks/memory.py``.

Trains a few steps of several sizes on the sample project, each in a process of its own, and writes the process's
largest resident memory to results/memory.csv, less that of the same run with a tiny batch of tiny slices. The window's
estimate (napari_segmatch/ui/estimate.py) has its constants from here.
"""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from common import append

from napari_segmatch.sample import make_project

SIZES = ((32, 8, 1), (128, 16, 8), (128, 32, 8), (192, 16, 8), (256, 32, 4))


def peak(project, size, features, batch):
    """Megabytes of the largest child so far; children are measured from small to large."""
    subprocess.run(
        [sys.executable, "-m", "napari_segmatch.cli", "train", str(project), "--steps", "3", "--size", str(size),
         "--device", "cpu", "--quiet", "--set", f"features={features}", "--set", f"batch={batch}", "--set", "warmup=0",
         "--set", "proposals=0", "--set", "evaluate_every=100"],
        check=True,
    )  # fmt: skip
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def main():
    with tempfile.TemporaryDirectory() as scratch:
        make_project(Path(scratch) / "project", cases=4, labelled=2).close()
        base = None
        for size, features, batch in SIZES:
            found = peak(Path(scratch) / "project", size, features, batch)
            base = base or found
            pixels = size * size * features * batch * 2 / 2**20
            print(append("memory", {"size": size, "features": features, "batch": batch, "peak_mib": round(found),
                                    "more_mib": round(found - base),
                                    "more_per_mi_pixel_features": round((found - base) / pixels, 1)}))  # fmt: skip


if __name__ == "__main__":
    main()
