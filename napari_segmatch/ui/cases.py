"""Create or open a project, add scans, and see where each case stands."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from qtpy.QtCore import QModelIndex, QSize, Qt, Signal
from qtpy.QtGui import QDragEnterEvent, QDropEvent, QShowEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHeaderView,
    QLineEdit,
    QSizePolicy,
    QTableView,
    QWidget,
)

from ..errors import Question
from ..session import Session
from ..texts import between_commas
from .adding import AddForm, ask
from .case_menu import CaseMenu
from .cases_model import CASE_ROLE, STATES, CasesFilter, CasesModel, elision, explain, kind, summary
from .desk import Desk
from .folders import typed_folder
from .style import Fold, Page, button, column, holder, row, text
from .thumbnails import CASE_SIDE, Thumbnails

_WELCOME = "A project is a folder that holds labels, proposals, decisions and models. Your scans stay where they are."

_NARROW = {1: 42, 2: 48, 3: 38}
"""Pixels of the columns after the case's id."""
_MARGINS = 14
"""Pixels beside a case's picture and its id."""
_COMPARED = 300
"""So many ids, neighbours in the table, show where ids differ."""


class CasesPanel(Page):
    """``opened`` carries a case that somebody wants to annotate."""

    opened = Signal(str)

    def __init__(self, session: Session, desk: Desk, thumbnails: Thumbnails) -> None:
        super().__init__()
        self.session, self.desk, self.thumbnails = session, desk, thumbnails
        self._start = holder(self._build_start())
        self._body = holder(self._build_body())
        self.arrange(self._start, self._body)
        self.link(
            (session.project_changed, self._project_changed),
            (session.cases_changed, self.redraw),
            (session.proposals_changed, self.redraw),
            (session.decided, self.redraw),
            (session.asked, self._ask),
            (thumbnails.case_arrived, lambda case: self.model.repaint(case)),
        )
        self.setAcceptDrops(True)
        self._project_changed()

    # dropping --------------------------------------------------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if self.session.project is not None and event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """A folder fills the form, which shows what it holds; files are added as they are."""
        self.take_in([Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()])
        event.acceptProposedAction()

    def take_in(self, paths: list[Path]) -> None:
        folder = next((path for path in paths if path.is_dir()), None)
        self.adding.set_open(True)
        if folder is not None:
            self.form.folder.setText(str(folder))
            self.form.find()
        elif paths:
            self.form.add_files(paths)

    # building --------------------------------------------------------------------------------------------

    def _build_start(self) -> QFormLayout:
        self.path = QLineEdit()
        self.path.setPlaceholderText("A new or empty folder")
        self.path.setToolTip("The folder of the new project")
        self.classes = QLineEdit("lesion")
        self.classes.setToolTip("What you segment, with commas between: lesion, or core, edema; more can follow later")
        self.sequences = QLineEdit("flair")
        self.sequences.setToolTip("The MRI sequences of each case, with commas between: flair, t1, t2")
        self.create_button = button("Create project", "Make the project in that folder", self._create, "primary")
        for edit in (self.path, self.classes, self.sequences):
            edit.returnPressed.connect(self.create_button.click)
        browse = button("Browse …", "Choose a folder", self._browse)
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setSpacing(8)
        form.addRow(text("Start here", "title"))
        form.addRow(text(_WELCOME, "hint"))
        form.addRow("folder", row(self.path, browse))
        form.addRow("classes", self.classes)
        form.addRow("sequences", self.sequences)
        form.addRow(self.create_button)
        form.addRow(button("Open a project …", "Go on with a project that exists", self._open))
        self.sample_button = button("Try it with a sample project", "Twelve made-up scans, nothing to download",
                                    self.open_sample)  # fmt: skip
        form.addRow(self.sample_button)
        return form

    def _build_body(self):
        self._title = text("", "title")
        self._about = text("", "hint")
        self.form = AddForm()
        self.form.wanted.connect(self._add)
        self.form.refused.connect(lambda sentence: self.session.message.emit(sentence, True))
        self.adding = Fold("Add scans", self.form, tip="Add a folder with scans, or single files")
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search cases")
        self.search.setToolTip("Show only cases with this in their name or state")
        self.search.setClearButtonEnabled(True)
        self.model = CasesModel(self.thumbnails.of_case, self)
        self.proxy = CasesFilter(self)
        self.proxy.setSourceModel(self.model)
        self.search.textChanged.connect(self.proxy.setFilterFixedString)
        self.kind = QComboBox()
        self.kind.addItems(STATES)
        self.kind.setToolTip("Show only cases in this state")
        self.kind.currentTextChanged.connect(self.proxy.show_kind)
        self.narrow = holder(row(self.search, self.kind))
        self.table = self._table()
        self.menu = CaseMenu(self.session, self.desk, self.table)
        self.table.customContextMenuRequested.connect(self.menu.ask)
        self._next = text("", "hint")
        close = button("Close project", "Close this project; everything is saved", self._close, "quiet")
        other = button("Open another …", "Open another project", self._open, "quiet")
        self._stop = button("Stop adding", "Leave out the cases to come", self.session.stop_adding, "quiet")
        links = row(self._stop, close, other, 1)
        self._rest = QWidget()
        self._rest.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Expanding)
        body = column(self._title, self._about, self.adding, self.narrow, self.table, self._next, self._rest, links)
        body.setStretchFactor(self.table, 1)
        return body

    def _table(self) -> QTableView:
        table = QTableView()
        table.setModel(self.proxy)
        table.setSortingEnabled(True)
        table.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setShowGrid(False)
        table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        table.setTabKeyNavigation(False)
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(CASE_SIDE + 6)
        table.setIconSize(QSize(CASE_SIDE, CASE_SIDE))
        table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for place, width in _NARROW.items():  # the id needs the room: hospitals' are long
            table.horizontalHeader().setSectionResizeMode(place, QHeaderView.ResizeMode.Fixed)
            table.setColumnWidth(place, width)
        table.horizontalHeader().sectionResized.connect(lambda *_: self._choose_elision())
        table.setMinimumHeight(220)
        table.setAccessibleName("Cases")
        table.activated.connect(self._activated)  # Enter on a row, and double click
        return table

    # verbs -----------------------------------------------------------------------------------------------

    def _try(self, verb: Callable[..., object], *arguments: object) -> None:
        """Leave the case on the desk in order, then do something that may be refused."""
        if self.session.attempt(self.desk.save):
            self.session.attempt(verb, *arguments)

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of the new project", self.path.text())
        if folder:
            self.path.setText(folder)

    def _create(self) -> None:
        if not self.path.text().strip():
            self.session.message.emit("Choose a folder for the project first.", True)
            return
        classes, sequences = between_commas(self.classes.text()), between_commas(self.sequences.text())
        self._try(lambda: self.session.create_project(typed_folder(self.path.text()), classes, sequences))

    def _open(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of the project")
        if folder:
            self._try(self.session.open_project, Path(folder))

    def open_sample(self, folder: Path | None = None) -> None:
        """Make the sample project in the reading thread, then open it."""
        where = Path(folder or tempfile.mkdtemp(prefix="segmatch-")) / "sample"
        self.session.message.emit("Making a sample project …", False)
        self.sample_button.setEnabled(False)

        def make() -> Path:
            from ..sample import make_project

            make_project(where).close()
            return where

        def made(path: Path) -> None:
            self.sample_button.setEnabled(True)
            self.desk.save()
            self.session.open_project(path)
            self.session.message.emit(f"This project lies in {path}.", False)

        self.session.read(make, made, failed=lambda: self.sample_button.setEnabled(True))

    def _close(self) -> None:
        self._try(self.session.close_project)
        self.session.project_changed.emit()

    def _add(self, found: list, labelled: list[str], validation: list[str]) -> None:
        self._try(self.session.add_cases, found, labelled, validation)
        self.adding.set_open(False)
        self.redraw()  # the first file may take long: that it is being read is said, and can be stopped

    def _ask(self, question: Question, cases: list[str]) -> None:
        self.session.answer(question.topic, ask(self, question, cases, self.form.classes))

    def _activated(self, index: QModelIndex) -> None:
        case = self.session.case(index.siblingAtColumn(0).data(CASE_ROLE))
        if case.problem is not None:
            self.session.message.emit(f"{case.id}: {explain(case)}", True)
        else:
            self.opened.emit(case.id)

    # redrawing -------------------------------------------------------------------------------------------

    def _choose_elision(self) -> None:
        """Some studies number their patients at the end of an id, others in its middle."""
        metrics, room = self.table.fontMetrics(), self.table.columnWidth(0) - CASE_SIDE - _MARGINS
        names = (case.id for case in self.session.cases[:_COMPARED])
        self.table.setTextElideMode(elision(names, lambda name, way: metrics.elidedText(name, way, room)))

    def _project_changed(self) -> None:
        project = self.session.project
        self._start.setVisible(project is None)
        self._body.setVisible(project is not None)
        if project is not None:
            self._title.setText(project.path.name)
            self.form.show_sequences(project.sequences)
            self.form.classes = project.classes
            self.adding.set_open(not self.session.cases)
        self.redraw()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.redraw()

    def redraw(self, *_: object) -> None:
        if self.isHidden():
            return  # another tab is open, where a decision must not wait for this table
        project, cases = self.session.project, self.session.cases
        self.model.show(cases, self.session.proposals)
        if project is None:
            return
        names = f"{', '.join(project.classes)} on {', '.join(project.sequences)}"
        self._about.setText(f"Segmenting {names}: {summary(cases)}.")
        self.narrow.setVisible(bool(cases))
        self.table.setVisible(bool(cases))
        self._choose_elision()
        self._next.setText(_next_step(self.session))
        self._stop.setVisible(self.session.adding > 0)
        self._rest.setVisible(not cases)  # without the table, the room goes below all that is said


def _next_step(session: Session) -> str:
    """Say what to do next, if it is not obvious."""
    if session.adding:
        return f"Adding scans: {session.adding} to go."
    if not session.cases:
        return "Next: add a folder with scans. Masks are welcome but not needed."
    if not any(case.labelled and not case.validation for case in session.cases):
        return "Next: double click a case and annotate two or three slices; then the same in several other cases."
    if session.run is None:
        return "Next: start the training; it proposes masks for everything else."
    waiting = session.proposals.open_in
    if not session.is_training and any(kind(case, waiting[case.id]) == "new" for case in session.cases):
        return "The model can segment a new case: open it, then press S."
    return ""
