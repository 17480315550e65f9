"""Normalizations of ONNX as torch layers."""

from __future__ import annotations

import onnx_ir as ir
import torch
from torch import nn

from export.onnx_builder import Builder, Run, constant, has_floats
from export.onnx_values import Call, tensor


def _batch_norm(build: Builder, node: ir.Node, call: Call) -> Run | None:
    values = list(node.inputs[1:5])
    if any(not has_floats(v) for v in values) or call.get("training_mode", 0) or call.outputs > 1:
        return None
    rank = build.ranks.get(node.inputs[0].name or "", 4) if node.inputs[0] is not None else 4
    scale, bias, mean, variance = values

    def make() -> nn.Module:
        cls = {4: nn.BatchNorm2d, 5: nn.BatchNorm3d}.get(rank, nn.BatchNorm1d)
        array = constant(scale)
        assert array is not None and scale is not None and bias is not None
        norm = cls(array.size, eps=call.get("epsilon", 1e-5), momentum=round(1 - call.get("momentum", 0.9), 6))
        norm.weight, norm.bias = build.parameter(scale), build.parameter(bias)
        norm.running_mean, norm.running_var = torch.tensor(constant(mean)), torch.tensor(constant(variance))
        return norm

    layer = build.layer(node, values, make, (rank, call.get("epsilon", 1e-5)))
    return lambda call, x, *_: layer(tensor(x))


def _instance_norm(build: Builder, node: ir.Node, call: Call) -> Run | None:
    scale, bias = node.inputs[1], node.inputs[2]
    array = constant(scale)
    if array is None or scale is None or bias is None or not has_floats(bias):
        return None
    rank = build.ranks.get(node.inputs[0].name or "", 4) if node.inputs[0] is not None else 4

    def make() -> nn.Module:
        cls = {4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d}.get(rank, nn.InstanceNorm1d)
        norm = cls(array.size, eps=call.get("epsilon", 1e-5), affine=True)
        norm.weight, norm.bias = build.parameter(scale), build.parameter(bias)
        return norm

    layer = build.layer(node, (scale, bias), make, (rank, call.get("epsilon", 1e-5)))
    return lambda call, x, *_: layer(tensor(x))


def _layer_norm(build: Builder, node: ir.Node, call: Call) -> Run | None:
    scale, bias = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
    array, offset = constant(scale), constant(bias)
    rank = build.ranks.get(node.inputs[0].name or "", 0) if node.inputs[0] is not None else 0
    axis = call.get("axis", -1)
    width = rank - axis if axis >= 0 else -axis
    if (
        array is None
        or scale is None
        or array.ndim != width
        or (bias is not None and offset is None)
        or call.outputs > 1
    ):
        return None

    def make() -> nn.Module:
        norm = nn.LayerNorm(array.shape, eps=call.get("epsilon", 1e-5), bias=bias is not None)
        norm.weight = build.parameter(scale)
        norm.bias = None if bias is None else build.parameter(bias)  # type: ignore[assignment]
        return norm

    layer = build.layer(node, (scale, bias), make, call.get("epsilon", 1e-5))
    return lambda call, x, *_: layer(tensor(x))


def _rms_norm(build: Builder, node: ir.Node, call: Call) -> Run | None:
    scale = node.inputs[1]
    array = constant(scale)
    rank = build.ranks.get(node.inputs[0].name or "", 0) if node.inputs[0] is not None else 0
    axis = call.get("axis", -1)
    if array is None or scale is None or array.ndim != (rank - axis if axis >= 0 else -axis):
        return None

    def make() -> nn.Module:
        norm = nn.RMSNorm(list(array.shape), eps=call.get("epsilon", 1e-5))
        norm.weight = build.parameter(scale)
        return norm

    layer = build.layer(node, (scale,), make, call.get("epsilon", 1e-5))
    return lambda call, x, *_: layer(tensor(x))


def _group_norm(build: Builder, node: ir.Node, call: Call) -> Run | None:
    scale, bias = node.inputs[1], node.inputs[2]
    if constant(scale) is None or constant(bias) is None or scale is None or bias is None:
        return None
    if call.opset < 21:
        return None  # one scale a group there, where torch has one a channel
    groups = int(call.get("num_groups"))

    def make() -> nn.Module:
        array = constant(scale)
        assert array is not None
        norm = nn.GroupNorm(groups, array.size, eps=call.get("epsilon", 1e-5))
        norm.weight, norm.bias = build.parameter(scale), build.parameter(bias)
        return norm

    layer = build.layer(node, (scale, bias), make, groups)
    return lambda call, x, *_: layer(tensor(x))


NORMS = {
    "BatchNormalization": _batch_norm,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
    "GroupNormalization": _group_norm,
}
