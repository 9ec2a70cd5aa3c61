"""Whose turn it is: which labelled slices a step learns from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

QUEUE = 64
"""At most so many slices wait to be seen first; more at once is an import, not a correction."""


class Turns:
    """Labelled rows, and the line of those that people have just labelled.

    Attributes
    ----------
    first
        Rows that come next, the latest before earlier ones.
    showing
        The rows (n,) that show each class; a class that none shows is left out.
    """

    def __init__(self) -> None:
        self.labelled = torch.zeros(0, dtype=torch.long)
        self.showing: Mapping[int, Tensor] = {}
        self.first: list[int] = []
        self._taken: list[int] = []

    def deal(self, labelled: Tensor, shown: Tensor) -> None:
        """Take other rows (n,), and which classes they show, (n, classes) bool."""
        self.labelled = labelled
        self.showing = {label: labelled[rows] for label, rows in enumerate(shown.T, 1) if rows.any()}

    def queue(self, rows: Iterable[int]) -> None:
        """Put rows first in line, before those that stand there already."""
        labelled = set(self.labelled.tolist())
        self.first = [row for row in dict.fromkeys([*rows, *self.first]) if row in labelled][:QUEUE]

    def take(self, n: int, lesion_share: float, generator: torch.Generator) -> Tensor:
        """Draw n rows: up to half of what people have just labelled; of the rest a share shows a structure.

        That share goes round the classes, so that each gets its turn. What people have just labelled stays in line
        until it is :meth:`learnt`.
        """
        fresh = self._taken = self.first[: max(1, n // 2)]
        rest = n - len(fresh)
        wanted = round(lesion_share * rest) if self.showing else 0
        rows = [torch.tensor(fresh, dtype=torch.long)]
        showing = list(self.showing.values())
        start = int(torch.randint(max(1, len(showing)), (1,), generator=generator))
        for index in range(start, start + wanted):
            rows.append(draw(showing[index % len(showing)], 1, generator))
        rows.append(draw(self.labelled, rest - wanted, generator))
        return torch.cat(rows)

    def learnt(self) -> list[int]:
        """Let those rows leave the line that were taken from it: the step was sound. Returns them."""
        taken, self._taken = self._taken, []
        self.first = [row for row in self.first if row not in taken]
        return taken


def draw(rows: Tensor, n: int, generator: torch.Generator) -> Tensor:
    return rows[torch.randint(len(rows), (n,), generator=generator)]
