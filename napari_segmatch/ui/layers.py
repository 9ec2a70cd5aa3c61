"""The plugin's own layers in the viewer: images, *your mask* and *proposal*. Found by identity, never by name."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Layer
from napari.utils.colormaps import DirectLabelColormap
from psygnal import Signal
from qtpy.QtCore import QTimer

from ..palette import palette
from ..types import NOT_ANNOTATED, Volume
from .display import Flip
from .hand import Hand
from .layer_settings import (
    AXES,
    OPACITY,
    OPEN,
    Fit,
    colormap,
    drawn_once,
    in_parts,
    lock,
    outline,
    parts_of,
    rescale,
    unbox_brush,
)
from .pictures import Pictures

if TYPE_CHECKING:
    from napari.viewer import Viewer

MASK, PROPOSAL = "your mask", "proposal"


class Layers(Hand):
    """Shows one case. Touches no other layer; a layer of ours that somebody deletes comes back."""

    proposal_changed = Signal()
    restored = Signal(str)
    """This layer was deleted by hand and has been put back."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(viewer)
        self.pictures = Pictures(viewer, self._first_place)
        self.proposed = np.zeros((0, 0, 0), np.uint8)  # what it shows, voxel by voxel, in view order
        self.outlined = self._working = False
        self._left_open = "transparent"  # the colour of what is not annotated on your mask
        self.colours, self.proposal_colours = palette(("",), {})
        self._hidden: list[Layer] = []
        self._fit = Fit(viewer)
        viewer.layers.events.removed.connect(self._on_removed)
        unbox_brush(viewer)

    # showing ---------------------------------------------------------------------------------------------

    def show(
        self,
        volume: Volume,
        names: Sequence[str],
        present: Collection[str],
        flip: Flip,
        labels: np.ndarray,
        classes: Sequence[str],
        colours: Mapping[str, str],
    ) -> None:
        """Show a case.

        Parameters
        ----------
        names
            Name of each channel. Each keeps a layer of its own: making one anew takes napari longer than all the rest.
        present
            Those that this case has; the others stay hidden.
        labels
            (z, y, x) as stored; painting writes into this very array.
        """
        recolour = self._take_colours(classes, colours)
        spacing = volume.geometry.spacing
        first = not self._ours()
        self._working = True
        self.proposed = np.zeros(labels.shape, np.uint8)
        try:
            with drawn_once(self._ours()):
                views = {name: flip.to_view(volume.pixels[channel]) for channel, name in enumerate(names)}
                self.pictures.show(views, present, spacing)
                self.mask = self._show_labels(self.mask, MASK, flip.to_view(labels), spacing, recolour)
                self.proposal = self._show_labels(self.proposal, PROPOSAL, self.proposed, spacing, recolour)
                self.set_outline(self.outlined)
                self.set_proposal_outline(True)
        finally:
            self._working = False
        self.viewer.layers.selection.active = self.mask
        self._fit.again(first)

    def _take_colours(self, classes: Sequence[str], colours: Mapping[str, str]) -> bool:
        """Note the classes and their colours; returns whether they are other ones."""
        before = self.colours, self.proposal_colours
        self._classes = tuple(classes)
        self.colours, self.proposal_colours = palette(classes, colours)
        return before != (self.colours, self.proposal_colours)

    def recolour(self, colours: Mapping[str, str]) -> None:
        """Show classes in other colours."""
        self._take_colours(self._classes, colours)
        for layer in (self.mask, self.proposal):
            if layer is not None:
                layer.colormap = self._colormap(layer is self.mask)

    def _colormap(self, mine: bool) -> DirectLabelColormap:
        return colormap(self.colours, self._left_open) if mine else colormap(self.proposal_colours)

    def show_left_open(self, on: bool) -> None:
        """Show what is not annotated, or leave it clear: on a slice that is not done it is nearly all."""
        colour = OPEN if on else "transparent"
        if colour != self._left_open:
            self._left_open = colour
            if self.mask is not None:
                self.mask.colormap = self._colormap(mine=True)

    def _first_place(self) -> int:
        """Images go below our masks, above whatever the user has."""
        places = [self.viewer.layers.index(x) for x in (self.mask, self.proposal) if x and self._alive(x)]
        return min(places, default=len(self.viewer.layers))

    def _show_labels(
        self, layer: Labels | None, name: str, data: np.ndarray, spacing: Sequence[float], recolour: bool
    ) -> Labels:
        mine = name == MASK
        parts = 1 if mine else parts_of(max(data.shape[1:]))
        data = in_parts(data, parts)
        if layer is not None and self._alive(layer):
            layer.data = data
            rescale(layer, spacing, parts)
            layer.editable = False  # forgets napari's own undo steps, which belong to the case before
            layer.editable = mine  # a stroke on what the machine says would be nobody's
            if recolour:
                layer.colormap = self._colormap(mine)
            return layer
        layer = Labels(data, name=name, units="mm", axis_labels=AXES, opacity=OPACITY)
        rescale(layer, spacing, parts)
        layer.colormap = self._colormap(mine)
        layer.brush_size = max(4, min(data.shape[1:]) // 24)
        if mine:
            self._follow(layer)
        self.viewer.layers.append(layer)
        layer.editable = mine
        lock(layer)
        return layer

    def clear(self) -> None:
        """Take our layers out of the viewer."""
        self.set_mode("pan_zoom")  # napari 0.9 goes on drawing the brush of a removed layer, and can crash
        self._working = True
        try:
            self._drop(self._ours())
        finally:
            self._working = False
        self.pictures.forget()
        self.mask, self.proposal, self._hidden = None, None, []

    def close(self) -> None:
        super().close()
        self.viewer.layers.events.removed.disconnect(self._on_removed)
        self._fit.close()

    def _drop(self, layers: Iterable[Layer]) -> None:
        for layer in layers:
            if self._alive(layer):
                layer.visible = False  # napari may draw in the middle of a removal
                self.viewer.layers.remove(layer)

    def _ours(self) -> list[Layer]:
        return [layer for layer in self._made if self._alive(layer)]

    @property
    def _made(self) -> list[Layer]:
        """Our layers, with those that somebody has just deleted."""
        made = [*self.pictures.layers.values(), self.proposal, self.mask]
        return [layer for layer in made if layer is not None]

    def _on_removed(self, event: Any) -> None:
        gone = event.value
        if not self._working and any(gone is layer for layer in self._made):
            QTimer.singleShot(0, lambda: self._restore(gone))

    def _restore(self, layer: Layer) -> None:
        if self._alive(layer) or not any(layer is other for other in self._made):
            return
        place = len(self.viewer.layers) if isinstance(layer, Labels) else self._first_place()
        self.viewer.layers.insert(place, layer)
        self.restored.emit(layer.name)

    @property
    def tools_astray(self) -> bool:
        """Whether napari's tools are those of no layer, or of one of ours on which nobody paints."""
        active = self.viewer.layers.selection.active
        ours = active is None or any(active is layer for layer in self._made)
        return self.mask is not None and active is not self.mask and ours

    # masks -----------------------------------------------------------------------------------------------

    def refresh_mask(self) -> None:
        if self.mask is not None:
            self.mask.refresh(extent=False)

    def show_proposal(self, slices: Mapping[int, np.ndarray]) -> None:
        """Show what is proposed for some slices, z and labels in view order, and nothing on the others."""
        if self.proposal is not None:
            self.proposed[...] = self.proposal.data[...] = 0
            for z, labels in slices.items():
                self.proposed[z] = np.where(labels == NOT_ANNOTATED, 0, labels)
                self.proposal.data[z] = in_parts(self.proposed[z], self.proposal.data.shape[1] // len(labels))
            self.proposal.refresh(extent=False, thumbnail=False, highlight=False)
            self.proposal_changed.emit()

    def set_outline(self, outlined: bool) -> None:
        self.outlined = outlined
        if self.mask is not None:
            outline(self.mask, outlined, 0.9)

    def set_proposal_outline(self, outlined: bool) -> None:
        if self.proposal is not None:
            outline(self.proposal, outlined, 1.0)

    def peek(self, hide: bool) -> None:
        """Hide the masks while a key is held, and show again just those that were visible."""
        if hide and not self._hidden:
            self._hidden = [x for x in (self.mask, self.proposal) if x is not None and x.visible]
            for layer in self._hidden:
                layer.visible = False
        elif not hide:
            for layer in self._hidden:
                layer.visible = True
            self._hidden = []

    # place -----------------------------------------------------------------------------------------------

    @property
    def _index(self) -> int:
        """Where napari's slider stands, in our slices; other layers may take it beyond the first or the last."""
        point = np.asarray(self.viewer.dims.point)[-3:]
        return round(float(self.mask.world_to_data(point)[0])) if self.mask is not None else 0

    @property
    def z(self) -> int:
        """Slice on the screen, in view order; the nearest one where there is none."""
        return int(np.clip(self._index, 0, self.mask.data.shape[0] - 1)) if self.mask is not None else 0

    @z.setter
    def z(self, value: int) -> None:
        if self.mask is not None:
            world, axis = self.mask.data_to_world((value, 0, 0))[0], self.viewer.dims.ndim - 3
            self.viewer.dims.set_point(axis, world)
            if self.viewer.dims.displayed[:-2] == (axis,):  # 3D, from which napari goes back to where the camera looks
                self.viewer.camera.center = (world, *self.viewer.camera.center[1:])

    @property
    def on_a_slice(self) -> bool:
        """Whether a slice is on the screen: not in 3D, nor in another plane, nor beyond the ends of the case."""
        leafed = self.viewer.dims.ndim - 3 in self.viewer.dims.not_displayed
        return self.mask is not None and leafed and 0 <= self._index < self.mask.data.shape[0]
