"""Weights in a traced program: whole parameters, or pieces of one, as an attention cuts its projection in three."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from export.layer_nodes import LayerCall
from export.lifted import attribute
from models.errors import LiftError

_CUTS = frozenset(
    getattr(torch.ops.aten, name)
    for name in "chunk split split_with_sizes slice select t transpose permute numpy_T detach alias".split()
)


@dataclass(frozen=True, eq=False)
class Source:
    """A tensor of the user's module, and how it was cut.

    Args:
        path: its name in the user's module.
        cuts: the operations applied to it, each with its further arguments.
        cells: which of its elements are left, by number, as an array of the piece's shape; None for all in place.
    """

    tensor: Tensor
    path: str
    cuts: tuple[tuple[Any, tuple[Any, ...]], ...] = ()
    cells: Tensor | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for the same piece of the same tensor."""
        return id(self.tensor), None if self.cells is None else (tuple(self.cells.shape), self.cells.numpy().tobytes())

    def cut(self, function: Any, arguments: tuple[Any, ...]) -> Source:
        """The same, cut once more."""
        return Source(self.tensor, self.path, (*self.cuts, (function, arguments)))

    def value(self, start: Tensor) -> Any:
        """What the cuts leave of a tensor."""
        for function, arguments in self.cuts:
            start = function(start, *arguments)
        return start

    def settled(self) -> Source:
        """With its cells counted, so that it can be told from other pieces."""
        whole = torch.arange(self.tensor.numel()).reshape(self.tensor.shape)
        left = self.value(whole)
        same = left.shape == whole.shape and torch.equal(left, whole)
        return Source(self.tensor, self.path, () if same else self.cuts, None if same else left.contiguous())


def sources(program: ExportedProgram, module: nn.Module) -> dict[fx.Node, Source]:
    """The placeholders for tensors of the module and constants of the program, and the pieces cut from them."""
    found: dict[fx.Node, Source] = {}
    placeholders = [n for n in program.graph.nodes if n.op == "placeholder"]
    for node, spec in zip(placeholders, program.graph_signature.input_specs, strict=True):
        if spec.kind is InputKind.USER_INPUT:
            continue
        if spec.kind not in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
            raise _no_tensor(node, str(spec.target or ""), program.constants.get(str(spec.target)))
        path = str(spec.target).removeprefix("module.")
        found[node] = _source(program, module, str(spec.target), path)
    for node in program.graph.nodes:
        if node.op == "call_function" and isinstance(node.args[0] if node.args else None, fx.Node):
            rest = node.args[1:]
            cut = getattr(node.target, "overloadpacket", node.target)
            known = cut in _CUTS or node.target is operator.getitem
            if known and node.args[0] in found and not node.kwargs and not any(_has_node(a) for a in rest):
                found[node] = found[node.args[0]].cut(node.target, rest)
    return found


def _no_tensor(node: fx.Node, path: str, value: object) -> LiftError:
    layer = path.removeprefix("module.").rpartition(".")[0]
    where, operation = f"layer '{layer}'" if layer else "the network", next(iter(node.users), node).name
    return LiftError(
        f"lift: {where} gives the operation '{operation}' an object that is no tensor, of the type "
        f"{type(value).__name__}. Compute what is made with it once, and keep the result as a buffer.",
        layer=layer,
        operation=operation,
    )


def _source(program: ExportedProgram, module: nn.Module, target: str, path: str) -> Source:
    try:
        value = attribute(module, path)
    except AttributeError:
        value = program.constants[target]
        for name, own in (*module.named_parameters(), *module.named_buffers()):
            if _same_memory(own, value):  # reached by another way than its name, such as a dict of parameters
                return Source(own, name)
    assert isinstance(value, Tensor)
    return Source(value, path)


def _same_memory(one: Tensor, other: Tensor) -> bool:
    places = one.untyped_storage().data_ptr(), other.untyped_storage().data_ptr()
    layouts = [(t.dtype, t.shape, t.stride(), t.storage_offset()) for t in (one, other)]
    return one.numel() > 0 and places[0] == places[1] and layouts[0] == layouts[1]


def _has_node(value: Any) -> bool:
    return isinstance(value, fx.Node) or (isinstance(value, (list, tuple)) and any(map(_has_node, value)))


def weights_of(call: LayerCall, known: Mapping[fx.Node, Source]) -> dict[str, Source] | None:
    """The layer's weights as sources; None where one is computed, or is no parameter where a layer has parameters."""
    found = {}
    for name, node in call.weights.items():
        if node not in known:
            return None
        source = known[node]
        if name == "weight" and call.transposed:
            source = source.cut(torch.ops.aten.t.default, ())
        statistic = name.startswith("running")
        if isinstance(source.tensor, nn.Parameter) == statistic:
            return None
        found[name] = source.settled() if source.cuts else source
    return found


def shared_pieces(weights: Iterable[dict[str, Source]], uses: Iterable[tuple[Source, bool]]) -> set[int]:
    """The tensors (by id) that cannot be cut up for good: their pieces overlap, or are used otherwise too.

    Args:
        weights: of every layer that would get pieces.
        uses: every use of a tensor or piece in the graphs, and whether it is as a layer's weight.
    """
    pieces: dict[int, dict[tuple[Any, ...], Source]] = {}
    for layer in weights:
        for source in layer.values():
            pieces.setdefault(id(source.tensor), {})[source.key] = source
    cut = {ident for ident, found in pieces.items() if any(s.cells is not None for s in found.values())}
    bad = {id(source.tensor) for source, as_weight in uses if not as_weight} & cut
    for ident in cut - bad:
        cells = [s.cells for s in pieces[ident].values()]
        if any(c is None for c in cells):
            bad.add(ident)
            continue
        together = torch.cat([c.flatten() for c in cells if c is not None])
        if int(together.bincount().max()) > 1:
            bad.add(ident)
    return bad
