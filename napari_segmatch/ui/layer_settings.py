"""How napari's layers want to be spoken to: settings that make it draw anew are touched only when they differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Layer
from napari.utils.colormaps import DirectLabelColormap
from napari.utils.interactions import mouse_release_callbacks
from qtpy.QtCore import QTimer

from ..types import NOT_ANNOTATED

if TYPE_CHECKING:
    from napari.viewer import Viewer

AXES = ("slice", "row", "column")

OPEN = "#a9a0d8"
"""What a finished slice leaves open: pale violet, as no image is, and none of the first classes."""
OPACITY = 0.45
"""Of a mask that is not an outline."""
_FINE = 256
"""An outline is about so many times thinner than its slice is wide."""


@contextmanager
def drawn_once(layers: Sequence[Layer]) -> Iterator[None]:
    """Let napari redraw each of these layers once at the end, not at each of a dozen changes."""
    with ExitStack() as stack:
        for layer in layers:
            if hasattr(layer, "_block_refresh"):  # napari 0.9; without it all is well, but slower
                stack.enter_context(layer._block_refresh())
        yield
    for layer in layers:
        if layer.visible:
            layer.refresh()
        else:
            layer.scale = layer.scale  # of a hidden one napari would remember the size of the case before
    for layer in layers[:1]:
        layer.events.scale()  # the viewer measures its layers anew only when one of them says so


def is_in(viewer: Viewer, layer: Layer) -> bool:
    """Whether the viewer has this very layer."""
    return any(layer is other for other in viewer.layers)


class Fit:
    """Has each case fill the view, until somebody zooms, moves or turns it: cases differ in size."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._left: dict[int, tuple[object, ...]] = {}  # how napari's own fit left the view, in 2D and in 3D
        viewer.events.reset_view.connect(self._note)

    def close(self) -> None:
        self._viewer.events.reset_view.disconnect(self._note)

    def again(self, first: bool) -> None:
        """Fit the view to the case on the screen, if it is the first one or the view is as the last fit left it."""
        if first or self._looks() == self._left.get(self._viewer.dims.ndisplay):
            self._viewer.reset_view()

    def _note(self) -> None:
        self._left[self._viewer.dims.ndisplay] = self._looks()

    def _looks(self) -> tuple[object, ...]:
        camera = self._viewer.camera
        return camera.zoom, tuple(camera.center[-2:]), tuple(camera.angles)  # the depth is the slice's


def outline(layer: Labels, outlined: bool, opacity: float) -> None:
    """Draw the edges of masks, or all of them; each of these settings makes napari draw the layer anew."""
    thickness = max(1, round(max(layer.data.shape[1:]) / _FINE)) if outlined else 0
    if layer.contour != thickness:
        layer.contour = thickness
    opacity = opacity if outlined else OPACITY
    if layer.opacity != opacity:
        layer.opacity = opacity


def rescale(layer: Layer, spacing: Sequence[float], parts: int = 1) -> None:
    """Give a layer its place in mm; each of a slice's voxels has ``parts`` x ``parts`` pixels of it."""
    scale = np.divide(spacing, (1, parts, parts))
    translate = (0, *((scale - spacing) / 2)[1:])  # napari's numbers are those of centres
    if not np.allclose(layer.scale, scale):
        layer.scale = scale
    if not np.allclose(layer.translate, translate):
        layer.translate = translate


def parts_of(side: int) -> int:
    """Return in how many parts a voxel is drawn where slices are small, so that an outline is thin."""
    return max(1, round(_FINE / side))


def in_parts(labels: np.ndarray, parts: int) -> np.ndarray:
    """Return labels (..., y, x) with ``parts`` x ``parts`` pixels for each voxel."""
    return labels.repeat(parts, axis=-2).repeat(parts, axis=-1) if parts > 1 else labels


def lock(layer: Layer) -> None:
    """Keep napari's dustbin away from it, where napari has such a lock (0.9), and keep it in its place."""
    if hasattr(layer, "locked"):
        layer.locked = True
    layer.events.mode.connect(_stay)


def _stay(event: Any) -> None:
    """Put napari's tool that moves a layer down again: on a picture that was moved, people paint in the wrong place."""
    layer = event.source
    if str(layer.mode) == "transform":
        QTimer.singleShot(0, lambda: setattr(layer, "mode", "pan_zoom"))  # when everybody has heard of the first


def encircling(layer: Labels) -> Any:
    """Return what napari (0.9) knows of the area that is being encircled with the right button; None if none is."""
    stroke = getattr(layer, "_overlays", {}).get("brush_stroke")
    return stroke if stroke is not None and stroke.active else None


def end_encircling(layer: Labels) -> None:
    """Let what has been encircled so far stand as it is painted.

    Napari goes on painting, without a button, until the mouse is back where it began. If another tool is chosen first
    it takes that back, voxel by voxel, from whatever slice or case lies there by then.
    """
    stroke = encircling(layer)
    if stroke is not None:
        stroke.active = False
        layer._commit_stroke()


def dragging(layer: Labels) -> bool:
    """Whether a stroke is under way whose mouse button is still down."""
    return bool(getattr(layer, "_mouse_drag_gen", {}))


def end_dragging(layer: Labels) -> None:
    """Let go of the mouse button, as far as napari knows: it would go on painting on whatever lies there next."""
    if dragging(layer):
        mouse_release_callbacks(layer, SimpleNamespace(type="mouse_release"))


def polygon_begun(layer: Labels) -> bool:
    """Whether a polygon has corners already; True where napari does not tell (0.9 does)."""
    overlay = getattr(layer, "_overlays", {}).get("polygon")
    return overlay is None or len(overlay.points) > 0


def unbox_brush(viewer: Viewer) -> None:
    """Take away the box behind the brush's circle.

    Napari 0.9 lays one there and forgets it in the scene when the brush is put down; drawing it later ends the process.
    """
    brush = getattr(getattr(viewer, "canvas", None), "overlays", {}).get("_brush_circle")
    if brush is not None and hasattr(brush, "box"):
        brush.box = False


def colormap(colours: Sequence[str], left_open: str = "transparent") -> DirectLabelColormap:
    """Colour classes, and what is not annotated where it is to be seen; background stays clear."""
    table: dict[int | None, Any] = {None: "transparent", 0: "transparent", NOT_ANNOTATED: left_open}
    table.update(enumerate(colours, 1))
    return DirectLabelColormap(color_dict=table)
