"""Signals that are heard for a while: whoever connects slots to what outlives it has to let go of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Pair = tuple[Any, Callable[..., Any]]
"""A signal, of psygnal, Qt or napari, and what hears it."""


class Links:
    """Connects slots to signals, until :meth:`cut`."""

    def __init__(self, *pairs: Pair) -> None:
        self._pairs: list[Pair] = []
        self.add(*pairs)

    def add(self, *pairs: Pair) -> None:
        self._pairs += pairs
        for signal, slot in pairs:
            signal.connect(slot)

    def cut(self) -> None:
        """Disconnect all. Doing it twice does no harm."""
        pairs, self._pairs = self._pairs, []
        for signal, slot in pairs:
            signal.disconnect(slot)
