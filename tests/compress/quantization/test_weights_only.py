"""Weights in int8 or half precision, computed in float: fewer bytes, the same operators at run time."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from compress.base import Context
from compress.quantization.quantize import Quantize
from compress.quantization.weights_only import _grid_in
from export.folded import fold
from export.onnx_file import to_bytes
from export.parity import sqnr_db
from export.profile import optimized_graph
from export.session import onnx_runner
from models.records import Form, InputSpec, OutputSpec, example, sizes_of
from tests.compress.onnx_nets import Net, attention, conv_net, mlp, recurrent, stream

EVERY = [conv_net, mlp, attention, recurrent, lambda: recurrent("LSTM"), lambda: recurrent("RNN")]
NAMES = ["conv", "mlp", "attention", "gru", "lstm", "rnn"]


def quantized(model, mode="weights", **settings):
    return Quantize(mode=mode, **settings)(model, Context())


def inputs(model):
    return example(model.inputs, {**sizes_of(model), "N": 8}, seed=50)


@pytest.mark.parametrize("build", EVERY, ids=NAMES)
def test_the_runtime_folds_the_stored_weights_and_runs_the_float_operators(build):
    model = build()
    outcome = quantized(model)
    assert optimized_graph(outcome.model) == optimized_graph(fold(model))
    assert len(to_bytes(outcome.model)) < 0.55 * len(to_bytes(model))
    x, name = inputs(model), model.outputs[0].name
    assert sqnr_db(onnx_runner(model)(x)[name], onnx_runner(outcome.model)(x)[name]) > 35
    assert to_bytes(outcome.model) == to_bytes(quantized(model).model)


def test_every_weight_is_kept_within_half_a_step_of_its_channel():
    model = recurrent("GRU", hidden=16)
    constants = {n: v.const_value.numpy() for n, v in quantized(model).model.network.graph.initializers.items()}
    for name in ("rnn.W", "rnn.R", "head.weight"):
        real = model.network.graph.initializers[name].const_value.numpy()
        scale = constants[f"{name}_scale"]
        error = np.abs(constants[f"{name}_q"].astype(np.float32) * scale - real)
        assert constants[f"{name}_q"].dtype == np.int8
        assert scale.size == (48 if name != "head.weight" else 10)
        assert (error <= scale * 0.5 * (1 + 1e-5)).all()


def test_a_weight_too_small_to_gain_stays_as_it_is():
    outcome = quantized(mlp(width=4))
    assert [n.layer for n in outcome.skipped] == ["second", "last"]
    assert outcome.skipped[0].text == "64 bytes of weights: scales and nodes would take more than 8 bits save"
    assert len(to_bytes(outcome.model)) < len(to_bytes(mlp(width=4)))


def test_a_weight_that_two_layers_share_is_stored_once():
    net = Net()
    weight = net.weight("tied", 64, 64)
    y = net.op("Gemm", "x", weight, name="up", transB=1)
    net.op("Gemm", y, weight, name="down")
    outcome = quantized(net.model((InputSpec(name="x", dtype="float32", dims=("N", 64)),), {"y": ("N", 64)}))
    sizes = [v.const_value.nbytes for v in outcome.model.network.graph.initializers.values()]
    assert sum(sizes) == 64 * 64 + 4 * 64
    assert [n.layer for n in outcome.changed] == ["up", "down"]


def test_every_form_is_compressed_and_a_layer_is_named_once():
    main, step = recurrent("GRU"), stream()
    model = replace(main, forms={"step": Form(inputs=step.inputs, outputs=step.outputs, network=step.network)})
    outcome = quantized(model)
    assert "again.weight_q" in outcome.model.forms["step"].network.graph.initializers
    layers = [note.layer for note in outcome.changed]
    assert layers == ["rnn", "head", "input", "again"]


def test_half_precision_is_stored_and_folded_where_the_processor_cannot_compute_it():
    model = attention()
    outcome = quantized(model, mode="fp16")
    assert {"embed", "q", "up", "head"} <= {note.layer for note in outcome.changed}
    assert optimized_graph(outcome.model) == optimized_graph(fold(model))
    assert len(to_bytes(outcome.model)) < 0.56 * len(to_bytes(model))
    x = inputs(model)
    assert sqnr_db(onnx_runner(model)(x)["logits"], onnx_runner(outcome.model)(x)["logits"]) > 60


def test_what_half_precision_cannot_hold_stays_float():
    model = mlp()
    value = model.network.graph.initializers["second.weight"]
    numbers = value.const_value.numpy().copy()
    numbers[0, 0] = 1e6
    value.const_value = ir.tensor(numbers, name="second.weight")
    (note,) = quantized(model, mode="fp16").skipped
    assert (note.layer, note.text) == ("second", "'second.weight' reaches 1e+06, and half precision ends at 65504")


def test_skip_is_kept_in_every_mode():
    for mode in ("weights", "fp16"):
        outcome = quantized(mlp(), mode=mode, skip=("fir*",))
        assert [(n.layer, n.text) for n in outcome.skipped] == [("first", "skipped, as asked")]


def test_a_weight_that_the_network_gives_out_stays_as_it_is():
    net = Net()
    weight = net.weight("shown", 64, 64)
    net.op("MatMul", "x", weight, name="layer")
    net.matmul("layer_out", 64, 64, name="next")
    model = net.model((InputSpec(name="x", dtype="float32", dims=("N", 64)),), {"y": ("N", 64)})
    graph = model.onnx.graph
    graph.outputs.append(graph.initializers["shown"])
    model = replace(model, outputs=(*model.outputs, OutputSpec(name="shown", dtype="float32", dims=(64, 64))))
    outcome = quantized(model)
    assert [(n.layer, n.text) for n in outcome.skipped] == [("layer", "its weights are an output of the network too")]
    assert [n.layer for n in outcome.changed] == ["next"]


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-5])
def test_the_scales_of_weights_in_half_are_those_that_were_rounded_by(size):
    """Small ones have few digits in half: what is read back lies within half a step of the scale as it is stored."""
    numbers = (size * np.random.default_rng(0).standard_normal((32, 64))).astype(np.float16)
    scales, grid = _grid_in(numbers, (1,))
    assert scales.dtype == np.float16
    back = grid.quantize(numbers) * scales.astype(np.float64)
    assert (np.abs(back - numbers) <= 0.5001 * scales.astype(np.float64)).all()


def test_a_weight_that_layers_read_otherwise_is_decided_on_once():
    """For one of them the scales would take more than is saved, for the other not: it is one constant."""
    net = Net()
    weight = net.weight("tied", 2, 64)
    net.op("Gemm", net.op("Gemm", "x", weight, name="up"), weight, name="down", transB=1)
    model = net.model((InputSpec(name="x", dtype="float32", dims=("N", 2)),), {"y": ("N", 2)})
    outcome = quantized(model)
    assert len({row.decision for row in outcome.layers}) == 1
    assert outcome.model.network.graph.initializers["tied"].dtype == ir.DataType.FLOAT
