"""How much each unit matters by what it adds to whatever comes next: its activations times the weights they meet.

A weight says little of a unit that is hardly ever active, and an activation little of one that nobody heeds. Wherever
the network sums over units (`contractions`) a unit's contribution is the outer product of its activations with the
weights of its column; its score is the Frobenius norm of that, over the mean of the group, averaged over all such
places. Channels, hidden units, embedding and feed-forward widths are scored where the next layers read them, attention
heads where the output projection does.

Source: Sun et al. 2023 (arXiv:2306.11695) sec. 3, |W_ij| times the norm of input j, here for whole columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import fx

from compress.base import Context
from compress.training.feed import own_generators
from export.forms import MAIN
from export.lifted import evaluating
from models.records import Model

from .axes import Axis, Dim, share_out
from .contractions import contractions
from .importance import Scores
from .measured_on import batches
from .ties import Ties
from .weight_norms import Votes


def activation(model: Model, ties: Ties, axes: Sequence[Axis], context: Context) -> Scores:
    """The norm of each unit's contribution, over the group's mean; groups that nothing sums over are left out.

    Only the main form is run: of units that only further forms use it says nothing.

    Raises:
        UsageError: there is no data.
    """
    sums: dict[tuple[fx.Node, int], tuple[Dim, torch.Tensor]] = {}
    with own_generators(context.seed), evaluating(ties.network):
        for inputs, _ in batches(model, context, "activation"):
            values = {}
            for node, value in ties.network.trace(MAIN, *inputs.values()):
                values[node] = value
                for number, found in enumerate(contractions(ties, node, values)):
                    _, before = sums.get((node, number), (found.dim, torch.zeros_like(found.energy)))
                    sums[node, number] = found.dim, before + found.energy
    votes = Votes(axes)
    for dim, energy in sums.values():
        for axis, values_of in share_out(dim, energy.numpy()):
            votes.add(axis, np.sqrt(values_of))
    return votes.means()
