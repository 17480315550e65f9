"""Which tensor of one form is which of another: forms share their layers, and their graphs share no names."""

from __future__ import annotations

import re
from collections.abc import Mapping

import onnx_ir as ir

from compress.quantization.histogram import Range
from compress.quantization.turned import SUFFIX, turned_from
from export.naming import layer_of

Ids = dict[tuple[object, ...], int]  # what a tensor is made of -> a number for it, the same in all forms


def origins(network: ir.Model, ids: Ids) -> dict[ir.Value, int]:
    """A number for each tensor of a graph: two are alike where the same operations follow the same layers.

    What a layer gives is known by the layer and its weights alone, however often it is called; what belongs to no
    layer, by its operator and by what it is made of, back to layers and inputs.

    Args:
        network: only looked at.
        ids: filled; graphs that share it share the numbers.
    """
    found: dict[ir.Value, int] = {}

    def number(*key: object) -> int:
        return ids.setdefault(key, len(ids))

    for value in network.graph.inputs:
        found[value] = number("input", value.name)
    for node in network.graph:
        layer = layer_of(node)
        made = [
            found.get(value, -1) if value is not None and value.const_value is None else _constant(value)
            for value in node.inputs
        ]
        for position, value in enumerate(node.outputs):
            named = layer != node.name
            found[value] = number(layer if named else "", node.op_type, position, *(_weights(node) if named else made))
    return found


def _weights(node: ir.Node) -> tuple[str, ...]:
    """Names of the weights that a node reads: two of one operator in a layer may differ by them alone."""
    sources = (value if value is None or value.const_value is not None else turned_from(value) for value in node.inputs)
    return tuple(name.removesuffix(SUFFIX) for value in sources if value is not None and (name := _constant(value)))


def _constant(value: ir.Value | None) -> str:
    """A weight by its name; other constants are known by the operator that reads them."""
    return value.name if value is not None and value.name and re.search(r"\w\.\w", value.name) else ""


def ranges_by_origin(network: ir.Model, seen: Mapping[str, Range], ids: Ids) -> dict[int, Range]:
    """Ranges by the numbers of their tensors; of several that have one number the range that holds all."""
    found: dict[int, Range] = {}
    for value, number in origins(network, ids).items():
        here = seen.get(value.name or "")
        if here is not None:
            found[number] = found[number] | here if number in found else here
    return found


def ranges_by_reader(network: ir.Model, seen: Mapping[str, Range]) -> dict[tuple[object, ...], Range]:
    """Ranges by the layer that reads the tensor: what another form feeds it lies in them too.

    An input of a further form, such as the code that a decoder draws from, has no data of its own.
    """
    found: dict[tuple[object, ...], Range] = {}
    for value in (*network.graph.inputs, *(value for node in network.graph for value in node.outputs)):
        here = seen.get(value.name or "")
        for reader in readers(value) if here is not None else ():
            assert here is not None
            found[reader] = found[reader] | here if reader in found else here
    return found


def readers(value: ir.Value) -> list[tuple[object, ...]]:
    """The layers that read a tensor, each as (layer, operator, input, weights)."""
    uses = [(layer_of(use.node), use.node, use.idx) for use in value.uses()]
    return [(layer, node.op_type, i, *_weights(node)) for layer, node, i in uses if layer != node.name]
