"""What is known while the graphs are walked: the dimensions of every value and every weight, and what a rule is given.

A rule takes a `Call`, ties the dimensions of what goes in to those of the weights and of what comes out, and gives the
latter: a tuple of dimensions for a tensor, a list of such for several. What it cannot follow it freezes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from export.lifted import Lifted

from .axes import ONE, Axis, Dim, Mismatch, axes_of, factor, freeze, size_of, split, unify
from .edits import Attribute, Edit, Number, Sizes, arguments

Dims = tuple[Dim, ...]
Given = Dims | list[Any] | None  # of a tensor, of several, of a value that is no tensor
Rule = Callable[["Call"], Given]


def named(names: str, rule: Rule) -> dict[str, Rule]:
    """One rule for operations of several names, which are given with spaces between them."""
    return dict.fromkeys(names.split(), rule)


@dataclass(eq=False)
class Tied:
    """A parameter or buffer under all its names, and its dimensions."""

    names: tuple[str, ...]
    tensor: torch.Tensor
    dims: Dims


@dataclass(frozen=True)
class Summed:
    """A sum over a dimension: of a tensor, or of the products of two; each with the number of that dimension."""

    terms: tuple[tuple[fx.Node, int], ...]
    what: str


@dataclass(eq=False)
class Ties:
    """Everything that ties the dimensions of one network, over all its forms.

    Attributes:
        seen: the shape of each tensor and the value of each number in one run.
        dims: of each node's value.
        tensors: by identity, so that a weight used twice is one.
        edits: what to rewrite after a cut.
        alike: dimensions that must keep the same number of indices, not the same ones.
        bounds: dimensions, and the fewest indices that each must keep.
        sums: what is added up over units, with nothing of the network's own that would make a dead one zero.
    """

    network: Lifted
    names: Mapping[int, tuple[str, ...]]
    seen: dict[fx.Node, Any] = field(default_factory=dict)
    dims: dict[fx.Node, Given] = field(default_factory=dict)
    tensors: dict[int, Tied] = field(default_factory=dict)
    edits: list[Edit] = field(default_factory=list)
    alike: list[Dims] = field(default_factory=list)
    bounds: list[tuple[Dim, int]] = field(default_factory=list)
    sums: list[Summed] = field(default_factory=list)

    def fewest(self, axis: Axis) -> int:
        """How many indices of an axis must stay."""
        return max((min(least, axis.size) for dim, least in self.bounds if axis in axes_of(dim)), default=1)

    def tensor(self, tensor: torch.Tensor) -> Dims:
        """The dimensions of a parameter or buffer."""
        if id(tensor) not in self.tensors:
            dims = tuple(Axis(n) for n in tensor.shape)
            self.tensors[id(tensor)] = Tied(self.names.get(id(tensor), ()), tensor, dims)
        return self.tensors[id(tensor)].dims


@dataclass(frozen=True)
class Call:
    """One node, as a rule sees it."""

    ties: Ties
    node: fx.Node

    @property
    def what(self) -> str:
        """The operation, for reasons: its kind, and its name in the graph or the user's module."""
        if self.node.op == "call_module":
            return f"{type(self.module).__name__} '{self.node.target}'"
        return f"'{self.kind}' ({self.node.name})"

    @property
    def kind(self) -> str:
        """An aten operation's name without its overload."""
        target = self.node.target
        return target._schema.name.split("::")[-1] if isinstance(target, torch._ops.OpOverload) else str(target)

    @property
    def module(self) -> nn.Module:
        """The layer that is called."""
        return self.ties.network.get_submodule(str(self.node.target))

    @property
    def arguments(self) -> dict[str, Any]:
        """Of an aten call, by name."""
        return arguments(self.node)

    def __getitem__(self, name: str) -> Any:
        """One argument by name, a number that the graph computes as it was seen in the run."""
        value = self.arguments.get(name)
        return self.seen(value) if isinstance(value, fx.Node) and not self.is_tensor(value) else value

    def seen(self, value: Any) -> Any:
        """The shape or number that a node had; anything else as it is."""
        return self.ties.seen[value] if isinstance(value, fx.Node) else value

    @property
    def given(self) -> Any:
        """The shape of what comes out; a list for several."""
        return self.ties.seen[self.node]

    def is_tensor(self, value: Any) -> bool:
        """Whether an argument is a tensor."""
        return isinstance(value, fx.Node) and isinstance(self.ties.dims.get(value), tuple)

    def dims(self, which: str | int | fx.Node) -> Dims:
        """The dimensions of a tensor argument, by name, position or node; () for a number or None."""
        if isinstance(which, str):
            which = self.arguments.get(which)  # type: ignore[assignment]
        elif isinstance(which, int):
            which = self.node.args[which]  # type: ignore[assignment]
        found = self.ties.dims.get(which) if isinstance(which, fx.Node) else ()
        return found if isinstance(found, tuple) else ()

    def weight(self, name: str) -> Dims:
        """The dimensions of a parameter or buffer of the layer; () where it has none."""
        tensor = getattr(self.module, name, None)
        return self.ties.tensor(tensor) if isinstance(tensor, torch.Tensor) else ()

    def position(self, name: str, rank: int) -> int:
        """A dimension's number given as an argument, counted from the front."""
        return int(self[name]) % rank

    def tie(self, one: Dim, other: Dim) -> Dim:
        """Tie two dimensions, or freeze both because they are put together differently."""
        return unify(one, other, f"{self.what} ties what is put together in different ways")

    def tie_all(self, dims: Sequence[Dim]) -> Dim:
        """Tie several."""
        for other in dims[1:]:
            self.tie(dims[0], other)
        return dims[0]

    def freeze(self, dims: Iterable[Dim], why: str) -> None:
        """Freeze dimensions; the reason reads "{operation} {why}"."""
        for dim in dims:
            freeze(dim, f"{self.what} {why}")

    def fixed(self, size: int, why: str = "makes it") -> Dim:
        """A new dimension that is never cut."""
        return Axis(size, frozen=f"{self.what} {why}")

    def factor(self, dim: Dim, outer: int) -> tuple[Dim, Dim]:
        """A dimension as rows; frozen, with fixed rows, where it has none."""
        try:
            return factor(dim, outer)
        except Mismatch:
            why = f"takes it as {outer} equal parts, which it is not"
            self.freeze([dim], why)
            return self.fixed(outer, why), self.fixed(size_of(dim) // outer, why)

    def split(self, dim: Dim, sizes: Sequence[int]) -> Dims:
        """A dimension in consecutive pieces; frozen, with fixed pieces, where a boundary does not fit."""
        pieces, rest = [], dim
        try:
            for size in sizes:
                piece, rest = split(rest, size)
                pieces.append(piece)
        except Mismatch:
            why = "takes it apart where it is not put together"
            self.freeze([dim], why)
            return tuple(self.fixed(size, why) for size in sizes)
        return tuple(pieces)

    def attribute(self, name: str, dims: Dim | Dims) -> None:
        """Note that an attribute of the layer follows from a dimension."""
        if self.node.op == "call_module":
            self.ties.edits.append(Attribute(layer=str(self.node.target), name=name, dims=dims))

    def number(self, name: str, dim: Dim, *, from_end: bool = False) -> None:
        """Note that a literal argument follows from a dimension."""
        self.ties.edits.append(Number(node=self.node, argument=name, dim=dim, from_end=from_end))

    def sizes(self, name: str, dims: Sequence[Dim | None]) -> None:
        """Note that a list of sizes follows from dimensions."""
        self.ties.edits.append(Sizes(node=self.node, argument=name, dims=tuple(dims)))

    def sums(self, *terms: tuple[fx.Node, int]) -> None:
        """Note that it adds up over a dimension of a tensor, or over one of each of two that it multiplies."""
        self.ties.sums.append(Summed(terms, self.what))

    def broadcast(self, tensors: Sequence[Dims]) -> Dims:
        """Tie dimensions aligned at the last one, those of size 1 aside; gives the dimensions of the result."""
        rank = max(map(len, tensors), default=0)
        made = []
        for place in range(1, rank + 1):
            wide = [dims[-place] for dims in tensors if len(dims) >= place and size_of(dims[-place]) != 1]
            made.append(self.tie_all(wide) if wide else ONE)
        return tuple(reversed(made))

    def results(self, dims: Dims) -> Given:
        """The same dimensions for each of several results, where there are several."""
        return [dims] * len(self.given) if isinstance(self.given, list) else dims


def is_frozen(dim: Dim) -> bool:
    """Whether no index of a dimension can be removed."""
    return all(axis.frozen for axis in axes_of(dim))
