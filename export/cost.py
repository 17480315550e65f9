"""What a model costs before anything is measured: parameters, multiply-adds, bytes, layer by layer. Imports no torch.

Neither number is well defined, so this is which one is counted here:

- One multiply-add is one MAC. Counted are convolutions (transposed ones from their input), matrix products (Linear,
  Gemm, MatMul, also of two activations), attention (its two products; softmax is free), einsum, and recurrent layers
  (steps x batch x gates x hidden x (input + hidden), per level and direction). A product in integers counts as one in
  floats. Bias, activation, normalization, pooling, embedding and element-wise operations count as nothing. A body of
  Loop or Scan counts as often as it runs, an If by its larger branch.
- Parameters are the elements of a torch network's parameters, shared ones once; of an ONNX graph the elements of its
  constants that are weights: neither shapes and indices nor the scales and zero points of quantization. A batch norm
  that was folded away therefore counts in torch and not in ONNX.
- Bytes are those of all constants (torch: parameters and buffers) as stored, not of the file around them.
- Peak activation bytes: nodes run one after another in the graph's order; a tensor lives from the node that makes it to
  the last that reads it, inputs from the start, outputs to the end; reshapes share the memory of what they reshape,
  nothing else is done in place, and no kernel needs memory of its own. It is an estimate of what a plain runtime needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from models.records import Model, sizes_of


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """One layer, as the user named it: MACs over all its calls, bytes of its constants, bytes that it gives."""

    layer: str
    type: str
    parameters: int = 0
    macs: int = 0
    integer_macs: int = 0
    bytes: int = 0
    out_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a model costs at the given sizes; see the conventions above. All figures are computed, none is measured."""

    parameters: int
    macs: int
    integer_macs: int
    bytes: int
    peak_activation_bytes: int
    layers: tuple[LayerCost, ...]


@dataclass(frozen=True)
class Step:
    """One node for the liveness: the tensors it makes (with their bytes) and reads, and whose memory it shares."""

    makes: Sequence[tuple[str, int]]
    reads: Sequence[str]
    shares: str | None = None


def cost(model: Model, **sizes: int) -> Cost:
    """Cost of the main form, for torch and ONNX alike; it is run once at these sizes to see the shapes.

    Args:
        model: lifted or ONNX.
        **sizes: of the free letters; the usual ones where not given, and batch 1.
    """
    if model.is_onnx:
        from export.cost_onnx import onnx_cost

        return onnx_cost(model, sizes_of(model, **sizes))
    from export.cost_torch import torch_cost

    return torch_cost(model, sizes_of(model, **sizes))


def integer_macs_share(model: Model, **sizes: int) -> float:
    """Share of the MACs that ONNX Runtime's CPU provider computes in integers, counted in the graph as it optimizes it.

    A file says QuantizeLinear and DequantizeLinear around a float operator; what becomes of it is known only then.
    """
    from export.cost_onnx import optimized_cost

    found = optimized_cost(model, sizes_of(model, **sizes))
    return found.integer_macs / found.macs if found.macs else 0.0


def peak_bytes(steps: Sequence[Step], inputs: Iterable[tuple[str, int]], outputs: Iterable[str]) -> int:
    """The most bytes that are alive at once while the steps run in their order.

    >>> peak_bytes([Step([("a", 4)], ["x"]), Step([("b", 1)], ["a"])], [("x", 2)], ["b"])
    6
    """
    owner: dict[str, str] = {}  # a tensor -> the one whose memory it uses
    size = dict(inputs)
    for step in steps:
        for name, nbytes in step.makes:
            owner[name] = owner.get(step.shares, step.shares) if step.shares is not None else name
            if owner[name] == name:
                size[name] = nbytes
    last = {owner.get(name, name): i for i, step in enumerate(steps) for name in step.reads}
    for i, step in enumerate(steps):
        for name, _ in step.makes:
            last[owner[name]] = max(last.get(owner[name], i), i)
    last |= {owner.get(name, name): len(steps) for name in outputs}
    alive = dict(inputs)
    peak = sum(alive.values())
    for i, step in enumerate(steps):
        alive |= {owner[name]: size.get(owner[name], 0) for name, _ in step.makes}
        peak = max(peak, sum(alive.values()))
        alive = {name: nbytes for name, nbytes in alive.items() if last.get(name, -1) > i}
    return peak


def gathered(rows: Iterable[LayerCost]) -> tuple[LayerCost, ...]:
    """Rows of one layer as one row, in the order of their first; those that cost nothing are left out."""
    found: dict[str, list[LayerCost]] = {}
    for row in rows:
        found.setdefault(row.layer, []).append(row)
    merged = []
    for layer, parts in found.items():
        main = max(parts, key=lambda row: (row.macs, row.parameters))
        total = {
            name: sum(getattr(row, name) for row in parts)
            for name in ("parameters", "macs", "integer_macs", "bytes", "out_bytes")
        }
        if total["macs"] or total["parameters"]:
            merged.append(LayerCost(layer=layer, type=main.type, **total))
    return tuple(merged)
