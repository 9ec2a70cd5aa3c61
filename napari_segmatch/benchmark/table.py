"""The rows of a benchmark: kept in a file that grows, so that what is measured once is not measured again."""

from __future__ import annotations

import csv
import os
import platform
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from .. import __version__
from ..config import parse_setting
from ..errors import ConfigError
from .runs import Bench, Task, run

_bench: Bench | None = None


def provenance() -> dict[str, str]:
    """Return version, commit (of a checkout; with + if it was changed since), machine and date."""
    here = Path(__file__).parent
    commit = _git(here, "rev-parse", "--short", "HEAD")
    changed = "+" if commit and _git(here, "status", "--porcelain", "-uno") else ""
    return {
        "version": __version__,
        "commit": commit + changed,
        "machine": f"{os.cpu_count()} cores {_processor()}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def read(path: Path) -> list[dict[str, str]]:
    """Return all rows of a table; none if it is not there yet."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def is_last(row: Mapping[str, str]) -> bool:
    """Whether a row was measured at the end of its run."""
    return row["step"] == row["marks"].split()[-1]


def measured(rows: Iterable[Mapping[str, str]], material: str) -> list[dict[str, str]]:
    """Return the tasks that were carried out on some material to their end."""
    names = Task("", 0, 0, (1,)).fields
    return [{name: row[name] for name in names} for row in rows if is_last(row) and row["material"] == material]


def append(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows.

    Raises
    ------
    ConfigError
        If the table was begun by a version with other columns.
    """
    there = read(path)
    if there and list(there[0]) != list(rows[0]):
        raise ConfigError(f"{path.name} was begun by another version of segmatch: choose another folder with --out.")
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        if not there:
            writer.writeheader()
        writer.writerows(rows)


def carry_out(bench: Bench, tasks: Sequence[Task], path: Path, jobs: int) -> Iterator[tuple[Task, float]]:
    """Carry out the tasks that the table lacks, ``jobs`` at a time with one thread each; yields each with its Dice.

    A task's rows are written together when it is over: a broken run leaves none, and is run again.
    """
    done = measured(read(path), bench.name)
    waiting = [task for task in tasks if task.fields not in done]
    if not waiting:
        return
    where = provenance()
    for task, rows in _alone(bench, waiting) if jobs == 1 else _together(bench, waiting, jobs):
        append(path, [row | where for row in rows])
        yield task, float(rows[-1]["test_dice"] or rows[-1]["validation_dice"] or "nan")


def _alone(bench: Bench, tasks: Sequence[Task]) -> Iterator[tuple[Task, list[dict[str, Any]]]]:
    _open(bench)
    for task in tasks:
        yield task, _carry_out(task)


def _together(bench: Bench, tasks: Sequence[Task], jobs: int) -> Iterator[tuple[Task, list[dict[str, Any]]]]:
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_open, initargs=(bench,)) as workers:
        futures = {workers.submit(_carry_out, task): task for task in tasks}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            workers.shutdown(cancel_futures=True)
            raise


def _open(bench: Bench) -> None:
    import torch

    global _bench
    _bench = bench
    torch.set_num_threads(1)


def _carry_out(task: Task) -> list[dict[str, Any]]:
    if _bench is None:
        raise RuntimeError("a worker was started without material")
    return list(run(_bench, task, dict(parse_setting(word) for word in shlex.split(task.settings))))
