"""Small pictures of proposals, made in the session's reading thread and kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QImage, QPixmap

from ..errors import SegmatchError
from ..io import first_present
from ..palette import palette
from ..session import Session
from ..types import NOT_ANNOTATED, Case, Proposal
from .display import Flip, window
from .links import Links

SIDE = 54
"""Pixels of a thumbnail in a list."""
TILE = 132
"""Pixels of a picture as it is kept: the size of a tile on a contact sheet."""
CASE_SIDE = 38
"""Pixels of a case's picture in the table."""
_KEPT = 250
_AT_ONCE = 6
"""Pictures to a job: few, so that a case that somebody opens does not wait for many."""


@dataclass(frozen=True, eq=False)
class Preview:
    """A proposal's labels (y, x) as stored, and its picture (TILE, TILE, 3) uint8 as on the screen."""

    labels: np.ndarray
    picture: np.ndarray


def picture(
    image: np.ndarray, labels: np.ndarray, spacing: tuple[float, float], colours: Sequence[str], side: int = TILE
) -> np.ndarray:
    """Draw a slice (y, x) with its mask outlined in its classes' colours, in true proportions, centred on black."""
    black, white = window(image)
    height, width = (n * mm for n, mm in zip(image.shape, spacing, strict=True))
    scale = side / max(height, width)
    rows = _samples(image.shape[0], max(1, round(height * scale)))
    columns = _samples(image.shape[1], max(1, round(width * scale)))
    grid = np.ix_(rows, columns)
    grey = np.clip((image[grid] - black) / (white - black), 0, 1) * 255
    small = np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)
    _outline(small, np.where(labels[grid] == NOT_ANNOTATED, 0, labels[grid]), colours)
    canvas = np.zeros((side, side, 3), np.uint8)
    top, left = (side - small.shape[0]) // 2, (side - small.shape[1]) // 2
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return canvas


def _samples(n: int, wanted: int) -> np.ndarray:
    return np.minimum((np.arange(wanted) + 0.5) * n / wanted, n - 1).astype(int)


def _outline(rgb: np.ndarray, labels: np.ndarray, colours: Sequence[str]) -> None:
    """Colour the outermost pixels of each label in place."""
    padded = np.pad(labels, 1)
    inner = (
        (padded[:-2, 1:-1] == labels) & (padded[2:, 1:-1] == labels)
        & (padded[1:-1, :-2] == labels) & (padded[1:-1, 2:] == labels)
    )  # fmt: skip
    for label in np.unique(labels[labels > 0]):
        colour = QColor(colours[(int(label) - 1) % len(colours)]).getRgb()[:3]
        rgb[(labels == label) & ~inner] = colour


class Thumbnails:
    """Previews by proposal; ask for one, and hear of it through ``arrived`` when it was not there yet."""

    arrived = Signal(object)
    """The set of proposal ids whose previews have just come in."""
    case_arrived = Signal(str)
    """The picture of this case has just come in."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._kept: OrderedDict[int, Preview] = OrderedDict()
        self._pixmaps: dict[int, QPixmap] = {}
        self._small: dict[int, QPixmap] = {}
        self._wanted: OrderedDict[int, Proposal] = OrderedDict()
        self._cases: dict[str, tuple[int | None, QPixmap]] = {}
        self._wanted_cases: OrderedDict[str, Case] = OrderedDict()
        self._refused: set[int] = set()  # proposals that lists do not ask for again; whoever goes to one does
        self._busy = False
        self._links = Links(
            (session.project_changed, self.clear),
            (session.colours_changed, self.clear),
            (session.replaced, self._forget_case),
        )

    def close(self) -> None:
        self._links.cut()
        self.clear()

    def clear(self) -> None:
        self._kept.clear()
        self._pixmaps.clear()
        self._small.clear()
        self._wanted.clear()
        self._cases.clear()
        self._wanted_cases.clear()
        self._refused.clear()
        self._busy = False

    def _forget_case(self, case: str) -> None:
        self._cases.pop(case, None)

    def has(self, proposal: Proposal) -> bool:
        """Whether a preview is there without waiting."""
        return proposal.id in self._kept

    def preview(self, proposal: Proposal) -> Preview | None:
        """Return what is known of a proposal, or None and begin to fetch it; the latest wish is served first."""
        if proposal.id in self._kept:
            self._kept.move_to_end(proposal.id)
            return self._kept[proposal.id]
        self._wanted[proposal.id] = proposal
        self._wanted.move_to_end(proposal.id)
        while len(self._wanted) > 120:
            self._wanted.popitem(last=False)
        self._fetch()
        return None

    def small(self, proposal: Proposal) -> QPixmap | None:
        """Return the picture as lists show it."""
        found = self.pixmap(proposal)
        if found is None:
            return None
        if proposal.id not in self._small:
            smooth = Qt.TransformationMode.SmoothTransformation
            self._small[proposal.id] = found.scaled(SIDE, SIDE, transformMode=smooth)
        return self._small[proposal.id]

    def pixmap(self, proposal: Proposal) -> QPixmap | None:
        found = None if proposal.id in self._refused else self.preview(proposal)
        if found is None:
            return None
        if proposal.id not in self._pixmaps:
            self._pixmaps[proposal.id] = to_pixmap(found.picture)
        return self._pixmaps[proposal.id]

    def of_case(self, case: Case) -> QPixmap | None:
        """Return a case's picture, the last one while another is made because the mask has changed."""
        version, found = self._cases.get(case.id, (-1, None))
        if version != case.version:
            self._wanted_cases[case.id] = case
            self._fetch()
        return found

    def _fetch(self) -> None:
        if self._busy or not (self._wanted or self._wanted_cases):
            return
        self._busy = True
        if not self._wanted:
            case = self._wanted_cases.popitem()[1]
            arrived = partial(self._case_arrived, case)
            self.session.read(lambda: _picture_of(self.session, case), arrived, lambda: arrived(None))
            return
        batch = [self._wanted.popitem()[1] for _ in range(min(_AT_ONCE, len(self._wanted)))]
        self.session.read(lambda: _make(self.session, batch), self._arrived, lambda: self._failed(batch))

    def _case_arrived(self, case: Case, drawn: np.ndarray | None) -> None:
        self._busy = False
        blank = np.zeros((CASE_SIDE, CASE_SIDE, 3), np.uint8)
        self._cases[case.id] = case.version, to_pixmap(blank if drawn is None else drawn)
        self.case_arrived.emit(case.id)
        self._fetch()

    def _failed(self, batch: Iterable[Proposal]) -> None:
        """Go on with the others: one picture that cannot be made ends no other."""
        self._busy = False
        self._refused.update(item.id for item in batch)
        self._fetch()

    def _arrived(self, previews: dict[int, Preview]) -> None:
        self._busy = False
        self._kept.update(previews)
        self._refused.difference_update(previews)
        while len(self._kept) > _KEPT:
            gone, _ = self._kept.popitem(last=False)
            self._pixmaps.pop(gone, None)
            self._small.pop(gone, None)
        self.arrived.emit(set(previews))
        self._fetch()


def _palette(session: Session) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the colours of your masks and of proposals."""
    classes = session.project.classes if session.project is not None else ("",)
    return palette(classes, session.colours)


def _make(session: Session, proposals: Iterable[Proposal]) -> dict[int, Preview]:
    """Runs in the reading thread. What cannot be read is left out: its mask will say why when it is opened."""
    made = {}
    for item in sorted(proposals, key=lambda item: item.region):
        try:
            volume = session.volume(item.case)
            labels = session.proposal_mask(item)
        except SegmatchError:
            continue
        flip = Flip.of(volume.geometry)
        image = flip.to_view(first_present(volume.pixels)[item.z])
        drawn = picture(image, flip.to_view(labels), volume.geometry.spacing[1:], _palette(session)[1])
        made[item.id] = Preview(labels, drawn)
    return made


def _picture_of(session: Session, case: Case) -> np.ndarray | None:
    """Draw a case's middle finished slice, else its middle one. Runs in the reading thread."""
    try:
        volume, labels = session.volume(case.id), session.mask(case.id)
    except SegmatchError:
        return None
    z = case.labelled[len(case.labelled) // 2] if case.labelled else case.shape[0] // 2
    flip = Flip.of(volume.geometry)
    spacing = volume.geometry.spacing[1:]
    image, mine = flip.to_view(first_present(volume.pixels)[z]), _palette(session)[0]
    return picture(image, flip.to_view(labels[z]), spacing, mine, CASE_SIDE)


def to_pixmap(rgb: np.ndarray) -> QPixmap:
    height, width, _ = rgb.shape
    image = QImage(np.ascontiguousarray(rgb).tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    return QPixmap.fromImage(image)
