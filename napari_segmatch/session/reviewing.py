"""The upper part of a session: a person's words on proposals, and how they are undone and redone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from ..project import Project
from ..ranking import Pace
from ..texts import count
from ..types import HumanVerdict, Proposal, Verdict
from .cases import Facts
from .segmenting import SegmentingSession


class Session(SegmentingSession):
    """One window's work on one project.

    Policy: closing asks a running training to stop (it writes a checkpoint), waits for it and for every
    save that is under way, and only then lets go. A verb that cannot begin raises a sentence (:meth:`attempt` says
    it), or says itself that the project is open for looking only; what fails later is said through ``message``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pace = Pace()

    def _opened(self, project: Project) -> None:
        super()._opened(project)
        self.pace = Pace.of(project.decisions(last=400))

    def proposal_mask(self, proposal: Proposal) -> np.ndarray:
        return self._open().proposal_mask(proposal)

    def decide(
        self,
        proposal: Proposal,
        verdict: HumanVerdict,
        mask: np.ndarray | None = None,
        seconds: float | None = None,
        reason: str | None = None,
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        """Record a decision in the background; the list shows it at once. ``refused`` is called if it could not be."""
        if self.refuses():
            return
        said: HumanVerdict = "corrected" if mask is not None else verdict
        mask = None if mask is None else mask.copy()
        self._mark([proposal.id], said)
        self._save(
            [proposal.case],
            lambda: self._open().decide(proposal, verdict, mask, seconds=seconds, reason=reason),
            refused,
        )

    def decide_all(self, proposals: Sequence[Proposal], verdict: HumanVerdict, seconds: float | None = None) -> None:
        """Say the same of many proposals; one step for undo."""
        if self.refuses():
            return
        self._mark([item.id for item in proposals], verdict)
        self._save(
            {item.case for item in proposals}, lambda: self._open().decide_all(proposals, verdict, seconds=seconds)
        )

    # undo and redo ---------------------------------------------------------------------------------------

    def undo(self, then: Callable[[list[Proposal]], None] = lambda _: None) -> None:
        """Undo the last step of decisions, at any depth, be it one proposal or hundreds.

        ``then`` is called from :meth:`poll` with the proposals concerned, as they are now.
        """
        self._revert("undo", then)

    def redo(self, then: Callable[[list[Proposal]], None] = lambda _: None) -> None:
        """Say again what was undone last."""
        self._revert("redo", then)

    def _revert(self, which: Literal["undo", "redo"], then: Callable[[list[Proposal]], None]) -> None:
        def job() -> list[int]:
            project = self._open()
            batch = project.undoable()[0 if which == "undo" else 1]
            return [item.proposal for item in project.revert(batch)] if batch is not None else []

        def done(ids: list[int]) -> None:
            if not ids:
                self.message.emit(f"There is no decision to {'take back' if which == 'undo' else 'redo'}.", False)
                return
            found = [item for item in map(self.proposals.get, ids) if item is not None]
            self.decided.emit(set(ids))
            if len(ids) > 1:
                self.message.emit(f"{len(ids)} decisions {'taken back' if which == 'undo' else 'made again'}.", False)
            then(found)

        self._save_somewhere(job, done)

    def roll_back(self, run: int) -> None:
        """Take back all that people admitted of a run's proposals; one step, which undo brings back."""

        def done(ids: list[int]) -> None:
            self.decided.emit(set(ids))
            words = (
                f"Out again: {count(len(ids), 'slice')} that run {run} brought in. Ctrl+Z in Review brings all back."
            )
            self.message.emit(words if ids else f"Nothing of run {run} has been admitted.", False)

        self._save_somewhere(lambda: [item.proposal for item in self._open().roll_back(run)], done)

    def _save_somewhere(self, job: Callable[[], list[int]], then: Callable[[list[int]], None]) -> None:
        """Change whatever cases the job turns out to concern."""
        if self.refuses():
            return
        now = self._tick()
        insisting, ended, failed = self._kept((), job)

        def work() -> tuple[list[int], Facts]:
            ids: list[int] = insisting()
            return ids, self._facts({self._open().proposal(id).case for id in ids})

        def done(both: tuple[list[int], Facts]) -> None:
            self._learn(both[1], now)
            ended()
            then(both[0])

        future = self._jobs.submit("save", work, done, failed)
        self._last_save.update(dict.fromkeys((case.id for case in self.cases), future))

    def _mark(self, ids: Sequence[int], verdict: HumanVerdict | None) -> None:
        changed = self.proposals.mark(ids, verdict)
        self.decided.emit(set(changed))

    # what the table of agreement says --------------------------------------------------------------------

    def agreement(self) -> dict[tuple[Verdict, HumanVerdict], int]:
        """Count proposals by what the discriminator said and what the person said."""
        table: dict[tuple[Verdict, HumanVerdict], int] = {}
        for (said, word, _), n in self.proposals.counts.items():
            if word is not None and n:
                table[said, word] = table.get((said, word), 0) + n
        return table
