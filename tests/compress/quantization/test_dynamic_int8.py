"""Dynamic int8: the runtime's own operators, and layers that are better left alone."""

import numpy as np
import onnx_ir as ir
import pytest
import torch

from compress.base import Context
from compress.quantization.dynamic_int8 import refusal
from compress.quantization.int8 import activation_grid, weight_grid
from compress.quantization.onnx_weights import weights_of
from compress.quantization.quantize import Quantize
from export.onnx_file import to_bytes
from export.parity import sqnr_db
from export.session import onnx_runner
from export.to_onnx import to_onnx
from export.wrap import Model
from models.adding_network import CellSum
from models.records import InputSpec, example, sizes_of
from models.recurrent import PeepholeLSTM
from tests.compress.onnx_nets import Net, attention, conv_net, mlp, recurrent


def dynamic(model, device="any", **settings):
    return Quantize(mode="dynamic", **settings)(model, Context(device=device))


def inputs(model, rows=8):
    return example(model.inputs, {**sizes_of(model), "N": rows}, seed=50)


@pytest.mark.parametrize(
    ("build", "kinds"),
    [
        (mlp, {"DynamicQuantizeMatMul": 3}),
        (attention, {"DynamicQuantizeMatMul": 7}),
        (lambda: recurrent("LSTM"), {"DynamicQuantizeLSTM": 1, "DynamicQuantizeMatMul": 1}),
    ],
    ids=["mlp", "attention", "lstm"],
)
def test_products_and_lstm_compute_in_integers_without_any_data(build, kinds):
    model = build()
    outcome = dynamic(model)
    assert outcome.facts["integer_nodes"] == kinds
    x, name = inputs(model), model.outputs[0].name
    assert sqnr_db(onnx_runner(model)(x)[name], onnx_runner(outcome.model)(x)[name]) > 28
    assert to_bytes(outcome.model) == to_bytes(dynamic(model).model)


def test_one_layer_is_what_numpy_computes():
    net = Net()
    net.linear("x", 6, 4, name="layer")
    model = net.model((InputSpec(name="x", dtype="float32", dims=("N", 6)),), {"y": ("N", 4)})
    weight, bias = (value.const_value.numpy() for value in model.network.graph.initializers.values())
    x = np.random.default_rng(1).uniform(-2, 3, (5, 6)).astype(np.float32)
    grid, grid_w = activation_grid(float(x.min()), float(x.max()), "u8"), weight_grid(weight, (0,))
    sums = (grid.quantize(x).astype(np.int64) - int(grid.zero)) @ grid_w.quantize(weight).astype(np.int64).T
    expected = sums * (grid.scale * grid_w.scale.reshape(-1)) + bias
    got = onnx_runner(dynamic(model, "x86-vnni").model)({"x": x})["y"]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_alpha_and_beta_go_into_the_constants():
    net = Net()
    weight, bias = net.weight("w", 6, 4), net.const("b", np.ones((1, 4)))
    net.op("Gemm", "x", weight, bias, name="layer", alpha=0.5, beta=3.0)
    model = net.model((InputSpec(name="x", dtype="float32", dims=("N", 6)),), {"y": ("N", 4)})
    x = {"x": np.random.default_rng(1).uniform(-1, 1, (5, 6)).astype(np.float32)}
    np.testing.assert_allclose(onnx_runner(dynamic(model).model)(x)["y"], onnx_runner(model)(x)["y"], atol=0.03)


def test_a_bias_behind_the_product_of_a_sequence_is_added_by_the_integer_product():
    net = Net()
    net.matmul("x", 6, 4, name="head")
    model = net.model((InputSpec(name="x", dtype="float32", dims=("N", "T", 6)),), {"y": ("N", "T", 4)})
    made = dynamic(model).model
    assert [node.op_type for node in made.network.graph] == ["DynamicQuantizeMatMul"]
    x = {"x": np.random.default_rng(1).uniform(-1, 1, (2, 5, 6)).astype(np.float32)}
    np.testing.assert_allclose(onnx_runner(made)(x)["y"], onnx_runner(model)(x)["y"], atol=0.03)


def test_convolutions_are_refused_with_the_reason():
    notes = {note.layer: note.text for note in dynamic(conv_net()).skipped}
    assert list(notes) == ["stem", "body"]
    assert notes["stem"].startswith(
        "ConvInteger, the only dynamic int8 kernel for convolutions, is 5 to 14 times slower"
    )


@pytest.mark.parametrize("kind", ["GRU", "RNN"])
def test_recurrent_layers_without_a_kernel_say_so(kind):
    (note,) = dynamic(recurrent(kind)).skipped
    assert note.text == (
        f"no dynamic int8 kernel for {kind} in ONNX Runtime; weights mode stores it in 8 bits, and auto tries a loop "
        "of int8 products (faster from about 256 units on)"
    )


def test_an_lstm_is_told_in_the_table_with_its_bytes():
    model = recurrent("LSTM", hidden=32)
    outcome = dynamic(model)
    assert [v.name for v in outcome.model.network.graph.outputs] == ["logits"]
    (row, head) = outcome.layers
    assert (row.layer, row.decision, head.decision) == ("rnn", "int8", "int8")
    assert row.bytes < 0.45 * 4 * (4 * 32 * 10 + 4 * 32 * 32)


def test_a_skipped_layer_stays_float():
    outcome = dynamic(mlp(), skip=("second",))
    assert [(n.layer, n.text) for n in outcome.skipped] == [("second", "skipped, as asked")]
    assert outcome.facts["integer_nodes"] == {"DynamicQuantizeMatMul": 2}


def test_the_peepholes_of_an_lstm_are_seen_by_the_integer_kernel():
    def exported(scale):
        torch.manual_seed(0)
        layer = PeepholeLSTM(6, 32, batch_first=True)
        with torch.no_grad():
            for weight in (layer.weight_ci, layer.weight_cf, layer.weight_co):
                weight.normal_(0, 1).mul_(scale)
        return to_onnx(Model(CellSum(layer, 32), [InputSpec(name="x", dtype="float32", dims=("N", "T", 6))]))

    with_them, without = exported(1), exported(0)
    outcome = dynamic(with_them)
    assert outcome.facts["integer_nodes"] == {"DynamicQuantizeLSTM": 1, "DynamicQuantizeMatMul": 1}
    x = inputs(with_them)
    wanted, other, found = (onnx_runner(m)(x)["y"] for m in (with_them, without, outcome.model))
    assert np.abs(found - wanted).max() < 0.2 * np.abs(found - other).max()


def test_an_lstm_that_reads_batch_first_is_refused():
    model = recurrent("LSTM")
    (node,) = (n for n in model.network.graph if n.op_type == "LSTM")
    node.attributes["layout"] = ir.AttrInt64("layout", 1)
    weights = weights_of(node)
    assert refusal(node, weights, ()) == "it takes its input batch first (layout=1), which the integer kernel does not"
