"""What a run does on a GPU, where there is none: no tensor is on the wrong device, and no step waits."""

from functools import partial

import pytest
import torch
from pretended_gpu import CUDA, PretendedGpu, Recording
from test_method import TinyPool, _config

from napari_segmatch import Project
from napari_segmatch.batch import predict_cases
from napari_segmatch.benchmark.rivals import METHODS
from napari_segmatch.config import configure
from napari_segmatch.engine import corruptions, recorder, sweep
from napari_segmatch.engine.learner import Learner
from napari_segmatch.engine.lessons import Lessons
from napari_segmatch.engine.parts import strays
from napari_segmatch.engine.turns import Turns
from napari_segmatch.engine.watch import Watch
from napari_segmatch.events import Finished
from napari_segmatch.runner import training
from napari_segmatch.types import Region


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "pretended")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**33, 2**33))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(recorder, "_beside", lambda _, function: function())
    monkeypatch.setattr(recorder, "Recording", Recording)
    with PretendedGpu() as gpu:
        yield gpu


class Pool(TinyPool):
    """Its pixels are on the GPU, its row numbers are not."""

    device = CUDA

    def __init__(self, **shape):
        super().__init__(**shape)
        self.images, self.labels = self.images.cuda(), self.labels.cuda()
        self.unlabelled = torch.arange(5, 10)


def _learner(classes=1, **changes):
    return Learner(_config(device="cuda", warmup=0.2, discriminator_every=2, **changes), 1, classes)


def _lessons(pool):
    blank, said = torch.zeros(4, 1), torch.tensor([1.0, 0, 1, 0]).cuda()
    return Lessons(torch.arange(4), pool.labels[:4] > 0, said, blank > 0, blank, blank)


def test_it_finds_what_a_gpu_would_not_do(gpu):
    """The check itself: mixtures, numpy, and what waits."""
    here, there = torch.ones(3), torch.ones(3, device="cuda")
    assert there.device == CUDA and (2 * there[1:]).is_cuda and not there.cpu().is_cuda and not here.is_cuda
    for wrong in (lambda: here + there, lambda: torch.stack([here, there]), lambda: there.numpy(),
                  lambda: torch.rand(3, device="cuda", generator=torch.Generator())):  # fmt: skip
        with pytest.raises((RuntimeError, TypeError)):
            wrong()
    gpu.waited.clear()
    assert float(there[there > 0].sum()) == 3
    assert gpu.waited == ["__getitem__", "__float__"]


def test_it_finds_what_a_launch_would_not_see(gpu):
    """The check itself: another number, another way, memory that was replaced, and results of the launch before."""
    record, x, rule = recorder.Recorder(CUDA), torch.ones(3, device="cuda"), [torch.ones(3, device="cuda"), 2.0]
    launch = partial(record, ("step",), lambda given: (given * rule[0] + 1) * rule[1])
    first, _ = launch(x), launch(x)
    assert first.tolist() == launch(x).tolist() == [4, 4, 4]
    rule[0].mul_(2)
    before = launch(x)
    assert before.tolist() == launch(x).tolist() == [6, 6, 6]
    for place, other in ((1, 3.0), (0, rule[0].clone()), (0, 1.0)):
        known, rule[place] = rule[place], other
        with pytest.raises(AssertionError, match="a launch would have done"):
            launch(x)
        rule[place] = known
    with pytest.raises(AssertionError, match="overwritten"):
        before.sum()


def test_a_launch_does_what_python_would_whatever_happens_in_a_run(gpu, monkeypatch):
    """The fifth patient, the judge's rules and their proof, lessons, parts, going back; in CUDA's half precision."""
    autocast = torch.autocast
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(torch, "autocast", lambda kind, *given, **how: autocast("cpu", *given, **how))
    learner, pool, launches = _learner(classes=2), Pool(classes=2), []
    launch = Recording.launch
    monkeypatch.setattr(Recording, "launch", lambda *given: launches.append(learner.step) or launch(*given))
    learner.config = learner.config.replace(discriminator_every=1)
    pool.turns, pool.patients_labelled, watch = Turns(), 4, Watch(learner)
    pool.regions = [Region("a", z) for z in range(10)]
    happens = {
        6: lambda: vars(pool).update(patients_labelled=5),
        9: lambda: learner.examine(pool),
        10: lambda: learner.selector.record.copy_(torch.tensor([40.0, 20, 0.9, 0.6, 0.8])),
        11: lambda: vars(pool).update(lessons=_lessons(pool)),
        14: watch._halve,
        16: watch.remember,
        17: lambda: watch._go_back(pool, 0.9),
    }
    for step in range(20):
        happens.get(step, bool)()
        assert watch.learn(pool, 0.1 if step < 3 else 0.9)
    assert learner.parts == 2 and learner.recorder.refused == "" and not learner.skipped
    assert len(launches) > 20


@pytest.mark.parametrize(
    "changes",
    [{"classes": 2}, {"selector": "confidence-map"}, {"augment": "ctaugment", "paste": 0.5}, {"selector": "none"},
     {"objective": "equation-1"}, {"selector": "mean-confidence", "mu": 2.0}, {"selector": "identity-soft"}],
    ids=str,
)  # fmt: skip
def test_steps_examination_and_lessons(gpu, changes):
    pool, learner = Pool(classes=changes.get("classes", 1)), _learner(**changes)
    for step in range(6):
        outcome, _ = learner.learn(pool, step / 6)
        assert torch.isfinite(outcome.supervised) and outcome.supervised.is_cuda
        if step == 3:
            learner.examine(pool)
            pool.lessons = _lessons(pool)
    assert learner.recorder.refused == ""


def test_a_gpu_that_cannot_record_draws_and_trains_all_the_same(gpu, monkeypatch):
    """A recording that breaks off leaves the GPU's chance as if it still recorded: PyTorch refuses to draw from it."""

    class Chance:
        broken = False

        def clone_state(self):
            return Chance()

        def graphsafe_set_state(self, other):
            self.broken = other.broken

    def fails(*given):
        own.broken = True
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    def uniform(*given):
        assert not own.broken, "Offset increment outside graph capture encountered unexpectedly."
        return drawn(*given)

    own, drawn = Chance(), corruptions.uniform
    monkeypatch.setattr(torch.cuda, "default_generators", (own,))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(recorder, "Recording", fails)
    monkeypatch.setattr(corruptions, "uniform", uniform)
    learner = _learner()
    for step in range(6):
        learner.learn(Pool(), step / 6)
    assert "not permitted" in learner.recorder.refused


def test_nothing_waits_inside_a_step(gpu):
    """A wait cannot be recorded. The optimiser's own moves stay on the device."""
    learner, pool = _learner(), Pool()
    learner.drawn = learner.unlabelled_rows(pool)
    batches, numbers = learner._batches(pool, learner.labelled_rows(pool)), learner._numbers(0.5, 1.0)
    gpu.waited.clear()
    learner.recorder("plain", learner._step, batches, numbers)
    assert [name for name in gpu.waited if name != "to"] == []


@pytest.mark.parametrize("method", [name for name in METHODS if not name.startswith("oracle")])
def test_every_method_runs(gpu, method):
    kind, needs = METHODS[method]
    learner = kind(_config(device="cuda", **needs), 1, 1)
    for step in range(3):
        outcome, _ = learner.learn(Pool(), 0.2 + step / 8)
    assert torch.isfinite(outcome.supervised)


def test_a_run_is_stopped_resumed_and_predicts(gpu, project, tmp_path, monkeypatch):
    """With stray parts that are looked for, and the whole way from the files and back."""
    found = []

    def with_an_island(labels, *rest):
        labels[:, 10:20, 10:20] = labels[3, :4, :4] = 1
        found.append(strays(labels, *rest).any())
        return strays(labels, *rest)

    monkeypatch.setattr(sweep, "can_tell", lambda _: True)
    monkeypatch.setattr(sweep, "strays", with_an_island)
    with Project.open(project) as opened:
        config = configure("quick", device="cuda", size=32, features=8, steps=24, batch=12, warmup=0.0, parts="one")
        run = opened.new_run(config)
    for event in training(project, run.id):
        if getattr(event, "step", 0) == 16:
            break
    assert isinstance([*training(project, run.id, resume=True)][-1], Finished)
    assert any(found)
    assert not any(problem for _, problem, _ in predict_cases(project, None, tmp_path / "masks", parts="one"))


def test_a_pool_that_does_not_fit_is_sent_slice_by_slice(gpu, project, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (0, 2**33))
    with Project.open(project) as opened:
        run = opened.new_run(configure("quick", device="cuda", size=32, features=8, steps=6))
    assert isinstance([*training(project, run.id)][-1], Finished)
