"""Four ways to choose the range that eight bits shall name, each from what one histogram saw of a tensor.

The whole range names every value and spends its steps on the rarest of them; a narrower one clips those and is finer
for all others. Zero lies in every range.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import numpy as np

from compress.quantization.histogram import BINS, Histogram, Range

Array = np.ndarray[Any, Any]

Method = Literal["minmax", "percentile", "entropy", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)
PERCENT = 99.99  # of the values that the percentile method leaves unclipped
LEVELS = 256  # names of eight bits
_ABSENT = 1e-4  # what counts for nothing at all among counts, so that its logarithm is finite
_CHUNK = 128  # thresholds tried at once


def range_by(method: Method, seen: Histogram, *, symmetric: bool = False) -> Range:
    """The range that a method takes for a tensor; it holds zero, and nothing else that was not seen.

    Args:
        method: "minmax" takes all that was seen; the others clip what is rare.
        seen: counted, unless the method is "minmax".
        symmetric: whether the grid will be symmetric around zero, so that the farther end alone decides.
    """
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    if seen.size == 0 or method == "minmax" or low == high == 0.0:
        return Range(0.0, 0.0) if seen.size == 0 else Range(low, high)
    if method == "percentile":
        found = _percentile(seen)
    elif method == "entropy":
        found = _entropy(seen, symmetric)
    else:
        found = _mean_squared_error(seen, symmetric)
    return Range(min(0.0, max(low, found.low)), max(0.0, min(high, found.high)))


def _percentile(seen: Histogram) -> Range:
    """The outer ends of the bins behind which half of the rare values lie on either side."""
    beyond = math.floor((1 - PERCENT / 100) / 2 * seen.size)
    names = np.arange(1 - BINS, BINS)
    first = names[np.flatnonzero(np.cumsum(seen.counts) > beyond)[0]]
    last = names[np.flatnonzero(np.cumsum(seen.counts[::-1])[::-1] > beyond)[-1]]
    return Range(float(first - (first <= 0)) * seen.width, float(last + (last >= 0)) * seen.width)


def _entropy(seen: Histogram, symmetric: bool) -> Range:
    """The threshold at which the tensor in eight bits tells the most about the tensor.

    Of all thresholds the one whose clipped distribution P, in bins, has the least Kullback-Leibler divergence from Q,
    the same with the bins of one name made equal. What is clipped counts as the outermost bin. Zero is exact in every
    grid, so its bin, whose peak would decide alone, is given what its neighbours have.

    Source: Migacz 2017, "8-bit inference with TensorRT", GTC. Departures: names are spread over what the tensor uses
    on either side of zero, and not mirrored where it has one side; bins without a value stay empty in Q, as there.
    """
    counts = seen.counts.astype(np.float64)
    middle = BINS - 1
    if symmetric:
        counts = np.concatenate([np.zeros(middle), counts[middle:] + counts[middle::-1]])
        names = LEVELS // 2
    else:
        names = LEVELS
    counts[middle] = counts[middle - 1] + counts[middle + 1]
    used = np.flatnonzero(counts)
    if not len(used):
        return seen.seen
    left, right = max(0, middle - int(used[0])), max(0, int(used[-1]) - middle)
    thresholds = np.arange(1, max(left, right) + 1)
    starts, ends = middle - np.minimum(thresholds, left), middle + np.minimum(thresholds, right) + 1
    wide = ends - starts >= names
    if not wide.any():
        return seen.seen
    thresholds, starts, ends = thresholds[wide], starts[wide], ends[wide]
    parts = range(0, len(thresholds), _CHUNK)
    told = [_divergences(counts, starts[i : i + _CHUNK], ends[i : i + _CHUNK], names) for i in parts]
    best = float(thresholds[int(np.argmin(np.concatenate(told)))] + 1) * seen.width
    return Range(-best, best)


def _divergences(counts: Array, starts: Array, ends: Array, names: int) -> Array:
    """Divergence of each slice [start, end) of the counts from itself in so many names; (T,), (T,) -> (T,).

    With P_j the sum of a name's bins and n_j how many of them are not empty, Q has Q_j / n_j in each, and the sum over
    bins of p log(p / q) is that of p log p less that of P_j log(Q_j / n_j): running sums give both for all slices.
    """
    before = np.concatenate([[0.0], np.cumsum(counts)])
    filled = np.concatenate([[0.0], np.cumsum(counts > 0)])
    known = np.concatenate([[0.0], np.cumsum(_times_log(counts))])
    total = before[-1]
    bounds = starts[:, None] + np.arange(names + 1) * (ends - starts)[:, None] // names
    q, n = np.diff(before[bounds], axis=1), np.diff(filled[bounds], axis=1)
    p = q.copy()
    self_information = known[ends] - known[starts]
    for column, outermost, outside in ((0, starts, before[starts]), (-1, ends - 1, total - before[ends])):
        p[:, column] += outside
        n[:, column] += (counts[outermost] == 0) & (outside > 0)
        self_information += _times_log(counts[outermost] + outside) - _times_log(counts[outermost])
    kept = q.sum(axis=1)
    cross = (p * np.log(np.maximum(q, _ABSENT) / np.maximum(n, 1.0))).sum(axis=1)
    with np.errstate(divide="ignore"):
        divergences: Array = (self_information - cross) / total - math.log(total) + np.log(kept)
    return np.where(kept > 0, divergences, np.inf)


def _times_log(counts: Array) -> Array:
    return counts * np.log(np.maximum(counts, 1.0))


def _mean_squared_error(seen: Histogram, symmetric: bool) -> Range:
    """The ends at which rounding and clipping together err the least.

    With N values rounded, each by a uniform error of up to half a step, and G(t) the sum of (x - t) over all x > t, the
    derivatives of N (high - low)^2 / (12 * 255^2) plus the squares of what is clipped vanish where both
    G_high(high) and G_low(low) equal N (high - low) / (12 * 255^2). The sum is convex, so this is its only minimum;
    G falls, so it is found by halving. What lies within one bin's width of zero is as good as exact, and is not in N.

    Source: the uniform error, Bennett 1948, doi:10.1002/j.1538-7305.1948.tb01340.x; balancing it against clipping,
    Banner et al. 2019 (arXiv:1810.05723) sec. 3, there for a parametric distribution and here for the counts.
    """
    middle = BINS - 1
    above, below = seen.counts[middle + 1 :], seen.counts[:middle][::-1]
    if symmetric:
        above, below, steps = above + below, np.zeros_like(below), LEVELS // 2 - 1
    else:
        steps = LEVELS - 1
    rounded = float(above.sum() + below.sum())
    centers = np.concatenate([[0.0], np.arange(1, BINS) + 0.5])
    clipped = [_clipped(counts, centers) for counts in (above, below)]
    shortest, longest = 0.0, 2.0 * BINS
    for _ in range(50):
        length = (shortest + longest) / 2
        allowed = rounded * length / (12 * steps**2)
        high, low = (float(np.interp(allowed, beyond[::-1], centers[::-1])) for beyond in clipped)
        shortest, longest = (length, longest) if high + low > length else (shortest, length)
    if symmetric:
        low = high
    return Range(-low * seen.width, high * seen.width)


def _clipped(counts: Array, centers: Array) -> Array:
    """By how much all values together reach beyond each center; (2047,), (2048,) -> (2048,)."""
    values = np.concatenate([[0.0], counts.astype(np.float64)])
    number = values.sum() - np.cumsum(values)
    amount = (values * centers).sum() - np.cumsum(values * centers)
    reached: Array = np.maximum(amount - number * centers, 0.0)
    reached[number == 0] = 0.0  # exactly, whatever is left of the sums
    return reached
