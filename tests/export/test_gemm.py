"""A product of matrices with its bias is a Gemm with the same numbers, and nothing else becomes one."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.folded import fold
from export.gemm import merge_biases
from export.known_shapes import inferred_shapes
from export.session import onnx_runner
from models.records import InputSpec, Model, OutputSpec

RNG = np.random.default_rng(0)
WEIGHT = RNG.standard_normal((6, 4)).astype(np.float32)


def model(*, dims=("N", 6), bias=(4,), swapped=False, twice=False, opset=17):
    constants = [
        numpy_helper.from_array(WEIGHT, "w"),
        numpy_helper.from_array(RNG.standard_normal(bias).astype(np.float32), "b"),
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"], name="dense"),
        helper.make_node("Add", ["b", "product"] if swapped else ["product", "b"], ["sum"], name="bias"),
        helper.make_node("Mul" if twice else "Relu", ["sum", "product"] if twice else ["sum"], ["y"], name="last"),
    ]
    out = (*dims[:-1], 4)
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, d) for n, d in (("x", dims), ("y", out))]
    graph = helper.make_graph(nodes, "net", values[:1], values[1:], constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    specs = InputSpec(name="x", dtype="float32", dims=dims), OutputSpec(name="y", dtype="float32", dims=out)
    return Model(ir.from_proto(proto), specs[:1], specs[1:], name="net")


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("bias", [(4,), (1, 4)])
@pytest.mark.parametrize("opset", [9, 13, 21])
def test_a_product_of_matrices_and_its_bias_are_one_gemm_under_the_products_name(bias, swapped, opset):
    given = model(bias=bias, swapped=swapped, opset=opset)
    made = fold(given)
    assert [(node.op_type, node.name) for node in made.onnx.graph] == [("Gemm", "dense"), ("Relu", "last")]
    x = {"x": RNG.standard_normal((3, 6)).astype(np.float32)}
    np.testing.assert_allclose(onnx_runner(made)(x)["y"], onnx_runner(given)(x)["y"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "other",
    [{"dims": ("N", "T", 6)}, {"bias": (1,)}, {"bias": (1, 1)}, {"twice": True}],
    ids=str,
)
def test_what_is_no_layer_with_a_bias_stays(other):
    network = model(**other).onnx
    with inferred_shapes(network):
        assert merge_biases(network) == 0
