"""The proposals that a window knows, kept so that one word on one of half a million costs next to nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from .columns import WORDS, Columns
from .ranking import is_spot_check, spot_checks
from .types import HumanVerdict, Proposal, Verdict


class Ledger(Sequence[Proposal]):
    """Proposals in the order of their numbers, with counts that are kept up as decisions come.

    Attributes
    ----------
    columns
        The proposals.
    counts
        See :data:`napari_segmatch.ranking.Counts`.
    open_in
        How many proposals of each case nobody has judged.
    scores
        Of these proposals, spot checks left out, the sum of the scores and how many there are.
    """

    def __init__(self, items: Iterable[Proposal] = ()) -> None:
        self.columns = Columns.of(items).by_id()
        self.counts: Counter[tuple[Verdict, HumanVerdict | None, bool]] = Counter()
        self.open_in: Counter[str] = Counter()
        self.scores: dict[str, tuple[float, int]] = {}
        self._count_all()
        self._sort()

    def _count_all(self) -> None:
        rows, cases = self.columns.rows, self.columns.cases
        spot, waiting = spot_checks(self.columns.ids), rows["decision"] == 0
        many = np.bincount((rows["accepted"] * len(WORDS) + rows["decision"]) * 2 + spot, minlength=4 * len(WORDS))
        for place in np.flatnonzero(many).tolist():
            said: Verdict = "accepted" if place // 2 >= len(WORDS) else "rejected"
            self.counts[said, WORDS[place // 2 % len(WORDS)], bool(place % 2)] = int(many[place])
        scored = waiting & ~spot & np.isfinite(rows["score"])
        opened = np.bincount(rows["case"][waiting], minlength=len(cases)).tolist()
        n = np.bincount(rows["case"][scored], minlength=len(cases)).tolist()
        total = np.bincount(rows["case"][scored], rows["score"][scored], len(cases)).tolist()
        self.open_in.update(dict(zip(cases, opened, strict=True)))
        self.scores.update(zip(cases, zip(total, n, strict=True), strict=True))

    def _sort(self) -> None:
        """Note where the proposals of each case stand."""
        case = self.columns.rows["case"]
        self._order = np.argsort(case, kind="stable")
        self._starts = np.searchsorted(case[self._order], np.arange(len(self.columns.cases) + 1))

    def _count(self, item: Proposal, by: int) -> None:
        self.counts[item.verdict, item.decision, is_spot_check(item)] += by
        if item.decision is None:
            self.open_in[item.case] += by
            if not is_spot_check(item) and math.isfinite(item.score):
                total, n = self.scores.get(item.case, (0.0, 0))
                self.scores[item.case] = total + by * item.score, n + by

    def __len__(self) -> int:
        return len(self.columns)

    def __iter__(self) -> Iterator[Proposal]:
        return iter(self.columns)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self.columns[index]

    def get(self, id: int) -> Proposal | None:
        return self.columns.get(id)

    def _places_of(self, case: str) -> np.ndarray:
        code = self.columns.code.get(case)
        return self._order[:0] if code is None else self._order[self._starts[code] : self._starts[code + 1]]

    def of_case(self, case: str) -> dict[int, Proposal]:
        """Return a case's proposals by slice."""
        return {item.z: item for item in self.columns.take(self._places_of(case))}

    def mean_score(self, case: str) -> float | None:
        """Return the mean score of a case's open proposals; a spot check's stays unknown. None if there are none."""
        total, n = self.scores.get(case, (0.0, 0))
        return total / n if n else None

    @property
    def undecided(self) -> int:
        return sum(n for (_, decision, _), n in self.counts.items() if decision is None)

    def mark(self, ids: Iterable[int], decision: HumanVerdict | None) -> list[int]:
        """Note a person's word on some proposals; returns those whose word was another before."""
        ids = list(ids)
        changed = []
        for id, place in zip(ids, self.columns.places(ids).tolist(), strict=True):
            if place < 0 or self.columns[place].decision == decision:
                continue
            self._count(self.columns[place], -1)
            self.columns.rows["decision"][place] = WORDS.index(decision)
            self._count(self.columns[place], 1)
            changed.append(id)
        return changed

    def renew(self, fresh: Mapping[str, Sequence[Proposal]]) -> set[str]:
        """Put cases' proposals as they are now in the place of those that were; returns where something differs."""
        before = {case: self.of_case(case).values() for case in fresh}
        changed = [case for case, items in fresh.items() if _by_id(items) != _by_id(before[case])]
        if not changed:
            return set()
        gone = np.concatenate([self._places_of(case) for case in changed])
        coming = [item for case in changed for item in fresh[case]]
        for item in self.columns.take(gone):
            self._count(item, -1)
        for item in coming:
            self._count(item, 1)
        self.columns = Columns(self.columns.cases, np.delete(self.columns.rows, gone)).joined(coming)
        self._sort()
        return set(changed)


def _by_id(items: Iterable[Proposal]) -> dict[int, Proposal]:
    return {item.id: item for item in items}
