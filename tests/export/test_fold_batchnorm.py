import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import compress  # noqa: F401
from export.fold_batchnorm import fold_batch_norms


def a_layer_and_its_norm(op, weight, bias):
    rng = np.random.default_rng(0)
    constants = {
        "layer.weight": weight,
        "layer.bias": bias,
        **{f"norm.{name}": rng.uniform(0.5, 1.5, 4).astype(np.float32) for name in ("g", "b", "m", "v")},
    }
    nodes = [
        helper.make_node(op, ["x", "layer.weight", "layer.bias"], ["h"]),
        helper.make_node("BatchNormalization", ["h", "norm.g", "norm.b", "norm.m", "norm.v"], ["y"], epsilon=0.0),
    ]
    rank = weight.ndim
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank) for name in "xy")
    made = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    return ir.from_proto(helper.make_model(helper.make_graph(nodes, "g", [x], [y], made))), constants


@pytest.mark.parametrize(
    ("op", "weight", "bias"),
    [
        ("Conv", (4, 3, 1, 1), (4,)),
        ("Gemm", (3, 4), (4,)),
        ("Gemm", (3, 4), (1,)),
        ("Gemm", (3, 4), (1, 4)),
        ("Gemm", (3, 4), (2, 1)),
    ],
)
def test_the_bias_is_moved_and_scaled(op, weight, bias):
    weight, bias = np.ones(weight, np.float32), np.full(bias, 2.0, np.float32)
    network, at = a_layer_and_its_norm(op, weight, bias)
    assert fold_batch_norms(network) == 1
    (node,) = network.graph
    want = (bias - at["norm.m"]) * at["norm.g"] / np.sqrt(at["norm.v"]) + at["norm.b"]
    np.testing.assert_allclose(ir.convenience.get_const_tensor(node.inputs[2]).numpy(), want, rtol=1e-6)


@pytest.mark.parametrize("bias", [(4, 2), (4, 4), (1,), (4, 1)], ids=str)
def test_a_bias_that_is_not_one_number_a_channel_is_left_alone(bias):
    network, _ = a_layer_and_its_norm("Conv", np.ones((4, 3, 1, 1, 1), np.float32), np.zeros(bias, np.float32))
    assert fold_batch_norms(network) == 0
    assert [node.op_type for node in network.graph] == ["Conv", "BatchNormalization"]


def test_a_norm_in_a_body_behind_a_layer_outside_is_left_alone():
    """The body would give out what is made outside of it, which no runtime takes."""
    network, _ = a_layer_and_its_norm("Conv", np.ones((4, 3, 1, 1), np.float32), np.zeros(4, np.float32))
    _, norm = network.graph
    network.graph.outputs.clear()
    network.graph.remove(norm)
    body = ir.Graph([], [norm.outputs[0]], nodes=[norm], name="then")
    network.graph.append(ir.node("If", [ir.Value(name="flag")], {"then_branch": body}))
    assert fold_batch_norms(network) == 0 and norm.graph is body
