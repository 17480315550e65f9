"""How much each unit matters by the size of its weights: l1 and l2.

Every weight in a group gives each unit a norm over what it holds of it. Weights differ in scale, so each one's norms
are divided by their mean before they are averaged: a layer with large weights does not outvote the others.

Source: Li et al. 2017 (arXiv:1608.08710) sec. 3.1, filters by their L1 norm; the average over a group as in Fang et al.
2023 (arXiv:2301.12900) sec. 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from compress.base import Context
from models.records import Model

from .axes import Axis, share_out
from .importance import Scores
from .ties import Ties

Array = np.ndarray[Any, Any]


def l1(model: Model, ties: Ties, axes: Sequence[Axis], context: Context) -> Scores:
    """Sums of absolute weights, over their mean."""
    return _norms(ties, axes, order=1)


def l2(model: Model, ties: Ties, axes: Sequence[Axis], context: Context) -> Scores:
    """Roots of sums of squared weights, over their mean."""
    return _norms(ties, axes, order=2)


def _norms(ties: Ties, axes: Sequence[Axis], *, order: int) -> Scores:
    votes = Votes(axes)
    for tied in ties.tensors.values():
        if tied.tensor.ndim < 2:  # biases and normalizations say little about how much is used
            continue
        weight = np.abs(tied.tensor.detach().to("cpu").double().numpy()) ** order
        for position, dim in enumerate(tied.dims):
            per_index = weight.sum(tuple(i for i in range(weight.ndim) if i != position))
            for axis, values in share_out(dim, per_index):
                votes.add(axis, values ** (1 / order))
    return votes.means()


class Votes:
    """What several weights or places say of the units of each axis, each with a mean of 1; the mean over them all."""

    def __init__(self, axes: Sequence[Axis]) -> None:
        self._given: dict[Axis, list[Array]] = {axis: [] for axis in axes}

    def add(self, axis: Axis, values: Array) -> None:
        """One vote: a number a unit, 0 or more; of an axis that is not asked about it is left out."""
        if axis in self._given:
            self._given[axis].append(values / max(values.mean(), np.finfo(float).tiny))

    def means(self) -> Scores:
        """One number a unit for each axis that has a vote."""
        return {axis: np.mean(given, 0) for axis, given in self._given.items() if given}
