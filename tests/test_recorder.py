"""Steps that a GPU launches as one: what is recorded, and what is done instead where nothing can be."""

import pytest
import torch
from test_method import TinyPool, _config

from napari_segmatch.engine import recorder
from napari_segmatch.engine.device import rows_that, shown_first
from napari_segmatch.engine.discriminator import Discriminator, quality_loss, verdict_loss
from napari_segmatch.engine.intensity import OPERATIONS, WEIGHTS, Slices, apply_each
from napari_segmatch.engine.learner import Learner
from napari_segmatch.engine.losses import consistency_loss, hard, supervised_loss
from napari_segmatch.engine.policy import GEOMETRIC, RandAugment
from napari_segmatch.engine.recorder import Recorder, leaves, moved, rebuilt
from napari_segmatch.engine.selectors import Look
from napari_segmatch.engine.step import draw_views

CPU = torch.device("cpu")


def _chance(seed=0):
    return torch.Generator().manual_seed(seed)


def test_leaves_are_found_in_what_a_step_is_given():
    """Tuples and dataclasses within each other: every tensor is found, and put back where it was."""
    config = _config(paste=0.5)
    views = draw_views(3, config, RandAugment(2), _chance(), unlabelled=True)
    given = (torch.zeros(1), (views, None), 0.5)
    found = list(leaves(given))
    assert len(found) == 1 + 5 + 3
    again = rebuilt(given, iter([leaf + 1 for leaf in found]))
    assert [bool((new == old + 1).all()) for new, old in zip(leaves(again), found, strict=True)] == [True] * 9
    assert again[1][1] is None
    assert again[2] == 0.5
    assert again[1][0].strong.seed == views.strong.seed
    assert moved(given, CPU) is given


def test_nothing_is_recorded_where_there_is_no_gpu():
    """Every call is a plain one."""
    calls = []
    record = Recorder(CPU)
    assert [record("key", lambda x: calls.append(x) or x + 1, torch.tensor(value)).item() for value in (1, 2, 3)] == [
        2,
        3,
        4,
    ]
    assert len(calls) == 3


def _pretend(monkeypatch, error=None):
    """Let a recorder believe that there is a GPU; a recording adds 100 so that it shows, or fails."""

    class Pretended:
        def __init__(self, function, inputs, device):
            if error:
                raise error
            self._function = function

        def launch(self, inputs):
            return self._function(*inputs) + 100

    monkeypatch.setattr(recorder, "Recording", Pretended)
    monkeypatch.setattr(recorder, "_beside", lambda device, function: function())
    record = Recorder(CPU)
    record._wanted = True
    return record


def test_the_second_call_of_each_kind_is_recorded(monkeypatch):
    """The first one warms up; another key has its own recording; after forgetting it begins anew."""
    record = _pretend(monkeypatch)
    results = [record(key, lambda x: x + 1, torch.tensor(0)).item() for key in "aabab"]
    assert results == [1, 101, 1, 101, 101]
    record.forget()
    assert record("a", lambda x: x + 1, torch.tensor(0)).item() == 1


def test_one_recording_of_each_function_is_kept(monkeypatch):
    """The warm-up's step does not come back; its memory is needed."""
    record = _pretend(monkeypatch)
    keys = [("step", "warm"), ("lesson", 1), ("step", "warm"), ("step", "full"), ("lesson", 1), ("step", "warm")]
    assert [record(key, lambda x: x + 1, torch.tensor(0)).item() for key in keys] == [1, 1, 101, 1, 101, 1]


def test_what_cannot_be_recorded_is_called_plainly_and_told(monkeypatch):
    """An operation of somebody's own network waits for the GPU: the run goes on, and a sentence says why."""
    record = _pretend(monkeypatch, RuntimeError("operation not permitted when stream is capturing\nmore"))
    assert [record("a", lambda x: x + 1, torch.tensor(0)).item() for _ in range(3)] == [1, 1, 1]
    assert record.refused == "operation not permitted when stream is capturing"


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: out of memory")], ids=str
)
def test_memory_that_runs_out_while_recording_is_not_swallowed(monkeypatch, error):
    """Whoever watches the run makes smaller parts of the batch; a graph that finds no room says it in CUDA's words."""
    record = _pretend(monkeypatch, error)
    record("a", lambda x: x + 1, torch.tensor(0))
    with pytest.raises(RuntimeError, match="out of memory"):
        record("a", lambda x: x + 1, torch.tensor(0))
    assert not record.refused


def test_operations_all_at_once_are_those_one_by_one():
    """On a GPU each slice goes through every operation and keeps the result of its own."""
    images, names = torch.randn(len(OPERATIONS) + 1, 2, 32, 32, generator=_chance()), list(OPERATIONS)
    level, sign = torch.full((len(images), 1, 1, 1), 0.7), torch.ones(len(images), 1, 1, 1)
    chosen = torch.arange(-1, len(OPERATIONS)).view(-1, 1, 1, 1)
    together = apply_each(Slices(images), chosen, level, sign)
    assert torch.equal(together[0], images[0])  # a geometric one
    for row, name in enumerate(names, 1):
        alone = OPERATIONS[name](Slices(images[row : row + 1]), level[:1], sign[:1], None)[0]
        if name in ("bias-field", "gaussian-noise", "rician-noise", "ghosting", "motion"):
            assert not torch.equal(together[row], images[row]), name
        else:
            assert torch.allclose(together[row], alone, atol=1e-5), name
    assert len(WEIGHTS) == 6


def test_the_policy_on_a_gpu_draws_the_same_operations(monkeypatch):
    """Both ways through a policy give the same pictures where chance has no part in them."""
    policy, images = RandAugment(2), torch.randn(40, 1, 32, 32, generator=_chance())
    drawn = policy.draw(40, _chance(1))
    random = [len(GEOMETRIC) + list(OPERATIONS).index(name) for name in
              ("bias-field", "gaussian-noise", "rician-noise", "ghosting", "motion")]  # fmt: skip
    sure = ~torch.isin(drawn.operations, torch.tensor(random)).any(1)
    assert sure.sum() > 10
    assert torch.allclose(policy.apply(images, drawn)[sure], policy._apply_at_once(images, drawn)[sure], atol=1e-4)


def _logits(n):
    return torch.randn(n, 2, 16, 16, generator=_chance())


def test_losses_count_only_the_slices_that_are_there():
    """On a GPU all slices are computed, and those of the other fold have no weight: the loss is that of the rest."""
    logits, counted = _logits(5), torch.tensor([True, False, True, False, False])
    labels = torch.randint(0, 2, (5, 16, 16), generator=_chance())
    labels[0, :4] = 255
    weight = torch.rand(5, 16, 16, generator=_chance())
    few = supervised_loss(logits[counted], labels[counted])
    assert torch.allclose(supervised_loss(logits, labels, counted=counted), few)
    pseudo = labels.clamp(max=1)
    few = consistency_loss(logits[counted], pseudo[counted], weight[counted])
    assert torch.allclose(consistency_loss(logits, pseudo, weight, counted=counted), few)
    nobody = torch.zeros(5, dtype=torch.bool)
    assert supervised_loss(logits, labels, counted=nobody) == 0
    assert consistency_loss(logits, pseudo, weight, counted=nobody) == 0


def test_a_critic_learns_only_from_slices_that_are_there():
    """The same for the losses of the discriminator."""
    critic = Discriminator(1).eval()
    images, counted = torch.randn(4, 1, 32, 32, generator=_chance()), torch.tensor([True, False, False, True])
    truth = torch.zeros(4, 32, 32, dtype=torch.bool)
    truth[:, 8:20, 8:20] = True
    candidates = torch.stack([truth, truth.roll(3, 1), truth.roll(8, 2), truth & False])
    few = quality_loss(critic, images[counted], truth[counted], candidates[:, counted])
    assert torch.allclose(quality_loss(critic, images, truth, candidates, counted), few)
    targets = torch.tensor([1.0, 0.0, 1.0, 0.0])
    logits = critic(images, truth)
    few = verdict_loss(logits[counted], targets[counted], torch.ones(2))
    assert torch.allclose(verdict_loss(logits, targets, counted), few)
    assert verdict_loss(logits, targets, torch.zeros(4)) == 0


@pytest.mark.parametrize("classes", [1, 2])
def test_a_judge_says_the_same_of_all_slices_at_once(monkeypatch, classes):
    """Scores, verdicts and what is believed do not depend on whether empty slices are computed too."""
    learner = Learner(_config(), 1, classes)
    judge, images = learner.selector, torch.randn(6, 1, 32, 32, generator=_chance())
    judge.record.copy_(torch.tensor([40.0, 20.0, 0.9, 0.6, 0.8]))
    scores = torch.randn(6, classes + 1, 32, 32, generator=_chance())
    scores[::2, 0] += 20
    look = Look(scores.softmax(1), hard(scores), hard(scores.flip(-1)))
    said = learner.select(images, look)
    for module in ("judge", "selectors", "discriminator"):
        monkeypatch.setattr(f"napari_segmatch.engine.{module}.rows_that", shown_first)
    again = learner.select(images, look)
    assert torch.allclose(said.believed, again.believed, atol=1e-5)
    assert torch.allclose(said.class_scores, again.class_scores, atol=1e-5, equal_nan=True)
    assert torch.equal(said.accepted, again.accepted)


def test_rows_that_count_come_first():
    """A GPU takes a fixed number of rows; those that are shown go before the others, in their order."""
    shown = torch.tensor([False, True, False, True, True])
    assert shown_first(shown, 4).tolist() == [1, 3, 4, 0]
    assert shown_first(shown, 2).tolist() == [1, 3]
    assert shown_first(shown).tolist() == [0, 1, 2, 3, 4]
    assert rows_that(shown, 2).tolist() == [1, 3, 4]


def test_a_network_of_somebody_else_is_not_recorded(monkeypatch):
    """It may decide in Python what a recording would not see."""
    seen = []
    monkeypatch.setattr(
        "napari_segmatch.engine.learner.Recorder", lambda device, wanted: seen.append(wanted) or Recorder(device)
    )
    Learner(_config(), 1, 1)
    Learner(_config(network="tests_networks:with_statistics"), 1, 1)
    assert seen == [True, False]


def test_a_step_that_is_not_taken_leaves_the_teacher_as_it_is():
    """Batch statistics of a slice without numbers would make every pseudo mask nonsense."""
    learner, pool = Learner(_config(network="tests_networks:with_statistics"), 1, 1), TinyPool()
    learner.learn(pool, 0.5)
    before = {name: value.clone() for name, value in learner.teacher.state_dict().items()}
    pool.images = pool.images * torch.nan
    learner.learn(pool, 0.5)
    assert learner.skipped
    assert all(torch.equal(before[name], value) for name, value in learner.teacher.state_dict().items())


def test_motion_is_a_shift_of_some_lines():
    """In half of k-space as in the whole: the real part of an image whose upper lines carry another phase."""
    images, level = torch.randn(2, 1, 32, 32, generator=_chance()), torch.full((2, 1, 1, 1), 0.8)
    out = OPERATIONS["motion"](Slices(images), level, torch.ones(2, 1, 1, 1), _chance(5))
    start = 0.06 + 0.3 * torch.rand(2, 1, 1, 1, generator=_chance(5))
    fy = torch.fft.fftfreq(32).view(1, 1, -1, 1)
    phase = torch.where(fy > start, 2 * torch.pi * fy * 4 * level, torch.zeros_like(fy))
    whole = torch.fft.ifft2(torch.fft.fft2(images) * torch.polar(torch.ones_like(phase), phase)).real
    assert torch.allclose(out, whole, atol=1e-5)


def test_views_drawn_ahead_are_those_of_the_step(monkeypatch):
    """While a GPU computes, the next step's views are drawn: the run is the same."""
    losses = []
    for ahead in (False, True):
        learner = Learner(_config(), 1, 1)
        for step in range(3):
            if ahead:
                learner._ahead = {(step, ((3, 3),)): learner._views(((3, 3),))}
            losses.append(float(learner.learn(TinyPool(), 0.5)[0].consistency))
    assert losses[:3] == losses[3:]
    pool = TinyPool()
    learner.drawn = learner.unlabelled_rows(pool)
    learner._draw_ahead(learner._batches(pool, learner.labelled_rows(pool)))
    ((mine, theirs),) = learner._ahead[4, ((3, 3),)]
    ((then, others),) = _learner_at(4)._views(((3, 3),))
    assert torch.equal(mine.weak, then.weak)
    assert torch.equal(theirs.box, others.box)


def _learner_at(step):
    learner = Learner(_config(), 1, 1)
    learner.step = step
    return learner
