"""The errors a person can put right. Each carries the whole sentence they will read, and its exit status."""

import difflib
from collections.abc import Iterable
from typing import ClassVar


def did_you_mean(word: object, among: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the nearest, or nothing where none is near.

    >>> did_you_mean("seperate", ["separate", "prune"])
    " Did you mean 'separate'?"
    """
    near = difflib.get_close_matches(str(word), list(among), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""


def first_line(error: BaseException) -> str:
    """What an error says, in its first line; the name of its type where it says nothing."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


class CompressError(Exception):
    """It could not be done; the text says who, what, where, and what to do next."""

    exit_status: ClassVar[int] = 1


class UsageError(CompressError, ValueError):
    """The call was wrong: an unknown name, a value out of range, a recipe that cannot be read."""

    exit_status = 2


class VerificationError(CompressError):
    """A gate or a verification said no."""

    exit_status = 3


class UndecidedError(CompressError):
    """Too noisy, or too few samples, to say yes or no."""

    exit_status = 4


class ModelFileError(CompressError):
    """A model file is missing, broken, of an unknown kind, or unsafe to open."""


class DataError(CompressError):
    """Data is missing, broken, or does not fit the model."""


class DeviceError(CompressError):
    """A device is not there, or cannot do what was asked of it."""


class MissingExtraError(CompressError):
    """An optional part is not installed; the text holds the install line."""


class LiftError(CompressError):
    """A network cannot be made the trainable graph that passes take.

    Attributes:
        layer: fully qualified name of the module where it stopped, or "".
        operation: what stopped it, or "".
    """

    def __init__(self, text: str, *, layer: str = "", operation: str = "") -> None:
        super().__init__(text)
        self.layer = layer
        self.operation = operation


class TrainingError(CompressError):
    """Training diverged or was given something it cannot train."""
