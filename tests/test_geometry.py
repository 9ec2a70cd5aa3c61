"""Views: exactness of T1, composition, and the alignment that the consistency loss rests on."""

import dataclasses
import math
from functools import partial

import pytest
import torch

from napari_segmatch.config import configure
from napari_segmatch.engine.geometry import identity, inside, seen_after, warp, weak
from napari_segmatch.engine.losses import consistency_loss, hard
from napari_segmatch.engine.policy import GEOMETRIC, Drawn, RandAugment
from napari_segmatch.engine.selectors import Identity, Look, Selection
from napari_segmatch.engine.step import algorithm_1, draw_views, in_boxes, kept_apart, mix, placed

SIZE = 64


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _smooth_images(n, seed=0):
    coarse = torch.randn(n, 1, 5, 5, generator=_generator(seed))
    return torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bicubic", align_corners=True)


def test_weak_view_moves_grey_values_and_changes_none():
    """A flip and a shift by whole pixels put every visible pixel exactly where it belongs."""
    images = torch.randn(6, 1, SIZE, SIZE, generator=_generator())
    matrix = weak(6, SIZE, flip=1.0, shift=0.2, generator=_generator(1))
    view = warp(images, matrix)
    for image, seen, move in zip(images[:, 0], view[:, 0], matrix[:, :2, 2], strict=True):
        dx, dy = (move * SIZE / 2).round().int().tolist()
        expected = image.flip(-1).roll((dy, dx), (0, 1))
        y, x = slice(max(dy, 0), SIZE + min(dy, 0)), slice(max(dx, 0), SIZE + min(dx, 0))
        torch.testing.assert_close(seen[y, x], expected[y, x], atol=1e-4, rtol=1e-4)


def test_views_compose_by_multiplication():
    """Warping by A and then by B is warping by B A, where nothing left the field of view."""
    policy = RandAugment(2)
    first, second = (policy.matrix(policy.draw(8, _generator(seed))) for seed in (3, 4))
    images = _smooth_images(8)
    visible = (inside(second @ first, SIZE) * warp(inside(first, SIZE)[:, None], second, padding="zeros")[:, 0]) > 0.99
    twice, once = warp(warp(images, first), second)[:, 0], warp(images, second @ first)[:, 0]
    assert (twice - once)[visible].abs().max() < 0.1
    assert visible.float().mean() > 0.5


def test_t1_times_inverse_of_t2_returns_to_the_weak_frame_exactly():
    """T1 T2^-1 T2 = T1 to the last bits of float32."""
    policy = RandAugment(3)
    t1 = weak(16, SIZE, 0.5, 0.1, _generator(5))
    t2 = policy.matrix(policy.draw(16, _generator(6))) @ t1
    torch.testing.assert_close(t1 @ torch.linalg.inv(t2) @ t2, t1, atol=1e-5, rtol=1e-5)


def test_every_geometric_operation_moves_pixels():
    """Each of the six draws a matrix of its own; at level 0 none moves anything."""
    policy = RandAugment(1)
    for number, name in enumerate(GEOMETRIC):
        drawn = Drawn(torch.tensor([[number]]), torch.ones(1, 1), torch.ones(1, 1), 0)
        assert not torch.allclose(policy.matrix(drawn), identity(1)), name
        still = Drawn(torch.tensor([[number]]), torch.zeros(1, 1), torch.ones(1, 1), 0)
        torch.testing.assert_close(policy.matrix(still), identity(1))


def test_a_slice_is_turned_by_30_degrees_at_most():
    drawn = Drawn(torch.tensor([[GEOMETRIC.index("rotate")]]), torch.ones(1, 1), torch.ones(1, 1), 0)
    cos, sin = math.cos(math.pi / 6), math.sin(math.pi / 6)
    torch.testing.assert_close(RandAugment(1).matrix(drawn)[0, :2, :2], torch.tensor([[cos, -sin], [sin, cos]]))


def _pointwise(images):
    """An equivariant toy network, and a very sure one: each pixel's logits depend on its own grey value alone."""
    return torch.cat([-60 * images, 60 * images], 1)


def _look(images):
    """Look once with that network."""
    probabilities = _pointwise(images).softmax(1)
    return Look(probabilities, hard(probabilities), hard(probabilities))


def _patches(n=8):
    """Images of a bright, asymmetric patch on black, and their labels: no grey value is near the decision."""
    images = torch.full((n, 1, SIZE, SIZE), -1.0)
    images[:, :, 18:38, 24:50] = 1.0
    images[:, :, 30:46, 24:32] = 1.0
    return images, (images[:, 0] > 0).to(torch.uint8)


class Geometry(RandAugment):
    """The strong view's geometry alone; ``wrong`` tells a false story about where pixels went."""

    def __init__(self, wrong=False):
        super().__init__(3)
        self.wrong = wrong

    def apply(self, images, drawn):
        return images.flip(-1) if self.wrong else images


def _step(policy, cutmix=0.0, selector=None, student=_pointwise, seed=7, labelled_strong=True):
    images, labels = _patches()
    config = configure(size=SIZE, cutmix=cutmix)
    views = draw_views(8, config, policy, _generator(seed), unlabelled=True)
    calm = draw_views(8, config, policy, _generator(seed + 1), unlabelled=False)
    return algorithm_1(
        student, _look, selector or Identity(0.9), policy, (images, labels, calm), (images, views), labelled_strong
    )


@pytest.mark.parametrize("cutmix", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_equivariant_network_has_no_consistency_loss(cutmix, seed):
    """Where the strong view shows something, the aligned prediction is the pseudo mask: with CutMix too.

    Only edges that two resamplings blur may differ. A prediction that is aligned the wrong way, or not at all,
    or compared with another slice's pseudo mask, is many times worse.
    """
    right = float(_step(Geometry(), cutmix, seed=seed).consistency)
    wrong = float(_step(Geometry(wrong=True), cutmix, seed=seed).consistency)
    assert right < 1.0
    assert wrong > 4 * right


def test_pixels_out_of_view_carry_no_weight(monkeypatch):
    """What the strong view lost is not compared with the copies of the border that stand in its place."""
    import napari_segmatch.engine.step as step

    policy, half_out = Geometry(), identity(8)
    half_out[:, 0, 2] = 1.0  # the strong view shows the left half alone; the patch is cut
    policy.matrix = lambda drawn: half_out
    assert float(_step(policy).consistency) < 0.01
    monkeypatch.setattr(step, "seen_after", lambda matrix, size, device: torch.ones(len(matrix), size, size))
    monkeypatch.setattr(step, "inside", lambda matrix, size, device: torch.ones(len(matrix), size, size))
    assert float(_step(policy).consistency) > 0.1


@pytest.mark.parametrize("strong", [False, True])
def test_labels_move_with_their_image(strong):
    """A network that is right about every pixel has next to no supervised loss in any view."""
    right = float(_step(Geometry(), labelled_strong=strong).supervised)
    assert right < 1.0
    if strong:
        assert float(_step(Geometry(wrong=True), labelled_strong=True).supervised) > 4 * right


def test_verdicts_travel_with_mixed_pixels():
    """Of two slices, one rejected: with a box from its partner each slice learns from accepted pixels alone."""

    class First(torch.nn.Module):
        def forward(self, images, look):
            weight = torch.zeros_like(look.probabilities[:, 0])
            weight[0] = 1
            return Selection(weight, weight.mean((1, 2)), weight.mean((1, 2)) > 0)

    seen = []

    def loss(logits, target, weight, dice):
        seen.append(weight)
        return logits.mean() * 0

    import napari_segmatch.engine.step as step

    images, labels = _patches(2)
    policy, config = Geometry(), configure(size=SIZE, cutmix=1.0)
    policy.matrix = lambda drawn: identity(2)
    views = dataclasses.replace(
        draw_views(2, config, policy, _generator(1), unlabelled=True), weak=identity(2), partner=torch.tensor([1, 0])
    )
    original, step.consistency_loss = step.consistency_loss, loss
    try:
        algorithm_1(_pointwise, _look, First(), policy, (images, labels, views), (images, views))
    finally:
        step.consistency_loss = original
    box = in_boxes(views.box, SIZE)
    assert box.any(2).any(1).all()
    assert torch.equal(seen[0][0] > 0, ~box[0])
    assert torch.equal(seen[0][1] > 0, box[1])


def test_labelled_slices_are_mixed_only_where_that_is_wanted_and_within_their_fold():
    """A box takes image and labels of its partner along; from the other fold none comes: nobody may learn from both."""
    images, labels = torch.randn(4, 1, SIZE, SIZE), torch.randint(0, 2, (4, SIZE, SIZE), dtype=torch.uint8)
    drawn = partial(draw_views, 4, policy=Geometry(), generator=_generator(2), unlabelled=False)
    plain = drawn(config=configure(size=SIZE, labelled_cutmix=0.0))
    assert not len(plain.box) and kept_apart(plain, torch.tensor([0, 0, 1, 1])) is plain
    views = dataclasses.replace(drawn(config=configure(size=SIZE, labelled_cutmix=1.0)), weak=identity(4))
    views = kept_apart(views, torch.tensor([0, 1, 1, 0]))
    assert views.partner.tolist() == [3, 2, 1, 0]
    box = in_boxes(views.box, SIZE)
    assert box.flatten(1).any(1).all()
    seen, moved = placed(images, labels, views, strong=False)
    torch.testing.assert_close(seen, torch.where(box[:, None], images[views.partner], images))
    assert torch.equal(moved, torch.where(box, labels[views.partner], labels))


def test_rejected_slices_count_in_the_denominator():
    """With half of the slices rejected the cross-entropy of the other half counts half: the text's 1 / mu B."""
    logits, target = torch.randn(4, 2, 8, 8), torch.ones(4, 8, 8, dtype=torch.long)
    weight = torch.ones(4, 8, 8)
    weight[2:] = 0
    alone = consistency_loss(logits[:2], target[:2], weight[:2], dice=False)
    torch.testing.assert_close(consistency_loss(logits, target, weight, dice=False), alone / 2)


def test_pixels_that_the_strong_view_lost_have_no_weight():
    """A pixel pushed out of the field of view must not be marked as seen."""
    half_out = identity(1)
    half_out[:, 0, 2] = 1.0  # half the image leaves to the right
    seen = seen_after(half_out, SIZE)[0]
    assert seen[:, : SIZE // 2 - 1].all()
    assert not seen[:, SIZE // 2 + 1 :].any()


def test_what_a_view_shows_from_outside_of_the_image_is_no_part_of_it():
    """The image moved by a half to the right: what stands at the left is a copy of its border, labels and all."""
    moved = identity(1)
    moved[:, 0, 2] = 1.0
    assert inside(moved, SIZE)[0].mean(0).tolist() == [0.0] * (SIZE // 2) + [1.0] * (SIZE // 2)
    policy = Geometry()
    views = draw_views(1, configure(size=SIZE), policy, _generator(), unlabelled=False)
    views = dataclasses.replace(views, weak=moved)
    images, labels = _patches(1)
    _, seen = placed(images, labels, views, strong=False)
    assert (seen[0, :, : SIZE // 2] == 255).all() and (seen[0, :, SIZE // 2 :] != 255).all()


def test_a_pseudo_mask_counts_nowhere_outside_of_the_image(monkeypatch):
    """The weak view moved the image by a half: the copies of its border that the teacher saw teach nothing."""
    import napari_segmatch.engine.step as step

    moved, weights = identity(8), []
    moved[:, 0, 2] = 1.0
    monkeypatch.setattr(step, "weak", lambda n, *_: moved)
    monkeypatch.setattr(step, "consistency_loss", lambda logits, target, weight, dice: weights.append(weight) or 0.0)
    policy = Geometry()
    policy.matrix = lambda drawn: identity(8)
    _step(policy)
    assert not weights[0][:, :, : SIZE // 2].any() and weights[0][:, :, SIZE // 2 :].all()


def test_the_strong_view_of_labelled_slices_starts_from_the_weak_one_too():
    """First T1, then what comes beyond it; the other way round a shift would be turned."""
    policy, images = Geometry(), _smooth_images(4)
    views = draw_views(4, configure(size=SIZE, shift=0.2, flip=1.0), policy, _generator(9), unlabelled=False)
    seen, _ = placed(images, torch.zeros(4, SIZE, SIZE, dtype=torch.uint8), views, strong=True)
    torch.testing.assert_close(seen, warp(images, views.beyond @ views.weak))
    assert (seen - warp(images, views.weak @ views.beyond)).abs().max() > 0.5


@pytest.mark.parametrize("seed", range(3))
def test_same_seed_draws_the_same_views(seed):
    """All chance comes from the generator."""
    config, policy = configure(size=SIZE), RandAugment(2)
    one, two = (draw_views(4, config, policy, _generator(seed), unlabelled=True) for _ in range(2))
    for name in ("weak", "beyond", "box", "partner"):
        assert torch.equal(getattr(one, name), getattr(two, name))


@pytest.mark.parametrize("soft", [False, True])
def test_labelled_boxes_bring_their_own_labels(soft):
    """Pasted from a labelled slice, a box teaches that slice's labels; unannotated pixels in it teach nothing."""
    images, target, weight = torch.zeros(2, 1, 8, 8), torch.zeros(2, 8, 8, dtype=torch.long), torch.zeros(2, 8, 8)
    labelled = torch.ones(1, 1, 8, 8), torch.ones(1, 8, 8, dtype=torch.uint8)
    labelled[1][:, 2] = 255
    views = dataclasses.replace(
        draw_views(2, configure(size=32), RandAugment(1), _generator(), unlabelled=True),
        box=torch.tensor([[0.0, 4.0, 0.0, 8.0]] * 2), partner=torch.tensor([1, 0]), paste=torch.tensor([True, False]),
    )  # fmt: skip
    given = torch.nn.functional.one_hot(target, 2).movedim(-1, 1).float() if soft else target
    mixed, taught, counts = mix(views, images, given, weight, labelled)
    taught = taught.argmax(1) if soft else taught
    assert mixed[0, 0, :4].min() == 1
    assert mixed[0, 0, 4:].max() == mixed[1].max() == 0
    assert taught[0, 0].tolist() == [1] * 8
    assert taught[0, 4:].max() == taught[1].max() == 0
    assert counts[0, [0, 1, 3]].min() == 1
    assert counts[0, 2].max() == counts[0, 4:].max() == counts[1].max() == 0
