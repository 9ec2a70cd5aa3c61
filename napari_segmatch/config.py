"""Every setting of a training run, in one flat frozen dataclass.

The shell's flags, the window's form, the reference page and the JSON in a run's folder all derive from the
fields below; each carries its unit, its range and a sentence of help.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ConfigError

if TYPE_CHECKING:
    from .types import Geometry

SELECTORS = ("none", "identity", "identity-soft", "mean-confidence", "confidence-map", "discriminator")
OBJECTIVES = ("quality", "equation-1")
REJECTED = ("soft", "ignored")
GATES = ("soft-or-sure", "hard-or-sure", "soft-and-sure", "hard-and-sure", "soft", "hard")
POLICIES = ("randaugment", "ctaugment")
PARTS = ("auto", "one", "all")
DIRECTIONS = tuple("".join(ways) for ways in itertools.product("LR", "PA", "IS"))

CLOSE = 1.5
"""Slices lie close if they are no further apart than so many of their pixels."""


def _setting(default: Any, help: str, low: float | None = None, high: float | None = None, unit: str = "",
             choices: tuple[str, ...] = (), multiple: int = 1) -> Any:  # fmt: skip
    return field(
        default=default,
        metadata={"help": help, "low": low, "high": high, "unit": unit, "choices": choices, "multiple": multiple},
    )


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one run. Construct through :func:`configure` to start from a preset."""

    # What decides which pseudo masks may train the model
    selector: str = _setting(
        "discriminator", "Who decides whether a pseudo mask may train the model", choices=SELECTORS
    )
    objective: str = _setting(
        "quality", "What the discriminator learns: whether Dice is at least 0.8, or the paper's equation 1",
        choices=OBJECTIVES,
    )  # fmt: skip
    tau: float | None = _setting(None, "Threshold of the selector; empty takes the selector's own", 0, 1)
    gate: str = _setting(
        "soft-or-sure", "How the discriminator's word on a mask counts: by its chance (soft) or as yes or no (hard); "
        "sure pixels of any mask as well (or-sure), or sure pixels alone (and-sure)",
        choices=GATES,
    )  # fmt: skip
    rejected: str = _setting(
        "soft", "What pixels that are not believed do: train softly, with the teacher's doubt (from five labelled "
        "patients on), or nothing",
        choices=REJECTED,
    )  # fmt: skip
    lambda_u: float = _setting(1.0, "Weight of the consistency loss", 0, 100)
    mu: float = _setting(1.0, "Unlabelled slices for each labelled slice in a step", 0.25, 16)
    warmup: float = _setting(
        0.15, "Share of the run that trains on labelled slices alone; at least 500 steps, but no more than 70 % of a "
        "short run; 0 is none",
        0, 1,
    )  # fmt: skip
    ramp: float = _setting(0.1, "Share of the run over which the consistency loss grows to its full weight", 0, 1)

    discriminator_every: int = _setting(6, "Steps from one update of the discriminator to the next", 1, 1000, "steps")
    dice: bool = _setting(True, "Dice is added to cross-entropy in both losses")

    # How long, how large
    steps: int = _setting(4000, "Length of the run, unless minutes are given", 1, 10_000_000, "steps")
    minutes: float = _setting(0.0, "Length of the run by the clock; 0 counts steps instead", 0, 100_000, "min")
    size: int = _setting(
        128, "Slices are scaled to fit a square of this side, or a smaller one that holds all of a project", 32, 1024,
        "pixels", multiple=16,
    )  # fmt: skip
    batch: int = _setting(8, "Labelled slices in a step", 1, 1024, "slices")

    # Network and optimiser
    neighbours: int | None = _setting(
        None, "Slices on either side that the network sees as further channels; empty takes 1 where slices lie "
        "about as close as their pixels, else 0",
        0, 3, "slices",
    )  # fmt: skip
    directions: str | None = _setting(
        None, "Which way the network sees slices, by where their voxels' numbers grow to: LPS is left, back and up. "
        "Cases that are stored otherwise are turned for it; empty takes that of the weights, else that of most cases",
        choices=DIRECTIONS,
    )  # fmt: skip
    network: str = _setting("unet", "unet, basic-unet, segresnet, or your own as package.module:function")
    weights: str = _setting("", "What the network starts from: a safetensors file that fits it; empty starts anew")
    features: int = _setting(16, "Channels of the network's first level", 8, 128, "channels", multiple=8)
    learning_rate: float | None = _setting(
        None, "Peak learning rate of AdamW; empty takes 8 over the run's steps, from 0.002 to 0.005", 1e-6, 1
    )
    weight_decay: float = _setting(1e-2, "Weight decay of AdamW", 0, 1)
    ema: float = _setting(0.99, "Share of the teacher, a moving average of the model, that stays at each step", 0, 1)

    # Views
    flip: float = _setting(0.5, "Weak view: chance of a flip, left to right, of sagittal slices front to back", 0, 1)
    shift: float = _setting(0.1, "Weak view: largest shift, as a share of the image", 0, 0.5)
    strong_operations: int = _setting(2, "Strong view: operations drawn for each slice", 0, 8)
    augment: str = _setting("randaugment", "Strong view: levels by chance, or learnt by CTAugment", choices=POLICIES)
    second_look: bool = _setting(True, "The teacher looks twice, the second time in the mirror, unless flip is 0")
    cutmix: float = _setting(0.5, "Strong view: chance that a box comes from another slice", 0, 1)
    paste: float = _setting(
        0.0, "Strong view: chance that such a box comes from a labelled slice, with its labels", 0, 1
    )
    labelled_cutmix: float = _setting(
        0.0, "Labelled slices: chance that a box comes from another one in the batch, with its labels", 0, 1
    )
    labelled_strong: bool = _setting(True, "Labelled slices are trained on their strong view, not only the weak one")
    lesion_share: float = _setting(0.5, "Share of a labelled batch that shows a labelled structure", 0, 1)

    # Masks of whole cases
    parts: str = _setting(
        "auto", "When smaller parts of a structure that the discriminator doubts are left out: if labelled cases show "
        "it in one part (auto), always (one) or never (all)",
        choices=PARTS,
    )  # fmt: skip

    # Manners
    seed: int = _setting(0, "Same seed, same data, same machine: same result", 0, 2**31 - 1)
    pool_gib: float = _setting(
        0.0, "Memory for the pool's slices, the rest goes to disk; 0 takes half of what is free", 0, 4096, "GiB"
    )
    device: str = _setting("auto", "auto (a CUDA GPU if there is one, else the CPU), cpu, cuda, cuda:1 or mps")
    evaluate_every: int = _setting(200, "Steps between looks at the validation cases", 1, 10_000_000, "steps")
    propose_every: int = _setting(100, "Steps between proposals for review", 1, 10_000_000, "steps")
    proposals: int = _setting(48, "Slices proposed for review each time", 0, 10_000, "slices")
    checkpoint_every: int = _setting(200, "Steps between checkpoints", 1, 10_000_000, "steps")

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(self):
            _check(spec, getattr(self, spec.name))

    def replace(self, **changes: Any) -> TrainConfig:
        """Return a copy with some settings changed; unknown names are refused."""
        return from_dict({**dataclasses.asdict(self), **changes})


_KINDS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "int | None": (int,),
    "float": (int, float),
    "float | None": (int, float),
    "bool": (bool,),
    "str": (str,),
    "str | None": (str,),
}


def _check(spec: dataclasses.Field[Any], value: Any) -> None:
    low, high, choices = spec.metadata["low"], spec.metadata["high"], spec.metadata["choices"]
    if value is None and spec.default is None:
        return
    if choices and value not in choices:
        raise ConfigError(f"{spec.name} is {value!r}; choose one of {', '.join(choices)}.")
    wanted = _KINDS[str(spec.type)]
    if not isinstance(value, wanted) or (isinstance(value, bool) and spec.type != "bool"):
        raise ConfigError(f"{spec.name} is {value!r}; a value of type {spec.type} is needed.")
    if low is not None and not low <= value <= high:
        unit = f" {spec.metadata['unit']}" if spec.metadata["unit"] else ""
        raise ConfigError(f"{spec.name} is {value}; allowed is {low:.10g} to {high:.10g}{unit}.")
    if value % spec.metadata["multiple"] if spec.metadata["multiple"] > 1 else False:
        raise ConfigError(f"{spec.name} is {value}; it must be a multiple of {spec.metadata['multiple']}.")


PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"steps": 400, "discriminator_every": 3, "evaluate_every": 100, "propose_every": 50},
    "standard": {},
    "gpu": {"size": 256, "features": 32, "batch": 16},
    "overnight": {"steps": 20_000, "size": 256, "features": 32, "batch": 16, "propose_every": 500},
    "paper": {
        "objective": "equation-1", "steps": 11_100, "size": 256, "features": 32, "batch": 16, "mu": 1.0,
        "warmup": 0.0, "ramp": 0.0, "ema": 0.0, "learning_rate": 1e-4, "cutmix": 0.0, "labelled_strong": False,
        "lesion_share": 0.0, "dice": False, "discriminator_every": 1, "second_look": False, "augment": "ctaugment",
        "rejected": "ignored", "neighbours": 0, "parts": "all",
    },
}  # fmt: skip
"""Named starting points. *paper* keeps to the text: one model as its own teacher, no warm-up, no mixing, all parts."""


def from_dict(values: dict[str, Any]) -> TrainConfig:
    """Build a configuration from plain values, refusing names that do not exist."""
    known = {spec.name for spec in dataclasses.fields(TrainConfig)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigError(f"There is no setting {unknown[0]!r}; the settings are {', '.join(sorted(known))}.")
    return TrainConfig(**values)


def configure(preset: str = "standard", **changes: Any) -> TrainConfig:
    """Start from a preset and change what is given; None leaves a setting as the preset has it.

    Parameters
    ----------
    preset
        One of :data:`PRESETS`.
    **changes
        Fields of :class:`TrainConfig`.

    Raises
    ------
    ConfigError
        For an unknown preset or setting, or a value out of range.
    """
    if preset not in PRESETS:
        raise ConfigError(f"There is no preset {preset!r}; choose one of {', '.join(PRESETS)}.")
    given = {name: value for name, value in changes.items() if value is not None}
    return from_dict({**PRESETS[preset], **given})


def fitted(config: TrainConfig, grids: Iterable[Geometry]) -> TrainConfig:
    """Return the configuration for cases with such grids.

    Enlarged, small slices cost more and show no more. For the rest see :func:`suited`.
    """
    grids = list(grids)
    largest = max((max(grid.shape[1:]) for grid in grids), default=config.size)
    size = min(config.size, max(32, math.ceil(largest / 16) * 16))
    return suited(config.replace(size=size), grids)


def suited(config: TrainConfig, grids: Iterable[Geometry]) -> TrainConfig:
    """Return the configuration with what it leaves to the cases as most cases with such grids have it.

    Slices that lie close to each other are seen together, and all the same way round: that of the weights to start
    from, if it is known.
    """
    grids = list(grids)
    close = [grid.known and grid.spacing[0] <= CLOSE * max(grid.spacing[1:]) for grid in grids]
    ways = Counter(filter(None, map(directions, grids)))
    return config.replace(
        neighbours=int(2 * sum(close) > len(close)) if config.neighbours is None else config.neighbours,
        directions=config.directions or learnt_way(config.weights) or max(ways, key=ways.__getitem__, default=None),
    )


def learnt_way(weights: str) -> str | None:
    """Return which way the network of a run's checkpoint sees slices; None if nothing beside the weights says it."""
    if not weights:
        return None
    try:
        state = json.loads(Path(weights).resolve().with_name("state.json").read_text("utf-8"))
        way = state["config"]["directions"]
    except (OSError, ValueError, LookupError, TypeError, RuntimeError):  # RuntimeError: links that lead in a circle
        return None
    return way if way in DIRECTIONS else None


def directions(grid: Geometry) -> str:
    """Say where the numbers of a grid's voxels grow to along the patient's axes, as LPS; nothing if nobody knows."""
    grows = dict(zip(grid.world, grid.reversed, strict=True))
    return "".join(pair[grows[axis]] for axis, pair in enumerate(("LR", "PA", "IS"))) if grid.known else ""


def parse_setting(text: str) -> tuple[str, Any]:
    """Read ``batch=4`` as a shell gives it.

    Raises
    ------
    ConfigError
        If it is not NAME=VALUE, or the value is not of the setting's type.
    """
    name, equals, value = text.partition("=")
    types = {name: spec.type for name, spec in TrainConfig.__dataclass_fields__.items()}
    if not equals or name not in types:
        raise ConfigError(f"--set {text}: write NAME=VALUE, where NAME is one of {', '.join(sorted(types))}.")
    kind = str(types[name])
    if not value and kind.endswith("None"):
        return name, None
    kind = kind.removesuffix(" | None")
    try:
        if kind == "bool":
            return name, {"true": True, "false": False}[value.lower()]
        return name, int(value) if kind == "int" else value if kind == "str" else float(value)
    except (ValueError, KeyError) as error:
        raise ConfigError(f"--set {text}: {name} is of type {kind}.") from error
