"""Small ONNX networks of every kind, built node by node, so that these tests need no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

import compress  # noqa: F401  (binds our floors)
from models.records import InputSpec, Model, OutputSpec


class Net:
    """Collects nodes and weights; every weight is drawn from one seed."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def const(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def weight(self, name: str, *shape: int, gain: float = 1.0) -> str:
        fan_in = max(1, int(np.prod(shape[1:])))
        return self.const(name, self.rng.standard_normal(shape) * gain / np.sqrt(fan_in))

    def op(self, kind: str, *inputs: str, name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [f"{name}_out"], name=name, **attributes))
        return f"{name}_out"

    def conv(self, x: str, cin: int, cout: int, *, name: str, k: int = 3, group: int = 1, relu: str = "Relu") -> str:
        weight = self.weight(f"{name}.weight", cout, cin // group, k, k, gain=1.4)
        bias = self.const(f"{name}.bias", self.rng.standard_normal(cout) * 0.1)
        y = self.op("Conv", x, weight, bias, name=name, kernel_shape=[k, k], pads=[k // 2] * 4, group=group)
        return self.op(relu, y, name=f"{name}.act") if relu else y

    def linear(self, x: str, cin: int, cout: int, *, name: str) -> str:
        weight = self.weight(f"{name}.weight", cout, cin)
        bias = self.const(f"{name}.bias", self.rng.standard_normal(cout) * 0.1)
        return self.op("Gemm", x, weight, bias, name=name, transB=1)

    def matmul(self, x: str, cin: int, cout: int, *, name: str) -> str:
        weight = self.const(f"{name}.weight", self.rng.standard_normal((cin, cout)) / np.sqrt(cin))
        bias = self.const(f"{name}.bias", self.rng.standard_normal(cout) * 0.1)
        return self.op("Add", self.op("MatMul", x, weight, name=name), bias, name=f"{name}.add")

    def model(
        self,
        inputs: Sequence[InputSpec],
        outputs: dict[str, tuple[int | str, ...]],
        *,
        opset: int = 18,
        typical: dict[str, int] | None = None,
    ) -> Model:
        for given, wanted in zip(self._results(outputs), outputs, strict=True):
            self.nodes.append(helper.make_node("Identity", [given], [wanted], name=f"out.{wanted}"))
        kind = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info(s.name, kind[s.dtype], s.dims) for s in inputs],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in outputs.items()],
            self.constants,
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        onnx.checker.check_model(proto, full_check=True)
        proto = onnx.shape_inference.infer_shapes(proto)
        return Model(
            ir.from_proto(proto),
            tuple(inputs),
            tuple(OutputSpec(name=name, dtype="float32", dims=dims) for name, dims in outputs.items()),
            typical=typical or {},
            name="net",
        )

    def _results(self, outputs: dict[str, Any]) -> list[str]:
        read = {name for node in self.nodes for name in node.input}
        return [name for node in self.nodes for name in node.output if name and name not in read][-len(outputs) :]


IMAGE = (InputSpec(name="x", dtype="float32", dims=("N", 3, 16, 16)),)


def conv_net(*, opset: int = 18) -> Model:
    net = Net()
    y = net.conv("x", 3, 16, name="stem")
    y = net.op("MaxPool", y, name="pool", kernel_shape=[2, 2], strides=[2, 2])
    y = net.conv(y, 16, 32, name="body")
    y = net.op("GlobalAveragePool", y, name="gap")
    y = net.op("Flatten", y, name="flat")
    net.linear(y, 32, 10, name="head")
    return net.model(IMAGE, {"logits": ("N", 10)}, opset=opset)


def depthwise_net() -> Model:
    net = Net(1)
    y = net.conv("x", 3, 16, name="stem")
    y = net.conv(y, 16, 16, name="dw", group=16)
    y = net.conv(y, 16, 32, name="pw", k=1)
    y = net.op("Flatten", net.op("GlobalAveragePool", y, name="gap"), name="flat")
    net.linear(y, 32, 10, name="head")
    return net.model(IMAGE, {"logits": ("N", 10)})


def residual_net() -> Model:
    net = Net(2)
    x = net.conv("x", 3, 16, name="stem")
    y = net.conv(net.conv(x, 16, 16, name="a"), 16, 16, name="b", relu="")
    y = net.op("Relu", net.op("Add", y, x, name="join"), name="join.act")
    y = net.op("Concat", net.conv(y, 16, 8, name="left"), net.conv(y, 16, 8, name="right"), name="cat", axis=1)
    y = net.conv(y, 16, 16, name="last")
    y = net.op("Flatten", net.op("GlobalAveragePool", y, name="gap"), name="flat")
    net.linear(y, 16, 10, name="head")
    return net.model(IMAGE, {"logits": ("N", 10)})


def mlp(width: int = 64) -> Model:
    net = Net(3)
    y = net.op("Relu", net.linear("x", 32, width, name="first"), name="first.act")
    y = net.op("Relu", net.linear(y, width, width, name="second"), name="second.act")
    net.linear(y, width, 8, name="last")
    return net.model((InputSpec(name="x", dtype="float32", dims=("N", 32)),), {"y": ("N", 8)})


def recurrent(kind: str = "GRU", hidden: int = 32) -> Model:
    net = Net(4)
    gates = {"GRU": 3, "LSTM": 4, "RNN": 1}[kind]
    x = net.op("Transpose", "x", name="time_first", perm=[1, 0, 2])
    weight, again = net.weight("rnn.W", 1, gates * hidden, 10), net.weight("rnn.R", 1, gates * hidden, hidden)
    bias = net.const("rnn.B", net.rng.standard_normal((1, 2 * gates * hidden)) * 0.1)
    extra = {"linear_before_reset": 1} if kind == "GRU" else {}
    net.nodes.append(
        helper.make_node(
            kind, [x, weight, again, bias], ["rnn_all", "rnn_last"], name="rnn", hidden_size=hidden, **extra
        )
    )
    y = net.op("Squeeze", "rnn_last", net.const("axes", [0], np.int64), name="squeeze")
    net.linear(y, hidden, 10, name="head")
    spec = InputSpec(name="x", dtype="float32", dims=("N", "T", 10))
    return net.model((spec,), {"logits": ("N", 10)}, typical={"N": 1, "T": 16})


def attention(dim: int = 32, words: int = 50) -> Model:
    net = Net(5)
    x = net.op("Gather", net.const("embed.weight", net.rng.standard_normal((words, dim))), "ids", name="embed")
    h = _norm(net, x, dim, "norm1")
    q, k, v = (net.matmul(h, dim, dim, name=name) for name in ("q", "k", "v"))
    scores = net.op("MatMul", q, net.op("Transpose", k, name="kt", perm=[0, 2, 1]), name="scores")
    scores = net.op("Mul", scores, net.const("root", dim**-0.5), name="scale")
    mixed = net.op("MatMul", net.op("Softmax", scores, name="softmax", axis=-1), v, name="mix")
    x = net.op("Add", x, net.matmul(mixed, dim, dim, name="out"), name="join1")
    h = net.op("Relu", net.matmul(_norm(net, x, dim, "norm2"), dim, 4 * dim, name="up"), name="up.act")
    x = net.op("Add", x, net.matmul(h, 4 * dim, dim, name="down"), name="join2")
    net.matmul(_norm(net, x, dim, "norm3"), dim, words, name="head")
    spec = InputSpec(name="ids", dtype="int64", dims=("N", "T"), high=words)
    return net.model((spec,), {"logits": ("N", "T", words)}, typical={"N": 1, "T": 12})


def _norm(net: Net, x: str, dim: int, name: str) -> str:
    return net.op(
        "LayerNormalization", x, net.const(f"{name}.g", np.ones(dim)), net.const(f"{name}.b", np.zeros(dim)), name=name
    )


def stream(hidden: int = 16) -> Model:
    """One step of an Elman network written out: the state goes in and comes out."""
    net = Net(6)
    y = net.op(
        "Add", net.linear("x", 8, hidden, name="input"), net.linear("h", hidden, hidden, name="again"), name="sum"
    )
    net.op("Tanh", y, name="tanh")
    inputs = (
        InputSpec(name="x", dtype="float32", dims=("N", 8)),
        InputSpec(name="h", dtype="float32", dims=("N", hidden), state_of="h_next"),
    )
    return net.model(inputs, {"h_next": ("N", hidden)})


def cached(positions: int = 16, width: int = 8) -> Model:
    """One step of attention written out: the cache of what was seen grows by one, up to as many as have a position."""
    net = Net(8)
    length = net.op("Gather", net.op("Shape", "past", name="shape"), net.const("one", 1, np.int64), name="length")
    place = net.op("Gather", net.weight("places", positions, width), length, name="place")
    new = net.matmul(net.op("Add", "x", place, name="placed"), width, width, name="new")
    known = net.op("Concat", "past", new, name="all", axis=1)
    turned = net.op("Transpose", known, name="turned", perm=[0, 2, 1])
    shares = net.op("Softmax", net.op("MatMul", new, turned, name="scores"), name="shares", axis=-1)
    net.matmul(net.op("MatMul", shares, known, name="mixed"), width, 5, name="head")
    net.op("Identity", known, name="kept")
    inputs = (
        InputSpec(name="x", dtype="float32", dims=("N", 1, width)),
        InputSpec(name="past", dtype="float32", dims=("N", "P", width), state_of="present"),
    )
    return net.model(inputs, {"y": ("N", 1, 5), "present": ("N", "Q", width)})


def in_half(model: Model) -> Model:
    """The model in float16, inputs and outputs too."""
    network = model.onnx.clone()
    for graph in network.graphs():
        for value in graph.initializers.values():
            assert value.const_value is not None
            if value.const_value.dtype == ir.DataType.FLOAT:
                value.const_value = ir.tensor(value.const_value.numpy().astype(np.float16), name=value.name)
        given = (v for node in graph for v in node.outputs)
        for value in (*graph.inputs, *graph.initializers.values(), *given):
            if value.dtype == ir.DataType.FLOAT:
                value.type = ir.TensorType(ir.DataType.FLOAT16)
    specs = [[replace(s, dtype=s.dtype.replace("32", "16")) for s in side] for side in (model.inputs, model.outputs)]
    return replace(model, network=network, inputs=tuple(specs[0]), outputs=tuple(specs[1]))
