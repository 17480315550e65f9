"""What would be faster than the best and loses a little too much is tried again, with its costliest layers in float.

Of the ways that are made of a network only static int8 is looked at layer by layer from the start; which of the others
is worth it nobody knows before all were timed.
"""

from __future__ import annotations

from collections.abc import Sequence

from compress.base import Progress
from compress.quantization.choose import NEAR, Judged
from compress.quantization.field import Field, computing
from compress.quantization.sensitivity import sensitivities
from compress.quantization.study import Study, fewest_floats
from models.records import Arrays

_TRIED = 2  # of the fastest that lose; each costs as many judgements as the number of its layers has bits


def look_again(
    field: Field,
    judged: Sequence[Judged],
    winner: Judged,
    unseen: Sequence[Arrays],
    *,
    looked: Study | None = None,
    progress: Progress | None = None,
) -> list[Judged]:
    """Offer what keeps the score of the ways that are faster than the winner; gives what was new to the field.

    Args:
        field: with the candidates.
        judged: all of them, timed.
        winner: the best of them.
        unseen: data to find out on what each layer costs.
        looked: what is known of that already.
        progress: told of each layer.
    """
    best = winner.speedup if winner.computes and winner.standing == "faster" else 1.0
    losing = [one for one in judged if one.standing == "faster" and one.computes and not one.loss.keeps]
    losing = sorted((one for one in losing if one.speedup > NEAR * best), key=lambda one: -one.speedup)
    known = {one.name for one in field.judged}
    for one in losing[:_TRIED]:
        made = field.candidates[one.name]
        names = computing(made)
        costs = dict(looked.sensitivities) if looked is not None else {}
        unknown = names - costs.keys()
        costs |= sensitivities(field.maker, made.way, sorted(names), unseen, of=unknown, progress=progress)
        costs = {name: cost for name, cost in costs.items() if name in names}
        fewest_floats(field, costs, made.way, most=len(costs) // 2)
    return [one for one in field.judged if one.name not in known]
