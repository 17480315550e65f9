"""What a graph says of itself: its opset, what a node reads, numbers, factors, who alone reads it. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from export.naming import layer_of

_Array = np.ndarray[Any, Any]


def opset_of(network: ir.Model) -> int:
    """Version of the standard operators in a graph; 1 where it uses none."""
    return network.opset_imports.get("", network.opset_imports.get("ai.onnx", 1))


def is_(node: ir.Node | None, *operators: str) -> bool:
    """Whether it is one of these standard operators."""
    return node is not None and node.domain in ("", "ai.onnx") and node.op_type in operators


def attribute(node: ir.Node, name: str, default: Any) -> Any:
    """The value of an attribute, or the default where it is absent."""
    found = node.attributes.get(name)
    return default if found is None else found.value


def made_by(value: ir.Value | None, *operators: str) -> ir.Node | None:
    """The node that makes a value, where it is one of these."""
    node = value.producer() if value is not None else None
    return node if is_(node, *operators) else None


def numbers_of(value: ir.Value | None) -> _Array | None:
    """The numbers of a constant."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def number(value: ir.Value | None) -> float | None:
    """The number that a constant is; one of a higher rank would give what it meets that rank, and is none here."""
    if value is None or value.const_value is None or value.const_value.size != 1 or len(value.const_value.shape) > 1:
        return None
    found = numbers_of(value)
    return None if found is None or found.dtype.kind not in "fiu" else float(found.reshape(()))


def is_number(value: ir.Value | None, wanted: float, tolerance: float = 1e-4) -> bool:
    """Whether a constant is this number, as far as people write it out."""
    found = number(value)
    return found is not None and abs(found - wanted) <= tolerance * max(abs(wanted), 1e-30)


def other_input(node: ir.Node, value: ir.Value) -> ir.Value | None:
    """What a node of two inputs reads besides a value; None where that is the value again."""
    one, two = node.inputs[:2]
    return two if one is value and two is not value else one if two is value and one is not value else None


def only_reader(value: ir.Value) -> ir.Node | None:
    """The one node that reads a value, by one of its inputs; None where there are others, or the graph gives it."""
    uses = value.uses()
    return None if len(uses) != 1 or value.is_graph_output() else next(iter(uses)).node


def factor(value: ir.Value | None, x: ir.Value) -> float | None:
    """The number c where a value is c times x, x itself included."""
    if value is x:
        return 1.0
    node = made_by(value, "Mul", "Div")
    other = other_input(node, x) if node is not None else None
    c = number(other)
    if node is None or c is None or (node.op_type == "Div" and (node.inputs[0] is not x or c == 0)):
        return None
    return c if node.op_type == "Mul" else 1 / c


def polynomial(value: ir.Value | None, x: ir.Value, *, depth: int = 8) -> list[float] | None:
    """Coefficients of a polynomial in x, of x^0 first, up to the third power; None where a value is none.

    Args:
        value: what to read.
        x: stays as it is, whatever made it.
        depth: how many nodes to go back at most.
    """
    if value is x:
        return [0.0, 1.0]
    if (c := number(value)) is not None:
        return [c]
    node = made_by(value, "Add", "Mul", "Div", "Pow")
    if node is None or depth == 0:
        return None
    one, two = (polynomial(v, x, depth=depth - 1) for v in node.inputs[:2])
    if one is None or two is None:
        return None
    if node.op_type == "Add":
        made = np.polynomial.polynomial.polyadd(one, two)
    elif node.op_type == "Mul":
        made = np.polynomial.polynomial.polymul(one, two)
    elif len(two) != 1 or (node.op_type == "Div" and not two[0]):
        return None
    elif node.op_type == "Div":
        made = np.asarray(one) / two[0]
    else:
        made = np.polynomial.polynomial.polypow(one, int(two[0])) if two[0] in (2, 3) else np.zeros(5)
    return [float(c) for c in made] if len(made) <= 4 else None


class Spelling:
    """Writes in front of a node what shall stand for it, and puts that into its place.

    Args:
        node: the last one of what is replaced; its output keeps its name, what made the others goes where nobody reads.
        dtype: of the constants.
    """

    def __init__(self, node: ir.Node, dtype: ir.DataType) -> None:
        self.node = node
        self._dtype = dtype

    def constant(self, what: float | _Array) -> ir.Value:
        """A constant of the type."""
        numbers = np.asarray(what, self._dtype.numpy())
        return self._insert(ir.node("Constant", [], {"value": ir.tensor(numbers)}))

    def write(self, operator: str, *inputs: ir.Value | None, attributes: Mapping[str, Any] | None = None) -> ir.Value:
        """A node of one output."""
        return self._insert(ir.node(operator, list(inputs), attributes))

    def _insert(self, made: ir.Node) -> ir.Value:
        assert self.node.graph is not None
        made.name = f"{layer_of(self.node)}/{made.op_type}"
        made.metadata_props.update(self.node.metadata_props)
        self.node.graph.insert_before(self.node, made)
        if made.op_type == "Constant":
            made.outputs[0].const_value = tensor = made.attributes["value"].as_tensor()
            made.outputs[0].shape, made.outputs[0].dtype = ir.Shape(tensor.numpy().shape), self._dtype
        return made.outputs[0]

    def done(self, result: ir.Value) -> None:
        """Let the result stand for the node."""
        old, maker = self.node.outputs[0], result.producer()
        assert maker is not None and self.node.graph is not None
        result.shape, result.type = old.shape, old.type
        maker.name = self.node.name
        name = old.name
        old.name = None
        result.name = name
        ir.convenience.replace_all_uses_with(old, result, replace_graph_outputs=True)
        self.node.graph.remove(self.node, safe=True)
