"""ONNX's numbers for element types as torch's types."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import torch

_DTYPES = {
    ir.DataType.FLOAT: torch.float32,
    ir.DataType.DOUBLE: torch.float64,
    ir.DataType.FLOAT16: torch.float16,
    ir.DataType.BFLOAT16: torch.bfloat16,
    ir.DataType.INT64: torch.int64,
    ir.DataType.INT32: torch.int32,
    ir.DataType.INT16: torch.int16,
    ir.DataType.INT8: torch.int8,
    ir.DataType.UINT8: torch.uint8,
    ir.DataType.BOOL: torch.bool,
}


def torch_dtype(number: Any) -> torch.dtype:
    """The torch type of an ONNX element type; raises KeyError for those torch does not compute with."""
    return _DTYPES[ir.DataType(int(number))]
