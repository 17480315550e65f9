"""A product of two matrices and the bias behind it are one Gemm, whoever wrote them as two. Imports no torch.

Keras and others write a dense layer as MatMul and Add. ONNX Runtime makes a Gemm of the two when it loads a graph, and
does so before it looks for integer layers: pairs around the MatMul then stand around a Gemm whose bias has none, which
no integer kernel takes. A batch norm behind the two folds into a Gemm as well.
"""

from __future__ import annotations

import onnx_ir as ir

_DOMAINS = ("", "ai.onnx")


def merge_biases(network: ir.Model) -> int:
    """Put a Gemm in the place of each MatMul of matrices with its bias, in place; how many there were."""
    merged = 0
    for node in list(network.graph.all_nodes()):
        add = _bias_behind(node)
        if add is not None:
            _merge(node, add)
            merged += 1
    return merged


def _bias_behind(node: ir.Node) -> ir.Node | None:
    """The Add that alone reads a product by a constant matrix, and adds one constant per column."""
    if node.op_type != "MatMul" or node.domain not in _DOMAINS or node.graph is None:
        return None
    weight, product = node.inputs[1], node.outputs[0]
    if weight is None or weight.const_value is None or _rank(weight) != 2 or _rank(node.inputs[0]) != 2:
        return None
    uses = list(product.uses())
    if len(uses) != 1 or product.is_graph_output():
        return None
    add = uses[0].node
    if add.op_type != "Add" or add.domain not in _DOMAINS or add.graph is not node.graph:
        return None
    bias, columns = add.inputs[1 - uses[0].idx], weight.const_value.shape[1]
    if bias is None or bias.const_value is None or tuple(bias.const_value.shape) not in ((columns,), (1, columns)):
        return None
    return add


def _rank(value: ir.Value | None) -> int:
    return -1 if value is None or value.shape is None else len(value.shape)


def _merge(node: ir.Node, add: ir.Node) -> None:
    result, graph = add.outputs[0], node.graph
    assert graph is not None
    bias = add.inputs[0] if add.inputs[1] is node.outputs[0] else add.inputs[1]
    gemm = ir.node("Gemm", [*node.inputs, bias], name=node.name)
    made = gemm.outputs[0]
    made.shape, made.type, made.name = result.shape, result.type, result.name
    ir.convenience.replace_nodes_and_values(graph, add, [add, node], [gemm], [result], [made])
