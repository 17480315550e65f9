"""Which dimension of which weight reads units: what comes in is multiplied with it and summed over.

A unit's column there holds all that the layer makes of it, while the row that makes the unit may lie before a
normalization that takes its scale away again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import fx, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from export.lifted import attribute

from .edits import arguments
from .ties import Ties

Place = tuple[int, int]  # the identity of a tensor, and a dimension
_SECOND = {"matmul": "other", "mm": "mat2", "addmm": "mat2", "bmm": "mat2", "baddbmm": "batch2"}


def reading_places(ties: Ties) -> set[Place]:
    """Of every form: (identity of the weight, dimension), where the graph says so plainly."""
    found: set[Place] = set()
    for node in (node for graph in ties.network.graphs.values() for node in graph.nodes):
        if node.op == "call_module":
            found.update(_of_layer(ties.network.get_submodule(str(node.target))))
        elif node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            found.update(_of_function(ties, node))
    return found


def _of_layer(layer: Any) -> Iterator[Place]:
    if isinstance(layer, _ConvNd):
        yield id(layer.weight), 0 if isinstance(layer, _ConvTransposeNd) else 1
    elif isinstance(layer, nn.Linear | nn.Bilinear):
        yield from ((id(layer.weight), place) for place in range(1, layer.weight.ndim))
    else:  # recurrent layers and cells, torch's and ours, name their weights alike
        for name, weight in layer.named_parameters(recurse=False):
            if name.startswith(("weight_ih", "weight_hh", "weight_hr")):
                yield id(weight), 1


def _of_function(ties: Ties, node: fx.Node) -> Iterator[Place]:
    kind = node.target._schema.name.split("::")[-1]  # type: ignore[union-attr]
    if kind == "linear" or kind.startswith("conv"):
        name, place = "weight", 0 if "transpose" in kind or arguments(node).get("transposed") else 1
    elif kind in _SECOND:
        name, place = _SECOND[kind], -2
    else:
        return
    weight = arguments(node).get(name)
    if isinstance(weight, fx.Node) and weight.op == "get_attr":
        tensor = attribute(ties.network, str(weight.target))
        if tensor.ndim >= 2:
            yield id(tensor), place % tensor.ndim
