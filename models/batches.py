"""Arrays cut into batches: in a fixed order to score, shuffled and augmented by (seed, epoch) to train."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from models.errors import DataError
from models.records import Arrays

Array = np.ndarray[Any, Any]
Augment = Callable[[Array, np.random.Generator], Array]


def first_rows(arrays: Arrays, rows: int) -> dict[str, Array]:
    """So many rows of a batch, and its single numbers as they are."""
    return {name: array[:rows] if np.ndim(array) else array for name, array in arrays.items()}


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrayBatches:
    """Named arrays of equal length and their targets; re-iterable.

    Args:
        inputs: name -> (rows, ...); anything that has a length and a type and gives the rows it is asked for.
        target: (rows, ...), whole numbers or floats.
        augment: name -> a change of one batch of that array, for training only.
        prepare: name -> from what is stored to what the network takes, after augmentation; for arrays whose prepared
            form is too large to keep.
        lengths: (rows,), the true length of each row along axis 1 of every input; rows of one length make one batch
            and are cut to it, so nothing is padded.
        ordered: whether rows follow each other in time, so that an epoch keeps their order.
        shared: name -> a number that is the same for all rows, such as a sample rate; every batch has it.
    """

    inputs: Mapping[str, Any]
    target: Array
    batch_size: int = 64
    augment: Mapping[str, Augment] | None = None
    prepare: Mapping[str, Callable[[Array], Array]] | None = None
    lengths: Array | None = None
    ordered: bool = False
    shared: Mapping[str, Array] | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise DataError(f"data: batch size {self.batch_size} asked, it must be 1 or more.")
        if not self.inputs:
            raise DataError("data: no input array. Name at least one, as the model's input is named.")
        for name, array in self.inputs.items():
            if len(array) != len(self.target):
                raise DataError(f"data: '{name}' has {len(array)} rows and the target {len(self.target)}.")
            if len(array) == 0:
                raise DataError(f"data: '{name}' has no rows.")
            if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
                row = int(np.argwhere(~np.isfinite(array))[0, 0])
                raise DataError(
                    f"data: '{name}' holds NaN or infinity, first in row {row}. Clean it, or leave that row out."
                )

    @property
    def rows(self) -> int:
        """How many samples there are."""
        return len(self.target)

    def with_batch_size(self, batch_size: int) -> ArrayBatches:
        """The same samples in batches of another size."""
        return replace(self, batch_size=batch_size)

    def __len__(self) -> int:
        """How many batches there are, in an epoch too."""
        groups = [self.rows] if self.lengths is None else np.unique(self.lengths, return_counts=True)[1].tolist()
        return sum(-(-rows // self.batch_size) for rows in groups)

    def __iter__(self) -> Iterator[tuple[Arrays, Array]]:
        for rows in self._cut(np.arange(self.rows)):
            yield self._batch(rows, None)

    def epoch(self, number: int, seed: int) -> Iterator[tuple[Arrays, Array]]:
        """The batches of one epoch, shuffled and augmented: the same for the same two numbers."""
        rng = np.random.default_rng((seed, number))
        batches = list(self._cut(np.arange(self.rows) if self.ordered else rng.permutation(self.rows)))
        if self.lengths is not None:
            batches = [batches[i] for i in rng.permutation(len(batches))]
        for rows in batches:
            yield self._batch(rows, rng)

    def _cut(self, order: Array) -> Iterator[Array]:
        groups = [order]
        if self.lengths is not None:
            lengths = self.lengths[order]
            groups = [order[lengths == length] for length in np.unique(lengths)]
        for group in groups:
            for start in range(0, len(group), self.batch_size):
                yield group[start : start + self.batch_size]

    def _batch(self, rows: Array, rng: np.random.Generator | None) -> tuple[Arrays, Array]:
        arrays = {}
        for name, whole in self.inputs.items():
            array = whole[rows]
            if self.lengths is not None:
                array = array[:, : self.lengths[rows[0]]]
            if rng is not None and self.augment and name in self.augment:
                array = self.augment[name](array, rng)
            if self.prepare and name in self.prepare:
                array = self.prepare[name](array)
            arrays[name] = array if rng is not None else np.ascontiguousarray(array)  # runtimes take no views
        return arrays | dict(self.shared or {}), self.target[rows]
