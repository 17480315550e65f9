"""How many units each group keeps so that a cost is met and the least importance is lost.

What passes one layer passes the next, so what is kept of their importance multiplies: lost is the sum of -log(share
kept), over all sides of all weight matrices, since units that twenty layers read are missed in each of them. It grows
without bound as a group empties, and no group is emptied because its units are cheap.
Few choices are all tried. For more, the widths go down from full by the least loss per cost saved (the greedy rule of
the knapsack: Dantzig 1957, Oper. Res. 5, 266-277), then are exchanged while that helps; as layers multiply two widths,
it is no proof of the best, and `tests/compress/pruning/test_allocate.py` holds it against all combinations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .importance import Scores
from .polynomial import Floats
from .widths import Width

Cost = Callable[[Any], Floats]  # widths (..., n) -> cost (...)
Ints = np.ndarray[Any, np.dtype[np.int64]]

_ALL = 20_000  # combinations that are tried one by one, in less than a second
_AHEAD = 8  # narrower choices that are looked at from where a width stands: costs on a clock come in steps
_EXCHANGES = 200


def losses_of(widths: Sequence[Width], scores: Scores) -> list[Floats]:
    """What each choice of each width loses: -log of the share of importance that is kept, for every side it is."""
    return [np.sum([width.sides * _loss(scores[axis], width.choices) for axis in width.axes], 0) for width in widths]


def _loss(scores: Floats, choices: Sequence[int]) -> Floats:
    best = np.cumsum(np.sort(np.maximum(scores, 0))[::-1])
    if not best[-1] > 0:
        best = np.arange(1, len(scores) + 1, dtype=float)
    kept: Floats = np.array([best[count - 1] for count in choices]) / best[-1]
    return np.asarray(-np.log(kept))


def allocate(widths: Sequence[Width], losses: Sequence[Floats], cost: Cost, goal: float) -> tuple[int, ...] | None:
    """The number of units that each width keeps, at a cost of at most the goal; None where even the fewest cost more.

    Args:
        widths: with their choices.
        losses: of each choice of each width.
        cost: of many combinations at once; less for fewer units, or not more.
        goal: in the unit of the cost.
    """
    if not widths:
        return () if float(cost(())) <= goal else None
    search = _Search(widths, losses, cost, goal)
    if math.prod(len(width.choices) for width in widths) <= _ALL:
        return search.all()
    found = search.descent()
    return None if found is None else search.counts(search.exchanged(found)[None])[0]


class _Search:
    """Positions (K, n) among the choices of each width, 0 for all units."""

    def __init__(self, widths: Sequence[Width], losses: Sequence[Floats], cost: Cost, goal: float) -> None:
        self.lengths = np.array([len(width.choices) for width in widths])
        longest = max(self.lengths, default=1)
        self.table = np.array([(*w.choices, *w.choices[-1:] * (longest - len(w.choices))) for w in widths], np.int64)
        self.losses = np.array([np.pad(loss, (0, longest - len(loss)), mode="edge") for loss in losses])
        self.columns, self.cost_of, self.goal = np.arange(len(widths)), cost, goal

    def counts(self, positions: Ints) -> list[tuple[int, ...]]:
        """Units kept."""
        return [tuple(map(int, row)) for row in self.table[self.columns, positions]]

    def cost(self, positions: Ints) -> Floats:
        """Of each row."""
        return self.cost_of(self.table[self.columns, positions])

    def loss(self, positions: Ints) -> Floats:
        """Of each row."""
        found: Floats = self.losses[self.columns, positions].sum(-1)
        return found

    def all(self) -> tuple[int, ...] | None:
        """The best of all combinations; of equals the cheaper one."""
        grid = np.stack(np.meshgrid(*(np.arange(n) for n in self.lengths), indexing="ij"), -1)
        positions = grid.reshape(-1, len(self.lengths))
        costs = np.concatenate([self.cost(part) for part in np.array_split(positions, 1 + len(positions) // 2048)])
        fits = np.flatnonzero(costs <= self.goal)
        if not len(fits):
            return None
        losses = self.loss(positions[fits]).round(12)
        return self.counts(positions[[fits[np.lexsort((costs[fits], losses))[0]]]])[0]

    def descent(self) -> Ints | None:
        """Down from full until the goal is met, each step the one that loses least for what it saves."""
        here = np.zeros(len(self.lengths), np.int64)
        while (now := float(self.cost(here[None])[0])) > self.goal:
            steps = np.array(list(self._narrower(here)), np.int64).reshape(-1, len(here))
            saved = now - self.cost(steps) if len(steps) else np.zeros(0)
            if not (saved > 0).any():
                return self._fewest()
            lost = self.loss(steps) - self.loss(here[None])
            price = np.where(saved > 0, lost / np.where(saved > 0, saved, 1), np.inf)
            here = steps[int(np.argmin(price))]
        return here

    def _fewest(self) -> Ints | None:
        """The last resort of a cost that does not fall step by step."""
        last = self.lengths - 1
        return last if self.cost(last[None])[0] <= self.goal else None

    def _narrower(self, here: Ints) -> Iterator[Ints]:
        for column, length in enumerate(self.lengths):
            for position in range(here[column] + 1, min(here[column] + _AHEAD + 1, length)):
                step = here.copy()
                step[column] = position
                yield step

    def exchanged(self, here: Ints) -> Ints:
        """Widen one width, or widen one and narrow another, as long as less is lost within the goal."""
        for _ in range(_EXCHANGES):
            steps = np.array(list(self._exchanges(here)), np.int64).reshape(-1, len(here))
            if not len(steps):
                break
            steps = steps[self.cost(steps) <= self.goal]
            gains = self.loss(here[None]) - self.loss(steps)
            if not len(steps) or gains.max() <= 1e-12:
                break
            here = steps[int(np.argmax(gains))]
        return here

    def _exchanges(self, here: Ints) -> Iterator[Ints]:
        for up in np.flatnonzero(here):
            wider = here.copy()
            wider[up] -= 1
            yield wider
            for down in np.flatnonzero(here + 1 < self.lengths):
                if down != up:
                    step = wider.copy()
                    step[down] += 1
                    yield step
