"""Controls that show names which may be long: of cases from a hospital, of classes from an atlas.

A name loses its middle where there is no room, since names differ at their ends; a tip has it whole.
"""

from __future__ import annotations

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QComboBox, QPushButton, QSizePolicy, QStyle, QStyleOptionButton, QStyleOptionComboBox


class NameButton(QPushButton):
    """A button that is called after something; ``tip`` has the whole name."""

    def __init__(self, name: str, tip: str) -> None:
        super().__init__(name)
        self.setToolTip(tip)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def minimumSizeHint(self) -> QSize:
        return QSize(80, super().minimumSizeHint().height())

    def initStyleOption(self, option: QStyleOptionButton) -> None:
        super().initStyleOption(option)
        room = self.width() - self.iconSize().width() - 16
        option.text = self.fontMetrics().elidedText(option.text, Qt.TextElideMode.ElideMiddle, room)


class NameBox(QComboBox):
    """A choice among names."""

    def __init__(self, tip: str) -> None:
        super().__init__()
        self.setToolTip(tip)
        self.currentTextChanged.connect(lambda name: self.setToolTip(f"{name}\n{tip}"))
        self.view().setTextElideMode(Qt.TextElideMode.ElideMiddle)

    def initStyleOption(self, option: QStyleOptionComboBox) -> None:
        super().initStyleOption(option)
        field = QStyle.SubControl.SC_ComboBoxEditField
        room = self.style().subControlRect(QStyle.ComplexControl.CC_ComboBox, option, field, self).width() - 4
        option.currentText = self.fontMetrics().elidedText(option.currentText, Qt.TextElideMode.ElideMiddle, room)
