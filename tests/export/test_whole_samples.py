"""Samples that are whole inputs: told from rows by their dimensions, run one by one, stacked."""

import numpy as np
import pytest

from export.session import onnx_runner, runner_for
from export.stepped import any_batch
from export.whole_samples import are_whole, each_sample, joined
from models.records import InputSpec
from tests.compress.onnx_nets import Net, mlp, stream

RNG = np.random.default_rng(0)


def spec(*dims, name="x"):
    return InputSpec(name=name, dtype="float32", dims=dims)


def time_first(*, last=False, rows="N"):
    """A GRU over (T, N, 8); all its answers, or the last alone."""
    net = Net(3)
    w, r = net.weight("w", 1, 48, 8), net.weight("r", 1, 48, 16)
    net.op("GRU", "x", w, r, name="layer", hidden_size=16)
    if last:
        net.nodes[-1].output[:] = ["", "layer_out"]
        flat = net.op("Squeeze", "layer_out", net.const("axis", [0], np.int64), name="flat")
    else:
        flat = net.op("Squeeze", "layer_out", net.const("axis", [1], np.int64), name="flat")
    net.matmul(flat, 16, 4, name="head")
    return net.model((spec("T", rows, 8),), {"y": (rows, 4) if last else ("T", rows, 4)}, typical={"T": 6, "N": 1})


@pytest.mark.parametrize("runner", [runner_for, onnx_runner, any_batch])
@pytest.mark.parametrize("last", [True, False])
def test_each_is_run_by_itself(runner, last):
    model = time_first(last=last)
    x = RNG.standard_normal((5, 6, 1, 8)).astype(np.float32)
    found = runner(model)({"x": x})["y"]
    for sample, answer in zip(x, found, strict=True):
        np.testing.assert_allclose(onnx_runner(model)({"x": sample})["y"], answer, atol=1e-6)


def test_they_are_told_by_dimensions_of_all_inputs():
    x, y = np.zeros((4, 6, 1, 8)), np.zeros((4, 3))
    both = (spec("T", "N", 8), spec("K", name="y"))
    assert are_whole({"x": x}, both[:1]) and are_whole({"x": x, "y": y}, both)
    assert not are_whole({"x": x[0]}, both[:1])
    assert not are_whole({"x": x, "y": y[0]}, both)
    assert not are_whole({"x": x, "y": y[:3]}, both)
    assert not are_whole({"x": np.zeros((4, 2, 1, 16))}, stream().inputs)  # a state goes on from step to step
    assert not are_whole({"x": np.zeros((4, 32))}, mlp().inputs)
    assert [sample["y"].shape for sample in each_sample({"x": x, "y": y}, both)] == [(3,)] * 4


def test_what_differs_in_length_is_filled_up():
    parts = [RNG.standard_normal((1, n, 2)).astype(np.float32) for n in (3, 1, 2)]
    found = joined(parts)
    assert found.shape == (3, 3, 2)
    for part, row in zip(parts, found, strict=True):
        np.testing.assert_array_equal(row[: part.shape[1]], part[0])
        assert np.isnan(row[part.shape[1] :]).all()
    assert joined([np.ones((1, 2), np.int64), np.ones((1, 3), np.int64)]).tolist() == [[1, 1, 0], [1, 1, 1]]
