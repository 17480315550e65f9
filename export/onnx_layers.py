"""Operators of ONNX that hold weights as real torch modules, built once when the graph is read.

A builder looks at a node and its constants and gives a function of the node's remaining inputs, or None where this node
is no such layer (a MatMul of two activations); it is interpreted by `onnx_functions.py` then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn

from export.onnx_builder import Builder, Run, constant
from export.onnx_convolutions import convolution, transposed_convolution
from export.onnx_norms import NORMS
from export.onnx_recurrent import recurrent
from export.onnx_values import Call, tensor


def _linear(build: Builder, node: ir.Node, weight: ir.Value, flipped: bool, bias: ir.Value | None) -> nn.Module:
    """nn.Linear whose weight is the constant itself (out, in), or turned where it is stored as (in, out)."""

    def make() -> nn.Module:
        w = build.parameter(weight, lambda a: np.ascontiguousarray(a.T), "T") if flipped else build.parameter(weight)
        linear = nn.Linear(1, 1, bias=bias is not None, device="meta")
        linear.out_features, linear.in_features = w.shape
        linear.weight = w
        linear.bias = None if bias is None else build.parameter(bias, lambda a: a.reshape(-1), "flat")  # type: ignore[assignment]
        return linear

    return build.layer(node, (weight, bias), make, flipped)


def _gemm(build: Builder, node: ir.Node, call: Call) -> Run | None:
    weight, bias = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
    flipped = not call.get("transB", 0)
    array, offset = constant(weight), constant(bias)
    plain = (
        call.get("alpha", 1.0) == 1.0 and (bias is None or call.get("beta", 1.0) == 1.0) and not call.get("transA", 0)
    )
    if array is None or weight is None or not plain:
        return None
    width = array.shape[1 if flipped else 0]
    if bias is not None and (offset is None or offset.size != width or offset.shape[-1] != width):
        return None
    layer = _linear(build, node, weight, flipped, bias)
    return lambda call, x, *_: layer(tensor(x))


def _matmul(build: Builder, node: ir.Node, call: Call) -> Run | None:
    """X @ constant, where the constant may be stored turned (tied weights) and the bias may be an Add behind it."""
    weight, flipped = node.inputs[1], True
    turn = weight.producer() if weight is not None else None
    if turn is not None and turn.op_type == "Transpose" and constant(turn.inputs[0]) is not None:
        weight, flipped = turn.inputs[0], False
    array = constant(weight)
    if array is None or weight is None or array.ndim != 2 or array.dtype.kind != "f":
        return None
    layer = _linear(build, node, weight, flipped, bias_behind(node, array.shape[1 if flipped else 0]))
    return lambda call, x, *_: layer(tensor(x))


def bias_behind(node: ir.Node, width: int) -> ir.Value | None:
    """The constant of an Add that is the only reader of a MatMul with constant weights, if it is a bias."""
    users = node.outputs[0].consumers()
    if len(users) != 1 or users[0].op_type != "Add" or node.outputs[0].is_graph_output():
        return None
    other = next((v for v in users[0].inputs if v is not node.outputs[0]), None)
    array = constant(other)
    return other if array is not None and array.shape == (width,) else None


def _prelu(build: Builder, node: ir.Node, call: Call) -> Run | None:
    slope = node.inputs[1]
    array = constant(slope)
    rank = build.ranks.get(node.inputs[0].name or "", 0) if node.inputs[0] is not None else 0
    if array is None or slope is None:
        return None
    whole = (1,) * (rank - array.ndim) + array.shape
    if array.size > 1 and (rank < 2 or whole[1] != array.size):  # one number, or one a channel
        return None

    def make() -> nn.Module:
        module = nn.PReLU(array.size)
        module.weight = build.parameter(slope, lambda a: a.reshape(-1), "flat")
        return module

    layer = build.layer(node, (slope,), make, None)
    return lambda call, x, *_: layer(tensor(x))


def _embedding(build: Builder, node: ir.Node, call: Call) -> Run | None:
    table, indices = node.inputs
    array = constant(table)
    if array is None or table is None or array.dtype.kind != "f" or array.ndim != 2 or call.get("axis", 0):
        return None
    if constant(indices) is not None:
        return None
    rows, width = array.shape

    def make() -> nn.Module:
        module = nn.Embedding(rows, width, _weight=torch.empty(rows, width, device="meta"))
        module.weight = build.parameter(table)
        return module

    layer = build.layer(node, (table,), make, None)

    def run(call: Call, x: Any, where: Any) -> Tensor:
        found: Tensor = layer(tensor(where))
        return found

    return run


LAYERS: dict[str, Callable[[Builder, ir.Node, Call], Run | None]] = {
    "Conv": convolution,
    "ConvTranspose": transposed_convolution,
    "Gemm": _gemm,
    "MatMul": _matmul,
    **NORMS,
    "PRelu": _prelu,
    "Gather": _embedding,
    "LSTM": recurrent,
    "GRU": recurrent,
    "RNN": recurrent,
}
