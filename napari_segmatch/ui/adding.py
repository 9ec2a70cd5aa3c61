"""The form that adds scans to a project: patterns for a folder, or single files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from qtpy.QtCore import QEventLoop, Signal
from qtpy.QtWidgets import QApplication, QComboBox, QFileDialog, QFormLayout, QInputDialog, QLineEdit, QSpinBox, QWidget

from ..errors import ImportProblem, Question
from ..io import SUFFIXES, Found, FoundCase, find_cases, find_dataset, is_dicom, strip_suffix
from ..texts import count
from .folders import typed_folder
from .style import button, calm, column, row, text

FILES = f"Images ({' '.join('*' + suffix for suffix in SUFFIXES)});;All files (*)"
THE_MASK = "the mask"
_MASK_WORD = re.compile(
    r"[ ._-]*(?<![a-z])([a-z]*masks?|labels?|labelmaps?|d?segs?|[a-z]*segmentations?)(?![a-z])\d*", re.IGNORECASE
)  # a whole word: Segovia is a name, and a brainmasked image is an image
_NAMED = 3
"""So many cases are named in a question."""
_PATTERN = "{case} stands for the case's name, * for anything else in a name"
_SERIES = "Of DICOM, if names do not tell: the description of its series, with * for anything"
WHICH = ("the first …", "all of them", "none", "these: …")


def chosen(found: Sequence[FoundCase], which: str, first: int, named: str) -> list[str]:
    """Return the ids of the cases whose masks are finished labels."""
    with_mask = [item.id for item in found if item.mask is not None]
    if which == WHICH[0]:
        return with_mask[:first]
    if which == WHICH[3]:
        parts = map(str.strip, re.split("[,;]", named))  # a name may hold spaces, or they stand between names
        wanted = {name for part in parts for name in ([part] if part in with_mask else part.split())}
        unknown = sorted(wanted - set(with_mask))
        if unknown:
            raise ImportProblem(f"There is no case {unknown[0]} with a mask among those found: check the list.")
        return [id for id in with_mask if id in wanted]
    return with_mask if which == WHICH[1] else []


def held_out(found: Sequence[FoundCase], labelled: Sequence[str], many: int) -> list[str]:
    """Return the cases to validate on: the last ones with masks that are not in ``labelled``.

    If all are in it they are the last of those: finished labels judge as well as they teach. One is left to teach.
    """
    masks, taken = [item.id for item in found if item.mask is not None], set(labelled)
    rest = [id for id in masks if id not in taken] or masks[1:]
    return rest[len(rest) - min(many, len(rest)) :]


def suggested_validation(found: Sequence[FoundCase], labelled: int) -> int:
    """A fifth of the cases, two to ten, as far as there are masks to spare."""
    masks = sum(item.mask is not None for item in found)
    return max(0, min(10, max(2, round(0.2 * len(found))), masks - labelled))


def from_files(paths: Iterable[Path], sequences: Sequence[str]) -> list[FoundCase]:
    """Sort single files into cases: by the sequence's name in the file's name; what is left names the case.

    A file whose name says that it holds labels is the mask of the case whose images come with it, never an image.
    """
    cases: dict[str, dict[str, Path]] = {}
    for path in paths:
        if is_dicom(path):
            raise ImportProblem(f"{path.name} is DICOM, of which a volume is many files: choose its folder instead.")
        case, what = _place_of(path, sequences)
        files = cases.setdefault(case, {})
        if what in files:
            raise ImportProblem(f"{path.name} and {files[what].name} would both be {what} of case {case}: rename one.")
        files[what] = path
    return [_with_mask(case, files) for case, files in sorted(cases.items())]


def _place_of(path: Path, sequences: Sequence[str]) -> tuple[str, str]:
    """Return the case that a file belongs to, and its sequence, or that it is the mask."""
    name = strip_suffix(path.name)
    stem = _MASK_WORD.sub("", name)
    sequence = next((s for s in sequences if s.lower() in stem.lower()), sequences[0])
    rest = re.sub(re.escape(sequence), "", stem, flags=re.IGNORECASE).strip(" ._-")
    return rest or path.parent.name, THE_MASK if _MASK_WORD.search(name) else sequence


def _with_mask(case: str, files: dict[str, Path]) -> FoundCase:
    mask = files.pop(THE_MASK, None)
    if mask is not None and not files:
        raise ImportProblem(
            f"{mask.name} is called like a mask, and no image of case {case} came with it: choose both at once. "
            "If it is an image, rename it."
        )
    return FoundCase(case, files, mask)


def look(
    folder: Path,
    images: Mapping[str, str],
    mask: str | None,
    classes: Sequence[str],
    progress: Callable[[int], None] = lambda count: None,
) -> Found:
    """Find cases by patterns, or where none fits by what stands in the folder: DICOM, nnU-Net, BIDS or MONAI Label."""
    lines: list[str] = []
    try:
        return Found(tuple(find_cases(folder, images, mask, lines.append)), tuple(lines))
    except ImportProblem as problem:
        try:
            series = {name: words for name, words in images.items() if "{case}" not in words}  # of DICOM
            return find_dataset(folder, list(images), classes, series, progress)
        except ImportProblem as other:
            raise problem if "no DICOM MR volume:" in str(other) else other from None


def preview(found: Sequence[FoundCase], sequences: Sequence[str]) -> str:
    """Say what was found, before anything is added."""
    masks = sum(item.mask is not None for item in found)
    words = f"Found {count(len(found), 'case')}, {masks} with masks"
    partial = sum(set(item.images) != set(sequences) for item in found)
    words += f", {partial} without all sequences" if partial else ""
    first = ", ".join(item.id for item in found[:3])
    return f"{words}: {first}{' …' if len(found) > 3 else ''}"


class AddForm(QWidget):
    """``wanted`` carries the cases, the ids with finished labels and the ids to validate on."""

    wanted = Signal(list, list, list)
    refused = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[FoundCase] = []
        self.classes: Sequence[str] = ()
        self._patterns: dict[str, QLineEdit] = {}
        self.folder = _edit("", "The folder that holds the scans")
        self.folder.setPlaceholderText("Folder with scans")
        self.mask = _edit("{case}/mask.nii.gz", f"Where masks lie, if there are any; {_PATTERN}")
        self.which = QComboBox()
        self.which.addItems(WHICH)
        self.which.setToolTip("Whose masks are finished labels that may train the model")
        self.first = _spin(2, 1, 100_000, "How many cases, in alphabetical order")
        self.named = _edit("", "Names of cases, with commas between them")
        self.hold = _spin(0, 0, 10_000, "Cases with masks that only judge the model; they never train it")
        for control in (self.which, self.first, self.hold):
            calm(control)  # they come into the tab only with a project's sequences
        self._preview = text("", "hint")
        self._preview.hide()
        self._add = button("Add", "Add these cases to the project", self._want, "primary")
        self._add.setEnabled(False)
        self._form = QFormLayout()
        self._form.setContentsMargins(0, 0, 0, 0)
        self._form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        browse = button("Browse …", "Choose the folder", self._browse)
        find = button("Find", "Look for cases; nothing is added yet", self.find)
        files = button("Add files …", "Add single image files", self._files)
        self.setLayout(column(row(self.folder, browse), self._form, row(find, files), self._preview, self._add))
        self.which.currentTextChanged.connect(self._which_changed)
        for edit in (self.folder, self.mask):
            self._follow(edit)
        self._which_changed()

    def show_sequences(self, sequences: Sequence[str]) -> None:
        """Make one pattern for each sequence of the project."""
        while self._form.rowCount():
            taken = self._form.takeRow(0)
            for item in (taken.labelItem, taken.fieldItem):
                if item is not None and item.widget() is not None and item.widget() not in self._lasting():
                    item.widget().deleteLater()
        self._patterns = {}
        for name in sequences:
            edit = _edit(f"{{case}}/{name}.nii.gz", f"Where {name} lies; {_PATTERN}. {_SERIES}")
            self._follow(edit)
            self._patterns[name] = edit
            self._form.addRow(name, edit)
        self._form.addRow("masks", self.mask)
        self._form.addRow("finished labels", self.which)
        self._form.addRow("how many", self.first)
        self._form.addRow("which", self.named)
        self._form.addRow("validation", self.hold)
        self._which_changed()

    def _follow(self, edit: QLineEdit) -> None:
        """Enter finds, and adds nothing: what was found is to be looked at first."""
        edit.textChanged.connect(self._forget)
        edit.returnPressed.connect(self.find)

    def _lasting(self) -> tuple[QWidget, ...]:
        return (self.mask, self.which, self.first, self.named, self.hold)

    def _which_changed(self) -> None:
        if not self._patterns:
            return
        self._form.setRowVisible(self.first, self.which.currentText() == WHICH[0])
        self._form.setRowVisible(self.named, self.which.currentText() == WHICH[3])

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder with scans", self.folder.text())
        if folder:
            self.folder.setText(folder)
            self.find()

    def _forget(self) -> None:
        """What was found no longer holds for what the form says."""
        self.found = []
        self._add.setEnabled(False)
        self._say("")

    def _say(self, words: str) -> None:
        self._preview.setText(words)
        self._preview.setVisible(bool(words))

    def _looked_at(self, files: int) -> None:
        self._say(f"Looked at {count(files, 'file')} …")
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents)

    def find(self) -> None:
        images = {name: edit.text() for name, edit in self._patterns.items() if edit.text().strip()}
        folder = self.folder.text().strip()
        try:
            if not folder:
                raise ImportProblem("Name the folder that holds the scans first.")
            mask = self.mask.text().strip() or None
            found = look(typed_folder(folder), images, mask, self.classes, self._looked_at)
            self.found = list(found.cases)
        except (ImportProblem, OSError) as error:
            self._forget()
            words = (
                f"{folder} cannot be looked through ({error.strerror})." if isinstance(error, OSError) else str(error)
            )
            self._say(words)
            return
        if not self.hold.value():
            self.hold.setValue(suggested_validation(self.found, self.first.value()))
        self._say("\n".join([preview(self.found, list(self._patterns)), *found.lines]))
        self._add.setText(f"Add {count(len(self.found), 'case')}")
        self._add.setEnabled(True)

    def _want(self) -> None:
        try:
            labelled = chosen(self.found, self.which.currentText(), self.first.value(), self.named.text())
        except ImportProblem as error:
            self.refused.emit(str(error))
            return
        validation = held_out(self.found, labelled, self.hold.value())
        self.wanted.emit(self.found, labelled + validation, validation)
        self._forget()

    def _files(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(self, "Image files", self.folder.text(), FILES)
        if names:
            self.add_files([Path(name) for name in names])

    def add_files(self, paths: Sequence[Path]) -> None:
        """Add single files, sorted into cases by their names. A mask chosen by hand is a finished label."""
        try:
            found = from_files(paths, list(self._patterns))
        except ImportProblem as error:
            self.refused.emit(str(error))
            return
        labelled = [item.id for item in found if item.mask is not None]
        words = f"{count(len(found), 'case')}, {len(labelled)} with masks: these are finished labels."
        self._say(words if labelled else "")
        self.wanted.emit(found, labelled, [])


def ask(parent: QWidget, question: Question, cases: Sequence[str], classes: Sequence[str]) -> str | None:
    """Let a person answer how files of some cases are to be read; None if they would rather not say."""
    options = question.options.items()
    ways = {f"{_with_name(meaning, classes)}   ({answer})": answer for answer, meaning in options}
    first, more = ", ".join(cases[:_NAMED]), len(cases) - _NAMED
    whose = f"{first} and {more} more" if more > 0 else first
    title = f"How is this to be read? ({count(len(cases), 'case')})"
    chosen, sure = QInputDialog.getItem(parent, title, f"{whose}: {question.sentence}.", list(ways), 0, True)
    return ways.get(chosen, chosen.strip()) if sure else None


def _with_name(meaning: str, classes: Sequence[str]) -> str:
    """Add to “class 2” what class this is."""

    def named(found: re.Match[str]) -> str:
        return f"{found[0]}: {classes[int(found[1]) - 1]}" if 1 <= int(found[1]) <= len(classes) else found[0]

    return re.sub(r"\bclass (\d+)(?=, class|, in this order|$)", named, meaning)


def _edit(words: str, tip: str) -> QLineEdit:
    made = QLineEdit(words)
    made.setToolTip(tip)
    return made


def _spin(value: int, low: int, high: int, tip: str) -> QSpinBox:
    made = QSpinBox()
    made.setRange(low, high)
    made.setValue(value)
    made.setToolTip(tip)
    return made
