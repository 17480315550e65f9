"""How the values of one tensor are spread: counts in a fixed number of bins, whatever their number and their range.

A bin is a power of two wide. Where a value lies beyond the last one, all bins are made twice as wide, as often as it
takes: two neighbours become one. Both are exact, so the counts do not depend on the order in which values came, nor on
how they were cut into arrays; they are those that all values together would give.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

BINS = 2048  # on each side of zero; between half of them and all are in use
_BITS = BINS.bit_length() - 1
_LEAST = -126  # no bin is narrower than two to this: its inverse must be a number of float32
_BLOCK = 65536  # values that are looked at together, so that all work on them stays in the processor's cache
# neighbours are counted apart: a processor waits where it adds to the same number twice in a row, as ReLU's zeros would
_SHIFTS = (np.arange(_BLOCK) % 2 * (2 * BINS - 1) + BINS - 1).astype(np.int32)


@dataclass(frozen=True)
class Range:
    """The least and the largest value a tensor was seen to hold, or is made to hold."""

    low: float
    high: float

    def __or__(self, other: Range) -> Range:
        """The range that holds both."""
        return Range(min(self.low, other.low), max(self.high, other.high))

    def near(self, other: Range) -> bool:
        """Whether two ranges differ by no more than sums in another order do: a thousandth of the wider one."""
        width = max(self.high, other.high, 0.0) - min(self.low, other.low, 0.0)
        return max(abs(self.low - other.low), abs(self.high - other.high)) <= 1e-3 * width


class Histogram:
    """What was seen of one tensor: its exact range, and how often each bin of it.

    Bin i holds the values whose quotient by the width has the whole part i, from -2047 to 2047; bin 0 so holds all that
    is nearer to zero than one width, on both sides.

    Args:
        counted: whether to count at all; the range alone is quicker to take.
    """

    def __init__(self, *, counted: bool = True) -> None:
        self.low, self.high, self.size = math.inf, -math.inf, 0
        self._counts: Array | None = np.zeros(2 * BINS - 1, np.int64) if counted else None
        self._exponent = _LEAST

    @property
    def seen(self) -> Range:
        """The least and the largest value, exactly; infinite and the wrong way round where there was none."""
        return Range(self.low, self.high)

    @property
    def width(self) -> float:
        """Of a bin."""
        return 2.0**self._exponent

    @property
    def counts(self) -> Array:
        """How many values each bin holds, (4095,); bin 0 is in the middle.

        Raises:
            ValueError: nothing was counted.
        """
        if self._counts is None:
            raise ValueError("this histogram was told to take the range alone: Histogram(counted=True) counts.")
        return self._counts

    def add(self, values: Array) -> None:
        """Look at further values, of any shape.

        Args:
            values: of a floating-point type, finite.

        Raises:
            ValueError: NaN or infinity is among them; nothing was added.
        """
        if values.size == 0:
            return
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):  # NaN in any element makes the minimum NaN
            raise ValueError("NaN or infinity among the values")
        self.low, self.high, self.size = min(self.low, low), max(self.high, high), self.size + values.size
        if self._counts is not None:
            self._widen(max(-low, high))
            self._count(values.reshape(-1))

    def _widen(self, reach: float) -> None:
        """Make bins so wide that they hold a value as large as this."""
        wanted = math.frexp(reach)[1] - _BITS  # reach lies below two to the exponent that frexp gives
        if reach == 0.0 or wanted <= self._exponent:  # zeros lie in any bin of the middle, and ask for no width
            return
        names = np.arange(1 - BINS, BINS)
        merged = np.sign(names) * (np.abs(names) >> min(wanted - self._exponent, _BITS))
        counts = np.zeros_like(self.counts)
        np.add.at(counts, merged + BINS - 1, self.counts)
        self._counts, self._exponent = counts, wanted

    def _count(self, values: Array) -> None:
        counts = self.counts
        kind = np.float64 if values.dtype == np.float64 else np.float32
        scale = kind(2.0**-self._exponent)
        length = min(_BLOCK, values.size)
        real, names = np.empty(length, kind), np.empty(length, np.int32)
        for start in range(0, values.size, _BLOCK):
            block = values[start : start + _BLOCK]
            part, place = real[: block.size], names[: block.size]
            np.multiply(block, scale, out=part)  # by a power of two, so exact
            np.copyto(place, part, casting="unsafe")  # towards zero
            place += _SHIFTS[: block.size]
            even, odd = np.bincount(place, minlength=2 * len(counts)).reshape(2, -1)
            counts += even
            counts += odd
