"""A model that gives further tensors of its graph, to look at them, also those of the bodies that can be looked into.

What a branch of an If computes is made an output of the branch, of the If, and of what holds that; the other branch
gives an empty array in its place. What the body of a Scan computes is stacked over its turns. A Loop may compute arrays
of another shape each turn, which nothing can stack: their numbers are carried from turn to turn, one array behind the
other.

A tensor of the main graph whose type nobody says becomes an output without one: the runtime knows it, and a mask is no
float. In a body all that is looked at is what may be rounded, and so float.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from compress.quantization.onnx_edit import Editor, free_name, graph_of
from compress.quantization.onnx_weights import OTHER_FLOATS, bodies_of
from export.known_shapes import inferred_shapes
from export.reading import opset_of
from models.records import Model, OutputSpec

_OPEN = ("If", "Scan", "Loop")
_ANY_RANK = 11  # the first opset in which what the branches of an If give may differ in rank


def open_graphs(network: ir.Model) -> dict[ir.Graph, ir.Node | None]:
    """The main graph and the bodies that can be looked into, each with the node that holds it."""
    return {network.graph: None, **dict(_open(network.graph))}


def _open(graph: ir.Graph) -> Iterator[tuple[ir.Graph, ir.Node]]:
    for node in graph:
        if node.op_type in _OPEN and node.domain in ("", "ai.onnx"):
            for body in bodies_of(node):
                yield body, node
                yield from _open(body)


def show(network: ir.Model, names: Sequence[str]) -> list[str]:
    """Make tensors outputs of the graph, in place; the names of those that were none and are now."""
    holders = open_graphs(network)
    found = _named(holders)
    given = {value.name for value in (*network.graph.outputs, *network.graph.inputs)}
    shown = [name for name in dict.fromkeys(names) if name in found and name not in given]
    if opset_of(network) < _ANY_RANK:
        shown = [name for name in shown if not _in_branch(holders, found[name])]
    if _is_typed_otherwise(network):
        _give_types(network, [found[name] for name in shown if holders[graph_of(found[name])] is not None])
    taken: set[str | None] = {*found, *given, *(name for graph in network.graphs() for name in graph.initializers)}
    for name in shown:
        value = found[name]
        node = holders[graph_of(value)]
        if node is not None:  # the output has the name, and what is in the body another one
            value.name = free_name(f"{name}_inside", taken)
        while node is not None:
            value = (_carried_by if node.op_type == "Loop" else _given_by)(node, value, taken)
            found |= {moved.name: moved for moved in node.outputs if moved.name}
            node = holders[graph_of(value)]
        value.name = name
        network.graph.outputs.append(value)
    return shown


def _is_typed_otherwise(network: ir.Model) -> bool:
    """Whether a body may compute in another type than float, which nobody wrote at its tensors."""
    constants = (value for graph in network.graphs() for value in graph.initializers.values())
    return any(True for _ in _open(network.graph)) and any(value.dtype in OTHER_FLOATS for value in constants)


def _give_types(network: ir.Model, values: Sequence[ir.Value]) -> None:
    """The types of tensors in bodies, where nobody wrote them and they follow from the inputs."""
    values = [value for value in values if value.dtype is None]
    if not values:
        return
    typed = network.clone()
    with inferred_shapes(typed):
        kinds = {name: value.dtype for name, value in _named(open_graphs(typed)).items()}
    for value in values:
        if (kind := kinds.get(value.name or "")) is not None:
            value.dtype = kind


def _in_branch(holders: Mapping[ir.Graph, ir.Node | None], value: ir.Value) -> bool:
    node = holders[graph_of(value)]
    while node is not None:
        if node.op_type == "If":
            return True
        node = holders[node.graph]  # type: ignore[index]
    return False


def _named(graphs: Iterable[ir.Graph]) -> dict[str, ir.Value]:
    return {value.name: value for graph in graphs for value in _values(graph) if value.name}


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    for node in graph:
        yield from node.outputs


def _given_by(node: ir.Node, value: ir.Value, taken: set[str | None]) -> ir.Value:
    """A tensor of a body as an output of the node that holds it."""
    inside = graph_of(value)
    value.type = value.type or ir.TensorType(ir.DataType.FLOAT)
    for body in bodies_of(node):
        body.outputs.append(_apart(value, taken) if body is inside else _nothing(body, value, taken))
    for each in ("scan_output_axes", "scan_output_directions"):
        if each in node.attributes:
            node.attributes[each] = ir.AttrInt64s(each, [*node.attributes[each].as_ints(), 0])
    node.resize_outputs(len(node.outputs) + 1)
    output = node.outputs[-1]
    output.name, output.type = free_name(f"{value.name}_shown", taken), value.type
    return output


def _carried_by(node: ir.Node, value: ir.Value, taken: set[str | None]) -> ir.Value:
    """What a tensor in the body of a Loop held in all turns, one number behind the other, as an output of the Loop."""
    body, carried = graph_of(value), len(node.inputs) - 2  # of trips, and whether to go on
    kind = value.dtype or ir.DataType.FLOAT
    before = ir.val(free_name(f"{value.name}_before", taken), dtype=kind)
    edit, shape = Editor(body, taken, taken), _constant(body, "flat", np.array([-1]), taken)
    flat = edit.node("Reshape", [value, shape], output=f"{value.name}_flat")
    after = edit.node("Concat", [before, flat], {"axis": 0}, output=f"{value.name}_after")
    after.dtype = kind
    body.inputs.append(before)
    body.outputs.insert(1 + carried, after)
    outside = node.graph
    assert isinstance(outside, ir.Graph)
    node.resize_inputs(len(node.inputs) + 1)
    node.replace_input_with(len(node.inputs) - 1, _constant(outside, "none", np.zeros(0, kind.numpy()), taken, node))
    node.resize_outputs(len(node.outputs) + 1)
    for place in range(len(node.outputs) - 1, carried, -1):  # what is stacked comes behind what is carried
        _move(node.outputs[place - 1], node.outputs[place])
    output = node.outputs[carried]
    output.name, output.type, output.shape = free_name(f"{value.name}_shown", taken), ir.TensorType(kind), None
    return output


def _move(value: ir.Value, to: ir.Value) -> None:
    """Let a value that nobody reads yet be what another one was, which is left without a name."""
    ir.convenience.replace_all_uses_with(value, to, replace_graph_outputs=True)
    name, value.name = value.name, None
    to.name, to.type, to.shape = name, value.type, value.shape


def _constant(
    graph: ir.Graph, name: str, numbers: np.ndarray[Any, Any], taken: set[str | None], before: ir.Node | None = None
) -> ir.Value:
    made = ir.val(free_name(name, taken), dtype=ir.DataType.from_numpy(numbers.dtype))
    node = ir.node("Constant", [], {"value": ir.tensor(numbers)}, outputs=[made], name=made.name)
    graph.append(node) if before is None else graph.insert_before(before, node)
    return made


def _apart(value: ir.Value, taken: set[str | None]) -> ir.Value:
    """The tensor, or a copy where it is an input or an output of its body already."""
    if not value.is_graph_input() and not value.is_graph_output():
        return value
    copy = ir.val(free_name(f"{value.name}_copy", taken), dtype=value.dtype)
    graph_of(value).append(ir.node("Identity", [value], outputs=[copy], name=copy.name))
    return copy


def _nothing(body: ir.Graph, value: ir.Value, taken: set[str | None]) -> ir.Value:
    """An empty array: what the branch that is not taken gives."""
    kind = ir.DataType.FLOAT if value.dtype is None else value.dtype
    return _constant(body, f"{value.name}_nothing", np.zeros(0, kind.numpy()), taken)


def watched(model: Model, names: Sequence[str]) -> Model:
    """The model with further tensors among its outputs; those of bodies that cannot be looked into are left out."""
    network = model.onnx.clone()
    specs = tuple(OutputSpec(name=name, dtype="float32", dims=()) for name in show(network, names))
    return replace(model, network=network, outputs=(*model.outputs, *specs), forms={}, sample=None)
