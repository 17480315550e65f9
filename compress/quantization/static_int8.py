"""Writes a placement into a graph: weights in int8, QuantizeLinear and DequantizeLinear around integer operators."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx_ir.passes.common import RemoveUnusedOpsetsPass

from compress.quantization.fused_bias import fuse_biases
from compress.quantization.histogram import Range
from compress.quantization.int8 import Grid, activation_grid, bias_names, least_scale, weight_grid
from compress.quantization.kept_float import keep_float
from compress.quantization.onnx_edit import Editor, drop_unused, editors, graph_of
from compress.quantization.onnx_weights import Weight, array, everywhere
from compress.quantization.placement import Placement
from compress.quantization.schemes import Scheme
from export.prepare import strip
from export.reading import attribute

Array = np.ndarray[Any, Any]
_LAYER_NORM = 17  # the first opset with this operator; between 13 and it no operator lost what it did


def write_qdq(
    network: ir.Model,
    placement: Placement,
    ranges: Mapping[str, Range],
    scheme: Scheme,
    *,
    per_channel: bool = True,
    unsigned: Collection[str] = (),
) -> None:
    """Edit the network in place, so that ONNX Runtime computes the placed nodes in integers.

    Args:
        network: edited.
        placement: of this very network.
        ranges: by tensor name; at least of each rounded tensor that shares no other's grid.
        scheme: of the device.
        per_channel: a weight scale for each output channel, and not one for the whole tensor.
        unsigned: names of layers whose weights are unsigned, whatever the scheme says.
    """
    edit = editors(network)
    chosen = placement.chosen
    named = {value: ranges[placement.root(value).name or ""] for value in placement.rounded}
    moved = {node.outputs[0]: _drop_clip(node) for node in placement.dropped}
    grids = {moved.get(value, value): activation_grid(r.low, r.high, scheme.activations) for value, r in named.items()}
    for node, weight in placement.layers.items():
        own = replace(scheme, unsigned=True) if node.name in unsigned else scheme
        _write_layer(edit[graph_of(node.outputs[0])], node, weight, grids[node.inputs[0]], own, per_channel)  # type: ignore[index]
    for value in placement.rounded:
        here = moved.get(value, value)
        _write_rounding(edit, here, grids[here], chosen, everyone=value in placement.replaced)
    if scheme.fuses:
        keep_float(network, edit)
    network.graph.sort()
    drop_unused(network)


def _drop_clip(node: ir.Node) -> ir.Value:
    """Take out a ReLU or Clip: the node before it takes over its output, name and all."""
    source, result = node.inputs[0], node.outputs[0]
    assert source is not None and node.graph is not None
    name = result.name
    result.name = f"{name}_clipped"
    source.name, source.type, source.shape = name, result.type, result.shape
    ir.convenience.replace_all_uses_with(result, source, replace_graph_outputs=True)
    node.graph.remove(node, safe=True)
    return source


def _write_layer(edit: Editor, node: ir.Node, weight: Weight, grid: Grid, scheme: Scheme, per_channel: bool) -> None:
    numbers = array(weight.value) * np.float32(attribute(node, "alpha", 1.0) if node.op_type == "Gemm" else 1.0)
    axis = weight.channel_axes[0]
    bias_value = node.inputs[2] if len(node.inputs) > 2 else None
    bias = None if bias_value is None else array(bias_value).reshape(-1) * np.float32(attribute(node, "beta", 1.0))
    least = least_scale(bias, grid.scale) if bias is not None and scheme.integer_bias else 0.0
    narrow = scheme.pairs_fit and not is_depthwise(node, numbers)
    grid_w = weight_grid(
        numbers,
        (axis,) if per_channel else (),
        pairs_fit=narrow,
        in_order=in_kernel_order(node, numbers, (axis,)),
        unsigned=scheme.unsigned,
        least=least if per_channel else np.max(least),
    )
    node.replace_input_with(1, _stored(edit, node, weight.value.name or "weight", grid_w, numbers, axis))
    if bias is not None and bias_value is not None and scheme.integer_bias:
        scale = np.asarray(grid.scale * grid_w.scale, np.float32).reshape(-1 if per_channel else ())
        names = bias_names(bias, scale)
        grid_b = Grid(scale, np.zeros(scale.shape, np.int32), -(2**31), 2**31 - 1)
        node.replace_input_with(2, _dequantized(edit, node, bias_value.name or "bias", grid_b, names, 0))
    for name in ("alpha", "beta"):
        node.attributes.pop(name, None)


def in_kernel_order(node: ir.Node, numbers: Array, channels: tuple[int, ...]) -> Array | None:
    """A weight as (channels, K), as the kernel adds its products; None where that is not known.

    A convolution reads its input channels last: of one place all channels, then the next place.

    Args:
        node: the layer.
        numbers: its weight.
        channels: the axes of its channels.
    """
    if node.op_type == "Conv":
        return np.moveaxis(numbers, 1, -1).reshape(len(numbers), -1)
    if numbers.ndim - len(channels) != 1:
        return None  # matrices on top of each other
    rows = np.moveaxis(numbers, channels, range(len(channels)))
    return rows.reshape(-1, rows.shape[-1])


def is_depthwise(node: ir.Node, weight: Array) -> bool:
    """Whether each channel is convolved alone: that kernel widens to 16 bits before it multiplies, and never clips."""
    groups = attribute(node, "group", 1)
    return node.op_type == "Conv" and groups > 1 and weight.shape[1] == 1 and weight.shape[0] == groups


def _stored(edit: Editor, node: ir.Node, name: str, grid: Grid, numbers: Array, axis: int) -> ir.Value:
    shape = -1 if grid.scale.ndim else ()
    flat = Grid(grid.scale.reshape(shape), grid.zero.reshape(shape), grid.lowest, grid.highest)
    return _dequantized(edit, node, name, flat, grid.quantize(numbers), axis)


def _dequantized(edit: Editor, node: ir.Node, name: str, grid: Grid, names: Array, axis: int) -> ir.Value:
    """A constant in integers, and the DequantizeLinear in front of the node; the same constant is stored once.

    ONNX has no zero point for int32; for int8 the runtime fuses nothing without one, so layers of a width share it.
    """
    parts = [edit.shared(f"{name}_q", names), edit.shared(f"{name}_scale", grid.scale)]
    if names.dtype != np.int32:
        parts.append(edit.shared(f"zero_{grid.zero.size}" if grid.zero.ndim else "zero", grid.zero))
    return edit.node(
        "DequantizeLinear",
        parts,
        {"axis": axis} if grid.scale.ndim else None,
        output=f"{name}_dq",
        before=node,
    )


def _write_rounding(
    edit: Mapping[ir.Graph, Editor], value: ir.Value, grid: Grid, chosen: set[ir.Node], *, everyone: bool
) -> None:
    """Put the pair behind a tensor, for its integer consumers, or for all that read it and the graph's output too.

    A body whose integer operators read a tensor from outside has a pair of its own: the runtime fuses within a graph.
    """
    uses = list(value.uses())
    inside = [use for use in uses if use.node in chosen and use.node.graph is not value.graph]
    here = [use for use in uses if use not in inside and (everyone or use.node in chosen)]
    source = value
    if here or everyone:
        back = _write_pair(edit[graph_of(value)], value, grid, here)
        if everyone:
            source = back
            _give_out(value, back)
    for graph in dict.fromkeys(use.node.graph for use in inside):
        _write_pair(edit[graph], source, grid, [use for use in inside if use.node.graph is graph])  # type: ignore[index]


def _write_pair(edit: Editor, value: ir.Value, grid: Grid, uses: Sequence[Any]) -> ir.Value:
    """Round a tensor and read it back, for these uses; what they read then."""
    name = value.name or "tensor"
    scale, zero = edit.shared(f"{name}_scale", grid.scale), edit.shared(f"{name}_zero", grid.zero)
    names = edit.node("QuantizeLinear", [value, scale, zero], output=f"{name}_q")
    back = edit.node("DequantizeLinear", [names, scale, zero], output=f"{name}_dq")
    for use in uses:
        use.node.replace_input_with(use.idx, back)
    return back


def _give_out(value: ir.Value, back: ir.Value) -> None:
    """Where a tensor is an output of its graph, what was read back is it from now on, by its name."""
    if not value.is_graph_output():
        return
    outputs, name = graph_of(value).outputs, value.name
    value.name = f"{name}_float"
    back.name, back.shape, back.type = name, value.shape, value.type
    outputs[outputs.index(value)] = back


# They run again at load. What the first makes stands among ONNX's operators and is none: a checker refuses it. The
# others make layers in float that are none: their weights could not be stored in 8 bits, nor their biases be corrected.
_AT_LOAD = [
    "SimplifiedLayerNormFusion",
    "ConvActivationFusion",
    "ConvAddActivationFusion",
    "GemmActivationFusion",
    "MatMulActivationFusion",
    "MatMulScaleFusion",
    "MatmulTransposeFusion",
    "AttentionFusion",
    "SkipLayerNormFusion",
    "EmbedLayerNormFusion",
    "BiasGeluFusion",
    "FastGeluFusion",
    "BiasSoftmaxFusion",
]


def as_operators(network: ir.Model) -> ir.Model:
    """The network with ONNX Runtime's own integer operators in place of the pairs that become them at load.

    The runtime itself does it, up to the level whose graphs run on every processor. Fewer nodes are a smaller file and
    a quicker load; the price is that no other runtime reads it.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "operators.onnx")
        ort.InferenceSession(
            ir.to_proto(network).SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=_AT_LOAD,
        )
        made = ir.from_proto(onnx.load(options.optimized_model_filepath))
    fuse_biases(made)
    if any(node.op_type == "LayerNormalization" and not node.domain for node in everywhere(made)):
        made.graph.opset_imports[""] = max(made.graph.opset_imports[""], _LAYER_NORM)  # the runtime made it of others
    strip(made)
    RemoveUnusedOpsetsPass()(made)
    made.producer_name, made.producer_version = network.producer_name, network.producer_version
    made.metadata_props.update(network.metadata_props)
    return made
