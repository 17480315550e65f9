"""Residual branches, y = x + f(x), in all forms of a lifted network, and how one is taken out for good.

A branch is known by the layers that only it uses. It can go where every call of these layers, in every form, lies in
such a sum, so that all forms lose the same.

Source: networks with shortcuts survive without single branches, Veit et al. 2016 (arXiv:1605.06431) sec. 4.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import fx, nn

from export.forms import MAIN
from export.lifted import Lifted

_SUMS = (torch.ops.aten.add.Tensor, torch.ops.aten.add_.Tensor, operator.add)


@dataclass(frozen=True, eq=False)
class Sum:
    """A node x + f(x); `x` is whatever stands there now, as branches before it may be gone."""

    node: fx.Node
    position: int

    @property
    def x(self) -> fx.Node:
        """What is added to."""
        given = self.node.args[self.position]
        assert isinstance(given, fx.Node)
        return given


@dataclass(frozen=True, eq=False)
class Branch:
    """What is added to its own input.

    Args:
        name: of a layer in it, and in no branch that is named before.
        layers: those that it alone uses, in the order of their calls.
        sums: of each form, the nodes x + f(x), and which argument x is; several where the branch runs several times.
        reason: why it cannot be taken out, or "".
    """

    name: str
    layers: tuple[str, ...]
    sums: Mapping[str, tuple[Sum, ...]]
    reason: str = ""


def branches(network: Lifted, *, skip: Sequence[str] = ()) -> list[Branch]:
    """All residual branches that have weights, in the order of the graphs; those that must stay say why.

    Args:
        network: is left as it is.
        skip: patterns of layers that are left as they are.
    """
    found: dict[tuple[str, ...], dict[str, list[Sum]]] = {}
    for form, graph in network.graphs.items():
        for added in residual_sums(graph):
            if layers := _layers(network, branch_nodes(added)):
                found.setdefault(layers, {}).setdefault(form, []).append(added)
    made: list[Branch] = []
    for layers, sums in found.items():
        taken = {branch.name for branch in made}
        name = next((layer for layer in layers if layer not in taken), layers[0])
        reason = _reason(network, layers, sums, skip)
        made.append(Branch(name, layers, {form: tuple(several) for form, several in sums.items()}, reason))
    return made


def residual_sums(graph: fx.Graph) -> Iterator[Sum]:
    """Each node that adds to x something computed from x, of the same shape."""
    for node in graph.nodes:
        if node.op != "call_function" or node.target not in _SUMS or node.kwargs.get("alpha", 1) != 1:
            continue
        one, other = node.args[:2]
        if not isinstance(one, fx.Node) or not isinstance(other, fx.Node):
            continue
        for position, (x, f) in enumerate(((one, other), (other, one))):
            same = x.meta.get("shape") is not None and x.meta["shape"] == f.meta.get("shape") == node.meta.get("shape")
            if same and x in _before(f, x):
                yield Sum(node, position)
                break


def branch_nodes(added: Sum) -> list[fx.Node]:
    """The nodes that nobody needs once x stands in for the sum, in the order of the graph."""
    gone: set[fx.Node] = {added.node}
    order = list(added.node.graph.nodes)
    dead = []
    for node in reversed(order[: order.index(added.node)]):
        if node.op != "placeholder" and node is not added.x and node.users and all(user in gone for user in node.users):
            gone.add(node)
            dead.append(node)
    return dead[::-1]


def take_out(network: Lifted, branch: Branch) -> None:
    """Let every x + f(x) of a branch be x, and delete what is needed no more, in place.

    A branch inside one that was taken out before is gone already.
    """
    for form, sums in branch.sums.items():
        graph = network.graphs[form]
        there = set(graph.nodes)
        for added in sums:
            if added.node in there:
                added.node.replace_all_uses_with(added.x)
        for node in reversed(list(graph.nodes)):
            if node.op not in ("placeholder", "output") and not node.users:
                graph.erase_node(node)
    used = {str(node.target) for graph in network.graphs.values() for node in graph.nodes if _names_tensors(node)}
    for layer in branch.layers:
        if not any(name == layer or name.startswith(f"{layer}.") for name in used):
            _delete(network, layer)


def _before(node: fx.Node, until: fx.Node) -> set[fx.Node]:
    """What a node is computed from, no further back than another one."""
    found: set[fx.Node] = set()
    waiting = [node]
    while waiting:
        for given in waiting.pop().all_input_nodes:
            if given not in found:
                found.add(given)
                if given is not until:
                    waiting.append(given)
    return found


def _names_tensors(node: fx.Node) -> bool:
    return node.op in ("call_module", "get_attr")


def _layers(network: Lifted, nodes: Sequence[fx.Node]) -> tuple[str, ...]:
    """The layers and single tensors that have weights, among those that the nodes name."""
    names = dict.fromkeys(str(node.target) for node in nodes if _names_tensors(node))
    return tuple(name for name in names if _weights(network, name))


def _weights(network: Lifted, name: str) -> list[nn.Parameter]:
    try:
        return list(network.get_submodule(name).parameters())
    except AttributeError:
        owner, _, own = name.rpartition(".")
        tensor: Any = getattr(network.get_submodule(owner), own)
        return [tensor] if isinstance(tensor, nn.Parameter) else []


def _reason(
    network: Lifted,
    layers: Collection[str],
    sums: Mapping[str, Sequence[Sum]],
    skip: Sequence[str],
) -> str:
    """Why a branch must stay, or ""."""
    for pattern in skip:
        if any(fnmatchcase(layer, pattern) for layer in layers):
            return f"'{pattern}' is skipped"
    inside = {node for several in sums.values() for added in several for node in branch_nodes(added)}
    for form, graph in network.graphs.items():
        for node in graph.nodes:
            if _names_tensors(node) and str(node.target) in layers and node not in inside:
                return f"'{node.target}' is also used outside of it, in form '{form}'"
    return "" if MAIN in sums else "the main form, on which it would be measured, does not use it"


def _delete(network: Lifted, name: str) -> None:
    """A layer or a tensor, and what holds nothing without it."""
    owner, _, own = name.rpartition(".")
    try:
        holder = network.get_submodule(owner)
        delattr(holder, own)
    except AttributeError:
        return  # gone with the branch around it
    empty = not (holder._modules or holder._parameters or holder._buffers)
    if owner and empty and type(holder) in (nn.Module, nn.Sequential, nn.ModuleList):
        _delete(network, owner)
