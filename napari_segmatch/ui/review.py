"""Accept, reject, correct or defer what the model proposes: one key each, and every one can be taken back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from qtpy.QtCore import QModelIndex
from qtpy.QtWidgets import QButtonGroup, QCheckBox, QComboBox, QGridLayout, QPushButton

from ..session import Session
from ..types import Proposal
from .desk import Desk
from .display import slider_number
from .keys import REVIEW, shown
from .queue import ORDERS, PROPOSAL_ROLE, Choice, QueueModel, Which, is_blind, select
from .queue_view import QueueView
from .reviewer import Reviewer
from .scoreboard import Scoreboard
from .strip import SliceStrip
from .style import BAD, GOOD, LATER, OWN, UNSURE, VERDICT_COLOURS, Page, button, column, holder, row, text
from .thumbnails import Thumbnails

_CHIPS = (
    ("all", "all", "Every proposal, spot checks included"),
    ("accepted", "sure", "Those that the discriminator accepts"),
    ("rejected", "unsure", "Those that the discriminator rejects"),
)


class ReviewPanel(Page):
    """The queue, and the buttons for the proposal on the screen. ``actions`` are what keys reach."""

    def __init__(self, session: Session, desk: Desk, thumbnails: Thumbnails) -> None:
        super().__init__()
        self.session, self.desk, self.thumbnails = session, desk, thumbnails
        self.reviewer = reviewer = Reviewer(session, desk, thumbnails, lambda: self.model.items)
        self.actions: dict[str, Callable[..., object]] = {
            "accept": reviewer.accept, "reject": reviewer.reject, "correct": reviewer.correct,
            "defer": reviewer.defer, "enter": reviewer.enter, "take_back": reviewer.take_back,
            "next": lambda: reviewer.go(1), "previous": lambda: reviewer.go(-1),
            "worth_a_look": reviewer.worth_a_look, "sequence": desk.layers.next_sequence,
            "peek": desk.layers.peek, "outline": reviewer.toggle_outline,
            "undo": reviewer.undo, "redo": reviewer.redo,
        }  # fmt: skip
        self._facts = text("", "section")
        self._ribbon = SliceStrip("Proposals along the slices of this case")
        self._ribbon.clicked.connect(lambda index: setattr(desk, "z", desk.from_shown(index)))
        self.board = Scoreboard()
        self._empty = text("", "hint")
        self._filters = self._build_filters()
        self._build_queue()
        self._body = holder(column(self._filters, self.view, self._facts, self._ribbon, self._build_verdicts(),
                                   self.board))  # fmt: skip
        self.arrange(self._empty, self._body)
        self.link(
            (session.project_changed, self._project_changed),
            (session.proposals_changed, self.refill),
            (session.cases_changed, self._redraw_facts),
            (session.run_changed, self._redraw_board),
            (thumbnails.arrived, self._repaint_rows),
            (desk.slice_changed, self._redraw_ribbon),
            (reviewer.moved, self._moved),
            (reviewer.mode_changed, self._show_mode),
        )
        self._show_mode()
        self._project_changed()

    def unlink(self) -> None:
        super().unlink()
        self.reviewer.close()

    # building --------------------------------------------------------------------------------------------

    def _build_filters(self) -> QGridLayout:
        self._which = QButtonGroup(self)
        grid = QGridLayout()
        grid.setSpacing(4)
        for place, (which, name, tip) in enumerate(_CHIPS):
            chip = button(name, tip, self.refill)
            chip.setCheckable(True)
            chip.setChecked(place == 0)
            chip.setProperty("which", which)
            chip.setProperty("name", name)
            self._which.addButton(chip)
            grid.addWidget(chip, 0, place)
        self._undecided = QCheckBox("undecided only")
        self._undecided.setChecked(True)
        self._undecided.setToolTip("Hide proposals that you have judged")
        self._undecided.toggled.connect(lambda *_: self.refill())
        self._order = QComboBox()
        self._order.addItems(ORDERS)
        self._order.setToolTip("Worth a look: closest to the discriminator's threshold first")
        self._order.currentIndexChanged.connect(lambda *_: self.refill())
        grid.addLayout(row(self._order, 1, self._undecided), 1, 0, 1, len(_CHIPS))
        return grid

    def _build_queue(self) -> None:
        self.model = QueueModel(self._number, self)
        self.view = QueueView(self.model, self.thumbnails)
        self.view.clicked.connect(self._clicked)

    def _build_verdicts(self) -> QGridLayout:
        make = self._button
        self._verdicts = (
            make("Accept", "accept", "The mask is right: it becomes a label, and you go on", GOOD),
            make("Reject", "reject", "The mask is wrong: it will not train the model", BAD),
            make("Correct", "correct", "Copy it into your mask and repair it", OWN),
            make("Defer", "defer", "Decide later", LATER),
        )
        self._quiet = (
            make("Take back", "take_back", "Take back the last decision and go there"),
            make("Skip", "next", "Next proposal, no decision"),
        )
        self._correction = (
            button("Save correction", "Save what you repaired and go on", self.reviewer.enter, "primary", "⏎"),
            button("Cancel", "Forget the correction", self.reviewer.cancel_correction),
        )
        grid = QGridLayout()
        grid.setSpacing(4)
        for index, item in enumerate((*self._verdicts, *self._quiet, *self._correction)):
            grid.addWidget(item, index // 2, index % 2)
        return grid

    def _button(self, words: str, action: str, tip: str, colour: str = "") -> QPushButton:
        made = button(words, tip, lambda: self.actions[action](), "verdict" if colour else "quiet",
                      shown(REVIEW, action))  # fmt: skip
        if colour:
            made.setStyleSheet(f"QPushButton {{ border-left: 5px solid {colour}; }}")
        return made

    # the queue -------------------------------------------------------------------------------------------

    @property
    def choice(self) -> Choice:
        chip = self._which.checkedButton()
        which: Which = chip.property("which") if chip is not None else "all"
        return Choice(which, self._undecided.isChecked(), ORDERS[max(0, self._order.currentIndex())])

    def _number(self, item: Proposal) -> int:
        return slider_number(self.session.case(item.case), item.z)

    def _project_changed(self) -> None:
        self.reviewer.forget()
        self.refill()

    def refill(self) -> None:
        """Fill the list again; the proposal on the screen stays selected if it is still in it."""
        proposals = self.session.proposals
        self.model.show(select(proposals, self.choice))
        for chip in self._which.buttons():
            n = len(select(proposals, replace(self.choice, which=chip.property("which"))))
            chip.setText(f"{chip.property('name')} {n}")
        self.reviewer.refresh()
        self._empty.setText(self._what_is_missing())
        self._empty.setVisible(bool(self._empty.text()))
        self._body.setVisible(bool(proposals))
        self._moved()
        self._redraw_board()

    def _what_is_missing(self) -> str:
        if self.session.project is None:
            return "Open or create a project in the tab Cases first."
        if not self.session.proposals:
            return ("Nothing to review yet. Start the training: it proposes masks for slices that nobody "
                    "labelled, and they appear here.")  # fmt: skip
        if not self.model.items and self.choice.undecided_only:
            return "You have judged every proposal in this list. Untick “undecided only” to see them again."
        return ""

    def _select_row(self) -> None:
        current = self.reviewer.current
        place = self.model.row_of(current.id) if current is not None else None
        if place is None:
            self.view.clearSelection()
            return
        index = self.model.index(place)
        if self.view.currentIndex() != index or not self.view.selectionModel().isSelected(index):
            self.view.setCurrentIndex(index)
        self.view.scrollTo(index)

    def _clicked(self, index: QModelIndex) -> None:
        item = index.data(PROPOSAL_ROLE)
        if item is not None:
            self.reviewer.show(item)

    def _repaint_rows(self, ids: set[int]) -> None:
        self.model.repaint(ids)

    def shown_for_work(self) -> None:
        """The tab was opened: go to the first proposal, with the mouse free to move the picture."""
        item = self.reviewer.current or next(iter(self.model.items), None)
        if item is not None:
            self.reviewer.show(item)

    # redrawing -------------------------------------------------------------------------------------------

    def _moved(self) -> None:
        self._select_row()
        self._redraw_facts()
        self._redraw_ribbon()

    def _show_mode(self) -> None:
        correcting = self.reviewer.correcting
        for item in (*self._verdicts, *self._quiet):
            item.setVisible(not correcting)
        for item in self._correction:
            item.setVisible(correcting)
        self._redraw_facts()

    def _redraw_facts(self) -> None:
        item = self.reviewer.current
        if self.reviewer.correcting and item is not None:
            where = f"{item.case}, slice {self._number(item)}"
            words = f"{where}: repair your mask, then Enter. The outline is the proposal."
        else:
            words = self._facts_of(item) if item is not None else "Choose a proposal."
        self._facts.setText(words)
        for control in self._verdicts:
            control.setEnabled(item is not None)

    def _facts_of(self, item: Proposal) -> str:
        where = f"{item.case}, slice {self._number(item)}"
        if is_blind(item):
            words = f"{where}: spot check, your word first."
        else:
            words = f"{where}: {'sure' if item.verdict == 'accepted' else 'unsure'}, score {item.score:.2f}."
        words += " It proposes an empty slice." if self.reviewer.is_empty else ""
        return f"{words} You {item.decision} it." if item.decision else words

    def _redraw_ribbon(self) -> None:
        if not self.isVisible() or not self.desk.count:
            return
        mine = {item.z: item for item in self.session.proposals if item.case == self.desk.case_id}
        cells = [_cell(mine.get(self.desk.from_shown(i))) for i in range(self.desk.count)]
        self._ribbon.show_cells(cells, self.desk.shown(self.desk.z))

    def _redraw_board(self) -> None:
        self.board.show_session(self.session)


def _cell(item: Proposal | None) -> tuple[str, str]:
    """Colour of a slice in the ribbon: your word if there is one, else the machine's."""
    if item is None:
        return "", "no proposal"
    if item.decision:
        return VERDICT_COLOURS[item.decision], f"you {item.decision} it"
    if is_blind(item):
        return LATER, "spot check"
    sure = item.verdict == "accepted"
    return GOOD if sure else UNSURE, f"{'sure' if sure else 'unsure'}, score {item.score:.2f}"
