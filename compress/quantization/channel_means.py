"""The mean of each channel of what layers give, over data of any length: summed in the graph, so memory stays flat."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from compress.quantization.calibration import runs, watching
from compress.quantization.onnx_edit import Editor, editors
from export.prepare import opset_of
from models.records import Arrays, Model

Array = np.ndarray[Any, Any]
_AXES_OPSET = 13  # from it on, ReduceSum reads its axes


def channel_means(model: Model, weights: Mapping[str, tuple[int, ...]], batches: Iterable[Arrays]) -> dict[str, Array]:
    """What the main graph's layers give on average, by the name of the node; (C,) each.

    Args:
        model: ONNX; a streaming one is stepped through its states.
        weights: node -> dimensions of its result without its own: (C,) where channels come last, (C, 1, 1) where two
            dimensions follow them.
        batches: named inputs.
    """
    network = model.onnx.clone()
    states = [spec.state_of for spec in model.inputs if spec.state_of]
    sums = _summed(network, weights, states)
    wanted = list(dict.fromkeys([*(name for pair in sums.values() for name in pair), *states]))
    totals: dict[str, Array] = {name: np.zeros(dims[0]) for name, dims in weights.items()}
    counts = dict.fromkeys(weights, 0)
    for tensors, _ in runs(watching(network, []), model.inputs, wanted, batches):
        for name, (total, number) in sums.items():
            totals[name] += tensors[total]
            counts[name] += int(tensors[number]) // len(totals[name])
    return {name: totals[name] / counts[name] for name in weights if counts[name]}


def fed(model: Model, batches: Iterable[Arrays]) -> list[Arrays]:
    """The inputs of each run over the batches; those that are states as this model gives them."""
    states = [spec.state_of for spec in model.inputs if spec.state_of]
    names, session = [spec.name for spec in model.inputs], watching(model.onnx, [])
    return [{name: tensors[name] for name in names} for tensors, _ in runs(session, model.inputs, states, batches)]


def _summed(network: ir.Model, weights: Mapping[str, tuple[int, ...]], states: list[str]) -> dict[str, tuple[str, str]]:
    """Cut a graph to what gives states, and sums over all but the channels with how many numbers each is made of."""
    edit = editors(network)[network.graph]
    outputs = [value for value in network.graph.outputs if value.name in states]
    names = {}
    for node in list(network.graph):
        if (name := node.name or "") in weights:
            total, number = _sum(edit, node.outputs[0], weights[name], opset_of(network))
            outputs += [total, number]
            names[name] = (total.name or "", number.name or "")
    network.graph.outputs.clear()
    network.graph.outputs.extend(outputs)
    RemoveUnusedNodesPass()(network)
    return names


def _sum(edit: Editor, value: ir.Value, dims: tuple[int, ...], opset: int) -> tuple[ir.Value, ir.Value]:
    channels, places = dims[0], len(dims) - 1
    # (rows, channels, places): of a product of matrices all but the last dimension are rows
    shape = edit.constant("shape", np.array([0, channels, -1] if places else [-1, channels, 1], np.int64))
    flat = edit.node("Reshape", [value, shape], output="flat")
    if opset < _AXES_OPSET:
        total = edit.node("ReduceSum", [flat], {"axes": [0, 2], "keepdims": 0}, output="total")
    else:
        axes = edit.constant("axes", np.array([0, 2]))
        total = edit.node("ReduceSum", [flat, axes], {"keepdims": 0}, output="total")
    number = edit.node("Size", [value], output="number")
    total.dtype, number.dtype = ir.DataType.FLOAT, ir.DataType.INT64
    return total, number
