"""An Einsum with a constant matrix computes the same as a MatMul, and computes in integers then."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import compress  # noqa: F401
from compress.base import Context
from compress.quantization.quantize import Quantize
from export.onnx_file import read
from export.prepare import prepare
from export.session import onnx_runner, session
from models.records import Model


def graph(equation, x, w):
    rank = len(equation.partition("->")[2].replace("...", "ab"))
    nodes = [
        helper.make_node("Einsum", ["x", "w"], ["p"], name="dense", equation=equation),
        helper.make_node("Relu", ["p"], ["y"]),
    ]
    values = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *x[1:]]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank),
    ]
    made = helper.make_graph(nodes, "g", values[:1], values[1:], [numpy_helper.from_array(w, "w")])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def operators(network):
    return [node.op_type for node in network.graph]


@pytest.mark.parametrize(
    ("equation", "x", "w", "expected"),
    [
        ("nc,cd->nd", (3, 4), (4, 5), ["MatMul", "Relu"]),
        ("nc,dc->nd", (3, 4), (5, 4), ["MatMul", "Relu"]),
        ("...c,cd->...d", (3, 2, 4), (4, 5), ["MatMul", "Relu"]),
        ("abc,cde->abde", (3, 2, 4), (4, 2, 3), ["MatMul", "Reshape", "Relu"]),
        ("abcd,cde->abe", (3, 2, 4, 5), (4, 5, 6), ["Reshape", "MatMul", "Relu"]),
        ("abc,cde->abed", (3, 2, 4), (4, 2, 3), ["MatMul", "Reshape", "Relu"]),
        ("abc,acd->abd", (3, 2, 4), (3, 4, 5), ["Einsum", "Relu"]),  # a matrix for each row
        ("abc,bd->adc", (3, 2, 4), (2, 5), ["Transpose", "MatMul", "Transpose", "Relu"]),  # over an axis in the middle
        ("btd,hde->bhte", (3, 2, 4), (2, 4, 3), ["MatMul", "Reshape", "Transpose", "Relu"]),
        ("bhte,hed->btd", (3, 2, 4, 5), (2, 5, 6), ["Transpose", "Reshape", "MatMul", "Relu"]),
        ("aac,cd->ad", (3, 3, 4), (4, 5), ["Einsum", "Relu"]),  # of a diagonal
        ("abc,c->ab", (3, 2, 4), (4,), ["Einsum", "Relu"]),
    ],
)
def test_it_is_the_product_that_numpy_knows(equation, x, w, expected):
    rng = np.random.default_rng(0)
    arrays = rng.standard_normal(x).astype(np.float32), rng.standard_normal(w).astype(np.float32)
    network = ir.from_proto(onnx.shape_inference.infer_shapes(graph(equation, x, arrays[1])))
    prepare(network)
    assert operators(network) == expected
    found = session(Model(network)).run(None, {"x": arrays[0]})[0]
    np.testing.assert_allclose(found, np.maximum(np.einsum(equation, *arrays), 0), rtol=1e-5, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.randoms())
def test_any_number_of_axes_in_any_order(kept, summed, new, random):
    letters = "abcdefgh"
    data = letters[: kept + summed]
    more = letters[kept + summed : kept + summed + new]
    stored = random.sample(data[kept:] + more, summed + new)
    given, result = (random.sample(names, len(names)) for names in (data, data[:kept] + more))
    sizes = dict(zip(letters, (3, 2, 4, 5, 2, 3, 2, 2), strict=True))
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal([sizes[i] for i in names]).astype(np.float32) for names in (given, stored))
    equation = f"{''.join(given)},{''.join(stored)}->{''.join(result)}"
    network = ir.from_proto(onnx.shape_inference.infer_shapes(graph(equation, x.shape, w)))
    prepare(network)
    assert "Einsum" not in operators(network)
    found = session(Model(network)).run(None, {"x": x})[0]
    np.testing.assert_allclose(found, np.maximum(np.einsum(equation, x, w), 0), rtol=1e-4, atol=1e-5)


def test_it_computes_in_int8(tmp_path):
    rng = np.random.default_rng(0)
    onnx.save(
        graph("abc,cde->abde", (1, 6, 32), rng.standard_normal((32, 4, 16)).astype(np.float32)), tmp_path / "k.onnx"
    )
    model = read(tmp_path / "k.onnx")
    data = [{"x": rng.standard_normal((40, 6, 32)).astype(np.float32)}]
    made = Quantize(mode="static")(model, Context(calibration=data))
    assert [note.layer for note in made.changed] == ["dense"]
    assert onnx_runner(made.model)(data[0])["y"].shape == (40, 6, 4, 16)
