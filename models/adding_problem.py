"""The adding problem: two of many numbers are marked, and their sum is wanted at the end. Generated, nothing is stored.

Every step holds a value, uniform in [0, 1], and a mark: 1 at two steps, one in each half of the sequence, else 0. Who
always answers 1, the mean, has a mean squared error of 1/6: twice the variance of a uniform number.

Source: Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735, sec. 5.4; in the form of Le, Jaitly & Hinton
2015 (arXiv:1504.00941) sec. 4.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from models.batches import ArrayBatches
from models.errors import DataError
from models.records import Arrays, InputSpec
from models.regression import Regression
from models.tasks import Array

LENGTH = 200  # of what is scored
LENGTHS = (100, 150, 200, 300, 400)  # of what is learned from
BASELINE = 1 / 6
_SEEDS = {"train": 0, "validation": 1, "test": 2}


def sums(rows: int, length: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """So many sequences (rows, length, 2) and what is wanted of them (rows, 1); raises DataError for less than 2 steps.

    The first marked step is drawn from the first half, the second from the rest.
    """
    if length < 2:
        raise DataError(f"adding: sequences of length {length} asked; two numbers are marked, so 2 is the least.")
    x = np.zeros((rows, length, 2), np.float32)
    x[..., 0] = rng.random((rows, length), np.float32)
    marked = np.stack([rng.integers(0, length // 2, rows), rng.integers(length // 2, length, rows)], axis=1)
    np.put_along_axis(x[..., 1], marked, 1, axis=1)
    return x, np.take_along_axis(x[..., 0], marked, axis=1).sum(1, keepdims=True)


@dataclass(frozen=True, kw_only=True, eq=False)
class FreshSums:
    """Sequences that are drawn anew each epoch, all of a batch equally long; the same for the same epoch and seed.

    Args:
        rows: samples an epoch.
        lengths: one of them is drawn for each batch.
        name: of the input.
    """

    rows: int
    lengths: tuple[int, ...] = LENGTHS
    name: str = "x"
    batch_size: int = 64

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise DataError(f"adding: batch size {self.batch_size} asked, it must be 1 or more.")

    @property
    def target(self) -> Array:
        """All that is wanted in the walk in fixed order."""
        return np.concatenate([target for _, target in self])

    def with_batch_size(self, batch_size: int) -> FreshSums:
        """As many samples in batches of another size."""
        return replace(self, batch_size=batch_size)

    def __len__(self) -> int:
        """How many batches there are, in an epoch too."""
        return -(-self.rows // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Arrays, Array]]:
        return self._drawn(np.random.default_rng(_SEEDS["train"]))

    def epoch(self, number: int, seed: int) -> Iterator[tuple[Arrays, Array]]:
        """The batches of one epoch: the same for the same two numbers."""
        return self._drawn(np.random.default_rng((seed, number)))

    def _drawn(self, rng: np.random.Generator) -> Iterator[tuple[Arrays, Array]]:
        for start in range(0, self.rows, self.batch_size):
            length = int(rng.choice(self.lengths))
            x, target = sums(min(self.batch_size, self.rows - start), length, rng)
            yield {self.name: x}, target


def task(*, batch_size: int = 64, inputs: Sequence[InputSpec] = (), length: int = LENGTH) -> Regression:
    """Add the two marked numbers: learned at 100 to 400 steps, scored on 2,000 sequences of `length` steps."""
    name = inputs[0].name if inputs else "x"

    def kept(split: str, rows: int) -> Any:
        x, target = sums(rows, length, np.random.default_rng(_SEEDS[split]))
        return ArrayBatches(inputs={name: x}, target=target, batch_size=batch_size)

    return Regression(
        name="adding",
        train=FreshSums(rows=6400, name=name, batch_size=batch_size),
        validation=kept("validation", 1000),
        test=kept("test", 2000),
        tolerance=0.04,
    )
