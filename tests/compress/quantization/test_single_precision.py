"""Files in half and double precision: int8 is made of them as of others; what stays in float is stored as it came."""

import json

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16

from compress.base import Context
from compress.quantization.field import integer_nodes, size
from compress.quantization.quantize import Quantize
from compress.quantization.single_precision import in_single
from export.files import whole
from export.load import load
from export.onnx_file import to_bytes
from export.parity import sqnr_db
from export.session import onnx_runner
from models.records import example, sizes_of
from tests.compress.onnx_nets import attention, conv_net, recurrent

NETS = pytest.mark.parametrize("build", [conv_net, attention, recurrent], ids=["conv", "attention", "gru"])


def in_half(build, folder):
    """The network as a converter stores it: all of it in half precision, inputs and outputs too."""
    onnx.save(convert_float_to_float16(ir.to_proto(build().onnx)), folder / "half.onnx")
    return load(folder / "half.onnx")


def rows_of(model, count=48, seed=5):
    return example(model.inputs, {**sizes_of(model), "N": count}, seed=seed)


def types_of(specs):
    return [(spec.name, spec.dtype, spec.dims) for spec in specs]


@NETS
def test_the_network_computes_the_same_in_float32_between_inputs_and_outputs_as_they_were(build, tmp_path):
    model = in_half(build, tmp_path)
    made = in_single(model)
    kinds = {value.dtype for value in made.onnx.graph.initializers.values()}
    assert ir.DataType.FLOAT16 not in kinds and ir.DataType.FLOAT in kinds
    x = rows_of(model)
    got, real = onnx_runner(made)(x), onnx_runner(model)(x)
    for name, value in real.items():
        assert got[name].dtype == value.dtype
        assert sqnr_db(value.astype(np.float32), got[name].astype(np.float32)) > 45


@NETS
def test_the_network_that_came_is_left_as_it_is(build, tmp_path):
    model = in_half(build, tmp_path)
    before = to_bytes(model)
    in_single(model)
    assert to_bytes(model) == before


@pytest.mark.parametrize("mode", ["static", "dynamic", "weights"])
@NETS
def test_int8_of_a_half_file_is_no_larger_and_near(build, mode, tmp_path):
    model = in_half(build, tmp_path)
    x = rows_of(model)
    outcome = Quantize(mode=mode)(model, Context(calibration=[x]))
    if not outcome.changed:  # of no layer here
        assert (build, mode) in [(conv_net, "dynamic")]
        return
    assert types_of(outcome.model.inputs) == types_of(model.inputs)
    assert types_of(outcome.model.outputs) == types_of(model.outputs)
    if mode != "weights":
        assert integer_nodes(outcome.model)
    got, real = onnx_runner(outcome.model)(x), onnx_runner(model)(x)
    for name, value in real.items():
        assert got[name].dtype == value.dtype
        assert sqnr_db(value.astype(np.float32), got[name].astype(np.float32)) > 20
    weights = sum(tensor.size * 2 for tensor in _constants(model))
    assert sum(tensor.nbytes for tensor in _constants(outcome.model)) <= weights * 1.15  # scales and zeros


def _constants(model):
    return [value.const_value for value in model.onnx.graph.initializers.values()]


def test_replaying_the_table_of_a_half_file_gives_the_same_constants(tmp_path):
    model = in_half(conv_net, tmp_path)
    outcome = Quantize(mode="static")(model, Context(calibration=[rows_of(model)]))
    table = tmp_path / "table.json"
    with whole(table) as part:
        part.write_text(json.dumps(outcome.decisions), encoding="utf-8")
    again = Quantize(decisions=str(table))(model, Context())
    assert [t.tobytes() for t in _constants(again.model)] == [t.tobytes() for t in _constants(outcome.model)]


def test_what_is_kept_in_float_is_the_file_that_came(tmp_path):
    """With nothing to calibrate on and every layer skipped no candidate changes anything."""
    model = in_half(conv_net, tmp_path)
    outcome = Quantize(skip=("*",))(model, Context(calibration=[rows_of(model)]))
    assert size(outcome.model) <= size(model) * 1.05
    kinds = {value.dtype for value in outcome.model.onnx.graph.initializers.values()}
    assert ir.DataType.FLOAT not in kinds


def test_doubles_become_float32_and_a_number_beyond_its_reach_the_last_there_is(tmp_path):
    rng = np.random.default_rng(0)
    weight, mask = rng.standard_normal((64, 64)), np.full(64, 1e300)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["p"], name="product"),
            helper.make_node("Min", ["p", "m"], ["q"], name="least"),
            helper.make_node("MatMul", ["q", "w"], ["o"], name="last"),
        ],
        "doubles",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["N", 64])],
        [helper.make_tensor_value_info("o", TensorProto.DOUBLE, ["N", 64])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(mask, "m")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "d.onnx")
    model = load(tmp_path / "d.onnx")
    x = {"x": rng.standard_normal((64, 64))}
    outcome = Quantize(mode="static")(model, Context(calibration=[x]))
    assert {note.layer for note in outcome.changed} >= {"product", "last"}
    got, real = onnx_runner(outcome.model)(x)["o"], x["x"] @ weight @ weight
    assert got.dtype == np.float64
    assert sqnr_db(real, got) > 30


def test_a_gpu_keeps_what_is_in_half(tmp_path):
    model = in_half(conv_net, tmp_path)
    outcome = Quantize()(model, Context(calibration=[rows_of(model)], device="cuda"))
    kinds = {value.dtype for value in outcome.model.onnx.graph.initializers.values()}
    assert ir.DataType.FLOAT16 in kinds and ir.DataType.FLOAT not in kinds
