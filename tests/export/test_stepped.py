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
