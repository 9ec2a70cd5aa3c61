"""The two sides on which labelled cases teach and examine the discriminator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

CUT = 2
"""From this number on a fold names the slice at which a case is cut in two."""


def divide(fold_of: dict[str, int], cases: Sequence[str], slices: Sequence[int]) -> None:
    """Give cases that have none a fold, for good; the first one, when it is alone, is cut between its slices."""
    fresh = [case for case in cases if case not in fold_of]
    if len(fresh) == 1 and not fold_of:
        fold_of[fresh[0]] = CUT + slices[len(slices) // 2]
    for case in fresh:
        fold_of.setdefault(case, len(fold_of) % 2)


def folds_of(fold_of: Mapping[str, int], spans: Mapping[str, tuple[int, int]], rows: int) -> Tensor:
    """Return the fold of each row, (rows,): -1 for all but those of cases given by their first and last row."""
    folds = torch.full((rows,), -1, dtype=torch.long)
    for case, (first, last) in spans.items():
        fold = fold_of[case]
        folds[first : last + 1] = fold if fold < CUT else 1
        if fold >= CUT:
            folds[first : first + fold - CUT] = 0
    return folds
