"""What a pass did to the score on test, the split that no pass chooses or learns by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compress.ledger import lost
from export.stepped import any_batch
from models.records import Model, Score, Split, Task

_ENOUGH = 20  # rows to say that a network does no better than a guess


@dataclass(frozen=True, kw_only=True)
class OnTest:
    """The scores before and after; how much worse the second is, with the 95 % interval of the paired difference."""

    before: Score
    after: Score
    drop: float
    drop_low: float
    drop_high: float
    one_class: float | None = None  # what always the most frequent class would score

    @property
    def doubt(self) -> str:
        """That the labels hardly fit the network that came, or ""."""
        if self.one_class is None or self.before.value > self.one_class:
            return ""
        return (
            f"the network that came has accuracy {self.before.value:.4g} on test, and always the most frequent class "
            f"would have {self.one_class:.4g}. Do the labels fit it (order of classes), and the inputs (scaling)?"
        )

    @property
    def text(self) -> str:
        """Both values, and what was lost or gained in the score's own unit."""
        sign = -1 if self.before.higher_is_better else 1
        change, low, high = (sign * number + 0.0 for number in (self.drop, self.drop_low, self.drop_high))  # no -0
        low, high = sorted((low, high))
        return (
            f"{self.before.unit} {self.after.value:.4g} on test, {self.before.value:.4g} before "
            f"({change:+.3g}, {low:+.3g} to {high:+.3g}; {self.after.n:,} samples)"
        )


def score_on_test(task: Task, before: Model, after: Model) -> OnTest:
    """Score both, each on the runtime of its form.

    Raises:
        CompressError: a model cannot be run on the split.
    """
    first, second = (task.score(any_batch(model), "test") for model in (before, after))
    drop, low, high = lost(task, first, second)
    return OnTest(
        before=first,
        after=second,
        drop=drop,
        drop_low=low,
        drop_high=high,
        one_class=most_frequent(task, first, "test"),
    )


def most_frequent(task: Task, score: Score, split: Split) -> float | None:
    """The share of the most frequent class in a split; None where the score is no accuracy of whole rows."""
    if score.unit != "accuracy":
        return None
    targets = [np.asarray(target) for _, target in getattr(task, split)]
    if any(target.ndim != 1 for target in targets) or sum(map(len, targets)) < _ENOUGH:
        return None
    _, counts = np.unique(np.concatenate(targets), return_counts=True)
    return float(counts.max() / counts.sum())
