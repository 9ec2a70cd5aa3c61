"""A case's images in the viewer: a layer for each sequence, of which one is on the screen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from psygnal import Signal

from .display import WINDOWS, window
from .layer_settings import AXES, is_in, lock, rescale

if TYPE_CHECKING:
    from napari.viewer import Viewer


class Pictures:
    """Layers by name of sequence, in ``layers``; ``place`` says where in the viewer's list another one goes."""

    changed = Signal()
    """Another sequence is on the screen, or other grey values are black and white; a case may be half shown yet."""

    def __init__(self, viewer: Viewer, place: Callable[[], int]) -> None:
        self._viewer, self._place = viewer, place
        self.layers: dict[str, Image] = {}
        self.present: Sequence[str] = ()
        """Names of the sequences that this case has."""
        self._window = WINDOWS["usual greys"]

    def show(self, views: Mapping[str, np.ndarray], present: Collection[str], spacing: Sequence[float]) -> None:
        """Show a case's pixels, (z, y, x) in view order, by name; those that are not ``present`` stay hidden."""
        before, self.present = self.sequence, [name for name in views if name in present]
        visible = before if before in self.present else next(iter(self.present), "")
        for name, pixels in views.items():
            self._show_one(name, pixels, spacing, name == visible)
        self._show_only(visible)

    def forget(self) -> None:
        """Know of no layer any more; that they leave the viewer is somebody else's work."""
        self.layers, self.present = {}, ()

    def _show_one(self, name: str, pixels: np.ndarray, spacing: Sequence[float], visible: bool) -> None:
        """A hidden layer costs napari little: it is hidden before it gets other pixels."""
        layer, limits = self.layers.get(name), window(pixels, *self._window)
        if layer is None or not is_in(self._viewer, layer):
            layer = Image(pixels, name=name, scale=spacing, units="mm", axis_labels=AXES, contrast_limits=limits)
            layer.blending = "translucent_no_depth"  # in 3D masks shine through
            layer.interpolation2d = "linear"  # as radiologists know it; squares hide what small slices show
            layer.visible = visible
            self.layers[name] = layer
            self._viewer.layers.insert(self._place(), layer)
            lock(layer)
            for event in (layer.events.visible, layer.events.contrast_limits):
                event.connect(self._on_change)
        else:
            layer.visible = visible
            layer.data = pixels
            rescale(layer, spacing)
        layer.contrast_limits_range = (min(limits[0], float(pixels.min())), max(limits[1], float(pixels.max())))
        layer.contrast_limits = limits

    def _on_change(self, _: Any) -> None:
        self.changed.emit()

    def set_window(self, name: str) -> None:
        """Show other grey values as black and white, in this case and in those to come."""
        self._window = WINDOWS[name]
        for layer in self.layers.values():
            if is_in(self._viewer, layer):
                layer.contrast_limits = window(np.asarray(layer.data), *self._window)

    @property
    def several(self) -> bool:
        """Whether there is another sequence to change to."""
        return len(self.present) > 1

    @property
    def sequence(self) -> str:
        """Name of the sequence on the screen."""
        return next((name for name, layer in self.layers.items() if layer.visible), "")

    def next(self) -> str:
        """Change to the next sequence; returns its name."""
        names, here = self.present, self.sequence
        if names:
            self._show_only(names[(names.index(here) + 1) % len(names)] if here in names else names[0])
        return self.sequence

    def _show_only(self, name: str) -> None:
        for other, layer in self.layers.items():
            if layer.visible != (other == name):
                layer.visible = other == name
