"""What a run does on a GPU, where there is none: no tensor is on the wrong device, and no step waits."""

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
from napari_segmatch.events import Finished
from napari_segmatch.runner import training


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
            blank = torch.zeros(4, 1)
            said = torch.tensor([1.0, 0, 1, 0]).cuda()
            pool.lessons = Lessons(torch.arange(4), pool.labels[:4] > 0, said, blank > 0, blank, blank)
    assert learner.recorder.refused == ""


def test_a_gpu_that_cannot_record_draws_and_trains_all_the_same(gpu, monkeypatch):
    """A recording that breaks off leaves the GPU's chance in the state of recording: PyTorch refuses to draw from it."""

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
