import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import compress  # noqa: F401
from export.fold_batchnorm import fold_batch_norms
from export.folded import fold
from export.observe import observe
from export.parity import sqnr_db
from export.prepare import prepare
from models.records import InputSpec, Model, OutputSpec

RNG = np.random.default_rng(0)


def floats(*shape) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def network(nodes, x_dims, y_dims, arrays, opset=17) -> ir.Model:
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, d) for n, d in (("x", x_dims), ("y", y_dims)))
    constants = [numpy_helper.from_array(a, n) for n, a in arrays.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], constants)
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8))


def signature(x_dims, y_dims):
    return (InputSpec(name="x", dtype="float32", dims=x_dims),), (OutputSpec(name="y", dtype="float32", dims=y_dims),)


def norm_of(channels: int) -> dict[str, np.ndarray]:
    return {
        "gamma": floats(channels), "beta": floats(channels), "mean": floats(channels),
        "variance": np.abs(floats(channels)) + 0.1,
    }  # fmt: skip


NORM = ["gamma", "beta", "mean", "variance"]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("op", "weight", "attributes", "channels", "x_dims"),
    [
        ("Conv", (6, 4, 3), {}, 6, [2, 4, 9]),
        ("Conv", (6, 2, 3, 3), {"group": 2}, 6, [2, 4, 5, 5]),
        ("ConvTranspose", (4, 6, 3), {}, 6, [2, 4, 9]),
        ("ConvTranspose", (4, 3, 3), {"group": 2}, 6, [2, 4, 9]),
        ("Gemm", (4, 6), {}, 6, [2, 4]),
        ("Gemm", (6, 4), {"transB": 1, "beta": 0.5}, 6, [2, 4]),
    ],
)
def test_a_batch_norm_goes_into_the_layer_before_it(op, weight, attributes, channels, x_dims, bias):
    arrays = {"w": floats(*weight), **norm_of(channels)} | ({"b": floats(channels)} if bias else {})
    layer = helper.make_node(op, ["x", "w", *(["b"] if bias else [])], ["v"], **attributes)
    norm = helper.make_node("BatchNormalization", ["v", *NORM], ["y"], epsilon=1e-3)
    made = network([layer, norm], x_dims, None, arrays)
    before = observe(made, {"x": (x := floats(*x_dims))})["y"]
    assert fold_batch_norms(made) == 1
    assert [node.op_type for node in made.graph] == [op]
    np.testing.assert_allclose(observe(made, {"x": x})["y"], before, rtol=1e-4, atol=1e-5)


def twice(second: str) -> ir.Model:
    """One weight used twice, each time with a batch norm behind it: the same one, or another."""
    arrays = {"w": floats(4, 4, 3), **norm_of(4), **{f"{k}2": v for k, v in norm_of(4).items()}}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1]),
        helper.make_node("BatchNormalization", ["a", *NORM], ["b"]),
        helper.make_node("Conv", ["b", "w"], ["c"], pads=[1, 1]),
        helper.make_node("BatchNormalization", ["c", *(n + second for n in NORM)], ["y"]),
    ]
    return network(nodes, [1, 4, 8], [1, 4, 8], arrays)


def test_a_layer_used_twice_is_folded_once():
    made = twice("")
    x = floats(1, 4, 8)
    before = observe(made, {"x": x})["y"]
    assert fold_batch_norms(made) == 2
    weights = {value.name for node in made.graph for value in node.inputs[1:]}
    assert len(weights) == 2
    np.testing.assert_allclose(observe(made, {"x": x})["y"], before, rtol=1e-4, atol=1e-5)


def test_a_layer_used_twice_with_two_norms_is_left_alone():
    assert fold_batch_norms(twice("2")) == 0


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(1e-3, 1e3), variance=st.floats(1e-8, 1e4))
def test_folding_is_exact_to_float32_for_any_statistics(scale, variance):
    arrays = {"w": floats(3, 2, 1), **norm_of(3)}
    arrays["gamma"] = np.full(3, scale, np.float32)
    arrays["variance"] = np.full(3, variance, np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["v"]),
        helper.make_node("BatchNormalization", ["v", *NORM], ["y"]),
    ]
    made = network(nodes, [1, 2, 5], [1, 3, 5], arrays)
    x = floats(1, 2, 5)
    before = observe(made, {"x": x})["y"]
    assert fold_batch_norms(made) == 1
    assert sqnr_db(before, observe(made, {"x": x})["y"]) > 100


def test_a_users_graph_is_folded_named_and_untouched():
    arrays = {"w": floats(6, 4, 3), "half": np.array([0.5], np.float32), **norm_of(6)}
    nodes = [
        helper.make_node("Mul", ["w", "half"], ["w2"]),
        helper.make_node("Conv", ["x", "w2"], ["v"]),
        helper.make_node("BatchNormalization", ["v", *NORM], ["n"]),
        helper.make_node("Dropout", ["n"], ["d"]),
        helper.make_node("Relu", ["d"], ["y"], name="last"),
    ]
    made = network(nodes, ["N", 4, 9], ["N", 6, 7], arrays)
    specs = signature(("N", 4, 9), ("N", 6, 7))
    model = Model(made, *specs, name="net")
    folded = fold(model)  # compared inside
    assert [node.op_type for node in folded.network.graph] == ["Conv", "Relu"]
    assert all(node.name for node in folded.network.graph)
    assert [node.op_type for node in made.graph] == [n.op_type for n in nodes], "what came in stays as it is"
    assert (folded.inputs, folded.outputs) == specs


def test_equal_weights_of_two_layers_stay_two_and_equal_shapes_become_one():
    arrays = {"a.weight": np.ones((4, 4), np.float32), "b.weight": np.ones((4, 4), np.float32)}
    arrays |= {"s1": np.array([-1, 4]), "s2": np.array([-1, 4])}
    nodes = [
        helper.make_node("MatMul", ["x", "a.weight"], ["p"]),
        helper.make_node("Reshape", ["p", "s1"], ["q"]),
        helper.make_node("MatMul", ["q", "b.weight"], ["r"]),
        helper.make_node("Relu", ["r"], ["t"]),
        helper.make_node("Reshape", ["t", "s2"], ["y"]),
    ]
    specs = signature(("N", 4), ("N", 4))
    graph = fold(Model(network(nodes, ["N", 4], ["N", 4], arrays), *specs)).network.graph
    assert {"a.weight", "b.weight"} <= set(graph.initializers)
    assert len(graph.initializers) <= 3


def test_a_batch_norm_whose_factor_leaves_the_type_stays():
    arrays = {"w": floats(3, 2, 1) * 60, **norm_of(3)}
    arrays["gamma"], arrays["variance"] = np.full(3, 2e3, np.float32), np.full(3, 1e-6, np.float32)
    arrays = {name: array.astype(np.float16) for name, array in arrays.items()}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["v"]),
        helper.make_node("BatchNormalization", ["v", *NORM], ["y"]),
    ]
    made = network(nodes, [1, 2, 5], [1, 3, 5], arrays)
    assert fold_batch_norms(made) == 0
    assert [node.op_type for node in made.graph] == ["Conv", "BatchNormalization"]


def test_weights_that_are_no_inputs_any_more_are_of_an_ir_that_allows_it():
    weight = helper.make_tensor("w", TensorProto.FLOAT, [2, 2], [1.0, 2.0, 3.0, 4.0])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2]) for name in ("x", "w", "y")]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", values[:2], values[2:], [weight])
    network = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=3))
    prepare(network)
    assert [value.name for value in network.graph.inputs] == ["x"]
    onnx.checker.check_model(ir.to_proto(network))


@pytest.mark.parametrize("norm", ["ReduceL2", "spelled"])
def test_a_weight_norm_is_computed_at_once_though_its_direction_is_read_twice(norm):
    rng = np.random.default_rng(0)
    v, g = rng.standard_normal((16, 8, 5)).astype(np.float32), rng.standard_normal((16, 1, 1)).astype(np.float32)
    spelled = [
        helper.make_node("Mul", ["v", "v"], ["square"]),
        helper.make_node("ReduceSum", ["square", "axes"], ["sum"], keepdims=1),
        helper.make_node("Sqrt", ["sum"], ["length"]),
    ]
    nodes = spelled if norm == "spelled" else [helper.make_node(norm, ["v"], ["length"], axes=[1, 2], keepdims=1)]
    nodes += [
        helper.make_node("Div", ["v", "length"], ["unit"]),
        helper.make_node("Mul", ["unit", "g"], ["w"]),
        helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", c, None]) for name, c in (("x", 8), ("y", 16))
    ]
    constants = {"v": v, "g": g, **({"axes": np.array([1, 2])} if norm == "spelled" else {})}
    graph = helper.make_graph(
        nodes, "g", values[:1], values[1:], [numpy_helper.from_array(a, name) for name, a in constants.items()]
    )
    network = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    prepare(network)
    (node,) = network.graph
    weight = node.inputs[1].const_value.numpy()
    np.testing.assert_allclose(weight, g * v / np.sqrt((v**2).sum((1, 2), keepdims=True)), rtol=1e-5)
