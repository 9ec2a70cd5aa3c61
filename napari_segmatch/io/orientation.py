"""Which axis of a file becomes z, y and x, and whether two voxel grids are the same one.

Axes are permuted so that z is the through-plane axis; nothing is flipped or resampled.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..errors import ImportProblem, Question
from ..types import NOT_ANNOTATED, Geometry, Mask

_THICK = 1.5  # a spacing this many times both others is the distance between slices
_SHEAR = 1e-3  # cosine between two axes from which they do not count as at right angles
_LIMITS = (1e-3, 1e3)  # mm: no voxel is smaller or larger


def source_geometry(shape: tuple[int, ...], affine: np.ndarray, known: bool, name: str) -> Geometry:
    """Geometry of a file's grid in our axis order.

    Parameters
    ----------
    shape, affine
        Voxels along the file's own axes, and what maps their index to RAS+ mm.
    known
        Whether the file states its orientation.
    name
        The file's name, for the error.

    Raises
    ------
    ImportProblem
        If the affine cannot be that of a volume.
    """
    affine = np.asarray(affine, float)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    low, high = _LIMITS
    if not np.isfinite(affine).all() or spacing.min() < low or spacing.max() > high:
        raise ImportProblem(f"{name} states an impossible position or voxel size: correct its header.")
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-3:
        raise ImportProblem(f"{name} states axes that lie in one plane: correct its header.")
    axes = source_axes(affine)
    z, y, x = (int(shape[axis]) for axis in axes)
    return Geometry((z, y, x), affine[:, [*axes, 3]], axes, known)


def unknown_geometry(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Geometry:
    """Geometry of an array (z, y, x) of which only the voxel size in mm is known, as NIfTI assumes it then."""
    size, step = np.array(shape[::-1]), np.diag(np.array(spacing[::-1]) * (-1, 1, 1))
    affine = np.eye(4)
    affine[:3, :3] = step
    affine[:3, 3] = -step @ ((size - 1) / 2)
    return Geometry(shape, affine[:, [2, 1, 0, 3]], known=False)


def is_sheared(affine: np.ndarray) -> bool:
    """Whether a grid's axes stand at other than right angles, as after a gantry tilt."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0).clip(1e-12)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > _SHEAR)


def source_axes(affine: np.ndarray) -> tuple[int, int, int]:
    """Which axes of a file become z, y and x.

    z is the axis whose spacing is at least 1.5 times both others, else the one closest to head-foot. Of the
    other two, y is the one whose world axis ranks higher in superior, anterior, right. A usual axial file,
    (x, y, z), gives (2, 1, 0).
    """
    from scipy.optimize import linear_sum_assignment

    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    # Rounded, so that at 45 degrees an image and its mask break the tie alike.
    closeness = np.round(np.abs(affine[:3, :3] / spacing), 3).T
    _, world = linear_sum_assignment(closeness, maximize=True)
    thickest = int(spacing.argmax())
    thick = spacing[thickest] * (1 + 1e-4) >= _THICK * np.delete(spacing, thickest).max()
    z = thickest if thick else int(world.argmax())
    y, x = sorted({0, 1, 2} - {z}, key=lambda axis: -world[axis])
    return z, y, x


def onto_grid(
    mask: Mask, grid: Geometry, name: str, choices: Mapping[str, str] | None = None, cropped: bool = False
) -> Mask:
    """Reorder a mask of the same voxels onto ``grid``, exactly; ask what to do with a mask of any other voxels.

    A mask that is ``cropped`` may have some of the grid's voxels only; the others get 0.

    Raises
    ------
    Question
        Naming both shapes, or how far in mm the two grids lie apart.
    ImportProblem
        If nothing that the mask marks lies in the grid, and it cannot be taken voxel by voxel; or if it is to be
        resampled, and nothing of it is left.
    """
    labels, geometry = mask.labels, mask.geometry
    steps = np.linalg.solve(geometry.affine, grid.affine)[:3, :3]  # voxels of mask, for each axis of grid
    order = [int(axis) for axis in np.abs(steps).argmax(axis=0)]
    if sorted(order) == [0, 1, 2]:
        backwards = tuple(i for i in range(3) if steps[order[i], i] < 0)
        labels = np.flip(labels.transpose(order), backwards)
        geometry = _reordered(geometry, order, backwards)
    if geometry.same_grid(grid):
        return Mask(np.ascontiguousarray(labels), grid, mask.notes)
    lost = _share_outside(mask, grid)
    if cropped and lost < 1 and _is_part(mask.geometry, grid):
        return Mask(resampled(mask.labels, mask.geometry, grid, order=0), grid, (*mask.notes, *_about_lost(lost, name)))
    options = {"resample": "take the nearest voxel's label"} if lost < 1 else {}
    stored = mask.labels.transpose(mask.geometry.back).transpose(grid.axes)
    if stored.shape == grid.shape:
        options["as-stored"] = "take it voxel by voxel, as it stands in the file"
    if geometry.shape != grid.shape:
        theirs, ours = (" × ".join(map(str, shape)) for shape in (geometry.shape, grid.shape))
        sentence = f"{name} has {theirs} voxels (z, y, x), its image {ours}"
    else:
        sentence = f"{name} lies up to {_apart(geometry, grid):.3g} mm off its image"
    if lost == 1:
        sentence += ", and all that it marks lies outside"
    if not options:
        raise ImportProblem(f"{sentence}: give the mask that was drawn on this image.")
    answer = (choices or {}).get("grid")
    if answer not in options:
        raise Question(sentence, "grid", options)
    if answer == "as-stored":
        return Mask(np.ascontiguousarray(stored), grid, mask.notes)
    found = resampled(mask.labels, mask.geometry, grid, order=0)
    if _marked(mask.labels).any() and not _marked(found).any():
        trouble = "all that it marks falls between the voxels of its image"
        raise ImportProblem(f"{sentence}, and {trouble}: give a mask that was drawn on this image.")
    return Mask(found, grid, (*mask.notes, f"{name} was resampled.", *_about_lost(lost, name)))


def _marked(labels: np.ndarray) -> np.ndarray:
    return (labels > 0) & (labels != NOT_ANNOTATED)


def _share_outside(mask: Mask, grid: Geometry) -> float:
    """Return which share of the voxels that a mask marks reaches no centre of a grid's voxels; 0 if it marks none.

    Those that are smaller than the grid's may have their own centre anywhere in it.
    """
    steps = np.linalg.solve(grid.affine, mask.geometry.affine)
    reach = np.abs(steps[:3, :3]).sum(axis=1).clip(1) / 2 + 0.001
    marked = outside = 0
    for z, plane in enumerate(mask.labels):  # one by one: three numbers for each voxel of a brain fill the memory
        rows, columns = np.nonzero(_marked(plane))
        places = (steps[:3, :3] @ [np.full(len(rows), z), rows, columns]).T + steps[:3, 3]
        inside = ((places > -reach) & (places < np.array(grid.shape) - 1 + reach)).all(axis=1)
        marked, outside = marked + len(rows), outside + int((~inside).sum())
    return outside / marked if marked else 0.0


def _about_lost(share: float, name: str) -> tuple[str, ...]:
    return (f"{max(share, 0.01):.0%} of what {name} marks lies outside of its image, and is lost.",) if share else ()


def _is_part(geometry: Geometry, grid: Geometry) -> bool:
    """Whether every voxel of a grid is one of another grid's, if perhaps outside of its bounds."""
    steps = np.linalg.solve(grid.affine, geometry.affine)
    last = steps[:3] @ [*(n - 1 for n in geometry.shape), 1]
    return bool(np.abs([*steps[:3, 3], *last] - np.rint([*steps[:3, 3], *last])).max() < 2e-2 and
                np.abs(np.abs(steps[:3, :3]).sum(0) - 1).max() < 1e-3)  # fmt: skip


def resampled(array: np.ndarray, geometry: Geometry, grid: Geometry, order: int = 1) -> np.ndarray:
    """Bring an array (z, y, x) onto another grid: linearly, or with ``order`` 0 from the nearest voxel; 0 outside."""
    from scipy.ndimage import affine_transform

    matrix = np.linalg.solve(geometry.affine, grid.affine)
    return affine_transform(
        array, matrix[:3, :3], matrix[:3, 3], grid.shape, order=order, mode="grid-constant", cval=0, prefilter=False
    )


def _reordered(geometry: Geometry, order: list[int], backwards: tuple[int, ...]) -> Geometry:
    """Return the same voxels with axes in another order, some of them counted from the far end."""
    z, y, x = (geometry.shape[axis] for axis in order)
    affine = geometry.affine[:, [*order, 3]]
    for axis in backwards:
        affine[:, 3] += affine[:, axis] * ((z, y, x)[axis] - 1)
        affine[:, axis] *= -1
    return Geometry((z, y, x), affine, geometry.axes, geometry.known)


def _apart(one: Geometry, other: Geometry) -> float:
    """Largest distance in mm between the same corners of two grids of one shape."""
    corners = np.array([[*index, 1] for index in np.ndindex(2, 2, 2)]) * [*(n - 1 for n in one.shape), 1]
    return float(np.linalg.norm((corners @ (one.affine - other.affine).T)[:, :3], axis=1).max())
