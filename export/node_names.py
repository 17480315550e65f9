"""Names of nodes that a library makes anew: a layer keeps the one that its user knows. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import onnx_ir as ir


@dataclass(frozen=True)
class _Known:
    """A node as it was: its name, and what tells it again."""

    name: str
    operator: tuple[str, str]
    constants: frozenset[ir.Value]
    outputs: frozenset[str | None]

    @staticmethod
    def of(node: ir.Node) -> _Known:
        return _Known(
            node.name or "",
            (node.domain, node.op_type),
            frozenset(value for value in node.inputs if value is not None and value.is_initializer()),
            frozenset(value.name for value in node.outputs),
        )

    def likeness(self, other: _Known) -> int:
        """How surely another is this one made anew: by its operator with its constants or outputs, else by a weight."""
        shared = self.constants & other.constants
        if self.operator == other.operator:
            return 3 if shared else 2 * bool(self.outputs & other.outputs)
        return int(any(len(value.shape or ()) > 1 for value in shared))


@contextmanager
def kept_names(network: ir.Model) -> Iterator[None]:
    """While it lasts a node may be made anew, without its name or with another; then it has its own again."""
    before = [_Known.of(node) for node in network.graph.all_nodes() if node.name]
    names = {one.name for one in before}
    yield
    nodes = list(network.graph.all_nodes())
    there = {node.name for node in nodes}
    gone = [one for one in before if one.name not in there]
    for node in nodes:
        new = _Known.of(node)
        if new.name in names or not gone:
            continue
        best = max(gone, key=new.likeness)
        if new.likeness(best):
            node.name = best.name
            gone.remove(best)
