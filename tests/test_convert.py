"""PyTorch checkpoints from elsewhere: tensors come out, code in them never runs, and a network starts from them."""

import copy
import os
import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import small_project
from safetensors.torch import load_file, save_file

from napari_segmatch.config import configure
from napari_segmatch.engine.checkpoint import checkpoints, load_newest
from napari_segmatch.engine.foreign import take_weights
from napari_segmatch.engine.networks import build
from napari_segmatch.engine.trainer import train
from napari_segmatch.engine.watch import Watch
from napari_segmatch.errors import ImportProblem
from napari_segmatch.packaging import convert_weights
from napari_segmatch.project import ProjectPool


class Evil:
    """A pickle of it makes a file when it is loaded."""

    def __init__(self, sign):
        self.sign = sign

    def __reduce__(self):
        return os.mkdir, (str(self.sign),)


def network(seed=0, features=8, classes=1):
    torch.manual_seed(seed)
    return build("unet", 1, classes + 1, features)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_one_tensor_is_called_one(tmp_path):
    torch.save({"weight": torch.ones(3)}, tmp_path / "a.pt")
    assert convert_weights(tmp_path / "a.pt", tmp_path / "a.safetensors") == "1 tensor, 3 numbers."


@pytest.mark.parametrize("legacy", [False, True])
def test_malicious_pickle_is_refused_and_does_not_run(tmp_path, legacy, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    sign, file = tmp_path / "it-ran", tmp_path / "evil.pt"
    torch.save({"weight": torch.ones(2), "other": Evil(sign)}, file, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ImportProblem, match=r"^evil\.pt .*nothing else in it is ever run"):
        convert_weights(file, tmp_path / "out.safetensors")
    assert not sign.exists()
    assert not (tmp_path / "out.safetensors").exists()
    torch.load(file, weights_only=False)
    assert sign.exists(), "the trap works"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "plain PyTorch checkpoint"),
        (b"<html>404</html>", "plain PyTorch checkpoint"),
        (pickle.dumps([1, 2, 3]), "no named tensors|plain PyTorch checkpoint"),
        ({"epoch": 3}, "no named tensors"),
        (torch.ones(3), "no named tensors"),
        (network(), "plain PyTorch checkpoint"),
        ({"a": torch.ones(2), "state": np.random.default_rng(0)}, "plain PyTorch checkpoint"),
        ({"a": torch.ones(2, 2).to_sparse()}, "kind that safetensors has not"),
        ({"a": torch.ones(2, dtype=torch.complex128)}, "kind that safetensors has not"),
        ({"a": torch.ones(2), "module.a": torch.zeros(2)}, "names two tensors alike"),
    ],
    ids=[
        "empty", "web page", "a pickle", "no tensors", "no names", "a whole network", "numpy's chance", "sparse",
        "complex", "two names that are one",
    ],
)  # fmt: skip
def test_anything_else_is_a_sentence(tmp_path, content, words):
    file = tmp_path / "it.pt"
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    with pytest.raises(ImportProblem, match=words):
        convert_weights(file, tmp_path / "out.safetensors")


def test_torchscript_is_a_sentence(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "it.pt")
    with pytest.raises(ImportProblem, match="plain PyTorch checkpoint"):
        convert_weights(tmp_path / "it.pt", tmp_path / "out.safetensors")


def test_state_dict_comes_out_as_it_is(tmp_path):
    """Also one inside a trainer's checkpoint, with the names that DataParallel gives, and tensors that share memory."""
    weights = network().state_dict()
    wrapped = {f"module.{key}": value for key, value in weights.items()}
    torch.save({"epoch": 7, "optimiser": {"lr": torch.ones(1)}, "state_dict": wrapped}, tmp_path / "trainer.pt")
    said = convert_weights(tmp_path / "trainer.pt", tmp_path / "w.safetensors")
    assert f"{len(weights)} tensors" in said
    assert "'state_dict'" in said
    assert same(load_file(tmp_path / "w.safetensors"), dict(weights))
    one = torch.ones(3)
    torch.save({"a": one, "b": one}, tmp_path / "tied.pt")
    convert_weights(tmp_path / "tied.pt", tmp_path / "tied.safetensors")
    assert same(load_file(tmp_path / "tied.safetensors"), {"a": one, "b": one})


@pytest.mark.parametrize("before", ["module._orig_mod.", "_orig_mod.module.", "_orig_mod."])
def test_names_lose_what_training_put_before_them_in_any_order(tmp_path, before):
    torch.save({f"{before}a.weight": torch.ones(2)}, tmp_path / "w.pt")
    convert_weights(tmp_path / "w.pt", tmp_path / "w.safetensors")
    assert list(load_file(tmp_path / "w.safetensors")) == ["a.weight"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_weights_behind_a_link_are_taken(tmp_path):
    torch.save(network(seed=99).state_dict(), tmp_path / "w.pt")
    convert_weights(tmp_path / "w.pt", tmp_path / "w.safetensors")
    (tmp_path / "link").symlink_to(tmp_path / "w.safetensors")
    mine = network()
    take_weights(mine, tmp_path / "link")
    assert same(mine.state_dict(), network(seed=99).state_dict())
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(ImportProblem, match="cannot be read"):
        take_weights(mine, tmp_path / "circle")


def test_nothing_is_overwritten(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "w.pt")
    (tmp_path / "w.safetensors").write_bytes(b"mine")
    with pytest.raises(ImportProblem, match="exists already"):
        convert_weights(tmp_path / "w.pt", tmp_path / "w.safetensors")
    assert (tmp_path / "w.safetensors").read_bytes() == b"mine"


def test_run_starts_from_converted_weights_and_resumes_without_them(tmp_path, monkeypatch):
    foreign = network(seed=99)
    torch.save(foreign.state_dict(), tmp_path / "w.pt")
    file = tmp_path / "w.safetensors"
    convert_weights(tmp_path / "w.pt", file)
    config = configure(size=32, batch=2, features=8, steps=6, proposals=0, device="cpu", weights=str(file))
    started, learn = [], Watch.learn

    def one_step(self, *given):
        if started:
            raise KeyboardInterrupt
        started.extend(copy.deepcopy(one.state_dict()) for one in (self._learner.model, self._learner.teacher))
        return learn(self, *given)

    monkeypatch.setattr(Watch, "learn", one_step)
    with small_project(tmp_path) as project:
        with pytest.raises(KeyboardInterrupt):
            list(train(ProjectPool(project), config, tmp_path / "run"))
        assert all(same(state, foreign.state_dict()) for state in started)
        file.unlink()
        monkeypatch.undo()
        assert list(train(ProjectPool(project), config, tmp_path / "run", resume=True))[-1].step == 6


@pytest.mark.parametrize("name", ["unet", "basic-unet", "segresnet"])
@pytest.mark.parametrize("then", [1, 3])
def test_weights_for_other_classes_are_taken_but_for_what_is_new(tmp_path, name, then):
    """The last layer keeps the background and the classes that both have; the sentence says what is not taken."""
    theirs, mine = build(name, 1, then + 1, 8), build(name, 1, 3, 8)
    own = {key: value.clone() for key, value in mine.state_dict().items()}
    save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    (said,) = take_weights(mine, tmp_path / "w.safetensors")
    assert f"another number of classes ({then}, and 2 here)" in said
    assert f"and the first {min(then, 2)};" in said
    for key, value in mine.state_dict().items():
        given = theirs.state_dict()[key]
        both = tuple(map(slice, map(min, zip(value.shape, given.shape, strict=True))))
        assert torch.equal(value[both], given[both])
        rest = torch.ones_like(value, dtype=torch.bool)
        rest[both] = False
        assert torch.equal(value[rest], own[key][rest])


@pytest.mark.parametrize(
    "theirs",
    [
        lambda: build("basic-unet", 1, 1, 8),
        lambda: build("basic-unet", 2, 3, 8),
        lambda: build("basic-unet", 1, 2, 16),
        lambda: torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1)),
    ],
    ids=["one output, no background", "another sequence", "more features", "something else"],
)
def test_what_differs_in_more_than_classes_is_refused_whole(tmp_path, theirs):
    save_file(theirs().state_dict(), tmp_path / "w.safetensors")
    mine = build("basic-unet", 1, 3, 8)
    before = {key: value.clone() for key, value in mine.state_dict().items()}
    with pytest.raises(ImportProblem, match=r"of another network: \d+ of its tensors differ"):
        take_weights(mine, tmp_path / "w.safetensors")
    assert same(before, mine.state_dict())


def test_weights_that_lack_the_last_tensor_are_refused(tmp_path):
    held = build("basic-unet", 1, 3, 8).state_dict()
    save_file({key: held[key] for key in list(held)[:-1]}, tmp_path / "w.safetensors")
    with pytest.raises(ImportProblem, match=r"1 of its tensors differ, the first is final_conv\.bias"):
        take_weights(build("basic-unet", 1, 3, 8), tmp_path / "w.safetensors")


@pytest.mark.parametrize("what", ["an inner layer", "the last layer's kind"])
def test_only_the_last_layer_may_differ_and_only_in_its_outputs(tmp_path, what):
    held = build("basic-unet", 1, 3, 8).state_dict()
    if what == "an inner layer":
        inner = next(key for key in held if held[key].ndim == 4).removesuffix("weight")
        held |= {key: torch.cat([held[key], held[key][:1]]) for key in (inner + "weight", inner + "bias")}
    else:
        held["final_conv.bias"] = held["final_conv.bias"][:, None]
    save_file(held, tmp_path / "w.safetensors")
    with pytest.raises(ImportProblem, match=r"of another network: \d of its tensors differ"):
        take_weights(build("basic-unet", 1, 3, 8), tmp_path / "w.safetensors")


def test_older_run_teaches_a_new_one_after_a_class_was_added(tmp_path, monkeypatch):
    config = configure(size=32, batch=2, features=8, steps=2, proposals=0, device="cpu")
    with small_project(tmp_path) as project:
        list(train(ProjectPool(project), config, tmp_path / "old"))
        loaded = load_newest(tmp_path / "old")
        project.set_classes(["lesion", "edema"])
        file = checkpoints(tmp_path / "old")[-1] / "tensors.safetensors"
        started = []
        monkeypatch.setattr(
            "napari_segmatch.engine.trainer.Watch.learn",
            lambda self, *_: started.append(self._learner) or (_ for _ in ()).throw(KeyboardInterrupt),
        )
        said = []
        with pytest.raises(KeyboardInterrupt):
            for event in train(ProjectPool(project), replace(config, weights=str(file)), tmp_path / "new"):
                said.append(getattr(event, "message", ""))
    assert sum("another number of classes (1, and 2 here)" in message for message in said) == 1
    first = next(iter(loaded.learner.teacher.state_dict()))
    for network in (started[0].model, started[0].teacher):
        assert torch.equal(network.state_dict()[first], loaded.learner.teacher.state_dict()[first])
    assert same(started[0].model.state_dict(), started[0].teacher.state_dict())


def test_weights_of_another_network_are_refused_whole(tmp_path):
    torch.save(network(features=16).state_dict(), tmp_path / "w.pt")
    convert_weights(tmp_path / "w.pt", tmp_path / "w.safetensors")
    mine = network()
    before = {key: value.clone() for key, value in mine.state_dict().items()}
    with pytest.raises(ImportProblem, match=r"of another network: \d+ of its tensors differ"):
        take_weights(mine, tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes(b"rubbish")
    with pytest.raises(ImportProblem, match="segmatch convert"):
        take_weights(mine, tmp_path / "w.safetensors")
    assert same(before, mine.state_dict())
