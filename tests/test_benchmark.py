"""``segmatch benchmark``: patients kept apart, nested budgets, resumed tables, rivals that learn."""

import csv
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import LGG, labels, make_white, write_case
from torch.nn.functional import one_hot

from napari_segmatch.benchmark import table
from napari_segmatch.benchmark.cases import BenchmarkPool, load, split, spread
from napari_segmatch.benchmark.judging import _judged_masks, calibration_by_chance, judged_slices, summary
from napari_segmatch.benchmark.oracles import Oracle, PixelOracle
from napari_segmatch.benchmark.report import Choice, describe, describe_judge, interval
from napari_segmatch.benchmark.rivals import METHODS, CrossPseudoSupervision, UniMatch
from napari_segmatch.benchmark.runs import Bench, Task, run
from napari_segmatch.benchmark.table import append, carry_out, measured, read
from napari_segmatch.cli.benchmarking import COMPARED, FIGURE_2
from napari_segmatch.cli.common import app
from napari_segmatch.config import configure
from napari_segmatch.engine.judge import Judge
from napari_segmatch.engine.losses import hard
from napari_segmatch.engine.prepare import Frame
from napari_segmatch.engine.selectors import DiscriminatorSelector, Look, Selection
from napari_segmatch.errors import ConfigError, ImportProblem
from napari_segmatch.io import FoundCase, find_cases
from napari_segmatch.project import Project
from napari_segmatch.simulate import Setup, simulate

SMALL = {"size": 32, "batch": 2, "features": 8, "warmup": 0.0, "ramp": 0.0, "discriminator_every": 1}
WORDS = " ".join(f"{name}={value}" for name, value in SMALL.items())
PATIENTS = [f"{site}-{index}" for site, count in (("A", 12), ("B", 6), ("C", 2)) for index in range(count)]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Six patients of two classes: one to test on, one to validate, four in the pool."""
    root = tmp_path_factory.mktemp("cases")
    for index in range(6):
        write_case(root / f"p{index}", index, classes=2)
    found = find_cases(root, {"flair": "{case}/flair.nii.gz"}, "{case}/mask.nii.gz")
    cases = load(found, ["flair"], 2)
    return Bench(cases, split(cases, 1, 1), ("flair",), ("core", "edge"), "", "cpu")


def test_nobody_is_in_two_parts_and_strata_are_spread():
    """Test, validation and pool are disjoint and complete; each holds every large hospital in proportion."""
    parts = split(PATIENTS, 6, 4, r"(\w)-")
    assert sorted((*parts.test, *parts.validation, *parts.pool)) == sorted(PATIENTS)
    assert sum(name.startswith("A") for name in parts.test) in (3, 4)
    assert sum(name.startswith("B") for name in parts.test) in (1, 2)


@pytest.mark.parametrize(("strata", "sentence"), [("(..", "no regular expression"), ("A|B", "names the hospital")])
def test_strata_without_a_group_are_one_sentence(strata, sentence):
    with pytest.raises(ConfigError, match=sentence):
        split(PATIENTS, 6, 4, strata)


def test_a_group_that_is_not_there_is_one_stratum():
    assert sorted(spread(PATIENTS, 0, "(A)?-")) == sorted(PATIENTS)


def test_larger_budgets_contain_smaller_ones():
    """With one seed the five labelled patients are the first of the ten; another seed draws others."""
    parts = split(PATIENTS, 4, 4, r"(\w)-")
    assert parts.labelled(2, 0) == parts.labelled(5, 0)[:2]
    assert parts.labelled(5, 0) != parts.labelled(5, 1)
    with pytest.raises(ConfigError, match="1 to 12"):
        parts.labelled(13, 0)


def test_order_is_drawn_once():
    """The same patients are tested whatever the order in which they were found."""
    assert spread(PATIENTS, 7, r"(\w)-") == spread(reversed(PATIENTS), 7, r"(\w)-")


def test_too_few_patients_are_refused():
    """One sentence with the numbers."""
    with pytest.raises(ConfigError, match="20 patients are too few for 15 of the test and 5"):
        split(PATIENTS, 15, 5)


def test_cases_without_masks_are_refused(tmp_path):
    """A benchmark needs the truth."""
    write_case(tmp_path / "p0")
    with pytest.raises(ImportProblem, match="needs true masks"):
        load(find_cases(tmp_path, {"flair": "{case}/flair.nii.gz"}), ["flair"], 1)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_and_is_measured(bench, method):
    """Each rival takes its steps on two classes and yields a row at every mark."""
    rows = list(run(bench, Task(method, 2, 0, (2, 4), WORDS), SMALL))
    assert [row["step"] for row in rows] == [2, 4]
    assert all(0 <= row["test_dice"] <= 1 for row in rows)
    assert len(rows[-1]["class_dice"].split()) == 2
    assert 0 < rows[0]["cpu_seconds"] <= rows[1]["cpu_seconds"]
    assert (rows[-1]["accepted"] == "") == (method in {"supervised", "mean-teacher", "cps", "unimatch", "bcp"})


def test_tuning_never_measures_test_patients(bench):
    """What settings are chosen by must not have seen the patients of the final figures."""
    row = next(run(dataclasses.replace(bench, tuning=True), Task("segmatch", 2, 0, (2,), WORDS), SMALL))
    assert row["test_dice"] == row["cases"] == ""
    assert row["validation_dice"] != ""


def _learner(bench, method):
    from napari_segmatch.benchmark.runs import prepared
    from napari_segmatch.config import configure

    kind, needs = METHODS[method]
    return prepared(bench, kind, configure(**{"device": "cpu", **SMALL, **needs}), bench.split.labelled(2, 0))


def test_slices_are_seen_as_in_a_project(bench):
    """Small ones are not enlarged unless it is told so, and close ones are seen with their neighbours."""
    task, changes = Task("supervised", 2, 0, (1,), ""), {name: SMALL[name] for name in ("batch", "features")}
    assert [next(run(bench, task, changes | told))["size"] for told in ({}, {"size": 32}, {"size": 64})] == [48, 32, 64]
    near = dataclasses.replace(bench.grids[0], affine=np.eye(4))
    volumes = {name: dataclasses.replace(case.volume, geometry=near) for name, case in bench.cases.items()}
    cases = {name: dataclasses.replace(case, volume=volumes[name]) for name, case in bench.cases.items()}
    close = dataclasses.replace(bench, cases=cases)
    assert [_learner(each, "supervised")[0].neighbours for each in (bench, close)] == [0, 1]


def test_oracle_accepts_by_the_truth(bench):
    """With the truth itself as pseudo mask everything is accepted, with its mirror image nothing."""
    learner, pool = _learner(bench, "oracle")
    assert isinstance(learner, Oracle)
    for spoil, expected in ((0, 1.0), (9, 0.0)):

        def look(images, spoil=spoil):
            from napari_segmatch.engine.geometry import warp
            from napari_segmatch.engine.selectors import Look

            truth = warp(learner.truth[learner.drawn, None].float(), learner.seen.weak, mode="nearest")[:, 0].long()
            labels = truth.roll(spoil, 1)
            hot = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()
            return Look(hot, labels, labels)

        def seeing(labelled, unlabelled):
            learner.seen = unlabelled[1]
            return Oracle.outcome(learner, labelled, unlabelled)

        learner.look, learner.outcome = look, seeing
        outcome, _ = learner.learn(pool, 0.5)
        showing = (learner.truth[learner.drawn] > 0).flatten(1).any(1)
        assert (outcome.selection.accepted[showing].float() == expected).all()


def test_probabilities_of_the_pixel_oracle_come_to_hold(bench):
    """A teacher that is sure, and blind for a quarter of what is there, is told what its word is worth."""
    learner, pool = _learner(bench, "oracle-pixels")
    assert isinstance(learner, PixelOracle)
    learner.held = lambda probabilities, truth: torch.full_like(probabilities, 1 / 3)
    outcome, _ = learner.learn(pool, 0.5)
    assert (outcome.look.probabilities == 1 / 3).all() and not outcome.selection.believed.any()
    del learner.held
    chance = torch.Generator().manual_seed(0)
    for _ in range(200):
        truth = torch.randint(0, 2, (2, 32, 32), generator=chance)
        said = torch.where(torch.rand(truth.shape, generator=chance) < 0.75, truth, 0)
        sure = torch.nn.functional.one_hot(said, 3).movedim(-1, 1) * 0.97 + 0.01
        truth[:, :4] = 255
        held = learner.held(sure, truth)
    assert held.sum(1) == pytest.approx(torch.ones(2, 32, 32), abs=1e-5)
    assert float(held[:, 1][said == 1].mean()) > 0.99
    assert float(held[:, 1][said == 0].mean()) == pytest.approx(1 / 5, abs=0.01)


def test_cross_supervision_teaches_both_networks(bench):
    """The consistency loss alone sends a gradient into either network."""
    learner, pool = _learner(bench, "cps")
    assert isinstance(learner, CrossPseudoSupervision)
    outcome, _ = learner.learn(pool, 0.5)
    rows = torch.tensor([0, 1])
    learner.drawn = learner.unlabelled_rows(pool)
    others = learner._batches(pool, learner.labelled_rows(pool))[0][1]
    outcome = learner.outcome((pool.slices(rows), pool.labels_of(rows), _calm(learner)), others)
    for network in (learner.model, learner.other):
        grads = torch.autograd.grad(
            outcome.consistency, list(network.parameters()), retain_graph=True, allow_unused=True
        )
        assert any(grad is not None and bool(grad.any()) for grad in grads)


def _calm(learner):
    from napari_segmatch.engine.step import draw_views

    return draw_views(2, learner.config, learner.policy, torch.Generator().manual_seed(0), unlabelled=False)


@pytest.mark.parametrize(
    ("method", "words"), [("unimatch", {"mu": 2.0}), ("bcp", {"mu": 0.5}), ("cps", {"neighbours": 1})]
)
def test_rivals_bear_other_settings(bench, method, words):
    """More or fewer unlabelled slices, and neighbours."""
    rows = list(run(bench, Task(method, 2, 0, (2,), ""), SMALL | words))
    assert len(rows) == 1


def test_unimatch_drops_features_only_while_asked(bench):
    """Its hooks are gone afterwards: a prediction must not be random."""
    learner, pool = _learner(bench, "unimatch")
    assert isinstance(learner, UniMatch)
    learner.learn(pool, 0.5)
    learner.model.eval()
    images = torch.randn(2, 1, 32, 32)
    assert torch.equal(learner.model(images), learner.model(images))
    with learner._dropped_features():
        assert not torch.equal(learner.model(images), learner.model(images))


def test_table_is_resumed_not_repeated(bench, tmp_path):
    """What is in the table is not run again; a run that was broken off is."""
    path, tasks = tmp_path / "runs.csv", [Task("supervised", 2, seed, (1, 2), WORDS) for seed in (0, 1)]
    assert [task.seed for task, _ in carry_out(bench, tasks[:1], path, 1)] == [0]
    assert [task.seed for task, _ in carry_out(bench, tasks, path, 1)] == [1]
    rows = read(path)
    assert len(rows) == 4
    assert {row["commit"] for row in rows} == {rows[0]["commit"]}
    assert measured(rows[:3], bench.name) == [tasks[0].fields]
    assert measured(rows, "other patients") == []
    assert len(list(describe(Choice(path, bench.name, (1, 2), ("supervised",), WORDS, (2,))))) == 4
    assert len(list(describe(Choice(path, bench.name, (2,), ("supervised",), WORDS, (2,))))) == 1
    assert not Choice(path, bench.name, (1, 2), ("supervised",), WORDS, (5,)).rows(last=False)  # other budgets stay out


def test_the_best_mark_is_the_one_that_validation_prefers(tmp_path):
    """Never the one that looks best on the test; gains are paired, seed by seed."""
    at = {("a", 1): (0.5, 0.4), ("a", 2): (0.4, 0.9), ("b", 1): (0.2, 0.8), ("b", 2): (0.3, 0.6)}
    append(tmp_path / "runs.csv", [
        Task(method, 2, 0, (1, 2)).fields
        | {"material": "m", "step": step, "validation_dice": validation, "cases": f"{test} {test}"}
        for (method, step), (validation, test) in at.items()
    ])  # fmt: skip
    *_, first, second = describe(Choice(tmp_path / "runs.csv", "m", (1, 2), ("a", "b"), "", (2,)))
    assert first.split()[:6] == ["a", "2", "best", "1", "0.500", "0.400"]
    assert second.split()[:6] == ["b", "2", "best", "1", "0.300", "0.600"]
    assert second.endswith("+0.200 (+0.200 to +0.200)")


def test_tables_of_other_versions_are_not_mixed(tmp_path):
    """A row with other columns is refused in a sentence, not written under the wrong heads."""
    append(tmp_path / "runs.csv", [{"a": 1, "b": 2}])
    with pytest.raises(ConfigError, match="another version"):
        append(tmp_path / "runs.csv", [{"b": 2, "a": 1}])


def test_other_patients_are_other_material(bench):
    """The same task on another split is another row."""
    other = dataclasses.replace(bench, split=dataclasses.replace(bench.split, test=bench.split.validation))
    assert other.name != bench.name


def test_interval_covers_seeds_and_patients():
    """The mean of all, with an interval that is wider when seeds disagree."""
    chance = np.random.default_rng(0)
    calm = chance.normal(0.7, 0.1, (3, 20))
    torn = calm + np.array([[-0.2], [0.0], [0.2]])
    widths = [high - low for _, low, high in (interval(values, 2000) for values in (calm, torn))]
    assert widths[1] > 1.5 * widths[0]


def test_few_masks_show_a_calibration_error_even_where_every_chance_holds():
    """Held against it, an error of 0.06 on 270 masks is none."""
    few, many = (np.linspace(0, 1, count) for count in (270, 27_000))
    assert 0.04 < calibration_by_chance(few) < 0.08
    assert calibration_by_chance(many) < 0.01


def test_judge_summary_of_a_perfect_and_a_blind_judge(tmp_path):
    """A score that is the truth has AUROC 1; the promised shares are compared with the found ones."""
    dice = np.linspace(0.5, 1, 40)
    rows = [
        {
            "score": float(d >= 0.8),
            "confidence": 0.5,
            "agreement": 1 - d,
            "certainty": d,
            "dice": d,
            "accepted": float(d >= 0.8),
            "lesion": 1.0,
        }
        for d in dice
    ]
    found = summary(rows)
    assert found["auroc_score"] == found["auroc_certainty"] == found["precision"] == 1
    assert found["auroc_agreement"] == 0
    assert found["auroc_confidence"] == 0.5
    assert found["calibration_error"] == pytest.approx(0)
    assert found["calibration_by_chance"] == 0
    alarm = dict(rows[0], lesion=0.0, score=1.0, accepted=1.0)
    with_alarms = summary([*rows, alarm])
    assert with_alarms["auroc_score"] == 1
    assert with_alarms["all_auroc_score"] < 1
    assert with_alarms["all_precision"] < 1
    words = " ".join(f"{name}={value:.4f}" for name, value in found.items())
    row = Task("segmatch", 2, 0, (4,)).fields | {"material": "m", "step": 4, "judge": words}
    append(tmp_path / "runs.csv", [row])
    lines = list(describe_judge(Choice(tmp_path / "runs.csv", "m", (4,), ("segmatch",), "", (2,))))
    assert any("auroc_score" in line and "1.000" in line for line in lines)


def test_a_seed_that_met_no_mask_hides_nothing_of_the_others(tmp_path):
    rows = [
        Task("segmatch", 2, seed, (4,)).fields | {"material": "m", "step": 4, "judge": words}
        for seed, words in enumerate(("slices=0 all_slices=0", "slices=3 auroc_score=0.75 all_slices=3"))
    ]
    append(tmp_path / "runs.csv", rows)
    lines = list(describe_judge(Choice(tmp_path / "runs.csv", "m", (4,), ("segmatch",), "", (2,))))
    assert any("auroc_score" in line and "0.750" in line for line in lines)


def test_what_nobody_has_annotated_is_neither_labelled_nor_wrong(bench):
    """A case may be annotated on some slices, or in a part of them, alone."""
    learner = _learner(bench, "oracle")[0]
    cases = {name: dataclasses.replace(case, truth=case.truth.copy()) for name, case in bench.cases.items()}
    one, *rest = bench.split.pool
    cases[one].truth[:2] = cases[rest[0]].truth[:, :16] = 255
    snapshot = BenchmarkPool(cases, [one, rest[0]], rest[1:], bench.sequences, bench.classes).snapshot()
    assert snapshot.labelled == {one: (2, 3), rest[0]: (0, 1, 2, 3)}
    assert snapshot.unlabelled == {one: (0, 1)} | dict.fromkeys(rest[1:], (0, 1, 2, 3))

    truth = torch.zeros(1, 32, 32, dtype=torch.uint8)
    truth[:, 16:24, 8:24] = 1
    hot = one_hot(truth.long(), 3).movedim(-1, 1).float()
    hot[:, :, :16] = torch.tensor([0.0, 1.0, 0.0])[:, None, None]  # what it sees in the upper half nobody has judged
    truth[:, :16] = 255
    look = Look(hot, hard(hot), hard(hot))
    said = Selection(torch.ones(1, 32, 32), torch.ones(1), torch.ones(1, dtype=torch.bool))
    assert [row["dice"] for row in _judged_masks(look, said, truth, 1, 0.5)] == [1]
    learner.truth, learner.drawn = truth, torch.tensor([0])
    learner.losses = lambda look_, select, *_: select(None, look)
    assert learner.outcome(None, None).score.tolist() == [1]


def test_each_class_is_judged_by_itself():
    """One row for each mask of a class, with its own truth, score and verdict; none is accepted before the proof."""
    truth = np.zeros((2, 8, 8), np.uint8)
    truth[0, :4], truth[0, 4:6] = 1, 2
    seen = torch.from_numpy(truth).long()
    seen[0, 5] = 0  # the second class is half missed; the second slice is empty
    look = Look(one_hot(seen, 3).movedim(-1, 1).float(), seen, seen)
    scores = torch.tensor([[0.9, 0.4], [torch.nan, torch.nan]])
    said = Selection(torch.ones(2, 8, 8), torch.ones(2), torch.ones(2, dtype=torch.bool), scores)
    learner = SimpleNamespace(
        neighbours=0, classes=2, device=torch.device("cpu"), looks_twice=False,
        look=lambda images: look, select=lambda images, look: said, selector=DiscriminatorSelector(0.5, 1, 2),
    )  # fmt: skip
    frame = Frame(8, 8, 0, 8, 0, 8, 8)

    def judged():
        return judged_slices(learner, torch.zeros(2, 1, 8, 8), frame, truth)

    first, second = judged()
    assert (first["dice"], first["score"], first["accepted"]) == (1, pytest.approx(0.9), 1)
    assert (second["dice"], second["score"], second["accepted"]) == (pytest.approx(2 / 3), pytest.approx(0.4), 0)
    learner.selector = Judge(configure("quick"), 1, 2)
    assert [row["accepted"] for row in judged()] == [0, 0]


def test_shell_draws_figure_2(tmp_path):
    """From files to the table and the picture, through the command itself; then nothing is left to run.

    The whole pool, 0, is here what is asked for by its number too: that is one run of each method.
    """
    from typer.testing import CliRunner

    for index in range(4):
        write_case(tmp_path / "cases" / f"p{index}", index)
    words = [
        "benchmark", "figure2", str(tmp_path / "cases"), "--image", "flair={case}/flair.nii.gz",
        "--mask", "{case}/mask.nii.gz", "--test", "1", "--validation", "1", "--labelled", "2,0", "--seeds", "0",
        "--marks", "2", "--methods", "supervised,segmatch", "--out", str(tmp_path / "out"),
        *(part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")),
    ]  # fmt: skip
    first = CliRunner().invoke(app, words)
    assert first.exit_code == 0, first.output
    assert "segmatch" in first.output
    assert (tmp_path / "out" / "figure2.png").stat().st_size > 5000
    with (tmp_path / "out" / "runs.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2
    again = CliRunner().invoke(app, words)
    assert "Dice" not in again.output.splitlines()[1]


def test_true_masks_are_read_as_somebody_says(tmp_path, monkeypatch):
    """The answer that the sentence asks for can be given; rows of other answers never stand beside these."""
    from typer.testing import CliRunner

    for index in range(4):
        make_white(write_case(tmp_path / "cases" / f"p{index}", index)[1])
    met = []
    monkeypatch.setattr("napari_segmatch.benchmark.table.carry_out", lambda bench, *_: met.append(bench) or ())
    words = [
        "benchmark", "discriminator", str(tmp_path / "cases"), "--image", "flair={case}/flair.nii.gz",
        "--mask", "{case}/mask.nii.gz", "--test", "1", "--validation", "1", "--labelled", "1", "--out", str(tmp_path),
    ]  # fmt: skip
    assert "choose labels=255:1" in str(CliRunner().invoke(app, words).exception)
    CliRunner().invoke(app, [*words, "--choose", "labels=255:1"])
    (bench,) = met
    assert all(set(np.unique(case.truth)) == {0, 1} for case in bench.cases.values())
    assert bench.name != dataclasses.replace(bench, choices=()).name


def test_what_an_export_left_unchecked_is_no_truth(tmp_path, monkeypatch):
    """Its slices are empty in the mask, and its table tells: by the same code as `add` and `evaluate`."""
    images, _ = write_case(tmp_path / "in", 1)
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        project.add_case("a", images)
        drawn = labels(1)
        drawn[2, :3] = 255
        project.save_mask("a", drawn, done=[1, 2])
        project.export(tmp_path / "out")
    found = FoundCase("a", images, tmp_path / "out" / "a.nii.gz")
    truth = load([found], ["flair"], 1)["a"].truth
    assert [bool((layer == 255).all()) for layer in truth] == [True, False, True, True]
    met = []
    monkeypatch.setattr("napari_segmatch.simulate.Annotator", lambda truths, rng: met.append(truths))
    monkeypatch.setattr("napari_segmatch.simulate.training", lambda *_: iter(()))
    list(simulate(tmp_path / "q", Setup([found], [], ["a"]), "full", configure(), 10, 1, ("lesion",), ("flair",)))
    assert np.array_equal(met[0]["a"], truth)


def test_a_setting_may_have_spaces(tmp_path, monkeypatch):
    """As a path of weights has: it reaches the run whole, beside others."""
    from typer.testing import CliRunner

    for index in range(3):
        write_case(tmp_path / "cases" / f"p{index}", index)
    tasks = []
    monkeypatch.setattr(table, "carry_out", lambda bench, those, *_: tasks.extend(those) or ())
    words = [
        "benchmark", "discriminator", str(tmp_path / "cases"), "--image", "flair={case}/flair.nii.gz",
        "--mask", "{case}/mask.nii.gz", "--test", "1", "--validation", "1", "--labelled", "1", "--out", str(tmp_path),
    ]  # fmt: skip
    CliRunner().invoke(app, [*words, "--set", "weights=my runs/last.safetensors", "--set", "batch=4"])
    monkeypatch.setattr(table, "_bench", "material")
    monkeypatch.setattr(table, "run", lambda bench, task, changes: [changes])
    assert table._carry_out(tasks[0]) == [{"weights": "my runs/last.safetensors", "batch": 4}]


def test_commands_share_their_options(monkeypatch):
    """Each takes all of them with the same words, but for defaults of its own and for what would mean nothing to it."""
    from typer.testing import CliRunner

    asked = []
    monkeypatch.setattr("napari_segmatch.cli.benchmarking._measure", lambda *said: asked.append(said) or 1 / 0)
    words = ["root", "--image", "flair={case}.nii.gz", "--mask", "{case}m.nii.gz", "--set", "batch=4", "--jobs", "2"]
    for name, methods, labelled, marks in (
        ("figure2", FIGURE_2, "2,5,10", "500,1000,1500"),
        ("discriminator", "segmatch,equation-1", "2,5,10", "500,1000,1500"),
        ("compare", COMPARED, "5", "250,500,1000,1500"),
    ):
        assert isinstance(CliRunner().invoke(app, ["benchmark", name, *words]).exception, ZeroDivisionError)
        plan, wanted = asked.pop()
        assert (wanted, plan.labelled, plan.marks) == (methods, labelled, marks)
        assert (plan.settings, plan.jobs, plan.seeds, plan.choose, plan.tuning) == (["batch=4"], 2, "0,1,2", [], False)
        assert plan.mask == words[4] and plan.images == [words[2]]
        said = CliRunner().invoke(app, ["benchmark", name, "--help"]).output
        assert ("--methods" in said, "--tuning" in said) == (name != "discriminator", name == "figure2")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [(["--methods", "magic"], "There is no method magic"), (["--labelled", "few"], "write whole numbers")],
)
def test_bad_plans_are_one_sentence(tmp_path, change, sentence):
    """No run starts."""
    from typer.testing import CliRunner

    words = ["benchmark", "figure2", str(tmp_path), "--image", "flair={case}.nii.gz", "--mask", "{case}m.nii.gz"]
    done = CliRunner().invoke(app, [*words, *change])
    assert done.exit_code != 0
    assert sentence in str(done.exception)


@pytest.mark.skipif(not LGG.is_dir(), reason="the LGG data is not beside the project")
def test_split_of_real_patients_is_stratified():
    """Every large hospital is in the test."""
    names = [path.name for path in LGG.iterdir() if path.is_dir()]
    parts = split(names, 20, 15, r"TCGA_(..)_")
    assert {name[5:7] for name in parts.test} >= {"CS", "DU", "FG", "HT"}
