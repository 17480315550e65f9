"""What of a network is left as it is: integers of somebody else, operators that are not ONNX's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx_ir as ir

from compress.base import Note
from compress.quantization.field import INTEGER
from compress.quantization.onnx_weights import FLOATS, everywhere
from models.records import Model

_LEAST = 64  # elements of a constant that is worth a word


def is_quantized(model: Model) -> bool:
    """Whether some of it computes in integers already."""
    return any(node.op_type.startswith((*INTEGER, "QuantizeLinear")) for node in everywhere(model.onnx))


def foreign_layers(model: Model) -> Iterator[Note]:
    """Layers with weights whose operator is not ONNX's own, as ONNX Runtime writes them when it optimizes a file."""
    network: Any = model.onnx
    for node in everywhere(network):
        if node.domain not in ("", "ai.onnx") and any(map(_is_large_weight, node.inputs)):
            yield Note(
                node.name or "",
                f"{node.op_type} of {node.domain} is left alone: it is no operator of ONNX. Where ONNX Runtime "
                "made it, quantize the file that it was made of",
            )


def _is_large_weight(value: ir.Value | None) -> bool:
    constant = None if value is None else value.const_value
    return constant is not None and constant.dtype in FLOATS and constant.size >= _LEAST
