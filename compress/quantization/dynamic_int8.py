"""Dynamic int8: weights stored in int8, activations rounded at run time with the range they have just then.

Products with a constant matrix become DynamicQuantizeMatMul, LSTM becomes DynamicQuantizeLSTM: ONNX Runtime's own
operators, one node each. Convolutions stay in float: ConvInteger, the only kernel for them, is 5 to 14 times slower.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from compress.base import Note
from compress.quantization.fused_bias import fuse_biases
from compress.quantization.int8 import weight_grid
from compress.quantization.kernel_fit import unfit
from compress.quantization.onnx_edit import Editor, drop_unused, editors
from compress.quantization.onnx_weights import SKIPPED, Weight, array, everywhere, is_skipped, weights_of
from compress.quantization.recurrent_int8 import LOOPS, loop_refusal, write_loop
from compress.quantization.recurrent_steps import CONTRIB
from compress.quantization.schemes import Scheme
from export.reading import attribute, opset_of

Array = np.ndarray[Any, Any]

_NO_KERNEL = {
    "Conv": "ConvInteger, the only dynamic int8 kernel for convolutions, is 5 to 14 times slower than float",
    "ConvTranspose": "no int8 kernel for ConvTranspose in ONNX Runtime; weights mode stores it in 8 bits",
    **{
        kind: f"no dynamic int8 kernel for {kind} in ONNX Runtime; weights mode stores it in 8 bits, and auto tries a "
        "loop of int8 products (faster from about 256 units on)"
        for kind in LOOPS
    },
    "Gather": "an embedding is looked up and not computed; weights mode stores it in 8 bits",
}


def write_dynamic(
    network: ir.Model,
    scheme: Scheme,
    *,
    skip: Sequence[str] = (),
    per_channel: bool = True,
    loops: bool = False,
    unsigned: Collection[str] = (),
) -> tuple[list[Note], list[Note]]:
    """Edit the network in place; gives the layers now in int8, and those that stay in float with the reason.

    Bodies of If, Loop and Scan are edited too; constants stay in the graph that held them.

    Args:
        network: edited.
        scheme: of the device.
        skip: patterns of layers that stay in float.
        per_channel: a weight scale for each output channel, and not one for the whole tensor.
        loops: write GRU and RNN as loops of integer products.
        unsigned: names of layers whose weights are unsigned, whatever the scheme says.
    """
    changed: list[Note] = []
    refused: list[Note] = []
    edits, opset = editors(network), opset_of(network)
    for node in list(everywhere(network)):
        if not (weights := weights_of(node)):
            continue
        if reason := refusal(node, weights, skip, loops_opset=opset if loops else None):
            refused.append(Note(node.name or "", reason))
            continue
        changed.append(Note(node.name or "", f"{node.op_type} in int8, ranges taken at run time"))
        constants = edits[weights[0].value.graph]  # type: ignore[index]
        own = replace(scheme, unsigned=True) if node.name in unsigned else scheme
        if node.op_type in LOOPS:
            edit = edits[node.graph]  # type: ignore[index]
            write_loop(node, constants, edit, own, opset=opset, per_channel=per_channel)
        elif node.op_type == "LSTM":
            _write_lstm(constants, node, weights, own, per_channel)
        else:
            _write_product(constants, node, weights[0], own, per_channel)
    fuse_biases(network)
    if any(node.domain == CONTRIB for node in everywhere(network)):
        network.graph.opset_imports[CONTRIB] = 1
    drop_unused(network)
    return changed, refused


def has_loops(network: ir.Model, skip: Sequence[str] = ()) -> bool:
    """Whether a GRU or RNN in it can become a loop of integer products."""
    layers = ((node, weights_of(node)) for node in everywhere(network) if node.op_type in LOOPS)
    opset = opset_of(network)
    return any(weights and refusal(node, weights, skip, loops_opset=opset) is None for node, weights in layers)


def refusal(
    node: ir.Node, weights: tuple[Weight, ...], skip: Sequence[str], *, loops_opset: int | None = None
) -> str | None:
    """Why a layer has no dynamic int8, or None where it has; loops are written where the graph's opset is given."""
    if is_skipped(node.name or "", skip):
        return SKIPPED
    is_loop = loops_opset is not None and node.op_type in LOOPS
    if node.op_type not in ("MatMul", "Gemm", "LSTM") and not is_loop:
        return _NO_KERNEL.get(node.op_type, f"no dynamic int8 kernel for {node.op_type} in ONNX Runtime")
    if not all(np.isfinite(array(weight.value)).all() for weight in weights):
        return "its weights hold NaN or infinity"
    if is_loop and loops_opset is not None:
        return loop_refusal(node, weights, loops_opset)
    if node.op_type == "LSTM":
        if attribute(node, "layout", 0):
            return "it takes its input batch first (layout=1), which the integer kernel does not"
        return None if len(weights) == 2 else "only one of its two weights is a constant"
    return unfit(node, weights[0])


def _write_product(edit: Editor, node: ir.Node, weight: Weight, scheme: Scheme, per_channel: bool) -> None:
    matrix = array(weight.value)
    if weight.channel_axes == (0,):
        matrix = matrix.T
    matrix = matrix * np.float32(attribute(node, "alpha", 1.0))
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None:
        numbers = array(bias).reshape(-1) * np.float32(attribute(node, "beta", 1.0))
        bias = edit.shared(
            f"{bias.name}_dynamic" if numbers.tobytes() != array(bias).tobytes() else bias.name or "bias", numbers
        )
    axes = (1,) if per_channel else ()
    grid = weight_grid(matrix, axes, pairs_fit=scheme.pairs_fit, unsigned=scheme.unsigned, in_order=matrix.T)
    name = weight.value.name
    inputs = [
        node.inputs[0],
        edit.shared(f"{name}_q", grid.quantize(matrix)),
        edit.shared(f"{name}_scale", grid.scale.reshape(-1 if per_channel else ())),
        edit.shared(f"{name}_zero", grid.zero.reshape(-1 if per_channel else ())),
        bias,
    ]
    _replace(node, "DynamicQuantizeMatMul", inputs if bias is not None else inputs[:4], {})


def _write_lstm(edit: Editor, node: ir.Node, weights: tuple[Weight, ...], scheme: Scheme, per_channel: bool) -> None:
    stored: list[list[ir.Value]] = []
    axes, fit = (0, 1) if per_channel else (0,), scheme.pairs_fit
    for weight in weights:
        numbers = array(weight.value)
        rows = numbers.reshape(-1, numbers.shape[-1])
        grid = weight_grid(numbers, axes, pairs_fit=fit, unsigned=scheme.unsigned, in_order=rows)
        shape = grid.scale.shape[:2] if per_channel else grid.scale.shape[:1]
        name = weight.value.name
        stored.append(
            [
                # (directions, 4 * hidden, in) -> (directions, in, 4 * hidden), as this kernel reads it
                edit.shared(f"{name}_q", np.ascontiguousarray(grid.quantize(numbers).transpose(0, 2, 1))),
                edit.shared(f"{name}_scale", grid.scale.reshape(shape)),
                edit.shared(f"{name}_zero", grid.zero.reshape(shape)),
            ]
        )
    (w, w_scale, w_zero), (r, r_scale, r_zero) = stored
    others = [*node.inputs[3:8], *[None] * (5 - len(node.inputs[3:8]))]
    inputs = [node.inputs[0], w, r, *others, w_scale, w_zero, r_scale, r_zero]
    known = {name: value for name, value in node.attributes.items() if name != "layout"}  # which is 0 here
    _replace(node, "DynamicQuantizeLSTM", inputs, known)


def _replace(node: ir.Node, operator: str, inputs: Sequence[ir.Value | None], attributes: dict[str, Any]) -> None:
    """Put another operator in a node's place, under its name and with its outputs."""
    made = ir.Node(
        CONTRIB,
        operator,
        inputs,
        attributes,
        num_outputs=len(node.outputs),
        name=node.name,
        metadata_props=dict(node.metadata_props),
    )
    ir.convenience.replace_nodes_and_values(node.graph, node, [node], [made], node.outputs, made.outputs)  # type: ignore[arg-type]
