"""A synthetic brain MRI with lesions.

It looks like FLAIR: dark ventricles and sulci, grey matter a little brighter than white, bright fat
around a dark skull, bright lesions. It is no model of disease and must never be used to judge a network for
patients. Same seed, same voxels.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage

# How bright each tissue is
AIR, SKULL, FLUID, WHITE, DEEP, GREY, FAT = 0.0, 0.04, 0.10, 0.42, 0.50, 0.55, 0.80

# Tubes of fluid on one side of the head: from the midline, back, up, radius, in half-widths of the brain.
_VENTRICLE = np.array(
    [[0.13, -0.44, 0.06, 0.035], [0.08, -0.28, 0.16, 0.06], [0.09, 0, 0.26, 0.055],
     [0.2, 0.3, 0.16, 0.075], [0.24, 0.44, 0.08, 0.05], [0.42, 0.2, -0.14, 0.035]]
)  # fmt: skip
_CISTERNS = np.array(
    [[0, -0.22, -0.36, 0.05], [0.03, -0.1, -0.3, 0.07], [0.16, 0.02, -0.34, 0.04], [0.2, 0.2, -0.3, 0.04],
     [0, 0.27, -0.22, 0.05]]
)  # fmt: skip
_SYLVIAN = np.array([[0.95, -0.22, 0, 0.03], [0.62, -0.16, -0.02, 0.025], [0.5, 0.02, 0.06, 0.02]])

# Caudate, putamen, thalamus: centre and half-axes of an ellipsoid
_DEEP_GREY = np.array(
    [[[0.14, -0.26, 0.1], [0.06, 0.14, 0.14]], [[0.3, -0.1, 0.04], [0.08, 0.2, 0.13]],
     [[0.12, 0.1, 0.06], [0.1, 0.15, 0.12]]]
)  # fmt: skip


def phantom(seed: int, shape: tuple[int, int, int] = (16, 96, 96)) -> tuple[np.ndarray, np.ndarray]:
    """One case: float32 image and uint8 labels (0 background, 1 lesion), both (z, y, x).

    About half of the slices show lesion; some cases have none. Vessels, bright cortex, caps on the ventricles and
    an artefact at the skull base are as bright as lesion, but are not.
    """
    random = np.random.default_rng(seed)
    head = _head(random, shape)
    image = _tissue(random, head) + _distractors(random, head)
    lesion = np.zeros(shape)
    for _ in range(random.choice(4, p=(0.1, 0.5, 0.3, 0.1))):
        inside, added = _lesion(random, head)
        lesion = np.maximum(lesion, inside)
        image += added
    return _scanned(random, image), (lesion > 0.5).astype(np.uint8)


# Anatomy


@dataclass(frozen=True)
class _Head:
    """Where each voxel (z, y, x) lies in one person's head, in half-widths of the brain.

    Attributes
    ----------
    right, back, up
        Coordinates, bent a little so that no two heads are alike.
    radius
        1 at the surface of the brain.
    gap
        Distance from the lateral ventricles; negative inside.
    """

    right: np.ndarray
    back: np.ndarray
    up: np.ndarray
    radius: np.ndarray
    gap: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.radius.shape

    @property
    def side(self) -> np.ndarray:
        """Distance from the midline."""
        return np.abs(self.right)

    @property
    def brain(self) -> np.ndarray:
        return _soft(1 - self.radius, 0.01) * _soft(self.gap, 0.01)


def _head(random: np.random.Generator, shape: tuple[int, int, int]) -> _Head:
    """Draw a person: size, proportions, tilt, place in the scanner, ventricles, and how all of it is bent."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    angle, nod = np.radians(random.normal(0, 6)), random.normal(0, 0.06)
    y, x = y - random.normal(0.02, 0.03), x - random.normal(0, 0.03)
    y, x = y + nod * z, x + random.normal(0, 0.04) * z
    y, x = y * np.cos(angle) - x * np.sin(angle), y * np.sin(angle) + x * np.cos(angle)
    width, length = random.normal(0.62, 0.03), random.normal(0.78, 0.03)
    bend = 0.03
    right = x / width + bend * _smooth(random, shape, (3, 5, 5))
    back = y / width + bend * _smooth(random, shape, (3, 5, 5))
    up = 0.17 + 0.52 * z + random.normal(0, 0.05) + 0.03 * _smooth(random, shape, (3, 4, 4))
    egg = right / (1 + 0.10 * back)  # the forehead is narrower than the back of the head
    flat = (np.abs(egg) ** 2.2 + np.abs(back * width / length) ** 2.2) ** (1 / 2.2)
    crown = np.sqrt(np.clip(1 - (np.clip(up, -0.9, 0.86) / 0.92) ** 2, 0.02, 1))
    wide = 1.25 * random.lognormal(0, 0.3) * np.exp(random.normal(0, 0.15) * np.sign(right))
    gap = _from_tubes((np.abs(right), back, up), _VENTRICLE, wide, flat=0.6)
    return _Head(right, back, up, flat / crown, gap)


def _tissue(random: np.random.Generator, head: _Head) -> np.ndarray:
    """Paint the healthy head."""
    shape, depth, side = head.shape, 1 - head.radius, head.side
    folds = _smooth(random, shape, (8, 30, 30))  # its zeros wind through the cortex like sulci
    outer = _soft(0.34 - depth, 0.05)  # how far in the cortex folds
    white = WHITE + 0.025 * _smooth(random, shape, (3, 6, 6))
    grey = _soft(outer * 0.75 - np.abs(folds), 0.1)
    grey = np.maximum(grey, _soft(0.07 - depth, 0.02))
    grey = np.maximum(grey, _soft(0.09 - side, 0.02) * _soft(np.hypot(head.back, head.up) - 0.45, 0.03))
    image = _mix(white, GREY + 0.02 * _smooth(random, shape, (3, 6, 6)), grey)
    for centre, size in _DEEP_GREY:
        away = np.hypot((side - centre[0]) / size[0], (head.back - centre[1]) / size[1])
        away = np.hypot(away, (head.up - centre[2]) / size[2])
        image = _mix(image, DEEP, _soft(1 - away, 0.1))
    image = _mix(image, FLUID, _fluid(random, head, folds))
    return _wrapped(random, head, image)


def _fluid(random: np.random.Generator, head: _Head, folds: np.ndarray) -> np.ndarray:
    """Where cerebrospinal fluid is: sulci, fissures, ventricles."""
    depth, side, place = 1 - head.radius, head.side, (head.side, head.back, head.up)
    atrophy = random.uniform(0.6, 1.6)
    sulci = _soft(0.26 * atrophy * _soft(0.26 - depth, 0.08) - np.abs(folds), 0.06)
    middle = np.hypot(head.back / 0.62, (head.up - 0.1) / 0.42)  # the two halves are joined inside this
    fissure = _soft(0.018 * atrophy - side, 0.008) * _soft(middle - 1, 0.05)
    third = _soft(0.03 - side, 0.01) * _soft(0.2 - np.hypot(head.back - 0.05, (head.up + 0.02) * 1.5), 0.03)
    sylvian = _soft(-_from_tubes(place, _SYLVIAN, atrophy, flat=0.35), 0.015)
    cisterns = _soft(-_from_tubes(place, _CISTERNS, atrophy), 0.015)
    return np.max([sulci, fissure, third, sylvian, cisterns, _soft(-head.gap, 0.012)], axis=0)


def _wrapped(random: np.random.Generator, head: _Head, brain: np.ndarray) -> np.ndarray:
    """Put the brain into fluid, skull, scalp and air."""
    radius, shape = head.radius + 0.012 * _smooth(random, head.shape, (4, 9, 9)), head.shape
    thick = 0.06 + 0.012 * _smooth(random, shape, (3, 4, 4))
    fat = FAT * np.exp(0.25 * _smooth(random, shape, (4, 8, 8)) - 0.3)
    image = _mix(brain, FLUID, _soft(radius - 0.985, 0.01))
    image = _mix(image, SKULL, _soft(radius - 1.02, 0.012))
    image = _mix(image, fat, _soft(radius - 1.02 - thick, 0.015))
    return _mix(image, AIR, _soft(radius - 1.1 - thick - 0.015 * _smooth(random, shape, (3, 4, 4)), 0.015))


# What is bright


def _lesion(random: np.random.Generator, head: _Head) -> tuple[np.ndarray, np.ndarray]:
    """Return one lesion: how far each voxel belongs to it (0 to 1), and the brightness it adds."""
    tissue = (head.radius < 0.88) & (head.gap > 0.04)
    centre = random.choice(np.argwhere(tissue))
    size = random.choice([random.uniform(0.16, 0.24), random.uniform(0.24, 0.4)])
    stretch = np.exp(random.normal(0, 0.25, 3))
    axes = zip((head.up, head.back, head.right), stretch, strict=True)
    away = np.sqrt(sum(((axis - axis[tuple(centre)]) * by) ** 2 for axis, by in axes)) / size
    knots = tuple(int(np.clip(k / size, 4, 24)) for k in (2, 5, 5))
    inside = 1 - away + random.uniform(0.2, 0.5) * _smooth(random, head.shape, knots)
    half = _soft(head.right * np.sign(head.right[tuple(centre)]) + 0.02, 0.02)  # of the brain
    belongs = _soft(inside, random.uniform(0.03, 0.1)) * half * head.brain
    bright = random.uniform(0.2, 0.4) * (1 + 0.2 * _smooth(random, head.shape, (4, 10, 10)))
    if random.random() < 0.25:  # a darker core, which is lesion all the same
        bright = bright * (1 - 0.9 * _soft(inside - 0.5, 0.08))
    return belongs, belongs * bright


def _distractors(random: np.random.Generator, head: _Head) -> np.ndarray:
    """Bright spots that are not lesion."""
    shape, depth = head.shape, 1 - head.radius
    patchy = np.clip(_smooth(random, shape, (4, 7, 7)), 0, None)
    caps = random.uniform(0.02, 0.12) * patchy * np.exp(-np.clip(head.gap, 0, None) / 0.07)
    patchy = np.clip(_smooth(random, shape, (4, 6, 6)), 0, None)
    rim = random.uniform(0.02, 0.10) * patchy * _soft(0.14 - depth, 0.03)
    right, back = random.choice((-0.5, 0.5)), random.uniform(-0.8, -0.3)
    base = np.exp(-(((head.right - right) / 0.3) ** 2) - ((head.back - back) / 0.3) ** 2)
    base *= random.uniform(0, 0.15) * (0.4 + patchy) * _soft(-0.12 - head.up, 0.06)
    return (caps + rim + base) * head.brain + _vessels(random, head)


def _vessels(random: np.random.Generator, head: _Head) -> np.ndarray:
    """Small bright dots in the brain and near its surface, and choroid plexus in the ventricles."""
    image = np.zeros(head.shape)
    for where, mean in (((head.radius < 0.98) & (head.gap > 0.02), 9), (head.gap < -0.02, 3)):
        places = np.argwhere(where)
        for centre in random.permutation(places)[: random.poisson(mean)]:
            image[tuple(centre)] += random.uniform(0.5, 2.5)
    return ndimage.gaussian_filter(image, np.divide(head.shape, (40, 80, 80)))


# Scanner


def _scanned(random: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Add what a scanner adds: blur, uneven coils, Rician noise, and a scale that means nothing."""
    shape = image.shape
    blur = random.uniform(0.35, 0.75) * shape[1] / 96
    image = ndimage.gaussian_filter(image, (0.3, blur, blur))
    image = image * np.exp(random.uniform(0.05, 0.15) * _smooth(random, shape, (2, 3, 3)))
    sigma = random.uniform(0.012, 0.04)
    real, imaginary = random.normal(0, sigma, (2, *shape))
    return (np.exp(random.normal(5.5, 0.5)) * np.hypot(image + real, imaginary)).astype(np.float32)


# Tools


def _soft(inside: np.ndarray, edge: float) -> np.ndarray:
    """Step from 0 to 1 where ``inside`` turns positive, over about ``edge``."""
    return 0.5 + 0.5 * np.tanh(inside / edge)


def _mix(under: np.ndarray, over: np.ndarray | float, share: np.ndarray) -> np.ndarray:
    return under + (over - under) * share


def _smooth(random: np.random.Generator, shape: tuple[int, ...], knots: tuple[int, ...]) -> np.ndarray:
    """Draw a smooth random field of unit spread; ``knots`` bumps fit along each axis."""
    field = random.normal(size=knots)
    for n, k in zip(shape, knots, strict=True):
        apart = np.linspace(0, k - 1, n)[:, None] - np.arange(k)
        weights = np.exp(-(apart**2))
        weights /= np.linalg.norm(weights, axis=1, keepdims=True)
        field = np.tensordot(field, weights, (0, 1))  # the axis goes to the end: three rounds restore the order
    return field


def _from_tubes(
    place: tuple[np.ndarray, ...], tubes: np.ndarray, wide: np.ndarray | float, flat: float = 1.0
) -> np.ndarray:
    """Distance of places (side, back, up) from a chain of tubes, negative inside; ``flat`` < 1 makes them tall."""
    side, back, up = place[0], place[1], place[2] * flat
    gap = np.full(side.shape, np.inf)
    for start, end in pairwise(tubes * (1, 1, flat, 1)):
        step = end - start
        s, b, u = side - start[0], back - start[1], up - start[2]
        along = np.clip((s * step[0] + b * step[1] + u * step[2]) / (step[:3] @ step[:3]), 0, 1)
        away = np.sqrt((s - along * step[0]) ** 2 + (b - along * step[1]) ** 2 + (u - along * step[2]) ** 2)
        gap = np.minimum(gap, away - wide * (start[3] + along * step[3]))
    return gap
