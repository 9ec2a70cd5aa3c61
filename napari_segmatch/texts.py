"""Facts as text: names, numbers of things, tables, and fingerprints of what JSON can hold."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

FORBIDDEN = set('/\\:*?"<>|')
"""Characters that some system does not allow in a file name."""


def good_name(name: str) -> bool:
    """Whether a name can be a file's name on every system: of a case, a class or a sequence."""
    return 0 < len(name) <= 100 and not set(name) & FORBIDDEN and name.isprintable() and name == name.strip(" .")


def count(n: int, noun: str) -> str:
    """``1 case``, ``2 cases``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def some(names: Sequence[str], most: int = 6) -> str:
    """``a, b``; of more than ``most`` the first ones: ``a, b, …``."""
    return ", ".join(names[:most]) + ", …" * (len(names) > most)


def named(cases: Sequence[str], most: int = 6) -> str:
    """``a, b``; of more than ``most`` how many they are and the first ones: ``9 cases (a, b, …)``."""
    shown = some(cases, most)
    return shown if len(cases) <= most else f"{len(cases)} cases ({shown})"


def between_commas(text: str) -> list[str]:
    """Return what stands between the commas, without what is empty."""
    return [part.strip() for part in text.split(",") if part.strip()]


def digest(fields: dict[str, object]) -> str:
    """Return the SHA-256 of what JSON can hold, as it is read back: numbers that are keys are text there.

    The order of the keys does not matter.
    """
    return _digest(json.loads(json.dumps(fields)))


def _digest(fields: object) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def is_signed(state: dict[str, Any]) -> bool:
    """Take out of a checkpoint's state its own digest, and return whether it is right.

    The first checkpoints had none, and some have one of slices sorted by number, 9 before 10, which JSON does not.
    """
    own = state.pop("own_sha256", None)
    if own in (None, digest(state)):
        return True
    with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):  # what is damaged may be anything
        sweep = state["memory"]["sweep"]
        found = {case: [version, {int(z): each for z, each in pixels.items()}]
                 for case, (version, pixels) in sweep["found"].items()}  # fmt: skip
        return bool(own == _digest(state | {"memory": state["memory"] | {"sweep": sweep | {"found": found}}}))
    return False


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a table as CSV with a header."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return buffer.getvalue()
