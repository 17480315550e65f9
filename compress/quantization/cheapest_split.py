"""Which layers to leave in float so that the whole takes least, conversions included: a cut through the graph.

A layer that is slower in integers may gain nothing by itself, since the conversion in front of it only moves behind it,
to a larger tensor perhaps; it may be two such layers together that gain. Each node has a price on either side, and each
tensor one where its maker and a reader stand on different sides.
"""

from __future__ import annotations

import onnx_ir as ir

from compress.quantization.fewest_conversions import Tensors
from compress.quantization.layer_times import LayerTimes, maker_of
from compress.quantization.placement import Placement

_ALL = 400_000  # what all prices are together: well below what a cut never takes


def cheapest_floats(placement: Placement, times: LayerTimes) -> list[str]:
    """Names of the layers that a least cut leaves in float, in the order of the graph.

    Args:
        placement: of what computes in integers now.
        times: of its nodes, both ways; of conversions that are not there yet an estimate.
    """
    chosen = placement.chosen
    prices = {value: _price(value, times) for value in placement.rounded}
    total = sum(prices.values()) + sum(_both(node, times) for node in chosen)
    scale = _ALL / total if total else 0.0
    cut = Tensors((), chosen)
    for node in chosen:
        name = node.name or ""
        after = times.after.get(name, 0.0)
        cut.prefer(node, round(scale * after), round(scale * times.before.get(name, after)))
    for value, price in prices.items():
        maker = maker_of(value)
        readers = [use.node for use in value.uses()] + ([None] if value.is_graph_output() else [])
        cut.add(value, maker if maker in chosen else None, readers, weight=round(scale * price))
    stays = cut.in_integers()
    return [node.name or "" for node in placement.layers if node not in stays]


def _price(value: ir.Value, times: LayerTimes) -> float:
    """Of converting a tensor, one way or the other."""
    name = value.name or ""
    return times.rounding.get(name) or times.back.get(name) or times.conversion(name)


def _both(node: ir.Node, times: LayerTimes) -> float:
    return times.before.get(node.name or "", 0.0) + times.after.get(node.name or "", 0.0)
