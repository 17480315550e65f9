"""What ONNX Runtime's integer kernels of Conv, Gemm and MatMul ask of a layer, whoever takes the ranges."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compress.quantization.onnx_weights import Weight, array, is_weight
from export.reading import attribute


def unfit(node: ir.Node, weight: Weight) -> str | None:
    """Why no integer kernel takes a layer; None where one does."""
    numbers = array(weight.value)
    if not np.isfinite(numbers).all():
        return "its weights hold NaN or infinity"
    if weight.input != 1 or (node.op_type != "Conv" and numbers.ndim != 2):
        return "its weight is no matrix on the right, and the integer kernel takes no other"
    if node.inputs[0] is not None and node.inputs[0].is_initializer():
        return "all that it reads is constant"
    if attribute(node, "transA", 0):
        return "it reads its input transposed, which the integer kernel does not"
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and not _is_per_channel(bias, numbers.shape[weight.channel_axes[0]]):
        return "its bias is not one constant per channel"
    return None


def _is_per_channel(bias: ir.Value, channels: int) -> bool:
    """One of a Gemm may also be (M, 1), a number for each row, whose size tells nothing."""
    shape = array(bias).shape if is_weight(bias) else None
    return shape is not None and array(bias).size == channels and shape[-1:] in ((channels,), ())
