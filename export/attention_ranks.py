"""Attention on tensors that are not (batch, heads, length, width) becomes that of tensors that are.

Torch takes any number of dimensions before the last two, runtimes take two. Without heads there is one head; with more
dimensions than two all but the first become heads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import fx

_ATEN = torch.ops.aten
Made = Callable[[Any, tuple[Any, ...]], fx.Node]
_RUNTIMES = 4


def has_other_ranks(node: fx.Node) -> bool:
    """Whether a node is such an attention, and one that can be written otherwise."""
    if node.target is not _ATEN.scaled_dot_product_attention.default or node.kwargs.get("enable_gqa"):
        return False
    shapes = [cast(fx.Node, given).meta["val"].shape for given in node.args[:3]]
    rank = len(shapes[0])
    if rank == _RUNTIMES or any(shape[:-2] != shapes[0][:-2] for shape in shapes):
        return False
    mask = _mask(node)
    ranks = (0, 2, 3) if rank == _RUNTIMES - 1 else (0, 2)
    return (len(mask.meta["val"].shape) if isinstance(mask, fx.Node) else 0) in ranks and (
        rank < _RUNTIMES or sum(not isinstance(n, int) for n in shapes[0][1:-2]) <= 1
    )


def in_four(node: fx.Node, use: Callable[[fx.Node], Any], made: Made) -> fx.Node:
    """The same with two dimensions before the last two, and its result as it was.

    Args:
        node: of the traced program; `has_other_ranks` of it.
        use: gives a traced node's value in the new graph.
        made: makes a node of the new graph from an operation and its arguments.
    """
    first = cast(fx.Node, node.args[0]).meta["val"]
    rank = first.dim()

    def wider(given: Any) -> Any:
        if rank > _RUNTIMES:
            return made(_ATEN.flatten.using_ints, (given, 1, rank - 3))
        for _ in range(_RUNTIMES - rank):
            given = made(_ATEN.unsqueeze.default, (given, rank - 2))
        return given

    mask = _mask(node)
    if isinstance(mask, fx.Node):
        mask = use(mask) if mask.meta["val"].dim() <= 2 else made(_ATEN.unsqueeze.default, (use(mask), 1))
    rest = dict(zip(("dropout_p", "is_causal"), node.args[4:], strict=False)) | dict(node.kwargs)
    arguments = (*(wider(use(cast(fx.Node, n))) for n in node.args[:3]), mask)
    found = made(node.target, (*arguments, rest.get("dropout_p", 0.0), rest.get("is_causal", False)))
    if "scale" in rest:
        found.kwargs = {"scale": rest["scale"]}
    if rank > _RUNTIMES:
        sizes = [n if isinstance(n, int) else -1 for n in first.shape[1:-2]]
        return made(_ATEN.unflatten.int, (found, 1, sizes))
    for _ in range(_RUNTIMES - rank):
        found = made(_ATEN.squeeze.dim, (found, rank - 2))
    return found


def _mask(node: fx.Node) -> Any:
    return node.args[3] if len(node.args) > 3 else node.kwargs.get("attn_mask")
