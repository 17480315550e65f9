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

from export.counts import Cost, LayerCost
from models.records import Model, sizes_of

__all__ = ["Cost", "LayerCost", "cost", "integer_macs_share"]


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
