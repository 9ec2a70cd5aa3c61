"""The nouns of the project: small frozen types that every other module speaks in.

Arrays are (z, y, x) and volumes (channel, z, y, x); z is the through-plane axis. Lengths are millimetres.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

NOT_ANNOTATED = 255
"""Label of a voxel that nobody has judged; every loss and metric ignores it."""

MAX_CLASSES = 50

Verdict = Literal["accepted", "rejected"]
"""The discriminator's word on a proposal."""

HumanVerdict = Literal["accepted", "rejected", "corrected", "deferred"]
"""A person's word on a proposal."""

REASONS = ("wrong place", "leaks out", "misses part", "wrong class", "bad scan")
"""Why somebody rejected a proposal, if they care to say."""

RunState = Literal["created", "running", "paused", "stopped", "finished", "failed", "interrupted"]


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where a voxel grid lies in the patient.

    Attributes
    ----------
    shape
        Voxels along (z, y, x).
    affine
        (4, 4) float64; maps a (z, y, x, 1) index to (right, anterior, superior, 1) in mm.
    axes
        ``axes[i]`` is the source file's array axis that became our axis i. Only ever a permutation: no axis
        is flipped and nothing is resampled, so writing back is exact.
    known
        False when the file states no orientation; left and right are then not to be shown.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    axes: tuple[int, int, int] = (2, 1, 0)
    known: bool = True

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along (z, y, x)."""
        z, y, x = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)

    @property
    def millilitre(self) -> float:
        """Volume of a voxel in ml; not the product of the spacings, for axes may lean."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000

    @property
    def back(self) -> tuple[int, int, int]:
        """The order that brings our axes (z, y, x) back to the source's own."""
        i, j, k = np.argsort(self.axes)
        return int(i), int(j), int(k)

    @property
    def source_affine(self) -> np.ndarray:
        """(4, 4); maps an index along the source's own axes to (right, anterior, superior, 1) in mm."""
        return self.affine[:, [*self.back, 3]]

    @property
    def world(self) -> tuple[int, int, int]:
        """The axis of the patient (0 right, 1 anterior, 2 superior) that each of (z, y, x) lies closest to."""
        columns = self.affine[:3, :3]
        left, found = np.abs(columns / np.linalg.norm(columns, axis=0)), [0, 0, 0]
        for _ in range(3):
            row, column = np.unravel_index(np.argmax(left), left.shape)
            found[int(column)] = int(row)
            left[row, :] = left[:, column] = -1
        return found[0], found[1], found[2]

    @property
    def reversed(self) -> tuple[bool, bool, bool]:
        """Which of (z, y, x) the screen shows backwards, so that the patient's right, front and head come first."""
        z, y, x = (bool(self.affine[row, axis] > 0) for axis, row in enumerate(self.world))
        return z, y, x

    def slice_number(self, z: int) -> int:
        """Return what people call slice z: counted from 1 in the order of the screen, the head first."""
        return self.shape[0] - z if self.reversed[0] else z + 1

    def same_grid(self, other: Geometry, tolerance: float = 1e-2) -> bool:
        """Whether both grids put every voxel at the same place, to a share ``tolerance`` of a voxel."""
        if self.shape != other.shape:
            return False
        corners = np.c_[np.argwhere(np.ones((2, 2, 2))) * (np.array(self.shape) - 1), np.ones(8)]
        apart = np.abs(corners @ (self.affine - other.affine).T).max()
        return bool(apart <= tolerance * min(self.spacing))


@dataclass(frozen=True, eq=False)
class Volume:
    """Float32 pixels (channel, z, y, x), their geometry, and sentences about what a person should know of them."""

    pixels: np.ndarray
    geometry: Geometry
    notes: tuple[str, ...] = ()
    stored: str = ""
    """Hash of the files' own voxels where some were resampled, which another machine rounds otherwise; else empty."""


@dataclass(frozen=True, eq=False)
class Mask:
    """Uint8 labels (z, y, x) and their geometry: 0 background, 1..K classes, 255 not annotated."""

    labels: np.ndarray
    geometry: Geometry
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, order=True, slots=True)
class Region:
    """One slice of a case: the unit that people annotate and review."""

    case: str
    z: int


@dataclass(frozen=True)
class Case:
    """What is known of one study without reading its pixels."""

    id: str
    patient: str
    sequences: tuple[str, ...]
    geometry: Geometry
    validation: bool = False
    labelled: tuple[int, ...] = ()
    version: int | None = None
    problem: str | None = None
    editor: str | None = None  # who made the current mask

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.geometry.shape


@dataclass(frozen=True, slots=True)
class Proposal:
    """A pseudo mask for one slice: the *machine's* word.

    Attributes
    ----------
    score
        The selector's number between 0 and 1; what it means depends on the run's selector.
    decision
        The last thing that a person said of it, or None.
    area
        Voxels that it segments; None in projects from before this was written down.
    agreement
        Dice of the mask with the model's mask for the mirrored slice; None if nobody looked.
    """

    id: int
    run: int
    region: Region
    score: float
    verdict: Verdict
    step: int
    pool_version: int
    decision: HumanVerdict | None = None
    area: int | None = None
    agreement: float | None = None

    @property
    def case(self) -> str:
        return self.region.case

    @property
    def z(self) -> int:
        return self.region.z


@dataclass(frozen=True)
class Decision:
    """A *person's* word on a proposal. Appended, never changed: taking one back appends another.

    Attributes
    ----------
    reason
        One of :data:`REASONS`, or None.
    batch
        What one key press decided; it is undone whole.
    reverts
        The batch that this one undoes.
    """

    id: int
    proposal: int
    verdict: HumanVerdict | None
    actor: str
    at: str
    mask_version: int | None = None
    seconds: float | None = None
    reason: str | None = None
    batch: int | None = None
    reverts: int | None = None


@dataclass(frozen=True)
class Aside:
    """A mask version beside a case's current one, which waits for a person's choice.

    Attributes
    ----------
    origin
        "conflict": somebody else had changed the same slices. "recovered": strokes that were not saved.
    slices
        Where it differs from the mask that it was put beside.
    """

    version: int
    case: str
    origin: Literal["conflict", "recovered"]
    author: str
    at: str
    slices: tuple[int, ...]


@dataclass(frozen=True)
class Reviewed:
    """A decided proposal, as the trainer meets it; ``margins`` are its pseudo mask's, none if it moves no chances."""

    proposal: int
    region: Region
    verdict: HumanVerdict
    margins: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class PoolSnapshot:
    """What the trainer may learn from at one moment. Immutable; ``version`` names it.

    Attributes
    ----------
    images
        A number for each case, another one when it was added anew with other files.
    patients
        Whose each case is; a case that is not in there is a patient of its own.
    """

    version: int
    labelled: Mapping[str, tuple[int, ...]]
    unlabelled: Mapping[str, tuple[int, ...]]
    validation: tuple[str, ...] = ()
    masks: Mapping[str, int] = field(default_factory=dict)
    reviewed: tuple[Reviewed, ...] = ()
    images: Mapping[str, int] = field(default_factory=dict)
    patients: Mapping[str, str] = field(default_factory=dict)

    def patient(self, case: str) -> str:
        return self.patients.get(case, case)

    def regions(self, which: Literal["labelled", "unlabelled"]) -> list[Region]:
        """All slices of one pool, in a fixed order."""
        pool = self.labelled if which == "labelled" else self.unlabelled
        return [Region(case, z) for case in sorted(pool) for z in pool[case]]


def watched(slices: Mapping[str, Sequence[int]], many: int = 4) -> list[Region]:
    """Choose slices to watch over time: the middle one of a few cases, far from each other in the list of cases."""
    cases = sorted(case for case, zs in slices.items() if zs)
    few = [cases[i * len(cases) // many] for i in range(many)] if len(cases) > many else cases
    return [Region(case, min(slices[case], key=lambda z: (abs(2 * z - max(slices[case])), z))) for case in few]


class Pool(Protocol):
    """Where the trainer reads from. The project implements it, and so does a test in ten lines."""

    classes: tuple[str, ...]
    sequences: tuple[str, ...]

    def version(self) -> int:
        """A number that grows whenever the snapshot would differ. Asked at every step: cheap."""

    def snapshot(self) -> PoolSnapshot: ...

    def volume(self, case: str) -> Volume:
        """Pixels as stored, (channel, z, y, x), channels in the order of ``sequences``."""

    def mask(self, case: str) -> np.ndarray:
        """Uint8 (z, y, x); 255 where not annotated."""

    def proposal_mask(self, proposal: int) -> np.ndarray:
        """Uint8 (y, x)."""
