"""Batches of any size for a model that fixes its own, and who is named where a run fails."""

import numpy as np
import pytest

from export.called import called
from export.session import onnx_runner, session
from export.stepped import any_batch, fixed_rows
from models.errors import CompressError
from models.records import InputSpec
from tests.compress.onnx_nets import Net


def layer(rows):
    net = Net()
    net.linear("x", 6, 4, name="layer")
    return net.model((InputSpec(name="x", dtype="float32", dims=(rows, 6)),), {"y": (rows, 4)})


@pytest.mark.parametrize("total", [1, 3, 4, 8, 11])
def test_rows_come_in_parts_and_a_rest_is_filled_up_and_cut_off_again(total):
    x = np.random.default_rng(0).standard_normal((total, 6)).astype(np.float32)
    assert fixed_rows(layer(4)) == 4 and fixed_rows(layer("N")) is None
    found = any_batch(layer(4))({"x": x})["y"]
    np.testing.assert_allclose(found, onnx_runner(layer("N"))({"x": x})["y"], rtol=1e-5, atol=1e-6)


def test_what_does_not_run_says_on_what():
    made = session(layer("N"))
    with pytest.raises(CompressError, match=r"'net' does not run on x float32\[2, 5\]: .* give --data"):
        called(made, {"x": np.zeros((2, 5), np.float32)}, "net")


def test_a_number_alone_is_one_for_each_part():
    net = Net()
    net.op("ReduceMean", "x", name="mean", keepdims=0)
    model = net.model((InputSpec(name="x", dtype="float32", dims=(4, 6)),), {"y": ()})
    x = np.repeat(np.float32([1, 2]), 24).reshape(8, 6)
    np.testing.assert_allclose(any_batch(model)({"x": x})["y"], [1, 2], rtol=1e-6)


def detector(kinds):
    """Of one picture at a time; `kinds`: what its shapes follow from is how many numbers are above zero."""
    net = Net()
    where = net.op("NonZero", net.op("Greater", "x", net.const("zero", 0.0), name="above"), name="where")
    listed = net.op("Transpose", where, name="listed", perm=[1, 0])
    found = net.op("GatherND", "x", listed, name="found")
    if kinds == "in a row":
        found = net.op("Unsqueeze", found, net.const("axis", [0], np.int64), name="row")
    spec = InputSpec(name="x", dtype="float32", dims=(1, 6))
    return net.model((spec,), {"y": ("k",) if kinds == "list" else (1, "k")})


def test_lists_of_each_part_come_one_behind_the_other_whole():
    x = np.random.default_rng(1).standard_normal((5, 6)).astype(np.float32)
    np.testing.assert_array_equal(any_batch(detector("list"))({"x": x})["y"], x[x > 0])


def test_rows_of_other_lengths_are_filled_up_with_no_number():
    x = np.random.default_rng(1).standard_normal((5, 6)).astype(np.float32)
    found = any_batch(detector("in a row"))({"x": x})["y"]
    counts = (x > 0).sum(1)
    assert found.shape == (5, counts.max())
    for row, want, count in zip(found, x, counts, strict=True):
        np.testing.assert_array_equal(row[:count], want[want > 0])
        assert np.isnan(row[count:]).all()


def test_a_number_beside_rows_that_are_fixed_is_the_same_for_each_part():
    net = Net()
    net.op("Add", net.linear("x", 6, 4, name="layer"), net.op("Cast", "rate", name="cast", to=1), name="sum")
    inputs = (InputSpec(name="x", dtype="float32", dims=(4, 6)), InputSpec(name="rate", dtype="int64", dims=()))
    model = net.model(inputs, {"y": (4, 4)})
    x = np.random.default_rng(0).standard_normal((10, 6)).astype(np.float32)
    assert fixed_rows(model) == 4
    found = any_batch(model)({"x": x, "rate": np.int64(3)})["y"]
    np.testing.assert_allclose(found, onnx_runner(layer("N"))({"x": x})["y"] + 3, rtol=1e-5, atol=1e-6)
