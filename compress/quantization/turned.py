"""A weight that two layers share, one of them turned: a table of words, and the products with it that give logits.

It is stored once and turned when the graph is loaded, and an integer kernel takes no computed weight. So the turned one
is written out, for the kernel to take; where none does it is shared again. In 8 bits both are half the float table.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compress.quantization.onnx_edit import drop_unused, editors
from compress.quantization.onnx_weights import array, is_weight

Turned = dict[ir.Value, ir.Value]  # the constant written out -> the computed tensor that it stands for


def written_out(network: ir.Model) -> Turned:
    """Edit a graph in place: products with a turned weight have a constant of their own."""
    found: Turned = {}
    edit = editors(network)[network.graph]
    for node in list(network.graph):
        value = node.inputs[1] if node.op_type == "MatMul" and len(node.inputs) > 1 else None
        source = _turned(value)
        if value is not None and source is not None:
            constant = next((c for c, v in found.items() if v is value), None)
            if constant is None:
                constant = edit.constant(f"{source.name}.turned", np.ascontiguousarray(array(source).T))
                found[constant] = value
            node.replace_input_with(1, constant)
    return found


def shared_again(network: ir.Model, turned: Turned) -> None:
    """What no integer kernel took reads the shared weight as before; edits in place."""
    for constant, value in turned.items():
        ir.convenience.replace_all_uses_with(constant, value)
        node = value.producer()
        if node is not None and not value.uses() and node.graph is not None:
            node.graph.remove(node, safe=True)
    drop_unused(network)


def _turned(value: ir.Value | None) -> ir.Value | None:
    """The matrix that this is, turned; None for anything else."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Transpose" or node.inputs[0] is None:
        return None
    source = node.inputs[0]
    return source if is_weight(source) and array(source).ndim == 2 else None
