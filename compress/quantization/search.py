"""The search for how few will do: the number is doubled until it does, then halved in between."""

from __future__ import annotations

from collections.abc import Callable


def fewest(most: int, does: Callable[[int], bool]) -> int | None:
    """The least number from 1 to `most` that does, if a larger one does whenever a smaller one does; else None.

    Each number is asked for once at most.
    """
    low, high = 0, 1
    while high <= most and not does(high):
        low, high = high, (min(2 * high, most) if high < most else most + 1)
    if high > most:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if does(middle) else (middle, high)
    return high
