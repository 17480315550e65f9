"""Tasks for a user's own data: a measured value, a metric of their own, or no labels at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.agreement import Agreement
from export.foreign import calling
from models.batches import ArrayBatches
from models.errors import DataError
from models.intervals import resampled, share
from models.records import Arrays, Batches, Runner, Score, Split, Task

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]
Metric = Callable[[Any, Array], Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Regression:
    """Outputs and targets of the same shape (N, ...). The score is the root of the mean squared error.

    `Score.samples` is the mean squared error of each row. Judged is the output that is named, else the first.
    """

    name: str
    train: ArrayBatches
    validation: ArrayBatches
    test: ArrayBatches
    labels: tuple[str, ...] = ()
    output: str = ""

    def loss(self, outputs: Mapping[str, torch.Tensor], target: Any) -> torch.Tensor:
        """Mean squared error of the first output."""
        from torch.nn import functional as F

        output = outputs[self.output] if self.output else next(iter(outputs.values()))
        return F.mse_loss(output, target.reshape(output.shape).to(output.dtype))

    def score(self, runner: Runner, split: Split = "test", reference: Runner | None = None) -> Score:
        """Against the targets, or against what a reference gives. Bootstrap over rows."""
        rows = []
        for inputs, target in getattr(self, split):
            output = self._judged(runner(inputs)).astype(np.float64)
            wanted = target if reference is None else self._judged(reference(inputs))
            rows.append(((output - wanted.reshape(output.shape)) ** 2).reshape(len(output), -1).mean(1))
        return resampled(self, np.concatenate(rows), "error", higher_is_better=False)

    def _judged(self, outputs: Arrays) -> Array:
        return np.asarray(outputs[self.output]) if self.output else _first(outputs)

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

    def _rows(self, outputs: Arrays, target: Array | None) -> Array:
        if target is None:
            raise DataError(f"--metric {self.metric_name!r} is given labels, and data {self.name!r} has none: add y.")
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
    """Inputs alone: the score is how far a model agrees with the original, over all of its outputs.

    Of a row, each output gives a number from 0 to 1, and the lowest counts: where the original decides, the share of
    decisions that are alike; of whole numbers and truth values, the share that are the same; else one less the noise's
    share of the power that varies from row to row. A row whose shape is another agrees in nothing.

    Args:
        reference: the original.
        answers: its outputs that are looked at; all that it gives where there are none.
        choices: those of them that decide.
    """

    name: str
    train: InputBatches
    validation: InputBatches
    test: InputBatches
    reference: Runner
    answers: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    def loss(self, outputs: Mapping[str, torch.Tensor], target: Any) -> torch.Tensor:
        """There is none without labels: a teacher is what is learned from."""
        raise DataError(f"data {self.name!r} has no labels, so nothing but a teacher can be learned from it.")

    def score(self, runner: Runner, split: Split = "test", reference: Runner | None = None) -> Score:
        """Agreement with the original, or with another reference. Wilson's interval for decisions, else bootstrap."""
        return self.judged(runner, split, reference)[0]

    def judged(
        self, runner: Runner, split: Split = "test", reference: Runner | None = None
    ) -> tuple[Score, float | None]:
        """The score, and beside it the noise: SQNR of what varies, of the noisiest output; None without floats."""
        agreed = Agreement(self.choices, self.answers)
        reference = reference or self.reference
        for run in (runner, reference):
            getattr(run, "restart", lambda: None)()  # a streaming one begins with the split
        for inputs, _ in getattr(self, split):
            agreed.add(reference(inputs), runner(inputs), inputs)
        samples = np.minimum.reduce([one.alike() for one in agreed.outputs.values()])
        decided = set(agreed.outputs) <= set(self.choices) and bool(np.isin(samples, (0, 1)).all())
        score = share(samples, "agreement") if decided else resampled(self, samples, "agreement")
        return score, agreed.noise_db

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


def _first(outputs: Arrays) -> Array:
    return np.asarray(next(iter(outputs.values())))
