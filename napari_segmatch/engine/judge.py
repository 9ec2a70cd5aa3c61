"""The quality critic: a discriminator that says how likely a mask is to be good, and is held to it.

Learning what a *wrong* mask looks like needs predictions on slices that their model has not trained on. Labelled
cases therefore fall into two folds. For each fold there is an **understudy**, a small network that trains on it, and
a **critic**, the discriminator that trains on it: an understudy's masks of the *other* fold are honest predictions
with a known Dice. Critic 0 learns from fold 0, where understudy 1 is the one that predicts.

Now and then the judge is **examined**: understudy and critic of one fold meet labelled slices of the other, which
neither has seen. A logistic rule turns what is known there of a mask (the critic's opinion, the model's agreement
with itself on the mirror image, its certainty, the mask's size) into the chance that its Dice is at least 0.8. The
threshold for a verdict is the lowest at which a stated share of those accepted was good; until the examination is
passed, no verdict is used.

A handful of labelled patients shows a critic too few heads. So it also learns on unlabelled slices on which the
teacher agrees with itself: there the teacher's mask stands in for the truth, and the understudies' masks, honest
ones on any unlabelled slice, and spoilt copies are the candidates.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config import TrainConfig
from ..types import NOT_ANNOTATED
from .calibration import Report, auroc, chance, fit_rule, precision_bound, threshold
from .corruptions import corrupted
from .data import ResidentPool
from .discriminator import GOOD, Discriminator, annotated, dice_of, one_question, quality_loss
from .losses import hard, supervised_loss
from .networks import build
from .selectors import DiscriminatorSelector, Look, Selection, emptiness, mask_certainty, of_pixels

BOUND = 0.85
"""At least this share of accepted masks is to be good: the lower bound on the slices of an examination."""

EXAMINED = 128
"""Labelled slices in one examination, at most."""

SURE = 0.95
"""Pixels as sure as this count where the verdict does not."""

AGREED = 0.9
"""Dice between the teacher's two looks from which its mask may stand in for the truth."""

FEW = 5
"""Below this number of labelled cases a threshold cannot be stated: the better half of the masks is accepted."""


class Judge(DiscriminatorSelector):
    """The selector ``discriminator`` with the objective ``quality``."""

    def __init__(self, config: TrainConfig, channels: int, classes: int) -> None:
        super().__init__(0.5 if config.tau is None else config.tau, channels, classes)
        self.given_tau, self.gate = config.tau, config.gate
        self.critics = nn.ModuleList([Discriminator(channels) for _ in range(2)])
        self.understudies = nn.ModuleList([build("unet", channels, classes + 1, 8) for _ in range(2)])
        self.mask_rule: Tensor
        self.empty_rule: Tensor
        self.record: Tensor
        self.register_buffer("mask_rule", torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0]))
        self.register_buffer("empty_rule", torch.tensor([1.0, 0.0]))
        self.register_buffer("record", torch.tensor([0.0, 0.0, -1.0, -1.0, 0.0]))

    # verdicts --------------------------------------------------------------------------------------------

    @property
    def report(self) -> Report:
        """What the last examination has shown."""
        slices, good, area, tau, bound = self.record.tolist()  # -1 where there is nothing to tell yet
        return Report(int(slices), int(good), area if area >= 0 else float("nan"), tau if tau >= 0 else None, bound)

    def forward(self, images: Tensor, look: Look) -> Selection:
        report = self.report
        if self.given_tau is None:
            self.tau = 0.5 if report.tau is None else report.tau
        return super().forward(images, look)

    def weight(self, chances: Tensor, look: Look) -> Tensor:
        sure = (look.probabilities.amax(1) >= SURE).float()
        if not self.report.proven:
            return sure
        if self.gate == "hard":
            return super().weight(chances, look)
        soft = of_pixels(chances, look)
        return torch.maximum(soft, sure) if self.gate == "soft-or-sure" else soft

    def mask_chance(self, images: Tensor, masks: Tensor, look: Look, label: int) -> Tensor:
        known = chance(features(self.opinion(images, masks), masks, look, label), self.mask_rule)
        if label:
            return known
        nothing = chance(_logit(emptiness(look.probabilities))[:, None], self.empty_rule)
        return torch.where(masks.flatten(1).any(1), known, nothing)

    # learning --------------------------------------------------------------------------------------------

    def loss(self, images: Tensor, labels: Tensor, folds: Tensor, predicted: Tensor, generator: torch.Generator,
             dice: bool) -> Tensor:  # fmt: skip
        """Return the loss of understudies and critics on labelled views (n, c, h, w).

        Parameters
        ----------
        folds
            (n,): 0 or 1.
        predicted
            The student's own labels (n, h, w): masks of the kind that will be judged.
        """
        total = images.new_zeros(())
        for fold in (0, 1):
            mine = folds == fold
            if not mine.any():
                continue
            total = total + supervised_loss(self.understudies[fold](images[mine]), labels[mine], dice)
            mine = mine & annotated(labels)
            if mine.any():
                total = total + self._critic_loss(fold, images[mine], labels[mine], predicted[mine], generator)
        return total

    def unlabelled_loss(self, images: Tensor, look: Look, generator: torch.Generator) -> Tensor:
        """Return the critics' loss on weak views (n, c, h, w) of unlabelled slices, and how the teacher sees them."""
        agreed = dice_of(look.first > 0, look.second > 0) >= AGREED
        rows = (agreed & (look.labels > 0).flatten(1).any(1)).nonzero()[:, 0]
        total = images.new_zeros(())
        for fold in (0, 1):
            mine = rows[fold::2]
            if len(mine):
                total = total + self._critic_loss(fold, images[mine], look.labels[mine], look.first[mine], generator)
        return total

    def _critic_loss(
        self, fold: int, images: Tensor, labels: Tensor, predicted: Tensor, generator: torch.Generator
    ) -> Tensor:
        with torch.no_grad():
            guessed = hard(self.understudies[1 - fold](images))
        truth, guesses = one_question(labels, torch.stack([guessed, predicted]), self.classes, generator)
        candidates = torch.cat([truth[None], guesses, corrupted(truth, generator)])
        return quality_loss(self.critics[fold], images, truth, candidates)

    # examination -----------------------------------------------------------------------------------------

    @torch.no_grad()
    def examine(self, pool: ResidentPool, mirror: bool, generator: torch.Generator) -> Report:
        """Meet labelled slices that were held out, fit the rules and note how well they do."""
        known, good, fold_of, nothing, empty = [], [], [], [], []
        for fold in (0, 1):
            rows = pool.labelled[pool.folds[pool.labelled] == 1 - fold]
            rows = rows[torch.randperm(len(rows), generator=generator)[: EXAMINED // 2]].to(pool.images.device)
            for part in rows.split(16) if len(rows) else ():
                images, labels = pool.slices(part), pool.labels[part].long()
                usable = annotated(labels)
                look = look_with(self.understudies[fold], images, mirror)
                for label in range(self.classes + 1) if self.classes > 1 else (0,):
                    mask = look.labels == label if label else look.labels > 0
                    truth = labels == label if label else (labels > 0) & (labels != NOT_ANNOTATED)
                    mask = mask & (labels != NOT_ANNOTATED)
                    shown = mask.flatten(1).any(1) & usable
                    opinion = self.critics[fold](images, mask)
                    known.append(features(opinion, mask, look, label)[shown])
                    good.append((dice_of(mask, truth) >= GOOD)[shown])
                    fold_of += [fold] * int(shown.sum())
                    if not label:
                        nothing.append(_logit(emptiness(look.probabilities))[~shown & usable, None])
                        empty.append(~truth.flatten(1).any(1)[~shown & usable])
        self._learn_rules(torch.cat(known).cpu(), torch.cat(good).cpu(), torch.tensor(fold_of), pool.cases_labelled)
        self._learn_empty(torch.cat(nothing).cpu(), torch.cat(empty).cpu())
        return self.report

    def _learn_rules(self, known: Tensor, good: Tensor, fold_of: Tensor, cases: int) -> None:
        """Fit the rule on all, and judge it by rules that were fitted on the other fold."""
        if min(int(good.sum()), int((~good).sum())) < 2:
            return
        held_out = torch.full((len(good),), 0.5)
        for fold in (0, 1):
            other, mine = fold_of != fold, fold_of == fold
            if mine.any() and 0 < int(good[other].sum()) < int(other.sum()):
                held_out[mine] = chance(known[mine], fit_rule(known[other], good[other]))
        scores, right = held_out.numpy(), good.numpy()
        tau = threshold(scores, right, BOUND) if cases >= FEW else None
        if tau is None:
            tau = max(0.5, float(held_out.quantile(0.5)))
        accepted = scores > tau
        bound = precision_bound(int(right[accepted].sum()), int(accepted.sum()))
        self.mask_rule.copy_(fit_rule(known, good))
        self.record.copy_(torch.tensor([len(good), int(good.sum()), auroc(scores, right), tau, bound]))

    def _learn_empty(self, nothing: Tensor, empty: Tensor) -> None:
        if min(int(empty.sum()), int((~empty).sum())) >= 2:
            self.empty_rule.copy_(fit_rule(nothing, empty))


def features(opinion: Tensor, masks: Tensor, look: Look, label: int) -> Tensor:
    """Return what speaks for masks (n, h, w) of one class, or of everything (label 0): (n, 4)."""
    first, second = (look.first == label, look.second == label) if label else (look.first > 0, look.second > 0)
    agreement, certainty = _logit(dice_of(first, second)), _logit(mask_certainty(look.probabilities))
    size = masks.flatten(1).float().mean(1).sqrt() * 10
    return torch.stack([opinion.float(), agreement, certainty, size], 1)


def _logit(share: Tensor) -> Tensor:
    return torch.logit(share.float().clamp(0.005, 0.995))


def look_with(network: nn.Module, images: Tensor, mirror: bool) -> Look:
    """Look at slices (n, c, h, w) with a network, and at their mirror images if left and right do not matter."""
    once = network(images).float().softmax(1)
    if not mirror:
        labels = hard(once)
        return Look(once, labels, labels)
    again = network(images.flip(-1)).float().softmax(1).flip(-1)
    return Look((once + again) / 2, hard(once), hard(again))
