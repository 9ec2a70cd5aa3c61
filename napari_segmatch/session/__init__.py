"""What the window is doing now: verbs for people, and signals that say what changed. No Qt in here.

Slow work goes to six threads, each of which takes its jobs in order: one writes the stroke journal, one saves, one
imports, one reads, one segments, one exports, so that an import of a hundred cases keeps nobody from painting. Training
goes to its own. Nothing of theirs touches a listener: the window calls :meth:`Session.poll` ten times a second on its
own thread, and all signals are emitted from there.
"""

from __future__ import annotations

from ..history import History
from ..ledger import Ledger
from ..runner import Mode
from .reviewing import Session

__all__ = ["History", "Ledger", "Mode", "Session"]
