"""What a pass did to the score on test, the split that no pass chooses or learns by."""

from __future__ import annotations

from dataclasses import dataclass

from compress.ledger import lost
from export.stepped import any_batch
from models.records import Model, Score, Task


@dataclass(frozen=True, kw_only=True)
class OnTest:
    """The scores before and after; how much worse the second is, with the 95 % interval of the paired difference."""

    before: Score
    after: Score
    drop: float
    drop_low: float
    drop_high: float

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
    return OnTest(before=first, after=second, drop=drop, drop_low=low, drop_high=high)
