import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.timing import FEWEST_TURNS, Turn, compare, judge, median_interval, timing


def turns(values, disturbed=()):
    return [Turn(np.array([value]), i in disturbed) for i, value in enumerate(values)]


def share_that_holds_zero(series):
    intervals = np.array([median_interval(values) for values in series])
    return np.mean((intervals[:, 0] <= 0) & (intervals[:, 1] >= 0))


def autoregressive(rng, many, count, likeness):
    noise = rng.standard_normal((many, count))
    for i in range(1, count):
        noise[:, i] = likeness * noise[:, i - 1] + math.sqrt(1 - likeness**2) * noise[:, i]
    return noise


def test_the_interval_of_alternating_ranks_is_the_one_of_the_tables():
    # n = 20 without runs of neighbours above or below the median: ranks 6 and 15 (Conover, table A3, p = 0.5)
    values = np.array([v for pair in zip(range(1, 11), range(20, 10, -1), strict=True) for v in pair], float)
    assert median_interval(values) == (6, 15)


def test_six_values_give_their_range():
    assert median_interval(np.array([3.0, 1, 4, 1, 5, 9])) == (1, 9)


@pytest.mark.parametrize("count", [6, 9, 25, 100])
def test_the_interval_of_independent_values_holds_the_median_in_95_of_100(count):
    rng = np.random.default_rng(count)
    # 2000 tries of 95 % have a standard error of half a point; heavy tails are what timings have
    assert share_that_holds_zero(rng.standard_cauchy((2000, count))) > 0.94


def test_noise_in_stretches_widens_the_interval():
    series = autoregressive(np.random.default_rng(0), 1000, 200, 0.7)
    shuffled = np.random.default_rng(1).permuted(series, axis=1)
    widths = [np.mean([high - low for low, high in map(median_interval, s)]) for s in (series, shuffled)]
    assert widths[0] > 1.7 * widths[1]  # in theory sqrt(1 + 2 sum arcsin(0.7^k) 2/pi) = 1.9
    assert share_that_holds_zero(series) > 0.91
    naive = [np.sort(s)[[85, 114]] for s in series]  # 200/2 ± 1.96 sqrt(200)/2, blind to the stretches
    assert np.mean([low <= 0 <= high for low, high in naive]) < 0.8


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=60))
def test_interval_median_and_percentiles_are_in_order(values):
    found = timing(turns(values))
    assert found.low_ms <= found.median_ms <= found.high_ms
    assert found.median_ms <= found.p95_ms * (1 + 1e-12) and found.p95_ms <= found.p99_ms
    assert found.runs == len(values)


@given(st.lists(st.tuples(st.floats(0.001, 1000), st.floats(0.001, 1000)), min_size=1, max_size=40))
def test_swapping_the_two_inverts_the_speed_up(pairs):
    ours, theirs = turns([a for a, _ in pairs]), turns([b for _, b in pairs])
    one, other = compare("a", "b", ours, theirs), compare("b", "a", theirs, ours)
    assert one.speedup == pytest.approx(1 / other.speedup)
    assert (one.low, one.high) == pytest.approx((1 / other.high, 1 / other.low))
    swapped = {"faster": "slower", "slower": "faster"}
    assert one.verdict == swapped.get(other.verdict, other.verdict)


def test_a_factor_is_found_exactly_whatever_the_weather():
    weather = np.exp(np.cumsum(np.random.default_rng(3).standard_normal(50)))
    found = compare("a", "b", turns(2.5 * weather), turns(weather))
    assert (found.speedup, found.low, found.high) == pytest.approx((2.5, 2.5, 2.5))
    assert (found.verdict, found.turns) == ("faster", 50)


@pytest.mark.parametrize(("luck", "often"), [(0.02, "no difference"), (0.05, "cannot tell"), (0.3, "cannot tell")])
def test_two_identical_callables_are_seldom_told_apart(luck, often):
    rng = np.random.default_rng(4)
    said = []
    for _ in range(300):
        weather = np.exp(0.3 * autoregressive(rng, 1, 40, 0.9)[0])  # the whole machine
        a, b = (weather * np.exp(luck * rng.standard_normal(40)) for _ in range(2))  # each turn's own
        said.append(compare("a", "b", turns(a), turns(b)).verdict)
    assert said.count("faster") + said.count("slower") <= 0.05 * 300 + 2 * math.sqrt(300 * 0.05 * 0.95)
    assert said.count(often) > 200


@pytest.mark.parametrize(
    ("speedup", "low", "high", "verdict"),
    [
        (1.00, 0.99, 1.02, "no difference"),
        (1.02, 1.015, 1.025, "no difference"),
        (1.50, 1.40, 1.60, "faster"),
        (0.50, 0.40, 0.60, "slower"),
        (1.20, 0.90, 1.40, "cannot tell"),
        (1.02, 1.01, 1.05, "cannot tell"),  # is it beyond 3 %? the interval does not say
        (0.98, 0.95, 0.99, "cannot tell"),
        (1.00, 0.50, 2.00, "cannot tell"),
    ],
)
def test_the_verdict_follows_the_interval(speedup, low, high, verdict):
    assert judge(speedup, low, high) == verdict


def test_a_disturbed_turn_is_left_out_and_counted():
    found = timing(turns([1, 1, 1, 50, 1, 1, 1], disturbed={3}))
    assert (found.runs, found.disturbed, found.high_ms, found.p99_ms) == (6, 1, 1, 1)


def test_where_nearly_all_are_disturbed_all_count():
    found = timing(turns(range(1, 8), disturbed=range(3, 7)))
    assert (found.runs, found.disturbed) == (7, 0)


def test_a_round_counts_where_both_ran_alone():
    found = compare("a", "b", turns([2.0] * 8 + [90], {8}), turns([40.0] + [1] * 8, {0}))
    assert (found.speedup, found.low, found.high, found.turns) == pytest.approx((2, 2, 2, 7))


def test_where_no_round_was_quiet_for_both_the_quiet_turns_of_each_are_paired():
    even, odd = set(range(0, 20, 2)), set(range(1, 20, 2))
    a = turns([30 if i in even else 2 for i in range(20)], even)
    b = turns([30 if i in odd else 1 for i in range(20)], odd)
    found = compare("a", "b", a, b)
    assert (found.speedup, found.turns, found.verdict) == (pytest.approx(2), 10, "faster")


def test_calls_of_a_turn_are_summed_up_by_their_median():
    taken = [Turn(np.array([1.0, 1.0, 100.0])) for _ in range(FEWEST_TURNS)]
    found = timing(taken)
    assert (found.runs, found.median_ms, found.high_ms, found.p99_ms) == (18, 1, 1, 100)


def test_turns_of_different_rounds_are_refused():
    with pytest.raises(ValueError, match="argument"):
        compare("a", "b", turns([1, 2]), turns([1]))
