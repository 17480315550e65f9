"""Shapes that a graph asks its own tensors for come from its inputs, once, and are right at any size."""

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional as F

from export.session import onnx_runner, session
from export.shape_arithmetic import settle_shapes
from export.to_onnx import to_onnx
from export.wrap import Model


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.all = nn.Linear(8, 24)

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = (part.view(n, t, 2, 4).transpose(1, 2) for part in self.all(x).chunk(3, -1))
        return x + F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(n, t, 8)


class Joined(nn.Module):
    """Its second tensor is one longer than the input: no input has that length."""

    def forward(self, x):
        y = torch.cat([x, x[:, :1]], 1)
        n, t, _ = y.shape
        return y.view(n, t, 2, 4).transpose(1, 2).reshape(n, 2 * t, 4)


def kinds(model) -> Counter:
    return Counter(node.op_type for node in model.onnx.graph)


@pytest.fixture(scope="module")
def blocks():
    network = nn.Sequential(Block(), Block(), Block()).eval()
    return network, to_onnx(Model(network, ["x:float32[N,T,8]"]))


def test_all_blocks_share_one_mask(blocks):
    found = kinds(blocks[1])
    assert found["Softmax"] == 3
    assert found["Trilu"] == found["Where"] == 1
    assert found["Shape"] <= 1


def test_heads_are_split_and_joined_by_constants(blocks):
    graph = blocks[1].onnx.graph
    targets = [node.inputs[1] for node in graph if node.op_type == "Reshape"]
    assert targets and all(value is not None and value.const_value is not None for value in targets)
    assert all(-1 not in value.const_value.numpy().tolist() for value in targets)


def test_keys_are_turned_at_once(blocks):
    assert all(len(n.attributes["perm"].as_ints()) == 4 for n in blocks[1].onnx.graph if n.op_type == "Transpose")


@pytest.mark.parametrize("sizes", [(1, 1), (1, 7), (4, 3), (3, 33)])
def test_it_agrees_with_torch_at_any_size(blocks, sizes):
    x = np.random.default_rng(0).standard_normal((*sizes, 8)).astype(np.float32)
    network, model = blocks
    with torch.no_grad():
        wanted = network(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(onnx_runner(model)({"x": x})["y"], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sizes", [(1, 1), (2, 7)])
def test_a_length_that_no_input_has_is_computed(sizes):
    model = to_onnx(Model(Joined(), ["x:float32[N,T,8]"]))
    x = np.random.default_rng(0).standard_normal((*sizes, 8)).astype(np.float32)
    np.testing.assert_array_equal(onnx_runner(model)({"x": x})["y"], Joined()(torch.from_numpy(x)).numpy())


def graph(target: list[object], dims: list[object]) -> ir.Model:
    """Reshape(x + x, Concat of parts of its own shape and numbers): an int in `target` is the axis, a list numbers."""
    nodes = [helper.make_node("Add", ["x", "x"], ["v"]), helper.make_node("Shape", ["v"], ["s"])]
    constants, parts = [], []
    for i, part in enumerate(target):
        constants.append(
            numpy_helper.from_array(np.array([part] if isinstance(part, int) else part, np.int64), f"c{i}")
        )
        if isinstance(part, int):
            nodes.append(helper.make_node("Gather", ["s", f"c{i}"], [f"g{i}"]))
        parts.append(f"g{i}" if isinstance(part, int) else f"c{i}")
    nodes += [
        helper.make_node("Concat", parts, ["t"], axis=0),
        helper.make_node("Reshape", ["v", "t"], ["y"], allowzero=1),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, d) for n, d in (("x", dims), ("y", None)))
    proto = helper.make_graph(nodes, "g", [x], [y], constants)
    network = ir.from_proto(helper.make_model(proto, opset_imports=[helper.make_opsetid("", 18)], ir_version=8))
    made = next(iter(network.graph)).outputs[0]
    made.shape, made.dtype = ir.Shape(dims), ir.DataType.FLOAT
    return network


@pytest.mark.parametrize(
    ("target", "wanted"),
    [([0, 1, [2, 4]], [0, 0, 2, 4]), ([[1], 0, 1, [8]], None), ([1, 0, [8]], None), ([0, [-1]], [0, -1])],
)
@pytest.mark.parametrize("sizes", [(2, 3, 8), (1, 1, 8), (4, 0, 8)])
def test_a_dimension_is_copied_where_it_stays_in_its_place_and_else_read_from_the_input(target, wanted, sizes):
    if -1 in (wanted or ()) and 0 in sizes:
        pytest.skip("-1 has no meaning for an empty tensor")
    before = graph(target, ["N", "T", 8])
    after = before.clone()
    settle_shapes(after)
    shape = next(node.inputs[1] for node in after.graph if node.op_type == "Reshape")
    if wanted is not None:
        assert shape.producer().attributes["value"].as_tensor().numpy().tolist() == wanted
    assert all(node.inputs[0].name == "x" for node in after.graph if node.op_type == "Shape")
    x = np.arange(np.prod(sizes), dtype=np.float32).reshape(sizes)
    one, two = (session(Model(network)).run(None, {"x": x})[0] for network in (before, after))
    np.testing.assert_array_equal(one, two)


def test_what_has_no_letter_is_asked_as_before():
    network = graph([1, 0, [2, 4]], ["N", "T", 8])
    next(iter(network.graph)).outputs[0].shape = ir.Shape(["N", "other", 8])
    settle_shapes(network)
    assert [node.op_type for node in network.graph] == ["Add", "Shape", "Gather", "Gather", "Concat", "Reshape"]
