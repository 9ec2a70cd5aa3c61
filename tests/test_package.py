"""A network that leaves for other programs gives what it gives here, and says what it is."""

import json
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from dicom_series import series
from helpers import small_project

from napari_segmatch.batch import predict_cases
from napari_segmatch.config import configure
from napari_segmatch.engine.checkpoint import checkpoints, load_newest
from napari_segmatch.engine.evidence import look_with
from napari_segmatch.engine.package import _card
from napari_segmatch.engine.prepare import to_network
from napari_segmatch.errors import ConfigError, ImportProblem, ProjectError
from napari_segmatch.io import find_dataset, read_mask, read_volume
from napari_segmatch.packaging import package_run
from napari_segmatch.project import Project
from napari_segmatch.runner import training


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A project with a run of four steps, and its learner."""
    folder = tmp_path_factory.mktemp("trained")
    with small_project(
        folder, cases=3, labelled=2, classes=("core", "edema"), sequences=("flair", "t1"), validation=1
    ) as made:
        config = configure(
            "quick", steps=4, size=32, batch=2, features=8, evaluate_every=2, propose_every=4, device="cpu"
        )
        run = made.new_run(config)
        for _ in training(made.path, run.id):
            pass
        return made.path, load_newest(run.checkpoints, "cpu", optimisers=False, best_first=True).learner


def wanted(learner, slices):
    """What the teacher sees in float32."""
    with torch.no_grad():
        return look_with(learner.teacher, slices, mirror=True).probabilities.numpy()


def test_torchscript_gives_the_same(trained, tmp_path):
    """On any number of slices; the card names data, figures and limits."""
    path, learner = trained
    package_run(path, tmp_path, "torchscript")
    slices = torch.randn(5, 2, 32, 32)
    with torch.no_grad():
        assert np.allclose(torch.jit.load(tmp_path / "model.ts")(slices), wanted(learner, slices), atol=1e-4)
    assert 'torch.jit.load("model.ts")(images)' in (tmp_path / "README.md").read_text()
    about = json.loads((tmp_path / "model.json").read_text())
    assert about["labels"] == ["background", "core", "edema"] and about["sequences"] == ["flair", "t1"]
    card = (tmp_path / "README.md").read_text()
    for words in (
        "Research use only",
        "core, edema",
        "slices of 2 cases",
        "1 cases held out",
        "Dice of core",
        "Limits",
    ):
        assert words in card


def test_onnx_gives_the_same(trained, tmp_path):
    """ONNX's own reference evaluator computes it."""
    pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    path, learner = trained
    package_run(path, tmp_path, "onnx")
    slices = torch.randn(3, 2, 32, 32)
    (found,) = ReferenceEvaluator(str(tmp_path / "model.onnx")).run(None, {"images": slices.numpy()})
    assert '("model.onnx").run(None, {"images": images})' in (tmp_path / "README.md").read_text()
    assert np.allclose(found, wanted(learner, slices), atol=1e-4)


def test_a_bundle_is_one_for_monai(trained, tmp_path):
    """MONAI's parser loads the network, and the metadata names what it asks for."""
    from monai.bundle import ConfigParser

    path, learner = trained
    package_run(path, tmp_path, "monai-bundle")
    parser = ConfigParser()
    parser.read_config(tmp_path / "configs" / "inference.json")
    parser.read_meta(tmp_path / "configs" / "metadata.json")
    parser["bundle_root"], parser["device"] = str(tmp_path), "cpu"
    slices = torch.randn(2, 2, 32, 32)
    with torch.no_grad():
        found = parser.get_parsed_content("inferer")(slices, parser.get_parsed_content("network_def"))
    assert np.allclose(found, wanted(learner, slices), atol=1e-4)
    about = parser.get("_meta_")["network_data_format"]
    assert about["inputs"]["image"]["num_channels"] == 2
    card = (tmp_path / "docs" / "README.md").read_text()
    assert 'torch.jit.load("models/model.ts")(images)' in card and "there is no workflow to run" in card
    assert about["outputs"]["pred"]["channel_def"] == {"0": "background", "1": "core", "2": "edema"}


def test_a_package_does_not_say_where_it_was_made(trained, tmp_path):
    """Folders of the one who made it have names of people and hospitals; TorchScript notes one for every operation."""
    for kind in ("torchscript", "monai-bundle"):
        package_run(trained[0], tmp_path / kind, kind)
    for path in filter(Path.is_file, tmp_path.rglob("*")):
        files = [path.read_bytes()]
        if path.suffix == ".ts":
            with ZipFile(path) as archive:
                files = [archive.read(name) for name in archive.namelist()]
        for place in (Path(torch.__file__).parents[1], Path(__file__).parents[1], trained[0]):
            assert not any(str(place).encode() in data for data in files)


def test_the_card_names_neighbours(trained, monkeypatch):
    """Whoever fills the channels has to know which slices they are of, and what stands in for those that are not."""
    loaded = SimpleNamespace(learner=trained[1], sequences=("flair", "t1"), classes=("core", "edema"))
    assert "The channels are flair; t1.\nEach sequence" in _card(loaded, {})
    monkeypatch.setattr(trained[1], "neighbours", 1)
    channels = "flair, 1 slice before; t1, 1 slice before; flair; t1; flair, 1 slice after; t1, 1 slice after"
    assert f"(slices, 6, 32, 32). The channels are {channels}.\nBeyond a volume" in _card(loaded, {})


def test_the_card_says_which_way_slices_are_seen(trained, monkeypatch):
    """A program that feeds them another way gets masks of no use."""
    loaded = SimpleNamespace(learner=trained[1], sequences=("flair", "t1"), classes=("core", "edema"))
    assert ". A sequence that a case lacks is all 0.\nVoxels are counted as LPS says" in _card(loaded, {})
    monkeypatch.setattr(trained[1], "config", trained[1].config.replace(directions=None))
    assert "Voxels are counted" not in _card(loaded, {})


def test_who_follows_the_card_sees_the_same_slices(trained):
    """Another program has nothing but its words; cut to another box, a lesion is found in another place, or not."""
    loaded = SimpleNamespace(learner=trained[1], sequences=("flair", "t1"), classes=("core", "edema"))
    card = _card(loaded, {}).replace("\n", " ")
    volume = np.random.default_rng(0).uniform(0, 10, (2, 6, 50, 70)).astype(np.float32)
    volume[:, :, 9:41, 17:60] += 100
    volume[1, :, 5:41, 17:60] += 50
    for words in ("percentiles 0.5 and 99.8", "brighter than 8 % of that range"):
        assert words in card
    low, high = (np.percentile(volume, share, (1, 2, 3), keepdims=True) for share in (0.5, 99.8))
    clipped = np.clip(volume, low, high)
    inside = np.where(clipped > low + 0.08 * (high - low), clipped, np.nan)
    seen = (clipped - np.nanmean(inside, (1, 2, 3), keepdims=True)) / np.nanstd(inside, (1, 2, 3), keepdims=True)
    for words in ("more than 2 % of the voxels are brighter than 10 % of the range", "4 more rows on either side"):
        assert words in card
    bright = (clipped > low + 0.1 * (high - low)).any(0)
    rows, columns = (np.flatnonzero(bright.mean(axes) > 0.02) for axes in ((0, 2), (0, 1)))
    seen = seen[..., rows[0] - 4 : rows[-1] + 5, columns[0] - 4 : columns[-1] + 5]
    assert "both sides are scaled by one factor, bilinearly with antialiasing, so that the longer one is 32" in card
    inner = [round(side * 32 / max(seen.shape[2:])) for side in seen.shape[2:]]
    small = torch.nn.functional.interpolate(torch.from_numpy(seen), inner, mode="bilinear", antialias=True).numpy()
    assert "in the square's middle, and around it each sequence has its darkest value" in card
    square = np.broadcast_to(seen.min((1, 2, 3), keepdims=True), (2, 6, 32, 32)).copy()
    top, left = ((32 - side) // 2 for side in inner)
    square[..., top : top + inner[0], left : left + inner[1]] = small
    assert np.allclose(to_network(volume, 32)[0].numpy(), square.swapaxes(0, 1), atol=1e-4)


def test_another_kind_is_refused(trained, tmp_path):
    """The three that there are, are named."""
    with pytest.raises(ConfigError, match="torchscript, onnx, monai-bundle"):
        package_run(trained[0], tmp_path, "keras")


def test_a_card_says_what_the_run_learnt_from_and_replaces_nothing(tmp_path):
    """Not what the project holds since; a README that stands in the folder is somebody's, and nothing is written."""
    with small_project(tmp_path) as project:
        run = project.new_run(configure(steps=2, size=32, batch=2, features=8, proposals=0, device="cpu"))
        for _ in training(project.path, run.id):
            pass
        project.save_mask("c", project.mask("a"), done=range(4))
        package_run(project.path, tmp_path / "out", "torchscript")
        card = (tmp_path / "out" / "README.md").read_text()
        assert "- labelled: 8 slices of 2 cases\n" in card and "- unlabelled: the other slices of 4 cases\n" in card
        assert "- validation: not measured\n" in card
        (tmp_path / "paper").mkdir()
        (tmp_path / "paper" / "README.md").write_text("three weeks of work")
        with pytest.raises(ProjectError, match=r"^README\.md is in paper already: choose another folder"):
            package_run(project.path, tmp_path / "paper", "torchscript")
        assert {path.name for path in (tmp_path / "paper").iterdir()} == {"README.md"}
        assert (tmp_path / "paper" / "README.md").read_text() == "three weeks of work"


def test_best_checkpoint_is_taken_unless_the_last_is_asked_for(trained, tmp_path):
    """By predict and package alike; another word is refused."""
    path, _ = trained
    with Project.open(path) as project:
        folder = project.run().checkpoints
    older = folder / "00000001"
    shutil.copytree(checkpoints(folder)[-1], older)
    state = json.loads((older / "state.json").read_text()) | {"step": 1, "score": 2.0}
    del state["own_sha256"]
    (older / "state.json").write_text(json.dumps(state))
    steps = {}
    for word in ("best", "last"):
        package_run(path, tmp_path / word, "torchscript", checkpoint=word)
        steps[word] = json.loads((tmp_path / word / "model.json").read_text())["step"]
    shutil.rmtree(older)
    assert steps == {"best": 1, "last": 4}
    for verb in (lambda: package_run(path, tmp_path, "onnx", checkpoint="first"),
                 lambda: list(predict_cases(path, None, tmp_path, checkpoint="first"))):  # fmt: skip
        with pytest.raises(ConfigError, match="best or last"):
            verb()


def test_a_case_that_does_not_fit_into_memory_costs_no_other(trained, tmp_path, monkeypatch):
    """The others are segmented, and their scores are kept; so they are when somebody stops it."""
    from napari_segmatch.engine import predict

    whole, turns = predict.predict_slices, iter("12345")

    def once(*given):
        if next(turns) == "2":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(*given)

    for name in "abc":
        series(tmp_path / "in" / name / "AX FLAIR", shape=(32, 40), SeriesDescription="AX FLAIR")
    found = find_dataset(tmp_path / "in", ("flair", "t1"), ("core", "edema"))
    monkeypatch.setattr(predict, "predict_slices", once)
    said = list(predict_cases(trained[0], found.cases, tmp_path / "out"))
    assert [problem is None for _, problem, _ in said] == [True, False, True]
    assert "--device cpu" in said[1][1]
    assert {line.split(",")[0] for line in (tmp_path / "out" / "scores.csv").read_text().splitlines()[1:]} == {
        said[0][0], said[2][0],
    }  # fmt: skip
    stopped = predict_cases(trained[0], found.cases, tmp_path / "cut")
    next(stopped)
    stopped.close()
    assert (tmp_path / "cut" / "scores.csv").exists()


def test_a_gpu_that_is_lost_ends_a_prediction_in_a_sentence(trained, tmp_path, monkeypatch):
    """It was an internal error. What was segmented before keeps its scores."""
    from napari_segmatch.engine import predict

    def fails(*given):
        raise RuntimeError("CUDA error: unspecified launch failure")

    series(tmp_path / "in" / "a" / "AX FLAIR", shape=(32, 40), SeriesDescription="AX FLAIR")
    found = find_dataset(tmp_path / "in", ("flair", "t1"), ("core", "edema"))
    monkeypatch.setattr(predict, "predict_slices", fails)
    with pytest.raises(ImportProblem, match="graphics processor was lost: try again, or predict with --device cpu"):
        list(predict_cases(trained[0], found.cases, tmp_path / "out"))


def test_a_case_is_read_while_the_one_before_it_is_segmented(trained, tmp_path, monkeypatch):
    """One ahead and no more: a cohort does not fit into memory. One that cannot be read is told in its turn."""
    from napari_segmatch import batch
    from napari_segmatch.engine import predict

    for name in "abcd":
        series(tmp_path / "in" / name / "AX FLAIR", shape=(32, 40), SeriesDescription="AX FLAIR")
    found = find_dataset(tmp_path / "in", ("flair", "t1"), ("core", "edema"))
    whole, read, segment, segmented = batch.read_sequences, [], predict.predict_slices, []
    read_second = threading.Event()

    def reading(images, *given):
        read.append(len(read))
        if len(read) == 2:
            read_second.set()
        if len(read) == 3:
            raise ImportProblem("unreadable")
        return whole(images, *given)

    def segmenting(*given):
        assert segmented or read_second.wait(20), "the second case is not read before the first one is done"
        assert len(read) <= len(segmented) + 3
        segmented.append(1)
        return segment(*given)

    monkeypatch.setattr(batch, "read_sequences", reading)
    monkeypatch.setattr(batch, "read_apart", lambda read, *given, files: read(*given))
    monkeypatch.setattr(predict, "predict_slices", segmenting)
    said = list(predict_cases(trained[0], found.cases, tmp_path / "out"))
    assert [problem for _, problem, _ in said] == [None, None, "unreadable", None]


def test_new_scans_may_be_dicom(trained, tmp_path):
    """A folder of series is segmented on its own grid; a study without a sequence too."""
    for study, names in {"one": ("AX FLAIR", "T1"), "two": ("AX FLAIR",)}.items():
        for name in names:
            tags = {"SeriesDescription": name, "StudyInstanceUID": f"1.2.{len(names)}"}
            series(tmp_path / "in" / study / name, shape=(32, 40), **tags)
    found = find_dataset(tmp_path / "in", ("flair", "t1"), ("core", "edema"))
    said = list(predict_cases(trained[0], found.cases, tmp_path / "out"))
    assert said == [("one", None, 2), ("two", None, 2)]
    for study in ("one", "two"):
        geometry = read_volume(tmp_path / "in" / study / "AX FLAIR").geometry
        assert read_mask(tmp_path / "out" / f"{study}.nii.gz", geometry).labels.shape == (6, 32, 40)
