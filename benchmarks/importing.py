"""Import many volumes of 256 x 256 x 155 into a project: seconds each, and whether memory stays flat.

python benchmarks/importing.py --count 100
"""

import argparse
import gzip
import resource
import tempfile
import time
from pathlib import Path

import common
import nibabel as nib
import numpy as np

from napari_segmatch.io import FoundCase
from napari_segmatch.session import Session

SHAPE = (256, 256, 155)


def write(folder, count):
    """Write volumes that differ, with masks; each has noise, as MRI has. Returns the cases."""
    rng = np.random.default_rng(0)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij", sparse=True)
    head = (700 * ((x / 0.7) ** 2 + (y / 0.85) ** 2 + (z / 0.9) ** 2 < 1)).astype(np.int16)
    noise = rng.integers(0, 60, SHAPE, dtype=np.int16)
    mask = np.zeros(SHAPE, np.uint8)
    mask[90:120, 100:140, 60:90] = 1
    found = []
    for number in range(count):
        files = {name: folder / f"{number:03d}-{name}.nii.gz" for name in ("flair", "mask")}
        for name, array in (("flair", head + np.roll(noise, number, 0)), ("mask", np.roll(mask, number % 50, 0))):
            image = nib.Nifti1Image(array, np.diag([-1.0, -1.0, 1.0, 1.0]), dtype=array.dtype)
            files[name].write_bytes(gzip.compress(image.to_bytes(), 1))
        found.append(FoundCase(f"case-{number:03d}", {"flair": files["flair"]}, files["mask"]))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory() as folder:
        found = write(Path(folder), count)
        session = Session()
        session.create_project(Path(folder) / "project", ["lesion"], ["flair"])
        peaks, left = {}, []
        start = time.perf_counter()
        session.add_cases(found)
        while session.adding:
            session.poll()
            left.append(session.adding)
            done = count - session.adding
            if done in (count // 10, count):
                peaks.setdefault(done, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            time.sleep(0.02)
        seconds = time.perf_counter() - start
        added = sum(case.problem is None and len(case.labelled) == SHAPE[2] for case in session.cases)
        session.close()
        row = {
            "volumes": count, "added": added, "seconds_each": round(seconds / count, 3),
            "progress_steps": len(set(left)),
            "peak_mb_after_a_tenth": round(peaks[count // 10]), "peak_mb_after_all": round(peaks[count]),
        }  # fmt: skip
        print(common.append("importing", row))


if __name__ == "__main__":
    main()
