"""The shell: ``segmatch --help``. Exit code 0, or 2 and one sentence on standard error."""

from __future__ import annotations

import os
import sys
import warnings
from io import TextIOWrapper
from pathlib import Path

from ..errors import REFUSED, Question, SegmatchError

INTERRUPTED = 130
"""What typer makes of Ctrl+C."""


def main() -> None:
    """Run the command line; whatever goes wrong ends in one sentence, Ctrl+C while it is still loading too."""
    warnings.filterwarnings("ignore", module="monai")
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by who started us: a file of ours would get its number, and its noise
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115  open until the end
    if isinstance(sys.stdout, TextIOWrapper):  # a name may have letters that the shell, or a file of Windows, has not
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        from .verbs import app

        code = app(standalone_mode=False)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
    except Question as error:
        code = _complain(f"{error} Then repeat it with --choose.")
    except SegmatchError as error:
        code = _complain(str(error))
    except KeyboardInterrupt:
        code = _complain("stopped; what was done so far is kept.")
    except OSError as error:
        code = _complain(f"{error.filename or 'A file'}: {error.strerror}.")
    except Exception as error:
        code = _complain(_sentence(error))
    sys.exit(code or 0)


def _sentence(error: Exception) -> str:
    """Say what was wrong with the command; of a bug, what it was and how to see more."""
    import typer

    if hasattr(error, "format_message"):  # the command line's own errors
        return str(error.format_message()) or "stopped."
    if isinstance(error, typer.Abort):
        return "stopped."
    if os.environ.get("SEGMATCH_DEBUG"):
        raise error
    return f"internal error ({type(error).__name__}: {error}); set SEGMATCH_DEBUG=1 to see where, and please report it."


def _complain(sentence: str) -> int:
    sys.stderr.write(f"segmatch: {sentence}\n")
    return REFUSED
