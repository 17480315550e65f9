"""What can carry integers from layer to layer, what it reads and what it gives.

Source of the tables: onnxruntime, core/optimizer/qdq_transformer/selectors_actions/qdq_selector_action_transformer.cc.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from compress.quantization.clip_bounds import bounds
from compress.quantization.onnx_weights import is_skipped
from export.reading import attribute

# integer kernels that give a range of their own
COMPUTING = frozenset({"Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool", "LeakyRelu", "Sigmoid"})
# operators that only move numbers, or pick among them: their output keeps the grid of their input
MOVING = frozenset(
    {"MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split", "Gather", "Identity"}
)
CARRIERS = COMPUTING | MOVING
# those whose result is the same whether it is rounded or what they read is, on the same grid: it costs no precision
EXACT = MOVING | {"Concat"}
# the grid's own ends do what these do, when they follow an integer operator
CLIPPING = frozenset({"Relu", "Clip"})


def can_carry(node: ir.Node, skip: Sequence[str]) -> bool:
    """Whether its operator has an integer kernel without weights, and nobody asked for it to stay in float."""
    return (
        node.op_type in CARRIERS
        and node.domain in ("", "ai.onnx")
        and not (node.op_type == "MaxPool" and len(node.outputs) > 1)  # where it found them are no numbers to round
        and not (node.op_type == "AveragePool" and averages_otherwise(node))
        and not is_skipped(node.name or "", skip)
    )


def averages_otherwise(node: ir.Node) -> bool:
    """Whether the integer kernel gives another mean: at a rounded-up end it counts padding, and it skips nothing."""
    rounded_up = attribute(node, "ceil_mode", 0) and attribute(node, "count_include_pad", 0)
    return bool(rounded_up or "dilations" in node.attributes)


def all_vary(node: ir.Node) -> bool:
    """Whether none of its operands is a constant."""
    return all(value.const_value is None for value in operands(node))


def _sole_clip(value: ir.Value) -> ir.Node | None:
    """The ReLU or Clip that alone reads this value, and whose constant bounds leave zero in: so does every grid."""
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return None
    node = uses[0].node
    if node.op_type not in CLIPPING or node.domain not in ("", "ai.onnx") or uses[0].idx != 0:
        return None
    producer = value.producer()
    same_graph = producer is not None and node.graph is producer.graph
    return node if same_graph and _holds_zero(node) else None


def _holds_zero(node: ir.Node) -> bool:
    """Whether its bounds are constants on either side of zero; a grid begins or ends there at the latest."""
    low, high = bounds(node)
    return low is not None and high is not None and low <= 0 <= high


def result_of(node: ir.Node) -> list[ir.Value]:
    """What a node gives, past the ReLU or Clip that follows it."""
    if len(node.outputs) > 1:
        return list(node.outputs)
    clip = _sole_clip(node.outputs[0])
    return list(clip.outputs if clip is not None else node.outputs)


def operands(node: ir.Node) -> list[ir.Value]:
    """The inputs of a carrier that carry numbers, and no shape, axes or indices."""
    taken = node.inputs if node.op_type in ("Add", "Mul", "Concat") else node.inputs[:1]
    return [value for value in taken if value is not None]
