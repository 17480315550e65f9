import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.pruning.axes import (
    ONE,
    Axis,
    Mismatch,
    Product,
    Sum,
    axes_of,
    factor,
    freeze,
    keep_mask,
    regroup,
    resolve,
    share_out,
    size_of,
    split,
    terms_of,
    unify,
)

dims = st.recursive(
    st.integers(1, 6).map(Axis),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3)
        .map(tuple)
        .flatmap(lambda parts: st.sampled_from([Sum(parts), Product(parts)]))
    ),
    max_leaves=5,
)


def labels(dim, names):
    """Which index of which axis each index of a dimension stands for, as a set: the meaning of a dimension."""
    dim = resolve(dim)
    if isinstance(dim, Axis):
        return [frozenset([(names.setdefault(dim, len(names)), i)]) for i in range(dim.size)]
    if isinstance(dim, Sum):
        return [label for term in dim.terms for label in labels(term, names)]
    found = [frozenset()]
    for part in dim.factors:
        found = [a | b for a in found for b in labels(part, names)]
    return found


def random_keep(dim, rng):
    return {axis: rng.random(axis.size) < 0.5 for axis in axes_of(dim)}


@settings(deadline=None, max_examples=60)
@given(dims)
def test_putting_a_dimension_in_order_changes_nothing(dim):
    before, names = size_of(dim), {}
    assert size_of(resolve(dim)) == before == len(labels(dim, names))
    assert resolve(resolve(dim)) == resolve(dim)


@settings(deadline=None, max_examples=60)
@given(dims, st.data())
def test_two_pieces_are_the_whole(dim, data):
    at = data.draw(st.integers(0, size_of(dim)))
    try:
        left, right = split(dim, at)
    except Mismatch:
        return
    names = {}
    assert size_of(left) == at
    assert labels(left, names) + labels(right, names) == labels(dim, names)


@settings(deadline=None, max_examples=60)
@given(dims, st.data())
def test_rows_of_a_dimension_are_the_whole(dim, data):
    outer = data.draw(st.sampled_from([n for n in range(1, size_of(dim) + 1) if size_of(dim) % n == 0]))
    try:
        rows, inner = factor(dim, outer)
    except Mismatch:
        return
    assert size_of(rows) == outer and size_of(rows) * size_of(inner) == size_of(dim)
    keep = random_keep(dim, np.random.default_rng(0))
    np.testing.assert_array_equal(keep_mask(Product((rows, inner)), keep), keep_mask(dim, keep))


@settings(deadline=None, max_examples=60)
@given(dims, dims, st.integers(0, 9))
def test_what_is_tied_is_cut_at_the_same_indices(one, other, seed):
    """Pieces of equal size are tied in whatever way they were put together, or frozen."""
    both = math.lcm(size_of(one), size_of(other))
    one, other = (Product((d, Axis(both // size_of(d)))) for d in (one, other))
    unify(one, other, "they differ")
    axes = [axis for axis in dict.fromkeys([*axes_of(one), *axes_of(other)]) if not axis.frozen]
    rng = np.random.default_rng(seed)
    keep = {axis: rng.random(axis.size) < 0.5 for axis in axes}
    np.testing.assert_array_equal(keep_mask(one, keep), keep_mask(other, keep))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 5), st.data())
def test_branches_that_are_concatenated_in_any_way_and_added_agree(sizes, seed, data):
    """cat(a, b, c) + cat(d, e), with boundaries anywhere: the masks of both sides are one mask."""
    total = sum(sizes)
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, total - 1)), max_size=3)) - {total})
    others = np.diff([0, *cuts, total])
    first, second = Sum(tuple(map(Axis, sizes))), Sum(tuple(Axis(int(n)) for n in others))
    whole = unify(first, second, "never")
    assert not any(axis.frozen for axis in axes_of(whole))
    bounds = {0, *np.cumsum(sizes), *np.cumsum(others)}
    assert len(terms_of(whole)) == len(bounds) - 1  # cut at every boundary of either, and nowhere else
    keep = random_keep(whole, np.random.default_rng(seed))
    np.testing.assert_array_equal(keep_mask(first, keep), keep_mask(second, keep))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_a_reshape_moves_masks_as_numpy_moves_elements(shape, data):
    axes = [Axis(n) for n in shape]
    total = math.prod(shape)
    new, left = [], total
    while left > 1:
        new.append(data.draw(st.sampled_from([n for n in range(2, left + 1) if left % n == 0])))
        left //= new[-1]
    made = regroup(axes, new, "shape")
    assert [size_of(d) for d in made] == new
    rng = np.random.default_rng(0)
    keep = {axis: rng.random(axis.size) < 0.5 for d in axes for axis in axes_of(d) if not axis.frozen}

    def elements(dims, of):
        mask = np.ones(1, bool)
        for dim in dims:
            mask = np.outer(mask, keep_mask(dim, keep)).ravel()
        return mask.reshape(of)

    np.testing.assert_array_equal(elements(axes, shape).reshape(new), elements(made, new))


@settings(deadline=None, max_examples=60)
@given(dims)
def test_values_are_shared_out_to_axes_without_loss(dim):
    values = np.random.default_rng(0).random(size_of(dim))
    shares = list(share_out(dim, values))
    assert all(len(part) == axis.size for axis, part in shares)
    if isinstance(resolve(dim), Sum) and all(isinstance(t, Axis) for t in terms_of(dim)):
        np.testing.assert_allclose(np.concatenate([part for _, part in shares]), values)


def test_flattened_channels_are_cut_in_whole_maps():
    channels, positions = Axis(3), Axis(4, frozen="positions")
    keep = {channels: np.array([True, False, True])}
    assert keep_mask(Product((channels, positions)), keep).tolist() == [True] * 4 + [False] * 4 + [True] * 4


def test_heads_split_a_width_that_was_whole():
    width = Axis(12)
    (heads, inner) = regroup([width], [3, 4], "view")
    assert resolve(width) == Product((heads, inner))


def test_halves_that_are_dealt_out_like_cards_tie_index_by_index():
    """A channel shuffle of two groups, then a residual over two concatenated branches."""
    a, b = Axis(4), Axis(4)
    rows, inner = factor(Sum((a, b)), 2)
    assert resolve(a) == resolve(b) == resolve(inner)
    assert size_of(rows) == 2 and not list(axes_of(rows))


def test_what_was_frozen_stays_frozen_in_pieces_and_in_company():
    one, other = Axis(8, frozen="an input"), Sum((Axis(3), Axis(5)))
    unify(one, other, "never")
    assert {axis.frozen for axis in axes_of(other)} == {"an input"}
    freeze(other, "later")
    assert {axis.frozen for axis in axes_of(other)} == {"an input"}


@pytest.mark.parametrize(("left", "right"), [((2, 3), (3, 2)), ((4, 9), (6, 6))])
def test_products_that_do_not_fit_are_frozen_with_the_reason(left, right):
    one, other = (Product(tuple(map(Axis, sizes))) for sizes in (left, right))
    unify(one, other, "'add' ties them")
    frozen = {axis.frozen for axis in (*axes_of(one), *axes_of(other))}
    assert "'add' ties them" in frozen


def test_products_with_a_common_refinement_fit():
    one, other = (Product(tuple(map(Axis, sizes))) for sizes in ((2, 6), (4, 3)))
    assert [size_of(axis) for axis in axes_of(unify(one, other, "never"))] == [2, 2, 3]


def test_a_boundary_inside_a_row_is_a_mismatch():
    with pytest.raises(Mismatch):
        split(Product((Axis(3), Axis(4))), 5)
    assert split(Axis(5), 0)[0] == Sum(()) and resolve(Axis(1)) == ONE
