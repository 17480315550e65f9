"""The kinds of task: what is learned, and how well a model does it. Each is `records.Task`; data come from outside."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from models.errors import DataError
from models.intervals import bootstrap, paired_difference, resampled, share
from models.records import Arrays, Runner, Score, ShuffledBatches, Split

if TYPE_CHECKING:
    import torch

__all__ = ["Classification", "NextToken", "Reconstruction", "paired_difference"]

Array = np.ndarray[Any, Any]
IGNORED = -100  # a target that does not count, in torch's own number for it


class Splittable(ShuffledBatches, Protocol):
    """A split whose targets can be looked at, and whose rows can be cut into batches of another size."""

    @property
    def target(self) -> Any:
        """All targets: an array, or an array a row."""
        ...

    def with_batch_size(self, batch_size: int) -> Any:
        """The same rows in batches of another size."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class _Splits:
    """What all tasks hold: three splits, and which output is judged (the first where it is not named)."""

    name: str
    train: Splittable
    validation: Splittable
    test: Splittable
    labels: tuple[str, ...] = ()
    output: str = ""

    def with_batch_size(self, batch_size: int) -> Any:
        """The same task in batches of another size."""
        return replace(
            self, **{name: getattr(self, name).with_batch_size(batch_size) for name in ("train", "validation", "test")}
        )

    def _judged(self, outputs: Mapping[str, Any]) -> Any:
        return outputs[self.output] if self.output else next(iter(outputs.values()))

    def _split(self, split: Split) -> Splittable:
        batches: Splittable = getattr(self, split)
        return batches


class ShareOfRows(_Splits):
    """Tasks whose score is the mean of what each row scores, from 0 to 1."""

    def statistic(self, samples: Array) -> float:
        """The mean over rows."""
        return float(samples.mean())

    def statistics(self, samples: Array, counts: Array) -> Array:
        """The same for many resamplings at once: counts (resamples, rows)."""
        shares: Array = counts @ samples / len(samples)
        return shares


@dataclass(frozen=True, kw_only=True, eq=False)
class Classification(ShareOfRows):
    """One class per row: logits (N, classes), targets (N,) whole numbers. The score is accuracy.

    `Score.samples` is 1 for each row that was right, else 0; with a reference, for each row decided as it does. A row
    whose logits hold NaN is a wrong one.
    """

    def __post_init__(self) -> None:
        for split in ("train", "validation", "test"):
            _whole_numbers(self.name, split, self._split(split).target, len(self.labels))

    def loss(self, outputs: Mapping[str, torch.Tensor], target: Any) -> torch.Tensor:
        """Cross-entropy."""
        from torch.nn import functional as F

        return F.cross_entropy(self._judged(outputs), target)

    def score(self, runner: Runner, split: Split = "test", reference: Runner | None = None) -> Score:
        """Accuracy, also per class; or the share of rows decided as the reference decides them. Wilson's interval."""
        rows, of = [], []
        for inputs, target in self._split(split):
            wanted = target if reference is None else self._decided(reference(inputs), len(target))
            rows.append(self._decided(runner(inputs), len(target)) == wanted)
            of.append(target)
        samples, target = np.concatenate(rows).astype(np.float64), np.concatenate(of)
        names = self.labels or tuple(str(i) for i in range(int(target.max()) + 1))
        per_class = {name: float(samples[target == i].mean()) for i, name in enumerate(names) if (target == i).any()}
        unit = "accuracy" if reference is None else "agreement"
        return share(samples, unit, per_class=per_class)

    def _decided(self, outputs: Arrays, rows: int) -> Array:
        """One class a row; further dimensions of one do not count."""
        return _decision(self._judged(outputs)).reshape(rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class NextToken(_Splits):
    """The next token at every position: logits (N, T, vocabulary), targets (N, T). The score is bits or perplexity.

    Positions whose target is IGNORED do not count. Perplexity is 2 to the bits per token.

    `Score.samples` has a row for each chunk of text: its bits and its tokens; with a reference, how many tokens are
    predicted as it predicts them, and its tokens.
    """

    unit: Literal["bits per character", "bits per word", "perplexity"] = "bits per character"

    def __post_init__(self) -> None:
        for split in ("train", "validation", "test"):
            target = self._split(split).target
            target = np.concatenate([np.ravel(row) for row in target]) if isinstance(target, Sequence) else target
            _whole_numbers(self.name, split, target[target != IGNORED], len(self.labels))

    def loss(self, outputs: Mapping[str, torch.Tensor], target: Any) -> torch.Tensor:
        """Cross-entropy in nats, over all positions that count."""
        from torch.nn import functional as F

        logits = self._judged(outputs)
        return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=IGNORED)

    def score(self, runner: Runner, split: Split = "test", reference: Runner | None = None) -> Score:
        """Bits per token, lower is better; or the share predicted as the reference does. Bootstrap over chunks."""
        rows = []
        for inputs, target in self._split(split):
            logits, counts = self._judged(runner(inputs)), target != IGNORED
            if reference is None:
                value = _bits(logits, np.where(counts, target, 0))
            else:
                value = (_decision(logits) == _decision(self._judged(reference(inputs)))).astype(np.float64)
            rows.append(np.stack([np.where(counts, value, 0.0).sum(1), counts.sum(1)], axis=1))
        samples = np.concatenate(rows)
        means = _token_means if reference is not None else self.statistics
        low, high = bootstrap(lambda counts: means(samples, counts), len(samples))
        unit, better = (self.unit, False) if reference is None else ("agreement", True)
        return Score(
            value=float(means(samples, np.ones((1, len(samples))))[0]),
            low=low,
            high=high,
            n=int(samples[:, 1].sum()),
            unit=unit,
            higher_is_better=better,
            samples=samples,
        )

    def statistic(self, samples: Array) -> float:
        """The score of these rows' bits."""
        return float(self.statistics(samples, np.ones((1, len(samples))))[0])

    def statistics(self, samples: Array, counts: Array) -> Array:
        """The same for many resamplings at once: counts (resamples, rows)."""
        if not np.isfinite(samples).all():
            return np.full(len(counts), math.inf)
        bits = _token_means(samples, counts)
        return np.exp2(bits) if self.unit == "perplexity" else bits


def _token_means(samples: Array, counts: Array) -> Array:
    """The mean over tokens, of rows that hold a sum and a number of tokens."""
    means: Array = (counts @ samples[:, 0]) / (counts @ samples[:, 1])
    return means


@dataclass(frozen=True, kw_only=True, eq=False)
class Reconstruction(_Splits):
    """Draw the input again: outputs and inputs (N, ...). What is drawn badly is an anomaly; the score is the AUC.

    A row's anomaly score is its mean squared error; a NaN output is no anomaly. Targets of training, which sees
    no anomaly, are the inputs; those of validation and test say which rows are anomalies (1). `Score.samples` has a row
    for each input: its anomaly score and whether it is one. With a reference both models flag as many rows as there
    are anomalies, and `samples` is 1 for each row flagged alike.
    """

    def __post_init__(self) -> None:
        for split in ("validation", "test"):
            kinds = set(np.unique(self._split(split).target).tolist())
            if kinds != {0, 1}:
                raise DataError(
                    f"task '{self.name}': targets of {split} are {sorted(kinds)}; "
                    "0 (usual) and 1 (anomaly) are both needed."
                )

    def loss(self, outputs: Mapping[str, torch.Tensor], target: Any) -> torch.Tensor:
        """Mean squared error against the input, which is the target in training."""
        from torch.nn import functional as F

        return F.mse_loss(self._judged(outputs), target)

    def score(self, runner: Runner, split: Split = "test", reference: Runner | None = None) -> Score:
        """Area under the ROC curve, bootstrap interval; or the share of rows flagged as the reference flags them."""
        errors, of, theirs = [], [], []
        for inputs, target in self._split(split):
            errors.append(self._error(inputs, runner))
            of.append(target)
            if reference is not None:
                theirs.append(self._error(inputs, reference))
        anomaly, is_anomaly = np.concatenate(errors), np.concatenate(of)
        if reference is not None:
            k = int(is_anomaly.sum())
            alike = (_flagged(anomaly, k) == _flagged(np.concatenate(theirs), k)).astype(np.float64)
            return share(alike, "agreement")
        return resampled(self, np.stack([anomaly, is_anomaly], axis=1), "AUC")

    def _error(self, inputs: Arrays, runner: Runner) -> Array:
        wanted = next(iter(inputs.values()))
        drawn = self._judged(runner(inputs)).astype(np.float64)
        error: Array = ((drawn - wanted) ** 2).reshape(len(wanted), -1).mean(1)
        return np.nan_to_num(error, nan=-1.0, posinf=-1.0)

    def statistic(self, samples: Array) -> float:
        """The AUC; of flags, the share alike."""
        if samples.ndim == 1:
            return float(samples.mean())
        from sklearn.metrics import roc_auc_score

        return float(roc_auc_score(samples[:, 1], samples[:, 0]))

    def statistics(self, samples: Array, counts: Array) -> Array:
        """The same for many resamplings at once: counts (resamples, rows).

        The AUC is the share of (anomaly, usual) pairs in the right order, ties counted half (Hanley & McNeil 1982).
        """
        if samples.ndim == 1:
            shares: Array = counts @ samples / len(samples)
            return shares
        _, place = np.unique(samples[:, 0], return_inverse=True)
        order = np.argsort(place, kind="stable")
        starts = np.flatnonzero(np.diff(place[order], prepend=-1))  # of each run of ties
        drawn, is_anomaly = counts[:, order].astype(np.float64), samples[order, 1]
        usual = np.add.reduceat(drawn * (1 - is_anomaly), starts, axis=1)
        odd = np.add.reduceat(drawn * is_anomaly, starts, axis=1)
        below = usual.cumsum(1) - usual / 2
        with np.errstate(invalid="ignore"):  # a resample of one kind alone has no AUC
            areas: Array = (odd * below).sum(1) / (odd.sum(1) * usual.sum(1))
        return areas


def _decision(logits: Array) -> Array:
    decided: Array = logits.argmax(-1)
    return np.where(np.isnan(logits).any(-1), -1, decided)


def _bits(logits: Array, target: Array) -> Array:
    """-log2 of the probability given to each target, (N, T); infinite where the logits are no numbers."""
    logits = logits.astype(np.float64)
    top = logits.max(-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        total = np.log(np.exp(logits - top).sum(-1)) + top[..., 0]
        bits: Array = (total - np.take_along_axis(logits, target[..., None], -1)[..., 0]) / math.log(2)
    return np.nan_to_num(bits, nan=math.inf, posinf=math.inf)


def _flagged(anomaly: Array, k: int) -> Array:
    flags = np.zeros(len(anomaly), bool)
    flags[np.argsort(-anomaly, kind="stable")[:k]] = True
    return flags


def _whole_numbers(task: str, split: str, target: Array, classes: int) -> None:
    if not np.issubdtype(target.dtype, np.integer):
        raise DataError(f"task '{task}': labels of {split} are {target.dtype}; whole numbers are needed.")
    low, high = int(target.min()), int(target.max())
    if low < 0 or (classes and high >= classes):
        allowed = f"0 to {classes - 1}" if classes else "0 or more"
        raise DataError(f"task '{task}': labels of {split} run from {low} to {high}; they must be {allowed}.")
