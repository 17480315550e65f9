"""Puts nodes and constants into ONNX graphs under names that are not taken, and removes constants nobody reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from compress.quantization.onnx_weights import everywhere

Array = np.ndarray[Any, Any]


def editors(network: ir.Model) -> dict[ir.Graph, Editor]:
    """An editor for the graph and for each body inside it; a name is taken once in all of them."""
    graphs = list(network.graphs())
    values = {v.name for graph in graphs for v in (*graph.inputs, *graph.initializers.values())}
    values |= {value.name for node in everywhere(network) for value in node.outputs}
    nodes = {node.name for node in everywhere(network)}
    return {graph: Editor(graph, values, nodes) for graph in graphs if isinstance(graph, ir.Graph)}


class Editor:
    """Puts nodes and constants into one graph under names that are not taken yet."""

    def __init__(self, graph: ir.Graph, values: set[str | None], nodes: set[str | None]) -> None:
        self.graph = graph
        self._names = values
        self._nodes = nodes

    def constant(self, name: str, numbers: Array) -> ir.Value:
        """Register a new initializer."""
        name = free_name(name, self._names)
        value = ir.val(name, const_value=ir.tensor(np.ascontiguousarray(numbers).reshape(numbers.shape), name=name))
        value.shape, value.dtype = ir.Shape(numbers.shape), ir.DataType.from_numpy(numbers.dtype)
        self.graph.register_initializer(value)
        return value

    def shared(self, name: str, numbers: Array) -> ir.Value:
        """The initializer of this name and these very numbers, registered now if it is not there yet."""
        there = self.graph.initializers.get(name)
        if there is not None and there.const_value is not None:
            have = there.const_value.numpy()
            if have.dtype == numbers.dtype and have.shape == numbers.shape and have.tobytes() == numbers.tobytes():
                return there
        return self.constant(name, numbers)

    def node(
        self,
        operator: str,
        inputs: Sequence[ir.Value | None],
        attributes: dict[str, Any] | None = None,
        *,
        output: str,
        before: ir.Node | None = None,
        domain: str = "",
        name: str = "",
    ) -> ir.Value:
        """Add a node with one output, in front of another or at the end; the output says no shape.

        A node is named for its output, or as asked.
        """
        (made,) = self.nodes(operator, inputs, attributes, outputs=[output], before=before, domain=domain, name=name)
        return made

    def nodes(
        self,
        operator: str,
        inputs: Sequence[ir.Value | None],
        attributes: dict[str, Any] | None = None,
        *,
        outputs: Sequence[str],
        before: ir.Node | None = None,
        domain: str = "",
        name: str = "",
    ) -> list[ir.Value]:
        """The same with any number of outputs; the node is named for the first."""
        made = [ir.val(free_name(output, self._names)) for output in outputs]
        name = free_name(name or made[0].name or "", self._nodes)
        node = ir.node(operator, inputs, attributes, domain=domain, outputs=made, name=name)
        if before is None:
            self.graph.append(node)
        else:
            self.graph.insert_before(before, node)
        return made

    def body(self, inputs: Sequence[str]) -> Editor:
        """An editor for a new graph that a node of this one can hold, empty but for its inputs in float."""
        values = [ir.val(free_name(given, self._names), dtype=ir.DataType.FLOAT) for given in inputs]
        return Editor(ir.Graph(values, [], nodes=[], name="body"), self._names, self._nodes)


def graph_of(value: ir.Value) -> ir.Graph:
    """The graph or body that a tensor of a network is in."""
    assert isinstance(value.graph, ir.Graph)
    return value.graph


def free_name(name: str, taken: set[str | None]) -> str:
    """The name, or with the first number behind it that is free; taken from now on."""
    chosen, number = name, 2
    while chosen in taken:
        chosen, number = f"{name}_{number}", number + 1
    taken.add(chosen)
    return chosen


def drop_unused(network: ir.Model) -> None:
    """Remove the constants that nothing reads any more, in the graph and in all bodies."""
    for graph in network.graphs():
        for name, value in list(graph.initializers.items()):
            if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
                del graph.initializers[name]
