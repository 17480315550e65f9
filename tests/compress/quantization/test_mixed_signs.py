"""Unsigned weights for single layers: the fewest that keep the score, right on a processor without VNNI too."""

import json
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from compress.base import Context
from compress.console import plain
from compress.quantization.calibrated import look
from compress.quantization.candidates import Maker
from compress.quantization.field import Field
from compress.quantization.loss import Loss
from compress.quantization.mixed_signs import mix_signs
from compress.quantization.quantize import Quantize
from compress.quantization.schemes import scheme_for
from compress.quantization.ways import Way
from export.device import find_device
from export.folded import fold
from export.onnx_file import to_bytes
from models.records import InputSpec, example, sizes_of
from tests.compress.onnx_nets import Net, attention, conv_net, depthwise_net, mlp, recurrent


def data(model, rows=32, seed=0):
    return [example(model.inputs, {**sizes_of(model), "N": rows}, seed=seed)]


def maker_of(model, device="any"):
    seen = look(model, data(model))
    ranges, of_forms = seen.ranges()
    return Maker(model, scheme_for(find_device(device)), ranges, (), of_forms, calibrated=seen)


def unsigned(model):
    """Names of the stored weights whose numbers have no sign."""
    return {
        value.name
        for value in model.onnx.graph.initializers.values()
        if value.dtype == ir.DataType.UINT8 and len(value.shape) > 1
    }


class Needs:
    """A judge for whom a network keeps the score where these weights, by any name, are unsigned."""

    def __init__(self, *weights):
        self.weights = weights

    def __call__(self, candidate):
        there = unsigned(candidate)
        missing = sum(not any(name.startswith(weight) for name in there) for weight in self.weights)
        return Loss(points=float(missing), text=f"{missing} are signed", keeps=not missing, sqnr_db=20.0)


@pytest.mark.parametrize("build", [mlp, conv_net, attention])
@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_one_layer_is_unsigned_and_all_others_are_not(build, kind):
    model = fold(build())
    maker = maker_of(model)
    made = maker.make(Way(kind=kind))
    layers = [note.layer for note in made.changed if " in int8, " in note.text]
    mixed = maker.make(Way(kind=kind, unsigned_layers=(layers[-1],)))
    assert unsigned(made.model) == set()
    assert len(unsigned(mixed.model)) == 1
    assert mixed.name == f"{made.name}, {layers[-1]} unsigned"


def test_the_weights_of_an_lstm_are_unsigned_where_it_is_named():
    maker = maker_of(recurrent("LSTM"))
    made = maker.make(Way(kind="dynamic"))
    (layer,) = {note.layer for note in made.changed if note.text.startswith("LSTM in int8")}
    mixed = maker.make(Way(kind="dynamic", unsigned_layers=(layer,)))
    assert {"rnn.W_q", "rnn.R_q"} <= unsigned(mixed.model)
    assert not unsigned(made.model)


def test_as_few_layers_as_keep_the_score_are_unsigned():
    model = fold(mlp(64))
    field = Field(maker_of(model), Needs("second.weight"))
    assert not any(loss.keeps for made, loss in field.of_kind("static") if not made.way.unsigned)
    mix_signs(field, data(model, seed=3))
    mixed = [made for made, loss in field.of_kind("static") if made.way.unsigned_layers and loss.keeps]
    assert [made.way.operators for made in mixed] == [False, True]
    layers = [note.layer for note in mixed[0].changed]
    assert 0 < len(mixed[0].way.unsigned_layers) < len(layers)
    assert "second" in mixed[0].way.unsigned_layers


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_a_weight_that_two_layers_read_has_one_sign_and_is_stored_once(kind):
    net = Net(5)
    weight, bias = net.weight("w", 32, 32), net.const("b", np.full(32, 0.1))
    y = net.op("Relu", net.op("Gemm", "x", weight, bias, name="one", transB=1), name="relu")
    net.op("Gemm", y, weight, bias, name="two", transB=1)
    model = fold(net.model((InputSpec(name="x", dtype="float32", dims=("N", 32)),), {"y": ("N", 32)}))
    ways = [Way(kind=kind, unsigned_layers=names) for names in ((), ("two",))]
    sizes = [len(to_bytes(maker_of(model).make(way).model)) for way in ways]
    assert sizes[1] < sizes[0] + 32 * 32 / 2


def test_where_a_signed_candidate_keeps_the_score_nothing_is_mixed():
    model = fold(mlp(64))
    field = Field(maker_of(model), Needs())
    before = set(field.candidates)
    mix_signs(field, data(model, seed=3))
    assert set(field.candidates) == before


def test_a_depthwise_layer_has_nothing_to_gain():
    """Its kernel never clips, so that its weights have all eight bits as they are."""
    model = fold(depthwise_net())
    maker = maker_of(model)
    depthwise = {
        node.name
        for node in model.onnx.graph
        if node.op_type == "Conv" and node.inputs[1].shape[1] == 1 and node.inputs[1].shape[0] > 1
    }
    assert depthwise
    field = Field(maker, Needs("no such weight"))
    field.judge = Needs()  # from now on
    field.judged = [replace(one, loss=Needs()(one.model)) if "unsigned" in one.name else one for one in field.judged]
    mix_signs(field, data(model, seed=3))
    (mixed, *_) = [made for made, _ in field.of_kind("static") if made.way.unsigned_layers]
    assert not depthwise & set(mixed.way.unsigned_layers)


def test_a_table_replays_mixed_signs_to_the_same_bytes(tmp_path):
    model = fold(mlp(64))
    made = Quantize(mode="static")(model, Context(calibration=data(model)))
    content = plain(made.decisions)
    content["way"]["unsigned_layers"] = ["second"]
    table = tmp_path / "table.json"
    table.write_text(json.dumps(content))
    first, second = (Quantize(decisions=str(table))(model, Context()) for _ in range(2))
    assert to_bytes(first.model) == to_bytes(second.model) != to_bytes(made.model)
    assert len(unsigned(first.model)) == 1
    assert first.facts["chosen"].endswith("second unsigned")
    assert np.isfinite(first.layers[0].bytes)
