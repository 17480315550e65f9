"""A mean over all places is a pool: the same numbers, in whatever spelling it came."""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from export.known_shapes import inferred_shapes
from export.pooling import pool_globally


def graph(axes, keepdims, opset):
    """ReduceMean of (N, 3, 5, 4), with axes as that opset has them."""
    old = opset < 18
    inputs = ["x"] if old or axes is None else ["x", "axes"]
    attributes = {"axes": axes} if old and axes is not None else {}
    constants = [] if old or axes is None else [helper.make_tensor("axes", TensorProto.INT64, [len(axes)], axes)]
    node = helper.make_node("ReduceMean", inputs, ["y"], name="mean", keepdims=keepdims, **attributes)
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, d) for n, d in (("x", ["N", 3, 5, 4]), ("y", None))]
    made = helper.make_graph([node], "g", values[:1], values[1:], constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run(model):
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 4)).astype(np.float32)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [[2, 3], [-1, -2]])
def test_a_mean_over_all_places_is_a_pool_with_the_same_numbers(axes, keepdims, opset):
    model = graph(axes, keepdims, opset)
    network = ir.from_proto(model)
    with inferred_shapes(network):
        assert pool_globally(network) == 1
    pooled = ir.to_proto(network)
    assert [node.op_type for node in pooled.graph.node] == ["GlobalAveragePool", "Flatten"][: 2 - keepdims]
    np.testing.assert_allclose(run(pooled), run(model), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("axes", [[2], [1, 2], [1, 2, 3]])
def test_another_mean_stays(axes):
    network = ir.from_proto(graph(axes, 1, 18))
    with inferred_shapes(network):
        assert pool_globally(network) == 0
