"""What a pass did to the score on test, the split that no pass chooses or learns by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compress.label_tasks import ByElement
from compress.ledger import lost
from compress.own_tasks import Unlabelled
from export.stepped import any_batch
from models.records import Model, Score, Split, Task
from models.tasks import Classification

_SILENT = 100.0  # decibels; float32 against itself
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
    noise_db: float | None = None  # of the noisiest output, where there are no labels

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
            f"({change:+.3g}, {low:+.3g} to {high:+.3g}; {self.after.n:,} samples){self._noise}"
        )

    @property
    def _noise(self) -> str:
        """Decisions may agree where the numbers behind them do not, and an embedding is no decision."""
        return "" if self.noise_db is None or self.noise_db > _SILENT else f", outputs at {self.noise_db:.1f} dB"

    @property
    def _of_one_row(self) -> bool:
        """Whether a single row is what was lost: of fewer than a hundred each is more than a point."""
        before, after = self.before.samples, self.after.samples
        if before is None or after is None or before.shape != after.shape or before.ndim != 1:
            return False
        return int(np.count_nonzero(before != after)) <= 1

    def beyond(self, allowed: float) -> str:
        """That more points were lost on test than were allowed, or ""."""
        lost_points = self.drop / self.before.point
        if not lost_points > allowed or self._of_one_row:
            return ""
        return (
            f"on test it loses {lost_points:.2f} points, and {allowed:g} were allowed: by validation it was chosen. "
            "More data to validate on, or less allowed (--max-drop), chooses more surely"
        )


def score_on_test(task: Task, before: Model, after: Model) -> OnTest:
    """Score both, each on the runtime of its form.

    Raises:
        CompressError: a model cannot be run on the split.
    """
    (first, _), (second, noise_db) = (_judged(task, model) for model in (before, after))
    drop, low, high = lost(task, first, second)
    return OnTest(
        before=first,
        after=second,
        drop=drop,
        drop_low=low,
        drop_high=high,
        one_class=most_frequent(task, first, "test"),
        noise_db=noise_db,
    )


def _judged(task: Task, model: Model) -> tuple[Score, float | None]:
    """The score on test, and without labels the noise beside it."""
    run = any_batch(model)
    return task.judged(run, "test") if isinstance(task, Unlabelled) else (task.score(run, "test"), None)


def most_frequent(task: Task, score: Score, split: Split) -> float | None:
    """The share of the most frequent class in a split; None where the score is no accuracy of whole rows."""
    if score.unit != "accuracy" or not isinstance(task, Classification | ByElement):
        return None
    targets = [np.asarray(target) for _, target in getattr(task, split)]
    if any(target.ndim != 1 for target in targets) or sum(map(len, targets)) < _ENOUGH:
        return None
    _, counts = np.unique(np.concatenate(targets), return_counts=True)
    return float(counts.max() / counts.sum())
