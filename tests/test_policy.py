"""The strong view's photometric operations."""

import pytest
import torch

from napari_segmatch.engine.intensity import OPERATIONS
from napari_segmatch.engine.policy import ALL, GEOMETRIC, RandAugment


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
    out = OPERATIONS[name](images, one, one, torch.Generator().manual_seed(1))
    assert out.shape == images.shape
    assert torch.isfinite(out).all()
    assert out.abs().max() < 50
    assert torch.equal(out, images) == (name == "nothing")


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_at_level_zero_does_next_to_nothing(name):
    """Level 0 is the identity, up to what a Fourier transform rounds."""
    images, zero = _images(), torch.zeros(4, 1, 1, 1)
    out = OPERATIONS[name](images, zero, torch.ones(4, 1, 1, 1), torch.Generator().manual_seed(1))
    tolerance = {"low-resolution": 1.0, "gibbs": 1e-3}.get(name, 1e-2)
    assert (out - images).abs().max() < tolerance


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_survives_a_constant_image(name):
    """An empty slice must not become NaN."""
    out = OPERATIONS[name](torch.zeros(2, 1, 32, 32), torch.ones(2, 1, 1, 1), torch.ones(2, 1, 1, 1), torch.Generator())
    assert torch.isfinite(out).all()


def test_applying_a_drawn_policy_is_pure():
    """Chance is in the draw: the same draw gives the same picture, and the input is not touched."""
    policy, images = RandAugment(3), _images()
    before, drawn = images.clone(), policy.draw(4, torch.Generator().manual_seed(2))
    assert torch.equal(policy.apply(images, drawn), policy.apply(images, drawn))
    assert torch.equal(images, before)
