"""The discriminator: what it is asked, what it learns from, what it sees."""

import numpy as np
import torch
from scipy.ndimage import binary_dilation

from napari_segmatch.engine.corruptions import corrupted, wider
from napari_segmatch.engine.discriminator import (
    SIDE,
    Discriminator,
    close_up,
    dice_of,
    equation_1_loss,
    one_question,
    quality_loss,
)


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _disc(n=4, size=32, radius=8):
    line = torch.arange(size) - size / 2
    return ((line[:, None] ** 2 + line[None] ** 2) < radius**2).expand(n, size, size).clone()


def test_equation_1_drives_people_to_one_and_predictions_to_zero():
    """Minimising the loss separates people's masks from predicted ones."""
    torch.manual_seed(0)
    network = Discriminator(1)
    network.eval()
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    images = torch.randn(8, 1, 32, 32)
    people, predicted = _disc(8, radius=8), _disc(8, radius=3)
    for _ in range(40):
        optimiser.zero_grad()
        equation_1_loss(network, images, people, images, predicted).backward()
        optimiser.step()
    assert torch.sigmoid(network(images, people)).min() > 0.7
    assert torch.sigmoid(network(images, predicted)).max() < 0.3


def test_unjudged_pixels_belong_to_no_mask():
    """A prediction is not called bad for what nobody has judged."""
    truth = torch.full((1, 16, 16), 255)
    truth[:, :8], truth[:, 2:6, 2:6] = 0, 1
    predicted = torch.zeros(1, 16, 16, dtype=torch.long)
    predicted[:, 2:6, 2:6], predicted[:, 10:] = 1, 1
    mask, guess = one_question(truth, predicted[None], 1, _generator())
    assert dice_of(guess[0], mask) == 1


def test_absent_classes_are_not_asked_about():
    """Of several classes only those that are in the truth or the prediction are questions, and everything at once."""
    truth, predicted = torch.zeros(40, 8, 8, dtype=torch.long), torch.zeros(40, 8, 8, dtype=torch.long)
    truth[:, :2], predicted[:, 4:6] = 2, 4
    asked = {
        (bool(mask.any()), bool(guess.any()))
        for seed in range(3)
        for masks, guesses in [one_question(truth, predicted[None], 5, _generator(seed))]
        for mask, guess in zip(masks, guesses[0], strict=True)
    }
    assert asked == {(True, True), (True, False), (False, True)}


def test_quality_critic_learns_whether_a_mask_fits_the_image():
    """It must look at the image: the same mask is right on one image and wrong on another."""
    torch.manual_seed(0)
    network = Discriminator(1)
    network.eval()
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
    assert torch.sigmoid(network(images, left)).min() > 0.6
    assert torch.sigmoid(network(images, right)).max() < 0.4


def test_two_empty_masks_agree():
    """Dice of nothing with nothing is 1, of nothing with something 0."""
    nothing, something = torch.zeros(1, 8, 8, dtype=torch.bool), torch.ones(1, 8, 8, dtype=torch.bool)
    assert dice_of(nothing, nothing) == 1
    assert dice_of(nothing, something) == 0


def test_a_mask_grows_by_a_pixel_on_all_sides():
    masks = torch.rand(3, 20, 17) < 0.05
    grown = [torch.from_numpy(binary_dilation(mask.numpy(), np.ones((3, 3)))) for mask in masks]
    assert torch.equal(wider(masks), torch.stack(grown))


def test_corrupted_masks_are_near_misses_and_plain_wrongs():
    """The lessons hold near misses on both sides of Dice 0.8, and masks of another slice."""
    truth = _disc(64, size=128, radius=12)
    truth = torch.stack([mask.roll((30, -25 + 50 * (index % 2)), (0, 1)) for index, mask in enumerate(truth)])
    deformed, grown, swapped = (dice_of(made, truth) for made in corrupted(truth, _generator(1)))
    for quality in (deformed, grown):
        assert 0.15 < (quality >= 0.8).float().mean() < 0.85
        assert ((quality >= 0.5) & (quality < 0.8)).float().mean() > 0.15
    assert (deformed < 0.2).float().mean() < 0.1
    assert swapped.max() < 0.3


def test_equal_candidates_count_once_and_empty_ones_not_at_all():
    """A slice whose truth cannot be deformed must not say the same thing many times over."""
    network = Discriminator(1).eval()
    images, masks = torch.randn(2, 1, 32, 32), _disc(2)
    once = quality_loss(network, images, masks, masks[None])
    often = quality_loss(network, images, masks, torch.stack([masks] * 6))
    with_nothing = quality_loss(network, images, masks, torch.stack([masks, torch.zeros_like(masks)]))
    torch.testing.assert_close(once, often)
    torch.testing.assert_close(once, with_nothing)
    assert quality_loss(network, images, masks, torch.zeros_like(masks)[None]) == 0


def test_close_up_shows_the_mask_large():
    """A small mask in a corner fills much of the second view; an empty one shows the whole slice."""
    masks = torch.zeros(2, 128, 128, dtype=torch.bool)
    masks[0, 100:110, 5:13] = True
    views = close_up(masks[:, None].float(), masks)
    assert views.shape == (2, 1, SIDE, SIDE)
    assert 0.15 < views[0].mean() < 0.6
    assert views[0, 0, SIDE // 2, SIDE // 2] > 0.9
    whole = close_up(torch.arange(128.0).expand(1, 1, 128, 128), masks[1:])
    assert whole.min() < 2
    assert whole.max() > 125


def test_close_up_is_as_sharp_where_the_rest_is_computed_in_half_precision():
    """Its grid came in bfloat16 on whatever is good at that: up to half a pixel beside where it looked."""
    masks = torch.zeros(1, 256, 256, dtype=torch.bool)
    masks[0, 190:215, 30:71] = True
    images = torch.randn(1, 2, 256, 256, generator=torch.Generator().manual_seed(0))
    exact = close_up(images, masks)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(close_up(images, masks), exact)
