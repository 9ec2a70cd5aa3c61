"""What a right click on a class offers: another colour, another name, and one more class."""

from __future__ import annotations

from functools import partial

from qtpy.QtGui import QColor, QCursor
from qtpy.QtWidgets import (
    QButtonGroup,
    QColorDialog,
    QDialog,
    QDialogButtonBox,
    QInputDialog,
    QLineEdit,
    QMenu,
    QRadioButton,
    QWidget,
)  # fmt: skip

from ..palette import palette
from ..session import Session
from ..texts import count
from .desk import Desk
from .style import column, text


class ClassMenu:
    """The menu of the classes of a project."""

    def __init__(self, session: Session, desk: Desk, parent: QWidget) -> None:
        self.session, self.desk, self.parent = session, desk, parent

    @property
    def names(self) -> tuple[str, ...]:
        return self.session.project.classes if self.session.project is not None else ()

    def ask(self, label: int) -> None:
        """Show the menu of a class where the mouse is."""
        menu, project = self.offers(label), self.session.project
        if not menu.isEmpty():
            menu.exec(QCursor.pos())
        elif project is not None and project.readonly:
            self.session.message.emit(project.readonly, True)

    def offers(self, label: int) -> QMenu:
        """Return what can be done with a class."""
        menu, project = QMenu(self.parent), self.session.project
        if project is None or project.readonly or not 1 <= label <= len(self.names):
            return menu
        name = self.names[label - 1].replace("&", "&&")
        menu.addAction(f"Colour of {name} …", partial(self._ask_colour, label))
        menu.addAction(f"Rename {name} …", partial(self._ask_name, label))
        menu.addAction("Add a class …", self._ask_new)
        return menu

    def rename(self, label: int, name: str) -> None:
        self._set((*self.names[: label - 1], name.strip(), *self.names[label:]), label)

    def add(self, name: str, reopen: bool) -> None:
        """Add a class and put it in the person's hand; ``reopen`` the slices that are done, which may show it."""
        self._set((*self.names, name.strip()), len(self.names) + 1, reopen)

    def _set(self, names: tuple[str, ...], label: int, reopen: bool = False) -> None:
        """Change the classes, and come back to the slice on the screen with one of them in hand."""
        self.desk.save()
        case, z = self.desk.case_id, self.desk.z
        if self.session.attempt(self.session.set_classes, names, reopen) and case:
            self.desk.open(case, z, then=partial(self._take_in_hand, label))

    def _take_in_hand(self, label: int) -> None:
        self.desk.layers.choose_class(label)
        self.desk.layers.set_mode("paint")

    def _ask_colour(self, label: int) -> None:
        now = palette(self.names, self.session.colours)[0][label - 1]
        name = self.names[label - 1]
        chosen = QColorDialog.getColor(QColor(now), self.parent, f"Colour of {name}")
        if chosen.isValid():
            self.session.set_colour(name, chosen.name())

    def _ask_name(self, label: int) -> None:
        before = self.names[label - 1]
        name, sure = QInputDialog.getText(self.parent, "Rename a class", "Its masks stay as they are.", text=before)
        if sure and name.strip() != before:
            self.rename(label, name)

    def _ask_new(self) -> None:
        form = NewClass(self.parent, [len(case.labelled) for case in self.session.cases if case.labelled])
        if form.exec():
            self.add(form.name.text(), form.may_show_it.isChecked())


class NewClass(QDialog):
    """Asks for the name of a new class, and whether slices that are done may show it; ``done`` counts those by case."""

    def __init__(self, parent: QWidget, done: list[int]) -> None:
        super().__init__(parent)
        self.setWindowTitle("Add a class")
        self.name = QLineEdit()
        self.name.setPlaceholderText("its name")
        self.name.textChanged.connect(self._renew)
        self.may_show_it = QRadioButton("Some may: open them again, what is drawn stays")
        self.without_it = QRadioButton("None does: they stay done, as slices without it")
        self._choice = QButtonGroup(self)
        said = text(f"{count(sum(done), 'slice')} of {count(len(done), 'case')} are done. Do they show it?")
        asked: list[QWidget] = [said, self.may_show_it, self.without_it] if done else []
        for choice in (self.may_show_it, self.without_it) if done else ():
            self._choice.addButton(choice)
            choice.toggled.connect(self._renew)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        layout = column(self.name, *asked, self.buttons, spacing=8)
        layout.setContentsMargins(12, 12, 12, 12)
        self.setLayout(layout)
        self.setMinimumWidth(360)
        self._renew()

    def _renew(self, *_: object) -> None:
        answered = not self._choice.buttons() or self._choice.checkedButton() is not None
        self.buttons.button(QDialogButtonBox.StandardButton.Ok).setEnabled(bool(self.name.text().strip()) and answered)
