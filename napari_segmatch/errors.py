"""Errors a person may read. Each message is one sentence: what came, what is allowed, what to do."""

REFUSED, FAILED = 2, 3
"""Exit codes: the last words of the command say why it could not do what was asked, or the run's last event does."""


class SegmatchError(Exception):
    """Anything that is wrong with the input rather than with the program."""


class ImportProblem(SegmatchError, ValueError):
    """A file cannot be read as the image or mask it was given as."""


class ProjectError(SegmatchError):
    """A project folder, case, proposal or run is missing, broken, in use or asked for something it cannot do."""


class ConfigError(SegmatchError, ValueError):
    """A setting has a value that is not allowed."""


class TrainingProblem(SegmatchError, RuntimeError):
    """Training cannot start or go on."""


class DiskProblem(ProjectError):
    """The disk refused to write: it is full, read-only or failing. What was there before is untouched."""


class Conflict(ProjectError):
    """Somebody else has changed the same slices meanwhile; both versions are on disk.

    Attributes
    ----------
    version
        The mask version that keeps the slices that were to be saved, beside the case's current mask.
    """

    def __init__(self, message: str, version: int) -> None:
        super().__init__(message)
        self.version = version


class Question(ImportProblem):
    """A file can be read in more than one way, and a person has to say which.

    Attributes
    ----------
    topic
        What is asked: the same word for every file with the same trouble.
    options
        Answer to what it means, the most careful answer first.
    sentence
        What the trouble is, without the answers.
    """

    def __init__(self, sentence: str, topic: str, options: dict[str, str]) -> None:
        self.topic, self.options, self.sentence = topic, options, sentence
        ways = [f"{topic}={answer} ({meaning})" for answer, meaning in options.items()]
        shown = " or ".join(ways) if len(ways) < 5 else f"{ways[0]} to {ways[-1]}"
        super().__init__(f"{sentence}: choose {shown}.")

    @property
    def trouble(self) -> tuple[str, ...]:
        """What is asked and what an answer means: where both are the same, one answer serves many files."""
        return self.topic, *(f"{answer}: {meaning}" for answer, meaning in self.options.items())

    def __reduce__(self) -> tuple[type, tuple[str, str, dict[str, str]]]:
        """Go from process to process whole."""
        return Question, (self.sentence, self.topic, self.options)
