"""A word on the desktop when a long training is over and nobody is looking."""

from __future__ import annotations

from qtpy.QtCore import QTimer
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import QApplication, QSystemTrayIcon, QWidget

_SHOWN_MS = 15_000


def tell_desktop(window: QWidget, sentence: str) -> None:
    """Make the window ask for attention, and show the sentence where the desktop has a place for it.

    Does nothing while the window is in front.
    """
    if window.isActiveWindow():
        return
    QApplication.alert(window)
    if QSystemTrayIcon.isSystemTrayAvailable():
        tray = QSystemTrayIcon(window.windowIcon() or QIcon(), window)
        tray.show()
        tray.showMessage("SegMatch", sentence)
        tray.messageClicked.connect(window.activateWindow)
        QTimer.singleShot(_SHOWN_MS, tray.deleteLater)
