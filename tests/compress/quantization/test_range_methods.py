"""Ranges by each method, against references that hold everything and do the obvious: within one bin of them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from compress.quantization.histogram import Histogram, Range
from compress.quantization.int8 import activation_grid
from compress.quantization.range_methods import LEVELS, METHODS, PERCENT, range_by

number = st.floats(-100, 100, width=32)
samples = arrays(np.float32, st.integers(1, 200), elements=number)
few = settings(max_examples=25, deadline=None)


def seen(x, parts=3):
    histogram = Histogram()
    for part in np.array_split(np.asarray(x, np.float32), parts):
        histogram.add(part)
    return histogram


def drawn(kind, seed=0, size=20_000):
    rng = np.random.default_rng(seed)
    made = {
        "normal": lambda: rng.standard_normal(size),
        "relu": lambda: np.maximum(rng.standard_normal(size), 0),
        "laplace": lambda: rng.laplace(size=size),
        "heavy": lambda: rng.standard_t(3, size=size),
        "shifted": lambda: rng.uniform(-1, 3, size),
        "below": lambda: -rng.gamma(2, size=size),
    }
    return made[kind]().astype(np.float32)


KINDS = ("normal", "relu", "laplace", "heavy", "shifted", "below")


def obvious_percentile(x):
    ordered = np.sort(x)
    beyond = math.floor((1 - PERCENT / 100) / 2 * len(x))
    return min(0.0, ordered[beyond]), max(0.0, ordered[-1 - beyond])


def obvious_error(x, low, high, width, steps=LEVELS - 1):
    """The mean-squared-error method's cost of a range, from all values."""
    x = x.astype(np.float64)
    rounded = (np.abs(x) >= width).sum()
    clipped = np.maximum(x - high, 0) ** 2 + np.maximum(low - x, 0) ** 2
    return rounded * ((high - low) / steps) ** 2 / 12 + clipped[np.abs(x) >= width].sum()


def lowest(cost, low, high, rounds=36):
    """Where a convex function is least, by thirds."""
    for _ in range(rounds):
        a, b = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, b) if cost(a) < cost(b) else (a, high)
    return (low + high) / 2


def obvious_mse(x, width):
    least, most = min(0.0, float(x.min())), max(0.0, float(x.max()))
    best_low = lambda high: lowest(lambda low: obvious_error(x, low, high, width), least, 0.0)  # noqa: E731
    high = lowest(lambda high: obvious_error(x, best_low(high), high, width), 0.0, most)
    return best_low(high), high


def obvious_divergences(counts, middle, left, right, names):
    """Threshold in bins -> divergence, spelled out with P and Q in full."""
    told = {}
    for threshold in range(1, max(left, right) + 1):
        start, end = middle - min(threshold, left), middle + min(threshold, right) + 1
        if end - start < names:
            continue
        inside = counts[start:end]
        p = inside.copy()
        p[0] += counts[:start].sum()
        p[-1] += counts[end:].sum()
        bounds = np.arange(names + 1) * len(p) // names
        alike, filled = np.add.reduceat(inside, bounds[:-1]), np.add.reduceat(p > 0, bounds[:-1], dtype=float)
        q = np.repeat(np.maximum(alike, 1e-4) / np.maximum(filled, 1), np.diff(bounds))
        keep = p > 0
        told[threshold] = float((p[keep] / p.sum() * np.log(p[keep] / p.sum() / (q[keep] / inside.sum()))).sum())
    return told


@few
@given(samples)
def test_minmax_is_exact_and_holds_zero(x):
    assert range_by("minmax", seen(x)) == Range(min(0.0, float(x.min())), max(0.0, float(x.max())))


@few
@given(samples, st.sampled_from(METHODS), st.booleans())
def test_zero_lies_inside_and_nothing_that_was_not_seen(x, method, symmetric):
    found = range_by(method, seen(x), symmetric=symmetric)
    assert min(0.0, x.min()) <= found.low <= 0.0 <= found.high <= max(0.0, x.max())
    for kind in ("u8", "s8"):
        grid = activation_grid(found.low, found.high, kind)
        assert grid.dequantize(grid.quantize(np.zeros(1))) == 0.0


@few
@given(samples, st.sampled_from(METHODS), st.randoms(use_true_random=False))
def test_order_and_cuts_change_no_range(x, method, random):
    shuffled = random.sample(list(x), len(x))
    assert range_by(method, seen(x, 1)) == range_by(method, seen(shuffled, 7))


@few
@given(samples, st.sampled_from(METHODS), st.sampled_from([2.0**-9, 2.0**12]))
def test_a_power_of_two_goes_through_every_method(x, method, factor):
    x = x[(x == 0) | (np.abs(x) > 1e-3)]
    if x.size:
        one, scaled = range_by(method, seen(x)), range_by(method, seen(x * np.float32(factor)))
        assert (scaled.low, scaled.high) == pytest.approx((one.low * factor, one.high * factor), rel=1e-12)


@pytest.mark.parametrize("method", ["percentile", "mse"])
@pytest.mark.parametrize("kind", KINDS)
def test_any_other_factor_goes_through_but_for_one_bin(method, kind):
    x = drawn(kind)
    one, other = seen(x), seen(x * np.float32(1.37))
    a, b = range_by(method, one), range_by(method, other)
    slack = one.width + other.width / 1.37
    assert abs(a.low - b.low / 1.37) <= slack and abs(a.high - b.high / 1.37) <= slack


@few
@given(samples)
def test_percentile_is_within_a_bin_of_sorting_everything(x):
    x = np.tile(x, 300)  # enough that a ten-thousandth is some values
    histogram = seen(x)
    found, (low, high) = range_by("percentile", histogram), obvious_percentile(x)
    assert low - histogram.width <= found.low <= low and high <= found.high <= high + histogram.width


@settings(max_examples=6, deadline=None)
@given(samples.filter(lambda x: np.any(x)))
def test_least_error_is_within_a_bin_of_trying_on_everything(x):
    histogram = seen(x)
    found, (low, high) = range_by("mse", histogram), obvious_mse(x, histogram.width)
    assert found.low == pytest.approx(low, abs=histogram.width)
    assert found.high == pytest.approx(high, abs=histogram.width)


@pytest.mark.parametrize("kind", KINDS)
def test_least_error_around_zero_is_within_a_bin_of_trying_on_everything(kind):
    x = drawn(kind, size=2000)
    histogram = seen(x)
    steps = 2 * (LEVELS // 2 - 1)
    wanted = lowest(lambda t: obvious_error(x, -t, t, histogram.width, steps), 0.0, float(np.abs(x).max()))
    found = range_by("mse", histogram, symmetric=True)
    assert max(-found.low, found.high) == pytest.approx(wanted, abs=histogram.width)


@pytest.mark.parametrize(("kind", "symmetric"), [("heavy", False), ("relu", False), ("laplace", True)])
def test_entropy_takes_the_threshold_of_least_divergence(kind, symmetric):
    x = drawn(kind, size=5000)
    histogram = seen(x)
    middle, counts = len(histogram.counts) // 2, histogram.counts.astype(float)
    if symmetric:
        counts = np.concatenate([np.zeros(middle), counts[middle:] + counts[middle::-1]])
    counts[middle] = counts[middle - 1] + counts[middle + 1]
    used = np.flatnonzero(counts)
    told = obvious_divergences(
        counts, middle, max(0, middle - used[0]), max(0, used[-1] - middle), LEVELS // (1 + symmetric)
    )
    found = range_by("entropy", histogram, symmetric=symmetric)
    wanted = (min(told, key=told.get) + 1) * histogram.width
    reach = float(np.abs(x).max())
    assert max(-found.low, found.high) == pytest.approx(min(wanted, reach), abs=histogram.width)


@pytest.mark.parametrize("kind", KINDS)
def test_least_error_errs_least_on_the_grid_it_is_for(kind):
    """Of the four, on the very values: the model of a uniform error is close enough."""
    x, histogram = drawn(kind), seen(drawn(kind))
    errors = {}
    for method in METHODS:
        found = range_by(method, histogram)
        grid = activation_grid(found.low, found.high, "u8")
        errors[method] = float(((grid.dequantize(grid.quantize(x)) - x) ** 2).mean())
    assert errors["mse"] <= 1.03 * min(errors.values())  # each is an average over random roundings


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("x", "wanted"), [([0.0] * 9, (0, 0)), ([3.0] * 9, (0, 3)), ([-2.5], (-2.5, 0)), ([1e-38], (0, 1e-38))]
)
def test_dead_constant_and_single_values_have_a_range(method, x, wanted):
    found = range_by(method, seen(x, 1))
    assert (found.low, found.high) == pytest.approx(wanted, rel=1e-2)
    assert np.isfinite(activation_grid(found.low, found.high, "u8").scale)


def test_a_tensor_without_values_is_nothing_but_zero():
    assert [range_by(method, Histogram()) for method in METHODS] == [Range(0.0, 0.0)] * 4
