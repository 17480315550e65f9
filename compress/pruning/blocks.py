"""Whole residual branches are removed: those that change what they are added to least, as data shows.

Source: Men et al. 2024 (arXiv:2403.03853) sec. 3.2 ranks the layers of a language model by how little they change their
input. There it is 1 less the cosine of input and output; here it is the length of f(x) against that of x + f(x), which
also sees a branch that makes its input longer or shorter.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch

from compress.base import Context, Note, Outcome
from compress.training.fine_tuning import fine_tune
from compress.training.settings import DEFAULTS, Recovery
from export.lifted import MAIN, Lifted, annotate, evaluating
from models.errors import UsageError
from models.records import Model, sizes_of

from .branches import Branch, branches, take_out
from .measured_on import batches

_EPS = 1e-12


def remove_blocks(
    model: Model,
    context: Context,
    ratio: float,
    skip: Sequence[str],
    steps: int | str,
    minutes: float,
    settings: Recovery = DEFAULTS,
) -> Outcome:
    """Take out that share of the residual branches, a half rounded down, and recover.

    Raises:
        UsageError: there is no data to measure on.
    """
    network = copy.deepcopy(model.network)
    assert isinstance(network, Lifted)
    found = branches(network, skip=skip)
    free = [branch for branch in found if not branch.reason]
    skipped = [Note(branch.name, f"this residual branch stays: {branch.reason}") for branch in found if branch.reason]
    if not free:
        what = "none of its residual branches can be removed" if found else "it has no residual branches, x + f(x)"
        return Outcome(model, (), (*skipped, Note("", f"{what}: there are no blocks to prune")))
    count = math.ceil(len(free) * ratio - 0.5)
    if count < 1:
        return Outcome(
            model, (), (*skipped, Note("", f"its {len(free)} residual branches are too few for ratio {ratio:g}"))
        )
    changes = dict(zip(free, measure_changes(replace(model, network=network), free, context), strict=True))
    going = sorted(free, key=changes.__getitem__)[:count]
    before = _count(network)
    for branch in going:
        take_out(network, branch)
    annotate(network, model.inputs, sizes_of(model), forms=model.forms)
    made, facts, notes = fine_tune(
        replace(model, network=network),
        model,
        context,
        steps=steps,
        minutes=minutes,
        what="prune",
        settings=settings,
    )
    changed = [
        Note(
            branch.name,
            f"residual branch removed: it was {changes[branch]:.3f} of its sum ({', '.join(branch.layers)})",
        )
        for branch in going
    ]
    stayed = [
        Note(branch.name, f"this residual branch changes more: it is {changes[branch]:.3f} of its sum")
        for branch in free
        if branch not in going
    ]
    facts = {
        **facts,
        "blocks": len(free),
        "blocks_removed": count,
        "changes": [[branch.name, change] for branch, change in changes.items()],
        "parameters_before": before,
        "parameters": _count(made.network),
    }
    return Outcome(made, tuple(changed), (*skipped, *stayed, *notes), facts=facts)


def measure_changes(model: Model, found: Iterable[Branch], context: Context) -> list[float]:
    """How much each branch changes its input: the mean over rows of |f(x)| / |x + f(x)|, over all its sums.

    Args:
        model: with the branches in place.
        found: branches of its network.
        context: its task's train split, or its calibration data.

    Raises:
        UsageError: there is no data.
    """
    if context.task is None and next(iter(context.calibration), None) is None:
        raise UsageError(
            "prune: kind 'blocks' asked, and there is no data to measure how much each block changes its input. Name "
            "some with --data."
        )
    network: Any = model.network
    sums = [branch.sums[MAIN] for branch in found]
    watched = {node for several in sums for added in several for node in (added.node, added.x)}
    shares: list[list[torch.Tensor]] = [[] for _ in sums]
    with evaluating(network):
        for inputs, _ in batches(model, context, "blocks"):
            run = network.trace(MAIN, *inputs.values())
            values = {node: value.clone() for node, value in run if node in watched}  # one may be written to later
            for several, found_shares in zip(sums, shares, strict=True):
                found_shares += [_share(values[added.x], values[added.node]) for added in several]
    return [float(torch.cat(of_branch).mean()) for of_branch in shares]


def _share(x: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    """|f(x)| / |x + f(x)| of each row, (N,)."""
    x, total = x.double().flatten(1), total.double().flatten(1)
    share: torch.Tensor = (total - x).norm(dim=1) / total.norm(dim=1).clamp_min(_EPS)
    return share.cpu()


def _count(network: Any) -> int:
    return sum(p.numel() for p in network.parameters())
