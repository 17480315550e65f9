"""Decides which nodes of a graph compute in integers, and which tensors are rounded for it.

A tensor is rounded only beside an operator for which ONNX Runtime has an integer kernel: a lone pair of QuantizeLinear
and DequantizeLinear costs time and precision, and buys nothing. Layers with weights are what is worth it; between two
of them a tensor stays in integers where the operators on its way have integer kernels too (`CARRIERS`). Those may start
from a tensor in float that is rounded for them, where more conversions are saved by it than added.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import onnx_ir as ir

from compress.base import Note
from compress.quantization.carriers import CLIPPING, MOVING, all_vary, can_carry, operands, result_of
from compress.quantization.fewest_conversions import Tensors
from compress.quantization.heads import MIXED, mixed_heads
from compress.quantization.kernel_fit import unfit
from compress.quantization.onnx_weights import SKIPPED, Weight, everywhere, is_skipped, weights_of
from compress.quantization.watched import open_graphs

STATIC = frozenset({"Conv", "Gemm", "MatMul"})

_NO_KERNEL = {
    "LSTM": "no static int8 kernel for LSTM in ONNX Runtime; dynamic mode computes it in int8",
    "GRU": "no static int8 kernel for GRU in ONNX Runtime; weights mode stores it in 8 bits",
    "RNN": "no static int8 kernel for RNN in ONNX Runtime; weights mode stores it in 8 bits",
    "ConvTranspose": "no int8 kernel for ConvTranspose in ONNX Runtime; weights mode stores it in 8 bits",
    "Gather": "an embedding is looked up and not computed; weights mode stores it in 8 bits",
}


@dataclass
class Placement:
    """What computes in integers in one graph.

    Args:
        layers: nodes with weights, each with its weight.
        products: of two activations, as in attention.
        carriers: nodes without weights that stay in integers between them.
        rounded: tensors that are rounded, in the order of the graphs; a body may read one from outside.
        replaced: those of them that exist only rounded; float consumers read them back.
        shares: tensor -> the one whose grid it keeps.
        dropped: ReLU and Clip whose work the grid does.
        refused: layers that stay in float, and why.
    """

    layers: dict[ir.Node, Weight] = field(default_factory=dict)
    products: set[ir.Node] = field(default_factory=set)
    carriers: set[ir.Node] = field(default_factory=set)
    rounded: list[ir.Value] = field(default_factory=list)
    replaced: set[ir.Value] = field(default_factory=set)
    shares: dict[ir.Value, ir.Value] = field(default_factory=dict)
    dropped: list[ir.Node] = field(default_factory=list)
    refused: list[Note] = field(default_factory=list)

    @property
    def chosen(self) -> set[ir.Node]:
        """All that compute in integers."""
        return self.carriers | self.products | self.layers.keys()

    def root(self, value: ir.Value) -> ir.Value:
        """The tensor whose range decides the grid of this one."""
        while value in self.shares:
            value = self.shares[value]
        return value

    def reads(self, node: ir.Node) -> list[ir.Value]:
        """The tensors that a chosen node takes rounded."""
        if node in self.carriers:
            return operands(node)
        return [value for value in node.inputs[: 2 if node in self.products else 1] if value is not None]

    def results(self, node: ir.Node) -> list[ir.Value]:
        """What a node gives, past the ReLU or Clip that follows it."""
        return result_of(node)


def place(
    network: ir.Model,
    *,
    skip: Sequence[str] = (),
    clips: bool = True,
    floats: Mapping[str, str] = MappingProxyType({}),
    products: bool = False,
    starting: Collection[str] = (),
) -> Placement:
    """Decide for a network's main graph and for the bodies of If, Scan and Loop.

    Args:
        network: only looked at.
        skip: patterns of layer names that stay in float.
        clips: whether the grid's ends may do a ReLU's work; only the asymmetric grid has its end at zero.
        floats: names of layers that stay in float, each with the reason.
        products: whether products of two activations are computed in integers too.
        starting: operators that may carry from float tensors too, which are rounded for them, where that saves more
            conversions than it adds.
    """
    placement = Placement()
    graphs, heads = open_graphs(network), mixed_heads(network.graph)
    for node in everywhere(network):
        reason = _refusal(node, node.graph in graphs, skip, floats, products)
        if reason is None and node in heads:
            reason = MIXED
        if reason is None and not weights_of(node):
            placement.products.add(node)
        elif reason is None:
            placement.layers[node] = weights_of(node)[0]
        elif reason:
            placement.refused.append(Note(node.name or "", reason))
    for graph in graphs:
        _carry(graph, placement, skip)
        _carry_further(graph, placement, skip, starting)
        _round(graph, placement, clips)
    return placement


def of_activations(node: ir.Node) -> bool:
    """Whether it is a product of two activations, neither of which is a constant."""
    return (
        node.op_type == "MatMul"
        and node.domain in ("", "ai.onnx")
        and all(v is not None and v.const_value is None and v.dtype in (None, ir.DataType.FLOAT) for v in node.inputs)
        and not any(p is not None and p.op_type == "DequantizeLinear" for p in node.predecessors())
    )


def _refusal(
    node: ir.Node, in_sight: bool, skip: Sequence[str], floats: Mapping[str, str], products: bool
) -> str | None:
    """Why a node stays in float: None if it need not, "" if it is no layer."""
    weights = weights_of(node)
    if not weights and not of_activations(node):
        return ""
    if not weights and not products:
        return "a product of two activations, as in attention: in integers it is no faster on a processor"
    if is_skipped(node.name or "", skip):
        return SKIPPED
    if node.op_type not in STATIC:
        return _NO_KERNEL.get(node.op_type, f"no int8 kernel for {node.op_type} in ONNX Runtime")
    if not in_sight:
        return "it lies in a body where calibration cannot look"
    if node.name in floats:
        return floats[node.name or ""]
    return unfit(node, weights[0]) if weights else None


def _carry(graph: ir.Graph, placement: Placement, skip: Sequence[str]) -> None:
    """Find the carriers: all they read comes from integer operators, and an integer operator reads what they give."""
    available: set[ir.Value] = set()
    possible: list[ir.Node] = []
    for node in graph:
        if node in placement.layers:
            available.update(result_of(node))
        elif can_carry(node, skip) and all(value in available for value in operands(node)):
            available.update(result_of(node))
            possible.append(node)
    wanted = {value for node in placement.chosen for value in placement.reads(node)}
    for node in reversed(possible):
        if wanted.intersection(result_of(node)):
            placement.carriers.add(node)
            wanted.update(operands(node))


def _carry_further(graph: ir.Graph, placement: Placement, skip: Sequence[str], starting: Collection[str]) -> None:
    """Find the carriers that start from float tensors, so that as few tensors are converted as can be."""
    chosen = placement.chosen
    free = {n for n in graph if n.op_type in starting and n not in chosen and can_carry(n, skip) and all_vary(n)}
    if not free or not chosen:
        return
    both = [node for node in graph if node in chosen or node in free]
    made = {value: node for node in both for value in result_of(node)}
    read = {value: None for node in both for value in _read(placement, node)}
    tensors = Tensors(chosen, free)
    for value in {**dict.fromkeys(made), **read}:
        readers = [use.node if value in _read(placement, use.node) else None for use in value.uses()]
        producer = made.get(value)
        either = producer in chosen - placement.carriers and producer.op_type != "Conv"  # type: ignore[union-attr]
        tensors.add(value, producer, [*readers, *([None] if value.is_graph_output() else [])], either=either)
    placement.carriers |= tensors.in_integers()  # type: ignore[arg-type]


def _read(placement: Placement, node: ir.Node) -> list[ir.Value]:
    """What a node takes rounded, if it computes in integers."""
    return placement.reads(node) if node in placement.chosen else operands(node)


def _own(node: ir.Node, placement: Placement) -> list[ir.Value]:
    """What is rounded for a Concat alone: on the grid of its result it is rounded once, and then only copied.

    A ReLU whose work a grid does needs one that ends where it does: that of a result in which all is past a ReLU.
    """
    past = [p.op_type if (p := v.producer()) is not None and p.op_type in CLIPPING else "" for v in operands(node)]
    return [
        value
        for value, clip in zip(operands(node), past, strict=True)
        if value not in placement.shares
        and (not clip or set(past) == {"Relu"})
        and {use.node for use in value.uses() if value in placement.replaced or use.node in placement.chosen} == {node}
        and not value.is_graph_output()
    ]


def _round(graph: ir.Graph, placement: Placement, clips: bool) -> None:
    """Collect the tensors at the borders of integer operators."""
    chosen = placement.chosen
    rounded: dict[ir.Value, None] = {}
    for node in graph:
        if node not in chosen:
            continue
        rounded.update(dict.fromkeys(placement.reads(node)))
        # a convolution and a carrier have no kernel that reads integers and gives floats; a product of matrices has
        if node in placement.carriers or node.op_type == "Conv":
            for value in result_of(node):
                rounded.setdefault(value)
                placement.replaced.add(value)
                if node.op_type in MOVING and result_of(node) == list(node.outputs):
                    placement.shares[value] = node.inputs[0]  # type: ignore[assignment]
    for node in graph:
        for value in result_of(node) if node in placement.layers or node in placement.products else ():
            if value in rounded and not value.is_graph_output() and all(use.node in chosen for use in value.uses()):
                placement.replaced.add(value)
    for node in graph:
        if node in placement.carriers and node.op_type == "Concat":
            placement.shares.update(dict.fromkeys(_own(node, placement), result_of(node)[0]))
    for node in graph if clips else ():
        result = result_of(node)
        if node in chosen and len(result) == 1 and result[0] in placement.replaced and result[0] is not node.outputs[0]:
            placement.dropped.append(result[0].producer())  # type: ignore[arg-type]
    placement.rounded = list(dict.fromkeys([*placement.rounded, *rounded]))
