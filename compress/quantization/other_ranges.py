"""Static int8 that loses too much is tried again with ranges by other methods, until one keeps the score."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from .candidates import Candidate, Maker, static_name
from .choose import Judge, Loss
from .range_methods import Method

ORDER: tuple[Method, ...] = ("mse", "percentile", "entropy", "minmax")


def other_ranges(maker: Maker, lost: Sequence[str], judge: Judge) -> Iterator[tuple[Candidate, Loss]]:
    """Candidates in the place of those that lost too much, each with its loss, named for its method.

    Of each method one is made and judged. The first that keeps the score is followed by all that lost, made like it;
    then no other is tried.

    Args:
        maker: of the candidates that lost.
        lost: the names of static candidates.
        judge: of what a candidate costs.
    """
    kinds = [kind for kind in itertools.product((True, False), repeat=2) if static_name(*kind) in lost]
    if not kinds or maker.calibrated is None:
        return
    for method in ORDER:
        if method == maker.calibration:
            continue
        other = maker.by(method)
        for per_channel, operators in kinds:
            made = other.static(per_channel=per_channel, operators=operators, store_rest=True)
            loss = judge(made.model)
            yield replace(made, name=f"{made.name}, {method}"), loss
            if not loss.keeps:
                break
        else:
            return
