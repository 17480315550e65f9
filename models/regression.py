"""The task of giving numbers: how far off they are. It is a `records.Task`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.errors import DataError
from models.intervals import resampled, share
from models.records import Runner, Score, Split
from models.tasks import Array, _Splits

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, eq=False)
class Regression(_Splits):
    """Numbers for each row: outputs and targets (N, ...). The score is the mean squared error; lower is better.

    `Score.samples` is the squared error of each row, the mean over its numbers; infinite where one is NaN. With a
    reference the score is the share of rows all of whose numbers lie within the tolerance of the reference's, and
    `samples` is 1 for each such row, else 0.

    Args:
        tolerance: how far two answers may lie apart and still be called the same.
    """

    tolerance: float

    def __post_init__(self) -> None:
        for split in ("train", "validation", "test"):
            kind = self._split(split).target.dtype
            if not np.issubdtype(kind, np.floating):
                raise DataError(
                    f"task '{self.name}': targets of {split} are {kind}; floating-point numbers are needed."
                )

    def loss(self, outputs: Mapping[str, torch.Tensor], target: Any) -> torch.Tensor:
        """Mean squared error."""
        from torch.nn import functional as F

        return F.mse_loss(self._judged(outputs), target)

    def score(self, runner: Runner, split: Split = "test", reference: Runner | None = None) -> Score:
        """Mean squared error, bootstrap interval; or the share of rows answered as the reference does, Wilson's."""
        rows = []
        for inputs, target in self._split(split):
            found = self._judged(runner(inputs))
            wanted = target if reference is None else self._judged(reference(inputs))
            if found.shape != wanted.shape:  # (N, 1) and (N,) would be spread to (N, N)
                raise DataError(f"task '{self.name}': the model gives {found.shape}, and {wanted.shape} is wanted.")
            rows.append((found.astype(np.float64) - wanted).reshape(len(found), -1))
        off = np.concatenate(rows)
        if reference is not None:
            alike = (np.abs(off) <= self.tolerance).all(1).astype(np.float64)
            return share(alike, "agreement")
        samples = np.nan_to_num(np.square(off).mean(1), nan=math.inf, posinf=math.inf)
        return resampled(self, samples, "mean squared error", higher_is_better=False)

    def statistic(self, samples: Array) -> float:
        """The mean over rows."""
        return float(samples.mean())

    def statistics(self, samples: Array, counts: Array) -> Array:
        """The same for many resamplings at once: counts (resamples, rows)."""
        if not np.isfinite(samples).all():
            return np.full(len(counts), math.inf)
        means: Array = counts @ samples / len(samples)
        return means
