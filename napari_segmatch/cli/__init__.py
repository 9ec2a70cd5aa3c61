"""The shell: ``segmatch --help``. Exit code 0, or 2 and one sentence on standard error."""

# ruff: noqa: I001  the modules stand in the order of the help
from __future__ import annotations

import os
import sys
import warnings

import typer

from ..errors import Question, SegmatchError
from ..runner import REFUSED
from . import (  # noqa: F401
    cases, status, training, predicting, packaging, reviewing, simulating, keeping, upkeep, benchmarking,
)  # fmt: skip
from .common import app


def main() -> None:
    """Run the command line; whatever goes wrong ends in one sentence."""
    warnings.filterwarnings("ignore", module="monai")
    try:
        code = app(standalone_mode=False)
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
    if hasattr(error, "format_message"):  # the command line's own errors
        return str(error.format_message()) or "stopped."
    if isinstance(error, typer.Abort):
        return "stopped."
    if os.environ.get("SEGMATCH_DEBUG"):
        raise error
    return f"internal error ({type(error).__name__}: {error}); set SEGMATCH_DEBUG=1 to see where, and please report it."


def _complain(sentence: str) -> int:
    typer.echo(f"segmatch: {sentence}", err=True)
    return REFUSED
