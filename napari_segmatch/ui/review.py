"""Accept, reject, correct or defer what the model proposes: one key each, and every one can be taken back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from qtpy.QtCore import QModelIndex

from ..ranking import belongs, is_blind, labelled_in, selected
from ..session import Session
from ..types import REASONS, Proposal
from .desk import Desk
from .legend import Legend
from .overlays import Overlays
from .queue import HEADING_ROLE, PROPOSAL_ROLE, SCORE_TIP, QueueModel, score_words, verdict_words
from .queue_filter import QueueFilter
from .queue_view import QueueView, verdict_colour
from .reviewer import Reviewer
from .scoreboard import Scoreboard
from .sheets import Sheets
from .strip import Cell, SliceStrip
from .style import LATER, VERDICT_COLOURS, Page, column, holder, text
from .thumbnails import Thumbnails
from .verdicts import Verdicts


class ReviewPanel(Page):
    """The queue, and the buttons for the proposal on the screen. ``actions`` are what keys reach."""

    def __init__(self, session: Session, desk: Desk, thumbnails: Thumbnails, overlays: Overlays) -> None:
        super().__init__()
        self.session, self.desk, self.thumbnails, self.overlays = session, desk, thumbnails, overlays
        self.model = QueueModel(self._number, session.is_proven, self)
        self.reviewer = reviewer = Reviewer(session, desk, thumbnails, lambda: self.model.items, self.model.group_of)
        self.sheets = Sheets(session, desk, thumbnails, self.model, reviewer, self)
        self.actions: dict[str, Callable[..., object]] = {
            "accept": reviewer.accept, "reject": reviewer.reject, "correct": reviewer.correct,
            "defer": reviewer.defer, "enter": reviewer.enter, "take_back": reviewer.take_back,
            "next": lambda: reviewer.go(1), "previous": lambda: reviewer.go(-1),
            "worth_a_look": reviewer.worth_a_look, "sequence": desk.layers.pictures.next,
            "peek": desk.layers.peek, "outline": reviewer.toggle_outline,
            "undo": reviewer.undo, "redo": reviewer.redo, "planes": overlays.planes.toggle,
            "cancel": reviewer.cancel_correction,
            "accept_case": self.sheets.accept_case, "accept_above": self.sheets.accept_above,
            **{f"reason_{n}": partial(reviewer.reject, reason) for n, reason in enumerate(REASONS, 1)},
        }  # fmt: skip
        self.wished = ""
        """A case that somebody had segmented, until they have come to see it."""
        self._stale = False
        self._newcomers: set[int] = set()  # the numbers of those that queue at the end
        self._facts = text("", "section")
        self._facts.setToolTip(SCORE_TIP)
        self._legend = Legend()
        self._ribbon = SliceStrip("Proposals along the slices of this case: the higher, the surer")
        self._ribbon.clicked.connect(lambda index: setattr(desk, "z", desk.from_shown(index)))
        self.board = Scoreboard()
        self._empty = text("", "hint")
        self.filter = QueueFilter()
        self.filter.changed.connect(self.refill)
        self.verdicts = Verdicts(lambda action: self.actions[action]())
        self.view = QueueView(self.model, thumbnails)
        self.view.clicked.connect(self._clicked)
        self.view.reached.connect(self._reached)
        self._body = holder(
            column(self.filter, self.view, self._facts, self._legend, self._ribbon, self.verdicts, self.board)
        )
        self.arrange(self._empty, self._body)
        self.link(
            (session.project_changed, self._project_changed),
            (session.proposals_changed, self._proposals_changed),
            (session.decided, self._decided),
            (session.cases_changed, self._cases_changed),
            (session.run_changed, self._redraw_board),
            (session.colours_changed, lambda: self._legend.show_classes(session)),
            (thumbnails.arrived, self._repaint_rows),
            (desk.slice_changed, self._redraw_ribbon),
            (desk.layers.class_chosen, self._redraw_facts),
            (reviewer.moved, self._moved),
            (reviewer.drawn, overlays.planes.look_at),
            (reviewer.mode_changed, self._show_mode),
        )
        self._show_mode()
        self._project_changed()

    def unlink(self) -> None:
        super().unlink()
        self.reviewer.close()
        self.sheets.close()

    # the queue -------------------------------------------------------------------------------------------

    def _number(self, item: Proposal) -> int:
        return self.session.case(item.case).geometry.slice_number(item.z)

    def _project_changed(self) -> None:
        self.reviewer.forget()
        self._legend.show_classes(self.session)
        self.model.show(())
        self._stale = True
        if not self.isHidden():
            self.refill()
        else:
            self._after_change()

    def _cases_changed(self) -> None:
        """The case of the proposal on the screen may have been taken out of the project."""
        self.reviewer.refresh()
        self._redraw_facts()

    def refill(self) -> None:
        """Fill the list anew, in order; the proposal on the screen stays selected if it is still in it."""
        choice = self.filter.choice
        session, grouped = self.session, choice.order == "by case"
        known = filter(None, map(session.known, session.proposals.columns.cases if grouped else ()))
        turned = [case.id for case in known if case.geometry.reversed[0]]
        items = selected(session.proposals, choice, session.pace, labelled_in(session.cases), turned)
        self.model.show(items, grouped)
        self._stale = False
        self._newcomers.clear()
        self._after_change()

    def _proposals_changed(self, cases: set[str]) -> None:
        """Take in what came or went without moving a row: what replaces a proposal takes its place, the rest queues."""
        if not self.isVisible() or not self.model.items:
            self._stale = True
            if not self.isHidden():
                self.refill()
            return
        choice, known = self.filter.choice, {item.region: item for item in self.model.of_cases(cases)}
        current = self.reviewer.current
        kept = current.id if current is not None else None
        swapped, new, here = [], [], set()
        for item in (item for case in cases for item in self.session.proposals.of_case(case).values()):
            old = known.get(item.region)
            here.add(item.region)
            if old is None and belongs(item, choice):
                new.append(item)
            elif old is not None and old != item and old.id != kept:
                swapped.append((old.id, item))
        self.model.change(swapped)
        self.model.remove(item.id for region, item in known.items() if region not in here and item.id != kept)
        self.model.insert(sorted(new, key=lambda item: item.id), self.model.rowCount())
        self._newcomers.update(item.id for item in new)
        self._after_change()

    def _decided(self, ids: set[int]) -> None:
        """Show people's words: judged proposals leave an open list, those taken back return where the person is."""
        choice = self.filter.choice
        items = [item for item in map(self.session.proposals.get, ids) if item is not None]
        staying = [item for item in items if belongs(item, choice)]
        back = self._newcomers.intersection(item.id for item in staying)  # as such they have just been taken in
        if back and choice.order == "by case":
            self.refill()
            return
        self._newcomers -= ids
        self.model.change((item.id, item) for item in items)
        self.model.remove(ids - {item.id for item in staying} | back)
        row_here = self.model.row_of(self.reviewer.current.id) if self.reviewer.current is not None else None
        self.model.insert(staying, row_here or 0)
        self._after_change()

    def _after_change(self) -> None:
        self.filter.show_counts(self.session.proposals.counts)
        self.filter.show_newcomers(len(self._newcomers))
        self.reviewer.refresh()
        self._empty.setText(self._what_is_missing())
        self._empty.setVisible(bool(self._empty.text()))
        self._body.setVisible(len(self.session.proposals) > 0)
        self._moved()
        self._redraw_board()

    def _what_is_missing(self) -> str:
        if self.session.project is None:
            return "Open or create a project in the tab Cases first."
        if not self.session.proposals and self.session.is_training:
            return "Nothing to review yet. The training runs, and its first proposals appear here soon."
        if not self.session.proposals:
            return ("Nothing to review yet. Start the training: it proposes masks for slices that nobody "
                    "labelled, and they appear here.")  # fmt: skip
        if not self.model.items and self.filter.choice.which == "mine":
            return "You have judged nothing yet."
        if not self.model.items and self.filter.choice.undecided_only:
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
            self.sheets.accept_case(heading.case)
        else:
            self._reached(index)

    def _reached(self, index: QModelIndex) -> None:
        """Show what is marked in the list, however it came to be: a verdict falls on what is shown."""
        item = index.data(PROPOSAL_ROLE)
        if item is not None:
            self.reviewer.show(item)

    def _repaint_rows(self, ids: set[int]) -> None:
        self.model.repaint(ids)

    def shown_for_work(self) -> None:
        """The tab was opened: go to the first proposal, or where they are in a case that somebody had segmented."""
        if self._stale:
            self.refill()
        wished, self.wished = self.wished, ""
        if self.model.of_cases({wished}):
            self.filter.order.setCurrentText("by case")  # any other order would go on to other cases
        here = self.desk.z if self.desk.case_id == wished else 0
        near = min(self.model.of_cases({wished}), key=lambda item: abs(item.z - here), default=None)
        item = near or self._newest(self.reviewer.current) or next(iter(self.model.items), None)
        if item is not None:
            self.reviewer.show(item)

    def _newest(self, item: Proposal | None) -> Proposal | None:
        """Return what the list has of a slice: another mask of it may have come while nobody looked."""
        if item is None or self.model.row_of(item.id) is not None:
            return item
        return self.session.proposals.of_case(item.case).get(item.z, item)

    # redrawing -------------------------------------------------------------------------------------------

    def _moved(self) -> None:
        self._select_row()
        self._redraw_facts()
        self._redraw_ribbon()

    def _show_mode(self) -> None:
        self.desk.lifted = self.reviewer.correcting
        self.verdicts.show_mode(self.reviewer.correcting)
        self._redraw_facts()

    def _redraw_facts(self) -> None:
        item = self.reviewer.current
        if self.reviewer.correcting and item is not None:
            where = f"{item.case}, slice {self._number(item)}"
            words = f"{where}: repair your mask, then Enter. The outline is the proposal. {self._class_in_hand()}"
        else:
            words = self._facts_of(item) if item is not None else "Choose a proposal."
        self._facts.setText(words.strip())
        self.verdicts.enable(item is not None)

    def _class_in_hand(self) -> str:
        project = self.session.project
        if project is None or len(project.classes) < 2:
            return ""
        return f"You paint {project.classes[self.desk.layers.chosen_class - 1]}; - and = change the class."

    def _facts_of(self, item: Proposal) -> str:
        where = f"{item.case}, slice {self._number(item)}"
        if is_blind(item):
            words = f"{where}: spot check, your word first."
        else:
            words = f"{where}: {verdict_words(item, self.session.is_proven(item))}, {score_words(item)}."
        words += " It proposes an empty slice." if self.reviewer.is_empty else ""
        return f"{words} You {item.decision} it." if item.decision else words

    def _redraw_ribbon(self) -> None:
        if not self.isVisible():
            return
        mine = self.session.proposals.of_case(self.desk.case_id)
        cells = [_cell(mine.get(self.desk.from_shown(i)), self.session.is_proven) for i in range(self.desk.count)]
        for strip in (self._ribbon, self.overlays.slider):
            strip.show_cells(cells, self.desk.shown(self.desk.z))

    def _redraw_board(self) -> None:
        self.board.show_session(self.session)


def _cell(item: Proposal | None, is_proven: Callable[[Proposal], bool]) -> Cell:
    """A slice in the ribbon: as high as its score, in the colour of your word if there is one, else the machine's."""
    if item is None:
        return Cell("", "no proposal")
    if is_blind(item):
        return Cell(LATER, "spot check", 0.5)
    score = item.score if item.score == item.score else 0.5
    if item.decision:
        return Cell(VERDICT_COLOURS[item.decision], f"you {item.decision} it", max(0.15, score))
    proven = is_proven(item)
    return Cell(verdict_colour(item, proven), f"{verdict_words(item, proven)}, {score_words(item)}", max(0.15, score))
