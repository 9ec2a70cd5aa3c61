"""Find the files of many cases from patterns like ``{case}/flair.nii.gz``."""

from __future__ import annotations

import glob
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from ..errors import ImportProblem
from ..texts import good_name

_CASE = "{case}"
_EXAMPLE = "flair={case}/flair.nii.gz"


@dataclass(frozen=True)
class FoundCase:
    """The files of one case: an image for each sequence that was found, and a mask if there is one.

    Attributes
    ----------
    choices
        Answers to questions about how to read the files.
    patient
        Who the case is of, under another name; by default each case is its own patient.
    """

    id: str
    images: dict[str, Path]
    mask: Path | None = None
    choices: dict[str, str] = field(default_factory=dict)
    patient: str | None = None


@dataclass(frozen=True)
class Found:
    """Cases, and sentences about what was taken and what was left out."""

    cases: tuple[FoundCase, ...]
    lines: tuple[str, ...] = ()


def parse_image_option(option: str) -> tuple[str, str]:
    """Split ``flair={case}/flair.nii.gz`` into the sequence's name and its pattern.

    Raises
    ------
    ImportProblem
        If it has no name, no pattern or no ``{case}``.
    """
    name, equals, pattern = (part.strip() for part in option.partition("="))
    if not equals or not pattern:
        raise ImportProblem(f"“{option}” is no name=pattern: write it like {_EXAMPLE}.")
    if not good_name(name):
        raise ImportProblem(f"“{name}” is no name for a sequence: use letters and digits, as in {_EXAMPLE}.")
    _require_case(pattern)
    return name, pattern


def bad_name(path: str) -> str:
    """Return a sentence if a path is no text, as systems that take names for bytes allow; else an empty string."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return f"{path.encode(errors='replace').decode()} has a name that is not UTF-8: rename it."
    return ""


def find_cases(
    root: str | os.PathLike[str],
    images: Mapping[str, str],
    mask: str | None = None,
    tell: Callable[[str], None] = warnings.warn,
) -> list[FoundCase]:
    """Find every case under a folder that has at least one of the images.

    Parameters
    ----------
    root
        The folder that the patterns start from.
    images
        A pattern for each sequence. ``{case}`` stands for the case's id, a name without ``/`` that is the
        same wherever it stands in a pattern; ``*`` for anything else without ``/``; all else for itself.
    mask
        The pattern of the masks. A mask without any image is left out.
    tell
        Is given a sentence for each file that is left out because its name is no text.

    Returns
    -------
    The cases, sorted by id.

    Raises
    ------
    ImportProblem
        If the folder does not exist, a pattern lacks ``{case}``, fits two files of one case, or none fits.
    """
    root = Path(root)
    if not root.is_dir():
        raise ImportProblem(f"{root.name or root} is not a folder: check its name.")
    found = {name: _matches(root, pattern, tell) for name, pattern in images.items()}
    masks = {} if mask is None else _matches(root, mask, tell)
    ids = sorted({case for files in found.values() for case in files})
    if not ids:
        wanted = " or ".join(images.values()) or "any image pattern"
        raise ImportProblem(f"Nothing in {root.name or root} looks like {wanted}: check folder and pattern.")
    for wanted, files in [*zip(images.values(), found.values(), strict=True), *([(mask, masks)] if mask else [])]:
        if not files:
            raise ImportProblem(f"No file in {root.name or root} looks like {wanted}: check this pattern.")
    images_of = {case: {name: files[case] for name, files in found.items() if case in files} for case in ids}
    return [FoundCase(case, images_of[case], masks.get(case)) for case in ids]


def _matches(root: Path, pattern: str, tell: Callable[[str], None]) -> dict[str, Path]:
    """Return the file of each case that fits one pattern."""
    _require_case(pattern)
    pattern = PurePath(pattern).as_posix()
    wanted = re.compile(_expression(pattern))
    files: dict[str, Path] = {}
    for path in _candidates(root, pattern):
        match = wanted.fullmatch(path)
        if not match:
            continue
        if trouble := bad_name(path):
            tell(f"Left out: {trouble}")
            continue
        case = match["case"]
        if case in files:
            raise ImportProblem(
                f"Case {case} has two files that look like {pattern}, {files[case].name} and "
                f"{PurePath(path).name}: make the pattern narrower."
            )
        files[case] = root / path
    return files


def _candidates(root: Path, pattern: str) -> Iterator[str]:
    """Yield paths that may fit, relative to ``root`` with forward slashes; hidden files are left out."""
    loose = "*".join(glob.escape(part) for part in re.split(r"\{case\}|\*", pattern))
    for path in sorted(glob.glob(loose, root_dir=root)):  # noqa: PTH207  pathlib's glob refuses ".."
        yield PurePath(path).as_posix()


def _expression(pattern: str) -> str:
    """Turn a pattern into a regular expression; the second ``{case}`` must repeat the first."""
    case = iter([r"(?P<case>[^/]+)"])
    expression = ""
    for part in re.split(r"(\{case\}|\*)", pattern):
        if part == _CASE:
            expression += next(case, r"(?P=case)")
        else:
            expression += r"[^/]*" if part == "*" else re.escape(part)
    return expression


def _require_case(pattern: str) -> None:
    if _CASE not in pattern:
        raise ImportProblem(
            f"{pattern} does not say where the case's id stands: write {{case}} in it, as in {_EXAMPLE}."
        )
