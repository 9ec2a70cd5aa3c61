"""The tools in a person's hand: brush, class, shape of what is painted, grey values of the picture."""

from __future__ import annotations

from functools import partial

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QButtonGroup, QCheckBox, QComboBox, QGridLayout, QHBoxLayout, QWidget

from .display import WINDOWS
from .keys import TOOLS
from .layers import Layers
from .names import NameBox, NameButton
from .shapes import SHAPES
from .style import button, column, row

_TOOLS = (
    ("Paint", "paint", "Paint with the brush; size with [ and ]"),
    ("Erase", "erase", "Erase"),
    ("Polygon", "polygon", "Draw a polygon; Enter closes it"),
    ("Fill", "fill", "Fill an area"),
    ("Move", "pan_zoom", "Move and zoom the picture"),
)
_SHOWN_CLASSES = 21
"""More of them are in a list."""


class Toolbox(QWidget):
    """Follows napari's own tool buttons and keys, and drives them."""

    shape_wanted = Signal(str)
    """The name of one of :data:`SHAPES`."""
    lock_changed = Signal(bool)
    class_asked = Signal(int)
    """Somebody wants the menu of a class, by its label."""

    def __init__(self, layers: Layers) -> None:
        super().__init__()
        self.layers = layers
        self._classes = QGridLayout()
        self._classes.setSpacing(3)
        self.class_group = QButtonGroup(self)
        self.choice = NameBox("The class in your hand; - and = are the one before and after")
        self.choice.activated.connect(lambda index: self.layers.choose_class(index + 1))
        self._more = button(
            "Classes …", "Colour and name of the class in your hand, or one more class",
            lambda: self.class_asked.emit(self.layers.chosen_class), "quiet",
        )  # fmt: skip
        self._tools = QButtonGroup(self)
        self.lock = QCheckBox("keep other classes")
        self.lock.setToolTip("Painting and erasing leave what belongs to another class as it is")
        self.lock.toggled.connect(self.lock_changed)
        self.window_ = QComboBox()
        self.window_.addItems(WINDOWS)
        self.window_.setToolTip("Which grey values are black and white; napari's contrast limits go on from there")
        self.window_.currentTextChanged.connect(layers.pictures.set_window)
        self.setLayout(column(self._tool_grid(), self.choice, self._classes, self.lock, self._shape_row(), spacing=5))

    def _tool_grid(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setSpacing(3)
        keys = {mode: press for press, mode in TOOLS.items()}
        for index, (words, mode, tip) in enumerate(_TOOLS):
            made = button(words, tip, key=keys[mode])
            made.setCheckable(True)
            made.setProperty("mode", mode)
            made.clicked.connect(lambda *_, mode=mode: self.layers.set_mode(mode))
            self._tools.addButton(made)
            grid.addWidget(made, index // 3, index % 3)
        grid.addWidget(self.window_, 1, 2)
        return grid

    def _shape_row(self) -> QHBoxLayout:
        made = []
        for name, (words, _, tip) in SHAPES.items():
            made.append(button(words, tip, partial(self.shape_wanted.emit, name), "reason"))
        return row(*made, spacing=3)

    def show_classes(self, names: tuple[str, ...], colours: tuple[str, ...]) -> None:
        self._classes.removeWidget(self._more)
        while self._classes.count():
            chip = self._classes.takeAt(0).widget()
            self.class_group.removeButton(chip)
            chip.deleteLater()
        chips = names if len(names) <= _SHOWN_CLASSES else ()
        self.choice.clear()
        self.choice.addItems(names)
        self.choice.setVisible(not chips)
        for label, name in enumerate(chips, 1):
            chip = NameButton(name, f"Paint {name}, label {label}; a right click offers another colour or name")
            chip.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
            chip.customContextMenuRequested.connect(lambda *_, label=label: self.class_asked.emit(label))
            chip.setCheckable(True)
            self.class_group.addButton(chip, label)
            chip.clicked.connect(lambda *_, label=label: self.layers.choose_class(label))
            self._classes.addWidget(chip, (label - 1) // 2, (label - 1) % 2)
        self._classes.addWidget(self._more, len(chips) // 2, len(chips) % 2)
        self.lock.setVisible(len(names) > 1)
        self.lock.setChecked(len(names) > 1)
        self.show_colours(colours)
        self.show_class(self.layers.chosen_class)

    def show_colours(self, colours: tuple[str, ...]) -> None:
        """Show classes in other colours; which one is in the person's hand stays as it is."""
        for chip in self.class_group.buttons():
            chip.setIcon(_square(colours[self.class_group.id(chip) - 1]))
        for index, colour in enumerate(colours[: self.choice.count()]):
            self.choice.setItemIcon(index, _square(colour))

    def show_class(self, label: int) -> None:
        """Mark the class that is in the person's hand, however it came there."""
        chip = self.class_group.button(label)
        if chip is not None:
            chip.setChecked(True)
        self.choice.setCurrentIndex(label - 1)

    def show_mode(self, mode: str) -> None:
        self._tools.setExclusive(False)
        for made in self._tools.buttons():
            made.setChecked(made.property("mode") == mode)
        self._tools.setExclusive(True)


def _square(colour: str) -> QIcon:
    pixmap = QPixmap(14, 14)
    pixmap.fill(QColor(colour))
    return QIcon(pixmap)
