"""Numbers in a graph and attributes of layers that follow from the size of a dimension: rewritten after a cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import fx, nn

from .axes import Dim, Sum, size_of

NewSize = Callable[[Dim], int]


class Edit(Protocol):
    """One place to rewrite."""

    def apply(self, network: nn.Module, new_size: NewSize) -> None:
        """Rewrite it; `new_size` tells how many indices of a dimension stay."""
        ...


@dataclass(frozen=True, kw_only=True)
class Number:
    """A literal size or position, as in `slice`; with `from_end` it counts from the end, below zero."""

    node: fx.Node
    argument: str
    dim: Dim
    from_end: bool = False

    def apply(self, network: nn.Module, new_size: NewSize) -> None:
        """Rewrite it."""
        size = new_size(self.dim)
        set_argument(self.node, self.argument, -size if self.from_end else size)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """A list of sizes, as in `view`; None in `dims` leaves an entry as it is.

    An entry that is computed stays so while its dimension is whole, and becomes -1 where it is cut.
    """

    node: fx.Node
    argument: str
    dims: tuple[Dim | None, ...]

    def apply(self, network: nn.Module, new_size: NewSize) -> None:
        """Rewrite the list."""
        old = argument(self.node, self.argument)
        new: list[Any] = []
        for value, dim in zip(old, self.dims, strict=True):
            if dim is None or value == -1 or new_size(dim) == size_of(dim):
                new.append(value)
            else:
                new.append(-1 if isinstance(value, fx.Node) else new_size(dim))
        set_argument(self.node, self.argument, new)


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """A `split` or `chunk`, which says the lengths of its pieces one by one once they were cut."""

    node: fx.Node
    axis: int
    dims: tuple[Dim, ...]

    def apply(self, network: nn.Module, new_size: NewSize) -> None:
        """Make it a split_with_sizes."""
        whole = Sum(self.dims)
        if new_size(whole) != size_of(whole):
            self.node.args = (self.node.args[0], [new_size(dim) for dim in self.dims], self.axis)
            self.node.kwargs = {}
            self.node.target = torch.ops.aten.split_with_sizes.default


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Scaled dot-product attention whose heads get narrower keeps the scale it was trained with."""

    node: fx.Node
    dim: Dim

    def apply(self, network: nn.Module, new_size: NewSize) -> None:
        """Write the scale down where it was left to the width of the heads."""
        if argument(self.node, "scale") is None and new_size(self.dim) != size_of(self.dim):
            set_argument(self.node, "scale", size_of(self.dim) ** -0.5)


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """What a layer says of itself, such as `out_features`; a tuple of dimensions is a tuple of sizes."""

    layer: str
    name: str
    dims: Dim | tuple[Dim, ...]

    def apply(self, network: nn.Module, new_size: NewSize) -> None:
        """Set it."""
        many = isinstance(self.dims, tuple)
        value = tuple(map(new_size, self.dims)) if isinstance(self.dims, tuple) else new_size(self.dims)
        if many or value != getattr(network.get_submodule(self.layer), self.name):
            setattr(network.get_submodule(self.layer), self.name, value)


def arguments(node: fx.Node) -> dict[str, Any]:
    """An aten call's arguments by the names of its schema, defaults filled in."""
    target = node.target
    assert isinstance(target, torch._ops.OpOverload)
    names = [a.name for a in target._schema.arguments]
    defaults = {a.name: a.default_value for a in target._schema.arguments if a.has_default_value()}
    return {**defaults, **dict(zip(names, node.args, strict=False)), **node.kwargs}


def argument(node: fx.Node, name: str) -> Any:
    """One argument of an aten call."""
    return arguments(node)[name]


def set_argument(node: fx.Node, name: str, value: Any) -> None:
    """Rewrite one argument of an aten call."""
    assert isinstance(node.target, torch._ops.OpOverload)
    position = [a.name for a in node.target._schema.arguments].index(name)
    if position < len(node.args):
        node.update_arg(position, value)
    else:
        node.update_kwarg(name, value)
