"""On a CUDA GPU. Without one these are skipped; nothing else depends on them."""

import pytest
import torch
from test_method import TinyPool, _config

from napari_segmatch.benchmark.rivals import METHODS
from napari_segmatch.engine.device import choose_device
from napari_segmatch.engine.discriminator import close_up
from napari_segmatch.engine.learner import Learner
from napari_segmatch.engine.lessons import Lessons
from napari_segmatch.engine.turns import Turns
from napari_segmatch.engine.watch import Watch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")


class Pool(TinyPool):
    """Its pixels are on the GPU, its row numbers are not."""

    device = torch.device("cuda")

    def __init__(self, **shape):
        super().__init__(**shape)
        self.images, self.labels = self.images.cuda(), self.labels.cuda()
        self.unlabelled = torch.arange(5, 10)


def _told(pool):
    masks = pool.labels[:4] > 0
    blank = torch.zeros(4, 1)
    pool.lessons = Lessons(torch.arange(4), masks, torch.tensor([1.0, 0, 1, 0]).cuda(), blank > 0, blank, blank)
    return pool


def _losses(pool, steps=20, recorded=True, **changes):
    learner = Learner(_config(device="cuda", warmup=0.2, discriminator_every=2, **changes), 1, pool.labels.max().item())
    learner.recorder._wanted = recorded
    found = []
    for step in range(steps):
        outcome, judged = learner.learn(pool, step / steps)
        found.append((float(outcome.supervised), float(outcome.consistency), judged))
        if step == steps // 2:
            learner.examine(pool)
    return learner, torch.tensor(found)


@pytest.mark.parametrize(
    "changes",
    [{}, {"selector": "confidence-map"}, {"augment": "ctaugment", "paste": 0.5}, {"selector": "none"}, {"mu": 2.0}],
)
def test_a_recorded_run_is_the_plain_one(changes):
    """What is launched as one teaches the same as kernel by kernel."""
    learner, recorded = _losses(Pool(), **changes)
    _, plain = _losses(Pool(), recorded=False, **changes)
    assert learner.recorder.refused == ""
    assert any(learner.recorder._recorded.values())
    assert torch.allclose(recorded, plain, atol=1e-3)


@pytest.mark.parametrize("classes", [1, 2])
def test_people_teach_a_recorded_run(classes):
    """Lessons come in while it runs; two classes are recorded as well."""
    pool = Pool(classes=classes)
    learner, _ = _losses(pool)
    before = len(learner.recorder._recorded)
    for _ in range(6):
        learner.learn(_told(pool), 0.9)
    assert len(learner.recorder._recorded) > before
    assert learner.recorder.refused == ""


def test_a_step_that_cannot_be_recorded_is_taken_plainly(monkeypatch):
    """It waits for the GPU, which no recording can. The run goes on, draws as before, and says why it is slower."""
    whole = Learner.look

    def look(self, images):
        assert float(images.sum()) == float(images.sum())
        return whole(self, images)

    monkeypatch.setattr(Learner, "look", look)
    learner, found = _losses(Pool())
    assert learner.recorder.refused
    assert torch.isfinite(found).all()
    assert len(torch.rand(3, device="cuda")) == 3


def test_memory_that_runs_out_while_a_step_is_recorded_costs_parts_and_no_step():
    """What was begun is given back: the same step is taken in two halves, and recorded."""
    whole, left = Learner.look, [None, torch.OutOfMemoryError("CUDA out of memory")]

    class Cramped(Learner):
        def look(self, images):
            error = left.pop(0) if left else None
            if error:
                raise error
            return whole(self, images)

    learner = Cramped(_config(device="cuda", batch=4), 1, 1)
    watch, pool = Watch(learner), Pool()
    pool.turns = Turns()
    assert all(watch.learn(pool, 0.5) is not None for _ in range(5))
    assert (learner.step, learner.parts, learner.recorder.refused) == (5, 2, "")
    assert any(learner.recorder._recorded.values())


def test_the_gpu_is_taken():
    """It is tried first: one that cannot compute is left out."""
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda")


def test_close_ups_are_as_sharp_as_without_half_precision():
    """Where the discriminator looks is a matter of pixels."""
    images = torch.randn(2, 1, 256, 256, device="cuda")
    masks = torch.zeros_like(images[:, 0], dtype=torch.bool)
    masks[:, 190:215, 30:71] = True
    with torch.autocast("cuda", torch.bfloat16):
        half = close_up(images, masks)
    assert torch.allclose(half, close_up(images, masks), atol=1e-5)


def test_nothing_waits_for_the_gpu_inside_a_step():
    """All but the answer whether the step was sound: then the processor can go ahead."""
    learner, _ = _losses(Pool(), recorded=False)
    pool = Pool()
    learner.drawn = learner.unlabelled_rows(pool)
    batches, numbers = learner._batches(pool, learner.labelled_rows(pool)), learner._numbers(0.5, 1.0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        learner.recorder("plain", learner._step, batches, numbers)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_step_that_is_no_number_changes_nothing():
    """The optimiser leaves it out by itself; the run goes on."""
    pool = Pool()
    learner, _ = _losses(pool)
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    whole, pool.images = pool.images, pool.images * torch.nan
    learner.learn(pool, 0.9)
    assert learner.skipped
    assert all(torch.equal(before[name], value) for name, value in learner.model.state_dict().items())
    pool.images = whole
    learner.learn(pool, 0.9)
    assert not learner.skipped
    assert all(torch.isfinite(value).all() for value in learner.teacher.state_dict().values())


def test_a_restored_learner_goes_on():
    """Its addresses are other ones: what was recorded before is not launched."""
    pool = Pool()
    learner, _ = _losses(pool)
    saved = learner.tensors()
    ahead = [float(learner.learn(pool, 0.9)[0].supervised) for _ in range(3)]
    learner.load_tensors(saved)
    learner.step -= 3
    again = [float(learner.learn(pool, 0.9)[0].supervised) for _ in range(3)]
    assert ahead == pytest.approx(again, abs=1e-3)


@pytest.mark.parametrize("method", [name for name in METHODS if not name.startswith("oracle")])
def test_every_method_runs(method):
    """Those of others too, whose steps are not recorded."""
    kind, needs = METHODS[method]
    learner = kind(_config(device="cuda", **needs), 1, 1)
    for step in range(4):
        outcome, _ = learner.learn(Pool(), 0.2 + step / 8)
    assert torch.isfinite(outcome.supervised)
