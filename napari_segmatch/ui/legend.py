"""Which colour is which class: it has one on your mask and another on a proposal."""

from __future__ import annotations

from html import escape

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy

from ..palette import palette
from ..session import Session

_MOST = 12
"""So many classes are named in the line; what the mouse brings up names all of more."""


class Legend(QLabel):
    """A line of class names with their colours; hidden where there is only one class to tell apart."""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "hint")
        self.setWordWrap(True)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.setTextFormat(Qt.TextFormat.RichText)

    def show_classes(self, session: Session) -> None:
        """Show the classes of a project, with the colours that they have on masks and on proposals."""
        names = session.project.classes if session.project is not None else ()
        entries = [
            f"<span style='color:{mask}'>■</span><span style='color:{proposal}'>□</span>&nbsp;{escape(name)}"
            for name, mask, proposal in zip(names, *palette(names, session.colours), strict=False)
        ]
        more = len(names) > _MOST
        self.setText(f"■ yours, □ proposed: {'  '.join(entries[:_MOST])}{' …' * more}")
        self.setToolTip(f"Filled: your mask. Outline: the proposal.{'<br>' * more}{'  '.join(entries * more)}")
        self.setVisible(len(names) > 1)
