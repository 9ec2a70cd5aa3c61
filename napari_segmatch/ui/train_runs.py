"""The runs of a project: look at one, compare it with another, take back what it brought in."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QWidget

from ..session import History, Session
from .style import button, column, row, text

RUN_ROLE = 256


class RunList(QWidget):
    """``compared`` carries the history to draw beside the current one, or None."""

    compared = Signal(object)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self._beside: int | None = None
        self._here: int | None = None
        self.list = QListWidget()
        self.list.setFixedHeight(96)
        self.list.setToolTip("Earlier runs; click one to see its curves and to resume it")
        self.list.currentItemChanged.connect(self._name_chosen)
        self.list.itemClicked.connect(lambda item: session.attempt(session.show_run, int(item.data(RUN_ROLE))))
        self._compare = button("Compare", "Keep the Dice of the run on the screen, dashed, while you look at another",
                               self._compare_shown, "quiet")  # fmt: skip
        self._compare.setCheckable(True)
        self._roll_back = button(
            "Roll back", "Take everything out of the labels that people accepted or corrected of this run's proposals; "
            "one undo in Review brings it back", self._roll_back_chosen, "quiet",
        )  # fmt: skip
        self.setLayout(column(text("Runs", "section"), self.list, row(self._compare, self._roll_back, 1), spacing=2))

    @property
    def chosen(self) -> int | None:
        item = self.list.currentItem()
        return int(item.data(RUN_ROLE)) if item is not None else None

    def _compare_shown(self) -> None:
        """Keep the run that is on the screen beside whichever is looked at next."""
        self._beside = self.session.run.id if self._compare.isChecked() and self.session.run else None
        self._compare.setText(f"Beside run {self._beside}" if self._beside else "Compare")
        self.compared.emit(self.history_beside())

    def history_beside(self) -> History | None:
        return self.session.history_of(self._beside) if self._beside is not None else None

    def _name_chosen(self, *_: object) -> None:
        """The button says which run it takes back: while one trains, that may be another than the one in the plots."""
        self._roll_back.setText("Roll back" if self.chosen is None else f"Roll back run {self.chosen}")
        self._roll_back.setEnabled(self.chosen is not None)

    def _roll_back_chosen(self) -> None:
        if self.chosen is not None:
            self.session.attempt(self.session.roll_back, self.chosen)

    def forget(self) -> None:
        """Another project is open."""
        self._beside = self._here = None
        self.list.clear()
        self._compare.setChecked(False)
        self._compare.setText("Compare")
        self.compared.emit(None)

    def redraw(self) -> None:
        """Keep what somebody has chosen in the list, until another run is on the screen."""
        here = self.session.run.id if self.session.run else None
        chosen, self._here = self.chosen if here == self._here else here, here
        runs = [(run.id, self.session.run_state if run.id == here else state) for run, state in self.session.runs()]
        self.setVisible(bool(runs))
        words = [(id_, f"Run {id_}: {state}") for id_, state in reversed(runs)]
        if words != [(self.list.item(i).data(RUN_ROLE), self.list.item(i).text()) for i in range(self.list.count())]:
            self._fill(words)
        if chosen != self.chosen:
            self.list.setCurrentRow(next((row for row, (id_, _) in enumerate(words) if id_ == chosen), -1))

    def _fill(self, words: list[tuple[int, str]]) -> None:
        self.list.clear()
        for id_, sentence in words:
            item = QListWidgetItem(sentence)
            item.setData(RUN_ROLE, id_)
            self.list.addItem(item)
