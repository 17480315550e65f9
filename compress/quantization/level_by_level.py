"""Runs a graph over some data one layer deep at a time, and keeps only what lies between: each node is run twice.

    inputs ── level 0 ── layers of level 1 ── the rest of level 1 ── layers of level 2 ── ...
                       ^ kept              ^ measured, then mended; only then the walk goes on

What a layer gives depends on all layers before it, so one that is changed by what it gave would ask for the whole graph
again, layer by layer. Here it asks for itself alone. What is kept of a graph in int8 is in int8: a constant, and what a
DequantizeLinear gives, is made again where it is read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from compress.quantization.calibration import opened
from compress.quantization.channel_means import ChannelSums, Dims
from models.records import Arrays

Array = np.ndarray[Any, Any]


def levels(network: ir.Model, layers: Collection[str]) -> dict[ir.Node, int]:
    """How many layers deep each node of the main graph is: how many of them lie on the longest way to it, itself too.

    Args:
        network: the graph, in order.
        layers: the names of the nodes that count.
    """
    deep: dict[ir.Value, int] = {}
    found: dict[ir.Node, int] = {}
    for node in network.graph:
        found[node] = max((deep.get(value, 0) for value in read_by(node)), default=0) + (node.name in layers)
        deep |= dict.fromkeys(node.outputs, found[node])
    return found


def read_by(node: ir.Node) -> Iterator[ir.Value]:
    """All that a node reads, also in the bodies inside it."""
    yield from (value for value in node.inputs if value is not None)
    for attr in node.attributes.values():
        if attr.type == ir.AttributeType.GRAPH:
            for inner in attr.as_graph():
                yield from read_by(inner)


class Walk:
    """A graph on its way from its inputs to its outputs, over all data at once.

    Its constants may be changed between two calls: those of layers that were just measured.

    Args:
        network: the main graph is walked through.
        layers: names of the nodes that are measured sometime.
        data: named inputs of each run, states among them.
    """

    def __init__(self, network: ir.Model, layers: Collection[str], data: Sequence[Arrays]) -> None:
        self.network, self.data = network, data
        self.fixed = _fixed(network)
        self.level = levels(network, layers)
        self.named = {node.name: node for node in self.level if node.name in layers}
        self.nodes: dict[int, list[ir.Node]] = {}
        for node, level in self.level.items():
            if not self._is_made_again(node):
                self.nodes.setdefault(level, []).append(node)
        self.last_read: dict[str, int] = {}
        for level, nodes in self.nodes.items():
            names = (value.name or "" for value in self._segment(nodes)[1])
            self.last_read |= {name: max(level, self.last_read.get(name, 0)) for name in names}
        self.kept: list[dict[str, Any]] = []
        self.done, self.stale = -1, True  # the level it is past; whether what is kept is of other constants

    def means(self, layers: Mapping[str, Dims]) -> dict[str, Array]:
        """What these layers give on average in each channel, (C,) each; none where nothing was computed.

        Quick where no layer that was asked for before is as deep.

        Args:
            layers: name of a node -> dimensions of its result from the channels on, those after them as 1.
        """
        at = {name: self.level[self.named[name]] for name in layers}
        deepest = max(at.values())
        if self.stale or min(at.values()) <= self.done:
            self._begin()
        found: dict[str, Array] = {}
        for level in range(self.done + 1, deepest + 1):
            here = {name: layers[name] for name in layers if at[name] == level}
            if here:
                found |= self._measured(here)
            if level < deepest:
                self._advance(level)
        # one that is called before too changes what was walked through already
        self.stale = min(at.values()) < deepest
        return found

    def _begin(self) -> None:
        self.kept = [dict(arrays) for arrays in self.data]
        self.done, self.stale = -1, False

    def _measured(self, layers: Mapping[str, Dims]) -> dict[str, Array]:
        nodes, sums = [self.named[name] for name in layers], ChannelSums(layers)
        for made in self._run(nodes, [node.outputs[0].name or "" for node in nodes]):
            for name, array in zip(layers, made, strict=True):
                sums.add(name, array)
        return sums.means

    def _advance(self, level: int) -> None:
        """Past all nodes of a level, keeping what deeper ones read."""
        nodes = self.nodes.get(level, [])
        given = [value.name or "" for node in nodes for value in node.outputs]
        wanted = [name for name in given if self.last_read.get(name, 0) > level]
        for kept, made in zip(self.kept, self._run(nodes, wanted), strict=True):
            for name in [name for name in kept if self.last_read.get(name, 0) <= level]:
                del kept[name]
            kept.update(zip(wanted, made, strict=True))
        self.done = level

    def _segment(self, nodes: Iterable[ir.Node]) -> tuple[list[ir.Node], list[ir.Value], list[ir.Value]]:
        """These nodes and what is made again for them, in order; the values they are given; their constants."""
        inside, stack = set(nodes), list(nodes)
        given: dict[ir.Value, None] = {}
        constants: dict[ir.Value, None] = {}
        while stack:
            for value in read_by(stack.pop()):
                maker = value.producer()
                if maker in inside or value.graph is not self.network.graph:  # a body's own goes with its node
                    continue
                if _is_constant(value):
                    constants[value] = None
                elif maker is not None and self._is_made_again(maker):
                    inside.add(maker)
                    stack.append(maker)
                else:
                    given[value] = None
        return [node for node in self.network.graph if node in inside], list(given), list(constants)

    def _run(self, nodes: Iterable[ir.Node], wanted: Sequence[str]) -> Iterator[list[Any]]:
        """What of these nodes is wanted, run by run."""
        if not wanted:
            yield from ([] for _ in self.kept)
            return
        inside, given, constants = self._segment(nodes)
        session = None
        for kept in self.kept:
            feed = {value.name or "": kept[value.name or ""] for value in given}
            if session is None:
                session = _session(self.network, inside, feed, constants, wanted)
            yield session.run(list(wanted), feed)

    def _is_made_again(self, node: ir.Node) -> bool:
        """Whether what it gives is not kept: floats behind integers, and what no input leads to."""
        return node.op_type == "DequantizeLinear" or node in self.fixed


def _fixed(network: ir.Model) -> set[ir.Node]:
    """The nodes that no input leads to."""
    found: set[ir.Node] = set()
    for node in network.graph:
        if all(value.producer() in found or _is_constant(value) for value in read_by(node)):
            found.add(node)
    return found


def _is_constant(value: ir.Value) -> bool:
    return value.producer() is None and value.const_value is not None


def _session(
    network: ir.Model,
    nodes: Sequence[ir.Node],
    feed: Mapping[str, Any],
    constants: Iterable[ir.Value],
    wanted: Sequence[str],
) -> ort.InferenceSession:
    """A session of a part of a graph."""
    types = {value.name: value.type for node in nodes for value in node.outputs}
    outputs = [onnx.ValueInfoProto(name=name) for name in wanted]
    for output in outputs:
        if (kind := types[output.name]) is not None:
            output.type.CopyFrom(ir.serde.serialize_type(kind))
    graph = onnx.helper.make_graph(
        [ir.serde.serialize_node(node) for node in nodes],
        "part",
        [onnx.helper.make_value_info(name, _type(array)) for name, array in feed.items()],
        outputs,
        [ir.serde.serialize_tensor(value.const_value) for value in constants if value.const_value is not None],
    )
    opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in network.graph.opset_imports.items()]
    functions = [ir.serde.serialize_function(function) for function in network.functions.values()]
    model = onnx.helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=network.ir_version)
    return opened(model)


def _type(array: Any) -> onnx.TypeProto:
    """The ONNX type of a tensor, or of a list of them."""
    if isinstance(array, list):
        return onnx.helper.make_sequence_type_proto(_type(array[0] if array else np.zeros(0, np.float32)))
    kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    return onnx.helper.make_tensor_type_proto(kind, [None] * array.ndim)
