"""How long it takes to begin: ``python benchmarks/startup.py``. Median of seven, one row to results/startup.csv."""

import statistics
import subprocess
import sys
import time

from common import append


def seconds(*command):
    times = []
    for _ in range(7):
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def main():
    bare = seconds(sys.executable, "-c", "pass")
    row = {
        "import_napari_segmatch_s": round(seconds(sys.executable, "-c", "import napari_segmatch") - bare, 3),
        "import_project_s": round(seconds(sys.executable, "-c", "from napari_segmatch import Project") - bare, 3),
        "segmatch_help_s": round(seconds(sys.executable, "-m", "napari_segmatch.cli", "--help"), 3),
    }
    print(append("startup", row))


if __name__ == "__main__":
    main()
