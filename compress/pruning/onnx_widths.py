"""One network as an ONNX graph at any widths, from two or three exports: which of its numbers follow from the widths.

An export takes seconds, a latency table needs dozens of networks. So the network is exported whole and cut at random,
the numbers in the files (shapes of weights, sizes, attributes) are held side by side, and each that differs is found
among the sizes that the analysis knows. Narrower files are then made without torch, from the corners of the weights:
for time and bytes it is all the same which numbers they hold. Where two files differ in more than numbers, every
network is exported.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from export.lifted import MAIN
from export.to_onnx import export_form
from models.records import Model, sizes_of

from .axes import Axis
from .cut import cut
from .polynomial import Polynomial, Terms, size_in
from .ties import Ties
from .units import Group, analyse, groups_of
from .widths import Width, counts_of, numbers_of

Place = tuple[Any, ...]
Seen = tuple[int, ...]  # one number in each export
_MOST_EXPORTS = 3  # beside the whole network; two groups of four units are told apart by one, twenty by three
_REPEATS = 16  # how often a size may be stacked: gates and directions in one tensor
_FEW = 64  # numbers in a tensor that says sizes


def cut_to(model: Model, skip: Sequence[str], found: Sequence[Group], counts: Mapping[Axis, int]) -> Model:
    """A copy with the first units of each group alone; `found` and `counts` are of an analysis of the model itself."""
    copied = replace(model, network=copy.deepcopy(model.network))
    ties = analyse(copied, skip=skip)
    pairs = zip(found, groups_of(ties), strict=True)
    keep = {mine.axis: np.arange(mine.size) < counts[known.axis] for known, mine in pairs if known.axis in counts}
    return cut(copied, ties, keep)


def exported(model: Model) -> Model:
    """The main form as ONNX; not compared with torch, for nobody will use what it computes."""
    network: Any = model.network
    graph = export_form(network.form(MAIN), model.inputs, model.outputs, sizes_of(model))
    return Model(graph, model.inputs, model.outputs, typical=model.typical, name=model.name)


@dataclass(frozen=True)
class _Template:
    """The whole network's file, and how its numbers follow from the widths."""

    whole: Model
    rules: Mapping[Place, tuple[tuple[int, Polynomial], ...]]  # place -> (which of its numbers, how it follows)


class AtWidths:
    """Gives the main form of a network as ONNX with so many units of each width; to be timed and weighed, not used.

    Args:
        model: lifted; it is left as it is.
        skip: as for the analysis.
        ties: its analysis.
        found: the groups of the analysis.
        widths: what can be chosen.
    """

    def __init__(
        self, model: Model, skip: Sequence[str], ties: Ties, found: Sequence[Group], widths: Sequence[Width]
    ) -> None:
        self._cut: Callable[[Sequence[int]], Model] = lambda chosen: cut_to(
            model, skip, found, counts_of(widths, chosen)
        )
        self.full = tuple(width.size for width in widths)
        self.exports = 0
        self._known: dict[tuple[int, ...], Model] = {}
        self._ties, self._widths = ties, widths

    def __call__(self, chosen: Sequence[int]) -> Model:
        """With as many units of each width."""
        chosen = tuple(chosen)
        if chosen == self.full or self._template is None:
            return self.export(chosen)
        return _at(self._template, chosen)

    @functools.cached_property
    def _template(self) -> _Template | None:
        tried, sizes = _telling(self._ties, self._widths)
        return _template([self.export(chosen) for chosen in (self.full, *tried)], sizes) if sizes else None

    def export(self, chosen: Sequence[int]) -> Model:
        """Cut and exported in earnest, once."""
        chosen = tuple(chosen)
        if chosen not in self._known:
            self.exports += 1
            self._known[chosen] = exported(self._cut(chosen))
        return self._known[chosen]


def _telling(ties: Ties, widths: Sequence[Width]) -> tuple[list[tuple[int, ...]], dict[Seen, Polynomial]]:
    """Widths to cut to, so that all sizes in the network can be told from each other; no sizes where they cannot."""
    known = {frozenset(terms.items()): terms for terms in _sizes(ties, numbers_of(widths))}
    full, rng = [width.size for width in widths], np.random.default_rng(0)
    for count in range(1, _MOST_EXPORTS + 1):
        for _ in range(20):
            tried = [tuple(int(rng.integers(min(2, n // 2), n)) for n in full) for _ in range(count)]
            sizes: dict[Seen, Polynomial] = {}
            for terms in known.values():
                polynomial = Polynomial.of(terms)
                sizes[tuple(int(n) for n in polynomial([full, *tried]))] = polynomial
            if len(sizes) == len(known):
                return tried, sizes
    return [], {}


def _sizes(ties: Ties, numbers: Mapping[Axis, int]) -> Iterator[Terms]:
    """All sizes that follow from the widths: those of weights and of values."""
    for number in set(numbers.values()):
        yield {(number,): 1.0}
    for dims in (*(tied.dims for tied in ties.tensors.values()), *_tuples(ties.dims.values())):
        for dim in dims:
            terms = size_in(dim, numbers)
            if any(terms):  # it holds a width, and not a number alone
                yield terms


def _tuples(values: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    for value in values:
        if isinstance(value, tuple):
            yield value
        elif isinstance(value, list):
            yield from _tuples(value)


def _template(exports: Sequence[Model], sizes: Mapping[Seen, Polynomial]) -> _Template | None:
    files = [dict(_numbers(model.onnx)) for model in exports]
    if any(_skeleton(model.onnx) != _skeleton(exports[0].onnx) for model in exports[1:]):
        return None
    if any(file.keys() != files[0].keys() for file in files[1:]):
        return None
    rules: dict[Place, tuple[tuple[int, Polynomial], ...]] = {}
    for place in files[0]:
        seen = [file[place] for file in files]
        if len({len(numbers) for numbers in seen}) > 1:
            return None
        varying = [(i, v) for i, v in enumerate(zip(*seen, strict=True)) if len(set(v)) > 1]
        follow = [(i, _rule(v, sizes)) for i, v in varying]
        if any(rule is None for _, rule in follow):
            return None
        if follow:
            rules[place] = tuple((i, rule) for i, rule in follow if rule is not None)
    return _Template(exports[0], rules)


def _rule(seen: Seen, sizes: Mapping[Seen, Polynomial]) -> Polynomial | None:
    for times in range(1, _REPEATS + 1):
        part = tuple(n // times for n in seen)
        if part in sizes and all(n % times == 0 for n in seen):
            known = sizes[part]
            return Polynomial(known.coefficients * times, known.factors)
    return None


def _numbers(network: ir.Model) -> Iterator[tuple[Place, Seen]]:
    """Every whole number in a graph that may follow from a width, by its place."""
    for number, graph in enumerate(network.graphs()):
        for name, value in graph.initializers.items():
            tensor = value.const_value
            assert tensor is not None
            yield ("shape", number, name), tuple(tensor.numpy().shape)
            if _says_sizes(tensor):
                yield ("values", number, name), tuple(map(int, tensor.numpy().ravel()))
        for position, node in enumerate(graph):
            for name, attribute in node.attributes.items():
                if attribute.type in (ir.AttributeType.INT, ir.AttributeType.INTS):
                    value = attribute.value
                    yield (
                        ("attribute", number, position, name),
                        tuple(value) if attribute.type == ir.AttributeType.INTS else (value,),
                    )
    for kind, values in (("inputs", network.graph.inputs), ("outputs", network.graph.outputs)):
        for position, value in enumerate(values):
            dims = value.shape or ()
            yield (kind, position), tuple(d if isinstance(d, int) else -1 for d in dims)


def _says_sizes(tensor: Any) -> bool:
    return tensor.dtype in (ir.DataType.INT64, ir.DataType.INT32) and tensor.size <= _FEW


def _skeleton(network: ir.Model) -> list[Any]:
    """What must be the same in two files: which node does what with which others, and all that is no number."""
    found: list[Any] = []
    for graph in network.graphs():
        for node in graph:
            others = {
                name: str(a.value)
                for name, a in node.attributes.items()
                if a.type in (ir.AttributeType.FLOAT, ir.AttributeType.STRING, ir.AttributeType.STRINGS)
            }
            found.append((node.domain, node.op_type, [v and v.name for v in node.inputs], others))
            if any(a.type == ir.AttributeType.TENSOR and a.value.size > 1 for a in node.attributes.values()):
                found.append(object())  # a constant inside a node: like no other
    return found


def _at(template: _Template, chosen: Sequence[int]) -> Model:
    network = template.whole.onnx.clone()
    graphs = list(network.graphs())
    for graph in graphs:
        for node in graph:
            for value in node.outputs:
                if not value.is_graph_output():
                    value.shape = None
    inputs, outputs = list(template.whole.inputs), list(template.whole.outputs)
    for place, rules in sorted(template.rules.items(), key=lambda pair: pair[0][0] == "values"):  # shapes come first
        now = {position: int(rule(chosen)) for position, rule in rules}
        kind, number, *rest = place
        if kind == "attribute":
            _set_attribute(graphs[number][rest[0]], rest[1], now)
        elif kind in ("shape", "values"):
            _set_tensor(graphs[number].initializers[rest[0]], kind, now)
        else:
            value = (network.graph.inputs if kind == "inputs" else network.graph.outputs)[number]
            value.shape = ir.Shape([now.get(i, d) for i, d in enumerate(value.shape or ())])
            specs: list[Any] = inputs if kind == "inputs" else outputs
            dims = tuple(now.get(i, d) for i, d in enumerate(specs[number].dims))
            specs[number] = replace(specs[number], dims=dims)
    return replace(template.whole, network=network, inputs=tuple(inputs), outputs=tuple(outputs))


def _set_attribute(node: ir.Node, name: str, now: Mapping[int, int]) -> None:
    old = node.attributes[name]
    if old.type == ir.AttributeType.INTS:
        node.attributes[name] = ir.AttrInt64s(name, [now.get(i, n) for i, n in enumerate(old.as_ints())])
    else:
        node.attributes[name] = ir.AttrInt64(name, now[0])


def _set_tensor(value: ir.Value, kind: str, now: Mapping[int, int]) -> None:
    assert value.const_value is not None
    array = value.const_value.numpy()
    if kind == "shape":
        array = array[tuple(slice(now.get(i, n)) for i, n in enumerate(array.shape))]
    else:
        array = array.copy()
        for position, number in now.items():
            array.flat[position] = number
    value.const_value = ir.tensor(np.ascontiguousarray(array), name=value.name)
    value.shape = ir.Shape(array.shape)
