"""Tasks for labels beyond one class a row: yes or no for each element, and a class for each place of a map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.errors import DataError
from models.intervals import resampled, share
from models.records import Arrays, Batches, Runner, Score, Split
from models.tasks import IGNORED, ShareOfRows, _Splits

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]
_EPSILON = 1e-6  # a probability as near to 0 or 1 has a finite loss


@dataclass(frozen=True, kw_only=True, eq=False)
class ByElement(ShareOfRows):
    """A whole number for each element that an output has: (N, ...) beside targets of as many elements a row.

    An output of floats says yes (1) above the threshold: 0.5 of probabilities, 0 of logits. One of whole numbers is the
    decision itself. The score is the share of elements that are right; `Score.samples` is that of each row.

    Args:
        threshold: None where the output holds whole numbers.
    """

    threshold: float | None

    def loss(self, outputs: Mapping[str, torch.Tensor], target: Any) -> torch.Tensor:
        """Binary cross-entropy, of probabilities or of logits.

        Raises:
            DataError: the output holds whole numbers, through which nothing is learned.
        """
        from torch.nn import functional as F

        if self.threshold is None:
            raise DataError(f"data {self.name!r}: an output of whole numbers cannot be trained. Export its scores.")
        output = self._judged(outputs)
        target = target.reshape(output.shape).to(output.dtype)
        if self.threshold == 0:
            return F.binary_cross_entropy_with_logits(output, target)
        return F.binary_cross_entropy(output.clamp(_EPSILON, 1 - _EPSILON), target)

    def score(self, runner: Runner, split: Split = "test", reference: Runner | None = None) -> Score:
        """Accuracy, or the share decided as the reference decides. Wilson's interval for rows of one, or bootstrap."""
        rows = []
        for inputs, target in self._split(split):
            found = self._decided(runner(inputs), len(target))
            wanted = target if reference is None else self._decided(reference(inputs), len(target))
            rows.append((found == wanted.reshape(found.shape)).mean(1))
        samples = np.concatenate(rows).astype(np.float64)
        unit = "accuracy" if reference is None else "agreement"
        return share(samples, unit) if np.isin(samples, (0, 1)).all() else resampled(self, samples, unit)

    def _decided(self, outputs: Arrays, rows: int) -> Array:
        """(rows, elements); no number is no answer, and wrong."""
        output = np.asarray(self._judged(outputs)).reshape(rows, -1)
        if self.threshold is None:
            return output.astype(np.int64)
        return np.where(np.isnan(output), -1, (output > self.threshold).astype(np.int64))


@dataclass(frozen=True, kw_only=True, eq=False)
class Places(_Splits):
    """A class for each place: logits (N, classes, ...) or (N, ..., classes), targets (N, ...) whole numbers.

    Places whose target is IGNORED do not count. Of maps (two dimensions or more) the score is the mean over classes of
    intersection over union, as segmentation is scored; of sequences the share of right places. `Score.samples` has for
    each row the places of each class that are in both, and in either.

    Args:
        axis: that tells the classes apart, 1 or -1.
        classes: how many there are.
        maps: whether targets have two dimensions or more.
    """

    axis: int
    classes: int
    maps: bool

    def loss(self, outputs: Mapping[str, torch.Tensor], target: Any) -> torch.Tensor:
        """Cross-entropy in nats, over all places that count."""
        from torch.nn import functional as F

        return F.cross_entropy(self._judged(outputs).movedim(self.axis, 1), target, ignore_index=IGNORED)

    def score(self, runner: Runner, split: Split = "test", reference: Runner | None = None) -> Score:
        """Against the targets, or against what a reference decides where they count. Bootstrap over rows."""
        rows = []
        for inputs, target in self._split(split):
            found, counts = self._decided(runner(inputs)), target != IGNORED
            wanted = target if reference is None else np.where(counts, self._decided(reference(inputs)), IGNORED)
            rows.append(self._counted(found, wanted, counts))
        unit = ("mean IoU" if self.maps else "accuracy") if reference is None else "agreement"
        return resampled(self, np.concatenate(rows), unit)

    def _decided(self, outputs: Arrays) -> Array:
        logits = np.asarray(self._judged(outputs))
        decided: Array = np.where(np.isnan(logits).any(self.axis), -1, logits.argmax(self.axis))
        return decided

    def _counted(self, found: Array, wanted: Array, counts: Array) -> Array:
        """(rows, 2 * classes + 1): of each class the places in both, then those in either; all that count."""
        mine = np.stack([(found == number) & counts for number in range(self.classes)], axis=1)
        theirs = np.stack([(wanted == number) & counts for number in range(self.classes)], axis=1)
        both, either = (each.reshape(*each.shape[:2], -1).sum(2) for each in (mine & theirs, mine | theirs))
        places = counts.reshape(len(found), -1).sum(1, keepdims=True)
        return np.concatenate([both, either, places], axis=1).astype(np.float64)

    def statistic(self, samples: Array) -> float:
        """Intersection over union of these rows, the mean over classes that there are; or the share of right places."""
        return float(self.statistics(samples, np.ones((1, len(samples))))[0])

    def statistics(self, samples: Array, counts: Array) -> Array:
        """The same for many resamplings at once: counts (resamples, rows)."""
        summed = counts @ samples
        both, either = summed[:, : self.classes], summed[:, self.classes : -1]
        if not self.maps:
            shares: Array = both.sum(1) / np.maximum(summed[:, -1], 1)
            return shares
        with np.errstate(invalid="ignore"):
            means: Array = np.nanmean(np.where(either > 0, both / np.maximum(either, 1), np.nan), axis=1)
        return means


@dataclass(frozen=True, kw_only=True, eq=False)
class Unfit:
    """Labels that no output answers: only a metric of the user's own can score them."""

    name: str
    train: Batches
    validation: Batches
    test: Batches
    why: str
    labels: tuple[str, ...] = ()

    def loss(self, outputs: Mapping[str, torch.Tensor], target: Any) -> torch.Tensor:
        """There is none."""
        raise DataError(self.why)

    def score(self, runner: Runner, split: Split = "test", reference: Runner | None = None) -> Score:
        """There is none."""
        raise DataError(self.why)

    def statistic(self, samples: Array) -> float:
        """There is none."""
        raise DataError(self.why)
