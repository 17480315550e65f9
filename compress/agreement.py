"""How far two networks agree where nobody knows what is right: output by output, and row by row.

The noise of floats is held against what varies from row to row: a network that answers nearly the same to everything
could hide any fault in its mean. Decisions are alike or not, and so are whole numbers and truth values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compress.choices import states
from models.records import Arrays, Model, OutputSpec

Array = np.ndarray[Any, Any]
_VARIES = 1e-12  # of the whole's power; below it lies the rounding of float32


def answers(model: Model) -> tuple[OutputSpec, ...]:
    """The outputs to look at where a network may become narrower: not its states, nor vectors of its own width.

    All of them, where there is nothing else.
    """
    own = states(model)
    return tuple(o for o in model.outputs if o.name not in own and not o.own_width) or model.outputs


@dataclass
class Agreement:
    """Two networks held against each other, output by output.

    Args:
        choices: names of the outputs that decide.
        answers: names of the outputs that are looked at; all that the reference gives where there are none.
    """

    choices: Sequence[str] = ()
    answers: Sequence[str] = ()
    outputs: dict[str, Compared] = field(default_factory=dict)

    def add(self, wanted: Arrays, found: Arrays, batch: Arrays) -> None:
        """What both gave of a batch; by place where the other network names its outputs otherwise."""
        rows, named = _rows_of(batch), set(wanted) <= set(found)
        theirs = found if named else dict(zip(wanted, found.values(), strict=False))
        for name in self.answers or wanted:
            one = self.outputs.setdefault(name, Compared(decides=name in self.choices))
            one.add(wanted[name], theirs.get(name), rows)

    @property
    def noise_db(self) -> float | None:
        """SQNR of what varies, of the noisiest output; None where nothing is a float that varies."""
        return min((db for one in self.outputs.values() if (db := one.sqnr_db) is not None), default=None)


@dataclass
class Compared:
    """One output of two networks, batch by batch; only sums and a number a row are kept.

    Another shape than the reference's agrees in nothing, but of lists, whose length is not the batch's (what a
    detector's suppression leaves), those entries agree that both have.

    Args:
        decides: whether the largest of its last dimension is what counts.
    """

    decides: bool = False
    count: int = 0  # of decisions, elements or rows that were held against each other
    reshaped: int = 0  # batches in which the shape was another
    _noise: list[Array] = field(default_factory=list)
    _wrong: list[Array] = field(default_factory=list)
    _spread: Spread = field(default_factory=lambda: Spread())
    _floats: bool = False

    def add(self, wanted: Any, found: Any, rows: int) -> None:
        """One batch of so many rows; `found` is None where the other network has no such output."""
        wanted, found = np.asarray(wanted), None if found is None else np.asarray(found)
        self._floats = wanted.dtype.kind == "f"
        noise, wrong = np.full(rows, np.nan), np.ones(rows)
        if found is not None and not self._floats and _are_lists(wanted, found, rows):
            wrong = np.full(rows, 1 - _in_both(wanted, found))
            self.count += max(len(wanted), len(found), 1)
        elif found is None or wanted.shape != found.shape:
            self.reshaped += 1
            self.count += rows
        else:
            wrong = self._wrong_of(wanted, found, rows)
            noise = _by_row(_squares(wanted, found), rows) if self._floats else noise
        if self._floats:
            self._spread.add(np.where(np.isfinite(wanted), wanted, 0).astype(np.float64))
        self._noise.append(noise)
        self._wrong.append(wrong)

    def _wrong_of(self, wanted: Array, found: Array, rows: int) -> Array:
        if self._floats and not self.decides:
            self.count += rows
            return np.zeros(rows)
        if self.decides and wanted.ndim and wanted.size:
            flips = (wanted.argmax(-1) != found.argmax(-1)) | (np.isnan(found) & ~np.isnan(wanted)).any(-1)
        else:
            flips = np.asarray(wanted != found)
        self.count += max(1, flips.size)
        return _by_row(flips.astype(np.float64), rows)

    def alike(self) -> Array:
        """How far each row agrees, from 0 to 1: decisions or elements that are the same, else the share of power."""
        wrong, noise = np.concatenate(self._wrong), np.concatenate(self._noise)
        if self.decides or not self._floats:
            return 1 - wrong
        power = self._spread.power
        with np.errstate(divide="ignore", invalid="ignore"):
            same = np.where(noise == 0, 1.0, np.clip(1 - noise / power, 0.0, 1.0))
        return np.where(np.isnan(noise) | np.isinf(noise), 0.0, same)

    @property
    def wrong(self) -> float:
        """The share of decisions or elements that differ, or of rows whose shape does."""
        return float(np.concatenate(self._wrong).mean()) if self._wrong else 0.0

    @property
    def sqnr_db(self) -> float | None:
        """SQNR of what varies, where shapes are alike; None of what is no float, or nothing but zeros."""
        noise = np.concatenate(self._noise) if self._noise else np.zeros(0)
        noise, power = noise[~np.isnan(noise)], self._spread.power
        if not self._floats or not noise.size or power == 0:
            return None
        mean = float(noise.mean())
        if mean == 0:
            return math.inf
        return -math.inf if math.isinf(mean) else 10 * math.log10(power / mean)


class Spread:
    """The mean power of an element's way from its middle, over all batches, none of which is kept.

    The middle is each element's own over all rows; where there is but one row, or none varies, that of the places
    along the last dimension over all others; else it is 0, and the power that of the whole.
    """

    def __init__(self) -> None:
        self._own, self._last, self._whole = _Middle(), _Middle(), _Middle(fixed=True)

    def add(self, array: Array) -> None:
        """One batch, the rows along its first dimension."""
        if not array.size:
            return
        array = array.reshape(1) if not array.ndim else array
        self._own.add(array)
        self._last.add(array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array)
        self._whole.add(array.reshape(-1))

    @property
    def power(self) -> float:
        """Of the first of the three that varies."""
        whole = self._whole.power
        return next((m.power for m in (self._own, self._last) if m.power > _VARIES * whole), whole)


class _Middle:
    """Running mean of rows and the squares around it; 0 where their shape changes.

    Source: Chan, Golub and LeVeque 1979, Updating formulae and a pairwise algorithm for computing sample variances.
    """

    def __init__(self, *, fixed: bool = False) -> None:
        self._fixed, self._mean, self._squares, self._rows = fixed, np.zeros(()), 0.0, 0
        self._shape: tuple[int, ...] | None = None
        self._uneven = False

    def add(self, rows: Array) -> None:
        self._uneven |= self._shape is not None and self._shape != rows.shape[1:]
        self._shape = rows.shape[1:]
        if self._uneven:
            return
        mean = np.zeros(rows.shape[1:]) if self._fixed else rows.mean(0)
        moved, total = mean - self._mean, self._rows + len(rows)
        between = float(np.square(moved).sum()) * self._rows * len(rows) / total if self._rows else 0.0
        self._squares += float(np.square(rows - mean).sum()) + between
        self._mean = self._mean + moved * len(rows) / total if self._rows else mean
        self._rows = total

    @property
    def power(self) -> float:
        if self._uneven or not self._rows or self._shape is None:
            return 0.0
        return self._squares / (self._rows * math.prod(self._shape))


def _rows_of(batch: Arrays) -> int:
    return max((len(array) for array in map(np.asarray, batch.values()) if array.ndim), default=1)


def _squares(wanted: Array, found: Array) -> Array:
    """The squared error of each element; none where both hold the same infinity, or no number."""
    a, b = wanted.astype(np.float64), found.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.where(same, 0.0, np.square(a - b))
    return np.where(np.isnan(error), np.inf, error)


def _by_row(array: Array, rows: int) -> Array:
    """The mean of each row; that of all for each of them where the array does not count them."""
    if array.shape[:1] == (rows,):
        return np.asarray(array.reshape(rows, -1).mean(1) if array.size else np.zeros(rows), np.float64)
    return np.full(rows, array.mean() if array.size else 0.0, np.float64)


def _are_lists(a: Array, b: Array, rows: int) -> bool:
    return a.ndim > 0 and len(a) != rows and b.ndim > 0 and a.shape[1:] == b.shape[1:]


def _in_both(a: Array, b: Array) -> float:
    """Twice the entries that two lists have in common over the entries of both, in any order."""
    if not len(a) and not len(b):
        return 1.0
    counts = [_counted(each) for each in (a, b)]
    common = sum(min(times, counts[1].get(entry, 0)) for entry, times in counts[0].items())
    return 2 * common / (len(a) + len(b))


def _counted(array: Array) -> dict[Any, int]:
    found: dict[Any, int] = {}
    for entry in array.reshape(len(array), math.prod(array.shape[1:])).tolist():
        found[tuple(entry)] = found.get(tuple(entry), 0) + 1
    return found
