"""The closed form that pruning is held to: units that are dead leave no trace when they are removed."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from compress.base import Context
from compress.pruning.axes import Product, keep_mask
from compress.pruning.cut import cut
from compress.pruning.edits import Attribute
from compress.pruning.importance import random
from compress.pruning.prune import Prune, most_important
from compress.pruning.units import analyse, groups_of
from export.lifted import evaluating, tensors
from models.records import sizes_of


class MaskedNorm(nn.Module):
    """A normalization over the last dimensions that leaves out what a mask does not mark."""

    def __init__(self, norm, mask):
        super().__init__()
        self.norm, self.mask = norm, torch.from_numpy(mask.reshape(norm.normalized_shape)).float()
        self.over = tuple(range(-len(norm.normalized_shape), 0))

    def forward(self, x):
        count = self.mask.sum()
        centre = (x * self.mask).sum(self.over, keepdim=True) / count if isinstance(self.norm, nn.LayerNorm) else 0
        spread = ((x - centre) * self.mask).square().sum(self.over, keepdim=True) / count
        eps = torch.finfo(x.dtype).eps if self.norm.eps is None else self.norm.eps  # what nn.RMSNorm takes for None
        y = (x - centre) * torch.rsqrt(spread + eps) * self.mask
        y = y if self.norm.weight is None else y * self.norm.weight
        bias = getattr(self.norm, "bias", None)
        return y if bias is None else y + bias


class MaskedGroups(nn.Module):
    """A group normalization that leaves out the channels that a mask does not mark."""

    def __init__(self, norm, mask):
        super().__init__()
        self.norm, self.mask = norm, torch.from_numpy(mask).float()

    def forward(self, x):
        rows = x.reshape(x.shape[0], self.norm.num_groups, -1)
        mask = self.mask.view(1, -1, *[1] * (x.dim() - 2)).expand_as(x).reshape(rows.shape)
        count = mask.sum(-1, keepdim=True).clamp(min=1)  # a group that is dead as a whole gives zeros
        centre = (rows * mask).sum(-1, keepdim=True) / count
        spread = ((rows - centre) * mask).square().sum(-1, keepdim=True) / count
        y = ((rows - centre) * torch.rsqrt(spread + self.norm.eps) * mask).reshape(x.shape)
        if self.norm.weight is None:
            return y
        weight, bias = (t.view(1, -1, *[1] * (x.dim() - 2)) for t in (self.norm.weight, self.norm.bias))
        return y * weight + bias


def killed(network, ties, keep):
    """A copy in which every weight, bias and statistic of the units to be cut is zero."""
    dead = copy.deepcopy(network)
    named = dict(dead.named_parameters(remove_duplicate=False)) | dict(dead.named_buffers(remove_duplicate=False))
    with torch.no_grad():
        for tied in ties.tensors.values():
            if not tied.names[0].endswith("running_var"):
                for position, dim in enumerate(tied.dims):
                    cut_out = torch.from_numpy(np.flatnonzero(~keep_mask(dim, keep)))
                    named[tied.names[0]].index_fill_(position, cut_out, 0)
    for edit in ties.edits:
        if isinstance(edit, Attribute) and edit.name == "normalized_shape":
            mask, norm = keep_mask(Product(edit.dims), keep), dead.get_submodule(edit.layer)
            if not isinstance(norm, MaskedNorm):  # one that two forms use has an edit of each
                dead.set_submodule(edit.layer, MaskedNorm(norm, mask))
        if isinstance(edit, Attribute) and edit.name == "num_channels":
            norm = dead.get_submodule(edit.layer)
            if not isinstance(norm, MaskedGroups):
                dead.set_submodule(edit.layer, MaskedGroups(norm, keep_mask(edit.dims, keep)))
    return dead


def dead_and_cut(model, *, ratio=0.5, seed=0, skip=()):
    """The model with random units dead, and the model with these units removed."""
    copied = replace(model, network=copy.deepcopy(model.network))
    ties = analyse(copied, skip=skip)
    counts = Prune(ratio=ratio).widths(ties, groups_of(ties), multiple=1)
    keep = most_important(random(copied, ties, list(counts), Context(seed=seed)), counts)
    dead = replace(model, network=killed(model.network, ties, keep))
    return dead, cut(copied, ties, keep)


def outputs_of(model, form=None, *, add=0, like=None):
    """What a model gives for the inputs of another one, its own states at their start."""
    sizes = {letter: size + add for letter, size in sizes_of(model).items()}
    here, there = (m.forms[form] if form else m for m in (model, like or model))
    given = tensors(there.inputs, sizes)
    given = [
        value if one.dims == other.dims else torch.full(one.shape(sizes), one.initial)
        for value, one, other in zip(given, here.inputs, there.inputs, strict=True)
    ]
    with evaluating(model.network):
        found = model.network.run(form or "main", *given)
    found = found if isinstance(found, tuple) else (found,)
    return {spec.name: value for spec, value in zip(here.outputs, found, strict=True)}


def count(model):
    return sum(p.numel() for p in model.network.parameters())
