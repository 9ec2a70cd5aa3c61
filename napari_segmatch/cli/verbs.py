"""Every verb of the shell, in the order of its help."""

# ruff: noqa: I001  the modules stand in the order of the help
from __future__ import annotations

from . import (  # noqa: F401
    cases, status, training, predicting, packaging, reviewing, simulating, keeping, upkeep, benchmarking,
)  # fmt: skip
from .common import app

__all__ = ["app"]
