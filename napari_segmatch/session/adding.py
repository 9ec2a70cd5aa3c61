"""Cases come and go in a session: added one after another, with questions about doubtful files asked once for all."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from psygnal import Signal

from ..errors import ImportProblem, Question, SegmatchError
from ..io import FoundCase, with_answers
from ..project.folder import LOST
from ..texts import count
from .cases import CaseSession

TELL_EVERY = 0.5
"""Seconds; a table of all cases that were drawn anew after each one would hold up the window."""


class AddingSession(CaseSession):
    """Imports cases. See :class:`napari_segmatch.session.Session`."""

    replaced = Signal(str)
    """A case that was in the project before has been added anew: its images may be others."""
    asked = Signal(object, list)
    """A Question, and the ids of the cases that wait for the answer; :meth:`answer` goes on with them."""
    settled = Signal(str)
    """What a message with these words spoke of is in order now."""

    def __init__(self) -> None:
        super().__init__()
        self._adding: list[FoundCase] = []
        self._found_again = 0
        self._told = -math.inf
        self._unanswered: list[tuple[Question, FoundCase, bool, bool]] = []

    def close_project(self, timeout: float = 30) -> None:
        """Forget the cases that are still to come, then close."""
        self._adding.clear()
        self._unanswered.clear()
        super().close_project(timeout)
        self._found_again = 0

    def add_cases(
        self,
        found: Iterable[FoundCase],
        labelled: Iterable[str] | None = None,
        validation: Iterable[str] = (),
    ) -> None:
        """Import cases one after another; a broken one is set aside with its sentence and the rest goes on.

        ``labelled`` are the ids whose masks are finished labels; None means every case that has a mask.
        ``validation`` are the ids that are held out: never trained on.
        """
        if self.refuses():
            return
        chosen = None if labelled is None else set(labelled)
        held_out = set(validation)
        for item in found:
            finished = item.mask is not None and (chosen is None or item.id in chosen)
            self._import(item, finished, item.id in held_out)

    def answer(self, topic: str, answer: str | None) -> None:
        """Add the cases that wait for an answer once more, now with it; None leaves them set aside."""
        waiting, self._unanswered = self._unanswered, []
        asked = next((question.trouble for question, *_ in waiting if question.topic == topic), None)
        for question, item, finished, validation in waiting:
            if question.trouble != asked:
                self._unanswered.append((question, item, finished, validation))
            elif answer is not None:
                choices = with_answers(item.choices, {topic: answer})
                self._import(replace(item, choices=choices), finished, validation)
            else:
                words = f"{question.sentence}. It was not added; add it again to say how it is to be read."
                self.message.emit(f"{item.id}: {words}", True)
        self._ask_next()

    @property
    def adding(self) -> int:
        """How many cases are still to be added."""
        return len(self._adding)

    def stop_adding(self) -> None:
        """Leave out the cases whose turn has not come; those that were added stay."""
        self._jobs.cancel("import")
        self._adding.clear()
        self._unanswered.clear()
        self.cases_changed.emit()

    def remove_case(self, case: str) -> None:
        """Take a case out of the project; its masks and decisions stay on disk, for :meth:`restore_case`."""
        words = f"{case} is out of the project; no file was touched. A right click among the cases brings it back."
        self._come_or_go(partial(self._open().remove_case, case), words)

    def restore_case(self, case: str) -> None:
        """Bring a case back as it was when it was removed."""
        self._come_or_go(partial(self._open().restore_case, case), f"{case} is back, with its masks and decisions.")

    def _come_or_go(self, change: Callable[[], object], words: str) -> None:
        def done(_: object) -> None:
            self._reload()
            self.message.emit(words, False)

        if not self.refuses():
            self._jobs.submit("save", change, done)

    def _import(self, item: FoundCase, finished: bool, validation: bool) -> None:
        def work() -> Exception | None:
            try:
                return self._add(item, finished, validation)
            except Exception as error:  # its turn is over all the same
                return error

        def then(problem: Exception | None) -> None:
            if item in self._adding:
                self._adding.remove(item)
            if isinstance(problem, Question):
                self._unanswered.append((problem, item, finished, validation))
            if problem is None or isinstance(problem, SegmatchError):
                self._added(item, problem)
            else:
                self._failed("import", problem)
            self._tell_found_again()
            self._ask_next()

        self._adding.append(item)
        self._jobs.submit("import", work, then)

    def _add(self, item: FoundCase, finished: bool, validation: bool) -> SegmatchError | None:
        project = self._open()
        lost = project.is_lost(item.id)
        try:
            project.add_case(
                item.id, item.images, item.mask, "all" if finished else "none",
                patient=item.patient and project.pseudonym(item.patient), validation=validation, choices=item.choices,
            )  # fmt: skip
            self._volumes.forget(item.id)
            self._found_again += lost and not project.is_lost(item.id)
        except SegmatchError as error:
            if isinstance(error, ImportProblem):
                project.set_aside(item.id, str(error))
            return error
        return None

    def _added(self, item: FoundCase, problem: SegmatchError | None) -> None:
        """Take up one case. Who shows them all is told from time to time, and at the end."""
        case, known = self._open().find_case(item.id), self.known(item.id)
        if case is not None:
            self._put(case)
        if known is not None and problem is None:
            self.replaced.emit(item.id)
        if not self._adding or time.monotonic() > self._told + TELL_EVERY:
            self._told = time.monotonic()
            self.cases_changed.emit()
        notes = self._open().reading(item.id).notes
        if isinstance(problem, Question):
            return  # it is asked, and holds no more with an answer
        if problem or notes:
            self.message.emit(f"{item.id}: {problem or ' '.join(notes)}", bool(problem))

    def _tell_found_again(self) -> None:
        """Say at the end of how many cases the images are there again, which had been moved."""
        if self._found_again and not self._adding:
            found, self._found_again = self._found_again, 0
            self.settled.emit(LOST)
            self.message.emit(f"The images of {count(found, 'case')} were found again at their new place.", False)

    def _ask_next(self) -> None:
        """Ask the first of the open questions, when all cases have had their turn."""
        if not self._adding and self._unanswered:
            question = self._unanswered[0][0]
            alike = [item.id for other, item, *_ in self._unanswered if other.trouble == question.trouble]
            self.asked.emit(question, alike)
