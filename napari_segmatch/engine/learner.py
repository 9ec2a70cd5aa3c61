"""Everything that learns in one run: model, teacher, selector and their optimisers."""

from __future__ import annotations

import copy
import threading
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from ..config import TrainConfig
from . import schedule
from .answers import Held
from .calibration import FEW, Report
from .data import ResidentPool
from .descent import Follower, adam, descend, restore, state_of, switch
from .device import autocast, choose_device, is_out_of_memory
from .discriminator import one_question
from .evidence import look_with
from .geometry import warp, weak
from .judge import Judge
from .losses import foreground_dice
from .networks import NETWORKS, build
from .policy import POLICIES
from .recorder import Recorder, moved
from .school import School, said_in
from .selectors import SURE, SURE_OF_FEW, DiscriminatorSelector, Look, Selection, build_selector
from .step import Outcome, Views, algorithm_1, draw_views, kept_apart, labelled_view
from .sweep import Sweep

Labelled = tuple[Tensor, Tensor, Views]
"""Labelled slices, their labels and the views drawn for them."""

Batch = tuple[Labelled, tuple[Tensor, Views] | None]
"""Labelled and, after the warm-up, unlabelled slices with their views."""

Counts = tuple[tuple[int, int], ...]
"""How many labelled and unlabelled slices each part of a step has."""

_CHANCE = threading.RLock()
"""Torch has one source of chance for all threads: while one trains, another may load a model for somebody."""


class Learner:
    """The networks of a run and one step of their training.

    Chance enters through the generator that :meth:`generator` seeds from the run's seed and the step's
    number: no random state has to be kept for an exact resume.
    """

    def __init__(self, config: TrainConfig, channels: int, classes: int) -> None:
        self.config, self.classes = config, classes
        self.device, self.neighbours = choose_device(config.device), config.neighbours or 0
        inputs = channels * (2 * self.neighbours + 1)
        with _CHANCE, torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.model = build(config.network, inputs, classes + 1, config.features).to(self.device)
            self.selector = build_selector(config, inputs, classes).to(self.device)
        self.teacher = copy.deepcopy(self.model).requires_grad_(False).eval()
        self._follower = Follower(self.teacher, self.model)
        self.policy = POLICIES[config.augment](config.strong_operations)
        ours = type(self).outcome is Learner.outcome and config.network in NETWORKS
        self.recorder = Recorder(self.device, wanted=ours)  # others may decide what a recording does not see
        self._ahead: dict[tuple[int, Counts], list[tuple[Views, Views | None]]] = {}
        self.optimiser = adam(self.model.parameters(), schedule.SLOWEST, config.weight_decay, self.device)
        self.school = None
        if isinstance(self.selector, DiscriminatorSelector):
            self.school = School(self.selector, config, self.device, self.recorder)
        self.sweep = Sweep(config, self.selector, classes)
        self.step = 0
        self.parts = 1
        """In so many parts a batch is computed, to need less memory. Their gradients add up to that of the batch, but
        for what slices have in common: Dice is each part's, boxes come from it, the discriminator meets the last."""
        self.skipped = self.missed = False
        """Whether the last step was not taken (its gradient is no number), or taught less (the memory ran out)."""
        self.elapsed = self.judged = 0.0  # the latter is the discriminator's last loss
        self.fold_of: dict[str, int] = {}
        """The side on which each labelled case helps to teach the discriminator: see :class:`ResidentPool`."""
        self.softly = config.rejected == "soft" or config.selector == "identity-soft"
        """Whether what is not believed trains softly."""
        self.sure = SURE
        """The confidence from which on a pixel is sure: a model that learnt from few patients seldom is."""
        self.drawn = torch.zeros(0, dtype=torch.long)
        """Rows of the last unlabelled batch."""

    def generator(self, purpose: int = 0, ahead: int = 0) -> torch.Generator:
        """Return the source of chance of this step, or of one to come; one for each purpose."""
        return torch.Generator().manual_seed((self.config.seed * 1_000_003 + self.step + ahead) * 8 + purpose)

    def student(self, images: Tensor) -> Tensor:
        with autocast(self.device):
            return self.model(images)

    def look(self, images: Tensor) -> Look:
        """See slices as the teacher does: twice, the second time in the mirror, unless the run was told not to."""
        with torch.no_grad(), autocast(self.device):
            return look_with(self.teacher, images, self.looks_twice, self.sure)

    @property
    def looks_twice(self) -> bool:
        """Whether the teacher also sees the mirrored slice."""
        return self.config.second_look and self.config.flip > 0

    def select(self, images: Tensor, look: Look) -> Selection:
        """Let the selector decide on what the teacher saw."""
        switch(self.selector, training=False)
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
        with _CHANCE, torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed * 1_000_003 + self.step)  # for networks that drop out
            return self._learn(pool, progress)

    def _learn(self, pool: ResidentPool, progress: float) -> tuple[Outcome, float]:
        config, rows, ramp = self.config, self.labelled_rows(pool), self._ramp(progress)
        self.sure = SURE_OF_FEW if pool.patients_labelled < FEW else SURE
        self.drawn = self.unlabelled_rows(pool) if ramp > 0 else rows[:0]
        batches = self._batches(pool, rows)
        switch(self.model, training=True)
        key = "step", ramp > 0, self.sure, self.parts
        outcome, sound = self.recorder(key, self._step, batches, self._numbers(progress, ramp))
        if self.device.type == "cuda":  # while it computes
            self._draw_ahead(batches)
        self.skipped, self.missed = not bool(sound), False
        if not self.skipped:
            self._learn_from(pool, rows, outcome, batches[-1][0])
        self.step += 1
        return outcome, self.judged

    def _learn_from(self, pool: ResidentPool, rows: Tensor, outcome: Outcome, labelled: Labelled) -> None:
        """Let all others learn from a step. It is taken, also if memory runs out now: not again."""
        try:
            if self.policy.state:
                self.policy.learn(labelled[2].strong, self._proximity(outcome, labelled))
            if self.step % self.config.discriminator_every == 0:
                self.judged = self._teach_discriminator(pool, rows, outcome, labelled)
            self.sweep.go_on(self, pool)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self.missed = True

    def _in_parts(self, rows: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return labelled and unlabelled rows of each part. If these do not go round, the last parts have them."""
        return list(zip(rows.tensor_split(self.parts), reversed(self.drawn.tensor_split(self.parts)), strict=True))

    def _batches(self, pool: ResidentPool, rows: Tensor) -> tuple[Batch, ...]:
        """Return slices, labels and views, in as many parts as a step is computed in."""
        parts = self._in_parts(rows)
        counts = tuple((len(mine), len(theirs)) for mine, theirs in parts)
        views = self._ahead.pop((self.step, counts), None) or self._views(counts)
        chances = self.generator(7), self.generator(7)
        return tuple(
            (
                (pool.pictures(mine, chances[0]), pool.labels_of(mine), kept_apart(drawn, pool.folds[mine])),
                (pool.pictures(theirs, chances[1]), self.sweep.told(others, theirs, pool)) if others else None,
            )
            for (mine, theirs), (drawn, others) in zip(parts, views, strict=True)
        )

    def _views(self, counts: Counts, ahead: int = 0) -> list[tuple[Views, Views | None]]:
        """Draw the views of so many labelled and unlabelled slices in each part of this step, or of one to come."""
        mine, theirs = self.generator(3, ahead), self.generator(4, ahead)
        draw = partial(draw_views, config=self.config, policy=self.policy)
        return [
            (draw(n, generator=mine, unlabelled=False), draw(m, generator=theirs, unlabelled=True) if m else None)
            for n, m in counts
        ]

    def _draw_ahead(self, batches: tuple[Batch, ...]) -> None:
        """Draw the views of the step to come, if it has as many slices and nothing is learnt from this one's."""
        if not self.policy.state:
            counts = tuple((len(mine[0]), len(theirs[0]) if theirs else 0) for mine, theirs in batches)
            self._ahead = {(self.step + 1, counts): self._views(counts, ahead=1)}

    def _numbers(self, progress: float, ramp: float) -> tuple[float | Tensor, ...]:
        """Return the weight of the consistency loss, the learning rate, and how much of the teacher stays."""
        numbers = ramp, schedule.rate(self.config, self.step, progress), schedule.kept(self.config, self.step)
        return tuple(map(torch.tensor, numbers)) if self.device.type == "cuda" else numbers

    def _step(self, batches: tuple[Batch, ...], numbers: tuple[float | Tensor, ...]) -> tuple[Outcome, Tensor]:
        """Compute a step and follow it; returns the outcome of its last part, and whether its gradient is a number."""
        ramp, rate, keep = numbers
        mine, theirs = (sum(len(part[0]) for part in parts if part) for parts in zip(*batches, strict=True))
        self.optimiser.zero_grad(set_to_none=True)
        for labelled, unlabelled in batches:
            outcome = self.outcome(labelled, unlabelled)
            loss = outcome.supervised * (len(labelled[0]) / mine)
            if unlabelled:
                loss = loss + ramp * outcome.consistency * (len(unlabelled[0]) / theirs)
            loss.backward()
        sound = descend(self.optimiser, rate)
        self._follower.follow(1 - keep, sound)
        return outcome.detached(), sound

    def _proximity(self, outcome: Outcome, labelled: Labelled) -> Tensor:
        """How well (n,) the model still finds the structures on the policy's probes: the labelled strong views."""
        if self.config.labelled_strong:
            return foreground_dice(outcome.labelled_logits, outcome.labelled_mask)
        images, labels, views = moved(labelled, self.device)
        probe, truth = labelled_view(images, labels, views, self.policy, strong=True)
        with torch.no_grad():
            return foreground_dice(self.student(probe), truth)

    def labelled_rows(self, pool: ResidentPool) -> Tensor:
        return pool.sample_labelled(self.config.batch, self.config.lesion_share, self.generator())

    def unlabelled_rows(self, pool: ResidentPool) -> Tensor:
        return pool.sample_unlabelled(max(1, round(self.config.mu * self.config.batch)), self.generator(6))

    def outcome(self, labelled: Labelled, unlabelled: tuple[Tensor, Views] | None) -> Outcome:
        """Compute the losses of a step."""
        return algorithm_1(
            self.student, self.look, self.select, self.policy, labelled, unlabelled, self.config.labelled_strong,
            self.config.dice, blend=self.softly,
        )  # fmt: skip

    def _ramp(self, progress: float) -> float:
        return schedule.ramp(self.config, self.step, progress)

    # the discriminator -----------------------------------------------------------------------------------

    def _teach_discriminator(self, pool: ResidentPool, rows: Tensor, outcome: Outcome, labelled: Labelled) -> float:
        """Lines 8 and 9: update the discriminator."""
        chance = self.generator(1)
        if self.school is None:
            return 0.0
        if not isinstance(self.selector, Judge):
            return float(self.school.equation_1(*self._both_kinds(pool, labelled, chance), said_in(pool, chance)))
        rows, drawn = self._in_parts(rows)[-1]
        known = outcome.labelled_view, outcome.labelled_mask, pool.folds[rows], outcome.labelled_logits
        seen = None
        if outcome.look is not None and outcome.unlabelled_view is not None:
            seen = outcome.unlabelled_view, outcome.look, pool.folds[drawn]
        return float(self.school.judging(self.selector, known, seen, said_in(pool, chance), self.looks_twice, chance))

    def _both_kinds(
        self, pool: ResidentPool, labelled: Labelled, chance: torch.Generator
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return true and predicted masks on weak views: another kind of view on one side would give it away."""
        images, labels, views = moved(labelled, self.device)
        x_l, y_l = labelled_view(images, labels, replace(views, box=views.box[:0]), self.policy, strong=False)
        rows = pool.sample_unlabelled(len(x_l), chance)
        x_u = warp(pool.slices(rows), weak(len(rows), self.config.size, self.config.flip, self.config.shift, chance))
        look = self.look(x_u)
        truth, _ = one_question(y_l, y_l[None], self.classes, chance)
        fake, _ = one_question(look.labels, look.labels[None], self.classes, chance)
        return (x_l, truth), (x_u, fake)

    def examine(self, pool: ResidentPool, held: Held | None = None) -> Report | None:
        """Examine the quality critic on slices that it has not seen, ``held`` ones if any; None for other selectors."""
        if not isinstance(self.selector, Judge):
            return None
        switch(self.selector, training=False)
        with autocast(self.device):
            return self.selector.examine(pool, self.teacher, self.looks_twice, self.generator(5), held)

    # state -----------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor of the state by name, optimisers included."""
        found = {f"policy.{name}": value for name, value in self.policy.state.items()}
        for name, module in self._modules().items():
            found |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
        return {k: v.detach().cpu().contiguous().clone() for k, v in (found | state_of(self._optimisers())).items()}

    def load_tensors(self, tensors: dict[str, Tensor], optimisers: bool = True) -> None:
        """Restore what :meth:`tensors` returned."""
        self.recorder.forget()
        for name, mine in self.policy.state.items():
            mine.copy_(tensors[f"policy.{name}"])
        for name, module in self._modules().items():
            prefix = f"{name}."
            module.load_state_dict({k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)})
        if optimisers:
            restore(self._optimisers(), tensors)

    def _modules(self) -> dict[str, nn.Module]:
        return {"model": self.model, "teacher": self.teacher, "selector": self.selector}

    def _optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"optimiser": self.optimiser} | ({"judge_optimiser": self.school.optimiser} if self.school else {})
