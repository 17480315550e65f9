"""Half precision to compute in: for GPUs, between inputs and outputs as they were."""

from dataclasses import replace

import numpy as np
import pytest

from compress.quantization.half import compute_half
from compress.quantization.histogram import Range
from export.folded import fold
from export.parity import sqnr_db
from export.session import onnx_runner
from models.records import example, sizes_of
from tests.compress.onnx_nets import attention, conv_net, recurrent


@pytest.mark.parametrize("build", [conv_net, attention, recurrent], ids=["conv", "attention", "gru"])
def test_names_and_types_of_inputs_and_outputs_stay(build):
    model = fold(build())
    network, changed, _ = compute_half(model.network, {})
    made = replace(model, network=network)
    x = example(model.inputs, {**sizes_of(model), "N": 4}, seed=50)
    got, real = onnx_runner(made)(x), onnx_runner(model)(x)
    assert changed
    for name, value in real.items():
        assert got[name].dtype == np.float32
        assert sqnr_db(value, got[name]) > 50


def test_a_node_whose_numbers_overflow_stays_in_float():
    model = fold(conv_net())
    network, changed, kept = compute_half(model.network, {"body.act_out": Range(0.0, 1e5)})
    assert [note.layer for note in kept] == ["body.act", "gap"]
    assert kept[0].text == "'body.act_out' reaches 1e+05, and half precision ends at 65504"
    assert "stem" in [note.layer for note in changed]
    x = example(model.inputs, {"N": 2}, seed=50)
    assert sqnr_db(onnx_runner(model)(x)["logits"], onnx_runner(replace(model, network=network))(x)["logits"]) > 50
