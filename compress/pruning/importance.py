"""How much each unit matters, from the weights alone.

Every weight in a group gives each unit a norm over what it holds of it. Weights differ in scale, so each one's norms
are divided by their mean before they are averaged: a layer with large weights does not outvote the others.

Source: Li et al. 2017 (arXiv:1608.08710) sec. 3.1, filters by their L1 norm; the average over a group as in Fang et al.
2023 (arXiv:2301.12900) sec. 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from .axes import Axis, share_out
from .ties import Ties

Importance = Literal["l2", "l1", "random"]
Scores = dict[Axis, np.ndarray[Any, np.dtype[np.float64]]]


def score_units(ties: Ties, axes: Sequence[Axis], kind: Importance, *, seed: int = 0) -> Scores:
    """One number a unit for each group's axis; the larger, the more it matters.

    "random" is the control: it depends on the seed alone.
    """
    if kind == "random":
        rng = np.random.default_rng(seed)
        return {axis: rng.random(axis.size) for axis in axes}
    votes: dict[Axis, list[np.ndarray[Any, Any]]] = {axis: [] for axis in axes}
    for tied in ties.tensors.values():
        if tied.tensor.ndim < 2:  # biases and normalizations say little about how much is used
            continue
        weight = np.abs(tied.tensor.detach().to("cpu").double().numpy())
        weight = weight**2 if kind == "l2" else weight
        for position, dim in enumerate(tied.dims):
            per_index = weight.sum(tuple(i for i in range(weight.ndim) if i != position))
            for axis, values in share_out(dim, per_index):
                if axis in votes:
                    norms = np.sqrt(values) if kind == "l2" else values
                    votes[axis].append(norms / max(norms.mean(), np.finfo(float).tiny))
    return {axis: np.mean(found, 0) if found else np.ones(axis.size) for axis, found in votes.items()}
