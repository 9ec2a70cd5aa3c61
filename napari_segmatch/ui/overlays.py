"""What lies over napari's canvas and slider: letters of orientation, other planes, numbers and scores of slices."""

from __future__ import annotations

from qtpy.QtWidgets import QWidget

from .desk import Desk
from .letters import EdgeLetters
from .planes import Planes
from .slider import SliceSlider


class Overlays:
    """Follows the case on the desk; is laid over napari's window when there is one."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.letters = EdgeLetters(desk.viewer, desk)
        self.planes = Planes(desk)
        self.slider = SliceSlider(desk.viewer, desk.layers, desk)
        self.planes.covered.connect(self.letters.stay_left_of)
        desk.opened.connect(self._opened)

    def attach(self, window: QWidget) -> None:
        for part in (self.letters, self.planes, self.slider):
            part.attach(window)
        self._opened()

    def detach(self) -> None:
        self.desk.opened.disconnect(self._opened)
        for part in (self.letters, self.planes, self.slider):
            part.detach()

    def _opened(self) -> None:
        self.letters.show(self.desk.flip if self.desk.count else None)
        self.slider.take(self.desk.count)
