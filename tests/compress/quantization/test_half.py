"""Half precision to compute in: for GPUs, between inputs and outputs as they were."""

import json
from dataclasses import replace

import numpy as np
import pytest

from compress.base import Context
from compress.console import plain
from compress.quantization.half import compute_half
from compress.quantization.histogram import Range
from compress.quantization.onnx_weights import everywhere
from compress.quantization.quantize import Quantize
from export.folded import fold
from export.onnx_file import to_bytes
from export.parity import sqnr_db
from export.profile import optimized_graph
from export.session import onnx_runner
from models.records import InputSpec, OutputSpec, example, sizes_of
from tests.compress.bodies_nets import voice
from tests.compress.onnx_nets import Net, attention, conv_net, recurrent


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


def masked_attention(fill):
    """One head over words whose mask comes as integers, 1 for a word; `fill` stands where it is 0."""
    net, dim = Net(8), 16
    x = net.op("Gather", net.const("embed.weight", net.rng.standard_normal((50, dim))), "ids", name="embed")
    q, k, v = (net.matmul(x, dim, dim, name=name) for name in ("q", "k", "v"))
    scores = net.op("MatMul", q, net.op("Transpose", k, name="kt", perm=[0, 2, 1]), name="scores")
    words = net.op("Unsqueeze", "mask", net.const("axis", [1], np.int64), name="wide")
    is_word = net.op("Greater", words, net.const("none", 0, np.int64), name="is_word")
    scores = net.op("Where", is_word, scores, net.const("fill", fill), name="masked")
    net.matmul(net.op("MatMul", net.op("Softmax", scores, name="softmax", axis=-1), v, name="mix"), dim, 8, name="head")
    inputs = (
        InputSpec(name="ids", dtype="int64", dims=("N", "T"), high=50),
        InputSpec(name="mask", dtype="int64", dims=("N", "T"), high=2),
    )
    return net.model(inputs, {"logits": ("N", "T", 8)}, typical={"N": 1, "T": 9})


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
@pytest.mark.parametrize("mode", ["auto", "fp16"])
@pytest.mark.parametrize("fill", [-np.inf, -3.4e38, -1e4])
def test_masks_in_integers_booleans_and_infinities_are_calibrated_with(device, mode, fill):
    model = masked_attention(fill)
    rng = np.random.default_rng(0)
    lengths = np.arange(9)[None] < rng.integers(1, 10, (32, 1))
    x = {"ids": rng.integers(0, 50, (32, 9)), "mask": lengths.astype(np.int64)}
    outcome = Quantize(mode=mode)(model, Context(calibration=[x], device=device))
    assert outcome.changed
    assert sqnr_db(onnx_runner(model)(x)["logits"], onnx_runner(outcome.model)(x)["logits"]) > 30


def test_between_two_that_stay_in_float_nothing_is_rounded_to_half():
    """The square of 300 is beyond 65504 and its root is not: in half it would be infinite on its way."""
    net = Net()
    y = net.op("Mul", net.matmul("x", 8, 8, name="first"), net.const("large", 300.0), name="scaled")
    root = net.op("Sqrt", net.op("Mul", y, y, name="square"), name="root")
    net.matmul(root, 8, 4, name="last")
    model = fold(net.model((InputSpec(name="x", dtype="float32", dims=("N", 8)),), {"y": ("N", 4)}))
    network, _, kept = compute_half(model.network, {"square_out": Range(0.0, 2e6)})
    assert [note.layer for note in kept] == ["square", "root"]
    x = {"x": 1 + example(model.inputs, {"N": 20})["x"]}
    assert sqnr_db(onnx_runner(model)(x)["y"], onnx_runner(replace(model, network=network))(x)["y"]) > 50


def test_the_layers_of_a_body_are_told_too():
    network, changed, _ = compute_half(fold(voice()).network, {})
    inside = {node.name for node in everywhere(network) if node.op_type in ("Conv", "Gemm") and node.graph.name}
    assert inside and inside <= {note.layer for note in changed}


@pytest.mark.parametrize("first", [None, "Max"])
def test_a_norm_that_was_written_out_is_one_operator_in_half(first):
    """Behind a Cast ONNX Runtime would make a node of it whose numbers are of two types, and refuse it."""
    net = Net()
    x = net.op("Max", "x", net.const("least", -1.0), name="first") if first else "x"
    axes = net.const("axes", [-1], np.int64)
    d = net.op("Sub", x, net.op("ReduceMean", x, axes, name="mean"), name="d")
    square = net.op("Pow", d, net.const("two", 2.0), name="square")
    spread = net.op("Add", net.op("ReduceMean", square, axes, name="spread"), net.const("eps", 1e-5), name="sum")
    y = net.op("Div", d, net.op("Sqrt", spread, name="root"), name="norm")
    y = net.op("Mul", y, net.const("weight", np.linspace(0.5, 2, 16)), name="weighted")
    net.matmul(net.op("Add", y, net.const("bias", np.ones(16)), name="shifted"), 16, 8, name="head")
    model = net.model((InputSpec(name="x", dtype="float32", dims=("N", 16)),), {"y": ("N", 8)})
    made = Quantize(mode="fp16")(model, Context(calibration=[example(model.inputs, {"N": 40})], device="cuda"))
    assert "LayerNormalization" in optimized_graph(made.model)
    x = example(model.inputs, {"N": 20}, seed=3)
    assert sqnr_db(onnx_runner(model)(x)["y"], onnx_runner(made.model)(x)["y"]) > 50


def given_out(what):
    """A layer, and beside its answer an input, a constant, or the layer's own weight as outputs."""
    net = Net()
    net.op("MatMul", "x", net.weight("w", 16, 16), name="layer")
    net.const("anchors", [1.0, 2.0, 3.0])
    model = net.model((InputSpec(name="x", dtype="float32", dims=("N", 16)),), {"y": ("N", 16)})
    graph = model.onnx.graph
    dims = {"x": ("N", 16), "w": (16, 16), "anchors": (3,)}[what]
    graph.outputs.insert(0, graph.inputs[0] if what == "x" else graph.initializers[what])
    return replace(model, outputs=(OutputSpec(name=what, dtype="float32", dims=dims), *model.outputs))


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
@pytest.mark.parametrize("what", ["x", "w", "anchors"])
def test_what_is_given_out_as_it_is_stays_in_float(what, device):
    model = given_out(what)
    made = Quantize(mode="fp16")(model, Context(calibration=[example(model.inputs, {"N": 40})], device=device)).model
    x = example(model.inputs, {"N": 3}, seed=3)
    wanted, found = onnx_runner(model)(x), onnx_runner(made)(x)
    assert list(found) == list(wanted) == [what, "y"]
    np.testing.assert_array_equal(found[what], wanted[what])
    assert sqnr_db(wanted["y"], found["y"]) > 50


def overflowing():
    """What the first layer gives is beyond 65504, and what is made of it is not."""
    net = Net()
    y = net.op("Mul", "x", net.const("large", 2e5), name="scaled")
    y = net.op("Mul", net.matmul(y, 16, 16, name="one"), net.const("small", 1e-5), name="back")
    net.matmul(y, 16, 4, name="two")
    return net.model((InputSpec(name="x", dtype="float32", dims=("N", 16)),), {"y": ("N", 4)})


def test_what_overflows_is_told_and_stays_in_float_when_the_table_is_replayed(tmp_path):
    model = overflowing()
    made = Quantize(mode="fp16")(model, Context(calibration=[example(model.inputs, {"N": 40})], device="cuda"))
    assert {row.layer: row.decision for row in made.layers} == {"one": "float", "two": "float16"}
    assert {row.layer: row.sqnr_db for row in made.layers}["two"] > 50
    (tmp_path / "t.json").write_text(json.dumps(plain(made.decisions)))
    again = Quantize(decisions=str(tmp_path / "t.json"))(model, Context(device="cuda"))
    assert to_bytes(again.model) == to_bytes(made.model)
    assert [note.layer for note in again.skipped] == [note.layer for note in made.skipped] != []


def test_what_few_devices_have_in_half_says_so():
    net = Net()
    most = net.op("Max", net.matmul("x", 16, 16, name="one"), net.const("zero", 0.0), name="most")
    net.matmul(most, 16, 4, name="two")
    model = net.model((InputSpec(name="x", dtype="float32", dims=("N", 16)),), {"y": ("N", 4)})
    _, changed, kept = compute_half(fold(model).network, {})
    assert [(note.layer, note.text) for note in kept] == [
        ("most", "Max is computed in float32: not all devices have it in half")
    ]
    assert "most" not in [note.layer for note in changed]
