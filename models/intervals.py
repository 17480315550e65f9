"""How sure a score is: Wilson's interval for fractions, the bootstrap for everything else and for differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from models.errors import DataError
from models.records import Score, Task

Array = np.ndarray[Any, Any]
Z = 1.959963984540054  # the normal distribution's 97.5 % point
RESAMPLES = 1000


def wilson(hits: float, n: int) -> tuple[float, float]:
    """95 % interval of a fraction, hits of n. Source: Wilson 1927, doi:10.1080/01621459.1927.10502953."""
    p, z2 = hits / n, Z * Z
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))


def bootstrap(statistic: Callable[[Array], Array], n: int, *, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of a statistic over n rows drawn again with replacement.

    Args:
        statistic: how often each row was drawn, (resamples, n), -> the statistic of each resample, (resamples,);
            NaN where a resample has none.
        n: how many rows there are.
        seed: of the draws.

    Source: Efron 1979, doi:10.1214/aos/1176344552.
    """
    rng = np.random.default_rng(seed)
    block = max(1, min(RESAMPLES, 2_000_000 // n))  # keeps a block of draws near 16 MB
    values = []
    for start in range(0, RESAMPLES, block):
        size = min(block, RESAMPLES - start)
        drawn = rng.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        values.append(statistic(np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)))
    found = np.concatenate(values)
    if not np.isfinite(found[~np.isnan(found)]).all() or np.isnan(found).all():
        return float(found.min()), float(found.max())
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return float(low), float(high)


class Resampled(Protocol):
    """What a task tells of its score's rows, so that they can be drawn again."""

    def statistic(self, samples: Array) -> float:
        """The score of these rows."""
        ...

    def statistics(self, samples: Array, counts: Array) -> Array:
        """That of many resamplings at once: counts (resamples, rows) -> (resamples,)."""
        ...


def share(samples: Array, unit: str, *, per_class: Mapping[str, float] | None = None) -> Score:
    """The score of rows that are right (1) or wrong (0): the share of right ones, with Wilson's interval."""
    low, high = wilson(samples.sum(), len(samples))
    value = float(samples.mean())
    return Score(value=value, low=low, high=high, n=len(samples), unit=unit, per_class=per_class, samples=samples)


def resampled(
    task: Resampled, samples: Array, unit: str, *, n: int | None = None, higher_is_better: bool = True
) -> Score:
    """The score of rows by the task's own statistic, with the bootstrap's interval; n is the number of rows if None."""
    low, high = bootstrap(lambda counts: task.statistics(samples, counts), len(samples))
    return Score(
        value=task.statistic(samples),
        low=low,
        high=high,
        n=len(samples) if n is None else n,
        unit=unit,
        higher_is_better=higher_is_better,
        samples=samples,
    )


def paired_difference(task: Task, a: Score, b: Score) -> tuple[float, float, float]:
    """By how much b's value is above a's, with its 95 % interval: (difference, low, high).

    Both are resampled by the same rows, so what makes a row hard for both cancels out.

    Raises:
        DataError: the scores hold no rows, or not the same number of them.
    """
    if a.samples is None or b.samples is None or a.samples.shape != b.samples.shape:
        shapes = [None if s.samples is None else s.samples.shape for s in (a, b)]
        raise DataError(
            f"paired difference on '{task.name}': the scores hold rows of shapes {shapes[0]} and {shapes[1]}. "
            "Score both models on the same split."
        )
    first, second = a.samples, b.samples
    if hasattr(task, "statistics"):
        low, high = bootstrap(lambda c: task.statistics(second, c) - task.statistics(first, c), len(first))
    else:
        low, high = bootstrap(
            lambda counts: np.array(
                [task.statistic(second[rows]) - task.statistic(first[rows]) for rows in map(_rows, counts)]
            ),
            len(first),
        )
    return b.value - a.value, low, high


def _rows(counts: Array) -> Array:
    return np.repeat(np.arange(len(counts)), counts)
