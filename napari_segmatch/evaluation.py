"""Judging a folder of masks by true ones. Torch is imported inside the functions."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .errors import ImportProblem
from .fsio import write_atomic
from .io import (
    LABEL_TABLE,
    PARTLY,
    Choices,
    check_classes,
    closed,
    labels_beside,
    read_label_table,
    read_mask,
    read_truth,
    slice_index,
    unchecked_slices,
    with_answers,
)
from .texts import count, csv_text, named
from .types import MAX_CLASSES, NOT_ANNOTATED, Mask

MAX_LABEL = NOT_ANNOTATED - 1
COLUMNS = ("dice", "lesion-slice dice", "hd95 mm", "empty-slice fp")
ENOUGH_CASES = 5
"""Of fewer the bootstrap's interval of 95 % holds the true mean in half (2 cases) to four fifths (4) of all times."""
WORTH = ("masks", "good", "accepted", "good of these", "auroc", "calibration error")


class Told(NamedTuple):
    """What ``scores.csv`` says of a case's slice: whether it is accepted, and each class's score, where it has one."""

    classes: list[str]
    slices: dict[tuple[str, int], tuple[bool, list[float | None]]]


class Judged(NamedTuple):
    """One class's mask on one slice: the score that it was given, whether its slice was accepted, and its Dice."""

    label: int
    score: float
    accepted: bool
    dice: float


def evaluate_folder(folder: Path, truths: Mapping[str, Path], choices: Choices | None = None) -> Iterator[str]:
    """Compare ``{case}.nii.gz`` in ``folder`` with true masks; yields a table's lines.

    Also writes ``evaluation.csv`` and ``evaluation_means.csv``. A case that has no prediction, or whose masks cannot
    be compared, is named and left out of the means. What is not annotated (255) in either mask counts for nothing, and
    so does, where the masks are an export's, what nobody has checked (``slices.csv``): it is empty in them.
    True labels find their classes by name, as when they are added, if both folders say how theirs are called.
    If the folder has ``scores.csv``, as ``predict`` writes it, ``evaluation_scores.csv`` says what its word was worth.

    Parameters
    ----------
    choices
        Answers to questions that the masks raise. Labels are renumbered in the true ones alone.

    Raises
    ------
    ImportProblem
        If the folder is none, or no case could be compared.
    """
    from .engine.metrics import score_case

    if not folder.is_dir():
        raise ImportProblem(f"{folder.name or folder} is not a folder: check its name.")
    shown: dict[str, set[int]] = {}
    told = _told(folder)
    classes = told.classes or _named_by_export(folder)
    left_open = [unchecked_slices(folder), unchecked_slices(folder, PARTLY)]
    pair = partial(_pair, folder, truths, choices or {}, left_open, classes)
    yield from _look(folder, truths, pair, shown)
    if not shown:
        raise ImportProblem(f"{folder.name} holds no mask of a case that can be compared with a true one.")
    labels = sorted(set.union(*shown.values())) or [1]
    rows: list[tuple[object, ...]] = []
    judged: list[Judged] = []
    yield f"{'case':<28} {'class':>5}  " + "  ".join(f"{column:>17}" for column in COLUMNS)
    for case in shown:
        prediction, truth = pair(case)  # again: a cohort of masks does not fit into memory
        for label in labels:
            scores = score_case(prediction.labels, truth.labels, label, truth.geometry.spacing)
            values = (scores.dice, scores.slice_dice, scores.hd95, scores.false_positive)
            rows.append((case, label, *values))
            yield f"{case:<28} {label:>5}  " + "  ".join(_cell(value) for value in values)
        judged += _judged(case, told, prediction, truth)
    header = ("case", "class", "dice", "lesion_slice_dice", "hd95_mm", "empty_slice_fp")
    write_atomic(folder / "evaluation.csv", csv_text(header, rows).encode())
    yield from _means(folder, rows, labels, classes)
    if judged:
        yield from _worth(folder, judged, told.classes)


def _look(
    folder: Path, truths: Mapping[str, Path], pair: Callable[[str], tuple[Mask, Mask]], shown: dict[str, set[int]]
) -> Iterator[str]:
    """Note in ``shown`` which labels the cases have that can be compared; says what is left out."""
    here = [case for case in sorted(truths) if (folder / f"{case}.nii.gz").exists()]
    missing = sorted(truths.keys() - set(here))
    if here and missing:
        what = "it" if len(missing) == 1 else "them"
        yield f"{named(missing)}: left out. There is no mask of {what} in {folder}."
    for case in here:
        try:
            prediction, truth = pair(case)
        except ImportProblem as error:
            yield f"{case}: left out. {error}"
            continue
        open_slices, slices = _open(prediction, truth), len(truth.labels)
        if open_slices < slices:
            shown[case] = _labels_in(prediction, truth)
        if open_slices:
            what = f"without {count(open_slices, 'slice')} of {slices}" if case in shown else "left out"
            yield f"{case}: {what}. Nothing is annotated there in one of the two masks."


def _means(
    folder: Path, rows: Sequence[tuple[Any, ...]], labels: Sequence[int], classes: Sequence[str]
) -> Iterator[str]:
    from .engine.metrics import confidence_interval

    means: list[tuple[object, ...]] = []
    for label in labels:
        name = f" ({classes[label - 1]})" if label <= len(classes) else ""
        for index, column in enumerate(COLUMNS, 2):
            known = [row[index] for row in rows if row[1] == label and row[index] is not None]
            if known:
                mean, low, high = confidence_interval(known)
                several = len(known) >= ENOUGH_CASES
                between = f"95 % CI {low:.3f} to {high:.3f}" if several else "too few cases for an interval"
                means.append((label, column, mean, *((low, high) if several else ("", "")), len(known)))
                yield f"class {label}{name}: mean {column} {mean:.3f} ({between}, n={len(known)})"
    header = ("class", "metric", "mean", "ci95_low", "ci95_high", "cases")
    write_atomic(folder / "evaluation_means.csv", csv_text(header, means).encode())


def _told(folder: Path) -> Told:
    """Read ``scores.csv``; of masks that do not come from ``predict`` nothing was told."""
    path = folder / "scores.csv"
    if not path.exists():
        return Told([], {})
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # a spreadsheet may have saved it
            table = csv.DictReader(file)
            classes = [name.removesuffix("_score") for name in table.fieldnames or () if name.endswith("_score")]
            slices = {}
            for row in table:
                scores = [_chance(row[f"{name}_score"]) for name in classes]
                slices[row["case"], slice_index(row)] = row["verdict"] == "accepted", scores
            return Told(classes, slices)
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise ImportProblem(
            f"{path} is not as predict writes it: predict anew, or move it away to evaluate the masks alone."
        ) from error


def _chance(text: str) -> float | None:
    chance = float(text) if text else None
    if chance is not None and not 0 <= chance <= 1:
        raise ValueError(text)
    return chance


def _judged(case: str, told: Told, prediction: Mask, truth: Mask) -> Iterator[Judged]:
    """Yield every mask of a case that was given a score, false alarms among them.

    The score is of the whole mask: one that reaches into what is not annotated is not judged by the rest of it.
    """
    from .engine.metrics import annotated, dice

    known = annotated(prediction.labels, truth.labels)
    for label in range(1, len(told.classes) + 1):
        mine, theirs = prediction.labels == label, (truth.labels == label) & known
        for z in np.flatnonzero(mine.any((1, 2)) & ~(mine & ~known).any((1, 2))).tolist():
            accepted, scores = told.slices.get((case, z), (False, [None] * label))
            score = scores[label - 1]
            if score is not None:
                yield Judged(label, score, accepted, dice(mine[z], theirs[z]))


def _worth(folder: Path, judged: Sequence[Judged], classes: Sequence[str]) -> Iterator[str]:
    """Say how the scores of masks agree with the truth, class by class."""
    from .engine.calibration import auroc, calibration_error
    from .engine.discriminator import GOOD

    yield f"What the scores of masks are worth, slice by slice; good is a Dice of at least {GOOD}:"
    yield f"{'class':<28} " + "  ".join(f"{column:>17}" for column in WORTH)
    rows = []
    for label, name in enumerate(classes, 1):
        mine = [mask for mask in judged if mask.label == label]
        if not mine:
            continue
        score, accepted, reached = (np.array([mask[index] for mask in mine]) for index in (1, 2, 3))
        good = reached >= GOOD
        of_these = float(good[accepted].mean()) if accepted.any() else None
        area = auroc(score, good)
        values = (float(good.mean()), float(accepted.mean()), of_these, None if area != area else area)
        rows.append((label, len(mine), *values, calibration_error(score, good)))
        yield f"{name:<28} {len(mine):>17}  " + "  ".join(_cell(value) for value in rows[-1][2:])
    header = ("class", *(column.replace(" ", "_") for column in WORTH))
    write_atomic(folder / "evaluation_scores.csv", csv_text(header, rows).encode())


def _named_by_export(folder: Path) -> tuple[str, ...]:
    """Return how an export's table calls its classes; nothing where there is none that can be read."""
    with suppress(ImportProblem):
        return read_label_table(folder / LABEL_TABLE).names
    return ()


def _pair(
    folder: Path, truths: Mapping[str, Path], choices: Choices, left_open: Sequence[Mapping[str, Collection[int]]],
    classes: Sequence[str], case: str,
) -> tuple[Mask, Mask]:  # fmt: skip
    """Read a case's prediction and its true mask, on the prediction's grid, with the prediction's labels.

    Slices of an export that nobody had checked, or not all of, are not annotated in it.
    """
    ours = {topic: answer for topic, answer in choices.items() if topic != "labels"}
    unchecked, partly = (slices.get(case, ()) for slices in left_open)
    prediction = read_mask(folder / f"{case}.nii.gz", choices=ours, unchecked=unchecked)
    prediction.labels[closed(prediction.labels, partly)] = NOT_ANNOTATED
    path, theirs = truths[case], choices
    names: int | Sequence[str] = MAX_LABEL
    if classes:  # other labels are called by their numbers
        names = [*classes, *map(str, range(len(classes) + 1, NOT_ANNOTATED))]
        theirs = with_answers(labels_beside(path, names), choices)
    truth = read_truth(path, prediction.geometry, names, theirs)
    if (truth.labels == NOT_ANNOTATED).any() and min(_labels_in(truth), default=0) > (len(classes) or MAX_CLASSES):
        # 255 beside a class means not annotated; of labels like 0, 128 and 255 it may be a class, as in `add`
        check_classes(truth.labels, len(classes) or max(_labels_in(prediction), default=1), choices, path.name)
    return prediction, truth


def _open(prediction: Mask, truth: Mask) -> int:
    """Return on how many slices nothing can be compared."""
    from .engine.metrics import annotated

    return int((~annotated(prediction.labels, truth.labels).any((1, 2))).sum())


def _labels_in(*masks: Mask) -> set[int]:
    return {int(label) for mask in masks for label in np.unique(mask.labels)} - {0, NOT_ANNOTATED}


def _cell(value: float | None) -> str:
    return f"{'-' if value is None else format(value, '.3f'):>17}"
