"""The material of a benchmark: cases in memory, patients kept apart, and a pool made of some of them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ConfigError, ImportProblem
from ..io import FoundCase, read_sequences, read_truth
from ..types import NOT_ANNOTATED, PoolSnapshot, Volume

SPLIT_SEED = 7
"""Who is test, validation or pool is drawn once, for every budget, seed and method alike."""


@dataclass(frozen=True)
class Material:
    """A case with its truth: a volume (channel, z, y, x) and labels (z, y, x) uint8."""

    volume: Volume
    truth: np.ndarray


@dataclass(frozen=True)
class Split:
    """Who is segmented at the end, who helps to choose settings, and who may train. No patient is in two."""

    test: tuple[str, ...]
    validation: tuple[str, ...]
    pool: tuple[str, ...]

    def labelled(self, count: int, seed: int, strata: str = "") -> tuple[str, ...]:
        """Return the pool's patients with labels: with one seed, a larger budget contains every smaller one.

        Raises
        ------
        ConfigError
            If the pool is smaller than ``count``.
        """
        if not 1 <= count <= len(self.pool):
            raise ConfigError(f"{count} labelled patients are asked for; the pool has 1 to {len(self.pool)}.")
        return spread(self.pool, 100 + seed, strata)[:count]


def load(found: Sequence[FoundCase], sequences: Sequence[str], classes: int) -> dict[str, Material]:
    """Read every case that has a mask.

    Raises
    ------
    ImportProblem
        If a file cannot be used, or no case has a mask.
    """
    cases = {}
    for item in found:
        if item.mask is not None:
            volume = read_sequences(item.images, sequences, item.choices)
            cases[item.id] = Material(volume, read_truth(item.mask, volume.geometry, classes, item.choices).labels)
    if not cases:
        raise ImportProblem('A benchmark needs true masks: give --mask, as --mask "{case}/mask.nii.gz".')
    return cases


def split(patients: Iterable[str], test: int, validation: int, strata: str = "") -> Split:
    """Divide patients, spread over the strata.

    Parameters
    ----------
    strata
        A regular expression; its first group in a patient's id names the hospital. Empty: one stratum.

    Raises
    ------
    ConfigError
        If nobody is left to train on, or the strata are no regular expression with a group.
    """
    order = spread(patients, SPLIT_SEED, strata)
    if len(order) <= test + validation:
        raise ConfigError(
            f"{len(order)} patients are too few for {test} of the test and {validation} of the validation."
        )
    return Split(order[:test], order[test : test + validation], order[test + validation :])


def spread(patients: Iterable[str], seed: int, strata: str = "") -> tuple[str, ...]:
    """Order patients by chance so that every beginning of the list holds each stratum in proportion."""
    chance, hospital = np.random.default_rng(seed), _hospital_by(strata)
    groups: dict[str, list[str]] = defaultdict(list)
    for patient in sorted(patients):
        found = hospital.search(patient)
        groups[(found.group(1) if found else None) or ""].append(patient)
    ranked = []
    for members in (groups[name] for name in sorted(groups)):
        offset = chance.random()
        for rank, index in enumerate(chance.permutation(len(members))):
            ranked.append(((rank + offset) / len(members), members[index]))
    return tuple(patient for _, patient in sorted(ranked))


def _hospital_by(strata: str) -> re.Pattern[str]:
    try:
        found = re.compile(strata or "()")
    except re.error as error:
        raise ConfigError(
            f"The strata are {strata!r}, which is no regular expression ({error}): write one as TCGA_(..)_."
        ) from error
    if not found.groups:
        raise ConfigError(f"The strata are {strata!r}: put what names the hospital in brackets, as in TCGA_(..)_.")
    return found


class BenchmarkPool:
    """A pool that never changes: some cases labelled wherever they are annotated, the others not at all."""

    def __init__(
        self,
        cases: Mapping[str, Material],
        labelled: Sequence[str],
        unlabelled: Sequence[str],
        sequences: Sequence[str],
        classes: Sequence[str],
    ) -> None:
        self._cases = cases
        self.sequences, self.classes = tuple(sequences), tuple(classes)
        known = {name: (cases[name].truth != NOT_ANNOTATED).any((1, 2)) for name in labelled}
        blank = {name: _numbers(~shown) for name, shown in known.items() if not shown.all()}
        whole = {name: tuple(range(len(cases[name].truth))) for name in unlabelled}
        self._snapshot = PoolSnapshot(1, {name: _numbers(shown) for name, shown in known.items()}, blank | whole)

    def version(self) -> int:
        return self._snapshot.version

    def snapshot(self) -> PoolSnapshot:
        return self._snapshot

    def volume(self, case: str) -> Volume:
        return self._cases[case].volume

    def mask(self, case: str) -> np.ndarray:
        """Return the whole truth; only labelled slices are ever looked at."""
        return self._cases[case].truth

    def proposal_mask(self, proposal: int) -> np.ndarray:
        raise KeyError(proposal)


def _numbers(marks: np.ndarray) -> tuple[int, ...]:
    """Return the numbers of what is marked, (n,) bool."""
    return tuple(int(number) for number in np.flatnonzero(marks))
