"""Algorithm 1 of the paper: one step's losses, from tensors to tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..config import TrainConfig
from ..types import NOT_ANNOTATED
from .geometry import inside, inverse, seen_after, warp, weak
from .losses import consistency_loss, one_hot, supervised_loss
from .parts import alone
from .policy import Drawn, Policy
from .selectors import Look, Selection

Network = Callable[[Tensor], Tensor]
Teacher = Callable[[Tensor], Look]
Selector = Callable[[Tensor, Look], Selection]


@dataclass(frozen=True)
class Views:
    """All that chance decides about one batch of slices: T1, T2 and the boxes of CutMix.

    The strong view starts from the weak one: T2 = ``beyond`` T1, hence T1 T2^-1 = ``beyond``^-1. Mixing happens
    in the weak frame, between the two, so that a pseudo mask and its verdict travel with their pixels; labelled slices
    are mixed before T1, if at all: then they have boxes. ``stray`` (n, size, size) bool marks what is background,
    whatever the teacher thinks: the whole case shows it.
    """

    weak: Tensor
    strong: Drawn
    beyond: Tensor
    box: Tensor
    partner: Tensor
    paste: Tensor | None
    stray: Tensor | None = None


def draw_views(n: int, config: TrainConfig, policy: Policy, generator: torch.Generator, unlabelled: bool) -> Views:
    """Draw the views of n slices. The only place where the step meets chance.

    Unlabelled ones are mixed; labelled ones are the probes that the policy learns from.
    """
    strong = policy.draw(n, generator, probe=not unlabelled)
    chance = config.cutmix if unlabelled else config.labelled_cutmix
    box = _boxes(n, config.size, chance, generator)
    return Views(
        weak=weak(n, config.size, config.flip, config.shift, generator),
        strong=strong,
        beyond=policy.matrix(strong),
        box=box if unlabelled or chance else box[:0],
        partner=torch.randperm(n, generator=generator),
        paste=torch.rand(n, generator=generator) < config.paste if unlabelled and config.paste else None,
    )


def kept_apart(views: Views, folds: Tensor) -> Views:
    """Return views of labelled slices whose boxes come from their own fold (n,): no understudy may learn from both."""
    if not len(views.box):
        return views
    partner = torch.arange(len(folds))
    for fold in (0, 1):
        mine = (folds == fold).nonzero()[:, 0]
        partner[mine] = mine.roll(1)
    return replace(views, partner=partner)


def _boxes(n: int, size: int, chance: float, generator: torch.Generator) -> Tensor:
    """Draw rectangles of 5 to 40 % of the image: top, bottom, left and right (n, 4); empty where chance says so."""
    drawn = torch.rand(n, 5, generator=generator)
    area = 0.05 + 0.35 * drawn[:, 0]
    ratio = torch.exp((drawn[:, 1] - 0.5) * 1.4)
    height, width = (area * ratio).sqrt().clamp_max(1) * size, (area / ratio).sqrt().clamp_max(1) * size
    top, left = drawn[:, 2] * (size - height), drawn[:, 3] * (size - width)
    height = torch.where(drawn[:, 4] < chance, height, 0.0)
    return torch.stack([top, top + height, left, left + width], 1)


def in_boxes(boxes: Tensor, size: int) -> Tensor:
    """Mark the pixels that lie in rectangles (n, 4), (n, size, size) bool."""
    line = torch.arange(size, device=boxes.device)
    top, bottom, left, right = boxes[:, :, None].unbind(1)
    rows, columns = (line >= top) & (line < bottom), (line >= left) & (line < right)
    return rows[:, :, None] & columns[:, None, :]


@dataclass(frozen=True)
class Outcome:
    """The two losses, and what the discriminator's update needs: all but the losses without gradient."""

    supervised: Tensor
    consistency: Tensor
    labelled_view: Tensor
    labelled_mask: Tensor
    labelled_logits: Tensor
    unlabelled_view: Tensor | None = None
    look: Look | None = None
    selection: Selection | None = None

    def detached(self) -> Outcome:
        """Return the same, its losses without gradient."""
        return replace(self, supervised=self.supervised.detach(), consistency=self.consistency.detach())


def placed(images: Tensor, labels: Tensor, views: Views, strong: bool) -> tuple[Tensor, Tensor]:
    """Return labelled slices and labels, mixed, where the views have them; pixels from outside are not annotated."""
    if len(views.box):
        box = in_boxes(views.box, images.shape[-1])
        images = torch.where(box[:, None], images[views.partner], images)
        labels = torch.where(box, labels[views.partner], labels)
    matrix = views.beyond @ views.weak if strong else views.weak
    moved = warp(labels[:, None].float(), matrix, mode="nearest")[:, 0].byte()
    known = inside(matrix, images.shape[-1], images.device) > 0
    return warp(images, matrix), torch.where(known, moved, NOT_ANNOTATED)


def labelled_view(images: Tensor, labels: Tensor, views: Views, policy: Policy, strong: bool) -> tuple[Tensor, Tensor]:
    """Return T1(x_l), T1(y_l), or the strong view of both."""
    seen, moved = placed(images, labels, views, strong)
    return (policy.apply(seen, views.strong) if strong else seen), moved


def pseudo_masks(teacher: Teacher, selector: Selector, images: Tensor, views: Views) -> tuple[Tensor, Look, Selection]:
    """Line 5: predict on T1(x_u) and let the selector decide. Returns the view, how it is seen, and the selection."""
    with torch.no_grad():
        view = warp(images, views.weak)
        look = teacher(view)
        return view, look, selector(view, look)


def without_strays(look: Look, views: Views) -> Look:
    """Return how slices are seen but for their stray parts, which become background."""
    if views.stray is None:
        return look
    return alone(look, warp(views.stray[:, None].float(), views.weak, mode="nearest")[:, 0] < 0.5)


def pseudo_targets(look: Look, believed: Tensor, blend: bool) -> tuple[Tensor, Tensor]:
    """Return what unlabelled slices train towards and how much each pixel counts (n, h, w).

    A pixel that is believed is taken for certain. One that is not would only sharpen the teacher's errors that way: it
    counts for nothing, as in the paper, or (``blend``) keeps the teacher's doubt, and the student learns to have the
    same doubt in its strong view.

    Parameters
    ----------
    believed
        (n, h, w) between 0 and 1.

    Returns
    -------
    tuple
        The pseudo mask (n, h, w) and ``believed``; or a soft one (n, classes + 1, h, w) and ones.
    """
    if not blend:
        return look.labels, believed
    certain = one_hot(look.labels, look.probabilities.shape[1])
    return torch.lerp(look.probabilities, certain, believed[:, None]), torch.ones_like(believed)


def mix(
    views: Views, images: Tensor, target: Tensor, weight: Tensor, labelled: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Fill each slice's box from its partner in the batch (CutMix), or from a labelled slice with its labels.

    Pixels take their targets (n, h, w), or (n, k, h, w) where these are soft, and their weights along.
    """
    box, partner, paste = in_boxes(views.box, images.shape[-1]), views.partner, views.paste
    donors, targets, weights = images[partner], target[partner], weight[partner]
    if paste is not None:
        rows = partner % len(labelled[0])
        known = labelled[1][rows] != NOT_ANNOTATED
        theirs = torch.where(known, labelled[1][rows], 0)
        if target.ndim == 4:
            theirs = one_hot(theirs, target.shape[1])
        donors = torch.where(paste[:, None, None, None], labelled[0][rows], donors)
        targets = torch.where(paste.view(-1, *[1] * (target.ndim - 1)), theirs, targets)
        weights = torch.where(paste[:, None, None], known.float(), weights)
    wide = box[:, None] if target.ndim == 4 else box
    return (
        torch.where(box[:, None], donors, images),
        torch.where(wide, targets, target),
        torch.where(box, weights, weight),
    )


def mixed_view(
    views: Views, images: Tensor, target: Tensor, weight: Tensor, labelled: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return weak views, mixed, where the strong view has them; mixed targets and weights stay in the weak frame.

    What the strong view does not show has weight 0.
    """
    mixed, target, weight = mix(views, images, target, weight, labelled)
    weight = weight * seen_after(views.beyond, images.shape[-1], images.device)
    return warp(mixed, views.beyond), target, weight


def strong_images(
    policy: Policy, labelled: tuple[Tensor, Views], unlabelled: tuple[Tensor, Views], labelled_strong: bool
) -> Tensor:
    """Return what the student sees of both kinds: placed slices with the grey values of T2, in one go."""
    (x_l, views_l), (x_u, views_u) = labelled, unlabelled
    if labelled_strong:
        return policy.apply(torch.cat([x_l, x_u]), views_l.strong.joined(views_u.strong))
    return torch.cat([x_l, policy.apply(x_u, views_u.strong)])


def algorithm_1(
    student: Network,
    teacher: Teacher,
    selector: Selector,
    policy: Policy,
    labelled: tuple[Tensor, Tensor, Views],
    unlabelled: tuple[Tensor, Views] | None,
    labelled_strong: bool = True,
    dice: bool = True,
    blend: bool = False,
) -> Outcome:
    """Compute L_s and L_u of one step.

    Parameters
    ----------
    student, teacher
        M, and its moving average which makes the pseudo masks (the paper uses M itself).
    selector
        D: says which pseudo masks count.
    labelled
        x_l (B, c, h, w), y_l (B, h, w) and their views.
    unlabelled
        x_u (mu B, c, h, w) and their views; None during warm-up.
    labelled_strong
        Whether x_l is seen in its strong view.
    dice
        Whether H is cross-entropy plus Dice, or the paper's cross-entropy alone.
    blend
        Whether what D does not believe trains all the same, by the teacher's probabilities: see :func:`pseudo_targets`.

    Notes
    -----
    Line 4: L_s = H(M(T1(x_l)), T1(y_l)). Line 5: y^ = D(M(T1(x_u))). Line 6:
    L_u = 1{y^} H(T1 T2^-1 M(T2(x_u)), y^) / mu B, on pixels that the strong view shows; with ``blend`` y^ is a soft
    mask, and there is no 1{}. One forward pass of M serves both batches.
    """
    if unlabelled is None:
        x_l, y_l = labelled_view(*labelled, policy, labelled_strong)
        logits = student(x_l)
        return Outcome(supervised_loss(logits, y_l, dice), logits.new_zeros(()), x_l, y_l, logits.detach())

    (x_u, views), n = unlabelled, len(labelled[0])
    weak_view, look, selection = pseudo_masks(teacher, selector, x_u, views)
    pseudo, weight = pseudo_targets(without_strays(look, views), selection.believed, blend)
    weight = weight * inside(views.weak, x_u.shape[-1], x_u.device)
    x_l, y_l = placed(*labelled, labelled_strong)
    x_s, target, weight = mixed_view(views, weak_view, pseudo, weight, labelled[:2])
    seen = strong_images(policy, (x_l, labelled[2]), (x_s, views), labelled_strong)
    logits_l, logits_u = student(seen).split([n, len(seen) - n])
    aligned = warp(logits_u, inverse(views.beyond))
    return Outcome(
        supervised=supervised_loss(logits_l, y_l, dice),
        consistency=consistency_loss(aligned, target, weight, dice),
        labelled_view=seen[:n],
        labelled_mask=y_l,
        labelled_logits=logits_l.detach(),
        unlabelled_view=weak_view,
        look=look,
        selection=selection,
    )
