"""Errors a person may read. Each message is one sentence: what came, what is allowed, what to do."""


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
