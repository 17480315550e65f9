"""How much each unit matters by its scale in batch normalization, |gamma|.

What a batch normalization gives for a channel has a spread of |gamma|, whatever came in: a channel with a small one
is nearly constant, and is nearly made up for by the next layer's bias.

Source: Liu et al. 2017 (arXiv:1708.06519) sec. 3, without the penalty on gamma in training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.nn.modules.batchnorm import _BatchNorm

from compress.base import Context
from export.lifted import Lifted, attribute
from models.records import Model

from .axes import Axis, share_out
from .edits import arguments
from .importance import Scores
from .ties import Ties


def bn_scale(model: Model, ties: Ties, axes: Sequence[Axis], context: Context) -> Scores:
    """The mean |gamma| of each unit, over all the places where it is normalized; groups without any are left out."""
    sums = {axis: np.zeros(axis.size) for axis in axes}
    counts = {axis: np.zeros(axis.size) for axis in axes}
    for scale in _scales(ties.network):
        gamma = scale.detach().abs().double().cpu().numpy()
        dim = ties.tensor(scale)[0]
        shared = zip(share_out(dim, gamma), share_out(dim, np.ones_like(gamma)), strict=True)
        for (axis, values), (_, places) in shared:
            if axis in sums:
                sums[axis] += values
                counts[axis] += places
    return {axis: sums[axis] / counts[axis] for axis in axes if counts[axis].all()}


def _scales(network: Lifted) -> Iterator[torch.Tensor]:
    """The gamma of every batch normalization that a form uses, layer or function, each once."""
    found: dict[int, torch.Tensor] = {}
    for node in (node for graph in network.graphs.values() for node in graph.nodes):
        scale = None
        if node.op == "call_module":
            layer = network.get_submodule(str(node.target))
            scale = layer.weight if isinstance(layer, _BatchNorm) else None
        elif isinstance(node.target, torch._ops.OpOverload) and "batch_norm" in node.target._schema.name:
            given: Any = arguments(node).get("weight")
            named = isinstance(given, fx.Node) and given.op == "get_attr"
            scale = attribute(network, str(given.target)) if named else None
        if scale is not None:
            found[id(scale)] = scale
    yield from found.values()
