"""What each layer takes before and after, by the runtime's own profile, conversions at its borders included.

A profile compares nodes and adds its own share to each, so it only proposes: what is returned was timed by turns.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compress.quantization.onnx_weights import everywhere
from compress.quantization.placement import Placement
from compress.quantization.watched import watched
from export.profile import NodeTime, profile
from export.session import onnx_runner
from models.records import Arrays, Model

# A pair at a border, with the change of layout around it: what resnet8's first convolution was seen to cost, 16,384
# elements of it 36 µs. It only keeps hopeless candidates from being timed.
_CONVERSION_US, _CONVERSION_ELEMENT_US = 2.0, 0.002

_SECONDS = 0.25  # of each profile, of networks that run often in that time


@dataclass(frozen=True)
class LayerTimes:
    """Microseconds by node of the float graph; conversions by the tensor that is converted.

    Args:
        before: in float.
        after: as it became; a node that was merged into another has none.
        rounding: of each QuantizeLinear that is left.
        back: of each DequantizeLinear that is left.
        elements: of each tensor of the float graph that a conversion could stand at.
    """

    before: Mapping[str, float]
    after: Mapping[str, float]
    rounding: Mapping[str, float]
    back: Mapping[str, float]
    elements: Mapping[str, int]

    def conversion(self, name: str) -> float:
        """About what one more conversion at a tensor takes."""
        return _CONVERSION_US + _CONVERSION_ELEMENT_US * self.elements.get(name, 0)


def layer_times(prepared: Model, made: Model, placement: Placement, feed: Arrays, *, threads: int = 1) -> LayerTimes:
    """Profile both on one sample; main forms alone.

    Args:
        prepared: float.
        made: of it, with pairs around what computes in integers.
        placement: of those.
        feed: a sample.
        threads: to compute with.
    """
    known = {node.name or "" for node in everywhere(prepared.onnx)}
    before = _by_node(profile(prepared, feed, threads=threads, seconds=_SECONDS), known)
    spent = profile(made, feed, threads=threads, seconds=_SECONDS)
    conversions = [one for one in spent if one.op in ("QuantizeLinear", "DequantizeLinear")]
    return LayerTimes(
        before,
        _by_node([one for one in spent if one not in conversions], known),
        rounding={_converted(one.node): one.microseconds for one in conversions if one.op == "QuantizeLinear"},
        back={_converted(one.node): one.microseconds for one in conversions if one.op == "DequantizeLinear"},
        elements=_elements(prepared, placement, feed),
    )


def _elements(prepared: Model, placement: Placement, feed: Arrays) -> dict[str, int]:
    names = [value.name or "" for value in placement.rounded]
    found = onnx_runner(watched(prepared, names))(feed)
    return {name: int(np.size(found[name])) for name in names if name in found}


def _by_node(times: Sequence[NodeTime], known: Collection[str]) -> dict[str, float]:
    """Times by the node of the float graph; the runtime adds something to the name of what it makes of a node."""
    found: dict[str, float] = {}
    for one in times:
        name = one.node if one.node in known else re.sub(r"_token_\d+$", "", one.node).removeprefix("fused ")
        found[name] = found.get(name, 0.0) + one.microseconds
    return found


def _converted(node: str) -> str:
    """The tensor that a conversion is named for."""
    return re.sub(r"(_dq)?_(q|dq|back)(_\d+)?$", "", re.sub(r"_token_\d+$", "", node))


def slower(placement: Placement, times: LayerTimes) -> list[list[str]]:
    """Layers that gain nothing, in growing sets: those at the border of a region, then whole regions too.

    A region is what stays in integers from node to node. Inside it a slow layer costs less than the two conversions
    that leaving it would take; at its border it may be left out.
    """
    borders: list[str] = []
    lost: list[str] = []
    for region in regions(placement):
        layers = [node.name or "" for node in region if node not in placement.carriers]
        if _total(region, times.after) + _conversions(placement, region, times) >= _total(region, times.before):
            lost += layers
        else:
            borders += _peeled(placement, region, times)
    sets = [borders, lost, [*borders, *lost]]
    return [one for i, one in enumerate(sets) if one and one not in sets[:i]]


def regions(placement: Placement) -> list[list[ir.Node]]:
    """What computes in integers, in parts that share no integer tensor."""
    chosen = [node for graph in {n.graph for n in placement.chosen} for node in graph or () if node in placement.chosen]
    readers: dict[ir.Value, list[ir.Node]] = {}
    for node in chosen:
        for value in placement.reads(node):
            readers.setdefault(value, []).append(node)
    for node in chosen:
        for value in placement.results(node):
            if value in placement.replaced and value in readers:
                readers[value].append(node)
    region = {node: i for i, node in enumerate(chosen)}
    for together in readers.values():
        old = {region[node] for node in together}
        region = {node: min(old) if one in old else one for node, one in region.items()}
    return [[n for n, r in region.items() if r == one] for one in dict.fromkeys(region.values())]


def _total(nodes: list[ir.Node], times: Mapping[str, float]) -> float:
    return sum(times.get(node.name or "", 0.0) for node in nodes)


def _conversions(placement: Placement, region: list[ir.Node], times: LayerTimes) -> float:
    """At the borders of a region."""
    read = {value.name or "" for node in region for value in placement.reads(node)}
    given = {value.name or "" for node in region for value in placement.results(node)}
    return sum(times.rounding.get(name, 0.0) for name in read) + sum(times.back.get(name, 0.0) for name in given)


def _peeled(placement: Placement, region: list[ir.Node], times: LayerTimes) -> list[str]:
    """Slow layers at a region's border, from the outside in."""
    left = [node for node in region if node not in placement.carriers]
    peeled: list[str] = []
    while slow := [n for n in left if _at_border(placement, n, region, peeled) and _loses(placement, n, times)]:
        left = [node for node in left if node not in slow]
        peeled += [node.name or "" for node in slow]
    return peeled if left else []


def _loses(placement: Placement, node: ir.Node, times: LayerTimes) -> bool:
    """Whether it is slower by more than the conversion that moves to its other side."""
    name = node.name or ""
    inner = [value.name or "" for value in placement.results(node) if value in placement.replaced]
    inner += [value.name or "" for value in placement.reads(node) if value.name not in times.rounding]
    moved = max(map(times.conversion, inner), default=0.0)
    return name in times.before and times.after.get(name, 0.0) > times.before[name] + moved


def _at_border(placement: Placement, node: ir.Node, region: list[ir.Node], peeled: list[str]) -> bool:
    """Whether nothing of the region stands before it, or nothing behind it."""
    there = {n for n in region if (n.name or "") not in peeled}
    before = any(maker_of(value) in there for value in placement.reads(node))
    behind = any(
        use.node in there for value in placement.results(node) if value in placement.replaced for use in value.uses()
    )
    return not (before and behind)


def maker_of(value: ir.Value) -> ir.Node | None:
    """The node that gives a tensor, before a ReLU or Clip that belongs to it."""
    node = value.producer()
    while node is not None and node.op_type in ("Relu", "Clip") and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node
