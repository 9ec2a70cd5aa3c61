"""Views: exactness of T1, composition, and the alignment that the consistency loss rests on."""

import pytest
import torch

from napari_segmatch.config import configure
from napari_segmatch.engine.geometry import identity, inside, seen_after, warp, weak
from napari_segmatch.engine.policy import GEOMETRIC, Drawn, RandAugment
from napari_segmatch.engine.selectors import Identity
from napari_segmatch.engine.step import algorithm_1, draw_views

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


def _pointwise(images):
    """An equivariant toy network: each pixel's logits depend on its own grey value alone."""
    return torch.cat([-20 * images, 20 * images], 1)


def test_equivariant_network_has_no_consistency_loss_on_valid_pixels():
    """Pseudo mask and aligned prediction agree wherever the strong view shows something."""
    config = configure(size=SIZE, cutmix=1.0)
    policy = RandAugment(2)
    policy.apply = lambda images, drawn: images  # geometry alone
    images = _smooth_images(8)
    images = images + 0.4 * images.sign()  # no pixel sits on the decision's edge
    labels = torch.zeros(8, SIZE, SIZE, dtype=torch.uint8)
    views = draw_views(8, config, policy, _generator(7), mix=False)
    aligned = []

    def student(batch):
        logits = _pointwise(batch)
        aligned.append(warp(logits[8:], torch.linalg.inv(views.beyond)))
        return logits

    outcome = algorithm_1(student, _pointwise, Identity(0.9), policy, (images, labels, views), (images, views))
    seen = (inside(views.weak, SIZE) * seen_after(views.beyond, SIZE)).bool()
    clear = seen & ((outcome.weak_view[:, 0].abs()) > 0.6)
    agree = aligned[0].argmax(1) == outcome.pseudo
    assert clear.float().mean() > 0.2
    assert agree[clear].float().mean() > 0.995


def test_pixels_that_the_strong_view_lost_have_no_weight():
    """A pixel pushed out of the field of view must not be marked as seen."""
    half_out = identity(1)
    half_out[:, 0, 2] = 1.0  # half the image leaves to the right
    seen = seen_after(half_out, SIZE)[0]
    assert seen[:, : SIZE // 2 - 1].all()
    assert not seen[:, SIZE // 2 + 1 :].any()


@pytest.mark.parametrize("seed", range(3))
def test_same_seed_draws_the_same_views(seed):
    """All chance comes from the generator."""
    config, policy = configure(size=SIZE), RandAugment(2)
    one, two = (draw_views(4, config, policy, _generator(seed), mix=True) for _ in range(2))
    for name in ("weak", "beyond", "box", "partner"):
        assert torch.equal(getattr(one, name), getattr(two, name))
