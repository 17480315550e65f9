"""What other tools write and a runtime or library stumbles over, set right without a change in what is computed.

Nodes out of order, two nodes of one name, a dimension of 0 or -1 for "free", shapes of inner values from before a
script made the batch free: each is against ONNX's rules, and each is in files that people have. Imports no torch.
"""

from __future__ import annotations

import onnx_ir as ir


def repair(network: ir.Model) -> None:
    """Edit a graph in place, bodies included; one that keeps the rules stays as it is.

    Raises:
        ValueError: the graph has a cycle.
    """
    if not _is_sorted(network.graph):
        network.graph.sort()
    _tell_nodes_apart(network)
    for graph in network.graphs():
        for value in (value for node in graph for value in node.outputs):
            if not value.is_graph_output():
                value.shape = None  # the runtime infers it; where the file says another, it believes the file
    for value in (*network.graph.inputs, *network.graph.outputs):
        if value.shape is not None and any(isinstance(d, int) and d <= 0 for d in value.shape):
            value.shape = ir.Shape([None if isinstance(d, int) and d <= 0 else d for d in value.shape])


def _is_sorted(graph: ir.Graph, made: set[ir.Value] | None = None) -> bool:
    """Whether each node reads only what lies before it."""
    made = set() if made is None else set(made)
    made.update(graph.inputs, graph.initializers.values())
    for node in graph:
        if any(value is not None and value.producer() is not None and value not in made for value in node.inputs):
            return False
        for attribute in node.attributes.values():
            inner = attribute.value if attribute.type == ir.AttributeType.GRAPH else None
            if isinstance(inner, ir.Graph) and not _is_sorted(inner, made):
                return False
        made.update(node.outputs)
    return True


def _tell_nodes_apart(network: ir.Model) -> None:
    """A name is one node's; ONNX Runtime refuses a graph with two of a name. Nameless nodes stay so."""
    for graph in network.graphs():
        taken = {node.name for node in graph if node.name}
        seen: set[str] = set()
        for node in graph:
            if node.name in seen:
                node.name = unused(node.name, taken)
                taken.add(node.name)
            if node.name:
                seen.add(node.name)


def unused(name: str, taken: set[str] | dict[str, object]) -> str:
    """The name itself, or with the first number behind it that makes it new."""
    if name not in taken:
        return name
    return next(numbered for i in range(1, 1 << 30) if (numbered := f"{name}_{i}") not in taken)
