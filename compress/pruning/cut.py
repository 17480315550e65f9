"""Removes units for good: weights get smaller, and so do the numbers in graphs, layers and signatures that follow."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from export.forms import MAIN, own_names, parts
from export.layers import put
from export.lifted import Lifted, annotate
from models.errors import CompressError
from models.records import Dims, Form, InputSpec, Model, OutputSpec, sizes_of

from .axes import Axis, Dim, Mask, keep_mask
from .ties import Tied, Ties


def cut(model: Model, ties: Ties, keep: Mapping[Axis, Mask]) -> Model:
    """Remove the units that `keep` does not mark from a model, in place; gives it with its own widths as they are now.

    Args:
        model: is changed, so that it must be the caller's own copy.
        ties: the analysis of this very model.
        keep: which indices stay of each axis that is cut; all stay of any other.
    """
    network = model.network
    assert isinstance(network, Lifted)

    def new_size(dim: Dim) -> int:
        return int(keep_mask(dim, keep).sum())

    for tied in ties.tensors.values():
        _narrow(network, tied, keep)
    for edit in ties.edits:
        edit.apply(network, new_size)
    old = parts(model)
    new = {name: _signature(network.graphs[name], form, own_names(old, name), ties, keep) for name, form in old.items()}
    inputs, outputs = new[MAIN]
    forms = {name: replace(form, inputs=new[name][0], outputs=new[name][1]) for name, form in model.forms.items()}
    made = replace(model, network=network, inputs=inputs, outputs=outputs, forms=forms)
    annotate(network, made.inputs, sizes_of(made), forms=forms)
    for name, form in parts(made).items():
        _check_outputs(network.graphs[name], form.outputs)
    return made


def _check_outputs(graph: fx.Graph, outputs: tuple[OutputSpec, ...]) -> None:
    """Refuse to give a network whose outputs are not what was promised; raises CompressError."""
    nodes = graph.output_node().args[0]
    assert isinstance(nodes, tuple)
    for spec, node in zip(outputs, nodes, strict=True):
        shape = node.meta["shape"] if isinstance(node, fx.Node) else None
        wanted = tuple(d if isinstance(d, int) else None for d in spec.dims)
        found = tuple(
            d if isinstance(d, int) and w is not None else None for d, w in zip(shape or (), wanted, strict=False)
        )
        if len(shape or ()) != len(wanted) or found != wanted:
            raise CompressError(
                f"prune: after the cut output '{spec.name}' has the shape {list(shape or ())}, and it must stay "
                f"{list(spec.dims)}. This is a mistake of ours; leave out the layers before it with --skip."
            )


def _narrow(network: nn.Module, tied: Tied, keep: Mapping[Axis, Mask]) -> None:
    """Take the cut indices out of a weight, under all its names."""
    masks = [keep_mask(dim, keep) for dim in tied.dims]
    if all(mask.all() for mask in masks):
        return
    tensor = tied.tensor.detach()
    for position, mask in enumerate(masks):
        indices = torch.from_numpy(np.flatnonzero(mask)).to(tensor.device)
        tensor = tensor.index_select(position, indices)
    smaller: torch.Tensor = tensor.clone()
    if isinstance(tied.tensor, nn.Parameter):
        smaller = nn.Parameter(smaller, requires_grad=tied.tensor.requires_grad)
    for name in tied.names:
        owner, _, own_name = name.rpartition(".")
        put(network.get_submodule(owner), own_name, smaller)


def _signature(
    graph: fx.Graph, form: Model | Form, own: Collection[str], ties: Ties, keep: Mapping[Axis, Mask]
) -> tuple[tuple[InputSpec, ...], tuple[OutputSpec, ...]]:
    """The inputs and outputs after the cut: only states and what is handed over can have become narrower."""
    given = [node for node in graph.nodes if node.op == "placeholder"]
    results = graph.output_node().args[0]
    assert isinstance(results, tuple)

    def now(spec: Any, node: Any) -> Any:
        return replace(spec, dims=_narrowed(spec.dims, ties.dims.get(node), keep)) if spec.name in own else spec

    return (
        tuple(now(spec, node) for spec, node in zip(form.inputs, given, strict=True)),
        tuple(now(spec, node) for spec, node in zip(form.outputs, results, strict=True)),
    )


def _narrowed(old: Dims, dims: object, keep: Mapping[Axis, Mask]) -> Dims:
    if not isinstance(dims, tuple):
        return old
    return tuple(d if isinstance(d, str) else int(keep_mask(dim, keep).sum()) for d, dim in zip(old, dims, strict=True))
