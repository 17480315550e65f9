"""Along which axis of each value the rows of a batch lie, read off a graph whose shapes are all numbers.

Rules for the operators that move an axis; of all others it is taken that they leave it where it is, counted from the
end where ranks differ. Whoever acts on it has to check what came of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import onnx_ir as ir

from export.reading import attribute, numbers_of

_RECURRENT = ("LSTM", "GRU", "RNN")


class Rows(NamedTuple):
    """The axis that holds the rows, and how many elements of that axis lie outside them, where two were joined."""

    axis: int
    outside: int = 1


Axes = dict[ir.Value, Rows]
Rule = Callable[[ir.Node, ir.Value, Rows, int], int | Rows | None]


def batch_axes(graph: ir.Graph) -> Axes:
    """Where the rows of each value are that has them; they lie first in every input."""
    axes: Axes = dict.fromkeys(graph.inputs, Rows(0))
    for node in graph:
        read = next((value for value in node.inputs if value is not None and value in axes), None)
        if read is None:
            continue
        rows = axes[read]
        for place, result in enumerate(node.outputs):
            found = _RULES.get(node.op_type, _stays)(node, read, rows, place)
            found = rows._replace(axis=found) if isinstance(found, int) else found
            if found is not None and result.shape is not None and 0 <= found.axis < len(result.shape):
                axes[result] = found
    return axes


def reshaped(before: Sequence[int], after: Sequence[int], rows: Rows) -> Rows | None:
    """Where rows are after a reshape: at the first place with as many elements before it; None where there is none.

    One row alone may have joined what lies before it as well as what lies behind. Behind it is never alone in the last
    axis, which mostly holds the features that a weight fixes.
    """
    axis, outside = rows
    wanted = math.prod(before[:axis]) * outside
    place = next((place for place in range(len(after)) if math.prod(after[:place]) == wanted), None)
    if place is not None and not (
        0 < place == len(after) - 1 and after[-1] == math.prod(before[axis + 1 :]) and before[axis] == outside
    ):
        return Rows(place)
    for place, dim in enumerate(after):
        prefix = math.prod(after[:place])
        if prefix < wanted <= prefix * dim:
            inside = wanted // prefix
            return Rows(place, inside) if inside * prefix == wanted and dim % inside == 0 else None
    return None


def _stays(node: ir.Node, value: ir.Value, rows: Rows, place: int) -> int | None:
    one, other = _rank(value), _rank(node.outputs[place])
    return None if one is None or other is None else rows.axis + other - one


def _transposed(node: ir.Node, value: ir.Value, rows: Rows, place: int) -> int | None:
    rank = _rank(value)
    order = list(attribute(node, "perm", list(range(rank or 0))[::-1]))
    return order.index(rows.axis) if rows.axis in order else None


def _reshape(node: ir.Node, value: ir.Value, rows: Rows, place: int) -> Rows | None:
    before, after = numbers(value), numbers(node.outputs[0])
    return None if before is None or after is None else reshaped(before, after, rows)


def _recurrent(node: ir.Node, value: ir.Value, rows: Rows, place: int) -> int | None:
    return 0 if attribute(node, "layout", 0) else 2 if place == 0 else 1


def _inserted(node: ir.Node, value: ir.Value, rows: Rows, place: int) -> int | None:
    rank = _rank(node.outputs[0])
    wanted = _axes_of(node)
    if rank is None or wanted is None:
        return None
    new = {axis % rank for axis in wanted}
    return [axis for axis in range(rank) if axis not in new][rows.axis]


def _removed(node: ir.Node, value: ir.Value, rows: Rows, place: int) -> int | None:
    rank, left = _rank(value), _rank(node.outputs[0])
    if rank is None or left is None:
        return None
    if rank == left:
        return rows.axis
    dims, wanted = numbers(value), _axes_of(node)
    gone = {axis % rank for axis in wanted} if wanted is not None else {i for i, d in enumerate(dims or ()) if d == 1}
    return None if rows.axis in gone else rows.axis - sum(axis < rows.axis for axis in gone)


def _gathered(node: ir.Node, value: ir.Value, rows: Rows, place: int) -> int | None:
    data, indices = node.inputs[0], node.inputs[1]
    along, rank = int(attribute(node, "axis", 0)), _rank(indices)
    if data is None or indices is None or rank is None:
        return None
    along %= max(1, _rank(data) or 1)
    if data is not value:  # the rows are those of the indices
        return along + rows.axis
    return None if rows.axis == along else rows.axis + (rank - 1 if along < rows.axis else 0)


_RULES: dict[str, Rule] = {
    "Transpose": _transposed,
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Unsqueeze": _inserted,
    "Squeeze": _removed,
    "Gather": _gathered,
    "Shape": lambda *_: None,
    "Size": lambda *_: None,
    **dict.fromkeys(_RECURRENT, _recurrent),
    **dict.fromkeys(
        "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSumExp ArgMax "
        "ArgMin".split(),
        _removed,
    ),
}


def numbers(value: ir.Value) -> list[int] | None:
    """The dimensions of a value where all are numbers, and none is 0."""
    dims = None if value.shape is None else list(value.shape)
    whole = [d for d in dims or () if isinstance(d, int) and d]
    return whole if dims is not None and len(whole) == len(dims) else None


def _rank(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


def _axes_of(node: ir.Node) -> list[int] | None:
    """Its axes, by attribute as in old opsets, or by input; None where it has none."""
    if (given := attribute(node, "axes", None)) is not None:
        return [int(axis) for axis in given]
    if node.op_type in ("ArgMax", "ArgMin"):
        return [int(attribute(node, "axis", 0))]
    found = numbers_of(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if found is None else [int(axis) for axis in found.reshape(-1)]
