"""The decision table: each layer as the user named it, its range, its noise, its bytes, what became of it and why."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from compress.base import LayerRow
from compress.quantization.candidates import Candidate
from compress.quantization.histogram import Range
from compress.quantization.onnx_weights import bodies_of, everywhere, weights_of
from compress.quantization.placement import Placement, place
from compress.quantization.study import Study
from compress.quantization.turned import written_out
from compress.quantization.used_bits import used_bits
from compress.quantization.watched import open_graphs, watched
from export.session import runner_for, stream
from models.records import Arrays, Model

Array = np.ndarray[Any, Any]
_BRIDGES = ("DequantizeLinear", "Cast", "Mul")  # between a stored constant and the layer that reads it
_BEFORE_A_LOOP = "DynamicQuantizeMatMul"  # of a GRU in int8: what its input gives to the gates


def layer_rows(
    prepared: Model,
    made: Candidate,
    ranges: Mapping[str, Range],
    unseen: Sequence[Arrays],
    looked: Study | None = None,
) -> tuple[LayerRow, ...]:
    """A row for each layer of the main form, also in the bodies inside it.

    Args:
        prepared: the float model that candidates are made of.
        made: what became of it.
        ranges: of what calibration saw, by tensor name.
        unseen: data to compare on; the noise of a layer is that of its output in the finished network, so it holds
            what the layers before it have added. Empty: no noise is told.
        looked: what was found out about each layer; None where nobody looked.
    """
    network: Any = prepared.onnx.clone()
    written_out(network)
    words = {note.layer: (_decision(note.text), note.text) for note in (*made.skipped, *made.changed)}
    placement = place(network)
    results = {node.name: _result(placement, node) for node in everywhere(network) if weights_of(node)}
    noise = _noise(prepared, made.model, list(results.values()), unseen)
    finished: Any = made.model.network
    nodes = {node.name: node for node in everywhere(finished)}
    rows = []
    for node in everywhere(network):
        if node.name is None or node.name not in results:
            continue
        decision, reason = words.get(node.name, ("float", "as it was"))
        seen = ranges.get(results[node.name])
        rows.append(
            LayerRow(
                layer=node.name,
                type=node.op_type,
                decision=decision,
                reason=reason,
                low=None if seen is None else seen.low,
                high=None if seen is None else seen.high,
                sqnr_db=noise.get(results[node.name]),
                weight_bits=used_bits(nodes[node.name], weights_of(node)[0]) if node.name in nodes else None,
                **_looked(looked, node.name),
                bytes=_constant_bytes(nodes[node.name]) if node.name in nodes else None,
            )
        )
    return tuple(rows)


def _looked(looked: Study | None, name: str) -> dict[str, Any]:
    """What a closer look found out about a layer; noise that is none is left out, since JSON has no infinity."""
    if looked is None:
        return {}
    facts = {"sensitivity": looked.sensitivities.get(name, math.inf), "after_us": looked.after_us(name)}
    if looked.times is not None:
        facts["before_us"] = looked.times.before.get(name, math.inf)
    return {key: value for key, value in facts.items() if math.isfinite(value)}


def _result(placement: Placement, node: ir.Node) -> str:
    """Name of the first output that is used; of a recurrent layer any may be absent."""
    return next((value.name for value in placement.results(node) if value.name), "")


_DECISIONS = (
    (r"weights stored in int8", "int8 weights"),
    (r"\w+ in int8, ", "int8"),
    (r"(weights stored|computed) in half precision", "float16"),
)


def _decision(text: str) -> str:
    """The word for what a note says of a layer."""
    return next((word for said, word in _DECISIONS if re.match(said, text)), "float")


def _constant_bytes(node: ir.Node) -> int:
    """Bytes of all constants that a layer reads, also through what makes floats of them, and in the body of a loop."""
    total = 0
    bodies = bodies_of(node)
    inner = {value: None for body in bodies for each in body for value in each.inputs}
    for value in (*node.inputs, *inner):
        if value is None:
            continue
        producer = value.producer()
        if value.const_value is not None:
            total += value.const_value.nbytes
        elif producer is not None and (
            (producer.op_type in _BRIDGES and _is_constant(producer))
            or (bodies and producer.op_type == _BEFORE_A_LOOP and producer.graph is node.graph)
        ):
            total += _constant_bytes(producer)
    return total


def _is_constant(node: ir.Node) -> bool:
    return all(
        value is None or value.const_value is not None or ((p := value.producer()) is not None and _is_constant(p))
        for value in node.inputs
    ) and bool(node.inputs)


def _noise(prepared: Model, made: Model, names: Sequence[str], unseen: Sequence[Arrays]) -> dict[str, float]:
    """SQNR in decibels of each tensor that both networks still give in float."""
    if not unseen:
        return {}
    theirs = {value.name for graph in open_graphs(made.onnx) for node in graph for value in node.outputs}
    pairs = {name: next((one for one in _as_named(name) if one in theirs), "") for name in names}
    pairs = {name: other for name, other in pairs.items() if other}
    signal, noise = dict.fromkeys(pairs, 0.0), dict.fromkeys(pairs, 0.0)
    runs = (
        stream(runner_for(watched(m, list(n))), m.inputs, unseen, m.outputs)
        for m, n in ((prepared, pairs), (made, pairs.values()))
    )
    for float_outputs, outputs in zip(*runs, strict=True):
        for name, other in pairs.items():
            if name not in float_outputs or other not in outputs:  # a branch in which nobody can look
                continue
            real = float_outputs[name].astype(np.float64)
            if real.shape != outputs[other].shape:  # its size follows the values
                continue
            signal[name] += float(np.square(real).sum())
            noise[name] += float(np.square(real - outputs[other]).sum())
    # a branch of an If that is not taken gives nothing, and so no signal
    known = [name for name in pairs if signal[name] > 0 and 0 < noise[name] < math.inf]
    return {name: 10 * math.log10(signal[name] / noise[name]) for name in known}


def _as_named(name: str) -> tuple[str, ...]:
    """A tensor read back from integers, in float32 where a copy in half has its name, and as it was."""
    return f"{name}_dq", f"{name}_cast_to_fp16", name
