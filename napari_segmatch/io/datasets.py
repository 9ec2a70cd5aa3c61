"""Cases from folders that other programs lay out: nnU-Net and Medical Decathlon, BIDS, MONAI Label, or DICOM."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import ImportProblem
from ..texts import count
from ..types import NOT_ANNOTATED
from .dicom_cases import find_dicom, means_contrast, means_native
from .labels import IGNORE
from .patterns import Found, FoundCase, bad_name
from .tables import label_names

_DEEPEST = 4
"""Folders from a mask up to the top of its BIDS derivative, with sessions."""


def find_dataset(
    root: Path,
    sequences: Sequence[str],
    classes: Sequence[str],
    series: Mapping[str, str] | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> Found:
    """Find the cases of a folder by what stands in it.

    Parameters
    ----------
    sequences, classes
        The project's; files and labels are matched to them by name, else by order.
    series
        Of DICOM: sequence to the description of its series.

    Raises
    ------
    ImportProblem
        If the folder is of no kind that is known.
    """
    if not root.is_dir():
        raise ImportProblem(f"{root.name or root} is not a folder: check its name.")
    return _with_good_names(root, _find(root, sequences, classes, series, progress))


def _find(
    root: Path,
    sequences: Sequence[str],
    classes: Sequence[str],
    series: Mapping[str, str] | None,
    progress: Callable[[int], None],
) -> Found:
    if (root / "dataset.json").is_file():
        return _nnunet(root, sequences, classes)
    if (root / "datastore_v2.json").is_file():
        return _monai_label(root, sequences, classes)
    if (root / "dataset_description.json").is_file():
        return _bids(root, sequences, classes)
    return find_dicom(root, sequences, series, progress)


def _with_good_names(root: Path, found: Found) -> Found:
    """Leave out files whose names are no text: a project could not write them down."""
    cases, lines = [], [line.encode(errors="replace").decode() for line in found.lines]
    for case in found.cases:
        files = [*case.images.values(), *([case.mask] if case.mask else [])]
        bad = {path: trouble for path in files if (trouble := bad_name(os.path.relpath(path, root)))}
        lines += [f"Left out: {trouble}" for trouble in bad.values()]
        images = {name: path for name, path in case.images.items() if path not in bad}
        if images:
            cases.append(replace(case, images=images, mask=None if case.mask in bad else case.mask))
    if not cases:
        raise ImportProblem(" ".join(lines))
    return Found(tuple(cases), tuple(lines))


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8-sig"))
    except (ValueError, OSError) as error:
        raise ImportProblem(f"{path.name} is no readable JSON: export the data set again.") from error
    if not isinstance(found, dict):
        raise ImportProblem(f"{path.name} holds no description of a data set: export it again.")
    return found


# nnU-Net


def _nnunet(root: Path, sequences: Sequence[str], classes: Sequence[str]) -> Found:
    """Read nnU-Net's raw layout and the Medical Decathlon's, which it grew from: there a file holds all channels."""
    about = _json(root / "dataset.json")
    channels = about.get("channel_names") or about.get("modality") or {"0": "0"}
    labels = label_names(root / "dataset.json") if about.get("labels") else {}
    ending = str(about.get("file_ending") or ".nii.gz")
    names = _matched({str(number): str(name) for number, name in channels.items()}, sequences)
    renumbering = _renumbering(labels, classes)
    cases: dict[str, dict[str, Path]] = {}
    frames: dict[str, dict[str, str]] = {}
    kind = "An nnU-Net"
    folders = [root / "imagesTr", root / "imagesTs"]
    for path in sorted(path for folder in folders if folder.is_dir() for path in folder.iterdir()):
        if path.name.startswith(".") or not path.name.endswith(ending):
            continue
        stem = path.name.removesuffix(ending)
        match = re.fullmatch(r"(.+)_(\d{4})", stem)
        if "channel_names" not in about:
            match = match if match and _is_channel(root, path, str(int(match[2])) in channels) else None
            kind = kind if match else "A Medical Decathlon"
        case, held = (match[1], {str(int(match[2]))}) if match else (stem, set(channels))
        cases.setdefault(case, {}).update({name: path for channel, name in names.items() if channel in held})
        if len(held) > 1:
            frames[case] = {f"frame:{name}": channel for channel, name in names.items()}
    found = []
    for case, images in sorted(cases.items()):
        mask = root / "labelsTr" / f"{case}{ending}"
        if images:
            choices = renumbering | frames.get(case, {})
            found.append(FoundCase(case, images, mask if mask.is_file() else None, choices))
    if not found:
        raise ImportProblem(f"{root.name} has a dataset.json but no images in imagesTr: check the folder.")
    used = ", ".join(f"{name} is channel {number} ({channels[number]})" for number, name in names.items())
    lines = [f"{kind} data set of {count(len(found), 'case')}; {used}."]
    if strange := [f"{number} ({name})" for number, name in _strange(labels, classes).items()]:
        known = {name.casefold() for name in classes} & {name.casefold() for name in labels.values()}
        way = "are asked about where they occur" if known else "are taken by their numbers"
        lines.append(f"Labels that are called like no class here {way}: {', '.join(strange)}.")
    return Found(tuple(found), tuple(lines))


def _matched(channels: Mapping[str, str], sequences: Sequence[str]) -> dict[str, str]:
    """Return channel to sequence: by name, or in order if no name fits and there are as many."""
    plain = {name.casefold(): name for name in sequences}
    by_name = {number: plain[text.casefold()] for number, text in channels.items() if text.casefold() in plain}
    if by_name:
        return by_name
    if len(channels) != len(sequences):
        raise ImportProblem(
            f"The data set has the channels {', '.join(channels.values())}, the project the sequences "
            f"{', '.join(sequences)}: name the project's sequences after those that are wanted."
        )
    return dict(zip(channels, sequences, strict=True))


def _is_channel(root: Path, path: Path, known: bool) -> bool:
    """Whether a file's number is that of a channel, as in nnU-Net's first version, and not the case's own."""
    return known and not (root / "labelsTr" / path.name).is_file()


def _renumbering(labels: Mapping[int, str], classes: Sequence[str]) -> dict[str, str]:
    """Return the answer to the question about labels that names give, and all names if some are no class."""
    plain = {name.casefold(): label for label, name in enumerate(classes, 1)}
    pairs = {}
    for number, name in labels.items():
        if name.casefold() == IGNORE:
            pairs[number] = NOT_ANNOTATED
        elif number and name.casefold() in plain:
            pairs[number] = plain[name.casefold()]
    changed = ",".join(f"{old}:{new}" for old, new in pairs.items() if old != new)
    choices = {"labels": changed} if changed else {}
    return choices | ({"names": json.dumps(dict(labels))} if _strange(labels, classes) else {})


def _strange(labels: Mapping[int, str], classes: Sequence[str]) -> dict[int, str]:
    """Return those of a data set's labels that are called like no class."""
    known = {name.casefold() for name in (*classes, IGNORE)}
    return {number: name for number, name in labels.items() if number and name.casefold() not in known}


# MONAI Label


def _monai_label(root: Path, sequences: Sequence[str], classes: Sequence[str]) -> Found:
    """Read a MONAI Label data store: final labels before original ones."""
    found = []
    for id, item in sorted((_json(root / "datastore_v2.json").get("objects") or {}).items()):
        image = root / f"{id}{(item.get('image') or {}).get('ext', '')}"
        if not _inside(root, image):
            continue
        mask, names = next(iter(_monai_masks(root, id, item).items()), (None, {}))
        found.append(FoundCase(id, {sequences[0]: image}, mask, _renumbering(names, classes)))
    if not found:
        raise ImportProblem(f"{root.name} is a MONAI Label data store without images: check the folder.")
    return Found(
        tuple(found), (f"A MONAI Label data store of {count(len(found), 'case')}; images are taken as {sequences[0]}.",)
    )


def _monai_masks(root: Path, id: str, item: Mapping[str, Any]) -> dict[Path, dict[int, str]]:
    """Return the masks of an image of a data store, the final one first, each with the names of its labels."""
    labels = item.get("labels") or {}
    masks = {
        root / "labels" / tag / f"{id}{labels[tag].get('ext', '.nii.gz')}": _label_info(labels[tag])
        for tag in ("final", "original")
        if tag in labels
    }
    return {path: names for path, names in masks.items() if _inside(root, path)}


def _noted_by_monai(mask: Path) -> dict[int, str]:
    """Return label to name of a mask that lies in a data store; nothing elsewhere."""
    root = mask.parent.parent.parent
    objects = (_json(root / "datastore_v2.json").get("objects") or {}) if (root / "datastore_v2.json").is_file() else {}
    stores = [_monai_masks(root, id, item) for id, item in objects.items() if mask.name.startswith(id)]
    return next((masks[mask] for masks in stores if mask in masks), {})


def _label_info(label: Mapping[str, Any]) -> dict[int, str]:
    """Return label to name as 3D Slicer's plug-in notes them; nothing where its numbers may not be those of the mask.

    It counts segments that it leaves out of the mask as well.
    """
    with suppress(AttributeError, KeyError, TypeError, ValueError):
        names = {int(each["idx"]): str(each["name"]) for each in label["info"]["label_info"]}
        return names if sorted(names) == [*range(1, len(names) + 1)] else {}
    return {}


def _inside(root: Path, path: Path) -> bool:
    """Whether a file that a table names exists in the table's own folder."""
    return path.is_file() and root.resolve() in path.resolve().parents


# BIDS


def _bids(root: Path, sequences: Sequence[str], classes: Sequence[str]) -> Found:
    """Read BIDS: images from sub-*/[ses-*/]anat, masks from derivatives."""
    images: dict[str, dict[str, list[Path]]] = {}
    for path in sorted(root.glob("sub-*/**/anat/*.nii*")):
        parts = _entities(path)
        name = next((name for name in sequences if _is_bids(name, parts)), None)
        if name:
            images.setdefault(_session(parts), {}).setdefault(name, []).append(path)
    masks: dict[str, list[Path]] = {}
    for path in sorted(root.glob("derivatives/**/anat/*.nii*")):
        parts = _entities(path)
        if parts["suffix"] in ("dseg", "mask"):
            masks.setdefault(_session(parts), []).append(path)
    found, lines = [], []
    for session, names in sorted(images.items()):
        for name, paths in names.items():
            if len(paths) > 1:
                lines.append(f"{session}: {len(paths)} files could be {name}; {paths[0].name} is taken.")
        mask = next(iter(masks.get(session, ())), None)
        if len(masks.get(session, ())) > 1 and mask is not None:
            lines.append(f"{session}: {len(masks[session])} masks; {mask.name} is taken.")
        choices = _renumbering(_table_beside(mask), classes) if mask is not None else {}
        patient = session.split("_")[0]
        found.append(FoundCase(session, {name: paths[0] for name, paths in names.items()}, mask, choices, patient))
    if not found:
        sentence = f"{root.name} is a BIDS data set without any image of {', '.join(sequences)}"
        if any(_entities(path)["suffix"] in ("dseg", "mask") for path in root.glob("sub-*/**/anat/*.nii*")):
            sentence += (
                ", but with masks: put it into derivatives/ of the data set that has the images, and add that, or name "
                "both by patterns"
            )
        raise ImportProblem(f"{sentence}.")
    return Found(tuple(found), (f"A BIDS data set of {count(len(found), 'session')}.", *lines))


def _entities(path: Path) -> dict[str, str]:
    words = path.name.split(".")[0].split("_")
    return {**dict(word.split("-", 1) for word in words if "-" in word), "suffix": words[-1]}


def _session(parts: Mapping[str, str]) -> str:
    return "_".join(f"{key}-{parts[key]}" for key in ("sub", "ses") if key in parts)


def _is_bids(name: str, parts: Mapping[str, str]) -> bool:
    """Whether a sequence's name means a file's suffix: t1 and pre are T1w, t1ce and post are T1w with contrast."""
    wanted, suffix = name.lower().removesuffix("w"), parts["suffix"].lower().removesuffix("w")
    enhanced = means_contrast(name)
    return ("t1" if enhanced or means_native(name) else wanted) == suffix and enhanced == ("ce" in parts)


def _table_beside(mask: Path) -> dict[int, str]:
    """Return label to name from a mask's own table, or from one for all that lies above it, up to the derivative."""
    stem, desc = mask.name.split(".")[0], _entities(mask).get("desc")
    names = (f"{stem}.tsv", f"desc-{desc}_dseg.tsv", "dseg.tsv")
    tables = (folder / name for folder in mask.parents[:_DEEPEST] for name in names)
    table = next((path for path in tables if path.is_file()), None)
    return label_names(table) if table else {}


def labels_beside(mask: Path, classes: Sequence[str]) -> dict[str, str]:
    """Return what the data set in which a mask lies answers about its labels; nothing elsewhere."""
    mask = mask.absolute()
    with suppress(ImportProblem, AttributeError, TypeError):  # whoever finds cases by it says what is wrong with it
        names = _table_beside(mask) or _noted_by_monai(mask) or label_names(mask.parent.parent / "dataset.json")
        return _renumbering(names, classes)
    return {}
