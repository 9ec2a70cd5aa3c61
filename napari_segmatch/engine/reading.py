"""In what order a run reads the cases of its pool."""

from __future__ import annotations

from ..texts import digest
from ..types import PoolSnapshot, watched

AT_ONCE = 16
"""A run reads so many cases that nobody has worked on before its first step, and one more before each."""


def reading_order(pool: PoolSnapshot, at_once: int | None) -> tuple[list[str], list[str]]:
    """Return the cases to read before a run begins, and those that may wait.

    What people have worked on is read first, then the cases whose slices they watch, then the others in an order by
    chance that is always the same.

    Parameters
    ----------
    at_once
        So many cases that nobody has worked on need not wait; None: none waits.
    """
    everyone = sorted({*pool.labelled, *pool.unlabelled})
    worked_on = {*pool.labelled, *(item.region.case for item in pool.reviewed)}
    others = [case for case in everyone if case not in worked_on]
    if at_once is None or len(others) <= at_once:
        return everyone, []
    shown = {region.case for region in watched(pool.unlabelled)}
    others.sort(key=lambda case: (case not in shown, digest({"case": case})))
    return [case for case in everyone if case in worked_on] + others[:at_once], others[at_once:]
