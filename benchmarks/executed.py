"""What the runtime really ran: the share of multiply-adds done in integers, and the nodes that fell back to the CPU.

A file says what could be computed in int8; which nodes the runtime fused into integer kernels only its own graph says.
So one run is profiled, and the multiply-adds of each executed node follow from the shapes it was given. One
multiply-add is one MAC; operators without a matrix or a filter count none.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.session import PROVIDERS, Provider, session
from models.records import Arrays, Model

Shape = Sequence[int]
_MATRIX = frozenset({"MatMul", "FusedMatMul", "Gemm", "FusedGemm", "TransposeMatMul", "MatMulNBits"})
_INTEGER_MATRIX = frozenset(
    {"MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QGemm", "QLinearMatMul"}
)
_RECURRENT = frozenset({"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"})
_INTEGER = frozenset({*_INTEGER_MATRIX, "QLinearConv", "ConvInteger", "DynamicQuantizeLSTM", "QAttention"})
_WEIGHT = {"QLinearConv": 3}  # position of the filter among the inputs, where it is not 1


@dataclass(frozen=True, kw_only=True)
class Executed:
    """One run of a model, as the runtime ran it; integer_macs_share is None where nothing multiplies."""

    macs: int
    integer_macs_share: float | None
    nodes_fallen_back: int


def executed(model: Model, inputs: Arrays, *, provider: Provider = "cpu") -> Executed:
    """Run an ONNX model once under the runtime's profiler.

    `macs` counts the padding that a kernel adds, so it may lie above the file's own.

    Raises:
        DeviceError, CompressError: as `export.session.session`.
    """
    with tempfile.TemporaryDirectory(prefix="compress-") as folder:
        # a weight that a kernel has packed for itself is missing from the profile
        made = session(model, provider=provider, profile_to=str(Path(folder) / "profile"), prepack=False)
        made.run(None, dict(inputs))
        events = json.loads(Path(made.end_profiling()).read_text(encoding="utf-8"))
    nodes = [e["args"] for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    counts = [(str(node["op_name"]), macs_of(node)) for node in nodes]
    macs = sum(count for _, count in counts)
    integer = sum(count for op, count in counts if op in _INTEGER)
    on_cpu = sum(node.get("provider") == PROVIDERS["cpu"] for node in nodes)
    return Executed(
        macs=macs,
        integer_macs_share=integer / macs if macs else None,
        nodes_fallen_back=0 if provider == "cpu" else on_cpu,
    )


def macs_of(node: Mapping[str, Any]) -> int:
    """Multiply-adds of one executed node, from its `op_name`, `input_type_shape` and `output_type_shape`."""
    op = str(node["op_name"])
    inputs, outputs = (_shapes(node[f"{side}_type_shape"]) for side in ("input", "output"))
    weight = _WEIGHT.get(op, 1)
    if len(inputs) <= weight or not outputs:
        return 0
    if op in ("Conv", "FusedConv", "NhwcFusedConv", "QLinearConv", "ConvInteger"):
        return math.prod(outputs[0]) * math.prod(inputs[weight][1:])
    if op == "ConvTranspose":
        return math.prod(inputs[0]) * math.prod(inputs[1][1:])
    if op in ("Gemm", "FusedGemm", "QGemm"):  # (M, K) and (K, N), either way round: their product is (M N) K^2
        b = inputs[3] if op == "QGemm" else inputs[1]
        return math.prod(outputs[0]) * math.isqrt(math.prod(inputs[0]) * math.prod(b) // max(1, math.prod(outputs[0])))
    if op in _MATRIX | _INTEGER_MATRIX:
        return math.prod(outputs[0]) * (inputs[0][-1] if inputs[0] else 1)
    if op in _RECURRENT:  # X (T, N, in), W (directions, gates, in), R (directions, gates, hidden)
        recurrent = inputs[2] if len(inputs) > 2 else ()
        return math.prod(inputs[0][:2]) * (math.prod(inputs[1]) + math.prod(recurrent))
    if op in ("Attention", "QAttention"):  # X (N, T, in), W (in, 3 hidden), out (N, T, hidden); then scores and mix
        return math.prod(inputs[0][:2]) * math.prod(inputs[1]) + 2 * math.prod(outputs[0]) * inputs[0][1]
    return 0


def _shapes(typed: Sequence[Mapping[str, Shape]]) -> list[Shape]:
    return [shape for entry in typed for shape in entry.values()]
