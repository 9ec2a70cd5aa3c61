"""The quality critic: honest lessons, examinations on slices it has not met, and chances that hold."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

from napari_segmatch.benchmark.judging import auprc
from napari_segmatch.config import configure
from napari_segmatch.engine.answers import Answers, Held
from napari_segmatch.engine.calibration import (
    APART,
    ENOUGH,
    MET,
    Judged,
    Report,
    auroc,
    calibration_error,
    chance,
    fit_rule,
    of_masks,
    precision_bound,
    report_on,
    threshold,
    verdict_threshold,
)
from napari_segmatch.engine.data import ResidentPool
from napari_segmatch.engine.evidence import evidence, look_with, signs
from napari_segmatch.engine.examination import Examination
from napari_segmatch.engine.judge import NOBODY, Judge
from napari_segmatch.engine.learner import Learner
from napari_segmatch.engine.lessons import Lessons
from napari_segmatch.engine.losses import hard, one_hot
from napari_segmatch.engine.selectors import Look, rows_of
from napari_segmatch.engine.step import placed
from napari_segmatch.engine.validation import Validation
from napari_segmatch.types import NOT_ANNOTATED, PoolSnapshot, Volume


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Cases:
    """A pool of cases with a bright square on each slice; any number of them labelled."""

    classes, sequences = ("lesion",), ("flair",)

    def __init__(self, labelled, unlabelled=1, slices=6):
        names = [f"case-{index}" for index in range(labelled + unlabelled)]
        everything = tuple(range(slices))
        self._snapshot = PoolSnapshot(
            1, dict.fromkeys(names[:labelled], everything), dict.fromkeys(names[labelled:], everything)
        )
        chance_ = np.random.default_rng(0)
        self._masks, self._images = {}, {}
        for name in names:
            mask = np.zeros((slices, 32, 32), np.uint8)
            for z in range(slices):
                y, x = chance_.integers(2, 16, 2)
                mask[z, y : y + 12, x : x + 12] = 1
            self._masks[name] = mask
            self._images[name] = (mask * 2.0 + chance_.normal(0, 0.3, mask.shape) + 1).astype(np.float32)[None]

    def version(self):
        return 1

    def snapshot(self):
        return self._snapshot

    def volume(self, case):
        return Volume(self._images[case], None)

    def mask(self, case):
        return self._masks[case]


def _pool(labelled, **more):
    pool = ResidentPool(Cases(labelled, **more), 32, torch.device("cpu"))
    pool.update()
    return pool


def _learner(**changes):
    return Learner(configure(**({"size": 32, "batch": 4, "features": 8, "device": "cpu"} | changes)), 1, 1)


def test_folds_never_cut_through_a_case():
    """Whole cases are on one side, labelled rows alone have a fold, and both folds have cases."""
    pool = _pool(5)
    by_case = {}
    for row, region in enumerate(pool.regions):
        by_case.setdefault(region.case, set()).add(int(pool.folds[row]))
    assert all(len(folds) == 1 for folds in by_case.values())
    assert by_case["case-5"] == {-1}
    assert set.union(*(by_case[f"case-{index}"] for index in range(5))) == {0, 1}


def test_the_only_case_is_cut_in_half():
    """With one labelled case the halves of its slices stand in for cases."""
    assert sorted(_pool(1).folds.tolist()) == [-1] * 6 + [0] * 3 + [1] * 3


def test_folds_outlast_new_labels_and_a_resume():
    """Labels that come later move no slice to the other side, nor does a pool that is built anew."""
    sides = {}
    one = ResidentPool(Cases(1), 32, torch.device("cpu"), fold_of=sides)
    one.update()
    before = one.folds[:6].tolist()
    later = ResidentPool(Cases(4), 32, torch.device("cpu"), fold_of=sides)
    later.update()
    assert later.folds[:6].tolist() == before
    assert {int(later.folds[6 * index]) for index in (1, 2, 3)} == {0, 1}
    again = ResidentPool(Cases(4), 32, torch.device("cpu"), fold_of=dict(sides))
    again.update()
    assert torch.equal(again.folds, later.folds)


@pytest.mark.parametrize("slices", [1, 2])
def test_next_to_nothing_labelled_is_examined_without_harm(slices):
    """One case of one labelled slice: no fold to examine, no verdict, no crash."""
    learner, pool = _learner(), _pool(1, slices=slices)
    learner.learn(pool, 0.5)
    assert not learner.examine(pool).proven


def test_a_run_whose_slices_are_all_labelled_keeps_the_folds_apart():
    """Then labelled slices serve as unlabelled ones, and still teach only the critic of their own fold."""
    pool, learner = _pool(2, unlabelled=0), _learner(discriminator_every=1)
    learner.learn(pool, 0.5)
    assert set(pool.folds[learner.drawn].tolist()) <= {0, 1}


def test_no_labelled_slice_of_a_step_has_a_box_from_the_other_fold():
    learner, pool = _learner(labelled_cutmix=1.0, batch=8), _pool(4)
    rows = learner.labelled_rows(pool)
    ((_, _, views), _), *_ = learner._batches(pool, rows)
    folds = pool.folds[rows]
    assert (views.box[:, 1] > views.box[:, 0]).all() and len(set(views.partner.tolist())) == 8
    assert torch.equal(folds, folds[views.partner]) and set(folds.tolist()) == {0, 1}
    learner.learn(pool, 0.5)


def test_equation_1_compares_slices_without_boxes_on_either_side():
    """A box in people's slices alone would tell them from predicted ones."""
    learner, pool = _learner(labelled_cutmix=1.0, objective="equation-1"), _pool(4)
    ((labelled, _), *_) = learner._batches(pool, learner.labelled_rows(pool))
    images, labels, views = labelled
    (seen, _), _ = learner._both_kinds(pool, labelled, _generator())
    plain, _ = placed(images, labels, dataclasses.replace(views, box=views.box[:0]), strong=False)
    assert torch.equal(seen, plain) and not torch.equal(seen, placed(images, labels, views, strong=False)[0])


def test_nobody_in_a_fold_learns_from_the_other():
    """Understudy and critic 0 get no gradient from slices of fold 1: otherwise the examination would prove nothing."""
    judge = Judge(configure(), 1, 1)
    images, labels = torch.randn(2, 1, 32, 32), torch.zeros(2, 32, 32, dtype=torch.long)
    labels[:, 4:20, 4:20] = 1
    (scores,), folds = judge.understudies_on(images), torch.tensor([1, 1])
    judge.loss(images, labels, folds, scores, labels.roll(2, 1), _generator(), dice=True).backward()
    assert _touched(judge.understudies) == _touched(judge.critics) == [False, True]


def _touched(parts):
    return [any(p.grad is not None and bool(p.grad.any()) for p in part.parameters()) for part in parts]


def test_understudies_see_two_batches_in_one_pass_as_in_two():
    judge, batches = Judge(configure(), 1, 1).eval(), (torch.randn(2, 1, 32, 32), torch.randn(3, 1, 32, 32))
    passes = []
    judge.understudies[0].register_forward_hook(lambda *given: passes.append(len(given[1][0])))
    together = judge.understudies_on(*batches)
    assert passes == [5]
    for seen, batch in zip(together, batches, strict=True):
        for logits, understudy in zip(seen, judge.understudies, strict=True):
            torch.testing.assert_close(logits, understudy(batch), atol=1e-4, rtol=1e-4)


def test_decisions_and_unlabelled_slices_keep_to_the_fold_of_their_case():
    """A proposal of a case with labels must teach neither critic nor understudy that will be examined on that case."""
    images, masks = torch.randn(2, 1, 32, 32), torch.zeros(2, 32, 32, dtype=torch.bool)
    masks[:, 4:20, 4:20] = True
    hot = torch.nn.functional.one_hot(masks.long(), 2).movedim(-1, 1).float()
    for fold, expected in ((0, [True, False]), (1, [False, True]), (-1, [True, True])):
        folds = torch.full((2,), fold)
        judge = Judge(configure(), 1, 1).eval()
        judge.lesson_loss(images, masks, torch.tensor([1.0, 0.0]), folds).backward()
        assert _touched(judge.critics) == expected
        judge = Judge(configure(), 1, 1).eval()
        look = Look(hot, masks.long(), masks.long())
        (scores,) = judge.understudies_on(images)
        judge.unlabelled_loss(images, scores, look, folds, _generator()).backward()
        assert _touched(judge.critics) == expected
        assert _touched(judge.understudies) == [False, False]
        judge.following_loss(scores, look, folds).backward()
        assert _touched(judge.understudies) == expected


@pytest.mark.parametrize("setting", [{"flip": 0.0}, {"second_look": False}])
def test_one_look_makes_no_stand_in_for_the_truth(setting, monkeypatch):
    """Where the teacher looks once it always agrees with itself: that must teach the critics nothing."""
    pool, learner = _pool(3), _learner(discriminator_every=1, **setting)
    monkeypatch.setattr(Judge, "unlabelled_loss", lambda *_: pytest.fail("asked"))
    learner.learn(pool, 0.5)


def test_critics_learn_from_unlabelled_slices_only_where_the_teacher_agrees_with_itself():
    """A mask on which the two looks differ is no stand-in for the truth."""
    judge = Judge(configure(), 1, 1).eval()
    images, labels = torch.randn(4, 1, 32, 32), torch.zeros(4, 32, 32, dtype=torch.long)
    labels[:, 4:20, 4:20] = 1
    hot = torch.nn.functional.one_hot(labels, 2).movedim(-1, 1).float()
    (scores,), nobody = judge.understudies_on(images), torch.full((4,), -1)
    unsure = Look(hot, labels, labels.roll(12, 2))
    assert judge.unlabelled_loss(images, scores, unsure, nobody, _generator()) == 0
    assert judge.unlabelled_loss(images, scores, Look(hot, labels, labels.roll(2, 2)), nobody, _generator()) == 0
    assert judge.unlabelled_loss(images, scores, Look(hot, labels, labels.roll(1, 2)), nobody, _generator()) > 0
    judge.unlabelled_loss(images, scores, Look(hot, labels, labels), nobody, _generator()).backward()
    assert all(any(p.grad is not None for p in critic.parameters()) for critic in judge.critics)
    assert all(p.grad is None for p in judge.understudies.parameters())


def test_examination_asks_about_slices_of_the_other_fold(monkeypatch):
    """Of labelled slices understudy 0 is only ever shown fold 1, and the reverse."""
    pool, learner = _pool(4), _learner()
    every, met = pool.slices(torch.arange(len(pool.regions))), {0: set(), 1: set()}
    for fold, understudy in enumerate(learner.selector.understudies):

        def note(module, inputs, output, fold=fold):
            for image in inputs[0].float():
                rows = [row for row in range(len(pool.regions)) if torch.allclose(every[row], image, atol=1e-3)]
                met[fold] |= {int(pool.folds[row]) for row in rows}

        understudy.register_forward_hook(note)
    learner.examine(pool)
    assert met == {0: {-1, 1}, 1: {-1, 0}}


def test_no_critic_is_examined_on_slices_that_it_has_learnt(monkeypatch):
    """Of labelled slices critic 0, as understudy 0, is only ever asked about fold 1: it knows the others by heart."""
    pool, learner = _pool(4), _learner()
    every, met = pool.slices(torch.arange(len(pool.regions))), {0: set(), 1: set()}
    for fold, critic in enumerate(learner.selector.critics):

        def note(views, fold=fold, judge=critic.judge):
            for image in views[: len(views) // 2, : every.shape[1]].float():
                rows = [row for row in range(len(pool.regions)) if torch.allclose(every[row], image, atol=1e-3)]
                met[fold] |= {int(pool.folds[row]) for row in rows}
            return judge(views)

        monkeypatch.setattr(critic, "judge", note)
    learner.examine(pool)
    assert met == {0: {-1, 1}, 1: {-1, 0}}


def _held(cases=3, slices=12):
    """Slices of validation cases with a square on each."""
    images = torch.randn(cases * slices, 1, 32, 32, generator=_generator())
    labels = torch.zeros(cases * slices, 32, 32, dtype=torch.uint8)
    labels[:, 8:20, 8:20] = 1
    return Held(images, labels, cases)


def _seen_by_teacher(learner, monkeypatch, right):
    """Have the teacher see the square well on some slices (n,) bool, and half of it on the others, less sure of it."""
    sure = torch.where(right, 6.0, 1.5)

    def look(network, images, mirror):
        scores = torch.full((len(images), 2, 32, 32), -4.0)
        if network is not learner.teacher or len(images) > len(right):
            return Look(scores.softmax(1), hard(scores), hard(scores))
        mine, part = right[: len(images)], sure[: len(images), None, None]
        scores[:, 0] = 4
        scores[:, :, 8:20, 8:14] = torch.stack([-part, part], 1).expand(-1, -1, 12, 6)
        scores[mine, 1, 8:20, 14:20], scores[mine, 0, 8:20, 14:20] = 6, -6
        return Look(scores.softmax(1), hard(scores), hard(scores))

    monkeypatch.setattr("napari_segmatch.engine.examination.look_with", look)
    monkeypatch.setattr("napari_segmatch.engine.examination.at_once", lambda *_: len(right))


def test_slices_of_validation_cases_come_with_their_own_labels():
    """Some of each case, with their neighbours; what is bright is labelled there."""
    pool, learner = Cases(3), _learner(neighbours=1)
    validation = Validation(pool, PoolSnapshot(1, {}, {}, ("case-0", "case-2"), patients={"case-0": "x"}))
    assert validation.held(learner) is None
    assert list(validation.read(learner)) == []
    held = validation.held(learner)
    assert held.images.shape == (12, 3, 32, 32) and held.labels.shape == (12, 32, 32) and held.patients == 2
    bright, shown = held.images[:, 1], held.labels > 0
    assert all(
        float(image[mask].min()) > float(image[~mask].median()) for image, mask in zip(bright, shown, strict=True)
    )
    assert Validation(pool, PoolSnapshot(1, {}, {})).held(learner) is None


def test_two_validation_scans_of_one_patient_count_as_one():
    """As two labelled ones do: they resemble each other, and prove half as much as two patients."""
    snapshot = PoolSnapshot(1, {}, {}, ("case-0", "case-2"), patients={"case-0": "x", "case-2": "x"})
    validation, learner = Validation(Cases(3), snapshot), _learner()
    assert list(validation.read(learner)) == []
    assert validation.held(learner).patients == 1


@pytest.mark.parametrize(("good", "several"), [(0, True), (2, True), (24, True), (34, True), (24, False)])
def test_of_validation_cases_the_teacher_s_own_masks_are_met(monkeypatch, good, several):
    """They say what is proven, where they are enough; the rule is moved by them and by the understudies' masks."""
    pool, learner = _pool(4), _learner()
    right = torch.arange(36) < good
    _seen_by_teacher(learner, monkeypatch, right)
    met = []
    learn = learner.selector._learn_masks
    monkeypatch.setattr(learner.selector, "_learn_masks", lambda *given: (met.append(given), learn(*given)))
    learner.examine(pool, _held() if several else _held(1, 36))
    [(_, _, cases, own)] = met
    assert own.good.tolist() == right.tolist()
    assert float(own.weights.sum()) == pytest.approx(15 if several else 5)
    assert cases == 4
    assert learner.selector.report.proven == (several and good == 24)


@pytest.mark.parametrize("masks", range(11, 400, 7))
def test_ten_masks_are_ten_into_however_many_shares_they_fall(masks):
    """Two validation cases, or one with two classes, are enough, and five cases that people judged."""
    half = torch.arange(masks) % 2 == 0
    parts = [(torch.randn(masks, generator=_generator()) + 4 * half, half)]
    for cases, worth in ((2, 5.0), (1, 10.0), (5, 2.0)):
        assert Judged.of_cases(parts, cases, worth).independent == 10
    judge = _examined_judge()
    judge._learn_masks(NOBODY, NOBODY, 5, Judged.of_cases(parts, 2, 5.0))
    assert judge.report.proven


def test_validation_cases_move_the_rule_and_leave_the_threshold_alone():
    """What labelled cases state, or 0.75: they are few, and their slices alike."""
    known, good = _evidence_and_truth(3.0, 2.5, 200)
    met = Judged.of_cases([(known, good)], 8)
    alone, judge = _examined_judge(), _examined_judge()
    alone._learn_masks(met, NOBODY, 8)
    own = Judged.of_cases([(known, torch.ones_like(good)), (known - 9, ~torch.ones_like(good))], 3, 5.0)
    judge._learn_masks(met, NOBODY, 8, own)
    assert _half(judge.mask_rule) < _half(alone.mask_rule) - 0.1
    assert judge.report.slices == 400
    assert judge.report.tau == pytest.approx(report_on(met, judge.mask_rule, 8).tau)
    nothing = Judged.of_cases([(known, torch.zeros_like(good))], 8)
    judge._learn_masks(nothing, NOBODY, 8, own)
    assert judge.report.proven and judge.report.tau == ENOUGH


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("both", [False, True])
def test_a_mask_is_met_once(classes, both):
    """Where a slice shows one of two classes, that and everything are the same mask: it proves nothing twice."""
    truth = torch.zeros(7, 32, 32, dtype=torch.long)
    truth[:, 8:20, 8:16] = 1
    truth[:, 8:20, 16:24] = classes if both else 0
    met = _answers(truth, truth, classes)
    assert sum(len(evidence_) for evidence_, _ in met.masks) == (21 if both and classes == 2 else 7)
    assert sum(len(sure) for sure, _ in met.blanks) == 0


def _answers(seen, truth, classes=1):
    """Answers about slices on which a model sees some labels."""
    look = look_with(lambda _: one_hot(torch.cat([seen, seen.flip(-1)]), classes + 1) * 8, truth[:, None].float(), True)
    met = Answers(classes, 1)
    met.ask(torch.zeros(len(seen), 1, 32, 32), truth, look, lambda images, masks: torch.zeros(len(masks)))
    return met


def test_a_blank_is_right_where_nothing_is_and_a_mask_is_judged_where_somebody_has_looked():
    """Three slices: nothing is seen and nothing there, a lesion is missed, one found beside what is not annotated."""
    truth, seen = (torch.zeros(3, 32, 32, dtype=torch.long) for _ in range(2))
    truth[1:, 8:20, 8:16], truth[2, :, 20:] = 1, NOT_ANNOTATED
    seen[2, 8:20, 8:16] = seen[2, :, 20:] = 1
    met = _answers(seen, truth)
    assert [good.tolist() for _, good in met.masks] == [[True]]
    assert [good.tolist() for _, good in met.blanks] == [[True, False]]


def test_the_bound_is_of_the_masks_above_the_threshold():
    """Nine of the twenty good ones, and no bad one."""
    known, rule = torch.linspace(-4, 4, 40), torch.tensor([1.0, 0.0])
    report = report_on(Judged(known, known > 0, torch.ones(40)), rule)
    accepted = int((chance(known, rule) > ENOUGH).sum())
    assert 0 < accepted < 20
    assert report.bound == pytest.approx(precision_bound(accepted, accepted))


def test_verdicts_wait_for_a_passed_examination():
    """Before it, sure pixels train and no verdict does; after it, the chances weigh whole masks."""
    judge = Judge(configure(gate="soft"), 1, 1).eval()
    p = torch.full((1, 2, 32, 32), 0.0)
    p[:, 0], p[:, 1, 4:20, 4:20] = 0.97, 0.6
    p[:, 0, 4:20, 4:20] = 0.4
    look = Look(p, hard(p), hard(p))
    assert not judge.report.proven
    before = judge(torch.zeros(1, 1, 32, 32), look)
    assert before.believed[0, 5, 5] == 0
    assert before.believed[0, 30, 30] == 1
    assert not before.accepted.any()
    judge.record.copy_(torch.tensor([40.0, 20.0, 0.9, 0.6, 0.8]))
    assert judge.report.proven
    after = judge(torch.zeros(1, 1, 32, 32), look)
    assert 0 < float(after.believed[0, 5, 5]) < 1
    assert float(judge.threshold) == pytest.approx(0.6)


def _examined_judge():
    judge = Judge(configure(), 1, 1)
    judge.usual.fill_(2.0)
    return judge


def test_examination_is_passed_by_evidence_that_tells_good_from_bad():
    """What tells them apart proves the judge; what holds in one half and misleads in the other does not."""
    good = torch.arange(40) % 2 == 0
    known = 1 + torch.randn(40, generator=_generator()) + 3 * good
    judge = _examined_judge()
    judge._learn_masks(Judged.of_cases([(known, good)], 6), NOBODY, 6)
    assert judge.report.proven
    assert judge.report.auroc > 0.9
    assert judge.report.tau is not None
    known[20:] = 5 - known[20:]
    judge._learn_masks(Judged.of_cases([(known, good)], 6), NOBODY, 6)
    assert not judge.report.proven


@pytest.mark.parametrize("good", [0, 2, 10, 12])
def test_an_examination_that_meets_too_few_takes_no_proof_back(good):
    """Of good or of bad masks: the proof of before holds, but what threshold to keep is for the new one to say."""
    judge = _examined_judge()
    met = Judged.of_cases([(torch.randn(12), torch.arange(12) < good)], 6)
    judge._learn_masks(met, NOBODY, 6)
    assert not judge.report.proven
    judge.record.copy_(torch.tensor([40.0, 20.0, 0.9, 0.6, 0.8]))
    judge._learn_masks(met, NOBODY, 6)
    assert judge.report.proven
    assert (judge.report.slices, judge.report.good) == (40, 20)
    assert judge.report.tau == ENOUGH or good == 12


def test_an_examination_that_was_failed_takes_the_proof_back():
    judge = _examined_judge()
    judge.record.copy_(torch.tensor([40.0, 20.0, 0.9, 0.6, 0.8]))
    judge._learn_masks(Judged.of_cases([(torch.arange(12.0), torch.arange(12) < 3)], 6), NOBODY, 6)
    assert not judge.report.proven
    assert judge.report.slices == 12


BEFORE = of_masks(2.0)
"""What is thought of a model whose masks have evidence of 2 in the mean: half are good at 2.5."""


def _half(rule):
    """The evidence at which one mask in two is good."""
    return float(-rule[1] / rule[0])


def _evidence_and_truth(slope, half, count, seed=1):
    """Evidence about ``half``, and masks that are good with a chance that grows with it."""
    known = half + torch.randn(count, generator=_generator(seed))
    return known, torch.rand(count, generator=_generator(seed + 1)) < torch.sigmoid(slope * (known - half))


@pytest.mark.parametrize(("slope", "half"), [(1.5, 0.3), (3.0, 2.5), (6.0, -1.0)])
def test_many_cases_overrule_what_was_thought_before(slope, half):
    """Fitted on one half, promised and found shares agree on the other, wherever chances turn and however sharply."""
    known, good = _evidence_and_truth(slope, half, 4000)
    rule = fit_rule(Judged.of_cases([(known[:2000], good[:2000])], 1000), BEFORE)
    assert calibration_error(chance(known[2000:], rule).numpy(), good[2000:].numpy()) < 0.05


def test_a_few_cases_move_what_was_thought_before_but_not_far():
    """Slices of four cases in which half of the masks are good at 3.2 instead of 2.5; without any it stays there."""
    known, good = _evidence_and_truth(3.0, 3.2, 400)
    halves = [_half(fit_rule(Judged.of_cases([(known, good)], cases), BEFORE)) for cases in (0, 4, 40)]
    assert halves[0] == pytest.approx(2.5, abs=1e-3)
    assert halves[0] + 0.1 < halves[1] < halves[2] - 0.1
    assert halves[2] == pytest.approx(3.2, abs=0.2)


def test_the_rule_is_the_likeliest_by_prior_and_slices_together():
    """Found on a grid: three cases whose 60 slices count for 6."""
    known, good = _evidence_and_truth(2.0, 3.0, 60)
    slopes, halves = np.meshgrid(np.geomspace(1, 9, 300), np.linspace(1.5, 4, 300), indexing="ij")
    said = slopes[..., None] * (known.numpy() - halves[..., None])
    likely = -(np.logaddexp(0, said) - good.numpy() * said).sum(-1) * 6 / 60
    likely -= (np.log(slopes / 3.0) / 0.35) ** 2 / 2 + ((halves - 2.5) / 0.25) ** 2 / 2
    best = np.unravel_index(likely.argmax(), likely.shape)
    slope, constant = fit_rule(Judged.of_cases([(known, good)], 3), BEFORE).tolist()
    assert slope == pytest.approx(slopes[best], rel=0.02)
    assert -constant / slope == pytest.approx(halves[best], abs=0.02)


def test_a_model_that_is_surer_of_all_it_does_needs_more_for_the_same_chance(monkeypatch):
    """The examination asks the teacher how sure he usually is; a young one, sure of nothing, is not called all bad."""
    known, good = _evidence_and_truth(3.0, 2.0, 40)
    young, old = (fit_rule(Judged.of_cases([(known, good)], 3), of_masks(usual)) for usual in (0.0, 2.5))
    assert float(chance(torch.tensor(2.0), young)) > float(chance(torch.tensor(2.0), old)) + 0.2
    pool, learner = _pool(4, unlabelled=4), _learner()
    monkeypatch.setattr(Examination, "_evidence", lambda _, images, *rest: torch.full((len(images),), 1.5))
    learner.examine(pool)
    assert learner.selector.expected_half == of_masks(1.5).half


def _said(margins, good, weight=1.0):
    """Lessons of people who said of masks with these margins whether they were good."""
    rows = torch.zeros(len(margins), dtype=torch.long)
    masks = torch.ones(len(margins), 32, 32, dtype=torch.bool)
    return Lessons(
        rows, masks, good.float(), good[:, None], margins[:, None], torch.full_like(margins, weight)[:, None]
    )


def test_people_s_words_move_the_chances():
    """Forty proposals of which half were good at 0.8 less than was expected: the rule goes most of the way there."""
    pool, learner = _pool(3, unlabelled=4), _learner()
    judge = learner.selector
    learner.examine(pool)
    before = _half(judge.mask_rule)
    pool.lessons = _said(*_evidence_and_truth(3.0, -0.8, 40))
    learner.examine(pool)
    after = _half(judge.mask_rule)
    assert judge.expected_half - 0.8 < after < before - 0.3
    pool.lessons = _said(*_evidence_and_truth(3.0, -0.8, 40), weight=0.05)
    learner.examine(pool)
    assert _half(judge.mask_rule) > after + 0.2


def test_people_s_words_alone_can_prove_the_discriminator(monkeypatch):
    """Where an examination meets no mask at all; a few words do not, nor do those on proposals without a margin."""
    pool, learner = _pool(2), _learner()
    judge = learner.selector
    learner.examine(pool)
    monkeypatch.setattr(Answers, "ask", lambda *given: None)
    margins, good = _evidence_and_truth(4.0, 0.0, 40)
    for some, words in ((torch.full_like(margins, torch.nan), good), (margins[:9], good[:9])):
        pool.lessons = _said(some, words)
        learner.examine(pool)
        assert not judge.report.proven
    pool.lessons = _said(margins, good, weight=0.2)
    learner.examine(pool)
    assert not judge.report.proven
    pool.lessons = _said(margins, good)
    learner.examine(pool)
    assert judge.report.proven
    assert judge.report.slices == 40
    assert judge.report.tau == ENOUGH


def test_words_move_no_threshold_and_are_not_held_against_an_examination():
    """People choose what they judge, the likely ones say; and that masks of an examination are worse is no proof."""
    judge = _examined_judge()
    known, good = _evidence_and_truth(3.0, 2.5, 200)
    met = Judged.of_cases([(known, good)], 8)
    judge._learn_masks(met, NOBODY, 8)
    before = judge.report
    assert before.tau < ENOUGH
    best, right = _evidence_and_truth(3.0, 2.5, 2000)
    chosen = best > 3.2
    judge._learn_masks(met, Judged(best[chosen], right[chosen], torch.ones(int(chosen.sum()))), 8)
    assert judge.report.slices == before.slices
    assert judge.report.auroc == before.auroc
    assert judge.report.tau == pytest.approx(before.tau, abs=0.1)
    noise = torch.randn(40, generator=_generator())
    poor = Judged.of_cases([(noise, torch.arange(40) % 10 == 0)], 8)
    rich = Judged(noise + 3, torch.arange(40) % 10 > 0, torch.ones(40))
    judge._learn_masks(poor, rich, 8)
    assert not judge.report.proven


def test_words_do_not_overrule_an_examination_that_was_failed():
    """It met good and bad ones enough and told them apart no better than chance: that is an answer."""
    judge = _examined_judge()
    failed = Judged.of_cases([(torch.randn(128, generator=_generator()) + 2, torch.arange(128) % 2 == 0)], 20)
    known, good = _evidence_and_truth(4.0, 2.5, 40)
    judge._learn_masks(failed, Judged(known, good, torch.ones(40)), 20)
    assert not judge.report.proven
    assert judge.report.slices == 128


def test_words_are_of_the_model_as_it_was_when_it_made_the_mask():
    """A margin counts from where even chance is expected of today's model: its evidence is more in a surer one."""
    lessons = _said(torch.tensor([-0.5, 0.5]), torch.tensor([False, True]))
    torch.testing.assert_close(lessons.said(1.9).evidence, torch.tensor([1.4, 2.4]))
    pool, learner = _pool(3, unlabelled=4), _learner()
    judge, seen = learner.selector, []
    judge._learn_masks = lambda met, said, *_: seen.append(said.evidence)
    pool.lessons = lessons
    learner.examine(pool)
    torch.testing.assert_close(seen[0], torch.tensor([-0.5, 0.5]) + judge.expected_half)


def test_a_margin_is_what_a_score_came_from():
    """Evidence beyond the half point that was expected of a model as sure as this one."""
    judge = _examined_judge()
    judge.mask_rule.copy_(torch.tensor([4.0, -9.0]))
    evidence_ = torch.tensor([0.5, 2.5, 3.5])
    margins = judge.margin(chance(evidence_, judge.mask_rule))
    torch.testing.assert_close(margins, evidence_ - BEFORE.half, atol=1e-3, rtol=0)
    assert torch.isfinite(judge.margin(torch.tensor([0.0, 1.0]))).all()


def test_before_an_examination_nobody_says_what_speaks_for_a_mask():
    """How sure the teacher usually is, is not known yet; afterwards it is, and a checkpoint keeps it."""
    pool, learner = _pool(3), _learner()
    images = pool.slices(torch.arange(4))
    look = learner.look(images)
    assert learner.margins(learner.select(images, look)) == [()] * 4
    learner.selector.usual.fill_(1.0)
    selection = learner.select(images, look)
    shown = (look.labels > 0).flatten(1).any(1)
    expected = learner.selector.margin(selection.score)[shown].tolist()
    assert [margin for (margin,) in learner.margins(selection) if margin is not None] == expected
    again = _learner()
    again.load_tensors(learner.tensors())
    assert again.selector.expected_half == of_masks(1.0).half


def test_a_rule_never_counts_evidence_against_a_mask():
    """Even where the good ones of an examination have less of it; and masks that are all good do no harm."""
    known, good = _evidence_and_truth(3.0, 2.5, 200)
    assert fit_rule(Judged.of_cases([(known, ~good)], 100), BEFORE)[0] > 0
    assert torch.isfinite(fit_rule(Judged.of_cases([(known, torch.ones_like(good))], 100), BEFORE)).all()


def test_a_likely_mask_is_accepted_though_few_labels_state_no_bound():
    """Where good ones and bad ones overlap no threshold keeps 0.85: 0.75 it is. Two cases cannot state one at all."""
    scores = np.linspace(0.1, 0.9, 41)
    overlapping = np.arange(41) % 2 == 0
    assert verdict_threshold(scores, overlapping, 8) == 0.75
    assert verdict_threshold(scores, scores > 0.6, 4) == 0.75
    assert verdict_threshold(scores, scores > 0.6, 5) < 0.65
    assert verdict_threshold(scores, scores > 0.84, 8) == 0.75
    assert verdict_threshold(scores + 0.1, scores > 0.7, 8) == 0.75  # 0.79 is stated
    assert verdict_threshold(scores, scores > 0.6, 8) < 0.65


def test_auroc_and_average_precision_of_known_rankings():
    """By hand: 3 of 4 pairs in order; precision 1 and 2/3 at the two good ones."""
    scores, good = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    assert auroc(scores, good) == 0.75
    assert auprc(scores, good) == pytest.approx((1 + 2 / 3) / 2)
    assert auroc(np.array([1.0, 1.0]), np.array([True, False])) == 0.5
    assert math.isnan(auroc(scores, np.ones(4, bool)))


def test_threshold_is_the_lowest_that_keeps_the_bound():
    """With few masks no threshold can be stated; with many, one a little lower would break the bound."""
    few = threshold(np.linspace(1, 0.5, 5), np.ones(5, bool), 0.85)
    assert few is None
    scores = np.linspace(1, 0, 60)
    good = scores > 0.4
    tau = threshold(scores, good, 0.85)
    accepted = scores > tau
    assert tau < 0.4
    assert precision_bound(int(good[accepted].sum()), int(accepted.sum())) >= 0.85
    lower = scores > scores[~accepted].max() - 1e-9
    assert precision_bound(int(good[lower].sum()), int(lower.sum())) < 0.85


@pytest.mark.parametrize(("good", "accepted", "expected"), [(10, 10, 0.2**0.1), (0, 5, 0.0)])
def test_precision_bound(good, accepted, expected):
    """Clopper and Pearson: of ten of ten good at level 0.8 the bound is 0.2 to the power of a tenth."""
    assert precision_bound(good, accepted) == pytest.approx(expected)


@pytest.mark.parametrize("record", [(40, 2, 0.9), (40, 38, 0.9), (40, 20, 0.6), (40, 20, math.nan)])
def test_too_few_or_too_poor_examples_prove_nothing(record):
    """Both kinds of masks must have been met, and told apart."""
    assert not Report(*record, 0.5, 0.8).proven


def test_what_holds_of_an_understudy_is_told_of_a_surer_teacher(monkeypatch):
    """A teacher who is surer than an understudy of the very same masks gets no better chance for them."""
    pool, learner = _pool(4, unlabelled=4), _learner()
    judge = learner.selector

    def sure(slope):
        def look(network, slices, mirror):
            ramp = slices.mean(1) * (slope if network is learner.teacher else 1.0)
            both = torch.stack([-ramp, ramp], 1).softmax(1)
            return Look(both, both.argmax(1), both.argmax(1))

        return look

    def lead(slope):
        monkeypatch.setattr("napari_segmatch.engine.examination.look_with", sure(slope))
        with torch.no_grad():
            return Examination(judge, pool, learner.teacher, True, _generator())._lead(0)

    assert lead(4.0) > lead(1.0) + 0.5
    assert lead(0.25) < lead(1.0) - 0.2


def test_a_surer_teacher_needs_more_for_the_same_chance(monkeypatch):
    """The lead is part of what the rule is fitted to: with it the same evidence is worth less."""
    pool, learner = _pool(4, unlabelled=4), _learner()
    judge, seen = learner.selector, []
    monkeypatch.setattr(judge, "_learn_masks", lambda met, *_: seen.append(met.evidence.mean()))
    for lead in (0.0, 3.0):
        monkeypatch.setattr(Examination, "_lead", lambda *_, lead=lead: lead)
        learner.examine(pool)
    assert float(seen[1] - seen[0]) == pytest.approx(3.0, abs=1e-3)


@pytest.mark.parametrize("setting", [{}, {"second_look": False}])
def test_understudies_follow_the_teacher_in_every_lesson(setting, monkeypatch):
    """With one look of the teacher as with two."""
    pool, learner = _pool(3), _learner(discriminator_every=1, warmup=0.0, ramp=0.0, **setting)
    asked = []
    original = Judge.following_loss
    monkeypatch.setattr(Judge, "following_loss", lambda *given: asked.append(len(given[-1])) or original(*given))
    learner.learn(pool, 0.5)
    assert asked == [4]


def _look(*shares, second=None, twice=True):
    """Four pixels of eight are segmented, each class having its share of their probability; 0.1 in the others."""
    masks = torch.zeros(1, 2, 4, dtype=torch.bool)
    masks[:, 0] = True
    chances = torch.where(masks, sum(shares), 0.1)
    parts = [1 - chances] + [torch.where(masks, share, 0.1 / len(shares)) for share in shares]
    labels = masks.long()
    return Look(torch.stack(parts, 1), labels, labels if second is None else second, twice), masks


def _logit(share):
    return math.log(share / (1 - share))


def test_evidence_is_the_mean_of_its_signs_and_a_share_of_the_opinion():
    """By hand. Confidence: 0.8 inside, 0.9 outside. Pixels of 0.1 are not near. Dice: 2 x 3.2 / (4 + 3.6)."""
    second = torch.zeros(1, 2, 4, dtype=torch.long)
    second[:, 0, 1:] = 1  # 3 of 4: Dice 6/7
    look, masks = _look(0.8, second=second)
    certainty = 1 + (0.8 * math.log(0.8) + 0.2 * math.log(0.2)) / math.log(2)
    found = signs(look, masks, 0)
    wanted = {"confidence": 0.8, "certainty": certainty, "expected_dice": 6.4 / 7.6, "agreement": 6 / 7}
    assert {name: float(value) for name, value in found.items()} == pytest.approx(wanted, abs=1e-4)
    mean = sum(map(_logit, wanted.values())) / 4
    assert float(evidence(torch.tensor([1.0]), masks, look, 0)) == pytest.approx(mean + 0.18, abs=1e-3)


def test_a_single_look_is_not_asked_whether_it_agrees_with_itself():
    """Otherwise it would always agree, and every mask would seem better than a model's that looks twice."""
    look, masks = _look(0.8, twice=False)
    without = [float(value) for name, value in signs(look, masks, 0).items() if name != "agreement"]
    assert float(evidence(torch.zeros(1), masks, look, 0)) == pytest.approx(sum(map(_logit, without)) / 3, abs=1e-3)
    assert not look_with(lambda images: torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4), mirror=False).twice
    assert not rows_of(look, torch.tensor([True])).twice


def test_two_looks_that_both_miss_a_class_do_not_agree_on_its_mask():
    """Each look alone sees the other class; their mean does not."""
    look, masks = _look(0.45, 0.4, second=torch.zeros(1, 2, 4, dtype=torch.long))
    missed = Look(look.probabilities, look.second, look.second)
    assert float(signs(missed, masks, 1)["agreement"]) == 0


def test_doubt_between_touching_classes_is_no_doubt_that_something_is_there():
    """Everything segmented is as sure where two classes share a place as where one has it."""
    (clear, masks), (mixed, _) = _look(0.93, 0.02), _look(0.55, 0.4)
    none = torch.zeros(1)
    assert float(evidence(none, masks, mixed, 0)) == pytest.approx(float(evidence(none, masks, clear, 0)), abs=1e-4)
    assert float(evidence(none, masks, mixed, 1)) < float(evidence(none, masks, clear, 1)) - 0.5


def test_the_less_a_class_is_likely_the_less_speaks_for_its_mask():
    """Down to a third, where it is still the likeliest: that a pixel is *not* of the class never counts for it."""
    found = [float(evidence(torch.zeros(1), masks, look, 1))
             for look, masks in (_look(p, (0.95 - p) / 2, (0.95 - p) / 2) for p in (0.6, 0.5, 0.4, 0.34))]  # fmt: skip
    assert all(more > less for more, less in itertools.pairwise(found))


def test_a_report_says_the_same_as_numbers_on_the_device():
    """At the border of what proves a judge, and before there is anything to report."""
    for good, bad, area in itertools.product((MET - 1, MET), (MET - 1, MET), (math.nan, APART - 0.01, APART + 0.01)):
        report = Report(good + bad, good, area, 0.75, 0.5)
        assert report.proven == (good == bad == MET and area > APART) == bool(Report.proven_in(report.numbers))
        assert float(Report.tau_in(report.numbers)) == report.tau == Report.of(report.numbers).tau
    blank = Report(0, 0, math.nan, None, 0.0)
    assert Report.of(blank.numbers).tau is None
    assert float(Report.tau_in(blank.numbers)) == math.inf
