"""A part of a session: whoever asks for it gets the model's masks of one case, beside the window."""

from __future__ import annotations

import time
from concurrent.futures import wait
from dataclasses import dataclass

from psygnal import Signal

from ..batch import segment_case
from ..errors import ProjectError
from ..runner import give_way
from .training import TrainingSession


@dataclass(eq=False)
class Wish:
    """That a case be segmented, and which share of its slices is."""

    share: float = 0.0
    _first: tuple[float, float] | None = None

    def hear(self, share: float) -> None:
        self._first = self._first or (time.monotonic(), share)
        self.share = share

    @property
    def seconds_left(self) -> float | None:
        """How long it will take from now on, None as long as nobody can say."""
        began, share = self._first or (0.0, 1.0)
        return (time.monotonic() - began) * (1 - self.share) / (self.share - share) if self.share > share else None


class SegmentingSession(TrainingSession):
    """Has cases segmented, one after another. See :class:`napari_segmatch.session.Session`."""

    segmented = Signal(str)
    """The masks that :meth:`segment` was asked for are in ``proposals``: the case."""

    def __init__(self) -> None:
        super().__init__()
        self.segmenting: dict[str, Wish] = {}
        """Cases that the model segments just now, or will when it is their turn, each with its wish."""
        self.replaced.connect(self.stop_segmenting)  # the masks would be those of the images before

    def close_project(self, timeout: float = 30) -> None:
        """Have no case segmented any more, then close."""
        self.segmenting.clear()
        super().close_project(timeout)

    def segment(self, case: str) -> None:
        """Have the model of the run on the screen propose a mask for each open slice of a case."""
        project, run, saved = self._open(), self.run, self._last_save.get(case)
        self._check_may_train()
        if run is None:
            raise ProjectError("Nothing is trained yet that could segment this case: start the training first.")
        if self.run_state == "failed" and not run.has_checkpoint:
            raise ProjectError(
                f"Run {run.id} failed before it had learnt anything: start a new one, or choose another one in Train."
            )
        if case in self.segmenting:
            return
        wish = self.segmenting[case] = Wish()  # stopped and asked for once more, it is another wish

        def wanted() -> bool:
            return self.segmenting.get(case) is wish

        def job() -> str:
            give_way()
            if saved is not None:
                wait([saved])
            return segment_case(project, case, run.id, self.volume, wanted, wish.hear) if wanted() else ""

        def done(words: str) -> None:
            if wanted():
                del self.segmenting[case]
                self._refresh([case], lambda: arrived(words))

        def arrived(words: str) -> None:
            self.message.emit(f"{case}: {words}", False)
            self.segmented.emit(case)

        def failed(error: BaseException) -> None:
            if wanted():
                del self.segmenting[case]
                self._failed("segment", error)

        self._jobs.submit("segment", job, done, failed)

    def stop_segmenting(self, case: str) -> None:
        """Leave a case out whose turn has not come; if it is under way, nothing of it is kept."""
        self.segmenting.pop(case, None)

    def remove_case(self, case: str) -> None:
        """Take a case out of the project; nobody waits for masks of it then."""
        self.stop_segmenting(case)
        super().remove_case(case)
