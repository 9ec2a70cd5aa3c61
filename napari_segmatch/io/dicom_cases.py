"""Cases from a folder of DICOM: which series is which sequence of which study, and what was left out and why."""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..errors import ImportProblem
from ..texts import some
from .dicom_files import NO_DICOM, Scan, Stack, scan_dicom, stacks_of_file
from .dicom_headers import names_patient
from .patterns import Found, FoundCase

_CONTRAST = {"post", "ce", "gd", "c"}
"""What a sequence's name ends in when it is T1 after contrast: t1ce, t1gd, t1c, post."""
_NO_CONTRAST = {"pre", "native", "nativ"}
"""What it ends in when it is T1 before contrast, where that is said at all."""
_AGENT = r"(contrast|kontrast[a-z]*|gad[a-z]*|gd|km|cm|ce)"
_ENHANCED = re.compile(rf"(?<![a-z])(post[ _-]?{_AGENT}?|{_AGENT}|c\+|t1w?(c|ce|gd))(?![a-z])|\+ ?c(?![a-z])")
_NATIVE = re.compile(
    rf"(?<![a-z])(pre[ _-]?{_AGENT}?|nativ[a-z]*|(non|no|without|wo|w/o|ohne)[ _-]*({_AGENT}|c))(?![a-z])"
)
"""Words in a series' description that say whether there was contrast."""
_OTHER = re.compile(r"phase.?contrast|(?<![a-z])(mra|angio|dsc|dce|perf|swi|dwi|diff|ktrans)")
"""Words for series that are no T1 although there was contrast."""
_UNNAMED = "study"
_DARK_FLUID = re.compile(r"dark.?fluid|(?<![a-z])da.?fl(?![a-z])")
"""What scanners call FLAIR in other words: t2_tirm_tra_dark-fluid, t2_spc_da-fl_sag."""


def find_dicom(
    root: Path,
    sequences: Sequence[str],
    series: Mapping[str, str] | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> Found:
    """Sort the MR volumes under a folder into cases, one a study.

    Parameters
    ----------
    sequences
        The project's. A series belongs to the one whose name is in its description, to FLAIR rather than T2 and to T1
        after contrast rather than T1; in a project of one sequence a study's only volume does.
    series
        Sequence to the description of its series, with ``*`` for anything.
    progress
        Is told how many files have been looked at.
    """
    scan = scan_dicom(root, progress)
    lines = scan.left_out
    usable = [stack for stack in scan.stacks if stack.modality == "MR"]
    lines += [f"Left out: {stack.title} (not MR)." for stack in scan.stacks if stack.modality != "MR"]
    studies: dict[tuple[str, str], list[Stack]] = {}
    for stack in usable:
        studies.setdefault((stack.patient, stack.study), []).append(stack)
    if not studies:
        told = " ".join(line for line in lines if NO_DICOM not in line)  # that of other files says nothing here
        found = f" ({told.rstrip('.')})" if told else ""
        raise ImportProblem(
            f"{root.name} holds no DICOM MR volume{found}: of other files say where they lie, as "
            '--image "flair={case}/flair.nii.gz".'
        )
    ids = _ids(root, list(studies.values()))
    lines += _about_names(ids)
    cases = []
    for id, stacks in sorted(zip(ids, studies.values(), strict=True), key=lambda pair: pair[0]):
        chosen, said = _sequences(stacks, sequences, series or {})
        lines += [f"{id}: {line}" for line in said]
        if chosen:
            images = {name: stack.path for name, stack in chosen.items()}
            mask, doubt = _mask(scan, list(chosen.values()))
            lines += [f"{id}: {line}" for line in doubt]
            cases.append(FoundCase(id, images, mask, _numbers(stacks, chosen), stacks[0].patient or None))
    if not cases:
        raise ImportProblem(" ".join(["No series could be told to be one of the project's sequences.", *lines]))
    return Found(tuple(cases), tuple(dict.fromkeys(lines)))  # localizers are all called alike


def _ids(root: Path, studies: Sequence[Sequence[Stack]]) -> list[str]:
    """Name each study after its folder in ``root`` if that is one patient's alone; never after the patient.

    What the folder does not tell, digits of a hash of the study's UID do: numbers would be others with each study
    that comes later, and the same images would be added once more.
    """
    places = [{stack.path.relative_to(root).parts[0] for stack in stacks} for stacks in studies]
    ids: list[str] = []
    for place, stacks in zip(places, studies, strict=True):
        folder, first = next(iter(place)), stacks[0]
        beside = [other[0].patient for there, other in zip(places, studies, strict=True) if place & there]
        own = len(place) == 1 and {*beside} == {first.patient} and (root / folder).is_dir()
        name = re.sub(r"[^\w.-]+", "-", folder).strip("-. ") if own and not names_patient(folder, first.path) else ""
        if not name or len(beside) > 1 or name in ids:
            name = f"{name or _UNNAMED}-{hashlib.sha256(first.study.encode()).hexdigest()[:8]}"
        ids.append(name)
    return ids


def _about_names(ids: Sequence[str]) -> list[str]:
    """Say why cases are called by digits alone, if some are."""
    unnamed = [id for id in ids if re.fullmatch(rf"{_UNNAMED}-[0-9a-f]{{8}}", id)]
    if not unnamed:
        return []
    return [
        f"Called by digits that stay the same: {some(unnamed)}. Their folders are called like the patient, or hold "
        "several patients: a folder with a pseudonym for each gives its name."
    ]


def _sequences(
    stacks: Sequence[Stack], sequences: Sequence[str], series: Mapping[str, str]
) -> tuple[dict[str, Stack], list[str]]:
    """Return the volume of each sequence, and what is to be said. A series is of one sequence at most."""
    chosen: dict[str, Stack] = {}
    said = []
    could = {id(stack): _candidates(stack, sequences, series) for stack in stacks}
    if len(sequences) == len(stacks) == 1 and sequences[0] not in series:
        could[id(stacks[0])] = list(sequences)
    for name in sequences:
        fitting = [stack for stack in stacks if could[id(stack)] == [name]]
        if len(fitting) > 1:
            found = "; ".join(stack.title for stack in fitting)
            said.append(f"{len(fitting)} series could be {name} ({found}): {_how_to_say(name)}.")
        elif fitting:
            chosen[name] = fitting[0]
            said.append(f"{name} is {fitting[0].title}.")
    for stack in stacks:
        if not could[id(stack)]:
            said.append(f"left out {stack.title}: fits no sequence of the project.")
        elif len(could[id(stack)]) > 1:
            names = " or ".join(could[id(stack)])
            said.append(f"left out {stack.title}: could be {names}; {_how_to_say('NAME')}.")
    return chosen, said


def _how_to_say(name: str) -> str:
    return f'say which with --series "{name}=DESCRIPTION", in the window with the description in the field {name}'


def _numbers(stacks: Sequence[Stack], chosen: Mapping[str, Stack]) -> dict[str, str]:
    """Answer which of the volumes of a file with several frames each sequence is, as reading it will ask."""
    framed = {item.path for stack in stacks for item in stack.slices if item.frame}
    numbers = {}
    for name, stack in chosen.items():
        there = stacks_of_file(stack.path) if stack.path in framed else []
        if len(there) > 1:
            first = stack.slices[0]
            own = [any((item.path, item.frame) == (first.path, first.frame) for item in each.slices) for each in there]
            numbers[f"stack:{name}"] = str(own.index(True) + 1)
    return numbers


def _candidates(stack: Stack, sequences: Sequence[str], series: Mapping[str, str]) -> list[str]:
    """Return which sequences a series could be; what ``--series`` says goes before names in its description."""
    texts = [text.lower() for text in (stack.description, stack.label)]
    given = [name for name in sequences if name in series]
    if said := [name for name in given if any(fnmatch.fnmatchcase(text, series[name].lower()) for text in texts)]:
        return said
    fitting = [name for name in sequences if name not in given and _fits(name, texts[0])]
    return [name for name in fitting if not any(_is_special(other, name) for other in fitting)]


def _fits(name: str, description: str) -> bool:
    """Whether a description has a sequence's name in it; T1 after contrast and FLAIR are described in many words."""
    description = _DARK_FLUID.sub(" flair ", description)
    if _plain(name) == "t2" and _has(description, "flair"):
        return False
    before, after = means_native(name), means_contrast(name)
    if not before and not after:
        return _has(description, name)
    other = _has(description, "t2") or _has(description, "flair") or _OTHER.search(description)
    native = _NATIVE.search(description)
    said = native if before else _ENHANCED.search(description) and not native
    return bool(said) and (_has(description, "t1") or not other)


def means_contrast(name: str) -> bool:
    """Whether a sequence's name means T1 after contrast: t1ce, t1gd, t1c, post."""
    return _beside_t1(name) in _CONTRAST


def means_native(name: str) -> bool:
    """Whether a sequence's name means T1 before contrast, and says so: pre, native, t1pre."""
    return _beside_t1(name) in _NO_CONTRAST


def _beside_t1(name: str) -> str:
    return _plain(name).removeprefix("t1").removeprefix("w")


def _is_special(name: str, other: str) -> bool:
    """Whether a sequence is a special form of another one, which a series that could be both is not."""
    one, two = _plain(name), _plain(other)
    return one != two and (
        two in one or (two == "t2" and "flair" in one) or (two == "t1" and (means_contrast(name) or means_native(name)))
    )


def _has(text: str, name: str) -> bool:
    """Whether a name stands in a text, written together or not; T10 and “PST 1 mm” are no t1."""
    wanted = _plain(name)
    end = r"(?!\d)" if wanted[-1:].isdigit() else ""
    return bool(wanted) and re.search(re.escape(wanted) + end, _plain(text)) is not None


def _plain(text: str) -> str:
    """Return a text in small letters without what separates its words, but before a number; t1w is t1."""
    joined = re.sub(r"[\W_]+(\d?)", lambda found: f" {found[1]}" if found[1] else "", text.lower())
    return re.sub(r"(?<=\d)w$", "", joined.strip())


def _mask(scan: Scan, chosen: Sequence[Stack]) -> tuple[Path | None, list[str]]:
    """Return the one segmentation that refers to these series, and what is to be said if there are more."""
    series = {stack.series for stack in chosen}
    found = [path for path, _, referenced in scan.segmentations if referenced in series]
    if len(found) < 2:
        return next(iter(found), None), []
    names = ", ".join(path.name for path in found)
    return None, [f"{len(found)} segmentations refer to its series ({names}), so none is taken: leave only one there."]
