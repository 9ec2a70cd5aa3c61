"""Algorithm 1 and the learner that takes its steps."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_segmatch.config import SELECTORS, configure
from napari_segmatch.engine.descent import Follower, descend
from napari_segmatch.engine.device import autocast
from napari_segmatch.engine.learner import Learner
from napari_segmatch.engine.lessons import Lessons
from napari_segmatch.engine.losses import consistency_loss, hard, supervised_loss
from napari_segmatch.engine.schedule import kept, peak_rate, ramp, warm_share
from napari_segmatch.engine.selectors import Look, rows_of
from napari_segmatch.engine.step import draw_views, pseudo_targets
from napari_segmatch.types import PoolSnapshot


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


class TinyPool:
    """Ten random slices on which the learner can take steps."""

    device = torch.device("cpu")
    snapshot = PoolSnapshot(1, {}, {})

    def __init__(self, size=32, channels=1, classes=1):
        self.images = torch.randn(10, channels, size, size, generator=_generator(3))
        self.labels = torch.zeros(10, size, size, dtype=torch.uint8)
        for label in range(1, classes + 1):
            self.labels[:, 6 * label : 6 * label + 5, 8:20] = label
        self.lessons = None
        self.labelled = torch.arange(5)
        self.folds = torch.tensor([0, 0, 1, 1, 1] + [-1] * 5)
        self.patients_labelled = 5

    def slices(self, rows):
        return self.images[rows]

    def labels_of(self, rows):
        return self.labels[rows]

    def pictures(self, rows, generator):
        return self.images[rows]

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
    assert (float(outcome.consistency.detach()) == 0) == (selector == "none")
    assert any(not torch.equal(before[name], value) for name, value in learner.model.state_dict().items())
    assert (judged > 0) == (selector == "discriminator")


@pytest.mark.parametrize("selector", SELECTORS)
def test_what_is_rejected_can_be_ignored(selector):
    """As the paper has it: a batch of which nothing is believed has no consistency loss."""
    learner = Learner(_config(selector=selector, rejected="ignored"), 1, 1)
    outcome, _ = learner.learn(TinyPool(), 0.5)
    silent = selector == "none" or float(outcome.selection.believed.sum()) == 0
    assert (float(outcome.consistency.detach()) == 0) == (silent and selector != "identity-soft")


def test_a_few_labelled_cases_teach_no_doubt():
    """Below five of them what is not believed is ignored: where nothing is believed nothing unlabelled trains."""
    learner, pool = Learner(_config(selector="confidence-map", tau=1.0), 1, 1), TinyPool()
    pool.patients_labelled = 4
    assert float(learner.learn(pool, 0.5)[0].consistency.detach()) == 0
    pool.patients_labelled = 5
    assert float(learner.learn(pool, 0.5)[0].consistency.detach()) > 0


@pytest.mark.parametrize(("tau", "known"), [(None, [True, False]), (0.9, [False, False])])
def test_a_few_labelled_cases_need_less_sureness(tau, known):
    """Below five of them a pixel of 0.8 is believed, unless a run has its own tau: the teacher is seldom sure."""
    learner, pool = Learner(_config(selector="confidence-map", tau=tau), 1, 1), TinyPool()
    for pool.patients_labelled, believed in zip((4, 5), known, strict=True):
        learner.learn(pool, 0.5)
        look = replace(learner.look(pool.images), probabilities=torch.tensor([0.2, 0.8]).view(1, 2, 1, 1))
        assert learner.select(pool.images[:1], look).believed.item() == believed
        assert rows_of(look, torch.tensor([0])).sure == look.sure


def test_a_step_that_was_recorded_for_few_cases_is_not_played_for_more():
    """On a GPU a recorded step keeps its numbers: from when on a pixel is sure is one of them."""
    learner, pool, keys = Learner(_config(rejected="ignored"), 1, 1), TinyPool(), []
    learner.recorder = lambda key, step, *given: keys.append(key) or step(*given)
    for pool.patients_labelled in (4, 5, 5):
        learner.learn(pool, 0.5)
    assert keys[0] != keys[1] == keys[2]


def test_the_judge_believes_what_is_sure_for_so_few_cases():
    """Before it is proven it believes sure pixels alone."""
    learner, pool = Learner(_config(), 1, 1), TinyPool()
    for pool.patients_labelled, believed in ((4, 1), (5, 0)):
        learner.learn(pool, 0.5)
        look = replace(learner.look(pool.images), probabilities=torch.tensor([0.2, 0.8]).view(1, 2, 1, 1))
        assert learner.selector.believed(torch.zeros(1, 2), look).item() == believed


def test_what_is_not_believed_keeps_the_doubt_of_the_teacher():
    """A believed pixel is taken for certain; another trains towards the probabilities, or counts for nothing."""
    p = torch.tensor([[0.1, 0.9], [0.4, 0.6], [0.4, 0.6]]).T.view(1, 2, 1, 3)
    look = Look(p, hard(p), hard(p))
    believed = torch.tensor([1.0, 0.0, 0.5]).view(1, 1, 3)
    target, weight = pseudo_targets(look, believed, blend=True)
    assert target[0, 1, 0].tolist() == pytest.approx([1.0, 0.6, 0.8])
    torch.testing.assert_close(target.sum(1), torch.ones(1, 1, 3))
    assert weight.min() == 1
    target, weight = pseudo_targets(look, believed, blend=False)
    assert target.tolist() == [[[1, 1, 1]]]
    assert torch.equal(weight, believed)


def test_several_classes_and_sequences_train():
    """Three sequences as channels, two classes."""
    learner = Learner(_config(), 3, 2)
    outcome, _ = learner.learn(TinyPool(channels=3, classes=2), 0.5)
    assert torch.isfinite(outcome.supervised + outcome.consistency)


def test_discriminator_sends_no_gradient_into_the_segmenter():
    """After the discriminator's update the model's gradients are those of its own losses alone."""
    learner = Learner(_config(selector="discriminator"), 1, 1)
    outcome, _ = learner.learn(TinyPool(), 0.5)
    for tensor in (outcome.labelled_logits, outcome.look.labels, outcome.selection.believed, outcome.selection.score):
        assert not tensor.requires_grad
    for parameter in learner.model.parameters():
        parameter.grad = None
    pool = TinyPool()
    views = draw_views(3, learner.config, learner.policy, _generator(), unlabelled=False)
    learner._teach_discriminator(
        pool, torch.arange(3), outcome, (pool.slices(torch.arange(3)), pool.labels_of(torch.arange(3)), views)
    )
    assert all(parameter.grad is None for parameter in learner.model.parameters())


def test_segmenter_sends_no_gradient_into_the_discriminator():
    """The model's loss must not train the selector."""
    learner = Learner(_config(selector="discriminator"), 1, 1)
    before = [parameter.clone() for parameter in learner.selector.parameters()]
    learner.step = 1  # the discriminator's own update is not due
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
    learner.step = 200
    assert learner.learn(TinyPool(), 0.2)[0].selection is None
    learner.step = 600
    assert learner.learn(TinyPool(), 0.6)[0].selection is not None


@pytest.mark.parametrize(("steps", "share"), [(4000, 0.15), (2000, 0.25), (1000, 0.5), (400, 0.7), (20, 0.7)])
def test_warm_up_of_a_short_run_takes_more_of_it(steps, share):
    """500 steps at least, 70 % of the run at most; the same however far the run is, and by the clock."""
    config = _config(warmup=0.15)
    for step in (1, steps // 2, steps):
        assert warm_share(config, step, step / steps) == pytest.approx(share)
    assert warm_share(config, 0, 0.0) == 0.15


@pytest.mark.parametrize(("steps", "rate"), [(20_000, 2e-3), (4000, 2e-3), (2000, 4e-3), (1100, 5e-3), (20, 5e-3)])
def test_a_short_run_learns_faster(steps, rate):
    """Unless a rate is given; the same however far the run is, and by the clock."""
    assert peak_rate(_config(steps=steps), 0, 0.0) == pytest.approx(rate)
    by_the_clock = _config()  # how many steps it will be is seen while it runs
    for step in (1, steps // 2, steps):
        assert peak_rate(by_the_clock, step, step / steps) == pytest.approx(rate)
    assert peak_rate(_config(steps=20, learning_rate=1e-3), 10, 0.5) == 1e-3


def test_the_consistency_loss_grows_to_its_full_weight_and_no_further():
    """Nothing in the warm-up, half of it in the middle of the ramp, all of it from its end to that of the run."""
    config = _config(steps=4000, warmup=0.2, ramp=0.1, lambda_u=2.0)
    weights = [ramp(config, round(4000 * progress), progress) for progress in (0.19, 0.25, 0.3, 0.6, 1.0)]
    assert weights == pytest.approx([0, 1.1, 2, 2, 2])
    assert ramp(config.replace(selector="none"), 2400, 0.6) == 0


def test_a_run_without_warm_up_asks_the_teacher_at_once():
    learner = Learner(_config(warmup=0.0), 1, 1)
    learner.step = 10
    assert warm_share(learner.config, learner.step, 0.5) == 0.0
    assert learner.learn(TinyPool(), 0.01)[0].selection is not None


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
    mask, one = torch.ones(1, 32, 32, dtype=torch.bool), torch.ones(1)
    taught.lessons = Lessons(torch.tensor([6]), mask, 0 * one, one[None] < 1, 0 * one[None], one[None])
    assert not torch.equal(_flat(_trained(pool=taught).selector), _flat(_trained().selector))


def test_teacher_has_the_student_s_buffers():
    """Batch statistics are copied: a teacher that forgets them predicts nonsense."""
    learner = _trained(network="tests_networks:with_statistics")
    mean = next(name for name, _ in learner.model.named_buffers() if name.endswith("running_mean"))
    assert torch.equal(dict(learner.teacher.named_buffers())[mean], dict(learner.model.named_buffers())[mean])
    assert dict(learner.model.named_buffers())[mean].abs().max() > 0


def test_a_young_teacher_follows_fast_and_an_old_one_as_he_is_told():
    """A tenth of him stays at first; 0.99 after a thousand steps, and never more."""
    assert [kept(_config(ema=0.99), step) for step in (0, 8, 2000)] == pytest.approx([0.1, 0.5, 0.99])
    assert kept(_config(ema=0.0), 2000) == 0


def test_a_steep_gradient_makes_no_long_step():
    """Its norm is 1 at most, over all parameters; a small one stays as it is."""
    for steepness, length in ((100.0, 1.0), (0.1, 0.5)):
        parameter = torch.nn.Parameter(torch.zeros(25))
        (parameter.sum() * steepness).backward()
        assert descend(torch.optim.SGD([parameter], lr=1.0))
        assert parameter.detach().norm().item() == pytest.approx(length, abs=1e-3)


def test_a_step_that_was_not_sound_changes_no_teacher():
    """Neither his weights nor what his network counts of its images: they may be no numbers."""
    student, teacher = (torch.nn.BatchNorm2d(1) for _ in range(2))
    student.running_mean.fill_(torch.nan)
    student.weight.data.fill_(torch.nan)
    follower = Follower(teacher, student)
    follower.follow(0.5, torch.tensor(False))
    assert torch.equal(teacher.running_mean, torch.zeros(1)) and torch.equal(teacher.weight.data, torch.ones(1))
    student.running_mean.fill_(2.0)
    student.weight.data.fill_(2.0)
    follower.follow(0.5, torch.tensor(True))
    assert torch.equal(teacher.running_mean, torch.full((1,), 2.0))
    assert torch.equal(teacher.weight.data, torch.full((1,), 1.5))


def test_paper_preset_is_cross_entropy_alone():
    """H of the text is cross-entropy; ours adds Dice."""
    logits, labels = torch.randn(2, 2, 8, 8), torch.ones(2, 8, 8, dtype=torch.long)
    paper = configure("paper")
    expected = torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(supervised_loss(logits, labels, paper.dice), expected)
    assert supervised_loss(logits, labels, True) > expected


@pytest.mark.parametrize("strong", [True, False])
def test_ctaugment_learns_in_the_trainer(strong):
    """Its rates move whether labelled slices train on their strong view or not, and belong to the learner's state."""
    learner = _trained(augment="ctaugment", labelled_strong=strong)
    assert learner.policy.state["rates"].min() < 1
    other = Learner(_config(augment="ctaugment"), 1, 1)
    other.load_tensors(learner.tensors())
    assert torch.equal(other.policy.state["rates"], learner.policy.state["rates"])


def test_neighbours_are_seen_and_stay_in_their_case():
    """With one neighbour on either side a slice has three times the channels; at a case's end it stands in itself."""
    from test_judge import Cases

    from napari_segmatch.engine.data import ResidentPool

    pool = ResidentPool(Cases(2), 32, torch.device("cpu"), neighbours=1)
    pool.update()
    seen = pool.slices(torch.tensor([0, 5, 6]))
    assert seen.shape == (3, 3, 32, 32)
    for index, rows in enumerate([(0, 0, 1), (4, 5, 5), (6, 6, 7)]):
        assert torch.equal(seen[index], pool.slices(torch.tensor(rows))[:, 1])
    learner = Learner(_config(neighbours=1), 1, 1)
    learner.learn(pool, 0.5)
    assert torch.isfinite(_flat(learner.model)).all()


def test_whoever_predicts_sees_the_neighbours_that_were_trained_with():
    """A case as `predict` segments it, and as it is proposed and judged; without them other masks would come."""
    from test_judge import Cases

    from napari_segmatch.benchmark.judging import judged_slices
    from napari_segmatch.engine.data import ResidentPool
    from napari_segmatch.engine.predict import predict_slices, predict_volume, propose_case
    from napari_segmatch.engine.prepare import to_network

    cases = Cases(3)
    pool = ResidentPool(cases, 32, torch.device("cpu"), neighbours=1)
    pool.update()
    learner = Learner(_config(neighbours=1, selector="discriminator"), 1, 1)
    for _ in range(4):
        learner.learn(pool, 0.5)
    pixels, labels = cases.volume("case-3").pixels, cases.mask("case-3")
    mine = predict_volume(learner, pixels).labels
    unknown = np.full_like(labels, 255)
    proposed = {mask.region.z: mask.labels for mask in propose_case(learner, "case-3", pixels, unknown, range(6))}
    assert all(np.array_equal(proposed[z], mine[z]) for z in range(6))
    rows = pool.slices(torch.tensor([pool.row(region) for region in pool.regions if region.case == "case-3"]))
    assert np.array_equal((learner.look(rows).labels > 0).numpy(), mine > 0)
    slices, frame = to_network(pixels, 32)
    assert np.array_equal(predict_slices(learner, slices, frame).labels, mine)
    assert len(judged_slices(learner, slices, frame, labels)) >= 6


def test_second_look_averages_the_mirror_image():
    """Two looks are the mean of both; with classes that mirror into each other (flip 0) there is one."""
    images = torch.randn(2, 1, 32, 32)
    for flip in (0.5, 0.0):
        learner = Learner(_config(flip=flip), 1, 1)
        look = learner.look(images)
        assert torch.equal(look.first, look.second) == (flip == 0)
        mirrored = learner.look(images.flip(-1)).probabilities.flip(-1)
        assert torch.allclose(look.probabilities, mirrored, atol=1e-3) == (flip > 0)


def test_both_looks_are_one_pass_and_see_what_two_passes_see():
    learner, images = Learner(_config(), 1, 1), torch.randn(3, 1, 32, 32)
    passes = []
    learner.teacher.register_forward_hook(lambda *given: passes.append(len(given[1][0])))
    look = learner.look(images)
    assert passes == [6]
    with torch.no_grad(), autocast(learner.device):
        once, again = (learner.teacher(view).float().softmax(1) for view in (images, images.flip(-1)))
    assert torch.allclose(look.probabilities, (once + again.flip(-1)) / 2, atol=1e-3)
    for labels, seen in ((look.first, once), (look.second, again.flip(-1))):
        clear = (seen[:, 0] - 0.5).abs() > 0.01  # bfloat16 decides the rest
        assert clear.any() and torch.equal(labels[clear], seen.argmax(1).byte()[clear])
