"""A batch norm after a linear layer becomes part of the layer's weights. Imports no torch.

y = W x + b and z = (y - mean) * gamma / sqrt(var + eps) + beta give z = (s W) x + s (b - mean) + beta with
s = gamma / sqrt(var + eps), one number an output channel.

onnxscript's rule of the same kind leaves a layer alone that is used twice. Here the uses of one weight are folded
together, and once, where every one of them is followed by the same batch norm; otherwise the weight would be doubled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from export.constants import stored

_LAYERS = ("Conv", "ConvTranspose", "Gemm")
_Array = np.ndarray[Any, Any]


def fold_batch_norms(network: ir.Model) -> int:
    """Fold, in place, each batch norm behind a Conv, ConvTranspose or Gemm with constant weights; how many went."""
    folded = 0
    for norm in [n for n in network.graph.all_nodes() if n.op_type == "BatchNormalization"]:
        layer = norm.inputs[0].producer() if norm.graph is not None and norm.inputs[0] is not None else None
        pairs = _pairs(layer) if layer is not None and layer.op_type in _LAYERS else None
        if pairs and _fold(pairs):
            folded += len(pairs)
    return folded


def _pairs(layer: ir.Node) -> list[tuple[ir.Node, ir.Node]] | None:
    """Each use of the layer's weights with the batch norm behind it; None unless all are alike and may be folded."""
    weight, bias = layer.inputs[1], layer.inputs[2] if len(layer.inputs) > 2 else None
    numbers = _constant(weight)
    if weight is None or numbers is None or weight.is_graph_output():
        return None
    if bias is not None and _constant(bias) is None:
        return None
    pairs = []
    for user, position in weight.uses():
        same_bias = _equal(user.inputs[2] if len(user.inputs) > 2 else None, bias)
        if user.op_type != layer.op_type or position != 1 or not same_bias or user.outputs[0].is_graph_output():
            return None
        norms = user.outputs[0].consumers()
        if len(norms) != 1 or norms[0].graph is not user.graph or not _foldable(norms[0], user.outputs[0]):
            return None
        pairs.append((user, norms[0]))
    first = _parameters(pairs[0][1])
    alike = all(
        all(np.array_equal(a, b) for a, b in zip(first, _parameters(norm), strict=True)) for _, norm in pairs[1:]
    )
    fits = first[0].size in numbers.shape or layer.op_type == "ConvTranspose"
    return pairs if alike and fits and _bias_fits(layer, first[0].size) else None


def _bias_fits(layer: ir.Node, channels: int) -> bool:
    """Whether a layer's bias is one number a channel; a Gemm's may also be spread over them, or differ by rows."""
    bias = _constant(layer.inputs[2]) if len(layer.inputs) > 2 else None
    if bias is None:
        return True
    return bias.shape == (channels,) or (layer.op_type == "Gemm" and (not bias.ndim or bias.shape[-1] in (1, channels)))


def _equal(a: ir.Value | None, b: ir.Value | None) -> bool:
    """Whether two biases are one, or hold the same numbers (exporters write one of zeros for each use)."""
    one, other = _constant(a), _constant(b)
    return a is b or (one is not None and other is not None and np.array_equal(one, other))


def _foldable(norm: ir.Node, value: ir.Value) -> bool:
    return (
        norm.op_type == "BatchNormalization"
        and norm.inputs[0] is value
        and not _number(norm, "training_mode", 0)
        and all(not o.uses() and not o.is_graph_output() for o in norm.outputs[1:])
        and all(i is not None and _constant(i) is not None for i in norm.inputs[1:5])
    )


def _parameters(norm: ir.Node) -> list[_Array]:
    """Gamma, beta, mean, variance and epsilon, in double precision."""
    arrays = [np.asarray(_constant(value), np.float64) for value in norm.inputs[1:5]]
    return [*arrays, np.asarray(_number(norm, "epsilon", 1e-5), np.float64)]


def _fold(pairs: list[tuple[ir.Node, ir.Node]]) -> bool:
    """Fold them, in place; where a weight would leave the numbers of its type they stay, and the answer is no."""
    layer, norm = pairs[0]
    weight_value = layer.inputs[1]
    assert weight_value is not None and layer.graph is not None
    weight = _constant(weight_value)
    assert weight is not None
    gamma, beta, mean, variance, epsilon = _parameters(norm)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = gamma / np.sqrt(variance + epsilon)
    bias_value = layer.inputs[2] if len(layer.inputs) > 2 else None
    bias = np.asarray(_constant(bias_value), np.float64) if bias_value is not None else np.zeros_like(mean)
    if layer.op_type == "Gemm":
        bias = bias * _number(layer, "beta", 1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        folded = _scaled(layer, weight.astype(np.float64), scale).astype(weight.dtype)
        shift = ((bias - mean) * scale + beta).astype(weight.dtype)
    if not (np.isfinite(folded).all() and np.isfinite(shift).all()):
        return False
    weight_value.const_value = ir.tensor(folded, name=weight_value.name)
    new_bias = _register_bias(layer, shift, {p[0] for p in pairs})
    for user, after in pairs:
        user.resize_inputs(3)
        user.replace_input_with(2, new_bias)
        user.attributes.pop("beta", None)
        given = after.outputs[0].name if after.outputs[0].is_graph_output() else None
        ir.convenience.replace_all_uses_with(after.outputs[0], user.outputs[0], replace_graph_outputs=True)
        assert after.graph is not None
        after.graph.remove(after, safe=True)
        if given is not None:  # the graph's output keeps its name
            user.outputs[0].name = given
    return True


def _register_bias(layer: ir.Node, bias: _Array, users: set[ir.Node]) -> ir.Value:
    """The layer's own bias with new numbers, or a new one where it had none or others use it too."""
    old = layer.inputs[2] if len(layer.inputs) > 2 else None
    weight = layer.inputs[1]
    assert weight is not None and weight.graph is not None
    graph = weight.graph
    if old is not None and "." in (old.name or "") and {user for user, _ in old.uses()} <= users:
        old.const_value = ir.tensor(bias, name=old.name)
        return old
    name = (weight.name or "").removesuffix(".weight") + ".bias"
    while name in graph.initializers:
        name += "_"
    return stored(graph, name, bias)


def _scaled(layer: ir.Node, weight: _Array, scale: _Array) -> _Array:
    """The weight with each output channel times its number."""
    if layer.op_type == "Conv":  # (out, in / groups, ...)
        return weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    if layer.op_type == "Gemm":  # (out, in) when transposed, else (in, out)
        return weight * (scale[:, None] if _number(layer, "transB", 0) else scale[None, :])
    groups = int(_number(layer, "group", 1))
    split = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])  # (group, in, out, ...)
    spread = scale.reshape(groups, 1, weight.shape[1], *[1] * (weight.ndim - 2))
    return (split * spread).reshape(weight.shape)


def _constant(value: ir.Value | None) -> _Array | None:
    if value is None or not value.is_initializer() or value.is_graph_input() or value.const_value is None:
        return None
    return value.const_value.numpy()


def _number(node: ir.Node, name: str, default: float) -> float:
    attribute = node.attributes.get(name)
    return default if attribute is None else float(attribute.value)
