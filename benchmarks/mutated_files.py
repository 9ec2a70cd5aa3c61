"""Mutated files of every format against the readers: nothing but our own error may come out, and soon.

python benchmarks/mutated_files.py --count 10000
"""

import argparse
import faulthandler
import gzip
import logging
import random
import sys
import tempfile
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")

import common  # noqa: E402
import nibabel as nib  # noqa: E402
import numpy as np  # noqa: E402

from napari_segmatch.errors import ImportProblem  # noqa: E402
from napari_segmatch.io import encode_segmentation, encode_segments, read_mask, read_volume, write_labels  # noqa: E402
from napari_segmatch.types import Geometry  # noqa: E402

AFFINE = np.array([[0, 0, -1.0, 10], [0, -1.0, 0, 20], [3.0, 0, 0, 30], [0, 0, 0, 1]])
CHOICES = {"orientation": "unknown", "shear": "keep", "gap": "longest", "slice": "first", "frame": "0", "stack": "1",
           "colour": "luminance", "complex": "magnitude", "labels": "9:1"}  # fmt: skip


def seeds(folder):
    """Write one small good file of each format; returns name to (file, bytes)."""
    from dicom_series import enhanced, series

    geometry = Geometry((4, 6, 7), AFFINE)
    labels = (np.arange(168).reshape(geometry.shape) % 3).astype(np.uint8)
    array = labels.T.astype(np.int16)
    files = {name: folder / name for name in ("a.nii", "a.nii.gz", "a.nrrd")}
    for path in files.values():
        write_labels(path, labels, geometry)
    files["a.seg.nrrd"] = folder / "a.seg.nrrd"
    files["a.seg.nrrd"].write_bytes(encode_segments(labels, geometry, ["a", "b"], {}))
    for kind, name in ((nib.Nifti2Image, "two.nii"), (nib.MGHImage, "a.mgh"), (nib.MGHImage, "a.mgz")):
        files[name] = folder / name
        kind(array, geometry.source_affine).to_filename(files[name])
    (folder / "pair").mkdir()
    files["pair/a.hdr"] = folder / "pair" / "a.hdr"
    nib.Nifti1Pair(array, geometry.source_affine).to_filename(folder / "pair" / "a.img")
    files["slice.dcm"] = folder / "dicom" / "slice.dcm"
    series(folder / "dicom", n=1)[0].rename(files["slice.dcm"])
    files["enhanced.dcm"] = enhanced(folder / "enhanced" / "enhanced.dcm", n=3)
    source = series(folder / "source", n=3)[0]
    grid = read_volume(source).geometry
    files["seg.dcm"] = folder / "seg" / "seg.dcm"
    files["seg.dcm"].parent.mkdir()
    drawn = (np.arange(np.prod(grid.shape)).reshape(grid.shape) % 3).astype(np.uint8)
    files["seg.dcm"].write_bytes(encode_segmentation(source, drawn, grid, ["a", "b"], "MANUAL"))
    return {name: (path, path.read_bytes()) for name, path in files.items()}


def mutated(data, rng, header):
    """Change bytes, cut, double or insert parts; half the time in the header, where it hurts most."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        end = header if rng.random() < 0.5 else len(out)
        at = rng.randrange(max(1, min(end, len(out))))
        kind = rng.randrange(6)
        if kind == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at : at + 4] = rng.choice(
                (b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\x80\x7f")
            )
        elif kind == 2:
            out[at:at] = rng.randbytes(rng.randrange(1, 40))
        elif kind == 3:
            del out[at : at + rng.randrange(1, 60)]
        elif kind == 4:
            out[at : at + 30] = out[: rng.randrange(1, 60)]
        elif rng.random() < 0.2:
            del out[at:]
        else:
            out[at] = rng.randrange(256)
        out = out or bytearray(b"\0")
    return bytes(out)


def attack(path, data, count, rng):
    """Read ``count`` mutants of a file as image and as mask. Returns how many were read, refused, and the slowest."""
    read = refused = 0
    slowest = 0.0
    packed = data.startswith(b"\x1f\x8b")
    for number in range(count):
        inside = packed and number % 2  # half of the mutants of a gzip are wrong inside of a right one
        body = mutated(gzip.decompress(data) if inside else data, rng, 1200)
        path.write_bytes(gzip.compress(body, 1) if inside else body)
        for reader in (read_volume, read_mask):
            start = time.perf_counter()
            try:
                result = reader(path, choices=CHOICES)
                values = result.pixels if reader is read_volume else result.labels
                assert np.isfinite(values).all()
                read += 1
            except ImportProblem as problem:
                assert "\n" not in str(problem), repr(problem)
                refused += 1
            slowest = max(slowest, time.perf_counter() - start)
    path.write_bytes(data)
    return read, refused, slowest


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="mutants of each format")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    faulthandler.enable()
    with tempfile.TemporaryDirectory() as folder:
        for name, (path, data) in seeds(Path(folder)).items():
            read, refused, slowest = attack(path, data, arguments.count, random.Random(arguments.seed))
            row = {"format": name, "mutants": arguments.count, "read": read, "refused": refused, "other_errors": 0,
                   "slowest_s": round(slowest, 3)}  # fmt: skip
            print(common.append("mutated_files", row))


if __name__ == "__main__":
    main()
