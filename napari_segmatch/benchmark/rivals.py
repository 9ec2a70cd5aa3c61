"""Other methods over the same trainer: what they share with SegMatch is the network, the data and the clock.

Each overrides how the two losses of a step come about, and nothing else. Written anew from the papers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import TrainConfig
from ..engine.device import autocast
from ..engine.geometry import inside, inverse, warp
from ..engine.learner import Labelled, Learner
from ..engine.losses import consistency_loss, hard, supervised_loss
from ..engine.networks import build
from ..engine.recorder import moved
from ..engine.schedule import warm_share
from ..engine.step import Outcome, labelled_view, mix, mixed_view
from ..errors import ConfigError
from ..types import NOT_ANNOTATED
from .oracles import Oracle, PixelOracle, Unlabelled


class MeanTeacher(Learner):
    """Tarvainen and Valpola 2017: on a noisy view the student follows the teacher, by squared error."""

    def outcome(self, labelled: Labelled, unlabelled: Unlabelled) -> Outcome:
        x_l, y_l = labelled_view(*labelled, self.policy, self.config.labelled_strong)
        if unlabelled is None:
            return _supervised(self.student(x_l), x_l, y_l, self.config.dice)
        x_u, views = unlabelled
        view = warp(x_u, views.weak)
        wanted = self.look(view).probabilities
        noisy = view + 0.1 * torch.randn(view.shape, generator=self.generator(7)).to(view.device)
        logits = self.student(torch.cat([x_l, noisy])).float()
        distance = ((logits[len(x_l) :].softmax(1) - wanted) ** 2).mean()
        return _both(logits[: len(x_l)], x_l, y_l, self.config.dice, 10 * distance)


class CrossPseudoSupervision(Learner):
    """Chen et al. 2021: two networks teach each other by hard pseudo masks, on mixed images."""

    def __init__(self, config: TrainConfig, channels: int, classes: int) -> None:
        super().__init__(config, channels, classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed + 1)
            inputs = channels * (2 * self.neighbours + 1)
            self.other = build(config.network, inputs, classes + 1, config.features).to(self.device)
        self.optimiser.add_param_group({"params": list(self.other.parameters())})

    def outcome(self, labelled: Labelled, unlabelled: Unlabelled) -> Outcome:
        x_l, y_l = labelled_view(*labelled, self.policy, self.config.labelled_strong)
        images, dice = x_l, self.config.dice
        if unlabelled is not None:
            view = warp(unlabelled[0], unlabelled[1].weak)
            blank = torch.zeros_like(view[:, 0])
            images = torch.cat([x_l, mix(unlabelled[1], view, blank, blank, labelled[:2])[0]])
        one = self.student(images).float()
        with autocast(self.device):
            two = self.other(images).float()
        n = len(x_l)
        cross = one.new_zeros(())
        if unlabelled is not None:
            weight = torch.ones_like(one[n:, 0])
            cross = consistency_loss(one[n:], hard(two[n:].detach()), weight, dice)
            cross = cross + consistency_loss(two[n:], hard(one[n:].detach()), weight, dice)
        outcome = _both(one[:n], x_l, y_l, dice, cross)
        return replace(outcome, supervised=outcome.supervised + supervised_loss(two[:n], y_l, dice))


class UniMatch(Learner):
    """Yang et al. 2023: two strong views and one with dropped features follow the sure pixels of the weak view."""

    def outcome(self, labelled: Labelled, unlabelled: Unlabelled) -> Outcome:
        x_l, y_l = labelled_view(*labelled, self.policy, self.config.labelled_strong)
        if unlabelled is None:
            return _supervised(self.student(x_l), x_l, y_l, self.config.dice)
        x_u, views = unlabelled
        dice = self.config.dice
        view = warp(x_u, views.weak)
        look = self.look(view)
        weight = (look.probabilities.amax(1) >= 0.95).float() * inside(views.weak, x_u.shape[-1], x_u.device)
        second = replace(views, partner=views.partner.flip(0), box=_upside_down(views.box.flip(0), x_u.shape[-1]))
        strong = self.policy.draw(len(x_u), self.generator(7))
        strong, beyond = moved((strong, self.policy.matrix(strong)), self.device)
        second = replace(second, strong=strong, beyond=beyond)
        batch, targets = [x_l], []
        for each in (views, second):
            seen, target, kept = mixed_view(each, view, look.labels, weight, labelled[:2])
            batch.append(self.policy.apply(seen, each.strong))
            targets.append((target, kept, inverse(each.beyond)))
        logits = self.student(torch.cat(batch)).float().split([len(part) for part in batch])
        with self._dropped_features():
            dropped = self.student(view).float()
        loss = 0.5 * consistency_loss(dropped, look.labels, weight, dice)
        for guess, (target, kept, back) in zip(logits[1:], targets, strict=True):
            loss = loss + 0.25 * consistency_loss(warp(guess, back), target, kept, dice)
        return _both(logits[0], x_l, y_l, dice, loss)

    @contextmanager
    def _dropped_features(self) -> Iterator[None]:
        """Drop half of the channels that the encoder hands to the decoder, on every level."""
        levels = [module for module in self.model.modules() if type(module).__name__ == "SkipConnection"]
        if not levels:
            raise ConfigError(f"UniMatch needs a network with skip connections; {self.config.network} has none.")

        def drop(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            skipped = inputs[0].shape[1]
            deeper = output[:, skipped:] if module is not levels[-1] else F.dropout2d(output[:, skipped:], 0.5)
            return torch.cat([F.dropout2d(output[:, :skipped], 0.5), deeper], 1)

        hooks = [module.register_forward_hook(drop) for module in levels]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


class BidirectionalCopyPaste(Learner):
    """Bai et al. 2023: labelled boxes on unlabelled slices and the reverse; each part has its own source's labels."""

    SIDE = 2 / 3
    UNLABELLED_WEIGHT = 0.5

    def outcome(self, labelled: Labelled, unlabelled: Unlabelled) -> Outcome:
        x_l, y_l = labelled_view(*labelled, self.policy, self.config.labelled_strong)
        if unlabelled is None:
            return _supervised(self.student(x_l), x_l, y_l, self.config.dice)
        view = warp(unlabelled[0], unlabelled[1].weak)
        view = view[torch.arange(len(x_l), device=view.device) % len(view)]
        pseudo = self.look(view).labels
        size = view.shape[-1]
        side = int(self.SIDE * size)
        top, left = torch.randint(0, size - side + 1, (2,), generator=self.generator(7)).tolist()
        box = torch.zeros(size, size, dtype=torch.bool, device=view.device)
        box[top : top + side, left : left + side] = True
        logits = self.student(torch.cat([torch.where(box, x_l, view), torch.where(box, view, x_l)])).float()
        known, labels = (y_l != NOT_ANNOTATED).float(), torch.where(y_l != NOT_ANNOTATED, y_l, 0)
        loss = logits.new_zeros(())
        for guess, people in zip(logits.split(len(x_l)), (box.float(), (~box).float()), strict=True):
            loss = loss + consistency_loss(guess, labels, known * people, self.config.dice)
            loss = loss + self.UNLABELLED_WEIGHT * consistency_loss(
                guess, pseudo, (1 - people).expand_as(known), self.config.dice
            )
        plain = torch.where(box[None, None], logits[: len(x_l)], logits[len(x_l) :]).detach()
        return Outcome(loss.new_zeros(()), loss, x_l, y_l, plain)

    def _ramp(self, progress: float) -> float:
        """Its first quarter at least is supervised; after that the mixed loss is all there is, at full weight."""
        return 0.0 if progress < max(warm_share(self.config, self.step, progress), 0.25) else 1.0


def _upside_down(boxes: Tensor, size: int) -> Tensor:
    """Mirror rectangles (n, 4) from top to bottom."""
    top, bottom, left, right = boxes.unbind(1)
    return torch.stack([size - bottom, size - top, left, right], 1)


def _supervised(logits: Tensor, x_l: Tensor, y_l: Tensor, dice: bool) -> Outcome:
    return _both(logits, x_l, y_l, dice, logits.new_zeros(()))


def _both(logits: Tensor, x_l: Tensor, y_l: Tensor, dice: bool, consistency: Tensor) -> Outcome:
    return Outcome(supervised_loss(logits, y_l, dice), consistency, x_l, y_l, logits.detach())


METHODS: Mapping[str, tuple[type[Learner], Mapping[str, Any]]] = {
    "supervised": (Learner, {"selector": "none"}),
    "identity": (Learner, {"selector": "identity"}),
    "identity-soft": (Learner, {"selector": "identity-soft"}),
    "mean-confidence": (Learner, {"selector": "mean-confidence"}),
    "confidence-map": (Learner, {"selector": "confidence-map"}),
    "equation-1": (Learner, {"selector": "discriminator", "objective": "equation-1"}),
    "segmatch": (Learner, {"selector": "discriminator"}),
    "oracle": (Oracle, {"selector": "identity"}),
    "oracle-pixels": (PixelOracle, {"selector": "identity-soft"}),
    "mean-teacher": (MeanTeacher, {"selector": "identity"}),
    "cps": (CrossPseudoSupervision, {"selector": "identity"}),
    "unimatch": (UniMatch, {"selector": "identity"}),
    "bcp": (BidirectionalCopyPaste, {"selector": "identity"}),
}
"""Method by name: the learner that carries it out, and what it needs of the configuration."""
