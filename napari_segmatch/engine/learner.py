"""Everything that learns in one run: model, teacher, selector and their optimisers."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import TrainConfig
from ..errors import ConfigError
from .data import ResidentPool
from .discriminator import Discriminator, annotated, equation_1_loss, one_question, quality_loss, quality_pairs
from .networks import build
from .policy import RandAugment
from .selectors import DiscriminatorSelector, build_selector
from .step import Outcome, Views, algorithm_1, draw_views, labelled_view, pseudo_masks

LESSONS = 8
"""People's decisions that the discriminator is reminded of in one update."""


Labelled = tuple[Tensor, Tensor, Views]
"""Labelled slices, their labels and the views drawn for them."""


def choose_device(name: str) -> torch.device:
    """Turn a setting into a device that is there.

    Raises
    ------
    ConfigError
        If the device does not exist on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(f"The device {name!r} is not available here; choose auto, cpu, cuda or mps.") from error
    return device


def autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Compute in bfloat16 where the device is good at it."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.autocast("cuda", torch.bfloat16)
    if device.type == "cpu" and _cpu_has_bfloat16():
        return torch.autocast("cpu", torch.bfloat16)
    return contextlib.nullcontext()


def _cpu_has_bfloat16() -> bool:
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # private, and not in every build
    return torch.backends.mkldnn.is_available() and any(getattr(torch.cpu, name, bool)() for name in asked)


class Learner:
    """The networks of a run and one step of their training.

    Chance enters through the generator that :meth:`generator` seeds from the run's seed and the step's
    number: no random state has to be kept for an exact resume.
    """

    def __init__(self, config: TrainConfig, channels: int, classes: int) -> None:
        self.config, self.channels, self.classes = config, channels, classes
        self.device = choose_device(config.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.model = build(config.network, channels, classes + 1, config.features).to(self.device)
            self.selector = build_selector(config, channels, classes).to(self.device)
        self.teacher = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.policy = RandAugment(config.strong_operations)
        fused = self.device.type != "mps"
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=fused
        )
        judged = list(self.selector.parameters())
        self.judge_optimiser = torch.optim.AdamW(judged, 1e-3, weight_decay=1e-2, fused=fused) if judged else None
        self.step = 0
        self.elapsed = 0.0
        self.judged = 0.0
        """The discriminator's last loss."""

    def generator(self, purpose: int = 0) -> torch.Generator:
        """Return the source of chance of this step; one for each purpose."""
        return torch.Generator().manual_seed((self.config.seed * 1_000_003 + self.step) * 8 + purpose)

    def student(self, images: Tensor) -> Tensor:
        with autocast(self.device):
            return self.model(images)

    def mean_teacher(self, images: Tensor) -> Tensor:
        with torch.no_grad(), autocast(self.device):
            return self.teacher(images)

    def learn(self, pool: ResidentPool, progress: float) -> tuple[Outcome, float]:
        """Take one step at ``progress`` (0 to 1) of the run. Returns its losses and the discriminator's."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed * 1_000_003 + self.step)  # for networks that drop out
            return self._learn(pool, progress)

    def _learn(self, pool: ResidentPool, progress: float) -> tuple[Outcome, float]:
        config, generator = self.config, self.generator()
        rows = pool.sample_labelled(config.batch, config.lesion_share, generator).to(self.device)
        views = draw_views(len(rows), config, self.policy, generator, mix=False)
        labelled = (pool.images[rows], pool.labels[rows], views)
        ramp = self._ramp(progress)
        unlabelled = None
        if ramp > 0:
            count = max(1, round(config.mu * config.batch))
            taken = pool.sample_unlabelled(count, generator).to(self.device)
            unlabelled = (pool.images[taken], draw_views(count, config, self.policy, generator, mix=True))
        self.model.train()
        outcome = algorithm_1(
            self.student,
            self.mean_teacher,
            self.selector,
            self.policy,
            labelled,
            unlabelled,
            config.labelled_strong,
            config.dice,
        )
        _update(self.optimiser, outcome.supervised + ramp * outcome.consistency, self._rate(progress))
        self._follow()
        if self.step % config.discriminator_every == 0:
            self.judged = self._teach_discriminator(pool, outcome, labelled)
        self.step += 1
        return outcome, self.judged

    def _ramp(self, progress: float) -> float:
        if self.config.selector == "none" or progress < self.config.warmup:
            return 0.0
        over = (progress - self.config.warmup) / self.config.ramp if self.config.ramp else 1.0
        return self.config.lambda_u * min(1.0, over + 0.05)

    def _rate(self, progress: float) -> float:
        return self.config.learning_rate * min(1.0, (self.step + 1) / 50) * max(1 - progress, 0.0) ** 0.9

    def _follow(self) -> None:
        """Move the teacher towards the student, buffers included."""
        keep = min(self.config.ema, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.teacher.parameters()), list(self.model.parameters()), 1 - keep)
            for mine, theirs in zip(self.teacher.buffers(), self.model.buffers(), strict=True):
                mine.copy_(theirs)

    def _teach_discriminator(self, pool: ResidentPool, outcome: Outcome, labelled: Labelled) -> float:
        """Lines 8 and 9: update the discriminator; its gradient never reaches the model."""
        if not isinstance(self.selector, DiscriminatorSelector) or self.judge_optimiser is None:
            return 0.0
        generator, network = self.generator(1), self.selector.network
        if self.config.objective == "equation-1":
            loss = self._equation_1(network, pool, labelled, generator)
        else:
            usable = annotated(outcome.labelled_mask)
            if not usable.any():
                return self.judged
            truth, predicted = one_question(
                outcome.labelled_mask[usable], outcome.labelled_prediction[usable], self.classes, generator
            )
            pairs = quality_pairs(truth, predicted, generator)
            loss = quality_loss(network, outcome.labelled_view[usable], truth, pairs)
        loss = loss + self._lesson_loss(network, pool, generator)
        _update(self.judge_optimiser, loss, 1e-3)
        return float(loss.detach())

    def _equation_1(
        self, network: Discriminator, pool: ResidentPool, labelled: Labelled, generator: torch.Generator
    ) -> Tensor:
        """Equation 1 on weak views of both kinds: another kind of view on one side would give the answer away."""
        x_l, y_l = labelled_view(*labelled, self.policy, strong=False)
        rows = pool.sample_unlabelled(len(x_l), generator).to(self.device)
        views = draw_views(len(rows), self.config, self.policy, generator, mix=False)
        x_u, pseudo, _ = pseudo_masks(self.mean_teacher, self.selector, pool.images[rows], views)
        truth, _ = one_question(y_l, y_l, self.classes, generator)
        fake, _ = one_question(pseudo, pseudo, self.classes, generator)
        return equation_1_loss(network, x_l, truth, x_u, fake)

    def _lesson_loss(self, network: Discriminator, pool: ResidentPool, generator: torch.Generator) -> Tensor | float:
        """Learn from people's decisions on proposals, the more of them there are the more."""
        if pool.lessons is None:
            return 0.0
        rows, masks, targets = pool.lessons
        taken = torch.randint(len(rows), (LESSONS,), generator=generator)
        logits = network(pool.images[rows[taken].to(self.device)], masks[taken.to(self.device)])
        loss = F.binary_cross_entropy_with_logits(logits, targets[taken.to(self.device)] * 0.95 + 0.025)
        return 0.5 * min(1.0, len(rows) / 20) * loss

    # state -----------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor of the state by name, optimisers included."""
        found: dict[str, Tensor] = {}
        for name, module in self._modules().items():
            found |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
        for name, optimiser in self._optimisers().items():
            for index, state in optimiser.state_dict()["state"].items():
                found |= {f"{name}.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
        return {name: value.detach().cpu().contiguous().clone() for name, value in found.items()}

    def load_tensors(self, tensors: dict[str, Tensor], optimisers: bool = True) -> None:
        """Restore what :meth:`tensors` returned."""
        for name, module in self._modules().items():
            prefix = f"{name}."
            module.load_state_dict({k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)})
        for name, optimiser in self._optimisers().items() if optimisers else ():
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                if key.startswith(f"{name}."):
                    _, index, field = key.split(".", 2)
                    state.setdefault(int(index), {})[field] = value
            optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})

    def _modules(self) -> dict[str, nn.Module]:
        return {"model": self.model, "teacher": self.teacher, "selector": self.selector}

    def _optimisers(self) -> dict[str, torch.optim.Optimizer]:
        pairs = {"optimiser": self.optimiser, "judge_optimiser": self.judge_optimiser}
        return {name: value for name, value in pairs.items() if value is not None}


def _update(optimiser: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], 1.0)
    optimiser.step()
