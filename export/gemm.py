"""A product of two matrices and the bias behind it are one Gemm, whoever wrote them as two. Imports no torch.

Keras and others write a dense layer as MatMul and Add. ONNX Runtime makes a Gemm of the two when it loads a graph, and
does so before it looks for integer layers: pairs around the MatMul then stand around a Gemm whose bias has none, which
no integer kernel takes. A batch norm behind the two folds into a Gemm as well.
"""

from __future__ import annotations

import onnx_ir as ir

from export.reading import is_, numbers_of, only_reader, other_input


def merge_biases(network: ir.Model) -> int:
    """Put a Gemm in the place of each MatMul of matrices with its bias, in place; how many there were."""
    return sum(map(_merge, list(network.graph.all_nodes())))


def _merge(node: ir.Node) -> bool:
    """Where an Add alone reads a product by a constant matrix, and adds one constant per column, make them one."""
    if not is_(node, "MatMul") or _rank(node.inputs[0]) != 2:
        return False
    product, graph = node.outputs[0], node.graph
    add = only_reader(product)
    bias = other_input(add, product) if add is not None and is_(add, "Add") else None
    matrix, numbers = numbers_of(node.inputs[1]), numbers_of(bias)
    if graph is None or add is None or add.graph is not graph or matrix is None or numbers is None:
        return False
    if matrix.ndim != 2 or numbers.shape not in ((matrix.shape[1],), (1, matrix.shape[1])):
        return False
    gemm = ir.node("Gemm", [*node.inputs, bias], name=node.name)
    result, made = add.outputs[0], gemm.outputs[0]
    made.shape, made.type, made.name = result.shape, result.type, result.name
    ir.convenience.replace_nodes_and_values(graph, add, [add, node], [gemm], [result], [made])
    return True


def _rank(value: ir.Value | None) -> int:
    return -1 if value is None or value.shape is None else len(value.shape)
