"""Algorithm 1 of the paper: one step's losses, from tensors to tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import TrainConfig
from ..types import NOT_ANNOTATED
from .geometry import inside, seen_after, warp, weak
from .losses import consistency_loss, hard, supervised_loss
from .policy import Drawn, Policy
from .selectors import Selection

Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Views:
    """All that chance decides about one batch of slices: T1, T2 and the boxes of CutMix.

    The strong view starts from the weak one: T2 = ``beyond`` T1, hence T1 T2^-1 = ``beyond``^-1. Mixing happens
    in the weak frame, between the two, so that a pseudo mask and its verdict travel with their pixels.
    """

    weak: Tensor
    strong: Drawn
    beyond: Tensor
    box: Tensor
    partner: Tensor


def draw_views(n: int, config: TrainConfig, policy: Policy, generator: torch.Generator, mix: bool) -> Views:
    """Draw the views of n slices. The only place where the step meets chance."""
    strong = policy.draw(n, generator)
    return Views(
        weak=weak(n, config.size, config.flip, config.shift, generator),
        strong=strong,
        beyond=policy.matrix(strong),
        box=_boxes(n, config.size, config.cutmix if mix else 0.0, generator),
        partner=torch.randperm(n, generator=generator),
    )


def _boxes(n: int, size: int, chance: float, generator: torch.Generator) -> Tensor:
    """Draw rectangles of 5 to 40 % of the image, (n, size, size) bool; empty where chance says so."""
    drawn = torch.rand(n, 5, generator=generator)
    area = 0.05 + 0.35 * drawn[:, 0]
    ratio = torch.exp((drawn[:, 1] - 0.5) * 1.4)
    height, width = (area * ratio).sqrt().clamp_max(1) * size, (area / ratio).sqrt().clamp_max(1) * size
    top, left = drawn[:, 2] * (size - height), drawn[:, 3] * (size - width)
    line = torch.arange(size)
    rows = (line >= top[:, None]) & (line < (top + height)[:, None])
    columns = (line >= left[:, None]) & (line < (left + width)[:, None])
    return rows[:, :, None] & columns[:, None, :] & (drawn[:, 4] < chance)[:, None, None]


@dataclass(frozen=True)
class Outcome:
    """The two losses, and what the discriminator's update needs: all but the losses without gradient."""

    supervised: Tensor
    consistency: Tensor
    labelled_view: Tensor
    labelled_mask: Tensor
    labelled_prediction: Tensor
    pseudo: Tensor | None = None
    selection: Selection | None = None


def labelled_view(images: Tensor, labels: Tensor, views: Views, policy: Policy, strong: bool) -> tuple[Tensor, Tensor]:
    """Return T1(x_l), T1(y_l), or the strong view of both; pixels from outside the image are not annotated."""
    matrix = views.beyond @ views.weak if strong else views.weak
    seen = warp(images, matrix)
    if strong:
        seen = policy.apply(seen, views.strong)
    moved = warp(labels[:, None].float(), matrix, mode="nearest")[:, 0].long()
    return seen, torch.where(inside(matrix, images.shape[-1], images.device) > 0, moved, NOT_ANNOTATED)


def pseudo_masks(teacher: Network, selector: Callable[[Tensor, Tensor], Selection], images: Tensor,
                 views: Views) -> tuple[Tensor, Tensor, Selection]:  # fmt: skip
    """Line 5: predict on T1(x_u) and let the selector decide. Returns view, hard masks and selection."""
    with torch.no_grad():
        view = warp(images, views.weak)
        probabilities = teacher(view).float().softmax(1)
        return view, hard(probabilities), selector(view, probabilities)


def algorithm_1(
    student: Network,
    teacher: Network,
    selector: Callable[[Tensor, Tensor], Selection],
    policy: Policy,
    labelled: tuple[Tensor, Tensor, Views],
    unlabelled: tuple[Tensor, Views] | None,
    labelled_strong: bool = True,
    dice: bool = True,
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

    Notes
    -----
    Line 4: L_s = H(M(T1(x_l)), T1(y_l)). Line 5: y^ = D(M(T1(x_u))). Line 6:
    L_u = 1{y^} H(T1 T2^-1 M(T2(x_u)), y^) / mu B, on pixels that the strong view shows. One forward pass of M
    serves both batches.
    """
    x_l, y_l = labelled_view(labelled[0], labelled[1], labelled[2], policy, labelled_strong)
    if unlabelled is None:
        logits = student(x_l)
        return Outcome(supervised_loss(logits, y_l, dice), logits.new_zeros(()), x_l, y_l, hard(logits.detach()))

    x_u, views = unlabelled
    weak_view, pseudo, selection = pseudo_masks(teacher, selector, x_u, views)
    box, partner = views.box.to(x_u.device), views.partner.to(x_u.device)
    weight = selection.weight * inside(views.weak, x_u.shape[-1], x_u.device)
    mixed = torch.where(box[:, None], weak_view[partner], weak_view)
    target = torch.where(box, pseudo[partner], pseudo)
    weight = torch.where(box, weight[partner], weight) * seen_after(views.beyond, x_u.shape[-1], x_u.device)
    strong_view = policy.apply(warp(mixed, views.beyond), views.strong)

    logits = student(torch.cat([x_l, strong_view]))
    logits_l, logits_u = logits[: len(x_l)], logits[len(x_l) :]
    aligned = warp(logits_u, torch.linalg.inv(views.beyond))
    return Outcome(
        supervised=supervised_loss(logits_l, y_l, dice),
        consistency=consistency_loss(aligned, target, weight, dice),
        labelled_view=x_l,
        labelled_mask=y_l,
        labelled_prediction=hard(logits_l.detach()),
        pseudo=pseudo,
        selection=selection,
    )
