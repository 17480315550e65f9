"""Tasks for a user's own data: a measured value, a metric of their own, or no labels at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from export.foreign import calling
from models.batches import ArrayBatches
from models.errors import DataError
from models.intervals import resampled, share
from models.records import Arrays, Batches, Model, Runner, Score, Split, Task

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]
Metric = Callable[[Any, Array], Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Regression:
    """Outputs and targets of the same shape (N, ...). The score is the root of the mean squared error.

    `Score.samples` is the mean squared error of each row.
    """

    name: str
    train: ArrayBatches
    validation: ArrayBatches
    test: ArrayBatches
    labels: tuple[str, ...] = ()

    def loss(self, outputs: Mapping[str, torch.Tensor], target: Any) -> torch.Tensor:
        """Mean squared error of the first output."""
        from torch.nn import functional as F

        output = next(iter(outputs.values()))
        return F.mse_loss(output, target.reshape(output.shape).to(output.dtype))

    def score(self, runner: Runner, split: Split = "test", reference: Runner | None = None) -> Score:
        """Against the targets, or against what a reference gives. Bootstrap over rows."""
        rows = []
        for inputs, target in getattr(self, split):
            output = _first(runner(inputs)).astype(np.float64)
            wanted = target if reference is None else _first(reference(inputs))
            rows.append(((output - wanted.reshape(output.shape)) ** 2).reshape(len(output), -1).mean(1))
        return resampled(self, np.concatenate(rows), "error", higher_is_better=False)

    def statistic(self, samples: Array) -> float:
        """The root of the mean."""
        return float(np.sqrt(samples.mean()))

    def statistics(self, samples: Array, counts: Array) -> Array:
        """The same for many resamplings at once: counts (resamples, rows)."""
        roots: Array = np.sqrt(counts @ samples / len(samples))
        return roots


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """A task whose score is a user's own metric: `metric(outputs, target)`, a number a row, or one a batch.

    Outputs are one array, or a dict of arrays where the network gives several. More is better, unless the function has
    an attribute `higher_is_better = False`. The loss is that of the task underneath.
    """

    name: str
    train: Batches
    validation: Batches
    test: Batches
    labels: tuple[str, ...]
    under: Task
    metric: Metric
    metric_name: str

    def loss(self, outputs: Mapping[str, torch.Tensor], target: Any) -> torch.Tensor:
        """That of the task underneath."""
        return self.under.loss(outputs, target)

    def score(self, runner: Runner, split: Split = "test", reference: Runner | None = None) -> Score:
        """The metric over the split, bootstrap interval; a reference is left to the task underneath."""
        if reference is not None:
            return self.under.score(runner, split, reference)
        samples = np.concatenate([self._rows(runner(inputs), target) for inputs, target in getattr(self, split)])
        better = getattr(self.metric, "higher_is_better", True)
        return resampled(self, samples, self.metric_name, n=int(samples[:, 1].sum()), higher_is_better=better)

    def _rows(self, outputs: Arrays, target: Array) -> Array:
        with calling(f"--metric {self.metric_name!r}"):
            found = np.asarray(self.metric(_first(outputs) if len(outputs) == 1 else outputs, target), np.float64)
        count = len(target)
        if found.shape not in ((), (count,)):
            raise DataError(
                f"--metric {self.metric_name!r} gave an array of shape {found.shape} for a batch of {count} rows; "
                "wanted one number, or one a row."
            )
        return np.stack([found, np.ones(count)], axis=1) if found.ndim else np.array([[found * count, count]])

    def statistic(self, samples: Array) -> float:
        """The mean over rows; samples hold (sum of values, rows)."""
        return float(samples[:, 0].sum() / samples[:, 1].sum())

    def statistics(self, samples: Array, counts: Array) -> Array:
        """The same for many resamplings at once: counts (resamples, rows)."""
        means: Array = (counts @ samples[:, 0]) / (counts @ samples[:, 1])
        return means


def measured(task: Task, metric: Metric, name: str) -> Measured:
    """The task, scored by a metric of the user's own."""
    return Measured(
        name=task.name,
        train=task.train,
        validation=task.validation,
        test=task.test,
        labels=task.labels,
        under=task,
        metric=metric,
        metric_name=name,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Unlabelled:
    """Inputs alone: the score is how far a model agrees with the original.

    Where the original decides among the elements of its first output, the score is the share of rows decided alike;
    where it does not, the share of the output's power that is the same, row by row, at least 0.
    """

    name: str
    train: InputBatches
    validation: InputBatches
    test: InputBatches
    reference: Runner
    decides: bool
    labels: tuple[str, ...] = ()

    def loss(self, outputs: Mapping[str, torch.Tensor], target: Any) -> torch.Tensor:
        """There is none without labels: a teacher is what is learned from."""
        raise DataError(f"data {self.name!r} has no labels, so nothing but a teacher can be learned from it.")

    def score(self, runner: Runner, split: Split = "test", reference: Runner | None = None) -> Score:
        """Agreement with the original, or with another reference. Wilson's interval for decisions, else bootstrap."""
        rows, reference = [], reference or self.reference
        for run in (runner, reference):
            getattr(run, "restart", lambda: None)()  # a streaming one begins with the split
        for inputs, _ in getattr(self, split):
            rows.append(self._alike(_first(runner(inputs)), _first(reference(inputs))))
        samples = np.concatenate(rows)
        return share(samples, "agreement") if self.decides else resampled(self, samples, "agreement")

    def _alike(self, output: Array, wanted: Array) -> Array:
        if self.decides:
            alike = output.argmax(-1) == wanted.argmax(-1)
            alike[np.isnan(output).any(-1)] = False
            return np.asarray(alike.reshape(-1), np.float64)
        output, wanted = (a.reshape(len(a), -1).astype(np.float64) for a in (output, wanted))
        noise, signal = ((output - wanted) ** 2).sum(1), (wanted**2).sum(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            same = np.where(noise == 0, 1.0, np.maximum(0.0, 1 - noise / signal))
        return np.asarray(np.nan_to_num(same))

    def statistic(self, samples: Array) -> float:
        """The mean over rows."""
        return float(samples.mean())

    def statistics(self, samples: Array, counts: Array) -> Array:
        """The same for many resamplings at once: counts (resamples, rows)."""
        shares: Array = counts @ samples / len(samples)
        return shares


@dataclass(frozen=True, eq=False)
class InputBatches:
    """Batches whose targets are left out."""

    batches: ArrayBatches

    def __iter__(self) -> Iterator[tuple[Arrays, None]]:
        for inputs, _ in self.batches:
            yield inputs, None

    def epoch(self, number: int, seed: int) -> Iterator[tuple[Arrays, None]]:
        """As of the batches underneath."""
        for inputs, _ in self.batches.epoch(number, seed):
            yield inputs, None

    def with_batch_size(self, batch_size: int) -> InputBatches:
        """The same samples in batches of another size."""
        return InputBatches(self.batches.with_batch_size(batch_size))


def decides(model: Model) -> bool:
    """Whether the model's first output looks like a choice: its labels say so, or it is one row of scores a sample."""
    if model.labels:
        return True
    dims = model.outputs[0].dims
    choice = len(dims) > 1 and isinstance(dims[-1], int) and dims[-1] > 1
    return choice and all(dims[1:] != spec.dims[1:] for spec in model.inputs)


def _first(outputs: Arrays) -> Array:
    return np.asarray(next(iter(outputs.values())))
