"""A bias behind an integer product is added by the product itself, to the same numbers."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.quantization.fused_bias import fuse_biases
from export.session import session
from models.records import Model

RNG = np.random.default_rng(0)
BIAS = RNG.standard_normal(5).astype(np.float32)


def graph(bias=BIAS, *, end=(), add=("p", "bias"), dynamic=False):
    arrays = {
        "w": RNG.integers(-127, 128, (8, 5), np.int8), "w_scale": np.full(5, 0.01, np.float32), "zero": np.uint8(128),
        "scale": np.float32(0.02), "w_zero": np.zeros(5, np.int8), "bias": np.asarray(bias, np.float32),
    }  # fmt: skip
    quantize = helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"])
    inputs = ["q", "w", "scale", "w_scale", "zero", "w_zero"]
    kind = "MatMulIntegerToFloat"
    if dynamic:
        inputs, kind = ["x", "w", "w_scale", "w_zero"], "DynamicQuantizeMatMul"
    product = helper.make_node(kind, inputs, ["p"], domain="com.microsoft")
    nodes = [*([] if dynamic else [quantize]), product, helper.make_node("Add", list(add), ["y"]), *end]
    outputs = ["y", *(name for node in end for name in node.output)]
    values = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8])]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    read = {name for node in nodes for name in node.input}
    constants = [numpy_helper.from_array(np.asarray(a), n) for n, a in arrays.items() if n in read]
    made = helper.make_graph(nodes, "g", values, results, constants)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return ir.from_proto(helper.make_model(made, opset_imports=opsets, ir_version=8))


def run(network):
    x = np.random.default_rng(1).standard_normal((2, 3, 8)).astype(np.float32)
    return session(Model(network)).run(None, {"x": x})


def same(before, after):
    for one, two in zip(run(before), run(after), strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("add", [("p", "bias"), ("bias", "p")])
def test_it_goes_into_the_product(add, dynamic):
    before = graph(add=add, dynamic=dynamic)
    after = before.clone()
    assert fuse_biases(after) == 1
    assert "Add" not in [node.op_type for node in after.graph]
    assert [value.name for value in after.graph.outputs] == ["y"]
    same(before, after)


@pytest.mark.parametrize(
    "changes",
    [
        {"bias": np.ones(1)},  # one number for all
        {"bias": np.ones((3, 5))},  # another one for each row
        {"bias": np.ones((1, 1, 1, 5))},  # makes the result deeper
        {"end": [helper.make_node("Relu", ["p"], ["z"])]},  # the product is read by others too
        {"add": ("p", "p")},
    ],
)
def test_what_is_no_vector_for_the_product_alone_stays(changes):
    before = graph(**changes)
    after = before.clone()
    assert fuse_biases(after) == 0
    same(before, after)


def test_a_second_one_stays_outside():
    before = graph(end=[helper.make_node("Add", ["y", "bias"], ["z"])])
    before.graph.outputs.pop(0)
    after = before.clone()
    assert fuse_biases(after) == 1
    same(before, after)
