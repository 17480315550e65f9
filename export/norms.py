"""Norms written out by simpler operators, in the spelling that ONNX Runtime fuses. Imports no torch.

With d = x - mean x, or d = x for a root-mean-square norm, a norm is d / sqrt(mean d^2 + eps) times a weight. The
runtime (1.32) knows that as Pow, ReduceMean, Add, Sqrt, Div, Mul, over the last axis; not the square as d * d, and not
the division as a product with a reciprocal, which is how torch writes rsqrt.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from export.known_shapes import inferred_shapes
from export.reading import Spelling, is_, is_number, made_by, number, numbers_of, only_reader, opset_of, other_input


@dataclass(frozen=True)
class _Norm:
    """d, the mean of its square, eps, and the node that gives the quotient."""

    d: ir.Value
    mean: ir.Node
    eps: ir.Value
    last: ir.Node
    known: bool


def spell_norms(network: ir.Model) -> int:
    """Write, in place, each weighted norm as the runtime fuses it; how many were written else."""
    changed = 0
    for node in list(network.graph.all_nodes()):
        norm = _norm(node) if node.graph is not None and is_(node, "Sqrt", "Pow") else None
        if norm is not None and not norm.known and _is_weighted(norm.last):
            _write(norm)
            changed += 1
    return changed


def _norm(root: ir.Node) -> _Norm | None:
    """What is normalized by a root."""
    found = _spread(root)
    if found is None:
        return None
    d, square, mean, eps = found
    inverse = only_reader(root.outputs[0])
    inverted = _inverts(inverse, root.outputs[0])
    last = only_reader(inverse.outputs[0]) if inverse is not None and inverted else inverse
    if last is None or not is_(last, "Mul" if inverted else "Div") or d not in last.inputs:
        return None
    if not inverted and last.inputs[0] is not d:
        return None
    known = square.op_type == "Pow" and root.op_type == "Sqrt" and not (inverted and is_(inverse, "Reciprocal"))
    return _Norm(d, mean, eps, last, known)


def _spread(root: ir.Node) -> tuple[ir.Value, ir.Node, ir.Node, ir.Value] | None:
    """The d, its square, the square's mean and the eps of sqrt(mean d^2 + eps)."""
    added = made_by(root.inputs[0], "Add") if is_(root, "Sqrt") or is_number(root.inputs[1], 0.5, 0.0) else None
    eps = next((v for v in added.inputs if number(v) is not None), None) if added is not None else None
    mean = made_by(other_input(added, eps), "ReduceMean") if added is not None and eps is not None else None
    if mean is None or eps is None or mean.attributes.get_int("keepdims") == 0:
        return None
    square = made_by(mean.inputs[0], "Pow", "Mul")
    d, two = square.inputs[:2] if square is not None else (None, None)
    if square is None or d is None:
        return None
    is_square = is_number(two, 2.0, 0.0) if square.op_type == "Pow" else two is d
    return (d, square, mean, eps) if is_square else None


def _inverts(node: ir.Node | None, root: ir.Value) -> bool:
    """Whether a node gives one over the root."""
    return is_(node, "Reciprocal") or (
        node is not None and is_(node, "Div") and node.inputs[1] is root and is_number(node.inputs[0], 1.0, 0.0)
    )


def _is_weighted(last: ir.Node) -> bool:
    """Whether a constant vector is the next factor, without which the runtime fuses nothing."""
    weighted = only_reader(last.outputs[0])
    other = other_input(weighted, last.outputs[0]) if weighted is not None and is_(weighted, "Mul") else None
    weight = numbers_of(other)
    return weight is not None and weight.ndim == 1


def _write(norm: _Norm) -> None:
    assert norm.eps.dtype is not None
    spelling = Spelling(norm.last, norm.eps.dtype)
    power = spelling.write("Pow", norm.d, spelling.constant(2.0))
    mean = spelling.write("ReduceMean", power, *norm.mean.inputs[1:], attributes=dict(norm.mean.attributes))
    root = spelling.write("Sqrt", spelling.write("Add", mean, norm.eps))
    spelling.done(spelling.write("Div", norm.d, root))


_HAS_OPERATOR = 17  # the first opset with LayerNormalization


def norms_as_operators(network: ir.Model) -> int:
    """Write, in place, each norm over the last axis with weight and bias as LayerNormalization; how many there were.

    Behind a Cast to or from half the runtime makes one node of those that are written out, with numbers of two types.
    """
    if opset_of(network) < _HAS_OPERATOR:
        return 0
    changed = 0
    with inferred_shapes(network):
        for node in list(network.graph.all_nodes()):
            norm = _norm(node) if node.graph is not None and is_(node, "Sqrt", "Pow") else None
            changed += norm is not None and _write_operator(norm)
    if changed:
        RemoveUnusedNodesPass()(network)
    return changed


def _write_operator(norm: _Norm) -> bool:
    x, eps, axes = _centred(norm.d), number(norm.eps), _axes(norm.mean)
    weighted, weight = _applied(norm.last.outputs[0], "Mul")
    added, bias = _applied(weighted.outputs[0], "Add") if weighted is not None else (None, None)
    if x is None or added is None or eps is None or axes != [-1]:
        return False
    spelling = Spelling(added, norm.eps.dtype or ir.DataType.FLOAT)
    attributes = {"axis": -1, "epsilon": eps}
    spelling.done(spelling.write("LayerNormalization", x, weight, bias, attributes=attributes))
    return True


def _centred(d: ir.Value) -> ir.Value | None:
    """The x of d = x - mean x over the last axis."""
    away = made_by(d, "Sub")
    x, mean = away.inputs[:2] if away is not None else (None, None)
    middle = made_by(mean, "ReduceMean")
    fits = middle is not None and middle.inputs[0] is x and middle.attributes.get_int("keepdims") != 0
    return x if fits and middle is not None and _axes(middle) == [-1] else None


def _axes(mean: ir.Node) -> list[int] | None:
    """Those that a mean is taken over, the last one being -1; None of what is not known."""
    given = mean.attributes.get_ints("axes") or numbers_of(mean.inputs[1] if len(mean.inputs) > 1 else None)
    shape = mean.inputs[0].shape if mean.inputs[0] is not None else None
    if given is None:
        return None
    return [-1 if shape is not None and axis == len(shape) - 1 else int(axis) for axis in given]


def _applied(value: ir.Value, operator: str) -> tuple[ir.Node | None, ir.Value | None]:
    """The node that alone reads a value and joins it with a constant vector, and that vector."""
    node = only_reader(value)
    other = other_input(node, value) if node is not None and is_(node, operator) else None
    vector = numbers_of(other)
    return (node, other) if vector is not None and vector.ndim == 1 else (None, None)
