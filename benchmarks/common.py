"""What every benchmark writes beside its figures: commit, machine, date."""

import csv
import os
import platform
import statistics
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def provenance():
    """Return commit, machine and date as a dict."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    dirty = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=ROOT, capture_output=True, text=True).stdout
    return {
        "commit": commit + ("+" if dirty.strip() else ""),
        "machine": f"{os.cpu_count()} cores {_processor()}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def in_turn(jobs, rounds):
    """Call jobs one after the other so many times; returns the mean processor time of each, in seconds.

    Two rounds before are not counted. A busy machine slows all of them alike.
    """
    times = {name: [] for name in jobs}
    for turn in range(rounds + 2):
        for name, job in jobs.items():
            since = time.process_time()
            job()
            if turn >= 2:
                times[name].append(time.process_time() - since)
    return {name: statistics.fmean(values) for name, values in times.items()}


def append(name, row):
    """Add a row to ``results/<name>.csv``; columns are those of the first row."""
    path = RESULTS / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    row = row | provenance()
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerow(row)
    return row
