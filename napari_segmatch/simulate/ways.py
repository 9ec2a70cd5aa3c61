"""Ways of working: what a simulated annotator does next."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from ..project import Project
from ..ranking import Choice, Pace, labelled_in, select
from ..types import Proposal, Region
from .annotator import Annotator


def _scratch(project: Project, annotator: Annotator) -> Iterator[None]:
    free = [
        Region(case.id, z)
        for case in project.cases
        if not case.validation
        for z in range(case.shape[0])
        if z not in case.labelled and annotator.knows(Region(case.id, z))
    ]
    for index in annotator.rng.permutation(len(free)):
        annotator.draw(project, free[index])
        yield


def _undecided(project: Project, annotator: Annotator) -> list[Proposal]:
    return [item for item in project.proposals(undecided=True) if annotator.knows(item.region)]


def _correct(project: Project, annotator: Annotator) -> Iterator[None]:
    items = _undecided(project, annotator)
    for index in annotator.rng.permutation(len(items)):
        annotator.judge(project, items[index], may_reject=False)
        yield


def _cases(project: Project, annotator: Annotator) -> Iterator[None]:
    turn = {case.id: annotator.rng.random() for case in project.cases} | {annotator.here: -1.0}
    for item in sorted(_undecided(project, annotator), key=lambda item: (turn[item.case], item.z)):
        annotator.judge(project, item, may_reject=False)
        yield


def _queue(project: Project, annotator: Annotator) -> Iterator[None]:
    for item in select(project.proposals(), Choice(), Pace(), labelled_in(project.cases)):
        if annotator.knows(item.region):
            annotator.judge(project, item, may_reject=True)
            yield


STRATEGIES: dict[str, Callable[[Project, Annotator], Iterator[None]]] = {
    "scratch": _scratch, "correct": _correct, "cases": _cases, "queue": _queue, "full": lambda *_: iter(()),
}  # fmt: skip
"""Draw random slices from nothing; correct the prediction, on random slices or one case after another from end to
end; the review queue; everything labelled."""


def work(project: Project, annotator: Annotator, strategy: str, budget: float) -> None:
    """Let the annotator work for ``budget`` seconds; what has been begun is finished."""
    until = annotator.seconds + budget
    for _ in itertools.takewhile(lambda _: annotator.seconds < until, STRATEGIES[strategy](project, annotator)):
        pass
