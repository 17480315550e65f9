"""Half precision: numbers in sixteen bits. A GPU computes in them; for a processor they are only stored so."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from compress.base import Note
from compress.quantization.histogram import Range
from compress.quantization.onnx_edit import Editor, drop_unused, editors, free_name
from compress.quantization.onnx_weights import SKIPPED, array, everywhere, is_skipped, is_weight
from export.constants import stored
from export.norms import norms_as_operators

LARGEST = 65504.0  # of float16
# What a file grows by for each stored weight: a Cast, and three times the weight's name. Counted in bytes.
_NODE_BYTES, _NAMES = 58, 3


def store_half(
    network: ir.Model, *, skip: Sequence[str] = (), weights: Collection[ir.Value] | None = None
) -> tuple[list[Note], list[Note]]:
    """Store the weights in float16, in place, each behind a Cast that the runtime folds at load; computed in float.

    ONNX Runtime has no float16 kernels on x86: computing there would convert around every node.

    Args:
        network: edited.
        skip: patterns of layers that stay whole.
        weights: which constants, of those in float32; all where it is not said.

    Returns:
        The layers whose weights are stored in half, and those that stay whole, with the reason.
    """
    edits = editors(network)
    constants = [
        value
        for graph in edits
        for value in graph.initializers.values()
        if (weights is None or value in weights) and _is_large(value)
    ]
    refused = {
        layer: reason for value in constants if (reason := _keeps(value, skip)) is not None for layer in _readers(value)
    }
    changed: dict[str, str] = {}
    for value in constants:
        layers = _readers(value)
        if refused.keys().isdisjoint(layers):
            changed.update(dict.fromkeys(layers, "weights stored in half precision, computed in float"))
            _store(edits[value.graph], value)  # type: ignore[index]
    drop_unused(network)
    return [Note(*pair) for pair in changed.items()], [Note(*pair) for pair in refused.items()]


def store_exact_half(network: ir.Model) -> None:
    """The same, in place, of the constants that lose nothing by it: what came in half precision and nobody changed."""
    edits = editors(network)
    for graph, edit in edits.items():
        for value in [value for value in graph.initializers.values() if _is_large(value)]:
            if _is_half(array(value)):
                _store(edit, value)
    drop_unused(network)


def beyond_half(ranges: Mapping[str, Range]) -> dict[str, Range]:
    """Those that hold numbers which float16 cannot."""
    return {name: seen for name, seen in ranges.items() if not max(-seen.low, seen.high) <= LARGEST}


def _is_half(numbers: np.ndarray[Any, Any]) -> bool:
    reach = np.abs(numbers).max(initial=0.0)
    return bool(reach <= LARGEST and np.array_equal(numbers, numbers.astype(np.float16)))


def _is_large(value: ir.Value) -> bool:
    if not is_weight(value) or value.is_graph_output():
        return False
    return array(value).size * 2 > _NODE_BYTES + _NAMES * len(value.name or "")


def _readers(value: ir.Value) -> list[str]:
    return [use.node.name or "" for use in value.uses()]


def _keeps(value: ir.Value, skip: Sequence[str]) -> str | None:
    """Why a constant stays in float32."""
    if any(is_skipped(layer, skip) for layer in _readers(value)):
        return SKIPPED
    reach = float(np.abs(array(value)).max(initial=0.0))
    return None if reach <= LARGEST else f"{value.name!r} reaches {reach:.3g}, and half precision ends at 65504"


def _store(edit: Editor, value: ir.Value) -> None:
    name = value.name or "weight"
    stored = edit.constant(f"{name}_half", array(value).astype(np.float16))
    wide = edit.node(
        "Cast",
        [stored],
        {"to": int(ir.DataType.FLOAT)},
        output=f"{name}_wide",
        before=next(iter(edit.graph)),
    )
    ir.convenience.replace_all_uses_with(value, wide)


def compute_half(
    network: ir.Model, ranges: Mapping[str, Range], *, skip: Sequence[str] = ()
) -> tuple[ir.Model, list[Note], list[Note]]:
    """The network in float16 between float32 inputs and outputs, what changed, and what stays in float32 and why.

    Args:
        network: stays as it is.
        ranges: what calibration saw, by tensor name; a node that reads or gives numbers beyond 65504 stays in float32.
            Empty where there is no data: then only the weights are looked at.
        skip: patterns of layer names that stay in float32.
    """
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    network = network.clone()
    norms_as_operators(network)
    aside = _set_aside(network)
    kept = {node.name or "": reason for node in everywhere(network) if (reason := _refusal(node, ranges, skip))}
    for node in everywhere(network):
        if node.op_type in DEFAULT_OP_BLOCK_LIST:
            kept.setdefault(node.name or "", f"{node.op_type} is computed in float32: not all devices have it in half")
    proto = convert_float_to_float16(
        ir.to_proto(network),
        keep_io_types=True,
        node_block_list=list(kept),
        min_positive_val=float(np.finfo(np.float16).smallest_subnormal),
        max_finite_val=LARGEST,
    )
    made = ir.from_proto(proto)
    made.graph.sort()  # the converter appends its casts
    nodes = list(everywhere(network))
    _without_detours(made, {node.name or "" for node in nodes})
    _put_back(made, aside)
    changed = [Note(node.name or "", "computed in half precision") for node in nodes if node.name not in kept]
    return made, changed, [Note(name, reason) for name, reason in kept.items()]


def _without_detours(made: ir.Model, own: Collection[str]) -> None:
    """Take out, in place, the float16 between two that stay in float32: what lies beyond it would become infinite.

    Args:
        made: by the converter, which casts each tensor that one of them gives, and casts it back for the next.
        own: names of the network's nodes, whose casts are meant.
    """
    for back in list(everywhere(made)):
        half = (
            back.inputs[0].producer() if _casts(back, ir.DataType.FLOAT, own) and back.inputs[0] is not None else None
        )
        if half is not None and _casts(half, ir.DataType.FLOAT16, own) and not back.outputs[0].is_graph_output():
            ir.convenience.replace_all_uses_with(back.outputs[0], half.inputs[0])  # type: ignore[arg-type]
    RemoveUnusedNodesPass()(made)
    drop_unused(made)


def _set_aside(network: ir.Model) -> dict[int, ir.Value]:
    """Take off, in place, the outputs that are inputs or constants, by their place: the converter makes others of them.

    A constant that is computed with too is there twice from now on.
    """
    graph = network.graph
    aside = {place: value for place, value in enumerate(graph.outputs) if value.producer() is None}
    for place in sorted(aside, reverse=True):
        graph.outputs.pop(place)
    for value in dict.fromkeys(value for value in aside.values() if value.is_initializer()):
        if value.uses():
            name = free_name(f"{value.name}_used", {*graph.initializers})
            ir.convenience.replace_all_uses_with(value, stored(graph, name, array(value)))
        graph.initializers.pop(value.name or "")
    return aside


def _put_back(made: ir.Model, aside: Mapping[int, ir.Value]) -> None:
    inputs = {value.name: value for value in made.graph.inputs}
    constants: dict[ir.Value, ir.Value] = {}
    for place, value in aside.items():
        if value.name in inputs:
            made.graph.outputs.insert(place, inputs[value.name])
        else:
            if value not in constants:
                constants[value] = stored(made.graph, value.name or "", array(value))
            made.graph.outputs.insert(place, constants[value])


def _casts(node: ir.Node, to: ir.DataType, own: Collection[str]) -> bool:
    return node.op_type == "Cast" and node.name not in own and node.attributes["to"].as_int() == int(to)


def _refusal(node: ir.Node, ranges: Mapping[str, Range], skip: Sequence[str]) -> str | None:
    if is_skipped(node.name or "", skip):
        return SKIPPED
    for value in (*node.inputs, *node.outputs):
        if value is None:
            continue
        seen = ranges.get(value.name or "")
        reach = max(-seen.low, seen.high) if seen is not None else 0.0
        if is_weight(value):
            reach = float(np.abs(array(value)).max(initial=0.0))
        if not reach <= LARGEST:
            return f"{value.name!r} reaches {reach:.3g}, and half precision ends at 65504"
    return None
