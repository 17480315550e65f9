"""Eight bits without a sign for the layers that need them, and for no others.

Where sums of two products must fit 16 bits, signed weights are narrow, and some networks lose too much by it. Unsigned
ones take all eight bits in a kernel that is slower: up to 2.4 times on a processor with VNNI. Most of the noise comes
from a few layers, so these alone are made unsigned, as few as keep the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from compress.base import Progress
from compress.quantization.candidates import Candidate
from compress.quantization.field import Field, computing
from compress.quantization.int8 import weight_grid
from compress.quantization.onnx_weights import Weight, array, everywhere, weights_of
from compress.quantization.sensitivity import sensitivities
from compress.quantization.static_int8 import in_kernel_order, is_depthwise
from compress.quantization.turned import written_out
from compress.quantization.ways import Kind, Way
from models.records import Arrays, Model


def mix_signs(field: Field, unseen: Sequence[Arrays], progress: Progress | None = None) -> None:
    """Offer what is signed but for a few layers, where the signed candidates of a kind lose too much for it.

    Args:
        field: with the candidates of one sign.
        unseen: data to find out on what each layer costs.
        progress: told of each layer.
    """
    kinds: tuple[Kind, ...] = ("static", "dynamic")
    for kind in kinds:
        pairs = [pair for pair in field.of_kind(kind) if pair[0].way.per_channel and not pair[0].way.operators]
        signed = [made for made, _ in pairs if not made.way.unsigned]
        if signed and any(loss.keeps for made, loss in pairs if made.way.unsigned):
            _mix(field, max(signed, key=lambda made: len(computing(made))), unseen, progress)


def _mix(field: Field, signed: Candidate, unseen: Sequence[Arrays], progress: Progress | None) -> None:
    gains = _gains(field.maker.model, computing(signed))  # of one call of each layer
    costs = sensitivities(field.maker, signed.way, list(gains), unseen, progress=progress)
    ranked = sorted(costs, key=lambda name: gains[name] * 10 ** (-costs[name] / 10), reverse=True)

    def mixed(count: int) -> Way:
        return replace(signed.way, unsigned_layers=tuple(ranked[:count]))

    count = field.fewest(len(ranked) - 1, lambda count: mixed(count).name, lambda count: field.maker.make(mixed(count)))
    if count is None:
        return
    if signed.way.kind == "static" and field.maker.scheme.fuses:
        field.try_way(replace(mixed(count), operators=True))


def _gains(model: Model, layers: set[str]) -> dict[str, float]:
    """The share of the noise of its weights that a layer is rid of without a sign; not of those that gain nothing."""
    network = model.onnx.clone()
    written_out(network)
    seen: set[ir.Value] = set()
    gains = {}
    for node in everywhere(network):
        weights = [weight for weight in weights_of(node) if weight.value not in seen]
        if node.name in layers and weights:
            seen |= {weight.value for weight in weights}
            gains[node.name or ""] = max(_gain(node, weight) for weight in weights)
    return {name: gain for name, gain in gains.items() if gain > 0}


def _gain(node: ir.Node, weight: Weight) -> float:
    numbers = array(weight.value)
    if is_depthwise(node, numbers):
        return 0.0
    order = in_kernel_order(node, numbers, weight.channel_axes)
    narrow = weight_grid(numbers, weight.channel_axes, pairs_fit=True, in_order=order).scale.astype(np.float64)
    return 1.0 - float(np.mean((weight_grid(numbers, weight.channel_axes).scale / narrow) ** 2))
