"""Rows of different lengths as batches: padded to the longest of the batch, or grouped so that none needs padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from models.errors import DataError
from models.records import Arrays
from models.tasks import IGNORED, Array
from models.vocabulary import PAD

Rows = Sequence[Array]  # one array a row, all of one rank and type
Change = Callable[[dict[str, Array], np.random.Generator], dict[str, Array]]
_POOL = 50  # batches that are sorted by length together: little padding, and still a different mix each epoch


@dataclass(frozen=True, kw_only=True, eq=False)
class SequenceBatches:
    """Named rows of whole numbers and their targets, (length,) or (pieces, length) each; re-iterable.

    Padding is PAD in an input and IGNORED in a target, at the end of every axis.

    Args:
        inputs: name -> rows.
        target: rows; each as long as the output for it.
        alike: inputs whose first axis is equally long in all rows of a batch; so they have no padding there.
        noise: name -> shape of one row of standard normal numbers, drawn anew each epoch and the same in every walk.
        change: of the arrays of one batch, for training only (words left out, say).
    """

    inputs: Mapping[str, Rows]
    target: Rows
    batch_size: int = 64
    alike: tuple[str, ...] = ()
    noise: Mapping[str, tuple[int, ...]] | None = None
    change: Change | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise DataError(f"data: batch size {self.batch_size} asked, it must be 1 or more.")
        for name, rows in self.inputs.items():
            if len(rows) != len(self.target):
                raise DataError(f"data: '{name}' has {len(rows)} rows and the target {len(self.target)}.")
        if not len(self.target):
            raise DataError("data: there are no rows.")

    @property
    def rows(self) -> int:
        """How many samples there are."""
        return len(self.target)

    def with_batch_size(self, batch_size: int) -> SequenceBatches:
        """The same samples in batches of another size."""
        return replace(self, batch_size=batch_size)

    def head(self, rows: int) -> SequenceBatches:
        """The first samples alone."""
        return replace(
            self, inputs={name: kept[:rows] for name, kept in self.inputs.items()}, target=self.target[:rows]
        )

    def __len__(self) -> int:
        """How many batches there are, in an epoch too."""
        return sum(-(-len(group) // self.batch_size) for group in self._groups(np.arange(self.rows)))

    def __iter__(self) -> Iterator[tuple[Arrays, Array]]:
        for rows in self.order():
            yield self._batch(rows, np.random.default_rng(rows), training=False)

    def order(self) -> Iterator[Array]:
        """The row numbers of each batch of a walk, so that what was computed can be put back in the rows' order."""
        for group in self._groups(np.arange(self.rows)):
            by_length = group[np.argsort(self._sizes[group], kind="stable")]
            yield from self._cut(by_length)

    def epoch(self, number: int, seed: int) -> Iterator[tuple[Arrays, Array]]:
        """The batches of one epoch, shuffled and changed: the same for the same two numbers."""
        rng = np.random.default_rng((seed, number))
        batches: list[Array] = []
        for group in self._groups(rng.permutation(self.rows)):
            for start in range(0, len(group), _POOL * self.batch_size):
                pool = group[start : start + _POOL * self.batch_size]
                batches += self._cut(pool[np.argsort(self._sizes[pool], kind="stable")])
        for place in rng.permutation(len(batches)):
            yield self._batch(batches[place], rng, training=True)

    @cached_property
    def _sizes(self) -> Array:
        return np.array([len(row) for row in self.target])

    def _groups(self, order: Array) -> list[Array]:
        if not self.alike:
            return [order]
        keys = np.array([[len(self.inputs[name][row]) for name in self.alike] for row in order])
        _, group = np.unique(keys, axis=0, return_inverse=True)
        return [order[group.reshape(-1) == i] for i in range(group.max() + 1)]

    def _cut(self, rows: Array) -> list[Array]:
        return [rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)]

    def _batch(self, rows: Array, rng: np.random.Generator, *, training: bool) -> tuple[Arrays, Array]:
        arrays = {name: padded([kept[row] for row in rows], PAD) for name, kept in self.inputs.items()}
        for name, shape in (self.noise or {}).items():
            arrays[name] = rng.standard_normal((len(rows), *shape), np.float32)
        if training and self.change is not None:
            arrays = self.change(arrays, rng)
        return arrays, padded([self.target[row] for row in rows], IGNORED)


def padded(rows: Rows, filler: int) -> Array:
    """Rows of one rank as one array, (rows, longest, ...): the filler stands after the end of each axis."""
    longest = np.max([row.shape for row in rows], axis=0)
    made = np.full((len(rows), *longest), filler, rows[0].dtype)
    for place, row in zip(made, rows, strict=True):
        place[tuple(slice(0, n) for n in row.shape)] = row
    return made
