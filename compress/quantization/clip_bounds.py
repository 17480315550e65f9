"""What a ReLU or Clip lets through, and the ranges that a person wrote for what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

from compress.quantization.histogram import Range
from compress.quantization.onnx_weights import everywhere
from export.forms import MAIN
from export.reading import is_, number
from models.records import Model


def within_bounds(model: Model, form: str, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """The ranges, none wider than the ReLU or Clip that gives its tensor.

    The node itself may go, since the ends of a grid do what its bounds do: those of a wider one would not.
    """
    if form != MAIN and form not in model.forms:
        return dict(ranges)
    network: Any = model.network if form == MAIN else model.forms[form].network
    held = {}
    for node in everywhere(network):
        name = node.outputs[0].name or ""
        if is_(node, "Relu", "Clip") and name in ranges:
            held[name] = _held(ranges[name], *bounds(node))
    return {**ranges, **held}


def bounds(node: ir.Node) -> tuple[float | None, float | None]:
    """The least and the largest that a ReLU or Clip lets through; None of what is computed."""
    if node.op_type == "Relu":
        return 0.0, float("inf")
    given = (*node.inputs[1:3], None, None)[:2]
    ends = (float("-inf"), float("inf"))
    low, high = (end if value is None else number(value) for value, end in zip(given, ends, strict=True))
    return low, high


def _held(seen: Range, low: float | None, high: float | None) -> Range:
    if low is None or high is None or not low <= 0.0 <= high:
        return seen
    return Range(max(seen.low, low), min(seen.high, high)) if seen.low <= high and seen.high >= low else Range(0.0, 0.0)
