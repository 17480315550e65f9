"""What an exported graph computes of shapes, computed from its inputs and once, or not at all. Imports no torch.

An exporter asks each tensor for its shape where it needs one: every block of a transformer then cuts its own pieces out
of its own tensors' shapes, and makes its own mask of them. But torch has noted for each tensor which of its dimensions
are those of an input. A list of dimensions that is put together from such ones is

- a constant, where all are known, or where a Reshape may copy the others from the place at which its input has them;
- else put together anew from the inputs' shapes, the same value for all that ask for the same list, so that what is
  computed from it becomes one too.

A state that grows may be empty: -1, which no empty tensor takes, is never put in for a dimension.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass, LiftConstantsToInitializersPass, RemoveUnusedNodesPass

from export.reading import is_, made_by, numbers_of

_LONGEST = 16  # dimensions in a list
Dim = int | str


@dataclass(frozen=True)
class _List:
    """Dimensions, and whether they are one number without an axis."""

    dims: tuple[Dim, ...]
    is_scalar: bool = False


def settle_shapes(network: ir.Model) -> None:
    """Edit a graph in place. What it says of its values' shapes must be right, with one letter for one size."""
    InlinePass()(network)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(network)
    graph = network.graph
    turn_last(graph)
    lists = _lists(graph)
    sources = _Sources(graph)
    for value, found in lists.items():
        for node, place in list(value.uses()):
            if node.outputs[0] in lists or node.graph is not graph:
                continue
            copied = _copying(node, place, found)
            known = sources.constant(copied) if copied is not None else sources.value(found)
            if known is not None:
                node.replace_input_with(place, known)
                if copied is not None:
                    node.attributes.pop("allowzero", None)
    RemoveUnusedNodesPass()(network)  # what is read no more must not keep rules from firing


def _lists(graph: ir.Graph) -> dict[ir.Value, _List]:
    """Each value that is a list of dimensions all of which are known, by number or by letter."""
    found: dict[ir.Value, _List] = {}
    for node in graph:
        known = _evaluated(node, found)
        if known is not None and len(known.dims) <= _LONGEST:
            found[node.outputs[0]] = known
    return found


def _evaluated(node: ir.Node, known: dict[ir.Value, _List]) -> _List | None:
    if node.domain not in ("", "ai.onnx") or not node.inputs or node.inputs[0] is None:
        return None
    if node.op_type == "Shape":
        dims = dims_of(node.inputs[0])
        start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(dims or ()))
        return None if dims is None else _List(dims[start:end])
    if node.op_type == "Concat":
        parts = [_known(value, known) for value in node.inputs]
        if any(part is None or part.is_scalar for part in parts) or not any(v in known for v in node.inputs):
            return None
        return _List(tuple(dim for part in parts if part is not None for dim in part.dims))
    read = known.get(node.inputs[0])
    rest = [numbers_of(value) for value in node.inputs[1:] if value is not None]
    if read is None or any(numbers is None for numbers in rest):
        return None
    return _picked(node, read, [numbers for numbers in rest if numbers is not None])


def _picked(node: ir.Node, read: _List, rest: list[np.ndarray]) -> _List | None:  # type: ignore[type-arg]
    """What is cut out of a list, or is the list itself in another rank."""
    if node.op_type == "Gather" and rest[0].ndim <= 1 and not read.is_scalar:
        return _List(tuple(read.dims[int(i)] for i in rest[0].ravel()), rest[0].ndim == 0)
    if node.op_type == "Slice" and not read.is_scalar and all(part.size == 1 for part in rest):
        start, end, *others = (int(part.ravel()[0]) for part in rest)
        return _List(read.dims[start : end : others[1] if len(others) > 1 else 1])
    if node.op_type == "Squeeze" and len(read.dims) == 1:
        return _List(read.dims, True)
    if node.op_type == "Unsqueeze" and read.is_scalar and rest and rest[0].size == 1:
        return _List(read.dims)
    if node.op_type == "Reshape" and len(read.dims) == 1 and rest[0].ravel().tolist() in ([-1], [1]):
        return _List(read.dims)
    if node.op_type == "Cast" and node.attributes.get_int("to") == ir.DataType.INT64:
        return read
    return read if node.op_type == "Identity" else None


def _known(value: ir.Value | None, known: dict[ir.Value, _List]) -> _List | None:
    if value is not None and value in known:
        return known[value]
    numbers = numbers_of(value)
    if numbers is None or numbers.dtype != np.int64 or numbers.ndim > 1 or numbers.size > _LONGEST:
        return None
    return _List(tuple(int(n) for n in numbers.ravel()), numbers.ndim == 0)


def dims_of(value: ir.Value | None) -> tuple[Dim, ...] | None:
    """The dimensions of a value; None where one of them has neither a number nor a letter."""
    if value is None or value.shape is None:
        return None
    dims = tuple(d if isinstance(d, int) else getattr(d, "value", None) for d in value.shape)
    return None if any(d is None for d in dims) else dims  # type: ignore[return-value]


def _copying(node: ir.Node, place: int, wanted: _List) -> tuple[int, ...] | None:
    """A list of numbers with which a Reshape gives the dimensions wanted, 0 where it copies one; None where none is."""
    has = dims_of(node.inputs[0])
    if not is_(node, "Reshape") or place != 1 or 0 in wanted.dims:
        return None
    places = (*(has or ()), *([None] * len(wanted.dims)))
    copied = [dim if isinstance(dim, int) else 0 if dim == places[i] else None for i, dim in enumerate(wanted.dims)]
    return None if None in copied else tuple(n for n in copied if n is not None)


class _Sources:
    """Lists of dimensions from the inputs' shapes, each made once, in front of all else."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._made: dict[object, ir.Value] = {}
        self._first = next(iter(graph), None)
        self._places: dict[Dim, tuple[ir.Value, int]] = {}
        for value in graph.inputs:
            for axis, dim in enumerate(dims_of(value) or ()):
                if isinstance(dim, str):
                    self._places.setdefault(dim, (value, axis))

    def value(self, wanted: _List) -> ir.Value | None:
        """The list, or its one number; None where no input has one of its letters."""
        if any(isinstance(dim, str) and dim not in self._places for dim in wanted.dims):
            return None
        if all(isinstance(dim, int) for dim in wanted.dims):
            return self.constant(wanted.dims, wanted.is_scalar)  # type: ignore[arg-type]
        parts = [self.constant((d,)) if isinstance(d, int) else self._dim(d) for d in wanted.dims]
        whole = parts[0] if len(parts) == 1 else self._node(("list", wanted.dims), "Concat", parts, {"axis": 0})
        return self._node(("scalar", wanted.dims), "Squeeze", [whole], {}) if wanted.is_scalar else whole

    def constant(self, numbers: tuple[int, ...], is_scalar: bool = False) -> ir.Value:
        """These very numbers."""
        tensor = ir.tensor(np.array(numbers[0] if is_scalar else numbers, np.int64))
        return self._node(("constant", numbers, is_scalar), "Constant", [], {"value": tensor})

    def _dim(self, letter: str) -> ir.Value:
        value, axis = self._places[letter]
        return self._node(("dim", letter), "Shape", [value], {"start": axis, "end": axis + 1})

    def _node(self, key: object, operator: str, inputs: list[ir.Value], attributes: dict[str, object]) -> ir.Value:
        if key not in self._made:
            made = ir.node(operator, inputs, attributes)  # type: ignore[arg-type]
            made.outputs[0].dtype = ir.DataType.INT64
            assert self._first is not None
            self._graph.insert_before(self._first, made)
            self._made[key] = made.outputs[0]
        return self._made[key]


def turn_last(graph: ir.Graph) -> int:
    """Turn the last two axes of a tensor at once, where the axes before them are made one for it; how often that was.

    As an exporter turns keys: Reshape to (n, a, b), Transpose to (n, b, a), Reshape to (..., b, a).
    """
    done = 0
    lists = _lists(graph)
    for node in list(graph):
        before = made_by(node.inputs[0], "Reshape") if is_(node, "Transpose") else None
        after = [user for user, _ in node.outputs[0].uses()]
        has = dims_of(before.inputs[0]) if before is not None else None
        if before is None or has is None or len(has) < 3 or len(after) != 1 or not is_(after[0], "Reshape"):
            continue
        *lead, a, b = has
        flat, full = (_known(reshape.inputs[1], lists) for reshape in (before, after[0]))
        if flat is None or full is None or list(node.attributes["perm"].as_ints()) != [0, 2, 1]:
            continue
        if flat.dims[1:] != (a, b) or flat.dims[0] != -1 or full.dims != (*lead, b, a):
            continue
        axes = [*range(len(lead)), len(lead) + 1, len(lead)]
        turned = ir.node("Transpose", [before.inputs[0]], {"perm": axes}, name=node.name)
        turned.metadata_props.update(node.metadata_props)
        graph.insert_before(node, turned)
        result = after[0].outputs[0]
        turned.outputs[0].shape, turned.outputs[0].type, turned.outputs[0].name = result.shape, result.type, result.name
        result.name = None
        ir.convenience.replace_all_uses_with(result, turned.outputs[0], replace_graph_outputs=True)
        graph.remove(after[0], safe=True)
        done += 1
    return done
