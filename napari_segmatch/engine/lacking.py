"""What labels lack, and what stands in the way of learning from them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import Tensor

from ..texts import count
from ..types import PoolSnapshot

_OTHER_SIDE = {
    "left": "right", "l": "r", "lh": "rh", "links": "rechts", "linke": "rechte", "linker": "rechter",
    "linkes": "rechtes", "gauche": "droite", "izquierdo": "derecho", "izquierda": "derecha",
}  # fmt: skip


def lacking(classes: Sequence[str], shown: Tensor, pool: PoolSnapshot) -> list[str]:
    """Say what a model cannot learn from the labels that there are.

    That every labelled slice shows something is no lack where whole cases are labelled: then none is without.

    Parameters
    ----------
    shown
        Which classes labelled slices show, (n, classes) bool.
    """
    there = shown.any(0).tolist()
    found = [
        f"No labelled slice shows {name}: the model cannot learn it."
        for name, one in zip(classes, there, strict=True)
        if not one
    ]
    if shown.any(1).all() and any(pool.unlabelled.get(case) for case in pool.labelled):
        found.append(
            "Every labelled slice shows a structure: if others show none, mark a few of those too, or the model may "
            "see it everywhere."
        )
    return found


def outside(case: str, slices: int) -> str:
    """Say that labels of a case are cut off with the empty border of its image."""
    many = count(slices, "slice")
    return f"Case {case}: all that is marked on {many} lies outside of the body as training sees it, and is not learnt."


def mirrored(classes: Sequence[str], flip: float) -> list[str]:
    """Say that a left and a right structure are one to a model that sees slices mirrored; ``flip`` is how often."""
    words = [sorted(re.findall(r"[^\W_]+", name.casefold())) for name in classes]
    for name, mine in zip(classes, words, strict=True):
        other = sorted(_OTHER_SIDE.get(word, word) for word in mine)
        if flip and other != mine and other in words:
            return [
                f"{name} and {classes[words.index(other)]} are taken for each other where training mirrors slices, "
                "unless they differ in more than their side, as the heart's ventricles do: start anew with the setting "
                "flip at 0."
            ]
    return []
