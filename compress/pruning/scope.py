"""How many units each group keeps where the ratio is of all units of the network, and not of each group."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from .axes import Axis
from .importance import Scores

LEAST_SHARE = 0.1  # of a group: where scores are unlike, a layer would be emptied and the signal with it


def kept_over_network(scores: Scores, ratio: float, min_units: int, *, comparable: bool = False) -> dict[Axis, int]:
    """How many units each group keeps when the units that matter least, of all groups together, go.

    Scores of different groups are compared as they are where the importance says that they can be (taylor's are all in
    units of the loss), else as multiples of their group's mean: 0.5 is half as important as a unit of that group
    usually is. Each group keeps at least `min_units` and a tenth of its units, its best ones; what it may not give the
    others give.

    Args:
        scores: of all groups that can be cut.
        ratio: share of all their units that goes; less goes where every group is down to what it keeps at least.
        min_units: that each group keeps at least.
        comparable: whether scores of different groups are in one unit.

    Source: ranking over all layers, Liu et al. 2017 (arXiv:1708.06519) sec. 3; the guard is ours.
    """
    spare: list[tuple[float, Axis]] = []
    for axis, values in scores.items():
        least = min(axis.size, max(min_units, math.ceil(axis.size * LEAST_SHARE)))
        unit = 1.0 if comparable else max(float(values.mean()), np.finfo(float).tiny)
        spare += [(float(score), axis) for score in np.sort(values)[: axis.size - least] / unit]
    spare.sort(key=lambda pair: pair[0])  # stable: of equals the first group gives first
    total = sum(axis.size for axis in scores)
    lost = Counter(axis for _, axis in spare[: math.floor(total * ratio + 1e-9)])
    return {axis: axis.size - lost[axis] for axis in scores}
