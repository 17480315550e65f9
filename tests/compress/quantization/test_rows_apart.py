"""Rows of the data that are no samples to the network: told, and never where they are."""

import numpy as np
import pytest

from compress.base import Context
from compress.quantization.quantize import Quantize
from compress.quantization.rows_apart import mixed_rows
from models.records import InputSpec, example, sizes_of
from tests.compress.onnx_nets import Net, attention, conv_net, depthwise_net, mlp, recurrent, stream


def time_first(kind="GRU", hidden=16):
    """(T, N, F), as torch's recurrent layers take it unless told otherwise."""
    net, gates = Net(3), {"GRU": 3, "LSTM": 4, "RNN": 1}[kind]
    w, r = net.weight("w", 1, gates * hidden, 8), net.weight("r", 1, gates * hidden, hidden)
    heard = net.op(kind, "x", w, r, name="layer", hidden_size=hidden)
    flat = net.op("Squeeze", heard, net.const("axis", [1], np.int64), name="flat")
    net.matmul(flat, hidden, 4, name="head")
    inputs = (InputSpec(name="x", dtype="float32", dims=("T", "N", 8)),)
    return net.model(inputs, {"y": ("T", "N", 4)}, typical={"N": 5, "T": 6})


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
def test_a_network_that_takes_time_first_is_told(kind):
    model = time_first(kind)
    x = {"x": np.random.default_rng(0).normal(size=(40, 6, 8)).astype(np.float32)}
    outcome = Quantize(mode="weights")(model, Context(calibration=[x]))
    assert "time first?" in outcome.facts["warning"]


@pytest.mark.parametrize("build", [conv_net, depthwise_net, mlp, recurrent, attention, stream])
@pytest.mark.parametrize("mode", ["weights", "dynamic"])
def test_a_network_whose_rows_are_samples_is_not(build, mode):
    model = build()
    x = example(model.inputs, {**sizes_of(model), "N": 8}, seed=1)
    outcome = Quantize(mode=mode)(model, Context(calibration=[x]))
    assert "warning" not in outcome.facts
    assert mixed_rows(outcome.model, [x]) == ""  # nor where rows share the range of the moment


def test_two_rows_are_too_few_to_tell():
    model = time_first()
    assert mixed_rows(model, [{"x": np.zeros((2, 6, 8), np.float32)}]) == ""
