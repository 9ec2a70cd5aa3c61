"""The proposals that a window knows, kept so that one word on one of fifty thousand costs next to nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from .ranking import is_spot_check
from .types import HumanVerdict, Proposal, Verdict


class Ledger(Sequence[Proposal]):
    """Proposals in a fixed order, with counts that are kept up as decisions come.

    Attributes
    ----------
    counts
        See :data:`napari_segmatch.ranking.Counts`.
    open_in
        How many proposals of each case nobody has judged.
    scores
        Of these proposals, spot checks left out, the sum of the scores and how many there are.
    """

    def __init__(self, items: Iterable[Proposal] = ()) -> None:
        self._items = {item.id: item for item in items}
        self._list: list[Proposal] | None = None
        self._by_case: dict[str, dict[int, int]] = {}
        self.counts: Counter[tuple[Verdict, HumanVerdict | None, bool]] = Counter()
        self.open_in: Counter[str] = Counter()
        self.scores: dict[str, tuple[float, int]] = {}
        for item in self._items.values():
            self._count(item, 1)
            self._by_case.setdefault(item.case, {})[item.z] = item.id

    def _count(self, item: Proposal, by: int) -> None:
        self.counts[item.verdict, item.decision, is_spot_check(item)] += by
        if item.decision is None:
            self.open_in[item.case] += by
            if not is_spot_check(item) and math.isfinite(item.score):
                total, n = self.scores.get(item.case, (0.0, 0))
                self.scores[item.case] = total + by * item.score, n + by

    def _all(self) -> list[Proposal]:
        if self._list is None:
            self._list = list(self._items.values())
        return self._list

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Proposal]:
        return iter(self._all())

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._all()[index]

    def get(self, id: int) -> Proposal | None:
        return self._items.get(id)

    def of_case(self, case: str) -> dict[int, Proposal]:
        """Return a case's proposals by slice."""
        return {z: self._items[id] for z, id in self._by_case.get(case, {}).items()}

    def mean_score(self, case: str) -> float | None:
        """Return the mean score of a case's open proposals; a spot check's stays unknown. None if there are none."""
        total, n = self.scores.get(case, (0.0, 0))
        return total / n if n else None

    @property
    def undecided(self) -> int:
        return sum(n for (_, decision, _), n in self.counts.items() if decision is None)

    def decided(self, *verdicts: HumanVerdict) -> int:
        return sum(n for (_, decision, _), n in self.counts.items() if decision in verdicts)

    def mark(self, ids: Iterable[int], decision: HumanVerdict | None) -> list[int]:
        """Note a person's word on some proposals; returns those whose word was another before."""
        changed = []
        for id in ids:
            item = self._items.get(id)
            if item is None or item.decision == decision:
                continue
            self._count(item, -1)
            self._items[id] = fresh = replace(item, decision=decision)
            self._count(fresh, 1)
            changed.append(id)
        if changed:
            self._list = None
        return changed

    def renew(self, case: str, items: Sequence[Proposal]) -> bool:
        """Put a case's proposals as they are now in the place of those that were; False if nothing differs."""
        before = self.of_case(case)
        if {item.id: item for item in before.values()} == {item.id: item for item in items}:
            return False
        for item in before.values():
            self._count(item, -1)
            del self._items[item.id]
        self._by_case[case] = {item.z: item.id for item in items}
        for item in items:
            self._items[item.id] = item
            self._count(item, 1)
        self._list = None
        return True
