"""Which further nodes compute in integers so that the fewest tensors are converted, exactly: a cut through the graph.

A network like a U-Net has operators without an integer kernel between layers that have one, and beside them nodes that
could go either way: an Add of a map in integers and one in float, a LeakyReLU of both their sum and another Add. Each
choice moves conversions about: a float map that is rounded for the Add costs one, and saves the two around a float Add.

Nodes stand on the side of the integers or of float; some are bound to one, the others are free. A tensor is converted
once where it was made in float and somebody reads integers, or the other way round, however many they are. That is a
cut of least weight, with a helper for each tensor and direction that stands with the readers:

    a reader in integers -> helper -> its producer      a producer in integers -> helper -> each reader

where only the edge between helper and producer may be cut. Of all least cuts it is the one with the fewest nodes in
integers, so that nothing is moved there that saves nothing.
Source: Ford & Fulkerson 1956; several readers at the price of one as in Kolmogorov & Zabih 2004, sec. 3.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

_NEVER = 1_000_000  # the weight of what cannot be cut; beside it no sum of conversions counts
_INTEGERS, _FLOAT = "integers", "float"

Edges = dict[tuple[Hashable, Hashable], int]


class Tensors:
    """What is made and read in a graph, collected tensor by tensor, and the cut through it.

    Nodes are any keys that can be hashed; None is a node that stays in float.
    """

    def __init__(self, bound: Collection[Hashable], free: Collection[Hashable]) -> None:
        """Name the nodes that are bound to integers, and those that may go either way; all others are in float."""
        self._bound, self._free = bound, free
        self._edges: Edges = {}

    def add(
        self,
        tensor: Hashable,
        producer: Hashable | None,
        readers: Iterable[Hashable | None],
        *,
        either: bool = False,
        weight: int = 1,
    ) -> None:
        """Add a tensor.

        Args:
            tensor: a key of its own.
            producer: the node that makes it.
            readers: those that read it.
            either: whether its producer, in integers, can give floats too: then only readers of both kinds cost.
            weight: of a conversion.
        """
        rounded, back = ("rounded", tensor), ("back", tensor)
        for reader in readers:
            self._edge(self._side(reader), rounded, _NEVER)
            self._edge(back, self._side(reader), _NEVER)
        if either:
            self._edge(rounded, back, weight)
        else:
            self._edge(rounded, self._side(producer), weight)
            self._edge(self._side(producer), back, weight)

    def prefer(self, node: Hashable, integers: int, in_float: int) -> None:
        """Say what a free node weighs on either side."""
        self._edge(_INTEGERS, self._side(node), in_float)
        self._edge(self._side(node), _FLOAT, integers)

    def _side(self, node: Hashable | None) -> Hashable:
        if node in self._free:
            return ("node", node)
        return _INTEGERS if node in self._bound else _FLOAT

    def _edge(self, begin: Hashable, end: Hashable, weight: int) -> None:
        if begin != end and begin != _FLOAT and end != _INTEGERS:
            self._edges[begin, end] = max(weight, self._edges.get((begin, end), 0))

    def in_integers(self) -> set[Hashable]:
        """The free nodes that stand on the side of the integers."""
        reached = _reached(self._edges)
        return {node for node in self._free if ("node", node) in reached}


def _reached(edges: Mapping[tuple[Hashable, Hashable], int]) -> set[Hashable]:
    """What a greatest flow leaves within reach of the integers: the smaller side of a least cut."""
    keys: dict[Hashable, int] = {_INTEGERS: 0, _FLOAT: 1}
    for pair in edges:
        for key in pair:
            keys.setdefault(key, len(keys))
    begins, ends = ([keys[pair[i]] for pair in edges] for i in (0, 1))
    shape = (len(keys), len(keys))
    capacity = coo_array((np.fromiter(edges.values(), np.int32), (begins, ends)), shape).tocsr()
    left = capacity - maximum_flow(capacity, 0, 1).flow
    left.eliminate_zeros()
    order = set(breadth_first_order(left, 0, return_predecessors=False).tolist())
    return {key for key, number in keys.items() if number in order}
