"""Keeps in float what is asked to stay so: ONNX Runtime would quantize some of it when it loads the file.

Its WeightBiasQuantization rounds the weights of any Conv, ConvTranspose and Gemm between a DequantizeLinear and a
QuantizeLinear to one symmetric int8 grid, and makes an integer operator of it where it has one. A layer that was left
in float because it costs too much would cost more than before, its sums could leave 16 bits where no weights of ours
do, and a ConvTranspose would have its weights converted back at every run. It asks for one scale at the input; the same
scale written once for each channel is the same number, and is left alone.
Source: onnxruntime, core/optimizer/qdq_transformer/weight_bias_quantization.cc.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from compress.quantization.carriers import MOVING, averages_otherwise
from compress.quantization.onnx_edit import Editor, graph_of
from compress.quantization.onnx_weights import array, everywhere
from export.reading import attribute, is_


def keep_float(network: ir.Model, edit: Mapping[ir.Graph, Editor]) -> None:
    """Give the layers in float that read a tensor back from integers a scale for each channel of it, in place.

    Args:
        network: with pairs.
        edit: of its graphs.
    """
    for node in list(everywhere(network)):
        if is_(node, "AveragePool") and averages_otherwise(node):
            _keep_apart(edit[graph_of(node.outputs[0])], node.outputs[0])
        channels = _channels(node)
        pair = _read_back(node) if channels else None
        if pair is None or array(pair.inputs[1]).ndim:  # type: ignore[arg-type]
            continue
        editor, value = edit[graph_of(pair.outputs[0])], node.inputs[0]
        assert value is not None
        names = pair.inputs[0]
        if value is not pair.outputs[0]:  # the runtime would carry the integers on to the layer, so they are
            names = editor.node("QuantizeLinear", [value, *pair.inputs[1:]], output=f"{value.name}_q")
        each = [editor.shared(f"{v.name}_{channels}", np.full(channels, array(v))) for v in pair.inputs[1:] if v]
        back = editor.node("DequantizeLinear", [names, *each], {"axis": 1}, output=f"{value.name}_back")
        node.replace_input_with(0, back)
        if not pair.outputs[0].uses() and not pair.outputs[0].is_graph_output():  # the runtime would compute it still
            editor.graph.remove(pair, safe=True)


def _keep_apart(edit: Editor, value: ir.Value) -> None:
    """Put a node that changes nothing, and that the runtime does not take out, in front of what rounds a tensor."""
    rounding = [use for use in value.uses() if is_(use.node, "QuantizeLinear") and use.idx == 0]
    if rounding:
        same = edit.node("Max", [value], output=f"{value.name}_apart")
        for use in rounding:
            use.node.replace_input_with(0, same)


def _read_back(node: ir.Node) -> ir.Node | None:
    """The DequantizeLinear that a layer reads, also past what only moves numbers."""
    producer = node.inputs[0].producer() if node.inputs[0] is not None else None
    while producer is not None and producer.op_type in MOVING and producer.inputs[0] is not None:
        producer = producer.inputs[0].producer()
    found = producer is not None and producer.op_type == "DequantizeLinear" and producer.graph is node.graph
    return producer if found else None


def _channels(node: ir.Node) -> int:
    """How many channels the input of a layer has whose weight is a constant in float; 0 of all else."""
    weight = node.inputs[1] if node.op_type in ("Conv", "ConvTranspose", "Gemm") and len(node.inputs) > 1 else None
    if weight is None or weight.const_value is None or node.domain not in ("", "ai.onnx"):
        return 0
    shape = weight.const_value.shape.numpy()
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transA", 0) else int(shape[1 if attribute(node, "transB", 0) else 0])
    return int(shape[1] * attribute(node, "group", 1) if node.op_type == "Conv" else shape[0])
