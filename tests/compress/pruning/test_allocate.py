import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.pruning import allocate as module
from compress.pruning.allocate import allocate, losses_of
from compress.pruning.axes import Axis
from compress.pruning.polynomial import Polynomial
from compress.pruning.widths import Width, choices


def widths_and_losses(rng, sizes, step=1):
    axes = [Axis(size) for size in sizes]
    widths = [Width(f"layer{i}", (axis,), choices(axis.size, 1, step, 1)) for i, axis in enumerate(axes)]
    return widths, losses_of(widths, {axis: rng.gamma(2.0, size=axis.size) for axis in axes})


def chain(sizes):
    """Parameters of a chain of layers: 10 inputs, these widths, 5 outputs."""
    ends = [10, *range(len(sizes)), 5]
    terms = {(0,): 10.0, (len(sizes) - 1,): 5.0}
    for one, other in itertools.pairwise(ends[1:-1]):
        terms[(one, other)] = terms.get((one, other), 0.0) + 1.0
    return Polynomial.of(terms)


def brute_force(widths, losses, cost, goal):
    best = None
    for chosen in itertools.product(*(range(len(w.choices)) for w in widths)):
        counts = tuple(w.choices[i] for w, i in zip(widths, chosen, strict=True))
        if float(cost(counts)) <= goal:
            lost = sum(loss[i] for loss, i in zip(losses, chosen, strict=True))
            if best is None or lost < best[0] - 1e-12:
                best = lost, counts
    return best


def lost_by(widths, losses, counts):
    return sum(loss[width.choices.index(count)] for width, loss, count in zip(widths, losses, counts, strict=True))


@pytest.mark.parametrize("all_of_them", [True, False], ids=["all", "greedy"])
@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.lists(st.integers(2, 6), min_size=1, max_size=4), st.floats(0.1, 0.95))
def test_a_tiny_knapsack_is_filled_as_by_trying_everything(all_of_them, seed, sizes, share):
    widths, losses = widths_and_losses(np.random.default_rng(seed), sizes)
    cost = chain(sizes)
    goal = share * float(cost(sizes))
    best = brute_force(widths, losses, cost, goal)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_ALL", 20_000 if all_of_them else 0)
        found = allocate(widths, losses, cost, goal)
    assert (found is None) == (best is None)
    if found is not None:
        assert float(cost(found)) <= goal
        lost = lost_by(widths, losses, found)
        assert lost == pytest.approx(best[0]) if all_of_them else lost >= best[0] - 1e-9
        for number, width in enumerate(widths):  # nothing is given away: no width could have been kept wider
            for wider in width.choices[: width.choices.index(found[number])]:
                assert float(cost([*found[:number], wider, *found[number + 1 :]])) > goal


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.lists(st.integers(2, 6), min_size=1, max_size=4), st.floats(0.3, 0.95))
def test_steps_are_the_best_where_units_of_all_layers_cost_the_same(seed, sizes, share):
    """Fox 1966, Oper. Res. 14: of convex losses and equal costs the cheapest step is always right."""
    widths, losses = widths_and_losses(np.random.default_rng(seed), sizes)
    cost = Polynomial.of({(number,): 1.0 for number in range(len(sizes))})
    goal = max(len(sizes), share * sum(sizes))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_ALL", 0)
        found = allocate(widths, losses, cost, goal)
    assert lost_by(widths, losses, found) == pytest.approx(brute_force(widths, losses, cost, goal)[0])


def test_units_that_matter_nothing_go_first_and_cost_nothing():
    scores = np.array([1.0, 0, 2, 0, 3, 0])
    axis, other = Axis(6), Axis(6)
    widths = [Width("a", (axis,), choices(6, 1, 1, 1)), Width("b", (other,), choices(6, 1, 1, 1))]
    losses = losses_of(widths, {axis: scores, other: np.ones(6)})
    assert allocate(widths, losses, Polynomial.of({(0,): 1.0, (1,): 1.0}), 9) == (3, 6)
    assert losses[0][3] == 0 and losses[1][3] == pytest.approx(np.log(2))


def test_alike_units_of_equal_cost_are_shared_out_evenly():
    """-log is convex: of two equal groups none is emptied for the other."""
    axes = [Axis(16), Axis(16)]
    widths = [Width("", (axis,), choices(16, 1, 1, 1)) for axis in axes]
    losses = losses_of(widths, {axis: np.ones(16) for axis in axes})
    assert allocate(widths, losses, Polynomial.of({(0,): 3.0, (1,): 3.0}), 48) == (8, 8)


def test_what_cannot_be_met_is_not():
    widths, losses = widths_and_losses(np.random.default_rng(0), [4, 4])
    assert allocate(widths, losses, Polynomial.of({(0,): 1.0, (): 5.0}), 5.9) is None
    assert allocate(widths, losses, Polynomial.of({(0,): 1.0, (): 5.0}), 6.0)[0] == 1
    assert allocate([], [], Polynomial.of({(): 5.0}), 5) == () and allocate([], [], Polynomial.of({(): 5.0}), 4) is None


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 3000), st.sampled_from([1, 3, 8, 24, 64]), st.sampled_from([1, 4, 8, 16, 32]), st.integers(1, 9))
def test_choices_are_what_a_device_likes(size, row, multiple, least):
    found = choices(size, row, multiple, least)
    step = multiple // np.gcd(multiple, row)
    assert found[0] == size and list(found) == sorted(set(found), reverse=True) and found[-1] >= min(least, size)
    assert all(count % step == 0 for count in found[1:] if count > step)
    assert least > 1 or found[-1] == 1
