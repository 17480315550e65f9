"""Histograms: the counts are those of all values at once, in any order, cut in any way; and the range is exact."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from compress.quantization.histogram import BINS, Histogram, Range

floats = st.floats(-1e6, 1e6, width=32) | st.floats(-1, 1, width=32) | st.sampled_from([0.0, -0.0, 1e-30, 3e38])
values = arrays(np.float32, st.integers(1, 40), elements=floats)
few = settings(max_examples=30, deadline=None)


def seen(*parts):
    histogram = Histogram()
    for part in parts:
        histogram.add(part)
    return histogram


def obvious(x):
    """The counts and the width, from all values held at once and looked at one by one."""
    width, counts = 2.0**-126, np.zeros(2 * BINS - 1, int)
    while np.abs(x.astype(np.float64)).max() >= BINS * width:
        width *= 2
    for value in x.astype(np.float64).reshape(-1):
        counts[math.trunc(value / width) + BINS - 1] += 1
    return counts, width


@few
@given(values)
def test_counts_are_those_of_a_slow_look_at_everything(x):
    counts, width = obvious(x)
    histogram = seen(*np.array_split(x, 3))
    np.testing.assert_array_equal(histogram.counts, counts)
    assert (histogram.width, histogram.size) == (width, x.size)


@few
@given(values)
def test_the_range_is_exact(x):
    assert seen(*np.array_split(x, 4)).seen == Range(float(x.min()), float(x.max()))


@few
@given(values, st.randoms(use_true_random=False), st.lists(st.integers(0, 40), max_size=5))
def test_neither_order_nor_cuts_change_anything(x, random, cuts):
    shuffled = np.array(random.sample(list(x), len(x)), np.float32)
    one, other = seen(x), seen(*np.split(shuffled, sorted(cuts)))
    np.testing.assert_array_equal(one.counts, other.counts)
    assert (one.seen, one.size, one.width) == (other.seen, other.size, other.width)


@few
@given(arrays(np.float32, 20, elements=st.floats(-8, 8, width=32).filter(lambda v: v == 0 or abs(v) > 1e-3)))
def test_a_power_of_two_in_the_scale_changes_the_width_alone(x):
    one, scaled = seen(x), seen(x * np.float32(2.0**20))
    np.testing.assert_array_equal(one.counts, scaled.counts)
    assert scaled.width == one.width * (2.0**20 if np.any(x) else 1.0)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_kind_of_float_is_counted_alike(dtype):
    x = np.linspace(-3, 5, 50_001).astype(np.float16)
    np.testing.assert_array_equal(seen(x.astype(dtype)).counts, obvious(x)[0])


def test_values_may_lie_in_memory_as_they_like():
    x = np.random.default_rng(0).standard_normal((6, 8, 10)).astype(np.float32)
    np.testing.assert_array_equal(seen(x[::2].transpose(2, 0, 1)).counts, obvious(x[::2])[0])


def test_memory_is_that_of_the_bins():
    histogram = Histogram()
    for power in range(-30, 30):
        histogram.add(np.float32([2.0**power]))
        assert histogram.counts.shape == (2 * BINS - 1,)
    assert histogram.counts.sum() == histogram.size == 60


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused_and_leaves_all_as_it_was(bad):
    histogram = seen(np.float32([1.0]))
    with pytest.raises(ValueError, match="NaN or infinity"):
        histogram.add(np.float32([2.0, bad]))
    assert (histogram.seen, histogram.size, histogram.counts.sum()) == (Range(1.0, 1.0), 1, 1)


def test_nothing_is_nothing():
    histogram = seen(np.zeros((0, 3), np.float32))
    assert (histogram.size, histogram.counts.sum()) == (0, 0)


def test_ranges_alone_are_taken_where_nothing_shall_be_counted():
    histogram = Histogram(counted=False)
    histogram.add(np.float32([-1.0, 2.0]))
    assert histogram.seen == Range(-1.0, 2.0)
    with pytest.raises(ValueError, match="Histogram\\(counted=True\\)"):
        _ = histogram.counts
