"""Metrics, against cases that can be worked out by hand."""

import numpy as np
import pytest

from napari_segmatch.engine.metrics import class_dice, confidence_interval, dice, score_case


def _masks():
    truth = np.zeros((3, 20, 20), np.uint8)
    truth[1, 5:15, 5:15] = 1
    return truth.copy(), truth


def test_equal_masks_are_perfect():
    """Dice 1, distance 0, no false positive."""
    scores = score_case(*_masks(), 1, (5, 1, 1))
    assert (scores.dice, scores.slice_dice, scores.hd95, scores.false_positive) == (1, 1, 0, 0)


def test_half_overlap():
    """Two equal squares that share half: Dice 0.5."""
    prediction, truth = _masks()
    prediction[1] = np.roll(prediction[1], 5, 1)
    scores = score_case(prediction, truth, 1, (5, 1, 1))
    assert scores.dice == pytest.approx(0.5)
    assert scores.hd95 == pytest.approx(5)


def test_distances_are_millimetres():
    """The same shift on a grid of 2 mm is twice as far."""
    prediction, truth = _masks()
    prediction[1] = np.roll(prediction[1], 5, 1)
    assert score_case(prediction, truth, 1, (5, 1, 2)).hd95 == pytest.approx(10)


def test_of_a_single_slice_the_outlines_are_compared():
    """Their inside is no surface, although there is no slice above and below; a size in z has no part in it."""
    y, x = np.mgrid[:64, :64]
    small, large = (((y - 32) ** 2 + (x - 32) ** 2 <= r * r).astype(np.uint8) for r in (12, 20))
    found = score_case(small[None], large[None], 1, (5, 1, 1)).hd95
    assert found == pytest.approx(np.hypot(6, 6))
    assert score_case(small[None], large[None], 1, (5, 2, 2)).hd95 == pytest.approx(2 * found)
    assert score_case(large[None], large[None], 1, (5, 1, 1)).hd95 == 0


def test_a_twentieth_of_the_surface_may_lie_anywhere():
    """One voxel far away is left out of the distance, and of nothing else."""
    prediction, truth = _masks()
    prediction[1, 0, 0] = 1
    scores = score_case(prediction, truth, 1, (5, 1, 1))
    assert scores.hd95 == 0 and scores.dice < 1


def test_missing_the_lesion_is_never_rewarded():
    """An empty prediction gets the image's diagonal, not 0."""
    _, truth = _masks()
    scores = score_case(np.zeros_like(truth), truth, 1, (1, 1, 1))
    assert scores.dice == 0
    assert scores.hd95 == pytest.approx(np.linalg.norm(truth.shape))


def test_nothing_to_find_and_nothing_found():
    """Two empty masks agree; there is no surface to measure."""
    empty = np.zeros((2, 4, 4), np.uint8)
    scores = score_case(empty, empty, 1, (1, 1, 1))
    assert (scores.dice, scores.hd95, scores.slice_dice, scores.false_positive) == (1, None, None, 0)


def test_false_positives_are_counted_by_empty_slices():
    """One of two empty slices shows something."""
    prediction, truth = _masks()
    prediction[0, 0, 0] = 1
    assert score_case(prediction, truth, 1, (1, 1, 1)).false_positive == 0.5


def test_a_slice_that_nobody_annotated_is_no_empty_one():
    """One slice was found to be empty, and something is segmented on it."""
    prediction, truth = _masks()
    prediction[0, 0, 0], truth[2] = 1, 255
    assert score_case(prediction, truth, 1, (1, 1, 1)).false_positive == 1


def test_unannotated_voxels_count_for_nothing():
    """What nobody judged is neither right nor wrong."""
    prediction, truth = _masks()
    truth[0] = 255
    prediction[0] = 1
    assert score_case(prediction, truth, 1, (1, 1, 1)).dice == 1


def test_voxels_that_a_mask_says_nothing_of_are_no_miss():
    """The reader who is judged has annotated one slice alone."""
    prediction, truth = _masks()
    prediction[1:] = 255
    found = score_case(prediction, truth, 1, (1, 1, 1))
    assert (found.dice, found.slice_dice, found.hd95, found.false_positive) == (1, None, None, 0)


def test_classes_are_scored_apart():
    """Each label against its own."""
    truth = np.array([[[1, 1, 2, 2]]], np.uint8)
    prediction = np.array([[[1, 1, 1, 2]]], np.uint8)
    assert class_dice(prediction, truth, 3) == [pytest.approx(0.8), pytest.approx(2 / 3), 1.0]


def test_confidence_interval_holds_the_mean_and_narrows():
    """More cases, narrower interval; the same seed gives the same interval."""
    few, many = [0.5, 0.7, 0.9], [0.5, 0.7, 0.9] * 20
    mean, low, high = confidence_interval(few)
    assert low <= mean <= high
    assert (high - low) > np.diff(confidence_interval(many)[1:])[0]
    assert confidence_interval(few) == confidence_interval(few)


def test_dice_works_on_any_shape():
    """Slices and volumes alike."""
    assert dice(np.ones(4, bool), np.ones(4, bool)) == 1


def test_confidence_interval_is_one_of_95_percent():
    """Of 400 cases, half of them 0 and half 1, it is 1.96 standard errors wide on either side."""
    mean, low, high = confidence_interval([0.0, 1.0] * 200)
    assert (low, high) == pytest.approx((mean - 1.96 * 0.025, mean + 1.96 * 0.025), abs=3e-3)
