"""Paint a few slices, mark them as done: that is all the teaching the trainer needs to start."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QGridLayout, QPushButton, QWidget

from ..palette import palette
from ..session import Session
from ..texts import some
from ..types import Case
from .asking import Asking
from .class_menu import ClassMenu
from .desk import Desk
from .filling import Filling
from .keys import ANNOTATE, shown
from .names import NameBox
from .overlays import Overlays
from .slices import advice, state_of, without, worth_a_look
from .strip import Cell, SliceStrip
from .style import Page, button, holder, row, text
from .suggest import Suggester
from .toolbox import Toolbox


class AnnotatePanel(Page):
    """Shows the case on the desk. ``actions`` are the verbs that keys reach."""

    def __init__(self, session: Session, desk: Desk, overlays: Overlays) -> None:
        super().__init__()
        self.session, self.desk, self.overlays = session, desk, overlays
        self.toolbox = Toolbox(desk.layers)
        self.class_menu = ClassMenu(session, desk, self)
        self.toolbox.class_asked.connect(self.class_menu.ask)
        self.toolbox.lock_changed.connect(lambda on: setattr(desk, "lock", on))
        self._suggester = Suggester(session)
        self._case = NameBox("The case on the screen; choose another one here")
        self._case.setMinimumContentsLength(8)
        self._case.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._case.activated.connect(lambda _: self.open_case(self._case.currentData()))
        self._listed: list[str] = []
        self._marked: list[str] = []
        self._empty = text("", "hint")
        self._state = text("", "section")
        self._progress = text("", "hint")
        self._why = text("", "hint")
        self.filling = Filling(desk, self._why.setText)
        self.asking = Asking(session, desk)
        self.toolbox.shape_wanted.connect(self.filling.reshape)
        self._strip = SliceStrip("Slices of this case: done, painted, proposed or empty")
        self._strip.clicked.connect(lambda index: setattr(desk, "z", desk.from_shown(index)))
        self._body = holder(self._build())
        self.arrange(self._empty, self._body)
        self.actions: dict[str, Callable[..., object]] = {
            "done": self.mark_done, "no_lesion": self.no_lesion, "next": lambda: self.go(1),
            "previous": lambda: self.go(-1), "worth_a_look": self.worth_a_look,
            "sequence": self.next_sequence, "peek": desk.layers.peek, "outline": self.toggle_outline,
            "interpolate": self.filling.interpolate, "undo": desk.undo, "redo": desk.redo, "suggest": self.suggest,
            "planes": overlays.planes.toggle, "anywhere": self.anywhere, "segment": self.asking.ask,
        }  # fmt: skip
        self.link(
            (session.project_changed, self._project_changed),
            (session.cases_changed, self._cases_changed),
            (session.replaced, self._suggester.forget_case),
            (session.colours_changed, lambda: self.toolbox.show_colours(self._palette())),
            (desk.layers.class_chosen, self.toolbox.show_class),
            (session.proposals_changed, self.redraw),
            (desk.opened, self._opened),
            (desk.opening, self._opening),
            (desk.slice_changed, self.redraw),
            (desk.labels_changed, self.redraw),
            (desk.edited, self.filling.drop_preview),
            (desk.edited, self.asking.wait_no_more),
            (desk.layers.mode_changed, self.toolbox.show_mode),
        )
        self._project_changed()

    # building --------------------------------------------------------------------------------------------

    def _build(self) -> QGridLayout:
        make = self._button
        self._done = make("Slice done", "done", "This slice is finished: what is not painted is background", "primary")
        self._reopen = button("Reopen", "This slice is not finished after all", self.reopen)
        self._undo = make("Undo", "undo", "Undo the last step, on whatever slice it was")
        self._redo = make("Redo", "redo", "Do it again")
        copy = self.filling.copy_from
        above = button("Copy from above", "Copy the mask of the slice before this one", lambda: copy(-1))
        below = button("Copy from below", "Copy the mask of the slice after this one", lambda: copy(1))
        self._outline = make("Outline", "outline", "Show masks as outlines or filled")
        self._outline.setCheckable(True)
        self._sequence = make("Sequence", "sequence", "Show the next MRI sequence")
        cases = row(make("◀", "previous", "The case before"), self._case, make("▶", "next", "The next case"))
        cases.setStretch(1, 1)
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(8)
        pairs = QGridLayout()
        pairs.setSpacing(4)
        items: tuple[QWidget, ...] = (
            make("Nothing here", "no_lesion", "No class is on this slice: an empty slice is a label too"), self._reopen,
            make("Suggest a slice", "worth_a_look", "Go to the slice where your time helps most, and say why"),
            make("Interpolate", "interpolate", "Show what fills the slices between painted ones; once more paints it"),
            above, below, self._undo, self._redo, self._outline,
            make("Planes", "planes", "Show the two other planes, and the other sequences, beside the picture"),
            make("Suggest a case", "suggest", "Open the case that teaches the model most, and say why"),
            make("Random slice", "anywhere", "Go to an unfinished slice of any case, drawn by chance"),
            make("Segment case", "segment", "The model proposes masks for all slices not begun; Review shows them"),
            self._sequence,  # last, for most projects have one and do not show it
        )  # fmt: skip
        for index, item in enumerate(items):
            pairs.addWidget(item, index // 2, index % 2)
        parts = (
            cases, self._state, self._strip, self._progress, self.toolbox, self._done, pairs, self._why
        )  # fmt: skip
        for place, part in enumerate(parts):
            add = grid.addWidget if isinstance(part, QWidget) else grid.addLayout
            add(part, place, 0)
        grid.setRowStretch(len(parts), 1)
        return grid

    def _button(self, words: str, action: str, tip: str, role: str = "") -> QPushButton:
        return button(words, tip, lambda: self.actions[action](), role, shown(ANNOTATE, action))

    # what happens ----------------------------------------------------------------------------------------

    def shown_for_work(self) -> None:
        """The tab was opened: put the brush in the person's hand, and a case on the desk."""
        self.desk.layers.set_outline(self._outline.isChecked())
        if self.desk.case_id:
            self.desk.layers.set_mode("paint")
            self.redraw()
        elif self._cases():
            self.open_case(self._suggested().id)

    def _suggested(self) -> Case:
        """Return the first case that has no labels, or just the first."""
        cases = self._cases()
        return next((case for case in cases if not case.labelled), cases[0])

    def _cases(self) -> list[Case]:
        return [case for case in self.session.cases if case.problem is None]

    def open_case(self, case: str, failed: Callable[[], None] | None = None, z: int | None = None) -> None:
        self.desk.open(case, z, then=lambda: self.desk.layers.set_mode("paint"), failed=failed)

    def go(self, by: int) -> None:
        """Open the next or the previous case."""
        ids = [case.id for case in self._cases()]
        if ids:
            here = ids.index(self.desk.coming) if self.desk.coming in ids else -1
            self.open_case(ids[(here + by) % len(ids)])

    def mark_done(self, labels: np.ndarray | None = None) -> None:
        """Finish the slice on the screen, with these labels if not its own, and go to the next one that is open."""
        if not self.filling.may_finish():
            return
        if words := self.desk.layers.call_brush_back():
            self.session.message.emit(words, True)
            return
        z = self.desk.z
        done = {*self.desk.done, z}
        self.desk.finish(z, labels)
        order = [self.desk.from_shown(i) for i in range(self.desk.shown(z) + 1, self.desk.count)]
        follows = next((i for i in order if i not in done), None)
        if follows is not None:
            self.desk.z = follows
        self.filling.drop_preview()
        self._why.setText("")
        self.redraw()

    def no_lesion(self) -> None:
        if self.filling.on_a_slice():
            self.mark_done(np.zeros_like(self.desk.labels[0]))

    def reopen(self) -> None:
        if self.filling.on_a_slice() and self.desk.z in self.desk.done:
            self.desk.save(reopen=(self.desk.z,))

    def suggest(self) -> None:
        """Open the case where the person's time helps most, and say why."""
        self._why.setText("Comparing cases …")
        self._suggester.ask(self.desk.case_id, self._open_suggested)

    def _open_suggested(self, found: tuple[str, str] | None) -> None:
        if found is None:
            self._why.setText("Every case has its labels.")
        else:
            self.desk.open(found[0], then=lambda: self._why.setText(f"{found[0]}: {found[1]}."))

    def anywhere(self) -> None:
        """Go to an unfinished slice drawn by chance, of any case: what is annotated so is a fair sample."""
        drawn = self._suggester.at_random()
        if drawn is None:
            self._why.setText("Every slice of every case is done.")
        else:
            self.desk.open(drawn.case, drawn.z, then=lambda: self._why.setText(f"{drawn.case}: drawn by chance."))

    def worth_a_look(self) -> None:
        if not self.desk.count:
            return
        found = worth_a_look(self.desk.z, self.desk.labels, self.desk.done, self._waiting())
        if found is None:
            self._why.setText("Every slice of this case is done: go on with the next case (J).")
        else:
            self.desk.z = found[0]
            self._why.setText(f"Slice {self.desk.shown(found[0]) + 1}: {found[1]}.")

    def _waiting(self) -> dict[int, float]:
        """Return how sure the model is of its open proposals for this case, by slice."""
        items = self.session.proposals.of_case(self.desk.case_id).items()
        return {z: item.score for z, item in items if item.decision is None}

    def next_sequence(self) -> None:
        self.desk.layers.pictures.next()
        self.redraw()

    def toggle_outline(self) -> None:
        self.desk.layers.set_outline(not self.desk.layers.outlined)
        self._outline.setChecked(self.desk.layers.outlined)

    # redrawing -------------------------------------------------------------------------------------------

    def _project_changed(self) -> None:
        self._suggester.forget()
        self.toolbox.show_classes(self._classes(), self._palette())
        self._cases_changed()

    def _classes(self) -> tuple[str, ...]:
        return self.session.project.classes if self.session.project else ()

    def _palette(self) -> tuple[str, ...]:
        return palette(self._classes(), self.session.colours)[0]

    def _list_cases(self, cases: list[Case]) -> None:
        """Fill the list of cases; where only marks are others, change those."""
        ids, marked = [case.id for case in cases], [f"✓ {case.id}" if case.labelled else case.id for case in cases]
        if ids != self._listed:
            self._case.clear()
            for id, words in zip(ids, marked, strict=True):
                self._case.addItem(words, id)
                self._case.setItemData(self._case.count() - 1, id, Qt.ItemDataRole.ToolTipRole)
            self._listed, self._marked = ids, marked
        for index, (words, before) in enumerate(zip(marked, self._marked, strict=True)):
            if words != before:
                self._case.setItemText(index, words)
        self._marked = marked

    def _cases_changed(self) -> None:
        cases = self._cases()
        self._list_cases(cases)
        self._case.setCurrentIndex(self._case.findData(self.desk.case_id))
        if self.session.project is None:
            self._empty.setText("Open or create a project in the tab Cases first.")
        elif not cases:
            self._empty.setText("Add a folder with scans in the tab Cases first.")
        self._empty.setVisible(not cases)
        self._body.setVisible(bool(cases))
        self.redraw()

    def _opening(self, case: str) -> None:
        self._state.setText(f"Reading {case} …" if case else "")
        if not case:
            self._cases_changed()  # the list shows again what is on the desk

    def _opened(self) -> None:
        self.filling.forget()
        self._why.setText("")
        self._case.setCurrentIndex(self._case.findData(self.desk.case_id))
        self._sequence.setVisible(self.desk.layers.pictures.several)
        self.redraw()

    def redraw(self) -> None:
        case = self.desk.case
        if case is None or not self.desk.count or not self.isVisible():
            return
        z, done, drawn = self.desk.z, set(self.desk.done), self.desk.drawn
        state = state_of(self.desk.labels[z], z in done)
        self._state.setText(f"Slice {self.desk.shown(z) + 1} of {self.desk.count}: {state}")
        self._reopen.setEnabled(z in done)
        self._undo.setEnabled(self.desk.strokes.can_undo)
        self._redo.setEnabled(self.desk.strokes.can_redo)
        name = self.desk.layers.pictures.sequence
        self._sequence.setText(f"Sequence: {name[:10]}   {shown(ANNOTATE, 'sequence')}" if name else "Sequence")
        lacking = without(case, self.session.project.sequences) if self.session.project else ""
        said = f"{len(done)} of {self.desk.count} slices done{lacking}. {self._show_volumes()}"
        self._progress.setText((said + advice(case, self._cases(), done, drawn)).strip())
        waiting, order = self._waiting(), map(self.desk.from_shown, range(self.desk.count))
        cells = [Cell.of_work(z in done, bool(drawn[z]), z in waiting) for z in order]
        self._strip.show_cells(cells, self.desk.shown(z))
        self.overlays.slider.show_cells(cells, self.desk.shown(z))

    def _show_volumes(self) -> str:
        """Say how much is painted in this case, of three classes at most; the tooltip says it of all."""
        named = zip(self._classes(), self.desk.volumes[1:], strict=False)
        words = [f"{name} {ml:.{1 + (ml < 10) + (ml < 0.1)}f} ml" for name, ml in named if ml]
        self._progress.setToolTip("\n".join(["Painted in this case, drafts too:", *words]) if words else "")
        return f"Painted: {some(words, 3)}. " if words else ""
