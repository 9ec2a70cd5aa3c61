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
        "machine": machine(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def machine():
    """Name the processor, and the GPU if there is one."""
    import torch

    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{os.cpu_count()} cores {_processor()}{gpu}"


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def in_turn(jobs, rounds, device="cpu", before=2):
    """Call jobs one after the other so many times; returns the mean time of each, in seconds.

    Some rounds before are not counted. On a processor it is processor time: a busy machine slows all of them alike.
    On a GPU it is time by the clock, until all that was launched is done.
    """
    times = {name: [] for name in jobs}
    for turn in range(rounds + before):
        for name, job in jobs.items():
            since = _now(device)
            job()
            if turn >= before:
                times[name].append(_now(device) - since)
    return {name: statistics.fmean(values) for name, values in times.items()}


def _now(device):
    if device == "cpu":
        return time.process_time()
    import torch

    torch.cuda.synchronize()
    return time.perf_counter()


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
