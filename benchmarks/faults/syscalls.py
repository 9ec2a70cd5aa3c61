"""Every system call that changes the project, SQLite's own among them, fails once: Linux, with a C compiler.

A small library (refuse.c) stands between the process and the system. Each scenario of ``primitives`` that needs no
torch runs in a process of its own, once for each call that it makes and each way to fail.
"""

import errno
import os
import subprocess
import sys
from collections import Counter

from ground import scratch, template
from primitives import ASKED, SCENARIOS, fresh, judged, prepared

WAYS = ("ENOSPC", "EIO")
SHORT = {scenario.__name__: scenario for scenario in SCENARIOS if scenario.__name__ in ("save", "decide", "paint")}


def child(name, path, library, **faults):
    """Run a scenario in a process of its own; returns what it said if it failed."""
    environment = {**os.environ, "LD_PRELOAD": str(library), "FAULT_ROOT": str(path), **faults}
    command = [sys.executable, __file__, name, str(path)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    except subprocess.TimeoutExpired:
        return "it hangs"
    return "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def campaign(count=1):
    """Fail every call; with ``count`` only every so many-th."""
    with scratch() as folder:
        library = folder / "refuse.so"
        source = os.path.join(os.path.dirname(__file__), "refuse.c")  # noqa: PTH118,PTH120
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-w", source, "-o", str(library), "-ldl"], check=True)
        made = template(folder)
        for name, scenario in SHORT.items():
            log = folder / f"{name}.log"
            child(name, prepared(made, "counted"), library, FAULT_LOG=str(log))
            counted = Counter(log.read_text().split())
            plan = [(call, at, way) for call, n in counted.items() for at in range(1, n + 1) for way in WAYS][::count]
            ready, told, wrong = prepared(made, "ready"), 0, []
            for number, (call, at, way) in enumerate(plan):
                path = fresh(ready, f"f{number % 2}")
                faults = {"FAULT_CALL": call, "FAULT_AT": str(at), "FAULT_ERRNO": str(getattr(errno, way))}
                said = child(name, path, library, **faults)
                told += bool(said)
                where = f"{name} {call} {at} {way}"
                if said and not said.startswith("sentence: "):
                    wrong.append(f"{where}: {said}")
                if said:
                    scenario(path)
                wrong += [f"{where}: {text}" for text in judged(path, scenario)]
            row = {"what": f"failing system call: {name}", "runs": len(plan), "checked": told}
            yield row | {"asked": ASKED, "wrong": len(wrong)}, wrong


if __name__ == "__main__":
    from pathlib import Path

    from napari_segmatch.errors import SegmatchError

    try:
        SHORT[sys.argv[1]](Path(sys.argv[2]))
    except SegmatchError as error:
        sys.exit(f"sentence: {error}")
