"""A task of yes or no at every step of a sequence, where a row counts only when all of it is right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.errors import DataError
from models.intervals import share
from models.records import Runner, Score, Split
from models.tasks import Array, _Splits

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, eq=False)
class BinaryTagging(_Splits):
    """One bit at every step: logits (N, T), targets (N, T) of 0 and 1. The score is the share of rows all right.

    `Score.samples` is 1 for each row whose bits are all right, else 0; with a reference, for each row decided as it
    does at every step. A logit that is NaN is a wrong bit.

    Args:
        unit: what the score is called.
    """

    unit: str = "rows right"

    def __post_init__(self) -> None:
        for split in ("train", "validation", "test"):
            found = set(np.unique(self._split(split).target).tolist())
            if not found <= {0, 1}:
                raise DataError(
                    f"task '{self.name}': targets of {split} hold {sorted(found - {0, 1})[:3]}; "
                    "a bit at each step, 0 or 1, is needed."
                )

    def loss(self, outputs: Mapping[str, torch.Tensor], target: Any) -> torch.Tensor:
        """Binary cross-entropy in nats, the mean over rows and steps."""
        from torch.nn import functional as F

        logits = self._judged(outputs)
        return F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype))

    def score(self, runner: Runner, split: Split = "test", reference: Runner | None = None) -> Score:
        """The share of rows that are right, or decided as the reference decides them. Wilson's interval."""
        rows = []
        for inputs, target in self._split(split):
            wanted = target if reference is None else _decision(self._judged(reference(inputs)))
            rows.append((_decision(self._judged(runner(inputs))) == wanted).all(-1))
        samples = np.concatenate(rows).astype(np.float64)
        return share(samples, self.unit if reference is None else "agreement")

    def statistic(self, samples: Array) -> float:
        """The share of right rows."""
        return float(samples.mean())

    def statistics(self, samples: Array, counts: Array) -> Array:
        """The same for many resamplings at once: counts (resamples, rows)."""
        shares: Array = counts @ samples / len(samples)
        return shares


def _decision(logits: Array) -> Array:
    """1 where a logit is above 0, -1 where it is no number."""
    return np.where(np.isnan(logits), -1, logits > 0)
