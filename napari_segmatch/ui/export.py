"""Write checked masks, volumes and decisions into a folder."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices, QShowEvent
from qtpy.QtWidgets import QComboBox, QFileDialog, QLineEdit, QListWidget, QRadioButton

from ..errors import ImportProblem
from ..session import Session
from ..texts import count
from .desk import Desk
from .folders import typed_folder
from .style import Page, button, row, text

FORMATS = {
    "nifti": "NIfTI, a file each case",
    "nrrd": "NRRD segmentations for 3D Slicer",
    "dicom-seg": "DICOM segmentations",
    "nnunet": "an nnU-Net data set",
    "bids": "BIDS derivatives",
    "monai-label": "a MONAI Label data store",
}
_ABOUT = {
    "labels-itksnap.txt": "names and colours for ITK-SNAP",
    "labels-slicer.ctbl": "names and colours for 3D Slicer",
    "slices.csv": "where the labels of each slice are from",
    "volumes.csv": "volume of each class, in ml",
    "decisions.csv": "who decided what, and when",
}


class ExportPanel(Page):
    def __init__(self, session: Session, desk: Desk) -> None:
        super().__init__()
        self.session, self.desk = session, desk
        self._where = Path()
        self.folder = QLineEdit()
        self.folder.setPlaceholderText("Folder to write into")
        self.folder.setToolTip("An earlier export in it is written anew; files from elsewhere are never replaced")
        self.folder.textChanged.connect(lambda *_: self.redraw())
        self.checked = QRadioButton("checked masks only")
        self.checked.setChecked(True)
        self.checked.setToolTip("Slices that you finished, accepted or corrected")
        self.accepted = QRadioButton("with accepted proposals")
        self.accepted.setToolTip("Also proposals whose score passes and that nobody checked; slices.csv says so")
        self.formats = QComboBox()
        self.formats.addItems(FORMATS.values())
        self.formats.setToolTip("DICOM segmentations need cases that came as DICOM")
        self.button = button("Export", "Write the files", self.export, "primary")
        self.folder.returnPressed.connect(self.button.click)
        self._next = text("", "hint")
        self._said = text("", "section")
        self.list = QListWidget()
        self.list.setToolTip("The files that were written")
        self.list.setMinimumHeight(160)
        self._show = button("Open the folder", "Show the files in the file manager", self._open_folder, "quiet")
        browse = button("Browse …", "Choose a folder", self._browse)
        self.arrange(
            text("Export", "title"),
            text("Masks lie on the grid of their own image files: nothing is resampled.", "hint"),
            row(self.folder, browse), self.formats, self.checked, self.accepted, self.button, self._next, self._said,
            self.list, self._show,
        )  # fmt: skip
        self.link(
            (session.project_changed, self._project_changed),
            (session.cases_changed, self.redraw),
            (session.proposals_changed, self.redraw),
            (session.decided, self.redraw),
            (session.exported, self._exported),
        )
        self._project_changed()

    def _project_changed(self) -> None:
        project = self.session.project
        self.folder.setText(str(project.path / "exports") if project is not None else "")
        for widget in (self._said, self.list, self._show):
            widget.hide()
        self.redraw()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.redraw()

    def redraw(self, *_: object) -> None:
        if self.isHidden():
            return
        done = sum(len(case.labelled) for case in self.session.cases if case.problem is None)
        waiting = sum(
            n for (said, word, _), n in self.session.proposals.counts.items() if said == "accepted" and word is None
        )
        self.checked.setText(f"checked masks only: {count(done, 'slice')}")
        self.accepted.setText(f"with accepted proposals: {count(waiting, 'more slice')}")
        if self.session.project is None:
            self._next.setText("Open or create a project in the tab Cases first.")
        elif not done and not waiting:
            self._next.setText("There is nothing to export yet: mark a slice as done, or accept a proposal.")
        else:
            self._next.setText("For research; not a medical device.")
        self.button.setEnabled(self.session.project is not None and bool(done or waiting) and bool(self.folder.text()))

    def export(self) -> None:
        self.desk.save()
        try:
            self._where = typed_folder(self.folder.text())
        except ImportProblem as error:
            self.session.message.emit(str(error), True)
            return
        self._said.setText("Writing …")
        self._said.show()
        self.button.setEnabled(False)
        self.session.export(self._where, include_accepted=self.accepted.isChecked(),
                            layout=list(FORMATS)[self.formats.currentIndex()])  # fmt: skip

    def _exported(self, files: list[Path]) -> None:
        self.list.clear()
        for path in files:
            about = _ABOUT.get(path.name, "")
            self.list.addItem(f"{path.name}   {about}" if about else path.name)
        self._said.setText(f"{count(len(files), 'file')} written to {self._where.name}." if files else "")
        for widget in (self._said, self.list, self._show):
            widget.setVisible(bool(files))
        self.redraw()

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder to write into", self.folder.text())
        if folder:
            self.folder.setText(folder)

    def _open_folder(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._where)))
