"""Picks among candidates that were judged and timed: the fastest that keeps the score, or the smallest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from compress.quantization.by_turns import Standing
from compress.quantization.loss import Loss
from export.stopwatch import Comparison
from models.records import Model

FLOAT = "float"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One candidate with all that was found out about it.

    Args:
        half: whether it computes in half precision.
        median_ms: of the main form.
        comparison: with float, over all forms (`overall`): what is called faster is slower in none of them. Of no turns
            where it runs float's own operators, and so was not timed.
        forms: the comparison of each form, where there are several.
    """

    name: str
    model: Model
    bytes: int
    loss: Loss
    integer_nodes: int
    half: bool = False
    median_ms: float | None = None
    comparison: Comparison | None = None
    forms: Mapping[str, Comparison] = field(default_factory=dict)

    @property
    def computes(self) -> bool:
        """Whether it computes in fewer bits; what only stores them runs float's own operators, and takes their time."""
        return self.half or self.integer_nodes > 0

    @property
    def standing(self) -> Standing:
        """Against float."""
        return "not timed" if self.comparison is None else self.comparison.verdict

    @property
    def speedup(self) -> float:
        """Against float; 1 where it was not timed."""
        return 1.0 if self.comparison is None else self.comparison.speedup


NEAR = 1.03  # two speeds within 3 % are the same to whoever ships them
NEAR_BYTES = 1.02


def best(judged: Sequence[Judged], prefer: Literal["speed", "size"], *, order: Sequence[str] = ()) -> Judged:
    """The one to return, float being the first of them.

    For speed the fastest that keeps the score and is surely faster than float; where there is none, the smallest that
    runs float's own operators and so takes float's time; of those as fast and as small, the one that loses least. For
    size the smallest that keeps the score and is not slower; of those as small, the fastest.

    Args:
        judged: float first.
        prefer: what to look for.
        order: names to prefer, in this order, where nothing was timed.
    """
    kept = [one for one in judged if one.loss.keeps]
    if all(one.comparison is None for one in judged):
        chosen = [one for name in order for one in kept if one.name == name and one.bytes < judged[0].bytes]
        if not chosen:
            return judged[0]
        return min(chosen, key=lambda one: one.bytes) if prefer == "size" else chosen[0]
    faster = [one for one in kept if one.standing == "faster" and one.computes]
    if prefer == "speed" and faster:
        top = max(one.speedup for one in faster)
        kept = [one for one in faster if one.speedup * NEAR >= top]
    elif prefer == "speed":
        kept = [one for one in kept if not one.computes and one.standing != "slower"]
    else:
        kept = [one for one in kept if one.standing != "slower" and one.speedup * NEAR >= 1.0]
    smallest = min(one.bytes for one in kept)
    small = [one for one in kept if one.bytes <= smallest * NEAR_BYTES]
    if prefer == "size":  # of files as small the fastest, and of those the smallest
        top = max(map(_pace, small))
        return min((one for one in small if _pace(one) * NEAR >= top), key=lambda one: (one.bytes, one.loss.points))
    return min(small, key=lambda one: (one.loss.points, one.bytes))


def _pace(one: Judged) -> float:
    """How fast it surely is against float."""
    return one.speedup if one.standing == "faster" and one.computes else 1.0
