"""Everything that learns in one run: model, teacher, selector and their optimisers."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ..config import TrainConfig
from .calibration import FEW, Report
from .data import ResidentPool
from .device import autocast, choose_device
from .discriminator import equation_1_loss, one_question
from .evidence import look_with
from .geometry import warp, weak
from .judge import Judge
from .losses import foreground_dice, hard
from .networks import build
from .policy import POLICIES
from .selectors import DiscriminatorSelector, Look, Selection, build_selector
from .step import Outcome, Views, algorithm_1, draw_views, labelled_view

JUDGE_RATE = 1e-3
"""Learning rate of the discriminator."""

UNDERSTUDY_HASTE = 3.0
"""How many times faster its understudies learn: they have to keep up with the teacher."""

LESSONS = 8
"""People's decisions that the discriminator is reminded of in one update."""


Labelled = tuple[Tensor, Tensor, Views]
"""Labelled slices, their labels and the views drawn for them."""


class Learner:
    """The networks of a run and one step of their training.

    Chance enters through the generator that :meth:`generator` seeds from the run's seed and the step's
    number: no random state has to be kept for an exact resume.
    """

    def __init__(self, config: TrainConfig, channels: int, classes: int) -> None:
        self.config, self.channels, self.classes = config, channels, classes
        self.device = choose_device(config.device)
        inputs = channels * (2 * config.neighbours + 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.model = build(config.network, inputs, classes + 1, config.features).to(self.device)
            self.selector = build_selector(config, inputs, classes).to(self.device)
        self.teacher = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.policy = POLICIES[config.augment](config.strong_operations)
        self.optimiser = self._adam(self.model, config.learning_rate, config.weight_decay)
        self.judge_optimiser = self._judge_optimiser()
        self.step = 0
        self.parts = 1
        """In so many parts a batch is computed; more of them need less memory and give the same step."""
        self.skipped = False
        """Whether the last step was not taken: its gradient is not a number."""
        self.elapsed = 0.0
        self.judged = 0.0  # the discriminator's last loss
        self.fold_of: dict[str, int] = {}
        """The side on which each labelled case helps to teach the discriminator: see :class:`ResidentPool`."""
        self.softly = False
        """Whether what is not believed trains softly: with few labelled cases the teacher's doubt is no target."""
        self.drawn = torch.zeros(0, dtype=torch.long)
        """Rows of the last unlabelled batch."""

    def _adam(self, module: nn.Module, rate: float, decay: float) -> torch.optim.Optimizer:
        return torch.optim.AdamW(module.parameters(), rate, weight_decay=decay, fused=self.device.type != "mps")

    def _judge_optimiser(self) -> torch.optim.Optimizer | None:
        if not isinstance(self.selector, DiscriminatorSelector):
            return None
        optimiser = self._adam(self.selector.critics, JUDGE_RATE, 1e-2)
        if isinstance(self.selector, Judge):
            optimiser.add_param_group({"params": self.selector.understudies.parameters(), "haste": UNDERSTUDY_HASTE})
        return optimiser

    def generator(self, purpose: int = 0) -> torch.Generator:
        """Return the source of chance of this step; one for each purpose."""
        return torch.Generator().manual_seed((self.config.seed * 1_000_003 + self.step) * 8 + purpose)

    def student(self, images: Tensor) -> Tensor:
        with autocast(self.device):
            return self.model(images)

    def look(self, images: Tensor) -> Look:
        """See slices as the teacher does: twice, the second time in the mirror, unless the run was told not to."""
        with torch.no_grad(), autocast(self.device):
            return look_with(self.teacher, images, mirror=self.looks_twice)

    @property
    def looks_twice(self) -> bool:
        """Whether the teacher also sees the mirrored slice."""
        return self.config.second_look and self.config.flip > 0

    def select(self, images: Tensor, look: Look) -> Selection:
        """Let the selector decide on what the teacher saw."""
        self.selector.eval()
        with torch.no_grad(), autocast(self.device):
            return self.selector(images, look)

    def margins(self, selection: Selection) -> list[tuple[float | None, ...]]:
        """Return :meth:`Judge.margin` of each slice's classes, None where one is not segmented.

        Before the first examination, and from other selectors, there is none of any.
        """
        judge, scores = self.selector, selection.class_scores
        if not isinstance(judge, Judge) or scores is None or judge.usual.isnan():
            return [()] * len(selection.score)
        return [tuple(each if each == each else None for each in row) for row in judge.margin(scores.float()).tolist()]

    def learn(self, pool: ResidentPool, progress: float) -> tuple[Outcome, float]:
        """Take one step at ``progress`` (0 to 1) of the run. Returns its losses and the discriminator's."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed * 1_000_003 + self.step)  # for networks that drop out
            return self._learn(pool, progress)

    def _learn(self, pool: ResidentPool, progress: float) -> tuple[Outcome, float]:
        config, rows, ramp = self.config, self.labelled_rows(pool), self._ramp(progress)
        self.softly = config.selector == "identity-soft" or (config.rejected == "soft" and pool.cases_labelled >= FEW)
        others = self.unlabelled_rows(pool) if ramp > 0 else rows[:0]
        chances = self.generator(3), self.generator(4), self.generator(7), self.generator(7)
        self.model.train()
        self.optimiser.zero_grad(set_to_none=True)
        for part, theirs in zip(rows.tensor_split(self.parts), others.tensor_split(self.parts), strict=True):
            views = draw_views(len(part), config, self.policy, chances[0], unlabelled=False)
            labelled = (pool.pictures(part, chances[2]), pool.labels_of(part), views)
            outcome = self.outcome(
                labelled, self.unlabelled(pool, theirs, chances[1], chances[3]) if len(theirs) else None
            )
            ((outcome.supervised + ramp * outcome.consistency) * (len(part) / len(rows))).backward()
        self.skipped = not self.update(progress)
        if not self.skipped:
            if self.policy.state:
                self.policy.learn(views.strong, self._proximity(outcome, labelled))
            if self.step % config.discriminator_every == 0:
                self.judged = self._teach_discriminator(pool, part, outcome, labelled)
        self.step += 1
        return outcome, self.judged

    def _proximity(self, outcome: Outcome, labelled: Labelled) -> Tensor:
        """How well (n,) the model still finds the structures on the policy's probes: the labelled strong views."""
        if self.config.labelled_strong:
            return foreground_dice(outcome.labelled_logits, outcome.labelled_mask)
        probe, truth = labelled_view(*labelled, self.policy, strong=True)
        with torch.no_grad():
            return foreground_dice(self.student(probe), truth)

    def labelled_rows(self, pool: ResidentPool) -> Tensor:
        config = self.config
        return pool.sample_labelled(config.batch, config.lesion_share, self.generator()).to(self.device)

    def unlabelled_rows(self, pool: ResidentPool) -> Tensor:
        count = max(self.parts, round(self.config.mu * self.config.batch))
        return pool.sample_unlabelled(count, self.generator(6)).to(self.device)

    def unlabelled(
        self, pool: ResidentPool, rows: Tensor, views: torch.Generator, pictures: torch.Generator
    ) -> tuple[Tensor, Views]:
        """Return unlabelled slices and the views drawn for them."""
        self.drawn = rows
        drawn = draw_views(len(rows), self.config, self.policy, views, unlabelled=True)
        return pool.pictures(rows, pictures), drawn

    def outcome(self, labelled: Labelled, unlabelled: tuple[Tensor, Views] | None) -> Outcome:
        """Compute the losses of a step."""
        return algorithm_1(
            self.student, self.look, self.select, self.policy, labelled, unlabelled, self.config.labelled_strong,
            self.config.dice, blend=self.softly,
        )  # fmt: skip

    def update(self, progress: float) -> bool:
        """Follow the gradient, and let the teacher follow the student; False if the gradient is not a number."""
        config = self.config
        rate = config.learning_rate * min(1.0, (self.step + 1) / 50) * max(1 - progress, 0.0) ** 0.9
        if not _descend(self.optimiser, rate):
            return False
        keep = min(config.ema, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.teacher.parameters()), list(self.model.parameters()), 1 - keep)
            for mine, theirs in zip(self.teacher.buffers(), self.model.buffers(), strict=True):
                mine.copy_(theirs)
        return True

    def _ramp(self, progress: float) -> float:
        if self.config.selector == "none" or progress < self.config.warmup:
            return 0.0
        over = (progress - self.config.warmup) / self.config.ramp if self.config.ramp else 1.0
        return self.config.lambda_u * min(1.0, over + 0.05)

    # the discriminator -----------------------------------------------------------------------------------

    def _teach_discriminator(self, pool: ResidentPool, rows: Tensor, outcome: Outcome, labelled: Labelled) -> float:
        """Lines 8 and 9: update the discriminator; its gradient never reaches the model."""
        judge, optimiser, generator = self.selector, self.judge_optimiser, self.generator(1)
        if not isinstance(judge, DiscriminatorSelector) or optimiser is None:
            return 0.0
        judge.train()
        with autocast(self.device):
            if isinstance(judge, Judge):
                loss = judge.loss(
                    outcome.labelled_view, outcome.labelled_mask, pool.folds[rows], hard(outcome.labelled_logits),
                    generator, self.config.dice,
                )  # fmt: skip
                if outcome.look is not None and outcome.unlabelled_view is not None:
                    seen = outcome.unlabelled_view, outcome.look, pool.folds[self.drawn]
                    loss = loss + judge.following_loss(*seen)
                    loss = loss + judge.unlabelled_loss(*seen, generator) if self.looks_twice else loss
            else:
                loss = self._equation_1(judge, pool, labelled, generator)
            loss = loss + self._lesson_loss(judge, pool, generator)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        _descend(optimiser, JUDGE_RATE)
        return float(loss.detach())

    def _equation_1(
        self, judge: DiscriminatorSelector, pool: ResidentPool, labelled: Labelled, generator: torch.Generator
    ) -> Tensor:
        """Equation 1 on weak views of both kinds: another kind of view on one side would give the answer away."""
        x_l, y_l = labelled_view(*labelled, self.policy, strong=False)
        rows = pool.sample_unlabelled(len(x_l), generator).to(self.device)
        x_u = warp(pool.slices(rows), weak(len(rows), self.config.size, self.config.flip, self.config.shift, generator))
        look = self.look(x_u)
        truth, _ = one_question(y_l, y_l[None], self.classes, generator)
        fake, _ = one_question(look.labels, look.labels[None], self.classes, generator)
        return equation_1_loss(judge.critics[0], x_l, truth, x_u, fake)

    def _lesson_loss(
        self, judge: DiscriminatorSelector, pool: ResidentPool, generator: torch.Generator
    ) -> Tensor | float:
        """Learn from people's decisions on proposals, the more of them there are the more."""
        if pool.lessons is None:
            return 0.0
        book = pool.lessons
        taken = torch.randint(len(book.rows), (LESSONS,), generator=generator)
        here, rows = taken.to(self.device), book.rows[taken].to(self.device)
        loss = judge.lesson_loss(pool.slices(rows), book.masks[here], book.targets[here], pool.folds[rows])
        return 0.5 * min(1.0, len(book.rows) / 20) * loss

    def examine(self, pool: ResidentPool) -> Report | None:
        """Examine the quality critic on labelled slices that it has not seen; None for other selectors."""
        if not isinstance(self.selector, Judge):
            return None
        self.selector.eval()
        with autocast(self.device):
            return self.selector.examine(pool, self.teacher, mirror=self.looks_twice, generator=self.generator(5))

    # state -----------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor of the state by name, optimisers included."""
        found = {f"policy.{name}": value for name, value in self.policy.state.items()}
        for name, module in self._modules().items():
            found |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
        for name, optimiser in self._optimisers().items():
            for index, state in optimiser.state_dict()["state"].items():
                found |= {f"{name}.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
        return {name: value.detach().cpu().contiguous().clone() for name, value in found.items()}

    def load_tensors(self, tensors: dict[str, Tensor], optimisers: bool = True) -> None:
        """Restore what :meth:`tensors` returned."""
        for name, mine in self.policy.state.items():
            mine.copy_(tensors[f"policy.{name}"])
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


def _descend(optimiser: torch.optim.Optimizer, rate: float) -> bool:
    """Take a step down the gradient that was gathered; False, and nothing is changed, if it is not a number."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("haste", 1.0)
    norm = nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], 1.0)
    if not torch.isfinite(norm):
        return False
    optimiser.step()
    return True
