"""``segmatch`` for tests: most of a call is its imports, so they are done once, and each call is a fork of that.

Where there is no fork, each call is a process of its own. That nothing depends on what was imported before is for
tests/test_docs.py to see, which starts the README's commands from nothing.
"""

import atexit
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

SECONDS = 300


def segmatch(*arguments, cwd=None):
    """Run a command. Returns its exit code, and what it wrote as text."""
    words = [str(each) for each in arguments]
    if not hasattr(os, "fork"):
        command = [sys.executable, "-m", "napari_segmatch.cli", *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=SECONDS)
    shell = _shell()
    with tempfile.TemporaryDirectory() as folder:
        shell.stdin.write(json.dumps([words, str(cwd or Path.cwd()), dict(os.environ), folder]) + "\n")
        shell.stdin.flush()
        code = int(shell.stdout.readline())
        written = [Path(folder, name).read_text() for name in ("out", "err")]
    return subprocess.CompletedProcess(words, code, *written)


@cache
def _shell():
    shell = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(shell.terminate)
    return shell


def _serve():
    """Fork for each line, and answer with the exit code."""

    import napari_segmatch.cli.verbs
    import napari_segmatch.engine.predict
    import napari_segmatch.evaluation
    import napari_segmatch.runner  # noqa: F401

    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _call(*json.loads(line))
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


def _call(words, cwd, environment, folder):
    """Do what a process of its own does, but for tidying up what was imported."""
    signal.alarm(SECONDS)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(folder, name), os.O_WRONLY | os.O_CREAT), number)
    sys.argv = ["segmatch", *words]

    from napari_segmatch.cli import main

    try:
        main()
    except SystemExit as done:
        code = done.code
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve()
