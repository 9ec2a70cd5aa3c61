"""Segmenting cases: what a trained run is for. Torch is imported inside the functions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .config import PARTS, TrainConfig
from .errors import ConfigError, ImportProblem, ProjectError
from .events import PseudoMask
from .fsio import write_atomic
from .io import Choices, FoundCase, encode_labels, read_apart, read_sequences, with_answers
from .project import Project, ProjectPool, Run
from .project.checks import both_places, check_target
from .project.objects import ObjectStore
from .texts import count, csv_text
from .types import NOT_ANNOTATED, Case, Geometry, Volume

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from .engine.checkpoint import Loaded
    from .engine.prepare import Frame

Done = TypeVar("Done")

SCORES = "scores.csv"
UNPROVEN = "The discriminator cannot tell good masks from bad ones yet, and scores.csv says so in place of a verdict."


def predict_cases(
    project_path: Path, found: Sequence[FoundCase] | None, out: Path, run_id: int | None = None,
    device: str | None = None, choices: Choices | None = None, checkpoint: str = "best", parts: str | None = None,
    tell: Callable[[str], None] = lambda sentence: None,
) -> Iterator[tuple[str, str | None, int]]:  # fmt: skip
    """Segment cases with a trained run; writes ``{case}.nii.gz`` and ``scores.csv`` into ``out``.

    Parameters
    ----------
    found
        New cases, or None for the project's own cases without labels.
    choices
        Answers to questions that new cases' files raise.
    checkpoint
        "best": the one with the highest validation Dice, the newest if none was measured; or "last": the newest.
    parts
        As the setting of that name; None takes the run's own.
    tell
        Is given a sentence on which run and step segment, and one if the verdicts that are written mean nothing.

    Yields
    ------
    tuple
        Case, what was wrong with it or None, and how many cases there are.
    """
    from .engine.judge import can_tell
    from .engine.predict import predict_slices, scores_rows

    with Project.look_at(project_path) as project:
        run = trained_run(project, run_id)
        loaded = load_run(project, run, device, checkpoint)
        single = _in_one_part(project, loaded, parts)
        jobs = _reading_jobs(project, found, loaded.sequences, choices or {})
        _refuse_overwriting(out, [name for name, _ in jobs], project, found)
        tell(f"Segmenting {count(len(jobs), 'case')} with run {run.id}, step {loaded.learner.step}.")
        proven = can_tell(loaded.learner.selector)
        if not proven:
            tell(UNPROVEN)
        header = ("case", "slice", "z", "score", "verdict", *(f"{name}_score" for name in loaded.classes), "left_out")
        rows: list[tuple[object, ...]] = []
        try:
            for name, ready in _ahead((name, partial(_prepared, read, loaded.learner.config)) for name, read in jobs):
                problem = None
                try:
                    geometry, slices, frame = ready()
                    prediction = predict_slices(loaded.learner, slices, frame, single)
                    if not rows:  # the first file tells a prediction, also one that is cut off
                        write_atomic(out / SCORES, csv_text(header, rows).encode())
                    note = "SegMatch prediction, not reviewed; research use only"
                    write_atomic(out / f"{name}.nii.gz", encode_labels(prediction.labels, geometry, note))
                    rows += scores_rows(name, geometry, prediction, proven)
                except (ImportProblem, RuntimeError, MemoryError) as error:
                    problem = _sentence(error)
                yield name, problem, len(jobs)
        finally:  # also of what was done before it was stopped
            if rows:
                write_atomic(out / SCORES, csv_text(header, rows).encode())
    if not rows:
        raise ImportProblem("No case could be segmented; the reasons stand above.")


def _prepared(read: Callable[[], Volume], config: TrainConfig) -> tuple[Geometry, Tensor, Frame]:
    """Read a case, and bring it to the size at which a run sees it."""
    from .engine.prepare import to_network

    volume = read()
    return volume.geometry, *to_network(volume.pixels, config.size, volume.geometry, config.directions)


def segment_case(
    project: Project, case: str, run_id: int, volume: Callable[[str], Volume], wanted: Callable[[], bool],
    hear: Callable[[float], None] = lambda share: None,
) -> str:  # fmt: skip
    """Propose a mask for every slice of a case that nobody has worked on; returns a sentence about them.

    Parameters
    ----------
    volume
        Reads the case's pixels.
    wanted
        Asked from time to time; once it says no, nothing is proposed, and nothing said.
    hear
        Is told which share of the slices has its mask, 0 to 1.

    Raises
    ------
    ProjectError
        If there is no such slice.
    TrainingProblem, ImportProblem
        If the run's checkpoints or the case's images cannot be read, or do not fit into memory.
    """
    labels = project.mask(case)
    slices = _open_slices(project, case, labels)
    from .engine.device import is_lost, is_out_of_memory
    from .engine.predict import propose_case

    try:
        run = project.run(run_id)
        loaded = load_run(project, run, None, "best")
        if len(loaded.classes) < len(project.classes):
            knows, has = (", ".join(names) for names in (loaded.classes, project.classes))
            raise ProjectError(
                f"Run {run_id} knows {knows}, and the project has {has} now: train anew, then ask again."
            )
        step = loaded.learner.step
        known = {item.z: item.area for item in project.proposals(case=case) if (item.run, item.step) == (run_id, step)}
        masks, changed = dict[int, PseudoMask](), set[int]()
        if not wanted():
            return ""
        seen, single = volume(case), _in_one_part(project, loaded, wanted=wanted)
        silent = known.keys() >= set(slices) and not single  # all masks are there, and no part of them is in question
        asked = [] if silent else slices
        for mask in propose_case(loaded.learner, case, seen.pixels, labels, asked, single, wanted, seen.geometry):
            changed |= {mask.region.z} & masks.keys()
            masks[mask.region.z] = mask
            hear(len(masks) / len(slices))
        if not wanted():
            return ""
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise ImportProblem(f"{case} does not fit into memory beside all else: close other programs.") from error
        if is_lost(error):
            raise ImportProblem("The graphics processor was lost: restart the program.") from error
        raise
    less = {z for z in changed & known.keys() if known[z] != (masks[z].labels > 0).sum()}  # went only now
    news = [mask for z, mask in masks.items() if z not in known or z in less]
    project.add_proposals(run, step, loaded.pool_version, news)
    told = f" Smaller parts that it doubts were left out on {len(changed)} of them." if changed else ""
    return f"masks of {len(slices)} slices by run {run_id}, step {step}.{told}"


def _in_one_part(
    project: Project, loaded: Loaded, parts: str | None = None, wanted: Callable[[], bool] = lambda: True
) -> Collection[int]:
    """Return the labels of structures of which smaller parts are left out: see ``parts`` of the settings."""
    parts = loaded.learner.config.parts if parts is None else parts
    if parts not in PARTS:
        raise ConfigError(f"There is no choice of parts {parts!r}; choose one of {', '.join(PARTS)}.")
    if parts == "one":
        return range(1, len(project.classes) + 1)
    from .engine.judge import can_tell
    from .engine.parts import MANY, in_one_part

    if parts == "all" or not can_tell(loaded.learner.selector):
        return ()
    whole = [case for case in project.cases if case.problem is None and len(case.labelled) == case.shape[0]]
    return in_one_part(_shown(project, takewhile(lambda _: wanted(), whole[:MANY])))


def _shown(project: Project, cases: Iterable[Case]) -> Iterator[Mapping[int, bool]]:
    """Say what cases show of parts. A damaged mask is left out: it keeps nobody from segmenting another case."""
    for case in cases:
        with suppress(ProjectError):
            yield _shown_in(project.objects, project.newest_object(case))


@lru_cache(1000)
def _shown_in(objects: ObjectStore, name: str) -> Mapping[int, bool]:
    """Say what a mask shows of parts. Each case that is segmented asks for those of all others: they are kept."""
    from .engine.parts import shown_in

    return shown_in(objects.get(name))


def _open_slices(project: Project, case: str, labels: np.ndarray) -> list[int]:
    """Return the slices of a case that nobody has finished, rejected a mask of, or painted on."""
    painted = ((labels > 0) & (labels != NOT_ANNOTATED)).any((1, 2))
    slices = [z for z in ProjectPool(project).snapshot().unlabelled.get(case, ()) if not painted[z]]
    if not slices:
        raise ProjectError(f"No slice of {case} is open: {_why_closed(project, case)}.")
    return slices


def _why_closed(project: Project, case: str) -> str:
    """Say why nobody wants masks of a case, of which each slice is left out."""
    left = ProjectPool(project).snapshot().unlabelled.get(case)
    if left is None:
        return "its patient is held out for validation"
    if left:
        return "you have painted on each that is not done or judged; finish or erase those first"
    done = len(project.case(case).labelled) == project.case(case).shape[0]
    return "all are done" if done else "all are done, or their masks were rejected"


def _sentence(error: ImportProblem | RuntimeError | MemoryError) -> str:
    """Say why a case cannot be segmented; a mistake of ours goes on as it is."""
    from .engine.device import is_lost, is_out_of_memory

    if isinstance(error, ImportProblem):
        return str(error)
    if not is_out_of_memory(error):
        if is_lost(error):
            raise ImportProblem("The graphics processor was lost: try again, or predict with --device cpu.") from error
        raise error
    return "It does not fit into memory: close other programs, or predict it with --device cpu."


def _ahead(jobs: Iterable[tuple[str, Callable[[], Done]]]) -> Iterator[tuple[str, Callable[[], Done]]]:
    """Begin each job in a thread while whoever asks for them still works on the one before it."""
    with ThreadPoolExecutor(1) as thread:
        begun: deque[tuple[str, Callable[[], Done]]] = deque()
        for name, job in jobs:
            begun.append((name, thread.submit(job).result))
            if len(begun) > 1:
                yield begun.popleft()
        yield from begun


def load_run(project: Project, run: Run, device: str | None, checkpoint: str) -> Loaded:
    """Load a run's best or last checkpoint, to segment with: on its own device by default, or what is here.

    Its classes have the names that they have now.
    """
    from .engine.checkpoint import load_newest

    if checkpoint not in ("best", "last"):
        raise ConfigError(f"There is no checkpoint {checkpoint!r}; choose best or last.")
    load = partial(load_newest, run.checkpoints, optimisers=False, best_first=checkpoint == "best")
    try:
        loaded = load(device)
    except ConfigError:
        if device is not None:
            raise
        loaded = load("auto")
    return replace(loaded, classes=project.classes[: len(loaded.classes)])


def trained_run(project: Project, run_id: int | None) -> Run:
    """Return the run asked for, or the newest that has a checkpoint."""
    runs = [run for run, _ in project.runs() if any(run.checkpoints.glob("[0-9]*"))]
    return runs[-1] if run_id is None and runs else project.run(run_id)


def _refuse_overwriting(out: Path, names: Sequence[str], project: Project, found: Sequence[FoundCase] | None) -> None:
    """Raise if a mask would take the place of somebody's image or mask."""
    files = [path for item in found or () for path in item.images.values()]
    images = project.all_image_paths().union(*map(both_places, files))
    first: dict[str, str] = {}
    for name in names:
        twin = first.setdefault(name.casefold(), name)
        if twin != name:
            raise ImportProblem(
                f"The cases {twin} and {name} differ in capital letters alone: on many disks their masks would be one "
                "file, so predict one of them into another folder."
            )
        check_target(out / f"{name}.nii.gz", images, out / SCORES)


def _reading_jobs(
    project: Project, found: Sequence[FoundCase] | None, sequences: Sequence[str], choices: Choices
) -> list[tuple[str, Callable[[], Volume]]]:
    if found is not None:
        said = [with_answers(item.choices, choices) for item in found]
        return [
            (item.id, partial(read_apart, read_sequences, item.images, sequences, answers, files=item.images.values()))
            for item, answers in zip(found, said, strict=True)
        ]
    cases = [case.id for case in project.cases if case.problem is None and not case.labelled]
    if not cases:
        raise ProjectError(f"Every case of {project.path.name} is labelled: name a folder of new cases.")
    return [(case, partial(project.volume, case)) for case in cases]
