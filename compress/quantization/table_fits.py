"""Whether a decision table is of this very network, by the names and widths of what it holds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from compress.quantization.junctions import junctions
from compress.quantization.onnx_weights import FLOATS, array, everywhere, weights_of
from compress.quantization.turned import written_out
from export.forms import MAIN
from models.errors import UsageError, did_you_mean
from models.records import Model

if TYPE_CHECKING:
    from compress.quantization.decisions import Decisions


def check_fits(decisions: Decisions, prepared: Model) -> None:
    """Hold a table to the network that it is replayed on.

    Raises:
        UsageError: it names layers, tensors or channels that this one does not have.
    """
    network: Any = prepared.onnx.clone()
    written_out(network)
    layers = {node.name or "": weights_of(node, FLOATS)[0] for node in everywhere(network) if weights_of(node, FLOATS)}
    for layer in (*decisions.layers, *decisions.way.unsigned_layers):
        if layer not in layers:
            raise UsageError(
                f"quantize: the decision table has a layer {layer!r}, and model {prepared.name!r} has none of that "
                f"name with weights: it is the table of another network.{did_you_mean(layer, layers)}"
            )
    for layer, shift in (*decisions.shifts.items(), *decisions.stored_shifts.items()):
        weight = layers.get(layer)
        width = 0 if weight is None else math.prod(array(weight.value).shape[axis] for axis in weight.channel_axes)
        if shift.size != width:
            raise UsageError(
                f"quantize: the decision table shifts {shift.size} channels of layer {layer!r}, and in model "
                f"{prepared.name!r} it has {width}: it is the table of another network."
            )
    _check_factors(decisions, prepared)
    graphs: dict[str, Any] = {MAIN: network, **{form: part.network for form, part in prepared.forms.items()}}
    for form, seen in decisions.ranges.items():
        tensors = _tensors(graphs[form]) if form in graphs else set()
        for name in seen:
            if name not in tensors:
                raise UsageError(
                    f"quantize: the decision table has a range of {name!r}, and model {prepared.name!r} has no tensor "
                    f"of that name.{did_you_mean(name, tensors)}"
                )


def _check_factors(decisions: Decisions, prepared: Model) -> None:
    there = {junction.name: junction for junction in junctions(prepared.onnx.graph)}
    for name, by in decisions.factors.items():
        what = f"quantize: the decision table divides the channels between {', '.join(map(repr, name))}"
        if name not in there:
            raise UsageError(
                f"{what}, and model {prepared.name!r} has no such place: it is the table of another network."
            )
        if by.size != there[name].channels or not (by > 0).all():
            raise UsageError(f"{what} by {by.size} factors; wanted are {there[name].channels}, all above 0.")


def _tensors(network: ir.Model) -> set[str]:
    found = {value.name for graph in network.graphs() for value in graph.inputs}
    return {name for name in found | {v.name for node in everywhere(network) for v in node.outputs} if name}
