"""The arithmetic of eight bits: closed forms and properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from compress.quantization.int8 import PAIR, activation_grid, bias_names, least_scale, weight_grid

REALS = st.floats(-1e6, 1e6, width=32)
WEIGHTS = arrays(np.float32, array_shapes(min_dims=2, max_dims=4, max_side=8), elements=st.floats(-8, 8, width=32))


@given(REALS, REALS, st.floats(0, 1), st.sampled_from(["u8", "s8"]))
def test_rounding_error_is_at_most_half_a_step_inside_the_range(a, b, where, kind):
    low, high = min(a, b, 0.0), max(a, b, 0.0)
    grid = activation_grid(low, high, kind)
    real = np.float32(low + where * (high - low))
    error = abs(float(grid.dequantize(grid.quantize(real))) - float(real))
    # the ends are rounded to the grid too, so a value at an end may lie half a step outside it
    assert error <= float(grid.scale) * 0.5 * (1 + 1e-4) + 1e-12


@given(REALS, REALS, st.sampled_from(["u8", "s8"]))
def test_zero_is_kept_exactly(a, b, kind):
    grid = activation_grid(min(a, b), max(a, b), kind)
    assert grid.dequantize(grid.quantize(np.float32(0.0))) == 0.0
    assert grid.quantize(np.float32(0.0)) == grid.zero


@given(WEIGHTS, st.booleans(), st.booleans())
def test_a_weight_is_kept_within_half_a_step_of_its_channel(weight, per_channel, pairs_fit):
    grid = weight_grid(weight, (0,) if per_channel else (), pairs_fit=pairs_fit)
    error = np.abs(grid.dequantize(grid.quantize(weight)) - weight)
    assert (error <= grid.scale * 0.5 * (1 + 1e-5) + 1e-9).all()


@given(WEIGHTS, st.booleans())
def test_no_pair_of_one_channel_leaves_sixteen_bits(weight, per_channel):
    grid = weight_grid(weight, (0,) if per_channel else (), pairs_fit=True)
    rows = grid.quantize(weight).astype(np.int64).reshape(len(weight), -1)
    for sign in (1, -1):
        two = np.sort(np.maximum(sign * rows, 0), axis=1)[:, -2:].sum(axis=1)
        assert (two <= PAIR).all()
        assert (255 * two <= 32767).all()


@given(arrays(np.float32, (3, 9), elements=st.floats(-8, 8, width=32)), st.integers(-10, 10), st.booleans())
def test_a_weight_scaled_by_a_power_of_two_keeps_its_names(weight, power, pairs_fit):
    weight = np.where(np.abs(weight) < 1e-3, 0, weight).astype(np.float32)  # far from the smallest scale
    factor = np.float32(2.0**power)
    one, other = (weight_grid(w, (0,), pairs_fit=pairs_fit) for w in (weight, weight * factor))
    np.testing.assert_array_equal(one.quantize(weight), other.quantize(weight * factor))


def test_without_pairs_the_largest_weight_takes_the_last_name():
    weight = np.array([[0.5, -2.0], [0.0, 1.0]], np.float32)
    grid = weight_grid(weight, (0,))
    np.testing.assert_array_equal(grid.quantize(weight), [[32, -127], [0, 127]])
    np.testing.assert_allclose(grid.scale.ravel(), [2 / 127, 1 / 127], rtol=1e-6)


def test_two_equal_weights_take_seven_bits_and_an_outlier_costs_only_one():
    assert (
        np.abs(weight_grid(np.array([[1.0, 1.0]]), (0,), pairs_fit=True).quantize(np.array([[1.0, 1.0]]))).max() == 64
    )
    lone = np.array([[1.0, 0.01]])
    assert weight_grid(lone, (0,), pairs_fit=True).quantize(lone)[0, 0] >= 125
    opposite = np.array([[1.0, -1.0]])  # products of opposite sign cannot add up
    np.testing.assert_array_equal(weight_grid(opposite, (0,), pairs_fit=True).quantize(opposite), [[127, -127]])


def test_nothing_but_zeros_has_a_scale_and_stays_zero():
    assert float(activation_grid(0.0, 0.0, "u8").scale) == 1.0
    grid = weight_grid(np.zeros((2, 3), np.float32), (0,), pairs_fit=True)
    np.testing.assert_array_equal(grid.scale.ravel(), [1.0, 1.0])
    np.testing.assert_array_equal(grid.dequantize(grid.quantize(np.zeros((2, 3)))), 0.0)


@pytest.mark.parametrize("constant", [3.0, -0.25])
def test_a_constant_activation_is_kept_within_a_rounding(constant):
    grid = activation_grid(constant, constant, "u8")
    assert float(grid.dequantize(grid.quantize(np.float32(constant)))) == pytest.approx(constant, rel=1e-6)


def test_relus_zero_is_the_grids_lower_end():
    grid = activation_grid(0.0, 6.0, "u8")
    assert grid.zero == 0
    assert float(grid.dequantize(grid.quantize(np.float32(-5.0)))) == 0.0


def test_tiny_numbers_keep_a_product_of_scales_that_is_normal():
    a, w = activation_grid(0, 1e-30, "u8"), weight_grid(np.full((1, 2), 1e-30, np.float32), (0,))
    assert float(np.float32(a.scale * w.scale.reshape(-1)[0])) > np.finfo(np.float32).tiny


def test_a_huge_bias_widens_the_weight_scale_until_it_fits():
    bias, scale = np.array([1e6, 0.0], np.float32), np.float32(1e-4)
    least = least_scale(bias, scale)
    grid = weight_grid(np.full((2, 4), 1e-3, np.float32), (0,), least=least)
    names = bias_names(bias, scale * grid.scale.reshape(-1))
    assert abs(int(names[0])) <= 2**29
    assert float(names[0] * scale * grid.scale.reshape(-1)[0]) == pytest.approx(1e6, rel=1e-5)


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(-8, 8, width=32)))
def test_in_order_no_two_neighbours_leave_16_bits_and_no_step_grows(weight):
    grid, any_two = (
        weight_grid(weight, (0,), pairs_fit=True, in_order=weight),
        weight_grid(weight, (0,), pairs_fit=True),
    )
    names = np.pad(grid.quantize(weight).astype(int), ((0, 0), (0, weight.shape[1] % 2))).reshape(len(weight), -1, 2)
    assert np.maximum(names, 0).sum(2).max() <= 128
    assert np.maximum(-names, 0).sum(2).max() <= 128
    assert (grid.scale <= any_two.scale).all()


@given(
    arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(-8, 8, width=32)),
    st.sampled_from([(0,), ()]),
)
def test_in_order_of_the_kernel_neighbours_fit_also_with_one_scale_for_all(weight, axes):
    """A convolution of one place and two: the kernel reads it channels last."""
    shape = (len(weight), weight.shape[1], 2)
    numbers = np.stack([weight, weight[:, ::-1]], axis=-1).reshape(shape)
    kernel = np.moveaxis(numbers, 1, -1).reshape(len(weight), -1)
    grid = weight_grid(numbers, axes, pairs_fit=True, in_order=kernel)
    names = np.moveaxis(grid.quantize(numbers), 1, -1).reshape(len(weight), -1, 2).astype(int)
    assert np.maximum(names, 0).sum(2).max() <= 128
    assert np.maximum(-names, 0).sum(2).max() <= 128
    assert (grid.scale <= weight_grid(numbers, axes, pairs_fit=True).scale).all()
