"""What a file of any format holds before it becomes a volume or a mask, and what all formats share."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..errors import ImportProblem, Question
from ..types import Geometry
from .orientation import source_geometry

Choices = Mapping[str, str]
"""Topic to answer: how a person wants a file read that can be read in more than one way."""

TOPICS = ("stack", "slice", "gap", "frame", "colour", "complex", "orientation", "shear", "grid", "sequences", "twin",
          "labels", "negative", "threshold", "full", "export")  # fmt: skip
"""All that files are asked about; “frame:t2” is that of one sequence."""

FilePath = str | os.PathLike[str]
_Read = TypeVar("_Read")


@dataclass(frozen=True, eq=False)
class Source:
    """A file's content in the file's own axis order.

    Attributes
    ----------
    stored
        (i, j, k) or (i, j, k, frames): numbers as stored, complex numbers, or colours with named fields.
    affine
        (4, 4); maps an (i, j, k, 1) index to (right, anterior, superior, 1) in mm.
    known
        Whether the file states its orientation.
    slope, inter
        A stored number times ``slope`` plus ``inter`` is its value.
    notes
        Sentences about what a person should know of the file.
    names
        Label to name, where a mask's file has them.
    cropped
        Whether the format leaves out empty parts, so that a mask may be smaller than its image.
    """

    name: str
    stored: np.ndarray
    affine: np.ndarray
    known: bool = True
    slope: float = 1.0
    inter: float = 0.0
    notes: tuple[str, ...] = ()
    names: Mapping[int, str] | None = None
    cropped: bool = False

    @property
    def geometry(self) -> Geometry:
        """The geometry in our axis order; raises ImportProblem if it cannot be that of a volume."""
        return source_geometry((*self.stored.shape, 1, 1)[:3], self.affine, self.known, self.name)

    @property
    def scaled(self) -> bool:
        return (self.slope, self.inter) != (1, 0)

    def permuted(self, array: np.ndarray) -> np.ndarray:
        """Bring an array in the file's axis order, perhaps with axes of length 1 behind, to contiguous (z, y, x)."""
        return np.ascontiguousarray(array.reshape((*array.shape, 1, 1)[:3]).transpose(self.geometry.axes))


def ask(
    choices: Choices,
    topic: str,
    sentence: str,
    options: dict[str, str],
    valid: Callable[[str], bool] | None = None,
) -> str:
    """Return the answer to a question, or raise it if nobody has answered.

    Parameters
    ----------
    options
        Answer to what it means, the most careful one first.
    valid
        Whether an answer that is not among the options can be taken too.
    """
    answer = choices.get(topic)
    if answer is None or not (answer in options or (valid is not None and valid(answer))):
        raise Question(sentence, topic, options)
    return answer


def with_answers(choices: Choices, answers: Choices) -> dict[str, str]:
    """Return choices with more answers to them.

    Renumberings of labels add up, so that an answer about a stray label leaves alone what a data set says of the
    others. Of two about one label, and of all else, the later one counts.
    """
    merged = {**choices, **answers}
    if "labels" in choices and "labels" in answers and choices["labels"] != answers["labels"]:
        merged["labels"] = f"{choices['labels']},{answers['labels']}"
    return merged


def of_sequence(choices: Choices, name: str) -> dict[str, str]:
    """Return the choices for one sequence: “frame:t2” says of t2 what “frame” says of all."""
    own = {topic.removesuffix(f":{name}"): answer for topic, answer in choices.items() if topic.endswith(f":{name}")}
    return {topic: answer for topic, answer in choices.items() if ":" not in topic} | own


def guarded(read: Callable[[Path], _Read], path: Path) -> _Read:
    """Call ``read(path)`` so that a bad file raises nothing but an ImportProblem."""
    try:
        return read(path)
    except ImportProblem:
        raise
    except MemoryError as error:
        raise ImportProblem(f"{path.name} does not fit into memory: crop it.") from error
    except OSError as error:
        cause = error.strerror or "the disk did not answer"
        raise ImportProblem(f"{path.name} cannot be opened ({cause}): check its permissions.") from error
    except Exception as error:  # a broken header can fail anywhere in a library, with any type
        cause = (str(error).splitlines() or [type(error).__name__])[0].strip(" .")
        raise ImportProblem(
            f"{path.name} has a broken header ({cause or type(error).__name__}): export it again."
        ) from error


def check_size(shape: Sequence[int], itemsize: int, name: str) -> None:
    """Refuse what is no volume or cannot fit into memory, before any of it is read."""
    size = " × ".join(map(str, shape))
    if len(shape) < 2 or min(shape) < 1:
        raise ImportProblem(f"{name} has a size of {size or 'nothing'}: give a volume of three dimensions.")
    if math.prod(shape) * max(4, itemsize) > memory() // 4:
        raise ImportProblem(f"{name} declares {size} voxels, too many for this computer's memory: crop it.")


def memory() -> int:
    """Bytes of memory in this computer; 8 GiB where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return 8 * 2**30


def one_frame(source: Source, choices: Choices) -> Source:
    """Return the source with just one of its frames or channels."""
    shape = source.stored.shape
    frames = math.prod(shape[3:])
    if len(shape) <= 3:
        return source
    stored = source.stored.reshape((*shape[:3], frames), order="F")
    index = 0
    if frames > 1:
        size = " × ".join(map(str, shape))
        options = {str(frame): f"frame {frame + 1} of {frames}" for frame in range(frames)}
        sentence = f"{source.name} holds {frames} frames or channels ({size}), and one volume is wanted"
        index = int(ask(choices, "frame", sentence, options))
    return replace(source, stored=stored[..., index])


def grey_values(source: Source, choices: Choices) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return finite float32 values in the file's axis order, and what had to be said of them."""
    stored = source.stored
    if stored.dtype.names:
        ask(choices, "colour", f"{source.name} holds colours, not grey values", {"luminance": "read their brightness"})
        red, green, blue = (stored[field].astype(np.float32) for field in stored.dtype.names[:3])
        stored = 0.299 * red + 0.587 * green + 0.114 * blue
    elif stored.dtype.kind == "c":
        ask(choices, "complex", f"{source.name} holds complex numbers", {"magnitude": "read their magnitude"})
        stored = np.abs(stored)
    with np.errstate(over="ignore", invalid="ignore"):
        values = stored * np.float64(source.slope) + source.inter if source.scaled else stored
        values = values.astype(np.float32)
    wrong = ~np.isfinite(values)
    bad = int(np.count_nonzero(wrong))
    if not bad:
        return values, source.notes
    values[wrong] = 0
    return values, (*source.notes, f"{source.name} holds {bad} voxels that are no finite number; they are read as 0.")
