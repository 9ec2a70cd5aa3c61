"""The plugin's one widget: five tabs, a line of truth below them, and the keys."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QSize, QTimer
from qtpy.QtWidgets import QApplication, QLabel, QTabWidget, QVBoxLayout, QWidget

from ..session import Session
from .annotate import AnnotatePanel
from .cases import CasesPanel
from .desk import Desk
from .export import ExportPanel
from .keys import TOOLS, KeyFilter, shown_sheet
from .links import Links
from .offers import OfferBar
from .overlays import Overlays
from .review import ReviewPanel
from .status import StatusLine
from .style import Banner, Page, button, row, stylesheet
from .thumbnails import Thumbnails
from .train import TrainPanel

if TYPE_CHECKING:
    from napari.viewer import Viewer

POLL_MS = 100


class SegmatchDock(QWidget):
    """Segment MRI with few labels, and review what the model proposes.

    Policy: hiding the dock (another tab in front, the viewer minimised) only unbinds the keys; training and
    saving go on. Closing the dock or the viewer saves every stroke, stops the training at a checkpoint, waits
    for both and closes the project; the run can be resumed. Qt's closeEvent does not come in either case, so
    the end is taken from losing the parent, from the main window's destruction and from the application's end.

    Attributes
    ----------
    session
        What scripts and tests drive.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.session = Session()
        self.desk = Desk(napari_viewer, self.session, self)
        self.thumbnails = Thumbnails(self.session)
        self.cases = CasesPanel(self.session, self.desk, self.thumbnails)
        self.overlays = Overlays(self.desk)
        self.annotate = AnnotatePanel(self.session, self.desk, self.overlays)
        self.train = TrainPanel(self.session, self.desk, self.thumbnails)
        self.review = ReviewPanel(self.session, self.desk, self.thumbnails, self.overlays)
        self.export = ExportPanel(self.session, self.desk)
        self._window: QWidget | None = None
        self._sheet: QLabel | None = None
        self._ended = False
        self._warned, self._of_disk = False, ""
        self._build()
        self.keys = KeyFilter(self, self.tabs_name, self._find_action)
        self.timer = QTimer(self, interval=POLL_MS)
        self.timer.timeout.connect(self._beat)
        self._links = Links(
            (self.session.message, self._say),
            (self.session.project_changed, self._project_changed),
            (self.session.run_begins, self.banner.dismiss),  # whatever went wrong with the run before
            (self.session.settled, self.banner.dismiss_if),
            (self.session.proposals_changed, self._count_review),
            (self.session.decided, self._count_review),
            (self.session.segmented, self._segmented),
            (self.review.reviewer.hint, self.status.hint),
            (napari_viewer.events.theme, self._show_theme),
        )
        self.cases.opened.connect(self.annotate_case)
        app = QApplication.instance()
        if app is not None:
            app.aboutToQuit.connect(self.end)
        self._show_theme()
        self._project_changed()
        self.timer.start()

    def _build(self) -> None:
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.setUsesScrollButtons(False)
        for name, panel in self.panels().items():
            self.tabs.addTab(panel, name)
        self.tabs.currentChanged.connect(self._tab_changed)
        self.banner = Banner()
        self.offers = OfferBar(self.session, self.desk)
        self.status = StatusLine(self.session, self.desk)
        help_ = button("?", "Show all keys", self.toggle_sheet)
        help_.setFixedWidth(26)
        layout = QVBoxLayout()
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.banner)
        layout.addWidget(self.offers)
        layout.addWidget(self.tabs, 1)
        layout.addLayout(row(self.status, help_))
        self.setLayout(layout)

    def sizeHint(self) -> QSize:
        return QSize(340, 640)

    def panels(self) -> dict[str, Page]:
        return {
            "Cases": self.cases, "Annotate": self.annotate, "Train": self.train, "Review": self.review,
            "Export": self.export,
        }  # fmt: skip

    # tabs and keys ---------------------------------------------------------------------------------------

    def tabs_name(self) -> str:
        """Return the name of the open tab."""
        return list(self.panels())[self.tabs.currentIndex()]

    def show_tab(self, name: str) -> None:
        self.tabs.setCurrentIndex(list(self.panels()).index(name))

    def _tab_changed(self) -> None:
        if self.tabs_name() != "Annotate":
            self.annotate.filling.drop_preview()
        if self.tabs_name() == "Review":
            self.review.reviewer.active = True
        else:
            self.review.reviewer.leave()
            self.desk.show_proposal(None)
        self.overlays.slider.show_cells((), 0)  # the tab that has a use for them shows them again
        panel = self.panels()[self.tabs_name()]
        if self.session.project is not None and hasattr(panel, "shown_for_work"):
            panel.shown_for_work()

    def _find_action(self, tab: str, action: str) -> Callable[..., object] | None:
        if action == "sheet":
            return self.toggle_sheet
        if self.session.project is None or self.review.sheets.sheet is not None:
            return None
        if action in ("done", "enter") and self.desk.layers.drawing_polygon:
            return None  # napari closes the polygon with it
        if action.startswith("tool_") or (action.startswith("reason_") and self.review.reviewer.correcting):
            return self._find_tool(action[-1])
        return self.panels()[tab].actions.get(action)

    def _find_tool(self, press: str) -> Callable[..., object] | None:
        """Leave a tool's key to napari, unless it would go to another layer of ours: a picture has no brush."""
        layers = self.desk.layers
        return partial(layers.set_mode, TOOLS[press]) if layers.tools_astray else None

    def annotate_case(self, case: str) -> None:
        """Open a case in Annotate; if it cannot be shown, go back: what lies there is another case."""
        before = self.tabs_name()
        self.show_tab("Annotate")
        self.annotate.open_case(case, failed=lambda: self._go_back(before))

    def _go_back(self, tab: str) -> None:
        if self.tabs_name() == "Annotate":
            self.show_tab(tab)

    def toggle_sheet(self) -> None:
        """Show or hide the sheet of keys, over the middle of the window."""
        if self._sheet is not None:
            self._sheet.hide()
            self._sheet.deleteLater()
            self._sheet = None
            return
        self._sheet = shown_sheet(self.window(), self.viewer.theme)
        self._sheet.mousePressEvent = lambda _: self.toggle_sheet()  # type: ignore[method-assign]

    # the beat --------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        """Bring in what the threads have finished; a listener's mistake must not stop the next beat."""
        self.session.attempt(self.session.poll)
        if not self.session.trouble:
            self.banner.dismiss_if(self._of_disk)
            self._warned, self._of_disk = False, ""  # the next trouble is another one
        self.status.redraw()

    def _say(self, sentence: str, wrong: bool) -> None:
        farewell = self.session.farewell
        if wrong and farewell not in sentence and farewell in self.banner.sentence:
            sentence = f"{farewell} {sentence}"  # it stands until somebody closes it
        (self.banner if wrong else self.status).say(sentence)
        if self.session.trouble_told and self.session.trouble_told in sentence:
            self._of_disk = sentence

    def _project_changed(self) -> None:
        self.banner.dismiss()
        if self.session.farewell:
            self.banner.say(self.session.farewell)
        self.status.say("")
        self._count_review()
        self.status.redraw()
        if self.session.place is not None:
            QTimer.singleShot(0, self._go_back_to_place)

    def _go_back_to_place(self) -> None:
        """After a crash, open the case and slice that were on the screen."""
        case, z = self.session.place or ("", 0)
        if case in {item.id for item in self.session.cases if item.problem is None}:
            self.show_tab("Annotate")
            self.annotate.open_case(case, z=z)

    def _count_review(self, *_: object) -> None:
        waiting = self.session.proposals.undecided
        self.tabs.setTabText(list(self.panels()).index("Review"), f"Review {waiting}" if waiting else "Review")

    def _segmented(self, case: str) -> None:
        self.review.wished = case
        if self.tabs_name() == "Annotate" and self.annotate.asking.waits_for(case):
            self.show_tab("Review")

    def _show_theme(self) -> None:
        theme = self.viewer.theme
        self.setStyleSheet(stylesheet(theme))
        self.train.show_theme(theme)

    # coming and going ------------------------------------------------------------------------------------

    def showEvent(self, event: QEvent) -> None:
        super().showEvent(event)
        window = self.window()
        if window is not self and window is not self._window and self._window is None:
            self._window = self.keys.main_window = window
            window.installEventFilter(self)
            window.destroyed.connect(self.end)
            self.overlays.attach(window)
        self.keys.turn(not self._ended)

    def hideEvent(self, event: QEvent) -> None:
        self.keys.turn(False)
        if self._sheet is not None:
            self.toggle_sheet()
        super().hideEvent(event)

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ParentChange and self._window is not None and self.parent() is None:
            QTimer.singleShot(0, self._end_if_orphan)
        return super().event(event)

    def _end_if_orphan(self) -> None:
        """Napari takes a dock's widget out when its X is clicked; docking it elsewhere gives it a parent at once."""
        if self.parent() is None and not self._ended:
            self.end()
            self.desk.layers.clear()
            self.deleteLater()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self._window and event.type() == QEvent.Type.Close:
            self.desk.save()  # the window may yet stay open: a dialog can refuse
            return self._stays_open(event)
        return False

    def _stays_open(self, event: QEvent) -> bool:
        """While the disk refuses strokes the window closes at the second try only."""
        if not self.session.trouble or self._warned:
            return False
        self._warned = True
        self._of_disk = (
            f"Not closed, because not everything is saved. {self.session.trouble} Close once more to leave anyway: "
            "what is not saved is then put into your home folder."
        )
        self.banner.say(self._of_disk)
        event.ignore()
        return True

    def end(self) -> None:
        """Save, stop training, close the project, let go. Called more than once; the first time counts."""
        if self._ended:
            return
        self._ended = True
        self.keys.turn(False)
        self.timer.stop()
        self.desk.close()
        self.offers.unlink()
        for panel in self.panels().values():
            panel.unlink()
        self._links.cut()
        self.thumbnails.close()
        self.overlays.detach()
        self.session.close()
        self._leave_window()

    def _leave_window(self) -> None:
        """Let go of what outlives this widget; some of it may be gone already."""
        window, self._window = self._window, None
        for sender, signal in ((window, "destroyed"), (QApplication.instance(), "aboutToQuit")):
            with contextlib.suppress(RuntimeError, TypeError):
                if sender is not None:
                    getattr(sender, signal).disconnect(self.end)
        with contextlib.suppress(RuntimeError):
            if window is not None:
                window.removeEventFilter(self)
