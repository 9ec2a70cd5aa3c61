"""The shell: every verb, and one sentence for every mistake."""

import csv
import errno
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from io import BytesIO, TextIOWrapper

import nibabel as nib
import numpy as np
import pytest
from helpers import LGG, SHAPE, geometry, labels, make_white, small_project, write_case
from typer.main import get_command
from warm_shell import segmatch

from napari_segmatch import Project
from napari_segmatch.batch import UNPROVEN, predict_cases
from napari_segmatch.cli import main, training
from napari_segmatch.cli.common import typed
from napari_segmatch.cli.verbs import app
from napari_segmatch.config import configure
from napari_segmatch.errors import ImportProblem
from napari_segmatch.evaluation import evaluate_folder
from napari_segmatch.events import Examined, PseudoMask, Step, Stopped
from napari_segmatch.io import encode_segments, itksnap_table, read_mask, write_image, write_labels
from napari_segmatch.locks import WINDOW, FileLock
from napari_segmatch.progress import Progress, _step_line
from napari_segmatch.types import Geometry, Region

SMALL = ["--size", "32", "--set", "features=8", "--set", "batch=2", "--set", "proposals=4", "--device", "cpu"]
FLAIR = "flair={case}/flair.nii.gz"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder of cases, and a project that has been trained on them through the shell."""
    root = tmp_path_factory.mktemp("world")
    for index, name in enumerate("abcde"):
        write_case(root / "images" / name, index)
    project = root / "project"
    assert segmatch("new", project, "--classes", "lesion", "--sequences", "flair").returncode == 0
    added = segmatch(
        "add", project, root / "images", "--image", FLAIR, "--mask", "{case}/mask.nii.gz",
        "--labelled", "a,b", "--validation", "e",
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    trained = segmatch("train", project, "--steps", 12, *SMALL, "--seed", 1)
    assert trained.returncode == 0, trained.stderr
    return root


def test_the_shell_says_that_small_slices_are_not_enlarged(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, "_follow", lambda *_, **__: None)
    for name, size, said in (("small", 128, True), ("smaller", 32, False)):
        project = small_project(tmp_path / name)
        project.close()
        training.train(project.path, size=size)
        assert ("fit 48 pixels, not 128" in capsys.readouterr().out) == said


def test_the_shell_says_that_close_slices_are_seen_together(tmp_path, monkeypatch, capsys):
    """Of slices 5 mm apart nothing is said, nor to who has decided it."""
    monkeypatch.setattr(training, "_follow", lambda *_, **__: None)
    small_project(tmp_path / "far").close()
    near = Geometry(SHAPE, np.eye(4))
    write_image(tmp_path / "a.nii.gz", np.ones(SHAPE, np.float32), near)
    with Project.create(tmp_path / "near", ["lesion"], ["flair"]) as project:
        project.add_case("a", {"flair": tmp_path / "a.nii.gz"})
    for path, told, said in (("far/project", [], False), ("near", [], True), ("near", ["neighbours=1"], False)):
        training.train(tmp_path / path, set=told)
        assert ("seen with those above and below" in capsys.readouterr().out) is said


def test_whole_way_through_the_shell(world, tmp_path):
    """predict, evaluate, review, decide, export and doctor on a trained project."""
    project, out = world / "project", tmp_path / "out"
    predicted = segmatch("predict", project, world / "images", "--image", FLAIR, "--out", out)
    assert predicted.returncode == 0, predicted.stderr
    assert UNPROVEN in predicted.stdout, "a few steps prove nothing"
    for name in "abcde":
        mask, image = nib.load(out / f"{name}.nii.gz"), nib.load(world / "images" / name / "flair.nii.gz")
        assert mask.shape == image.shape
        assert np.allclose(mask.affine, image.affine)
    rows = list(csv.DictReader((out / "scores.csv").open()))
    assert list(rows[0]) == ["case", "slice", "z", "score", "verdict", "lesion_score", "left_out"]
    assert [(row["slice"], row["z"]) for row in rows[:2]] == [("4", "0"), ("3", "1")], "the window counts from the head"
    assert len(rows) == 20 and {row["verdict"] for row in rows} == {"cannot tell yet"}
    evaluated = segmatch("evaluate", out, world / "images", "--mask", "{case}/mask.nii.gz")
    assert "mean dice" in evaluated.stdout
    assert "95 % CI" in evaluated.stdout
    assert len(list(csv.DictReader((out / "evaluation.csv").open()))) == 5
    listed = segmatch("review", project)
    assert "cannot tell yet" in listed.stdout and "rejected" not in listed.stdout
    assert segmatch("review", project, "--verdict", "accepted").stdout.endswith("\n0 proposals.\n"), "of no run"
    number = listed.stdout.splitlines()[1].split()[0]
    assert segmatch("decide", project, number, "accept").returncode == 0
    assert "accepted" in segmatch("review", project).stdout
    assert segmatch("decide", project, number, "undo").returncode == 0
    assert segmatch("export", project, tmp_path / "export").returncode == 0
    assert (tmp_path / "export" / "a.nii.gz").is_file()
    assert "healthy" in segmatch("doctor", project).stdout


@pytest.mark.parametrize(
    ("selector", "words"),
    [("discriminator", ["cannot tell yet", "cannot tell yet", "rejected"]), ("confidence-map", ["rejected"] * 3)],
)
def test_what_an_unproven_discriminator_rejects_is_told_apart(tmp_path, selector, words):
    """As in the window, by the step of each proposal: later proof makes no word of what it rejected before."""
    with small_project(tmp_path, cases=3, labelled=0) as project:
        run = project.new_run(configure("quick", selector=selector))
        for case, step, proven in (("a", 50, False), ("b", 100, False), ("c", 200, True)):
            if step > 50 and selector == "discriminator":
                run.record(Examined(step, 20, 9, 0.7, 0.75, 0.5, proven))
            mask = PseudoMask(Region(case, 1), labels(1)[1], 0.9 - step / 1000, "rejected")
            project.add_proposals(run, step, 1, [mask])
    listed = segmatch("review", tmp_path / "project").stdout.splitlines()[1:-1]
    assert [line.split(maxsplit=4)[4].strip() for line in listed] == words
    with Project.open(tmp_path / "project") as project:
        for item in project.proposals():
            project.decide(item, "accepted")
        project.export(tmp_path / "out")
    rows = csv.DictReader((tmp_path / "out" / "decisions.csv").open())
    assert [row["said by discriminator"] for row in rows] == words


def test_a_step_does_not_say_that_masks_were_unused_which_train_softly():
    """Those that are not accepted train all the same, by chance, by pixel or by the teacher's doubt."""
    assert "0% of pseudo masks accepted" in _step_line(Step(300, 0.75, 40, 0.6, 0.8, 0.1, 0.0, 1))


def test_a_step_on_labels_alone_does_not_promise_more():
    """With the selector none no pseudo mask joins in later."""
    assert _step_line(Step(300, 0.75, 40, 0.6, 0.0, 0.0, None, 1)).rstrip().endswith("labelled slices alone")


def test_the_help_offers_no_option_that_is_the_windows_own():
    """With it a run that was stopped would stop again: who starts it so has said before that it is to go on."""
    options = {option: param.hidden for param in get_command(app).commands["resume"].params for option in param.opts}
    assert options["--courteous"] and not options["--run"]


def test_a_training_that_stops_says_how_it_goes_on(tmp_path, monkeypatch, capsys):
    """With a command that can be typed, which means this run and not a later one; not if nothing is to be said."""
    project = small_project(tmp_path / "my scans")
    monkeypatch.setattr(training, "training", lambda *_, **__: iter([Stopped(5)]))
    monkeypatch.setattr(training.signal, "signal", lambda *_: None)
    for number in (1, 2):
        project.new_run(configure())
        training.resume(project.path, run=1)
        said = capsys.readouterr()
        assert "Stopped at step 5." in said.err
        assert said.out == f"Next: segmatch resume '{project.path}'{' --run 1' * (number > 1)}\n"
    training.resume(project.path, run=1, quiet=True)
    assert capsys.readouterr().out == ""
    project.close()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows' terminals send no signal when they close")
@pytest.mark.parametrize("nohup", [True, False])
def test_a_training_outlives_its_terminal_only_if_it_is_to(tmp_path, monkeypatch, nohup):
    """Who logs out of a server stops it with a checkpoint; under nohup it goes on, and Ctrl+C stops it still."""
    heard = set()
    monkeypatch.setattr(training, "training", lambda *_, **__: iter([]))
    monkeypatch.setattr(training.signal, "signal", lambda number, _: heard.add(number))
    before = {signal.SIGHUP: signal.SIG_IGN} if nohup else {}
    monkeypatch.setattr(training.signal, "getsignal", lambda number: before.get(number, signal.SIG_DFL))
    with small_project(tmp_path) as project:
        project.new_run(configure())
        training.resume(project.path)
    assert heard == {signal.SIGINT, signal.SIGTERM, signal.SIGHUP} - before.keys()


def test_a_training_that_nobody_can_watch_any_more_goes_on(monkeypatch):
    """Its terminal is gone, or the disk is full on which its lines were kept: that ended it."""
    said = []

    def gone(*arguments, **_):
        said.append(arguments)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("napari_segmatch.progress.typer.echo", gone)
    progress = Progress(quiet=False)
    for step in (1, 2):
        progress.show(Stopped(step))
    assert len(said) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="its shell closes no streams")
def test_closed_streams_do_no_harm(tmp_path):
    """As services and schedulers start programs: what is wrong cannot be read, but its exit code can."""
    command = [sys.executable, "-m", "napari_segmatch.cli", "status", str(tmp_path / "nothing")]
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command]
    assert subprocess.run(closed, timeout=300).returncode == 2


@pytest.mark.parametrize("proven", [True, False])
def test_predict_says_so_only_of_verdicts_that_mean_nothing(world, tmp_path, monkeypatch, proven):
    """Before the first mask is written, and once; which weights segment is said first."""
    monkeypatch.setattr("napari_segmatch.engine.judge.can_tell", lambda selector: proven)
    told = []
    for _ in predict_cases(world / "project", None, tmp_path / "out", tell=told.append):
        assert told == ["Segmenting 2 cases with run 1, step 12.", *([] if proven else [UNPROVEN])]
    assert len([*(tmp_path / "out").glob("*.nii.gz")]) > 1
    verdicts = {row["verdict"] for row in csv.DictReader((tmp_path / "out" / "scores.csv").open())}
    assert (verdicts == {"cannot tell yet"}) is not proven


def test_predict_without_root_takes_the_unlabelled_cases(world, tmp_path):
    """The project's own cases that have no labels."""
    assert segmatch("predict", world / "project", "--out", tmp_path).returncode == 0
    assert sorted(path.name for path in tmp_path.glob("*.nii.gz")) == ["c.nii.gz", "d.nii.gz"]


def test_interrupted_training_is_resumed(world, tmp_path):
    """Ctrl+C writes a checkpoint; `segmatch resume` goes on from it to the end."""
    subprocess.run(["cp", "-r", str(world), str(tmp_path / "w")], check=True)
    project = tmp_path / "w" / "project"
    command = [sys.executable, "-m", "napari_segmatch.cli", "train", str(project), "--steps", "60", *SMALL]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    with Project.open(project) as opened:
        end = time.monotonic() + 120
        while time.monotonic() < end and not any(
            event.kind == "step" for event, _ in opened.run().events() if opened.run().id == 2
        ):
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
        assert running.returncode == 0, said
        assert "Stopped at step" in said
        assert "Traceback" not in said
        assert opened.run_state(2) == "stopped"
        resumed = segmatch("resume", project)
        assert resumed.returncode == 0, resumed.stderr
        assert opened.run_state(2) == "finished"


def test_a_run_that_waits_elsewhere_is_not_resumed_from_the_shell(world, tmp_path):
    """It goes on waiting there: the shell wished it on, and then complained."""
    shutil.copytree(world, tmp_path / "w")
    with Project.open(tmp_path / "w" / "project") as opened, opened.run().lock():
        opened.run().ask("pause")
        refused = segmatch("resume", opened.path)
        assert refused.returncode == 2 and "trains or waits in another program" in refused.stderr
        assert opened.run().wish() == "pause"


def test_a_second_run_of_a_project_says_that_it_is_not_alone(world, tmp_path):
    """Several seeds side by side may be wanted; a run that somebody forgot about is not."""
    shutil.copytree(world, tmp_path / "w")
    with Project.open(tmp_path / "w" / "project") as opened, opened.run().lock():
        opened.set_run_state(opened.run().id, "running")
        second = segmatch("train", opened.path, "--preset", "quick", "--steps", 2, "--size", 32)
    assert second.returncode == 0, second.stderr
    assert "Run 1 is training as well: both share this computer." in second.stdout
    assert "as well" not in segmatch("train", opened.path, "--preset", "quick", "--steps", 2, "--size", 32).stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nonsense"], "No such command"),
        (["train"], "PROJECT"),
        (["train", "{project}", "--steps", "many"], "--steps"),
        (["train", "{project}", "--selector", "guess"], "choose one of none"),
        (["train", "{project}", "--preset", "fast"], "choose one of quick"),
        (["train", "{project}", "--size", "3"], "32 to 1024"),
        (["train", "{project}", "--steps", "0"], "1 to 10000000 steps"),
        (["train", "{project}", "--seed", "-1"], "0 to 2147483647"),
        (["train", "{project}", "--device", "abacus"], "not available"),
        (["train", "{project}", "--set", "foo=1"], "NAME is one of"),
        (["train", "missing"], "no project folder"),
        (["resume", "{project}", "--run", "99"], "no run 99"),
        (["new", "{project}"], "not empty"),
        (["new", "fresh", "--classes", "Background,front,back"], "'Background' is no class"),
        (["new", "fresh", "--classes", "front,Front"], "more than capital letters"),
        (["add", "{project}", "{images}", "--image", "flair=x.nii.gz"], "{case}"),
        (["add", "{project}", "{images}", "--image", "t9={case}/flair.nii.gz"], "flair"),
        (["add", "{project}", "{images}", "--image", "flair={case}/none.nii.gz"], "none.nii.gz"),
        (["add", "{project}", "{images}", "--image", FLAIR, "--labelled", "zz"], "'zz'"),
        (["predict", "{project}", "{images}", "--out", "x"], "--image"),
        (["predict", "{project}", "--run", "99"], "no run 99"),
        (["train", "{project}", "--steps", "3", "--minutes", "1"], "not both"),
        (["train", "{project}", "--size", "100"], "multiple of 16"),
        (["add", "{project}", "{images}", "--image", FLAIR, "--mask", "{case}/typo.nii.gz"], "typo.nii.gz"),
        (["add", "{project}", "{images}", "--image", FLAIR, "--image", FLAIR], "twice"),
        (["add", "{project}", "{images}", "--image", FLAIR, "--validation", "a"], "frozen"),
        (["evaluate", "{images}", "{images}", "--mask", "{case}/mask.nii.gz"], "no mask of a case"),
        (["decide", "{project}", "9999", "accept"], "no proposal 9999"),
        (["decide", "{project}", "1", "maybe"], "choose accept"),
        (["review", "{project}", "--verdict", "perhaps"], "choose accepted or rejected"),
        (["doctor", "{images}"], "not a SegMatch project"),
        (["classes", "{project}", "--rename", "tumour=lesion"], "no class 'tumour'"),
        (["classes", "{project}", "--rename", "lesion"], "no name=value"),
        (["classes", "{project}", "--add", "lesion", "--done", "keep"], "each different"),
        (["classes", "{project}", "--add", "edema", "--done", "maybe"], "say reopen or keep"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(world, arguments, says, tmp_path):
    """Never a traceback."""
    places = {"{project}": str(world / "project"), "{images}": str(world / "images")}
    done = segmatch(*[places.get(text, text) for text in arguments], cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_classes_are_renamed_and_added_and_done_slices_opened_again(tmp_path):
    small_project(tmp_path).close()
    project = tmp_path / "project"
    assert segmatch("classes", project).stdout.split() == ["1", "lesion"]
    asked = segmatch("classes", project, "--add", "edema")
    assert asked.returncode == 2 and "--done reopen if some may show edema" in asked.stderr
    said = segmatch("classes", project, "--rename", "lesion=tumour", "--add", "edema", "--done", "keep")
    assert "tumour, edema now" in said.stdout
    with Project.open(project) as opened:
        assert any(case.labelled for case in opened.cases)
    window = FileLock(project / WINDOW)
    assert window.acquire()
    assert "close it there" in segmatch("classes", project, "--add", "necrosis", "--done", "reopen").stderr
    window.release()
    assert segmatch("classes", project, "--add", "necrosis", "--done", "reopen").returncode == 0
    with Project.open(project) as opened:
        assert opened.classes == ("tumour", "edema", "necrosis")
        assert not any(case.labelled for case in opened.cases) and (opened.mask("a") == 1).any()


def test_what_the_shell_suggests_can_be_typed(tmp_path):
    """Also in a folder whose name has a space; and nothing is suggested where there is nothing to do."""
    made = segmatch("new", "my scans", "--classes", "front, back", cwd=tmp_path)
    assert "segmatch add 'my scans' FOLDER" in made.stdout
    assert segmatch("asides", "my scans", cwd=tmp_path).stdout == "No version waits for a choice.\n"
    made = segmatch("new", "--classes", "front, back", "--", "-p", cwd=tmp_path)
    assert "segmatch add ./-p FOLDER" in made.stdout, "a path that begins with a dash is no option"
    assert typed("-a") == "-a", "a case is called so"


def test_names_that_a_shell_has_no_letters_for_are_spelt_out(tmp_path, monkeypatch):
    """As in what Windows writes to a file: a training would end at the first name that it says."""
    Project.create(tmp_path / "p", ["\u00d6dem", "\u8111\u7624"], ["flair"]).close()
    out = TextIOWrapper(BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "argv", ["segmatch", "classes", str(tmp_path / "p")])
    with pytest.raises(SystemExit) as ended:
        main()
    out.flush()
    assert ended.value.code == 0
    assert out.buffer.getvalue().decode("cp1252").split() == ["1", "\u00d6dem", "2", "\\u8111\\u7624"]


def test_a_sequence_that_comes_later_takes_no_other_one_away(tmp_path):
    """A case that has one sequence takes the other alone, and what was said of it is not said of the first."""
    write_case(tmp_path / "images" / "a", 0, sequences=("t1", "t2"))
    segmatch("new", tmp_path / "p", "--sequences", "t1,t2")
    add = ("add", tmp_path / "p", tmp_path / "images", "--image")
    assert segmatch(*add, "t1={case}/t1/image.nii.gz").returncode == 0
    done = segmatch(*add, "t2={case}/t2/image.nii.gz", "--choose", "frame=0", "--mask", "{case}/mask.nii.gz")
    assert "1 of 1 case added; 1 has labels" in done.stdout and "used without it" not in done.stdout
    with Project.open(tmp_path / "p") as project:
        assert sorted(project.image_paths("a")) == ["t1", "t2"] and all(map(np.any, project.volume("a").pixels))
        assert project.reading("a").choices == {"frame:t2": "0"}


def test_files_that_cannot_be_used_take_no_case_away_that_is_there(tmp_path):
    """A sequence comes later, and its file is damaged: the case keeps the one that it has."""
    write_case(tmp_path / "images" / "a", 0, sequences=("t1", "t2"))
    segmatch("new", tmp_path / "p", "--sequences", "t1,t2")
    add = ("add", tmp_path / "p", tmp_path / "images", "--image", "t1={case}/t1/image.nii.gz")
    assert segmatch(*add).returncode == 0
    (tmp_path / "images" / "a" / "t2" / "image.nii.gz").write_bytes(b"rubbish")
    done = segmatch(*add, "--image", "t2={case}/t2/image.nii.gz")
    assert "a: stays as it was" in done.stderr and "image.nii.gz" in done.stderr
    with Project.open(tmp_path / "p") as project:
        assert project.case("a").problem is None and list(project.image_paths("a")) == ["t1"]


def test_a_case_that_was_taken_out_of_the_project_is_not_said_to_be_in_it(world, tmp_path):
    """It has labels, so it is not added anew: what brings it back is said."""
    shutil.copytree(world, tmp_path / "w")
    project = tmp_path / "w" / "project"
    segmatch("remove", project, "a")
    said = segmatch("add", project, tmp_path / "w" / "images", "--image", FLAIR).stderr
    assert f"a: was taken out of the project; `segmatch restore {project} a` brings it back." in said
    assert "b, c, d, e: already in the project with labels or proposals, left as they are." in said


def test_predict_says_which_sequences_new_cases_lack_and_refuses_others(tmp_path):
    """Whatever the network is not shown, the masks may lack: a slip in a name had left a sequence out in silence."""
    write_case(tmp_path / "new" / "a")
    segmatch("new", tmp_path / "p", "--sequences", "t1,flair")
    predict = ("predict", tmp_path / "p", tmp_path / "new", "--image", FLAIR)
    assert "t1: found for 0 of 1 case; it is used without it." in segmatch(*predict).stdout
    slip = segmatch(*predict, "--image", "T1={case}/flair.nii.gz")
    assert slip.returncode == 2 and "--image names 'T1'; the project's sequences are t1, flair." in slip.stderr


def test_what_holds_for_many_cases_is_said_once(tmp_path):
    """Of cases that are there, of those that were taken out, and of what is worth knowing of those that come."""
    ids = [f"case-{number}" for number in range(9)]
    for number, id in enumerate(ids):
        write_case(tmp_path / "images" / id, number, sequences=("t1", "t2"))
    project = tmp_path / "p"
    segmatch("new", project, "--sequences", "t1,t2")
    add = ("add", project, tmp_path / "images", "--mask", "{case}/mask.nii.gz", "--image")
    assert segmatch(*add, "t1={case}/t1/image.nii.gz").stderr == ""
    first = "9 cases (case-0, case-1, case-2, case-3, case-4, case-5, …): "
    late = segmatch(*add, "t2={case}/t2/image.nii.gz").stderr
    assert late.startswith("case-0: t2 came later") and late.count("\n") == 4
    assert "8 cases (case-1, case-2, case-3, case-4, case-5, case-6, …): t2 came later" in late
    there = segmatch(*add, "t1={case}/t1/image.nii.gz").stderr
    assert there == f"{first}already in the project with labels or proposals, left as they are.\n"
    for id in ids[:2]:
        segmatch("remove", project, id)
    back = segmatch(*add, "t1={case}/t1/image.nii.gz").stderr
    assert "7 cases (case-2, case-3, case-4, case-5, case-6, case-7, …): already" in back
    out = "case-0, case-1: were taken out of the project"
    assert f"{out}; `segmatch restore {project} CASE` brings one back." in back


def test_help_documents_every_command():
    """Each verb has a line, each option a help text."""
    text = segmatch("--help").stdout
    for verb in (
        "new",
        "add",
        "train",
        "resume",
        "predict",
        "evaluate",
        "review",
        "decide",
        "export",
        "sample",
        "doctor",
    ):
        assert f"  {verb} " in text
    assert "--minutes" in segmatch("train", "--help").stdout


@pytest.mark.parametrize("words", [(), ("benchmark",)])
def test_without_a_verb_the_help_is_shown_and_nothing_has_failed(words):
    done, helped = segmatch(*words), segmatch(*words, "--help")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout == helped.stdout


@pytest.mark.parametrize(("platform", "expected"), [("linux", "'my project'"), ("win32", '"my project"')])
def test_what_is_to_be_typed_suits_the_shell(monkeypatch, platform, expected):
    """The shell of Windows knows double quotes alone."""
    monkeypatch.setattr(sys, "platform", platform)
    assert typed("my project") == expected


def test_evaluating_a_folder_that_is_not_there_says_so(world, tmp_path):
    done = segmatch("evaluate", tmp_path / "masks", world / "images", "--mask", "{case}/mask.nii.gz")
    assert done.returncode == 2 and "masks is not a folder" in done.stderr


def test_broken_case_is_set_aside_and_the_rest_added(tmp_path):
    """One bad file among good ones: exit code 0, a sentence, and the case is listed with its problem."""
    write_case(tmp_path / "images" / "good", 0)
    (tmp_path / "images" / "bad").mkdir()
    (tmp_path / "images" / "bad" / "flair.nii.gz").write_bytes(b"\x1f\x8b broken")
    segmatch("new", tmp_path / "p")
    done = segmatch("add", tmp_path / "p", tmp_path / "images", "--image", FLAIR)
    assert done.returncode == 0
    assert "bad: set aside" in done.stderr
    with Project.open(tmp_path / "p") as project:
        assert [case.problem is None for case in project.cases] == [False, True]


def test_a_good_case_stays_when_it_is_added_again_with_a_bad_file(tmp_path):
    """Nobody has worked on it yet, so it may get other files, but not ones that cannot be used or raise a question."""
    image = write_case(tmp_path / "images" / "a", 0)[0]["flair"]
    write_case(tmp_path / "images" / "b", 1)
    segmatch("new", tmp_path / "p")
    add = ("add", tmp_path / "p", tmp_path / "images", "--image", FLAIR)
    assert segmatch(*add).returncode == 0
    good = image.read_bytes()
    pixels = np.asarray(nib.load(image).dataobj)
    image.write_bytes(b"\x1f\x8b broken")
    said = segmatch(*add)
    assert said.returncode == 0 and "1 of 2 cases added" in said.stdout
    assert "a: stays as it was, since its new files cannot be used as they are. flair.nii.gz" in said.stderr
    nib.save(nib.Nifti1Image(pixels, None), image)
    said = segmatch(*add)
    assert "a: stays as it was" in said.stderr and "Then add it again with --choose." in said.stderr
    image.write_bytes(good)
    with Project.open(tmp_path / "p") as project:
        assert [case.problem for case in project.cases] == [None, None]
        assert project.volume("a").pixels.any()


@pytest.mark.skipif(not LGG.is_dir(), reason="the LGG data set is not on this machine")
def test_real_mri_goes_in_and_comes_out_on_its_own_grid(tmp_path):
    """Two patients of real MRI: added, labelled, exported voxel for voxel."""
    names = sorted(path.name for path in LGG.iterdir() if path.is_dir())[:2]
    segmatch("new", tmp_path / "p")
    for name in names:
        (tmp_path / name).symlink_to(LGG / name)
    done = segmatch("add", tmp_path / "p", tmp_path, "--image", "flair=TCGA_{case}/flair.nii.gz",
                    "--mask", "TCGA_{case}/mask.nii.gz", "--labelled", names[0].removeprefix("TCGA_"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert segmatch("export", tmp_path / "p", tmp_path / "out").returncode == 0
    exported = nib.load(tmp_path / "out" / f"{names[0].removeprefix('TCGA_')}.nii.gz")
    source = nib.load(LGG / names[0] / "mask.nii.gz")
    assert np.allclose(exported.affine, source.affine)
    assert np.array_equal(np.asarray(exported.dataobj), np.asarray(source.dataobj))


def test_nothing_is_written_over_masks_from_elsewhere(world, tmp_path):
    """A source mask is called as its case is: neither export nor predict takes its place, and both renew their own."""
    project = world / "project"
    for command in (("export", project), ("predict", project, "--out")):
        out = tmp_path / command[0]
        for _ in range(2):
            assert segmatch(*command, out).returncode == 0
        theirs = tmp_path / f"{command[0]}-theirs"
        theirs.mkdir()
        for path in out.glob("*.nii.gz"):
            (theirs / path.name).write_bytes(b"a source mask")
        for _ in range(2):
            done = segmatch(*command, theirs)
            assert done.returncode == 2 and "choose another folder" in done.stderr
        assert {path.read_bytes() for path in theirs.iterdir()} == {b"a source mask"}


def test_masks_of_before_are_told_beside_new_ones(world, tmp_path):
    """Nothing is deleted; but whoever judges the folder would take them for masks of today, and no table has them."""
    shutil.copytree(world, tmp_path / "w")
    project, images = tmp_path / "w" / "project", tmp_path / "w" / "images"
    for command in (("export", project), ("predict", project, images, "--image", FLAIR, "--out")):
        out = tmp_path / command[0]
        assert "Also there" not in segmatch(*command, out).stdout
        (out / "notes.txt").write_text("mine")
        shutil.rmtree(images / "b")
        segmatch("remove", project, "b")
        said = segmatch(*command, out).stdout
        assert f"Also there, but not of this {command[0].replace('dict', 'diction')}: b.nii.gz.\n" in said
        assert (out / "b.nii.gz").is_file()
        shutil.copytree(world / "images" / "b", images / "b")
        segmatch("restore", project, "b")


def test_prediction_never_takes_an_image_s_place(world, tmp_path):
    """Segmenting a flat folder of scans into itself is refused, and the scans are untouched."""
    scan = tmp_path / "a.nii.gz"
    scan.write_bytes((world / "images" / "a" / "flair.nii.gz").read_bytes())
    before = scan.read_bytes()
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "a.nii.gz").symlink_to(scan)
    for root, out in ((tmp_path, tmp_path), (tmp_path / "links", tmp_path / "links"), (tmp_path / "links", tmp_path)):
        done = segmatch("predict", world / "project", root, "--image", "flair={case}.nii.gz", "--out", out)
        assert done.returncode == 2
        assert "place of an image" in done.stderr
    assert scan.read_bytes() == before
    assert (tmp_path / "links" / "a.nii.gz").is_symlink()


def test_two_new_cases_that_differ_in_capital_letters_alone_are_not_predicted_into_one_folder(world, tmp_path):
    """On the disks of Windows and macOS the second mask would replace the first."""
    for name in ("scan-a", "Scan-A"):
        (tmp_path / f"{name}.nii.gz").write_bytes((world / "images" / "a" / "flair.nii.gz").read_bytes())
    out = tmp_path / "out"
    done = segmatch("predict", world / "project", tmp_path, "--image", "flair={case}.nii.gz", "--out", out)
    assert done.returncode == 2 and "capital letters alone" in done.stderr
    assert not out.exists()


def test_an_empty_setting_takes_the_preset_s_place(world, tmp_path):
    """The preset paper has a learning rate of its own; an empty one suits the run's length, as the help says."""
    own = shutil.copytree(world, tmp_path / "own") / "project"
    made = segmatch("train", own, "--preset", "paper", "--set", "learning_rate=", *SMALL, "--steps", "1")
    assert made.returncode == 0, made.stderr
    with Project.open(own) as project:
        assert project.run().config.learning_rate is None


def test_wrong_device_leaves_no_empty_run_behind(world, tmp_path):
    """After a typo `predict` still finds the run that was trained."""
    assert segmatch("train", world / "project", "--device", "abacus").returncode == 2
    with Project.open(world / "project") as project:
        assert [run.id for run, _ in project.runs()] == [1]


def test_evaluation_names_what_it_leaves_out(world, tmp_path):
    """A case without a prediction is said, not dropped."""
    segmatch("predict", world / "project", world / "images", "--image", FLAIR, "--out", tmp_path)
    (tmp_path / "b.nii.gz").unlink()
    done = segmatch("evaluate", tmp_path, world / "images", "--mask", "{case}/mask.nii.gz")
    assert done.returncode == 0
    assert "b: left out" in done.stdout
    assert "n=4" in done.stdout
    (tmp_path / "d.nii.gz").unlink()
    done = segmatch("evaluate", tmp_path, world / "images", "--mask", "{case}/mask.nii.gz")
    assert f"b, d: left out. There is no mask of them in {tmp_path}." in done.stdout, "in one line, and where"
    assert "n=3" in done.stdout


def test_a_few_cases_have_a_mean_and_no_interval(tmp_path):
    """Of one case it would have no width, and say that the model is known to the last digit."""
    truths = {}
    for seed, name in enumerate("abcde"):
        truths[name] = write_case(tmp_path / "truth" / name, seed)[1]
        truth = read_mask(truths[name])
        (tmp_path / "masks").mkdir(exist_ok=True)
        write_labels(tmp_path / "masks" / f"{name}.nii.gz", np.roll(truth.labels, seed, 2), truth.geometry)
        lines = [*evaluate_folder(tmp_path / "masks", truths)]
        (line,) = (line for line in lines if "mean dice" in line)
        assert line.endswith(f"n={seed + 1})") and ("95 % CI" in line) is (name == "e"), line
        assert ("(too few cases for an interval" in line) is (name != "e")
        with (tmp_path / "masks" / "evaluation_means.csv").open() as file:
            assert bool(next(csv.DictReader(file))["ci95_low"]) is (name == "e")


def test_what_nobody_has_annotated_counts_for_nothing(tmp_path):
    """Of a reader who has annotated some slices these are judged, which is said; of one who has none, nothing is."""
    masks = tmp_path / "masks"
    masks.mkdir()
    for seed, name, read in ((0, "a", 4), (1, "b", 2), (2, "c", 0)):
        truth = read_mask(write_case(tmp_path / "truth" / name, seed)[1])
        truth.labels[read:] = 255
        write_labels(masks / f"{name}.nii.gz", truth.labels, truth.geometry)
    lines = list(evaluate_folder(masks, {name: tmp_path / "truth" / name / "mask.nii.gz" for name in "abc"}))
    assert [line for line in lines if "annotated" in line] == [
        "b: without 2 slices of 4. Nothing is annotated there in one of the two masks.",
        "c: left out. Nothing is annotated there in one of the two masks.",
    ]
    assert any(line.startswith("class 1: mean dice 1.000") and "n=2" in line for line in lines)


def test_what_nobody_has_checked_of_an_export_is_not_held_against_it(tmp_path):
    """Its mask is empty there. A table that no export has written is refused."""
    images, mask = write_case(tmp_path / "images" / "a")
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        project.add_case("a", images, mask, [1])
        project.export(tmp_path / "out")
    lines = list(evaluate_folder(tmp_path / "out", {"a": mask}))
    assert lines[0] == "a: without 3 slices of 4. Nothing is annotated there in one of the two masks."
    assert any(line.startswith("class 1 (lesion): mean dice 1.000") for line in lines)
    exported = read_mask(tmp_path / "out" / "a.nii.gz")
    exported.labels[3, 0, 0] = 1
    write_labels(tmp_path / "out" / "a.nii.gz", exported.labels, exported.geometry)
    lines = list(evaluate_folder(tmp_path / "out", {"a": mask}))
    assert lines[0].startswith("a: without 2 slices of 4."), "somebody has drawn on one since, and it counts"
    (tmp_path / "out" / "slices.csv").write_text("something,else\n1,2\n")
    with pytest.raises(ImportProblem, match=r"slices\.csv is not as export writes it"):
        list(evaluate_folder(tmp_path / "out", {"a": mask}))


@pytest.mark.parametrize("exported", ["masks", "truths"])
def test_what_was_left_open_in_an_export_is_judged_on_neither_side(tmp_path, exported):
    """Slices that nobody had checked, and those with voxels that nobody had: they are background in its masks."""
    images, mask = write_case(tmp_path / "in" / "a")
    drawn = read_mask(mask).labels
    drawn[2, :4] = 255
    with Project.create(tmp_path / "p", ["lesion"], ["flair"]) as project:
        project.add_case("a", images)
        project.save_mask("a", drawn, done=[1, 2])
        project.export(tmp_path / "out")
    mask.replace(tmp_path / "in" / "a.nii.gz")
    masks, truths = (tmp_path / name for name in (("out", "in") if exported == "masks" else ("in", "out")))
    lines = list(evaluate_folder(masks, {"a": truths / "a.nii.gz"}))
    assert lines[0] == "a: without 3 slices of 4. Nothing is annotated there in one of the two masks."
    assert any("mean dice 1.000" in line for line in lines)


@pytest.mark.parametrize("kind", ["data set", "its own", "data store", "no name fits", "numbers"])
@pytest.mark.parametrize("table", ["labels-itksnap.txt", "scores.csv"])
def test_true_labels_find_their_classes_by_name(tmp_path, kind, table):
    """As when they are added: a project may count its classes in another order. Otherwise numbers count."""
    (tmp_path / "labelsTr").mkdir()
    (tmp_path / "masks").mkdir()
    ours = np.arange(4 * 8 * 8).reshape(4, 8, 8) % 3
    theirs = np.array([0, 2, 1])[ours].astype(np.uint8)
    theirs[0] = 3  # what nnU-Net ignores, or a label without a class
    write_labels(tmp_path / "masks" / "a.nii.gz", ours.astype(np.uint8), geometry((4, 8, 8)))
    words = {"scores.csv": "case,slice,z,score,verdict,core_score,edema_score,left_out\n"}
    (tmp_path / "masks" / table).write_text(words.get(table) or itksnap_table(["core", "edema"], {}))
    true = tmp_path / "labelsTr" / "a.nii.gz"
    write_labels(true, theirs, geometry((4, 8, 8)))
    if kind == "its own":
        true = tmp_path / "labelsTr" / "a.seg.nrrd"
        drawn = np.where(theirs == 3, 0, theirs).astype(np.uint8)
        true.write_bytes(encode_segments(drawn, geometry((4, 8, 8)), ["Edema", "Core"], {}))
    if kind == "data store":
        told = [{"name": name, "idx": number} for number, name in enumerate(["Edema", "Core"], 1)]
        entry = {"ext": ".nii.gz", "info": {"label_info": told}}
        about = {"objects": {"a": {"image": {}, "labels": {"final": entry}}}}
        (tmp_path / "datastore_v2.json").write_text(json.dumps(about))
        true = tmp_path / "labels" / "final" / "a.nii.gz"
        true.parent.mkdir(parents=True)
        write_labels(true, np.where(theirs == 3, 0, theirs).astype(np.uint8), geometry((4, 8, 8)))
    names = {"no name fits": ["x", "y", "z"], "data set": ["Edema", "Core", "ignore"]}.get(kind)
    if names:
        about = {"labels": {"background": 0} | {name: label for label, name in enumerate(names, 1)}}
        (tmp_path / "dataset.json").write_text(json.dumps(about))
    dices = [line.split()[2] for line in evaluate_folder(tmp_path / "masks", {"a": true}) if line.startswith("a ")]
    right = {"data set": ["1.000"] * 2, "its own": ["0.85"] * 2, "data store": ["0.85"] * 2}.get(kind, ["0.000"] * 3)
    assert [dice[: len(said)] for dice, said in zip(dices, right, strict=True)] == right


def judged_folder(tmp_path):
    """Three slices: a good mask of a, one of b that misses half, and a false alarm of a; what was said of each."""
    truth, mask = np.zeros((3, 8, 8), np.uint8), np.zeros((3, 8, 8), np.uint8)
    truth[0, :4], mask[0, :4] = 1, 1
    truth[1, :4], mask[1, :2] = 2, 2
    mask[2, :4] = 1
    for folder, labels_of in (("truth", truth), ("masks", mask)):
        (tmp_path / folder).mkdir()
        write_labels(tmp_path / folder / "x.nii.gz", labels_of, geometry((3, 8, 8)))
    lines = ["x,3,0,0.9,accepted,0.9,0.9,0", "x,2,1,0.4,rejected,0.9,0.4,0", "x,1,2,0.8,accepted,0.8,,0"]
    header = "case,slice,z,score,verdict,a_score,b_score,left_out"
    (tmp_path / "masks" / "scores.csv").write_text("\n".join([header, *lines]))
    return tmp_path / "masks", {"x": tmp_path / "truth" / "x.nii.gz"}


def test_evaluation_says_what_scores_were_worth(tmp_path):
    """Of each mask that is there, false alarms among them; with the names that classes have."""
    masks, truths = judged_folder(tmp_path)
    lines = [line.split() for line in evaluate_folder(masks, truths)]
    assert ["a", "2", "0.500", "1.000", "0.500", "1.000", "0.450"] in lines
    assert ["b", "1", "0.000", "0.000", "-", "-", "0.400"] in lines
    assert any(line[:3] == ["class", "2", "(b):"] for line in lines)
    rows = list(csv.DictReader((masks / "evaluation_scores.csv").open()))
    assert [(row["class"], row["masks"], row["good_of_these"]) for row in rows] == [("1", "2", "0.5"), ("2", "1", "")]


def test_a_score_is_not_judged_by_a_part_of_its_mask(tmp_path):
    """The true mask of one slice is annotated beside the structure alone, where the mask's edge is a false alarm."""
    masks, truths = judged_folder(tmp_path)
    truth = read_mask(truths["x"])
    truth.labels[0, :3], truth.labels[0, 3] = 255, 0
    write_labels(truths["x"], truth.labels, truth.geometry)
    lines = [line.split() for line in evaluate_folder(masks, truths)]
    assert ["a", "1", "0.000", "1.000", "0.000", "-", "0.800"] in lines, "the mask on the third slice alone"


@pytest.mark.parametrize(
    ("old", "new"),
    [("0.4,0", "much,0"), ("0.4,0", "nan,0"), ("0.4,0", "40,0"), ("verdict", "word"), (",1,0", ",one,0")],
)
def test_scores_that_somebody_changed_are_one_sentence(tmp_path, old, new):
    masks, truths = judged_folder(tmp_path)
    path = masks / "scores.csv"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ImportProblem, match="is not as predict writes it: predict anew"):
        list(evaluate_folder(masks, truths))


def test_scores_from_before_slices_were_counted_as_on_the_screen_are_read_as_they_were(tmp_path):
    """There *slice* was what *z* is now."""
    masks, truths = judged_folder(tmp_path)
    lines = list(evaluate_folder(masks, truths))
    rows = [line.split(",") for line in (masks / "scores.csv").read_text().splitlines()]
    (masks / "scores.csv").write_text("\n".join(",".join([row[0], *row[2:]]) for row in rows).replace(",z,", ",slice,"))
    assert list(evaluate_folder(masks, truths)) == lines


def test_masks_without_scores_are_evaluated_as_before(tmp_path):
    masks, truths = judged_folder(tmp_path)
    (masks / "scores.csv").unlink()
    assert not any("worth" in line for line in evaluate_folder(masks, truths))
    assert not (masks / "evaluation_scores.csv").exists()


@pytest.mark.parametrize("table", [True, False])
def test_true_masks_of_greys_are_asked_about(tmp_path, table):
    """Of 0, 128 and 255 the last one may be a class, as in `add`; beside a class it means not annotated."""
    ours, masks = np.arange(4 * 8 * 8).reshape(4, 8, 8).astype(np.uint8) % 3, tmp_path / "masks"
    masks.mkdir()
    write_labels(masks / "a.nii.gz", ours, geometry((4, 8, 8)))
    if table:
        (masks / "labels-itksnap.txt").write_text(itksnap_table(["core", "edema"], {}))

    def judged(greys, answer=""):
        write_labels(tmp_path / "true.nii.gz", np.array(greys, np.uint8)[ours], geometry((4, 8, 8)))
        return list(evaluate_folder(masks, {"a": tmp_path / "true.nii.gz"}, {"labels": answer} if answer else {}))

    with pytest.raises(ImportProblem, match="no mask of a case"):
        judged((0, 128, 255))
    dices = [line.split()[2] for line in judged((0, 128, 255), "128:1,255:2") if line.startswith("a ")]
    assert dices == ["1.000", "1.000"]
    assert any(line.startswith("a ") for line in judged((0, 2, 255)))


def test_true_masks_are_read_as_somebody_says(tmp_path):
    """The answer that the sentence asks for can be given; masks to be judged keep their labels."""
    for seed, name in enumerate("ab"):
        _, mask = write_case(tmp_path / "truth" / name, seed)
        (tmp_path / "masks").mkdir(exist_ok=True)
        shutil.copy(mask, tmp_path / "masks" / f"{name}.nii.gz")
        make_white(mask)
    evaluate = ("evaluate", tmp_path / "masks", tmp_path / "truth", "--mask", "{case}/mask.nii.gz")
    asked = segmatch(*evaluate)
    assert asked.returncode == 2 and "choose labels=255:1" in asked.stdout
    done = segmatch(*evaluate, "--choose", "labels=255:1,1:2")
    assert done.returncode == 0, done.stderr
    assert "class 1: mean dice 1.000" in done.stdout


def test_a_corrected_mask_is_read_as_somebody_says(tmp_path):
    """It lies on another grid, and names its labels in another order than the project."""
    with small_project(tmp_path, cases=1, labelled=0, classes=("core", "edema")) as project:
        shape = project.case("a").shape
        pseudo = PseudoMask(Region("a", 1), np.ones(shape[1:], np.uint8), 0.9, "accepted")
        project.add_proposals(project.new_run(configure()), 1, 1, [pseudo])
    grid = geometry(shape)
    grid.affine[0, 3] += 0.3
    drawn = labels(1, shape, 2)
    corrected = tmp_path / "m.seg.nrrd"
    corrected.write_bytes(encode_segments(drawn, grid, ["edema", "core"], {}))
    decide = ("decide", tmp_path / "project", 1, "accept", "--mask", corrected)
    asked = segmatch(*decide)
    assert asked.returncode == 2 and "grid=as-stored" in asked.stderr and "repeat it with --choose" in asked.stderr
    done = segmatch(*decide, "--choose", "grid=as-stored")
    assert done.returncode == 0, done.stderr
    with Project.open(tmp_path / "project") as project:
        assert np.array_equal(project.mask("a")[1], np.array([0, 2, 1])[drawn[1]])


def test_labelled_file_may_come_from_windows(world, tmp_path):
    """A byte-order mark and CRLF line ends."""
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfa\r\nb\r\n")
    segmatch("new", tmp_path / "p")
    done = segmatch("add", tmp_path / "p", world / "images", "--image", FLAIR, "--mask", "{case}/mask.nii.gz",
                    "--labelled-file", tmp_path / "list.txt")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 have labels" in done.stdout


def _run(code, *arguments):
    """Run Python with an importer that Ctrl+C meets, or whatever ``code`` says, before the shell's own ``main``."""
    words = f"import sys; sys.argv = ['segmatch', *{list(map(str, arguments))!r}]\n{code}\n"
    whole = words + "from napari_segmatch.cli import main\nmain()\n"
    return subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, timeout=300)


EARLY = """
class Interrupted:
    def find_spec(name, path=None, target=None):
        if name == 'numpy':
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted)
"""
LATE = """
from napari_segmatch import sample
def write_cases(*_):
    raise KeyboardInterrupt
sample.write_cases = write_cases
"""


@pytest.mark.parametrize("code", [EARLY, LATE])
def test_ctrl_c_is_a_sentence_whenever_it_comes(tmp_path, code):
    """While the shell is still loading it was a traceback, and later nothing was said."""
    stopped = _run(code, "sample", tmp_path / "mri")
    assert (stopped.returncode, stopped.stderr) == (2, "segmatch: stopped; what was done so far is kept.\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["predict", "{project}", "--image", FLAIR], "give the folder that holds them"),
        (["predict", "{project}", "--choose", "orientation=unknown"], "give the folder that holds them"),
        (["predict", "{project}", "{world}/images", "--image", FLAIR, "--series", "flair=*"], "not both"),
        (["add", "{project}", "{world}/images", "--image", FLAIR, "--series", "flair=*"], "not both"),
        (["add", "{project}", "{world}/images", "--mask", "{case}/mask.nii.gz"], "--mask goes with --image"),
        (["doctor", "{project}", "--search", "{world}"], "say --repair, too"),
        (["recover", "{project}", "{world}/images/a/mask.nii.gz"], "mask.nii.gz holds no strokes"),
        (
            ["add", "{project}", "{world}/images", "--choose", "orientaton=unknown"],
            "no file is asked about 'orientaton'",
        ),
        (["export", "{project}", "{world}/out", "--codes", "{world}/codes.csv"], "say --as dicom-seg, too"),
        (["decide", "{project}", "1", "undo", "--mask", "{world}/images/a/mask.nii.gz"], "--mask goes with accept"),
        (["decide", "{project}", "1", "accept", "--choose", "grid=as-stored"], "--choose with --mask"),
        (["classes", "{project}", "--done", "reopen"], "say --add, too"),
        (["simulate", "{world}/images", "--image", FLAIR, "--mask", "{case}/mask.nii.gz", "--steps", "0"], "--steps"),
    ],
)
def test_an_option_that_would_not_be_heard_is_refused(world, arguments, says):
    """It was passed over in silence: other cases were segmented than those asked for, for one."""
    told = {"{world}": str(world), "{project}": str(world / "project")}
    done = segmatch(*(re.sub(r"\{(world|project)\}", lambda found: told[found[0]], word) for word in arguments))
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1
    assert "internal" not in done.stderr


def test_a_case_that_is_frozen_brings_its_mask_whether_it_is_named_as_labelled_or_not(world):
    """It judges the model: without labels it could not."""
    with Project.open(world / "project") as project:
        kinds = {case.id: (case.validation, len(case.labelled)) for case in project.cases}
    assert kinds["e"] == (True, SHAPE[0]) and kinds["a"] == (False, SHAPE[0]) and kinds["c"] == (False, 0)


def test_verbs_say_what_they_did_and_what_comes_next(world, tmp_path):
    """From the first case to the classes that a later look adds."""
    project = tmp_path / "p"
    segmatch("new", project)
    masks = ["--mask", "{case}/mask.nii.gz", "--labelled", "a,b"]
    added = segmatch("add", project, world / "images", "--image", FLAIR, *masks).stdout
    assert added.endswith(f"\nNext: segmatch train {project}\n")
    trained = segmatch("train", project, "--steps", 3, *SMALL).stdout
    assert trained.endswith(f"Next: segmatch review {project} --undecided\n")
    predicted = segmatch("predict", project, "--out", tmp_path / "out").stdout
    told = [UNPROVEN, f"Masks of 3 cases and scores.csv are in {tmp_path / 'out'}."]
    assert predicted.splitlines() == ["Segmenting 3 cases with run 1, step 3.", *told]
    changed = segmatch("classes", project, "--add", "edema", "--done", "reopen").stdout
    assert "Next: finish the slices that are open again, then train anew." in changed


def test_an_image_that_has_moved_is_told_with_what_finds_it(world, tmp_path):
    """All images of a project may have one name: that one does not exist says little."""
    shutil.copytree(world, tmp_path / "w")
    (tmp_path / "w" / "images").rename(tmp_path / "elsewhere")
    project = tmp_path / "w" / "project"
    said = segmatch("doctor", project).stdout
    assert "case a cannot be used: flair.nii.gz is not where it was" in said
    assert "let `segmatch doctor --repair` look for it, with `--search FOLDER` in that folder too" in said
    mended = segmatch("doctor", project, "--repair", "--search", tmp_path / "elsewhere").stdout
    assert "Found again: 1 image of case a." in mended and "healthy" in mended


def test_a_project_that_was_moved_alone_finds_its_images_without_being_told_where(world, tmp_path):
    """Only projects that a window had opened before knew where they had lain."""
    project, moved = tmp_path / "p", tmp_path / "far" / "away" / "p"
    shutil.copytree(world / "images", tmp_path / "images")
    segmatch("new", project)
    segmatch("add", project, tmp_path / "images", "--image", FLAIR)
    moved.parent.mkdir(parents=True)
    project.rename(moved)
    assert "is not where it was" in segmatch("doctor", moved).stdout
    assert "healthy" in segmatch("doctor", moved, "--repair").stdout
