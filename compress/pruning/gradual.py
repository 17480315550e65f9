"""Pruning in rounds, with recovery between them: each takes an even part of what is to go, and scores anew.

Source: Han et al. 2015 (arXiv:1506.02626) sec. 3.3, iterative pruning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .axes import Axis
from .units import Group

# a group's places, and which of the groups there: pieces of one layer lie in the same weights. The same in every round
Key = tuple[tuple[str, ...], int]


@dataclass(frozen=True)
class Goals:
    """How many units each group has, and how many it shall keep in the end, by its key."""

    sizes: Mapping[Key, int]
    ends: Mapping[Key, int]
    rounds: int

    @classmethod
    def of(cls, found: Iterable[Group], counts: Mapping[Axis, int], rounds: int) -> Goals:
        """From the groups before the first round, and the counts after the last."""
        going = [(key, group) for key, group in _by_key(found) if group.axis in counts]
        return cls({key: group.size for key, group in going}, {key: counts[group.axis] for key, group in going}, rounds)

    def counts(self, found: Iterable[Group], round: int) -> dict[Axis, int]:
        """How many units each group of the network as it is now keeps in a round, 0 to rounds - 1."""
        kept: dict[Axis, int] = {}
        for key, group in _by_key(found):
            if key in self.ends:
                size, end = self.sizes[key], self.ends[key]
                kept[group.axis] = size - (size - end) * (round + 1) // self.rounds
        return {axis: count for axis, count in kept.items() if count < axis.size}


def _by_key(found: Iterable[Group]) -> Iterator[tuple[Key, Group]]:
    """The groups that can be cut."""
    seen: Counter[tuple[str, ...]] = Counter()
    for group in found:
        if not group.reason:
            yield (group.places, seen[group.places]), group
            seen[group.places] += 1


def share_of(steps: int | str, round: int, rounds: int) -> int | str:
    """The steps of a round: an even part, the last with what is left over; a user's function trains every time."""
    if isinstance(steps, str):
        return steps
    return steps // rounds + (steps % rounds if round == rounds - 1 else 0)


def gathered(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Those of the last round; steps and seconds are added up over all, and of several rounds each score is kept."""
    last = dict(facts[-1])
    for name in ("steps", "seconds"):
        if name in last:
            last[name] = sum(fact.get(name, 0) for fact in facts)
    if len(facts) > 1:
        last |= {"rounds": len(facts)}
        for name in ("validation_before", "validation_after"):
            if name in last:
                last[f"{name}_by_round"] = [fact.get(name) for fact in facts]
    return last
