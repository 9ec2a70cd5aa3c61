"""The frozen validation cases of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..errors import SegmatchError
from ..events import Evaluated, Noted, TrainEvent
from ..types import Pool, PoolSnapshot, Volume
from .answers import Held
from .judge import EXAMINED
from .learner import Learner
from .metrics import class_dice
from .predict import predict_slices
from .prepare import Frame, to_network, with_neighbours


class Validation:
    """The frozen validation cases. They are read once and never trained on.

    Parameters
    ----------
    latest
        At which step the mean Dice was measured last, before a run was resumed, and how high it was.
    """

    def __init__(self, pool: Pool, snapshot: PoolSnapshot, latest: tuple[int, float | None] = (-1, None)) -> None:
        self._pool, self._cases, self._patient = pool, snapshot.validation, snapshot.patient
        self._papers: dict[str, tuple[Tensor, Frame, np.ndarray]] | None = None
        self._latest = latest

    def news(self, step: int) -> float | None:
        """Return the mean Dice if it was measured at this very step."""
        return self._latest[1] if self._latest[0] == step else None

    def read(self, learner: Learner) -> Iterator[Noted]:
        """Read the cases, if that has not been done; say which are left out."""
        if self._papers is not None:
            return
        papers, config = {}, learner.config
        for case in self._cases:
            try:
                volume: Volume = self._pool.volume(case)
                seen = to_network(volume.pixels, config.size, volume.geometry, config.directions)
                papers[case] = (*seen, self._pool.mask(case))
            except SegmatchError as error:
                yield Noted(learner.step, f"Validation case {case} is left out: {error}")
        self._papers = papers  # all of them: if memory runs out before that, they are read next time

    def hold(self, learner: Learner) -> Iterator[TrainEvent]:
        """Yield volumetric Dice on the validation cases, if there are any."""
        yield from self.read(learner)
        if not self._papers:
            return
        each = {
            case: class_dice(predict_slices(learner, images, frame).labels, truth, learner.classes)
            for case, (images, frame, truth) in self._papers.items()
        }
        means = np.mean(list(each.values()), 0)
        self._latest = learner.step, float(np.mean(means))
        yield Evaluated(
            learner.step,
            dice={name: float(value) for name, value in zip(self._pool.classes, means, strict=True)},
            cases={case: float(np.mean(values)) for case, values in each.items()},
        )

    def held(self, learner: Learner) -> Held | None:
        """Return some slices of the cases that were read, by which the discriminator is examined; None without any."""
        if not self._papers:
            return None
        images, labels = [], []
        chance, most = learner.generator(5), math.ceil(EXAMINED / len(self._papers))
        for slices, frame, truth in self._papers.values():
            rows = torch.randperm(len(slices), generator=chance)[:most]
            images.append(with_neighbours(slices, learner.neighbours, frame)[rows])
            labels.append(frame.shrink_labels(torch.from_numpy(truth[rows.numpy()]), learner.classes))
        return Held(torch.cat(images), torch.cat(labels), len({self._patient(case) for case in self._papers}))
