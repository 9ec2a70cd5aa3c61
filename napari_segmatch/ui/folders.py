"""Folders that somebody types into a field."""

from __future__ import annotations

from pathlib import Path

from ..errors import ImportProblem


def typed_folder(words: str) -> Path:
    """Return the folder that somebody typed; ``~`` is a person's own.

    Raises
    ------
    ImportProblem
        If the system knows no such person.
    """
    try:
        return Path(words.strip()).expanduser()
    except RuntimeError as error:
        raise ImportProblem(f"The folder {words.strip()} is nobody's on this computer: type it in full.") from error
