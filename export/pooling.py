"""A mean over all places of a picture is a GlobalAveragePool, whoever wrote it as a ReduceMean. Imports no torch.

torch exports adaptive pooling to one place as ReduceMean. ONNX Runtime has GlobalAveragePool in its blocked layout and
in integers, and ReduceMean in neither: the pool saves a reordering in float, and two conversions in int8.
"""

from __future__ import annotations

import onnx_ir as ir

_RANK = 4  # of (N, C, H, W)


def pool_globally(network: ir.Model) -> int:
    """Put a GlobalAveragePool in the place of each mean over (H, W) of a picture, in place; how many there were."""
    means = [node for node in network.graph.all_nodes() if _is_global(node)]
    for node in means:
        _replace(node)
    return len(means)


def _is_global(node: ir.Node) -> bool:
    if node.op_type != "ReduceMean" or node.domain not in ("", "ai.onnx") or node.graph is None:
        return False
    value = node.inputs[0]
    if value is None or value.shape is None or len(value.shape) != _RANK:
        return False
    axes = _axes(node)
    return axes is not None and sorted(axis % _RANK for axis in axes) == [2, 3]


def _axes(node: ir.Node) -> list[int] | None:
    """An attribute before opset 18, an input since; None where nobody knows them."""
    if "axes" in node.attributes:
        return list(node.attributes["axes"].as_ints())
    value = node.inputs[1] if len(node.inputs) > 1 else None
    if value is None or value.const_value is None:
        return None
    return [int(axis) for axis in value.const_value.numpy().ravel()]


def _replace(node: ir.Node) -> None:
    result, graph = node.outputs[0], node.graph
    keeps = node.attributes.get_int("keepdims", 1)
    pool = ir.node("GlobalAveragePool", node.inputs[:1], name=node.name)
    made = [pool]
    if not keeps:
        made.append(ir.node("Flatten", pool.outputs, {"axis": 1}))
    last = made[-1].outputs[0]
    last.shape, last.type, last.name = result.shape, result.type, result.name
    assert graph is not None
    ir.convenience.replace_nodes_and_values(graph, node, [node], made, [result], [last])
