"""GELU in the order of factors that ONNX Runtime fuses. Imports no torch.

With e = erf(x / sqrt 2) GELU is x (1 + e) / 2. Multiplication may be written in any order, and by 1 / sqrt 2 in place
of a division; the runtime (1.32) knows x / sqrt 2 alone, and (x (1 + e)) 0.5 or (x 0.5) (1 + e). torch's exporter
writes x (0.5 (1 + e)), five passes over the tensor for one.

With the tangent, x (1 + tanh z) / 2, there is no order that its processors' provider fuses. That is x sigmoid(2 z), and
z = x (a + b x^2), two passes fewer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx_ir as ir

from export.reading import Spelling, factor, is_, made_by, number, only_reader, other_input, polynomial

_NEAR = 1e-4  # people write 0.7071 and 1.4142


def spell_gelus(network: ir.Model) -> int:
    """Write, in place, each GELU as the runtime fuses it; how many were written another way."""
    changed = 0
    for node in list(network.graph.all_nodes()):
        if node.graph is not None and is_(node, "Erf"):
            changed += _spell(node)
        elif node.graph is not None and is_(node, "Tanh"):
            changed += _spell_tangent(node)
    return changed


def _spell(erf: ir.Node) -> bool:
    found = _argument(erf)
    x, divided = found if found is not None else (None, False)
    if x is None:
        return False
    product = _product(erf, x)
    if product is None or (divided and product.steps in _KNOWN):
        return False
    assert product.one.dtype is not None
    spelling = Spelling(product.last, product.one.dtype)
    e = spelling.write("Erf", spelling.write("Div", x, spelling.constant(math.sqrt(2))))
    gate = spelling.write("Mul", x, spelling.write("Add", e, spelling.constant(1.0)))
    spelling.done(spelling.write("Mul", gate, spelling.constant(0.5)))
    return True


_KNOWN = (("Add", "x", "number"), ("Add", "x 0.5"))


@dataclass(frozen=True)
class _Product:
    """A product that is GELU: its last node, one of its constants, and by what it went from erf on."""

    last: ir.Node
    one: ir.Value
    steps: tuple[str, ...]


def _argument(erf: ir.Node) -> tuple[ir.Value, bool] | None:
    """The x of erf(x / sqrt 2), and whether it is divided by a constant."""
    scaled = made_by(erf.inputs[0], "Div", "Mul")
    for x in scaled.inputs if scaled is not None else ():
        c = factor(scaled.outputs[0], x) if scaled is not None and x is not None else None
        if c is not None and x is not None and abs(c * math.sqrt(2) - 1) <= _NEAR:
            return x, scaled is not None and scaled.op_type == "Div"
    return None


def _spell_tangent(tangent: ir.Node) -> bool:
    for x in _candidates(tangent):
        z = polynomial(tangent.inputs[0], x)
        product = _product(tangent, x) if z is not None and len(z) == 4 and not z[0] and not z[2] else None
        if z is None or product is None or product.one.dtype is None:
            continue
        spelling = Spelling(product.last, product.one.dtype)
        square = spelling.write("Mul", spelling.write("Mul", x, x), spelling.constant(2 * z[3]))
        slope = spelling.write("Add", square, spelling.constant(2 * z[1]))
        gate = spelling.write("Sigmoid", spelling.write("Mul", x, slope))
        spelling.done(spelling.write("Mul", x, gate))
        return True
    return False


def _candidates(node: ir.Node) -> list[ir.Value]:
    """What the product behind a node may be of: its factors, and what they are multiples of."""
    found: list[ir.Value] = []
    value = node.outputs[0]
    for _ in range(3):
        reader = only_reader(value)
        other = other_input(reader, value) if reader is not None and is_(reader, "Add", "Mul", "Div") else None
        if reader is None or other is None:
            break
        multiple = made_by(other, "Mul", "Div")
        found += [v for v in (other, *(multiple.inputs if multiple else ())) if v is not None and number(v) is None]
        value = reader.outputs[0]
    return list(dict.fromkeys(found))


def _constant_in(multiple: ir.Value) -> ir.Value | None:
    node = multiple.producer()
    return next((v for v in node.inputs if number(v) is not None), None) if node is not None else None


def _product(erf: ir.Node, x: ir.Value) -> _Product | None:
    """Go from erf or tanh, e, on as long as it is x^k (p e + q) with k 0 or 1, until that is x (e + 1) / 2."""
    value, k, p, q = erf.outputs[0], 0, 1.0, 0.0
    one: ir.Value | None = None
    steps: list[str] = []
    while (reader := only_reader(value)) is not None and is_(reader, "Add", "Mul", "Div"):
        other = other_input(reader, value)
        c, of_x = number(other), factor(other, x)
        divides = reader.op_type == "Div"
        if other is None or (divides and (reader.inputs[0] is not value or not c)):
            return None
        if reader.op_type == "Add" and c is not None and k == 0:
            q, one = q + c, other
            steps.append("Add")
        elif reader.op_type == "Add" and of_x is not None and k == 1:
            q, one = q + of_x, one or _constant_in(other)
            steps.append("Add x")
        elif c is not None and reader.op_type != "Add":
            p, q, one = (p / c, q / c, other) if divides else (p * c, q * c, other)
            steps.append("number" if not divides else "divided")
        elif of_x is not None and k == 0 and reader.op_type == "Mul":
            k, p, q = 1, p * of_x, q * of_x
            steps.append("x" if other is x else f"x {of_x:g}" if made_by(other, "Mul") else "x divided")
        else:
            return None
        value = reader.outputs[0]
        if k == 1 and one is not None and abs(p - 0.5) <= _NEAR and abs(q - 0.5) <= _NEAR:
            return _Product(reader, one, tuple(steps))
    return None
