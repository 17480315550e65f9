"""Writes a traced program down as the graph of a `Lifted`: layers are called as modules, the rest as operations."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx.node import map_arg

from export.attention_ranks import has_other_ranks, in_four
from export.example_filters import as_product, has_filters_of_each
from export.operations import name_of
from export.placement import Placement, clear, layer_name
from models.errors import LiftError
from models.records import InputSpec

_ATEN = torch.ops.aten
# hold a traced program together, compute nothing
_CHECKS = frozenset(
    "_assert_tensor_metadata _assert_scalar _assert_async sym_constrain_range sym_constrain_range_for_size".split()
)
_SAME = frozenset(
    (_ATEN.lift_fresh_copy.default, _ATEN.lift_fresh.default, _ATEN.lift.default, _ATEN.alias.default)
).union((_ATEN.clone.default, _ATEN.contiguous.default))
_RESHAPES = frozenset((_ATEN.view.default, _ATEN._unsafe_view.default, _ATEN.reshape.default))
_TO_TYPE = frozenset((_ATEN.to.dtype, _ATEN.to.dtype_layout, _ATEN.to.device, _ATEN._to_copy.default))
_PYTHONS = {  # Python's operators under their other names
    getattr(getattr(_ATEN, f"__{name}__"), kind): getattr(getattr(_ATEN, f"bitwise_{name}"), kind)
    for name in ("and", "or", "xor")
    for kind in ("Tensor", "Scalar")
}
_PLACING = ("device", "layout", "pin_memory", "requires_grad")
_END = 2**63 - 1
_RANDOM = ("rand", "bernoulli", "multinomial", "normal")


def without_checks(program: ExportedProgram) -> None:
    """Take out, in place, the assertions that tracing left behind, and what was computed for them alone."""
    graph = program.graph
    for node in reversed(graph.nodes):
        target = node.target
        if isinstance(target, torch._ops.OpOverload) and target._schema.name.removeprefix("aten::") in _CHECKS:
            graph.erase_node(node)
    drop_unused(graph)


def drop_unused(graph: fx.Graph) -> None:
    """Erase, in place, what no output needs; placeholders stay."""
    for node in reversed(graph.nodes):
        if not node.users and node.op not in ("placeholder", "output"):
            graph.erase_node(node)


def is_known(node: fx.Node) -> bool:
    """Whether an operation can be written down as it is, or falls away."""
    ours = isinstance(node.target, torch._ops.OpOverload) and node.target.namespace == "compress"
    return ours or _same(node) is not None or name_of(_plain(node)[0]) is not None


class Emitter:
    """One program becomes one graph.

    Attributes:
        tensors: name in the lifted network -> tensor, for what is used as a tensor and is no layer's own.
    """

    def __init__(self, program: ExportedProgram, placement: Placement, inputs: Sequence[InputSpec]) -> None:
        self.program, self.placement, self.inputs = program, placement, inputs
        self.graph = fx.Graph()
        self.values: dict[fx.Node, Any] = {}
        self.tensors: dict[str, torch.Tensor] = {}
        self._read: dict[str, fx.Node] = {}

    def graph_of(self) -> fx.Graph:
        """The finished graph, each node with the user's layer it came from in meta["layer"].

        Raises:
            LiftError: an operation is not among those that passes know.
        """
        signature = self.program.graph_signature
        kinds = [spec.kind for spec in signature.input_specs]
        given = iter(self.inputs)
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                if kinds.pop(0) is InputKind.USER_INPUT:
                    spec = next(given)
                    self.values[node] = self._node("placeholder", spec.name, name=spec.name)
            elif node.op == "output":
                pairs = zip(node.args[0], signature.output_specs, strict=True)
                outputs = tuple(n for n, spec in pairs if spec.kind is OutputKind.USER_OUTPUT)
                self.graph.output(self._mapped(outputs))
            elif node.op == "call_function":
                self.values[node] = self._call(node)
        drop_unused(self.graph)
        return self.graph

    def _node(self, op: str, target: Any, args: Any = (), kwargs: Any = None, *, name: str, layer: str = "") -> fx.Node:
        node = self.graph.create_node(op, target, args, kwargs or {}, name=name)
        node.meta["layer"] = layer
        return node

    def _made(self, of: fx.Node, target: Any, args: tuple[Any, ...]) -> fx.Node:
        """One of the operations that take a node's place."""
        return self._node("call_function", target, args, name=of.name, layer=layer_name(of))

    def _mapped(self, args: Any) -> Any:
        return map_arg(args, self._use)

    def _use(self, node: fx.Node) -> Any:
        """A node's value in the new graph; a tensor of the network's is read when it is first used."""
        if node in self.values or node not in self.placement.known or node.op != "placeholder":
            return self.values[node]
        source = self.placement.known[node]
        path = self.placement.homes.get(id(source.tensor))
        if path is None:
            path = clear(source.path)
            self.tensors[path] = source.tensor
            self.placement.homes[id(source.tensor)] = path
        if path not in self._read:
            self._read[path] = self._node("get_attr", path, name=path.replace(".", "_"))
        return self._read[path]

    def _call(self, node: fx.Node) -> Any:
        if node in self.placement.paths:
            return self._layer(node)
        same = _same(node)
        if same is not None:
            return self._use(same)
        if node.target is operator.getitem and node.args[0] in self.placement.paths:
            of: Any = node.args[0]
            if of.target is torch.ops.compress.recurrent.default:
                return self._state(node)
            if self.placement.calls[of].first:
                return self.values[of] if node.args[1] == 0 else None
        if self._is_unused(node):
            return None
        if has_filters_of_each(node):
            return as_product(node, self._use, partial(self._made, node))
        if has_other_ranks(node):
            return in_four(node, self._use, partial(self._made, node))
        target, args, kwargs = _plain(node)
        if name_of(target) is None:
            raise _unknown(node, constant=all(n in self.placement.known for n in node.all_input_nodes))
        return self._node(
            "call_function", target, self._mapped(args), self._mapped(kwargs), name=node.name, layer=layer_name(node)
        )

    def _is_unused(self, node: fx.Node) -> bool:
        """Whether a piece of a weight is needed only by layers that have it as their own by now."""
        if node not in self.placement.known:
            return False
        return all(
            self._as_weight(node, user) or (user in self.placement.known and self._is_unused(user))
            for user in node.users
        )

    def _as_weight(self, node: fx.Node, layer: fx.Node) -> bool:
        """Whether a placed layer takes a node as its weight, not as what it is applied to (a buffer of positions)."""
        call = self.placement.calls.get(layer)
        return layer in self.placement.paths and call is not None and node not in _nodes(call.arguments)

    def _layer(self, node: fx.Node) -> fx.Node:
        path = self.placement.paths[node]
        if node in self.placement.calls:
            args = self._mapped(self.placement.calls[node].arguments)
        else:  # the recurrent leaf: x, its states, its name, ...
            given: Any = node.args
            x, state = self._use(given[0]), self._mapped(tuple(given[1]))
            args = (x, *((state if given[3] == 2 else state[0],) if state else ()))
        return self._node("call_module", path, args, name=path.replace(".", "_"), layer=layer_name(node))

    def _state(self, node: fx.Node) -> fx.Node:
        """Element i of the recurrent leaf's list (sequence, h, c) from what nn.LSTM and nn.GRU give."""
        leaf, i = cast(tuple[fx.Node, int], node.args)
        got, layer = self.values[leaf], layer_name(leaf)
        if i and leaf.args[3] == 2:
            got = self._node("call_function", operator.getitem, (got, 1), name=f"{got.name}_states", layer=layer)
            i -= 1
        return self._node("call_function", operator.getitem, (got, i), name=node.name, layer=layer)


def _nodes(arguments: tuple[Any, ...]) -> list[fx.Node]:
    found: list[fx.Node] = []
    map_arg(arguments, found.append)
    return found


def _same(node: fx.Node) -> Any:
    """The node that an operation hands on as it is, layout in memory aside; None where it does something."""
    target, args = node.target, cast(tuple[Any, ...], node.args)
    if target in _SAME:
        return args[0]
    if target in (_ATEN.detach.default, _ATEN.detach_.default) and args[0].target in _SAME:
        return args[0]
    if target is _ATEN.slice.Tensor and args[2:] in ((0, _END), (0, _END, 1)):
        return args[0]
    if target is _ATEN.slice_scatter.default and args[3:] in ((0, _END), (0, _END, 1)):
        return args[1]
    if target is torch.ops.compress.dropout.default and args[1] == 0:
        return args[0]
    if target is _ATEN.copy.default and _alike(args[0], args[1]):
        return args[1]
    if target in _TO_TYPE and "val" in node.meta and args[0].meta["val"].dtype == node.meta["val"].dtype:
        return args[0]
    return None


def _alike(a: fx.Node, b: fx.Node) -> bool:
    one, other = a.meta["val"], b.meta["val"]
    return bool(one.dtype == other.dtype and one.shape == other.shape)


def _plain(node: fx.Node) -> tuple[Any, Any, Any]:
    """An operation without what ties it to a place or a layout in memory."""
    if node.target in _RESHAPES:
        return _ATEN.reshape.default, node.args, node.kwargs
    if node.target is _ATEN.copy.default:  # which torch cannot differentiate
        into, value = cast(tuple[fx.Node, fx.Node], node.args[:2])
        if into.meta["val"].dtype == value.meta["val"].dtype:
            return _ATEN.expand_as.default, (value, into), {}
    if node.target in _PYTHONS:
        return _PYTHONS[node.target], node.args, node.kwargs
    if node.target in _TO_TYPE:
        return _ATEN.to.dtype, (node.args[0], node.meta["val"].dtype), {}
    if node.target is torch.ops.compress.dropout.default:
        raise AssertionError("a dropout without its layer")
    kwargs = {key: value for key, value in node.kwargs.items() if key not in _PLACING and key != "memory_format"}
    return node.target, node.args, kwargs


def _unknown(node: fx.Node, *, constant: bool) -> LiftError:
    layer = layer_name(node)
    where = f"layer '{layer}'" if layer else "the network"
    name = (
        node.target._schema.name
        if isinstance(node.target, torch._ops.OpOverload)
        else getattr(node.target, "__name__", str(node.target))
    )
    short = name.rpartition("::")[2]
    cure = (
        "It is made of weights alone: compute it once, and keep the result as a buffer"
        if constant
        else "Write it with plain operations (products, sums, reshapes, lookups), or do that part before or after the "
        "network"
    )
    reason = (
        "which draws random numbers; give them as an input, or leave them out in eval mode"
        if short.startswith(_RANDOM)
        else f"which is not among those that passes know. {cure}"
    )
    return LiftError(f"lift: {where} uses the operation '{short}', {reason}.", layer=layer, operation=short)
