"""What there is to choose: for each group of units, or several that must stay as many, how many of them are kept."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .axes import Axis, axes_of, resolve, size_of, terms_of
from .ties import Ties
from .units import Group

_FEWEST = 32  # choices of a width, beyond which steps get longer: what is left out lies close to what is there


@dataclass(frozen=True)
class Width:
    """One number to choose.

    Args:
        layer: the first that makes these units.
        axes: of the groups that keep the same number.
        choices: from all units down to the fewest that may be kept.
        sides: how many sides of weight matrices each of the axes is.
    """

    layer: str
    axes: tuple[Axis, ...]
    choices: tuple[int, ...]
    sides: float = 1.0

    @property
    def size(self) -> int:
        """How many there are."""
        return self.choices[0]


def widths_of(ties: Ties, found: Iterable[Group], *, multiple: int, min_units: int) -> list[Width]:
    """All widths that can be chosen, in the order of the layers."""
    free = {group.axis: group for group in found if not group.reason}
    rows = row_lengths(ties)
    matrices = (tied.dims for tied in ties.tensors.values() if tied.tensor.ndim > 1)
    sides = Counter(axis for dims in matrices for dim in dims for axis in axes_of(dim))
    together: dict[Axis, list[Axis]] = {axis: [axis] for axis in free}
    for dims in ties.alike:
        tied = [axis for dim in map(resolve, dims) for axis in axes_of(dim) if axis in free]
        merged = list(dict.fromkeys(other for axis in tied for other in together[axis] if other.size == axis.size))
        for axis in merged:
            together[axis] = merged
    made = []
    for axes in {id(axes): axes for axes in together.values()}.values():
        row = math.lcm(*(rows.get(axis, 1) for axis in axes))
        least = max(min_units, *map(ties.fewest, axes))
        layer, counts = free[axes[0]].layer, choices(axes[0].size, row, multiple, least)
        made.append(Width(layer, tuple(axes), counts, sum(sides[axis] for axis in axes) / len(axes)))
    return made


def choices(size: int, row: int, multiple: int, least: int) -> tuple[int, ...]:
    """Numbers of units that make widths a device likes: all, multiples, and below one multiple halves of it.

    Args:
        size: all of them.
        row: how long a row of one unit is; the width is units times this.
        multiple: of the width.
        least: units to keep.
    """
    step = multiple // math.gcd(multiple, row)
    steps = [step]
    while steps[-1] > 1:
        steps.append(steps[-1] // 2)
    stride = step * max(1, -(-size // (step * _FEWEST)))
    found = {size, *range(stride, size, stride), *steps}
    return tuple(sorted((count for count in found if min(least, size) <= count <= size), reverse=True))


def row_lengths(ties: Ties) -> dict[Axis, int]:
    """How long a row of a unit is: 1 for a channel, the width of a head for a head; the shortest where they differ."""
    lengths: dict[Axis, int] = {}
    for tied in ties.tensors.values():
        for dim in tied.dims:
            for term in terms_of(dim):
                for axis in axes_of(term):
                    lengths[axis] = min(lengths.get(axis, size_of(term)), size_of(term) // axis.size)
    return lengths


def numbers_of(widths: Sequence[Width]) -> dict[Axis, int]:
    """Which width each axis has, by its number."""
    return {axis: number for number, width in enumerate(widths) for axis in width.axes}


def counts_of(widths: Sequence[Width], chosen: Sequence[int]) -> Mapping[Axis, int]:
    """How many units each axis keeps, of those that lose some."""
    return {
        axis: int(count)
        for width, count in zip(widths, chosen, strict=True)
        for axis in width.axes
        if count < axis.size
    }
