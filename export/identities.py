"""An Identity goes, and every output keeps its name and its place. Imports no torch.

onnx-ir's pass of the same kind renames a value that is an output already, and makes a body give back a value from
outside it, which ONNX Runtime refuses. Here such an Identity stays.
"""

from __future__ import annotations

import onnx_ir as ir


def remove_identities(network: ir.Model) -> int:
    """Remove, in place and in all bodies, each Identity that no output needs; how many went."""
    removed = 0
    for node in list(network.graph.all_nodes()):
        if node.op_type == "Identity" and node.domain in ("", "ai.onnx") and _may_go(node):
            _remove(node)
            removed += 1
    return removed


def _may_go(node: ir.Node) -> bool:
    source, result = node.inputs[0], node.outputs[0]
    if source is None or node.graph is None:
        return False
    if not result.is_graph_output():
        return True
    producer = source.producer()
    return producer is not None and producer.graph is node.graph and not source.is_graph_output()


def _remove(node: ir.Node) -> None:
    source, result = node.inputs[0], node.outputs[0]
    assert source is not None and node.graph is not None
    name = result.name if result.is_graph_output() else None
    ir.convenience.replace_all_uses_with(result, source, replace_graph_outputs=True)
    node.graph.remove(node, safe=True)
    if name is not None:
        source.name = name
        source.shape, source.type = result.shape, result.type
    elif source.shape is None:
        source.shape = result.shape
    if source.type is None:
        source.type = result.type
