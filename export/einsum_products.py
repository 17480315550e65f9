"""An Einsum with a constant matrix is a MatMul, which has integer kernels and takes a bias. Imports no torch.

Keras writes its dense layers over several axes so: of an attention `abc,cde->abde` in, `abcd,cde->abe` out. Others
want the heads in front, `btd,hde->bhte` in and `bhte,hed->btd` out: the same between transposes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from export.constants import stored
from export.einsum import operands_and_result
from export.reading import is_, numbers_of


def einsums_as_products(network: ir.Model) -> int:
    """Put a MatMul, with reshapes where several axes count as one, in the place of each such Einsum; how many."""
    return sum(map(_replace, list(network.graph.all_nodes())))


def _replace(node: ir.Node) -> bool:
    if not is_(node, "Einsum") or len(node.inputs) != 2 or node.graph is None:
        return False
    x, weight = node.inputs
    matrix = numbers_of(weight)
    if x is None or weight is None or x.shape is None or matrix is None or matrix.dtype.kind != "f":
        return False
    (data, held), result = operands_and_result(node.attributes["equation"].as_string(), [len(x.shape), matrix.ndim])
    summed = [index for index in data if index not in result]
    new = [index for index in result if index not in data]
    kept = [index for index in data if index in result]
    if not (kept and summed and new and sorted(held) == sorted(summed + new)) or len({*data, *new}) < len(data + new):
        return False
    order = [held.index(index) for index in summed + new]
    sizes = [matrix.shape[place] for place in order]
    flat = np.ascontiguousarray(matrix.transpose(order)).reshape(int(np.prod(sizes[: len(summed)])), -1)
    made = _turned(x, [data.index(index) for index in kept + summed])
    x = made[-1].outputs[0] if made else x
    made += _product(node, x, _weight(node, weight, flat), len(kept), len(summed), sizes[len(summed) :])
    made += _turned(made[-1].outputs[0], [(kept + new).index(index) for index in result])
    made[-1].outputs[0].shape, made[-1].outputs[0].type = node.outputs[0].shape, node.outputs[0].type
    name, node.outputs[0].name = node.outputs[0].name, None
    made[-1].outputs[0].name = name
    ir.convenience.replace_nodes_and_values(node.graph, node, [node], made, node.outputs, made[-1].outputs)
    return True


def _turned(value: ir.Value, order: list[int]) -> list[ir.Node]:
    """A Transpose, where the order is another."""
    return [ir.node("Transpose", [value], {"perm": order})] if order != sorted(order) else []


def _product(node: ir.Node, x: ir.Value, weight: ir.Value, kept: int, summed: int, new: Sequence[int]) -> list[ir.Node]:
    """MatMul between reshapes; a 0 in a shape keeps the dimension that is there."""
    made: list[ir.Node] = []
    if summed > 1:
        made.append(ir.node("Reshape", [x, _shape(node, "joined", [*[0] * kept, -1])]))
        x = made[-1].outputs[0]
    made.append(ir.node("MatMul", [x, weight], name=node.name, metadata_props=dict(node.metadata_props)))
    if len(new) > 1:
        made.append(ir.node("Reshape", [made[-1].outputs[0], _shape(node, "parted", [*[0] * kept, *new])]))
    return made


def _weight(node: ir.Node, weight: ir.Value, flat: np.ndarray) -> ir.Value:  # type: ignore[type-arg]
    """The matrix under the weight's name, where nobody else reads it."""
    name = weight.name or f"{node.name}.weight"
    if len(weight.uses()) == 1 and weight.is_initializer():
        weight.name = f"{name}.stored"
    else:
        name = f"{name}.matrix"
    return stored(node.graph, name, flat)


def _shape(node: ir.Node, what: str, dims: Sequence[int]) -> ir.Value:
    return stored(node.graph, f"{node.outputs[0].name}_{what}", np.asarray(dims, np.int64))
