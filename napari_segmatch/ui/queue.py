"""The review queue: which proposals, in which order. No drawing in here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from qtpy.QtCore import QAbstractListModel, QModelIndex, Qt

from ..types import Proposal

Which = Literal["all", "accepted", "rejected"]
Order = Literal["worth a look", "surest first", "least sure first", "by case", "random"]
ORDERS: tuple[Order, ...] = ("worth a look", "surest first", "least sure first", "by case", "random")

BLIND = 5
"""One proposal in this many is put before the person without its verdict and score."""

PROPOSAL_ROLE = int(Qt.ItemDataRole.UserRole)
NUMBER_ROLE = PROPOSAL_ROLE + 1


@dataclass(frozen=True)
class Choice:
    """What the person wants to see."""

    which: Which = "all"
    undecided_only: bool = True
    order: Order = "worth a look"


def is_blind(proposal: Proposal) -> bool:
    """Whether this is a spot check: judged before the machine's word is shown."""
    return proposal.decision is None and is_spot_check(proposal)


def is_spot_check(proposal: Proposal) -> bool:
    return _shuffle(proposal.id) % BLIND == 0


def _shuffle(number: int) -> int:
    """Turn a number into one that looks drawn by chance, always the same (Knuth's multiplicative hash)."""
    return (number * 2654435761 % 2**32) >> 8


def threshold(proposals: Iterable[Proposal]) -> float:
    """Return where between rejected and accepted the selector seems to draw the line."""
    accepted = [item.score for item in proposals if item.verdict == "accepted"]
    rejected = [item.score for item in proposals if item.verdict == "rejected"]
    if not accepted or not rejected:
        return 0.5
    return (min(accepted) + max(rejected)) / 2


def select(proposals: Sequence[Proposal], choice: Choice) -> list[Proposal]:
    """Filter and sort. A spot check is in no list that would give its verdict away."""
    line = threshold(proposals)
    found = [
        item
        for item in proposals
        if (choice.which == "all" or (item.verdict == choice.which and not is_blind(item)))
        and not (choice.undecided_only and item.decision is not None)
    ]
    keys = {
        "worth a look": lambda item: (item.decision is not None, abs(item.score - line), item.region),
        "surest first": lambda item: (-item.score, item.region),
        "least sure first": lambda item: (item.score, item.region),
        "by case": lambda item: item.region,
        "random": lambda item: _shuffle(item.id + 7919),
    }
    return sorted(found, key=keys[choice.order])


class QueueModel(QAbstractListModel):
    """Rows for a list view that asks only for what it shows.

    ``number`` gives the number that a proposal's slice has on napari's slider.
    """

    def __init__(self, number: Callable[[Proposal], int], parent: Any = None) -> None:
        super().__init__(parent)
        self.number = number
        self.items: list[Proposal] = []
        self._rows: dict[int, int] = {}

    def show(self, items: list[Proposal]) -> None:
        """Show other rows; rows that merely got a decision are repainted where they are."""
        same = [item.id for item in items] == [item.id for item in self.items]
        if not same:
            self.beginResetModel()
        changed = [i for i, pair in enumerate(zip(items, self.items, strict=False)) if pair[0] != pair[1]]
        self.items = items
        self._rows = {item.id: i for i, item in enumerate(items)}
        if not same:
            self.endResetModel()
        elif changed:
            self.dataChanged.emit(self.index(changed[0]), self.index(changed[-1]))

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008  Qt's own signature
        return 0 if parent.isValid() else len(self.items)

    def data(self, index: QModelIndex, role: int = int(Qt.ItemDataRole.DisplayRole)) -> Any:
        if not index.isValid() or index.row() >= len(self.items):
            return None
        item = self.items[index.row()]
        if role == PROPOSAL_ROLE:
            return item
        if role == NUMBER_ROLE:
            return self.number(item)
        if role in (int(Qt.ItemDataRole.DisplayRole), int(Qt.ItemDataRole.AccessibleTextRole)):
            return describe(item, self.number(item))
        return None

    def row_of(self, id: int) -> int | None:
        return self._rows.get(id)

    def repaint(self, ids: Iterable[int]) -> None:
        for row in sorted(self._rows[id] for id in ids if id in self._rows):
            self.dataChanged.emit(self.index(row), self.index(row))


def describe(item: Proposal, number: int) -> str:
    """One line about a proposal, for screen readers and tests."""
    words = [item.case, f"slice {number}"]
    words.append("spot check" if is_blind(item) else f"{item.verdict}, score {item.score:.2f}")
    if item.decision:
        words.append(f"you: {item.decision}")
    return ", ".join(words)


def overturned(proposals: Iterable[Proposal]) -> tuple[int, int]:
    """Of the spot checks that the discriminator accepted: how many a person overturned, of how many judged."""
    judged = [
        item.decision
        for item in proposals
        if item.verdict == "accepted" and is_spot_check(item) and item.decision not in (None, "deferred")
    ]
    return sum(verdict != "accepted" for verdict in judged), len(judged)


def interval(k: int, n: int) -> tuple[float, float]:
    """Clopper and Pearson's 95 % confidence interval for k of n."""
    from scipy.stats import beta

    low = 0.0 if k == 0 else float(beta.ppf(0.025, k, n - k + 1))
    high = 1.0 if k == n else float(beta.ppf(0.975, k + 1, n - k))
    return low, high
