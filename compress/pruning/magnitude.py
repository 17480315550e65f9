"""Unstructured pruning: the weights of least magnitude become zero, and stay so while the others are trained.

Source: Han et al. 2015 (arXiv:1506.02626) sec. 3, one shot; per weight tensor.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

import torch
from torch import nn

from compress.base import Context, Note, Outcome
from compress.training.fine_tuning import fine_tune
from models.records import Model

_PLAINLY = (
    "zeros stay in the file and are multiplied: it is neither smaller nor faster until it is zipped, or run by "
    'something that skips zeros. kind="units" makes it smaller and faster'
)


def zero_smallest(
    model: Model, context: Context, ratio: float, skip: Sequence[str], *, steps: int, minutes: float
) -> Outcome:
    """Zero that share of each weight matrix, kernel and table."""
    network = copy.deepcopy(model.network)
    assert isinstance(network, nn.Module)
    masks: dict[str, torch.Tensor] = {}
    changed: dict[str, tuple[int, int]] = {}
    skipped = [Note("", _PLAINLY)]
    for name, weight in network.named_parameters():
        layer = name.rpartition(".")[0]
        if any(fnmatchcase(layer, pattern) for pattern in skip):
            skipped.append(Note(layer, "skipped, as asked"))
        elif weight.ndim >= 2 and (mask := large(weight, ratio)).logical_not().any():
            masks[name] = mask
            zeros, of = changed.get(layer, (0, 0))
            changed[layer] = (zeros + int((~mask).sum()), of + mask.numel())
    if not masks:
        return Outcome(model, (), (*skipped, Note("", f"ratio {ratio:g} takes no weight of any layer")))
    keep_zero(network, masks)
    made, facts, note = fine_tune(
        replace(model, network=network),
        model,
        context,
        steps=steps,
        minutes=minutes,
        what="prune",
        after_step=lambda trained: keep_zero(trained, masks),
    )
    notes = tuple(Note(layer, f"{zeros:,} of {of:,} weights set to zero") for layer, (zeros, of) in changed.items())
    return Outcome(
        made, notes, (*dict.fromkeys(skipped), *note), facts={**facts, "zeros": sum(z for z, _ in changed.values())}
    )


def large(weight: torch.Tensor, ratio: float) -> torch.Tensor:
    """True for all but the share of least magnitude, rounded down; of equals the last ones are kept."""
    flat = weight.detach().abs().flatten()
    mask = torch.ones_like(flat, dtype=torch.bool)
    mask[flat.argsort(stable=True)[: int(len(flat) * ratio + 1e-9)]] = False
    return mask.view_as(weight)


@torch.no_grad()
def keep_zero(network: nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
    """Set to zero what the masks do not mark, in place."""
    for name, parameter in network.named_parameters():
        if name in masks:
            parameter.mul_(masks[name].to(parameter.device))
