"""Accept, reject, correct or defer what the model proposes: one key each, and every one can be taken back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from qtpy.QtCore import QModelIndex, Qt
from qtpy.QtWidgets import QButtonGroup, QCheckBox, QComboBox, QGridLayout, QHBoxLayout, QPushButton

from ..ranking import ORDERS, Choice, Order, Which, belongs, how_many, is_blind, select
from ..session import Session
from ..types import REASONS, Proposal
from .contact_sheet import ContactSheet
from .desk import Desk
from .display import slider_number
from .keys import REVIEW, shown
from .planes import Planes
from .queue import HEADING_ROLE, PROPOSAL_ROLE, SCORE_TIP, QueueModel, score_words, verdict_words
from .queue_view import QueueView, verdict_colour
from .reviewer import Reviewer
from .scoreboard import Scoreboard
from .strip import Cell, SliceStrip
from .style import BAD, GOOD, LATER, OWN, VERDICT_COLOURS, Page, button, column, count, holder, row, text
from .thumbnails import Thumbnails

_CHIPS: tuple[tuple[Which, str, str], ...] = (
    ("all", "all", "Every proposal, spot checks included"),
    ("accepted", "sure", "Those that the discriminator accepts"),
    ("rejected", "unsure", "Those that the discriminator rejects"),
    ("mine", "judged", "Those that people have judged, to look at them once more"),
)


class ReviewPanel(Page):
    """The queue, and the buttons for the proposal on the screen. ``actions`` are what keys reach."""

    def __init__(self, session: Session, desk: Desk, thumbnails: Thumbnails, planes: Planes) -> None:
        super().__init__()
        self.session, self.desk, self.thumbnails = session, desk, thumbnails
        self.model = QueueModel(self._number, self)
        self.reviewer = reviewer = Reviewer(session, desk, thumbnails, lambda: self.model.items, self.model.place_of)
        self.actions: dict[str, Callable[..., object]] = {
            "accept": reviewer.accept, "reject": reviewer.reject, "correct": reviewer.correct,
            "defer": reviewer.defer, "enter": reviewer.enter, "take_back": reviewer.take_back,
            "next": lambda: reviewer.go(1), "previous": lambda: reviewer.go(-1),
            "worth_a_look": reviewer.worth_a_look, "sequence": desk.layers.next_sequence,
            "peek": desk.layers.peek, "outline": reviewer.toggle_outline,
            "undo": reviewer.undo, "redo": reviewer.redo, "planes": planes.toggle,
            "accept_case": self.accept_case, "accept_above": self.accept_above,
            **{f"reason_{n}": partial(reviewer.reject, reason) for n, reason in enumerate(REASONS, 1)},
        }  # fmt: skip
        self._sheet: ContactSheet | None = None
        self._stale = False
        self._facts = text("", "section")
        self._facts.setToolTip(SCORE_TIP)
        self._ribbon = SliceStrip("Proposals along the slices of this case: the higher, the surer")
        self._ribbon.clicked.connect(lambda index: setattr(desk, "z", desk.from_shown(index)))
        self.board = Scoreboard()
        self._empty = text("", "hint")
        self._filters = self._build_filters()
        self.view = QueueView(self.model, thumbnails)
        self.view.clicked.connect(self._clicked)
        self._body = holder(column(self._filters, self.view, self._facts, self._ribbon, self._build_verdicts(),
                                   self.board))  # fmt: skip
        self.arrange(self._empty, self._body)
        self.link(
            (session.project_changed, self._project_changed),
            (session.proposals_changed, self._proposals_changed),
            (session.decided, self._decided),
            (session.cases_changed, self._redraw_facts),
            (session.run_changed, self._redraw_board),
            (thumbnails.arrived, self._repaint_rows),
            (desk.slice_changed, self._redraw_ribbon),
            (reviewer.moved, self._moved),
            (reviewer.drawn, planes.look_at),
            (reviewer.mode_changed, self._show_mode),
        )
        self._show_mode()
        self._project_changed()

    def unlink(self) -> None:
        super().unlink()
        self.reviewer.close()
        if self._sheet is not None:
            self._sheet.close_sheet()

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
        self._undecided.setToolTip("Hide proposals that somebody has judged")
        self._undecided.toggled.connect(lambda *_: self.refill())
        self._order = QComboBox()
        for order, tip in ORDERS.items():
            self._order.addItem(order)
            self._order.setItemData(self._order.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self._order.currentTextChanged.connect(self._order_chosen)
        self._order_tip()
        self._fresh = button("", "Proposals that came while you were looking stand at the end; sort them in now",
                             self.refill, "quiet")  # fmt: skip
        self._fresh.hide()
        self._newcomers = 0
        grid.addLayout(row(self._order, 1, self._undecided), 1, 0, 1, len(_CHIPS))
        grid.addWidget(self._fresh, 2, 0, 1, len(_CHIPS))
        return grid

    def _order_chosen(self) -> None:
        self._order_tip()
        self.refill()

    def _order_tip(self) -> None:
        self._order.setToolTip(f"Order of the list. {ORDERS[self.choice.order]}.")

    def _build_verdicts(self) -> QGridLayout:
        make = self._button
        self._verdicts = (
            make("Accept", "accept", "The mask is right: it becomes a label, and you go on", GOOD),
            make("Reject", "reject", "The mask is wrong: it will not train the model", BAD),
            make("Correct", "correct", "Copy it into your mask and repair it", OWN),
            make("Defer", "defer", "Decide later", LATER),
        )
        self._quiet = (
            make("Take back", "take_back", "Take back the last decision, or the last sheet, and go there"),
            make("Skip", "next", "Next proposal, no decision"),
            make("All of case …", "accept_case", "See all of this case on one sheet, then accept them as one step"),
            make("All above …", "accept_above",
                 "See this one and all above it in the list on one sheet, then accept them as one step"),
        )  # fmt: skip
        self._correction = (
            button("Save correction", "Save what you repaired and go on", self.reviewer.enter, "primary", "⏎"),
            button("Cancel", "Forget the correction", self.reviewer.cancel_correction),
        )
        grid = QGridLayout()
        grid.setSpacing(4)
        for index, item in enumerate((*self._verdicts, *self._quiet, *self._correction)):
            grid.addWidget(item, index // 2 + (index > 3), index % 2)
        self._reasons = holder(self._build_reasons())
        grid.addWidget(self._reasons, 2, 0, 1, 2)
        return grid

    def _build_reasons(self) -> QHBoxLayout:
        """Buttons that reject with a reason."""
        made = [
            button(
                f"{n} {reason.split()[-1]}",
                f"Reject, because: {reason} (key: {n})",
                partial(self._reject, reason),
                "reason",
            )
            for n, reason in enumerate(REASONS, 1)
        ]
        return row(*made, spacing=2)

    def _reject(self, reason: str) -> None:
        self.reviewer.reject(reason)

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
        order: Order = self._order.currentText()
        return Choice(which, self._undecided.isChecked(), order)

    def _number(self, item: Proposal) -> int:
        return slider_number(self.session.case(item.case), item.z)

    def _project_changed(self) -> None:
        self.reviewer.forget()
        self.refill()

    def refill(self) -> None:
        """Fill the list anew, in order; the proposal on the screen stays selected if it is still in it."""
        choice = self.choice
        items = select(self.session.proposals, choice, self.session.pace)
        self.model.show(items, grouped=choice.order == "by case")
        self._stale, self._newcomers = False, 0
        self._after_change()

    def _proposals_changed(self) -> None:
        """Take in what came or went without moving a row: what replaces a proposal takes its place, the rest queues."""
        if not self.isVisible() or not self.model.items:
            self._stale = True
            if not self.isHidden():
                self.refill()
            return
        choice, known = self.choice, {item.region: item for item in self.model.items}
        current = self.reviewer.current
        kept = current.id if current is not None else None
        swapped, new, here = [], [], set()
        for item in self.session.proposals:
            old = known.get(item.region)
            here.add(item.region)
            if old is None and belongs(item, choice):
                new.append(item)
            elif old is not None and old != item and old.id != kept:
                swapped.append((old.id, item))
        self.model.change(swapped)
        self.model.remove(item.id for region, item in known.items() if region not in here and item.id != kept)
        self.model.insert(new, len(self.model.rows))
        self._newcomers += len(new)
        self._after_change()

    def _decided(self, ids: set[int]) -> None:
        """Show people's words: judged proposals leave an open list, those taken back return where the person is."""
        choice = self.choice
        items = [item for item in map(self.session.proposals.get, ids) if item is not None]
        staying = [item for item in items if belongs(item, choice)]
        self.model.change((item.id, item) for item in items)
        self.model.remove(ids - {item.id for item in staying})
        row_here = self.model.row_of(self.reviewer.current.id) if self.reviewer.current is not None else None
        self.model.insert(staying, row_here or 0)
        self._after_change()

    def _after_change(self) -> None:
        counts = self.session.proposals.counts
        for chip in self._which.buttons():
            n = how_many(counts, replace(self.choice, which=chip.property("which")))
            chip.setText(f"{chip.property('name')} {n}")
        self._fresh.setText(f"Sort in {count(self._newcomers, 'new proposal')}")
        self._fresh.setVisible(self._newcomers > 0)
        self.reviewer.refresh()
        self._empty.setText(self._what_is_missing())
        self._empty.setVisible(bool(self._empty.text()))
        self._body.setVisible(len(self.session.proposals) > 0)
        self._moved()
        self._redraw_board()

    def _what_is_missing(self) -> str:
        if self.session.project is None:
            return "Open or create a project in the tab Cases first."
        if not self.session.proposals:
            return ("Nothing to review yet. Start the training: it proposes masks for slices that nobody "
                    "labelled, and they appear here.")  # fmt: skip
        if not self.model.items and self.choice.which == "mine":
            return "You have judged nothing yet."
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
        heading = index.data(HEADING_ROLE)
        if heading is not None:
            self.accept_case(heading.case)
            return
        item = index.data(PROPOSAL_ROLE)
        if item is not None:
            self.reviewer.show(item)

    def _repaint_rows(self, ids: set[int]) -> None:
        self.model.repaint(ids)

    def shown_for_work(self) -> None:
        """The tab was opened: go to the first proposal, with the mouse free to move the picture."""
        if self._stale:
            self.refill()
        item = self.reviewer.current or next(iter(self.model.items), None)
        if item is not None:
            self.reviewer.show(item)

    # many at once ----------------------------------------------------------------------------------------

    @property
    def sheet_is_open(self) -> bool:
        return self._sheet is not None and self._sheet.isVisible()

    def accept_case(self, case: str = "") -> None:
        """Put all open proposals of a case that are in the list on a sheet."""
        current = self.reviewer.current
        case = case or (current.case if current is not None else "")
        items = sorted((item for item in self.model.items if item.case == case), key=self._number)
        self._open_sheet(f"All of {case}", items)

    def accept_above(self) -> None:
        """Put the proposal on the screen and all above it in the list on a sheet."""
        current = self.reviewer.current
        here = self.model.place_of(current.id) if current is not None else -1
        self._open_sheet("From the top of the list to here", self.model.items[: here + 1])

    def _open_sheet(self, title: str, items: list[Proposal]) -> None:
        items = [item for item in items if item.decision is None and not is_blind(item)]
        if self.reviewer.correcting or self.sheet_is_open:
            return
        if not items:
            self.session.message.emit("There is nothing open to accept at once: only spot checks, or nothing.", False)
            return
        window = self.window()
        self._sheet = ContactSheet(window, f"{title}: {count(len(items), 'proposal')}", items, self._number,
                                   self.thumbnails, self.reviewer.decide_all)  # fmt: skip
        self._sheet.open_over(window.rect().adjusted(40, 40, -40, -40))

    # redrawing -------------------------------------------------------------------------------------------

    def _moved(self) -> None:
        self._select_row()
        self._redraw_facts()
        self._redraw_ribbon()

    def _show_mode(self) -> None:
        correcting = self.reviewer.correcting
        for item in (*self._verdicts, *self._quiet, self._reasons):
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
            words = f"{where}: {verdict_words(item)}, {score_words(item)}."
        words += " It proposes an empty slice." if self.reviewer.is_empty else ""
        return f"{words} You {item.decision} it." if item.decision else words

    def _redraw_ribbon(self) -> None:
        if not self.isVisible() or not self.desk.count:
            return
        mine = self.session.proposals.of_case(self.desk.case_id)
        cells = [_cell(mine.get(self.desk.from_shown(i))) for i in range(self.desk.count)]
        self._ribbon.show_cells(cells, self.desk.shown(self.desk.z))

    def _redraw_board(self) -> None:
        self.board.show_session(self.session)


def _cell(item: Proposal | None) -> Cell:
    """A slice in the ribbon: as high as its score, in the colour of your word if there is one, else the machine's."""
    if item is None:
        return Cell("", "no proposal")
    if is_blind(item):
        return Cell(LATER, "spot check", 0.5)
    score = item.score if item.score == item.score else 0.5
    if item.decision:
        return Cell(VERDICT_COLOURS[item.decision], f"you {item.decision} it", max(0.15, score))
    return Cell(verdict_colour(item), f"{verdict_words(item)}, {score_words(item)}", max(0.15, score))
