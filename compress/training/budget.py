"""How many steps a training has: as given, as its epochs make, or as many as fit into some minutes."""

from __future__ import annotations

import time
from collections.abc import Callable

from models.errors import UsageError
from models.records import Training

from .feed import Feed

_TRIAL_SECONDS = 3.0


def budget(
    steps: int | None, minutes: float | None, training: Training, feed: Feed, trial: Callable[[], Callable[[], object]]
) -> int:
    """Steps to train: as given, or as many as fit the minutes, or as the epochs make.

    `trial` makes the step that is timed, where minutes are given.

    Raises:
        UsageError: both are given, or nothing is left to do.
    """
    if steps is not None and minutes is not None:
        raise UsageError(f"train: both steps={steps} and minutes={minutes:g} are given. Give one of them.")
    if minutes is not None:
        if minutes <= 0:
            raise UsageError(f"train: minutes={minutes:g}, and it must be more than 0.")
        return steps_within(60 * minutes, trial())
    if steps is None:
        steps = training.epochs * feed.batches_per_epoch()
    if steps <= 0:
        raise UsageError(f"train: {steps} steps, and at least 1 is needed.")
    return steps


def steps_within(seconds: float, one: Callable[[], object]) -> int:
    """How many calls fit into the seconds, from a trial that takes its share of them; the first call is not timed."""
    began = time.perf_counter()
    one()
    first = time.perf_counter()
    timed = 0
    while timed < 3 or time.perf_counter() - first < min(_TRIAL_SECONDS, 0.05 * seconds):
        one()
        timed += 1
    now = time.perf_counter()
    return max(1, int(0.97 * (seconds - (now - began)) * timed / (now - first)))
