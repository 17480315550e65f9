"""Units that show in a sum although all their weights are zero: these cannot be removed without a trace.

`relu(h).sum(1)` is the same without a unit at zero, `sigmoid(h).sum(1)` loses a half and `exp(h).sum(1)` a one. Which
it is depends on all that lies between the layer and the sum, so it is seen in a run with one unit of each group dead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import fx

from .axes import Axis, Dim, Mask, axes_of, freeze, keep_mask
from .ties import Summed, Ties

Watch = Callable[[fx.Node, Any], Any]


def keep_what_shows(ties: Ties, run: Callable[[Watch], Mapping[fx.Node, Any]]) -> None:
    """Freeze the units that a sum would miss.

    Args:
        ties: of the whole network.
        run: runs every form, and gives what the function that it is given makes of each value.
    """
    open_sums = [(summed, axis) for summed in ties.sums for axis in _free(ties, summed)]
    if not open_sums:
        return
    dead = {axis: np.arange(axis.size) > 0 for _, axis in open_sums}
    wanted = {node for summed, _ in open_sums for node, _ in summed.terms}
    with _killed(ties, dead):
        values = run(lambda node, value: value.clone() if node in wanted else None)
    for summed, axis in open_sums:
        if all(_shows(values[node], place, ties.dims[node][place], {axis: dead[axis]}) for node, place in summed.terms):  # type: ignore[index]
            freeze(axis, f"{summed.what} adds it up, and a unit whose weights are zero is not zero there")


def _free(ties: Ties, summed: Summed) -> list[Axis]:
    node, place = summed.terms[0]
    return [axis for axis in dict.fromkeys(axes_of(ties.dims[node][place])) if not axis.frozen]  # type: ignore[index]


def _shows(value: torch.Tensor, place: int, dim: Dim, dead: Mapping[Axis, Mask]) -> bool:
    gone = torch.from_numpy(np.flatnonzero(~keep_mask(dim, dead))).to(value.device)
    return bool((value.index_select(place, gone) != 0).any())


@contextmanager
def _killed(ties: Ties, keep: Mapping[Axis, Mask]) -> Iterator[None]:
    """Meanwhile, weights, biases and statistics of the units that are not kept are zero."""
    before: list[tuple[torch.Tensor, torch.Tensor]] = []
    try:
        with torch.no_grad():
            for tied in ties.tensors.values():
                for place, dim in enumerate(tied.dims):
                    gone = np.flatnonzero(~keep_mask(dim, keep))
                    if gone.size and tied.tensor.is_floating_point():
                        before.append((tied.tensor, tied.tensor.clone()))
                        tied.tensor.index_fill_(place, torch.from_numpy(gone).to(tied.tensor.device), 0)
        yield
    finally:
        with torch.no_grad():
            for tensor, own in reversed(before):
                tensor.copy_(own)
