"""What may go into a project. Each check passes a value on or raises one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ..errors import ProjectError
from ..texts import FORBIDDEN, good_name
from ..types import NOT_ANNOTATED, Case, Geometry


def check_names(what: str, names: Sequence[str]) -> None:
    """Check the names of a project's classes or sequences; after those of sequences, options go on with “=”."""
    forbidden = FORBIDDEN | {"="} if what == "sequence" else FORBIDDEN
    good = not isinstance(names, str) and all(good_name(name) and not set(name) & forbidden for name in names)
    if not good or not names or len(set(names)) < len(names):
        raise ProjectError(
            f"A project needs one or more {what} names, each different, without any of {' '.join(sorted(forbidden))}; "
            f"given was {names!r}."
        )


def check_labels(labels: np.ndarray, case: Case, classes: int) -> np.ndarray:
    """Return labels (z, y, x) as uint8 if they fit a case and the project's classes."""
    labels = np.asarray(labels)
    if labels.shape != case.shape:
        raise ProjectError(f"A mask for {case.id} must have the shape {case.shape}; it has {labels.shape}.")
    return check_values(labels, case, classes)


def check_values(labels: np.ndarray, case: Case, classes: int) -> np.ndarray:
    """Return labels of any shape as uint8 if they are the project's."""
    if labels.dtype.kind not in "iub":
        raise ProjectError(f"A mask for {case.id} must hold whole numbers; it holds {labels.dtype}.")
    wrong = labels[(labels != NOT_ANNOTATED) & ((labels < 0) | (labels > classes))]
    if wrong.size:
        raise ProjectError(
            f"A mask for {case.id} holds label {int(wrong.flat[0])}; allowed are 0 to {classes} and 255."
        )
    return labels.astype(np.uint8)


def check_slices(slices: Iterable[int], geometry: Geometry) -> tuple[int, ...]:
    """Return slice numbers sorted and without doubles if all lie in the volume."""
    found = tuple(sorted({int(z) for z in slices}))
    if found and not 0 <= found[0] <= found[-1] < geometry.shape[0]:
        raise ProjectError(f"Slices run from 0 to {geometry.shape[0] - 1}; given were {found[0]} to {found[-1]}.")
    return found
