"""Who decides which pseudo masks train: the simple selectors and the paper's discriminator."""

import pytest
import torch

from napari_segmatch.config import configure
from napari_segmatch.engine.losses import hard
from napari_segmatch.engine.selectors import (
    ConfidenceMap,
    DiscriminatorSelector,
    Identity,
    Look,
    MeanConfidence,
    NoSelector,
    build_selector,
    gated,
)


def _disc(n=4, size=32, radius=8):
    line = torch.arange(size) - size / 2
    return ((line[:, None] ** 2 + line[None] ** 2) < radius**2).expand(n, size, size).clone()


def _look(probabilities):
    labels = hard(probabilities)
    return Look(probabilities, labels, labels)


def _probabilities(confidence_inside, confidence_outside):
    inside = _disc(1)
    p = torch.where(inside, confidence_inside, 1 - confidence_outside)
    return torch.stack([1 - p, p], 1)


def test_mean_confidence_is_balanced():
    """An unsure lesion is rejected although nearly all pixels are sure background."""
    select = MeanConfidence(0.9)
    unsure, sure = _probabilities(0.6, 0.99), _probabilities(0.97, 0.99)
    assert not select(None, _look(unsure)).accepted.any()
    assert select(None, _look(sure)).accepted.all()


def test_mean_confidence_doubts_a_mask_with_an_unsure_outside():
    """A sure lesion beside pixels that may be more of it."""
    assert not MeanConfidence(0.9)(None, _look(_probabilities(0.99, 0.7))).accepted.any()


def test_mean_confidence_doubts_an_empty_mask_with_a_near_lesion():
    """Nothing segmented, but a spot with p = 0.45: that emptiness is not to be trusted."""
    spot = torch.where(_disc(1), 0.45, 0.01)
    empty = torch.stack([1 - spot, spot], 1)
    assert not MeanConfidence(0.9)(None, _look(empty)).accepted.any()


def test_confidence_map_keeps_single_pixels():
    """Each pixel is weighed on its own."""
    selection = ConfidenceMap(0.95)(None, _look(_probabilities(0.6, 0.99)))
    assert torch.equal(selection.believed[0] == 0, _disc(1)[0])


def test_identity_keeps_all_and_none_keeps_nothing():
    """The two ends of the scale."""
    p = _probabilities(0.6, 0.7)
    assert Identity(0.9)(None, _look(p)).believed.min() == 1
    assert NoSelector(0.9)(None, _look(p)).believed.max() == 0


def test_tau_moves_the_verdict():
    """The discriminator's verdict is score > tau."""
    images, p = torch.randn(1, 1, 32, 32), _probabilities(0.9, 0.9)
    strict = build_selector(configure(tau=1.0, objective="equation-1"), 1, 1)
    mild = build_selector(configure(tau=0.0, objective="equation-1"), 1, 1)
    assert not strict(images, _look(p)).accepted.any()
    assert mild(images, _look(p)).accepted.all()
    assert mild(images, _look(p)).believed.min() == 1


class _Critic(torch.nn.Module):
    """Likes masks by their size: large ones are good, small ones bad."""

    def judge(self, views):
        whole = views[: len(views) // 2, -1] > 0
        return whole.flatten(1).float().sum(1) - 100


@pytest.fixture
def two_classes():
    """A large structure of class 1 and a small one of class 2, on two slices; the second slice is empty."""
    labels = torch.zeros(2, 32, 32, dtype=torch.long)
    labels[0, :16, :16], labels[0, 20:23, 20:23] = 1, 2
    return torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()


def test_discriminator_judges_class_by_class(two_classes):
    """The pixels of a rejected class do not train; those of an accepted one and the background do."""
    selector = DiscriminatorSelector(0.5, 1, 2)
    selector.critics[0] = _Critic()
    said = selector(torch.zeros(2, 1, 32, 32), _look(two_classes))
    assert said.class_scores[0, 0] > 0.99
    assert said.class_scores[0, 1] < 0.01
    assert torch.isnan(said.class_scores[1]).all()
    assert said.believed[0, 5, 5] == 1
    assert said.believed[0, 21, 21] == 0
    assert said.believed[0, 30, 5] == 1
    assert not said.accepted.any()
    assert said.score[0] < 0.01  # the worst class counts


def test_discriminator_shares_its_weights_over_classes(two_classes):
    """It is class-agnostic: renaming the classes renames the verdicts and changes nothing else."""
    torch.manual_seed(0)
    selector = DiscriminatorSelector(0.5, 1, 2).eval()
    images = torch.randn(2, 1, 32, 32)
    one = selector(images, _look(two_classes)).class_scores[0]
    other = selector(images, _look(two_classes[:, [0, 2, 1]])).class_scores[0]
    torch.testing.assert_close(one, other.flip(0))


@pytest.mark.parametrize(("tau", "accepted"), [(0.49, True), (0.5, False), (0.55, False)])
def test_a_mask_is_accepted_above_the_threshold_alone(tau, accepted):
    """A critic with a logit of 0 gives a chance of 0.5."""

    class Even(torch.nn.Module):
        def judge(self, views):
            return torch.zeros(len(views) // 2)

    selector = DiscriminatorSelector(tau, 1, 1)
    selector.critics[0] = Even()
    said = selector(torch.zeros(1, 1, 32, 32), _look(_probabilities(0.9, 0.9)))
    assert said.score.item() == 0.5 and said.accepted.item() is accepted


@pytest.mark.parametrize(
    ("gate", "expected"),
    [  # a sure and an unsure pixel of a mask with a chance of 0.75, then of one with 0.25; tau is 0.5
        ("soft", [0.75, 0.75, 0.25, 0.25]),
        ("hard", [1, 1, 0, 0]),
        ("soft-or-sure", [1, 0.75, 1, 0.25]),
        ("hard-or-sure", [1, 1, 1, 0]),
        ("soft-and-sure", [0.75, 0, 0.25, 0]),
        ("hard-and-sure", [1, 0, 0, 0]),
    ],
)
def test_gate_joins_the_chance_of_a_mask_with_the_sureness_of_its_pixels(gate, expected):
    sure = torch.tensor([0.99, 0.6, 0.99, 0.6]).view(2, 1, 2)
    look = _look(torch.stack([1 - sure, sure], 1))
    chances = torch.tensor([[0.1, 0.75], [0.1, 0.25]])
    assert gated(chances, look, gate, 0.5).flatten().tolist() == pytest.approx(expected)
