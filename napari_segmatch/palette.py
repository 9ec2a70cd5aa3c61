"""The colours of classes: in the window, in pictures and in the tables of an export."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

CLASS_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
"""Okabe and Ito's palette: told apart with any common kind of colour blindness."""

FURTHER_COLOURS = (
    "#6600ff", "#00ffdd", "#9977ff", "#aa2277", "#99cc88", "#bb1122", "#dd00cc", "#ff5577", "#aaff99", "#88ddff",
    "#22ccbb", "#995555", "#4466ee", "#33cc55", "#778844", "#dd1199", "#ff88ff", "#44ee77", "#ff55cc", "#eeaacc",
    "#aa9944", "#ee8899", "#bb22aa", "#99eebb", "#cccc00", "#00aabb", "#99ffff", "#8866cc", "#ff2288", "#7722dd",
    "#7799dd", "#9900bb", "#dd1100", "#ee7700", "#55ddaa", "#ff9955", "#66ccdd", "#bb88ff", "#ddff00", "#cc2277",
    "#eecc66", "#ddff77", "#ccffbb",
)  # fmt: skip
"""For more classes. None is dark or grey, and each is as far from all before it as can be, by the distances of OKLab;
lightness counts 0.8, since images are grey, and what a colour-blind eye sees (Machado 2009) 1.6 times."""

EVERY_COLOUR = CLASS_COLOURS + FURTHER_COLOURS

PROPOSAL_COLOURS = ("#56b4e9", "#e69f00", "#cc79a7", "#0072b2", "#f0e442", "#009e73", "#d55e00")
"""Another order of the first seven, so that a proposal never looks like your mask."""


def palette(classes: Sequence[str], own: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the colour of each class on your mask and on a proposal, never the same; ``own`` colours come first."""
    taken = {colour.lower() for colour in own.values()}
    free = itertools.cycle([colour for colour in EVERY_COLOUR if colour not in taken] or EVERY_COLOUR)
    mask = tuple(own.get(name) or next(free) for name in classes)
    taken = {colour.lower() for colour in mask}
    unlike = [colour for colour in PROPOSAL_COLOURS + FURTHER_COLOURS if colour not in taken]
    taken_too = [colour for colour in reversed(EVERY_COLOUR) if colour in taken]  # when all others are used
    proposal = itertools.cycle([*unlike, *taken_too])
    pairs = zip(mask, proposal, strict=False)
    return mask, tuple(there if there != here.lower() else "#ffffff" for here, there in pairs)
