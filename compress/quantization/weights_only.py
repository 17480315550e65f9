"""Weights stored in int8 and computed in float: a quarter of the bytes at the speed of float, for layers of any kind.

In front of each weight stand Cast and Mul, which ONNX Runtime folds once at load. DequantizeLinear it does not fold:
that costs up to a quarter of a GRU's speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from compress.base import Note
from compress.quantization.int8 import Grid, weight_grid
from compress.quantization.onnx_edit import Editor, drop_unused, editors
from compress.quantization.onnx_weights import FLOATS, SKIPPED, array, everywhere, is_skipped, weights_of

Array = np.ndarray[Any, Any]

STORED = "weights stored in int8, computed in float"  # how a note says it

# What a file grows by for each stored weight: Cast and Mul, and nine times the weight's name. Counted in bytes.
_NODES_BYTES, _NAMES = 125, 9


def write_weights(
    network: ir.Model, *, skip: Sequence[str] = (), per_channel: bool = True
) -> tuple[list[Note], list[Note]]:
    """Edit the network in place; gives the layers stored in 8 bits, and those that are not, with the reason.

    A weight that several layers share is stored once. One whose file would grow stays as it is.
    """
    places: dict[ir.Value, tuple[int, ...]] = {}
    reasons: dict[ir.Value, str | None] = {}
    layers: dict[ir.Value, list[ir.Node]] = {}
    refused: list[Note] = []
    for node in everywhere(network):
        weights = weights_of(node, FLOATS)
        for weight in weights:  # one that several layers share is decided on once
            if weight.value not in reasons:
                reasons[weight.value] = _refusal(weight.value, weight.channel_axes, skip)
                places[weight.value] = weight.channel_axes
        kept = [weight.value for weight in weights if reasons[weight.value] is None]
        for value in kept:
            layers.setdefault(value, []).append(node)
        if weights and not kept:
            refused.append(Note(node.name or "", reasons[weights[0].value] or ""))
    edits = editors(network)
    for value in layers:
        _store(edits[value.graph], value, places[value] if per_channel else ())  # type: ignore[index]
    drop_unused(network)
    names = dict.fromkeys(node.name or "" for nodes in layers.values() for node in nodes)
    return [Note(name, STORED) for name in names], refused


def _refusal(value: ir.Value, axes: tuple[int, ...], skip: Sequence[str]) -> str | None:
    if any(is_skipped(use.node.name or "", skip) for use in value.uses()):
        return SKIPPED
    if value.is_graph_output():
        return "its weights are an output of the network too"
    numbers = array(value)
    if not np.isfinite(numbers).all():
        return "its weights hold NaN or infinity"
    channels = int(np.prod([numbers.shape[axis] for axis in axes]))
    if numbers.nbytes - numbers.size <= channels * numbers.itemsize + _NODES_BYTES + _NAMES * len(value.name or ""):
        return f"{numbers.nbytes} bytes of weights: scales and nodes would take more than 8 bits save"
    return None


def _store(edit: Editor, value: ir.Value, axes: tuple[int, ...]) -> None:
    numbers = array(value)
    scales, grid = _grid_in(numbers, axes)
    name = value.name or "weight"
    first = next(iter(edit.graph))
    stored = edit.constant(f"{name}_q", grid.quantize(numbers))
    scale = edit.constant(f"{name}_scale", scales)
    real = widened(edit, stored, scale, name, ir.DataType.from_numpy(numbers.dtype), first)
    ir.convenience.replace_all_uses_with(value, real, replace_graph_outputs=False)


def _grid_in(numbers: Array, axes: tuple[int, ...]) -> tuple[Array, Grid]:
    """Scales in the weight's own type, and the grid that has just these: half precision rounds them."""
    grid = weight_grid(numbers, axes)
    scales = grid.scale.astype(numbers.dtype)
    if numbers.dtype != np.float16:
        return scales, grid
    short = scales.astype(np.float32) < grid.scale  # rounded down it would not reach the largest weight
    scales = np.where(short, np.nextafter(scales, np.float16(np.inf)), scales)
    return scales, replace(grid, scale=scales.astype(np.float32))


def widened(
    edit: Editor, stored: ir.Value, scale: ir.Value, name: str, dtype: ir.DataType, before: ir.Node
) -> ir.Value:
    """The reals behind integers, through Cast and Mul, which the runtime folds once at load."""
    wide = edit.node("Cast", [stored], {"to": int(dtype)}, output=f"{name}_wide", before=before)
    return edit.node("Mul", [wide, scale], output=f"{name}_dq", before=before)
