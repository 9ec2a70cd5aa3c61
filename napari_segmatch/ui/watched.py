"""The same four unlabelled slices over time: how the model's masks for them change as it learns."""

from __future__ import annotations

from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

from ..ranking import is_blind
from ..session import Session
from ..types import Proposal, Region, watched
from .queue import score_words, verdict_words
from .style import column, holder, text
from .thumbnails import SIDE, Thumbnails

_SLICES, _TIMES = 4, 3


class WatchedSlices(QWidget):
    """Four columns, the latest mask at the bottom; the trainer proposes just these each time."""

    def __init__(self, session: Session, thumbnails: Thumbnails) -> None:
        super().__init__()
        self.session, self.thumbnails = session, thumbnails
        self.regions: list[Region] = []
        self._run: int | None = None
        self._seen: dict[Region, list[Proposal]] = {}
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(3)
        self._cells = [[QLabel() for _ in range(_SLICES)] for _ in range(_TIMES)]
        for time, cells in enumerate(self._cells):
            for place, cell in enumerate(cells):
                cell.setFixedSize(SIDE, SIDE)
                grid.addWidget(cell, time, place)
        grid.setColumnStretch(_SLICES, 1)
        self.setLayout(column(text("The same four slices, latest below", "section"), holder(grid)))

    def forget(self) -> None:
        """Another project is open."""
        self.regions, self._seen, self._run = [], {}, None

    def redraw(self) -> None:
        self._take_note()
        self.setVisible(any(self._seen.values()))
        for place, region in enumerate(self.regions):
            latest = self._seen[region][-_TIMES:]
            for time, cells in enumerate(self._cells):
                age = time - (_TIMES - len(latest))
                self._draw(cells[place], latest[age] if age >= 0 else None)
        for time, cells in enumerate(self._cells):
            any_ = any(len(self._seen[region]) >= _TIMES - time for region in self.regions)
            for cell in cells:
                cell.setVisible(any_)

    def _take_note(self) -> None:
        run = self.session.run.id if self.session.run is not None else None
        if run != self._run or not self.regions:
            self._run, self._seen, self.regions = run, {}, watched(_open_slices(self.session), _SLICES)
        for region in self.regions:
            now = self.session.proposals.of_case(region.case).get(region.z)
            seen = self._seen.setdefault(region, [])
            if now is not None and (not seen or seen[-1].id != now.id):
                seen.append(now)

    def _draw(self, cell: QLabel, item: Proposal | None) -> None:
        pixmap = self.thumbnails.small(item) if item is not None and self.isVisible() else None
        if pixmap is None or item is None:
            if item is None:
                cell.clear()
            return
        cell.setPixmap(pixmap)
        words = f"{verdict_words(item, self.session.is_proven(item))} {score_words(item)}"
        said = "spot check" if is_blind(item) else words
        cell.setToolTip(f"{item.case}, step {item.step}: {said}")


def _open_slices(session: Session) -> dict[str, list[int]]:
    """The unlabelled slices of the cases that train, as the trainer sees them."""
    held_out = {case.patient for case in session.cases if case.validation}
    return {
        case.id: sorted({*range(case.shape[0])} - {*case.labelled})
        for case in session.cases
        if case.problem is None and case.patient not in held_out
    }
