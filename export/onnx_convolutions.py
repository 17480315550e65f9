"""Conv and ConvTranspose of ONNX as torch layers; padding that torch's layers have not is done before or after them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, nn

from export.onnx_builder import Builder, Run, constant, has_floats
from export.onnx_spatial import padded, pads_of, symmetric
from export.onnx_values import Call, tensor


def convolution(build: Builder, node: ir.Node, call: Call) -> Run | None:
    """Conv as nn.Conv1d to 3d; None where its weight is computed."""
    weight, bias = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
    array = constant(weight)
    if array is None or weight is None or (bias is not None and not has_floats(bias)):
        return None
    n = array.ndim - 2
    strides, dilations = (list(call.get(k) or [1] * n) for k in ("strides", "dilations"))
    kernel, groups = list(array.shape[2:]), int(call.get("group", 1))
    same = symmetric(pads_of(call, torch.empty(0), kernel, strides, dilations)) if _fixed_pads(call, strides) else None

    def make() -> nn.Module:
        cls = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[n - 1]
        conv = cls(1, 1, 1, bias=bias is not None, device="meta")
        _fill(conv, in_channels=array.shape[1] * groups, out_channels=array.shape[0], kernel_size=tuple(kernel),
              stride=tuple(strides), padding=tuple(same or [0] * n), dilation=tuple(dilations),
              groups=groups)  # fmt: skip
        conv._reversed_padding_repeated_twice = [p for p in reversed(same or [0] * n) for _ in range(2)]
        conv.weight, conv.bias = build.parameter(weight), None if bias is None else build.parameter(bias)
        return conv

    layer = build.layer(node, (weight, bias), make, (tuple(strides), tuple(dilations), groups, str(same)))
    if same is not None:
        return lambda call, x, *_: layer(tensor(x))
    return lambda call, x, *_: layer(padded(tensor(x), pads_of(call, tensor(x), kernel, strides, dilations)))


def _fixed_pads(call: Call, strides: Sequence[int]) -> bool:
    return call.get("auto_pad", "NOTSET") in ("NOTSET", "", "VALID") or all(s == 1 for s in strides)


def _fill(module: nn.Module, **settings: Any) -> None:
    for name, value in settings.items():
        setattr(module, name, value)


def transposed_convolution(build: Builder, node: ir.Node, call: Call) -> Run | None:
    """ConvTranspose as nn.ConvTranspose1d to 3d; None where its weight is computed."""
    weight, bias = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
    array = constant(weight)
    if array is None or weight is None or (bias is not None and not has_floats(bias)):
        return None
    n = array.ndim - 2
    strides, dilations = (list(call.get(k) or [1] * n) for k in ("strides", "dilations"))
    extra = list(call.get("output_padding") or [0] * n)
    groups, kernel = int(call.get("group", 1)), list(array.shape[2:])
    pads = _transposed_pads(call, kernel, strides, dilations, extra)
    same = symmetric(pads)
    crop = same is None or any(e >= max(s, d) for e, s, d in zip(extra, strides, dilations, strict=True))

    def make() -> nn.Module:
        cls = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[n - 1]
        conv = cls(1, 1, 1, bias=bias is not None, device="meta")
        _fill(conv, in_channels=array.shape[0], out_channels=array.shape[1] * groups, kernel_size=tuple(kernel),
              stride=tuple(strides), padding=tuple([0] * n if crop else same or []), dilation=tuple(dilations),
              groups=groups, output_padding=tuple([0] * n if crop else extra))  # fmt: skip
        conv.weight, conv.bias = build.parameter(weight), None if bias is None else build.parameter(bias)
        return conv

    layer = build.layer(node, (weight, bias), make, (tuple(strides), tuple(dilations), groups, str(pads), str(extra)))

    def run(call: Call, x: Any, *_: Any) -> Tensor:
        found: Tensor = layer(tensor(x))
        if not crop:
            return found
        if any(extra):
            found = padded(found, [p for e in extra for p in (0, e)])
            if bias is not None:
                raise call.refuse("is padded at one side only by more than its stride")
        for i in range(n):
            begin, end = pads[2 * i], pads[2 * i + 1]
            found = found.narrow(2 + i, begin, found.shape[2 + i] - begin - end)
        return found

    return run


def _transposed_pads(
    call: Call, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], extra: Sequence[int]
) -> list[int]:
    if call.get("output_shape"):
        raise call.refuse("says its output's size (output_shape), which is not read")
    automatic = call.get("auto_pad", "NOTSET")
    if automatic not in ("SAME_UPPER", "SAME_LOWER"):
        n = len(kernel)
        pads = call.get("pads") or [0] * 2 * n
        return [int(pads[i + side * n]) for i in range(n) for side in (0, 1)]
    found = []
    for k, s, d, e in zip(kernel, strides, dilations, extra, strict=True):  # the output is the input times the stride
        total = max((k - 1) * d + 1 + e - s, 0)
        small, large = total // 2, total - total // 2
        found += [small, large] if automatic == "SAME_UPPER" else [large, small]
    return found
