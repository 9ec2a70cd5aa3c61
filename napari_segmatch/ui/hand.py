"""What is in a person's hand: a tool of *your mask*, and the class that it paints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Labels, Layer
from psygnal import Signal

from .layer_settings import dragging, encircling, end_dragging, end_encircling, is_in, polygon_begun

if TYPE_CHECKING:
    from napari.viewer import Viewer


class Hand:
    """Follows napari's tools of *your mask* and drives them."""

    painted = Signal(object)
    """A stroke on *your mask* is done; carries the slices it touched, in view order, or None for unknown."""
    class_chosen = Signal(int)
    """Another class is in the person's hand."""
    mode_changed = Signal(str)
    """Another tool of *your mask* is in the person's hand; "" when none is: napari's tools are another layer's."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.mask: Labels | None = None
        self.proposal: Labels | None = None
        self._classes: tuple[str, ...] = ()
        viewer.layers.selection.events.active.connect(self._on_mode)

    def close(self) -> None:
        self.viewer.layers.selection.events.active.disconnect(self._on_mode)

    def _alive(self, layer: Layer) -> bool:
        return is_in(self.viewer, layer)

    def _follow(self, mask: Labels) -> None:
        """Hear what is done with *your mask*."""
        mask.events.paint.connect(self._on_paint)
        mask.events.mode.connect(self._on_mode)
        mask.events.selected_label.connect(self._keep_to_classes)

    # classes ---------------------------------------------------------------------------------------------

    def choose_class(self, label: int) -> None:
        if self.mask is not None and self._alive(self.mask):
            self.viewer.layers.selection.active = self.mask
            self.mask.selected_label = label

    @property
    def chosen_class(self) -> int:
        """The class in the person's hand; the first if it is none of ours."""
        label = int(self.mask.selected_label) if self.mask is not None else 1
        return label if 1 <= label <= len(self._classes) else 1

    def _keep_to_classes(self) -> None:
        if self.mask is None:
            return
        if self.mask.selected_label > len(self._classes):
            self.mask.selected_label = len(self._classes)
        self.class_chosen.emit(self.chosen_class)

    # tools -----------------------------------------------------------------------------------------------

    def set_mode(self, mode: str) -> None:
        if self.mask is not None and self._alive(self.mask):
            self.end_stroke()
            self.viewer.layers.selection.active = self.mask
            self.mask.mode = mode

    @property
    def stroke_goes_on(self) -> bool:
        """Whether a stroke is under way: its button is down, or the mouse paints without one."""
        return self.mask is not None and (dragging(self.mask) or encircling(self.mask) is not None)

    def end_stroke(self) -> None:
        """End such a stroke: what comes next happens to what it has painted so far."""
        if self.mask is not None:
            end_dragging(self.mask)
            end_encircling(self.mask)

    def call_brush_back(self) -> str:
        """Put the brush on *your mask* if it is on somebody else's Labels; returns what there is to say about it."""
        active = self.viewer.layers.selection.active
        if not isinstance(active, Labels) or active in (self.mask, self.proposal) or str(active.mode) == "pan_zoom":
            return ""
        self.set_mode("paint")
        return (f"The brush was on the layer “{active.name}”, whose strokes are not part of your mask. It is on your "
                "mask now: paint them there, or repeat the key if there is nothing to add.")  # fmt: skip

    @property
    def drawing_polygon(self) -> bool:
        """Whether Enter belongs to napari's polygon tool: it closes the polygon that has been begun."""
        return self.mask is not None and str(self.mask.mode) == "polygon" and polygon_begun(self.mask)

    def _on_paint(self, event: Any) -> None:
        self.painted.emit(getattr(event, "value", None))

    def _on_mode(self, event: Any) -> None:
        held = self.mask is not None and self.viewer.layers.selection.active is self.mask
        self.mode_changed.emit(str(self.mask.mode) if self.mask is not None and held else "")
