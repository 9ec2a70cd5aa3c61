"""Break everything on purpose: ``python benchmarks/faults/run.py [CAMPAIGN ...] [--count N]``.

Without names, all campaigns run at full length. A row for each goes to results/faults.csv: what was done, how often,
what was asked and what was found. The exit code is 1 if anything was lost.
"""

import argparse
import importlib
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from ground import ROOT  # noqa: F401  brings the benchmarks' own modules

NAMES = ("kill", "primitives", "syscalls", "writers", "bitflips", "rebuild", "resume", "scale", "strokes", "window")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="CAMPAIGN", help=", ".join(NAMES))
    parser.add_argument("--count", type=int, help="how often, if not as often as the results need")
    parser.add_argument("--seed", type=int, help="other chances, of kill and bitflips")
    parser.add_argument("--dry", action="store_true", help="write no row")
    given = parser.parse_args()
    from common import append

    failed = 0
    for name in given.names or NAMES:
        module = importlib.import_module(name)
        begun = time.monotonic()
        asked = {"count": given.count, "seed": given.seed if name in ("kill", "bitflips") else None}
        for row, wrong in module.campaign(**{key: value for key, value in asked.items() if value is not None}):
            row = row | {"seconds": round(time.monotonic() - begun)}
            failed += row["wrong"]
            print(row if given.dry else append("faults", row), *wrong[:20], sep="\n  ", flush=True)
            begun = time.monotonic()
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
