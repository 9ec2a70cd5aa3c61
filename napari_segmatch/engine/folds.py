"""The two sides on which labelled cases teach and examine the discriminator."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

CUT = 2
"""From this number on a fold names the slice at which a case is cut in two."""


def divide(fold_of: dict[str, int], patient_of: Mapping[str, str], slices: Sequence[int]) -> None:
    """Give labelled cases that have none a fold, for good: that of the patient's other cases, or each in turn.

    The first case, when it is alone, is cut between its slices; the first patient's, when there is no other, fall on
    both sides.

    Parameters
    ----------
    patient_of
        The patient of each case that is or was labelled.
    slices
        Labelled slices of the first case.
    """
    fresh = [case for case in patient_of if case not in fold_of]
    if len(fresh) == 1 and not fold_of:
        fold_of[fresh[0]] = CUT + slices[len(slices) // 2]
    alone = len(set(patient_of.values())) == 1
    for case in fresh:
        theirs = [fold for other, fold in fold_of.items() if patient_of.get(other, other) == patient_of[case]]
        turn = len(fold_of) if alone else len({patient_of.get(other, other) for other in fold_of})
        fold_of.setdefault(case, turn % 2 if alone or not theirs or theirs[0] >= CUT else theirs[0])


def folds_of(
    fold_of: Mapping[str, int], patient: Callable[[str], str], first: Mapping[str, int], ends: Tensor
) -> Tensor:
    """Return the fold of each row, (rows,): -1 for those of patients without labels.

    A case without labels is on the side of its patient's others, if these are on one: whoever is examined on them must
    not follow a teacher who knows the patient.

    Parameters
    ----------
    patient
        Says whose a case is.
    first
        The first row of each case.
    ends
        (rows, 3): the first and the last row of each row's case; the third is not asked for.
    """
    sides: dict[str, set[int]] = defaultdict(set)
    for case, fold in fold_of.items():
        sides[patient(case)].add(fold)
    side = {whose: min(theirs) for whose, theirs in sides.items() if len(theirs) == 1 and min(theirs) < CUT}
    folds = torch.full((len(ends),), -1, dtype=torch.long)
    for case, row in first.items():
        fold = fold_of.get(case, side.get(patient(case), -1))
        if fold >= 0:
            mine = folds[row : int(ends[row, 1]) + 1]
            mine[:] = min(fold, 1)
            mine[: max(0, fold - CUT)] = 0
    return folds
