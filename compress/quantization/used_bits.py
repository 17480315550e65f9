"""How many bits the weights of a layer use in a finished file: what is paid where pairs of products must fit 16 bits.

Read from the integers themselves: a channel whose largest is 127 uses all eight, one whose largest is 64 seven.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from compress.quantization.onnx_weights import Weight, array

Array = np.ndarray[Any, Any]
_TURNED = ("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QLinearMatMul")  # their channels are columns


def used_bits(node: ir.Node, weight: Weight) -> float | None:
    """Bits on average over the channels; None where no matrix or filter of the layer is stored in 8 bits.

    Args:
        node: of the finished graph.
        weight: that of the float layer it was; tells the channels.
    """
    shape, (axis, *others) = array(weight.value).shape, weight.channel_axes
    numbers = next((n for n in _integers(node) if n.shape in (shape, shape[::-1])), None)
    if others or numbers is None or numbers.ndim < 2:
        return None
    if node.op_type in _TURNED or numbers.shape != shape:
        axis = numbers.ndim - 1
    largest = np.abs(np.moveaxis(numbers, axis, 0).reshape(numbers.shape[axis], -1).astype(np.int32)).max(axis=1)
    largest = largest[largest > 0]  # a dead channel uses none, and misses none
    return float(8 + np.log2(largest / 127).mean()) if len(largest) else None


def _integers(node: ir.Node) -> list[Array]:
    """The constants in 8 bits that a layer reads, also through a DequantizeLinear; those without a sign less 128."""
    found = []
    for value in node.inputs:
        pair = None if value is None else value.producer()
        source = pair.inputs[0] if pair is not None and pair.op_type == "DequantizeLinear" else value
        kind = None if source is None or source.const_value is None else source.const_value.dtype
        if source is not None and kind in (ir.DataType.INT8, ir.DataType.UINT8):
            found.append(array(source).astype(np.int16) - (128 if kind == ir.DataType.UINT8 else 0))
    return found
