"""What changes over a run: warm-up, the weight of the consistency loss, learning rate and moving average.

Of a run that is measured in minutes nobody knows how many steps it will have: its pace until now tells.
"""

from __future__ import annotations

from ..config import TrainConfig

WARM_STEPS = 500
"""So many steps of a run at least are its warm-up, if there is one,"""

MOST_WARM = 0.7
"""but of a short run no more than this share."""

HASTE, SLOWEST, FASTEST = 8.0, 2e-3, 5e-3
"""Peak learning rate times steps, and the least and the most that it is: a short run has to learn faster."""


def length(config: TrainConfig, step: int, progress: float) -> float:
    """Return how many steps a run will have, of which ``step`` are over and a share ``progress``."""
    return step / progress if step and progress else config.steps


def warm_share(config: TrainConfig, step: int, progress: float) -> float:
    """Return which share of a run trains on labelled slices alone.

    A model that has learnt next to nothing makes pseudo masks that teach next to nothing, at three times the cost.
    """
    if not config.warmup:
        return 0.0
    return max(config.warmup, min(MOST_WARM, WARM_STEPS / length(config, step, progress)))


def ramp(config: TrainConfig, step: int, progress: float) -> float:
    """Return the weight of the consistency loss: nothing in the warm-up, and then more and more."""
    warm = warm_share(config, step, progress)
    if config.selector == "none" or progress < warm:
        return 0.0
    over = (progress - warm) / config.ramp if config.ramp else 1.0
    return config.lambda_u * min(1.0, over + 0.05)


def peak_rate(config: TrainConfig, step: int, progress: float) -> float:
    """Return the highest learning rate of a run."""
    suits = min(FASTEST, max(SLOWEST, HASTE / length(config, step, progress)))
    return suits if config.learning_rate is None else config.learning_rate


def rate(config: TrainConfig, step: int, progress: float) -> float:
    """Return the learning rate: up in the first fifty steps, then down to nothing."""
    return peak_rate(config, step, progress) * min(1.0, (step + 1) / 50) * max(1 - progress, 0.0) ** 0.9


def kept(config: TrainConfig, step: int) -> float:
    """Return how much of the teacher stays: at first less, for then he knows little."""
    return min(config.ema, (step + 1) / (step + 10))
