"""Labels from what a file stores. Whole numbers never pass through floats, and no label is dropped in silence."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np

from ..errors import ImportProblem, Question
from ..types import NOT_ANNOTATED
from .source import Choices, Source, ask, with_answers

IGNORE = "ignore"
"""The name of nnU-Net's label for what is not annotated: no class."""

_WHOLE = 1e-3  # how far a label stored as a float may be from a whole number
_SHOWN = 8  # labels that a sentence lists
_MANY = 100  # different numbers of which it is asked whether they are an image's


def labels_of(source: Source, values: np.ndarray, choices: Choices) -> np.ndarray:
    """Return a source's :func:`whole_numbers` as labels, uint8 in the file's own axis order."""
    values = _mapped(values, choices)
    name, low = source.name, values.min()
    if low < 0:
        meaning = {"255": "not annotated", "0": "background"}
        values = np.where(values < 0, int(ask(choices, "negative", f"{name} holds label {low}", meaning)), values)
    if (high := values.max()) > NOT_ANNOTATED:
        _refuse_image(name, values)
        raise ImportProblem(
            f"{name} holds label {high}; labels go from 0 to 254, or 255 for not annotated: renumber it, or choose "
            f"labels={high}:1."
        )
    return values.astype(np.uint8)


def by_name(
    source: Source, values: np.ndarray, classes: Sequence[str], choices: Choices
) -> tuple[Choices, tuple[str, ...]]:
    """Add to the answers what names of labels say, the file's or its data set's; return them and what is to be said.

    Labels that are called like a class are this class, whatever was answered (for files that number otherwise). If no
    name is known, labels go by their numbers; if some are, the others are asked about.
    """
    known = {name.casefold(): label for label, name in enumerate(classes, 1)}
    given = source.names or {int(label): name for label, name in json.loads(choices.get("names", "{}")).items()}
    names = {label: name.strip() for label, name in given.items() if label and classes and name.casefold() != IGNORE}
    called = {label: known[name.casefold()] for label, name in names.items() if name.casefold() in known}
    strange = [label for label in names if label not in called and (values == label).any()]
    answered = dict(pair.split(":", 1) for pair in choices.get("labels", "").split(",") if ":" in pair)
    unanswered = [label for label in strange if str(label) not in answered]
    if unanswered and called:
        found = ", ".join(f"{label} “{names[label]}”" for label in unanswered[:_SHOWN])
        sentence = f"{source.name} has labels that are called like no class here ({found}), and others that are"
        raise Question(sentence, "labels", _targets(unanswered, len(classes), [names[label] for label in unanswered]))
    if unanswered:
        name = names[unanswered[0]]
        note = f"{source.name} calls a label “{name}”, which is no class here; its labels are taken by their numbers."
        return choices, (note,)
    changed = ",".join(f"{old}:{new}" for old, new in called.items() if old != new or str(old) in answered)
    overruled = [label for label, new in called.items() if answered.get(str(label), str(new)) != str(new)]
    notes = (
        f"{source.name} calls label {label} “{names[label]}”, which is a class: it was not made {answered[str(label)]}."
        for label in overruled
    )
    return with_answers(choices, {"labels": changed} if changed else {}), tuple(notes)


def check_classes(labels: np.ndarray, classes: int, choices: Choices, name: str) -> None:
    """Ask about labels that the project does not know, and about a mask without any background."""
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
    unknown = present[(present > classes) & (present != NOT_ANNOTATED)].tolist()
    if unknown:
        _refuse_image(name, labels)
        found = f"label{'s' * (len(unknown) > 1)} {', '.join(map(str, unknown[:_SHOWN]))}"
        sentence = f"{name} holds {found}, the classes end at {classes}"
        if NOT_ANNOTATED in present:
            sentence += ", and 255 means not annotated here"
        raise Question(sentence, "labels", _targets(unknown, classes) | _in_order(present, classes))
    answers = choices.get("labels", "").split(",")
    if present.tolist() == [0, NOT_ANNOTATED] and not any(answer.endswith(f":{NOT_ANNOTATED}") for answer in answers):
        options = {f"255:{label}": _meaning(label) for label in (*range(1, classes + 1), NOT_ANNOTATED)}
        sentence = f"{name} holds only 0 and 255, and 255 means not annotated here"
        raise Question(sentence, "labels", options)
    if len(present) == 1 and 0 < present[0] < NOT_ANNOTATED:
        ask(
            choices,
            "full",
            f"{name} holds label {present[0]} in every voxel",
            {"keep": "the structure fills the image"},
        )


def _targets(unknown: Sequence[int], classes: int, names: Sequence[str] = ()) -> dict[str, str]:
    """Return what labels that are no class can be taken for; several only all alike."""
    targets = [*range(1, classes + 1), 0, NOT_ANNOTATED] if len(unknown) == 1 else [NOT_ANNOTATED, 0]
    called = f"“{', '.join(names)}” is " if names else ""
    return {",".join(f"{label}:{target}" for label in unknown): called + _meaning(target) for target in targets}


def _in_order(present: np.ndarray, classes: int) -> dict[str, str]:
    """Return the classes in their order for two labels or more that are none: 0, 128 and 255 may stand for 0, 1, 2."""
    foreign = present[present > 0].tolist()
    if not 1 < len(foreign) <= classes or foreign[0] <= classes:
        return {}
    pairs = ",".join(f"{label}:{target}" for target, label in enumerate(foreign, 1))
    return {pairs: f"{', '.join(map(_meaning, range(1, len(foreign) + 1)))}, in this order"}


def _meaning(label: int) -> str:
    return {0: "background", NOT_ANNOTATED: "not annotated"}.get(label, f"class {label}")


def whole_numbers(source: Source, choices: Choices) -> np.ndarray:
    """Return what a source stores as whole numbers, in the file's own axis order."""
    stored, name = source.stored, source.name
    if stored.dtype.kind not in "iuf":
        raise ImportProblem(f"{name} holds colours or complex numbers, not labels: export it as whole numbers.")
    if stored.dtype.kind in "iu" and not source.scaled:
        return stored
    values = stored * np.float64(source.slope) + source.inter if source.scaled else stored
    # Whole labels that were squeezed into scaled integers lie within half a step of what they were.
    step = abs(source.slope) if stored.dtype.kind in "iu" and abs(source.slope) < 0.25 else 0.0
    with np.errstate(invalid="ignore"):
        whole = np.rint(values)
        wrong = ~(np.abs(values - whole) <= max(_WHOLE, 0.5001 * step))
    if not wrong.any():
        if np.abs(whole).max() > np.iinfo(np.int64).max // 2:
            raise ImportProblem(f"{name} holds {whole.max():.4g}, too large for a label: renumber it.")
        return whole.astype(np.int64)
    if np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1:
        sentence = f"{name} holds probabilities between 0 and 1, not labels"
        options = {"0.5": "what is at least 0.5 becomes label 1"}
        threshold = float(ask(choices, "threshold", sentence, options, _is_share))
        return (values >= threshold).astype(np.uint8)
    _refuse_image(name, values)
    raise ImportProblem(f"{name} holds {values[wrong][0]:.4g}, no whole number: save it as integers without scaling.")


def _refuse_image(name: str, values: np.ndarray) -> None:
    """Say that an image was given as a mask, rather than ask what each of its greys means.

    An atlas may have as many labels, but most of its voxels have that of the one beside them.
    """
    there, alike = values[..., 1:] != 0, values[..., 1:] == values[..., :-1]
    if (found := len(np.unique(values))) > _MANY and alike[there].mean() < 0.5:
        raise ImportProblem(f"{name} holds {found} different numbers, as an image does: give a mask of whole labels.")


def emptied(source: Source, values: np.ndarray) -> tuple[str, ...]:
    """Say so if probabilities are all too small for a label: the mask is empty, and "nothing here" is a word too."""
    high = 0.0 if values.any() else float(source.stored.max()) * source.slope + source.inter
    return (f"{source.name} is an empty mask: its highest probability is {high:.2g}.",) if high > 0 else ()


def _is_share(answer: str) -> bool:
    return bool(re.fullmatch(r"0?\.\d+|1(\.0*)?", answer)) and float(answer) > 0


def _mapped(values: np.ndarray, choices: Choices) -> np.ndarray:
    """Renumber as the answer “4:3,10:0” says; labels that it does not name stay."""
    text = choices.get("labels")
    if not text:
        return values
    if not re.fullmatch(r"-?\d+:\d+(,-?\d+:\d+)*", text):
        raise ImportProblem(f"labels={text} is no list of old:new numbers: write it like labels=4:3,10:0.")
    pairs = [tuple(map(int, pair.split(":"))) for pair in text.split(",")]
    if max(new for _, new in pairs) > NOT_ANNOTATED:
        raise ImportProblem(f"labels={text} goes above 255: labels go from 0 to 254, or 255 for not annotated.")
    renumbered = values.astype(np.int64)
    for old, new in pairs:
        renumbered[values == old] = new
    return renumbered
