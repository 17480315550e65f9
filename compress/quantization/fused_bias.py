"""A bias behind an integer product goes into the product, where ONNX Runtime's operator has a place for it.

MatMulIntegerToFloat scales sums of integers into float32 and can add a vector on the way. The runtime's own optimizer
makes it of Q/DQ pairs around a MatMul and leaves the Add behind, one more pass over the tensor.
"""

from __future__ import annotations

import onnx_ir as ir

from compress.quantization.onnx_weights import everywhere
from export.reading import is_, numbers_of, only_reader, other_input

# the place of the bias among the inputs, and of the matrix
_PLACES = {"MatMulIntegerToFloat": (6, 1), "DynamicQuantizeMatMul": (4, 1)}


def fuse_biases(network: ir.Model) -> int:
    """Put each constant vector that is added to an integer product into the product, in place; how many there were."""
    products = [node for node in everywhere(network) if node.domain == "com.microsoft" and node.op_type in _PLACES]
    return sum(map(_fuse, products))


def _fuse(product: ir.Node) -> bool:
    place, matrix = _PLACES[product.op_type]
    result, weight = product.outputs[0], numbers_of(product.inputs[matrix])
    added = only_reader(result)
    bias = other_input(added, result) if added is not None and is_(added, "Add") else None
    numbers = numbers_of(bias)
    if added is None or bias is None or numbers is None or weight is None or added.graph is not product.graph:
        return False
    if numbers.shape != weight.shape[-1:] or numbers.dtype != "float32" or _has(product, place):
        return False
    product.resize_inputs(place + 1)
    product.replace_input_with(place, bias)
    total, graph = added.outputs[0], added.graph
    result.shape, result.type = total.shape, total.type
    name, total.name = total.name, None
    result.name = name
    ir.convenience.replace_all_uses_with(total, result, replace_graph_outputs=True)
    assert graph is not None
    graph.remove(added, safe=True)
    return True


def _has(node: ir.Node, place: int) -> bool:
    return len(node.inputs) > place and node.inputs[place] is not None
