"""The strong view's photometric operations."""

import pytest
import torch

from napari_segmatch.engine.intensity import OPERATIONS, Slices
from napari_segmatch.engine.losses import foreground_dice
from napari_segmatch.engine.policy import ALL, GEOMETRIC, CTAugment, RandAugment


def _images():
    return torch.randn(4, 2, 48, 48, generator=torch.Generator().manual_seed(0))


def test_there_are_at_least_ten_operations_of_both_kinds():
    """The issue asks for an MRI RandAugment of ten or more, geometric and photometric."""
    assert len(GEOMETRIC) >= 4
    assert len(OPERATIONS) >= 10
    assert len(ALL) == len(GEOMETRIC) + len(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_changes_grey_values_and_stays_finite(name):
    """At full level every operation but "nothing" changes the image; shape is kept, nothing explodes."""
    images, one = _images(), torch.ones(4, 1, 1, 1)
    out = OPERATIONS[name](Slices(images), one, one, torch.Generator().manual_seed(1))
    assert out.shape == images.shape
    assert torch.isfinite(out).all()
    assert out.abs().max() < 50
    assert torch.equal(out, images) == (name == "nothing")


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_at_level_zero_does_next_to_nothing(name):
    """Level 0 is the identity, up to what a Fourier transform rounds."""
    images, zero = _images(), torch.zeros(4, 1, 1, 1)
    out = OPERATIONS[name](Slices(images), zero, torch.ones(4, 1, 1, 1), torch.Generator().manual_seed(1))
    tolerance = {"low-resolution": 1.0, "gibbs": 1e-3}.get(name, 1e-2)
    assert (out - images).abs().max() < tolerance


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_survives_a_constant_image(name):
    """An empty slice must not become NaN."""
    one = torch.ones(2, 1, 1, 1)
    out = OPERATIONS[name](Slices(torch.zeros(2, 1, 32, 32)), one, one, torch.Generator())
    assert torch.isfinite(out).all()


def test_applying_a_drawn_policy_is_pure():
    """Chance is in the draw: the same draw gives the same picture, and the input is not touched."""
    policy, images = RandAugment(3), _images()
    before, drawn = images.clone(), policy.draw(4, torch.Generator().manual_seed(2))
    assert torch.equal(policy.apply(images, drawn), policy.apply(images, drawn))
    assert torch.equal(images, before)


def test_ctaugment_finds_the_operation_that_harms():
    """A planted operation that ruins the prediction at high levels is no longer drawn there within 100 steps of 8."""
    policy, generator = CTAugment(2), torch.Generator().manual_seed(0)
    bad = ALL.index("gamma")
    for _ in range(100):
        drawn = policy.draw(8, generator, probe=True)
        harmed = ((drawn.operations == bad) & (drawn.levels > 3 / 7)).any(1)
        policy.learn(drawn, torch.where(harmed, 0.2, 0.9))
    weights = policy.weights()
    assert weights[bad, 4:].max() == 0
    assert weights[bad, 0] > 0
    assert (weights[[index for index in range(len(ALL)) if index != bad]] > 0).all()
    levels = policy.levels(torch.full((500, 1), bad), generator)
    assert levels.max() < 4.01 / 7


def test_ctaugment_learns_nothing_from_empty_slices():
    """Where no structure is there, nothing can be said of how well it was found."""
    policy = CTAugment(2)
    policy.learn(policy.draw(4, torch.Generator().manual_seed(0), probe=True), torch.full((4,), torch.nan))
    assert policy.rates.min() == 1


def test_ctaugment_probes_the_whole_range():
    """A bin that is no longer drawn is still probed, and can come back."""
    policy, generator = CTAugment(1), torch.Generator().manual_seed(0)
    policy.rates[:, 3:] = 0.1
    assert policy.draw(300, generator).levels.max() < 3.01 / 7
    assert policy.draw(300, generator, probe=True).levels.max() > 0.9


def test_proximity_falls_when_the_lesion_is_missed():
    """Over all pixels it would stay near 1, for a lesion is a small part of a slice."""
    labels = torch.zeros(3, 32, 32, dtype=torch.long)
    labels[:2, 4:8, 4:8] = 1
    found = torch.stack([labels == 0, labels == 1], 1) * 20.0
    missed = torch.stack([torch.ones(3, 32, 32), torch.zeros(3, 32, 32)], 1) * 20
    assert foreground_dice(found, labels)[:2].min() > 0.99
    assert foreground_dice(missed, labels)[:2].max() < 0.01
    assert foreground_dice(found, labels)[2].isnan()


def test_what_nobody_has_annotated_is_no_part_of_proximity():
    """The model sees a second lesion where nobody has looked: that says nothing of how well it finds the first."""
    labels = torch.zeros(1, 32, 32, dtype=torch.long)
    labels[0, 4:8, 4:8], labels[0, 16:] = 1, 255
    found = torch.stack([labels == 0, labels > 0], 1) * 20.0
    assert foreground_dice(found, labels).item() > 0.99


def test_ctaugment_blames_nobody_while_the_model_is_poor():
    """A model that finds a third of everything, whatever is done to the image, keeps all levels."""
    policy, generator = CTAugment(2), torch.Generator().manual_seed(0)
    for _ in range(300):
        drawn = policy.draw(8, generator, probe=True)
        policy.learn(drawn, torch.where(torch.rand(8, generator=generator) < 0.5, 0.3, torch.nan))
    assert (policy.weights() > 0).all()


def test_a_sequence_that_a_case_lacks_stays_away():
    """All zeros mean "not there": with brightness or noise on them the model would learn another sign for it."""
    images = _images()
    images[1, 0] = 0
    policy = RandAugment(4)
    for seed in range(12):
        seen = policy.apply(images, policy.draw(4, torch.Generator().manual_seed(seed)))
        assert not seen[1, 0].any() and seen[1, 1].any()
