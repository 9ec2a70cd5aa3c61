"""The quality critic: a discriminator that says how likely a mask is to be good, and is held to it.

Learning what a *wrong* mask looks like needs predictions on slices that their model has not trained on. Labelled
cases therefore fall into two folds. For each fold there is an **understudy**, a small network that trains on it, and
a **critic**, the discriminator that trains on it: an understudy's masks of the *other* fold are honest predictions
with a known Dice. Critic 0 learns from fold 0, where understudy 1 is the one that predicts.

Now and then the judge is **examined**: understudy and critic of one fold meet labelled slices of the other, which
neither has seen; if there are validation cases, teacher and critics meet those. A logistic rule turns what is known
there of a mask (the critic's opinion, and how sure the model is of it) into the chance that its Dice is at least 0.8.
The threshold for a verdict is the lowest at which a stated share of those accepted was good; until the examination is
passed, no verdict is used. Only labelled cases state it: validation cases are few, and people choose what they judge.
What they say of the teacher's own masks moves the rule as well.

An understudy that learned from a few labels alone would make other masks than the teacher does, far worse ones and
less sure, and what holds of them would not hold of his. So the understudies also follow the teacher on unlabelled
slices, and by how much surer he still is of his masks there is made up for.

A handful of labelled patients shows a critic too few heads. So it also learns on unlabelled slices on which the
teacher agrees with itself: there the teacher's mask stands in for the truth, and the understudies' masks, honest
ones on any unlabelled slice, and spoilt copies are the candidates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..config import TrainConfig
from .answers import Held
from .calibration import OF_EMPTY_SLICES, Judged, Report, chance, fit_rule, of_masks, report_on
from .chance import Source
from .corruptions import corrupted
from .data import ResidentPool
from .device import rows_that
from .discriminator import Discriminator, annotated, one_question, quality_loss, verdict_loss
from .evidence import evidence, logit, self_agreement
from .examination import Examination
from .losses import consistency_loss, hard, supervised_loss
from .networks import build
from .selectors import DiscriminatorSelector, Look, emptiness, gated, rows_of, sure_ones

EXAMINED = 128
"""Labelled slices in one examination, at most."""

AGREED = 0.9
"""Dice between the teacher's two looks from which its mask may stand in for the truth."""

WORDS = 10.0
"""Masks of validation cases that count for so many independent ones say whether the judge is proven; those that people
judged do where an examination met too few of either kind to say."""

NOBODY = Judged.of_cases([], 0)


class Judge(DiscriminatorSelector):
    """The selector ``discriminator`` with the objective ``quality``."""

    def __init__(self, config: TrainConfig, channels: int, classes: int) -> None:
        super().__init__(math.inf, channels, classes)
        self.given_tau, self.gate = config.tau, config.gate
        self.critics = nn.ModuleList([Discriminator(channels) for _ in range(2)])
        self.understudies = nn.ModuleList([build("unet", channels, classes + 1, 8) for _ in range(2)])
        self.mask_rule: Tensor
        self.empty_rule: Tensor
        self.record: Tensor
        self.register_buffer("mask_rule", of_masks(0.0).rule)
        self.register_buffer("empty_rule", OF_EMPTY_SLICES.rule)
        self.usual: Tensor
        self.register_buffer("usual", torch.tensor(math.nan))
        self.register_buffer("record", Report(0, 0, math.nan, None, 0.0).numbers)

    # verdicts --------------------------------------------------------------------------------------------

    @property
    def report(self) -> Report:
        """What examinations have shown."""
        return Report.of(self.record)

    @property
    def threshold(self) -> Tensor:
        """Above which score a mask is accepted: none is until the judge is proven."""
        tau = Report.tau_in(self.record) if self.given_tau is None else self.given_tau
        return torch.where(Report.proven_in(self.record), tau, math.inf)

    def believed(self, chances: Tensor, look: Look) -> Tensor:
        proven = gated(chances, look, self.gate, self.threshold)
        return torch.where(Report.proven_in(self.record), proven, sure_ones(look))

    def mask_chance(self, images: Tensor, masks: Tensor, look: Look, label: int) -> Tensor:
        chances = chance(logit(emptiness(look.probabilities)), self.empty_rule)
        shown = masks.flatten(1).any(1)
        rows = rows_that(shown)
        if len(rows):
            images, masks, look = images[rows], masks[rows], rows_of(look, rows)
            asked = chance(evidence(self.opinion(images, masks), masks, look, label), self.mask_rule)
            chances[rows] = torch.where(shown[rows], asked, chances[rows])
        return chances

    def margin(self, scores: Tensor) -> Tensor:
        """Return by how much more speaks for masks with these scores than even chance is expected to need.

        It is kept with a proposal: a person's word on it moves the rule, later in this run and in other ones. NaN
        before the first examination.
        """
        slope, constant = self.mask_rule
        return (torch.logit(scores, eps=1e-6) - constant) / slope - self.expected_half

    @property
    def expected_half(self) -> float:
        """What speaks for a mask that is expected to be good with even chance, from a model as sure as this one."""
        return of_masks(float(self.usual)).half

    # learning --------------------------------------------------------------------------------------------

    def loss(self, images: Tensor, labels: Tensor, folds: Tensor, scores: Sequence[Tensor], predicted: Tensor,
             source: Source, dice: bool) -> Tensor:  # fmt: skip
        """Return the loss of understudies and critics on labelled views (n, c, h, w).

        Parameters
        ----------
        folds
            (n,): 0 or 1.
        scores
            What either understudy sees there.
        predicted
            The student's own labels (n, h, w): masks of the kind that will be judged.
        """
        total = images.new_zeros(())
        for fold in (0, 1):
            mine = folds == fold
            guesses = torch.stack([hard(scores[1 - fold].detach()), predicted])
            total = total + supervised_loss(scores[fold], labels, dice, mine)
            total = total + self._critic_loss(fold, images, labels, guesses, mine & annotated(labels), source)
        return total

    def understudies_on(self, *kinds: Tensor) -> list[tuple[Tensor, ...]]:
        """Return what either understudy sees of some batches, all in one pass: of each (n, classes + 1, h, w)."""
        together, sizes = torch.cat(kinds), [len(kind) for kind in kinds]
        return list(zip(*(understudy(together).split(sizes) for understudy in self.understudies), strict=True))

    def following_loss(self, scores: Sequence[Tensor], look: Look, folds: Tensor) -> Tensor:
        """Return the loss of understudies that follow the teacher on weak views of n unlabelled slices.

        Slices of a patient with labels are kept from the understudy that will be examined on that patient.
        """
        total, whole = scores[0].new_zeros(()), torch.ones_like(look.probabilities[:, 0])
        for fold, guess in enumerate(scores):
            total = total + consistency_loss(guess, look.probabilities, whole, counted=folds != 1 - fold)
        return total

    def unlabelled_loss(
        self, images: Tensor, scores: Sequence[Tensor], look: Look, folds: Tensor, source: Source
    ) -> Tensor:
        """Return the critics' loss on weak views (n, c, h, w) of unlabelled slices, and how the teacher sees them.

        Slices of a patient with labels have a fold (n,); the others, -1, go to the critics in turn.
        """
        total = images.new_zeros(())
        turn = torch.arange(len(images), device=images.device) % 2
        folds = torch.where(folds < 0, turn, folds)
        usable = self_agreement(look) >= AGREED
        for fold in (0, 1):
            guesses = torch.stack([hard(scores[1 - fold].detach()), look.first])
            total = total + self._critic_loss(fold, images, look.labels, guesses, usable & (folds == fold), source)
        return total

    def lesson_loss(self, images: Tensor, masks: Tensor, targets: Tensor, folds: Tensor) -> Tensor:
        """Return the critics' loss on masks that people have judged, but for those on which a critic is examined."""
        total = images.new_zeros(())
        for fold, critic in enumerate(self.critics):
            mine = folds != 1 - fold
            rows = rows_that(mine)
            if len(rows):
                total = total + verdict_loss(critic(images[rows], masks[rows]), targets[rows], mine[rows])
        return total / len(self.critics)

    def _critic_loss(
        self, fold: int, images: Tensor, labels: Tensor, guesses: Tensor, mine: Tensor, source: Source
    ) -> Tensor:
        """Return the loss of a critic on those slices that are its own, with predicted labels (k, n, h, w)."""
        rows = rows_that(mine, most=math.ceil(5 / 8 * len(mine)))
        if not len(rows):
            return images.new_zeros(())
        truth, guessed = one_question(labels[rows], guesses[:, rows], self.classes, source)
        candidates = torch.cat([truth[None], guessed, corrupted(truth, source)])
        return quality_loss(self.critics[fold], images[rows], truth, candidates, mine[rows])

    # examination -----------------------------------------------------------------------------------------

    @torch.no_grad()
    def examine(
        self, pool: ResidentPool, teacher: nn.Module, mirror: bool, generator: torch.Generator, held: Held | None = None
    ) -> Report:
        """Meet understudies' masks of labelled cases, the teacher's own of validation cases, and what people said.

        The rules are fitted to them; returned is how well they do.
        """
        examination = Examination(self, pool, teacher, mirror, generator)
        met, own = examination.of_understudies(EXAMINED), examination.of_teacher(held)
        if usual := examination.for_teacher() or [known for known, _ in met.masks]:
            self.usual.fill_(float(torch.cat(usual).mean()))
        if not self.usual.isnan():
            said = NOBODY if pool.lessons is None else pool.lessons.said(self.expected_half)
            self._learn_masks(met.of_masks, said, pool.patients_labelled, own.of_masks)
        if met.blanks or own.blanks:
            self.empty_rule.copy_(fit_rule(Judged.together(met.of_blanks, own.of_blanks), OF_EMPTY_SLICES))
        return self.report

    def _learn_masks(self, met: Judged, said: Judged, cases: int, own: Judged = NOBODY) -> None:
        """Fit the rule to masks of the examination and to those that people judged, and note how well it does.

        Only labelled cases can say what share passes a threshold: people choose what they judge, and validation cases
        are few. Each kind may show that the judge tells good masks from bad ones, the teacher's own before others, but
        each by itself: that one kind is better than the other says nothing.
        """
        self.mask_rule.copy_(fit_rule(Judged.together(met, own, said), of_masks(float(self.usual))))
        rule = self.mask_rule.cpu()
        report = report_on(met, rule, cases)
        if own.independent >= WORDS and (of_own := report_on(own, rule, tau=report.tau)).met_both:
            report = of_own
        elif not report.met_both and said.independent >= WORDS:
            report = report_on(said, rule)
        self.record.copy_(report.after(self.report).numbers)


def can_tell(selector: nn.Module) -> bool:
    """Whether a selector's verdicts mean something: a quality critic has to prove itself first."""
    return not isinstance(selector, Judge) or selector.report.proven
