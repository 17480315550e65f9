"""Which nodes of an ONNX graph are layers with weights, which tensor is the weight, and which axes are its channels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import onnx_ir as ir

from export.reading import attribute

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Weight:
    """One constant tensor of a layer.

    Args:
        value: the initializer.
        input: which input of the node it is.
        channel_axes: an index along these is one output channel, with a scale of its own.
    """

    value: ir.Value
    input: int
    channel_axes: tuple[int, ...]


SKIPPED = "skipped, as asked"  # how a note says that a pattern names the layer
FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)
OTHER_FLOATS = FLOATS[1:]  # than those that integer kernels take the place of


def weights_of(node: ir.Node, kinds: Sequence[ir.DataType] = FLOATS[:1]) -> tuple[Weight, ...]:
    """The constant weights of a layer, without its bias; () for a node that is no layer or has none.

    Args:
        node: of any operator.
        kinds: of numbers; float32 alone is what integer kernels take the place of.
    """
    if node.domain not in ("", "ai.onnx"):
        return ()
    found = []
    for position, axes in _places(node):
        value = node.inputs[position] if position < len(node.inputs) else None
        if value is not None and is_weight(value, kinds) and max(axes, default=0) < len(value.shape or ()):
            found.append(Weight(value, position, axes))
    return tuple(found)


def is_weight(value: ir.Value, kinds: Sequence[ir.DataType] = FLOATS[:1]) -> bool:
    """Whether it is a constant of these kinds, float32 alone if not said, that nobody can replace from outside."""
    constant = value.const_value
    return constant is not None and value.is_initializer() and not value.is_graph_input() and constant.dtype in kinds


def _places(node: ir.Node) -> Sequence[tuple[int, tuple[int, ...]]]:
    """(input, channel axes) of each weight, by the operator's definition."""
    match node.op_type:
        case "Conv":
            return ((1, (0,)),)
        case "ConvTranspose":
            # (in, out / group, ...): with groups, one column serves several output channels, still one scale
            return ((1, (1,)),)
        case "Gemm":
            return ((1, (0,) if attribute(node, "transB", 0) else (1,)),)
        case "MatMul":
            # a constant on the left has its channels in its rows, and there is no integer kernel for it
            return ((0, (len(_shape(node, 0)) - 2,)), (1, (len(_shape(node, 1)) - 1,)))
        case "LSTM" | "GRU" | "RNN":
            return ((1, (0, 1)), (2, (0, 1)))
        case "Gather":
            return ((0, (0,)),)
    return ()


def _shape(node: ir.Node, position: int) -> tuple[Any, ...]:
    value = node.inputs[position]
    shape = value.shape if value is not None else None
    return tuple(shape) if shape is not None and len(shape) > 1 else (0, 0)


def array(value: ir.Value) -> Array:
    """The numbers of a constant."""
    assert value.const_value is not None
    return value.const_value.numpy()


def is_skipped(layer: str, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns (`*`, `?`, `[...]`) names the layer."""
    return any(fnmatchcase(layer, pattern) for pattern in patterns)


def exactly(layer: str) -> str:
    """The pattern that names this layer alone."""
    return re.sub(r"([*?\[])", r"[\1]", layer)


def bodies_of(node: ir.Node) -> list[ir.Graph]:
    """The graphs inside a node: branches of an If, the body of a Loop or Scan."""
    return [a.as_graph() for a in node.attributes.values() if a.type == ir.AttributeType.GRAPH]


def everywhere(network: ir.Model) -> Iterator[ir.Node]:
    """Each node of the graph and of all bodies inside it, in order."""
    yield from ir.traversal.RecursiveGraphIterator(network.graph)
