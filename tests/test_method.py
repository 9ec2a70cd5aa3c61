"""Algorithm 1, its selectors and its discriminator."""

import pytest
import torch

from napari_segmatch.config import SELECTORS, configure
from napari_segmatch.engine.discriminator import (
    Discriminator,
    dice_of,
    equation_1_loss,
    one_question,
    quality_loss,
    quality_pairs,
)
from napari_segmatch.engine.learner import Learner
from napari_segmatch.engine.losses import consistency_loss, hard, supervised_loss
from napari_segmatch.engine.selectors import ConfidenceMap, Identity, MeanConfidence, NoSelector, build_selector
from napari_segmatch.engine.step import draw_views


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _disc(n=4, size=32, radius=8):
    line = torch.arange(size) - size / 2
    return ((line[:, None] ** 2 + line[None] ** 2) < radius**2).expand(n, size, size).clone()


class TinyPool:
    """Ten random slices on which the learner can take steps."""

    def __init__(self, size=32, channels=1, classes=1):
        self.images = torch.randn(10, channels, size, size, generator=_generator(3))
        self.labels = torch.zeros(10, size, size, dtype=torch.uint8)
        for label in range(1, classes + 1):
            self.labels[:, 6 * label : 6 * label + 5, 8:20] = label
        self.lessons = None

    def sample_labelled(self, n, lesion_share, generator):
        return torch.randint(0, 5, (n,), generator=generator)

    def sample_unlabelled(self, n, generator):
        return torch.randint(5, 10, (n,), generator=generator)


def _config(**changes):
    return configure(**({"size": 32, "batch": 3, "features": 8, "warmup": 0.0, "ramp": 0.0, "device": "cpu"} | changes))


@pytest.mark.parametrize("selector", SELECTORS)
@pytest.mark.parametrize("objective", ["quality", "equation-1"])
def test_every_selector_trains(selector, objective):
    """A step with each selector changes the model and yields finite losses; "none" has no consistency loss."""
    learner = Learner(_config(selector=selector, objective=objective), 1, 1)
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    outcome, judged = learner.learn(TinyPool(), 0.5)
    assert torch.isfinite(outcome.supervised)
    silent = selector == "none" or float(outcome.selection.weight.sum()) == 0
    assert (float(outcome.consistency.detach()) == 0) == silent
    assert any(not torch.equal(before[name], value) for name, value in learner.model.state_dict().items())
    assert (judged > 0) == (selector == "discriminator")


def test_several_classes_and_sequences_train():
    """Three sequences as channels, two classes."""
    learner = Learner(_config(), 3, 2)
    outcome, _ = learner.learn(TinyPool(channels=3, classes=2), 0.5)
    assert torch.isfinite(outcome.supervised + outcome.consistency)


def test_discriminator_sends_no_gradient_into_the_segmenter():
    """After the discriminator's update the model's gradients are those of its own losses alone."""
    learner = Learner(_config(selector="discriminator"), 1, 1)
    outcome, _ = learner.learn(TinyPool(), 0.5)
    for tensor in (outcome.labelled_prediction, outcome.pseudo, outcome.selection.weight, outcome.selection.score):
        assert not tensor.requires_grad
    for parameter in learner.model.parameters():
        parameter.grad = None
    pool = TinyPool()
    views = draw_views(3, learner.config, learner.policy, _generator(), mix=False)
    learner._teach_discriminator(pool, outcome, (pool.images[:3], pool.labels[:3], views))
    assert all(parameter.grad is None for parameter in learner.model.parameters())


def test_segmenter_sends_no_gradient_into_the_discriminator():
    """The model's loss must not train the selector."""
    learner = Learner(_config(selector="discriminator"), 1, 1)
    before = [parameter.clone() for parameter in learner.selector.parameters()]
    learner.step = 1  # an odd step: the discriminator's own update is not due
    learner.learn(TinyPool(), 0.5)
    assert all(torch.equal(a, b) for a, b in zip(before, learner.selector.parameters(), strict=True))


def test_rejected_masks_teach_nothing():
    """With weight 0 everywhere the consistency loss and its gradient are 0."""
    logits = torch.randn(2, 2, 8, 8, requires_grad=True)
    loss = consistency_loss(logits, torch.ones(2, 8, 8, dtype=torch.long), torch.zeros(2, 8, 8))
    loss.backward()
    assert float(loss.detach()) == 0
    assert float(logits.grad.abs().max()) == 0


def test_unannotated_pixels_teach_nothing():
    """Label 255 has no gradient; the other pixels do."""
    logits = torch.randn(1, 2, 8, 8, requires_grad=True)
    labels = torch.full((1, 8, 8), 255)
    labels[:, :4] = 1
    supervised_loss(logits, labels).backward()
    assert float(logits.grad[:, :, 4:].abs().max()) == 0
    assert float(logits.grad[:, :, :4].abs().min()) > 0


def test_hard_is_argmax():
    """Our own argmax over classes agrees with torch's."""
    scores = torch.randn(2, 5, 16, 16)
    assert torch.equal(hard(scores), scores.argmax(1))


def _probabilities(confidence_inside, confidence_outside):
    inside = _disc(1)
    p = torch.where(inside, confidence_inside, 1 - confidence_outside)
    return torch.stack([1 - p, p], 1)


def test_mean_confidence_is_balanced():
    """An unsure lesion is rejected although nearly all pixels are sure background."""
    select = MeanConfidence(0.9)
    unsure, sure = _probabilities(0.6, 0.99), _probabilities(0.97, 0.99)
    assert not select(None, unsure).accepted.any()
    assert select(None, sure).accepted.all()


def test_mean_confidence_doubts_an_empty_mask_with_a_near_lesion():
    """Nothing segmented, but a spot with p = 0.45: that emptiness is not to be trusted."""
    spot = torch.where(_disc(1), 0.45, 0.01)
    empty = torch.stack([1 - spot, spot], 1)
    assert not MeanConfidence(0.9)(None, empty).accepted.any()


def test_confidence_map_keeps_single_pixels():
    """Each pixel is weighed on its own."""
    selection = ConfidenceMap(0.95)(None, _probabilities(0.6, 0.99))
    assert torch.equal(selection.weight[0] == 0, _disc(1)[0])


def test_identity_keeps_all_and_none_keeps_nothing():
    """The two ends of the scale."""
    p = _probabilities(0.6, 0.7)
    assert Identity(0.9)(None, p).weight.min() == 1
    assert NoSelector(0.9)(None, p).weight.max() == 0


def test_tau_moves_the_verdict():
    """The discriminator's verdict is score > tau."""
    images, p = torch.randn(1, 1, 32, 32), _probabilities(0.9, 0.9)
    strict = build_selector(_config(tau=1.0), 1, 1)
    mild = build_selector(_config(tau=0.0), 1, 1)
    assert not strict(images, p).accepted.any()
    assert mild(images, p).accepted.all()
    assert mild(images, p).weight.min() == 1


def test_equation_1_drives_people_to_one_and_predictions_to_zero():
    """Minimising the loss separates people's masks from predicted ones."""
    torch.manual_seed(0)
    network = Discriminator(1)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    images = torch.randn(8, 1, 32, 32)
    people, predicted = _disc(8, radius=8), _disc(8, radius=3)
    for _ in range(40):
        optimiser.zero_grad()
        equation_1_loss(network, images, people, images, predicted).backward()
        optimiser.step()
    assert network.score(images, people.long(), 1).min() > 0.7
    assert network.score(images, predicted.long(), 1).max() < 0.3


def test_quality_pairs_cover_good_and_bad_masks():
    """The lessons hold the truth, near misses on both sides of Dice 0.8, and plain wrongs."""
    truth = _disc(64, size=128, radius=12).roll((30, -25), (1, 2))  # far from the centre
    pairs = quality_pairs(truth, truth.roll(3, 2), _generator(1))
    quality = dice_of(pairs.flatten(0, 1), truth.repeat(len(pairs), 1, 1)).view(len(pairs), -1)
    assert quality[0].min() == 1
    assert quality[-1].max() == 0
    for made in (quality[2], quality[4]):  # deformed; grown or shrunk
        assert 0.15 < (made >= 0.8).float().mean() < 0.85
        assert ((made >= 0.5) & (made < 0.8)).float().mean() > 0.15
    assert (quality[2] < 0.2).float().mean() < 0.1


def test_equal_candidates_count_once():
    """An empty slice, whose truth cannot be deformed, must not say six times that an empty mask is good."""
    network = Discriminator(1)
    images, nothing = torch.randn(2, 1, 32, 32), torch.zeros(2, 32, 32, dtype=torch.bool)
    once = quality_loss(network, images, nothing, nothing[None])
    often = quality_loss(network, images, nothing, torch.stack([nothing] * 6))
    torch.testing.assert_close(once, often)


def test_unjudged_pixels_belong_to_no_mask():
    """A prediction is not called bad for what nobody has judged."""
    truth = torch.full((1, 16, 16), 255)
    truth[:, :8], truth[:, 2:6, 2:6] = 0, 1
    predicted = torch.zeros(1, 16, 16, dtype=torch.long)
    predicted[:, 2:6, 2:6], predicted[:, 10:] = 1, 1
    mask, guess = one_question(truth, predicted, 1, _generator())
    assert dice_of(guess, mask) == 1


def test_absent_classes_are_not_asked_about():
    """Of several classes only those that are in the truth or the prediction are questions, and everything at once."""
    truth, predicted = torch.zeros(40, 8, 8, dtype=torch.long), torch.zeros(40, 8, 8, dtype=torch.long)
    truth[:, :2], predicted[:, 4:6] = 2, 4
    asked = {
        (bool(mask.any()), bool(guess.any()))
        for seed in range(3)
        for mask, guess in zip(*one_question(truth, predicted, 5, _generator(seed)), strict=True)
    }
    assert asked == {(True, True), (True, False), (False, True)}


def test_quality_critic_learns_whether_a_mask_fits_the_image():
    """It must look at the image: the same mask is right on one image and wrong on another."""
    torch.manual_seed(0)
    network = Discriminator(1)
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    left, right = _disc(8).roll(-8, 2), _disc(8).roll(8, 2)
    images = left[:, None].float() + 0.1 * torch.randn(8, 1, 32, 32)
    mirrored = right[:, None].float() + 0.1 * torch.randn(8, 1, 32, 32)
    for _ in range(60):
        optimiser.zero_grad()
        loss = quality_loss(network, torch.cat([images, mirrored]), torch.cat([left, right]),
                            torch.stack([torch.cat([left, right]), torch.cat([right, left])]))  # fmt: skip
        loss.backward()
        optimiser.step()
    assert network.score(images, left.long(), 1).min() > 0.6
    assert network.score(images, right.long(), 1).max() < 0.4


def test_two_empty_masks_agree():
    """Dice of nothing with nothing is 1, of nothing with something 0."""
    nothing, something = torch.zeros(1, 8, 8, dtype=torch.bool), torch.ones(1, 8, 8, dtype=torch.bool)
    assert dice_of(nothing, nothing) == 1
    assert dice_of(nothing, something) == 0


def test_teacher_follows_the_student():
    """The moving average moves, and at ema 0 the teacher is the student."""
    follower, copycat = Learner(_config(ema=0.9), 1, 1), Learner(_config(ema=0.0), 1, 1)
    for learner in (follower, copycat):
        learner.learn(TinyPool(), 0.5)
    pairs = list(zip(copycat.teacher.parameters(), copycat.model.parameters(), strict=True))
    assert all(torch.allclose(a, b) for a, b in pairs)
    assert any(
        not torch.allclose(a, b)
        for a, b in zip(follower.teacher.parameters(), follower.model.parameters(), strict=True)
    )


def test_same_seed_same_weights():
    """Two learners of one seed take identical steps; another seed does not."""

    def trained(seed):
        learner = Learner(_config(seed=seed), 1, 1)
        for _ in range(3):
            learner.learn(TinyPool(), 0.5)
        return torch.cat([p.flatten() for p in learner.teacher.parameters()])

    assert torch.equal(trained(1), trained(1))
    assert not torch.equal(trained(1), trained(2))


def test_warm_up_trains_on_labels_alone():
    """Before the warm-up is over no pseudo mask is made."""
    learner = Learner(_config(warmup=0.5), 1, 1)
    assert learner.learn(TinyPool(), 0.2)[0].selection is None
    assert learner.learn(TinyPool(), 0.6)[0].selection is not None


def _trained(steps=4, pool=None, **changes):
    learner = Learner(_config(**changes), 1, 1)
    for _ in range(steps):
        learner.learn(pool or TinyPool(), 0.9)
    return learner


def _flat(module):
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def test_consistency_loss_reaches_the_model():
    """lambda_u decides how much: with 1 the model learns markedly otherwise than with next to nothing."""
    with_it, without = (_flat(_trained(8, lambda_u=weight, selector="identity").model) for weight in (1.0, 1e-6))
    assert (with_it - without).abs().max() > 1e-4


def test_people_s_decisions_reach_the_discriminator():
    """With lessons it learns otherwise than without."""
    taught = TinyPool()
    taught.lessons = (torch.tensor([6]), torch.ones(1, 32, 32, dtype=torch.bool), torch.tensor([0.0]))
    assert not torch.equal(_flat(_trained(pool=taught).selector), _flat(_trained().selector))


def test_teacher_has_the_student_s_buffers():
    """Batch statistics are copied: a teacher that forgets them predicts nonsense."""
    learner = _trained(network="tests_networks:with_statistics")
    mean = next(name for name, _ in learner.model.named_buffers() if name.endswith("running_mean"))
    assert torch.equal(dict(learner.teacher.named_buffers())[mean], dict(learner.model.named_buffers())[mean])
    assert dict(learner.model.named_buffers())[mean].abs().max() > 0


def test_pixel_tau_leaves_unsure_pixels_out_of_accepted_masks():
    """The verdict is on the whole mask; inside it, pixels can be weighed too."""
    images, p = torch.randn(1, 1, 32, 32), _probabilities(0.6, 0.99)
    both = build_selector(_config(tau=0.0, pixel_tau=0.9), 1, 1)(images, p)
    assert both.accepted.all()
    assert torch.equal(both.weight[0] == 0, _disc(1)[0])


def test_paper_preset_is_cross_entropy_alone():
    """H of the text is cross-entropy; ours adds Dice."""
    logits, labels = torch.randn(2, 2, 8, 8), torch.ones(2, 8, 8, dtype=torch.long)
    paper = configure("paper")
    expected = torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(supervised_loss(logits, labels, paper.dice), expected)
    assert supervised_loss(logits, labels, True) > expected
