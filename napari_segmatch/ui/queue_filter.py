"""Which proposals are in the list, and in which order."""

from __future__ import annotations

from dataclasses import replace

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QButtonGroup, QCheckBox, QComboBox, QWidget

from ..ranking import ORDERS, Choice, Counts, Order, Which, how_many
from ..texts import count
from .style import button, column, row

_CHIPS: tuple[tuple[Which, str, str], ...] = (
    ("all", "all", "Every proposal, spot checks included"),
    ("accepted", "sure", "Those whose score passes"),
    ("rejected", "not sure", "Those whose score does not pass, or says nothing yet"),
    ("mine", "judged", "Those that people have judged, to look at them once more"),
)


class QueueFilter(QWidget):
    """``changed`` says that the list is to be made anew."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._which = QButtonGroup(self)
        chips = []
        for place, (which, name, tip) in enumerate(_CHIPS):
            chip = button(name, tip, self.changed.emit)
            chip.setCheckable(True)
            chip.setChecked(place == 0)
            chip.setProperty("which", which)
            chip.setProperty("name", name)
            self._which.addButton(chip)
            chips.append(chip)
        self.undecided = QCheckBox("undecided only")
        self.undecided.setChecked(True)
        self.undecided.setToolTip("Hide proposals that somebody has judged")
        self.undecided.toggled.connect(lambda *_: self.changed.emit())
        self.order = QComboBox()
        for order, tip in ORDERS.items():
            self.order.addItem(order)
            self.order.setItemData(self.order.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self.order.currentTextChanged.connect(self._order_chosen)
        self._fresh = button("", "Proposals that came while you were looking stand at the end; sort them in now",
                             self.changed.emit, "quiet")  # fmt: skip
        self.setLayout(column(row(*chips), row(self.order, 1, self.undecided), self._fresh, spacing=4))
        self.show_newcomers(0)
        self._show_tip()

    @property
    def choice(self) -> Choice:
        chip = self._which.checkedButton()
        which: Which = chip.property("which") if chip is not None else "all"
        order: Order = self.order.currentText()
        return Choice(which, self.undecided.isChecked(), order)

    def _order_chosen(self) -> None:
        self._show_tip()
        self.changed.emit()

    def _show_tip(self) -> None:
        self.order.setToolTip(f"Order of the list. {ORDERS[self.choice.order]}.")

    def show_counts(self, counts: Counts) -> None:
        for chip in self._which.buttons():
            n = how_many(counts, replace(self.choice, which=chip.property("which")))
            chip.setText(f"{chip.property('name')} {n}")

    def show_newcomers(self, n: int) -> None:
        self._fresh.setText(f"Sort in {count(n, 'new proposal')}")
        self._fresh.setVisible(n > 0)
